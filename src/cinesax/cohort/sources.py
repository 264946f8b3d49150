"""Read values of many exams from a cohort, folders of results, or a table of another program."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cinesax.cohort.planning.listed import table_rows
from cinesax.cohort.table import CSV_NAME, NAMES_NAME
from cinesax.core.errors import InputError, UsageError
from cinesax.results import tables

VARIABLES = {
    "ef_percent": ("EF", "%"),
    "edv_ml": ("EDV", "ml"),
    "esv_ml": ("ESV", "ml"),
    "sv_ml": ("SV", "ml"),
    "lv_mass_g": ("LV mass", "g"),
    "rv_ef_percent": ("RV EF", "%"),
    "rv_edv_ml": ("RV EDV", "ml"),
    "rv_esv_ml": ("RV ESV", "ml"),
}
"""The compared columns: column -> (name, unit)."""

# Names in other programs, without case, units and punctuation.
_ALIASES = {
    "ef_percent": ("ef", "lvef", "efpercent", "ejectionfraction"),
    "edv_ml": ("edv", "lvedv", "edvml", "lvedvml", "enddiastolicvolume"),
    "esv_ml": ("esv", "lvesv", "esvml", "lvesvml", "endsystolicvolume"),
    "sv_ml": ("sv", "lvsv", "svml", "strokevolume"),
    "lv_mass_g": ("mass", "lvm", "lvmass", "lvmassg", "massg"),
    "rv_ef_percent": ("rvef", "rvefpercent"),
    "rv_edv_ml": ("rvedv", "rvedvml"),
    "rv_esv_ml": ("rvesv", "rvesvml"),
}
_KEYS = ("exam", "case", "recordid", "id", "subject", "subjectid", "patient", "patientid", "name", "study", "label")


@dataclass(frozen=True, slots=True)
class Values:
    """The values of one side of a comparison.

    Attributes:
        name: the name of the side.
        exams: key -> column -> value; only finite values.
        reports: key -> the report of an exam, if there is one.
        labels: key -> other names of the exam, from names.csv.
    """

    name: str
    exams: Mapping[str, Mapping[str, float]]
    reports: Mapping[str, Path] = field(default_factory=dict)
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_values(path: Path, *, key: str | None = None) -> Values:
    """Read one side.

    Args:
        path: a folder of `cinesax cohort`, a folder of results (or of folders of results), a CSV or Parquet file.
        key: the column that names exams, if it does not have a usual name.

    Raises:
        InputError: there is nothing to compare, or an exam is named twice.
        UsageError: there is no column of this name.
    """
    if path.is_dir() and not (path / CSV_NAME).is_file():
        return _of_folders(path)
    file = path / CSV_NAME if path.is_dir() else path
    rows = list(table_rows(file, "table"))
    if not rows:
        raise InputError(f"{file} has no rows")
    header = list(rows[0])
    named = _key_column(file, header, key)
    columns = {column: name for column in VARIABLES if (name := _column(header, column)) is not None}
    if not columns:
        known = ", ".join(VARIABLES)
        raise InputError(
            f"{file} has no column that can be compared, seen {', '.join(header[:12])}; expected any of {known}"
        )
    exams: dict[str, dict[str, float]] = {}
    for row in rows:
        exam = row[named].strip()
        if not exam:
            continue
        if exam in exams:
            raise InputError(f"{file} names the exam {exam} twice in the column {named}: give another with --key")
        exams[exam] = _numbers({column: row[name] for column, name in columns.items()})
    folder = file.parent
    reports = {exam: folder / "exams" / exam / "report.html" for exam in exams if path.is_dir() or _is_cohort(folder)}
    return Values(path.name or str(path), exams, reports, _labels(folder / NAMES_NAME))


def _is_cohort(folder: Path) -> bool:
    return (folder / "exams").is_dir() and (folder / ".cohort").is_dir()


def _of_folders(root: Path) -> Values:
    paths = [root / "analysis.json"] if (root / "analysis.json").is_file() else sorted(root.glob("*/analysis.json"))
    if not paths:
        raise InputError(f"{root} holds neither {CSV_NAME} nor folders of results (analysis.json)")
    exams: dict[str, dict[str, float]] = {}
    reports = {}
    for path in paths:
        content = tables.read_json(path)
        exam = str(content["case"])
        if exam in exams:
            raise InputError(f"{root} holds the exam {exam} twice: {path.parent.name} and another folder")
        others = {
            f"{chamber}_{name}": value
            for chamber, values in content["measurements"]["chambers"].items()
            for name, value in values.items()
        }
        measured = {**others, **content["measurements"]}
        exams[exam] = _numbers({column: str(measured.get(column) or "") for column in VARIABLES})
        reports[exam] = path.parent / "report.html"
    return Values(root.name, exams, reports)


def _numbers(cells: Mapping[str, str]) -> dict[str, float]:
    numbers = {}
    for column, cell in cells.items():
        text = cell.strip().rstrip("%").strip()
        # A single comma between digits is a decimal comma: no value of a heart needs a thousands separator.
        text = re.sub(r"^([-+]?\d+),(\d+)$", r"\1.\2", text)
        try:
            number = float(text)
        except ValueError:
            continue
        if math.isfinite(number):
            numbers[column] = number
    return numbers


def _plain(name: str) -> str:
    """A name of a column without case, brackets and their content, and punctuation."""
    return re.sub(r"[^a-z0-9]", "", re.sub(r"[(\[].*?[)\]]", "", name.lower()))


def _column(header: Iterable[str], column: str) -> str | None:
    names = list(header)
    if column in names:
        return column
    fits = [name for name in names if _plain(name) in _ALIASES[column]]
    return fits[0] if len(fits) == 1 else None


def _key_column(file: Path, header: list[str], key: str | None) -> str:
    if key is not None:
        if key not in header:
            raise UsageError(f"{file} has no column {key}, seen {', '.join(header[:12])}")
        return key
    for known in _KEYS:
        for name in header:
            if _plain(name) == known:
                return name
    return header[0]


def _labels(path: Path) -> dict[str, tuple[str, ...]]:
    if not path.is_file():
        return {}
    return {
        row["exam"]: tuple(
            name for name in (row.get("label", ""), row.get("path", ""), Path(row.get("path", "")).name) if name
        )
        for row in table_rows(path, "table")
    }
