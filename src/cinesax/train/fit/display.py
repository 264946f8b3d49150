"""What a training says on the terminal."""

from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


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
