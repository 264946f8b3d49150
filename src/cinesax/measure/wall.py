"""Wall thickness at end diastole on the 16 segments of the American Heart Association.

Segments: Cerqueira et al., "Standardized myocardial segmentation and nomenclature for tomographic imaging of the
heart", Circulation 105 (2002) 539-542. The slices with cavity and closed wall are cut into basal, middle and apical
thirds. Angles around the centre of the cavity start at the middle of the septum, the part of the wall next to the right
ventricle. Thickness is the distance from endocardium to epicardium along a ray from that centre.
"""

from typing import Final

import numpy as np

from cinesax.core.cine import Cine
from cinesax.core.grid import Floats
from cinesax.core.measurements import WallThickness
from cinesax.core.orientation import Turn, standard_position
from cinesax.core.segmentation import Segmentation, polygon_area
from cinesax.core.structures import Structure

RAYS: Final = 72
_FEWEST_SLICES: Final = 3
_RV_WITHIN_MM: Final = 10.0
_FEWEST_SEPTAL_RAYS: Final = 4

# From the middle of the septum towards inferior, 60 degrees each: inferoseptal, inferior, inferolateral,
# anterolateral, anterior, anteroseptal. At the apex 90 degrees each, with the septum in the middle of the first.
_BASAL_ORDER: Final = (3, 4, 5, 6, 1, 2)
_MIDDLE_ORDER: Final = (9, 10, 11, 12, 7, 8)
_APICAL_ORDER: Final = (14, 15, 16, 13)


def wall_thickness(cine: Cine, segmentation: Segmentation, phase: int | None) -> WallThickness | None:
    """Thickness of the wall in each segment; None if wall, RV, distances or the orientation of the image is not known.

    Args:
        cine: its grid says how frames lie in the patient.
        segmentation: with cavity, myocardium and RV cavity.
        phase: end diastole.
    """
    needed = (Structure.CAVITY, Structure.MYOCARDIUM, Structure.RV_CAVITY)
    turn = standard_position(cine.grid)
    if cine.grid is None or turn is None or phase is None or cine.base_first is None:
        return None
    known = segmentation.known_phases
    if any(structure not in known or not known[structure][phase] for structure in needed):
        return None
    rays = {}
    for index in range(cine.n_slices):
        in_slice = _rays(cine, segmentation, turn, place=(phase, index))
        if in_slice is not None:
            rays[index] = in_slice
    slices = sorted(rays, reverse=cine.base_first is False)
    septum = _middle_of_septum([rays[index][1] for index in slices])
    if len(slices) < _FEWEST_SLICES or septum is None:
        return None
    thickness = np.stack([rays[index][0] for index in slices])
    parts = np.array_split(np.arange(len(slices)), 3)
    segments = np.full(16, np.nan)
    orders = (_BASAL_ORDER, _MIDDLE_ORDER, _APICAL_ORDER)
    for part, order in zip(parts, orders, strict=True):
        width = 360 / len(order)
        start = 0.0 if len(order) == 6 else width / 2
        which = ((_angles() - septum + start) % 360 // width).astype(int)
        for number, segment in enumerate(order):
            segments[segment - 1] = thickness[part][:, which == number].mean()
    return WallThickness(segments, tuple(slices))


def _angles() -> Floats:
    """(ray,), degrees: 0 to the right of the image in standard position, increasing counter-clockwise."""
    return np.arange(RAYS) * 360.0 / RAYS


def _rays(
    cine: Cine, segmentation: Segmentation, turn: Turn, *, place: tuple[int, int]
) -> tuple[Floats, Floats] | None:
    """(ray,) each, in one frame: thickness in mm, and 1 if the RV is next to the wall; None without a closed wall."""
    grid = cine.grid
    inner = segmentation.outline(Structure.CAVITY, *place)
    outer = segmentation.outline(Structure.MYOCARDIUM, *place)
    if grid is None or not inner or not outer:
        return None
    endocardium, epicardium = max(inner, key=polygon_area), max(outer, key=polygon_area)
    shape = grid.shape[1:]
    down, right = turn.apply_pair(grid.spacing_mm)
    to_mm = np.array([right, down])
    middle = turn.apply_points(endocardium, shape).mean(axis=0) * to_mm
    radii = [_radii(turn.apply_points(line, shape) * to_mm - middle) for line in (endocardium, epicardium)]
    if radii[0] is None or radii[1] is None:
        return None
    thickness = radii[1] - radii[0]
    # Where the wall is open, as in the outflow tract, its outline runs along the cavity: thickness 0 there would lower
    # the mean of a segment.
    if np.count_nonzero(thickness < 0.5) > RAYS // 10:
        return None
    right_ventricle = turn.apply(segmentation.labels[place] == Structure.RV_CAVITY)
    return thickness, _next_to_wall(right_ventricle, middle / to_mm, radii[1], to_mm)


def _radii(points_mm: Floats) -> Floats | None:
    """(ray,), mm: the distance of a closed line from the origin; None if the line does not go around it."""
    angles = np.degrees(np.arctan2(-points_mm[:, 1], points_mm[:, 0])) % 360
    order = np.argsort(angles)
    gaps = np.diff(np.append(angles[order], angles[order][0] + 360))
    if gaps.max() > 60:
        return None
    return np.asarray(np.interp(_angles(), angles[order], np.hypot(*points_mm.T)[order], period=360))


def _next_to_wall(right_ventricle: Floats, middle: Floats, radii_mm: Floats, to_mm: Floats) -> Floats:
    """(ray,): 1 if the RV lies within a few mm outside the epicardium, else 0."""
    directions = np.stack([np.cos(np.radians(_angles())), -np.sin(np.radians(_angles()))], axis=1)
    next_to_wall = np.zeros(RAYS)
    for step in np.arange(0.5, _RV_WITHIN_MM, 1.0):
        x, y = np.round(middle + directions * (radii_mm + step)[:, None] / to_mm).astype(int).T
        inside = (0 <= y) & (y < right_ventricle.shape[0]) & (0 <= x) & (x < right_ventricle.shape[1])
        values = right_ventricle[y[inside], x[inside]]
        next_to_wall[inside] = np.maximum(next_to_wall[inside], values)
    return next_to_wall


def _middle_of_septum(next_to_wall: list[Floats]) -> float | None:
    """The middle angle, in degrees, of the rays with the RV next to the wall, in all slices; None if too few."""
    counts = np.sum(next_to_wall, axis=0) if next_to_wall else np.zeros(RAYS)
    if counts.sum() < _FEWEST_SEPTAL_RAYS * max(1, len(next_to_wall)) / 2:
        return None
    # A mean of directions, not of numbers: the mean of 350 and 10 degrees is 0, not 180.
    towards = np.sum(counts * np.exp(1j * np.radians(_angles())))
    return float(np.degrees(np.angle(towards)) % 360)
