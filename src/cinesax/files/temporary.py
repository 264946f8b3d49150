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

from cinesax.core.errors import OutputError

_LOCK = ".lock"
_LEFT_FOR_SECONDS = 86_400
_SPARE_BYTES = 256 * 1024**2
_GB = 1024**3
_ALONE = "cinesax-alone-"
_instead: dict[tuple[Path, int], Path] = {}
"""Folders of single processes, by the place that cannot be used and the process."""


def own_place() -> Path:
    """The folder for temporary files of this user; nobody else can look into it.

    Raises:
        OSError: it cannot be made.
    """
    place = _place()
    with suppress(FileExistsError):  # it may also be a file
        place.mkdir(mode=0o700)
    if _is_own(place):
        return place
    key = place, os.getpid()
    if key not in _instead or not _instead[key].is_dir():
        from multiprocessing.util import Finalize

        _instead[key] = Path(tempfile.mkdtemp(prefix=_ALONE))
        # Unlike functions of atexit, it also runs at the end of worker processes.
        Finalize(None, shutil.rmtree, args=(_instead[key], True), exitpriority=0)
    return _instead[key]


def _place() -> Path:
    return Path(tempfile.gettempdir()) / f"cinesax-{getattr(os, 'getuid', getpass.getuser)()}"


def _is_own(place: Path) -> bool:
    """Whether a place is a folder of this user; then nobody else can look into it any more.

    Anybody may make a folder of this name before us.
    """
    if not hasattr(os, "getuid"):
        return place.is_dir()
    info = place.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
        return False
    if stat.S_IMODE(info.st_mode) != 0o700:
        place.chmod(0o700)
    return True


def check_room(folder: Path, n_bytes: int) -> None:
    """Raise OutputError if a folder for temporary files has no room for a copy."""
    free = shutil.disk_usage(folder).free
    if n_bytes + _SPARE_BYTES > free:
        raise OutputError(
            f"a copy needs {(n_bytes + _SPARE_BYTES) / _GB:.1f} GB in the folder for temporary files (TMPDIR), which "
            f"has {free / _GB:.1f} GB left"
        )


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
    """Remove the temporary folders of processes that were killed.

    Raises:
        OSError: there is no folder for temporary files.
    """
    place = _place()
    for one in (place, *place.parent.glob(f"{_ALONE}*")):
        with suppress(OSError):
            if _is_own(one):
                _remove_lost_in(one)
                if one != place and _is_old(one):
                    one.rmdir()  # if nothing is in it


def _remove_lost_in(place: Path) -> None:
    for folder in place.glob("lent-*"):
        if folder.name.endswith(_LOCK):
            continue
        lock = folder.with_name(folder.name + _LOCK)
        with suppress(OSError):
            if _is_lost(folder, lock):
                shutil.rmtree(folder, ignore_errors=True)
                lock.unlink(missing_ok=True)


def _is_old(folder: Path) -> bool:
    return time.time() - folder.stat().st_mtime > _LEFT_FOR_SECONDS


def _is_lost(folder: Path, lock: Path) -> bool:
    if fcntl is None or not lock.exists():  # perhaps it is just being made
        return _is_old(folder)
    file = os.open(lock, os.O_RDWR)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(file)
    # A lock that was made and not taken yet looks the same.
    return time.time() - lock.stat().st_mtime > 1
