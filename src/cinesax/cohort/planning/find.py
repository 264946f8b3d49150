"""Find the files below a root, and what each is: the first step of a plan.

No file is read completely: only the first elements of DICOM, the table of contents of a zip and the first elements of
its members, the header of NIfTI. Files that have not changed since an earlier plan are not read again.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cinesax.cohort.planning.find_remote import RemoteWalk
from cinesax.cohort.planning.kinds import is_zip, kind_of, members_of
from cinesax.cohort.planning.plan import FileKind, Known, Plan, Seen
from cinesax.core.cine import StoredFile
from cinesax.core.errors import InputError
from cinesax.files.remote import is_remote
from cinesax.files.stored_files import Opener, opener

_BATCH = 1000
_RESULT = "analysis.json"


def find(root: Path, plan: Plan, *, scope: int = 0, leave_out: Path | None = None) -> Iterator[int]:
    """Put every file below a root into the plan.

    Links to files are followed, and links to folders outside the root; links never lead to the same folder twice.

    Args:
        root: a folder, a zip or a file; or a place in a store.
        plan: the plan for the files.
        scope: the number of the root.
        leave_out: a folder to leave out: the folder of results.

    Yields:
        The number of files so far, from time to time.

    Raises:
        InputError: a store cannot be reached.
    """
    found = RemoteWalk(root, plan, scope).files() if is_remote(root) else _Walk(root, plan, scope).files(leave_out)
    held: list[Seen] = []
    count = 0
    for seen in found:
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
                self._plan.lose(self._scope, folder)  # no permission, or a disconnected share
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
            info = os.stat(path)
        except OSError:
            self._plan.lose(self._scope, path)  # a broken link, or a disconnected share
            return
        if not stat.S_ISREG(info.st_mode):
            return
        file, stamp = StoredFile(path), (info.st_size, info.st_mtime_ns)
        known = self._plan.known(path.parent, path.name, "", stamp)  # of a zip, only its members are known
        kind = known or kind_of(file, stamp[0], open_file)
        # Nearly all files are DICOM, so only others are opened a second time.
        if known is None and kind.kind is not FileKind.DICOM and is_zip(path, info.st_size):
            yield from self._members(path, stamp)
            return
        yield Seen(self._scope, file, *stamp, kind)

    def _members(self, path: Path, stamp: tuple[int, int]) -> Iterator[Seen]:
        def known(member: StoredFile) -> Known | None:
            return self._plan.known(path.parent, path.name, member.member or "", stamp)

        try:
            for member, kind in members_of(path, stamp[0], known):
                yield Seen(self._scope, member, *stamp, kind)
        except InputError:
            self._plan.refuse(self._scope, path)


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
