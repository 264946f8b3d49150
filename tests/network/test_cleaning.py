"""What cannot be LV goes, and LV stays."""

import numpy as np
import pytest
from scipy import ndimage

from cinesax.network.cleaning import BORDER, Rule, _and_neighbours, clean, one_body, one_region, steady, without_holes

PHASES, SLICES, SIZE = 10, 6, 64


@pytest.fixture
def heart() -> np.ndarray:
    """A body that shrinks in the middle of the beat, with soft borders, absent from the first slice."""
    rows, columns = np.indices((SIZE, SIZE))
    far = np.hypot(rows - 30, columns - 34)
    beat = 10 - 4 * np.sin(np.pi * np.arange(PHASES) / PHASES)
    taper = np.array([-1.0, 1.0, 1.0, 0.9, 0.7, 0.4])
    radius = beat[:, None] * taper
    soft = np.clip(radius[..., None, None] - far + 0.5, 0, 1)
    return soft.astype(np.float32)


def test_a_clean_heart_keeps_every_pixel(heart):
    cleaned = clean(heart, frozenset({Rule.ONE_BODY, Rule.ONE_REGION}))
    np.testing.assert_array_equal(cleaned.probabilities, heart)
    assert np.count_nonzero(cleaned.removed) == 0
    assert cleaned.off == ()


def test_a_second_body_goes_wherever_it_is(heart):
    spoilt = heart.copy()
    spoilt[:, 3, 5:10, 50:55] = 0.9
    spoilt[2:5, 0, 50:60, 5:9] = 0.8
    np.testing.assert_array_equal(one_body(spoilt), heart)


def test_a_body_that_spans_the_end_of_the_beat_is_one():
    p = np.zeros((10, 1, 16, 16), np.float32)
    p[8:, 0, 4:8, 4:8] = 1
    p[:2, 0, 4:8, 4:8] = 1
    p[5, 0, 8:14, 8:14] = 1  # larger in one frame, smaller in all
    kept = one_body(p)
    assert kept[8:].sum() > 0 and kept[:2].sum() > 0 and kept[5].sum() == 0


def test_what_one_body_keeps_does_not_depend_on_where_the_beat_begins():
    p = np.zeros((10, 3, 16, 16), np.float32)
    p[5:, 1, 4:8, 4:8] = 1
    p[:3, 2, 8:12, 8:12] = 1  # goes on in the next slice, a corner further
    for first in range(10):
        rolled = np.roll(p, first, axis=0)
        np.testing.assert_array_equal(one_body(rolled), rolled)


def test_each_frame_keeps_one_region_and_its_soft_rim(heart):
    spoilt = heart.copy()
    spoilt[4, 2, 30, 60:63] = 0.7
    np.testing.assert_array_equal(one_region(spoilt), heart)


def test_steady_averages_around_the_beat_and_keeps_the_mean():
    p = np.random.default_rng(0).random((8, 2, 5, 5)).astype(np.float32)
    smooth = steady(p)
    np.testing.assert_allclose(smooth.mean(axis=0), p.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(smooth[0], (p[-1] + 2 * p[0] + p[1]) / 4, atol=1e-6)


def test_rules_that_lack_neighbours_are_off_and_named(heart):
    single = clean(heart[:1, 2:3], frozenset(Rule))
    assert set(single.off) == {Rule.STEADY, Rule.ONE_BODY}
    np.testing.assert_array_equal(single.probabilities >= BORDER, heart[:1, 2:3] >= BORDER)


def test_removed_frames_are_counted(heart):
    spoilt = heart.copy()
    spoilt[:, 3, 5:10, 50:55] = 0.9
    assert np.count_nonzero(clean(spoilt, frozenset({Rule.ONE_BODY})).removed) == PHASES


@pytest.mark.parametrize("corner", [(0, 0), (60, 58)])
def test_it_makes_no_difference_where_in_the_frame_the_heart_lies(corner):
    p = np.zeros((9, 3, SIZE, SIZE), np.float32)
    rows, columns = corner
    p[:, :, rows : rows + 4, columns : columns + 6] = 0.9
    p[3:6, 1, 30:32, 30:32] = 0.8
    cleaned = clean(p, frozenset(Rule))
    expected = p.copy()
    expected[3:6, 1, 30:32, 30:32] = 0
    np.testing.assert_array_equal(cleaned.probabilities >= BORDER, expected >= BORDER)
    assert np.count_nonzero(cleaned.removed) == 3


def test_an_empty_prediction_is_not_an_error():
    nothing = clean(np.zeros((9, 2, 16, 16), np.float32), frozenset(Rule))
    assert np.count_nonzero(nothing.removed) == 0 and not nothing.probabilities.any()


@pytest.mark.parametrize("density", [0.0, 0.3, 0.5, 0.7, 1.0])
def test_filling_and_growing_are_those_of_scipy(density):
    mask = np.random.default_rng(7).random((40, 31)) < density
    np.testing.assert_array_equal(without_holes(mask), ndimage.binary_fill_holes(mask))
    np.testing.assert_array_equal(_and_neighbours(mask), ndimage.binary_dilation(mask))
