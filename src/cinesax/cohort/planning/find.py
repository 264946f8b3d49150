"""Find the files below a root, and what each is: the first step of a plan.

No file is read completely: only the first elements of DICOM, the table of contents of a zip and the first elements of
its members, the header of NIfTI. Files that have not changed since an earlier plan are not read again.
"""

import io
import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from cinesax.cohort.planning.plan import FileKind, Kind, Known, Plan, Seen
from cinesax.core.cine import StoredFile
from cinesax.core.errors import InputError
from cinesax.dicom.read.belongs import belonging
from cinesax.dicom.read.header import NotDicomError
from cinesax.files.stored_files import ZIP_ERRORS, Opener, list_files, opener
from cinesax.formats.nifti import is_nifti, names

_BATCH = 1000
_TEXT_BYTES = 512
_BEGINNING_BYTES = 64 * 1024
_RESULT = "analysis.json"
_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
_IMAGES = (".dcm", ".dicom", ".ima", ".zip")
_BESIDE = frozenset(
    ".txt .csv .tsv .json .xml .html .htm .md .pdf .log .cfg .ini .yml .yaml .xlsx .xls .doc .docx .png .jpg .jpeg "
    ".bmp .gif .py .sh .m .db .sqlite .exe .inf .bval .bvec .css .js .parquet .rst .bat .ico .lock".split()
)
"""Suffixes of files that are not exams: a folder with only such files gets no row."""


def find(root: Path, plan: Plan, *, scope: int = 0, leave_out: Path | None = None) -> Iterator[int]:
    """Put every file below a root into the plan.

    Links to files are followed, and links to folders outside the root; links never lead to the same folder twice.

    Args:
        root: a folder, a zip or a file.
        plan: the plan for the files.
        scope: the number of the root.
        leave_out: a folder to leave out: the folder of results.

    Yields:
        The number of files so far, from time to time.
    """
    walk = _Walk(root, plan, scope)
    held: list[Seen] = []
    count = 0
    for seen in walk.files(leave_out):
        held.append(seen)
        if len(held) >= _BATCH:
            plan.add(held)
            count += len(held)
            held.clear()
            yield count
    plan.add(held)
    yield count + len(held)


class _Walk:
    """One walk below a root."""

    def __init__(self, root: Path, plan: Plan, scope: int) -> None:
        self._root, self._plan, self._scope = root, plan, scope
        self._real_root = Path(os.path.realpath(root))
        self._linked: set[str] = set()

    def files(self, leave_out: Path | None) -> Iterator[Seen]:
        if not self._root.is_dir():
            with opener() as open_file:
                yield from self._file(self._root, open_file)
            return
        avoided = None if leave_out is None else _place(leave_out)
        folders = [self._root]
        while folders:
            folder = folders.pop()
            if avoided is not None and _place(folder) == avoided:
                continue
            try:
                with os.scandir(folder) as entries:
                    listed = sorted(entries, key=lambda entry: entry.name)
            except OSError:
                self._refuse(folder)
                continue
            if any(entry.name == _RESULT for entry in listed):
                continue  # a folder of results, whose label file is not an exam
            below = [Path(entry.path) for entry in listed if self._enters(entry)]
            folders += reversed(below)
            with opener() as open_file:
                for entry in listed:
                    if not entry.name.startswith(".") and _is_file(entry):
                        yield from self._file(Path(entry.path), open_file)

    def _enters(self, entry: "os.DirEntry[str]") -> bool:
        """Whether to enter a folder. Links back into the root, or twice to one place, would count exams twice."""
        with suppress(OSError):
            if entry.name.startswith(".") or not entry.is_dir():
                return False
            if not entry.is_symlink():
                return True
            target = Path(os.path.realpath(entry.path))
            inside = target.is_relative_to(self._real_root) or self._real_root.is_relative_to(target)
            if inside or str(target) in self._linked or any(target.is_relative_to(linked) for linked in self._linked):
                return False
            self._linked.add(str(target))
            return True
        return False

    def _file(self, path: Path, open_file: Opener) -> Iterator[Seen]:
        try:
            info = path.stat()
        except OSError:
            self._refuse(path)  # a broken link, or a disconnected share
            return
        stamp = (info.st_size, info.st_mtime_ns)
        if not stat.S_ISREG(info.st_mode):
            return
        if _is_zip(path, info.st_size):
            yield from self._members(path, stamp)
            return
        yield Seen(self._scope, StoredFile(path), *stamp, self._known(StoredFile(path), stamp, open_file))

    def _members(self, path: Path, stamp: tuple[int, int]) -> Iterator[Seen]:
        try:
            members = list_files(path)
        except InputError:
            self._refuse(path)
            return
        with opener() as open_whole, _beginnings(path) as open_file:
            for member in members:
                known = self._known(member, stamp, open_file)
                if known.kind is FileKind.OTHER:
                    known = _kind_of(
                        member, stamp[0], open_whole
                    )  # a deflated data set can only be read from the whole file
                yield Seen(self._scope, member, *stamp, known)

    def _known(self, file: StoredFile, stamp: tuple[int, int], open_file: Opener) -> Known:
        known = self._plan.known(file.path.parent, file.path.name, file.member or "", stamp)
        return known or _kind_of(file, stamp[0], open_file)

    def _refuse(self, path: Path) -> None:
        """Plan a path as an exam; reading it will fail and give the reason."""
        self._plan.change(
            "INSERT OR REPLACE INTO exams VALUES (?, ?, ?, ?, '', '', 0, 0, 0)",
            (f"path {os.fsencode(path).hex()}", self._scope, Kind.OTHER.value, os.fsencode(path)),
        )


def _place(folder: Path) -> tuple[int, int] | str | None:
    """What tells a folder from all others, whatever links lead to it; None if it cannot be reached."""
    try:
        info = os.stat(folder)
    except OSError:
        return None
    # Some file systems do not number their files.
    return (info.st_dev, info.st_ino) if info.st_ino else os.path.realpath(folder)


def _is_file(entry: "os.DirEntry[str]") -> bool:
    try:
        return not entry.is_dir()
    except OSError:
        return True  # opening it will give the reason


def _is_zip(path: Path, size: int) -> bool:
    if size < 22:  # the smallest zip
        return False
    try:
        with path.open("rb") as stream:
            return stream.read(4) in _ZIP_STARTS
    except OSError:
        return False


@contextmanager
def _beginnings(path: Path) -> Iterator[Opener]:
    """A function that opens the first bytes of a zip member: they name study and patient."""
    try:
        archive = zipfile.ZipFile(path)
    except ZIP_ERRORS as error:
        raise InputError(f"{path} is not a readable zip: {error}") from error

    def open_file(file: StoredFile) -> BinaryIO:
        try:
            with archive.open(file.member or "") as stream:
                return io.BytesIO(stream.read(_BEGINNING_BYTES))
        except (*ZIP_ERRORS, KeyError) as error:
            raise OSError(f"damaged zip member: {error}") from error

    with archive:
        yield open_file


def _kind_of(file: StoredFile, size: int, open_file: Opener) -> Known:
    if file.member is None and is_nifti(file.path):
        return Known(FileKind.NIFTI)
    name = PurePosixPath(file.member).name if file.member else file.path.name
    if _is_beside(name):
        return Known(FileKind.BESIDE)
    if size == 0:
        return Known(FileKind.OTHER)
    try:
        with open_file(file) as stream:
            try:
                ids = belonging(stream)
            except NotDicomError:
                stream.seek(0)
                # A page of an error, saved under the name of an image, is an image that is missing.
                text = not name.lower().endswith(_IMAGES) and _is_text(stream.read(_TEXT_BYTES))
                return Known(FileKind.BESIDE if text else FileKind.OTHER)
    except OSError:
        return Known(FileKind.OTHER)
    if ids.is_directory:
        return Known(FileKind.DIRECTORY)
    return Known(FileKind.DICOM, ids.study_uid or "", ids.patient_id or "", ids.instance_uid or "")


def _is_beside(name: str) -> bool:
    """Whether the name of a file shows that it is not an image of an exam."""
    return Path(name).suffix.lower() in _BESIDE or names.is_labels(Path(name))


def _is_text(start: bytes) -> bool:
    try:
        text = start.decode("utf-8")
    except UnicodeDecodeError as error:
        text = start[: error.start].decode("utf-8") if error.start > len(start) - 4 else "\0"
    return bool(text) and all(letter.isprintable() or letter.isspace() for letter in text)
