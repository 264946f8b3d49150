"""From the headers of parallel frames to an ordered stack: slices along the normal, phases by time.

Order and distances come from ImagePositionPatient and ImageOrientationPatient, never from SliceLocation or file names.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cinesax.core.cine import Gating
from cinesax.core.errors import GeometryError
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.grid import Floats, Grid
from cinesax.dicom.read.header import Header
from cinesax.dicom.read.pairing import pair
from cinesax.dicom.read.timing import (
    expected_phases,
    gating_of,
    in_milliseconds,
    in_order_of_time,
    rr_intervals_ms,
    timing_oddities,
    trigger_times,
    usual_count,
    without_doubles,
)

# Scanners store slices of one stack with slightly different orientations: by rounding, or a few tenths of a degree.
# 2 degrees move the edge of a heart of 80 mm by 1.4 mm, and change volumes by less than 0.1 %.
MAX_TILT_DEGREES = 2.0
_NOTABLE_TILT_DEGREES = 0.05
_NOTABLE_SHIFT_MM = 1.0
_SAME_SLICE_MM = 0.5
_UNIT_TOLERANCE = 0.01
_SAME_SPACING = 0.001


@dataclass(frozen=True, eq=False)
class Stack:
    """Frames of one pixel spacing and one orientation (within `MAX_TILT_DEGREES`), at any number of positions.

    Attributes:
        headers: the frames, in the order given.
        along_row: (3,), unit vector, the mean over the frames.
        along_column: (3,), unit vector at right angles to it.
    """

    headers: tuple[Header, ...]
    along_row: Floats
    along_column: Floats

    @cached_property
    def normal(self) -> Floats:
        """(3,), unit vector: along_row x along_column."""
        return np.asarray(np.cross(self.along_row, self.along_column), dtype=np.float64)

    @cached_property
    def spacing_mm(self) -> tuple[float, float]:
        """(between rows, between columns)."""
        spacing = self.headers[0].pixel_spacing_mm
        return spacing[0], spacing[1]

    @cached_property
    def matrix(self) -> tuple[int, int]:
        """(rows, columns) of the smallest matrix that holds every frame."""
        return max(header.rows or 0 for header in self.headers), max(header.columns or 0 for header in self.headers)

    @cached_property
    def tilts_degrees(self) -> Floats:
        """(frame,): the angle between each frame's normal and that of the stack."""
        normals = np.array([_normal(header) for header in self.headers])
        return np.asarray(np.degrees(np.arccos(np.clip(normals @ self.normal, -1, 1))), dtype=np.float64)

    @cached_property
    def origins_mm(self) -> Floats:
        """(frame, 3), LPS: the first pixel of each frame on the stack's own directions.

        Frames are rotated about their centres: the corner of a slice tilted by 1 degree lies 3 mm off.
        """
        half = self._half_diagonals(np.broadcast_to(np.concatenate([self.along_row, self.along_column]), (1, 6)))
        return np.asarray(self._centres_mm - half, dtype=np.float64)

    @cached_property
    def _centres_mm(self) -> Floats:
        corners = np.array([header.position_mm for header in self.headers])
        return corners + self._half_diagonals(np.array([header.orientation for header in self.headers]))

    def _half_diagonals(self, orientations: Floats) -> Floats:
        matrices = np.array([(header.rows, header.columns) for header in self.headers], dtype=np.float64)
        right = orientations[:, :3] * self.spacing_mm[1] * (matrices[:, 1:] - 1) / 2
        down = orientations[:, 3:] * self.spacing_mm[0] * (matrices[:, :1] - 1) / 2
        return np.asarray(right + down, dtype=np.float64)

    @cached_property
    def slices(self) -> tuple[tuple[int, ...], ...]:
        """Indices of the frames at each position, positions in order along the normal."""
        # Positions along the normal, not SliceLocation: that is rounded, or left from before anonymisation.
        positions = self.origins_mm @ self.normal
        order = np.argsort(positions, kind="stable")
        breaks = np.flatnonzero(np.diff(positions[order]) > _SAME_SLICE_MM) + 1
        return tuple(tuple(int(index) for index in part) for part in np.split(order, breaks))

    @property
    def n_slices(self) -> int:
        """Number of positions."""
        return len(self.slices)

    @property
    def n_phases(self) -> int:
        """Frames at a usual position (see `usual_count`)."""
        return usual_count(len(part) for part in self.slices)

    @property
    def distance_mm(self) -> float | None:
        """The median distance between neighbouring positions."""
        if self.n_slices < 2:
            return None
        heights = self.origins_mm @ self.normal
        return float(np.median(np.diff([np.mean(heights[list(part)]) for part in self.slices])))


@dataclass(frozen=True, eq=False)
class OrderedStack:
    """A stack whose frames have their phase and slice.

    Attributes:
        frames: (phase, slice).
        grid: the positions of the frames.
        trigger_times_ms: (phase, slice), or None.
        rr_intervals_ms: (slice,), or None.
        findings: what the reader should know about the stack.
        gating: how the scan was synchronised with the heart beat, or None.
        paddings: (slice, 2): (rows, columns) before the first stored pixel of each slice; () if all slices have one
            matrix.
    """

    frames: tuple[tuple[Header, ...], ...]
    grid: Grid
    trigger_times_ms: Floats | None
    rr_intervals_ms: Floats | None
    findings: tuple[Finding, ...]
    gating: Gating | None = None
    paddings: tuple[tuple[int, int], ...] = ()


def geometry_problem(header: Header) -> str | None:
    """Why a frame has no position in the patient, as text; None if it has one."""
    if len(header.position_mm) != 3:
        return "no valid ImagePositionPatient"
    if len(header.orientation) != 6:
        return "no valid ImageOrientationPatient"
    if len(header.pixel_spacing_mm) != 2 or min(header.pixel_spacing_mm) <= 0:
        return "no valid PixelSpacing"
    if not header.rows or not header.columns:
        return "no valid Rows and Columns"
    row, column = np.array(header.orientation[:3]), np.array(header.orientation[3:])
    lengths = np.linalg.norm([row, column], axis=1)
    if np.any(np.abs(lengths - 1) > _UNIT_TOLERANCE) or abs(float(row @ column)) > _UNIT_TOLERANCE:
        return f"ImageOrientationPatient {header.orientation} is not two unit vectors at right angles"
    return None


def split_into_stacks(headers: Iterable[Header]) -> tuple[Stack, ...]:
    """Group frames by pixel spacing and orientation; largest stack first.

    Args:
        headers: frames without a `geometry_problem`.
    """
    groups: list[tuple[Header, Floats, list[Header]]] = []
    for header in headers:
        orientation = _unit_orientation(header)
        for first, other, members in groups:
            if _same_spacing(header, first) and _angle_degrees(orientation, other) <= MAX_TILT_DEGREES:
                members.append(header)
                break
        else:
            groups.append((header, orientation, [header]))
    return tuple(sorted((_stack(members) for _, _, members in groups), key=lambda stack: -len(stack.headers)))


def _same_spacing(first: Header, second: Header) -> bool:
    pairs = zip(first.pixel_spacing_mm, second.pixel_spacing_mm, strict=True)
    return all(abs(a - b) <= _SAME_SPACING * max(a, b) for a, b in pairs)


def _unit_orientation(header: Header) -> Floats:
    vectors = np.array(header.orientation, dtype=np.float64).reshape(2, 3)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float64)


def _normal(header: Header) -> Floats:
    normal = np.cross(*_unit_orientation(header))
    return np.asarray(normal / np.linalg.norm(normal), dtype=np.float64)


def _angle_degrees(first: Floats, second: Floats) -> float:
    return math.degrees(math.acos(float(np.clip((first * second).sum(axis=-1), -1, 1).min())))


def _stack(headers: Sequence[Header]) -> Stack:
    # The mean of slightly different directions is neither of unit length nor quite at right angles.
    row, column = np.mean([_unit_orientation(header) for header in headers], axis=0)
    row = row / np.linalg.norm(row)
    column = column - (column @ row) * row
    return Stack(tuple(headers), row, column / np.linalg.norm(column))


def order(stack: Stack) -> OrderedStack:
    """Give every frame its phase and slice.

    Raises:
        GeometryError: files are missing, frames of one slice do not lie in one place, or nothing distinguishes their
            phases.
    """
    findings = [*_tilt(stack), *_slice_location(stack)]
    if problem := contradiction(stack):
        raise GeometryError(f"{problem}; the positions cannot be trusted")
    stored = [tuple(stack.headers[i] for i in part) for part in stack.slices]
    slices = []
    for index, (part, expected) in enumerate(zip(stored, expected_phases(stored), strict=True)):
        kept, doubles = without_doubles(part, index, expected)
        slices.append(kept)
        findings += doubles
    ordered, by_trigger, order_findings = in_order_of_time(slices)
    times, units = in_milliseconds(ordered, trigger_times(ordered)) if by_trigger else (None, [])
    intervals = rr_intervals_ms(ordered, times)
    gating = gating_of(ordered, times, intervals)
    pairing = pair(ordered, times, intervals, gating)
    frames = tuple(tuple(ordered[i][int(k)] for i, k in enumerate(phase)) for phase in pairing.places)
    grid, paddings = _grid(stack, frames[0])
    triggers = None if times is None else np.stack([t[k] for t, k in zip(times, pairing.places.T, strict=True)], axis=1)
    findings += [*order_findings, *units, *pairing.findings, *timing_oddities(ordered, times, intervals)]
    findings += [*_distances(grid), *_shifts(grid), *_matrices(frames[0])]
    return OrderedStack(frames, grid, triggers, intervals, tuple(findings), gating, paddings)


def _grid(stack: Stack, first_phase: Sequence[Header]) -> tuple[Grid, tuple[tuple[int, int], ...]]:
    """The grid; if matrices differ, also the (rows, columns) before each slice on the largest matrix.

    Slices with a smaller matrix are placed to the nearest pixel; the remaining fraction of a pixel goes into the origin
    of the slice.
    """
    place = {id(header): index for index, header in enumerate(stack.headers)}
    origins = stack.origins_mm[[place[id(header)] for header in first_phase]]
    shape = (len(origins), *stack.matrix)
    matrices = [(header.rows or 0, header.columns or 0) for header in first_phase]
    if set(matrices) == {stack.matrix}:
        return Grid(origins, stack.along_row, stack.along_column, stack.spacing_mm, shape), ()
    # Slices with the full matrix say where its corner is; if there are none, the mean is as good a place as any.
    full = np.array([origin for origin, matrix in zip(origins, matrices, strict=True) if matrix == stack.matrix])
    reference = full.mean(axis=0) if len(full) else origins.mean(axis=0)
    paddings = []
    for index, (matrix, origin) in enumerate(zip(matrices, origins, strict=True)):
        offset = origin - reference
        before = (
            _before(float(offset @ stack.along_column) / stack.spacing_mm[0], stack.matrix[0] - matrix[0]),
            _before(float(offset @ stack.along_row) / stack.spacing_mm[1], stack.matrix[1] - matrix[1]),
        )
        down, right = before[0] * stack.spacing_mm[0], before[1] * stack.spacing_mm[1]
        origins[index] = origin - down * stack.along_column - right * stack.along_row
        paddings.append(before)
    return Grid(origins, stack.along_row, stack.along_column, stack.spacing_mm, shape), tuple(paddings)


def _before(offset_px: float, room: int) -> int:
    return int(np.clip(round(offset_px), 0, room))


def _matrices(first_phase: Sequence[Header]) -> list[Finding]:
    numbers = Counter((header.rows, header.columns) for header in first_phase)
    if len(numbers) == 1:
        return []
    listed = ", ".join(f"{rows} x {columns} in {count} slices" for (rows, columns), count in numbers.most_common())
    sentence = "the matrix differs between slices ({matrices}): smaller frames were padded, none was interpolated"
    texts = {"matrices": listed}
    return [
        Finding(Code.MATRIX_DIFFERS, Severity.NOTE, sentence, numbers={"different_matrices": len(numbers)}, texts=texts)
    ]


def _tilt(stack: Stack) -> list[Finding]:
    tilt = float(stack.tilts_degrees.max())
    if tilt <= _NOTABLE_TILT_DEGREES:
        return []
    sentence = (
        "slices are tilted by up to {tilt_degrees:.2f} degrees against each other: their mean orientation is used"
    )
    return [Finding(Code.TILTED_SLICES, Severity.NOTE, sentence, numbers={"tilt_degrees": tilt})]


def _slice_location(stack: Stack) -> list[Finding]:
    locations = [stack.headers[part[0]].slice_location_mm for part in stack.slices]
    known = [location for location in locations if location is not None]
    if len(known) < 2 or len(known) != stack.n_slices or stack.distance_mm is None:
        return []
    step = float(np.median(np.abs(np.diff(known))))
    if abs(step - stack.distance_mm) <= 0.02 * stack.distance_mm:
        return []
    sentence = (
        "SliceLocation steps by {step_mm:.2f} mm while the positions lie {distance_mm:.2f} mm apart: "
        "the positions are used"
    )
    numbers = {"step_mm": step, "distance_mm": stack.distance_mm}
    return [Finding(Code.SLICE_LOCATION_MISLEADING, Severity.NOTE, sentence, numbers=numbers)]


def contradiction(stack: Stack) -> str | None:
    """A contradiction among the positions of the frames, as text; None if there is none."""
    for index, part in enumerate(stack.slices):
        matrices = {(stack.headers[i].rows, stack.headers[i].columns) for i in part}
        if len(matrices) > 1:
            listed = ", ".join(f"{rows} x {columns}" for rows, columns in sorted(matrices, key=str))
            return f"frames of slice {index} differ in Rows and Columns: {listed}"
        apart = float(np.linalg.norm(np.ptp(stack.origins_mm[list(part)], axis=0)))
        if apart > 2 * _SAME_SLICE_MM:
            return (
                f"geometry contradicts itself: frames of slice {index} lie up to {apart:.1f} mm apart by "
                "ImagePositionPatient, but not along the slice normal"
            )
        locations = [stack.headers[i].slice_location_mm for i in part]
        known = [location for location in locations if location is not None]
        if known and max(known) - min(known) > 2 * _SAME_SLICE_MM:
            return (
                "geometry contradicts itself: frames with the same ImagePositionPatient differ by "
                f"{max(known) - min(known):.1f} mm in SliceLocation"
            )
    return None


def _distances(grid: Grid) -> list[Finding]:
    if grid.is_even():
        return []
    median = grid.slice_distance_mm or 0.0
    findings = []
    for index, distance in enumerate(grid.slice_distances_mm):
        if abs(distance - median) > 0.02 * median:
            # A gap of two distances is one missing slice.
            missing = round(float(distance) / median) - 1
            guess = ": {missing} of them missing, it seems" if missing >= 1 else ""
            sentence = (
                "slices {first} and {second} lie {distance_mm:.2f} mm apart, others {usual_mm:.2f} mm"
                f"{guess}; the true distances are used"
            )
            numbers = {"first": index, "second": index + 1, "distance_mm": float(distance), "usual_mm": median}
            numbers |= {"missing": max(missing, 0)}
            code = Code.UNEVEN_SLICE_DISTANCE
            findings.append(Finding(code, Severity.WARNING, sentence, slice=index, numbers=numbers))
    return findings


def _shifts(grid: Grid) -> list[Finding]:
    """Slices shifted off the line of the others: one affine (NIfTI) cannot describe their positions."""
    if grid.shape[0] < 3:
        return []
    centres = grid.origins_mm - grid.origins_mm[0]
    # The step in the plane per mm along the normal; medians, so that one shifted slice does not move the line.
    plane = np.stack([centres @ grid.along_row, centres @ grid.along_column], axis=1)
    along = np.diff(grid.positions_mm)[:, None]
    line = np.median(np.diff(plane, axis=0) / along, axis=0) * (grid.positions_mm - grid.positions_mm[0])[:, None]
    off = np.linalg.norm(plane - line - np.median(plane - line, axis=0), axis=1)
    worst = int(np.argmax(off))
    if off[worst] <= _NOTABLE_SHIFT_MM:
        return []
    sentence = (
        "slices are shifted in their plane, slice {worst_slice} by {shift_mm:.1f} mm against the line of the others: "
        "volumes do not depend on this, but a single affine (NIfTI) cannot express their positions"
    )
    moved = {"worst_slice": worst, "shift_mm": float(off[worst])}
    return [Finding(Code.SHIFTED_SLICES, Severity.WARNING, sentence, slice=worst, numbers=moved)]
