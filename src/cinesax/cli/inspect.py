"""List what an exam holds: each series, its kind, and which one is the short-axis cine.

For DICOM only headers are read. For NIfTI files the table shows their headers, and how they are read together. Names,
birth dates and patient IDs are shown only with --show-patient.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from cinesax.cli import add_selection, selection_from
from cinesax.core.errors import CinesaxError, UsageError, counted
from cinesax.core.findings import Finding
from cinesax.core.selection import Selection
from cinesax.dicom.read.exam import Exam, chosen_part, open_exam
from cinesax.dicom.read.header import Header
from cinesax.dicom.read.pick import Pick, pick_short_axis
from cinesax.dicom.read.series import Series
from cinesax.dicom.read.stack import order
from cinesax.inputs import nifti_files_of

SCHEMA = "cinesax/inspection/1"
_PIPED_WIDTH = 160


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "path",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="a folder, file or zip of DICOM; a NIfTI file, several of them, or a folder",
    )
    add_selection(parser)
    parser.add_argument("--format", choices=("table", "json"), default="table", help="what to print")
    parser.add_argument("--show-patient", action="store_true", help="show name, ID and birth date of the patient")


def run(args: argparse.Namespace) -> None:
    """Print the table or the JSON, then raise the error if nothing can be picked.

    Raises:
        CinesaxError: the exam cannot be opened, or there is no short-axis cine in it.
    """
    selection = selection_from(args)
    nifti = nifti_files_of(args.path)
    if nifti:
        if selection.names_dicom:
            raise UsageError(
                f"{args.path[0]} is NIfTI, which has no series, study or patient: "
                "leave out --series, --study and --patient"
            )
        _inspect_nifti(nifti, args, of_folder=nifti != args.path)
        return
    exam = chosen_part(open_exam(args.path[0]), selection)
    pick, findings, error = _try_pick(exam, selection)
    if args.format == "json":
        inspection = _inspection(exam, pick, findings, show_patient=args.show_patient)
        inspection["error"] = None if error is None else str(error)
        sys.stdout.write(json.dumps(inspection, indent=2) + "\n")
    else:
        _print_table(exam, pick, findings, show_patient=args.show_patient)
    if error is not None:
        raise error


def _try_pick(exam: Exam, selection: Selection) -> tuple[Pick | None, tuple[Finding, ...], CinesaxError | None]:
    """What `analyze` would read, with its findings; or None, with the error that `analyze` would raise."""
    findings = exam.findings
    try:
        pick = pick_short_axis(exam, selection)
        findings = (*findings, *pick.findings)
        return pick, (*findings, *order(pick.stack).findings), None
    except CinesaxError as error:
        return None, findings, error


def _verdict(series: Series, pick: Pick | None) -> tuple[bool, str]:
    if pick is None:
        return False, series.explanation
    if any(series is picked for picked in pick.series):
        return True, pick.reason
    return False, next(reason for rejected, reason in pick.rejections if rejected is series)


def _inspection(exam: Exam, pick: Pick | None, findings: tuple[Finding, ...], *, show_patient: bool) -> dict[str, Any]:
    rows = []
    for series, owner in zip(exam.series, _owners(exam), strict=True):
        picked, reason = _verdict(series, pick)
        row: dict[str, Any] = {
            "patient_numbers": list(owner.patients),
            "study_number": owner.study,
            "series_uid": series.uid,
            "study_uid": series.study_uid,
            "number": series.number,
            "description": series.description if show_patient else series.pseudonymous_description,
            "modality": series.modality,
            "instances": series.n_instances,
            "slices": series.n_slices,
            "phases": series.n_phases,
            "kind": str(series.kind),
            "picked": picked,
            "reason": reason,
        }
        if show_patient:
            row["patient"] = _patient(series.headers[0])
        rows.append(row)
    return {
        "schema": SCHEMA,
        "series": rows,
        "ignored": [{"file": ignored.file, "reason": ignored.explanation} for ignored in exam.ignored],
        "findings": [_fields(finding) for finding in findings],
    }


def _fields(finding: Finding) -> dict[str, Any]:
    return {
        "code": str(finding.code),
        "severity": str(finding.severity),
        "message": finding.message,
        "phase": finding.phase,
        "slice": finding.slice,
        "numbers": dict(finding.numbers),
        "files": list(finding.files),
    }


def _patient(header: Header) -> dict[str, str | None]:
    return {"name": header.patient_name, "id": header.patient_id, "birth_date": header.patient_birth_date}


def _print_table(exam: Exam, pick: Pick | None, findings: tuple[Finding, ...], *, show_patient: bool) -> None:
    console = _console()
    owners = _owners(exam)
    several = len({(owner.patients, owner.study) for owner in owners}) > 1 or any(len(o.patients) > 1 for o in owners)
    rows = []
    for series, owner in zip(exam.series, owners, strict=True):
        picked, reason = _verdict(series, pick)
        counts = {"images": series.n_instances, "slices": series.n_slices, "phases": series.n_phases}
        description = series.description if show_patient else series.pseudonymous_description
        rows.append(
            _Row(
                picked,
                {
                    **({"patient": ", ".join(map(str, owner.patients)), "study": str(owner.study)} if several else {}),
                    "no.": "-" if series.number is None else str(series.number),
                    "series": _plain(description or "-"),
                    **{name: "-" if count is None else str(count) for name, count in counts.items()},
                    "kind": str(series.kind),
                    "because": _plain(reason),
                },
            )
        )
    _print_rows(console, rows)
    if show_patient:
        named = {
            number: _patient(header)
            for series, owner in zip(exam.series, owners, strict=True)
            for number, header in zip(owner.patients, _by_patient(series).values(), strict=True)
        }
        for number, patient in named.items():
            shown = ", ".join(f"{name} {value or '-'}" for name, value in patient.items())
            console.print(f"patient{f' {number}' if several else ''}: {_printed(shown)}", markup=False)
    if several:
        studies = {owner.study: series.study_uid for series, owner in zip(exam.series, owners, strict=True)}
        for number, uid in studies.items():
            line = f"study {number}: {_printed(uid) or 'without UID'}"
            # A UID that is broken into two lines cannot be copied.
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    if exam.ignored:
        first = exam.ignored[0]
        shown = f"{first.file} ({first.explanation})"
        console.print(f"{counted(len(exam.ignored), 'file')} ignored, the first: {shown}", markup=False)
    if pick is not None:
        console.print(
            f"picked: {', '.join(series.uid for series in pick.series)}", markup=False, highlight=False, soft_wrap=True
        )
    for finding in findings:
        console.print(str(finding), markup=False, highlight=False)


def _console() -> Console:
    """Where tables go. A pipe has no width, and rich would fold them at 80 columns unless COLUMNS says otherwise."""
    if sys.stdout.isatty():
        return Console()
    columns = os.environ.get("COLUMNS", "")
    return Console(file=sys.stdout, width=int(columns) if columns.isdigit() and int(columns) > 0 else _PIPED_WIDTH)


@dataclass(frozen=True)
class _Owner:
    """Whose a series is: numbers of its patients and its study, from 1, which say nothing of either.

    A series has several patients where an anonymiser gave them all the same UIDs.
    """

    patients: tuple[int, ...]
    study: int


def _owners(exam: Exam) -> list[_Owner]:
    """The patient of each series; PatientID distinguishes patients."""
    patients: dict[str, int] = {}
    studies: dict[tuple[tuple[int, ...], str], int] = {}
    owners = []
    for series in exam.series:
        numbers = tuple(patients.setdefault(name, len(patients) + 1) for name in _by_patient(series))
        owners.append(_Owner(numbers, studies.setdefault((numbers, series.study_uid), len(studies) + 1)))
    return owners


def _by_patient(series: Series) -> dict[str, Header]:
    """PatientID -> a header of a series, for each patient in it."""
    return {header.patient_id or "": header for header in reversed(series.headers)}


@dataclass(frozen=True)
class _Row:
    """A row of a table: whether it is what `analyze` reads, and its cells by the names of their columns."""

    picked: bool
    cells: Mapping[str, str]


_COUNTS = ("patient", "study", "no.", "images", "slices", "phases")
_NARROW = 100
"""Columns: below, a table leaves its last columns a few letters a line, and rows are printed as paragraphs."""


def _print_rows(console: Console, rows: Sequence[_Row]) -> None:
    """Print rows as a table, or as a paragraph each where the terminal is narrow."""
    if not rows:
        return
    if console.width < _NARROW:
        for row in rows:
            _print_paragraph(console, row)
        return
    table = Table(title=None, pad_edge=False)
    for name in ("", *rows[0].cells):
        table.add_column(name, justify="right" if name in _COUNTS else "left")
    for row in rows:
        table.add_row("->" if row.picked else "", *row.cells.values())
    console.print(table)


def _print_paragraph(console: Console, row: _Row) -> None:
    """One row as lines: what it is, its counts, and why."""
    cells = dict(row.cells)
    because = cells.pop("because")
    number, name = cells.pop("no.", ""), cells.pop("series", "") or cells.pop("file", "")
    whose = ", ".join(f"{name} {cells.pop(name)}" for name in ("patient", "study") if name in cells)
    counted = ((cells.pop(name), name) for name in ("images", "slices", "phases") if name in cells)
    counts = ", ".join(f"{count} {name.removesuffix('s') if count == '1' else name}" for count, name in counted)
    kind = cells.pop("kind", "")
    others = ", ".join(value for value in cells.values() if value)
    first = f"{'->' if row.picked else '  '} {f'{number} ' if number else ''}{name}{f': {kind}' if kind else ''}"
    console.print(first, highlight=False)
    for line in (others, f"{whose}: {counts}" if whose else counts, because):
        if line:
            console.print(Padding(line, (0, 0, 0, 5)), highlight=False)


def _printed(text: str) -> str:
    """The text without control characters: a header may hold any."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _plain(text: str) -> str:
    """The text without control characters and rich's markup."""
    return _printed(text).replace("[", r"\[")


@dataclass(frozen=True)
class _NiftiRow:
    """A NIfTI file as a row of the table.

    Attributes:
        name: name of the file.
        stored: shape of the stored array.
        header: what sform, qform and pixdim say.
        slices: number of slices.
        phases: number of phases.
        picked: whether it is read.
        reason: why it is, or is not, read.
    """

    name: str
    stored: tuple[int, ...]
    header: str
    slices: int
    phases: int
    picked: bool
    reason: str


def _inspect_nifti(files: Sequence[Path], args: argparse.Namespace, *, of_folder: bool) -> None:
    """Print what NIfTI files hold and how they are read, then raise the error if they cannot be read."""
    from cinesax.formats.nifti import read_part
    from cinesax.formats.nifti.files import of_one_cine, together

    parts, cine, error = [], None, None
    why: dict[Path, str] = {}
    try:
        geometry = selection_from(args).nifti_geometry
        for file in dict.fromkeys(files):
            parts.append(read_part(file, geometry=geometry))
        chosen, left_out = of_one_cine(parts, of_folder=of_folder)
        why = {part.path: reason for part, reason in left_out}
        cine = together(chosen, of_folder=of_folder)
    except CinesaxError as raised:
        error = raised
    read = "not read, see the error" if cine is None else f"read: {cine.n_slices} slices of {cine.n_phases} phases"
    rows = [
        _NiftiRow(
            part.path.name,
            part.stored_shape,
            part.header,
            part.cine.n_slices,
            part.cine.n_phases,
            cine is not None and part.path not in why,
            why.get(part.path, read),
        )
        for part in parts
    ]
    findings = () if cine is None else cine.findings
    if args.format == "json":
        sys.stdout.write(json.dumps(_nifti_inspection(rows, findings, error), indent=2) + "\n")
    else:
        _print_nifti(rows, findings)
    if error is not None:
        raise error


def _nifti_inspection(
    rows: Sequence[_NiftiRow], findings: Sequence[Finding], error: CinesaxError | None
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "series": [],
        "nifti": [
            {
                "file": row.name,
                "stored_shape": list(row.stored),
                "header": row.header,
                "slices": row.slices,
                "phases": row.phases,
                "picked": row.picked,
                "reason": row.reason,
            }
            for row in rows
        ],
        "ignored": [],
        "findings": [_fields(finding) for finding in findings],
        "error": None if error is None else str(error),
    }


def _print_nifti(rows: Sequence[_NiftiRow], findings: Sequence[Finding]) -> None:
    console = _console()
    _print_rows(
        console,
        [
            _Row(
                row.picked,
                {
                    "file": _plain(row.name),
                    "array": " x ".join(map(str, row.stored)),
                    "slices": str(row.slices),
                    "phases": str(row.phases),
                    "header": _plain(row.header),
                    "because": _plain(row.reason),
                },
            )
            for row in rows
        ],
    )
    for finding in findings:
        console.print(str(finding), markup=False, highlight=False)
