"""The measures of the MICCAI 2009 LV segmentation challenge, with the conventions of its own evaluation code.

Source: Radau, Lu, Connelly, Paul, Dick, Wright, "Evaluation Framework for Algorithms Segmenting Short Axis Cardiac
MRI", The MIDAS Journal (2009), and its MATLAB code, version 1.0 of 2009-06-29. They allow comparison with published
figures. They flatter (docs/evaluation.md explains how), so read them together with the strict measures.

Contours are (point, 2): x, y in pixels. The challenge has one contour per slice: of several contours, the largest
counts.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cinesax.core.grid import Floats
from cinesax.core.segmentation import Segmentation, polygon_area
from cinesax.core.structures import Structure
from cinesax.evaluate.study import LabelledStudy

GOOD_BELOW_MM = 5.0
_FEWEST_POINTS = 16
_HIT_PX = 1.5
_NEAR_NORMAL_PX = 0.5
_WINDOW_DEGREES = 50.0
_FLAT, _STEEP, _NEARLY_UPRIGHT = 0.01, 100.0, 0.1


@dataclass(frozen=True, slots=True)
class MiccaiSlice:
    """One slice with a manual contour.

    Attributes:
        name: name of the frame.
        present: whether there is an automatic contour.
        apd_mm: average perpendicular distance; None if it was not measured (no contour, 15 points or fewer, at the
            border) or is NaN.
        dice: Dice of filled polygons; None if apd_mm was not measured.
    """

    name: str
    present: bool
    apd_mm: float | None
    dice: float | None

    @property
    def bad(self) -> bool:
        """APD of 5 mm or more."""
        return self.apd_mm is not None and self.apd_mm >= GOOD_BELOW_MM

    @property
    def averaged(self) -> bool:
        """Whether it counts in the averages: APD below 5 mm."""
        return self.apd_mm is not None and self.apd_mm < GOOD_BELOW_MM


@dataclass(frozen=True, slots=True)
class MiccaiCase:
    """One patient.

    Attributes:
        case: the patient.
        slices: slices with a manual contour.
        manual_ml: (EDV, ESV) by the manual contours of slices that have one at both ED and ES.
        predicted_ml: the same by the good automatic contours.
    """

    case: str
    slices: tuple[MiccaiSlice, ...]
    manual_ml: tuple[float, float]
    predicted_ml: tuple[float, float]

    @property
    def good_percent(self) -> float:
        """(Automatic contours present - bad ones) / manual contours, in %."""
        present = sum(entry.present for entry in self.slices)
        return 100 * (present - sum(entry.bad for entry in self.slices)) / len(self.slices)

    @property
    def apd_mm(self) -> float | None:
        """Mean APD of the good contours; None if there are none."""
        good = [entry.apd_mm for entry in self.slices if entry.averaged and entry.apd_mm is not None]
        return float(np.mean(good)) if good else None

    @property
    def dice(self) -> float | None:
        """Mean Dice of the good contours; None if there are none."""
        good = [entry.dice for entry in self.slices if entry.averaged and entry.dice is not None]
        return float(np.mean(good)) if good else None

    @property
    def ef_percent(self) -> tuple[float | None, float | None]:
        """Ejection fraction by the manual and by the automatic contours."""
        both = (self.manual_ml, self.predicted_ml)
        manual, predicted = (100 * (ed - es) / ed if ed > 0 else None for ed, es in both)
        return manual, predicted


def miccai_case(study: LabelledStudy, predicted: Segmentation) -> MiccaiCase | None:
    """The challenge's measures of the endocardium; None without spacing, or without a manual contour."""
    grid = study.cine.grid
    if grid is None or grid.slice_distance_mm is None:
        return None
    shape = study.truth.labels.shape
    manual_ml, predicted_ml = np.zeros(shape[:2]), np.zeros(shape[:2])
    # Polygon area * spacing² * (thickness + gap), where gap = distance between centres - thickness.
    ml_per_px = grid.spacing_mm[0] ** 2 * grid.slice_distance_mm / 1000
    slices = []
    for (phase, index), name in study.names.items():
        manual = _largest(study.truth, phase, index)
        if manual is None:
            continue
        auto = _largest(predicted, phase, index)
        entry = _slice(name, auto, manual, spacing_mm=grid.spacing_mm[0], shape=(shape[2], shape[3]))
        slices.append(entry)
        manual_ml[phase, index] = polygon_area(manual) * ml_per_px
        predicted_ml[phase, index] = polygon_area(auto) * ml_per_px if auto is not None and entry.averaged else 0
    if not slices:
        return None
    ed, es = _ed_es(manual_ml)
    return MiccaiCase(study.case, tuple(slices), _volumes(manual_ml, ed, es), _volumes(predicted_ml, ed, es))


def _largest(segmentation: Segmentation, phase: int, index: int) -> Floats | None:
    polygons = segmentation.outline(Structure.CAVITY, phase, index)
    return max(polygons, key=polygon_area) if polygons else None


def _ed_es(volumes: NDArray[np.float64]) -> tuple[int, int]:
    sums = volumes.sum(axis=1)
    return int(np.argmax(sums)), int(np.argmin(np.where(sums > 0, sums, np.inf)))


def _volumes(volumes: NDArray[np.float64], ed: int, es: int) -> tuple[float, float]:
    """Volumes of the slices with a contour at both moments; other slices are left out at both."""
    both = (volumes[ed] > 0) & (volumes[es] > 0)
    return float(volumes[ed, both].sum()), float(volumes[es, both].sum())


def _slice(name: str, auto: Floats | None, manual: Floats, *, spacing_mm: float, shape: tuple[int, int]) -> MiccaiSlice:
    if auto is None:
        return MiccaiSlice(name, present=False, apd_mm=None, dice=None)
    rows, columns = shape
    inside = auto.min() > 1 and auto[:, 0].max() < columns and auto[:, 1].max() < rows
    apd = perpendicular_distance(auto, manual, shape) if len(auto) >= _FEWEST_POINTS and inside else None
    if apd is None:
        return MiccaiSlice(name, present=True, apd_mm=None, dice=None)
    return MiccaiSlice(name, present=True, apd_mm=apd * spacing_mm, dice=filled_dice(auto, manual, shape))


def filled_dice(auto: Floats, manual: Floats, shape: tuple[int, int]) -> float:
    """Dice of two filled polygons."""
    a, b = fill(auto, shape), fill(manual, shape)
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else float("nan")


def perpendicular_distance(auto: Floats, manual: Floats, shape: tuple[int, int]) -> float | None:
    """Mean distance in pixels from the points of the automatic contour, along its normal, to the manual one.

    Points whose normal misses the manual contour, and points at distance 0, do not count.

    Returns:
        The distance; None if no point counts, or if a point has no manual point in its window (there the challenge's
        code stops with an error, and the contour gets no distance).
    """
    auto, manual = _opened(auto), _opened(manual)
    filled_auto, filled_manual = fill(auto, shape), fill(manual, shape)
    if not filled_auto.any() or not filled_manual.any():
        return None
    manual_centre = _centre(filled_manual)
    x, y = np.floor(manual_centre + 0.5).astype(int)
    auto_centre = manual_centre if filled_auto[y, x] else _centre(filled_auto)
    window = _windows(_degrees(auto, auto_centre), _degrees(manual, manual_centre))
    if not window.any(axis=1).all():
        return None
    distances = _along_normals(auto, manual, window)
    hits = distances[distances > 0]
    return float(hits.mean()) if len(hits) else None


def _opened(contour: Floats) -> Floats:
    return contour[:-1] if len(contour) > 1 and np.array_equal(contour[0], contour[-1]) else contour


def _centre(mask: NDArray[np.bool_]) -> Floats:
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean(), rows.mean()])


def _degrees(contour: Floats, centre: Floats) -> Floats:
    x, y = (contour - centre).T
    return np.asarray(np.degrees(np.arctan2(y, x)))


def _windows(degrees: Floats, manual_degrees: Floats) -> NDArray[np.bool_]:
    """(automatic point, manual point): which manual points a normal may hit."""
    # Beyond 150 degrees the window includes both ends of the circle, from 130 degrees on; otherwise it does not wrap
    # around.
    across = (np.abs(degrees)[:, None] >= 150) & (np.abs(manual_degrees) >= 130)
    near = (np.abs(degrees)[:, None] < 150) & (np.abs(manual_degrees - degrees[:, None]) < _WINDOW_DEGREES)
    return np.asarray(across | near)


def _along_normals(auto: Floats, manual: Floats, window: NDArray[np.bool_]) -> Floats:
    """(automatic point,): the distance along its normal to the manual contour; nan if it misses."""
    normals = _lines(_slopes(auto), auto, upright=True)
    apart = np.linalg.norm(auto[:, None] - manual[None], axis=2)
    off = np.where(window, np.abs(manual @ normals[:, :2].T + normals[:, 2]).T, np.inf)
    near = off <= _NEAR_NORMAL_PX
    # Of several points near the normal, take the nearest to its starting point.
    several = near.sum(axis=1) >= 2
    chosen = np.where(several, np.argmin(np.where(near, apart, np.inf), axis=1), np.argmin(off, axis=1))
    tangents = _lines(_slopes(manual), manual, upright=False)[chosen]
    crossings = _crossings(normals, tangents)
    misses = np.linalg.norm(crossings[:, None] - manual[None], axis=2)
    hit = np.where(window, misses, np.inf).min(axis=1) < _HIT_PX
    neighbours = np.stack([np.roll(auto, 1, axis=0), np.roll(auto, -1, axis=0)])
    moves = np.abs(neighbours - auto).sum(axis=(0, 2)) > 0
    return np.asarray(np.where(hit & moves, np.linalg.norm(crossings - auto, axis=1), np.nan))


def _slopes(contour: Floats) -> Floats:
    """Slopes of the least-squares lines through each point and its two neighbours.

    They are fitted with x and y swapped if the line is nearly vertical and the swapped fit leaves a smaller residual.
    """
    three = np.stack([np.roll(contour, 1, axis=0), contour, np.roll(contour, -1, axis=0)])
    x, y = three[..., 0], three[..., 1]
    slope, left = _fit(x, y)
    turned, left_turned = _fit(y, x)
    use = (np.abs(turned) < _NEARLY_UPRIGHT) & (left_turned < left)
    return np.where(use, 1 / (turned + 1e-5), slope)


def _fit(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Slope and summed absolute residual of the lines y by x, (3, line) each."""
    dx, dy = x - x.mean(axis=0), y - y.mean(axis=0)
    spread = (dx**2).sum(axis=0)
    slope = np.divide((dx * dy).sum(axis=0), spread, out=np.zeros(spread.shape), where=spread > 1e-12)
    return slope, np.abs(dy - slope * dx).sum(axis=0)


def _lines(slopes: Floats, points: Floats, *, upright: bool) -> Floats:
    """(line, 3): a, b, c of a x + b y + c = 0 through points, along the slopes or at right angles; a² + b² = 1.

    Slopes below 0.01 count as horizontal, above 100 as vertical.
    """
    level = np.where(np.abs(slopes) < _FLAT, 0.0, slopes)
    along = np.stack([np.ones_like(level), level], axis=1)
    along[np.abs(slopes) > _STEEP] = (0.0, 1.0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    ab = along if upright else np.stack([-along[:, 1], along[:, 0]], axis=1)
    return np.concatenate([ab, -(ab * points).sum(axis=1, keepdims=True)], axis=1)


def _crossings(first: Floats, second: Floats) -> Floats:
    """(line, 2): the points where lines cross; infinite for parallel lines."""
    determinant = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    x = first[:, 1] * second[:, 2] - first[:, 2] * second[:, 1]
    y = first[:, 2] * second[:, 0] - first[:, 0] * second[:, 2]
    safe = np.where(np.abs(determinant) > 1e-12, determinant, 1.0)
    crossings = np.stack([x, y], axis=1) / safe[:, None]
    return np.where(np.abs(determinant)[:, None] > 1e-12, crossings, np.inf)


_FIFTHS = 5


def fill(contour: Floats, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels inside a contour by the rule of MATLAB's poly2mask, as used by the challenge.

    Corners are rounded to fifths of a pixel; a pixel is inside if the border, walked in fifths, crosses its column
    above it an odd number of times. (The documentation of poly2mask gives the rule under "Algorithms".)

    Args:
        contour: (point, 2): x, y, whole numbers at pixel centres.
        shape: (rows, columns).
    """
    rows, columns = shape
    corners = np.floor(_FIFTHS * (contour + 0.5) + 0.5).astype(int)
    path = np.concatenate([_walk(a, b) for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True)])
    # The walk crosses a pixel's centre when it steps to the next fifth of a column in the middle fifth.
    before, after = path[:-1], path[1:]
    stepped = before[:, 0] != after[:, 0]
    x = (np.minimum(before[stepped, 0], after[stepped, 0]) + 0.5) / _FIFTHS - 0.5
    y = np.ceil((np.minimum(before[stepped, 1], after[stepped, 1]) + 0.5) / _FIFTHS - 0.5)
    at_centre = (x == np.floor(x)) & (x >= 0) & (x <= columns - 1)
    toggles = np.zeros((rows + 1, columns), dtype=int)
    np.add.at(toggles, (np.clip(y[at_centre], 0, rows).astype(int), x[at_centre].astype(int)), 1)
    return np.asarray(np.cumsum(toggles, axis=0)[:rows] % 2 == 1)


def _walk(start: NDArray[np.int_], end: NDArray[np.int_]) -> NDArray[np.int_]:
    """Points on the fine grid from start to end, one per step along the longer side; the direction does not matter."""
    dx, dy = np.abs(end - start)
    long = 0 if dx >= dy else 1
    flipped = bool(start[long] > end[long])
    low, high = (end, start) if flipped else (start, end)
    length = int(high[long] - low[long])
    steps = np.arange(length + 1)
    slope = (high[1 - long] - low[1 - long]) / length if length else 0.0
    points = np.empty((length + 1, 2), dtype=int)
    points[:, long] = low[long] + steps
    # Round toward zero, like a C cast; on an image grid only points that are cut off anyway lie below zero.
    points[:, 1 - long] = np.trunc(low[1 - long] + slope * steps + 0.5).astype(int)
    return points[::-1] if flipped else points
