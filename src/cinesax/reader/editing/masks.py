"""Smooth contours around masks: a contour that follows the corners of pixels looks like stairs, and edits badly.

Around a mask, `trace` gives points halfway between the centre of a pixel inside and the centre of one outside. As long
as each point stays between its two centres, the same centres are inside. So the points may move to and fro between them
until the line is smooth.
"""

import numpy as np
from numpy.typing import NDArray

from cinesax.core.grid import Floats
from cinesax.core.segmentation import Polygons, Segmentation, polygon_area, rasterise, trace
from cinesax.core.structures import Structure

_ROUNDS = 25
_REPAIRS = 8
_MOST = 0.45
"""How far a point may move from the middle between two centres, which are 1 apart."""


def outlines(segmentation: Segmentation, phase: int, place: int) -> dict[Structure, Polygons]:
    """All contours of one frame, as a person draws them: those around labels are smooth."""
    if segmentation.contours is None:
        return dict(segmentation.of_frame(_of_labels, phase, place))
    drawn = {structure: segmentation.outline(structure, phase, place) for structure in segmentation.known_phases}
    return {structure: polygons for structure, polygons in drawn.items() if polygons}


def _of_labels(segmentation: Segmentation, phase: int, place: int) -> dict[Structure, Polygons]:
    labels = segmentation.labels[phase, place]
    present = [structure for structure in segmentation.known_phases if np.any(labels == structure)]
    return {structure: smooth_outlines(np.isin(labels, structure.region)) for structure in present}


def smooth_outlines(inside: NDArray[np.bool_]) -> Polygons:
    """Smooth polygons around a mask (row, column), largest first, that give the same mask when they are rasterised.

    Their area is that of the mask, to half a percent, as far as the mask allows it. A mask that no smooth line
    encloses, such as one with holes or of a few pixels, has the polygons of `trace`.
    """
    lines = trace(inside)
    limits = [np.full(len(line), _MOST) for line in lines]
    for _ in range(_REPAIRS):
        made = tuple(_smooth(line, inside, limit) for line, limit in zip(lines, limits, strict=True))
        wrong = rasterise(made, (inside.shape[0], inside.shape[1])) != inside
        if not wrong.any():
            return made
        # Half a pixel must be covered, not only its centre: near such pixels the line stays closer to the middle.
        places = np.argwhere(wrong)[:, ::-1]
        for line, limit in zip(lines, limits, strict=True):
            near = np.abs(line[:, None] - places).max(axis=2).min(axis=1) <= 1.5
            limit[near] *= 0.5
    return lines


def _smooth(line: Floats, inside: NDArray[np.bool_], limit: Floats) -> Floats:
    """The polygon with each point moved by up to `limit` (point,) between the two centres that it separates."""
    out = _outwards(line, inside)
    moved = np.zeros(len(line))
    for _ in range(_ROUNDS):
        points = line + moved[:, None] * out
        # Towards the middle of the neighbours; two steps out again for each three in, or a round line would shrink.
        for part in (0.6, -0.4):
            pull = (np.roll(points, 1, axis=0) + np.roll(points, -1, axis=0)) / 2 - points
            moved = np.clip(moved + part * (pull * out).sum(axis=1), -limit, limit)
            points = line + moved[:, None] * out
    return _with_area(line, out, moved, limit)


def _with_area(line: Floats, out: Floats, moved: Floats, limit: Floats) -> Floats:
    """The smooth polygon, moved in or out evenly until it has the area of the mask."""
    # The polygon of `trace` cuts an eighth of a pixel off each corner and has four more of them than it fills.
    wanted = polygon_area(line) + 0.5
    low, high = -0.5, 0.5
    for _ in range(12):
        middle = (low + high) / 2
        points = line + np.clip(moved + middle, -limit, limit)[:, None] * out
        low, high = (middle, high) if polygon_area(points) < wanted else (low, middle)
    return np.asarray(line + np.clip(moved + (low + high) / 2, -limit, limit)[:, None] * out)


def _outwards(line: Floats, inside: NDArray[np.bool_]) -> Floats:
    """(point, 2): the unit vector from the centre inside to the centre outside that a point lies between."""
    rows, columns = inside.shape
    # One of x and y is whole, the other a half.
    step = (line % 1 != 0).astype(np.float64)
    x, y = np.rint(line - step / 2).astype(int).T
    within = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
    low_is_inside = np.zeros(len(line), dtype=bool)
    low_is_inside[within] = inside[y[within], x[within]]
    return np.asarray(np.where(low_is_inside[:, None], step, -step))
