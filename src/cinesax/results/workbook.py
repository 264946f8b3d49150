"""measurements.xlsx: an Analysis as a workbook for Excel and similar programs. Needs the extra `tables` (XlsxWriter).

    measurements   one row, the same columns as measurements.csv
    volumes        one row a phase: its time, the volume of each chamber
    areas          one row a slice, one column a phase: area of the LV cavity
    findings       one row a finding

Texts stay texts: "=..." does not become a formula, and an address does not become a link.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from cinesax.core.analysis import Analysis
from cinesax.core.errors import MissingExtraError, install_hint
from cinesax.results import tables

Cell = str | int | float | None

_NEVER = datetime(1980, 1, 1)
"""Creation time of every workbook, so that the same analysis gives the same bytes; zip files know no earlier time."""

_WIDEST = 60
"""Largest column width in characters: a long message would make its column wider than a screen."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table of a workbook; None is an empty cell."""

    name: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def check_tables_extra() -> None:
    """Check that workbooks can be written.

    Raises:
        MissingExtraError: XlsxWriter is not installed.
    """
    try:
        import xlsxwriter  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(f"measurements.xlsx needs XlsxWriter; {install_hint('tables')}") from error


def write_workbook(sheets: Iterable[Sheet], path: Path) -> None:
    """Write sheets as an .xlsx file. The header of each is bold and stays in view.

    Raises:
        MissingExtraError: XlsxWriter is not installed.
        OSError: the file cannot be written.
    """
    check_tables_extra()
    from xlsxwriter import Workbook
    from xlsxwriter.exceptions import FileCreateError

    book = Workbook(str(path), {"in_memory": True})
    book.set_properties({"created": _NEVER, "comments": tables.RESEARCH_USE})
    bold = book.add_format({"bold": True})
    for sheet in sheets:
        page = book.add_worksheet(sheet.name)
        page.freeze_panes(1, 0)
        for column, name in enumerate(sheet.header):
            texts = [name, *(_text(row[column]) for row in sheet.rows)]
            page.set_column(column, column, min(_WIDEST, max(map(len, texts)) + 2))
            page.write_string(0, column, name, bold)
        for line, row in enumerate(sheet.rows, start=1):
            for column, value in enumerate(row):
                if isinstance(value, str):
                    page.write_string(line, column, value)
                elif value is not None:
                    page.write_number(line, column, value)
    try:
        book.close()
    except FileCreateError as error:
        raise OSError(str(error)) from error


def _text(value: Cell) -> str:
    return "" if value is None else str(value)


def sheets_of(analysis: Analysis) -> list[Sheet]:
    """The sheets of one analysis, with everything it holds about the patient (see `results.privacy`)."""
    return [_measurements([analysis]), _volumes(analysis), _areas(analysis), _findings(analysis)]


def _measurements(analyses: Iterable[Analysis]) -> Sheet:
    return Sheet("measurements", tables.CSV_COLUMNS, [list(tables.row(analysis).values()) for analysis in analyses])


def _volumes(analysis: Analysis) -> Sheet:
    """One row a phase, counted from 0."""
    m = analysis.measurements
    known = [(part.chamber.key, part.volumes_ml) for part in (m, *m.others) if part.volumes_ml is not None]
    times = m.phase_times_ms
    rows = [
        [phase, None if times is None else tables.rounded(times[phase]), *(tables.rounded(v[phase]) for _, v in known)]
        for phase in range(analysis.cine.n_phases)
    ]
    return Sheet("volumes", ["phase", "time_ms", *(f"{key}_volume_ml" for key, _ in known)], rows)


def _areas(analysis: Analysis) -> Sheet:
    """One row a slice, one column a phase; in pixels if their size is not known."""
    m = analysis.measurements
    areas, unit = (m.cavity_areas_px, "px") if m.cavity_areas_mm2 is None else (m.cavity_areas_mm2, "mm2")
    header = ["slice", *(f"phase_{phase}_{unit}" for phase in range(areas.shape[0]))]
    return Sheet("areas", header, [[i, *map(tables.rounded, column)] for i, column in enumerate(np.transpose(areas))])


def _findings(analysis: Analysis) -> Sheet:
    rows = [
        [finding.severity.value, finding.code.value, finding.phase, finding.slice, finding.message]
        for finding in analysis.findings
    ]
    return Sheet("findings", ["severity", "code", "phase", "slice", "message"], rows)
