"""What a file is, from its name and its first bytes: an image of an exam, a zip of images, or something beside it."""

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from cinesax.cohort.planning.plan import FileKind, Known
from cinesax.core.cine import StoredFile
from cinesax.core.errors import InputError
from cinesax.dicom.read.belongs import belonging
from cinesax.dicom.read.header import NotDicomError
from cinesax.files.stored_files import ZIP_ERRORS, Opener, list_files, opener
from cinesax.formats.nifti import SUFFIXES, is_nifti, names

SMALLEST_ZIP_BYTES = 22
ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
_TEXT_BYTES = 512
_BEGINNING_BYTES = 64 * 1024
_FEWEST_SLICES = 3
_IMAGES = (".dcm", ".dicom", ".ima", ".zip")
_BESIDE = frozenset(
    ".txt .csv .tsv .json .xml .html .htm .md .pdf .log .cfg .ini .yml .yaml .xlsx .xls .doc .docx .png .jpg .jpeg "
    ".bmp .gif .py .sh .m .db .sqlite .exe .inf .bval .bvec .css .js .parquet .rst .bat .ico .lock".split()
)
"""Suffixes of files that are not exams: a folder with only such files gets no row."""


def kind_of(file: StoredFile, size: int, open_file: Opener) -> Known:
    """The kind of a file.

    Args:
        file: the file.
        size: its bytes, or those of the zip that holds it.
        open_file: opens it for reading.
    """
    if file.member is None and is_nifti(file.path):
        return Known(FileKind.NIFTI, instance=phases_of(file.path))
    name = PurePosixPath(file.member).name if file.member else file.path.name
    known = kind_by_name(name, size)
    if known is not None:
        return known
    try:
        with open_file(file) as stream:
            return kind_by_content(name, stream)
    except OSError:
        return Known(FileKind.OTHER)


def kind_by_name(name: str, size: int) -> Known | None:
    """The kind of a file that is not NIfTI, if its name or its size says it."""
    # Every file of a cohort is asked: making a path of its name would take most of the time.
    if os.path.splitext(name)[1].lower() in _BESIDE or names.is_labels(name):
        return Known(FileKind.BESIDE)
    return Known(FileKind.OTHER) if size == 0 else None


def kind_by_content(name: str, stream: BinaryIO) -> Known:
    """The kind of a file that is not NIfTI.

    Raises:
        OSError: it cannot be read.
    """
    try:
        ids = belonging(stream)
    except NotDicomError:
        stream.seek(0)
        # A page of an error, saved under the name of an image, is an image that is missing.
        text = not name.lower().endswith(_IMAGES) and _is_text(stream.read(_TEXT_BYTES))
        return Known(FileKind.BESIDE if text else FileKind.OTHER)
    if ids.is_directory:
        return Known(FileKind.DIRECTORY)
    return Known(FileKind.DICOM, ids.study_uid or "", ids.patient_id or "", ids.instance_uid or "")


def is_nifti_name(name: str) -> bool:
    """Whether the name is that of a NIfTI file in one part."""
    return name.lower().endswith(SUFFIXES)


def phases_of(path: Path) -> str:
    """The number of phases of a NIfTI file that is a cine by itself; "0" for others, "" for what cannot be read."""
    import nibabel as nib

    try:
        shape = nib.load(path).shape  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001 - whatever is wrong with it, its reader says so
        return ""
    return str(shape[3]) if len(shape) == 4 and min(shape[:3]) >= _FEWEST_SLICES else "0"


def is_zip(path: Path, size: int) -> bool:
    """Whether a file is a zip, by its first bytes."""
    if size < SMALLEST_ZIP_BYTES:
        return False
    try:
        with path.open("rb") as stream:
            return stream.read(4) in ZIP_STARTS
    except OSError:
        return False


def members_of(
    path: Path, size: int, known: Callable[[StoredFile], Known | None] = lambda member: None
) -> Iterator[tuple[StoredFile, Known]]:
    """The files in a zip, and their kinds.

    Args:
        path: the zip.
        size: its bytes.
        known: what is known of a member already.

    Raises:
        InputError: it is damaged, or not safe.
    """
    members = list_files(path)
    with opener() as open_whole, _beginnings(path) as open_file:
        for member in members:
            kind = known(member) or kind_of(member, size, open_file)
            # A deflated data set can only be read from the whole file.
            yield member, kind_of(member, size, open_whole) if kind.kind is FileKind.OTHER else kind


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


def _is_text(start: bytes) -> bool:
    try:
        text = start.decode("utf-8")
    except UnicodeDecodeError as error:
        text = start[: error.start].decode("utf-8") if error.start > len(start) - 4 else "\0"
    return bool(text) and all(letter.isprintable() or letter.isspace() for letter in text)
