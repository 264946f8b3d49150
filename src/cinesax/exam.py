"""What is in a folder of DICOM files, and which of it is the short-axis cine.

open_exam(path) -> Exam             headers only
pick_short_axis(exam) -> Pick       the series to read, why, and why not the others
read_cine(pick) -> Cine             the pixels of what was picked
open_cine(path) -> Cine             all of it; also of a NIfTI file
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cinesax.cine import Cine, StoredFile
from cinesax.errors import GeometryError, InputError, NoShortAxisError, UsageError
from cinesax.findings import Code, Finding, Severity
from cinesax.formats import nifti
from cinesax.formats.dicom_directory import missing_files, referenced_names
from cinesax.formats.dicom_frames import read_headers
from cinesax.formats.dicom_header import DICOMDIR, Header, NotDicomError
from cinesax.formats.dicom_image import read_pixels
from cinesax.formats.dicom_series import (
    Kind,
    Series,
    base_first,
    cine_stacks,
    frames_of_reference,
    group,
    lossy_compression,
    oddities,
    off_axis_degrees,
)
from cinesax.formats.dicom_source import patient_of, source_of
from cinesax.formats.dicom_stack import Stack, geometry_problem, order, split_into_stacks
from cinesax.formats.stored_files import Opener, list_files, opener

# Two stacks of one series that are turned by less than this are meant as one; by more, the smaller is another view.
_OTHER_VIEW_DEGREES = 30.0
_USUAL_OFF_AXIS_DEGREES = 35.0


@dataclass(frozen=True, eq=False)
class Exam:
    """What a folder, file or zip holds, by headers alone.

    Attributes:
        path: what was opened.
        series: every series of DICOM instances.
        ignored: (file, reason) for every file that is not an instance, or a copy of one.
        findings: what a person should know of the files as they are stored.
    """

    path: Path
    series: tuple[Series, ...]
    ignored: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, eq=False)
class Pick:
    """The short-axis cine of an exam.

    Attributes:
        exam: where it was picked from.
        series: the one series chosen, or several where the scanner stores one series a slice.
        stack: their frames.
        reason: why these, for a person.
        rejections: (series, reason) for every other series.
        findings: what a person should know of the choice.
    """

    exam: Exam
    series: tuple[Series, ...]
    stack: Stack
    reason: str
    rejections: tuple[tuple[Series, str], ...]
    findings: tuple[Finding, ...]


def open_exam(path: str | Path) -> Exam:
    """Read the headers of all DICOM instances in a folder (any depth, any names), one file, or a zip.

    Of a DICOMDIR the files that it names are read.

    Raises:
        InputError: nothing there, not allowed, no DICOM among the files, a zip that is not safe.
    """
    root = Path(path)
    found = _Found()
    files = list_files(root)
    with opener() as open_file:
        for file in files:
            found.read(file, open_file, root)
        if len(files) == 1 and found.directories:
            # A DICOMDIR was given, not the folder that it lies in.
            files = missing_files(files, found.directories).there
            for file in files:
                found.read(file, open_file, root.parent)
    instances, copies = _without_copies(found.headers, root)
    ignored = sorted({*found.ignored, *copies})
    if not instances:
        raise InputError(_nothing_found(root, ignored))
    absent = missing_files(files, found.directories).absent
    findings = (*_unreadable(ignored), *_incomplete(absent), *oddities(instances))
    return Exam(root, group(instances), tuple(ignored), findings)


class _Found:
    """What the files turn out to be, one after the other."""

    def __init__(self) -> None:
        self.headers: list[Header] = []
        self.ignored: list[tuple[str, str]] = []
        self.directories: dict[StoredFile, tuple[str, ...]] = {}

    def read(self, file: StoredFile, open_file: Opener, root: Path) -> None:
        """Read the headers of a file, or note why not."""
        try:
            with open_file(file) as stream:
                headers = read_headers(file, stream)
                if headers[0].sop_class_uid == DICOMDIR:
                    stream.seek(0)
                    self.directories[file] = referenced_names(stream)
                    self.ignored.append((_shown(file, root), "a DICOMDIR, not an image"))
                else:
                    self.headers += headers
        except NotDicomError as error:
            self.ignored.append((_shown(file, root), str(error)))
        except OSError as error:
            self.ignored.append((_shown(file, root), f"cannot be read: {error.strerror or error}"))


def _incomplete(absent: Sequence[str]) -> list[Finding]:
    if not absent:
        return []
    message = f"{len(absent)} file(s) that the DICOMDIR names are not there, the first is {absent[0]}"
    return [Finding(Code.UNREADABLE_FILE, Severity.WARNING, message)]


def _shown(file: StoredFile, root: Path) -> str:
    if file.member is not None:
        return file.member
    return str(file.path.relative_to(root)) if file.path.is_relative_to(root) and file.path != root else file.path.name


def _nothing_found(root: Path, ignored: Sequence[tuple[str, str]]) -> str:
    if not ignored:
        return f"{root} is empty: give a folder of DICOM files, one file, or a zip"
    endings = Counter(Path(name).suffix.lower() or "no suffix" for name, _ in ignored)
    seen = ", ".join(f"{count} {ending}" for ending, count in endings.most_common(4))
    damaged = next((f"; {name}: {reason}" for name, reason in ignored if reason != "not DICOM"), "")
    return f"{root} holds no DICOM image among its {len(ignored)} file(s) ({seen}){damaged}"


def _unreadable(ignored: Iterable[tuple[str, str]]) -> list[Finding]:
    damaged = [(name, reason) for name, reason in ignored if reason.startswith(("damaged", "cannot"))]
    if not damaged:
        return []
    name, reason = damaged[0]
    message = f"{len(damaged)} file(s) could not be read and were left out, the first is {name}: {reason}"
    return [Finding(Code.UNREADABLE_FILE, Severity.WARNING, message)]


def _without_copies(headers: Iterable[Header], root: Path) -> tuple[list[Header], list[tuple[str, str]]]:
    """Without second copies of the same frame, and why not the rest."""
    kept: dict[tuple[object, ...], Header] = {}
    ignored = []
    for header in headers:
        if header.sop_instance_uid is None and header.series_uid is None and header.rows is None:
            ignored.append((_shown(header.file, root), "damaged DICOM (no instance in it)"))
            continue
        place = (header.series_number, header.instance_number, header.position_mm, header.trigger_time_ms)
        key = (header.sop_instance_uid or header.file, header.series_uid, header.frame_number, place)
        other = kept.get(key)
        if other is None:
            kept[key] = header
            continue
        better, worse = (header, other) if header.pixel_bytes > other.pixel_bytes else (other, header)
        kept[key] = better
        ignored.append((_shown(worse.file, root), f"a copy of {_shown(better.file, root)}"))
    return list(kept.values()), ignored


def pick_short_axis(
    exam: Exam,
    *,
    series_uid: str | None = None,
    study_uid: str | None = None,
    patient_id: str | None = None,
    ignore_frame_of_reference: bool = False,
) -> Pick:
    """Choose the short-axis cine.

    Among stacks of at least three parallel slices of several phases, lying across the usual long axis of the
    heart, those within 35 degrees of it come first; then the one with more slices wins, then with more phases,
    then the later series.

    Args:
        exam: what was found.
        series_uid: take this series, whatever it is judged to be.
        study_uid: look only at this study, where there are several.
        patient_id: look only at images with this PatientID, where there are several.
        ignore_frame_of_reference: make one stack of slices that lie in a few different frames of reference,
            although the patient may have moved between them.

    Raises:
        UsageError: no series, study or patient is called so.
        NoShortAxisError: nothing can be picked, or several studies lie in one folder; lists what was found.
        GeometryError: what would be the cine has no usable geometry, or one that contradicts itself.
        InputError: what would be the cine has no pixels.
    """
    exam = chosen_part(exam, study_uid=study_uid, patient_id=patient_id)
    if series_uid is not None:
        return _picked_by_hand(exam, series_uid, ignore_frame_of_reference)
    refuse_several_studies(exam)
    candidates = cine_stacks(exam.series)
    if not candidates:
        raise _nothing_to_pick(exam)
    candidates.sort(key=_preference)
    series, stack = candidates[0]
    findings = []
    if len(candidates) > 1:
        names = "; ".join(_names(others) for others, _ in candidates[1:])
        message = f"series {_names(series)} was picked, but there are other short-axis cines: series {names}"
        findings.append(Finding(Code.OTHER_CANDIDATES, Severity.WARNING, message))
    findings += frames_of_reference(stack.headers, ignore=ignore_frame_of_reference)
    return _pick(exam, series, stack, (_reason(series, stack, rivals=len(candidates) - 1), findings))


def _preference(candidate: tuple[tuple[Series, ...], Stack]) -> tuple[float, ...]:
    series, stack = candidate
    # A coronal or sagittal cine lies 50 degrees off: it must not win over a true short axis by more slices.
    unusual = off_axis_degrees(stack.normal) > _USUAL_OFF_AXIS_DEGREES
    latest = max((one.number or 0) for one in series)
    return unusual, -stack.n_slices, -stack.n_phases, -latest


def _reason(series: Sequence[Series], stack: Stack, *, rivals: int) -> str:
    parts = f"{len(series)} series of few slices each that make one stack: " if len(series) > 1 else ""
    off = off_axis_degrees(stack.normal)
    best = f"; the most slices, then phases, of {rivals + 1} candidates" if rivals else ""
    return (
        f"{parts}{stack.n_slices} parallel slices {stack.distance_mm:.1f} mm apart of {stack.n_phases} phases, "
        f"across an axis {off:.0f} degrees off the usual long axis of the heart{best}"
    )


def _names(series: Iterable[Series]) -> str:
    return ", ".join(one.name for one in series)


def chosen_part(exam: Exam, *, study_uid: str | None = None, patient_id: str | None = None) -> Exam:
    """Of an exam the images of one study, of one patient, or of both.

    Raises:
        UsageError: there are none; lists the studies.
    """
    if study_uid is None and patient_id is None:
        return exam
    headers = [
        header
        for one in exam.series
        for header in one.headers
        if (study_uid is None or header.study_uid == study_uid)
        and (patient_id is None or header.patient_id == patient_id)
    ]
    if not headers:
        wanted = [f"study {study_uid}"] * (study_uid is not None) + ["this PatientID"] * (patient_id is not None)
        raise UsageError(f"no image of {' and '.join(wanted)} in {exam.path}; there are {_studies(exam)}")
    return replace(exam, series=group(headers))


def _by_study(exam: Exam) -> dict[tuple[str, str | None], int]:
    """(StudyInstanceUID, PatientID) -> number of series."""
    return Counter((one.study_uid, patient) for one in exam.series for patient in {h.patient_id for h in one.headers})


def _studies(exam: Exam) -> str:
    """The studies of an exam for a message, in which no patient is named."""
    studies = _by_study(exam)
    patients = list(dict.fromkeys(patient for _, patient in studies))
    listed = [
        f"study {uid or 'without UID'} (patient {patients.index(patient) + 1}, {count} series)"
        for (uid, patient), count in studies.items()
    ]
    more = f"; and {len(listed) - 20} more" if len(listed) > 20 else ""
    return "; ".join(listed[:20]) + more


def refuse_several_studies(exam: Exam) -> None:
    """Raise NoShortAxisError, listing them, where an exam holds several studies or patients."""
    studies = _by_study(exam)
    if len(studies) < 2:
        return
    patients, uids = len({patient for _, patient in studies}), len({uid for uid, _ in studies})
    option = "--study UID" if len(studies) == uids else "--patient ID (cinesax inspect --show-patient lists them)"
    what = (
        f"{len(studies)} studies of {patients} patient(s)"
        if uids > 1
        else f"images of {patients} patients as one study"
    )
    raise NoShortAxisError(
        f"{exam.path} holds {what}: {_studies(exam)}; "
        f"give the folder of one study, or pick one with {option}, or a series with --series UID"
    )


def _nothing_to_pick(exam: Exam) -> InputError:
    found = "; ".join(f"series {one.name}: {one.kind} ({one.explanation})" for one in exam.series[:20])
    more = f"; and {len(exam.series) - 20} more" if len(exam.series) > 20 else ""
    message = f"no short-axis cine in {exam.path}, found {found}{more}"
    kinds = {one.kind for one in exam.series}
    if Kind.NO_GEOMETRY in kinds:
        return GeometryError(message)
    return InputError(message) if kinds == {Kind.NO_PIXELS} else NoShortAxisError(message)


def _picked_by_hand(exam: Exam, series_uid: str, ignore_frame_of_reference: bool) -> Pick:
    chosen = [one for one in exam.series if one.uid == series_uid]
    if not chosen:
        known = ", ".join(dict.fromkeys(one.uid for one in exam.series))
        raise UsageError(f"no series {series_uid} in {exam.path}; there are {known}")
    chosen.sort(key=lambda one: (one.kind is not Kind.SHORT_AXIS, -one.n_instances))
    series = chosen[0]
    if series.kind in (Kind.NO_PIXELS, Kind.MULTI_FRAME, Kind.NOT_MR_IMAGE):
        raise InputError(f"series {series.name} cannot be read: {series.explanation}")
    if series.stack is None:
        raise GeometryError(f"series {series.name} has {series.kind}: {series.explanation}")
    if series.stack.n_phases < 2:
        raise NoShortAxisError(f"series {series.name} is no cine: {series.explanation}")
    findings = frames_of_reference(series.stack.headers, ignore=ignore_frame_of_reference)
    return _pick(exam, (series,), series.stack, (f"chosen by its UID; judged by itself: {series.kind}", findings))


def _pick(exam: Exam, series: tuple[Series, ...], stack: Stack, why: tuple[str, list[Finding]]) -> Pick:
    reason, findings = why
    _refuse_several_patients(series, stack)
    findings += lossy_compression(stack.headers)
    for one in series:
        findings += _left_out(one, stack)
    rejections = tuple((one, _rejection(one, stack)) for one in exam.series if one not in series)
    return Pick(exam, series, stack, reason, rejections, tuple(findings))


def _refuse_several_patients(series: Sequence[Series], stack: Stack) -> None:
    """Anonymisers that give everybody the same UIDs would make one heart of two."""
    patients = len({header.patient_id for header in stack.headers})
    if patients > 1:
        raise InputError(
            f"series {_names(series)} holds images of {patients} patients by PatientID: name one with --patient ID "
            "(cinesax inspect --show-patient lists them), or take them apart"
        )


def _rejection(series: Series, picked: Stack) -> str:
    if series.kind is Kind.SHORT_AXIS:
        return f"{series.explanation}: the picked one has {picked.n_slices} slices of {picked.n_phases} phases"
    return series.explanation


def _left_out(series: Series, stack: Stack) -> list[Finding]:
    """What of a picked series is not in its picked stack: another view (a finding), or a part of it (an error)."""
    chosen = {id(header) for header in stack.headers}
    rest = [header for header in series.headers if id(header) not in chosen]
    problems = [problem for problem in map(geometry_problem, rest) if problem]
    if problems:
        raise GeometryError(
            f"{len(problems)} of {series.n_instances} files of series {series.name} have {problems[0]}: "
            "the stack would not be complete"
        )
    for other in split_into_stacks(rest):
        turned = float(np.degrees(np.arccos(np.clip(abs(other.normal @ stack.normal), 0, 1))))
        if turned < _OTHER_VIEW_DEGREES:
            raise GeometryError(
                f"series {series.name} mixes slices that do not make one stack: {other.n_slices} of matrix "
                f"{other.matrix}, spacing {other.spacing_mm} mm, turned by {turned:.1f} degrees against the "
                f"{stack.n_slices} of matrix {stack.matrix}, spacing {stack.spacing_mm} mm"
            )
    if not rest:
        return []
    message = f"series {series.name} also holds {len(rest)} frames in other orientations, which were left out"
    return [Finding(Code.OTHER_CANDIDATES, Severity.NOTE, message)]


def read_cine(source: Exam | Pick) -> Cine:
    """Read the pixels of the short-axis cine, and put slices and phases in order.

    Raises:
        InputError: see `pick_short_axis` and `cinesax.formats.dicom_image.read_pixels`.
        GeometryError: see `cinesax.formats.dicom_stack.order`.
    """
    pick = pick_short_axis(source) if isinstance(source, Exam) else source
    ordered = order(pick.stack)
    findings = [*pick.exam.findings, *pick.findings, *ordered.findings]
    direction = base_first(ordered.grid.normal)
    if direction is None:
        message = "the stack lies at an unusual angle: which end is the base is not known"
        findings.append(Finding(Code.APEX_BASE_UNKNOWN, Severity.NOTE, message))
    return Cine(
        read_pixels(ordered.frames, ordered.paddings),
        ordered.grid,
        ordered.trigger_times_ms,
        ordered.rr_intervals_ms,
        ordered.gating,
        source=replace(
            source_of(ordered),
            picked_because=pick.reason,
            not_picked=tuple((one.name, why) for one, why in pick.rejections),
        ),
        patient=patient_of(ordered.frames[0][0]),
        base_first=direction,
        findings=tuple(findings),
    )


def open_cine(
    path: str | Path,
    *,
    series_uid: str | None = None,
    study_uid: str | None = None,
    patient_id: str | None = None,
    ignore_frame_of_reference: bool = False,
) -> Cine:
    """Read the short-axis cine of a folder, file or zip of DICOM, or of a NIfTI file.

    Args:
        path: what to read.
        series_uid: take this DICOM series, whatever it is judged to be.
        study_uid: look only at this study, where there are several.
        patient_id: look only at images with this PatientID, where there are several.
        ignore_frame_of_reference: make one stack of slices that lie in a few different frames of reference,
            although the patient may have moved between them.

    Raises:
        InputError: and its subclasses, as `open_exam`, `pick_short_axis` and `read_cine` tell.
        UsageError: a series, study or patient that is not there, or one for a NIfTI file.
        MissingExtraError: compressed pixels that the extra `decoders` reads, which is not installed.
    """
    root = Path(path)
    if nifti.is_nifti(root):
        if (series_uid, study_uid, patient_id) != (None, None, None):
            raise UsageError(f"{root} is a NIfTI file and has no series, study or patient: leave the choice out")
        return nifti.read_cine(root)
    pick = pick_short_axis(
        open_exam(root),
        series_uid=series_uid,
        study_uid=study_uid,
        patient_id=patient_id,
        ignore_frame_of_reference=ignore_frame_of_reference,
    )
    return read_cine(pick)


__all__ = [
    "Exam",
    "Kind",
    "Pick",
    "Series",
    "open_cine",
    "open_exam",
    "pick_short_axis",
    "read_cine",
]
