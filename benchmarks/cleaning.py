"""What each rule of the cleaning does to whole studies: DICOM patients, each left out of training, and phantoms.

    python benchmarks/cleaning.py BUNDLE CASE [BUNDLE CASE ...] [--phantoms N --phantom-model BUNDLE]

Each BUNDLE is a network that has not seen its CASE. A row is a set of rules; errors are signed means and, behind the
bar, means of absolute values. "empty" counts frames at ED and ES without LV that got a contour, "lost" those with LV
that got none; flicker is the root mean square of the second difference of the volume curve, in % of EDV.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from cinesax.network.cleaning import DEFAULT_RULES, Rule
from cinesax.network.segmenter import load_segmenter
from studies import Comparison, compare, expert_study, phantom_studies


def choices() -> dict[str, frozenset[Rule]]:
    """The sets of rules to compare: none, each alone, all, and all but each."""
    every = frozenset(Rule)
    sets = {"none": frozenset(), **{f"only {rule}": frozenset({rule}) for rule in Rule}}
    sets |= {f"all but {rule}": every - {rule} for rule in Rule}
    return sets | {"all": every, "default": DEFAULT_RULES}


def row(name: str, results: list[Comparison]) -> str:
    """One line of the table."""

    def pair(field: str) -> str:
        values = np.array([getattr(result, field) for result in results])
        return f"{values.mean():+6.1f} | {np.abs(values).mean():4.1f}"

    empty = f"{sum(r.empty_found for r in results)}/{sum(r.empty for r in results)}"
    lost = f"{sum(r.lost for r in results)}/{sum(r.seen for r in results)}"
    return (
        f"{name:22} {pair('edv_error_percent')}  {pair('esv_error_percent')}  {pair('ef_error_points')}   "
        f"{np.mean([r.dice_mean for r in results]):.4f}  {empty:>7} {lost:>7}  "
        f"{np.mean([r.flicker_percent for r in results]):5.2f}"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="*", metavar="BUNDLE CASE")
    parser.add_argument("--phantoms", type=int, default=0)
    parser.add_argument("--first-seed", type=int, default=900_000, help="phantoms that no training has seen")
    parser.add_argument("--phantom-model", type=Path)
    args = parser.parse_args()
    head = (
        f"{'rules':22} {'EDV %':>13}  {'ESV %':>13}  {'EF points':>13}   {'Dice':6}  {'empty':>7} {'lost':>7}  flicker"
    )
    real = [(model, case, *expert_study(case)) for model, case in zip(args.pairs[::2], args.pairs[1::2], strict=True)]
    seeds = range(args.first_seed, args.first_seed + args.phantoms)
    made = [(args.phantom_model, *study) for study in phantom_studies(seeds)]
    for title, studies in (("DICOM patients, each left out of training", real), ("phantoms", made)):
        if not studies:
            continue
        results: dict[str, list[Comparison]] = {name: [] for name in choices()}
        for model, _, cine, truth in studies:
            segmenter = load_segmenter(model)
            placement = segmenter.placement(cine)
            scores = segmenter.scores(cine, placement)
            for name, rules in choices().items():
                predicted = replace(segmenter, rules=rules).finish(scores, cine, placement)
                results[name].append(compare(cine, truth, predicted))
        print(f"\n{title} ({len(studies)})\n{head}")
        for name, comparisons in results.items():
            print(row(name, comparisons))


if __name__ == "__main__":
    main()
