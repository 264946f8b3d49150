"""The files of a planned exam now: their fingerprint, and where to read them.

Files are read where they lie; objects of a store are copied to this machine for as long as the exam is analyzed.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from cinesax.cohort.planning.group import below, fingerprint
from cinesax.cohort.planning.plan import Kind, Planned
from cinesax.core.errors import InputError, OutputError
from cinesax.files.remote import fetch, is_remote, list_folder, look
from cinesax.files.remote import stamps as stamps_of
from cinesax.files.temporary import remove_lost, temporary_folder

_SPARE_BYTES = 256 * 1024**2
_GB = 1024**3


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
    parts, stamps = [], stamps_of({file.path for file in planned.files})
    for file in planned.files:
        parts.append((below(file.path, planned.top), file.member or "", *stamps[file.path]))
    return fingerprint(parts)


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
    if not is_remote(planned.root):
        yield Here(planned, inputs_of(planned), planned)
        return
    with suppress(OSError):
        remove_lost()
    with temporary_folder() as folder:
        free = shutil.disk_usage(folder).free
        if planned.n_bytes + _SPARE_BYTES > free:
            raise OutputError(
                f"a copy of the exam needs {planned.n_bytes / _GB:.1f} GB in the folder for temporary files (TMPDIR), "
                f"which has {free / _GB:.1f} GB left"
            )
        above = planned.top.parent
        files = _objects(planned)
        before = inputs_of(planned)
        fetch({place: folder / place.relative_to(above) for place in files})
        refuse_change(planned, before)
        local = replace(
            planned,
            root=folder / planned.root.relative_to(above),
            top=folder / planned.top.relative_to(above),
            files=tuple(replace(file, path=folder / file.path.relative_to(above)) for file in planned.files),
        )
        yield Here(planned, before, local)


def refuse_change(planned: Planned, before: str) -> None:
    """Raise ChangedError if the exam has another fingerprint than before."""
    if inputs_of(planned) != before:
        raise ChangedError("a file of the exam was changed while it was read: run the same command again")


def _objects(planned: Planned) -> set[Path]:
    """The objects to copy: those of the exam, and JSON beside NIfTI, which has its times."""
    if planned.kind is Kind.OTHER:
        if look(planned.root).is_folder:
            if list_folder(planned.root).has_odd_names:
                raise InputError(
                    'the folder has objects whose names have empty parts, ".", ".." or "::": give them other names'
                )
            raise ChangedError("the folder could not be listed before, but can be now: run the same command again")
        return {planned.root}
    places = {file.path for file in planned.files}
    if planned.kind is Kind.NIFTI:
        for folder in {place.parent for place in places}:
            beside = {entry.name for entry in list_folder(folder).entries if not entry.is_folder}
            stems = {place.name.removesuffix(".gz").removesuffix(".nii") for place in places if place.parent == folder}
            places |= {folder / f"{stem}.json" for stem in stems if f"{stem}.json" in beside}
    return places
