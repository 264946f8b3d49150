"""The columns of a cohort's table: name, type, unit and meaning. The table, its data dictionary and REDCap use them."""

from dataclasses import dataclass
from enum import StrEnum

from cinesax.results import tables


class Type(StrEnum):
    """The type of the cells of a column."""

    TEXT = "text"
    WHOLE = "integer"
    NUMBER = "number"


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: the name of the column, which ends with the unit.
        meaning: the meaning, for people.
        type: the type of its cells.
        unit: the unit as text; "" if there is none.
    """

    name: str
    meaning: str
    type: Type = Type.NUMBER
    unit: str = ""


_UNITS = {
    "_ml": "ml",
    "_percent": "%",
    "_bpm": "/min",
    "_l_per_min": "l/min",
    "_ml_per_s": "ml/s",
    "_g": "g",
    "_cm": "cm",
    "_kg": "kg",
    "_m2": "m2",
    "_ml_per_m2": "ml/m2",
    "_l_per_min_per_m2": "l/min/m2",
    "_g_per_m2": "g/m2",
    "_mm": "mm",
    "_t": "T",
    "_years": "years",
}

_FIRST = (
    Column("exam", "Key of the exam: pseudonymous, the same in every run; names.csv has its name", Type.TEXT),
    Column("status", "done, edited, approved or excluded (by a reader), failed, waiting (not analyzed yet)", Type.TEXT),
    Column("reason", "Why there are no values: a stable name", Type.TEXT),
    Column(
        "exit_code",
        "Exit code of cinesax analyze for this exam; 124 time limit, 137 memory or killed, 139 crashed",
        Type.WHOLE,
    ),
    Column("message", "The error in one line, without names of patients and files", Type.TEXT),
    Column("outdated", "1 if files, options, network or its calibration are newer than these values", Type.WHOLE),
    Column(
        "input_missing",
        "1 if the last run did not find the exam, or could not reach all of its files; its earlier values are kept",
        Type.WHOLE,
    ),
    Column(
        "doubt",
        "Order of the exams: typical error of EF in points (without a calibration, 3 for each kind of warning), and "
        "100 for each kind of error; 0 once approved",
    ),
    Column("doubts", "What to doubt: the codes of errors and warnings, worst first", Type.TEXT),
    Column("reader", "The person who edited or approved these values", Type.TEXT),
    Column("network_version", "The network that drew the first contours", Type.TEXT),
    Column("ef_network_percent", "Ejection fraction by the network alone", unit="%"),
    Column("ef_reader_percent", "Ejection fraction by the reader's version", unit="%"),
)
_MEANINGS = {
    "case": "Name of the exam in its own report: the same as `exam`, except for NIfTI and studies that share a UID",
    "ed_phase": "Phase of end diastole, counted from 0",
    "es_phase": "Phase of end systole, counted from 0",
    "edv_ml": "End-diastolic volume of the LV cavity",
    "esv_ml": "End-systolic volume of the LV cavity",
    "sv_ml": "Stroke volume",
    "ef_percent": "Ejection fraction: the reader's if there is one, otherwise the network's",
    "ef_basis": "volumes, or areas if there are no volumes",
    "heart_rate_bpm": "Heart rate",
    "cardiac_output_l_per_min": "Cardiac output",
    "peak_ejection_rate_ml_per_s": "Peak ejection rate",
    "peak_filling_rate_ml_per_s": "Peak filling rate",
    "lv_mass_g": "LV mass at end diastole",
    "height_cm": "Body height",
    "weight_kg": "Body weight",
    "bsa_m2": "Body surface area",
    "area_method": "polygons (of contours) or pixels (of labels)",
    "errors": "Findings that are errors",
    "warnings": "Findings that are warnings",
    "notes": "Findings that are notes",
    "segmentation_source": "network, or a given segmentation",
    "predicted_dice": "Predicted Dice of the network's LV cavity with an expert's, by volume",
    "ef_error_points": "Typical absolute error of the network's EF in such exams, in points",
    "ef_low_percent": "Lower end of the interval for the network's EF",
    "ef_high_percent": "Upper end of the interval for the network's EF",
    "trust_reasons": "Why a larger error than usual is expected",
}
_EXAM = (
    Column("sex", "Sex of the patient: M, F, O", Type.TEXT),
    Column("age_years", "Age at the exam; 90 stands for every higher age", unit="years"),
    Column("kind", "dicom or nifti", Type.TEXT),
    Column("manufacturer", "Manufacturer of the scanner", Type.TEXT),
    Column("scanner", "Model of the scanner", Type.TEXT),
    Column("field_strength_t", "Magnetic field strength", unit="T"),
    Column("phases", "Phases of the cine", Type.WHOLE),
    Column("slices", "Slices of the cine", Type.WHOLE),
    Column("pixel_spacing_rows_mm", "Distance between rows", unit="mm"),
    Column("pixel_spacing_columns_mm", "Distance between columns", unit="mm"),
    Column("slice_distance_mm", "Distance between slices, centre to centre", unit="mm"),
    Column("slice_thickness_mm", "Thickness of a slice", unit="mm"),
    Column("copies_left_out", "Number of duplicate files, which were left out", Type.WHOLE),
    Column("files", "Number of files of the exam", Type.WHOLE),
    Column("megabytes", "Size of these files", unit="MB"),
)
_TEXTS = ("case", "ef_basis", "area_method", "segmentation_source", "trust_reasons")
_WHOLE = ("ed_phase", "es_phase", "errors", "warnings", "notes")


def _unit(name: str) -> str:
    endings = [ending for ending in _UNITS if name.endswith(ending)]
    return _UNITS[max(endings, key=len)] if endings else ""


def _measured(name: str) -> Column:
    bare = next((known for known in sorted(_MEANINGS, key=len, reverse=True) if name.endswith(known)), name)
    meaning = _MEANINGS.get(bare, name.replace("_", " ").capitalize())
    if bare != name:
        meaning = f"{name.removesuffix(bare).strip('_').upper()}: {meaning}"
    kind = Type.TEXT if bare in _TEXTS else Type.WHOLE if bare in _WHOLE else Type.NUMBER
    return Column(name, meaning, kind, _unit(name))


_NOT_MEASURED = ("research_use", "model", "software")
COLUMNS = (
    *_FIRST,
    *(_measured(name) for name in tables.CSV_COLUMNS if name not in _NOT_MEASURED),
    *_EXAM,
    Column("software", "The software that computed these values", Type.TEXT),
)
"""The columns of every cohort; columns from a list of exams follow them."""
