"""TrainConfig: everything that decides how a training ends, apart from the data."""

from dataclasses import dataclass, field
from enum import StrEnum

from cinesax.core.errors import InputError, UsageError, counted
from cinesax.files.typed_json import Json, JsonObject, plain, typed
from cinesax.train.data.pipeline import PipelineConfig
from cinesax.train.limits import SHARE, Limit, check_limits
from cinesax.train.nets import NetworkConfig, UNetConfig, from_dict, to_dict
from cinesax.train.nets.losses import DiceOver

_LIMITS = {
    "epochs": Limit(1),
    "steps": Limit(1),
    "learning_rate": Limit(0, above=True),
    "warmup_steps": Limit(0),
    "weight_decay": Limit(0),
    "average": Limit(0, 1, below=True),
    "keep_start": Limit(0, 1, below=True),
    "clip_norm": Limit(0, above=True),
    "false_positives": SHARE,
    "validate_every": Limit(1),
    "patience": Limit(1),
    "seed": Limit(0, 2**31 - 1),
}


class Precision(StrEnum):
    """The number type that a network computes with; its weights are always float32.

    On GPUs with tensor cores mixed precision halves memory and is faster. On CPUs it is slower, usually much slower.
    The exception is ONEDNN_BFLOAT16, for which oneDNN chooses the operations: it is four times as fast as FLOAT32 on
    processors with bfloat16 matrix units (AMX). It needs `xla=False`.
    """

    FLOAT32 = "float32"
    MIXED_FLOAT16 = "mixed_float16"
    MIXED_BFLOAT16 = "mixed_bfloat16"
    ONEDNN_BFLOAT16 = "onednn_bfloat16"


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Every setting that affects the result of a training, apart from the data.

    Attributes:
        model: the network's config.
        pipeline: how batches are made and augmented.
        epochs: number of epochs; over all of them the learning rate falls to a thousandth.
        steps: batches per epoch.
        learning_rate: the highest learning rate, reached after the warm-up.
        warmup_steps: steps over which the learning rate rises from zero; at most a quarter of all steps.
        weight_decay: weight decay of AdamW.
        average: momentum of the EMA of the weights; the EMA weights are the ones that are kept.
        keep_start: for a training that starts from a finished run: the share, 0 to below 1, of that run's weights in
            the finished network (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022). They are mixed in
            at the end, so validations during the training see the network without them.
        clip_norm: largest allowed norm of the gradient over all weights.
        dice_over: what the Dice term of the loss is computed over.
        false_positives: Tversky weight, 0 to 1, of false positive pixels of the LV cavity in the Dice term of the loss,
            for small and for large cavities; false negatives have 1 minus this weight. See `CrossEntropyDice`.
        validate_every: epochs between two validations.
        patience: number of validations without a better Dice after which the training stops; the best network is then
            kept instead of the last. None: train to the end.
        precision: the number type that the network computes with.
        xla: compile each step with XLA: a few percent faster on a CPU, but it starts about ten seconds later. Not with
            deterministic training.
        seed: seed of the initial weights, the order and the augmentation.
    """

    model: NetworkConfig = field(default_factory=UNetConfig)
    pipeline: PipelineConfig = field(default_factory=PipelineConfig)
    epochs: int = 40
    steps: int = 100
    learning_rate: float = 2e-3
    warmup_steps: int = 200
    weight_decay: float = 1e-4
    average: float = 0.995
    keep_start: float = 0.0
    clip_norm: float = 5.0
    dice_over: DiceOver = DiceOver.BATCH
    false_positives: tuple[float, float] = (0.5, 0.5)
    validate_every: int = 5
    patience: int | None = None
    precision: Precision = Precision.FLOAT32
    xla: bool = True
    seed: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.model, NetworkConfig):
            raise UsageError(f"model must be the config of a network, seen {type(self.model).__name__}")
        if not isinstance(self.pipeline, PipelineConfig):
            raise UsageError(f"pipeline must be a PipelineConfig, seen {type(self.pipeline).__name__}")
        check_limits(self, _LIMITS)
        if len(self.false_positives) != 2:
            raise UsageError(f"false_positives must be two numbers, seen {len(self.false_positives)}")
        if self.precision is Precision.ONEDNN_BFLOAT16 and self.xla:
            raise UsageError("precision onednn_bfloat16 needs xla=false: XLA chooses its operations itself")
        crop = self.pipeline.crop
        if crop is not None and (crop < 1 or crop % self.model.factor):
            raise UsageError(f"crop must be a multiple of {self.model.factor} for this network, seen {crop}")
        takes, given = getattr(self.model, "inputs", 1), 3 if self.pipeline.context else 1
        if takes != given:
            other = f"set model.inputs={given}" if hasattr(self.model, "inputs") else "use the preset refiner"
            now, then = (str(flag).lower() for flag in (self.pipeline.context, takes > 1))
            raise UsageError(
                f"pipeline.context={now} makes images of {counted(given, 'channel')}, and this network takes {takes}: "
                f"set pipeline.context={then}, or {other}"
            )

    def to_dict(self) -> dict[str, Json]:
        """Plain values for JSON."""
        return plain(self) | {"model": to_dict(self.model)}

    @classmethod
    def from_dict(cls, values: JsonObject) -> "TrainConfig":
        """The inverse of `to_dict`, also for earlier versions: a setting that did not exist yet gets its default.

        Therefore the default of a new setting must reproduce trainings without it.

        Raises:
            InputError: a network unknown to this version, or a value of another type.
            UsageError: values that contradict each other.
        """
        try:
            return typed(values, cls, {NetworkConfig: from_dict})
        except ValueError as error:
            raise InputError(f"the settings of a training are damaged: {error}") from None
