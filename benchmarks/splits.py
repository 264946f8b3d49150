"""What a split by slice hides: each split's own estimate, beside what the same network does on new patients.

    python benchmarks/splits.py SET --keep FOLDER [--minutes 15 | --epochs 20 --steps 100] [--seeds 0 1 2] [--threads 2]

SET: a prepared set with splits "train" and "validation" (`cinesax prepare ... --validation ... -o SET`). One network
(the preset `unet`, no phantoms) is trained by one recipe on the training slices of each split: the course's own
(`course-234-26`), `slices-52` (52 slices drawn without regard to patients) and `patients-52` (52 slices of patients
who do not train at all). `slices-N` and `patients-N` of one N are thinned by chance to equal numbers of slices on both
sides. Then two figures of each finished network: the mean Dice of the slices that its split holds out, which is what
its trainer would report, and that of all slices of "validation": other patients. Both are of the bare network, frame
by frame, without any cleaning.

FOLDER keeps runs (`SPLIT-seed-N`) and figures (`scores.json` in each): started again with the same options, what is
finished is not done again, and an interrupted training goes on. With `--minutes` a trial of the first split says how
many steps fit into the time; they are kept in plan.json, and all trainings have as many.
"""

import argparse
import json
import os
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cinesax.train import require

require()

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402

from cinesax.evaluate import dice  # noqa: E402
from cinesax.files.stored_files import replacing  # noqa: E402
from cinesax.train.data.pipeline import CAVITY, validation_batches  # noqa: E402
from cinesax.train.data.records import Dataset, open_dataset  # noqa: E402
from cinesax.train.data.splits import COURSE, COURSE_HELD_OUT, ExampleSplit, equal_numbers, split_examples  # noqa: E402
from cinesax.train.fit.config import TrainConfig  # noqa: E402
from cinesax.train.fit.curves import read_history  # noqa: E402
from cinesax.train.fit.runs import NETWORK, Run, load_network  # noqa: E402
from cinesax.train.fit.train import Execution, train  # noqa: E402
from cinesax.train.presets import load  # noqa: E402

DEFAULT = (COURSE, "slices-52", "patients-52")
_TRIAL_STEPS, _EPOCHS = 20, 20


@dataclass(frozen=True)
class Result:
    """One trained network.

    Attributes:
        split: the name of its split.
        seed: of the draw and of the training.
        trained: slices that trained.
        held_out: slices that were held out.
        shared: patients on both sides of the split.
        own: Dice of each held-out slice.
        validation: Dice of each slice of the set's split "validation".
    """

    split: str
    seed: int
    trained: int
    held_out: int
    shared: int
    own: tuple[float, ...]
    validation: tuple[float, ...]


def draw(dataset: Dataset, names: list[str], seed: int) -> list[ExampleSplit]:
    """The splits; of equal numbers where one by slice and one by patient hold out as many."""
    splits = {name: split_examples(dataset, name, seed=seed) for name in names}
    for name in names:
        partner = f"patients-{COURSE_HELD_OUT if name == COURSE else name.rpartition('-')[2]}"
        if partner != name and partner in splits:
            splits[name], splits[partner] = equal_numbers(dataset, splits[name], splits[partner], seed=seed)
    return list(splits.values())


def recipe(dataset: Dataset, args: argparse.Namespace, first: ExampleSplit) -> TrainConfig:
    """The same settings for all trainings; plan.json keeps them from one start to the next."""
    config = load("unet")
    model = replace(config.model, classes=len(dataset.manifest.classes))
    config = replace(config, model=model, pipeline=replace(config.pipeline, phantom_share=0.0))
    plan = args.keep / "plan.json"
    asked = {"dataset": dataset.digest, "minutes": args.minutes, "epochs": args.epochs, "steps": args.steps}
    if plan.is_file():
        kept = json.loads(plan.read_text(encoding="utf-8"))
        if kept["asked"] != asked:
            raise SystemExit(f"{plan} was made for {kept['asked']}, asked for is {asked}: name another folder")
    else:
        kept = {"asked": asked, **numbers(dataset, config, args, first)}
        write(plan, kept)
    return replace(config, epochs=kept["epochs"], steps=kept["steps"], validate_every=kept["epochs"])


def numbers(dataset: Dataset, config: TrainConfig, args: argparse.Namespace, first: ExampleSplit) -> dict[str, int]:
    """Epochs and steps: as asked for, or as many as fit into the time."""
    if args.minutes is None:
        return {"epochs": args.epochs or config.epochs, "steps": args.steps or config.steps}
    trial = replace(config, epochs=3, steps=_TRIAL_STEPS, validate_every=4)
    run = train(dataset, args.keep / "trial", trial, split=first, resume=True, execution=Execution(args.threads))
    speed = read_history(run.folder / "history.csv")["images_per_second"][-1]
    return {"epochs": _EPOCHS, "steps": max(1, round(60 * args.minutes * speed / config.pipeline.batch / _EPOCHS))}


def write(path: Path, values: dict[str, Any]) -> None:
    """As JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as work:
        work.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def measure(dataset: Dataset, network: keras.Model, split: str, only: tuple[str, ...] | None) -> tuple[float, ...]:
    """Dice of the cavity for each slice: of the patients of a split of the set, or of the named examples."""
    cavity = dataset.manifest.classes.index(CAVITY)
    scores: list[float] = []
    for images, labels in validation_batches(dataset, split, dataset.cases(split), only=only):
        predicted = np.argmax(np.asarray(network(images, training=False)), axis=-1) == cavity
        scores += [dice(truth, guess) for truth, guess in zip(labels.numpy()[..., cavity] > 0, predicted, strict=True)]
    return tuple(scores)


def result(dataset: Dataset, split: ExampleSplit, config: TrainConfig, args: argparse.Namespace) -> Result:
    """Train, or go on, and measure; or read what was measured before."""
    folder = args.keep / f"{split.name}-seed-{split.seed}"
    path = folder / "scores.json"
    if path.is_file():
        values = json.loads(path.read_text(encoding="utf-8"))
        return Result(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
    seeded = replace(config, seed=split.seed + 1)
    run: Run = train(dataset, folder, seeded, split=split, resume=True, execution=Execution(args.threads))
    network = load_network(run.folder / NETWORK)
    scores = [measure(dataset, network, part, only) for part, only in (("train", split.held_out), ("validation", None))]
    counts = len(split.train), len(split.held_out), len(split.shared_cases)
    measured = Result(split.name, split.seed, *counts, *scores)
    write(path, asdict(measured))
    keras.backend.clear_session()
    return measured


def table(results: list[Result]) -> str:
    """A line a network; with several seeds, then a line a split: means over seeds, and their standard deviations."""
    columns = ("seed", "slices trained", "held out", "patients on both sides", "its own estimate", "on `validation`")
    lines = [f"| split | {' | '.join(columns)} | hidden |", "| --- |" + " ---: |" * 7]
    by_split: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for one in results:
        own, new = float(np.mean(one.own)), float(np.mean(one.validation))
        by_split[one.split].append((own, new))
        numbers = f"{one.trained} | {one.held_out} | {one.shared}"
        lines.append(f"| `{one.split}` | {one.seed} | {numbers} | {own:.3f} | {new:.3f} | {own - new:+.3f} |")
    for name, pairs in by_split.items():
        if len(pairs) > 1:
            values = np.array([(own, new, own - new) for own, new in pairs])
            means, spread = values.mean(axis=0), values.std(axis=0, ddof=1)
            forms = zip(means, spread, (".3f", ".3f", "+.3f"), strict=True)
            cells = [f"{mean:{form}} ± {deviation:.3f}" for mean, deviation, form in forms]
            lines.append(f"| `{name}` | mean ± SD of {len(pairs)} | | | | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="SET")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", required=True, help="runs and figures")
    parser.add_argument(
        "--splits", nargs="+", default=list(DEFAULT), metavar="NAME", help=f"default: {' '.join(DEFAULT)}"
    )
    parser.add_argument("--minutes", type=float, help="of each training")
    parser.add_argument("--epochs", type=int, help="instead of --minutes; default: the preset's")
    parser.add_argument("--steps", type=int, help="batches an epoch; default: the preset's")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="each a draw of every split, and a training")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    if args.minutes is not None and (args.epochs or args.steps):
        parser.error("--minutes says how long: leave --epochs and --steps out")
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    dataset = open_dataset(args.data)
    drawn = [draw(dataset, args.splits, seed) for seed in args.seeds]
    config = recipe(dataset, args, drawn[0][0])
    print(
        f"{config.epochs} epochs of {config.steps} steps of {config.pipeline.batch} images each, no phantoms",
        flush=True,
    )
    results = [result(dataset, split, config, args) for splits in drawn for split in splits]
    print(table(results))


if __name__ == "__main__":
    main()
