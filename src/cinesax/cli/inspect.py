"""List what an exam holds: each series, its kind, and which one is the short-axis cine.

For DICOM only headers are read. For NIfTI files the table shows their headers, and how they are read together. Names,
birth dates and patient IDs are shown only with --show-patient.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cinesax.cli import add_selection, selection_from
from cinesax.core.errors import CinesaxError, UsageError
from cinesax.core.findings import Finding
from cinesax.core.selection import Selection
from cinesax.dicom.read.exam import Exam, chosen_part, open_exam
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
    for series in exam.series:
        picked, reason = _verdict(series, pick)
        row: dict[str, Any] = {
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
            row["patient"] = _patient(series)
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


def _patient(series: Series) -> dict[str, str | None]:
    header = series.headers[0]
    return {"name": header.patient_name, "id": header.patient_id, "birth_date": header.patient_birth_date}


def _print_table(exam: Exam, pick: Pick | None, findings: tuple[Finding, ...], *, show_patient: bool) -> None:
    # A pipe has no width, and rich would fold the table at 80 columns.
    console = Console() if sys.stdout.isatty() else Console(file=sys.stdout, width=_PIPED_WIDTH)
    table = Table(title=None, pad_edge=False)
    for name in ("", "no.", "series", "images", "slices", "phases", "kind", "because"):
        table.add_column(name, justify="right" if name in ("no.", "images", "slices", "phases") else "left")
    for series in exam.series:
        picked, reason = _verdict(series, pick)
        counts = (series.number, series.n_instances, series.n_slices, series.n_phases)
        number, images, slices, phases = ("-" if count is None else str(count) for count in counts)
        description = series.description if show_patient else series.pseudonymous_description
        mark, name = "->" if picked else "", _plain(description or "-")
        table.add_row(mark, number, name, images, slices, phases, str(series.kind), _plain(reason))
    console.print(table)
    if show_patient:
        for patient in {tuple(_patient(series).items()): None for series in exam.series}:
            shown = ", ".join(f"{name} {_plain(value or '-')}" for name, value in patient)
            console.print(f"patient: {shown}", markup=False)
    if exam.ignored:
        first = exam.ignored[0]
        shown = f"{first.file} ({first.explanation})"
        console.print(f"{len(exam.ignored)} file(s) ignored, the first: {shown}", markup=False)
    if pick is not None:
        console.print(f"picked: {', '.join(series.uid for series in pick.series)}", markup=False, highlight=False)
    for finding in findings:
        console.print(str(finding), markup=False, highlight=False)


def _plain(text: str) -> str:
    """The text without control characters (a header may hold any) and rich's markup."""
    return "".join(letter if letter.isprintable() else "?" for letter in text).replace("[", r"\[")


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
    console = Console() if sys.stdout.isatty() else Console(file=sys.stdout, width=_PIPED_WIDTH)
    table = Table(title=None, pad_edge=False)
    for name in ("", "file", "array", "slices", "phases", "header", "because"):
        table.add_column(name, justify="right" if name in ("slices", "phases") else "left")
    for row in rows:
        stored = " x ".join(map(str, row.stored))
        counts = str(row.slices), str(row.phases)
        table.add_row("->" if row.picked else "", _plain(row.name), stored, *counts, row.header, _plain(row.reason))
    if rows:
        console.print(table)
    for finding in findings:
        console.print(str(finding), markup=False, highlight=False)
