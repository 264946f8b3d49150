"""Folders that appear complete or not at all, and are replaced in one step if the system supports it.

If the program is killed at any moment, the old folder or the new one is in place, complete.
"""

import ctypes
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cinesax.files.stored_files import temporary_beside

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # Linux 3.15, renameat2(2)
_RENAME_SWAP = 2  # macOS 10.12, renamex_np(2)


def swap(first: Path, second: Path) -> bool:
    """Exchange two folders of one file system in a single step.

    Returns:
        Whether they were exchanged; False if the system does not support it (Windows, some network shares).
    """
    names = os.fsencode(first), os.fsencode(second)
    try:
        library = ctypes.CDLL(None)
        if sys.platform == "linux":
            failed = library.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)
        elif sys.platform == "darwin":
            failed = library.renamex_np(names[0], names[1], _RENAME_SWAP)
        else:
            return False
    except (OSError, AttributeError, TypeError):
        return False
    return int(failed) == 0


def put_in_place(stage: Path, target: Path) -> None:
    """Move a folder to another name in the same parent folder, replacing what is there, if anything.

    The replaced folder may be in `stage` afterwards; the caller removes it.

    Raises:
        OSError: the move failed; the earlier folder is back in place.
    """
    if target.exists() and swap(stage, target):
        return
    old = stage.with_name(f"{stage.name}.old")
    try:
        if target.exists():
            target.rename(old)
        stage.rename(target)
    finally:
        if old.exists() and not target.exists():
            old.rename(target)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def new_folder(target: Path, *, replace: bool = True) -> Iterator[Path]:
    """A new folder to fill; at the end of the block it becomes `target`, or is removed if that fails.

    Args:
        target: where the folder goes; its parents are created. If it is a link, the folder that it points to is
            replaced.
        replace: whether to replace a folder that exists by then.

    Raises:
        OSError: the folder cannot be created or moved into place.
    """
    # Exchanging the link itself would leave it behind, hidden: folders are not removed through links.
    target = Path(os.path.realpath(target))
    work = temporary_beside(target)
    try:
        work.mkdir(parents=True)
        yield work
        if replace:
            put_in_place(work, target)
        else:
            work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
