"""analysis.json, its JSON Schema, and measurements.csv: an Analysis as numbers for programs.

Phases and slices are counted from 0. An unknown value is null in JSON and an empty cell in CSV. Everything the Analysis
holds about the patient goes into JSON; `results.privacy` decides beforehand what it may hold.
"""

import csv
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib import resources
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from cinesax.core.analysis import Analysis, Trust
from cinesax.core.cine import Cine, Patient
from cinesax.core.errors import InputError
from cinesax.core.findings import Finding, Severity
from cinesax.core.measurements import Measurements
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import LV, chambers
from cinesax.formats import contour_convention
from cinesax.formats.contours import point_counts
from cinesax.results.exam import exam_of

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
BASE_VALUES = ("edv_ml", "esv_ml", "ef_percent", "ed_phase", "es_phase")
ARRAYS = ("volumes_ml", "phase_times_ms", "slice_extents_mm", "cavity_areas_px", "cavity_areas_mm2")
_SHARED = ("heart_rate_bpm", "lv_mass_g", "height_cm", "weight_kg", "bsa_m2", "lv_mass_index_g_per_m2", "area_method")
CHAMBER_SCALARS = tuple(name for name in SCALARS if name not in _SHARED)
"""The scalars of chambers other than the LV; the remaining ones belong to the LV or to all."""
CHAMBER_ARRAYS = ("volumes_ml", "cavity_areas_px", "cavity_areas_mm2")
TRUST_COLUMNS = ("predicted_dice", "ef_error_points", "ef_low_percent", "ef_high_percent", "trust_reasons")
_FIRST_COLUMNS = (
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
_CHAMBER_COLUMNS = tuple(f"{chamber.key}_{name}" for chamber in chambers() if chamber != LV for name in CHAMBER_SCALARS)
MEASURED = (*SCALARS, *_CHAMBER_COLUMNS)
"""The columns that contours decide, and that a person's version replaces."""
CSV_COLUMNS = (*_FIRST_COLUMNS, *_CHAMBER_COLUMNS, *TRUST_COLUMNS)
"""Columns of other chambers come after the first ones, and trust last, so that programs that count columns still find
theirs."""

_DECIMALS = 4


def document(analysis: Analysis) -> dict[str, Any]:
    """The content of analysis.json: only dicts, lists, strings, finite numbers, booleans and None.

    If the Analysis has a pseudonym, entries for the patient's identity, UIDs, study date and files are left out.
    """
    provenance, segmentation, named = analysis.provenance, analysis.segmentation, analysis.pseudonym is None
    name, _, version = provenance.software.partition(" ")
    content = {
        "schema": SCHEMA,
        "case": analysis.case,
        "research_use": RESEARCH_USE,
        "measurements": _measurements(analysis.measurements),
        "findings": [_finding(finding, named=named) for finding in analysis.findings],
        "series": _series(analysis.cine, named=named),
        "patient": _patient(analysis.cine.patient, named=named),
        "segmentation": {
            "source": provenance.segmentation_source,
            "author": segmentation.author,
            "papillary_muscles_included": segmentation.papillary_muscles_included,
            contour_convention.FIELD: contour_convention.STANDARD,
            "known_phases": {
                structure.key: np.flatnonzero(known).tolist() for structure, known in segmentation.known_phases.items()
            },
            "findings": _own_findings(analysis),
            "contours": _contours(segmentation),
            "origin": segmentation.origin.value,
            "origins": _origins(segmentation),
        },
        "exam": exam_of(analysis.cine),
        "model": None if provenance.model is None else {"name": provenance.model, "sha256": provenance.model_checksum},
        "software": {"name": name, "version": version, "seconds": dict(provenance.seconds)},
    }
    if analysis.trust is not None:
        content["trust"] = asdict(analysis.trust) | {"words": analysis.trust.words}
    if analysis.approval is not None:
        content["approval"] = asdict(analysis.approval)
    return dict(_plain(content))


def _finding(finding: Finding, *, named: bool) -> dict[str, Any]:
    content = {
        "code": finding.code.value,
        "severity": finding.severity.value,
        "message": finding.message,
        "phase": finding.phase,
        "slice": finding.slice,
        "numbers": dict(finding.numbers),
    }
    return content | {"files": finding.files} if named else content


def _own_findings(analysis: Analysis) -> list[int]:
    """Positions of the segmentation's findings in the list of all findings."""
    places = list(analysis.findings)
    return [places.index(finding) for finding in analysis.segmentation.findings if finding in places]


def _contours(segmentation: Segmentation) -> list[dict[str, Any]] | None:
    """Each contour's structure, phase, slice and number of points in each polygon; None without contours."""
    if segmentation.contours is None:
        return None
    return [
        {"structure": structure.key, "phase": phase, "slice": place, "points": point_counts(polygons)}
        for (structure, phase, place), polygons in sorted(segmentation.contours.items())
    ]


def _origins(segmentation: Segmentation) -> list[dict[str, Any]]:
    """The origin of each contour whose origin differs from the segmentation's."""
    return [
        {
            "structure": structure.key,
            "phase": phase,
            "slice": place,
            "origin": drawn.origin.value,
            "by": drawn.by,
            "approved": drawn.approved,
        }
        for (structure, phase, place), drawn in sorted(segmentation.origins.items(), key=lambda item: item[0])
    ]


def _measurements(measurements: Measurements) -> dict[str, Any]:
    content: dict[str, Any] = {name: getattr(measurements, name) for name in (*SCALARS, *ARRAYS)}
    content["chambers"] = {
        other.chamber.key: {name: getattr(other, name) for name in (*CHAMBER_SCALARS, *CHAMBER_ARRAYS)}
        for other in measurements.others
    }
    content["base_rule"] = measurements.base_rule
    content["by_base_rule"] = {
        values.rule.value: {name: getattr(values, name) for name in BASE_VALUES} for values in measurements.by_base_rule
    }
    wall = measurements.wall_thickness
    return content | {
        "lv_mass_es_g": measurements.lv_mass_es_g,
        "wall_thickness_mm": None if wall is None else wall.segments_mm,
    }


def _series(cine: Cine, *, named: bool) -> dict[str, Any]:
    source, grid = cine.source, cine.grid
    series = {
        "kind": source.kind,
        "description": source.description,
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
    if named:
        series |= {"study_uid": source.study_uid, "series_uids": source.series_uids, "study_date": source.study_date}
    return series


def _patient(patient: Patient, *, named: bool) -> dict[str, Any]:
    names = ("name", "patient_id", "birth_date") if named else ()
    return {name: getattr(patient, name) for name in (*names, "sex", "age_years")}


def _plain(value: Any) -> Any:
    """The same value in JSON's types: arrays as lists, numbers rounded, non-finite numbers as None."""
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
        return rounded(value)
    # File names that are not valid text contain lone surrogates, which UTF-8 cannot encode.
    return str(value).encode("utf-8", "replace").decode("utf-8")


def rounded(value: float | np.floating[Any] | None) -> float | None:
    """The number as written to files; None if it is not finite."""
    return None if value is None or not math.isfinite(value) else round(float(value), _DECIMALS)


def to_json(analysis: Analysis) -> str:
    """The text of analysis.json, with a line break at its end."""
    content = document(analysis)
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    # One line for each row of numbers: people scroll through this file too.
    # A JSON string never contains a line break, so the pattern matches lists only, and no string makes it slow.
    number = r"(?:[-+\d.eE]+|null)"
    text = re.sub(rf"\[\n\s+({number}(?:,\n\s+{number})*)\n\s*\]", lambda m: f"[{' '.join(m[1].split())}]", text)
    contour = r'\{\n\s+("structure": [^{}]*?)\n\s*\}'
    return re.sub(contour, lambda m: "{" + re.sub(r"\n\s*", " ", m[1]) + "}", text) + "\n"


def read_json(path: Path) -> dict[str, Any]:
    """The document in an analysis.json that this version can read.

    Raises:
        InputError: a file that cannot be read, is not JSON, or has another schema.
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
    content = document(analysis)
    counted = {
        f"{severity.value}s": sum(finding["severity"] == severity for finding in content["findings"])
        for severity in Severity
    }
    values: dict[str, str | int | float | None] = {
        "case": content["case"],
        **measured(content["measurements"]),
        **counted,
        "segmentation_source": content["segmentation"]["source"],
        "model": None if content["model"] is None else content["model"]["name"],
        "software": analysis.provenance.software,
        "research_use": RESEARCH_USE,
    }
    values |= trust_values(analysis.trust)
    return {name: values[name] for name in CSV_COLUMNS}


def measured(measurements: Mapping[str, Any]) -> dict[str, Any]:
    """The cells of `MEASURED`, from the measurements in analysis.json.

    Raises:
        KeyError: there is no such value of the LV.
    """
    values = {name: measurements[name] for name in SCALARS}
    for column in _CHAMBER_COLUMNS:
        key, _, name = column.partition("_")
        values[column] = measurements.get("chambers", {}).get(key, {}).get(name)
    return values


def trust_values(trust: Trust | None) -> dict[str, str | int | float | None]:
    """The cells of TRUST_COLUMNS; empty for an analysis without."""
    if trust is None:
        return dict.fromkeys(TRUST_COLUMNS)
    numbers = (trust.dice, trust.ef_error_points, trust.ef_low_percent, trust.ef_high_percent)
    return dict(zip(TRUST_COLUMNS, (*map(rounded, numbers), " ".join(trust.reasons) or None), strict=True))


def to_csv(analyses: Iterable[Analysis]) -> str:
    """A table with a header and one row for each analysis (RFC 4180; line breaks are line feeds)."""
    text = StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row(analysis) for analysis in analyses)
    return text.getvalue()
