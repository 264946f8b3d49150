"""The files of a planned exam now: their fingerprint, and where to read them.

Files are read where they lie; objects of a store are copied to this machine for as long as the exam is analyzed.
"""

import errno
import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from cinesax.cohort.planning.group import below, fingerprint
from cinesax.cohort.planning.plan import Kind, Planned
from cinesax.core.errors import InputError
from cinesax.files.remote import RemoteError, fetch, is_remote, list_folder, look, short_name
from cinesax.files.remote import stamps as stamps_of
from cinesax.files.stored_files import MAX_ARCHIVE_BYTES
from cinesax.files.temporary import check_room, remove_lost, temporary_folder

_UNDECIDED = (
    "another exam has the same UIDs, and files of the two could not be read to compare them: run the same command again"
)
_LONGEST_NAME_BYTES = 255
_LONGEST_PATH_BYTES = 1000


@dataclass(frozen=True, slots=True)
class Here:
    """An exam on this machine.

    Attributes:
        planned: the exam in the plan.
        inputs: the fingerprint of its files before they were read.
        local: the exam where it can be read: the same, or its copy.
    """

    planned: Planned
    inputs: str
    local: Planned

    @property
    def is_copy(self) -> bool:
        """Whether it is a copy, which nobody else changes."""
        return self.local is not self.planned


class ChangedError(InputError):
    """A file was changed while the exam was read."""


def inputs_of(planned: Planned) -> str:
    """The present fingerprint of an exam's files; it equals that of the plan if no file has changed.

    Raises:
        OSError: a file no longer exists; RemoteError, if a store cannot be reached.
    """
    if planned.kind is Kind.OTHER:
        return ""
    stamps, top = stamps_of({file.path for file in planned.files}), str(planned.top)
    return fingerprint((below(str(file.path), top), file.member or "", *stamps[file.path]) for file in planned.files)


@contextmanager
def fetched(planned: Planned) -> Iterator[Here]:
    """The exam on this machine; a copy is removed at the end of the block, and those that killed processes left before.

    Raises:
        RemoteError: an object cannot be read.
        ChangedError: an object was changed while it was copied.
        InputError: the names of the objects cannot be those of files.
        OutputError: there is no room for the copy.
        OSError: the copy cannot be written, or a file does not exist.
    """
    if planned.kind is Kind.UNDECIDED:
        kind, number = (RemoteError, errno.EHOSTDOWN) if is_remote(planned.root) else (OSError, errno.EIO)
        raise kind(number, _UNDECIDED)
    if not is_remote(planned.root):
        yield Here(planned, inputs_of(planned), planned)
        return
    with suppress(OSError):
        remove_lost()
    with temporary_folder() as folder:
        places, n_bytes = _objects(planned)
        check_room(folder, n_bytes)
        copies = _copies(planned, places, folder)
        before = inputs_of(planned)
        fetch(copies)
        refuse_change(planned, before)
        local = replace(
            planned,
            root=_copy_of(planned.root, planned, copies, folder),
            top=_copy_of(planned.top, planned, copies, folder),
            files=tuple(replace(file, path=copies[file.path]) for file in planned.files),
        )
        yield Here(planned, before, local)


def refuse_change(planned: Planned, before: str) -> None:
    """Raise ChangedError if the exam has another fingerprint than before."""
    if inputs_of(planned) != before:
        raise ChangedError("a file of the exam was changed while it was read: run the same command again")


def _copies(planned: Planned, places: set[Path], folder: Path) -> dict[Path, Path]:
    """Object -> its copy: the same names, unless a disk cannot have them or takes two of them for one."""
    inside = {place: place.relative_to(planned.top.parent) for place in sorted(places)}
    alike = {unicodedata.normalize("NFC", str(name)).casefold() for name in inside.values()}
    too_long = any(
        len(os.fsencode(name)) > _LONGEST_PATH_BYTES
        or any(len(os.fsencode(part)) > _LONGEST_NAME_BYTES for part in name.parts)
        for name in inside.values()
    )
    if len(alike) == len(inside) and not too_long:
        return {place: folder / name for place, name in inside.items()}
    if planned.kind is Kind.NIFTI:  # whose names have a meaning
        raise InputError("names of the exam are too long for a disk, or differ only in capitals: give them other names")
    return {place: folder / short_name(place, number) for number, place in enumerate(inside)}


def _copy_of(place: Path, planned: Planned, copies: dict[Path, Path], folder: Path) -> Path:
    """The copy of an object or of a folder; that of a folder is the whole copy if names are others."""
    if place in copies:
        return copies[place]
    inside = folder / place.relative_to(planned.top.parent)
    return inside if inside.is_dir() else folder


def _objects(planned: Planned) -> tuple[set[Path], int]:
    """The objects to copy, and their bytes: those of the exam, and JSON beside NIfTI, which has its times."""
    if planned.kind is Kind.OTHER:
        found = look(planned.root)
        if found.is_folder:
            if list_folder(planned.root).has_odd_names:
                raise InputError(
                    'the folder has objects whose names have empty parts, ".", ".." or "::": give them other names'
                )
            raise ChangedError("the folder could not be listed before, but can be now: run the same command again")
        if found.size > MAX_ARCHIVE_BYTES:
            raise InputError(
                f"the file has {found.size / 1024**3:.1f} GiB, more than the {MAX_ARCHIVE_BYTES / 1024**3:.0f} GiB "
                "that are read: give the exam as a folder"
            )
        return {planned.root}, found.size
    places = {file.path for file in planned.files}
    if planned.kind is Kind.NIFTI:
        for folder in {place.parent for place in places}:
            beside = {entry.name for entry in list_folder(folder).entries if not entry.is_folder}
            stems = {place.name.removesuffix(".gz").removesuffix(".nii") for place in places if place.parent == folder}
            places |= {folder / f"{stem}.json" for stem in stems if f"{stem}.json" in beside}
    return places, planned.n_bytes
