"""Orientation: which end of a stack is the base, and which way up its frames are.

This is the only place that decides. It uses the Grid alone, so that equal grids get the same answer, whatever the file.
Coordinates are DICOM's patient coordinates: LPS (x to the left, y to posterior, z to the head).

base_first(grid) -> bool | None          whether slice 0 is the basal end
standard_position(grid) -> Turn | None   what brings a frame into the standard position
"""

from dataclasses import dataclass
from itertools import product
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.grid import Floats, Grid

Value = TypeVar("Value")

# From base to apex in a usual heart: to the left, to the front, to the feet (LPS). The three Sunnybrook exams
# lie 1 to 5 degrees from it, the Siemens exam 16.
USUAL_LONG_AXIS: Final[Floats] = np.array([0.65, -0.65, -0.40]) / np.linalg.norm([0.65, -0.65, -0.40])
USUAL_LONG_AXIS.setflags(write=False)

# A stack whose axis is further off than this is not short axis. (Body planes lie 50 to 66 degrees off. Many public
# NIfTI sets say only that slices lie along z: such a file has no usable orientation.)
MAX_OFF_AXIS_DEGREES: Final = 60.0

# All true short axes so far are within 35 degrees of the usual axis (except in congenital heart disease).
USUAL_OFF_AXIS_DEGREES: Final = 35.0

# In the standard position, columns rise by this much from the horizontal towards the head: in the plane of a usual
# heart they then run as closely to the left as possible. A frame more than 45 degrees from the standard position gets a
# quarter turn, so this angle also sets that border, and usual frames must not lie near it. The borders are at 70 and
# -20. Observed angles of the columns above the horizontal: -2 to 12 (GE, three exams), 51 (Siemens), and, estimated
# from the position of the RV to within 10 degrees, -36 to -27, -12, -1 and 47 (seven stacks of the UK Digital Heart
# Project, whose chest wall is at the left of the image).
_RISE_DEGREES: Final = 25.0

# Two turns that differ less than this are equally good: direction cosines have six digits in DICOM.
_TIE = 1e-5


@dataclass(frozen=True, slots=True)
class Turn:
    """One of the eight ways to turn or mirror a frame: first transposed, then reversed.

    Attributes:
        transposed: rows become columns.
        rows_reversed: after that, the order of the rows is reversed (upside down).
        columns_reversed: after that, the order of the columns is reversed (left to right).
    """

    transposed: bool = False
    rows_reversed: bool = False
    columns_reversed: bool = False

    @property
    def mirrors(self) -> bool:
        """Whether the result is a mirror image, which no rotation gives."""
        return (self.transposed + self.rows_reversed + self.columns_reversed) % 2 == 1

    def apply(self, frames: NDArray[Any]) -> NDArray[Any]:
        """Frames after the turn.

        Args:
            frames: (..., row, column), of any type: images or labels.

        Returns:
            (..., row, column): a view of the same, unchanged values.
        """
        turned = frames.swapaxes(-1, -2) if self.transposed else frames
        return turned[..., :: -1 if self.rows_reversed else 1, :: -1 if self.columns_reversed else 1]

    def undo(self, frames: NDArray[Any]) -> NDArray[Any]:
        """Frames (..., row, column) before the turn: a view; `undo(apply(frames))` equals `frames`."""
        straight = frames[..., :: -1 if self.rows_reversed else 1, :: -1 if self.columns_reversed else 1]
        return straight.swapaxes(-1, -2) if self.transposed else straight

    def apply_pair(self, pair: tuple[Value, Value]) -> tuple[Value, Value]:
        """A pair of values for rows and columns (matrix, spacing) after the turn; the same function undoes it."""
        return (pair[1], pair[0]) if self.transposed else pair

    def apply_points(self, points: ArrayLike, shape: tuple[int, int]) -> Floats:
        """Points of a frame after the turn.

        Args:
            points: (..., 2): x (column) and y (row) in pixels, whole numbers at pixel centres.
            shape: (rows, columns) of the frame before the turn.

        Returns:
            (..., 2): x and y; exact for whole and half pixels, else within rounding.
        """
        turned = np.array(points, dtype=np.float64)
        if self.transposed:
            turned = turned[..., ::-1].copy()
        return self._reverse(turned, self.apply_pair(shape))

    def undo_points(self, points: ArrayLike, shape: tuple[int, int]) -> Floats:
        """Points of a turned frame, (..., 2), before the turn; `shape`: (rows, columns) before it."""
        straight = self._reverse(np.array(points, dtype=np.float64), self.apply_pair(shape))
        return straight[..., ::-1].copy() if self.transposed else straight

    def _reverse(self, points: Floats, shape: tuple[int, int]) -> Floats:
        rows, columns = shape
        if self.columns_reversed:
            points[..., 0] = columns - 1 - points[..., 0]
        if self.rows_reversed:
            points[..., 1] = rows - 1 - points[..., 1]
        return points


TURNS: Final = tuple(Turn(*flags) for flags in product((False, True), repeat=3))
"""All eight; the first changes nothing."""


def off_axis_degrees(normal: Floats) -> float:
    """The angle in degrees (0 to 90) between a stack's normal (3,), a unit vector, and the usual long axis."""
    return float(np.degrees(np.arccos(min(1.0, abs(float(normal @ USUAL_LONG_AXIS))))))


_BODY_PLANES = ("sagittal", "coronal", "axial")
_BODY_PLANE_DEGREES = 3.0


def body_plane(normal: Floats) -> str | None:
    """The body plane of slices, within 3 degrees, from their normal (3,), LPS; None if they are oblique.

    A short-axis stack is never in a body plane, because the heart lies obliquely in the chest.
    """
    axis = int(np.argmax(np.abs(normal)))
    in_plane = abs(float(normal[axis])) >= np.cos(np.deg2rad(_BODY_PLANE_DEGREES))
    return _BODY_PLANES[axis] if in_plane else None


def off_axis(normal: Floats) -> list[Finding]:
    """A warning if slices with this normal (3,), LPS, are further off the usual axis than a short-axis stack."""
    off, plane = off_axis_degrees(normal), body_plane(normal)
    if off <= USUAL_OFF_AXIS_DEGREES:
        return []
    if plane is None:
        check = "check that this is a short-axis stack"
    else:
        check = "they are {plane}, and a short axis is not: volumes and EF are not those of a short-axis stack"
    sentence = (
        "the slices lie across an axis {off_axis_degrees:.1f} degrees off the usual long axis of the heart (a short "
        "axis usually lies within {usual_degrees:.0f} degrees of it): " + check
    )
    numbers = {"off_axis_degrees": off, "usual_degrees": USUAL_OFF_AXIS_DEGREES}
    texts = {} if plane is None else {"plane": plane}
    return [Finding(Code.OFF_AXIS_STACK, Severity.WARNING, sentence, numbers=numbers, texts=texts)]


def base_first(grid: Grid | None) -> bool | None:
    """Whether slice 0 is the basal end; None without a grid, or if its axis is too unusual to decide."""
    if grid is None or not _is_oriented(grid):
        return None
    return bool(grid.normal @ USUAL_LONG_AXIS > 0)


def standard_position(grid: Grid | None) -> Turn | None:
    """The quarter turns and mirrors that bring the frames of a grid closest to the standard position.

    In the standard position a slice is seen from the apex, as viewers show it: columns run to the left, rows to the
    feet and posterior. The right ventricle lies at the left of the image, level with the left ventricle or above it.
    However a slice is stored (turned or mirrored), it becomes the same frame, pixel by pixel.

    The answer depends on the directions of rows and columns alone: all slices of a stack get the same turn. If a frame
    lies 45 degrees from the standard position, two turns are equally close: the one whose columns rise more is chosen,
    however the frame is stored.

    Returns:
        The turn; None without a grid, or if its axis is too unusual for a short-axis stack: then the axes of the file
        do not show which way up the heart lies.
    """
    if grid is None or not _is_oriented(grid):
        return None
    towards_base = grid.normal if base_first(grid) is False else -grid.normal
    right, down = _standard_axes(towards_base)
    candidates = []
    for turn in TURNS:
        along_row, along_column = turn.apply_pair((grid.along_row, grid.along_column))
        along_row = -along_row if turn.columns_reversed else along_row
        along_column = -along_column if turn.rows_reversed else along_column
        # Only four of the eight turns show the heart from the apex: the others are mirror images.
        if float(np.cross(along_row, along_column) @ towards_base) > 0:
            nearness = float(along_row @ right + along_column @ down)
            candidates.append((nearness, float(along_row @ down), turn))
    nearest = max(nearness for nearness, _, _ in candidates)
    equal = [(downwards, turn) for nearness, downwards, turn in candidates if nearness > nearest - _TIE]
    return min(equal, key=lambda candidate: candidate[0])[1]


def _is_oriented(grid: Grid) -> bool:
    return off_axis_degrees(grid.normal) < MAX_OFF_AXIS_DEGREES


def _standard_axes(towards_base: Floats) -> tuple[Floats, Floats]:
    """Directions of columns and of rows, unit vectors (3,), in the standard position of a plane across an axis.

    They are computed in the plane itself, not from the usual long axis: a scanner that keeps columns horizontal does so
    in every plane, and relative to another axis its frames would seem turned by up to 20 degrees.
    """
    # Never parallel: the usual axis points 24 degrees down, so an axis within 60 degrees of it points at most 84
    # degrees down.
    feet = np.array([0.0, 0.0, -1.0])
    down = feet - (feet @ towards_base) * towards_base
    down /= np.linalg.norm(down)
    level = np.cross(down, towards_base)
    rise = np.radians(_RISE_DEGREES)
    return np.cos(rise) * level - np.sin(rise) * down, np.cos(rise) * down + np.sin(rise) * level
