"""The worklist: the exams and existing results below a folder, and the lines that the page shows."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from msgspec import Struct

from cinesax.core.analysis import case_key_of
from cinesax.core.cine import StoredFile
from cinesax.core.errors import CinesaxError, InputError
from cinesax.files.stored_files import opener
from cinesax.reader.cohorts import exam_of
from cinesax.reader.listed import Expected, expected_of, take_numbers
from cinesax.reader.store.database import NAME, ExamRow, Signature, State, Store
from cinesax.reader.watch import GONE
from cinesax.results import tables
from cinesax.results.write import JSON_NAME, check_output

_MOST_FOLDERS = 20_000
_WARNING_WEIGHT, _ERROR_WEIGHT = 1.0, 100.0
"""An error comes before every typical error of EF, which is 100 points at most."""
_FAILED_DOUBT = 1000.0
_MOST_NAMED = 5
_NOWHERE = "these results do not say where their exam is: end cinesax view and start it again with --exam EXAM"


@dataclass(frozen=True, slots=True)
class Found:
    """An exam, or the results of an exam.

    Attributes:
        path: the path of the exam; "" if the results do not name it.
        study_uid: the study, if the path holds several.
        results: the folder of results, if there are any.
        case: the case key, if it is known before the analysis.
        study: the study of the exam, if it is known before the analysis.
        given: whether a person said that the exam of these results is at the path.
        placed: whether the results say where their exam is, in one place or several.
        problem: why the exam of these results is not at the path that a person gave.
    """

    path: str
    study_uid: str | None = None
    results: str | None = None
    case: str | None = None
    given: bool = False
    placed: bool = True
    problem: str | None = None
    study: str | None = None

    @property
    def id(self) -> str:
        """An ID that is always the same for the same place."""
        named = f"{self.results}" if self.results else f"{self.path}\0{self.study_uid or ''}"
        return hashlib.sha256(named.encode("utf-8", "surrogateescape")).hexdigest()[:16]


class Listed(Struct, frozen=True):
    """One line of the worklist."""

    id: str
    name: str
    patient: dict[str, str | None] | None
    folder: str | None
    state: str
    version: int
    progress: dict[str, int] | None
    error: str | None
    reason: str | None
    ef_percent: float | None
    edv_ml: float | None
    esv_ml: float | None
    findings: dict[str, int]
    doubts: list[str]
    doubt: float
    trust: Expected | None
    by: str | None
    comment: str | None
    sent_back: bool
    updated_at: str
    approved_versions: int
    changed: str | None


def find(root: Path) -> list[Found]:
    """The exams and results at a path or below it.

    Raises:
        InputError: the path does not exist or cannot be read.
    """
    try:
        root = root.expanduser().resolve()
        if not root.exists():
            raise InputError(f"{root} does not exist: give an exam, results, or a folder of them")
        if not root.is_dir():
            return [Found(str(root))]
        if (root / JSON_NAME).is_file():
            return [_results(root)]
        return _below(root)
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{root} cannot be read: {error}") from error


def _results(folder: Path) -> Found:
    try:
        content = tables.read_json(folder / JSON_NAME)
    except InputError:
        return Found("", results=str(folder))  # listed as failed, with the reason
    exam = content.get("exam")
    paths = exam.get("paths") if isinstance(exam, dict) else None
    placed = isinstance(paths, list) and len(paths) > 0
    path = str(paths[0]) if isinstance(paths, list) and len(paths) == 1 else ""
    study = None
    if not placed:
        path, study = exam_of(folder) or ("", None)
        placed = path != ""
    case = content.get("case")
    return Found(path, study, results=str(folder), case=case if isinstance(case, str) else None, placed=placed)


def with_exam(entries: Iterable[Found], exam: Path) -> list[Found]:
    """Results, with the path at which a person says that their exam is.

    If it holds several studies, the study of the results is taken: their case key says which it is.

    Raises:
        InputError: the path cannot be read.
    """
    studies = [one for one in find(exam) if one.results is None]
    return [entry if entry.results is None else _at(entry, exam, studies) for entry in entries]


def _at(entry: Found, exam: Path, studies: list[Found]) -> Found:
    known = [one for one in studies if one.study is not None]
    if len(known) < 2:
        return replace(entry, path=str(exam), study_uid=None, given=True)
    for one in known:
        if one.case == entry.case:
            return replace(entry, path=one.path, study_uid=one.study_uid, given=True)
    # Case keys, not StudyInstanceUIDs: the message is shown and stored also where the patient is not shown.
    listed = ", ".join(str(one.case) for one in known[:_MOST_NAMED])
    more = f" and {len(known) - _MOST_NAMED} more" if len(known) > _MOST_NAMED else ""
    wanted = f"that of these results ({entry.case})" if entry.case else "that of these results"
    return replace(
        entry,
        path="",
        problem=f"--exam has {len(known)} studies ({listed}{more}), and none of them is {wanted}: end cinesax view and "
        f"start it again with --exam FOLDER, where FOLDER has the exam that was analyzed",
    )


def _below(root: Path) -> list[Found]:
    results: list[Found] = []
    zips: list[Path] = []
    nifti: list[Path] = []
    by_study: dict[str, set[Path]] = {}
    for folder, names in _folders(root):
        if JSON_NAME in names:
            results.append(_results(folder))
            continue
        zips += [folder / name for name in names if name.lower().endswith(".zip")]
        if any(name.lower().endswith((".nii", ".nii.gz")) for name in names):
            nifti.append(folder)
            continue
        for study in _studies(folder, names):
            by_study.setdefault(study, set()).add(folder)
    if len(by_study) == 1 and not results and not zips and not nifti:
        # One study only: the whole folder is one exam.
        study = next(iter(by_study))
        return [Found(str(root), case=_case(study), study=study or None)]
    exams = [_exam(study, folders, by_study) for study, folders in by_study.items()]
    others = [Found(str(path)) for path in (*zips, *nifti)]
    return sorted([*_together(results, exams), *others], key=lambda entry: entry.results or entry.path)


def _together(results: list[Found], exams: list[Found]) -> list[Found]:
    """Match results with their exams. An exam that has results does not have to be analyzed."""
    by_case = {exam.case: exam for exam in exams if exam.case is not None}
    placed = [
        replace(entry, path=by_case[entry.case].path, study_uid=by_case[entry.case].study_uid)
        if not entry.path and entry.case in by_case
        else entry
        for entry in results
    ]
    done = {entry.case for entry in results}
    return [*placed, *(exam for exam in exams if exam.case is None or exam.case not in done)]


def _folders(root: Path) -> Iterator[tuple[Path, list[str]]]:
    for count, (folder, inner, names) in enumerate(os.walk(root), 1):
        if count > _MOST_FOLDERS:
            raise InputError(f"{root} holds more than {_MOST_FOLDERS} folders: give a folder further down")
        if JSON_NAME in names:
            inner.clear()  # contours/ and images/ are parts of the results
        # Skip hidden folders, which are being written, and stores, which hold copies.
        inner[:] = sorted(name for name in inner if not name.startswith(".") and not _is_store(Path(folder) / name))
        yield Path(folder), sorted(name for name in names if not name.startswith("."))


def _is_store(folder: Path) -> bool:
    return (folder / NAME).is_file()


def _studies(folder: Path, names: list[str]) -> set[str]:
    """The studies in a folder: read from three of its files, and from all of them if the three differ."""
    some = [names[place] for place in sorted({0, len(names) // 2, len(names) - 1})] if names else []
    studies = set(_uids(folder, some))
    return set(_uids(folder, names)) if len(studies) > 1 else studies


def _uids(folder: Path, names: Iterable[str]) -> Iterator[str]:
    from cinesax.dicom.read.frames import read_headers
    from cinesax.dicom.read.header import NotDicomError

    with opener() as open_file:
        for name in names:
            file = StoredFile(folder / name)
            try:
                with open_file(file) as stream:
                    yield read_headers(file, stream)[0].study_uid or ""
            except (NotDicomError, OSError, CinesaxError):
                continue


def _exam(study: str, folders: set[Path], by_study: dict[str, set[Path]]) -> Found:
    """The common folder of a study's files; with the study's UID, if the folder also holds other studies."""
    above = Path(os.path.commonpath([str(folder) for folder in folders]))
    shared = any(
        other != study and any(folder.is_relative_to(above) for folder in others) for other, others in by_study.items()
    )
    return Found(str(above), study_uid=study if shared and study else None, case=_case(study), study=study or None)


def _case(study: str) -> str | None:
    return case_key_of(study) if study else None


def add(store: Store, entries: Iterable[Found]) -> list[str]:
    """Add exams to the worklist; return their IDs, with those that were in the list before."""
    ids = []
    for entry in entries:
        ids.append(entry.id)
        added = store.add(
            entry.id, entry.path, study_uid=entry.study_uid, results=entry.results, case_key=entry.case, name=None
        )
        if added and entry.results is not None:
            take_numbers(store, entry.id, Path(entry.results))
        if entry.results is not None:
            _take_place(store, entry)
    return ids


def _take_place(store: Store, one: Found) -> None:
    """Keep where the exam of results is: as a person says it, else where the place that the store has is of no use."""
    row = store.exam(one.id)
    if row is None:
        return
    kept = row.path
    if one.path and one.path != kept and (one.given or not kept or not _exists(kept)):
        # A refusal was of the exam in the earlier place.
        store.set_fields(one.id, path=one.path, study_uid=one.study_uid, changed=None)
        kept = one.path
    problem = one.problem or (GONE if kept and not _exists(kept) else None if kept or one.placed else _NOWHERE)
    if problem is not None and row.state is not State.FAILED:
        store.set_fields(one.id, changed=problem)


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


@dataclass(frozen=True, slots=True)
class Now:
    """What the worklist shows in addition to the store.

    Attributes:
        show_patient: whether it shows who the patient is.
        progress: exam -> number of frames done, and of all frames.
        model_sha256: checksum of the network that would run now; None if not known.
    """

    show_patient: bool
    progress: Mapping[str, tuple[int, int]]
    model_sha256: str | None


def lines(store: Store, now: Now) -> list[Listed]:
    """All lines of the worklist."""
    signed = store.last_signatures()
    return [line(row, signed.get(row.id), now) for row in store.exams()]


def line(row: ExamRow, signature: Signature | None, now: Now) -> Listed:
    """The line of one exam."""
    show_patient, progress = now.show_patient, now.progress.get(row.id)
    changed = row.changed or _other_network(row, signature, now)
    # The typical error of EF in points; without a calibration, and for edited contours, the number of warnings.
    expected = _WARNING_WEIGHT * row.warnings if row.ef_error_points is None else row.ef_error_points
    doubt = min(_ERROR_WEIGHT * row.errors + expected, _FAILED_DOUBT - 1)
    running = row.state is State.RUNNING and progress is not None
    # What the store still has may be of another series, which was analyzed before.
    failed = State.FAILED in (row.state, row.before_exclusion)
    return Listed(
        id=row.id,
        name=name_of(row),
        patient=msgspec.json.decode(row.patient, type=dict[str, str | None]) if show_patient and row.patient else None,
        folder=(row.path or row.results) if show_patient else None,
        state=row.state.value,
        version=row.version,
        progress={"done": progress[0], "total": progress[1]} if running and progress else None,
        error=None if row.state is not State.FAILED else row.error if show_patient else without_paths(row, row.error),
        reason=row.reason if row.state is State.EXCLUDED else None,
        ef_percent=None if failed else row.ef_percent,
        edv_ml=None if failed else row.edv_ml,
        esv_ml=None if failed else row.esv_ml,
        findings={"error": row.errors, "warning": row.warnings, "note": row.notes},
        doubts=[] if failed else msgspec.json.decode(row.doubts, type=list[str]),
        doubt=_FAILED_DOUBT if row.state is State.FAILED else doubt,
        trust=None if failed else expected_of(row.trust),
        by=row.by,
        comment=row.comment,
        sent_back=row.sent_back,
        updated_at=row.updated_at,
        approved_versions=0 if signature is None else signature.number,
        changed=changed if show_patient else without_paths(row, changed),
    )


def _other_network(row: ExamRow, signature: Signature | None, now: Now) -> str | None:
    """A message if an approved exam was first drawn by a network other than the present one."""
    made_by = None if signature is None else signature.model_sha256
    if row.state is not State.APPROVED or None in (made_by, now.model_sha256) or made_by == now.model_sha256:
        return None
    return "the network has changed since it drew these contours; approved results do not change"


def without_paths(row: ExamRow, text: str | None) -> str | None:
    """A message without the paths of the exam and its results: folders are often named after patients."""
    if text is None:
        return None
    for place, words in ((row.results, "the results"), (row.path, "the exam")):
        if place:
            text = text.replace(f"{place}{os.sep}", "").replace(place, words)
    return text


def name_of(row: ExamRow) -> str:
    """The name of an exam if the patient is not shown: its folder may be named after the patient."""
    return row.case_key or f"exam-{row.id[:6]}"


def default_store(path: Path) -> Path:
    """The default store of a path: beside it.

    Raises:
        OutputError: the store cannot be written there.
    """
    store = path.expanduser().resolve().parent / "cinesax-reader"
    return check_output(store, force=True)
