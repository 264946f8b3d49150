"""The curves of a training as a picture, without TensorBoard."""

import csv
import math
import os
import warnings
from pathlib import Path

from cinesax.files.stored_files import replacing


def read_history(path: Path) -> dict[str, list[float]]:
    """The columns of a history.csv; NaN if an epoch lacks the value."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    names = list(rows[0]) if rows else []
    return {name: [math.nan if row[name] == "NA" else float(row[name]) for row in rows] for name in names}


def draw_curves(history: Path, picture: Path) -> None:
    """Loss, Dice, accuracy and learning rate over the epochs, as PNG.

    Args:
        history: the history.csv of a run; if it has no rows, nothing is drawn.
        picture: path of the PNG.
    """
    columns = read_history(history)
    if not columns:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # matplotlib warns about fonts and caches
        from matplotlib.figure import Figure

        # Fixed margins: to compute them takes longer than to draw, and every training draws.
        figure = Figure(figsize=(10, 7))
        figure.subplots_adjust(left=0.08, right=0.98, bottom=0.08, top=0.94, hspace=0.15, wspace=0.2)
        panels = figure.subplots(2, 2, sharex=True)
        epochs = [epoch + 1 for epoch in columns["epoch"]]
        for axes, name in zip(panels.flat, ("loss", "dice", "accuracy", "learning_rate"), strict=True):
            axes.plot(epochs, columns[name], label="training, augmented")
            seen = [(e, v) for e, v in zip(epochs, columns.get(f"val_{name}", []), strict=False) if not math.isnan(v)]
            if seen:
                axes.plot(*zip(*seen, strict=True), "o-", label="held out, averaged weights")
            axes.set_title(name.replace("_", " "))
            axes.grid(alpha=0.3)
            axes.xaxis.get_major_locator().set_params(integer=True)
        panels[0, 0].legend(loc="upper right")
        panels[1, 1].set_yscale("log")
        for axes in panels[1]:
            axes.set_xlabel("epoch")
        with replacing(picture) as work:
            figure.savefig(os.fspath(work), format="png", dpi=100)
