"""The times in a stack: duplicate frames removed, phases in order, the length of each slice's beat.

Phases are ordered by the first of these attributes that every frame has and that distinguishes the frames of each
slice: TriggerTime (or NominalCardiacTriggerDelayTime), TemporalPositionIdentifier, AcquisitionTime, ContentTime,
InstanceNumber. `cinesax.dicom.read.pairing` combines the phases of different slices into volumes.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from cinesax.core.cine import Gating
from cinesax.core.errors import GeometryError
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.grid import Floats
from cinesax.dicom.read.header import Header

_SAME_TRIGGER_PART = 1e-5
# An acquisition that lost a few phases to arrhythmia counts as complete; one that was stopped does not.
_COMPLETE = 0.85
# Retrospective gating covers the whole beat; prospective gating must leave time to wait for the next R wave.
_WHOLE_BEAT = 0.92
# Times that cover this many stated beats show several beats. Times between one and this many contradict the beat.
_SEVERAL_BEATS = 1.5
# If no beat is stated: the shortest span that shows an ejection, and the beat to compare with.
_LEAST_SPAN_MS, _USUAL_BEAT_MS = 120.0, 800.0
# The part of a stated beat below which times show no ejection. For each unit: its name, factor, and the most beats that
# times may span. In ms a minute of real-time images is plausible, in another unit only a few beats.
_LEAST_OF_BEAT = 0.25
# Larger steps, as parts of the beat, show no ejection either.
_LONGEST_STEP = 0.6
# No slice has steps so many times as long as those of another slice in the same unit.
_OTHER_UNIT = 20.0
# Phases that cover less of the stated beat than this: no usual gating leaves out so much.
_DOUBTFUL_PART = 0.6
_UNITS = (("ms", 1.0, 100.0), ("seconds", 1000.0, 12.0), ("microseconds", 0.001, 12.0))


def usual_count(counts: Iterable[int]) -> int:
    """The number of phases of the slices that most frames belong to; in a tie, that of more slices.

    Frames are counted, not slices: of slices with 20, 2 and 2 phases, the last two are incomplete.
    """
    numbers = Counter(counts)
    return max(numbers, key=lambda count: (numbers[count] * count, numbers[count]))


def expected_phases(slices: Sequence[Sequence[Header]]) -> tuple[int, ...]:
    """How many phases each slice should have: its CardiacNumberOfImages if it has as many, else the usual count."""
    usual = usual_count(len(part) for part in slices)
    fewest = min(len(part) for part in slices)
    stated = [stated_phases(part) for part in slices]
    common = stated[0] if len(set(stated)) == 1 and 1 < (stated[0] or 0) <= fewest else None
    return tuple(
        common or (own if own is not None and 1 < own <= len(part) else usual)
        for own, part in zip(stated, slices, strict=True)
    )


def stated_phases(part: Sequence[Header]) -> int | None:
    """CardiacNumberOfImages of a slice, if its frames agree on it."""
    stated = {header.cardiac_number_of_images for header in part}
    return int(next(iter(stated)) or 0) or None if len(stated) == 1 else None


def _moment(header: Header) -> tuple[str, str, float, float]:
    times = header.acquisition_time or "", header.content_time or ""
    return *times, header.series_number or 0, header.instance_number or 0


# What may distinguish two acquisitions of a slice, the most reliable first.
_ACQUISITIONS: tuple[Callable[[Header], object], ...] = (
    lambda header: header.series_uid,
    lambda header: None if header.frame_number is None else header.sop_instance_uid,
    lambda header: header.acquisition_number,
    lambda header: header.acquisition_time,
)


def without_doubles(frames: tuple[Header, ...], index: int, expected: int) -> tuple[tuple[Header, ...], list[Finding]]:
    """The frames without duplicates: of a slice acquired or stored twice, the later complete set."""
    if len(frames) <= expected:
        kept = _one_a_trigger(frames)
    else:
        kept = _later_acquisition(frames, expected) or _one_a_trigger(frames)
    if len(kept) == len(frames):
        return frames, []
    sentence = "{doubled} of {frames} frames exist twice: those of the latest complete acquisition are used"
    numbers = {"doubled": len(frames) - len(kept), "frames": len(frames)}
    return kept, [Finding(Code.DUPLICATE_FRAME, Severity.WARNING, sentence, slice=index, numbers=numbers)]


def _later_acquisition(frames: tuple[Header, ...], expected: int) -> tuple[Header, ...] | None:
    for acquisition in _ACQUISITIONS:
        groups: dict[object, list[Header]] = {}
        for frame in frames:
            groups.setdefault(acquisition(frame), []).append(frame)
        fullest = max(len(group) for group in groups.values())
        # Acquisition times may differ from frame to frame: such a group is not one acquisition of a slice.
        if len(groups) < 2 or fullest < _COMPLETE * expected:
            continue
        # The later acquisition was made because the earlier one failed; but it may have been stopped itself.
        complete = [group for group in groups.values() if len(group) >= _COMPLETE * fullest]
        return tuple(max(complete, key=lambda group: max(_moment(frame) for frame in group)))
    return None


def _one_a_trigger(frames: tuple[Header, ...]) -> tuple[Header, ...]:
    latest: dict[int, Header] = {}
    longest = max((abs(frame.trigger_time_ms or 0.0) for frame in frames), default=0.0)
    for frame in sorted(frames, key=_moment):
        if frame.trigger_time_ms is None:
            return frames
        # Relative to the longest time, because times may be stored in seconds.
        latest[round(frame.trigger_time_ms / (_SAME_TRIGGER_PART * longest or 1.0))] = frame
    # If most frames share their trigger time, it says nothing, and the frames are not duplicates.
    return tuple(latest.values()) if len(latest) >= max(2, len(frames) / 2) else frames


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
    """The frames of each slice in order of time; whether the order is by trigger time; findings.

    Raises:
        GeometryError: nothing distinguishes the phases.
    """
    for name, clue in _CLUES:
        values = [[clue(frame) for frame in part] for part in slices]
        # A clue that repeats within any slice would leave the order of its phases to chance: try the next clue.
        if any(None in part or len(set(part)) != len(part) for part in values):
            continue
        ordered = [sorted(part, key=lambda frame: clue(frame) or 0.0) for part in slices]
        if name == _TRIGGER:
            return ordered, True, []
        sentence = "no usable TriggerTime: phases are ordered by {clue}, and the times in the beat are not known"
        return ordered, False, [Finding(Code.MISSING_TRIGGER_TIMES, Severity.WARNING, sentence, texts={"clue": name})]
    names = ", ".join(name for name, _ in _CLUES)
    raise GeometryError(f"nothing distinguishes the phases of a slice: {names} are absent or repeat within a slice")


def trigger_times(slices: Sequence[Sequence[Header]]) -> list[Floats]:
    """(phase,) for each slice, as stored; all frames must have a trigger time."""
    return [np.array([frame.trigger_time_ms for frame in part], dtype=np.float64) for part in slices]


def in_milliseconds(
    slices: Sequence[Sequence[Header]], times: Sequence[Floats]
) -> tuple[list[Floats] | None, list[Finding]]:
    """Trigger times in ms, whatever unit they are stored in; None if no unit makes them times in a beat.

    They are compared with the stated RR interval or, without one, with the possible lengths of a beat.
    """
    if min(len(part) for part in times) < 3:
        return list(times), []
    # The first plausible interval of each slice: NominalInterval is exact, HeartRate is rounded to whole beats.
    plausible = (next(filter(_is_interval, _stated_intervals(part)), None) for part in slices)
    stated = [interval for interval in plausible if interval is not None]
    beat = float(np.median(stated)) if stated else None
    # n phases have n - 1 steps between them; the last phase lasts a step too.
    span = float(np.median([float(np.ptp(part)) * len(part) / (len(part) - 1) for part in times]))
    least = _LEAST_SPAN_MS if beat is None else _LEAST_OF_BEAT * beat
    steps = [float(np.median(np.diff(np.sort(part)))) for part in times]
    if min(steps) * _OTHER_UNIT < max(steps):
        sentence = (
            "TriggerTime has steps of {shortest:.4g} in one slice and {longest:.4g} in another, which cannot be one "
            "unit: times in the beat are not known"
        )
        numbers = {"shortest": min(steps), "longest": max(steps)}
        return None, [Finding(Code.TIME_UNITS, Severity.WARNING, sentence, numbers=numbers)]
    step = float(np.median(np.concatenate([np.diff(np.sort(part)) for part in times])))
    usual = _USUAL_BEAT_MS if beat is None else beat
    fits = (
        (name, factor)
        for name, factor, beats in _UNITS
        if least <= span * factor <= beats * usual and step * factor <= _LONGEST_STEP * usual
    )
    unit, factor = next(fits, (None, 0.0))
    numbers = {"span": span} | ({} if beat is None else {"rr_interval_ms": beat})
    compared = "any heart beat" if beat is None else "the stated RR interval of {rr_interval_ms:.0f} ms"
    if unit is None:
        sentence = f"TriggerTime spans {{span:.4g}}, which fits {compared} in no unit: times in the beat are not known"
        return None, [Finding(Code.TIME_UNITS, Severity.WARNING, sentence, numbers=numbers)]
    if factor == 1.0:
        return list(times), []
    sentence = f"TriggerTime spans {{span:.4g}}, and {compared} takes ms: it is taken to be in {unit}"
    return [part * factor for part in times], [Finding(Code.TIME_UNITS, Severity.WARNING, sentence, numbers=numbers)]


def rr_intervals_ms(slices: Sequence[Sequence[Header]], times_ms: Sequence[Floats] | None) -> Floats | None:
    """For each slice the first plausible of NominalInterval, 60000 / HeartRate, and trigger step x phases."""
    intervals: list[float] = []
    for index, part in enumerate(slices):
        times = None if times_ms is None else times_ms[index]
        span = 0.0 if times is None else float(np.ptp(times))
        covered = span if times is None or len(times) < 2 else span + float(np.median(np.diff(times)))
        candidates = _stated_intervals(part)
        if times is not None and len(times) > 2:
            candidates.append(float(np.median(np.diff(times))) * len(times))
        possible = [value for value in candidates if _is_interval(value) and _may_be_beat(value, span, covered)]
        # All or nothing: a Cine has an interval for each slice, or none at all.
        if not possible:
            return None
        intervals.append(possible[0])
    return np.array(intervals)


def _is_interval(value_ms: float) -> bool:
    """Whether a heart beat can have this length."""
    return 200 <= value_ms <= 3000


def _may_be_beat(interval_ms: float, span_ms: float, covered_ms: float) -> bool:
    """Whether times may show one beat of this length or, in real time, several.

    Args:
        interval_ms: the length of the beat.
        span_ms: from the first time to the last.
        covered_ms: the span and one more step.
    """
    return interval_ms >= 0.9 * span_ms or covered_ms >= _SEVERAL_BEATS * interval_ms


def _stated_intervals(part: Sequence[Header]) -> list[float]:
    nominal = [frame.nominal_interval_ms for frame in part if frame.nominal_interval_ms]
    rates = [frame.heart_rate_bpm for frame in part if frame.heart_rate_bpm and frame.heart_rate_bpm > 0]
    candidates = [float(np.median(nominal))] if nominal else []
    return candidates + ([60_000 / float(np.median(rates))] if rates else [])


def gating_of(
    slices: Sequence[Sequence[Header]], times_ms: Sequence[Floats] | None, intervals_ms: Floats | None
) -> Gating | None:
    """CardiacSynchronizationTechnique; else derived from the part of the beat that trigger times cover; else None."""
    techniques = {frame.gating for part in slices for frame in part}
    if techniques <= set(_GATING):
        kinds = {_GATING[technique] for technique in techniques if technique is not None}
        return kinds.pop() if len(kinds) == 1 else None
    if times_ms is None or intervals_ms is None or not all(_stated_intervals(part) for part in slices):
        return None
    covered = [
        (float(np.ptp(times)) + float(np.median(np.diff(times)))) / interval
        for times, interval in zip(times_ms, intervals_ms, strict=True)
        if len(times) > 2
    ]
    if not covered or float(np.median(covered)) >= _SEVERAL_BEATS:
        # Real-time images are not gated.
        return None
    return Gating.RETROSPECTIVE if float(np.median(covered)) >= _WHOLE_BEAT else Gating.PROSPECTIVE


_GATING: dict[str | None, Gating] = {"RETROSPECTIVE": Gating.RETROSPECTIVE, "PROSPECTIVE": Gating.PROSPECTIVE}


def timing_oddities(
    slices: Sequence[Sequence[Header]], times_ms: Sequence[Floats] | None, intervals_ms: Floats | None
) -> list[Finding]:
    """Findings: phases missing in all slices, different beats, slices that start at different points of the beat."""
    findings = []
    counts = {len(part) for part in slices}
    stated = {stated_phases(part) for part in slices}
    count = next(iter(stated)) or 0 if len(stated) == 1 else 0
    if count > max(counts):
        sentence = "no slice has more than {phases} phases, although CardiacNumberOfImages says {stated}"
        numbers = {"phases": max(counts), "stated": count}
        findings.append(Finding(Code.INCOMPLETE_SLICE, Severity.WARNING, sentence, numbers=numbers))
    if intervals_ms is not None and float(intervals_ms.max()) > 1.15 * float(intervals_ms.min()):
        sentence = (
            "the heart beat differs between slices, {shortest_ms:.0f} to {longest_ms:.0f} ms: "
            "so phases of one volume lie at different times"
        )
        beats = {"shortest_ms": float(intervals_ms.min()), "longest_ms": float(intervals_ms.max())}
        findings.append(Finding(Code.RR_INTERVALS_DIFFER, Severity.NOTE, sentence, numbers=beats))
    findings += _coverage(times_ms, intervals_ms)
    # If slices have different numbers of phases, the pairing handles gaps and the start of each slice.
    if times_ms is not None and len(counts) == 1 and len(times_ms[0]) > 2:
        findings += _trigger_oddities(np.stack(times_ms, axis=1))
    return findings


def _coverage(times_ms: Sequence[Floats] | None, intervals_ms: Floats | None) -> list[Finding]:
    """A finding if the phases cover so little of the beat that its length, or the unit of the times, may be wrong."""
    if times_ms is None or intervals_ms is None or min(len(times) for times in times_ms) < 3:
        return []
    spans = [float(np.ptp(times)) * len(times) / (len(times) - 1) for times in times_ms]
    covered = float(np.median(np.array(spans) / intervals_ms))
    if covered >= _DOUBTFUL_PART:
        return []
    sentence = (
        "the phases cover {covered_percent:.0f} % of the stated RR interval of {rr_interval_ms:.0f} ms: if the "
        "interval is wrong, so are heart rate and output; if the trigger times are, so are the rates"
    )
    numbers = {"covered_percent": 100 * covered, "rr_interval_ms": float(np.median(intervals_ms))}
    return [Finding(Code.DOUBTFUL_RR, Severity.WARNING, sentence, numbers=numbers)]


def _trigger_oddities(triggers: Floats) -> list[Finding]:
    findings = []
    steps = np.median(np.diff(triggers, axis=0), axis=0)
    for index in np.flatnonzero(np.diff(triggers, axis=0).max(axis=0) > 1.6 * steps):
        sentence = "the trigger times skip a step: a phase seems to be missing"
        findings.append(Finding(Code.INCOMPLETE_SLICE, Severity.WARNING, sentence, slice=int(index)))
    # Pairing by index needs the slices to start at the same point of the beat, within half a phase.
    starts = triggers[0] / steps
    if float(np.ptp(starts)) > 0.5:
        sentence = (
            "slices start at different points of the beat ({earliest_ms:.0f} to {latest_ms:.0f} ms "
            "after the R wave): their phases are paired by index anyway"
        )
        numbers = {"earliest_ms": float(triggers[0].min()), "latest_ms": float(triggers[0].max())}
        findings.append(Finding(Code.PHASE_ORDER, Severity.WARNING, sentence, numbers=numbers))
    return findings
