"""How calm the volume curve of a network is: exams, each beside a phantom of equal EDV, EF and number of phases.

    python benchmarks/flicker.py [--model BUNDLE] EXAM ...

Flicker is the root mean square of the second difference of the volume curve round the beat, in % of EDV. A beating
heart has some: the phantom's own curve says how much. The phantom is also drawn by the network.
"""

import argparse
from pathlib import Path

import numpy as np

import cinesax
from cinesax.core.measurements import Measurements
from cinesax.network.segmenter import load_segmenter
from cinesax.phantom import draw_settings, make_phantom

FIRST_SEED = 930_000


def flicker(measured: Measurements) -> float:
    """In % of EDV; nan without a volume curve."""
    if measured.volumes_ml is None or measured.edv_ml is None:
        return float("nan")
    volumes = measured.volumes_ml
    second = np.roll(volumes, 1) - 2 * volumes + np.roll(volumes, -1)
    return float(100 * np.sqrt(np.mean(second**2)) / measured.edv_ml)


def main() -> None:
    """Print a line for each exam."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exams", nargs="+", type=Path, metavar="EXAM")
    parser.add_argument("--model", default=None, metavar="BUNDLE")
    args = parser.parse_args()
    segmenter = load_segmenter(args.model)
    print(f"{'exam':24} {'EF':>5} {'flicker':>8} {'phantom, truth':>15} {'phantom, network':>17}")
    for number, exam in enumerate(args.exams):
        analysis = cinesax.analyze(exam, segmenter=segmenter)
        measured = analysis.measurements
        alike = {"n_phases": len(measured.volumes_ml), "edv_ml": measured.edv_ml, "ef_percent": measured.ef_percent}
        phantom = make_phantom(draw_settings(FIRST_SEED + number, **alike))
        truth = cinesax.analyze(phantom.cine, segmentation=phantom.truth).measurements
        drawn = cinesax.analyze(phantom.cine, segmenter=segmenter).measurements
        values = f"{flicker(measured):8.2f} {flicker(truth):15.2f} {flicker(drawn):17.2f}"
        print(f"{exam.name:24} {measured.ef_percent:5.1f} {values}", flush=True)


if __name__ == "__main__":
    main()
