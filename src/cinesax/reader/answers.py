"""Answers about an exam: its whole state, or the result of a change. Types that become JSON."""

from msgspec import Struct

from cinesax.core.errors import UsageError
from cinesax.reader import shown
from cinesax.reader.editing.plans import has_papillary_muscles
from cinesax.reader.exams import Changed, OpenExam
from cinesax.reader.listed import Expected, expected
from cinesax.reader.long_axis import LongAxis
from cinesax.reader.store.database import ExamRow, Signature
from cinesax.reader.worklist import Listed


class GivenPhases(Struct, frozen=True):
    """ED and ES, where a person set them."""

    ed_phase: int | None
    es_phase: int | None


class History(Struct, frozen=True):
    """What undo and redo would do."""

    undo: str | None
    redo: str | None
    edits: int


class First(Struct, frozen=True):
    """The reading before any edit."""

    numbers: shown.Numbers
    by: str
    trust: Expected | None


class Version(Struct, frozen=True):
    """One approved version."""

    number: int
    by: str
    at: str
    comment: str
    folder: str | None


class BaseRuleUsed(Struct, frozen=True):
    """The rule by which the network chose the basal slice."""

    rule: str | None


class State(Struct, frozen=True):
    """All that the page needs to know of an exam, except its pixels."""

    id: str
    name: str
    patient: dict[str, str | None] | None
    state: str
    version: int
    exam: shown.ShownExam
    structures: list[shown.ShownStructure]
    contours: list[shown.ShownContour]
    decided: list[shown.Decided]
    known: dict[str, list[int]]
    numbers: shown.Numbers
    first: First
    findings: list[shown.ShownFinding]
    trust: Expected | None
    overrides: GivenPhases
    papillary_muscles_included: bool
    has_papillary_muscles: bool
    history: History
    base: BaseRuleUsed
    approved: Version | None
    versions: list[Version]
    changed: str | None
    comment: str | None
    sent_back: bool


class ChangeAnswer(Struct, frozen=True):
    """The result of an edit, undo or redo."""

    version: int
    state: str
    numbers: shown.Numbers
    findings: list[shown.ShownFinding]
    trust: Expected | None
    overrides: GivenPhases
    papillary_muscles_included: bool
    has_papillary_muscles: bool
    history: History
    known: dict[str, list[int]]
    frames: list[shown.ShownFrame]


def state(exam: OpenExam, listed: Listed, signatures: list[Signature], *, show_patient: bool) -> State:
    """The state of an open exam."""
    segmentation = exam.reading.segmentation
    contours, decided = shown.contours_of(segmentation)
    versions = [
        Version(s.number, s.by, s.at, s.comment, s.folder if show_patient else f"approved-{s.number}")
        for s in signatures
    ]
    presence = segmentation.presence
    return State(
        id=exam.id,
        name=listed.name,
        patient=listed.patient,
        state=listed.state,
        version=exam.version,
        exam=shown.exam_of(
            exam.analysis.cine, exam.analysis.measurements, pixels=exam.pixels, long_axis=exam.long_axis_count
        ),
        structures=shown.structures_of(segmentation),
        contours=contours,
        decided=decided,
        known=shown.known_of(segmentation),
        numbers=shown.numbers_of(exam.analysis.measurements),
        first=First(shown.numbers_of(exam.first.measurements), exam.first.segmentation.author, expected(exam.first)),
        findings=shown.findings_of(exam.analysis.findings),
        trust=expected(exam.analysis),
        overrides=GivenPhases(exam.reading.overrides.ed_phase, exam.reading.overrides.es_phase),
        papillary_muscles_included=segmentation.papillary_muscles_included,
        has_papillary_muscles=has_papillary_muscles(segmentation),
        history=history(exam),
        base=BaseRuleUsed(None if presence is None else presence.rule.value),
        approved=versions[-1] if listed.state == "approved" and versions else None,
        versions=versions,
        changed=listed.changed,
        comment=listed.comment,
        sent_back=listed.sent_back,
    )


def history(exam: OpenExam) -> History:
    """What undo and redo would do."""
    return History(exam.undo_what, exam.redo_what, exam.applied)


def change(exam: OpenExam, changed: Changed, row: ExamRow) -> ChangeAnswer:
    """The answer to a change."""
    segmentation = exam.reading.segmentation
    return ChangeAnswer(
        version=changed.version,
        state=row.state.value,
        numbers=shown.numbers_of(exam.analysis.measurements),
        findings=shown.findings_of(exam.analysis.findings),
        trust=expected(exam.analysis),
        overrides=GivenPhases(exam.reading.overrides.ed_phase, exam.reading.overrides.es_phase),
        papillary_muscles_included=segmentation.papillary_muscles_included,
        has_papillary_muscles=has_papillary_muscles(segmentation),
        history=history(exam),
        known=shown.known_of(segmentation),
        frames=shown.frames_of(segmentation, changed.frames),
    )


class Series(Struct, frozen=True):
    """One long-axis series."""

    index: int
    description: str | None
    phases: int
    rows: int
    columns: int
    spacing_mm: tuple[float, float]
    low: float
    high: float
    times_ms: shown.Curve | None
    lines: list[dict[str, int | tuple[float, float]]]


def long_axis(images: list[LongAxis]) -> list[Series]:
    """The long-axis series of an exam."""
    return [
        Series(
            index=index,
            description=image.description,
            phases=image.pixels.shape[0],
            rows=image.pixels.shape[1],
            columns=image.pixels.shape[2],
            spacing_mm=image.spacing_mm,
            low=image.window.low,
            high=image.window.high,
            times_ms=shown.curve(image.times_ms),
            lines=[{"slice": cut.slice, "from": cut.start, "to": cut.end} for cut in image.cuts],
        )
        for index, image in enumerate(images)
    ]


def long_axis_of(images: list[LongAxis], index: int) -> LongAxis:
    """The long-axis series with an index.

    Raises:
        UsageError: there is no series with this index.
    """
    if not 0 <= index < len(images):
        raise UsageError(f"there is no long-axis series {index}: the exam has {len(images)}, counted from 0")
    return images[index]
