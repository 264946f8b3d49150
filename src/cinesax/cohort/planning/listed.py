"""A list of exams: a CSV or Parquet file with paths, and columns of the user's own that come back in the table."""

import codecs
import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cinesax.core.errors import InputError, MissingExtraError, UsageError, install_hint
from cinesax.files.remote import is_url, place_of

_PATH_COLUMNS = ("path", "folder", "file", "exam", "filename")
_WORKBOOKS = (".xlsx", ".xlsm", ".xls", ".ods", ".numbers")
# The first bytes of a zip, which workbooks are, and of a workbook of Excel before 2007.
_WORKBOOK_STARTS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")


@dataclass(frozen=True, slots=True)
class Listed:
    """One row of a list.

    Attributes:
        path: the path of the exam, or its place in a store.
        name: the path or URL as written in the list.
        columns: the other cells, by column.
    """

    path: Path
    name: str
    columns: Mapping[str, str]


def read_list(path: Path) -> tuple[Listed, ...]:
    """Read a list of paths and URLs; relative paths start at the folder of the list.

    The column of paths is called path, folder, file, exam or filename; otherwise it is the first column.

    Raises:
        InputError: the file does not exist or is not a table, or a path is listed twice.
        UsageError: a URL that cannot be read.
        MissingExtraError: the list is a Parquet file, and pyarrow is missing; or a package that reads its URLs is.
    """
    rows = list(table_rows(path, "list of exams"))
    if not rows:
        raise InputError(f"{path} lists no exam")
    names = list(rows[0])
    column = next((name for known in _PATH_COLUMNS for name in names if name.strip().lower() == known), names[0])
    listed: dict[str, Listed] = {}
    for number, row in enumerate(rows, start=2):
        name = row[column].strip()
        if not name:
            raise InputError(f"{path}, row {number}: the column {column} is empty, expected the path of an exam")
        if name in listed:
            raise InputError(f"{path}, row {number}: {name} is listed twice")
        others = {other: value for other, value in row.items() if other != column}
        try:
            place = place_of(name) if is_url(name) else path.absolute().parent / Path(name).expanduser()
        except (UsageError, MissingExtraError) as error:
            raise type(error)(f"{path}, row {number}: {error}") from error
        listed[name] = Listed(place, name, others)
    return tuple(listed.values())


def table_rows(path: Path, called: str) -> Iterator[dict[str, str]]:
    """The rows of a CSV or Parquet file: column -> cell, as texts.

    Args:
        path: the file.
        called: what the file should be, for messages, such as "table".

    Raises:
        InputError: the file does not exist or is not a table; a workbook of a spreadsheet, for example.
        MissingExtraError: it is a Parquet file, and pyarrow is missing.
    """
    try:
        yield from _parquet(path, called) if path.suffix.lower() in (".parquet", ".pq") else _csv(path, called)
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a {called}: {error}") from error


def _csv(path: Path, called: str) -> Iterator[dict[str, str]]:
    text = _text(path, called)
    header = text.split("\n", 1)[0].split("\r", 1)[0]
    # Spreadsheets in many countries write semicolons.
    separator = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, restkey="", restval="")
    for row in reader:
        yield {str(name): str(value) for name, value in row.items() if name}


def _text(path: Path, called: str) -> str:
    """The text of a CSV file: UTF-8, UTF-16 with its mark (Excel's "Unicode text"), or Windows-1252 (Excel's "CSV").

    Raises:
        InputError: the file is a workbook, or not a text in one of these.
    """
    content = path.read_bytes()
    if path.suffix.lower() in _WORKBOOKS or content.startswith(_WORKBOOK_STARTS):
        raise InputError(f"{path} is a workbook, which cannot be read as a {called}: save it as CSV")
    marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    # Nearly every file is a text in Windows-1252, and few of those are in UTF-8 as well: it comes last.
    for encoding in ("utf-16",) if marked else ("utf-8-sig", "cp1252"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise InputError(f"{path} is not a text that can be read as a {called}: save it as CSV (UTF-8)")


def _parquet(path: Path, called: str) -> Iterator[dict[str, str]]:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise MissingExtraError(f"a {called} in Parquet needs pyarrow: {install_hint('tables')}") from error
    for row in parquet.read_table(path).to_pylist():
        yield {str(name): "" if value is None else str(value) for name, value in row.items()}


def check_label(label: str, listed: tuple[Listed, ...]) -> None:
    """Refuse a label that is not a column of the list."""
    if label in ("patient-id", "folder"):
        return
    names = sorted({name for entry in listed for name in entry.columns})
    if label not in names:
        known = ", ".join(names) or "none: a column needs --list"
        raise UsageError(f"--label must be patient-id, folder or a column of the list ({known}), seen {label}")
