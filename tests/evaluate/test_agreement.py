"""Intervals and limits of agreement, against SciPy and against figures worked out by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from cinesax.evaluate.agreement import bland_altman, bootstrap, intraclass_correlation


def mean(values: np.ndarray) -> float:
    return float(values.mean())


def test_the_interval_of_single_values_is_that_of_scipy():
    values = np.random.default_rng(3).normal(10, 2, 40)
    seen = bootstrap([values[[i]] for i in range(40)], mean)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=5000, rng=1).confidence_interval
    assert (seen.low, seen.high) == pytest.approx((theirs.low, theirs.high), abs=0.12)


def test_patients_are_drawn_whole():
    """Ten slices of one patient that say the same are one observation, not ten."""
    values = np.random.default_rng(4).normal(0, 1, 12)
    alone = bootstrap([values[[i]] for i in range(12)], mean)
    repeated = bootstrap([np.repeat(values[i], 10) for i in range(12)], mean)
    assert (alone.low, alone.high) == pytest.approx((repeated.low, repeated.high))


def test_an_interval_may_end_in_infinity_and_is_the_same_each_time():
    groups = [np.array([1.0, 2.0]), np.array([2.0]), np.array([math.inf, math.inf]), np.array([3.0])]

    def median(values: np.ndarray) -> float:
        return float(np.quantile(values, 0.5, method="higher"))

    assert bootstrap(groups, median) == bootstrap(groups, median)
    assert bootstrap(groups, median).high == math.inf


def test_two_patients_have_no_interval():
    assert bootstrap([np.ones(5), np.ones(5)], mean) is None
    assert bland_altman(np.ones(2), np.ones(2)) is None


def test_limits_of_agreement_by_hand():
    truth = np.array([50.0, 60.0, 40.0, 30.0])
    a = bland_altman(truth, truth + [1, -1, 3, 1])
    sd = math.sqrt((0 + 4 + 4 + 0) / 3)
    assert (a.n, a.bias, a.sd, a.mean_absolute) == pytest.approx((4, 1, sd, 1.5))
    assert (a.lower, a.upper) == pytest.approx((1 - 1.96 * sd, 1 + 1.96 * sd))
    assert a.limits_error == pytest.approx(sd * math.sqrt(1 / 4 + 1.96**2 / 6))
    t = stats.ttest_1samp([1, -1, 3, 1], 0).confidence_interval()
    assert (a.bias_interval.low, a.bias_interval.high) == pytest.approx((t.low, t.high))
    line = stats.linregress(truth, truth + [1, -1, 3, 1])
    assert (a.slope, a.intercept, a.correlation) == pytest.approx((line.slope, line.intercept, line.rvalue))


def test_equal_truths_have_no_slope():
    a = bland_altman(np.full(3, 50.0), np.array([49.0, 50.0, 52.0]))
    assert a.slope is None and a.correlation is None and a.mean_absolute == 1


def test_the_intraclass_correlation_is_that_of_the_literature():
    """Shrout and Fleiss (1979), table 2: ICC(2,1) = 0.29; interval as R's psych::ICC gives it."""
    ratings = np.array(
        [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=float
    )
    seen = intraclass_correlation(ratings)
    assert seen.value == pytest.approx(0.2898, abs=5e-5)
    assert (seen.interval.low, seen.interval.high) == pytest.approx((0.0188, 0.7611), abs=5e-4)


def test_a_constant_difference_is_disagreement():
    values = np.random.default_rng(5).normal(55, 10, 50)
    same, shifted = (intraclass_correlation(np.stack([values, values + shift], axis=1)) for shift in (0, 10))
    assert same.value == 1
    assert shifted.value < 0.8
