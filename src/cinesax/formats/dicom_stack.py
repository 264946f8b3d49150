"""From the headers of parallel frames to an ordered stack: slices along the normal, phases by time.

Order and distances come from ImagePositionPatient and ImageOrientationPatient, never from SliceLocation or file
names. Phases are ordered by the first of these clues that every frame has and that tells the frames of each
slice apart: TriggerTime (or NominalCardiacTriggerDelayTime), TemporalPositionIdentifier, AcquisitionTime,
ContentTime, InstanceNumber. With equal counts the slices pair by index: each slice has its own heart beat.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cinesax.errors import GeometryError
from cinesax.findings import Code, Finding, Severity
from cinesax.formats.dicom_header import Header
from cinesax.grid import Floats, Grid

# Slices of one stack that a scanner stores with slightly different orientations differ by rounding or some tenths.
MAX_TILT_DEGREES = 1.0
_NOTABLE_TILT_DEGREES = 0.05
_SAME_SLICE_MM = 0.5
_SAME_TRIGGER_MS = 0.01
_UNIT_TOLERANCE = 0.01


@dataclass(frozen=True, eq=False)
class Stack:
    """Frames of one matrix size and one orientation (within `MAX_TILT_DEGREES`), at any number of positions.

    Attributes:
        headers: the frames, as they came.
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
        """(rows, columns)."""
        return self.headers[0].rows or 0, self.headers[0].columns or 0

    @cached_property
    def tilts_degrees(self) -> Floats:
        """(frame,): the angle between each frame's normal and that of the stack."""
        normals = np.array([_normal(header) for header in self.headers])
        return np.asarray(np.degrees(np.arccos(np.clip(normals @ self.normal, -1, 1))), dtype=np.float64)

    @cached_property
    def origins_mm(self) -> Floats:
        """(frame, 3), LPS: the first pixel of each frame on the stack's own directions.

        Frames are turned about their centres: the corner of a slice that is tilted by 1 degree lies 3 mm off.
        """
        half = self._half_diagonals(np.broadcast_to(np.concatenate([self.along_row, self.along_column]), (1, 6)))
        return np.asarray(self._centres_mm - half, dtype=np.float64)

    @cached_property
    def _centres_mm(self) -> Floats:
        corners = np.array([header.position_mm for header in self.headers])
        return corners + self._half_diagonals(np.array([header.orientation for header in self.headers]))

    def _half_diagonals(self, orientations: Floats) -> Floats:
        right = orientations[:, :3] * self.spacing_mm[1] * (self.matrix[1] - 1) / 2
        down = orientations[:, 3:] * self.spacing_mm[0] * (self.matrix[0] - 1) / 2
        return np.asarray(right + down, dtype=np.float64)

    @cached_property
    def slices(self) -> tuple[tuple[int, ...], ...]:
        """Indices of the frames at each position, positions in order along the normal."""
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
        """Frames at most positions (the most frequent count)."""
        return Counter(len(part) for part in self.slices).most_common(1)[0][0]

    @property
    def distance_mm(self) -> float | None:
        """The median distance between neighbouring positions."""
        if self.n_slices < 2:
            return None
        heights = self.origins_mm @ self.normal
        return float(np.median(np.diff([np.mean(heights[list(part)]) for part in self.slices])))


@dataclass(frozen=True, eq=False)
class OrderedStack:
    """A stack whose frames have their places.

    Attributes:
        frames: (phase, slice).
        grid: where they lie.
        trigger_times_ms: (phase, slice), or None.
        rr_intervals_ms: (slice,), or None.
        findings: what was noticed on the way.
    """

    frames: tuple[tuple[Header, ...], ...]
    grid: Grid
    trigger_times_ms: Floats | None
    rr_intervals_ms: Floats | None
    findings: tuple[Finding, ...]


def geometry_problem(header: Header) -> str | None:
    """What keeps a frame from having a place in the patient, for a person; None when nothing does."""
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
    """Group frames by matrix size, pixel spacing and orientation; largest stack first.

    Args:
        headers: frames of which `geometry_problem` says None.
    """
    groups: list[tuple[tuple[object, ...], Floats, list[Header]]] = []
    for header in headers:
        key = (header.rows, header.columns, *(round(value, 3) for value in header.pixel_spacing_mm))
        orientation = _unit_orientation(header)
        for other_key, other, members in groups:
            if key == other_key and _angle_degrees(orientation, other) <= MAX_TILT_DEGREES:
                members.append(header)
                break
        else:
            groups.append((key, orientation, [header]))
    return tuple(sorted((_stack(members) for _, _, members in groups), key=lambda stack: -len(stack.headers)))


def _unit_orientation(header: Header) -> Floats:
    vectors = np.array(header.orientation, dtype=np.float64).reshape(2, 3)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float64)


def _normal(header: Header) -> Floats:
    normal = np.cross(*_unit_orientation(header))
    return np.asarray(normal / np.linalg.norm(normal), dtype=np.float64)


def _angle_degrees(first: Floats, second: Floats) -> float:
    return math.degrees(math.acos(float(np.clip((first * second).sum(axis=-1), -1, 1).min())))


def _stack(headers: Sequence[Header]) -> Stack:
    row, column = np.mean([_unit_orientation(header) for header in headers], axis=0)
    row = row / np.linalg.norm(row)
    column = column - (column @ row) * row
    return Stack(tuple(headers), row, column / np.linalg.norm(column))


def order(stack: Stack) -> OrderedStack:
    """Give every frame its phase and slice.

    Raises:
        GeometryError: slices with different numbers of phases, frames of one slice that lie apart, frames
            that nothing tells apart.
    """
    findings = [*_tilt(stack), *_slice_location(stack)]
    if problem := contradiction(stack):
        raise GeometryError(f"{problem}; the positions cannot be relied on")
    slices = []
    for index, part in enumerate(stack.slices):
        kept, found = _without_doubles(tuple(stack.headers[i] for i in part), index, _expected_phases(stack))
        slices.append(kept)
        findings += found
    _refuse_unequal(slices)
    ordered, by_trigger, found = _in_order_of_time(slices)
    findings += found
    frames = tuple(zip(*ordered, strict=True))
    grid = _grid(stack, frames[0])
    triggers = np.array([[frame.trigger_time_ms for frame in phase] for phase in frames], float) if by_trigger else None
    intervals = _rr_intervals_ms(ordered, triggers)
    findings += [*_distances(grid), *_timing(ordered, triggers, intervals)]
    return OrderedStack(frames, grid, triggers, intervals, tuple(findings))


def _grid(stack: Stack, first_phase: Sequence[Header]) -> Grid:
    place = {id(header): index for index, header in enumerate(stack.headers)}
    origins = stack.origins_mm[[place[id(header)] for header in first_phase]]
    shape = (len(origins), *stack.matrix)
    return Grid(origins, stack.along_row, stack.along_column, stack.spacing_mm, shape)


def _tilt(stack: Stack) -> list[Finding]:
    tilt = float(stack.tilts_degrees.max())
    if tilt <= _NOTABLE_TILT_DEGREES:
        return []
    message = f"slices are tilted by up to {tilt:.2f} degrees against one another: their mean orientation is used"
    return [Finding(Code.TILTED_SLICES, Severity.NOTE, message)]


def _slice_location(stack: Stack) -> list[Finding]:
    locations = [stack.headers[part[0]].slice_location_mm for part in stack.slices]
    known = [location for location in locations if location is not None]
    if len(known) < 2 or len(known) != stack.n_slices or stack.distance_mm is None:
        return []
    step = float(np.median(np.abs(np.diff(known))))
    if abs(step - stack.distance_mm) <= 0.02 * stack.distance_mm:
        return []
    message = (
        f"SliceLocation steps by {step:.2f} mm where the positions lie {stack.distance_mm:.2f} mm apart: "
        "the positions are used"
    )
    return [Finding(Code.SLICE_LOCATION_MISLEADING, Severity.NOTE, message)]


def contradiction(stack: Stack) -> str | None:
    """What in the places of the frames contradicts itself, for a person; None when nothing does."""
    for index, part in enumerate(stack.slices):
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


def _expected_phases(stack: Stack) -> int:
    stated = {header.cardiac_number_of_images for header in stack.headers}
    count = int(next(iter(stated)) or 0) if len(stated) == 1 else 0
    fewest = min(len(part) for part in stack.slices)
    return count if 1 < count <= fewest else stack.n_phases


def _moment(header: Header) -> tuple[str, str, float, float]:
    times = header.acquisition_time or "", header.content_time or ""
    return *times, header.series_number or 0, header.instance_number or 0


_ACQUISITIONS: tuple[Callable[[Header], object], ...] = (
    lambda header: header.series_uid,
    lambda header: header.acquisition_number,
    lambda header: header.acquisition_time,
)


def _without_doubles(frames: tuple[Header, ...], index: int, expected: int) -> tuple[tuple[Header, ...], list[Finding]]:
    """Of a slice that was acquired or stored twice, the later complete set."""
    if len(frames) <= expected:
        kept = _one_a_trigger(frames)
    else:
        kept = _later_acquisition(frames, expected) or _one_a_trigger(frames)
    if len(kept) == len(frames):
        return frames, []
    message = f"{len(frames) - len(kept)} of {len(frames)} frames are doubled: the ones acquired later are used"
    return kept, [Finding(Code.DUPLICATE_FRAME, Severity.WARNING, message, slice=index)]


def _later_acquisition(frames: tuple[Header, ...], expected: int) -> tuple[Header, ...] | None:
    for acquisition in _ACQUISITIONS:
        groups: dict[object, list[Header]] = {}
        for frame in frames:
            groups.setdefault(acquisition(frame), []).append(frame)
        complete = [group for group in groups.values() if len(group) == expected]
        if len(groups) > 1 and complete:
            return tuple(max(complete, key=lambda group: max(_moment(frame) for frame in group)))
    return None


def _one_a_trigger(frames: tuple[Header, ...]) -> tuple[Header, ...]:
    latest: dict[int, Header] = {}
    for frame in sorted(frames, key=_moment):
        if frame.trigger_time_ms is None:
            return frames
        latest[round(frame.trigger_time_ms / _SAME_TRIGGER_MS)] = frame
    # Where most frames share their trigger time it tells nothing, and the frames are no doubles.
    return tuple(latest.values()) if len(latest) >= max(2, len(frames) / 2) else frames


def _refuse_unequal(slices: Sequence[Sequence[Header]]) -> None:
    counts = Counter(len(part) for part in slices)
    if len(counts) == 1:
        return
    usual = counts.most_common(1)[0][0]
    odd = ", ".join(f"slice {i} has {len(part)}" for i, part in enumerate(slices) if len(part) != usual)
    raise GeometryError(
        f"slices have different numbers of phases: {odd}, the others {usual}; "
        "complete the exam (is a file missing?) or leave these slices out"
    )


def _seconds(time: str | None) -> float | None:
    if time is None or len(time) < 6 or not time[:6].isdigit():
        return None
    try:
        return int(time[:2]) * 3600 + int(time[2:4]) * 60 + float(time[4:])
    except ValueError:
        return None


_TRIGGER = "TriggerTime"
_CLUES: tuple[tuple[str, Callable[[Header], float | None]], ...] = (
    (_TRIGGER, lambda header: header.trigger_time_ms),
    ("TemporalPositionIdentifier", lambda header: header.temporal_position),
    ("AcquisitionTime", lambda header: _seconds(header.acquisition_time)),
    ("ContentTime", lambda header: _seconds(header.content_time)),
    ("InstanceNumber", lambda header: header.instance_number),
)


def _in_order_of_time(slices: Sequence[Sequence[Header]]) -> tuple[list[list[Header]], bool, list[Finding]]:
    for name, clue in _CLUES:
        values = [[clue(frame) for frame in part] for part in slices]
        if any(None in part or len(set(part)) != len(part) for part in values):
            continue
        ordered = [sorted(part, key=lambda frame: clue(frame) or 0.0) for part in slices]
        if name == _TRIGGER:
            return ordered, True, []
        message = f"no usable TriggerTime: phases are ordered by {name}, and the times in the beat are not known"
        return ordered, False, [Finding(Code.MISSING_TRIGGER_TIMES, Severity.WARNING, message)]
    names = ", ".join(name for name, _ in _CLUES)
    raise GeometryError(f"nothing tells the phases of a slice apart: {names} are absent or repeat within a slice")


def _rr_intervals_ms(slices: Sequence[Sequence[Header]], triggers: Floats | None) -> Floats | None:
    """Of each slice NominalInterval, else 60000 / HeartRate, else trigger step x phases; the first that is possible."""
    intervals: list[float] = []
    for index, part in enumerate(slices):
        times = None if triggers is None else triggers[:, index]
        span = 0.0 if times is None else float(np.ptp(times))
        nominal = [frame.nominal_interval_ms for frame in part if frame.nominal_interval_ms]
        rates = [frame.heart_rate_bpm for frame in part if frame.heart_rate_bpm and frame.heart_rate_bpm > 0]
        candidates = [float(np.median(nominal))] if nominal else []
        candidates += [60_000 / float(np.median(rates))] if rates else []
        if times is not None and len(times) > 2:
            candidates.append(float(np.median(np.diff(times))) * len(times))
        possible = [value for value in candidates if 200 <= value <= 3000 and value >= 0.9 * span]
        if not possible:
            return None
        intervals.append(possible[0])
    return np.array(intervals)


def _distances(grid: Grid) -> list[Finding]:
    if grid.is_even():
        return []
    median = grid.slice_distance_mm or 0.0
    found = []
    for index, distance in enumerate(grid.slice_distances_mm):
        if abs(distance - median) > 0.02 * median:
            missing = round(float(distance) / median) - 1
            guess = f": {missing} seem(s) to be missing" if missing >= 1 else ""
            message = (
                f"slices {index} and {index + 1} lie {distance:.2f} mm apart, others {median:.2f} mm{guess}; "
                "the true distances are used"
            )
            found.append(Finding(Code.UNEVEN_SLICE_DISTANCE, Severity.WARNING, message, slice=index))
    return found


def _timing(slices: Sequence[Sequence[Header]], triggers: Floats | None, intervals: Floats | None) -> list[Finding]:
    found = []
    stated = {frame.cardiac_number_of_images for part in slices for frame in part}
    count = int(next(iter(stated)) or 0) if len(stated) == 1 else 0
    if count > len(slices[0]):
        message = f"every slice has {len(slices[0])} phases where CardiacNumberOfImages says {count}"
        found.append(Finding(Code.INCOMPLETE_SLICE, Severity.WARNING, message))
    if intervals is not None and float(intervals.max()) > 1.15 * float(intervals.min()):
        message = (
            f"the heart beat differs between slices, {intervals.min():.0f} to {intervals.max():.0f} ms: "
            "phases are paired by index"
        )
        found.append(Finding(Code.RR_INTERVALS_DIFFER, Severity.NOTE, message))
    if triggers is not None and len(triggers) > 2:
        found += _trigger_oddities(triggers)
    return found


def _trigger_oddities(triggers: Floats) -> list[Finding]:
    found = []
    steps = np.median(np.diff(triggers, axis=0), axis=0)
    for index in np.flatnonzero(np.diff(triggers, axis=0).max(axis=0) > 1.6 * steps):
        message = "the trigger times leave out a step: a phase seems to be missing"
        found.append(Finding(Code.INCOMPLETE_SLICE, Severity.WARNING, message, slice=int(index)))
    # Pairing by index needs the slices to start at the same point of the beat, within half a phase.
    starts = triggers[0] / steps
    if float(np.ptp(starts)) > 0.5:
        message = (
            f"slices start at different points of the beat ({triggers[0].min():.0f} to {triggers[0].max():.0f} ms "
            "after the R wave): their phases are paired by index all the same"
        )
        found.append(Finding(Code.PHASE_ORDER, Severity.WARNING, message))
    return found
