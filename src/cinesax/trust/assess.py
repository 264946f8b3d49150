"""Assess: a network's segmentation and a calibration -> Trust, and a finding where larger errors are expected."""

from collections.abc import Mapping

from cinesax.core.analysis import Reason, Trust
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.presence import BaseRule
from cinesax.core.segmentation import Segmentation
from cinesax.trust.calibration import Calibration, Predicted, predict, read_calibration
from cinesax.trust.features import features_of

_REASONS = {
    "mirror": Reason.MIRROR,
    "border": Reason.BORDER,
    "ends": Reason.ENDS,
    "steps": Reason.STEPS,
    "small": Reason.SMALL,
    "contrast": Reason.CONTRAST,
    "mass": Reason.MASS,
}

_CALIBRATED_BASE = BaseRule.HALF

_COUNTS = 0.2
"""A feature is a reason if it adds this to the log of 1 - Dice: a fifth more error."""

_NOTABLY_WIDER = 1.25
_MOST_REASONS = 2

_NOTHING_POINTS = 50.0
"""Stands for the typical error of EF if there is no cavity at ED or at ES."""


def calibration_of(segmenter: object) -> Calibration | None:
    """The calibration of a network as `analyze` uses it; None for other segmenters, rules and bundles without one.

    Raises:
        BundleError: the bundle's calibration cannot be used.
    """
    from cinesax.network.cleaning import DEFAULT_RULES
    from cinesax.network.segmenter import NetworkSegmenter

    if not isinstance(segmenter, NetworkSegmenter):
        return None
    if segmenter.base is not _CALIBRATED_BASE or segmenter.rules != DEFAULT_RULES:
        return None
    return read_calibration(segmenter.bundle.folder)


def assess(segmentation: Segmentation, ef_percent: float | None, calibration: Calibration | None) -> Trust | None:
    """How far contours and EF can be trusted.

    Args:
        segmentation: by the network that was calibrated, not edited.
        ef_percent: the EF of this segmentation; None if there is none.
        calibration: of that network; None if it has none.

    Returns:
        None without a calibration, or if this is not a network's segmentation.
    """
    presence = segmentation.presence
    if calibration is None or presence is None or segmentation.origins:
        return None
    if len(segmentation.labels) < 2:
        return None
    features = features_of(presence)
    if features is None:
        low, high = (None, None) if ef_percent is None else (0.0, 100.0)
        why = (Reason.NO_CAVITY,)
        return Trust(0.0, _NOTHING_POINTS, low, high, calibration.level, 1.0, why, calibration.patients)
    made = predict(calibration, features)
    if ef_percent is None:
        low = high = None
    else:
        low, high = (min(100.0, max(0.0, ef_percent + side * made.half_points)) for side in (-1, 1))
    return Trust(
        round(made.dice, 4),
        round(made.ef_error_points * made.widened, 4),
        None if low is None else round(low, 4),
        None if high is None else round(high, 4),
        calibration.level,
        round(made.widened, 4),
        _reasons(made),
        calibration.patients,
    )


def _reasons(made: Predicted) -> tuple[Reason, ...]:
    ordered = sorted(made.parts.items(), key=lambda part: -part[1])
    reasons = [_REASONS[name] for name, part in ordered if part > _COUNTS][:_MOST_REASONS]
    return (*([Reason.UNLIKE] if made.widened > _NOTABLY_WIDER else []), *reasons)


def check_trust(trust: Trust | None, calibration: Calibration | None) -> tuple[Finding, ...]:
    """A finding if a low Dice or a large error of EF is expected; it is rare in good exams.

    Args:
        trust: from `assess`.
        calibration: the same.
    """
    if trust is None or calibration is None:
        return ()
    low, high = trust.ef_low_percent, trust.ef_high_percent
    wide = low is not None and high is not None and high - low > 2 * calibration.wide_points
    if trust.dice >= calibration.low_dice and not wide:
        return ()
    numbers: Mapping[str, float] = {"dice": trust.dice, "ef_error_points": trust.ef_error_points}
    between = ""
    if low is not None and high is not None:
        numbers = {**numbers, "ef_low_percent": low, "ef_high_percent": high}
        between = ", and the true EF may lie anywhere from {ef_low_percent:.0f} to {ef_high_percent:.0f} %"
    sentence = f"larger errors than usual are expected: predicted Dice {{dice:.2f}}{between}; {{reasons}}"
    texts = {"reasons": trust.words}
    return (Finding(Code.LOW_TRUST, Severity.WARNING, sentence, numbers=numbers, texts=texts),)
