"""Exchange of two folders in one step, so that a kill at any moment leaves one of them whole in its place."""

import ctypes
import os
import sys
from pathlib import Path

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
