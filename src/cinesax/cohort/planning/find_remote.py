"""Find the objects below a place in a store.

Folders are listed several at a time. The first bytes of new objects are read, hundreds at a time; only zips are fetched
whole, for their tables of contents.
"""

import errno
import io
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from cinesax.cohort.planning.kinds import (
    SMALLEST_ZIP_BYTES,
    ZIP_STARTS,
    is_nifti_name,
    kind_by_content,
    kind_by_name,
    kind_of,
    members_of,
    phases_of,
)
from cinesax.cohort.planning.plan import FileKind, Known, Plan, Seen
from cinesax.core.cine import StoredFile
from cinesax.core.errors import InputError
from cinesax.dicom.read.header import NotDicomError, refuse_other_files
from cinesax.files.remote import (
    Entry,
    Listing,
    RemoteError,
    as_file,
    beginnings,
    is_concurrent,
    list_folder,
    look,
    shown,
)
from cinesax.files.stored_files import MAX_ARCHIVE_BYTES, opener

_RESULT = "analysis.json"
_BEGINNING_BYTES = 16 * 1024
_AT_ONCE = 256
_LISTINGS_AT_ONCE = 16
ONE_OBJECT = (errno.ENOENT, errno.EACCES)
"""Errors that concern one object or folder; others concern all of the store."""


class RemoteWalk:
    """One walk below a place in a store.

    Args:
        root: a folder or an object.
        plan: the plan that knows earlier walks.
        scope: the number of the root.
    """

    def __init__(self, root: Path, plan: Plan, scope: int) -> None:
        self._root, self._plan, self._scope = root, plan, scope

    def files(self) -> Iterator[Seen]:
        """Every file below the root.

        Raises:
            InputError: the store cannot be reached.
            OutputError: the folder for temporary files cannot be written.
        """
        try:
            yield from self._files()
        except OSError as error:  # too many open files, for example
            raise self._ended(error) from error

    def _files(self) -> Iterator[Seen]:
        try:
            root = look(self._root)
        except RemoteError as error:
            if error.errno not in ONE_OBJECT:
                raise self._ended(error) from error
            self._plan.lose(self._scope, self._root)
            return
        if not root.is_folder:
            yield from self._objects(self._root.parent, [root])
            return
        threads = _LISTINGS_AT_ONCE if is_concurrent(self._root) else 1
        folders, waiting = [self._root], deque[tuple[Path, Future[Listing]]]()
        while folders or waiting:
            while folders and len(waiting) < threads:
                folder = folders.pop()
                waiting.append((folder, _begin_listing(folder)))
            folder, listing = waiting.popleft()
            yield from self._listed(folder, listing, folders)

    def _listed(self, folder: Path, listing: "Future[Listing]", folders: list[Path]) -> Iterator[Seen]:
        try:
            try:
                found = listing.result()
            except RemoteError as error:
                if folder == self._root or error.errno in ONE_OBJECT:
                    raise
                self._ask_root(error)
                found = list_folder(folder)
        except RemoteError as error:
            if folder == self._root and error.errno not in ONE_OBJECT:
                raise self._ended(error) from error
            self._plan.lose(self._scope, folder)
            return
        if any(entry.name == _RESULT for entry in found.entries):
            return  # a folder of results, whose label file is not an exam
        if found.has_odd_names:
            self._plan.refuse(self._scope, folder)
        entries = [entry for entry in found.entries if not entry.name.startswith(".")]
        folders += reversed([folder / entry.name for entry in entries if entry.is_folder])
        yield from self._objects(folder, [entry for entry in entries if not entry.is_folder])

    def _objects(self, folder: Path, entries: list[Entry]) -> Iterator[Seen]:
        """The objects of a folder; only the new ones are read."""
        new: list[Entry] = []
        for entry in entries:
            stamp, place = (entry.size, entry.version), folder / entry.name
            known = self._plan.known(folder, entry.name, "", stamp)
            members = [] if known else self._plan.known_members(place, stamp)
            if known is None and not members and not is_nifti_name(entry.name):
                known = kind_by_name(entry.name, entry.size)
            if known is not None:
                if known.kind is FileKind.REFUSED:
                    self._plan.refuse(self._scope, place)
                yield Seen(self._scope, StoredFile(place), *stamp, known)
            elif members:
                yield from (Seen(self._scope, member, *stamp, kind) for member, kind in members)
            else:
                new.append(entry)
        for start in range(0, len(new), _AT_ONCE):
            some = new[start : start + _AT_ONCE]
            first = beginnings([folder / entry.name for entry in some], _BEGINNING_BYTES)
            for entry, beginning in zip(some, first, strict=True):
                yield from self._tried(folder / entry.name, entry, beginning)

    def _tried(self, place: Path, entry: Entry, beginning: bytes | RemoteError) -> list[Seen]:
        """What a new object is; one that cannot be read, tried twice, is an image that its exam lacks."""
        try:
            try:
                return self._new(place, entry, beginning)
            except RemoteError as error:
                if error.errno in ONE_OBJECT:
                    raise
                self._ask_root(error)
                (again,) = beginnings([place], _BEGINNING_BYTES)
                return self._new(place, entry, again)
        except RemoteError:
            kind = Known(FileKind.NIFTI if is_nifti_name(entry.name) else FileKind.OTHER)
            return [Seen(self._scope, StoredFile(place), entry.size, entry.version, kind)]

    def _new(self, place: Path, entry: Entry, beginning: bytes | RemoteError) -> list[Seen]:
        """What a new object is.

        Raises:
            RemoteError: it cannot be read.
        """
        if isinstance(beginning, RemoteError):
            raise beginning
        stamp = entry.size, entry.version
        if beginning[:4] in ZIP_STARTS and entry.size >= SMALLEST_ZIP_BYTES:
            return self._members(place, stamp)
        nifti = is_nifti_name(entry.name)
        known = _known_nifti(place, entry.size, beginning) if nifti else _known(place, entry.size, beginning)
        return [Seen(self._scope, StoredFile(place), *stamp, known)]

    def _members(self, place: Path, stamp: tuple[int, int]) -> list[Seen]:
        if stamp[0] <= MAX_ARCHIVE_BYTES:
            with suppress(InputError), as_file(place, stamp[0]) as path:
                found = members_of(path, stamp[0])
                return [Seen(self._scope, replace(member, path=place), *stamp, kind) for member, kind in found]
        self._plan.refuse(self._scope, place)
        return [Seen(self._scope, StoredFile(place), *stamp, Known(FileKind.REFUSED))]

    def _ask_root(self, error: RemoteError) -> None:
        ask(self._root, error)

    def _ended(self, error: OSError) -> InputError:
        return _ended(self._root, error)


def ask(place: Path, error: RemoteError) -> None:
    """After an error of one object or folder: raise InputError if a place above it cannot be seen either."""
    try:
        look(place)
    except RemoteError:
        raise _ended(place, error) from error


def _ended(place: Path, error: OSError) -> InputError:
    return InputError(
        f"{shown(place)} cannot be read: {error.strerror or error}; the same command can be repeated later"
    )


def _begin_listing(folder: Path) -> "Future[Listing]":
    """List a folder in a thread of its own, for which neither an interrupted command nor a failed one waits."""
    future: Future[Listing] = Future()

    def work() -> None:
        try:
            future.set_result(list_folder(folder))
        except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future


def _known(place: Path, size: int, beginning: bytes) -> Known:
    known = kind_by_content(place.name, io.BytesIO(beginning))
    try:
        refuse_other_files(io.BytesIO(beginning))
    except NotDicomError:
        return known
    incomplete = known.kind is FileKind.OTHER or (known.kind is FileKind.DICOM and not known.study)
    if size <= len(beginning) or not incomplete:
        return known
    # Its first elements are longer, or it is deflated.
    with as_file(place, size) as path, opener() as open_file:
        return kind_of(StoredFile(path), size, open_file)


def _known_nifti(place: Path, size: int, beginning: bytes) -> Known:
    with as_file(place, content=beginning) as path:
        phases = phases_of(path)
    if not phases and len(beginning) >= _BEGINNING_BYTES:  # a header with long extensions
        with as_file(place, size) as whole:
            phases = phases_of(whole)
    return Known(FileKind.NIFTI, instance=phases)
