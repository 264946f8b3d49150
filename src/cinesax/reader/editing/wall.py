"""The wall after an edit: it always encloses the cavity, and stays open where it was open.

Cavity and epicardium are drawn one by one. A cavity that is pushed out takes the epicardium with it; an epicardium that
is pushed into the cavity stops at the endocardium. Near the base the wall is open, and its outline runs along the
cavity: there it follows the cavity inwards too, or an edit of the blood alone would draw muscle.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.spatial.distance import cdist

from cinesax.core.grid import Floats
from cinesax.core.segmentation import Polygons, polygon_area, rasterise, trace
from cinesax.measure.plausibility import all_inside
from cinesax.reader.editing.lines import resampled

_FINE = 4
_OPEN_PX = 1.0
"""Where the epicardium is nearer to the endocardium than this, there is no wall."""
_SMOOTH = 1.0
_POINT_PX = 0.75
_SMALLEST_PX = 1.0

Mask = NDArray[np.bool_]


def following(epicardium: Polygons, before: Polygons, after: Polygons) -> Polygons | None:
    """The epicardium after a change of the cavity from `before` to `after`; None if it need not change.

    Args:
        epicardium: the outline of the wall and all that it encloses. The same as before, or just edited.
        before: the cavity before the edit; () if there was none, or if the edit changed the epicardium too.
        after: the cavity after the edit.

    Returns:
        Polygons that enclose `after`, to about an eighth of a pixel. Blood that is no longer cavity is wall if it was
        next to the wall; if it was next to an opening, it lies outside.
    """
    if not epicardium or not after:
        return None
    outside = not all(all_inside(polygon, epicardium) for polygon in after)
    freed = any(not all_inside(polygon, after) for polygon in before) and _is_open(epicardium, before)
    if not outside and not freed:
        return None
    points = np.vstack([*epicardium, *before, *after])
    low = np.floor(points.min(axis=0)) - 3
    columns, rows = (np.ceil(points.max(axis=0)) - low + 3).astype(int) * _FINE

    def mask(polygons: Polygons) -> Mask:
        # Fine pixel i covers the part from i / _FINE - 0.5 on of the pixels of the frame.
        return rasterise([(polygon - low + 0.5) * _FINE - 0.5 for polygon in polygons], (rows, columns), subsamples=2)

    wall, blood = mask(epicardium), mask(after)
    kept = wall | blood
    if freed:
        kept &= ~_beside_opening(wall, mask(before), blood)
    traced = trace(gaussian_filter(kept.astype(np.float64), _SMOOTH))
    lines = [(polygon + 0.5) / _FINE - 0.5 + low for polygon in traced]
    return tuple(_resampled(line) for line in lines if polygon_area(line) >= _SMALLEST_PX) or None


def _is_open(epicardium: Polygons, cavity: Polygons) -> bool:
    """Whether the outlines run along each other anywhere."""
    return bool(cdist(np.vstack([_resampled(line) for line in epicardium]), np.vstack(cavity)).min() < _OPEN_PX)


def _beside_opening(wall: Mask, before: Mask, after: Mask) -> Mask:
    """Where blood that is no longer cavity was next to an opening of the wall."""
    # The nearest place that is clearly outside of the former cavity says what was next to it.
    away = np.asarray(distance_transform_edt(~before))
    beyond = away > _OPEN_PX * _FINE
    rows, columns = distance_transform_edt(~beyond, return_distances=False, return_indices=True)
    # The rim between the former cavity and the epicardium goes with the blood that it belonged to.
    rim = wall & ~beyond & ~after
    return np.asarray(rim & ~wall[rows, columns])


def _resampled(line: Floats) -> Floats:
    around = float(np.linalg.norm(np.roll(line, -1, axis=0) - line, axis=1).sum())
    return resampled(line, max(8, round(around / _POINT_PX)))
