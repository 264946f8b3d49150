"""Distances between borders, against SimpleITK."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cinesax.evaluate.distances import border_distances

sitk = pytest.importorskip("SimpleITK", reason="needs SimpleITK")


def blob(seed: int, shape: tuple[int, int] = (40, 50)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    centre, radii = rng.uniform(12, 28, 2), rng.uniform(2, 10, 2)
    angle = np.arctan2(rows - centre[0], columns - centre[1])
    wave = 1 + 0.2 * np.cos(3 * angle + rng.uniform(0, 6))
    mask = ((rows - centre[0]) / radii[0]) ** 2 + ((columns - centre[1]) / radii[1]) ** 2 < wave
    mask[int(centre[0]), int(centre[1])] = True
    return mask


def by_simpleitk(a: np.ndarray, b: np.ndarray, spacing: tuple[float, float]) -> tuple[float, float]:
    """HD95 and mean distance from SimpleITK's borders and distance maps."""
    images = [sitk.GetImageFromArray(np.pad(mask, 2).astype(np.uint8)) for mask in (a, b)]
    for image in images:
        image.SetSpacing(spacing[::-1])
    borders = [sitk.LabelContour(image, False) for image in images]
    maps = [sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(b, False, False, True)) for b in borders]
    on = [sitk.GetArrayFromImage(border) > 0 for border in borders]
    directed = [np.abs(maps[1])[on[0]], np.abs(maps[0])[on[1]]]
    return max(float(np.percentile(d, 95)) for d in directed), float(np.concatenate(directed).mean())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.sampled_from([(1.0, 1.0), (1.37, 1.37), (0.8, 1.6)]))
def test_distances_are_those_of_simpleitk(one, other, spacing):
    a, b = blob(one), blob(other)
    seen = border_distances(a, b, spacing)
    assert (seen.hd95, seen.mean) == pytest.approx(by_simpleitk(a, b, spacing), rel=1e-5, abs=1e-5)
    largest = sitk.HausdorffDistanceImageFilter()
    images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in (a, b)]
    for image in images:
        image.SetSpacing(spacing[::-1])
    largest.Execute(*images)
    assert seen.hd95 <= largest.GetHausdorffDistance() + max(spacing) * math.sqrt(2)


def test_a_shift_by_three_pixels_is_three_pixels_and_twice_as_much_in_mm():
    a = np.zeros((30, 30), bool)
    a[5:15, 5:15] = True
    b = np.roll(a, 3, axis=1)
    assert border_distances(a, b).hd95 == 3
    assert border_distances(a, b, (2.0, 2.0)).hd95 == 6


def test_one_empty_mask_is_infinitely_far_and_two_agree():
    a, empty = np.ones((8, 8), bool), np.zeros((8, 8), bool)
    for one, other in ((a, empty), (empty, a)):
        assert border_distances(one, other).hd95 == border_distances(one, other).mean == math.inf
    assert border_distances(empty, empty).hd95 == 0
    assert border_distances(a, a).mean == 0
