"""Compare the values of two sets of exams: bias and limits of agreement, intraclass correlation, the worst exams.

A and B are each a folder of cinesax cohort, a folder of results, or a table (CSV, Parquet) of any program: a column
names the exams (exam, case, id, patient, ...), others hold values (ef_percent, EF, LVEF, EDV, ...; in %, ml, g).
Exams are matched by their keys, else by labels, paths and folder names in names.csv. Differences are B - A. For
research; not a medical device.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cinesax.core.errors import UsageError

if TYPE_CHECKING:
    from cinesax.cohort.compare import Comparison


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("first", type=Path, metavar="A", help="a folder of a cohort or of results, or a table")
    parser.add_argument("second", type=Path, metavar="B", help="the other values, as A")
    parser.add_argument("-o", "--out", type=Path, metavar="OUT", help="the folder for comparison.html and .json")
    parser.add_argument(
        "--key",
        action="append",
        metavar="COLUMN",
        help="the column that names exams, in A, B or both, whichever have it; twice: that of A, then that of B",
    )


def run(args: argparse.Namespace) -> None:
    """Read both, compare, write, print."""
    from cinesax.cohort.compare import compare, write_comparison
    from cinesax.cohort.sources import read_sides

    keys = args.key or []
    if len(keys) > 2:
        raise UsageError("--key may be given once for both, or twice")
    comparison = compare(*read_sides(args.first, args.second, keys))
    lines = [_first_line(comparison), *(f"left out: {one}" for one in comparison.left_out)]
    for variable in comparison.variables:
        a = variable.agreement
        icc = "-" if variable.icc is None else f"{variable.icc.value:z.3f}"
        slope = "-" if a.slope is None else f"{a.slope:z.3f}"
        title = f"{variable.name} ({variable.difference_unit})"
        lines.append(
            f"{title:<15} n {a.n:>6}  bias {a.bias:+z7.2f}  limits {a.lower:+z7.2f} to "
            f"{a.upper:+z7.2f}  mean error {a.mean_absolute:6.2f}  ICC {icc}  slope {slope}"
        )
    if args.out is not None:
        lines.append(f"written: {write_comparison(comparison, args.out.expanduser())}")
    sys.stdout.write("\n".join(lines) + "\n")


def _first_line(comparison: "Comparison") -> str:
    """How many exams are compared, and which side is subtracted from which."""
    exams = f"{comparison.n_compared:,} exams in common"
    if missing := len(comparison.matched) - comparison.n_compared:
        exams += f" with values, {missing:,} without"
    if comparison.by != "exam keys":
        exams += f" (matched by {comparison.by})"
    return f"{exams}; differences are {comparison.second.name} - {comparison.first.name}"
