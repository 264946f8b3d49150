"""Training: a prepared set and a config -> a run folder with checkpoints, logs and the finished network."""

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import msgspec
import numpy as np
import tensorflow as tf
from rich.console import Console

from cinesax._version import __version__
from cinesax.core.errors import DatasetError, OutputError, UsageError
from cinesax.train.data.disk import system_errors
from cinesax.train.data.pipeline import count_examples, training_batches, validation_batches
from cinesax.train.data.records import Dataset, verify
from cinesax.train.data.splits import ExampleSplit, cases_of
from cinesax.train.fit.board import Board, Pictures
from cinesax.train.fit.callbacks import (
    Checkpoint,
    EpochSeeds,
    HistoryFile,
    Pulse,
    Standing,
    StopOnNaN,
    Validation,
    averaged_weights,
    plain_copy,
)
from cinesax.train.fit.config import Precision, TrainConfig
from cinesax.train.fit.curves import draw_curves
from cinesax.train.fit.display import Display
from cinesax.train.fit.execution import Execution, check_devices, device_scope, set_execution, tensorflow_options
from cinesax.train.fit.preflight import device_name, preflight
from cinesax.train.fit.runs import (
    COMMANDS,
    NAN_BATCH,
    NETWORK,
    SCHEMA,
    DatasetFacts,
    Run,
    RunRecord,
    begin,
    go_on,
    load_network,
    open_run,
    save_network,
)
from cinesax.train.fit.schedule import Rate, Stage
from cinesax.train.fit.start import Start, check_start, keep_part, open_start, take_over
from cinesax.train.nets import build
from cinesax.train.nets.losses import CrossEntropyDice
from cinesax.train.nets.metrics import metrics

__all__ = ["NETWORK", "Execution", "Run", "TrainConfig", "load_network", "open_run", "train"]


def train(
    dataset: Dataset,
    folder: Path,
    config: TrainConfig,
    *,
    fold: int | None = None,
    split: ExampleSplit | None = None,
    start_from: Path | None = None,
    resume: bool = False,
    extension_rate: float | None = None,
    execution: Execution | None = None,
    console: Console | None = None,
) -> Run:
    """Train a network.

    Args:
        dataset: a prepared set; its split "train" is used.
        folder: the run folder to create (see `runs`).
        config: the settings.
        fold: the fold of the split to hold out and validate on; None: train on all, without validation (the split
            "validation" is for one evaluation at the end, with `cinesax evaluate`).
        split: used instead of a fold: exactly which examples to train and to validate on (see `splits`).
        start_from: a finished run, a bundle or the name of a shipped one, whose weights to start from. It must have
            the same network (apart from classes) and framing, and must not have seen the patients that this training
            holds out.
        resume: continue an interrupted run of the same config, or extend it if the config has more epochs.
        extension_rate: the highest learning rate of the added epochs; None: the rate with which the training ended.
        execution: threads, devices and so on.
        console: where to print progress.

    Returns:
        The finished run. `network.keras` has the EMA weights of the last epoch or, with `patience`, of the best
        validation.

    Raises:
        DatasetError: a damaged set, a fold that leaves no patients to train or validate on, or a split of another set.
        UsageError: both a fold and a split are given, the fold or the config does not fit, or the loss became NaN.
        OutputError, InputError: the run folder cannot be written or resumed.
    """
    execution = execution or Execution()
    console = console or Console(stderr=True)
    if fold is not None and split is not None:
        raise UsageError(f"fold {fold} and split {split.name} each say what to hold out: give one of them")
    held, cases = _cases(dataset, fold) if split is None else cases_of(dataset, split)
    _check_config(dataset, config, held, execution)
    verify(dataset)
    start = None if start_from is None else open_start(start_from, config.model)
    if start is None and config.keep_start:
        raise UsageError("keep_start needs a run to start from: name one with --from")
    if start is not None:
        check_start(start, config, dataset.framing, held, classes=dataset.manifest.classes)
    record = _record(dataset, config, execution, cases=cases, held=held, start=start)
    record = msgspec.structs.replace(record, fold=fold, split=split)
    run = _enter(folder, record, resume=resume, extension_rate=extension_rate)
    _note_command(folder, execution.command)
    keras.utils.set_random_seed(config.seed)
    with tensorflow_options(config, execution), _writing(folder):
        if run.state.epochs < run.epochs and not run.state.stopped:
            _fit(dataset, run, config, execution=execution, start=start, console=console)
            _check_finished(open_run(folder))
        _finish(open_run(folder), config, start)
    return open_run(folder)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Report a full disk, or another failure to write, in one line."""
    try:
        with system_errors():
            yield
    except OSError as error:
        reason = error.strerror or str(error).partition("\n")[0]
        raise OutputError(f"{folder} cannot be written: {reason}; fix that, and continue with --resume") from None


def _cases(dataset: Dataset, fold: int | None) -> tuple[list[str], list[str]]:
    cases = dataset.cases("train", fold=fold)
    held = dataset.cases("train", fold=fold, held_out=True) if fold is not None else []
    if fold is not None and not (cases and held):
        raise DatasetError(
            f"fold {fold} of {dataset.folder} leaves no patients to {'validate' if cases else 'train'} on: name "
            "another fold, or train without one"
        )
    return held, cases


def _check_config(dataset: Dataset, config: TrainConfig, held: list[str], execution: Execution) -> None:
    classes = dataset.manifest.classes
    if config.model.classes != len(classes):
        raise UsageError(
            f"{dataset.folder} has {len(classes)} classes ({', '.join(classes)}), and the network "
            f"{config.model.classes}: give --set model.classes={len(classes)}"
        )
    size, crop, factor = dataset.framing.size, config.pipeline.crop, config.model.factor
    if crop is not None and crop > size:
        raise UsageError(f"crop is {crop}, and the framed images of {dataset.folder} have {size} rows and columns")
    if not config.pipeline.at_the_heart and size % factor:
        raise UsageError(
            f"this network needs images whose rows and columns are a multiple of {factor}, and those of "
            f"{dataset.folder} have {size}: set fewer model.channels"
        )
    if config.patience is not None and not held:
        raise UsageError("patience needs held-out cases: name a fold, or set patience=none")
    check_devices(execution, batch=config.pipeline.batch)


def _record(
    dataset: Dataset,
    config: TrainConfig,
    execution: Execution,
    *,
    cases: list[str],
    held: list[str],
    start: Start | None,
) -> RunRecord:
    return RunRecord(
        schema=SCHEMA,
        config=config,
        stages=(Stage(config.epochs, config.learning_rate),),
        dataset=DatasetFacts(dataset.digest, dataset.framing, dataset.manifest.classes),
        train_cases=tuple(cases),
        held_out_cases=tuple(held),
        cases_seen=tuple(sorted({*cases, *(start.cases_seen if start else ())})),
        deterministic=execution.deterministic,
        command=execution.command,
        device=device_name(execution.threads),
        software={
            "cinesax": __version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        started_from=None if start is None else start.record,
        started_from_sha256=None if start is None else start.sha256,
    )


def _enter(folder: Path, record: RunRecord, *, resume: bool, extension_rate: float | None) -> Run:
    if resume and folder.is_dir() and any(folder.iterdir()):
        return go_on(folder, record, extension_rate)
    return begin(folder, record)


def _note_command(folder: Path, command: str) -> None:
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    try:
        with (folder / COMMANDS).open("a", encoding="utf-8") as stream:
            stream.write(f"{moment} {command}\n")
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from None


def _compile(run: Run, config: TrainConfig) -> keras.Model:
    optimizer = keras.optimizers.AdamW(
        _rate(run, config),
        weight_decay=config.weight_decay,
        global_clipnorm=config.clip_norm,
        use_ema=True,
        ema_momentum=config.average,
    )
    by_onednn = config.precision is Precision.ONEDNN_BFLOAT16
    with _policy(Precision.FLOAT32.value if by_onednn else config.precision.value):
        model = build(config.model)
    model.compile(
        optimizer=optimizer,
        loss=CrossEntropyDice(config.dice_over, false_positives=config.false_positives),
        metrics=metrics(run.classes),
        auto_scale_loss=True,
    )
    # Build the optimizer before the first step is traced: variables created during the trace would cause a second
    # trace.
    model.optimizer.build(model.trainable_variables)
    return model


def _rate(run: Run, config: TrainConfig) -> Rate:
    stages = [(stage.epochs * config.steps, stage.learning_rate) for stage in run.stages]
    return Rate(stages, config.warmup_steps)


@contextmanager
def _policy(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(str(name))
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _fit(
    dataset: Dataset, run: Run, config: TrainConfig, *, execution: Execution, start: Start | None, console: Console
) -> None:
    cases, done = list(run.record.train_cases), run.state.epochs
    facts: dict[str, Any] = {"seed": config.seed, "only": run.train_names, "threads": execution.threads}

    def batches(first: int) -> tf.data.Dataset:
        return training_batches(dataset, cases, config.pipeline, start=first, **facts)

    source = batches(done * config.steps)
    with device_scope(execution):
        if done:
            model = load_network(run.folder / str(run.state.last))
            model.optimizer.learning_rate = _rate(run, config)
        else:
            model = _compile(run, config)
            if start is not None:
                _begin_with(start, model, source, classes=run.classes, console=console)
        set_execution(model, config, execution, console)
        estimate = preflight(
            model,
            source,
            steps=(run.epochs - done) * config.steps,
            images_bytes=_images_bytes(dataset, run),
            threads=execution.threads,
        )
        console.print(estimate.line(), highlight=False, soft_wrap=True)
        display = Display(console, steps=config.steps, epochs=run.epochs, done=done)
        callbacks = [*_callbacks(dataset, run, config, lambda step: next(iter(batches(step)))), display]
        try:
            model.fit(
                source,
                initial_epoch=done,
                epochs=run.epochs,
                steps_per_epoch=config.steps,
                callbacks=callbacks,
                shuffle=False,
                verbose=0,
            )
        finally:
            # Keras calls it only if nothing interrupts; without it the terminal's cursor stays hidden.
            display.on_train_end()


def _begin_with(
    start: Start, model: keras.Model, batches: tf.data.Dataset, *, classes: Sequence[str], console: Console
) -> None:
    images = np.concatenate([np.asarray(image) for image, _ in batches.take(4)])
    anew = take_over(start, model, images, classes=classes)
    if anew:
        console.print(
            f"starts from scratch: {', '.join(anew)}; all other layers as in {start.source}",
            highlight=False,
            soft_wrap=True,
        )


def _images_bytes(dataset: Dataset, run: Run) -> int:
    # The decoded 16-bit images and 8-bit labels are kept in memory.
    examples = count_examples(dataset, run.record.train_cases, run.train_names)
    return int(examples * dataset.framing.size**2 * 3)


def _callbacks(
    dataset: Dataset, run: Run, config: TrainConfig, batch_of: Callable[[int], tuple[Any, Any]]
) -> list[keras.callbacks.Callback]:
    folder, done, standing = run.folder, run.state.epochs, Standing(run.state)
    held, board = list(run.record.held_out_cases), folder / "tensorboard"
    shown, only = (held, run.held_out_names) if held else (list(run.record.train_cases), run.train_names)
    pictures = Pictures(dataset, shown, board, held_out=bool(held), config=config.pipeline, only=only)
    validation = Validation(
        folder,
        standing,
        validation_batches(dataset, "train", held, only=only, config=config.pipeline) if held else None,
        every=config.validate_every,
        epochs=run.epochs,
        patience=config.patience,
        pictures=pictures.draw,
    )
    # The order matters: measure, validate, write the logs, and save the state last.
    return [
        EpochSeeds(config.seed),
        Pulse(config.steps * config.pipeline.batch),
        StopOnNaN(folder, config.steps, batch_of),
        validation,
        Board(board, run.record.config.to_dict(), size=config.pipeline.crop or dataset.framing.size, done=done),
        HistoryFile(folder / "history.csv", done=done),
        Checkpoint(folder, standing),
    ]


def _check_finished(run: Run) -> None:
    if run.state.epochs < run.epochs and not run.state.stopped:
        raise UsageError(
            f"the loss is not a number in epoch {run.state.epochs + 1}; {run.folder} keeps the state before it, and "
            f"the batch in {NAN_BATCH}: lower the learning rate and start again in a new folder"
        )


def _finish(run: Run, config: TrainConfig, start: Start | None) -> None:
    # Reloading the checkpoint gives the same network whether or not this process ran the last epoch.
    best = run.state.best
    if config.patience is not None and best is not None:
        network = load_network(run.folder / best.file)
    else:
        saved = load_network(run.folder / str(run.state.last))
        with averaged_weights(saved):
            network = plain_copy(saved)
    if start is not None and config.keep_start:
        keep_part(start, network, config.keep_start)
    save_network(network, run.folder / NETWORK)
    draw_curves(run.folder / "history.csv", run.folder / "curves.png")
