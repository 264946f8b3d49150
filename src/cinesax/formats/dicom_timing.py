"""The time in a stack: doubled frames left out, phases in order, the length of each slice's beat.

Phases are ordered by the first of these clues that every frame has and that tells the frames of each slice apart:
TriggerTime (or NominalCardiacTriggerDelayTime), TemporalPositionIdentifier, AcquisitionTime, ContentTime,
InstanceNumber. With equal counts the slices pair by index: each slice has its own heart beat.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from cinesax.errors import GeometryError
from cinesax.findings import Code, Finding, Severity
from cinesax.formats.dicom_header import Header
from cinesax.grid import Floats

_SAME_TRIGGER_MS = 0.01


def expected_phases(slices: Sequence[Sequence[Header]]) -> int:
    """How many phases a slice should have: CardiacNumberOfImages where all agree on it, else the usual count."""
    stated = {header.cardiac_number_of_images for part in slices for header in part}
    count = int(next(iter(stated)) or 0) if len(stated) == 1 else 0
    fewest = min(len(part) for part in slices)
    return count if 1 < count <= fewest else Counter(len(part) for part in slices).most_common(1)[0][0]


def _moment(header: Header) -> tuple[str, str, float, float]:
    times = header.acquisition_time or "", header.content_time or ""
    return *times, header.series_number or 0, header.instance_number or 0


_ACQUISITIONS: tuple[Callable[[Header], object], ...] = (
    lambda header: header.series_uid,
    lambda header: header.acquisition_number,
    lambda header: header.acquisition_time,
)


def without_doubles(frames: tuple[Header, ...], index: int, expected: int) -> tuple[tuple[Header, ...], list[Finding]]:
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


def refuse_unequal(slices: Sequence[Sequence[Header]]) -> None:
    """Raise GeometryError, naming the slices, where they have different numbers of phases."""
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


def in_order_of_time(slices: Sequence[Sequence[Header]]) -> tuple[list[list[Header]], bool, list[Finding]]:
    """The frames of each slice by the first usable clue; whether that is the trigger time; what was noticed.

    Raises:
        GeometryError: nothing tells the phases apart.
    """
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


def rr_intervals_ms(slices: Sequence[Sequence[Header]], triggers: Floats | None) -> Floats | None:
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


def timing_oddities(
    slices: Sequence[Sequence[Header]], triggers: Floats | None, intervals: Floats | None
) -> list[Finding]:
    """Phases that are missing everywhere, beats that differ, slices that start elsewhere in the beat."""
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
