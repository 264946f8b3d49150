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
from cinesax.errors import InputError, OutputError, UsageError
from cinesax.learn.callbacks import Checkpoint, Display, Pulse, Validate, averaged_weights
from cinesax.learn.losses import CrossEntropyDice
from cinesax.learn.metrics import SliceDice
from cinesax.learn.models import UNetConfig, unet
from cinesax.learn.pipeline import PipelineConfig, training_batches, validation_batches
from cinesax.learn.records import Dataset

CONFIG = "config.json"
NETWORK = "network.keras"


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
        validate_every: epochs from one look at the held-out cases to the next.
        seed: of the first weights, the order and the augmentation.
    """

    model: UNetConfig = field(default_factory=UNetConfig)
    pipeline: PipelineConfig = field(default_factory=PipelineConfig)
    epochs: int = 40
    steps: int = 100
    learning_rate: float = 2e-3
    warmup_steps: int = 200
    weight_decay: float = 1e-4
    average: float = 0.995
    clip_norm: float = 5.0
    validate_every: int = 5
    seed: int = 1

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.steps < 1 or self.pipeline.batch < 1:
            raise UsageError("epochs, steps and batch must be at least 1")
        crop, factor = self.pipeline.crop, 2 ** len(self.model.channels)
        if crop is not None and crop % factor:
            raise UsageError(f"crop must be a multiple of {factor} for this network, seen {crop}")


@dataclass(frozen=True, slots=True)
class Run:
    """A training's folder and where it stands."""

    folder: Path
    config: dict[str, Any]
    finished_epochs: int


def _compile(config: TrainConfig) -> keras.Model:
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
    model = unet(config.model)
    model.compile(optimizer=optimizer, loss=CrossEntropyDice(), metrics=["accuracy", SliceDice()])
    return model


def _description(
    dataset: Dataset, config: TrainConfig, fold: int | None, train: list[str], held: list[str]
) -> dict[str, Any]:
    return {
        "schema": "cinesax/run/1",
        "config": asdict(config),
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
        InputError: no run folder.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        raise InputError(f"{folder} is no run folder: it has no readable {CONFIG}") from None
    try:
        finished = int(json.loads((folder / "state.json").read_text(encoding="utf-8"))["epochs"])
    except FileNotFoundError:
        finished = 0
    return Run(folder, config, finished)


def _begin(folder: Path, description: dict[str, Any], resume: bool) -> int:
    """Make or re-enter the run folder; returns the number of finished epochs."""
    if folder.exists() and any(folder.iterdir()):
        if not resume:
            raise OutputError(f"{folder} is not empty; add --resume to go on with it, or name a new folder")
        run = open_run(folder)
        for key in ("config", "fold", "dataset", "train_cases"):
            if run.config[key] != json.loads(json.dumps(description[key])):
                raise UsageError(f"{folder} was begun with another {key}; resume with the same data and options")
        return run.finished_epochs
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from None
    return 0


def train(
    dataset: Dataset,
    folder: Path,
    config: TrainConfig,
    *,
    fold: int | None = None,
    resume: bool = False,
    threads: int = 2,
    console: Console | None = None,
) -> Run:
    """Train a network.

    Args:
        dataset: a prepared set; its split "train".
        folder: the run folder to make: config.json, last.keras, history.csv, tensorboard/, network.keras.
        config: how.
        fold: the fold of the split to hold out and validate on; None: train on all, validate on the split
            "validation" where there is one.
        resume: go on with an interrupted run of the same config.
        threads: for the augmentation.
        console: where progress goes.

    Returns:
        The finished run; `network.keras` has the averaged weights of the last epoch.

    Raises:
        OutputError, UsageError, DatasetError: see `cinesax.errors`.
    """
    cases = dataset.cases("train", fold=fold)
    held = dataset.cases("train", fold=fold, held_out=True) if fold is not None else []
    done = _begin(folder, _description(dataset, config, fold, cases, held), resume)
    keras.utils.set_random_seed(config.seed)
    last = folder / "last.keras"
    model = keras.models.load_model(last) if done and last.exists() else _compile(config)
    if done < config.epochs:
        start = done * config.steps
        batches = training_batches(dataset, cases, config.pipeline, seed=config.seed, start=start, threads=threads)
        history = keras.callbacks.CSVLogger(str(folder / "history.csv"), append=True)
        callbacks = _callbacks(dataset, folder, config, held, console or Console(stderr=True), done)
        # The history after what adds to the logs, before what may be killed while it writes.
        callbacks.insert(-2, history)
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
            if history.csv_file:  # Keras closes it only at the end of a training that was not interrupted
                history.csv_file.close()
    _finish(model, folder)
    return open_run(folder)


def _callbacks(
    dataset: Dataset, folder: Path, config: TrainConfig, held: list[str], console: Console, done: int
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
        Checkpoint(folder),
        Display(console, steps=config.steps, epochs=config.epochs, done=done),
    ]


def _finish(model: keras.Model, folder: Path) -> None:
    # Reloading the checkpoint gives the same network whether or not this process ran the last epoch.
    saved = keras.models.load_model(folder / "last.keras")
    with averaged_weights(saved):
        plain = keras.models.clone_model(saved)
        plain.set_weights(saved.get_weights())
    work = folder / ".network.tmp.keras"
    plain.save(work)
    os.replace(work, folder / NETWORK)
    del model


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
