"""How right the predicted Dice and the interval for EF are, on patients that networks and calibration had not seen.

    python benchmarks/trust.py EVALUATION ... [--plot FILE]      # JSON of `cinesax evaluate` by networks of folds
    python benchmarks/trust.py --judge [FOLDER] [--model BUNDLE] [--plot FILE]

The first predicts each patient by a calibration of all others (nested: the conformal quantile too), as
`cinesax calibrate` prints it, and adds figures by disease and a plot. The second takes the calibration in a bundle as
it is, to patients of another scanner. Nothing may be chosen by the second: docs/evaluation.md says how often it was
looked at. A finding is counted as in `cinesax.trust.assess.check_trust`.
"""

import argparse
import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import pyplot as plt

from abroad import JUDGE, classes_of
from cinesax.cli.calibrate import figures, held_out
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import Structure
from cinesax.evaluate import LabelledStudy
from cinesax.evaluate.signs import case_signs
from cinesax.formats import nifti
from cinesax.network.segmenter import load_segmenter
from cinesax.trust.calibration import Calibration, Predicted, predict, read_calibration
from cinesax.trust.fit import HeldOut, cross_validated, fit, kind_of, measure

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Result:
    """Patients with a cavity at ED and ES, their predictions, and the calibration whose limits give findings."""

    patients: Sequence[HeldOut]
    predicted: Sequence[Predicted]
    calibration: Calibration
    nothing: int


def of_evaluations(paths: Sequence[Path]) -> Result:
    """Nested cross-validation over the patients of evaluations."""
    patients, _ = held_out(paths)
    known = [one for one in patients if one.features is not None]
    calibration = fit(patients)
    return Result(known, cross_validated(known, kind_of(calibration)), calibration, len(patients) - len(known))


def of_judge(model: str | None, folder: Path) -> Result:
    """The calibration of a bundle on whole stacks at ED and ES of another scanner."""
    segmenter = load_segmenter(model)
    calibration = read_calibration(segmenter.bundle.folder)
    if calibration is None:
        raise SystemExit(f"{segmenter.bundle.folder} has no calibration: cinesax calibrate makes it")
    patients = []
    for name in groups(folder / "groups.csv"):
        cine = nifti.read_cine(folder / "images" / f"{name}.nii.gz")
        labels = classes_of(nifti.read_cine(folder / "truth" / f"{name}.nii.gz").pixels)
        truth = Segmentation(
            np.where(labels == Structure.CAVITY, labels, 0).astype(np.uint8),
            {Structure.CAVITY: np.ones(cine.n_phases, dtype=bool)},
        )
        names = {(phase, place): f"{name} {phase} {place}" for phase, place in np.ndindex(*labels.shape[:2])}
        seen = case_signs(LabelledStudy(name, names, cine, truth), segmenter.segment(cine))
        if seen is not None:
            patients.append(HeldOut(name, seen.features, seen.dice, seen.ef_percent, seen.ef_error_points))
    known = [one for one in patients if one.features is not None]
    predicted = [predict(calibration, one.features or {}) for one in known]
    return Result(known, predicted, calibration, len(patients) - len(known))


def groups(path: Path) -> dict[str, str]:
    """Patient -> group, of lines that name a patient."""
    with path.open() as stream:
        return {line[0]: line[1] for line in csv.reader(stream) if line and re.fullmatch(r"patient\d+", line[0])}


def diseases() -> dict[str, str]:
    """Patient -> disease, of the open data."""
    known: dict[str, str] = {}
    for path in (DATA / "chla" / "Metadata.csv", DATA / "sunnybrook" / "patients.csv", JUDGE / "groups.csv"):
        if not path.is_file():
            continue
        if path.name == "groups.csv":
            known |= groups(path)
            continue
        with path.open() as stream:
            for row in csv.DictReader(stream):
                if "Subjects" in row:
                    known[f"sbj_{int(row['Subjects']):02d}"] = row["Disease"]
                else:
                    # SC-HF-I-1 in the table is SC-HF-I-01 in the names of the images.
                    stem, _, number = row["OriginalID"].rpartition("-")
                    known[f"{stem}-{int(number):02d}"] = row["Pathology"]
    return known


def flagged(result: Result) -> list[bool]:
    """Whether each patient gets a finding."""
    limits = result.calibration
    return [one.dice < limits.low_dice or one.half_points > limits.wide_points for one in result.predicted]


def table(result: Result, first: str | None = None) -> str:
    """The figures, and a line for each disease; `first` replaces the first line, which says how they were predicted."""
    flags, known = flagged(result), diseases()
    good = [one.dice >= 0.85 and abs(one.ef_error_points) <= 5 for one in result.patients]
    alarms = sum(flag and fine for flag, fine in zip(flags, good, strict=True))
    lines = figures(measure(result.patients, result.predicted))
    lines[0] = first or lines[0]
    widened = [one.widened for one in result.predicted]
    lines += [
        f"drew no cavity at ED or ES, which needs no prediction: {result.nothing}",
        f"widened because unlike the calibration: {sum(w > 1 for w in widened)}, at most {max(widened):.1f} times",
        f"with a finding: {sum(flags)}; of the {sum(good)} good exams (Dice 0.85, EF 5 points): {alarms}",
        "",
        "| | patients | Dice, true | predicted | EF error (points) | typical | with a finding |",
        "| --- |" + " ---: |" * 6,
    ]
    by_group: dict[str, list[int]] = {}
    for number, one in enumerate(result.patients):
        by_group.setdefault(known.get(one.case, "not known"), []).append(number)
    for name, members in sorted(by_group.items(), key=lambda item: -len(item[1])):
        some = [(result.patients[i], result.predicted[i]) for i in members]
        columns = (
            np.mean([true.dice for true, _ in some]),
            np.mean([seen.dice for _, seen in some]),
            np.mean([min(abs(true.ef_error_points), 100) for true, _ in some]),
            np.mean([seen.ef_error_points * seen.widened for _, seen in some]),
        )
        shown = " | ".join(f"{v:.{2 if i < 2 else 1}f}" for i, v in enumerate(columns))
        lines.append(f"| {name} | {len(some)} | {shown} | {sum(flags[i] for i in members)} |")
    return "\n".join(lines)


def plot(result: Result, path: Path) -> None:
    """Predicted against true Dice; and the error of EF against its interval."""
    matplotlib.use("Agg")
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4.4), layout="constrained")
    true, seen = ([one.dice for one in some] for some in (result.patients, result.predicted))
    low = min(*true, *seen) - 0.02
    left.plot([low, 1], [low, 1], color="0.75", linewidth=1, zorder=0)
    colours = ["#c0392b" if flag else "#1f5f99" for flag in flagged(result)]
    left.scatter(seen, true, s=20, c=colours, alpha=0.8, linewidths=0)
    left.set(xlabel="predicted Dice", ylabel="true Dice", xlim=(low, 1), ylim=(low, 1), aspect="equal")
    left.set_title("Dice of the LV cavity (red: with a finding)", fontsize=10)
    half = np.array([one.half_points for one in result.predicted])
    errors = np.array([np.clip(one.ef_error_points, -100, 100) for one in result.patients])
    order = np.argsort(half)
    place = np.arange(len(order))
    right.fill_between(place, -half[order], half[order], color="#1f5f99", alpha=0.18, step="mid", linewidth=0)
    inside = np.abs(errors[order]) <= half[order]
    right.scatter(place[inside], errors[order][inside], s=16, color="#1f5f99", linewidths=0)
    right.scatter(place[~inside], errors[order][~inside], s=26, color="#c0392b", marker="x")
    right.set(xlabel="patients, by the width of their interval", ylabel="EF, predicted - true (points)")
    right.set_title("EF and its 90 % interval (cross: outside)", fontsize=10)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Print the figures, and draw them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("on", type=Path, nargs="*", metavar="EVALUATION")
    parser.add_argument("--judge", type=Path, nargs="?", const=JUDGE, metavar="FOLDER")
    parser.add_argument("--model", metavar="BUNDLE")
    parser.add_argument("--plot", type=Path, metavar="FILE")
    args = parser.parse_args()
    result = of_judge(args.model, args.judge) if args.judge else of_evaluations(args.on)
    print(table(result, f"{len(result.patients)} patients, by the calibration in the bundle" if args.judge else None))
    if args.plot:
        plot(result, args.plot)


if __name__ == "__main__":
    main()
