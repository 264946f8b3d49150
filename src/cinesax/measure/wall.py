"""Wall thickness at end diastole on the 16 segments of the American Heart Association.

Segments: Cerqueira et al., "Standardized myocardial segmentation and nomenclature for tomographic imaging of the
heart", Circulation 105 (2002) 539-542. The slices with cavity and closed wall are cut into basal, middle and apical
thirds. Round the centre of the cavity angles are counted from the middle of the septum, which is where the right
ventricle lies beside the wall; thickness is the distance from endocardium to epicardium along a ray from that centre.
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

# From the middle of the septum on towards inferior, 60 degrees each: inferoseptal, inferior, inferolateral,
# anterolateral, anterior, anteroseptal. At the apex 90 degrees each, the septum in the middle of the first.
_BASAL_ORDER: Final = (3, 4, 5, 6, 1, 2)
_MIDDLE_ORDER: Final = (9, 10, 11, 12, 7, 8)
_APICAL_ORDER: Final = (14, 15, 16, 13)


def wall_thickness(cine: Cine, segmentation: Segmentation, phase: int | None) -> WallThickness | None:
    """Thickness of the wall in each segment; None where wall, RV, distances or the side of the image are not known.

    Args:
        cine: whose grid says how frames lie in the patient.
        segmentation: with cavity, myocardium and RV cavity.
        phase: end diastole.
    """
    needed = (Structure.CAVITY, Structure.MYOCARDIUM, Structure.RV_CAVITY)
    turn = standard_position(cine.grid)
    if cine.grid is None or turn is None or phase is None or cine.base_first is None:
        return None
    if any(one not in segmentation.known_phases or not segmentation.known_phases[one][phase] for one in needed):
        return None
    rays = {}
    for index in range(cine.n_slices):
        seen = _rays(cine, segmentation, turn, place=(phase, index))
        if seen is not None:
            rays[index] = seen
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
    """Degrees of the rays: 0 to the right of the image in standard position, growing counter-clockwise."""
    return np.arange(RAYS) * 360.0 / RAYS


def _rays(
    cine: Cine, segmentation: Segmentation, turn: Turn, *, place: tuple[int, int]
) -> tuple[Floats, Floats] | None:
    """Of one frame the thickness in mm and whether the RV lies beside the wall, by ray; None without a closed wall."""
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
    # An open wall touches the cavity's border: no thickness there, and no ring of segments.
    if np.count_nonzero(thickness < 0.5) > RAYS // 10:
        return None
    right_ventricle = turn.apply(segmentation.labels[place] == Structure.RV_CAVITY)
    return thickness, _beside(right_ventricle, middle / to_mm, radii[1], to_mm)


def _radii(points_mm: Floats) -> Floats | None:
    """(ray,), mm: how far a closed line round the origin lies from it; None where it does not go round it."""
    angles = np.degrees(np.arctan2(-points_mm[:, 1], points_mm[:, 0])) % 360
    order = np.argsort(angles)
    gaps = np.diff(np.append(angles[order], angles[order][0] + 360))
    if gaps.max() > 60:
        return None
    return np.asarray(np.interp(_angles(), angles[order], np.hypot(*points_mm.T)[order], period=360))


def _beside(right_ventricle: Floats, middle: Floats, radii_mm: Floats, to_mm: Floats) -> Floats:
    """(ray,), 1 where the RV lies within a few mm outside of the epicardium, else 0."""
    directions = np.stack([np.cos(np.radians(_angles())), -np.sin(np.radians(_angles()))], axis=1)
    beside = np.zeros(RAYS)
    for step in np.arange(0.5, _RV_WITHIN_MM, 1.0):
        x, y = np.round(middle + directions * (radii_mm + step)[:, None] / to_mm).astype(int).T
        inside = (0 <= y) & (y < right_ventricle.shape[0]) & (0 <= x) & (x < right_ventricle.shape[1])
        beside[inside] = np.maximum(beside[inside], right_ventricle[y[inside], x[inside]])
    return beside


def _middle_of_septum(beside: list[Floats]) -> float | None:
    """The angle in degrees of the middle of the rays with RV beside the wall, over all slices; None where few have."""
    counts = np.sum(beside, axis=0) if beside else np.zeros(RAYS)
    if counts.sum() < _FEWEST_SEPTAL_RAYS * max(1, len(beside)) / 2:
        return None
    towards = np.sum(counts * np.exp(1j * np.radians(_angles())))
    return float(np.degrees(np.angle(towards)) % 360)
