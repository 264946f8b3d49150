"""The table of a cohort in every format: CSV, a data dictionary, REDCap; Parquet and Excel with the extra `tables`.

Every writer takes one row at a time, so memory does not grow with the cohort.
"""

import csv
import io
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cinesax.cohort.columns import COLUMNS, Column, Type
from cinesax.cohort.planning.plan import Plan
from cinesax.cohort.receipt import Cell, Recipe
from cinesax.cohort.rows import Row, rows
from cinesax.cohort.stores import NO_STORES, Stores
from cinesax.cohort.writers.names import Earlier, choose_label, names_writer
from cinesax.cohort.writers.redcap import redcap_names, write_redcap_dictionary
from cinesax.core.errors import OutputError
from cinesax.files.stored_files import replacing

CSV_NAME = "cohort.csv"
PARQUET_NAME = "cohort.parquet"
EXCEL_NAME = "cohort.xlsx"
DICTIONARY_NAME = "data_dictionary.csv"
REDCAP_DATA_NAME = "redcap_import.csv"
REDCAP_DICTIONARY_NAME = "redcap_dictionary.csv"
NAMES_NAME = "names.csv"
EXCEL_ROWS = 20_000
"""A larger table is not written for Excel, which needs minutes and a GB to open it; use CSV or Parquet."""
_BATCH = 5_000
_LINES = 500

Take = Callable[[Sequence[Cell]], None]


@dataclass(frozen=True, slots=True)
class Tables:
    """The result of writing the tables.

    Attributes:
        n_rows: number of rows.
        missing_extra: whether Parquet and Excel were left out because the extra `tables` is missing.
        without_excel: whether the table is too long for Excel.
    """

    n_rows: int
    missing_extra: bool
    without_excel: bool


def write_tables(
    results: Path,
    plan: Plan,
    recipe: Recipe,
    *,
    label: str | None = None,
    stores: Stores = NO_STORES,
    take: Callable[[Row], None] | None = None,
) -> Tables:
    """Write all tables of a cohort, each complete or not at all.

    Args:
        results: the folder of results.
        plan: the exams.
        recipe: the recipe of the last run.
        label: the name of an exam in names.csv: "patient-id", "folder" or a column of the list; None: as before.
        stores: the work of readers.
        take: called with each row, for the page.

    Raises:
        OutputError: a table cannot be written.
    """
    long = plan.count() > EXCEL_ROWS
    earlier = Earlier(results / NAMES_NAME, results / CSV_NAME, plan)
    count = 0
    try:
        label = choose_label(results, label, plan, earlier)
        listed = _Listed(tuple(name for name in plan.list_columns() if name != label), earlier)
        columns = (*COLUMNS, *map(_of_list, listed.free))
        with ExitStack() as stack:
            name = stack.enter_context(names_writer(results / NAMES_NAME, label, earlier))
            takers = [stack.enter_context(_texts(results, columns))]
            extra = _has_extra()
            if extra:
                takers.append(stack.enter_context(_parquet(results / PARQUET_NAME, columns)))
            if extra and not long:
                takers.append(stack.enter_context(_excel(results / EXCEL_NAME, columns)))
            for row in rows(results, plan, recipe, stores):
                name(row)
                cells = [*itertools.islice(row.cells.values(), len(COLUMNS)), *listed.cells(row)]
                for taker in takers:
                    taker(cells)
                if take is not None:
                    take(row)
                count += 1
        _write_dictionary(results / DICTIONARY_NAME, columns)
        write_redcap_dictionary(results / REDCAP_DICTIONARY_NAME, columns)
        if long or not extra:
            (results / EXCEL_NAME).unlink(
                missing_ok=True
            )  # an Excel table from an earlier, smaller cohort would be out of date
        if not extra:
            (results / PARQUET_NAME).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"the table cannot be written to {results}: {error.strerror or error}") from error
    return Tables(count, missing_extra=not extra, without_excel=long)


def _of_list(name: str) -> Column:
    return Column(
        name, "From the list of exams", Type.TEXT, empty="empty in the list, or the list does not have the exam"
    )


@dataclass(frozen=True)
class _Listed:
    """The columns of the list of exams that are copied into the table.

    Attributes:
        names: their names in the list.
        earlier: the earlier tables, for exams that the list no longer has.
    """

    names: tuple[str, ...]
    earlier: Earlier

    @cached_property
    def free(self) -> tuple[str, ...]:
        """Their names in the table: others where cinesax has a column of this name."""
        taken = {column.name for column in COLUMNS}
        free = []
        for name in self.names:
            while name in taken:
                name = f"list_{name}"
            taken.add(name)
            free.append(name)
        return tuple(free)

    @cached_property
    def _kept(self) -> Mapping[str, Sequence[str]]:
        return self.earlier.cells(self.free)

    def cells(self, row: Row) -> Sequence[Cell]:
        if not self.names:
            return ()
        if row.planned is None:
            return self._kept.get(row.key) or [None] * len(self.names)
        return [row.planned.columns.get(name) for name in self.names]


@contextmanager
def _texts(results: Path, columns: Sequence[Column]) -> Iterator[Take]:
    """cohort.csv and REDCap's file, which differ only in their first line."""
    with ExitStack() as stack:
        streams = []
        for name, header in (
            (CSV_NAME, [column.name for column in columns]),
            (REDCAP_DATA_NAME, redcap_names(columns)),
        ):
            temporary = stack.enter_context(replacing(results / name))
            stream = stack.enter_context(temporary.open("w", encoding="utf-8", newline=""))
            csv.writer(stream, lineterminator="\n").writerow(header)
            streams.append(stream)
        held: list[Sequence[Cell]] = []

        def put() -> None:
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(held)
            for stream in streams:
                stream.write(text.getvalue())
            held.clear()

        def take(cells: Sequence[Cell]) -> None:
            held.append(cells)
            if len(held) >= _LINES:
                put()

        yield take
        put()
        for stream in streams:
            _flush(stream)


def _flush(stream: Any) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _has_extra() -> bool:
    try:
        import pyarrow  # noqa: F401
        import xlsxwriter  # noqa: F401
    except ImportError:
        return False
    return True


@contextmanager
def _parquet(path: Path, columns: Sequence[Column]) -> Iterator[Take]:
    import pyarrow as arrow
    from pyarrow import parquet

    kinds = {Type.TEXT: arrow.string(), Type.WHOLE: arrow.int64(), Type.NUMBER: arrow.float64()}
    schema = arrow.schema(
        [
            arrow.field(column.name, kinds[column.type], metadata={"unit": column.unit, "meaning": column.meaning})
            for column in columns
        ]
    )
    held: list[Sequence[Cell]] = []

    with replacing(path) as temporary, parquet.ParquetWriter(temporary, schema) as writer:

        def put() -> None:
            arrays = [
                _array(cells, column.type, kinds[column.type])
                for cells, column in zip(zip(*held, strict=True), columns, strict=True)
            ]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))
            held.clear()

        def take(cells: Sequence[Cell]) -> None:
            held.append(cells)
            if len(held) >= _BATCH:
                put()

        yield take
        if held:
            put()


def _array(cells: Sequence[Cell], kind: Type, arrow_type: Any) -> Any:
    """One column. Cells of the wrong type, as a person's version may have them, are converted one by one."""
    import pyarrow as arrow

    try:
        return arrow.array(cells, type=arrow_type)
    except (arrow.ArrowInvalid, arrow.ArrowTypeError):
        return arrow.array([_typed(cell, kind) for cell in cells], type=arrow_type)


def _typed(cell: Cell, kind: Type) -> Cell:
    if cell is None:
        return None
    return str(cell) if kind is Type.TEXT else int(cell) if kind is Type.WHOLE else float(cell)


@contextmanager
def _excel(path: Path, columns: Sequence[Column]) -> Iterator[Take]:
    import xlsxwriter

    with replacing(path) as temporary:
        # Texts of exams and lists must not become formulas, links or numbers.
        options = {
            "constant_memory": True,
            "strings_to_formulas": False,
            "strings_to_urls": False,
            "strings_to_numbers": False,
        }
        book = xlsxwriter.Workbook(str(temporary), options)
        sheet = book.add_worksheet("cohort")
        bold = book.add_format({"bold": True})
        sheet.freeze_panes(1, 1)
        for index, column in enumerate(columns):
            sheet.write_string(0, index, column.name, bold)
            sheet.set_column(index, index, max(8, min(30, len(column.name))))
        place = 0

        def take(cells: Sequence[Cell]) -> None:
            nonlocal place
            place += 1
            for index, cell in enumerate(cells):
                if isinstance(cell, str):
                    sheet.write_string(place, index, cell)
                elif cell is not None:
                    sheet.write_number(place, index, cell)

        yield take
        sheet.autofilter(0, 0, place, len(columns) - 1)
        dictionary = book.add_worksheet("columns")
        for line, cells in enumerate((_DICTIONARY_HEAD, *(_described(column) for column in columns))):
            for index, text in enumerate(cells):
                dictionary.write_string(line, index, text, bold if line == 0 else None)
        book.close()


_DICTIONARY_HEAD = ("column", "type", "unit", "meaning", "empty_means")


def _described(column: Column) -> tuple[str, ...]:
    return (column.name, column.type.value, column.unit, column.meaning, column.empty)


def _write_dictionary(path: Path, columns: Sequence[Column]) -> None:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_DICTIONARY_HEAD)
        writer.writerows(_described(column) for column in columns)
