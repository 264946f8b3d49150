"""Keras callbacks of the training."""

import csv
import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from cinesax.formats.stored_files import replacing


@contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Within it, the model has the moving average of its weights (the optimizer's), after it its own again."""
    own = [variable.numpy() for variable in model.trainable_variables]
    model.optimizer.finalize_variable_values(model.trainable_variables)
    try:
        yield
    finally:
        for variable, value in zip(model.trainable_variables, own, strict=True):
            variable.assign(value)


class Checkpoint(keras.callbacks.Callback):
    """After every epoch: the whole state of the training, under a temporary name and then renamed.

    `last.keras` holds network, optimizer and moving average; `state.json` the number of finished epochs. An epoch
    whose loss is no number is not written: the state before it stays.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the state."""
        if not math.isfinite((logs or {}).get("loss", 0.0)):
            return
        work = self.folder / ".last.tmp.keras"
        self.model.save(work)
        state = self.folder / ".state.tmp"
        state.write_text(json.dumps({"epochs": epoch + 1}) + "\n", encoding="utf-8")
        # The network first: a kill between the two repeats an epoch, it does not skip one.
        os.replace(work, self.folder / "last.keras")
        os.replace(state, self.folder / "state.json")


class HistoryFile(keras.callbacks.Callback):
    """`history.csv`: one row an epoch, one column for everything in the logs; NA where an epoch has no such value.

    The whole file is written anew after every epoch: a resumed training takes over the rows of the epochs that its
    checkpoint has finished and no others, and its columns stay in their places.
    """

    def __init__(self, path: Path, *, done: int) -> None:
        super().__init__()
        self.path = path
        self.rows: list[dict[str, Any]] = []
        if done and path.is_file():
            with path.open(newline="", encoding="utf-8") as stream:
                self.rows = [dict(row) for row in csv.DictReader(stream) if int(row["epoch"]) < done]

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add a row."""
        self.rows.append({"epoch": epoch, **(logs or {})})
        columns = dict.fromkeys(name for row in self.rows for name in row)
        with replacing(self.path) as work, work.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(columns), restval="NA")
            writer.writeheader()
            writer.writerows(self.rows)


class Validate(keras.callbacks.Callback):
    """Every few epochs and after the last, the loss and metrics of the averaged weights on held-out cases."""

    def __init__(self, batches: Any, *, every: int, epochs: int) -> None:
        super().__init__()
        self.batches = batches
        self.every = every
        self.epochs = epochs

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add val_loss, val_dice, ... to the logs."""
        if logs is None or ((epoch + 1) % self.every and epoch + 1 != self.epochs):
            return
        with averaged_weights(self.model):
            result = self.model.evaluate(self.batches, verbose=0, return_dict=True)
        logs.update({f"val_{name}": value for name, value in result.items()})


class Pulse(keras.callbacks.Callback):
    """Adds images a second and the learning rate to the logs of each epoch."""

    def __init__(self, images_an_epoch: int) -> None:
        super().__init__()
        self.images = images_an_epoch
        self.started = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock."""
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add to the logs."""
        if logs is not None:
            logs["images_per_second"] = self.images / (time.perf_counter() - self.started)
            logs["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))


class Display(keras.callbacks.Callback):
    """A progress bar on a terminal; one line an epoch anywhere else."""

    def __init__(self, console: Console, *, steps: int, epochs: int, done: int = 0) -> None:
        super().__init__()
        self.console = console
        self.steps, self.epochs, self.done = steps, epochs, done
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
        )
        self.progress = Progress(*columns, console=console) if console.is_terminal else None
        self.task = TaskID(0)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Show the bar."""
        if self.progress:
            total, done = self.steps * self.epochs, self.steps * self.done
            self.task = self.progress.add_task("training", total=total, completed=done, note="")
            self.progress.start()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Move the bar."""
        if self.progress:
            self.progress.update(self.task, advance=1)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Say how the epoch went."""
        words = [f"{name} {value:.4g}" for name, value in (logs or {}).items()]
        line = f"epoch {epoch + 1}/{self.epochs}: " + ", ".join(words)
        if self.progress:
            self.progress.update(self.task, note=line)
        else:
            self.console.print(line, highlight=False, soft_wrap=True)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Take the bar away."""
        if self.progress:
            self.progress.stop()
