"""Calibration: trust.json in a bundle, which turns the features of an exam into a predicted error.

    log(1 - Dice) is linear in the standardised features (no weight is negative): the risk
    log(scale), scale = typical EF error + EF_FLOOR, is linear in the risk
    EF +- quantile * scale * widening; the quantile is conformal: that of errors of held-out patients

The typical error is a geometric mean, that of (error + EF_FLOOR) without the floor: few large errors hardly raise it.

The widening is the distance of the features from those of the calibration (Mahalanobis, the better side counts half),
above that of most patients.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from cinesax.core.errors import BundleError
from cinesax.files.typed_json import parse
from cinesax.network.bundle import TRUST

SCHEMA = "cinesax/trust/1"
Floats = NDArray[np.float64]

DICE_FLOOR = 0.01
"""Added to 1 - Dice before its logarithm: experts differ by more than this."""

EF_FLOOR = 0.5
"""Added to absolute errors of EF (points) before their logarithm."""

MOST_WIDENED = 4.0


class Feature(msgspec.Struct, frozen=True):
    """A feature in a calibration.

    Attributes:
        name: as in `features.features_of`.
        centre: its mean over the patients.
        spread: its standard deviation.
        weight: of the standardised feature in the risk; 0 or more.
    """

    name: str
    centre: float
    spread: float
    weight: float


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that predicts the errors of a network on an exam.

    Attributes:
        schema: "cinesax/trust/1".
        patients: how many held-out patients it comes from.
        sources: which evaluations.
        level: of the intervals, 0 to 1.
        features: the features, and their weights.
        offset: the risk where all features have their mean.
        constant_dice: the Dice to predict for every exam, if features predict it no better than a constant; else None.
        ef_offset: log of the scale (points) at risk 0: the typical EF error and EF_FLOOR.
        ef_slope: its increase with the risk.
        ef_quantile: the conformal quantile: half an interval in multiples of the scale; in points if constant_width.
        constant_width: whether all intervals are equally wide before they are widened, because widths that follow the
            scale are no narrower.
        ef_limits: scales (points) are predicted within these limits, those of the patients.
        precision: the inverse of the covariance of the standardised features, row by row.
        usual_distance: the distance that most patients do not exceed.
        low_dice: exams with a lower predicted Dice get a finding.
        wide_points: exams with half an interval wider than this get a finding.
        figures: what was measured on held-out patients, by name.
    """

    schema: str
    patients: int
    sources: tuple[str, ...]
    level: float
    features: tuple[Feature, ...]
    offset: float
    constant_dice: float | None = None
    ef_offset: float
    ef_slope: float
    ef_quantile: float
    constant_width: bool = False
    ef_limits: tuple[float, float]
    precision: tuple[tuple[float, ...], ...]
    usual_distance: float
    low_dice: float
    wide_points: float
    figures: dict[str, float] = {}


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a calibration says of one exam.

    Attributes:
        dice: the predicted Dice.
        ef_error_points: the typical absolute error of EF, without the widening.
        widened: by what factor the interval is widened.
        half_points: half of the interval for EF.
        parts: feature -> its part of the risk, above (or below) that of the mean patient.
    """

    dice: float
    ef_error_points: float
    widened: float
    half_points: float
    parts: Mapping[str, float]


def predict(calibration: Calibration, features: Mapping[str, float]) -> Predicted:
    """The errors that are expected of an exam with these features."""
    listed = calibration.features
    z = np.array([(features[one.name] - one.centre) / one.spread for one in listed])
    parts = {one.name: float(one.weight * value) for one, value in zip(listed, z, strict=True)}
    risk = calibration.offset + sum(parts.values())
    scale = np.clip(np.exp(calibration.ef_offset + calibration.ef_slope * risk), *calibration.ef_limits)
    off = far(z)
    distance = float(np.sqrt(max(0.0, off @ np.array(calibration.precision) @ off)))
    widened = float(np.clip(distance / calibration.usual_distance, 1.0, MOST_WIDENED))
    dice = calibration.constant_dice
    if dice is None:
        dice = float(np.clip(1 + DICE_FLOOR - np.exp(risk), 0.0, 1.0))
    base = 1.0 if calibration.constant_width else float(scale)
    typical = max(0.0, float(scale) - EF_FLOOR)
    return Predicted(dice, typical, widened, calibration.ef_quantile * base * widened, parts)


def far(z: Floats) -> Floats:
    """Standardised features as they count for the distance: the side of smaller errors counts half.

    Sharp borders and a large cavity make an exam less like the calibration's too, but seldom worse.
    """
    return np.where(z < 0, z / 2, z)


def read_calibration(folder: Path) -> Calibration | None:
    """The calibration in a bundle's folder; None if it has none.

    Raises:
        BundleError: it cannot be used.
    """
    path = folder / TRUST
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{path} cannot be read: {error}") from None
    try:
        calibration = parse(text, Calibration)
    except ValueError as error:
        raise BundleError(f"{path} cannot be used: {error}") from None
    count = len(calibration.features)
    square = len(calibration.precision) == count and all(len(row) == count for row in calibration.precision)
    if calibration.schema != SCHEMA or not square:
        raise BundleError(f"{path} has the schema {calibration.schema!r}, expected {SCHEMA!r}, or is damaged")
    return calibration
