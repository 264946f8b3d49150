"""Polygons that cross themselves, against the slow way: fractions, pair by pair."""

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest

from cinesax.formats.crossings import crossing


def crosses_exactly(polygon) -> bool:
    """Whether any two edges have one inner point in common, in exact arithmetic."""
    points = [tuple(map(Fraction, point)) for point in polygon.tolist()]
    edges = list(zip(points, [*points[1:], points[0]], strict=True))

    def side(a, b, c):
        value = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        return (value > 0) - (value < 0)

    return any(
        side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0
        for (a, b), (c, d) in combinations(edges, 2)
    )


@pytest.mark.parametrize("seed", range(40))
def test_as_exact_arithmetic_says(seed):
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 16))
    radii = rng.uniform(4, 12, 16)
    polygon = 20 + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    if seed % 2:
        polygon[[3, 3 + seed % 5]] = polygon[[3 + seed % 5, 3]]
    assert (crossing(polygon) is not None) == crosses_exactly(polygon)


def test_a_long_contour_is_checked_completely():
    angles = np.linspace(0, 2 * np.pi, 1500, endpoint=False)
    circle = 100 + 60 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert crossing(circle) is None
    circle[[700, 720]] = circle[[720, 700]]
    assert crossing(circle) is not None


def test_a_polygon_drawn_twice_does_not_cross_itself():
    """Edges that lie on one another have no inner point of which one side is theirs alone."""
    square = np.array([[0.0, 0], [4, 0], [4, 4], [0, 4]])
    assert crossing(np.vstack([square, square])) is None
