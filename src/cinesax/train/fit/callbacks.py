"""Keras callbacks: save the state, the history and the best network, seed each epoch, and stop the training."""

import csv
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from cinesax.files.stored_files import replacing
from cinesax.train.fit.runs import NAN_BATCH, Best, State, save_network, write_state


@contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Inside this context the model has its EMA weights (kept by the optimizer); afterwards its own weights return."""
    own = [variable.numpy() for variable in model.trainable_variables]
    model.optimizer.finalize_variable_values(model.trainable_variables)
    try:
        yield
    finally:
        for variable, value in zip(model.trainable_variables, own, strict=True):
            variable.assign(value)


def plain_copy(model: keras.Model) -> keras.Model:
    """A copy of the network with its current weights, without optimizer, loss and metrics."""
    plain = keras.models.clone_model(model)
    plain.set_weights(model.get_weights())
    return plain


class Standing:
    """The state of the training, which `Validation` and `Checkpoint` both update."""

    def __init__(self, state: State) -> None:
        self.state = state


class Checkpoint(keras.callbacks.Callback):
    """Saves the whole state of the training after every epoch.

    If the loss of an epoch is NaN, nothing is saved: the previous state stays.
    """

    def __init__(self, folder: Path, standing: Standing) -> None:
        super().__init__()
        self.folder = folder
        self.standing = standing

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the state."""
        if not math.isfinite((logs or {}).get("loss", 0.0)):
            return
        name = f"last-{epoch + 1:04d}.keras"
        save_network(self.model, self.folder / name)
        self.standing.state = replace(self.standing.state, epochs=epoch + 1, last=name)
        write_state(self.folder, self.standing.state)


class HistoryFile(keras.callbacks.Callback):
    """`history.csv`: one row per epoch, one column per log value; NA if an epoch lacks the value.

    The whole file is rewritten after every epoch. So a resumed training keeps the rows up to its checkpoint and drops
    later ones, and the columns keep their order.
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


class Validation(keras.callbacks.Callback):
    """Validates the EMA weights every few epochs and after the last one.

    With held-out cases, their loss and metrics go into the logs as val_loss, val_dice, ..., and the best network is
    kept. The training stops after `patience` validations without a better Dice.
    """

    def __init__(
        self,
        folder: Path,
        standing: Standing,
        batches: Any | None,
        *,
        every: int,
        epochs: int,
        patience: int | None,
        pictures: Callable[[keras.Model, int], None],
    ) -> None:
        super().__init__()
        self.folder, self.standing, self.batches = folder, standing, batches
        self.every, self.epochs, self.patience = every, epochs, patience
        self.pictures = pictures

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Validate if it is due."""
        if logs is None or ((epoch + 1) % self.every and epoch + 1 != self.epochs):
            return
        if not math.isfinite(logs.get("loss", 0.0)):
            return
        with averaged_weights(self.model):
            if self.batches is not None:
                result = self.model.evaluate(self.batches, verbose=0, return_dict=True)
                logs.update({f"val_{name}": value for name, value in result.items()})
                self._judge(epoch, float(result["dice"]))
            self.pictures(self.model, epoch)

    def _judge(self, epoch: int, dice: float) -> None:
        state = self.standing.state
        if state.best is None or dice > state.best.dice:
            best = Best(epoch, dice, f"best-{epoch + 1:04d}.keras")
            save_network(plain_copy(self.model), self.folder / best.file)
            self.standing.state = replace(state, best=best, waited=0)
            return
        waited = state.waited + 1
        stopped = self.patience is not None and waited >= self.patience
        self.standing.state = replace(state, waited=waited, stopped=stopped)
        self.model.stop_training = stopped


class Pulse(keras.callbacks.Callback):
    """Adds images per second and the learning rate to the logs of each epoch."""

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


class EpochSeeds(keras.callbacks.Callback):
    """Seeds the network's randomness (dropout) from the seed and the epoch, in a fresh or a resumed process alike.

    Keras advances a state that it does not save. Without this, a resumed training would drop other channels.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Set the states."""
        variables = [variable for variable in self.model.variables if "seed_generator_state" in variable.path]
        for number, variable in enumerate(variables):
            variable.assign(np.array([self.seed, 1000 * epoch + number], np.uint32))


class StopOnNaN(keras.callbacks.Callback):
    """Stops the training when the loss becomes NaN, and saves the batch.

    `nan-batch.npz`: step, images (batch, row, column, 1) and labels (batch, row, column, classes) of that batch. The
    batch number determines the content of a batch, so the batch is made again, not kept in memory.
    """

    def __init__(self, folder: Path, steps: int, batch_of: Callable[[int], tuple[Any, Any]]) -> None:
        super().__init__()
        self.folder, self.steps, self.batch_of = folder, steps, batch_of
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remember which."""
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Check the loss."""
        if math.isfinite((logs or {}).get("loss", 0.0)):
            return
        self.model.stop_training = True
        step = self.epoch * self.steps + batch
        images, labels = self.batch_of(step)
        with replacing(self.folder / NAN_BATCH) as work, work.open("wb") as stream:
            np.savez_compressed(stream, step=step, images=np.asarray(images), labels=np.asarray(labels))
