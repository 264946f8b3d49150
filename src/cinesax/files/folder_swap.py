"""Folders that appear whole or not at all, and are replaced in one step where the system can.

A kill at any moment leaves the old folder or the new one in its place, whole.
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


def swap(one: Path, other: Path) -> bool:
    """Let two folders of one file system change places, as a single step.

    Returns:
        Whether they did; False where the system or the file system does not know how (Windows, some network shares).
    """
    names = os.fsencode(one), os.fsencode(other)
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
    """Let a folder take the place of another in the same folder, or of none.

    What was in the place may lie in `stage` afterwards; the caller removes that.

    Raises:
        OSError: it cannot be; what was there is there again.
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
    """A folder to fill; at the end of the block it takes the place of `target`, and is removed where that fails.

    Args:
        target: where it goes; its parents are made. Of a link, what it leads to is replaced.
        replace: whether it takes the place of a folder that is there by then.

    Raises:
        OSError: it cannot be made, or not be put there.
    """
    # A link that is itself exchanged would stay behind, hidden: no folder is removed through one.
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
