"""Files dropped on the page: kept in the store under numbers. Their own names are never used."""

import secrets
import shutil
import threading
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path

from cinesax.core.errors import InputError, OutputError, UsageError
from cinesax.files.stored_files import list_files
from cinesax.reader.store.database import UnknownError

MAX_FILES = 50_000
MAX_BYTES = 8 * 1024**3
_MOST_OPEN = 20
_NIFTI_MAGIC = (b"n+1\0", b"ni1\0", b"n+2\0")


@dataclass
class _Upload:
    folder: Path
    files: int = 0
    size: int = 0
    writing: int = 0


class Uploads:
    """The folders of dropped files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._open: dict[str, _Upload] = {}

    def clean(self, used: Iterable[str]) -> None:
        """Remove dropped files of earlier runs that did not become an exam.

        Args:
            used: the paths of the exams in the store.
        """
        kept = {part for path in used for part in (Path(path), *Path(path).parents)}
        for folder in self._folder.iterdir() if self._folder.is_dir() else ():
            if folder.is_dir() and not folder.is_symlink() and folder not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def start(self) -> str:
        """Begin an upload of single files; return its name.

        Raises:
            UsageError: too many uploads are unfinished.
            OutputError: the store cannot be written.
        """
        name = f"u{secrets.token_hex(8)}"
        with self._lock:
            if len(self._open) >= _MOST_OPEN:
                raise UsageError("too many uploads were begun and not finished: start cinesax view again")
            self._open[name] = _Upload(self._made(name))
        return name

    async def put(self, name: str, number: int, chunks: AsyncIterator[bytes]) -> None:
        """Store one file of an upload.

        Raises:
            UnknownError: there is no such upload.
            UsageError: too many files or bytes.
            OutputError: the store cannot be written.
        """
        with self._lock:
            upload = self._of(name)
            if upload.files >= MAX_FILES or number >= MAX_FILES:
                raise UsageError(f"more than {MAX_FILES} files were dropped: drop the folder of one exam")
            upload.files += 1
            upload.writing += 1
        part = upload.folder / f"{number:06}.part"
        try:
            size = await self._write(part, chunks, MAX_BYTES - upload.size)
            if size:
                part.rename(part.with_suffix(_suffix(part)))
        finally:
            part.unlink(missing_ok=True)  # an empty file, or one whose sender has disconnected
            with self._lock:
                upload.writing -= 1
        with self._lock:
            upload.size += size

    def finish(self, name: str) -> Path:
        """End an upload; return its folder.

        Raises:
            UnknownError: there is no such upload.
            UsageError: files are still being sent.
            InputError: the upload has no content.
        """
        with self._lock:
            upload = self._of(name)
            if upload.writing:
                raise UsageError("files of this upload are still being sent: finish it afterwards")
            del self._open[name]
        if not any(upload.folder.iterdir()):
            shutil.rmtree(upload.folder, ignore_errors=True)
            raise InputError("all dropped files are empty, or nothing was dropped")
        return upload.folder

    async def zipped(self, chunks: AsyncIterator[bytes]) -> Path:
        """Store a zip and check it; return its path. It is never unpacked to disk.

        Raises:
            InputError: the file is not a zip, or not a safe one.
            UsageError: too many bytes.
            OutputError: the store cannot be written.
        """
        folder = self._made(f"z{secrets.token_hex(8)}")
        path = folder / "exam.zip"
        try:
            await self._write(path, chunks, MAX_BYTES)
            with path.open("rb") as stream:
                if stream.read(4) != b"PK\x03\x04":
                    raise InputError("the dropped file is not a zip, or is empty: drop a zip of DICOM files")
            list_files(path)
        except InputError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise InputError(
                str(error).replace(f"the zip {path}", "the dropped zip").replace(str(path), "the dropped file")
            ) from error
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return path

    def _of(self, name: str) -> _Upload:
        if name not in self._open:
            raise UnknownError
        return self._open[name]

    def _made(self, name: str) -> Path:
        try:
            (self._folder / name).mkdir(parents=True)
        except OSError as error:
            raise OutputError(f"the store cannot be written: {error.strerror or error}") from error
        return self._folder / name

    async def _write(self, path: Path, chunks: AsyncIterator[bytes], room: int) -> int:
        size = 0
        try:
            with path.open("wb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > room:
                        raise UsageError(f"more than {MAX_BYTES // 1024**3} GiB were dropped: drop one exam")
                    file.write(chunk)
        except OSError as error:
            raise OutputError(f"the store cannot be written: {error.strerror or error}") from error
        return size


def _suffix(path: Path) -> str:
    """A suffix chosen by content: the sent names are not used, but NIfTI files are recognised by their names."""
    with path.open("rb") as stream:
        head = stream.read(348)
    if head[:2] == b"\x1f\x8b":
        return ".nii.gz"
    if head[344:348] in _NIFTI_MAGIC or head[4:8] in _NIFTI_MAGIC:
        return ".nii"
    return ".zip" if head[:4] == b"PK\x03\x04" else ".dcm"
