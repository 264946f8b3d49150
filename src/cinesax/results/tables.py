"""analysis.json, its JSON Schema, and measurements.csv: an Analysis as numbers for programs, both ways.

Phases and slices are counted from 0. A value that cannot be known is null in JSON and an empty cell in CSV. Unless
asked for, nothing that names the patient goes in: no name, patient ID or birth date, and none of them inside other
texts; no UIDs, no study date, no file names or paths.
"""

import csv
import json
import math
import re
from collections.abc import Iterable
from importlib import resources
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from cinesax._version import __version__
from cinesax.core.analysis import Analysis
from cinesax.core.cine import Cine, Patient
from cinesax.core.errors import InputError
from cinesax.core.findings import Finding, Severity
from cinesax.core.identity import identifying_texts, remove_texts
from cinesax.core.measurements import Measurements
from cinesax.formats import contour_convention

SCHEMA = "cinesax/analysis/1"
RESEARCH_USE = "For research use; not a medical device."

SCALARS = (
    "ed_phase",
    "es_phase",
    "edv_ml",
    "esv_ml",
    "sv_ml",
    "ef_percent",
    "ef_basis",
    "heart_rate_bpm",
    "cardiac_output_l_per_min",
    "peak_ejection_rate_ml_per_s",
    "peak_filling_rate_ml_per_s",
    "lv_mass_g",
    "height_cm",
    "weight_kg",
    "bsa_m2",
    "edv_index_ml_per_m2",
    "esv_index_ml_per_m2",
    "sv_index_ml_per_m2",
    "cardiac_index_l_per_min_per_m2",
    "lv_mass_index_g_per_m2",
    "area_method",
)
ARRAYS = ("volumes_ml", "phase_times_ms", "slice_extents_mm", "cavity_areas_px", "cavity_areas_mm2")
CSV_COLUMNS = (
    "case",
    *SCALARS,
    "errors",
    "warnings",
    "notes",
    "segmentation_source",
    "model",
    "software",
    "research_use",
)

TYPED = ("description", "protocol", "picked_because", "not_picked")
"""What of a series holds texts that people type, and patients' names with them."""

_DECIMALS = 4
_OLDEST_AGE_TOLD = 90


def document(analysis: Analysis, *, show_patient: bool = False) -> dict[str, Any]:
    """The content of analysis.json: only dicts, lists, strings, finite numbers, booleans and None.

    Args:
        analysis: what to tell.
        show_patient: whether to add who the patient is, the UIDs and the study date.
    """
    provenance, segmentation = analysis.provenance, analysis.segmentation
    told = {
        "schema": SCHEMA,
        "case": analysis.case,
        "research_use": RESEARCH_USE,
        "measurements": _measurements(analysis.measurements),
        "findings": [_finding(finding, show_patient) for finding in analysis.findings],
        "series": _series(analysis.cine, show_patient),
        "patient": _patient(analysis.cine.patient, show_patient),
        "segmentation": {
            "source": provenance.segmentation_source,
            "author": segmentation.author,
            "papillary_muscles_included": segmentation.papillary_muscles_included,
            contour_convention.FIELD: contour_convention.STANDARD,
            "known_phases": {
                structure.name.lower(): np.flatnonzero(known).tolist()
                for structure, known in segmentation.known_phases.items()
            },
        },
        "model": None if provenance.model is None else {"name": provenance.model, "sha256": provenance.model_checksum},
        "software": {"name": "cinesax", "version": __version__, "seconds": dict(provenance.seconds)},
    }
    if not show_patient:
        told = _without_identity(told, identifying_texts(analysis.cine.patient))
    return dict(_plain(told))


def _without_identity(told: dict[str, Any], identifying: tuple[str, ...]) -> dict[str, Any]:
    """Without the patient in all that people type, or that is made of it; what vendors write stays as it is."""
    typed = {name: _without(told["series"][name], identifying) for name in TYPED}
    return told | {"findings": _without(told["findings"], identifying), "series": told["series"] | typed}


def _finding(finding: Finding, show_patient: bool) -> dict[str, Any]:
    told = {
        "code": finding.code.value,
        "severity": finding.severity.value,
        "message": finding.message,
        "phase": finding.phase,
        "slice": finding.slice,
        "numbers": dict(finding.numbers),
    }
    # Names of files are the user's own affair, and are often those of patients.
    return told | {"files": finding.files} if show_patient else told


def _measurements(measurements: Measurements) -> dict[str, Any]:
    return {name: getattr(measurements, name) for name in (*SCALARS, *ARRAYS)}


def _series(cine: Cine, show_patient: bool) -> dict[str, Any]:
    source, grid = cine.source, cine.grid
    # Only DICOM's description tells of the series; elsewhere it is a file name, which is the user's own affair.
    described = source.kind == "dicom" or show_patient
    series = {
        "kind": source.kind,
        "description": source.description if described else None,
        "protocol": source.protocol,
        "picked_because": source.picked_because,
        "not_picked": [{"series": name, "reason": reason} for name, reason in source.not_picked],
        "manufacturer": source.manufacturer,
        "scanner": source.scanner,
        "field_strength_t": source.field_strength_t,
        "phases": cine.n_phases,
        "slices": cine.n_slices,
        "rows": cine.pixels.shape[2],
        "columns": cine.pixels.shape[3],
        "pixel_spacing_mm": None if grid is None else grid.spacing_mm,
        "slice_distance_mm": None if grid is None else grid.slice_distance_mm,
        "slice_distances_mm": None if grid is None else grid.slice_distances_mm,
        "slice_thickness_mm": source.slice_thickness_mm,
        "base_first": cine.base_first,
        "rr_intervals_ms": cine.rr_intervals_ms,
        "trigger_times_ms": cine.trigger_times_ms,
    }
    if show_patient:
        series |= {"study_uid": source.study_uid, "series_uids": source.series_uids, "study_date": source.study_date}
    return series


def _patient(patient: Patient, show_patient: bool) -> dict[str, Any]:
    age = patient.age_years
    if show_patient:
        named = {"name": patient.name, "patient_id": patient.patient_id, "birth_date": patient.birth_date}
        return {**named, "sex": patient.sex, "age_years": age}
    return {"sex": patient.sex, "age_years": None if age is None else min(age, float(_OLDEST_AGE_TOLD))}


def _plain(value: Any) -> Any:
    """The same in JSON's types: arrays as lists, numbers rounded, what is not finite as None."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return round(float(value), _DECIMALS) if math.isfinite(value) else None
    # File names that are no text hold halves of characters, which no file takes.
    return str(value).encode("utf-8", "replace").decode("utf-8")


def _without(value: Any, identifying: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {key: _without(item, identifying) for key, item in value.items()}
    if isinstance(value, list):
        return [_without(item, identifying) for item in value]
    return remove_texts(value, identifying) if isinstance(value, str) else value


def to_json(analysis: Analysis, *, show_patient: bool = False) -> str:
    """The text of analysis.json, with a line break at its end."""
    told = document(analysis, show_patient=show_patient)
    text = json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False)
    # Rows of numbers on one line each: a person scrolls through this file too.
    # A text never holds a line break in JSON, so the pattern finds lists only, and no text makes it slow.
    number = r"(?:[-+\d.eE]+|null)"
    return re.sub(rf"\[\n\s+({number}(?:,\n\s+{number})*)\n\s*\]", lambda m: f"[{' '.join(m[1].split())}]", text) + "\n"


def read_json(path: Path) -> dict[str, Any]:
    """The document in an analysis.json that this version can read.

    Raises:
        InputError: a file that cannot be read, is no JSON, or has another schema.
    """
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as analysis.json: {error}") from error
    seen = read.get("schema") if isinstance(read, dict) else None
    if seen != SCHEMA:
        raise InputError(f"{path} has the schema {seen!r}, expected {SCHEMA!r}: give an analysis.json of this version")
    return dict(read)


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of analysis.json, as packaged in analysis.schema.json."""
    text = resources.files("cinesax.results").joinpath("analysis.schema.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def row(analysis: Analysis) -> dict[str, str | int | float | None]:
    """One row of measurements.csv: a value for each of CSV_COLUMNS, in their order."""
    told = document(analysis)
    counted = {
        f"{severity.value}s": sum(finding["severity"] == severity for finding in told["findings"])
        for severity in Severity
    }
    values: dict[str, str | int | float | None] = {
        "case": told["case"],
        **{name: told["measurements"][name] for name in SCALARS},
        **counted,
        "segmentation_source": told["segmentation"]["source"],
        "model": None if told["model"] is None else told["model"]["name"],
        "software": f"cinesax {__version__}",
        "research_use": RESEARCH_USE,
    }
    return {name: values[name] for name in CSV_COLUMNS}


def to_csv(analyses: Iterable[Analysis]) -> str:
    """A table with a header and one row for each analysis (RFC 4180; line breaks are line feeds)."""
    text = StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row(analysis) for analysis in analyses)
    return text.getvalue()


def read_csv(path: Path) -> list[dict[str, str | float | None]]:
    """The rows of a measurements.csv: numbers as floats, empty cells as None.

    Raises:
        InputError: a file that cannot be read or has other columns.
    """
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines)
            rows = [{name: _cell(value) for name, value in line.items()} for line in reader]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a table: {error}") from error
    if tuple(reader.fieldnames or ()) != CSV_COLUMNS:
        raise InputError(f"{path} has the columns {reader.fieldnames}, expected {', '.join(CSV_COLUMNS)}")
    return rows


def _cell(value: str) -> str | float | None:
    if value == "":
        return None
    try:
        return float(value)
    except ValueError:
        return value
