"""How far volumes by summation over slices lie from the truth: the error that no method on such slices can beat.

Truth masks of phantoms are counted and summed as `cinesax.measure` does it (a slice counts for half the distance to
each neighbour, an end slice for a whole distance) and compared with the volumes in closed form. The stack's
offset along the heart is uniform over one distance, so that in the mean, summing areas times the distance is the
integral itself, flat base included: bias is a sign of a mistake. For one heart, however, the base is cut between two
slices, which leaves an error uniform over one slice of base area: its standard deviation, base area x
distance / sqrt(12), is the column "from the base", and grows with the distance.

    python benchmarks/discretisation.py [SEEDS]

prints one table: as drawn (6 to 12 mm, by thirds), and the same hearts at fixed distances. Some two minutes for 200.
"""

import math
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinesax.core.structures import Structure
from cinesax.measure.volumes import areas_of, slice_extents_mm
from cinesax.phantom import draw_settings, make_truth
from cinesax.phantom.heart import ventricle

EDV, ESV, EF, DISTANCE, FROM_BASE = range(5)
_LONGEST_HEART_MM = 150


def errors(seeds: Iterable[int], *, slice_distance_mm: float | None = None) -> NDArray[np.float64]:
    """Errors of summation of drawn hearts.

    Args:
        seeds: one heart each.
        slice_distance_mm: instead of the drawn one, with as many slices as it takes.

    Returns:
        (seed, 5): EDV in % of the truth, ESV in %, EF in points, the slice distance in mm, and the standard
        deviation of the EDV in % that the cut through the base explains.
    """
    overrides: dict[str, Any] = {}
    if slice_distance_mm is not None:
        n_slices = math.ceil(_LONGEST_HEART_MM / slice_distance_mm) + 3
        overrides = {"slice_distance_mm": slice_distance_mm, "n_slices": n_slices}
    return np.array([_errors_of_one(seed, overrides) for seed in seeds])


def _errors_of_one(seed: int, overrides: dict[str, Any]) -> list[float]:
    settings = draw_settings(seed, **overrides)
    lv = ventricle(settings)
    grid, truth, volumes_ml = make_truth(settings, phases=[0, lv.es_phase])
    extents = slice_extents_mm(grid)
    assert extents is not None  # noqa: S101 a phantom has more than one slice
    edv, esv = areas_of(truth, Structure.CAVITY) @ extents * grid.pixel_area_mm2 / 1000
    ef = 100 * (1 - esv / edv)
    base_mm2 = np.pi * lv.inner_at(np.array([lv.base_mm[0] - 1e-9]), 0)[0] ** 2
    distance = settings.slice_distance_mm
    return [
        100 * (edv / volumes_ml[0] - 1),
        100 * (esv / volumes_ml[1] - 1),
        ef - settings.ef_percent,
        distance,
        100 * base_mm2 * distance / 1000 / volumes_ml[0] / math.sqrt(12),
    ]


def _row(name: str, table: NDArray[np.float64]) -> str:
    cells = "".join(f"{table[:, i].mean():+9.2f} {table[:, i].std():7.2f}" for i in (EDV, ESV, EF))
    return f"{name:>12} {len(table):5d} {cells} {np.sqrt(np.mean(table[:, FROM_BASE] ** 2)):10.2f}"


def main(n_seeds: int) -> None:
    """Print the table."""
    print(f"Summation of truth masks against the closed form, {n_seeds} phantoms; bias is the mean, spread the sd")
    print(f"{'':>12} {'':>5}   EDV bias  spread  ESV bias  spread   EF bias  spread EDV spread")
    print(f"{'distance':>12} {'n':>5}          %       %         %       %    points  points  from base")
    drawn = errors(range(n_seeds))
    print(_row("as drawn", drawn))
    for low, high in ((6, 8), (8, 10), (10, 12)):
        print(_row(f"{low}-{high} mm", drawn[(drawn[:, DISTANCE] >= low) & (drawn[:, DISTANCE] < high)]))
    for distance in (12.0, 10.0, 8.0, 6.0, 4.0):
        print(_row(f"{distance:g} mm", errors(range(n_seeds), slice_distance_mm=distance)))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
