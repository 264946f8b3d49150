"""Agreement between two measurements of the same patients, with confidence intervals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinesax.core.grid import Floats

RESAMPLES = 2000
SEED = 20090
_CONFIDENCE = 0.95
_LIMITS = 1.96


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % confidence interval; infinite ends are possible."""

    low: float
    high: float


def bootstrap(
    patients: Sequence[NDArray[Any]], statistic: Callable[[NDArray[Any]], float], *, seed: int = SEED
) -> Interval | None:
    """The percentile interval of a statistic from resampling whole patients with their slices.

    Slices of one patient resemble each other: resampling single slices would give intervals that are too narrow.
    Source: Davison and Hinkley, "Bootstrap Methods and their Application" (1997), 3.8 and 5.3.1.

    Args:
        patients: the values of each patient (value, ...).
        statistic: function of the values of all drawn patients together, (value, ...).
        seed: seed of the resampling.

    Returns:
        The interval, or None for fewer than three patients.
    """
    count = len(patients)
    if count < 3:
        return None
    rng = np.random.default_rng(seed)
    drawn = [
        statistic(np.concatenate([patients[index] for index in rng.integers(0, count, count)]))
        for _ in range(RESAMPLES)
    ]
    # No interpolation: there is nothing between a number and infinity.
    ends = np.quantile(drawn, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2], method="inverted_cdf")
    return Interval(float(ends[0]), float(ends[1]))


@dataclass(frozen=True, slots=True)
class BlandAltman:
    """Differences (predicted - truth) of paired measurements.

    Attributes:
        n: the number of pairs.
        bias: mean difference.
        bias_interval: its 95 % confidence interval (Student's t).
        sd: standard deviation of the differences (n - 1).
        lower, upper: limits of agreement: bias -+ 1.96 sd.
        limits_error: standard error of each limit.
        mean_absolute: mean of the absolute differences.
        slope, intercept: of the least-squares line predicted = slope * truth + intercept; None if all truths are equal.
        correlation: Pearson's r; None if either is constant.
    """

    n: int
    bias: float
    bias_interval: Interval
    sd: float
    lower: float
    upper: float
    limits_error: float
    mean_absolute: float
    slope: float | None
    intercept: float | None
    correlation: float | None


def bland_altman(truth: Floats, predicted: Floats) -> BlandAltman | None:
    """Agreement of paired measurements; None for fewer than three pairs.

    Source: Bland and Altman, "Measuring agreement in method comparison studies", Stat Methods Med Res 8 (1999)
    135-160: limits, and their standard error s * sqrt(1/n + 1.96² / (2 (n - 1))).
    """
    from scipy import stats

    n = len(truth)
    if n < 3:
        return None
    difference = np.asarray(predicted) - np.asarray(truth)
    bias, sd = float(difference.mean()), float(difference.std(ddof=1))
    half = float(stats.t.ppf((1 + _CONFIDENCE) / 2, n - 1)) * sd / np.sqrt(n)
    slope = intercept = correlation = None
    if np.ptp(truth) > 0:
        slope, intercept = (float(value) for value in np.polyfit(truth, predicted, 1))
        correlation = float(np.corrcoef(truth, predicted)[0, 1]) if np.ptp(predicted) > 0 else None
    return BlandAltman(
        n=n,
        bias=bias,
        bias_interval=Interval(float(bias - half), float(bias + half)),
        sd=sd,
        lower=bias - _LIMITS * sd,
        upper=bias + _LIMITS * sd,
        limits_error=float(sd * np.sqrt(1 / n + _LIMITS**2 / (2 * (n - 1)))),
        mean_absolute=float(np.abs(difference).mean()),
        slope=slope,
        intercept=intercept,
        correlation=correlation,
    )
