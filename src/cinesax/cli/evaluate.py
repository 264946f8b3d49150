"""Compare a network with expert labels: Dice of every slice, nothing left out.

DATA is a `pairs` folder (images/ and labels/ with PNGs of the same names) or a prepared set (cinesax prepare).
The segmenter and its cleaning are those of `cinesax analyze`; rules that need neighbouring slices or phases are
off where there are none, and the output says so.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from cinesax.errors import InputError, OutputError, UsageError
from cinesax.evaluate import Evaluation, LabelledStudy, evaluate
from cinesax.formats.stored_files import replacing

if TYPE_CHECKING:
    from cinesax.learn.records import Dataset

HELP = "compare a network with expert labels"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--data", type=Path, required=True, metavar="DATA", help="a pairs folder or a prepared set")
    parser.add_argument(
        "--model", default="default", metavar="BUNDLE", help="a bundle folder (default: the one shipped)"
    )
    parser.add_argument("--split", default=None, help="of a prepared set (default: validation, else train)")
    parser.add_argument("--fold", type=int, help="only the patients of this fold of a prepared set")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores as JSON")
    parser.add_argument("--worst", type=int, default=10, metavar="N", help="list the N worst slices (default 10)")
    parser.add_argument("--threads", type=int, help="CPU threads")


def run(args: argparse.Namespace) -> None:
    """Evaluate, print the table, write the JSON."""
    from cinesax.segmenter import load_segmenter

    _check(args)
    dataset = None if (args.data / "images").is_dir() else _open_dataset(args.data)
    segmenter = load_segmenter(args.model, threads=args.threads)
    if dataset is None:
        result = evaluate(of_pairs(args.data), segmenter.segment)
    else:
        result = evaluate(_of_dataset(dataset, args), segmenter.on_framed(dataset.framing).segment)
    if not result.slices:
        raise InputError(f"{args.data} holds nothing to compare")
    if args.json:
        _write_json(result, args.json)
    _print(result, Console(), args.worst)


def _check(args: argparse.Namespace) -> None:
    if not args.data.is_dir():
        raise InputError(f"{args.data} is no folder")
    if args.worst < 0 or (args.threads is not None and args.threads < 1):
        raise UsageError("--worst must be at least 0, --threads at least 1")
    if (args.data / "images").is_dir():
        if args.split is not None or args.fold is not None:
            raise UsageError(f"{args.data} is a pairs folder: --split and --fold are for prepared sets")
    elif not (args.data / "dataset.json").is_file():
        raise InputError(
            f"{args.data} is neither a pairs folder (images/ and labels/) nor a prepared set (dataset.json)"
        )


def of_pairs(folder: Path, *, phases: int | None = None) -> Iterator[LabelledStudy]:
    """The labelled slices of a `pairs` folder, those of one patient as one study without geometry.

    Args:
        folder: with `images/` and `labels/`.
        phases: of each slice, for names that count the frames of a study; None: found from the names.
    """
    from cinesax.formats import pair_studies

    for study in pair_studies.read_studies(folder, phases=phases):
        yield LabelledStudy(study.case, dict(study.names), study.cine, study.truth)


def _open_dataset(folder: Path) -> "Dataset":
    from cinesax import learn

    learn.require()
    from cinesax.learn import records

    dataset = records.open_dataset(folder)
    records.verify(dataset)
    return dataset


def _of_dataset(dataset: "Dataset", args: argparse.Namespace) -> Iterator[LabelledStudy]:
    from cinesax.learn import examples, records

    split = args.split or ("validation" if "validation" in dataset.manifest["splits"] else "train")
    cases = dataset.cases(split, fold=args.fold, held_out=args.fold is not None)
    for example in records.read_examples(dataset, split, cases):
        cine, truth = examples.as_cine(example)
        yield LabelledStudy(example.case, {(0, 0): example.name}, cine, truth)


def _write_json(result: Evaluation, path: Path) -> None:
    try:
        with replacing(path.absolute()) as work:
            work.write_text(json.dumps(result.to_dict(), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from None


def _print(result: Evaluation, console: Console, worst: int) -> None:
    table = Table("patient", "slices", "mean Dice", "lowest", title="Dice by patient")
    for case, scores in result.by_case().items():
        values = [score.dice for score in scores]
        table.add_row(case, str(len(values)), f"{np.mean(values):.3f}", f"{min(values):.3f}")
    console.print(table)
    name = Column("slice", no_wrap=True)
    bad = Table(name, "Dice", "area in truth (px)", "area found (px)", title="Worst slices")
    for score in result.worst(worst):
        bad.add_row(score.name, f"{score.dice:.3f}", str(score.truth_px), str(score.found_px))
    console.print(bad)
    dice = result.dice
    console.print(
        f"{len(dice)} slices: Dice mean {dice.mean():.4f}, median {np.median(dice):.4f}, "
        f"standard deviation {dice.std():.4f}, lowest {dice.min():.4f}; "
        f"{result.false_positives} false positives, {result.misses} misses",
        highlight=False,
        soft_wrap=True,
    )
    for finding in result.findings:
        console.print(str(finding), highlight=False, soft_wrap=True)
