"""DICOM series: headers grouped by SeriesInstanceUID, and the kind of each series according to its headers."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from functools import cached_property

from cinesax.core.cine import Patient, StoredFile
from cinesax.core.errors import GeometryError
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.identity import identifying_texts, remove_names
from cinesax.core.orientation import off_axis_degrees
from cinesax.dicom.read.component import Component, component, is_velocity_map, left_out, magnitude_only
from cinesax.dicom.read.header import ENHANCED_MR_IMAGE, LEGACY_ENHANCED_MR_IMAGE, MR_IMAGE, Header
from cinesax.dicom.read.stack import Stack, contradiction, geometry_problem, split_into_stacks

# A stack whose axis is further off the usual one is read as short axis only if the user names it. (Sagittal
# and coronal stacks lie 49.6 degrees off, axial ones 66.)
MAX_UNASKED_OFF_AXIS_DEGREES = 50.0
MIN_SLICES = 3


class SeriesKind(StrEnum):
    """The kind of a series."""

    SHORT_AXIS = "short-axis cine"
    CINE_SLICE = "single-slice cine"
    LONG_AXIS = "long-axis cine"
    LOCALIZER = "localizer"
    LATE_ENHANCEMENT = "late enhancement"
    ONE_PHASE = "one phase only"
    PHASE_CONTRAST = "phase contrast"
    NOT_MAGNITUDE = "no magnitude images"
    PERFUSION = "perfusion"
    MAPPING = "mapping"
    TAGGING = "tagging"
    NO_GEOMETRY = "no usable geometry"
    NO_PIXELS = "no pixels"
    MULTI_FRAME = "multi-frame"
    NOT_MR_IMAGE = "no MR images"


_WORDS = {
    SeriesKind.LOCALIZER: re.compile(r"\b(scout|loc|localizer|localiser|survey|3[- ]?pl(ane)?)\b"),
    SeriesKind.LATE_ENHANCEMENT: re.compile(r"\b(lge|psir|mde|late|delayed|de)\b|enhanc"),
    SeriesKind.PERFUSION: re.compile(r"perf|first.?pass"),
    SeriesKind.MAPPING: re.compile(r"molli|shmolli|t1.?map|t2.?map|t2star|t2\*|look.?locker|\bti.?scout"),
    SeriesKind.TAGGING: re.compile(r"\b(tag|tags|tagged|tagging|c?spamm|dense)\b"),
    SeriesKind.PHASE_CONTRAST: re.compile(r"\b(flow|venc|qflow|pc)\b|velocity"),
}


@dataclass(frozen=True, eq=False)
class Series:
    """The instances of one SeriesInstanceUID (and SeriesNumber).

    Attributes:
        uid: SeriesInstanceUID, valid or not; "" if there is none.
        study_uid: StudyInstanceUID, or "".
        headers: its frames, in the order of InstanceNumber and, within an instance, as they are stored.
        kind: the kind of the series.
        explanation: why, in one sentence.
        stack: its largest set of parallel slices, or None without geometry; magnitude images only, if the series also
            holds phase, real or imaginary images.
    """

    uid: str
    study_uid: str
    headers: tuple[Header, ...]
    kind: SeriesKind
    explanation: str
    stack: Stack | None

    @property
    def description(self) -> str:
        """SeriesDescription, else ProtocolName, else ""."""
        return self.headers[0].series_description or self.headers[0].protocol_name or ""

    @property
    def pseudonymous_description(self) -> str:
        """The description without patient data: users type names and IDs of patients into it."""
        first = self.headers[0]
        patient = Patient(first.patient_name, first.patient_id, first.patient_birth_date)
        return remove_names(self.description, identifying_texts(patient))

    @property
    def number(self) -> int | None:
        """SeriesNumber."""
        number = self.headers[0].series_number
        return None if number is None else int(number)

    @property
    def modality(self) -> str:
        """Modality, or ""."""
        return self.headers[0].modality or ""

    @property
    def n_instances(self) -> int:
        """Number of instances; an Enhanced MR instance holds several frames."""
        return len({header.file for header in self.headers})

    @property
    def n_slices(self) -> int | None:
        """Positions in its largest stack; None without geometry."""
        return None if self.stack is None else self.stack.n_slices

    @property
    def n_phases(self) -> int | None:
        """Frames per position in its largest stack; None without geometry."""
        return None if self.stack is None else self.stack.n_phases

    @cached_property
    def name(self) -> str:
        """A short name for messages, without patient names: number and description, or the UID."""
        parts = [str(self.number)] if self.number is not None else []
        parts += [f"'{self.pseudonymous_description}'"] if self.description else []
        return " ".join(parts) or self.uid or "without UID"


def group(headers: Iterable[Header]) -> tuple[Series, ...]:
    """Group headers by study and series, and judge each series.

    Series with different numbers are separate even if they share a UID: in the public Sunnybrook copy the scout has the
    SeriesInstanceUID of the cine.
    """
    groups: dict[tuple[str, str, float | None], list[Header]] = {}
    for header in headers:
        groups.setdefault((header.study_uid or "", header.series_uid or "", header.series_number), []).append(header)
    series = [_series(study, uid, members) for (study, uid, _), members in groups.items()]
    return tuple(sorted(series, key=lambda entry: (entry.study_uid, entry.number or 0, entry.uid)))


def _series(study_uid: str, uid: str, headers: Sequence[Header]) -> Series:
    ordered = tuple(sorted(headers, key=_by_number))
    images = magnitude_only(ordered)
    stacks = split_into_stacks(header for header in images if geometry_problem(header) is None)
    kind, explanation = _not_readable(ordered) or _without_place(images, stacks) or _judge(images, stacks)
    if others := left_out(ordered):
        explanation = f"{explanation} (the magnitude images, without {others} images)"
    if kind is SeriesKind.SHORT_AXIS and any(map(is_velocity_map, ordered)):
        kind, explanation = SeriesKind.PHASE_CONTRAST, f"it also holds velocity maps: {explanation}"
    return Series(uid, study_uid, ordered, kind, explanation, stacks[0] if stacks else None)


def _by_number(header: Header) -> tuple[float, StoredFile, int]:
    return header.instance_number or 0, header.file, header.frame_number or 0


def _not_readable(headers: Sequence[Header]) -> tuple[SeriesKind, str] | None:
    modality = headers[0].modality
    classes = {header.sop_class_uid for header in headers}
    if modality not in (None, "MR"):
        return SeriesKind.NOT_MR_IMAGE, f"modality {modality}, not MR"
    if any(header.frame_number is None and (header.number_of_frames or 1) > 1 for header in headers):
        return SeriesKind.MULTI_FRAME, "multi-frame, and yet not of the SOP class Enhanced MR Image Storage"
    if not classes <= {MR_IMAGE, ENHANCED_MR_IMAGE, LEGACY_ENHANCED_MR_IMAGE, None}:
        return SeriesKind.NOT_MR_IMAGE, "not of the SOP class MR Image Storage or Enhanced MR Image Storage"
    if not any(header.has_pixels for header in headers):
        return SeriesKind.NO_PIXELS, f"its {len({header.file for header in headers})} files hold no pixel data"
    if headers[0].samples_per_pixel not in (None, 1):
        return SeriesKind.NOT_MR_IMAGE, "colour images"
    return None


def _without_place(headers: Sequence[Header], stacks: Sequence[Stack]) -> tuple[SeriesKind, str] | None:
    if stacks:
        return None
    problems = Counter(problem for problem in map(geometry_problem, headers) if problem)
    problem, count = problems.most_common(1)[0]
    return SeriesKind.NO_GEOMETRY, f"{problem} ({count} of {len(headers)} files)"


def _judge(headers: Sequence[Header], stacks: Sequence[Stack]) -> tuple[SeriesKind, str]:
    text = _text(headers[0])
    first = stacks[0]
    if any("LOCALIZER" in header.image_type for header in headers):
        return SeriesKind.LOCALIZER, "ImageType says LOCALIZER"
    if first.n_phases == 1:
        return _judge_still(headers, stacks, text)
    if problem := contradiction(first):
        return SeriesKind.NO_GEOMETRY, problem
    return _judge_moving(first, text) or _judge_cine(first)


def _judge_still(headers: Sequence[Header], stacks: Sequence[Stack], text: str) -> tuple[SeriesKind, str]:
    if len(stacks) > 1:
        return SeriesKind.LOCALIZER, f"one phase in {len(stacks)} orientations"
    if _WORDS[SeriesKind.LOCALIZER].search(text):
        return SeriesKind.LOCALIZER, "one phase, and its description says so"
    shape = _shape(stacks[0])
    if any(header.inversion_time_ms for header in headers) or _WORDS[SeriesKind.LATE_ENHANCEMENT].search(text):
        return SeriesKind.LATE_ENHANCEMENT, f"{shape}: an inversion-recovery or late-enhancement image does not move"
    return SeriesKind.ONE_PHASE, f"{shape}: a cine has several"


def _judge_moving(stack: Stack, text: str) -> tuple[SeriesKind, str] | None:
    slices = [[stack.headers[index] for index in part] for part in stack.slices]
    parts = {component(header) for header in stack.headers}
    if Component.PHASE in parts:
        return SeriesKind.PHASE_CONTRAST, "phase images or velocity maps, without magnitude images"
    if parts & {Component.REAL, Component.IMAGINARY}:
        return SeriesKind.NOT_MAGNITUDE, f"{' and '.join(sorted(part for part in parts if part))} images only"
    for name, values in (
        ("InversionTime", [{header.inversion_time_ms for header in part} for part in slices]),
        ("EchoTime", [{header.echo_time_ms for header in part} for part in slices]),
    ):
        if min(len(part) for part in values) > 1:
            return SeriesKind.MAPPING, f"{name} differs between the frames of a slice"
    for kind in (SeriesKind.MAPPING, SeriesKind.PERFUSION, SeriesKind.TAGGING, SeriesKind.PHASE_CONTRAST):
        if match := _WORDS[kind].search(text):
            return kind, f"its description says '{match.group(0)}'"
    return None


def _judge_cine(stack: Stack) -> tuple[SeriesKind, str]:
    shape, off = _shape(stack), off_axis_degrees(stack.normal)
    placed = f"{shape}, across an axis {off:.0f} degrees off the usual long axis of the heart"
    if stack.n_slices >= MIN_SLICES and off <= MAX_UNASKED_OFF_AXIS_DEGREES:
        return SeriesKind.SHORT_AXIS, placed
    if off > MAX_UNASKED_OFF_AXIS_DEGREES:
        return SeriesKind.LONG_AXIS, placed
    return SeriesKind.CINE_SLICE, f"{shape}: a stack has at least {MIN_SLICES} slices"


def _shape(stack: Stack) -> str:
    phases = "one phase" if stack.n_phases == 1 else f"{stack.n_phases} phases"
    if stack.n_slices == 1:
        return f"one slice of {phases}"
    return f"{stack.n_slices} parallel slices {stack.distance_mm:.1f} mm apart of {phases}"


def _text(header: Header) -> str:
    texts = (header.series_description, header.protocol_name, header.sequence_name)
    return " ".join(text for text in texts if text).lower().replace("_", " ")


def cine_stacks(series: Iterable[Series]) -> list[tuple[tuple[Series, ...], Stack]]:
    """All stacks that may be the short-axis cine: one series, or several series of few slices each.

    On most consoles a slice that was acquired again is a series of its own: it is joined with its stack.

    Returns:
        The series of each stack, and the stack.
    """
    stacks: list[tuple[tuple[Series, ...], Stack]] = []
    loose: dict[str, list[Series]] = {}
    whole: list[tuple[Series, Stack]] = []
    for entry in series:
        if entry.kind is SeriesKind.SHORT_AXIS and entry.stack is not None:
            whole.append((entry, entry.stack))
        elif entry.kind is SeriesKind.CINE_SLICE and entry.stack is not None:
            loose.setdefault(entry.study_uid, []).append(entry)
    for entry, stack in whole:
        again = [other for other in loose.get(entry.study_uid, []) if _is_slice_again(other, stack)]
        stacks.append(((entry, *again), _joined(stack, *again)))
    return [*stacks, *_stacks_of_slices(entry for members in loose.values() for entry in members)]


def off_axis_stacks(series: Iterable[Series]) -> list[tuple[tuple[Series, ...], Stack]]:
    """Stacks that would be the short-axis cine if their axis were not so far off, whole or one series a slice.

    Returns:
        The series of each stack, and the stack.
    """
    far = [entry for entry in series if entry.kind is SeriesKind.LONG_AXIS and entry.stack is not None]
    stacks = [
        ((entry,), entry.stack) for entry in far if entry.stack is not None and entry.stack.n_slices >= MIN_SLICES
    ]
    return [*stacks, *_stacks_of_slices(entry for entry in far if entry.stack and entry.stack.n_slices < MIN_SLICES)]


def _stacks_of_slices(series: Iterable[Series]) -> list[tuple[tuple[Series, ...], Stack]]:
    """Stacks of at least `MIN_SLICES` slices that series of fewer make together, within a study."""
    stacks: list[tuple[tuple[Series, ...], Stack]] = []
    studies: dict[str, list[Series]] = {}
    for entry in series:
        studies.setdefault(entry.study_uid, []).append(entry)
    for members in studies.values():
        owner = {id(header): entry for entry in members if entry.stack for header in entry.stack.headers}
        for stack in split_into_stacks(header for entry in members if entry.stack for header in entry.stack.headers):
            if stack.n_slices >= MIN_SLICES:
                owners = {id(owner[id(header)]): owner[id(header)] for header in stack.headers}
                stacks.append((tuple(owners.values()), stack))
    return stacks


def _joined(stack: Stack, *others: Series) -> Stack:
    if not others:
        return stack
    more = [header for other in others if other.stack is not None for header in other.stack.headers]
    return split_into_stacks((*stack.headers, *more))[0]


def _is_slice_again(series: Series, stack: Stack) -> bool:
    """Whether a series holds one or two slices of a stack, acquired again in the same way."""
    ours, theirs = (_technique(headers) for headers in (stack.headers, series.headers))
    if not theirs <= ours or series.stack is None:
        return False
    joined = _joined(stack, series)
    complete = len(joined.headers) == len(stack.headers) + len(series.stack.headers)
    return complete and joined.n_slices == stack.n_slices and contradiction(joined) is None


def _technique(headers: Iterable[Header]) -> set[tuple[object, ...]]:
    """What distinguishes a cine from other series with many frames per slice (Look-Locker, real-time, tagging)."""
    return {
        (header.scanning_sequence, header.sequence_name, header.inversion_time_ms, round(header.echo_time_ms or 0, 1))
        for header in headers
    }


_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))*")


def valid_uid(uid: str | None) -> bool:
    """Whether a UID is valid: at most 64 digits and dots, no component with a leading zero."""
    return uid is not None and len(uid) <= 64 and _UID.fullmatch(uid) is not None


def valid_date(text: str | None) -> str | None:
    """The DICOM date (YYYYMMDD), or None if it is not valid."""
    if text is None or len(text) != 8 or not text.isdigit():
        return None
    try:
        date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None
    return text


def oddities(headers: Sequence[Header]) -> list[Finding]:
    """Findings about UIDs and dates that break the standard, one for each kind."""
    return [*_invalid_uids(headers), *_invalid_dates(headers)]


def _invalid_uids(headers: Sequence[Header]) -> list[Finding]:
    names = {
        "StudyInstanceUID": {header.study_uid for header in headers},
        "SeriesInstanceUID": {header.series_uid for header in headers},
        "SOPInstanceUID": {header.sop_instance_uid for header in headers},
    }
    bad = {name: sum(not valid_uid(uid) for uid in uids) for name, uids in names.items()}
    if not any(bad.values()):
        return []
    listed = ", ".join(f"{count} {name}" for name, count in bad.items() if count)
    sentence = (
        "the exam has invalid UIDs ({kinds}; absent, or with a leading zero in a component): "
        "results keep them unless --repair-uids is given"
    )
    numbers = {"uids": sum(bad.values())}
    return [Finding(Code.INVALID_UID, Severity.NOTE, sentence, numbers=numbers, texts={"kinds": listed})]


def _invalid_dates(headers: Sequence[Header]) -> list[Finding]:
    names = {
        "StudyDate": {header.study_date for header in headers},
        "SeriesDate": {header.series_date for header in headers},
        "AcquisitionDate": {header.acquisition_date for header in headers},
        "ContentDate": {header.content_date for header in headers},
        "PatientBirthDate": {header.patient_birth_date for header in headers},
    }
    bad = [name for name, dates in names.items() if any(entry and not valid_date(entry) for entry in dates)]
    if not bad:
        return []
    sentence = "invalid dates in {attributes}: treated as unknown"
    return [Finding(Code.INVALID_DATE, Severity.NOTE, sentence, texts={"attributes": ", ".join(bad)})]


def frames_of_reference(headers: Sequence[Header], *, ignore: bool = False) -> list[Finding]:
    """Check that the frames of a stack share their FrameOfReferenceUID; one finding if they do not.

    Args:
        headers: the frames of the stack.
        ignore: treat positions in different frames of reference as positions in one.

    Raises:
        GeometryError: there are a few frames of reference, and `ignore` is false.
    """
    uids = Counter(header.frame_of_reference_uid for header in headers)
    if len(uids) <= 1:
        return []
    files = len({header.file for header in headers})
    # Two files of many frames each may be two halves of a stack; no scanner gives each of more files its own UID.
    if len(uids) == files > 2:
        sentence = "every file has its own FrameOfReferenceUID (anonymisers do this): positions are assumed to agree"
        numbers = {"frames_of_reference": len(uids)}
        return [Finding(Code.FRAME_OF_REFERENCE_PER_FILE, Severity.NOTE, sentence, numbers=numbers)]
    counts = ", ".join(str(count) for _, count in uids.most_common(6))
    seen = (
        "{frames_of_reference} different FrameOfReferenceUIDs in one stack (of {counts} frames): "
        "the patient may have moved between them"
    )
    finding = Finding(
        Code.FRAME_OF_REFERENCE_PER_FILE,
        Severity.WARNING,
        f"{seen}; read together as requested",
        numbers={"frames_of_reference": len(uids)},
        texts={"counts": counts + (", ..." if len(uids) > 6 else "")},
    )
    if not ignore:
        advice = "read them together with --ignore-frame-of-reference, or pick one series with --series UID"
        raise GeometryError(replace(finding, sentence=f"{seen}; {advice}").message)
    return [finding]


def shared_uids(headers: Sequence[Header]) -> list[Finding]:
    """Check whether different frames share their SOPInstanceUID; one finding if they do.

    Frames of one Enhanced instance may share it: they are identified by their numbers.
    """
    counts = Counter((header.sop_instance_uid, header.frame_number) for header in headers if header.sop_instance_uid)
    shared = sum(count for count in counts.values() if count > 1)
    if not shared:
        return []
    sentence = (
        "{shared_frames} of {frames} frames share their SOPInstanceUID with another frame: nothing can refer to one of "
        "them by its UID"
    )
    numbers = {"shared_frames": shared, "frames": len(headers)}
    return [Finding(Code.SHARED_UID, Severity.WARNING, sentence, numbers=numbers)]


# JPEG baseline, JPEG extended, JPEG-LS near-lossless: lossy whatever the header says.
_LOSSY_SYNTAXES = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 81))


def lossy_compression(headers: Sequence[Header]) -> list[Finding]:
    """Check whether pixels had lossy compression; one finding if they had."""
    lossy = sum(header.lossy_compression == "01" or header.transfer_syntax_uid in _LOSSY_SYNTAXES for header in headers)
    if not lossy:
        return []
    sentence = "{lossy} of {frames} frames were stored with lossy compression"
    return [Finding(Code.LOSSY_COMPRESSION, Severity.NOTE, sentence, numbers={"lossy": lossy, "frames": len(headers)})]
