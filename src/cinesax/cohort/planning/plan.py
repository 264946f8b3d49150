"""The plan of a cohort: its exams and their files, in a SQLite file, so that memory does not grow with their number.

Each run makes its own plan and replaces the last one when the plan is complete, so two runs at once never share a plan.
Files that have not changed since the last plan are not opened again.
"""

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from cinesax.core.cine import StoredFile

_VERSION = 4
_TABLES = f"""
PRAGMA user_version = {_VERSION};
CREATE TABLE files (
  scope INTEGER, folder BLOB, name BLOB, member TEXT, size INTEGER, mtime INTEGER, kind TEXT,
  study TEXT, patient TEXT, instance TEXT, exam TEXT, absent INTEGER,
  PRIMARY KEY (folder, name, member, scope)
) WITHOUT ROWID;
CREATE TABLE exams (
  id TEXT PRIMARY KEY, scope INTEGER, kind TEXT, root BLOB, patient TEXT, fingerprint TEXT, files INTEGER,
  bytes INTEGER, copies INTEGER, absent INTEGER
) WITHOUT ROWID;
CREATE INDEX of_root ON exams (root, scope);
CREATE TABLE keys (id TEXT PRIMARY KEY, base TEXT, draft TEXT, place TEXT, fingerprint TEXT) WITHOUT ROWID;
CREATE INDEX of_base ON keys (base);
CREATE TABLE scopes (scope INTEGER PRIMARY KEY, root BLOB, name TEXT, columns TEXT);
"""
_EXAMS = (
    "SELECT id, kind, exams.root, fingerprint, patient, exams.scope, files, bytes, copies, absent, columns, name, "
    "scopes.root FROM exams JOIN scopes USING (scope)"
)
# What an error may have hidden is read again; of NIfTI, earlier versions did not keep the phases.
_READABLE = "kind != 'other' AND (kind != 'nifti' OR instance != '')"
_INDICES = (
    "CREATE INDEX of_study ON files (study, patient, scope, kind)",
    "CREATE INDEX of_exam ON files (exam)",
    "CREATE INDEX of_kind ON files (kind, scope, folder)",
)


Row = tuple[Any, ...]
"""A row of a query; SQLite does not give the types of columns."""


class Kind(StrEnum):
    """The kind of an exam, which decides how it is read."""

    DICOM = "dicom"
    """Files that belong to one study and patient."""
    NIFTI = "nifti"
    """A NIfTI file, or a folder of NIfTI files that make one cine."""
    OTHER = "other"
    """An unknown path: reading it will fail and give the reason."""
    UNDECIDED = "undecided"
    """Files with the UIDs of another exam that could not be compared with its files."""


class FileKind(StrEnum):
    """The kind of a file, from its beginning and its name."""

    DICOM = "dicom"
    DIRECTORY = "directory"
    NIFTI = "nifti"
    OTHER = "other"
    """Perhaps an unreadable image: damaged or empty."""
    BESIDE = "beside"
    """A text, table or picture: not an image of an exam."""
    REFUSED = "refused"
    """A damaged or unsafe zip in a store: it is an exam that will fail, and is not fetched again for that."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a file without reading all of it.

    Attributes:
        kind: the kind of the file.
        study, patient, instance: StudyInstanceUID, PatientID, SOPInstanceUID; "" if missing. Of NIfTI, `instance` is
            the number of phases (see `planning.kinds.phases_of`).
    """

    kind: FileKind
    study: str = ""
    patient: str = ""
    instance: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """A file that was found.

    Attributes:
        scope: the number of the root above the file: 0, or the row of a list.
        file: the place of the file.
        size, mtime_ns: size and time of the file, or of the zip that holds it; of an object in a store its size and the
            number of its version.
        known: what is known of the file.
    """

    scope: int
    file: StoredFile
    size: int
    mtime_ns: int
    known: Known


@dataclass(frozen=True, slots=True)
class Planned:
    """One exam of a cohort, with all that is needed to read it.

    Attributes:
        key: the name of the exam in the cohort: pseudonymous, the same in every run.
        kind: the kind of the exam.
        root: the folder or file that holds all of it.
        files: the files that belong to it.
        fingerprint: a hash of names, sizes and times of its files, from when it was planned.
        patient_id: for DICOM, PatientID; "" if missing.
        scope: the number of the root above the exam.
        n_files, n_bytes: number of its files, and their size.
        copies: number of duplicate files, which were left out.
        absent: whether files of it were there in an earlier run, and cannot be reached now.
        columns: the exam's other columns in a list of exams.
        place: the path of the exam below the root, or its name in the list.
        top: the root above the exam.
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
    absent: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)
    place: str = ""
    top: Path = Path()


class Plan:
    """A plan in a SQLite file.

    Args:
        path: the path of the file; it is made if it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._snapshots = 0
        self._knows_earlier = False
        new = not path.exists()
        # A plan does not have to survive a crash: it counts only when it is complete and renamed.
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
        """Take over from another plan what is known of files, and the keys that it and those before it gave."""
        if not earlier.is_file():
            return  # SQLite would create it
        self._base.execute("COMMIT")
        try:
            self._base.execute("ATTACH ? AS earlier", (str(earlier),))
            if self._base.execute("PRAGMA earlier.user_version").fetchone() != (_VERSION,):
                self._base.execute("DETACH earlier")
            else:
                self._knows_earlier = True
                self._base.execute("INSERT INTO keys SELECT * FROM earlier.keys")
        except sqlite3.DatabaseError:
            pass  # damaged, or not a plan: every file is read again
        self._base.execute("BEGIN")

    def known(self, folder: Path, name: str, member: str, stamp: tuple[int, int]) -> Known | None:
        """What an earlier plan knows of a file, if size and time are the same and it could be read."""
        if not self._knows_earlier:
            return None
        try:
            row = self._base.execute(
                "SELECT kind, study, patient, instance FROM earlier.files WHERE folder = ? AND name = ? AND member = ? "
                f"AND size = ? AND mtime = ? AND {_READABLE} LIMIT 1",
                (os.fsencode(folder), os.fsencode(name), member, *stamp),
            ).fetchone()
        except sqlite3.DatabaseError:
            return None
        return None if row is None else Known(FileKind(row[0]), *row[1:])

    def known_members(self, archive: Path, stamp: tuple[int, int]) -> list[tuple[StoredFile, Known]]:
        """The members of a zip in an earlier plan, if its size and time are the same; none if that had no such zip."""
        if not self._knows_earlier:
            return []
        try:
            rows = self._base.execute(
                "SELECT DISTINCT member, kind, study, patient, instance FROM earlier.files WHERE folder = ? "
                "AND name = ? AND member != '' AND size = ? AND mtime = ?",
                (os.fsencode(archive.parent), os.fsencode(archive.name), *stamp),
            ).fetchall()
        except sqlite3.DatabaseError:
            return []
        return [(StoredFile(archive, member), Known(FileKind(kind), *ids)) for member, kind, *ids in rows]

    def lose(self, scope: int, path: Path) -> None:
        """Plan a path that cannot be reached: with the files that an earlier plan knows there, else as `refuse` does.

        So a share that is away for a day does not give its exams new keys.
        """
        place = os.fsencode(path)
        known = 0
        if self._knows_earlier:
            with suppress(sqlite3.DatabaseError):
                # 0x30 follows "/": all folders below.
                known = self.change(
                    "INSERT OR REPLACE INTO files SELECT ?, folder, name, member, size, mtime, kind, study, patient, "
                    "instance, NULL, 1 FROM earlier.files WHERE folder = ? OR (folder > ? AND folder < ?) "
                    "OR (folder = ? AND name = ?)",
                    (scope, place, place + b"/", place + b"0", os.fsencode(path.parent), os.fsencode(path.name)),
                )
        if not known:
            self.refuse(scope, path)

    def refuse(self, scope: int, path: Path) -> None:
        """Plan a path as an exam; reading it will fail and give the reason."""
        self.change(
            "INSERT OR REPLACE INTO exams VALUES (?, ?, ?, ?, '', '', 0, 0, 0, 0)",
            (f"path {os.fsencode(path).hex()}", scope, Kind.OTHER.value, os.fsencode(path)),
        )

    def add_scope(self, scope: int, root: Path, name: str = "", columns: Mapping[str, str] | None = None) -> None:
        """Add a root that holds exams.

        Args:
            scope: the number of the root.
            root: the path.
            name: the name in a list of exams; keys of exams without UIDs are made from it.
            columns: the other columns of the list.
        """
        values = (scope, os.fsencode(root), _encodable(name), json.dumps(dict(columns or {})))
        self._base.execute("INSERT INTO scopes VALUES (?, ?, ?, ?)", values)

    def add(self, files: Iterable[Seen]) -> None:
        """Add files."""
        self._base.executemany(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, 0)",
            (
                (
                    seen.scope,
                    os.fsencode(seen.file.path.parent),
                    os.fsencode(seen.file.path.name),
                    _encodable(seen.file.member or ""),
                    seen.size,
                    seen.mtime_ns,
                    seen.known.kind.value,
                    *map(_encodable, (seen.known.study, seen.known.patient, seen.known.instance)),
                )
                for seen in files
            ),
        )

    def index(self) -> None:
        """Make indices, after all files were added."""
        for statement in _INDICES:
            self._base.execute(statement)
        # Without statistics SQLite uses the index of folders for every study, and time grows quadratically.
        # Only of this plan: the earlier one may be in use by another run.
        self._base.execute("ANALYZE main")

    def rows(self, query: str, values: Sequence[object] = ()) -> Iterator[Row]:
        """The rows of a query, one at a time."""
        yield from self._base.cursor().execute(query, values)

    def snapshot(self, query: str, values: Sequence[object] = ()) -> Iterator[Row]:
        """The present rows of a query, one at a time; the plan may change meanwhile."""
        self._snapshots += 1
        table = f"snapshot_{self._snapshots}"
        self._base.execute(f"CREATE TEMP TABLE {table} AS {query}", values)
        yield from self._base.cursor().execute(f"SELECT * FROM temp.{table} ORDER BY rowid")
        self._base.execute(f"DROP TABLE temp.{table}")

    def define(self, name: str, function: Callable[..., str]) -> None:
        """Define a function of texts for queries."""
        self._base.create_function(name, -1, function, deterministic=True)

    def change(self, query: str, values: Sequence[object] = ()) -> int:
        """Run a query that changes rows; return the number of changed rows."""
        return self._base.execute(query, values).rowcount

    def exams(self, *, with_files: bool = True) -> Iterator[Planned]:
        """All exams in the order of their keys, one at a time."""
        for row in self.rows(f"{_EXAMS} ORDER BY id"):
            yield self._planned(row, with_files=with_files)

    def holds(self, key: str) -> bool:
        """Whether there is an exam of this key."""
        return next(self.rows("SELECT 1 FROM exams WHERE id = ?", (key,)), None) is not None

    def without(self, keys: Sequence[str]) -> set[str]:
        """Those of some hundred keys that no exam has."""
        places = ",".join("?" * len(keys))
        return set(keys) - {row[0] for row in self.rows(f"SELECT id FROM exams WHERE id IN ({places})", keys)}

    def holds_images(self) -> bool:
        """Whether any exam has a file that looks like DICOM or NIfTI."""
        query = "SELECT 1 FROM files WHERE exam IS NOT NULL AND kind IN ('dicom', 'nifti') LIMIT 1"
        return next(self.rows(query), None) is not None

    def some(self, keys: Iterable[str]) -> Iterator[Planned]:
        """The exams with these keys."""
        for key in list(keys):
            for row in self.rows(f"{_EXAMS} WHERE id = ?", (key,)):
                yield self._planned(row)

    def _planned(self, row: Row, *, with_files: bool = True) -> Planned:
        key, kind, root, fingerprint, patient, scope, n_files, n_bytes, copies, absent, columns, name, top = row
        # A table may need a million of these: cutting bytes is faster than making paths relative.
        inside = root[len(top) + 1 :] if root.startswith(top + b"/") else b"." if root == top else root
        return Planned(
            key,
            Kind(kind),
            Path(os.fsdecode(root)),
            self.files_of(key) if with_files else (),
            fingerprint,
            patient_id=patient,
            scope=scope,
            n_files=n_files,
            n_bytes=n_bytes,
            copies=copies,
            absent=bool(absent),
            columns=_columns(columns),
            place=name or os.fsdecode(inside),
            top=_top(top),
        )

    def files_of(self, key: str) -> tuple[StoredFile, ...]:
        """The files of an exam."""
        rows = self._base.execute("SELECT folder, name, member FROM files WHERE exam = ? ORDER BY 1, 2, 3", (key,))
        folders: dict[bytes, Path] = {}  # few: making a path of each again takes as long as all the rest
        return tuple(
            StoredFile(
                (folders.get(folder) or folders.setdefault(folder, Path(os.fsdecode(folder)))) / os.fsdecode(name),
                member or None,
            )
            for folder, name, member in rows
        )

    def list_columns(self) -> list[str]:
        """The other columns of the list of exams."""
        names: dict[str, None] = {}
        for (columns,) in self.rows("SELECT columns FROM scopes ORDER BY scope"):
            names |= dict.fromkeys(json.loads(columns))
        return list(names)

    def count(self) -> int:
        """The number of exams."""
        return int(self._base.execute("SELECT COUNT(*) FROM exams").fetchone()[0])


@cache
def _top(stored: bytes) -> Path:
    return Path(os.fsdecode(stored))


@lru_cache(maxsize=1)
def _columns(stored: str) -> Mapping[str, str]:
    """The other columns of a list; without a list, all exams have the same."""
    return dict(json.loads(stored))


def _encodable(text: str) -> str:
    """A text for SQLite: characters that are not valid Unicode are replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")
