"""TrainConfig: everything that decides how a training ends, apart from the data."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from cinesax.core.errors import UsageError
from cinesax.train.data.pipeline import PipelineConfig
from cinesax.train.nets import NetworkConfig, UNetConfig, to_dict
from cinesax.train.nets.losses import DiceOver


class Precision(StrEnum):
    """The numbers that a network computes with; its weights are float32 in each.

    On GPUs with tensor cores mixed precision halves memory and is faster. On CPUs it is slower, mostly by far; but
    ONEDNN_BFLOAT16, in which oneDNN chooses the operations, is four times as fast as FLOAT32 on processors with matrix
    units for bfloat16 (AMX). It needs `xla=False`.
    """

    FLOAT32 = "float32"
    MIXED_FLOAT16 = "mixed_float16"
    MIXED_BFLOAT16 = "mixed_bfloat16"
    ONEDNN_BFLOAT16 = "onednn_bfloat16"


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that decides how a training ends, apart from the data.

    Attributes:
        model: the network.
        pipeline: batches and augmentation.
        epochs: how many; the learning rate falls to a thousandth over all of them.
        steps: batches an epoch.
        learning_rate: the highest, after the warm-up.
        warmup_steps: over which the learning rate rises from zero; at most a quarter of all.
        weight_decay: of AdamW.
        average: momentum of the moving average of the weights, which is what is kept.
        keep_start: of a training that began with a finished run: the part, 0 to below 1, that the weights of that
            run have in the finished network's (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022).
            They are mixed in at the end: the looks of the training are at the network without them.
        clip_norm: largest norm of the gradient of all weights.
        dice_over: what the Dice in the loss is taken over.
        false_positives: share, 0 to 1, of a pixel too much in the Dice of the loss, where a structure is small and
            where it is large; a pixel too little has the rest. See `CrossEntropyDice`.
        validate_every: epochs between two validations.
        patience: looks without a better Dice of the held-out cases after which the training stops, and the best
            network is kept instead of the last; None: it runs to its end.
        precision: the numbers that the network computes with.
        xla: compile each step with XLA: some percent faster on a CPU, and some ten seconds later to begin. Never
            with a deterministic training.
        seed: of the first weights, the order and the augmentation.
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
        if min(self.epochs, self.steps, self.pipeline.batch, self.validate_every) < 1:
            raise UsageError("epochs, steps, batch and validate_every must be at least 1")
        if self.patience is not None and self.patience < 1:
            raise UsageError(f"patience must be at least 1 validation, or none, seen {self.patience}")
        if not 0 <= self.seed < 2**31:
            raise UsageError(f"the seed must be from 0 to 2147483647, seen {self.seed}")
        if not (self.learning_rate > 0 and self.clip_norm > 0 and self.weight_decay >= 0 and 0 <= self.average < 1):
            raise UsageError(
                "learning_rate and clip_norm must be above 0, weight_decay at least 0, average from 0 to below 1"
            )
        if not 0 <= self.keep_start < 1:
            raise UsageError(f"keep_start must be from 0 to below 1, seen {self.keep_start:g}")
        if len(self.false_positives) != 2 or not all(0 <= share <= 1 for share in self.false_positives):
            raise UsageError(f"false_positives must be two numbers from 0 to 1, seen {self.false_positives}")
        if self.precision is Precision.ONEDNN_BFLOAT16 and self.xla:
            raise UsageError("precision onednn_bfloat16 needs xla=false: XLA chooses its operations itself")
        crop = self.pipeline.crop
        if crop is not None and (crop < 1 or crop % self.model.factor):
            raise UsageError(f"crop must be a multiple of {self.model.factor} for this network, seen {crop}")

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows it."""
        return {**asdict(self), "model": to_dict(self.model)}
