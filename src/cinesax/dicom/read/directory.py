"""DICOMDIR: the table of contents of a disc or an export, and which of its files exist."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO

from cinesax.core.cine import StoredFile
from cinesax.dicom.read.elements import raw_value, texts
from cinesax.dicom.read.header import understanding
from cinesax.dicom.read.parse import items, parse_file
from cinesax.files.stored_files import MAX_FILES, beside

_RECORDS, _FILE_ID = 0x00041220, 0x00041500


def referenced_names(stream: BinaryIO) -> tuple[str, ...]:
    """The files that a DICOMDIR lists (ReferencedFileID), as paths relative to its folder.

    Raises:
        NotDicomError: the DICOMDIR is damaged.
    """
    with understanding():
        records = items(parse_file(stream, [_RECORDS]).elements.get(_RECORDS))
        parts = [texts(*raw_value(record, _FILE_ID)) for record in records[:MAX_FILES]]
    return tuple(dict.fromkeys("/".join(part) for part in parts if part and ".." not in part))


@dataclass(frozen=True, slots=True)
class Named:
    """The files listed in DICOMDIRs: those that exist, and the names of those that are missing."""

    there: tuple[StoredFile, ...]
    absent: tuple[str, ...]


def missing_files(files: Sequence[StoredFile], directories: Mapping[StoredFile, Sequence[str]]) -> Named:
    """Which of the files listed in DICOMDIRs exist.

    Copies of discs have names in lower or upper case, with versions (";1") or without: these differences are ignored.

    Args:
        files: the files that were read.
        directories: the names in each DICOMDIR.
    """
    there: list[StoredFile] = []
    absent: list[str] = []
    for directory, names in directories.items():
        known = {_plain(place): file for place, file in beside(directory, files)}
        for name in names:
            file = known.get(_plain(PurePosixPath(name)))
            if file is None:
                absent.append(name)
            else:
                there.append(file)
    return Named(tuple(there), tuple(absent))


def _plain(path: PurePosixPath) -> str:
    return str(path).lower().split(";")[0].rstrip(".")
