"""The store: exams, edits and signatures, in one SQLite file.

    STORE/reader.sqlite      write-ahead log: a commit is on disk before the request is answered
    STORE/results/ID/        results of the network (as `cinesax analyze` writes them), and approved-1, approved-2, ...
    STORE/uploads/           files dropped on the page

An edit holds the change and its opposite. The edits up to the number `applied` are in force; undo and redo move this
number. An edit after an undo marks the undone edits as dropped; they stay in the file.
"""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from cinesax.core.errors import InputError, OutputError, UsageError

NAME = "reader.sqlite"
_BUSY_S = 10.0

_TABLES = """
CREATE TABLE IF NOT EXISTS exams (
    id TEXT PRIMARY KEY, path TEXT NOT NULL, study_uid TEXT, series_uid TEXT, results TEXT, case_key TEXT,
    state TEXT NOT NULL, before_exclusion TEXT, version INTEGER NOT NULL DEFAULT 0, applied INTEGER NOT NULL DEFAULT 0,
    error TEXT, reason TEXT, comment TEXT, sent_back INTEGER NOT NULL DEFAULT 0, by TEXT, patient TEXT,
    ef_percent REAL, edv_ml REAL, esv_ml REAL, first_ef_percent REAL, first_edv_ml REAL, first_esv_ml REAL,
    author TEXT, errors INTEGER NOT NULL DEFAULT 0, warnings INTEGER NOT NULL DEFAULT 0,
    notes INTEGER NOT NULL DEFAULT 0, doubts TEXT NOT NULL DEFAULT '[]', changed TEXT, pixels_sha256 TEXT,
    model_sha256 TEXT, added_at TEXT NOT NULL, updated_at TEXT NOT NULL, ef_error_points REAL,
    trust TEXT);
CREATE TABLE IF NOT EXISTS edits (
    id INTEGER PRIMARY KEY AUTOINCREMENT, exam TEXT NOT NULL, number INTEGER NOT NULL, by TEXT NOT NULL,
    at TEXT NOT NULL, what TEXT NOT NULL, change BLOB NOT NULL, opposite BLOB NOT NULL,
    dropped INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS edits_of_exam ON edits (exam, dropped, number);
CREATE TABLE IF NOT EXISTS signatures (
    exam TEXT NOT NULL, number INTEGER NOT NULL, by TEXT NOT NULL, at TEXT NOT NULL, comment TEXT NOT NULL,
    folder TEXT NOT NULL, pixels_sha256 TEXT NOT NULL, model_sha256 TEXT, ef_percent REAL, edv_ml REAL, esv_ml REAL,
    PRIMARY KEY (exam, number));
CREATE TABLE IF NOT EXISTS moves (
    id INTEGER PRIMARY KEY AUTOINCREMENT, exam TEXT NOT NULL, by TEXT NOT NULL, at TEXT NOT NULL, what TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS fingerprints (exam TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT OR IGNORE INTO counters VALUES ('list', 1);
"""


class State(StrEnum):
    """The state of an exam."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    EDITED = "edited"
    APPROVED = "approved"
    FAILED = "failed"
    EXCLUDED = "excluded"


READABLE = (State.DONE, State.EDITED, State.APPROVED)
"""States in which an exam has results to view."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamRow:
    """An exam in the store; the fields are the columns of the table."""

    id: str
    path: str
    study_uid: str | None
    series_uid: str | None
    results: str | None
    case_key: str | None
    state: State
    before_exclusion: str | None
    version: int
    applied: int
    error: str | None
    reason: str | None
    comment: str | None
    sent_back: bool
    by: str | None
    patient: str | None
    ef_percent: float | None
    edv_ml: float | None
    esv_ml: float | None
    first_ef_percent: float | None
    first_edv_ml: float | None
    first_esv_ml: float | None
    author: str | None
    errors: int
    warnings: int
    notes: int
    doubts: str
    changed: str | None
    pixels_sha256: str | None
    model_sha256: str | None
    added_at: str
    updated_at: str
    ef_error_points: float | None = None
    trust: str | None = None


@dataclass(frozen=True, slots=True)
class StoredEdit:
    """One edit: by whom, when, and what."""

    number: int
    by: str
    at: str
    what: str
    change: bytes
    opposite: bytes


@dataclass(frozen=True, slots=True)
class Signature:
    """One approved version."""

    number: int
    by: str
    at: str
    comment: str
    folder: str
    pixels_sha256: str
    model_sha256: str | None


@dataclass(frozen=True, slots=True)
class SignedValues:
    """The numbers of an approved version."""

    exam: str
    by: str
    ef_percent: float | None
    edv_ml: float | None
    esv_ml: float | None


@dataclass(frozen=True, slots=True)
class Shown:
    """What the worklist shows of a reading: see `cinesax.reader.listed`.

    Attributes:
        doubts: messages of errors and warnings, as JSON.
        ef_error_points: the typical error of EF; None if it is not known.
        trust: what is expected of the network, as JSON: "null" if nothing is. In the table, NULL says that an earlier
            version of cinesax did not store it.
    """

    ef_percent: float | None
    edv_ml: float | None
    esv_ml: float | None
    errors: int
    warnings: int
    notes: int
    doubts: str
    ef_error_points: float | None = None
    trust: str = "null"


class StaleError(Exception):
    """A change was made on an older version of the exam."""


class UnknownError(Exception):
    """There is no such exam, version or upload."""


_COLUMNS = tuple(field.name for field in fields(ExamRow))


def now() -> str:
    """The present time in UTC, to a second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Store:
    """The file and the folders around it. Methods may be called from any thread.

    Methods that change an exam take the version that the change was made on, and return the new version. They raise
    StaleError if the exam has another version.
    """

    def __init__(self, folder: Path) -> None:
        """Open or create a store, for one process.

        Raises:
            OutputError: the folder cannot be written, or the store is damaged.
            UsageError: another process has it open.
        """
        self.folder = folder
        self._lock = threading.RLock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._claim = _claimed(folder / "in-use.sqlite")
            self._db = sqlite3.connect(folder / NAME, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_TABLES)
            _add_missing_columns(self._db)
        except (OSError, sqlite3.Error) as error:
            raise OutputError(f"the store {folder} cannot be used: {error}; give another with --store") from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()
            self._claim.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all or nothing, on disk at the end. It increases the version of the worklist."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("UPDATE counters SET value = value + 1 WHERE name = 'list'")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def list_version(self) -> int:
        """The version of the worklist, which grows with every change."""
        with self._lock:
            return int(self._db.execute("SELECT value FROM counters WHERE name = 'list'").fetchone()[0])

    def exams(self) -> list[ExamRow]:
        """All exams, in the order in which they were added."""
        with self._lock:
            rows = self._db.execute(f"SELECT {', '.join(_COLUMNS)} FROM exams ORDER BY added_at, rowid").fetchall()
        return [_row(row) for row in rows]

    def exam(self, exam: str) -> ExamRow | None:
        """One exam; None if it does not exist."""
        with self._lock:
            row = self._db.execute(f"SELECT {', '.join(_COLUMNS)} FROM exams WHERE id = ?", (exam,)).fetchone()
        return None if row is None else _row(row)

    def add(
        self,
        exam: str,
        path: str,
        *,
        study_uid: str | None,
        results: str | None,
        case_key: str | None,
        name: str | None,
    ) -> bool:
        """Add an exam unless it exists: as done if it has results, else as waiting. Return whether it was added."""
        with self._transaction() as db:
            done = db.execute(
                "INSERT OR IGNORE INTO exams (id, path, study_uid, results, case_key, state, patient, added_at, "
                "updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    exam,
                    path,
                    study_uid,
                    results,
                    case_key,
                    State.DONE if results else State.WAITING,
                    name,
                    now(),
                    now(),
                ),
            )
            return done.rowcount == 1

    def set_fields(self, exam: str, **values: object) -> None:
        """Set columns of an exam."""
        unknown = set(values) - set(_COLUMNS)
        if unknown:
            raise TypeError(f"no column is called {', '.join(unknown)}")
        names = ", ".join(f"{name} = ?" for name in values)
        with self._transaction() as db:
            db.execute(f"UPDATE exams SET {names}, updated_at = ? WHERE id = ?", (*values.values(), now(), exam))

    def complete(self, exam: str, *, trust: str, **values: object) -> None:
        """Set columns of an exam, unless it has got its trust in the meantime, as by an edit."""
        names = "".join(f", {name} = ?" for name in values)
        with self._transaction() as db:
            db.execute(
                f"UPDATE exams SET trust = ?{names} WHERE id = ? AND trust IS NULL", (trust, *values.values(), exam)
            )

    def fingerprints(self) -> dict[str, str]:
        """Exam -> the fingerprint of its files when they were last compared with the results."""
        with self._lock:
            return dict(self._db.execute("SELECT exam, value FROM fingerprints").fetchall())

    def set_fingerprint(self, exam: str, value: str) -> None:
        """Store the fingerprint of the files of an exam."""
        with self._lock:
            self._db.execute("INSERT OR REPLACE INTO fingerprints VALUES (?, ?)", (exam, value))

    def next_version(self, exam: str, version: int, who: str, what: str, **values: object) -> int:
        """Set columns for a change that is not an edit (exclude, send back, ...)."""
        with self._transaction() as db:
            made = _advance(db, exam, version)
            db.execute("INSERT INTO moves (exam, by, at, what) VALUES (?, ?, ?, ?)", (exam, who, now(), what))
            for name, value in values.items():
                if name not in _COLUMNS:
                    raise TypeError(f"no column is called {name}")
                db.execute(f"UPDATE exams SET {name} = ? WHERE id = ?", (value, exam))
        return made

    def claim_next(self) -> ExamRow | None:
        """Mark the next waiting exam as running and return it; None if no exam waits."""
        with self._lock:
            row = self._db.execute(
                "SELECT id FROM exams WHERE state = ? ORDER BY added_at, rowid LIMIT 1", (State.WAITING,)
            ).fetchone()
            if row is None:
                return None
            self.set_fields(row[0], state=State.RUNNING, error=None)
            return self.exam(row[0])

    def restart(self) -> None:
        """Let exams wait again that were running when the last process ended."""
        with self._transaction() as db:
            db.execute("UPDATE exams SET state = ? WHERE state = ?", (State.WAITING, State.RUNNING))

    def edits(self, exam: str) -> list[StoredEdit]:
        """The edits of an exam in order, with undone ones, but without dropped ones."""
        with self._lock:
            rows = self._db.execute(
                "SELECT number, by, at, what, change, opposite FROM edits WHERE exam = ? AND dropped = 0 "
                "ORDER BY number",
                (exam,),
            ).fetchall()
        return [StoredEdit(*row) for row in rows]

    def line(self, exam: str) -> list[tuple[int, str, str, str]]:
        """Number, author, time and description of each edit that was not dropped."""
        with self._lock:
            rows = self._db.execute(
                "SELECT number, by, at, what FROM edits WHERE exam = ? AND dropped = 0 ORDER BY number", (exam,)
            ).fetchall()
        return [(int(row[0]), str(row[1]), str(row[2]), str(row[3])) for row in rows]

    def add_edit(self, exam: str, version: int, edit: StoredEdit, shown: Shown) -> int:
        """Store an edit; its number is set here."""
        with self._transaction() as db:
            made = _advance(db, exam, version)
            applied = int(db.execute("SELECT applied FROM exams WHERE id = ?", (exam,)).fetchone()[0])
            db.execute("UPDATE edits SET dropped = 1 WHERE exam = ? AND dropped = 0 AND number > ?", (exam, applied))
            db.execute(
                "INSERT INTO edits (exam, number, by, at, what, change, opposite) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (exam, applied + 1, edit.by, edit.at, edit.what, edit.change, edit.opposite),
            )
            _set_applied(db, exam, applied + 1, by=edit.by, shown=shown)
        return made

    def move(self, exam: str, version: int, applied: int, *, by: str, shown: Shown) -> int:
        """Undo or redo: set how many edits are in force."""
        with self._transaction() as db:
            made = _advance(db, exam, version)
            _set_applied(db, exam, applied, by=by, shown=shown)
            db.execute(
                "INSERT INTO moves (exam, by, at, what) VALUES (?, ?, ?, ?)",
                (exam, by, now(), f"{applied} edits apply"),
            )
        return made

    def sign(self, exam: str, version: int, signature: Signature) -> int:
        """Store a signature; the exam becomes approved."""
        with self._transaction() as db:
            made = _advance(db, exam, version)
            db.execute(
                "INSERT INTO signatures (exam, number, by, at, comment, folder, pixels_sha256, model_sha256, "
                "ef_percent, edv_ml, esv_ml) SELECT ?, ?, ?, ?, ?, ?, ?, ?, ef_percent, edv_ml, esv_ml FROM exams "
                "WHERE id = ?",
                (
                    *(exam, signature.number, signature.by, signature.at, signature.comment, signature.folder),
                    *(signature.pixels_sha256, signature.model_sha256, exam),
                ),
            )
            db.execute(
                "UPDATE exams SET state = ?, by = ?, comment = ?, sent_back = 0, changed = NULL, updated_at = ? "
                "WHERE id = ?",
                (State.APPROVED, signature.by, signature.comment, now(), exam),
            )
        return made

    def signatures(self, exam: str) -> list[Signature]:
        """The approved versions, in order."""
        with self._lock:
            rows = self._db.execute(
                "SELECT number, by, at, comment, folder, pixels_sha256, model_sha256 FROM signatures WHERE exam = ? "
                "ORDER BY number",
                (exam,),
            ).fetchall()
        return [Signature(*row) for row in rows]

    def last_signatures(self) -> dict[str, Signature]:
        """Exam -> its last approved version."""
        with self._lock:
            rows = self._db.execute(
                "SELECT exam, max(number), by, at, comment, folder, pixels_sha256, model_sha256 FROM signatures "
                "GROUP BY exam"
            ).fetchall()
        return {str(row[0]): Signature(*tuple(row)[1:]) for row in rows}

    def signed_values(self) -> list[SignedValues]:
        """The numbers of every approved version, in the order of signing."""
        with self._lock:
            rows = self._db.execute(
                "SELECT exam, by, ef_percent, edv_ml, esv_ml FROM signatures ORDER BY at, number"
            ).fetchall()
        return [SignedValues(*row) for row in rows]

    def results_folder(self, exam: str, name: str) -> Path:
        """The folder for results of an exam."""
        return self.folder / "results" / exam / name


def _row(row: sqlite3.Row) -> ExamRow:
    values = dict(zip(row.keys(), tuple(row), strict=True))
    return ExamRow(**{**values, "state": State(values["state"]), "sent_back": bool(values["sent_back"])})


def _advance(db: sqlite3.Connection, exam: str, version: int) -> int:
    done = db.execute("UPDATE exams SET version = version + 1 WHERE id = ? AND version = ?", (exam, version))
    if done.rowcount != 1:
        raise StaleError
    return version + 1


def _add_missing_columns(db: sqlite3.Connection) -> None:
    """Bring the store of an earlier version up to date."""
    present = {row["name"] for row in db.execute("PRAGMA table_info(exams)")}
    for name, kind in (("ef_error_points", "REAL"), ("trust", "TEXT")):
        if name not in present:
            db.execute(f"ALTER TABLE exams ADD COLUMN {name} {kind}")


def _set_applied(db: sqlite3.Connection, exam: str, applied: int, *, by: str, shown: Shown) -> None:
    signed = db.execute("SELECT count(*) FROM signatures WHERE exam = ?", (exam,)).fetchone()[0]
    state = State.EDITED if applied or signed else State.DONE
    values: Sequence[object] = (
        *(applied, state, by, now(), shown.ef_percent, shown.edv_ml, shown.esv_ml),
        *(shown.errors, shown.warnings, shown.notes, shown.doubts, shown.ef_error_points, shown.trust, exam),
    )
    db.execute(
        "UPDATE exams SET applied = ?, state = ?, by = ?, updated_at = ?, ef_percent = ?, edv_ml = ?, esv_ml = ?, "
        "errors = ?, warnings = ?, notes = ?, doubts = ?, "
        "ef_error_points = ?, trust = ? WHERE id = ?",
        tuple(values),
    )


def _claimed(path: Path) -> sqlite3.Connection:
    """A connection that locks the store for this process. The lock ends with the process, however it ends.

    Raises:
        UsageError: another process has locked it.
    """
    claim = sqlite3.connect(path, timeout=0.5, isolation_level=None, check_same_thread=False)
    try:
        claim.execute("PRAGMA locking_mode=EXCLUSIVE")
        claim.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        claim.close()
        if "lock" not in str(error):
            raise
        raise UsageError(
            f"another cinesax view has the store {path.parent} open: use its page, end it, or give another --store"
        ) from error
    return claim


def refuse_inside(store: Path, exam: Path) -> None:
    """Refuse a store inside the folder of an exam: cinesax never writes into an exam.

    Raises:
        UsageError: the store is inside the folder.
    """
    try:
        inside = exam.is_dir() and store.resolve().is_relative_to(exam.resolve())
    except OSError as error:
        raise InputError(f"{exam} cannot be read: {error.strerror or error}") from error
    if inside:
        raise UsageError(f"the store {store} is inside {exam}, where cinesax never writes: give another with --store")
