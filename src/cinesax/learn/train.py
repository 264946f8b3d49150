"""Training: a prepared set and a config -> a run folder with checkpoints, logs and the finished network."""

import hashlib
import json
import os
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from rich.console import Console

from cinesax._version import __version__
from cinesax.errors import DatasetError, InputError, OutputError, UsageError
from cinesax.formats.stored_files import replacing
from cinesax.learn.callbacks import Checkpoint, Display, HistoryFile, Pulse, Validate, averaged_weights
from cinesax.learn.losses import CrossEntropyDice, DiceOver
from cinesax.learn.metrics import metrics
from cinesax.learn.models import NetworkConfig, UNetConfig, build, from_dict, to_dict
from cinesax.learn.pipeline import PipelineConfig, training_batches, validation_batches
from cinesax.learn.records import Dataset, verify

SCHEMA = "cinesax/run/1"
CONFIG = "config.json"
LAST, NETWORK = "last.keras", "network.keras"


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that decides how a training ends, apart from the data.

    Attributes:
        model: the network.
        pipeline: batches and augmentation.
        epochs: how many; the learning rate falls to zero over all of them.
        steps: batches an epoch.
        learning_rate: the highest, after the warm-up.
        warmup_steps: over which the learning rate rises from zero.
        weight_decay: of AdamW.
        average: momentum of the moving average of the weights, which is what is kept.
        clip_norm: largest norm of the gradient of all weights.
        dice_over: what the Dice in the loss is taken over.
        validate_every: epochs from one look at the held-out cases to the next.
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
    clip_norm: float = 5.0
    dice_over: DiceOver = DiceOver.BATCH
    validate_every: int = 5
    seed: int = 1

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.steps < 1 or self.pipeline.batch < 1:
            raise UsageError("epochs, steps and batch must be at least 1")
        if not 0 <= self.seed < 2**31:
            raise UsageError(f"the seed must be from 0 to 2147483647, seen {self.seed}")
        crop, factor = self.pipeline.crop, self.model.factor
        if crop is not None and crop % factor:
            raise UsageError(f"crop must be a multiple of {factor} for this network, seen {crop}")


@dataclass(frozen=True, slots=True)
class Run:
    """A training's folder and where it stands."""

    folder: Path
    config: dict[str, Any]
    finished_epochs: int


def _compile(config: TrainConfig, classes: list[str], start: Run | None) -> keras.Model:
    total = config.epochs * config.steps
    warmup = min(config.warmup_steps, total // 4)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, total - warmup), warmup_target=config.learning_rate, warmup_steps=warmup, alpha=1e-3
    )
    optimizer = keras.optimizers.AdamW(
        rate,
        weight_decay=config.weight_decay,
        global_clipnorm=config.clip_norm,
        use_ema=True,
        ema_momentum=config.average,
    )
    model = build(config.model)
    if start is not None:
        model.set_weights(load_network(start.folder / NETWORK).get_weights())
    model.compile(optimizer=optimizer, loss=CrossEntropyDice(config.dice_over), metrics=metrics(classes))
    return model


def _description(
    dataset: Dataset, config: TrainConfig, fold: int | None, train: list[str], held: list[str]
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "config": {**asdict(config), "model": to_dict(config.model)},
        "fold": fold,
        "dataset": {"digest": dataset.digest, "framing": dataset.framing.to_dict()},
        "train_cases": train,
        "held_out_cases": held,
        "software": {
            "cinesax": __version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "python": platform.python_version(),
        },
    }


def open_run(folder: Path) -> Run:
    """A run folder as a training left it.

    Raises:
        InputError: no run folder, or a damaged one.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"{folder} is no run folder: it has no readable {CONFIG}") from None
    if not isinstance(config, dict) or config.get("schema") != SCHEMA:
        raise InputError(f"{folder / CONFIG} is not of schema {SCHEMA}: name the run folder of a training")
    try:
        finished = int(json.loads((folder / "state.json").read_text(encoding="utf-8"))["epochs"])
    except FileNotFoundError:
        finished = 0
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{folder / 'state.json'} is damaged: begin the training again in a new folder") from None
    return Run(folder, config, finished)


def _begin(folder: Path, description: dict[str, Any], resume: bool) -> int:
    """Make or re-enter the run folder; returns the number of finished epochs."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file, not a folder; name a new folder")
    if folder.exists() and any(folder.iterdir()):
        if not resume:
            raise OutputError(f"{folder} is not empty; add --resume to go on with it, or name a new folder")
        run = open_run(folder)
        for key in ("config", "fold", "dataset", "train_cases", "started_from_sha256"):
            if run.config.get(key) != json.loads(json.dumps(description.get(key))):
                raise UsageError(f"{folder} was begun with another {key}; resume with the same data and options")
        return run.finished_epochs
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / CONFIG) as work:
            work.write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from None
    return 0


def train(
    dataset: Dataset,
    folder: Path,
    config: TrainConfig,
    *,
    fold: int | None = None,
    start_from: Path | None = None,
    resume: bool = False,
    threads: int = 2,
    console: Console | None = None,
) -> Run:
    """Train a network.

    Args:
        dataset: a prepared set; its split "train".
        folder: the run folder to make: config.json, last.keras, history.csv, tensorboard/, network.keras.
        config: how.
        fold: the fold of the split to hold out and validate on; None: train on all, without validation (the
            split "validation" is for one look at the end, with `cinesax evaluate`).
        start_from: a finished run whose weights to begin with; it must have had the same network and framing,
            and not have seen the patients that this one holds out.
        resume: go on with an interrupted run of the same config.
        threads: for the augmentation.
        console: where progress goes.

    Returns:
        The finished run; `network.keras` has the averaged weights of the last epoch.

    Raises:
        DatasetError: a damaged set, or a fold that leaves nobody to train or to validate on.
        UsageError: the fold or the config does not fit, or the loss became no number.
        OutputError, InputError: the run folder cannot be written, or not be resumed.
    """
    cases = dataset.cases("train", fold=fold)
    held = dataset.cases("train", fold=fold, held_out=True) if fold is not None else []
    if not cases or (fold is not None and not held):
        raise DatasetError(f"fold {fold} leaves no patients to {'validate' if cases else 'train'} on; use fewer folds")
    verify(dataset)
    before = None if start_from is None else _check_start(open_run(start_from), dataset, config, held)
    done = _begin(folder, _description(dataset, config, fold, cases, held) | _ancestry(before), resume)
    keras.utils.set_random_seed(config.seed)
    model = load_network(folder / LAST) if done else _compile(config, dataset.manifest["classes"], before)
    if done < config.epochs:
        start = done * config.steps
        batches = training_batches(dataset, cases, config.pipeline, seed=config.seed, start=start, threads=threads)
        display = Display(console or Console(stderr=True), steps=config.steps, epochs=config.epochs, done=done)
        callbacks = [*_callbacks(dataset, folder, config, held, done), display]
        try:
            model.fit(
                batches,
                initial_epoch=done,
                epochs=config.epochs,
                steps_per_epoch=config.steps,
                callbacks=callbacks,
                shuffle=False,
                verbose=0,
            )
        finally:
            display.on_train_end()  # Keras says so only where nothing interrupts; the terminal's cursor is hidden
        _check_finished(open_run(folder), config)
    _finish(folder)
    return open_run(folder)


def _check_start(run: Run, dataset: Dataset, config: TrainConfig, held: list[str]) -> Run:
    if not (run.folder / NETWORK).is_file():
        raise InputError(f"{run.folder} has no {NETWORK}: that training has not finished; go on with it by --resume")
    if from_dict(run.config["config"]["model"]) != config.model:
        raise UsageError(f"{run.folder} trained another network; start from one with the same settings of the model")
    if run.config["dataset"]["framing"] != dataset.framing.to_dict():
        raise UsageError(f"{run.folder} saw images framed otherwise; prepare the set with the same framing")
    seen = sorted(set(run.config["train_cases"]) & set(held))
    if seen:
        raise UsageError(f"{run.folder} was trained on {', '.join(seen)}, which this training holds out")
    return run


def _ancestry(before: Run | None) -> dict[str, Any]:
    return (
        {}
        if before is None
        else {"started_from": before.config, "started_from_sha256": checksum(before.folder / NETWORK)}
    )


def _callbacks(
    dataset: Dataset, folder: Path, config: TrainConfig, held: list[str], done: int
) -> list[keras.callbacks.Callback]:
    callbacks: list[keras.callbacks.Callback] = [Pulse(config.steps * config.pipeline.batch)]
    if held:
        callbacks.append(
            Validate(validation_batches(dataset, "train", held), every=config.validate_every, epochs=config.epochs)
        )
    return [
        *callbacks,
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.TensorBoard(str(folder / "tensorboard"), write_graph=True, update_freq="epoch"),
        HistoryFile(folder / "history.csv", done=done),
        Checkpoint(folder),
    ]


def load_network(path: Path) -> keras.Model:
    """A network that a training has written; InputError where it cannot be read."""
    try:
        return keras.models.load_model(path)
    except Exception as error:  # noqa: BLE001 - Keras's exceptions have no common base of their own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} cannot be read ({reason}); begin the training again in a new folder") from None


def _check_finished(run: Run, config: TrainConfig) -> None:
    if run.finished_epochs < config.epochs:
        raise UsageError(
            f"the loss is no number in epoch {run.finished_epochs + 1}; {run.folder} keeps the state before it: "
            "lower the learning rate and begin again in a new folder"
        )


def _finish(folder: Path) -> None:
    # Reloading the checkpoint gives the same network whether or not this process ran the last epoch.
    saved = load_network(folder / LAST)
    with averaged_weights(saved):
        plain = keras.models.clone_model(saved)
        plain.set_weights(saved.get_weights())
    work = folder / ".network.tmp.keras"
    plain.save(work)
    os.replace(work, folder / NETWORK)


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
