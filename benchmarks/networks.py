"""The networks side by side: parameters, operations, Dice, speed; each trained by one fixed recipe.

    python benchmarks/networks.py SET [--minutes 15] [--only unet fcn] [--fold 0] [--keep FOLDER]

SET: a prepared set (`cinesax prepare ... -o SET`). Each network is trained as long as the others, `--minutes`, on
the patients outside of fold K of the split train, and compared on those of the fold as `cinesax evaluate` compares,
so the table may be used to choose. One recipe for all: the preset `unet`, but for the network: a short trial tells how
many steps fit into the time. Speed: the exported graph in ONNX Runtime, frame by frame, on one thread and on all.
"""

import argparse
import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cinesax import learn

learn.require("onnx", "tf2onnx")

from cinesax.cli.prepared import of_dataset  # noqa: E402
from cinesax.evaluate import evaluate  # noqa: E402
from cinesax.learn.config import TrainConfig  # noqa: E402
from cinesax.learn.curves import read_history  # noqa: E402
from cinesax.learn.export import export  # noqa: E402
from cinesax.learn.models import NETWORKS, build  # noqa: E402
from cinesax.learn.models.cost import cost  # noqa: E402
from cinesax.learn.presets import load  # noqa: E402
from cinesax.learn.records import Dataset, open_dataset  # noqa: E402
from cinesax.learn.train import Execution, train  # noqa: E402
from cinesax.segmenter import load_segmenter  # noqa: E402

_TRIAL_STEPS, _EPOCHS = 20, 20


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    parameters: int
    giga_multiply_adds: float
    images: int
    minutes: float
    dice: np.ndarray
    frames_per_second: tuple[float, float]

    def line(self) -> str:
        """As printed."""
        one, every = self.frames_per_second
        return (
            f"| {self.name} | {self.parameters:,} | {self.giga_multiply_adds:.2f} | {self.images:,} | "
            f"{self.minutes:.1f} | {self.dice.mean():.3f} | {np.median(self.dice):.3f} | "
            f"{np.mean(self.dice < 0.5):.1%} | {one:.0f} | {every:.0f} |"
        )


def recipe(name: str, dataset: Dataset) -> TrainConfig:
    """The preset `unet` with another network."""
    model = replace(NETWORKS[name].config(), classes=len(dataset.manifest["classes"]))
    return replace(load("unet"), model=model, validate_every=_EPOCHS)


def fitted(config: TrainConfig, dataset: Dataset, folder: Path, *, fold: int, minutes: float) -> TrainConfig:
    """The config with as many steps as fit into the time."""
    trial = replace(config, epochs=3, steps=_TRIAL_STEPS)
    run = train(dataset, folder, trial, fold=fold, execution=Execution(threads=os.cpu_count() or 1))
    speed = read_history(run.folder / "history.csv")["images_per_second"][-1]
    steps = round(60 * minutes * speed / config.pipeline.batch / _EPOCHS)
    return replace(config, epochs=_EPOCHS, steps=max(1, steps))


def frames_per_second(bundle: Path, threads: int, *, seconds: float = 5.0) -> float:
    """Frames through the graph, one at a time."""
    segmenter = load_segmenter(bundle, threads=threads)
    size = segmenter.bundle.framing.size
    frame = np.random.default_rng(0).random((1, size, size, 1)).astype(np.float32)
    feed = {segmenter.bundle.input_name: frame}
    segmenter.session.run(None, feed)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        segmenter.session.run(None, feed)
        count += 1
    return count / (time.perf_counter() - began)


def compare(dataset: Dataset, bundle: Path, fold: int) -> np.ndarray:
    """Dice of every slice of the fold, as `cinesax evaluate --fold` has it."""
    segmenter = load_segmenter(bundle).on_framed(dataset.framing)
    return evaluate(of_dataset(dataset, "train", fold=fold), segmenter.segment).dice


def row(name: str, dataset: Dataset, folder: Path, args: argparse.Namespace) -> Row:
    """Train and measure one network."""
    config = recipe(name, dataset)
    config = fitted(config, dataset, folder / f"{name}-trial", fold=args.fold, minutes=args.minutes)
    began = time.perf_counter()
    execution = Execution(threads=os.cpu_count() or 1)
    run = train(dataset, folder / name, config, fold=args.fold, execution=execution)
    lasted = time.perf_counter() - began
    bundle = export(run.folder, folder / f"{name}-bundle", name=name).folder
    size = dataset.framing.size
    spent = cost(build(config.model, size=size), size)
    speeds = frames_per_second(bundle, 1), frames_per_second(bundle, os.cpu_count() or 1)
    images = config.epochs * config.steps * config.pipeline.batch
    dice = compare(dataset, bundle, args.fold)
    return Row(name, spent.parameters, spent.multiply_adds / 1e9, images, lasted / 60, dice, speeds)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="SET")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep runs and bundles here")
    args = parser.parse_args()
    dataset = open_dataset(args.data)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        rows = [row(name, dataset, folder, args) for name in args.only]
    print(
        "| network | parameters | G multiply-adds a frame | images seen | minutes | Dice mean | median | below 0.5 ",
        end="",
    )
    print("| frames/s, 1 thread | all |")
    print("| --- |" + " ---: |" * 9)
    for line in rows:
        print(line.line())


if __name__ == "__main__":
    main()
