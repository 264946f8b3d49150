"""DICOMDIR: the table of contents of a disc or an export, and whether what it names is there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO

import pydicom

from cinesax.core.cine import StoredFile
from cinesax.dicom.read.elements import elements, raw_value, texts
from cinesax.dicom.read.header import understanding
from cinesax.files.stored_files import MAX_FILES, beside

_RECORDS, _FILE_ID = 0x00041220, 0x00041500


def referenced_names(stream: BinaryIO) -> tuple[str, ...]:
    """The files that a DICOMDIR names (ReferencedFileID), as paths from the folder that it lies in.

    Raises:
        NotDicomError: it is damaged.
    """
    with understanding():
        dataset = pydicom.dcmread(stream, specific_tags=[_RECORDS], force=True)
        records = dataset[_RECORDS].value if _RECORDS in dataset else []
        parts = [texts(*raw_value(elements(record), _FILE_ID)) for record in records[:MAX_FILES]]
    return tuple(dict.fromkeys("/".join(part) for part in parts if part and ".." not in part))


@dataclass(frozen=True, slots=True)
class Named:
    """Of the files that directories name, those that are there, and the names of those that are not."""

    there: tuple[StoredFile, ...]
    absent: tuple[str, ...]


def missing_files(files: Sequence[StoredFile], directories: Mapping[StoredFile, Sequence[str]]) -> Named:
    """Which of the files that directories name are there.

    Discs are copied with names in lower case, with versions (";1") or without: these differences do not count.

    Args:
        files: those that were read.
        directories: of each DICOMDIR the names in it.
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
