"""Choosing the short-axis cine of an exam.

open_exam(path) -> Exam             headers only
pick_short_axis(exam) -> Pick the series to read, and the reasons
read_cine(pick) -> Cine             the pixels of what was picked
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cinesax.core.cine import Cine
from cinesax.core.errors import GeometryError, InputError, NoShortAxisError, UsageError
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.orientation import USUAL_OFF_AXIS_DEGREES, base_first, body_plane, off_axis, off_axis_degrees
from cinesax.core.selection import BY_ITSELF, Selection
from cinesax.dicom.pixels.pixels import read_pixels
from cinesax.dicom.read.component import left_out, magnitude_only
from cinesax.dicom.read.exam import Exam, chosen_part, refuse_several_studies
from cinesax.dicom.read.series import (
    MAX_UNASKED_OFF_AXIS_DEGREES,
    Series,
    SeriesKind,
    cine_stacks,
    frames_of_reference,
    lossy_compression,
    off_axis_stacks,
    shared_uids,
)
from cinesax.dicom.read.source import patient_of, source_of
from cinesax.dicom.read.stack import Stack, geometry_problem, order, split_into_stacks

# Two stacks of one series that differ by a smaller angle are one stack; otherwise the smaller is another view.
_OTHER_VIEW_DEGREES = 30.0
# In slice distances: the next slice lies one distance further; an unrelated stack may lie anywhere.
_NEXT_SLICE = 0.75, 1.5


@dataclass(frozen=True, eq=False)
class Pick:
    """The short-axis cine of an exam.

    Attributes:
        exam: the exam that it was picked from.
        series: the chosen series; several if the scanner stores each slice as a series.
        stack: their frames.
        reason: why these were chosen, as text.
        rejections: (series, reason) for every other series.
        findings: what the reader should know about the choice.
    """

    exam: Exam
    series: tuple[Series, ...]
    stack: Stack
    reason: str
    rejections: tuple[tuple[Series, str], ...]
    findings: tuple[Finding, ...]


def pick_short_axis(exam: Exam, selection: Selection = BY_ITSELF) -> Pick:
    """Choose the short-axis cine.

    Candidates are stacks of at least three parallel slices with several phases. Preferred are stacks whose normal lies
    within 35 degrees of the usual long axis, and whose series has no phase images; then the stack with more slices,
    then with more phases, then the later series. A stack more than 50 degrees off is only read if its UID is given.

    Args:
        exam: the exam.
        selection: which series, study or patient to read.

    Raises:
        UsageError: no series, study or patient has the given name.
        NoShortAxisError: no series qualifies, or the folder holds several studies; the message lists them.
        GeometryError: the geometry of the cine is unusable or contradicts itself.
        InputError: the cine has no pixels.
    """
    exam = chosen_part(exam, selection)
    if selection.series_uid is not None:
        return _picked_by_hand(exam, selection.series_uid, selection.ignore_frame_of_reference)
    refuse_several_studies(exam)
    candidates = cine_stacks(exam.series)
    if not candidates:
        raise _nothing_to_pick(exam)
    candidates.sort(key=_preference)
    series, stack = candidates[0]
    findings = []
    if len(candidates) > 1:
        names = "; ".join(_names(others) for others, _ in candidates[1:])
        sentence = "series {picked} was picked, but there are other short-axis cines: series {others}"
        texts = {"picked": _names(series), "others": names}
        numbers = {"candidates": len(candidates)}
        findings.append(Finding(Code.OTHER_CANDIDATES, Severity.WARNING, sentence, numbers=numbers, texts=texts))
    findings += _lost_slices(exam, series, stack)
    findings += frames_of_reference(stack.headers, ignore=selection.ignore_frame_of_reference)
    return _pick(exam, series, stack, (_reason(series, stack, rivals=len(candidates) - 1), findings))


def _lost_slices(exam: Exam, series: Sequence[Series], stack: Stack) -> list[Finding]:
    """Series of the same name that seem to be slices of the stack but cannot be read as such.

    If each slice is a series: series without position or pixels; for any stack: series next to one of its slices.
    """
    names = {entry.description for entry in series}
    unplaced = (SeriesKind.NO_GEOMETRY, SeriesKind.NO_PIXELS) if len(series) > 1 else ()
    lost = [
        entry
        for entry in exam.series
        if entry not in series
        and entry.description in names
        and (entry.kind in unplaced or (entry.kind is not SeriesKind.SHORT_AXIS and _is_next_to(entry, stack)))
    ]
    if not lost:
        return []
    sentence = "series {series} cannot be read ({reason}): a slice of the stack may be missing"
    texts = {"series": _names(lost), "reason": lost[0].explanation}
    return [Finding(Code.UNREADABLE_FILE, Severity.WARNING, sentence, numbers={"lost": len(lost)}, texts=texts)]


def _is_next_to(series: Series, stack: Stack) -> bool:
    """Whether a series is a slice like those of a stack, at the position of the next one."""
    if series.stack is None or stack.distance_mm is None:
        return False
    joined = split_into_stacks((*stack.headers, *series.stack.headers))
    if len(joined) > 1:
        return False
    ours, theirs = np.split(joined[0].origins_mm, [len(stack.headers)])
    nearest = float(np.linalg.norm(ours[:, None] - theirs, axis=2).min())
    return _NEXT_SLICE[0] < nearest / stack.distance_mm < _NEXT_SLICE[1]


def _preference(candidate: tuple[tuple[Series, ...], Stack]) -> tuple[float, ...]:
    series, stack = candidate
    # A coronal or sagittal cine lies 50 degrees off: it must not win over a true short axis by more slices.
    unusual = off_axis_degrees(stack.normal) > USUAL_OFF_AXIS_DEGREES
    latest = max((entry.number or 0) for entry in series)
    # The magnitude images of a flow measurement must not win over a cine.
    with_phase = any(left_out(entry.headers) for entry in series)
    return unusual, with_phase, -stack.n_slices, -stack.n_phases, -latest


def _reason(series: Sequence[Series], stack: Stack, *, rivals: int) -> str:
    parts = f"{len(series)} series of few slices each that make one stack: " if len(series) > 1 else ""
    if series[0].kind is SeriesKind.SHORT_AXIS and len(series) > 1:
        parts = f"a stack and slices of it that were acquired again (series {_names(series[1:])}): "
    off = off_axis_degrees(stack.normal)
    best = f"; the most slices, then phases, of {rivals + 1} candidates" if rivals else ""
    return (
        f"{parts}{stack.n_slices} parallel slices {stack.distance_mm:.1f} mm apart of {stack.n_phases} phases, "
        f"across an axis {off:.0f} degrees off the usual long axis of the heart{best}{_without_parts(series)}"
    )


def _without_parts(series: Iterable[Series]) -> str:
    others = left_out(header for entry in series for header in entry.headers)
    return f"; only its magnitude images, without {others} images" if others else ""


def _names(series: Iterable[Series]) -> str:
    return ", ".join(entry.name for entry in series)


def _nothing_to_pick(exam: Exam) -> InputError:
    listed = "; ".join(f"series {entry.name}: {entry.kind} ({entry.explanation})" for entry in exam.series[:20])
    more = f"; and {len(exam.series) - 20} more" if len(exam.series) > 20 else ""
    listed = _far_off_axis(exam) + listed
    message = f"no short-axis cine in {exam.path}, found {listed}{more}"
    kinds = {entry.kind for entry in exam.series}
    if SeriesKind.NO_GEOMETRY in kinds:
        return GeometryError(message)
    return InputError(message) if kinds == {SeriesKind.NO_PIXELS} else NoShortAxisError(message)


def _far_off_axis(exam: Exam) -> str:
    """Advice for stacks that would be the cine if they were not so far off the short axis."""
    stacks = off_axis_stacks(exam.series)
    if not stacks:
        return ""
    series, nearest = min(stacks, key=lambda pair: off_axis_degrees(pair[1].normal))
    several = f", {len(series)} series together," if len(series) > 1 else ""
    return (
        f"{_plane(nearest)} stack of {nearest.n_slices} slices{several} across an axis "
        f"{off_axis_degrees(nearest.normal):.1f} degrees off the usual long axis of the heart (a short axis lies "
        f"within {MAX_UNASKED_OFF_AXIS_DEGREES:.0f} degrees of it; if series {series[0].name} is a short axis anyway, "
        f"read it with --series {series[0].uid}); "
    )


def _plane(stack: Stack) -> str:
    plane = body_plane(stack.normal)
    return "a" if plane is None else f"an {plane}" if plane == "axial" else f"a {plane}"


def _picked_by_hand(exam: Exam, series_uid: str, ignore_frame_of_reference: bool) -> Pick:
    chosen = [entry for entry in exam.series if entry.uid == series_uid]
    if not chosen:
        known = ", ".join(dict.fromkeys(entry.uid for entry in exam.series))
        raise UsageError(f"no series {series_uid} in {exam.path}; there are {known}")
    # Several series may share the UID: a series is one SeriesInstanceUID and SeriesNumber.
    chosen.sort(key=lambda entry: (entry.kind is not SeriesKind.SHORT_AXIS, -entry.n_instances))
    series = chosen[0]
    if series.kind in (SeriesKind.NO_PIXELS, SeriesKind.MULTI_FRAME, SeriesKind.NOT_MR_IMAGE):
        raise InputError(f"series {series.name} cannot be read: {series.explanation}")
    if series.stack is None:
        raise GeometryError(f"series {series.name} has {series.kind}: {series.explanation}")
    if series.stack.n_phases < 2:
        raise NoShortAxisError(f"series {series.name} is not a cine: {series.explanation}")
    together, stack = _with_its_slices(exam, series)
    findings = frames_of_reference(stack.headers, ignore=ignore_frame_of_reference)
    joined = f", with the {len(together) - 1} other series of its stack" if len(together) > 1 else ""
    why = f"chosen by its UID{joined}; judged by itself: {series.kind}{_without_parts(together)}"
    return _pick(exam, together, stack, (why, findings))


def _with_its_slices(exam: Exam, series: Series) -> tuple[tuple[Series, ...], Stack]:
    """A series far off the axis, with the series that hold the other slices of its stack; any other series alone.

    A stack far off the axis is only read if the user names it, and naming one of its series is the only way to do so. A
    stack of the usual orientation is read unasked: a user who names one of its series means that slice alone.
    """
    if series.stack is None:
        raise GeometryError(f"series {series.name} has {series.kind}: {series.explanation}")
    joined = (pair for pair in off_axis_stacks(exam.series) if series in pair[0] and len(pair[0]) > 1)
    return next(joined, ((series,), series.stack))


def _pick(exam: Exam, series: tuple[Series, ...], stack: Stack, why: tuple[str, list[Finding]]) -> Pick:
    reason, findings = why
    _refuse_several_patients(series, stack)
    findings += [*lossy_compression(stack.headers), *shared_uids(stack.headers)]
    findings += [*off_axis(stack.normal), *_not_magnitude(series)]
    for entry in series:
        findings += _left_out(entry, stack)
    rejections = tuple((entry, _rejection(entry, stack)) for entry in exam.series if entry not in series)
    return Pick(exam, series, stack, reason, rejections, tuple(findings))


def _not_magnitude(series: Sequence[Series]) -> list[Finding]:
    if not any(entry.kind in (SeriesKind.PHASE_CONTRAST, SeriesKind.NOT_MAGNITUDE) for entry in series):
        return []
    sentence = "series {series} was chosen although it is not a plain cine ({why})"
    texts = {"series": _names(series), "why": series[0].explanation}
    return [Finding(Code.NOT_MAGNITUDE, Severity.WARNING, sentence, texts=texts)]


def _refuse_several_patients(series: Sequence[Series], stack: Stack) -> None:
    """Raise if a stack mixes patients: some anonymisers give all patients the same UIDs."""
    patients = len({header.patient_id for header in stack.headers})
    if patients > 1:
        raise InputError(
            f"series {_names(series)} holds images of {patients} patients by PatientID: name one with --patient ID "
            "(cinesax inspect --show-patient lists them), or take them apart"
        )


def _rejection(series: Series, picked: Stack) -> str:
    if series.kind is SeriesKind.SHORT_AXIS:
        return f"{series.explanation}: the picked one has {picked.n_slices} slices of {picked.n_phases} phases"
    return series.explanation


def _left_out(series: Series, stack: Stack) -> list[Finding]:
    """Frames of a picked series outside the picked stack: another view (a finding), or a part of it (an error).

    Phase, real and imaginary images are ignored here.
    """
    chosen = {id(header) for header in stack.headers}
    others = [header for header in magnitude_only(series.headers) if id(header) not in chosen]
    problems = [problem for problem in map(geometry_problem, others) if problem]
    if problems:
        raise GeometryError(
            f"{len(problems)} of {series.n_instances} files of series {series.name} have {problems[0]}: "
            "the stack would not be complete"
        )
    for other in split_into_stacks(others):
        # A slice of the stack that is slightly off would be missing from the volume without a word; a long-axis view
        # in the same series is not part of it.
        turned = float(np.degrees(np.arccos(np.clip(abs(other.normal @ stack.normal), 0, 1))))
        if turned < _OTHER_VIEW_DEGREES:
            raise GeometryError(
                f"series {series.name} mixes slices that do not form one stack: {other.n_slices} of matrix "
                f"{other.matrix}, spacing {other.spacing_mm} mm, turned by {turned:.1f} degrees against the "
                f"{stack.n_slices} of matrix {stack.matrix}, spacing {stack.spacing_mm} mm"
            )
    if not others:
        return []
    sentence = "series {series} also holds {frames} frames in other orientations, which were left out"
    texts = {"series": series.name}
    return [Finding(Code.OTHER_CANDIDATES, Severity.NOTE, sentence, numbers={"frames": len(others)}, texts=texts)]


def read_cine(source: Exam | Pick) -> Cine:
    """Read the pixels of the short-axis cine, and sort slices and phases.

    Raises:
        InputError: see `pick_short_axis` and `cinesax.dicom.pixels.pixels.read_pixels`.
        GeometryError: see `cinesax.dicom.read.stack.order`.
    """
    pick = pick_short_axis(source) if isinstance(source, Exam) else source
    ordered = order(pick.stack)
    findings = [*pick.exam.findings, *pick.findings, *ordered.findings]
    return Cine(
        read_pixels(ordered.frames, ordered.paddings),
        ordered.grid,
        ordered.trigger_times_ms,
        ordered.rr_intervals_ms,
        ordered.gating,
        source=replace(
            source_of(ordered),
            picked_because=pick.reason,
            not_picked=tuple((entry.name, why) for entry, why in pick.rejections),
        ),
        patient=patient_of(ordered.frames[0][0]),
        base_first=base_first(ordered.grid),
        findings=tuple(findings),
    )
