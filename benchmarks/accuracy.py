"""How right networks are on the real data: Dice by slice, EF by patient, volumes of whole studies; with a peer.

    python benchmarks/accuracy.py [--model BUNDLE ...] [--peer] [--split validation|train] [--html FOLDER]

Validation: 213 labelled slices of 12 patients. They carry no spacing, so the ejection fraction is that of summed areas
(spacing cancels). Studies: the three DICOM patients, the whole way as `cinesax analyze` goes it, against the expert
contours. Patients that a network has learned from are marked IN-SAMPLE. `--peer` sets the public network of the PyPI
package myopari beside ours, on the same slices (benchmarks/peers.py tells how to get it).
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cinesax.cli.evaluate import learned_by
from cinesax.core.cine import Cine
from cinesax.core.segmentation import Segmentation
from cinesax.evaluate import Evaluation, LabelledStudy, evaluate, score
from cinesax.evaluate.evaluation import summarise
from cinesax.evaluate.labelled import labelled, of_pairs
from cinesax.evaluate.report import render
from cinesax.network.segmenter import load_segmenter
from studies import CASES, compare, expert_study, sunnybrook

Segment = Callable[[Cine], Segmentation]


def row(name: str, result: Evaluation) -> str:
    """One network over all slices."""
    everything, intervals = summarise(result.slices), result.intervals()
    sure, ef = intervals["dice_mean"], result.agreement()["ef_percent"]
    lowest = min(np.mean([s.dice for s in scores]) for scores in result.by_case().values())
    return (
        f"{name:22} {everything.n:6} {everything.dice_mean:.4f} ({sure.low:.3f}-{sure.high:.3f}) "
        f"{everything.dice_median:7.4f} {lowest:7.3f} {everything.below_half:7.1%} {everything.misses:6} "
        f"{everything.hd95_median:6.2f} {everything.mean_distance_median:5.2f}   "
        f"{ef.mean_absolute:5.2f} {ef.bias:+6.2f} {ef.slope:6.3f} {ef.correlation:6.3f}"
    )


HEAD = (
    f"{'network':22} slices Dice (95 % interval)    median lowest  below .5 missed  HD95  mean   EF error   bias  slope"
    "      r\n"
    f"{'':22}                                      patient                   px    px"
)


def by_patient(results: dict[str, Evaluation]) -> None:
    """Dice and EF of every patient, the networks side by side."""
    print(f"\n{'patient':12} {'slices':>6} {'EF, labels':>11}", *(f"{name:>30}" for name in results))
    print(f"{'':31}", *(f"{'Dice     EF   points':>30}" for _ in results))
    first = next(iter(results.values()))
    truth = {one.case: one.truth.ef_percent for one in first.functions}
    for case, scores in first.by_case().items():
        cells = [_cell(result, case) for result in results.values()]
        print(f"{case:12} {len(scores):6} {truth[case]:11.1f}", *cells)


def _cell(result: Evaluation, case: str) -> str:
    mean = np.mean([one.dice for one in result.by_case()[case]])
    one = next(function for function in result.functions if function.case == case)
    mark = "*" if case in result.in_sample else " "
    return f"{mark} {mean:13.3f} {one.predicted.ef_percent:6.1f} {one.ef_error_points:+7.1f}"


def by_size(results: dict[str, Evaluation]) -> None:
    """Mean Dice of each quarter of the slices, the smallest first, and the area found for the area in the truth."""
    print(f"\n{'':22} Dice by size, smallest quarter first     found / true area")
    for name, result in results.items():
        ordered = sorted(result.slices, key=lambda one: one.truth_px)
        quarters = [np.mean([one.dice for one in part]) for part in np.array_split(np.array(ordered, dtype=object), 4)]
        areas = np.sum([(one.found_px, one.truth_px) for one in ordered], axis=0)
        print(f"{name:22} {'  '.join(f'{value:.3f}' for value in quarters)} {areas[0] / areas[1]:19.3f}")


def by_study(networks: dict[str, tuple[Segment, Any]]) -> None:
    """The three DICOM studies: volumes, empty and lost frames, the challenge's measures, flicker and phases."""
    print(
        f"\n{'study':12} {'network':22} {'EDV %':>6} {'ESV %':>6} {'EF points':>9} {'empty':>6} {'lost':>5} "
        f"{'flicker':>7} {'ED/ES off':>9}   MICCAI 2009: {'good %':>6} {'APD mm':>6} {'Dice':>6}"
    )
    for case in CASES:
        cine, truth = expert_study(case)
        study: LabelledStudy = labelled(case, cine, truth)
        for name, (segment, known) in networks.items():
            predicted = segment(cine)
            c, (m,) = compare(cine, truth, predicted), score([(study, predicted)]).miccai
            apd, dice = (np.nan if value is None else value for value in (m.apd_mm, m.dice))
            print(
                f"{case:12} {name:22} {c.edv_error_percent:+6.1f} {c.esv_error_percent:+6.1f} "
                f"{c.ef_error_points:+9.2f} {c.empty_found:3}/{c.empty:<2} {c.lost:2}/{c.seen:<2} "
                f"{c.flicker_percent:6.2f} {c.ed_shift:4}/{c.es_shift:<4}  {m.good_percent:19.1f} "
                f"{apd:6.2f} {dice:6.3f}{'  IN-SAMPLE' if known is not None and case in known.cases else ''}",
                flush=True,
            )


def networks(args: argparse.Namespace) -> dict[str, tuple[Segment, Any]]:
    """Name -> segment function, and what it has learned from."""
    chosen: dict[str, tuple[Segment, Any]] = {}
    for which in args.model or ["default"]:
        segmenter = load_segmenter(which)
        name = segmenter.name if segmenter.name not in chosen else f"{segmenter.name} ({Path(which).name})"
        chosen[name] = segmenter.segment, learned_by(segmenter.bundle)
    if args.peer:
        from peers import Myopari

        peer = Myopari()
        chosen[peer.name] = peer.segment, None
    return chosen


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", metavar="BUNDLE", help="may be given several times")
    parser.add_argument("--peer", action="store_true", help="also myopari's public network")
    parser.add_argument("--split", default="validation", choices=("train", "validation"))
    parser.add_argument("--html", type=Path, metavar="FOLDER", help="write a report of each network there")
    args = parser.parse_args()
    chosen = networks(args)
    results: dict[str, Evaluation] = {}
    print(f"{args.split}\n{HEAD}")
    for name, (segment, known) in chosen.items():
        results[name] = evaluate(of_pairs(sunnybrook() / args.split), segment, learned=known, pictures=24)
        print(row(name, results[name]), flush=True)
        if args.html:
            args.html.mkdir(parents=True, exist_ok=True)
            page = render(results[name], of=name, on=args.split)
            (args.html / f"{name.split()[0]}-{args.split}.html").write_text(page, encoding="utf-8")
    by_size(results)
    by_patient(results)
    print("* IN-SAMPLE: the network has learned from this patient")
    by_study(chosen)


if __name__ == "__main__":
    main()
