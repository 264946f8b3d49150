"""How right a network is on the real data: Dice by slice, ejection fraction by patient, volumes of whole studies.

    python benchmarks/accuracy.py [--model BUNDLE]

Validation: 226 labelled slices of 13 patients that no training has seen. They carry no spacing, so the ejection
fraction is that of summed areas (spacing cancels): ED is the phase with the larger sum in the labels. Studies: the
three DICOM patients, the whole way as `cinesax analyze` goes it, against the expert contours; patients that are among
the bundle's training patients are marked IN-SAMPLE.
"""

import argparse
import re
from collections import defaultdict

import numpy as np

from cinesax.cli.evaluate import of_pairs
from cinesax.evaluate import Evaluation, evaluate
from cinesax.measure import measure
from cinesax.segmenter import load_segmenter
from studies import CASES, compare, expert_study, sunnybrook

_PHASES = 20


def ef_by_summed_areas(result: Evaluation) -> dict[str, tuple[float, float]]:
    """For each patient the ejection fraction in %, by the labels and by the network."""
    sums: dict[str, dict[int, np.ndarray]] = defaultdict(lambda: defaultdict(lambda: np.zeros(2)))
    for score in result.slices:
        number = re.search(r"-IM-\d+-(\d+)$", score.name)
        if number:
            sums[score.case][(int(number[1]) - 1) % _PHASES] += (score.truth_px, score.found_px)
    ejected = {}
    for case, phases in sorted(sums.items()):
        ed, es = sorted(phases.values(), key=lambda areas: -areas[0])[:2]
        both = 100 * (1 - es / ed)
        ejected[case] = (float(both[0]), float(both[1]))
    return ejected


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default", metavar="BUNDLE")
    parser.add_argument("--split", default="validation", choices=("train", "validation"))
    args = parser.parse_args()
    segmenter = load_segmenter(args.model)
    result = evaluate(of_pairs(sunnybrook() / args.split), segmenter.segment)
    dice, ejected = result.dice, ef_by_summed_areas(result)
    print(f"{segmenter.name} on {args.split}: {len(dice)} slices")
    print(f"Dice mean {dice.mean():.4f}, median {np.median(dice):.4f}, lowest {dice.min():.4f}", end="; ")
    print(f"{np.mean(dice < 0.5):.1%} below 0.5, {result.misses} misses\n")
    print(f"{'patient':12} {'slices':>6} {'Dice':>6}   EF by labels, by network, difference (points)")
    for case, scores in result.by_case().items():
        truth, seen = ejected[case]
        mean = np.mean([score.dice for score in scores])
        print(f"{case:12} {len(scores):6} {mean:6.3f}   {truth:12.1f} {seen:11.1f} {seen - truth:+11.1f}")
    both = np.array(list(ejected.values()))
    slope, intercept = np.polyfit(both[:, 0], both[:, 1], 1)
    error = both[:, 1] - both[:, 0]
    print(f"EF: mean absolute error {np.abs(error).mean():.2f} points, bias {error.mean():+.2f}", end=", ")
    print(f"slope {slope:.3f}, intercept {intercept:+.1f}, r {np.corrcoef(both.T)[0, 1]:.3f}\n")
    areas = np.array([(s.truth_px, s.found_px, s.dice) for s in result.slices])
    quarters = np.array_split(np.argsort(areas[:, 0]), 4)
    print("Dice by size, smallest quarter of the slices first:", end=" ")
    print(", ".join(f"{areas[q, 2].mean():.3f}" for q in quarters))
    print(f"area found / area in truth: {areas[:, 1].sum() / areas[:, 0].sum():.3f}\n")
    print("study            EDV ml (expert)   ESV ml (expert)   EF % (expert)   EDV %  ESV %  EF points  empty  lost")
    for case in CASES:
        cine, truth = expert_study(case)
        found = segmenter.segment(cine)
        a, b, c = measure(cine, found), measure(cine, truth), compare(cine, truth, found)
        mark = "IN-SAMPLE" if case in segmenter.bundle.training.get("cases", ()) else ""
        print(
            f"{case:14} {a.edv_ml:8.1f} ({b.edv_ml:6.1f}) {a.esv_ml:8.1f} ({b.esv_ml:6.1f}) "
            f"{a.ef_percent:7.2f} ({b.ef_percent:5.2f}) {c.edv_error_percent:+8.1f} {c.esv_error_percent:+6.1f} "
            f"{c.ef_error_points:+8.2f}   {c.empty_found}/{c.empty}  {c.lost}/{c.seen}  {mark}"
        )


if __name__ == "__main__":
    main()
