"""Compare the values of two sets of exams: bias and limits of agreement, intraclass correlation, the worst exams.

A and B are each a folder of cinesax cohort, a folder of results, or a table (CSV, Parquet) of any program: a column
names the exams (exam, case, id, patient, ...), others hold values (ef_percent, EF, LVEF, EDV, ...). Differences are
B - A. For research; not a medical device.
"""

import argparse
import sys
from pathlib import Path

from cinesax.core.errors import UsageError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("first", type=Path, metavar="A", help="a folder of a cohort or of results, or a table")
    parser.add_argument("second", type=Path, metavar="B", help="the other values, as A")
    parser.add_argument("-o", "--out", type=Path, metavar="OUT", help="the folder for comparison.html and .json")
    parser.add_argument(
        "--key",
        action="append",
        metavar="COLUMN",
        help="the column that names exams; give it twice if A and B use different names",
    )


def run(args: argparse.Namespace) -> None:
    """Read both, compare, write, print."""
    from cinesax.cohort.compare import compare, write_comparison
    from cinesax.cohort.sources import read_values

    keys = args.key or [None]
    if len(keys) > 2:
        raise UsageError("--key may be given once for both, or twice")
    comparison = compare(read_values(args.first, key=keys[0]), read_values(args.second, key=keys[-1]))
    lines = [f"{len(comparison.matched):,} exams in common; differences are {args.second.name} - {args.first.name}"]
    for variable in comparison.variables:
        a = variable.agreement
        icc = "-" if variable.icc is None else f"{variable.icc.value:.3f}"
        slope = "-" if a.slope is None else f"{a.slope:.3f}"
        title = f"{variable.name} ({variable.difference_unit})"
        lines.append(
            f"{title:<15} n {a.n:>6}  bias {a.bias:+7.2f}  limits {a.lower:+7.2f} to "
            f"{a.upper:+7.2f}  mean error {a.mean_absolute:6.2f}  ICC {icc}  slope {slope}"
        )
    if args.out is not None:
        lines.append(f"written: {write_comparison(comparison, args.out.expanduser())}")
    sys.stdout.write("\n".join(lines) + "\n")
