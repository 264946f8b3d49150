"""The files of an exam: a folder, a single file or a zip, all opened in the same way.

Nothing is ever unpacked to disk: members of a zip are read in memory, one at a time, within bounds.
"""

import io
import lzma
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from cinesax.core.cine import StoredFile
from cinesax.core.errors import InputError
from cinesax.files.remote import refuse_url

# A cardiac exam has a few thousand files of about 100 kB; far more is an attack or a mistake.
MAX_FILES = 200_000
MAX_MEMBER_BYTES = 2 * 1024**3
MAX_ARCHIVE_BYTES = 8 * 1024**3
# Deflate reaches 1032 : 1 on zeros. MR images reach 2 : 1 to 20 : 1, even with wide black borders.
MAX_RATIO = 200
_RATIO_MATTERS_FROM_BYTES = 64 * 1024**2

# ValueError: names that do not match their declared encoding, and offsets before the start.
ZIP_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, RuntimeError, NotImplementedError, OSError, ValueError),
)


def list_files(path: Path) -> tuple[StoredFile, ...]:
    """All files in a folder (any depth) or zip, or the one file itself, sorted by name.

    Symbolic links to folders are not followed, to avoid loops; links to files are.

    Raises:
        InputError: the path does not exist or is not readable, holds too many files, or is a zip that is damaged or not
            safe.
        UsageError: it is a URL.
    """
    try:
        if path.is_dir():
            return _walk(path)
        if not path.exists():
            refuse_url(path)
            raise InputError(f"{path} does not exist: give a folder of DICOM files, one file, a zip, or NIfTI files")
        if not path.is_file():
            raise InputError(f"{path} is neither a file nor a folder")
        with path.open("rb") as stream:
            zipped = stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    return _members(path) if zipped else (StoredFile(path),)


def _walk(folder: Path) -> tuple[StoredFile, ...]:
    def stop(error: OSError) -> None:
        raise error

    files: list[tuple[tuple[str, ...], Path]] = []
    for root, _, names in os.walk(folder, onerror=stop):
        parent = Path(root)
        files += [((*parent.parts, name), parent / name) for name in names]
        if len(files) > MAX_FILES:
            raise InputError(f"{folder} holds more than {MAX_FILES} files: give the folder of one exam")
    # The order of StoredFile, without building paths for every comparison.
    return tuple(StoredFile(path) for _, path in sorted(files))


def _members(path: Path) -> tuple[StoredFile, ...]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
    except zipfile.BadZipFile as error:
        raise InputError(f"{path} is not a readable zip: it is damaged or incomplete; make it again") from error
    except ZIP_ERRORS as error:
        raise InputError(f"{path} is not a readable zip: {error}") from error
    _refuse_unsafe(path, members)
    return tuple(sorted(StoredFile(path, member.filename) for member in members))


def _refuse_unsafe(path: Path, members: list[zipfile.ZipInfo]) -> None:
    if len(members) > MAX_FILES:
        raise InputError(f"the zip {path} holds {len(members)} files, more than the {MAX_FILES} that are read")
    for member in members:
        if _escapes(member):
            raise InputError(
                f"the zip {path} is not safe: {member.filename!r} points outside it; zip the plain files again"
            )
    # Python never reads more of a member than its declared size, so the declared sizes bound all reading.
    expanded = sum(member.file_size for member in members)
    packed = max(1, sum(member.compress_size for member in members))
    largest = max((member.file_size for member in members), default=0)
    if largest > MAX_MEMBER_BYTES or expanded > MAX_ARCHIVE_BYTES:
        raise InputError(
            f"the zip {path} would expand to {expanded / 1024**3:.1f} GiB, more than the "
            f"{MAX_ARCHIVE_BYTES / 1024**3:.0f} GiB that are read: give the exam as a folder"
        )
    if expanded > _RATIO_MATTERS_FROM_BYTES and expanded > MAX_RATIO * packed:
        raise InputError(
            f"the zip {path} expands {expanded / packed:.0f}-fold, more than the {MAX_RATIO}-fold of real images: "
            "it is not read"
        )


def _escapes(member: zipfile.ZipInfo) -> bool:
    name = member.filename.replace("\\", "/")
    linked = stat.S_ISLNK(member.external_attr >> 16)
    return linked or name.startswith("/") or bool(re.match(r"^[A-Za-z]:", name)) or ".." in PurePosixPath(name).parts


def beside(directory: StoredFile, files: Iterable[StoredFile]) -> list[tuple[PurePosixPath, StoredFile]]:
    """The files in the folder of a table of contents (DICOMDIR), at any depth, with their relative paths.

    Args:
        directory: the table of contents, in a folder or in a zip.
        files: the known files; if this is only the table itself, its folder is searched.
    """
    known = list(files)
    if directory.member is None:
        folder = directory.path.parent
        if known == [directory]:
            known = list(_walk(folder))
        inside = [file for file in known if file.path.is_relative_to(folder)]
        return [(PurePosixPath(file.path.relative_to(folder).as_posix()), file) for file in inside]
    archive = PurePosixPath(directory.member).parent
    members = [(PurePosixPath(file.member), file) for file in known if file.member is not None]
    return [(member.relative_to(archive), file) for member, file in members if member.is_relative_to(archive)]


Opener = Callable[[StoredFile], BinaryIO]


@contextmanager
def opener() -> Iterator[Opener]:
    """A function that opens stored files for reading; each zip is opened once and closed at the end.

    The function raises OSError if a file cannot be read (also for a damaged zip member).
    """
    archives: dict[Path, zipfile.ZipFile] = {}

    def open_file(file: StoredFile) -> BinaryIO:
        if file.member is None:
            # A pipe or a device would block for ever.
            if not file.path.is_file():
                raise OSError("not a plain file")
            return file.path.open("rb")
        try:
            if file.path not in archives:
                archives[file.path] = zipfile.ZipFile(file.path)
            return io.BytesIO(archives[file.path].read(file.member))
        except (*ZIP_ERRORS, KeyError) as error:
            raise OSError(f"damaged zip member: {error}") from error

    try:
        yield open_file
    finally:
        for archive in archives.values():
            archive.close()


def temporary_beside(path: Path) -> Path:
    """A name in the same folder that no other process uses: write to it first, then rename it to `path`."""
    return path.with_name(f".{os.getpid()}-{os.urandom(4).hex()}-{path.name}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name to write to; at the end of the block it becomes `path`, or is removed if that fails.

    Raises:
        OSError: the file cannot be renamed (or what the block raises).
    """
    temporary = temporary_beside(path)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        # After an error the folder itself may be missing.
        with suppress(OSError):
            temporary.unlink()
