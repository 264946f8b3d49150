"""The rows of a cohort's table, made from the plan and the receipts: one for each exam, also if it failed."""

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cinesax.cohort.columns import COLUMNS
from cinesax.cohort.planning.plan import Plan, Planned
from cinesax.cohort.receipt import Cell, Doubt, Receipt, Recipe, Status, read_receipt
from cinesax.cohort.review import Human, Work, human_version
from cinesax.cohort.stores import NO_STORES, Stores
from cinesax.core.findings import Code
from cinesax.results.tables import TRUST_COLUMNS

_ERROR, _WARNING = 100.0, 3.0
"""An error comes before every typical error of EF, which is 100 points at most."""
_BATCH = 500
_EMPTY: dict[str, Cell] = dict.fromkeys(column.name for column in COLUMNS)


@dataclass(frozen=True, slots=True)
class Row:
    """An exam in the table.

    Attributes:
        key: the key of the exam.
        cells: the cells of all columns by name, in the order of `COLUMNS`; others may follow.
        findings: what to doubt, for the page.
        folder: the exam's folder, if it has one.
        human: the folder of a person's version, if there is one.
        planned: the exam in the plan; None if the last run did not find it.
        entries: names of what cinesax wrote into its folder, such as report.html.
    """

    key: str
    cells: dict[str, Cell]
    findings: tuple[Doubt, ...] = ()
    folder: Path | None = None
    human: Path | None = None
    planned: Planned | None = field(default=None, repr=False)
    entries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Present:
    """The present state, with which receipts are compared."""

    recipe: Recipe
    stores: Stores


def rows(results: Path, plan: Plan, recipe: Recipe, stores: Stores = NO_STORES) -> Iterator[Row]:
    """All rows: the exams of the plan by their keys, then exams of earlier runs that the last run did not find.

    Args:
        results: the folder of results.
        plan: the plan of the last run.
        stores: the work of readers.
        recipe: the recipe of the last run; values with another recipe are marked as outdated.
    """
    exams, present = results / "exams", _Present(recipe, stores)
    for planned in plan.exams(with_files=False):
        folder = exams / planned.key
        yield _row(folder, planned, read_receipt(folder), present)
    for folder in _others(exams, plan):
        receipt = read_receipt(folder)
        # The failure of an exam that no longer exists is of no interest.
        if receipt is not None and receipt.status is Status.DONE:
            yield _row(folder, None, receipt, present)


def _others(exams: Path, plan: Plan) -> list[Path]:
    """Folders of exams that are not in the plan."""
    others: list[str] = []
    try:
        with os.scandir(exams) as entries:
            while batch := [entry.name for entry in itertools.islice(entries, _BATCH)]:
                others += plan.without(batch)
    except OSError:
        return []
    return sorted(exams / name for name in others if not name.startswith("."))


def _row(folder: Path, planned: Planned | None, receipt: Receipt | None, present: _Present) -> Row:
    key = folder.name
    size: dict[str, Cell] = {}
    if planned is not None:
        size = {"files": planned.n_files, "megabytes": round(planned.n_bytes / 1e6, 3)}
    if receipt is None:
        return Row(key, {**_EMPTY, "exam": key, "status": "waiting", "doubt": 0.0, **size}, planned=planned)
    errors, warnings = _codes(receipt.findings)
    cells: dict[str, Cell] = {
        **_EMPTY,
        **receipt.values,
        "exam": key,
        "status": receipt.status.value,
        "reason": None if receipt.reason is None else receipt.reason.value,
        "exit_code": receipt.exit_code,
        "message": receipt.message or None,
        "outdated": int(
            planned is not None and (receipt.inputs, receipt.recipe) != (planned.fingerprint, present.recipe)
        ),
        "input_missing": int(planned is None or planned.absent),
        "network_version": receipt.recipe.network or None,
        "software": receipt.recipe.software,
        "ef_network_percent": receipt.values.get("ef_percent"),
        "doubt": _doubt(errors, warnings, _points(receipt.values.get("ef_error_points"))),
        "doubts": " ".join((errors | warnings) if errors else warnings) or None,
        **size,
    }
    human = human_version(folder, receipt, present.stores) if receipt.status is Status.DONE else None
    if human is None:
        return Row(key, cells, receipt.findings, folder, planned=planned, entries=receipt.entries)
    by_person, findings = _by_a_person(human, receipt)
    return Row(key, {**cells, **by_person}, findings, folder, human.folder, planned, receipt.entries)


def _by_a_person(human: Human, receipt: Receipt) -> tuple[dict[str, Cell], tuple[Doubt, ...]]:
    """The cells that a person's version replaces, and the findings that are left."""
    cells: dict[str, Cell] = {**human.measurements, "status": human.work.value, "reader": human.by}
    cells["ef_reader_percent"] = human.measurements.get("ef_percent")
    findings = receipt.findings
    same = cells["ef_reader_percent"] == receipt.values.get("ef_percent")
    if human.work is Work.EDITED or not same:
        # What is predicted of the network's contours does not hold for those of a person.
        findings = tuple(one for one in findings if one.code != Code.LOW_TRUST.value)
        cells |= dict.fromkeys(TRUST_COLUMNS)
        cells |= {"doubt": doubt_of(findings), "doubts": " ".join(codes_of(findings)) or None}
    if human.work is not Work.EDITED:
        cells["doubt"] = 0.0
    return cells, findings


def codes_of(findings: tuple[Doubt, ...]) -> list[str]:
    """The codes of errors, then of warnings, each once."""
    errors, warnings = _codes(findings)
    return list(errors | warnings)


def _points(value: Cell) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def doubt_of(findings: tuple[Doubt, ...], ef_error_points: float | None = None) -> float:
    """By what the exams are ordered: the typical error of EF in points, and 100 for each kind of error.

    Each kind of finding counts once, because findings in many slices may have one cause.

    Args:
        findings: of the exam.
        ef_error_points: the typical error; None if the network has no calibration: then 3 for each kind of warning.
    """
    return _doubt(*_codes(findings), ef_error_points)


def _doubt(errors: dict[str, None], warnings: dict[str, None], ef_error_points: float | None) -> float:
    if ef_error_points is None:
        ef_error_points = _WARNING * sum(code not in errors for code in warnings)
    return _ERROR * len(errors) + ef_error_points


def _codes(findings: tuple[Doubt, ...]) -> tuple[dict[str, None], dict[str, None]]:
    """The codes of errors and of warnings, each once and in their order."""
    errors: dict[str, None] = {}
    warnings: dict[str, None] = {}
    for finding in findings:
        if finding.severity == "error":
            errors[finding.code] = None
        elif finding.severity == "warning":
            warnings[finding.code] = None
    return errors, warnings
