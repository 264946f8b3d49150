"""How far peak ejection and filling rates from summed slices lie from those of the closed form.

    python benchmarks/rates.py [SEEDS]

Phantoms of at least 18 phases. The truth is the steepest slope of the closed-form volumes (twelve harmonics).
Beside the three harmonics that cinesax uses stand other numbers of them, and central differences of neighbouring
phases; each once on the closed form (what the method itself costs) and once on summed truth masks (what steps at
the base add).
"""

import sys

import numpy as np
from numpy.typing import NDArray

from cinesax.core.structures import Structure
from cinesax.measure.volumes import RATE_HARMONICS, areas_of, peak_rates, slice_extents_mm
from cinesax.phantom import draw_settings, make_truth

FEWEST_PHASES = 18


def central(volumes_ml: NDArray[np.float64], step_ms: float) -> tuple[float, float]:
    """Peak rates by central differences, in ml/s."""
    slopes = (np.roll(volumes_ml, -1) - np.roll(volumes_ml, 1)) / (2 * step_ms) * 1000
    return -float(slopes.min()), float(slopes.max())


def errors(seed: int) -> dict[tuple[str, str], NDArray[np.float64]] | None:
    """(method, curve) -> errors of both rates in % of the truth; None where the phantom has few phases."""
    settings = draw_settings(seed)
    if settings.n_phases < FEWEST_PHASES:
        return None
    grid, truth, closed = make_truth(settings)
    summed = areas_of(truth, Structure.CAVITY) @ slice_extents_mm(grid) * grid.pixel_area_mm2 / 1000
    beat = float(np.median(settings.rr_intervals_ms))
    times = np.arange(len(closed)) * beat / len(closed)
    exact = np.array(peak_rates(closed, times, beat, harmonics=(len(closed) - 1) // 2 if len(closed) < 25 else 12))
    by_method = {}
    for curve, volumes in (("closed form", closed), ("summed masks", summed)):
        by_method["central differences", curve] = np.array(central(volumes, beat / len(closed)))
        for harmonics in (2, 3, 4, 5):
            mark = " (used)" if harmonics == RATE_HARMONICS else ""
            rates = peak_rates(volumes, times, beat, harmonics=harmonics)
            by_method[f"{harmonics} harmonics{mark}", curve] = np.array(rates)
    return {key: 100 * (rates / exact - 1) for key, rates in by_method.items()}


def main() -> None:
    """Print one table."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 70
    all_errors = [row for seed in range(200, 200 + seeds) if (row := errors(seed)) is not None]
    print(f"{len(all_errors)} phantoms; median signed and median absolute error in % of the true rate\n")
    print(f"{'method':<22}{'curve':<14}{'ejection':>16}{'filling':>16}")
    for key in all_errors[0]:
        table = np.array([row[key] for row in all_errors])
        cells = "".join(
            f"{signed:>+9.1f}{absolute:>7.1f}"
            for signed, absolute in zip(np.median(table, axis=0), np.median(np.abs(table), axis=0), strict=True)
        )
        print(f"{key[0]:<22}{key[1]:<14}{cells}")


if __name__ == "__main__":
    main()
