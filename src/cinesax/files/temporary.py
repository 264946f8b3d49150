"""Folders for temporary files that may hold patients' data: of this user alone, and removed even after a kill."""

import getpass
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_LOCK = ".lock"
_LEFT_FOR_SECONDS = 86_400


def own_place() -> Path:
    """The folder for temporary files of this user; nobody else can look into it.

    Raises:
        OSError: it cannot be made.
    """
    place = Path(tempfile.gettempdir()) / f"cinesax-{getattr(os, 'getuid', getpass.getuser)()}"
    place.mkdir(mode=0o700, exist_ok=True)
    if not hasattr(os, "getuid"):
        return place
    info = place.lstat()
    # Anybody may make a folder of this name before us.
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o077:
        return Path(tempfile.mkdtemp(prefix="cinesax-"))
    return place


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """An empty folder, removed at the end of the block; if the process is killed, by `remove_lost`.

    Raises:
        OSError: it cannot be made.
    """
    place = own_place()
    folder = Path(tempfile.mkdtemp(prefix="lent-", dir=place))
    lock = folder.with_name(folder.name + _LOCK)
    file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(file)
        with suppress(OSError):
            lock.unlink()


def remove_lost() -> None:
    """Remove the temporary folders of processes that were killed."""
    for folder in own_place().glob("lent-*"):
        if folder.name.endswith(_LOCK):
            continue
        lock = folder.with_name(folder.name + _LOCK)
        with suppress(OSError):
            if _is_lost(folder, lock):
                shutil.rmtree(folder, ignore_errors=True)
                lock.unlink(missing_ok=True)


def _is_lost(folder: Path, lock: Path) -> bool:
    if fcntl is None or not lock.exists():  # perhaps it is just being made
        return time.time() - folder.stat().st_mtime > _LEFT_FOR_SECONDS
    file = os.open(lock, os.O_RDWR)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(file)
    # A lock that was made and not taken yet looks the same.
    return time.time() - lock.stat().st_mtime > 1
