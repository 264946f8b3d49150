"""Detects closed polygons that cross themselves: their area is not the area of any region.

The area of a figure of eight is the difference of its loops; that of points out of order can be almost any number.
"""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from cinesax.core.grid import Floats

_ROWS = 512
# Larger than the rounding error in a cross product of coordinates in pixels (16 digits).
_ROUNDING = 1e-9


def crossing(polygon: Floats) -> tuple[float, float] | None:
    """A point (x, y) where a closed polygon crosses itself; None if it does not.

    All pairs of edges are compared. Edges that only touch do not cross. Neither do cuts of no width, which join several
    polygons into one and run along the same edge there and back. Two loops that meet in one point and run in opposite
    directions (a figure of eight drawn through its middle) do cross.

    Args:
        polygon: (point, 2), x and y in pixels, closed implicitly.
    """
    points = _without_repeats(polygon)
    if len(points) < 4:
        return None
    starts, ends = points, np.roll(points, -1, axis=0)
    kept = ~_cuts(starts, ends)
    edges = starts[kept], ends[kept]
    touched: list[tuple[int, Floats]] = []
    for first in range(0, len(edges[0]), _ROWS):
        a, b = edges[0][first : first + _ROWS, None], edges[1][first : first + _ROWS, None]
        start_sides, end_sides = _side(a, b, edges[0][None]), _side(a, b, edges[1][None])
        # Two edges cross if the ends of each lie on both sides of the line through the other.
        for i, j in np.argwhere(start_sides * end_sides < 0):
            c, d = edges[0][j], edges[1][j]
            if _side(c, d, a[i, 0]) * _side(c, d, b[i, 0]) < 0:
                return _meeting(a[i, 0], b[i, 0], c, d)
        on_edge = (start_sides == 0) & _between(a, b, edges[0][None])
        touched += [(first + int(i), edges[0][j]) for i, j in np.argwhere(on_edge)]
    return _opposed_loops(_with_touched(points, np.flatnonzero(kept), touched))


def _without_repeats(polygon: Floats) -> Floats:
    """The points without those that repeat the previous point."""
    return np.asarray(polygon[np.any(polygon != np.roll(polygon, 1, axis=0), axis=1)], dtype=np.float64)


def _cuts(starts: Floats, ends: Floats) -> NDArray[np.bool_]:
    """(edge,), bool: edges that also occur in the opposite direction."""
    edges = list(zip(map(tuple, starts.tolist()), map(tuple, ends.tolist()), strict=True))
    listed = set(edges)
    return np.array([(end, start) in listed for start, end in edges])


def _side(a: Floats, b: Floats, point: Floats) -> NDArray[np.int_]:
    """The side of the line from a to b on which a point lies: -1, 1, or 0 on the line (within rounding)."""
    cross = (b[..., 0] - a[..., 0]) * (point[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (
        point[..., 0] - a[..., 0]
    )
    return np.where(np.abs(cross) <= _ROUNDING, 0, np.sign(cross)).astype(np.int_)


def _between(a: Floats, b: Floats, point: Floats) -> NDArray[np.bool_]:
    """Whether a point on the line from a to b lies strictly between them."""
    along = ((point - a) * (b - a)).sum(axis=-1)
    return np.asarray((along > _ROUNDING) & (along < ((b - a) ** 2).sum(axis=-1) - _ROUNDING))


def _meeting(a: Floats, b: Floats, c: Floats, d: Floats) -> tuple[float, float]:
    along, across, apart = b - a, d - c, c - a
    share = (apart[0] * across[1] - apart[1] * across[0]) / (along[0] * across[1] - along[1] * across[0])
    x, y = a + share * along
    return float(x), float(y)


def _with_touched(points: Floats, edges: NDArray[np.intp], touched: list[tuple[int, Floats]]) -> Floats:
    """The polygon with its own points inserted into the edges that they lie on, so that it passes them twice."""
    if not touched:
        return points
    on: dict[int, list[Floats]] = {}
    for edge, point in touched:
        on.setdefault(int(edges[edge]), []).append(point)
    made: list[Floats] = []
    for index, start in enumerate(points):
        made += [start, *sorted(on.get(index, []), key=lambda point: float(((point - start) ** 2).sum()))]
    return np.array(made)


def _opposed_loops(points: Floats) -> tuple[float, float] | None:
    """A point that the polygon passes twice, with loops before and after it that run in opposite directions."""
    listed = [(float(x), float(y)) for x, y in points]
    for point, times in Counter(listed).items():
        if times != 2:
            continue
        first = listed.index(point)
        second = listed.index(point, first + 1)
        inner, outer = points[first:second], np.concatenate([points[second:], points[:first]])
        if min(len(inner), len(outer)) > 2 and _signed_area(inner) * _signed_area(outer) < 0:
            return point
    return None


def _signed_area(polygon: Floats) -> float:
    x, y = polygon[:, 0], polygon[:, 1]
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
