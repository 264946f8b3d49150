"""Read values of many exams from a cohort, folders of results, or a table of another program."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cinesax.cohort.planning.listed import table_rows
from cinesax.cohort.receipt import RECEIPT_NAME
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

NAMES = ("label", "path", "folder name")
"""The names of an exam in names.csv, in the order in which they are tried."""

# Names in other programs, without case, units and punctuation.
_ALIASES = {
    "ef_percent": ("ef", "lvef", "ejectionfraction"),
    "edv_ml": ("edv", "lvedv", "enddiastolicvolume"),
    "esv_ml": ("esv", "lvesv", "endsystolicvolume"),
    "sv_ml": ("sv", "lvsv", "strokevolume"),
    "lv_mass_g": ("mass", "lvm", "lvmass"),
    "rv_ef_percent": ("rvef",),
    "rv_edv_ml": ("rvedv",),
    "rv_esv_ml": ("rvesv",),
}
# Each unit as other programs write it, and units of other quantities: indexed volumes, litres.
_UNITS = {"%": ("percent", "pct"), "ml": ("ml", "cc", "cm3"), "g": ("g", "gram", "grams")}
_OTHER_UNITS = ("mlm2", "gm2", "l", "percent")
_MOST_FRACTION = 1.5
_DOTS = ("", "..")
_BRACKETS = re.compile(r"[(\[](.*?)[)\]]")
_KEYS = ("exam", "case", "recordid", "id", "subject", "subjectid", "patient", "patientid", "name", "study", "label")


@dataclass(frozen=True, slots=True)
class Values:
    """The values of one side of a comparison.

    Attributes:
        name: the name of the side.
        exams: key -> column -> value; only finite values.
        reports: key -> the report of an exam, if there is one.
        labels: key -> other names of the exam, from names.csv: one for each of NAMES, empty if there is none.
        header: the columns of the table; none of folders of results.
        left_out: column -> why no column of the table can be taken for it, although some resemble it.
    """

    name: str
    exams: Mapping[str, Mapping[str, float]]
    reports: Mapping[str, Path] = field(default_factory=dict)
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    header: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)


def read_sides(first: Path, second: Path, keys: Sequence[str] = ()) -> tuple[Values, Values]:
    """Read both sides of a comparison.

    Args:
        first: A, as for `read_values`.
        second: B, alike.
        keys: the columns that name exams: none, one for each side, or one for the sides that have it.

    Raises:
        InputError: there is nothing to compare, or an exam is named twice.
        UsageError: there is no column of this name.
    """
    if len(keys) == 2:
        a, b = read_values(first, key=keys[0]), read_values(second, key=keys[1])
    else:
        key = keys[0] if keys else None
        a, b = (read_values(path, key=key, required=False) for path in (first, second))
        if key is not None and key not in a.header and key not in b.header:
            raise UsageError(f"neither {_seen(a)} nor {_seen(b)} has a column {key}")
    if a.name == b.name:
        a, b = (replace(side, name=_place(path)) for side, path in ((a, first), (b, second)))
    return a, b


def _seen(values: Values) -> str:
    """A side with its columns, for messages."""
    return f"{values.name} (with {', '.join(values.header[:12]) or 'no columns'})"


def read_values(path: Path, *, key: str | None = None, required: bool = True) -> Values:
    """Read one side.

    Args:
        path: a folder of `cinesax cohort`, a folder of results (or of folders of results), a CSV or Parquet file.
        key: the column that names exams, if it does not have a usual name.
        required: whether there must be a column `key`; otherwise the usual name counts where there is none.

    Raises:
        InputError: there is nothing to compare, or an exam is named twice.
        UsageError: there is no column of this name.
    """
    if path.is_dir() and not (path / CSV_NAME).is_file():
        if key is not None and required:
            raise UsageError(f"{path} is a folder of results and has no column {key}: give --key once, for the table")
        return _of_folders(path)
    file = path / CSV_NAME if path.is_dir() else path
    rows = list(table_rows(file, "table"))
    if not rows:
        raise InputError(f"{file} has no rows")
    header = tuple(rows[0])
    named = _key_column(file, header, key if required or key in header else None)
    columns, left_out = _columns(file, header)
    exams: dict[str, dict[str, float]] = {}
    keys: dict[str, str] = {}
    for row in rows:
        exam = row[named].strip()
        if not exam:
            continue
        if exam in exams:
            raise InputError(
                f"{file}: the exam '{exam}' appears twice in the column '{named}'; choose another column with --key"
            )
        exams[exam] = _numbers({column: row[name] for column, name in columns.items()})
        # Files of a cohort are under its own keys, whatever column names the exams here.
        keys[exam] = row.get("exam", exam)
    folder = file.parent
    own = _is_cohort(folder)
    if not own:
        _refuse_fractions(file, exams, columns)
    reports = {exam: folder / "exams" / keys[exam] / "report.html" for exam in exams if path.is_dir() or own}
    labels = _labels(folder)
    return Values(
        _name(path),
        exams,
        reports,
        {exam: labels[keys[exam]] for exam in exams if keys[exam] in labels},
        header,
        left_out,
    )


def _name(path: Path) -> str:
    """The name of a file or folder, also of "." and "..": it says more than the dots."""
    return path.name if path.name not in _DOTS else path.resolve().name or str(path.resolve())


def _place(path: Path) -> str:
    """A path as it was given, unless it is nothing but dots."""
    return str(path if path.name not in _DOTS else path.resolve())


def _is_cohort(folder: Path) -> bool:
    return (folder / "exams").is_dir() and (folder / ".cohort").is_dir()


def _of_folders(root: Path) -> Values:
    single = (root / "analysis.json").is_file()
    paths = [root / "analysis.json"] if single else sorted(root.glob("*/analysis.json"))
    if not paths:
        raise InputError(f"{root} holds neither {CSV_NAME} nor folders of results (analysis.json)")
    exams: dict[str, dict[str, float]] = {}
    reports = {}
    for path in paths:
        content = tables.read_json(path)
        # In a cohort the folder's name is the key: several exams may have the same case.
        exam = path.resolve().parent.name if (path.parent / RECEIPT_NAME).is_file() else str(content["case"])
        if exam in exams:
            raise InputError(f"{root} holds the exam {exam} twice: {path.parent.name} and another folder")
        others = {
            f"{chamber}_{name}": value
            for chamber, values in content["measurements"]["chambers"].items()
            for name, value in values.items()
        }
        measured = {**others, **content["measurements"]}
        exams[exam] = _numbers({column: str(measured.get(column)) for column in VARIABLES})
        reports[exam] = path.parent / "report.html"
    cohort = root.resolve().parents[1 if single else 0]
    return Values(_name(root), exams, reports, _labels(cohort) if _is_cohort(cohort) else {})


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


def _refuse_fractions(file: Path, exams: Mapping[str, Mapping[str, float]], columns: Mapping[str, str]) -> None:
    """Refuse EFs as fractions (0.6) in the place of percent (60): which of the two is meant cannot be guessed."""
    for column, name in columns.items():
        if VARIABLES[column][1] != "%":
            continue
        values = [exam[column] for exam in exams.values() if column in exam]
        if values and min(values) >= 0 and 0 < max(values) <= _MOST_FRACTION:
            raise InputError(
                f"{file}: the column '{name}' holds {min(values):g} to {max(values):g}, which look like fractions, "
                "expected percent: multiply them by 100"
            )


def _plain(name: str) -> str:
    """A name without case and punctuation."""
    text = name.lower().replace("²", "2").replace("³", "3").replace("%", "percent")
    return re.sub(r"[^a-z0-9]", "", text)


def _bare(name: str) -> str:
    """The plain name of a column without brackets and their content."""
    return _plain(_BRACKETS.sub("", name))


def _columns(file: Path, header: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """The columns of a table that can be compared: column -> its name there, and column -> why there is none.

    Raises:
        InputError: there is none at all.
    """
    columns, left_out = {}, {}
    for column, (_, unit) in VARIABLES.items():
        fits = [column] if column in header else [name for name in header if _fits(name, column)]
        others = [name for name in header if _resembles(name, column)]
        if len(fits) == 1:
            columns[column] = fits[0]
        elif fits:
            left_out[column] = f"{', '.join(fits)} all fit, keep one of them"
        elif others:
            left_out[column] = f"{', '.join(others)} is not clearly in {unit}, rename it if it is"
    if not columns:
        reasons = [f"{VARIABLES[column][0]}: {reason}" for column, reason in left_out.items()]
        why = "; ".join(reasons) or f"seen {', '.join(header[:12])}; expected any of {', '.join(VARIABLES)}"
        raise InputError(f"{file} has no column that can be compared: {why}")
    return columns, left_out


def _fits(name: str, column: str) -> bool:
    """Whether a name of a column is one of the usual ones; if it states a unit, the expected one."""
    units = _UNITS[VARIABLES[column][1]]
    bracketed = [_plain(content) for content in _BRACKETS.findall(name) if content.strip()]
    # EDV in ml/m² is another quantity than EDV in ml, and whatever else brackets say may make it one.
    return _bare(name) in _with(_ALIASES[column], units) and all(content in units for content in bracketed)


def _resembles(name: str, column: str) -> bool:
    """Whether a name of a column is a usual one, with whatever unit."""
    return _bare(name) in _with(_ALIASES[column], (*_UNITS[VARIABLES[column][1]], *_OTHER_UNITS))


def _with(aliases: Iterable[str], units: Iterable[str]) -> set[str]:
    return {alias + unit for alias in aliases for unit in ("", *units)}


def _key_column(file: Path, header: Sequence[str], key: str | None) -> str:
    if key is not None:
        if key not in header:
            raise UsageError(f"{file} has no column {key}, seen {', '.join(header[:12])}")
        return key
    for known in _KEYS:
        for name in header:
            if _bare(name) == known:
                return name
    return header[0]


def _labels(folder: Path) -> dict[str, tuple[str, ...]]:
    """Key -> the names of an exam, in the order of NAMES."""
    if not (folder / NAMES_NAME).is_file():
        return {}
    return {
        row["exam"]: (row.get("label", ""), row.get("path", ""), Path(row.get("path", "")).name)
        for row in table_rows(folder / NAMES_NAME, "table")
    }
