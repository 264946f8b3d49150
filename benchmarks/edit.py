"""How long it takes until the numbers follow a corrected contour, on an exam of 240 frames.

    python benchmarks/edit.py

One contour of one frame is replaced, and the whole is measured again: what the page of a reader does after each stroke.
The exam has 12 slices of 20 phases (256 x 256 pixels), with contours of 64 points of cavity, myocardium and RV in 10 of
the slices. Printed are median and slowest of 50 changes, in CPU time: that on the clock where nothing else runs.
"""

import argparse
import statistics
import time

import numpy as np

from cinesax.core.cine import Cine
from cinesax.core.grid import stacked_grid
from cinesax.core.segmentation import Segmentation, from_contours
from cinesax.core.structures import Structure
from cinesax.measure.plausibility import check
from cinesax.measure.volumes import measure

PHASES, SLICES, SIDE, POINTS = 20, 12, 256, 64
LIMIT_MS = 20.0


def circle(radius_px: float, middle_x: float = 128.0) -> np.ndarray:
    """(point, 2), x and y in pixels."""
    angles = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
    return np.column_stack([middle_x + radius_px * np.cos(angles), 128 + radius_px * np.sin(angles)])


def exam() -> tuple[Cine, Segmentation]:
    """A beating circle in a round wall, and another beside it."""
    contours = {}
    for phase in range(PHASES):
        radius = 22 - 7 * np.sin(np.pi * phase / PHASES)
        for place in range(1, SLICES - 1):
            contours[Structure.CAVITY, phase, place] = (circle(radius),)
            contours[Structure.MYOCARDIUM, phase, place] = (circle(radius + 7),)
            contours[Structure.RV_CAVITY, phase, place] = (circle(radius, 70),)
    grid = stacked_grid((0, 0, 0), spacing_mm=(1.4, 1.4), slice_distance_mm=8.0, shape=(SLICES, SIDE, SIDE))
    times = np.tile(np.arange(PHASES)[:, None] * 45.0, (1, SLICES))
    cine = Cine(
        np.zeros((PHASES, SLICES, SIDE, SIDE), np.int16), grid, times, rr_intervals_ms=np.full(SLICES, 45.0 * PHASES)
    )
    return cine, from_contours(contours, cine.pixels.shape)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=50, metavar="N", help="how many contours to change (50)")
    changes = parser.parse_args().changes
    cine, segmentation = exam()
    drawing, measuring, checking = [], [], []
    for index in range(changes):
        phase, place = index % PHASES, 1 + index % (SLICES - 2)
        start = time.process_time()
        segmentation = segmentation.with_contour(phase, place, Structure.CAVITY, circle(18 + index / changes), by="me")
        drawn = time.process_time()
        measured = measure(cine, segmentation)
        counted = time.process_time()
        check(cine, segmentation, measured)
        checking.append(1000 * (time.process_time() - counted))
        measuring.append(1000 * (counted - drawn))
        drawing.append(1000 * (drawn - start))
    both = [a + b for a, b in zip(drawing, measuring, strict=True)]
    for name, times in (("with_contour", drawing), ("measure", measuring), ("both", both), ("check", checking)):
        print(f"{name:13} median {statistics.median(times):5.1f} ms, slowest {max(times):5.1f} ms")
    print(f"EF {measured.ef_percent:.1f} %")
    return int(statistics.median(both) >= LIMIT_MS)


if __name__ == "__main__":
    raise SystemExit(main())
