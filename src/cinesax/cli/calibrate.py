"""Put into a bundle which errors to expect of its network: a predicted Dice and an interval for EF for each exam.

EVALUATION is the JSON of `cinesax evaluate` by a network of the same recipe on patients that it did not learn from:
those of a fold, or of another hospital. Several evaluations are put together; of a patient in more than one, the last
counts. In-sample patients are left out. Then `cinesax analyze --model BUNDLE` gives both for every exam.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console

from cinesax.core.errors import InputError, UsageError

if TYPE_CHECKING:
    from cinesax.trust.fit import HeldOut


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "bundle", type=Path, metavar="BUNDLE", help="the bundle to calibrate; its graphs stay as they are"
    )
    parser.add_argument(
        "--on",
        type=Path,
        nargs="+",
        required=True,
        metavar="EVALUATION",
        help="JSON files of cinesax evaluate, on held-out patients",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the figures, and change nothing")


class _Signs(msgspec.Struct, frozen=True):
    """The signs and errors of a patient."""

    features: dict[str, float] | None
    dice: float
    ef_percent: float
    ef_error_points: float


class _File(msgspec.Struct, frozen=True):
    """What is used of an evaluation."""

    schema: str
    training_known: bool
    in_sample: dict[str, str]
    signs: dict[str, _Signs] | None = None


def run(args: argparse.Namespace) -> None:
    """Calibrate, and print the figures."""
    from cinesax.files.typed_json import text_of
    from cinesax.network.bundle import add_trust, open_bundle, shipped
    from cinesax.trust.fit import fit

    if str(args.bundle) in shipped():
        raise UsageError("a shipped network is part of the installed package: copy its folder and calibrate the copy")
    bundle = open_bundle(args.bundle)
    patients, left_out = held_out(args.on)
    calibration = fit(patients, [path.name for path in args.on])
    if not args.dry_run:
        add_trust(bundle, text_of(calibration))
    console = Console()
    for line in (*figures(calibration.figures), f"in-sample patients left out: {left_out}"):
        console.print(line, highlight=False, soft_wrap=True)
    what = "not written (--dry-run)" if args.dry_run else f"written: {bundle.folder / 'trust.json'}"
    console.print(what, highlight=False, soft_wrap=True)


def held_out(paths: Sequence[Path]) -> "tuple[list[HeldOut], int]":
    """The held-out patients of evaluations, by name, and how many in-sample ones were left out.

    Raises:
        InputError: a file is not an evaluation of a network whose training patients are known.
    """
    from cinesax.trust.fit import HeldOut

    patients: dict[str, HeldOut] = {}
    left_out = 0
    for path in paths:
        file = _read(path)
        for case, signs in (file.signs or {}).items():
            left_out += case in file.in_sample
            if case not in file.in_sample:
                features = None if signs.features is None else dict(signs.features)
                patients[case] = HeldOut(case, features, signs.dice, signs.ef_percent, signs.ef_error_points)
    return [patients[case] for case in sorted(patients)], left_out


def _read(path: Path) -> _File:
    from cinesax.evaluate.document import SCHEMA
    from cinesax.files.typed_json import parse

    try:
        file = parse(path.read_text(encoding="utf-8"), _File)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not the JSON of an evaluation: {error}") from None
    if file.schema != SCHEMA or file.signs is None:
        raise InputError(f"{path} has no signs of a network: make it with cinesax evaluate --json, of this version")
    if not file.training_known:
        raise InputError(
            f"{path}: it is not known from whom the network learned, so no patient counts as held out; evaluate again "
            "with --trained-on"
        )
    return file


def figures(f: dict[str, float]) -> list[str]:
    """The figures as sentences."""
    return [
        f"{f['patients']:.0f} held-out patients, each predicted from the others",
        f"Dice: mean absolute error {f['dice_error']:.4f}, of a constant {f['dice_error_of_constant']:.4f}; "
        f"rank correlation {f['dice_rank_correlation']:.2f}",
        f"EF: true value inside the interval in {f['ef_coverage']:.1%} "
        f"(95 % interval {f['ef_coverage_low']:.1%} to {f['ef_coverage_high']:.1%}); median width "
        f"{f['ef_width']:.1f} points, of a constant width with this coverage {f['ef_width_of_constant']:.1f}",
        f"of the tenth with the largest errors of EF, {f['worst_found']:.0%} are in the first fifth of the list",
        f"rank correlation with the error of EF {f['ef_rank_correlation']:.2f}",
    ]
