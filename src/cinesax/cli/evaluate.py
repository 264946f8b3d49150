"""Compare a network, or masks predicted by another program, with expert labels. No slice is left out.

DATA is a `pairs` folder (images/ and labels/ with PNGs of the same names), a folder of exams (with --contours), or a
prepared set (cinesax prepare). The network and its cleaning are the same as in `cinesax analyze`. With --masks no
network runs: for a pairs folder, MASKS holds NAME.png for each image; for exams, CASE.nii.gz or a folder CASE of
contour files for each exam. A missing mask counts as empty.
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from cinesax.cli import check_file_to_write
from cinesax.core.errors import InputError, OutputError, UsageError
from cinesax.core.selection import LabelReading, NiftiGeometry
from cinesax.evaluate import Evaluation, LabelledStudy, evaluate, score
from cinesax.evaluate.evaluation import agreement_of, summarise
from cinesax.evaluate.labelled import of_pairs, of_studies
from cinesax.evaluate.trained_on import learned_by, read_trained_on, together
from cinesax.files.stored_files import replacing
from cinesax.network.fingerprint import Learned, Overlap

if TYPE_CHECKING:
    from cinesax.train.data.records import Dataset

__all__ = ["configure", "learned_by", "of_pairs", "run"]

_GALLERY = 24


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DATA", help="a pairs folder, a folder of exams, or a prepared set"
    )
    parser.add_argument(
        "--contours",
        type=Path,
        metavar="TRUTHS",
        help="for a folder of exams: the folder with CASE (contour files) or CASE.nii.gz for each exam",
    )
    parser.add_argument(
        "--model",
        default=None,
        metavar="BUNDLE",
        help="a bundle folder, without-chla or sunnybrook (default: the shipped network)",
    )
    parser.add_argument("--masks", type=Path, help="compare these masks instead of running a network")
    parser.add_argument("--mask-value", type=int, metavar="N", help="the label of the LV cavity in MASKS")
    meaning = "acdc, mnms, totalsegmentator, or lv=3,myo=2,rv=1"
    parser.add_argument("--labels", metavar="MAP", help=f"for exams: what the numbers of TRUTHS mean: {meaning}")
    parser.add_argument("--mask-labels", metavar="MAP", help="for exams: what the numbers of MASKS mean")
    parser.add_argument(
        "--nifti-geometry",
        choices=("sform", "qform", "pixdim"),
        help="for exams: the part of NIfTI headers to trust if their parts contradict each other",
    )
    parser.add_argument(
        "--trained-on",
        type=Path,
        metavar="FILE",
        help="mark the patients that the program behind MASKS was trained on: one name per line, or a bundle.json",
    )
    parser.add_argument(
        "--phases",
        type=int,
        metavar="N",
        help="phases per slice, if the numbers in the names of pairs run over all frames of a study",
    )
    parser.add_argument(
        "--split",
        metavar="NAME",
        help="the split of a prepared set (default: validation, otherwise train), or a named split of cinesax train",
    )
    parser.add_argument("--split-seed", type=int, metavar="N", help="seed of a named split (default 0)")
    parser.add_argument(
        "--fold", type=int, help="only the patients of this fold of a prepared set, as in cinesax train"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures as JSON")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write one line for each slice as CSV")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a report with plots and the worst slices")
    parser.add_argument("--worst", type=int, default=10, metavar="N", help="list the N worst slices (default 10)")
    parser.add_argument("--threads", type=int, help="CPU threads")


def run(args: argparse.Namespace) -> None:
    """Evaluate, print the tables, write the files."""
    _check(args)
    title, result = _masks(args) if args.masks else _network(args)
    if not result.slices:
        raise InputError(f"{args.data} has nothing to compare")
    if args.json:
        _write_json(result, args.json)
    if args.csv:
        from cinesax.evaluate.document import table

        _write(table(result.slices), args.csv)
    if args.html:
        from cinesax.evaluate.report import render

        _write(render(result, of=title, on=args.data.name), args.html)
    _print(result, Console(), args.worst)


def _check(args: argparse.Namespace) -> None:
    if not args.data.is_dir():
        raise InputError(f"{args.data} is not a folder")
    if args.worst < 0 or any(value is not None and value < 1 for value in (args.threads, args.phases)):
        raise UsageError("--worst must be at least 0, --threads and --phases at least 1")
    if args.mask_value is not None and not (args.masks and 0 < args.mask_value < 2**16):
        raise UsageError("--mask-value needs --masks, and must be a whole number above 0")
    if args.masks and (args.model is not None or args.threads is not None):
        raise UsageError("--masks runs no network: leave out --model and --threads")
    if args.masks and not args.masks.is_dir():
        raise InputError(f"{args.masks} is not a folder")
    _check_files(args)
    _check_kind(args, _kind(args.data, args.contours))


def _check_files(args: argparse.Namespace) -> None:
    files = {
        "--json": (args.json, (".json",)),
        "--csv": (args.csv, (".csv",)),
        "--html": (args.html, (".html", ".htm")),
    }
    named: dict[Path, str] = {}
    for option, (path, own) in files.items():
        if path is None:
            continue
        check_file_to_write(option, path, own)
        earlier = named.setdefault(path.resolve(), option)
        if earlier != option:
            raise UsageError(f"{earlier} and {option} both name {path}: give each a file of its own")


def _kind(data: Path, contours: Path | None) -> str:
    if contours is not None:
        if not contours.is_dir():
            raise InputError(f"{contours} is not a folder")
        return "exams"
    if (data / "images").is_dir():
        return "pairs"
    if (data / "dataset.json").is_file():
        return "set"
    raise InputError(
        f"{data} is neither a pairs folder (images/ and labels/) nor a prepared set (dataset.json); for a folder of "
        "exams give the expert labels with --contours"
    )


def _check_kind(args: argparse.Namespace, kind: str) -> None:
    if kind != "set" and (args.split is not None or args.fold is not None):
        raise UsageError(f"{args.data} is a folder of {kind}: --split and --fold are for prepared sets")
    if args.split_seed is not None and (args.split is None or args.split_seed < 0):
        raise UsageError("--split-seed needs a named --split, and must be at least 0")
    _check_labels(args, kind)
    if kind == "exams" and args.phases is not None:
        raise UsageError(f"{args.data} is a folder of exams: --phases is for the names of pairs")
    if kind == "set" and args.masks:
        raise UsageError(f"{args.data} is a prepared set: compare masks with the pairs or exams that it was made from")


def _reading(args: argparse.Namespace) -> LabelReading:
    geometry = None if args.nifti_geometry is None else NiftiGeometry(args.nifti_geometry)
    return LabelReading(args.labels, nifti_geometry=geometry)


def _check_labels(args: argparse.Namespace, kind: str) -> None:
    options = {"--labels": args.labels, "--mask-labels": args.mask_labels, "--nifti-geometry": args.nifti_geometry}
    given = [name for name, value in options.items() if value is not None]
    if given and kind != "exams":
        raise UsageError(f"{args.data} is a folder of {kind}: {given[0]} is for exams (--contours)")
    if args.mask_labels is not None and (args.masks is None or args.mask_value is not None):
        raise UsageError("--mask-labels needs --masks, and replaces --mask-value")


def _studies(args: argparse.Namespace) -> Iterable[LabelledStudy]:
    if args.contours is not None:
        return of_studies(args.data, args.contours, _reading(args))
    return of_pairs(args.data, phases=args.phases)


def _masks(args: argparse.Namespace) -> tuple[str, Evaluation]:
    from cinesax.evaluate.predicted import read_masks

    pairs = (
        (study, read_masks(args.masks, study, value=args.mask_value, meaning=args.mask_labels))
        for study in _studies(args)
    )
    return f"masks of {args.masks.name}", score(pairs, learned=_listed(args), pictures=_GALLERY)


def _network(args: argparse.Namespace) -> tuple[str, Evaluation]:
    from cinesax.network.segmenter import load_segmenter

    prepared = _kind(args.data, args.contours) == "set"
    dataset = _open_dataset(args.data) if prepared else None
    segmenter = load_segmenter(args.model, threads=args.threads)
    known = together(learned_by(segmenter.bundle), _listed(args))
    if dataset is None:
        return segmenter.name, evaluate(_studies(args), segmenter.segment, learned=known, pictures=_GALLERY)
    from cinesax.train.data.prepared import of_dataset

    framed = segmenter.on_framed(dataset.framing)
    facts = {"fold": args.fold, "seed": args.split_seed or 0, "phases": args.phases}
    studies = of_dataset(dataset, args.split, **facts)
    return segmenter.name, evaluate(studies, framed.segment, learned=known, pictures=_GALLERY)


def _listed(args: argparse.Namespace) -> Learned | None:
    return None if args.trained_on is None else read_trained_on(args.trained_on)


def _open_dataset(folder: Path) -> "Dataset":
    from cinesax.train import require

    require()
    from cinesax.train.data import records

    dataset = records.open_dataset(folder)
    records.verify(dataset)
    return dataset


def _write_json(result: Evaluation, path: Path) -> None:
    _write(json.dumps(result.to_dict(), indent=1, allow_nan=False) + "\n", path)


def _write(text: str, path: Path) -> None:
    try:
        with replacing(path.absolute()) as work:
            work.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from None


def _print(result: Evaluation, console: Console, worst: int) -> None:
    console.print(_patients(result))
    if worst:
        console.print(_worst(result, worst))
    for line in (*_figures(result), *(str(finding) for finding in result.findings)):
        console.print(line, highlight=False, soft_wrap=True)


def _patients(result: Evaluation) -> Table:
    functions = {function.case: function for function in result.functions}
    table = Table("patient", "slices", "mean Dice", "lowest", "EF, truth", "EF, predicted", title="Dice by patient")
    if result.in_sample:
        table.add_column("")
    for case, scores in result.by_case().items():
        values = [score.dice for score in scores]
        ef = functions.get(case)
        ejected = ("", "") if ef is None else (f"{ef.truth.ef_percent:.1f} %", f"{ef.predicted.ef_percent:.1f} %")
        mark = ["IN-SAMPLE" if case in result.in_sample else ""] if result.in_sample else []
        table.add_row(case, str(len(values)), f"{np.mean(values):.3f}", f"{min(values):.3f}", *ejected, *mark)
    return table


def _worst(result: Evaluation, count: int) -> Table:
    name = Column("slice", no_wrap=True)
    bad = Table(name, "Dice", "HD95", "area in truth (px)", "area predicted (px)", title="Worst slices")
    for worst in result.worst(count):
        hd95 = f"{worst.hd95:.1f} {worst.unit}" if np.isfinite(worst.hd95) else "infinite"
        bad.add_row(worst.name, f"{worst.dice:.3f}", hd95, str(worst.truth_px), str(worst.found_px))
    return bad


def _figures(result: Evaluation) -> list[str]:
    """The figures as sentences, for the terminal and the report."""
    dice, intervals = result.dice, result.intervals()
    sure = intervals.get("dice_mean")
    lines = [
        f"{len(dice)} slices: Dice mean {dice.mean():.4f}, median {np.median(dice):.4f}, "
        f"standard deviation {dice.std():.4f}, lowest {dice.min():.4f}; "
        f"{result.false_positives} false positives, {result.misses} misses"
    ]
    if sure is not None:
        lines.append(f"mean Dice, 95 % interval over patients: {sure.low:.3f} to {sure.high:.3f}")
    units = {score.unit for score in result.slices}
    if len(units) == 1:
        figures = dict(result.groups())["all"]
        lines.append(
            f"HD95 median {figures.hd95_median:.2f} {units.pop()}; {figures.below_half:.1%} of slices below 0.5"
        )
    for name, a in result.agreement().items():
        lines.append(
            f"{name}: bias {a.bias:+.1f}, limits of agreement {a.lower:+.1f} to {a.upper:+.1f}, "
            f"mean absolute error {a.mean_absolute:.1f} ({a.n} patients)"
        )
    for case in result.miccai:
        apd, overlap = ("none" if value is None else f"{value:.2f}" for value in (case.apd_mm, case.dice))
        lines.append(f"MICCAI 2009, {case.case}: good {case.good_percent:.1f} %, APD {apd} mm, Dice {overlap}")
    for part in result.others:
        group, words = summarise(part.slices), part.structure.facts.words
        volumes = ", ".join(f"{moment} {value:.3f}" for moment, value in part.volume_dice().items())
        lines.append(
            f"{words}: {group.n} slices, mean Dice {group.dice_mean:.3f}{f', by volume {volumes}' if volumes else ''}; "
            f"{group.false_positives} false positives, {group.misses} misses"
        )
        for name, a in agreement_of(part.functions).items():
            lines.append(
                f"{part.structure.facts.chamber.short} {name}: bias {a.bias:+.1f}, "
                f"mean absolute error {a.mean_absolute:.1f} ({a.n} patients)"
            )
    return [*lines, _overlap(result)]


def _overlap(result: Evaluation) -> str:
    known = result.in_sample
    if known:
        same = sum(overlap is Overlap.IMAGE for overlap in known.values())
        images = f" (from these very images of {same})" if same else ""
        return (
            f"IN-SAMPLE: the network learned from {len(known)} of these {len(result.by_case())} patients{images}; "
            "for those, the figures show how well it remembers, not how well it will do on others"
        )
    if result.training_known:
        return "overlap with training: none among the listed patients and images"
    return (
        "overlap with training: NOT KNOWN, because the training patients are not listed (--trained-on FILE lists "
        "them); if it learned from any of these, the figures flatter it"
    )
