"""The plan of a cohort: its exams and their files, in a SQLite file, so that memory does not grow with their number.

Each run makes a plan of its own and puts it in the place of the last one when it is whole: two runs at once never
share one. The last plan tells what is known of files that have not changed since, which are not opened again.
"""

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from cinesax.core.cine import StoredFile

_VERSION = 2
_TABLES = f"""
PRAGMA user_version = {_VERSION};
CREATE TABLE files (
  scope INTEGER, folder BLOB, name BLOB, member TEXT, size INTEGER, mtime INTEGER, kind TEXT,
  study TEXT, patient TEXT, instance TEXT, exam TEXT,
  PRIMARY KEY (folder, name, member, scope)
) WITHOUT ROWID;
CREATE TABLE exams (
  id TEXT PRIMARY KEY, scope INTEGER, kind TEXT, root BLOB, patient TEXT, fingerprint TEXT, files INTEGER,
  bytes INTEGER, copies INTEGER
) WITHOUT ROWID;
CREATE INDEX of_root ON exams (root, scope);
CREATE TABLE scopes (scope INTEGER PRIMARY KEY, root BLOB, name TEXT, columns TEXT);
"""
_EXAMS = (
    "SELECT id, kind, exams.root, fingerprint, patient, exams.scope, files, bytes, copies, columns, name, scopes.root "
    "FROM exams JOIN scopes USING (scope)"
)
_INDICES = (
    "CREATE INDEX of_study ON files (study, patient, scope, kind)",
    "CREATE INDEX of_exam ON files (exam)",
    "CREATE INDEX of_kind ON files (kind, scope, folder)",
)


Row = tuple[Any, ...]
"""Of a query; SQLite says of no column what type it has."""


class Kind(StrEnum):
    """What an exam is, and so how it is read."""

    DICOM = "dicom"
    """Files that belong to one study and patient."""
    NIFTI = "nifti"
    """One NIfTI file, or a folder of those that make one cine."""
    OTHER = "other"
    """A path of which nothing is known: it is given to the reader, which says why it cannot be read."""


class FileKind(StrEnum):
    """What a file is, as far as planning looks into it."""

    DICOM = "dicom"
    DIRECTORY = "directory"
    NIFTI = "nifti"
    OTHER = "other"
    """Looks like an image that nobody can read: damaged, empty."""
    BESIDE = "beside"
    """Texts, tables, pictures: what lies beside exams and is none."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a file without reading it whole.

    Attributes:
        kind: what it is.
        study, patient, instance: StudyInstanceUID, PatientID, SOPInstanceUID; "" for what it does not say.
    """

    kind: FileKind
    study: str = ""
    patient: str = ""
    instance: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """A file that was found.

    Attributes:
        scope: the number of the root below which it was found: 0, or the row of a list.
        file: where it is.
        size, mtime_ns: of the file, or of the zip that holds it.
        known: what it is.
    """

    scope: int
    file: StoredFile
    size: int
    mtime_ns: int
    known: Known


@dataclass(frozen=True, slots=True)
class Planned:
    """One exam of a cohort, as its reader needs it.

    Attributes:
        key: its name in the cohort: pseudonymous, the same in every run.
        kind: how it is read.
        root: the folder or file that holds all of it.
        files: for DICOM, the files that belong to it.
        fingerprint: of names, sizes and times of its files, when it was planned.
        patient_id: for DICOM, PatientID; "" where there is none.
        scope: the number of the root below which it was found.
        n_files, n_bytes: how many files, and their size.
        copies: how many of its files lie there once more, and were left out.
        columns: what a list of exams says of it.
        place: where it lies below the root, or as the list calls it.
        top: the root below which it was found.
    """

    key: str
    kind: Kind
    root: Path
    files: tuple[StoredFile, ...] = field(repr=False, default=())
    fingerprint: str = ""
    patient_id: str = ""
    scope: int = 0
    n_files: int = 0
    n_bytes: int = 0
    copies: int = 0
    columns: Mapping[str, str] = field(default_factory=dict)
    place: str = ""
    top: Path = Path()


class Plan:
    """A plan in a SQLite file.

    Args:
        path: of the file; a new one is made where there is none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._snapshots = 0
        new = not path.exists()
        # Nothing here has to survive a crash: a plan counts only when it is whole and renamed.
        self._base = sqlite3.connect(path, isolation_level=None)
        self._base.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = FILE;")
        if new:
            self._base.executescript(_TABLES)
        self._base.execute("BEGIN")

    def close(self) -> None:
        """Write everything, and close the file."""
        self._base.execute("COMMIT")
        self._base.close()

    def know(self, earlier: Path) -> None:
        """Take over from another plan what is known of files."""
        if not earlier.is_file():
            return  # SQLite would make one
        self._base.execute("COMMIT")
        try:
            self._base.execute("ATTACH ? AS earlier", (str(earlier),))
            if self._base.execute("PRAGMA earlier.user_version").fetchone() != (_VERSION,):
                self._base.execute("DETACH earlier")
        except sqlite3.DatabaseError:
            pass  # damaged, or of something else: everything is looked at again
        self._base.execute("BEGIN")

    def known(self, folder: Path, name: str, member: str, stamp: tuple[int, int]) -> Known | None:
        """What an earlier plan knows of a file, if size and time are the same."""
        try:
            row = self._base.execute(
                "SELECT kind, study, patient, instance FROM earlier.files WHERE folder = ? AND name = ? AND member = ? "
                "AND size = ? AND mtime = ? LIMIT 1",
                (os.fsencode(folder), os.fsencode(name), member, *stamp),
            ).fetchone()
        except sqlite3.DatabaseError:
            return None
        return None if row is None else Known(FileKind(row[0]), *row[1:])

    def add_scope(self, scope: int, root: Path, name: str = "", columns: Mapping[str, str] | None = None) -> None:
        """A root below which exams are looked for.

        Args:
            scope: its number.
            root: where it is.
            name: what it is called in a list of exams: keys of exams without UIDs are made from it.
            columns: what the list says of it.
        """
        values = (scope, os.fsencode(root), _encodable(name), json.dumps(dict(columns or {})))
        self._base.execute("INSERT INTO scopes VALUES (?, ?, ?, ?)", values)

    def add(self, files: Iterable[Seen]) -> None:
        """Files that were found."""
        self._base.executemany(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            (
                (
                    one.scope,
                    os.fsencode(one.file.path.parent),
                    os.fsencode(one.file.path.name),
                    _encodable(one.file.member or ""),
                    one.size,
                    one.mtime_ns,
                    one.known.kind.value,
                    *map(_encodable, (one.known.study, one.known.patient, one.known.instance)),
                )
                for one in files
            ),
        )

    def index(self) -> None:
        """All files are there: make looking for them fast."""
        for statement in _INDICES:
            self._base.execute(statement)
        # Without figures SQLite takes the index of the folder for every study, and time grows with the square.
        self._base.execute("ANALYZE")

    def rows(self, query: str, values: Sequence[object] = ()) -> Iterator[Row]:
        """The rows of a query, one at a time."""
        yield from self._base.cursor().execute(query, values)

    def snapshot(self, query: str, values: Sequence[object] = ()) -> Iterator[Row]:
        """The rows of a query as they are now, one at a time: the plan may be changed in between."""
        self._snapshots += 1
        table = f"snapshot_{self._snapshots}"
        self._base.execute(f"CREATE TEMP TABLE {table} AS {query}", values)
        yield from self._base.cursor().execute(f"SELECT * FROM temp.{table} ORDER BY rowid")
        self._base.execute(f"DROP TABLE temp.{table}")

    def define(self, name: str, function: Callable[..., str]) -> None:
        """Make a function of texts known to queries."""
        self._base.create_function(name, -1, function, deterministic=True)

    def change(self, query: str, values: Sequence[object] = ()) -> int:
        """Do a query that changes rows; how many it has changed."""
        return self._base.execute(query, values).rowcount

    def exams(self, *, with_files: bool = True) -> Iterator[Planned]:
        """All exams in the order of their keys, one at a time."""
        for row in self.rows(f"{_EXAMS} ORDER BY id"):
            yield self._planned(row, with_files=with_files)

    def holds(self, key: str) -> bool:
        """Whether there is an exam of this key, or several that had one key before."""
        query = "SELECT 1 FROM exams WHERE id = ? OR (id > ? AND id < ?) LIMIT 1"
        # "." follows "-": keys that were made longer.
        return next(self.rows(query, (key, f"{key}-", f"{key}.")), None) is not None

    def some(self, keys: Iterable[str]) -> Iterator[Planned]:
        """The exams of these keys."""
        for key in list(keys):
            for row in self.rows(f"{_EXAMS} WHERE id = ?", (key,)):
                yield self._planned(row)

    def _planned(self, row: Row, *, with_files: bool = True) -> Planned:
        key, kind, root, fingerprint, patient, scope, n_files, n_bytes, copies, columns, name, top = row
        # A million of these are made for a table: texts are cut here, paths are made of what is left.
        inside = root[len(top) + 1 :] if root.startswith(top + b"/") else b"." if root == top else root
        return Planned(
            key,
            Kind(kind),
            Path(os.fsdecode(root)),
            self.files_of(key) if with_files and kind == Kind.DICOM else (),
            fingerprint,
            patient_id=patient,
            scope=scope,
            n_files=n_files,
            n_bytes=n_bytes,
            copies=copies,
            columns=json.loads(columns),
            place=name or os.fsdecode(inside),
            top=_top(top),
        )

    def files_of(self, key: str) -> tuple[StoredFile, ...]:
        """The files of an exam."""
        rows = self._base.execute("SELECT folder, name, member FROM files WHERE exam = ? ORDER BY 1, 2, 3", (key,))
        return tuple(
            StoredFile(Path(os.fsdecode(folder)) / os.fsdecode(name), member or None) for folder, name, member in rows
        )

    def list_columns(self) -> list[str]:
        """The columns that a list of exams brought along."""
        names: dict[str, None] = {}
        for (columns,) in self.rows("SELECT columns FROM scopes ORDER BY scope"):
            names |= dict.fromkeys(json.loads(columns))
        return list(names)

    def count(self) -> int:
        """How many exams there are."""
        return int(self._base.execute("SELECT COUNT(*) FROM exams").fetchone()[0])


@cache
def _top(stored: bytes) -> Path:
    return Path(os.fsdecode(stored))


def _encodable(text: str) -> str:
    """A text that SQLite takes: names that are not valid Unicode lose what is not."""
    return text.encode("utf-8", "replace").decode("utf-8")
