"""What a training prints on the terminal."""

import time
from collections.abc import Callable
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


def duration(seconds: float) -> str:
    """A time in words: "40 s", "12 min", "3.5 h"."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class Display(keras.callbacks.Callback):
    """One line for each epoch, and on a terminal a progress bar below these lines.

    Args:
        console: where to print.
        steps: batches in an epoch.
        epochs: epochs of the whole training.
        done: epochs that earlier processes finished.
        clock: returns the time in seconds.
    """

    def __init__(
        self,
        console: Console,
        *,
        steps: int,
        epochs: int,
        done: int = 0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__()
        self.console, self.clock = console, clock
        self.steps, self.epochs, self.done = steps, epochs, done
        self.began = clock()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TimeRemainingColumn(),
        )
        self.progress = Progress(*columns, console=console) if console.is_terminal else None
        self.task = TaskID(0)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Show the bar."""
        self.began = self.clock()
        if self.progress:
            total, done = self.steps * self.epochs, self.steps * self.done
            self.task = self.progress.add_task("training", total=total, completed=done)
            self.progress.start()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Move the bar."""
        if self.progress:
            self.progress.update(self.task, advance=1)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Print the scores of the epoch, and the time left at the speed measured so far.

        Validation scores come first: a narrow terminal or a log viewer may cut off the end of the line.
        """
        scores = sorted((logs or {}).items(), key=lambda score: not score[0].startswith("val_"))
        words = [f"{name} {value:.4g}" for name, value in scores]
        left = (self.clock() - self.began) / (epoch + 1 - self.done) * (self.epochs - epoch - 1)
        line = f"epoch {epoch + 1}/{self.epochs}: {', '.join(words)} ({duration(left)} left)"
        # On a terminal, rich prints the line above the bar.
        self.console.print(line, highlight=False, soft_wrap=True)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Remove the bar."""
        if self.progress:
            self.progress.stop()
