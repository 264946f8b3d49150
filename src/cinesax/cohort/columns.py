"""The columns of a cohort's table: name, type, unit and meaning. The table, its data dictionary and REDCap use them."""

from dataclasses import dataclass
from enum import StrEnum

from cinesax.results import tables

_NOT_KNOWN = "not known, or not measured"


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
        empty: what an empty cell means, for people.
    """

    name: str
    meaning: str
    type: Type = Type.NUMBER
    unit: str = ""
    empty: str = _NOT_KNOWN


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
    "_points": "points",
}
_NEVER = "never empty"
_WAITING = "not analyzed yet"
_NO_FAILURE = "no failure"
_NO_VALUES = "no values: failed, or not analyzed yet"
_NO_PREDICTION = "no prediction: failed, a network without a calibration, or contours that a person edited"
_NOT_FOUND = "the last run did not find the exam"

_FIRST = (
    Column(
        "exam",
        "Key of the exam: pseudonymous, the same in every run; names.csv has its name",
        Type.TEXT,
        empty=_NEVER,
    ),
    Column(
        "status",
        "done, edited, approved or excluded (by a reader), failed, waiting (not analyzed yet)",
        Type.TEXT,
        empty=_NEVER,
    ),
    Column("reason", "Why there are no values: a stable name", Type.TEXT, empty=_NO_FAILURE),
    Column(
        "exit_code",
        "Exit code of cinesax analyze for this exam; 124 time limit, 137 memory or killed, 139 crashed",
        Type.WHOLE,
        empty=_WAITING,
    ),
    Column("message", "The error in one line, without names of patients and files", Type.TEXT, empty=_NO_FAILURE),
    Column(
        "outdated",
        "1 if files, options, network, its calibration or the version of cinesax are newer than these values",
        Type.WHOLE,
        empty=_WAITING,
    ),
    Column(
        "input_missing",
        "1 if the last run did not find the exam, or could not reach all of its files; its earlier values are kept",
        Type.WHOLE,
        empty=_WAITING,
    ),
    Column(
        "doubt",
        "Order of the exams: typical error of EF in points (where none is predicted, 3 for each kind of warning), and "
        "100 for each kind of error; 0 once approved or excluded, and for failures",
        unit="points",
        empty=_NEVER,
    ),
    Column(
        "doubts",
        "What to doubt: the codes of errors and warnings, worst first",
        Type.TEXT,
        empty="nothing to doubt, or no values",
    ),
    Column(
        "reader",
        "The person who edited, approved or excluded the exam",
        Type.TEXT,
        empty="no reader edited, approved or excluded the exam",
    ),
    Column("network_version", "The network that drew the first contours", Type.TEXT, empty=_WAITING),
    Column("ef_network_percent", "Ejection fraction of the LV by the network alone", unit="%"),
    Column(
        "ef_reader_percent",
        "Ejection fraction of the LV by the reader's version",
        unit="%",
        empty="no reader's version, or no EF in it",
    ),
)
_OF_CHAMBERS = {
    "ed_phase": "Phase of end diastole of the {}, counted from 0",
    "es_phase": "Phase of end systole of the {}, counted from 0",
    "edv_ml": "End-diastolic volume of the {} cavity",
    "esv_ml": "End-systolic volume of the {} cavity",
    "sv_ml": "Stroke volume of the {}",
    "ef_percent": "Ejection fraction of the {}",
    "ef_basis": "What the ejection fraction of the {} was computed from: volumes, or areas if there are no volumes",
    "cardiac_output_l_per_min": "Cardiac output of the {}: stroke volume times heart rate",
    "peak_ejection_rate_ml_per_s": "Peak ejection rate of the {}: its fastest loss of volume",
    "peak_filling_rate_ml_per_s": "Peak filling rate of the {}: its fastest gain of volume",
    "edv_index_ml_per_m2": "End-diastolic volume of the {} cavity per body surface area",
    "esv_index_ml_per_m2": "End-systolic volume of the {} cavity per body surface area",
    "sv_index_ml_per_m2": "Stroke volume of the {} per body surface area",
    "cardiac_index_l_per_min_per_m2": "Cardiac output of the {} per body surface area",
}
_MEANINGS = {
    **{name: meaning.format("LV") for name, meaning in _OF_CHAMBERS.items()},
    "ef_percent": "Ejection fraction of the LV: the reader's if there is one, otherwise the network's",
    "case": "Name of the exam in its own report: the same as `exam`, except for NIfTI and studies that share a UID",
    "heart_rate_bpm": "Heart rate",
    "lv_mass_g": "Mass of the LV myocardium at end diastole",
    "height_cm": "Body height",
    "weight_kg": "Body weight",
    "bsa_m2": "Body surface area",
    "lv_mass_index_g_per_m2": "Mass of the LV myocardium at end diastole per body surface area",
    "area_method": "What areas were computed from: polygons (of contours) or pixels (of labels)",
    "errors": "Number of findings that are errors",
    "warnings": "Number of findings that are warnings",
    "notes": "Number of findings that are notes",
    "segmentation_source": "Where the contours come from: the network, or a given segmentation",
    "predicted_dice": "Predicted Dice of the network's LV cavity with an expert's, by volume: 1 would be the same",
    "ef_error_points": "Typical absolute error of the network's EF in such exams",
    "ef_low_percent": "Lower end of the interval for the network's EF",
    "ef_high_percent": "Upper end of the interval for the network's EF",
    "trust_reasons": "Why a larger error than usual is expected: stable names, most important first",
}
"""Of every column of measurements.csv that the table has, except those of other chambers."""
_EMPTY = {
    **dict.fromkeys(("case", "errors", "warnings", "notes", "segmentation_source"), _NO_VALUES),
    **dict.fromkeys(tables.TRUST_COLUMNS, _NO_PREDICTION),
    "trust_reasons": "nothing stands out, or no prediction",
}
_EXAM = (
    Column("sex", "Sex of the patient: M, F, O", Type.TEXT),
    Column("age_years", "Age at the exam; 90 stands for every higher age", unit="years"),
    Column("kind", "How the exam is stored: dicom or nifti", Type.TEXT),
    Column("manufacturer", "Manufacturer of the scanner", Type.TEXT),
    Column("scanner", "Model of the scanner", Type.TEXT),
    Column("field_strength_t", "Magnetic field strength", unit="T"),
    Column("phases", "Phases of the cine", Type.WHOLE),
    Column("slices", "Slices of the cine", Type.WHOLE),
    Column("pixel_spacing_rows_mm", "Distance between rows of pixels", unit="mm"),
    Column("pixel_spacing_columns_mm", "Distance between columns of pixels", unit="mm"),
    Column("slice_distance_mm", "Distance between slices, centre to centre", unit="mm"),
    Column("slice_thickness_mm", "Thickness of a slice", unit="mm"),
    Column("copies_left_out", "Number of duplicate files, which were left out", Type.WHOLE),
    Column("files", "Number of files of the exam", Type.WHOLE, empty=_NOT_FOUND),
    Column("megabytes", "Size of these files", unit="MB", empty=_NOT_FOUND),
)
_TEXTS = ("case", "ef_basis", "area_method", "segmentation_source", "trust_reasons")
_WHOLE = ("ed_phase", "es_phase", "errors", "warnings", "notes")


def _unit(name: str) -> str:
    endings = [ending for ending in _UNITS if name.endswith(ending)]
    return _UNITS[max(endings, key=len)] if endings else ""


def _measured(name: str) -> Column:
    chamber, _, bare = name.partition("_")
    if name in _MEANINGS:
        bare, meaning = name, _MEANINGS[name]
    else:
        meaning = _OF_CHAMBERS[bare].format(chamber.upper())
    kind = Type.TEXT if bare in _TEXTS else Type.WHOLE if bare in _WHOLE else Type.NUMBER
    return Column(name, meaning, kind, _unit(name), _EMPTY.get(name, _NOT_KNOWN))


_NOT_MEASURED = ("research_use", "model", "software")
COLUMNS = (
    *_FIRST,
    *(_measured(name) for name in tables.CSV_COLUMNS if name not in _NOT_MEASURED),
    *_EXAM,
    Column("software", "The software that computed these values", Type.TEXT, empty=_WAITING),
)
"""The columns of every cohort; columns from a list of exams follow them."""
