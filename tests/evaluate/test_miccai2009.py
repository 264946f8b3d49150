"""The challenge's measures: its filling against the COCO tools', its distance against one taken point by point."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cinesax.core.segmentation import from_contours, polygon_area
from cinesax.core.structures import Structure
from cinesax.evaluate import LabelledStudy
from cinesax.evaluate.miccai2009 import fill, miccai_case, perpendicular_distance
from hearts import cine

SHAPE = (64, 80)


def circle(
    radius: float, centre: tuple[float, float] = (40.0, 30.0), points: int = 60, wave: float = 0.0
) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    r = radius * (1 + wave * np.cos(3 * angle))
    return np.stack([centre[0] + r * np.cos(angle), centre[1] + r * np.sin(angle)], axis=1)


hearts = st.builds(
    circle,
    radius=st.floats(3, 20),
    centre=st.tuples(st.floats(30, 50), st.floats(25, 40)),
    points=st.integers(16, 90),
    wave=st.floats(0, 0.3),
)


@settings(max_examples=60, deadline=None)
@given(hearts, st.booleans())
def test_polygons_are_filled_as_the_coco_tools_fill_them(contour, whole_pixels):
    """They took MATLAB's rule over, with pixel centres at halves."""
    tools = pytest.importorskip("pycocotools.mask", reason="needs pycocotools")
    contour = np.round(contour) if whole_pixels else contour
    rle = tools.frPyObjects([(contour + 0.5).ravel().tolist()], *SHAPE)
    assert np.array_equal(fill(contour, SHAPE), tools.decode(rle)[..., 0] > 0)


def slope_of(three: np.ndarray) -> float:
    x, y = three.T
    line = np.polyfit(x, y, 1) if np.ptp(x) > 0 else np.array([0.0, y.mean()])
    turned = np.polyfit(y, x, 1) if np.ptp(y) > 0 else np.array([0.0, x.mean()])
    better = np.abs(np.polyval(turned, y) - x).sum() < np.abs(np.polyval(line, x) - y).sum()
    return 1 / (turned[0] + 1e-5) if abs(turned[0]) < 0.1 and better else line[0]


def distance_of_point(auto: np.ndarray, index: int, manual: np.ndarray, window: np.ndarray) -> float | None:
    """One point at a time, by angles: the same convention, written another way."""
    point = auto[index]
    slope = slope_of(np.stack([auto[index - 1], point, auto[(index + 1) % len(auto)]]))
    tangent = 0.0 if abs(slope) < 0.01 else math.pi / 2 if abs(slope) > 100 else math.atan(slope)
    along = np.array([math.cos(tangent), math.sin(tangent)])
    inside = [i for i in range(len(manual)) if window[i]]
    off = {i: abs(float((manual[i] - point) @ along)) for i in inside}
    near = [i for i in inside if off[i] <= 0.5]
    hit = min(near, key=lambda i: math.dist(manual[i], point)) if len(near) >= 2 else min(inside, key=off.__getitem__)
    slope = slope_of(np.stack([manual[hit - 1], manual[hit], manual[(hit + 1) % len(manual)]]))
    other = 0.0 if abs(slope) < 0.01 else math.pi / 2 if abs(slope) > 100 else math.atan(slope)
    across = np.array([-math.sin(other), math.cos(other)])
    normal = np.array([-along[1], along[0]])
    if abs(normal @ across) < 1e-12:
        return None
    crossing = point + normal * float((manual[hit] - point) @ across) / float(normal @ across)
    return math.dist(crossing, point) if min(math.dist(crossing, manual[i]) for i in inside) < 1.5 else None


def distance_point_by_point(auto: np.ndarray, manual: np.ndarray) -> float:
    a, m = fill(auto, SHAPE), fill(manual, SHAPE)
    centre = np.array([np.nonzero(m)[1].mean(), np.nonzero(m)[0].mean()])
    x, y = np.floor(centre + 0.5).astype(int)
    own = centre if a[y, x] else np.array([np.nonzero(a)[1].mean(), np.nonzero(a)[0].mean()])
    theirs = np.degrees(np.arctan2(*(manual - centre).T[::-1]))
    predicted = []
    for index, point in enumerate(auto):
        degrees = math.degrees(math.atan2(point[1] - own[1], point[0] - own[0]))
        window = np.abs(theirs) >= 130 if abs(degrees) >= 150 else np.abs(theirs - degrees) < 50
        predicted.append(distance_of_point(auto, index, manual, window))
    return float(np.mean([distance for distance in predicted if distance]))


@settings(max_examples=25, deadline=None)
@given(hearts, hearts)
def test_the_distance_is_that_taken_point_by_point(auto, manual):
    assume(np.hypot(*(auto.mean(axis=0) - manual.mean(axis=0))) > 0.1)
    seen = perpendicular_distance(auto, manual, SHAPE)
    if seen is not None:
        assert seen == pytest.approx(distance_point_by_point(auto, manual), rel=1e-6)


def test_the_distance_of_two_circles_is_that_of_their_radii():
    assert perpendicular_distance(circle(12), circle(10), SHAPE) == pytest.approx(2, abs=0.02)
    assert perpendicular_distance(circle(8), circle(10), SHAPE) == pytest.approx(2, abs=0.02)


def test_points_whose_normal_misses_do_not_count():
    """A needle of 14 pixels at the automatic contour: the normals of its sides run past the manual one."""
    needle = circle(12, points=120)
    needle[[29, 30, 31]] = [(40.6, 43.0), (40.0, 56.0), (39.4, 43.0)]
    smooth = perpendicular_distance(circle(12, points=120), circle(10), SHAPE)
    assert perpendicular_distance(needle, circle(10), SHAPE) == pytest.approx(smooth, abs=0.15)


def made(predicted: dict, slices: int = 6, **changes):
    exam = cine(2, slices, 64, **changes)
    manual = {(Structure.CAVITY, p, s): (circle(12 - 4 * p, (30, 30)),) for p in (0, 1) for s in range(1, slices)}
    del manual[Structure.CAVITY, 1, 1]
    truth = from_contours(manual, exam.pixels.shape)
    names = {(p, s): f"{p}-{s}" for p in (0, 1) for s in range(slices)}
    drawn = {key: (polygon,) for key, polygon in predicted.items()}
    given_by = from_contours({(Structure.CAVITY, *key): value for key, value in drawn.items()}, exam.pixels.shape)
    return miccai_case(LabelledStudy("A", names, exam, truth), given_by)


def test_what_counts_as_good_and_what_drops_out():
    predicted = {(p, s): circle(13 - 4 * p, (30, 30)) for p in (0, 1) for s in range(1, 6)}
    predicted[0, 0] = circle(5, (30, 30))  # no manual contour: does not count
    predicted[0, 2] = circle(22, (30, 30))  # 10 mm off: bad
    predicted[0, 3] = circle(22, (30, 30), points=15)  # as bad, but of 15 points: counts as good
    predicted[0, 4] = circle(29.5, (30, 30))  # as bad, but at the border: counts as good
    del predicted[1, 5]  # absent: neither present nor bad
    case = made(predicted)
    assert len(case.slices) == 9 and case.good_percent == pytest.approx(100 * (8 - 1) / 9)
    assert {one.name for one in case.slices if one.apd_mm is None} == {"0-3", "0-4", "1-5"}
    assert case.apd_mm == pytest.approx(1, abs=0.02)
    assert 0.85 < case.dice < 0.95


def test_volumes_are_of_the_slices_with_contours_at_both_moments_and_of_good_contours_only():
    predicted = {(p, s): circle(12 - 4 * p, (30, 30)) for p in (0, 1) for s in range(1, 6)}
    predicted[0, 2] = circle(22, (30, 30))
    case = made({key: polygon + 0.01 for key, polygon in predicted.items()})
    # 10 mm between centres, 1 mm pixels: slices 2 to 5 by the manual contours, 3 to 5 by the automatic ones
    ed, es = (polygon_area(circle(radius)) / 100 for radius in (12, 8))
    assert case.manual_ml == pytest.approx((4 * ed, 4 * es))
    assert case.predicted_ml == pytest.approx((3 * ed, 3 * es))
    assert case.ef_percent[0] == pytest.approx(case.ef_percent[1])


def test_without_spacing_there_are_no_measures():
    assert made({(0, 1): circle(12, (30, 30))}, grid=None) is None
