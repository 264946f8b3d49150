"""Who works on which exam, where several runs share a folder of results.

One file, of which each run locks one byte an exam: the system takes the locks of a process back when it ends, however
it ends. Where the system has no such locks (Windows), two runs do some exams twice, with the same result.
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
        """Claim an exam; False if another run has it."""
        if fcntl is None:
            return True
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _place(key))
        except OSError:
            return False
        return True

    def give_back(self, key: str) -> None:
        """Let other runs have an exam."""
        if fcntl is not None:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _place(key))


def _place(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % _PLACES
