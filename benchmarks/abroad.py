"""How right networks are on exams of a scanner that none of them has seen: the thirty adults of `shared/data/judge`.

    python benchmarks/abroad.py [--model BUNDLE ...] [--judge FOLDER] [--csv FILE]

Whole stacks at ED and ES, every slice counted; 95 % intervals by bootstrap over patients. Nothing that ships may learn
from these files or be chosen by small differences on them: docs/evaluation.md says how often they were looked at.
Dice by volume is that of all slices of a stack together. A slice counts as missed where the experts drew LV cavity and
the network none, as false the other way round; the basal slice is the last one towards the base with LV cavity, the
apical slice the last one towards the apex.
"""

import argparse
import csv
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from cinesax.core.segmentation import Structure
from cinesax.formats import nifti
from cinesax.measure.volumes import MYOCARDIAL_DENSITY_G_PER_ML
from cinesax.network.segmenter import load_segmenter

JUDGE = Path(__file__).resolve().parents[2] / "shared" / "data" / "judge"
CAVITY, WALL, RV = int(Structure.CAVITY), int(Structure.MYOCARDIUM), 3
_CLASSES = np.array([0, RV, WALL, CAVITY], np.uint8)
_RESAMPLES = 4000
_TAIL = 2.5


@dataclass(frozen=True)
class Patient:
    """What was measured of one patient; lengths in mm, volumes in ml, masses in g, EF in percent points."""

    patient: str
    group: str
    dice_ed: float
    dice_es: float
    ef: float
    true_ef: float
    edv: float
    true_edv: float
    esv: float
    true_esv: float
    slices: int
    missed: int
    missed_apical: int
    empty: int
    false: int
    false_basal_es: int
    wall_ed: float
    wall_es: float
    rv_ed: float
    rv_es: float
    mass: float
    true_mass: float
    mass_es: float
    true_mass_es: float
    right_mm: float
    down_mm: float
    right_px: float
    down_px: float


def classes_of(drawn: NDArray[np.generic]) -> NDArray[np.uint8]:
    """The labels of the collection as those of cinesax."""
    return _CLASSES[drawn.astype(np.uint8)]


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Of two masks; 1 where both are empty."""
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0


def compare(
    name: str, group: str, predicted: NDArray[np.uint8], truth: NDArray[np.uint8], *, mm: Sequence[float]
) -> Patient:
    """One patient.

    Args:
        name: of the patient.
        group: of the patient.
        found: (phase, slice, row, column) of CAVITY, WALL, RV; phases ED, ES.
        truth: the same, by experts.
        mm: between slices, rows, columns.
    """
    ml = float(np.prod(mm)) / 1000
    mine, theirs = predicted == CAVITY, truth == CAVITY
    volumes = [mask[phase].sum() * ml for mask in (mine, theirs) for phase in (0, 1)]
    edv, esv, true_edv, true_esv = (float(v) for v in volumes)
    seen, there = mine.any(axis=(2, 3)), theirs.any(axis=(2, 3))
    area = theirs[0].sum(axis=(1, 2))
    half = len(area) // 2
    base_first = area[:half].sum() > area[-half:].sum()
    ends = [np.flatnonzero(there[phase])[[0, -1] if base_first else [-1, 0]] for phase in (0, 1)]
    beyond = np.arange(len(area)) < ends[1][0] if base_first else np.arange(len(area)) > ends[1][0]
    shifts = [
        (np.argwhere(mine[p, k]).mean(0) - np.argwhere(theirs[p, k]).mean(0)) * mm[1:]
        for p, k in np.argwhere(seen & there)
        if dice(mine[p, k], theirs[p, k]) > 0.5
    ]
    down, right = np.mean(shifts, axis=0) if shifts else (np.nan, np.nan)
    grams = MYOCARDIAL_DENSITY_G_PER_ML * ml
    masses = [grams * float((labels[phase] == WALL).sum()) for phase in (0, 1) for labels in (predicted, truth)]
    others = [dice(predicted[phase] == one, truth[phase] == one) for one in (WALL, RV) for phase in (0, 1)]
    return Patient(
        name,
        group,
        dice(mine[0], theirs[0]),
        dice(mine[1], theirs[1]),
        ef=100 * (1 - esv / edv) if edv else 0.0,
        true_ef=100 * (1 - true_esv / true_edv),
        edv=edv,
        true_edv=true_edv,
        esv=esv,
        true_esv=true_esv,
        slices=int(there.sum()),
        missed=int((there & ~seen).sum()),
        missed_apical=int(sum(not seen[phase, ends[phase][1]] for phase in (0, 1))),
        empty=int((~there).sum()),
        false=int((seen & ~there).sum()),
        false_basal_es=int((seen[1] & beyond).sum()),
        wall_ed=others[0],
        wall_es=others[1],
        rv_ed=others[2],
        rv_es=others[3],
        mass=masses[0],
        true_mass=masses[1],
        mass_es=masses[2],
        true_mass_es=masses[3],
        right_mm=float(right),
        down_mm=float(down),
        right_px=float(right) / mm[2],
        down_px=float(down) / mm[1],
    )


def measure(model: str | None, folder: Path) -> list[Patient]:
    """Every patient of the folder, by one network."""
    segmenter = load_segmenter(model, unvalidated=True)
    with (folder / "groups.csv").open() as stream:
        listed = [
            line
            for line in csv.reader(stream)
            if line and line[0].startswith("patient0") or line[0].startswith("patient1")
        ]
    done = []
    for name, group in (line[:2] for line in listed):
        path = folder / "images" / f"{name}.nii.gz"
        cine = nifti.read_cine(path)
        drawn = nifti.read_cine(folder / "truth" / f"{name}.nii.gz").pixels
        predicted = segmenter.segment(cine).labels
        zooms = nib.load(path).header.get_zooms()
        mm = (float(zooms[2]), float(zooms[1]), float(zooms[0]))
        done.append(compare(name, group, predicted, classes_of(drawn), mm=mm))
    return done


Statistic = Callable[[list[Patient]], float]


def interval(patients: list[Patient], of: Statistic) -> tuple[float, float, float]:
    """A statistic and its 95 % interval, patients drawn with replacement."""
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(patients), (_RESAMPLES, len(patients)))
    values = [of([patients[i] for i in draw]) for draw in draws]
    low, high = np.nanpercentile(values, [_TAIL, 100 - _TAIL])
    return of(patients), float(low), float(high)


def mean(name: str) -> Statistic:
    """The mean of a field over patients."""
    return lambda some: float(np.nanmean([getattr(one, name) for one in some]))


def total(name: str) -> Statistic:
    """The sum of a field over patients."""
    return lambda some: float(sum(getattr(one, name) for one in some))


def ef_bias(some: list[Patient]) -> float:
    """Mean of EF less the experts'."""
    return float(np.mean([one.ef - one.true_ef for one in some]))


def ef_error(some: list[Patient]) -> float:
    """Mean absolute difference of EF."""
    return float(np.mean([abs(one.ef - one.true_ef) for one in some]))


def correlation(which: str) -> Statistic:
    """Pearson's, with the experts' value."""
    return lambda some: float(
        np.corrcoef([getattr(one, which) for one in some], [getattr(one, f"true_{which}") for one in some])[0, 1]
    )


def bias(which: str) -> Statistic:
    """Mean difference of a volume or mass in percent of the experts'."""
    return lambda some: float(
        np.mean([100 * (getattr(one, which) / getattr(one, f"true_{which}") - 1) for one in some])
    )


def error(which: str) -> Statistic:
    """Mean absolute difference in percent of the experts'."""
    return lambda some: float(
        np.mean([100 * abs(getattr(one, which) / getattr(one, f"true_{which}") - 1) for one in some])
    )


LINES: tuple[tuple[str, Statistic, int], ...] = (
    ("LV cavity, Dice by volume, ED", mean("dice_ed"), 3),
    ("LV cavity, Dice by volume, ES", mean("dice_es"), 3),
    ("EF, bias (points)", ef_bias, 1),
    ("EF, mean absolute error (points)", ef_error, 1),
    ("EF, correlation", correlation("ef"), 3),
    ("EDV, bias (%)", bias("edv"), 1),
    ("ESV, bias (%)", bias("esv"), 1),
    ("slices with LV that were missed", total("missed"), 0),
    ("of these the most apical of a stack", total("missed_apical"), 0),
    ("slices without LV where it was drawn", total("false"), 0),
    ("of these beyond the base at ES", total("false_basal_es"), 0),
    ("wall, Dice by volume, ED", mean("wall_ed"), 3),
    ("wall, Dice by volume, ES", mean("wall_es"), 3),
    ("LV mass at ED, bias (%)", bias("mass"), 1),
    ("LV mass at ED, mean absolute error (%)", error("mass"), 1),
    ("LV mass at ED, correlation", correlation("mass"), 3),
    ("LV mass at ES, bias (%)", bias("mass_es"), 1),
    ("RV cavity, Dice by volume, ED", mean("rv_ed"), 3),
    ("RV cavity, Dice by volume, ES", mean("rv_es"), 3),
    ("contours lie to the right (mm)", mean("right_mm"), 2),
    ("contours lie lower (mm)", mean("down_mm"), 2),
    ("contours lie to the right (pixels)", mean("right_px"), 2),
    ("contours lie lower (pixels)", mean("down_px"), 2),
)


def table(patients: list[Patient]) -> str:
    """Markdown: each figure with its interval, then EF and volumes by group."""
    slices, empty = sum(one.slices for one in patients), sum(one.empty for one in patients)
    rows = [
        f"{len(patients)} patients, {slices} slices with LV and {empty} without",
        "",
        "| | | 95 % |",
        "| --- | ---: | --- |",
    ]
    for name, of, digits in LINES:
        value, low, high = interval(patients, of)
        rows.append(f"| {name} | {value:.{digits}f} | {low:.{digits}f} to {high:.{digits}f} |")
    rows += [
        "",
        "| group | EF bias | EF error | EDV bias (%) | ESV bias (%) | Dice ED | Dice ES |",
        "| --- |" + " ---: |" * 6,
    ]
    for group in sorted({one.group for one in patients}):
        some = [one for one in patients if one.group == group]
        values = [ef_bias(some), ef_error(some), bias("edv")(some), bias("esv")(some)]
        dices = [mean("dice_ed")(some), mean("dice_es")(some)]
        rows.append(f"| {group} | {' | '.join(f'{v:.1f}' for v in values)} | {' | '.join(f'{v:.3f}' for v in dices)} |")
    return "\n".join(rows)


def main() -> None:
    """Print a table for each network."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", nargs="*", default=["default"], metavar="BUNDLE")
    parser.add_argument("--judge", type=Path, default=JUDGE, metavar="FOLDER")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="a line a patient, of the last network")
    args = parser.parse_args()
    for model in args.model:
        patients = measure(None if model == "default" else model, args.judge)
        print(f"\n{model}: {table(patients)}", flush=True)
    if args.csv:
        with args.csv.open("w", newline="") as stream:
            lines = csv.DictWriter(stream, [one.name for one in fields(Patient)])
            lines.writeheader()
            lines.writerows(asdict(one) for one in patients)


if __name__ == "__main__":
    main()
