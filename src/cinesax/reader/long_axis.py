"""The long-axis series of an exam, and the lines where short-axis slices cut them: they help to find the base."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cinesax.core.cine import Cine
from cinesax.core.errors import CinesaxError
from cinesax.core.grid import Floats, Grid
from cinesax.reader.store.database import ExamRow

if TYPE_CHECKING:
    from cinesax.dicom.read.stack import Stack

MOST_SERIES = 8
_PARALLEL = 0.9
"""Cosine between normals above which a stack is another short axis."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A series of an exam, without the patient: a person may analyze another series than the chosen one."""

    uid: str
    name: str
    kind: str
    explanation: str


def series_of(row: ExamRow) -> list[Candidate]:
    """The cine series of an exam; [] if it is not DICOM.

    Raises:
        CinesaxError: the exam cannot be read.
    """
    from cinesax.dicom.read.exam import open_exam
    from cinesax.dicom.read.series import SeriesKind
    from cinesax.inputs import nifti_files_of

    if not row.path or nifti_files_of([Path(row.path)]):
        return []
    cines = (SeriesKind.SHORT_AXIS, SeriesKind.CINE_SLICE, SeriesKind.LONG_AXIS)
    return [
        Candidate(series.uid, series.name, series.kind.value, series.explanation)
        for series in open_exam(row.path).series
        if series.kind in cines and row.study_uid in (None, series.study_uid)
    ]


@dataclass(frozen=True, slots=True)
class Window:
    """Grey values from dark to bright, as sent."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a short-axis slice cuts an image: a line from one border to another, x and y in pixels."""

    slice: int
    start: Point
    end: Point


@dataclass(frozen=True, slots=True, eq=False)
class LongAxis:
    """One long-axis image over the beat.

    Attributes:
        description: description of the series, without the patient.
        pixels: (phase, row, column), uint16.
        spacing_mm: distance between rows, distance between columns.
        window: the grey values to show.
        times_ms: (phase,), or None.
        cuts: the lines where short-axis slices cut the image.
    """

    description: str | None
    pixels: NDArray[np.uint16]
    spacing_mm: tuple[float, float]
    window: Window
    times_ms: Floats | None
    cuts: tuple[Cut, ...]


def read_long_axis(cine: Cine, path: str) -> list[LongAxis]:
    """The long-axis series of a cine's exam; [] if there are none, or if the exam is not DICOM.

    A series that cannot be read is left out: it only helps a person, and nothing is measured on it.
    """
    if cine.source.kind != "dicom" or cine.grid is None or not path or not Path(path).exists():
        return []
    from cinesax.dicom.read.exam import open_exam
    from cinesax.dicom.read.series import SeriesKind
    from cinesax.dicom.read.stack import geometry_problem, split_into_stacks

    images: list[LongAxis] = []
    try:
        exam = open_exam(path)
    except CinesaxError:
        return []
    for series in exam.series:
        if series.kind is not SeriesKind.LONG_AXIS or series.study_uid != (cine.source.study_uid or ""):
            continue
        placed = [header for header in series.headers if geometry_problem(header) is None]
        for stack in split_into_stacks(placed):
            if abs(float(stack.normal @ cine.grid.normal)) < _PARALLEL and stack.n_phases > 1:
                images += _images(stack, cine.grid, series.pseudonymous_description or None)
        if len(images) >= MOST_SERIES:
            break
    return images[:MOST_SERIES]


def _images(stack: "Stack", short_axis: Grid, description: str | None) -> list[LongAxis]:
    from cinesax.dicom.pixels.pixels import read_pixels
    from cinesax.dicom.read.stack import order

    try:
        ordered = order(stack)
        pixels = read_pixels(ordered.frames, ordered.paddings)
    except CinesaxError:
        return []
    times = ordered.trigger_times_ms
    return [
        _image(
            pixels[:, place],
            _plane(ordered.grid, place),
            short_axis,
            description=description,
            times_ms=None if times is None else times[:, place],
        )
        for place in range(pixels.shape[1])
    ]


def _plane(grid: Grid, place: int) -> Grid:
    return Grid(
        grid.origins_mm[place : place + 1], grid.along_row, grid.along_column, grid.spacing_mm, (1, *grid.shape[1:])
    )


def _image(
    pixels: NDArray[np.generic], plane: Grid, short_axis: Grid, *, description: str | None, times_ms: Floats | None
) -> LongAxis:
    low, high = float(pixels.min()), float(pixels.max())
    scale = max(high - low, 1.0) / 4095
    sent = np.ascontiguousarray(np.rint((pixels.astype(np.float64) - low) / scale), dtype="<u2")
    dark, bright = np.percentile(sent[::2, ::2, ::2], (1.0, 99.5))
    cuts = [cut(plane, short_axis, index) for index in range(short_axis.shape[0])]
    return LongAxis(
        description,
        sent,
        plane.spacing_mm,
        Window(float(dark), max(float(bright), float(dark) + 1)),
        times_ms,
        tuple(line for line in cuts if line is not None),
    )


def cut(plane: Grid, short_axis: Grid, index: int) -> Cut | None:
    """The line where a short-axis slice cuts an image; None if it does not cut it.

    Args:
        plane: the grid of the image, with one slice.
        short_axis: the grid of the short-axis stack.
        index: the slice of the stack.
    """
    normal = short_axis.normal
    across = float(plane.along_row @ normal) * plane.spacing_mm[1]
    down = float(plane.along_column @ normal) * plane.spacing_mm[0]
    height = float((short_axis.origins_mm[index] - plane.origins_mm[0]) @ normal)
    rows, columns = plane.shape[1:]
    # The plane: across * x + down * y = height. Its points on the four borders of the image.
    points: list[Point] = []
    for x in (-0.5, columns - 0.5):
        if abs(down) > 1e-9 and -0.5 <= (y := (height - across * x) / down) <= rows - 0.5:
            points.append((x, y))
    for y in (-0.5, rows - 0.5):
        if abs(across) > 1e-9 and -0.5 <= (x := (height - down * y) / across) <= columns - 0.5:
            points.append((x, y))
    if len(points) < 2:
        return None
    start, end = _furthest(points)
    return None if start == end else Cut(index, _rounded(start), _rounded(end))


def _furthest(points: Sequence[Point]) -> tuple[Point, Point]:
    pairs = [(a, b) for a in points for b in points]
    return max(pairs, key=lambda pair: (pair[0][0] - pair[1][0]) ** 2 + (pair[0][1] - pair[1][1]) ** 2)


def _rounded(point: Point) -> Point:
    return round(point[0], 2), round(point[1], 2)
