"""Notice exams whose files changed after their results were made: by names, sizes and times, then by content."""

import hashlib
import os
from pathlib import Path

from cinesax.reader.store.database import READABLE, ExamRow, Store

GONE = "the exam of these results is no longer where it was: end cinesax view and start it again with --exam EXAM"
_MOST_FILES = 100_000


def fingerprint(path: str) -> str | None:
    """A checksum of the names, sizes and times of the files of an exam; None if it does not exist or cannot be listed.

    It reads no file. Copies of an exam, or files that were only touched, have another one: whether the exam is another
    one, only its content says.
    """
    whole = hashlib.sha256()
    try:
        for name, place in _files(path):
            seen = place.stat()
            whole.update(f"{name}\0{seen.st_size}\0{seen.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    except (OSError, ValueError):
        return None
    return whole.hexdigest()


def _files(path: str) -> list[tuple[str, Path]]:
    if not os.path.isdir(path):
        return [("", Path(path))]
    files: list[tuple[str, Path]] = []
    for folder, inner, names in os.walk(path):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        files += [(os.path.relpath(os.path.join(folder, name), path), Path(folder, name)) for name in sorted(names)]
        if len(files) > _MOST_FILES:
            raise ValueError(f"more than {_MOST_FILES} files")
    return files


def suspects(store: Store) -> list[tuple[ExamRow, str]]:
    """The exams with results whose files are not as they were when both last fitted; each with its fingerprint.

    An exam that is gone is marked at once; one that is back, and the others, have to be read. Of an exam that was never
    compared, the fingerprint is stored, so that later changes are noticed: opening it compares it anyway.
    """
    known = store.fingerprints()
    by_path: dict[str, str | None] = {}  # exams in one folder share their path: list it once
    found = []
    for row in store.exams():
        if row.state not in READABLE or not row.path or row.results is None:
            continue
        if row.path not in by_path:
            by_path[row.path] = fingerprint(row.path)
        seen = by_path[row.path]
        if seen is None:
            if row.changed is None and not os.path.exists(row.path):
                store.set_fields(row.id, changed=GONE)
        elif row.id not in known and row.changed is None:
            store.set_fingerprint(row.id, seen)
        elif seen != known.get(row.id) or row.changed == GONE:
            found.append((row, seen))
    return found


def settle(store: Store, row: ExamRow, seen: str | None, problem: str | None) -> None:
    """Note what reading an exam has shown.

    Args:
        store: where to note it.
        row: the exam.
        seen: its fingerprint before it was read.
        problem: why exam and results do not fit; None if they do.
    """
    if problem is not None and row.path and not os.path.exists(row.path):
        problem = GONE  # whatever reading it said: this mark makes it a suspect when it is there again
    elif seen is not None:
        store.set_fingerprint(row.id, seen)
    present = store.exam(row.id)
    if present is not None and present.changed != problem:
        store.set_fields(row.id, changed=problem)
