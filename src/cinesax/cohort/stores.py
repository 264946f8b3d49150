"""The work of readers on the exams of a cohort, from the stores that `cinesax view` keeps beside exams.

Stores are opened read-only, without the code of the reader, so a table can be made where the extra `view` is missing.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from cinesax.core.errors import InputError

STORE_NAME = "cinesax-reader"
_FILE = "reader.sqlite"
_QUERY = """
SELECT exams.id, case_key, exams.pixels_sha256, state, exams.by, exams.ef_percent, exams.edv_ml, exams.esv_ml,
  signatures.number, signatures.by, signatures.folder
FROM exams LEFT JOIN signatures ON signatures.exam = exams.id
  AND signatures.number = (SELECT MAX(number) FROM signatures WHERE exam = exams.id)
WHERE state IN ('edited', 'approved', 'excluded') OR signatures.number IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Signed:
    """A store's record of an exam that a person worked on.

    Attributes:
        state: edited, approved or excluded.
        by: the person who edited or approved the exam.
        pixels_sha256: checksum of the exam's pixels; None if the store does not have it.
        approved: the folder of the last approved version; None if there is none.
        ef_percent, edv_ml, esv_ml: values of the edited version.
    """

    state: str
    by: str
    pixels_sha256: str | None
    approved: Path | None
    ef_percent: float | None
    edv_ml: float | None
    esv_ml: float | None


Stores = Mapping[str, tuple[Signed, ...]]
"""The case key of an exam -> the work of readers."""

NO_STORES: Stores = {}


def stores_beside(results: Path) -> list[Path]:
    """The stores that `cinesax view` makes for a folder of results, for an exam in it, or for the folder around it."""
    places = (results / "exams", results, results.parent)
    return [place / STORE_NAME for place in places if (place / STORE_NAME / _FILE).is_file()]


def read_stores(folders: Iterable[Path]) -> Stores:
    """The work of readers, from all stores together.

    Raises:
        InputError: a store cannot be read. Without it the table would show values that readers have replaced.
    """
    stores: dict[str, tuple[Signed, ...]] = {}
    for folder in folders:
        for case, signed in _signed(folder):
            stores[case] = (*stores.get(case, ()), signed)
    return stores


def _signed(folder: Path) -> list[tuple[str, Signed]]:
    path = folder / _FILE
    if not path.is_file():
        raise InputError(f"{folder} is not a store of cinesax view: it has no file {_FILE}")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10)) as base:
            rows = base.execute(_QUERY).fetchall()
    except sqlite3.Error as error:
        raise InputError(f"the store {folder} cannot be read: {error}") from error
    records = []
    for exam, case, pixels, state, by, ef_percent, edv_ml, esv_ml, number, signer, place in rows:
        if case is None:
            continue  # never analyzed: nobody can have edited it
        approved = None if number is None else _version(folder, exam, number, Path(place))
        who = str((signer if approved is not None else by) or "reader")
        records.append((str(case), Signed(str(state), who, pixels, approved, ef_percent, edv_ml, esv_ml)))
    return records


def _version(folder: Path, exam: str, number: int, place: Path) -> Path:
    """The folder of an approved version, also if the store was moved after the approval."""
    return place if place.is_dir() else folder / "results" / exam / f"approved-{number}"
