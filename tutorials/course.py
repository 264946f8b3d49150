"""Shared by the lessons: the images, the recipe, the scores of a network, the display of pictures.

Nothing here is needed outside of the lessons; all of it stands on the package's public API.
"""

import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console

from cinesax.core.cine import Cine
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import Structure
from cinesax.evaluate import LabelledStudy, dice
from cinesax.network.framing import Framing
from cinesax.phantom import draw_settings, make_truth, render_frames
from cinesax.train import require

require()

import keras  # noqa: E402

from cinesax.train.data.augment import Augmentation  # noqa: E402
from cinesax.train.data.examples import Example, Kind, from_pairs, from_phantoms  # noqa: E402
from cinesax.train.data.pipeline import PipelineConfig, validation_batches  # noqa: E402
from cinesax.train.data.records import Dataset, open_dataset, write_dataset  # noqa: E402
from cinesax.train.fit.pictures import panel  # noqa: E402
from cinesax.train.fit.train import Run, TrainConfig, load_network, train  # noqa: E402
from cinesax.train.nets import FCNConfig, NetworkConfig, UNetConfig, build  # noqa: E402

HERE = Path(__file__).resolve().parent
FOLD = 0


@dataclass(frozen=True)
class Course:
    """The working folder, data and length of a lesson.

    Attributes:
        data: a folder with `train` and `validation`, each with `images/` and `labels/`; None: synthetic hearts.
        small: only to see that everything runs; what is learned is nothing.
        work: sets, trainings and pictures lie here; lessons find what earlier ones made.
    """

    data: Path | None
    small: bool
    work: Path

    def pick(self, full: int, small: int) -> int:
        """The lesson's number, or the smaller number of a quick run."""
        return small if self.small else full


def begin(data: str | None = None) -> Course:
    """A lesson's course, from `data` or from the environment (see README.md); seeds every random number."""
    given = data or os.environ.get("CINESAX_TUTORIAL_DATA")
    folder = Path(given).expanduser().resolve() if given else None
    small = os.environ.get("CINESAX_TUTORIAL_SMALL", "") not in ("", "0")
    name = "phantom" if folder is None else f"{folder.name}-{zlib.crc32(str(folder).encode()):08x}"
    top = Path(os.environ.get("CINESAX_TUTORIAL_WORK", HERE.parent / "runs" / "tutorials"))
    keras.utils.set_random_seed(1)
    return Course(folder, small, top / (f"{name}-small" if small else name))


def open_set(course: Course) -> Dataset:
    """The prepared set of the course, made by the first lesson that needs it."""
    folder = course.work / "set"
    if folder.is_dir():
        return open_dataset(folder)
    splits = {split: _examples(course, split) for split in ("train", "validation")}
    return write_dataset(splits, folder, framing=Framing(), folds=3)


def _examples(course: Course, split: str) -> Iterator[Example]:
    if course.data is not None:
        yield from from_pairs(course.data / split, Framing())
        return
    seeds, frames = range(course.pick(48, 6)), course.pick(8, 3)
    if split == "validation":
        seeds = range(1000, 1000 + course.pick(12, 2))
    for example in from_phantoms(seeds, Framing(), frames_each=frames):
        # Phantoms are in no fold, because they usually help to train for patients. Here they are the patients.
        yield replace(example, kind=Kind.STUDY)


def held_out(dataset: Dataset) -> list[str]:
    """The patients that no lesson trains on, for comparing networks."""
    return dataset.cases("train", fold=FOLD, held_out=True)


def training(dataset: Dataset) -> list[str]:
    """All other patients of the split."""
    return dataset.cases("train", fold=FOLD)


def load(dataset: Dataset, cases: Sequence[str], size: int = 256) -> tuple[NDArray, NDArray]:
    """All frames of patients of the split "train", reduced to means of square blocks.

    Returns:
        images (frame, size, size, 1), float32, 0 to 1; labels (frame, size, size, 2), float32: the background's channel
        and the cavity's, one of them 1 (by the majority of a block).
    """
    batches = list(validation_batches(dataset, "train", cases))
    images, labels = (np.concatenate([np.asarray(batch[part]) for batch in batches]) for part in (0, 1))
    cavity = blocks(labels[..., 1], size) >= 0.5
    return blocks(images[..., 0], size)[..., None], np.stack([~cavity, cavity], axis=-1).astype(np.float32)


def blocks(frames: NDArray, size: int) -> NDArray:
    """(frame, row, column) -> (frame, size, size): means of square blocks."""
    step = frames.shape[1] // size
    return frames.reshape(len(frames), size, step, size, step).mean(axis=(2, 4))


def enlarge(frames: NDArray, size: int) -> NDArray:
    """(frame, row, column) -> (frame, size, size): each pixel becomes a block."""
    step = size // frames.shape[1]
    return frames.repeat(step, axis=1).repeat(step, axis=2)


def probabilities(network: keras.Model, images: NDArray) -> NDArray:
    """(frame, row, column): the network's probability of cavity."""
    parts = [np.asarray(network(images[at : at + 8], training=False)) for at in range(0, len(images), 8)]
    return np.concatenate(parts)[..., 1]


@dataclass(frozen=True)
class Judgement:
    """For each frame, the accuracy over its pixels and the Dice of the cavity."""

    accuracy: NDArray
    dice: NDArray

    def row(self, name: str) -> list[str]:
        """A row of a table with the columns `COLUMNS`."""
        return [name, f"{100 * self.accuracy.mean():.2f} %", f"{self.dice.mean():.3f}"]


COLUMNS = ["", "accuracy", "Dice"]


def judge(predicted: NDArray, truth: NDArray) -> Judgement:
    """Compare masks, both (frame, row, column), frame by frame, without leaving any out."""
    predicted, truth = np.asarray(predicted) >= 0.5, np.asarray(truth) >= 0.5
    each = np.array([dice(true, drawn) for true, drawn in zip(truth, predicted, strict=True)])
    return Judgement((predicted == truth).mean(axis=(1, 2)), each)


def recipe(course: Course, model: NetworkConfig) -> TrainConfig:
    """The recipe of lessons 3 to 7, the same for every network: 128 x 128 crops, a quarter of the work of whole frames.

    A crop lies anywhere in the frame, and is turned, stretched and given another contrast, differently each time: so
    the network hardly ever sees the same image twice, and learns less by heart.
    """
    return TrainConfig(
        model=model,
        pipeline=PipelineConfig(batch=course.pick(8, 2), crop=course.pick(128, 64), augmentation=Augmentation()),
        epochs=course.pick(9, 2),
        steps=course.pick(50, 2),
        learning_rate=3e-3,
        warmup_steps=20,
        average=0.98,
        validate_every=course.pick(3, 1),
        xla=False,
    )


def networks(course: Course) -> dict[str, NetworkConfig]:
    """The networks of lessons 3 to 7: small networks with about the same number of multiplications for a frame."""
    if course.small:
        return {
            "fcn": FCNConfig(channels=(4, 4), bottom=(4,)),
            "unet": UNetConfig(channels=(4, 4), stem=4, dropout=0.0),
        }
    return {
        "fcn": FCNConfig(channels=(32, 96), bottom=(128, 128)),
        "unet": UNetConfig(channels=(8, 16, 32, 48), stem=8, dropout=0.0),
    }


def trained(course: Course, name: str) -> tuple[Run, keras.Model]:
    """A finished training of one of `networks`; if an earlier lesson finished it, it is only opened."""
    model = networks(course)[name]
    run = train(open_set(course), course.work / name, recipe(course, model), fold=FOLD, resume=True, console=_console())
    network = build(model)
    network.set_weights(load_network(run.folder / "network.keras").get_weights())
    return run, network


def _console() -> Console:
    return Console(file=sys.stdout, force_terminal=False, force_jupyter=False, width=110)


def studies(course: Course) -> Iterator[LabelledStudy]:
    """Patients of the split "validation", each with all its labelled slices at ED and ES, on their own pixels."""
    if course.data is not None:
        from cinesax.evaluate.labelled import of_pairs

        yield from of_pairs(course.data / "validation")
        return
    for seed in range(1000, 1000 + course.pick(12, 2)):
        settings = draw_settings(seed, **(_COARSE if course.small else {}))
        volumes = make_truth(settings)[2]
        ends = [0, int(volumes.argmin())]
        grid, truth, _ = make_truth(settings, phases=ends)
        frames = [(phase, index) for phase in ends for index in range(settings.n_slices)]
        pixels = render_frames(settings, frames)[0].reshape(2, *grid.shape)
        cavity = np.where(truth.labels == Structure.CAVITY, truth.labels, 0).astype(np.uint8)
        known = Segmentation(cavity, {Structure.CAVITY: np.ones(2, dtype=bool)}, author="truth")
        names = {place: f"PHANTOM-{seed:06d}-s{place[1]:02d}-p{place[0]}" for place in np.ndindex(*pixels.shape[:2])}
        yield LabelledStudy(f"PHANTOM-{seed:06d}", names, Cine(pixels, grid, base_first=settings.base_first), known)


_COARSE: dict[str, Any] = {"n_phases": 8, "slice_distance_mm": 16.0}


def shown(folder: Path) -> str:
    """A folder as typed in the project folder."""
    return str(folder.relative_to(HERE.parent)) if folder.is_relative_to(HERE.parent) else str(folder)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    widths = [max(len(str(line[at])) for line in [columns, *rows]) for at in range(len(columns))]
    for line in [columns, ["-" * width for width in widths], *rows]:
        first, *others = (str(cell) for cell in line)
        print(first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)))


def show(figure: Figure, course: Course, name: str) -> None:
    """Save a figure as WORK/figures/NAME.png, and show it if the lesson runs as a notebook."""
    path = course.work / "figures" / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    if course.small:
        figure.set_layout_engine("none")  # which takes longer than to draw
    figure.savefig(path, dpi=course.pick(80, 40))
    if "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None:
        from IPython.display import Image, display

        display(Image(path.read_bytes(), format="png"))


def examples(truth: NDArray, count: int = 3) -> NDArray:
    """Numbers of frames with LV, (count,): the largest cavity first, the others from equal steps down the sizes."""
    areas = np.asarray(truth).sum(axis=(1, 2))
    order = np.argsort(-areas, kind="stable")[: int((areas > 0).sum())]
    return order[:: max(1, len(order) // count)][:count]


def pictures(rows: Sequence[tuple[str, NDArray, NDArray, NDArray]], *, crop: int | None = None) -> Figure:
    """Input, truth, prediction and difference, a row for each (title, image, truth mask, predicted mask).

    Args:
        rows: images and masks, (row, column).
        crop: only this many rows and columns around the middle of truth and prediction.
    """
    figure = Figure(figsize=(10, 2.9 * len(rows)), layout="constrained")
    for axes, (title, image, truth, predicted) in zip(
        figure.subplots(len(rows), 1, squeeze=False).flat, rows, strict=True
    ):
        parts = [np.asarray(part) for part in (image, np.asarray(truth) >= 0.5, np.asarray(predicted) >= 0.5)]
        if crop is not None:
            parts = [part[_window(parts[1] | parts[2], crop)] for part in parts]
        axes.imshow(panel(parts[0], parts[1].astype(int), parts[2].astype(int)), interpolation="nearest")
        axes.set_title(title, fontsize=10)
        width = parts[0].shape[1]
        axes.set_xticks([(number + 0.5) * width - 0.5 for number in range(4)], _PARTS)
        axes.set_yticks([])
        axes.tick_params(length=0, labelsize=9)
        for side in axes.spines.values():
            side.set_visible(False)
    return figure


_PARTS = ("input", "truth", "prediction", "difference\n(orange: too much, blue: missed)")


def _window(mask: NDArray, crop: int) -> tuple[slice, slice]:
    middle = np.argwhere(mask).mean(axis=0) if mask.any() else np.array(mask.shape) / 2
    first = [int(np.clip(m - crop / 2, 0, max(0, n - crop))) for m, n in zip(middle, mask.shape, strict=True)]
    return slice(first[0], first[0] + crop), slice(first[1], first[1] + crop)
