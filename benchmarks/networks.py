"""The networks side by side: parameters, operations, Dice, speed; each trained by one fixed recipe.

    python benchmarks/networks.py SET [--minutes 15] [--threads 2] [--only fcn unet heart] [--fold 0] [--keep FOLDER]

SET: a prepared set (`cinesax prepare ... -o SET`). Each network is trained as long as the others, `--minutes`, on
the patients outside of fold K of the split train, and compared on those of the fold as `cinesax evaluate` compares,
so the table may be used to choose. One recipe for all: the preset `unet`, but for the network: a short trial tells how
many steps fit into the time. `heart` is the way of the network that ships: its second look (the preset `heart`) has
`--minutes` of its own, and the `unet` of this table finds the heart for it. Speed: the exported graphs in ONNX
Runtime, frame by frame, on one thread and on all.

FOLDER keeps runs, bundles and times: what is finished there is not trained again, so calls with `--only`, one on each
core, and a last one for the table do as well.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cinesax.train import require

require("onnx", "tf2onnx")

from cinesax.evaluate import evaluate  # noqa: E402
from cinesax.network.passes import Pass  # noqa: E402
from cinesax.network.segmenter import load_segmenter  # noqa: E402
from cinesax.train.data.prepared import of_dataset  # noqa: E402
from cinesax.train.data.records import Dataset, open_dataset  # noqa: E402
from cinesax.train.export.bundle import export  # noqa: E402
from cinesax.train.fit.config import TrainConfig  # noqa: E402
from cinesax.train.fit.curves import read_history  # noqa: E402
from cinesax.train.fit.runs import NETWORK  # noqa: E402
from cinesax.train.fit.train import Execution, train  # noqa: E402
from cinesax.train.nets import NETWORKS, build  # noqa: E402
from cinesax.train.nets.cost import cost  # noqa: E402
from cinesax.train.presets import load  # noqa: E402

_TRIAL_STEPS, _EPOCHS = 20, 20
FINDER, HEART = "unet", "heart"
NAMES = ("fcn", FINDER, HEART)


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
    """The preset `unet` with another network, or the preset `heart`."""
    base = load(HEART if name == HEART else "unet")
    model = base.model if name == HEART else NETWORKS[name].config()
    return replace(base, model=replace(model, classes=len(dataset.manifest.classes)), validate_every=_EPOCHS)


def fitted(config: TrainConfig, dataset: Dataset, folder: Path, args: argparse.Namespace) -> TrainConfig:
    """The config with as many steps as fit into the time."""
    trial = replace(config, epochs=3, steps=_TRIAL_STEPS)
    run = train(dataset, folder, trial, fold=args.fold, execution=Execution(threads=args.threads))
    speed = read_history(run.folder / "history.csv")["images_per_second"][-1]
    steps = round(60 * args.minutes * speed / config.pipeline.batch / _EPOCHS)
    return replace(config, epochs=_EPOCHS, steps=max(1, steps))


def trained(name: str, dataset: Dataset, folder: Path, args: argparse.Namespace) -> dict[str, float]:
    """Train one network where that is not done yet; what it took."""
    done = folder / f"{name}.json"
    if not (done.is_file() and (folder / name / NETWORK).is_file()):
        for left in (folder / name, folder / f"{name}-trial"):
            shutil.rmtree(left, ignore_errors=True)
        config = fitted(recipe(name, dataset), dataset, folder / f"{name}-trial", args)
        began = time.perf_counter()
        train(dataset, folder / name, config, fold=args.fold, execution=Execution(threads=args.threads))
        images = config.epochs * config.steps * config.pipeline.batch
        took = {"minutes": (time.perf_counter() - began) / 60, "images": images, "threads": args.threads}
        done.write_text(json.dumps(took), encoding="utf-8")
    return dict(json.loads(done.read_text(encoding="utf-8")))


def frames_per_second(bundle: Path, threads: int) -> float:
    """Frames through the graph that draws, one at a time: a finder sees only a few frames of a study."""
    segmenter = load_segmenter(bundle, threads=threads)
    bundle = segmenter.bundle
    size = bundle.framing.size if bundle.heart is None else bundle.heart.crop
    return 1 / _seconds_a_frame(segmenter.refiner, size)


def _seconds_a_frame(network: Pass, size: int, *, seconds: float = 5.0) -> float:
    image = np.random.default_rng(0).random((1, size, size, network.channels)).astype(np.float32)
    network.run(image)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        network.run(image)
        count += 1
    return (time.perf_counter() - began) / count


def compare(dataset: Dataset, bundle: Path, fold: int) -> np.ndarray:
    """Dice of every slice of the fold, as `cinesax evaluate --fold` has it."""
    segmenter = load_segmenter(bundle).on_framed(dataset.framing)
    return evaluate(of_dataset(dataset, "train", fold=fold), segmenter.segment).dice


def row(name: str, dataset: Dataset, folder: Path, args: argparse.Namespace) -> Row:
    """Train and measure one network."""
    took = trained(name, dataset, folder, args)
    looks = (FINDER, HEART) if name == HEART else (name,)
    finder = folder / FINDER if name == HEART else None
    bundle = export(folder / name, folder / f"{name}-bundle", name=name, finder=finder).folder
    spent = [spent_by(one, dataset) for one in looks]
    speeds = frames_per_second(bundle, 1), frames_per_second(bundle, os.cpu_count() or 1)
    parameters, operations = (sum(column) for column in zip(*spent, strict=True))
    dice = compare(dataset, bundle, args.fold)
    return Row(", then ".join(looks), parameters, operations / 1e9, int(took["images"]), took["minutes"], dice, speeds)


def spent_by(name: str, dataset: Dataset) -> tuple[int, int]:
    """Parameters and multiply-adds a frame."""
    config = recipe(name, dataset)
    size = config.pipeline.crop if name == HEART else dataset.framing.size
    spent = cost(build(config.model, size=size), size)
    return spent.parameters, spent.multiply_adds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="SET")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of the training")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep runs and bundles here")
    args = parser.parse_args()
    dataset = open_dataset(args.data)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
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
