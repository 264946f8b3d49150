"""The content of a folder, file or zip of DICOM, from headers alone; and the part that is one study or patient."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from cinesax.core.cine import StoredFile
from cinesax.core.errors import InputError, NoShortAxisError, UsageError, counted, printable
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.selection import Selection
from cinesax.dicom.read.directory import missing_files, referenced_names
from cinesax.dicom.read.frames import read_headers
from cinesax.dicom.read.header import DICOMDIR, Header, NotDicomError, Reason
from cinesax.dicom.read.series import Series, group, oddities
from cinesax.files.stored_files import Opener, list_files, opener

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, order=True)
class Ignored:
    """A file of an exam that is not read.

    Attributes:
        file: its name, relative to the folder or zip that was opened.
        reason: why it is not read.
        detail: more as text, such as the system's message or the file that it is a copy of; or "".
    """

    file: str
    reason: Reason
    detail: str = ""

    @property
    def explanation(self) -> str:
        """Why the file is not read, as text."""
        if not self.detail:
            return str(self.reason)
        form = _EXPLANATIONS.get(self.reason, "{reason} ({detail})")
        return form.format(reason=self.reason, detail=self.detail)


_EXPLANATIONS = {Reason.COPY: "{reason} of {detail}", Reason.CANNOT_BE_READ: "{reason}: {detail}"}


@dataclass(frozen=True, eq=False)
class Exam:
    """The content of a folder, file or zip, from headers alone.

    Attributes:
        path: what was opened.
        series: every series of DICOM instances.
        ignored: every file that is not an instance, or is a copy of one.
        findings: what the reader should know about the stored files.
    """

    path: Path
    series: tuple[Series, ...]
    ignored: tuple[Ignored, ...]
    findings: tuple[Finding, ...]


def open_exam(path: str | Path, *, files: Sequence[StoredFile] | None = None) -> Exam:
    """Read the headers of all DICOM instances in a folder (any depth, any names), one file, or a zip.

    If the path is a DICOMDIR, the files that it lists are read.

    Args:
        path: what to open.
        files: the files of it to read, where they are known; None: all.

    Raises:
        InputError: the path does not exist, is not readable, holds no DICOM file, or is a zip that is not safe.
    """
    root = Path(path)
    content = _Content()
    given, files = files, files if files is not None else list_files(root)
    with opener() as open_file:
        for file in files:
            content.read(file, open_file, root)
        if given is None and len(files) == 1 and content.directories:
            # The given path is a DICOMDIR, not its folder.
            files = missing_files(files, content.directories).there
            for file in files:
                content.read(file, open_file, root.parent)
    instances, copies = _without_copies(content.headers, root)
    ignored = sorted({*content.ignored, *copies})
    if not instances:
        raise InputError(_nothing_found(root, ignored))
    absent = missing_files(files, content.directories).absent
    findings = (*_unreadable(ignored), *_incomplete(absent), *oddities(instances))
    exam = Exam(root, group(instances), tuple(ignored), findings)
    _LOG.info("%d series in %d files, %d files ignored", len(exam.series), len(files), len(ignored))
    return exam


class _Content:
    """Collects the content of the files, one after the other."""

    def __init__(self) -> None:
        self.headers: list[Header] = []
        self.ignored: list[Ignored] = []
        self.directories: dict[StoredFile, tuple[str, ...]] = {}

    def read(self, file: StoredFile, open_file: Opener, root: Path) -> None:
        """Read the headers of a file, or note why not."""
        try:
            with open_file(file) as stream:
                headers = read_headers(file, stream)
                if headers[0].sop_class_uid == DICOMDIR:
                    stream.seek(0)
                    self.directories[file] = referenced_names(stream)
                    self.ignored.append(Ignored(_shown(file, root), Reason.DIRECTORY))
                else:
                    self.headers += headers
        except NotDicomError as error:
            named = error.reason is Reason.NOT_DICOM and _is_named_dicom(file)
            self.ignored.append(
                Ignored(_shown(file, root), Reason.NAMED_DICOM if named else error.reason, error.detail)
            )
        except OSError as error:
            self.ignored.append(Ignored(_shown(file, root), Reason.CANNOT_BE_READ, error.strerror or str(error)))


# Modalities of objects derived from images.
_RESULTS = frozenset({"SEG", "SR", "RTSTRUCT", "DOC", "OT"})


def _is_named_dicom(file: StoredFile) -> bool:
    """Whether a file has the name of a DICOM image: if it is not one, a slice may be missing.

    Names that begin with a dot are additions of the operating system: macOS writes them to every disc.
    """
    path = PurePosixPath(file.path.name if file.member is None else file.member)
    return path.suffix.lower() in (".dcm", ".ima", ".dicom") and not path.name.startswith(".")


def _incomplete(absent: Sequence[str]) -> list[Finding]:
    if not absent:
        return []
    what = "file listed in the DICOMDIR is" if len(absent) == 1 else "files listed in the DICOMDIR are"
    sentence = f"{{absent}} {what} missing"
    numbers = {"absent": len(absent)}
    return [
        Finding(Code.UNREADABLE_FILE, Severity.WARNING, sentence, numbers=numbers, files=tuple(map(printable, absent)))
    ]


def _shown(file: StoredFile, root: Path) -> str:
    if file.member is not None:
        return printable(file.member)
    inside = file.path.is_relative_to(root) and file.path != root
    return printable(str(file.path.relative_to(root)) if inside else file.path.name)


def _nothing_found(root: Path, ignored: Sequence[Ignored]) -> str:
    if not ignored:
        return f"{root} is empty: give a folder of DICOM files, one file, a zip, or NIfTI files"
    endings = Counter(Path(entry.file).suffix.lower() or "no suffix" for entry in ignored)
    seen = ", ".join(f"{count} {ending}" for ending, count in endings.most_common(4))
    others = (entry for entry in ignored if entry.reason is not Reason.NOT_DICOM)
    damaged = next((f"; {entry.file}: {entry.explanation}" for entry in others), "")
    return f"{root} holds no DICOM image: it has {counted(len(ignored), 'file')} ({seen}){damaged}"


def _unreadable(ignored: Iterable[Ignored]) -> list[Finding]:
    lost = [entry for entry in ignored if entry.reason.is_loss]
    if not lost:
        return []
    what = "file could not be read and was" if len(lost) == 1 else "files could not be read and were"
    sentence = f"{{unreadable}} {what} left out ({{reasons}})"
    return [
        Finding(
            Code.UNREADABLE_FILE,
            Severity.WARNING,
            sentence,
            numbers={"unreadable": len(lost)},
            files=tuple(entry.file for entry in lost),
            texts={"reasons": "; ".join(dict.fromkeys(entry.reason for entry in lost))},
        )
    ]


def _without_copies(headers: Iterable[Header], root: Path) -> tuple[list[Header], list[Ignored]]:
    """The headers without second copies of a frame, and the reasons for those left out."""
    kept: dict[tuple[object, ...], Header] = {}
    ignored = []
    for header in headers:
        if header.sop_instance_uid is None and header.series_uid is None and header.rows is None:
            ignored.append(Ignored(_shown(header.file, root), Reason.DAMAGED, "no instance in it"))
            continue
        place = (header.series_number, header.instance_number, header.position_mm, header.trigger_time_ms)
        # Some anonymisers give all patients the same UIDs: one patient must not count as a copy of another.
        whose = (header.patient_id, header.study_uid)
        key = (header.sop_instance_uid or header.file, header.series_uid, header.frame_number, place, whose)
        other = kept.get(key)
        if other is None:
            kept[key] = header
            continue
        better, worse = (header, other) if header.pixel_bytes > other.pixel_bytes else (other, header)
        kept[key] = better
        ignored.append(Ignored(_shown(worse.file, root), Reason.COPY, _shown(better.file, root)))
    return list(kept.values()), ignored


def chosen_part(exam: Exam, selection: Selection) -> Exam:
    """The images of an exam that belong to the study and patient that a selection names.

    Raises:
        UsageError: there are none; the message lists the studies.
    """
    study, patient = selection.study_uid, selection.patient_id
    if study is None and patient is None:
        return exam
    headers = [
        header
        for entry in exam.series
        for header in entry.headers
        if study in (None, header.study_uid) and patient in (None, header.patient_id)
    ]
    if not headers:
        wanted = [f"study {study}"] * (study is not None) + ["this PatientID"] * (patient is not None)
        raise UsageError(f"no image of {' and '.join(wanted)} in {exam.path}; there are {_studies(exam)}")
    if len(headers) == sum(len(entry.headers) for entry in exam.series):
        return exam
    return replace(exam, series=group(headers))


def _by_study(exam: Exam) -> dict[tuple[str, str | None], int]:
    """(StudyInstanceUID, PatientID) -> number of series.

    Results of a study without StudyInstanceUID were filed under a UID made for them: they belong to that study.
    """
    studies = Counter((entry.study_uid, patient) for entry in exam.series for patient in _patients(entry))
    images = {
        (entry.study_uid, patient)
        for entry in exam.series
        if entry.modality not in _RESULTS
        for patient in _patients(entry)
    }
    for study, patient in set(studies) - images:
        if ("", patient) in images:
            studies["", patient] += studies.pop((study, patient))
    return studies


def _patients(series: Series) -> set[str | None]:
    return {header.patient_id for header in series.headers}


def _studies(exam: Exam) -> str:
    """The studies of an exam for a message, without patient names."""
    studies = _by_study(exam)
    patients = list(dict.fromkeys(patient for _, patient in studies))
    listed = [
        f"study {uid or 'without UID'} (patient {patients.index(patient) + 1}, {count} series)"
        for (uid, patient), count in studies.items()
    ]
    more = f"; and {len(listed) - 20} more" if len(listed) > 20 else ""
    return "; ".join(listed[:20]) + more


def refuse_several_studies(exam: Exam) -> None:
    """Raise NoShortAxisError, with a list, if an exam holds several studies or patients."""
    studies = _by_study(exam)
    if len(studies) < 2:
        return
    patients, uids = len({patient for _, patient in studies}), len({uid for uid, _ in studies})
    option = "--study UID" if len(studies) == uids else "--patient ID (cinesax inspect --show-patient lists them)"
    what = (
        f"{len(studies)} studies of {counted(patients, 'patient')}"
        if uids > 1
        else f"images of {patients} patients as one study"
    )
    raise NoShortAxisError(
        f"{exam.path} holds {what}: {_studies(exam)}; "
        f"give the folder of one study, or pick one with {option}, or a series with --series UID; "
        "cinesax cohort measures all of them, into one table"
    )
