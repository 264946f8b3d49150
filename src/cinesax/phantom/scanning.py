"""Scanning a phantom: frames, each with its position, time and truth, and possible defects.

In a Cine every slice has the same phases on the same matrix. Scanners store single frames. `scan` takes a phantom apart
into frames; an `Oddity` then adds what happens in practice. The scanned heart stays the same: whatever the oddities,
the true volumes are those of the phantom.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinesax.core.cine import Cine, Gating, Patient, Source
from cinesax.core.errors import GeometryError, UsageError
from cinesax.core.grid import Floats, Grid
from cinesax.phantom.heart import contraction_curve
from cinesax.phantom.make import Labels, Phantom, render_frames
from cinesax.phantom.settings import PhantomSettings

# Between the starts of two breath-holds (26 s in the Sunnybrook exams).
_BREATH_HOLD_S = 25.0
_TILT_DEGREES = 0.3
_CROPPED = (8, 6, 4, 2)
_LONGER_BEAT = 1.25
# The part of the beat that prospective gating covers: the next R wave must not be missed.
_PROSPECTIVE_SHARE = 0.85


class Oddity(StrEnum):
    """An oddity of the frames of a scan; the value is the name on the command line."""

    PROSPECTIVE = "prospective"
    """Prospective gating: the same times in ms in every slice, without the last part of the beat."""
    UNEQUAL_PHASES = "unequal-phases"
    """Two slices with another number of phases over the same beat."""
    MISSING_FRAMES = "missing-frames"
    """Arrhythmia rejection: two slices without one of their phases."""
    UNEVEN_BEATS = "uneven-beats"
    """A heart that slows down: the beat of half of the slices is a quarter longer."""
    SLICE_TWICE = "slice-twice"
    """A slice that was acquired again, because the first time it was triggered wrongly."""
    SLICE_ABORTED = "slice-aborted"
    """A slice whose second acquisition was stopped half-way, and triggered wrongly too."""
    OTHER_END = "other-end"
    """Slices from the other end of the heart: base to apex instead of apex to base, and images seen from there."""
    OTHER_MATRIX = "other-matrix"
    """A third of the slices with fewer rows and columns, of the same size."""
    TILTED_SLICES = "tilted-slices"
    """Slices that are rotated by a few tenths of a degree relative to each other."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ScannedFrame:
    """One frame as it comes from the scanner.

    Attributes:
        pixels: (row, column).
        labels: (row, column), uint8, of Structure: the truth of these pixels; None if not known.
        origin_mm: (3,), LPS, mm: the centre of pixel (row 0, column 0).
        along_row: (3,), unit vector: the direction of increasing column index.
        along_column: (3,), unit vector: the direction of increasing row index.
        spacing_mm: between rows, between columns.
        slice_index: which slice, in order along the normal.
        phase: which phase of its slice.
        n_phases: the planned number of phases of its slice.
        acquisition: 0 for the first acquisition of its slice, 1 for the second.
        acquired_s: seconds from the start of the exam to the start of this slice's acquisition.
        trigger_time_ms: ms after the R wave, or None.
        rr_interval_ms: length of the beat of its slice in ms, or None.
    """

    pixels: NDArray[Any]
    labels: Labels | None
    origin_mm: Floats
    along_row: Floats
    along_column: Floats
    spacing_mm: tuple[float, float]
    slice_index: int
    phase: int
    n_phases: int
    acquisition: int = 0
    acquired_s: float = 0.0
    trigger_time_ms: float | None = None
    rr_interval_ms: float | None = None


@dataclass(frozen=True, eq=False)
class Scan:
    """The frames of one stack.

    Attributes:
        frames: slice by slice and phase by phase; a slice that was acquired again comes last.
        source: study, series and equipment.
        patient: the patient.
        gating: how the scan was synchronised with the heart beat.
        slice_distance_mm: centre to centre; None for a single slice.
    """

    frames: tuple[ScannedFrame, ...]
    source: Source
    patient: Patient
    gating: Gating
    slice_distance_mm: float | None


def take_apart(cine: Cine, labels: Labels | None = None) -> Scan:
    """The frames of a Cine, one by one.

    Args:
        cine: the cine, with a grid.
        labels: (phase, slice, row, column): the truth of its pixels.

    Raises:
        GeometryError: the Cine has no grid.
    """
    if cine.grid is None:
        raise GeometryError("a cine without geometry cannot be used as a scan")
    frames = tuple(
        _frame(cine, cine.grid, labels, phase=phase, place=place)
        for place in range(cine.n_slices)
        for phase in range(cine.n_phases)
    )
    gating = cine.gating or Gating.RETROSPECTIVE
    return Scan(frames, cine.source, cine.patient, gating, cine.grid.slice_distance_mm)


def _frame(cine: Cine, grid: Grid, labels: Labels | None, *, phase: int, place: int) -> ScannedFrame:
    times, intervals = cine.trigger_times_ms, cine.rr_intervals_ms
    return ScannedFrame(
        pixels=cine.pixels[phase, place],
        labels=None if labels is None else labels[phase, place],
        origin_mm=grid.origins_mm[place],
        along_row=grid.along_row,
        along_column=grid.along_column,
        spacing_mm=grid.spacing_mm,
        slice_index=place,
        phase=phase,
        n_phases=cine.n_phases,
        acquired_s=place * _BREATH_HOLD_S,
        trigger_time_ms=None if times is None else float(times[phase, place]),
        rr_interval_ms=None if intervals is None else float(intervals[place]),
    )


def scan(phantom: Phantom, oddities: Collection[Oddity] = ()) -> Scan:
    """Scan a phantom, with the chosen oddities.

    Args:
        phantom: the phantom; every frame keeps its truth.
        oddities: the oddities of the scan, in any order.

    Raises:
        UsageError: oddities cannot be combined, or the stack is too small for one of them.
    """
    _refuse(phantom, oddities)
    made = take_apart(phantom.cine, phantom.truth.labels)
    for oddity, change in _CHANGES.items():
        if oddity in oddities:
            made = change(made, phantom.settings)
    return made


_ONE_OF = (
    (Oddity.SLICE_TWICE, Oddity.SLICE_ABORTED),
    (Oddity.PROSPECTIVE, Oddity.UNEQUAL_PHASES),
    (Oddity.PROSPECTIVE, Oddity.UNEVEN_BEATS),
)


def _refuse(phantom: Phantom, oddities: Collection[Oddity]) -> None:
    if oddities and phantom.cine.n_slices < 6:
        raise UsageError(f"oddities of a scan need at least 6 slices, the phantom has {phantom.cine.n_slices}")
    for first, second in _ONE_OF:
        if first in oddities and second in oddities:
            raise UsageError(f"a scan cannot be both {first} and {second}: choose one")


def _n_slices(made: Scan) -> int:
    return 1 + max(frame.slice_index for frame in made.frames)


def _prospective(made: Scan, settings: PhantomSettings) -> Scan:
    """Gate prospectively. Systole hardly depends on the length of the beat: frames keep their times in ms."""
    step = float(np.median(settings.rr_intervals_ms)) / settings.n_phases
    kept = int(_PROSPECTIVE_SHARE * settings.n_phases)
    frames = tuple(
        replace(frame, trigger_time_ms=settings.trigger_delay_ms + frame.phase * step, n_phases=kept)
        for frame in made.frames
        if frame.phase < kept
    )
    return replace(made, frames=frames, gating=Gating.PROSPECTIVE)


def _unequal_phases(made: Scan, settings: PhantomSettings) -> Scan:
    """Scan two slices again, as if the operator had changed the number of phases."""
    other = replace(settings, n_phases=_other_phases(settings))
    middle = _n_slices(made) // 2
    frames: list[ScannedFrame] = []
    for place in range(_n_slices(made)):
        old = [frame for frame in made.frames if frame.slice_index == place]
        frames += _scanned_anew(old[0], other) if place in (middle - 1, middle + 1) else old
    return replace(made, frames=tuple(frames))


def _other_phases(settings: PhantomSettings) -> int:
    """Another number of phases that also has a frame at the time of ES."""

    def off(n_phases: int) -> float:
        _, es_phase = contraction_curve(n_phases, es_fraction=settings.es_fraction, early_filling=0.7)
        return abs(es_phase / n_phases - es_fraction)

    _, phase = contraction_curve(settings.n_phases, es_fraction=settings.es_fraction, early_filling=0.7)
    es_fraction = phase / settings.n_phases
    counts = range(max(4, round(0.6 * settings.n_phases)), round(1.5 * settings.n_phases) + 1)
    return min((n for n in counts if n != settings.n_phases), key=lambda n: (round(off(n), 6), n))


def _scanned_anew(first: ScannedFrame, settings: PhantomSettings) -> list[ScannedFrame]:
    rr = settings.rr_intervals_ms[first.slice_index]
    phases = range(settings.n_phases)
    images, labels = render_frames(settings, [(phase, first.slice_index) for phase in phases])
    return [
        replace(
            first,
            pixels=images[phase],
            labels=labels[phase],
            phase=phase,
            n_phases=settings.n_phases,
            trigger_time_ms=settings.trigger_delay_ms + phase / settings.n_phases * rr,
        )
        for phase in phases
    ]


def _missing_frames(made: Scan, _: PhantomSettings) -> Scan:
    """Remove frames late in diastole, as beats that come too early do."""
    middle = _n_slices(made) // 2
    share = {middle - 1: 0.65, middle: 0.82}

    def is_there(frame: ScannedFrame) -> bool:
        lost = share.get(frame.slice_index)
        return lost is None or frame.phase != round(lost * frame.n_phases)

    return replace(made, frames=tuple(filter(is_there, made.frames)))


def _uneven_beats(made: Scan, settings: PhantomSettings) -> Scan:
    half = _n_slices(made) // 2
    delay = settings.trigger_delay_ms

    def slower(frame: ScannedFrame) -> ScannedFrame:
        if frame.slice_index < half or frame.trigger_time_ms is None or frame.rr_interval_ms is None:
            return frame
        return replace(
            frame,
            trigger_time_ms=delay + _LONGER_BEAT * (frame.trigger_time_ms - delay),
            rr_interval_ms=_LONGER_BEAT * frame.rr_interval_ms,
        )

    return replace(made, frames=tuple(map(slower, made.frames)))


def _slice_twice(made: Scan, _: PhantomSettings) -> Scan:
    place, again_s = _n_slices(made) // 2 + 2, _n_slices(made) * _BREATH_HOLD_S
    wrong = {id(old): new for old, new in _triggered_wrongly(made, place)}
    right = [replace(frame, acquisition=1, acquired_s=again_s) for frame in made.frames if frame.slice_index == place]
    return replace(made, frames=(*(wrong.get(id(frame), frame) for frame in made.frames), *right))


def _slice_aborted(made: Scan, _: PhantomSettings) -> Scan:
    place, again_s = _n_slices(made) // 2 + 2, _n_slices(made) * _BREATH_HOLD_S
    stopped = [
        replace(new, acquisition=1, acquired_s=again_s)
        for _, new in _triggered_wrongly(made, place)
        if new.phase < new.n_phases // 2
    ]
    return replace(made, frames=(*made.frames, *stopped))


def _triggered_wrongly(made: Scan, place: int) -> list[tuple[ScannedFrame, ScannedFrame]]:
    """The frames of a slice, and the same frames if the scan starts half a beat late."""
    frames = [frame for frame in made.frames if frame.slice_index == place]
    shift = len(frames) // 2
    late = [*frames[shift:], *frames[:shift]]
    return [
        (frame, replace(frame, pixels=other.pixels, labels=other.labels))
        for frame, other in zip(frames, late, strict=True)
    ]


def _other_end(made: Scan, _: PhantomSettings) -> Scan:
    """The same voxels stored from the other end: reversing the normal needs one reversed direction in the plane."""
    last = _n_slices(made) - 1

    def turned(frame: ScannedFrame) -> ScannedFrame:
        across = (frame.pixels.shape[1] - 1) * frame.spacing_mm[1]
        place = last - frame.slice_index
        return replace(
            frame,
            pixels=frame.pixels[:, ::-1],
            labels=None if frame.labels is None else frame.labels[:, ::-1],
            origin_mm=frame.origin_mm + across * frame.along_row,
            along_row=-frame.along_row,
            slice_index=place,
            acquired_s=place * _BREATH_HOLD_S,
        )

    frames = sorted(map(turned, made.frames), key=lambda frame: (frame.slice_index, frame.phase))
    return replace(made, frames=tuple(frames))


def _other_matrix(made: Scan, _: PhantomSettings) -> Scan:
    top, bottom, left, right = _CROPPED
    first = _n_slices(made) - _n_slices(made) // 3

    def cropped(frame: ScannedFrame) -> ScannedFrame:
        if frame.slice_index < first:
            return frame
        inside = np.s_[top : frame.pixels.shape[0] - bottom, left : frame.pixels.shape[1] - right]
        down, across = top * frame.spacing_mm[0], left * frame.spacing_mm[1]
        return replace(
            frame,
            pixels=frame.pixels[inside],
            labels=None if frame.labels is None else frame.labels[inside],
            origin_mm=frame.origin_mm + down * frame.along_column + across * frame.along_row,
        )

    return replace(made, frames=tuple(map(cropped, made.frames)))


def _tilted_slices(made: Scan, _: PhantomSettings) -> Scan:
    """Tilt each slice about its own centre, alternating between rows and columns and between both directions."""

    def tilted(frame: ScannedFrame) -> ScannedFrame:
        angle = np.deg2rad(_TILT_DEGREES) * (1, -1, 0)[frame.slice_index % 3]
        row, column = frame.along_row, frame.along_column
        normal = np.cross(row, column)
        if frame.slice_index % 2:
            turned = row, np.cos(angle) * column + np.sin(angle) * normal
        else:
            turned = np.cos(angle) * row + np.sin(angle) * normal, column
        half = [(n - 1) / 2 * size for n, size in zip(frame.pixels.shape, frame.spacing_mm, strict=True)]
        centre = frame.origin_mm + half[0] * column + half[1] * row
        origin = centre - half[0] * turned[1] - half[1] * turned[0]
        return replace(frame, along_row=turned[0], along_column=turned[1], origin_mm=origin)

    return replace(made, frames=tuple(map(tilted, made.frames)))


# In the order of application.
_CHANGES: Mapping[Oddity, Callable[[Scan, PhantomSettings], Scan]] = {
    # Before the order of slices is reversed: it uses the phantom's own slice indices.
    Oddity.UNEQUAL_PHASES: _unequal_phases,
    Oddity.OTHER_END: _other_end,
    Oddity.PROSPECTIVE: _prospective,
    Oddity.UNEVEN_BEATS: _uneven_beats,
    Oddity.MISSING_FRAMES: _missing_frames,
    Oddity.SLICE_TWICE: _slice_twice,
    Oddity.SLICE_ABORTED: _slice_aborted,
    Oddity.OTHER_MATRIX: _other_matrix,
    Oddity.TILTED_SLICES: _tilted_slices,
}
