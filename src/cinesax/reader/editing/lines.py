"""Closed polygons: interpolate, grow, shrink and repair them. NumPy and SciPy only.

A polygon is (point, 2), x and y in pixels, as in `core.segmentation`.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from cinesax.core.errors import GeometryError
from cinesax.core.grid import Floats
from cinesax.core.segmentation import coverage, polygon_area, trace
from cinesax.formats.crossings import crossing

POINTS = 64
_FINE = 8


def checked(flat: Sequence[Sequence[float]], shape: tuple[int, int]) -> tuple[Floats, ...]:
    """Polygons from flat lists x0, y0, x1, y1, ..., repaired if they cross themselves.

    Args:
        flat: the lists.
        shape: (rows, columns) of the frame.

    Raises:
        GeometryError: an odd count, a value that is not finite, a point far outside the frame, or no area.
    """
    polygons = []
    for numbers in flat:
        if len(numbers) % 2:
            raise GeometryError(f"a polygon must be pairs of x and y, seen {len(numbers)} numbers")
        polygon = np.array(numbers, dtype=np.float64).reshape(-1, 2)
        limit = np.array([shape[1], shape[0]], dtype=np.float64)
        if not np.all(np.isfinite(polygon)) or np.any(polygon < -limit) or np.any(polygon > 2 * limit):
            raise GeometryError("a point of the contour is far outside the image: draw the contour again")
        polygon = np.clip(polygon, -0.5, limit - 0.5)
        if crossing(polygon) is not None:
            polygon = healed(polygon)
        if polygon_area(polygon) < 0.5:
            raise GeometryError("the contour encloses less than half a pixel: delete it instead")
        polygons.append(polygon)
    return tuple(polygons)


def healed(polygon: Floats) -> Floats:
    """The largest region of a polygon that crosses itself, to an eighth of a pixel.

    Raises:
        GeometryError: the polygon encloses nothing.
    """
    low = np.floor(polygon.min(axis=0)) - 1
    columns, rows = (np.ceil(polygon.max(axis=0)) - low + 2).astype(int) * _FINE
    inside = coverage([(polygon - low) * _FINE], (rows, columns)) >= 0.5
    regions = trace(inside)
    if not regions:
        raise GeometryError("the contour crosses itself and encloses nothing: draw it again")
    return np.asarray(regions[0] / _FINE + low)


def resampled(polygon: Floats, count: int = POINTS) -> Floats:
    """(count, 2): points at equal distances along a polygon, from its first point."""
    closed = np.vstack([polygon, polygon[:1]])
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    wanted = np.linspace(0, along[-1], count, endpoint=False)
    return np.column_stack([np.interp(wanted, along, closed[:, 0]), np.interp(wanted, along, closed[:, 1])])


def centroid(polygon: Floats) -> Floats:
    """(2,): the centre of gravity of the area."""
    x, y = polygon[:, 0], polygon[:, 1]
    cross = x * np.roll(y, -1) - np.roll(x, -1) * y
    area = cross.sum() / 2
    if abs(area) < 1e-9:
        return np.asarray(polygon.mean(axis=0))
    both = (polygon + np.roll(polygon, -1, axis=0)) * cross[:, None]
    return np.asarray(both.sum(axis=0) / (6 * area))


def _directed(polygon: Floats) -> Floats:
    """The polygon with rising angles (x right, y down: clockwise on the screen)."""
    x, y = polygon[:, 0], polygon[:, 1]
    return polygon if float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) > 0 else polygon[::-1]


def _radii(polygon: Floats, count: int = POINTS) -> Floats | None:
    """(count,): distances from the centroid in even directions; None unless each direction meets the line once."""
    dense = resampled(_directed(polygon), max(4 * count, 2 * len(polygon))) - centroid(polygon)
    angles = np.unwrap(np.arctan2(dense[:, 1], dense[:, 0]))
    if np.any(np.diff(angles) <= 0) or not 0 < angles[-1] - angles[0] < 2 * np.pi:
        return None
    wanted = 2 * np.pi * np.arange(count) / count
    return np.asarray(np.interp(wanted, angles, np.linalg.norm(dense, axis=1), period=2 * np.pi))


def _aligned(polygons: Sequence[Floats]) -> Floats:
    """(polygon, point, 2): points at equal distances; each polygon begins where it is nearest to the polygon before."""
    lines = [resampled(_directed(polygons[0]))]
    for polygon in polygons[1:]:
        line = resampled(_directed(polygon))
        offset = line.mean(axis=0) - lines[-1].mean(axis=0)
        apart = [float(np.sum((np.roll(line, -k, axis=0) - offset - lines[-1]) ** 2)) for k in range(len(line))]
        lines.append(np.roll(line, -int(np.argmin(apart)), axis=0))
    return np.stack(lines)


def between(keys: Mapping[float, Floats], wanted: Sequence[float], *, period: float | None = None) -> list[Floats]:
    """Interpolated polygons between known ones.

    If every direction from the centroid meets each contour once, centroids and radii are interpolated. Otherwise (a
    right ventricle bends around the left) points are. In time the curve is a monotone cubic (PCHIP): it is flat at the
    extremes, as a heart rests at ED and ES, and never goes beyond the drawn contours.

    Args:
        keys: place (phase or position) -> polygon; two or more, or one if periodic.
        wanted: the places of the new polygons; without a period, within the range of the keys.
        period: places repeat after it (the number of phases); None: no repetition, linear interpolation.
    """
    places = sorted(keys)
    lines = [keys[place] for place in places]
    radii = [_radii(line) for line in lines]
    values: Floats
    if all(radius is not None for radius in radii):
        centres = np.stack([centroid(line) for line in lines])
        values = np.hstack([centres, np.stack([radius for radius in radii if radius is not None])])
    else:
        values = _aligned(lines).reshape(len(lines), -1)
    at = _interpolated(np.array(places, dtype=np.float64), values, np.array(wanted, dtype=np.float64), period)
    if values.shape[1] == POINTS + 2:
        angles = 2 * np.pi * np.arange(POINTS) / POINTS
        around = np.column_stack([np.cos(angles), np.sin(angles)])
        return [row[:2] + row[2:, None] * around for row in at]
    return [row.reshape(POINTS, 2) for row in at]


def _interpolated(places: Floats, values: Floats, wanted: Floats, period: float | None) -> Floats:
    """(wanted, value): the values at the wanted places."""
    if period is None:
        return np.stack([np.interp(wanted, places, column) for column in values.T], axis=1)
    # Imported at the first use: it would add half a second to the start.
    from scipy.interpolate import PchipInterpolator

    wrapped = np.concatenate([places - period, places, places + period])
    return np.asarray(PchipInterpolator(wrapped, np.tile(values, (3, 1)), axis=0)(wanted), dtype=np.float64)


def grown(polygon: Floats, distance_mm: float, spacing_mm: tuple[float, float]) -> Floats:
    """A polygon with its points moved outwards along the normals.

    Args:
        polygon: the polygon, in pixels.
        distance_mm: negative moves inwards.
        spacing_mm: distance between rows, distance between columns.

    Raises:
        GeometryError: nothing would be left of the polygon.
    """
    scale = np.array([spacing_mm[1], spacing_mm[0]])
    line = _directed(polygon) * scale
    along = np.roll(line, -1, axis=0) - np.roll(line, 1, axis=0)
    length = np.linalg.norm(along, axis=1, keepdims=True)
    # With rising angles the outside lies at (dy, -dx).
    normal = np.column_stack([along[:, 1], -along[:, 0]]) / np.where(length > 0, length, 1)
    moved = (line + distance_mm * normal) / scale
    before, after = polygon_area(polygon), polygon_area(moved)
    start = line / scale
    # A contour that shrank too far is turned inside out: its points lie on the other side of the middle.
    turned = float(np.sum((moved - moved.mean(axis=0)) * (start - start.mean(axis=0))))
    if turned <= 0 or (distance_mm < 0 and not after < before):
        raise GeometryError("nothing would be left of the contour: shrink it by less, or delete it")
    return healed(moved) if crossing(moved) is not None else moved
