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


@dataclass(frozen=True, slots=True)
class IntraclassCorrelation:
    """How well single measurements of several raters agree, with its 95 % confidence interval."""

    value: float
    interval: Interval


def intraclass_correlation(ratings: Floats) -> IntraclassCorrelation | None:
    """ICC(A,1): two-way, absolute agreement, single measurement; a constant difference counts as disagreement.

    Source: McGraw and Wong, "Forming inferences about some intraclass correlation coefficients", Psychol Methods 1
    (1996) 30-46, table 7.

    Args:
        ratings: (subject, rater), finite.

    Returns:
        None for fewer than three subjects, or where all ratings are equal.
    """
    from scipy import stats

    n, k = ratings.shape
    if n < 3 or np.ptp(ratings) == 0:
        return None
    total = ratings.mean()
    rows, columns = ratings.mean(axis=1), ratings.mean(axis=0)
    between_rows = k * float(((rows - total) ** 2).sum()) / (n - 1)
    between_columns = n * float(((columns - total) ** 2).sum()) / (k - 1)
    rest = float(((ratings - rows[:, None] - columns + total) ** 2).sum()) / ((n - 1) * (k - 1))
    value = (between_rows - rest) / (between_rows + (k - 1) * rest + k / n * (between_columns - rest))
    if value >= 1 or rest == 0:
        return IntraclassCorrelation(value, Interval(value, value))
    a, b = k * value / (n * (1 - value)), 1 + k * value * (n - 1) / (n * (1 - value))
    freedom = (a * between_columns + b * rest) ** 2
    freedom /= (a * between_columns) ** 2 / (k - 1) + (b * rest) ** 2 / ((n - 1) * (k - 1))
    tail = (1 + _CONFIDENCE) / 2
    below = float(stats.f.ppf(tail, n - 1, freedom))
    above = float(stats.f.ppf(tail, freedom, n - 1))
    spread = k * between_columns + (k * n - k - n) * rest
    low = n * (between_rows - below * rest) / (below * spread + n * between_rows)
    high = n * (above * between_rows - rest) / (spread + n * above * between_rows)
    return IntraclassCorrelation(value, Interval(low, high))
