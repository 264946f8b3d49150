"""Claims on exams, so that several runs can share a folder of results.

The runs lock one file, one byte for each exam. The system releases the locks of a process when it ends in any way. On
systems without such locks (Windows), two runs may analyze some exams twice, with the same result.
"""

import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import Final, Self

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_PLACES: Final = 1 << 62


class Claims:
    """The exams that this run works on."""

    def __init__(self, results: Path) -> None:
        self._path = results / ".cohort" / "claims"
        self._file = -1

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def take(self, key: str) -> bool:
        """Claim an exam; False if another run has claimed it."""
        if fcntl is None:
            return True
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _place(key))
        except OSError:
            return False
        return True

    def give_back(self, key: str) -> None:
        """Release an exam for other runs."""
        if fcntl is not None:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _place(key))


def _place(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % _PLACES
