"""Fitting a calibration to held-out patients, and measuring it on patients that each fit has not seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from cinesax.core.errors import InputError
from cinesax.trust.calibration import (
    DICE_FLOOR,
    EF_FLOOR,
    SCHEMA,
    Calibration,
    Feature,
    Floats,
    Predicted,
    far,
    predict,
)

LEVEL = 0.9
FEWEST = 20
"""Fewer held-out patients give no interval worth its name."""

FEATURES = ("mirror", "border", "ends", "steps", "small", "contrast", "mass")
"""All of them; few, because there are few patients."""

_RIDGE = 5.0
"""How many patients without any relation between features and error are added: weights shrink towards 0."""

_FOLDS = 10
_SHRINK = 0.1
_USUAL = 0.9
"""The part of the patients within the usual distance."""

_GOOD_DICE, _GOOD_EF = 0.85, 5.0
"""A good exam: at least this Dice, and at most this error of EF (points)."""

_FALSE_ALARMS = 0.05
"""The part of good exams with a finding for a low Dice, and again for a wide interval."""

_LEAST_WIDE = 10.0
"""Half an interval of fewer points than this gives no finding."""

_CONSTANT = 0.95
"""If the errors are not at least a twentieth smaller than those of a constant, the constant is used."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A patient whom the network had not seen.

    Attributes:
        case: the patient.
        features: by name; None if no cavity was drawn at ED or at ES: nothing is predicted then.
        dice: true Dice by volume, mean of ED and ES.
        ef_percent: the predicted EF.
        ef_error_points: its signed error.
    """

    case: str
    features: Mapping[str, float] | None
    dice: float
    ef_percent: float
    ef_error_points: float


def fit(patients: Sequence[HeldOut], sources: Sequence[str] = ()) -> Calibration:
    """A calibration, with its figures.

    Args:
        patients: each patient once.
        sources: where they come from, for the record.

    Raises:
        InputError: too few patients, or features are missing.
    """
    known = [one for one in patients if one.features is not None]
    if len(known) < FEWEST:
        raise InputError(
            f"a calibration needs {FEWEST} held-out patients with a cavity at ED and ES, seen {len(known)}"
        )
    missing = {name for one in known for name in FEATURES if name not in _of(one)}
    if missing:
        raise InputError(f"the evaluation lacks {', '.join(sorted(missing))}: evaluate again with this version")
    data = _Data.of(known)
    kind = Kind()
    figures = measure(known, cross_validated(known, kind))
    # Where features do not help, a constant is the honest prediction.
    kind = Kind(
        dice=figures["dice_error"] < _CONSTANT * figures["dice_error_of_constant"],
        width=figures["ef_width"] < _CONSTANT * figures["ef_width_of_constant"],
    )
    if kind != Kind():
        figures = measure(known, cross_validated(known, kind))
    return msgspec.structs.replace(_fit(data, kind), sources=tuple(sources), figures=figures)


@dataclass(frozen=True, slots=True)
class Kind:
    """Whether the Dice, and the width of the interval, depend on the exam; else they are constant."""

    dice: bool = True
    width: bool = True


def kind_of(calibration: Calibration) -> Kind:
    """What depends on the exam in a calibration."""
    return Kind(calibration.constant_dice is None, not calibration.constant_width)


@dataclass(frozen=True, eq=False, slots=True)
class _Data:
    """Patients as arrays: features (patient, feature), the others (patient,)."""

    features: Floats
    dice: Floats
    errors: Floats

    @classmethod
    def of(cls, patients: Sequence[HeldOut]) -> "_Data":
        return cls(
            np.array([[_of(one)[name] for name in FEATURES] for one in patients]),
            np.array([one.dice for one in patients]),
            # Volumes close to 0 make EF any number; it is wrong by 100 points at most.
            np.minimum(np.abs([one.ef_error_points for one in patients]), 100.0),
        )

    def take(self, which: NDArray[np.bool_]) -> "_Data":
        return _Data(self.features[which], self.dice[which], self.errors[which])

    def predicted(self, by: Calibration) -> list[Predicted]:
        return [predict(by, dict(zip(FEATURES, row, strict=True))) for row in self.features.tolist()]


def _of(patient: HeldOut) -> Mapping[str, float]:
    return patient.features or {}


def cross_validated(patients: Sequence[HeldOut], kind: Kind = Kind()) -> list[Predicted]:  # noqa: B008 - frozen
    """Predictions for each patient by a calibration of all others, its quantile included."""
    data, made = _Data.of(patients), []
    for one in np.eye(len(patients), dtype=bool):
        made += data.take(one).predicted(_fit(data.take(~one), kind))
    return made


def _fit(data: _Data, kind: Kind) -> Calibration:
    """A calibration whose quantile comes from predictions for patients that were left out, a tenth at a time."""
    fold = np.arange(len(data.dice)) % _FOLDS
    half, dice = np.empty(len(fold)), np.empty(len(fold))
    for number in range(_FOLDS):
        out = fold == number
        predicted = data.take(out).predicted(_fit_once(data.take(~out), kind))
        half[out] = [one.half_points for one in predicted]
        dice[out] = [one.dice for one in predicted]
    quantile = conformal(data.errors / half)
    good = (data.dice >= _GOOD_DICE) & (data.errors <= _GOOD_EF)
    lowest = np.quantile(dice[good], _FALSE_ALARMS) if good.any() else 0.0
    widest = np.quantile(quantile * half[good], 1 - _FALSE_ALARMS) if good.any() else 0.0
    return msgspec.structs.replace(
        _fit_once(data, kind),
        ef_quantile=quantile,
        low_dice=float(lowest),
        wide_points=max(_LEAST_WIDE, float(widest)),
    )


def conformal(scores: Floats) -> float:
    """The quantile that a new score does not exceed with the chance LEVEL, if it is like these."""
    rank = min(len(scores), ceil((len(scores) + 1) * LEVEL))
    return float(np.sort(scores)[rank - 1])


def _fit_once(data: _Data, kind: Kind) -> Calibration:
    """Weights and distances; the quantile is 1."""
    centre, spread = data.features.mean(axis=0), np.maximum(data.features.std(axis=0), 1e-6)
    z = (data.features - centre) / spread
    losses, errors = np.log(1 - data.dice + DICE_FLOOR), np.log(data.errors + EF_FLOOR)
    weights = _weights(z, losses - losses.mean())
    risks = losses.mean() + z @ weights
    slope = _slope(risks, errors)
    scales = np.exp(errors.mean() + slope * (risks - risks.mean()))
    together = z.T @ z / len(z)
    precision = np.linalg.inv((1 - _SHRINK) * together + _SHRINK * np.eye(len(FEATURES)))
    distances = np.sqrt(np.einsum("ij,jk,ik->i", far(z), precision, far(z)))
    return Calibration(
        schema=SCHEMA,
        patients=len(z),
        sources=(),
        level=LEVEL,
        features=tuple(map(Feature, FEATURES, centre.tolist(), spread.tolist(), weights.tolist())),
        offset=float(losses.mean()),
        constant_dice=None if kind.dice else float(np.median(data.dice)),
        ef_offset=float(errors.mean() - slope * risks.mean()),
        ef_slope=slope,
        ef_quantile=1.0,
        constant_width=not kind.width,
        ef_limits=(float(scales.min()), min(100.0, float(scales.max()))),
        precision=tuple(map(tuple, precision.tolist())),
        usual_distance=float(np.quantile(distances, _USUAL)),
        low_dice=0.0,
        wide_points=100.0,
    )


def _weights(z: Floats, target: Floats) -> Floats:
    """Ridge regression without negative weights."""
    count = z.shape[1]
    rows = np.vstack([z, np.sqrt(_RIDGE) * np.eye(count)])
    return np.asarray(optimize.nnls(rows, np.concatenate([target, np.zeros(count)]))[0])


def _slope(risks: Floats, errors: Floats) -> float:
    off = risks - risks.mean()
    return max(0.0, float(off @ (errors - errors.mean()) / (off @ off + 1e-9)))


def measure(patients: Sequence[HeldOut], predicted: Sequence[Predicted]) -> dict[str, float]:
    """Figures of predictions.

    Args:
        patients: the patients, all with features.
        predicted: the prediction for each of them.
    """
    dice, seen = np.array([one.dice for one in patients]), np.array([one.dice for one in predicted])
    errors, half = _Data.of(patients).errors, np.array([one.half_points for one in predicted])
    inside = int(np.count_nonzero(errors <= half))
    rank = np.array([one.ef_error_points * one.widened for one in predicted])
    count = len(patients)
    coverage = stats.binomtest(inside, count).proportion_ci(0.95)
    # The width of one interval for all that covers as many.
    constant = float(np.sort(errors)[max(0, inside - 1)])
    worst = np.argsort(-errors)[: max(1, round(0.1 * count))]
    first = np.argsort(-rank)[: round(0.2 * count)]
    correlation = stats.spearmanr(dice, seen).statistic if np.ptp(seen) > 0 else 0.0
    return {
        "patients": float(count),
        "dice_error": float(np.abs(dice - seen).mean()),
        "dice_error_of_constant": float(np.abs(dice - _others(dice)).mean()),
        "dice_rank_correlation": float(correlation),
        "ef_coverage": inside / count,
        "ef_coverage_low": float(coverage.low),
        "ef_coverage_high": float(coverage.high),
        "ef_width": 2 * float(np.median(half)),
        "ef_width_of_constant": 2 * constant,
        "worst_found": float(np.isin(worst, first).mean()),
        "ef_rank_correlation": float(stats.spearmanr(errors, rank).statistic) if np.ptp(rank) > 0 else 0.0,
    }


def _others(values: Floats) -> Floats:
    """For each value the median of the others: what a constant would predict."""
    return np.array([np.median(np.delete(values, i)) for i in range(len(values))])
