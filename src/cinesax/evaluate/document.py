"""The parts of an Evaluation as plain values for JSON of schema cinesax/evaluation/1, and a table of slices.

JSON has no infinity: an infinite distance (or end of an interval) is the text "infinite".
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from cinesax.core.measurements import EfBasis
from cinesax.evaluate.function import CaseFunction
from cinesax.evaluate.miccai2009 import MiccaiCase
from cinesax.evaluate.slices import SliceScore
from cinesax.evaluate.study import Moment

SCHEMA = "cinesax/evaluation/1"
INFINITE = "infinite"
COLUMNS = (
    "name", "case", "phase", "slice", "moment", "level", "dice", "iou", "hd95", "mean_distance", "unit",
    "truth_px", "found_px", "false_positive", "missed", "in_sample",
)  # fmt: skip


def by_case(scores: Mapping[str, Sequence[SliceScore]]) -> dict[str, Any]:
    """The slices of each patient as plain values."""
    return {
        case: {"n": len(ours), "dice_mean": float(np.mean([score.dice for score in ours]))}
        for case, ours in scores.items()
    }


def function(one: CaseFunction) -> dict[str, Any]:
    """Volumes (or areas) and EF of one patient as plain values."""
    ed, es = ("edv_ml", "esv_ml") if one.basis is EfBasis.VOLUMES else ("ed_area_px", "es_area_px")
    sides = {"truth": one.truth, "found": one.found}
    return {
        "basis": str(one.basis),
        **{
            side: {
                ed: value.ed,
                es: value.es,
                "ef_percent": value.ef_percent,
                "ed_phase": value.ed_phase,
                "es_phase": value.es_phase,
            }
            for side, value in sides.items()
        },
        "ed_error_percent": one.ed_error_percent,
        "es_error_percent": one.es_error_percent,
        "ef_error_points": one.ef_error_points,
        "ed_phases_apart": one.phases_apart(Moment.ED),
        "es_phases_apart": one.phases_apart(Moment.ES),
    }


def miccai(one: MiccaiCase) -> dict[str, Any]:
    """The measures of the MICCAI 2009 challenge for one patient as plain values."""
    return {
        "good_percent": one.good_percent,
        "apd_mm": one.apd_mm,
        "dice": one.dice,
        "manual": {"edv_ml": one.manual_ml[0], "esv_ml": one.manual_ml[1], "ef_percent": one.ef_percent[0]},
        "found": {"edv_ml": one.found_ml[0], "esv_ml": one.found_ml[1], "ef_percent": one.ef_percent[1]},
        "slices": [asdict(slice_) for slice_ in one.slices],
    }


def row(one: SliceScore) -> dict[str, Any]:
    """One slice as plain values, in the order of COLUMNS (name, dice and areas first, as in earlier versions)."""
    return {
        "name": one.name,
        "dice": one.dice,
        "truth_px": one.truth_px,
        "found_px": one.found_px,
        "case": one.case,
        "phase": one.phase,
        "slice": one.slice,
        "moment": None if one.moment is None else str(one.moment),
        "level": None if one.level is None else str(one.level),
        "iou": one.iou,
        "hd95": one.hd95,
        "mean_distance": one.mean_distance,
        "unit": str(one.unit),
        "false_positive": one.false_positive,
        "missed": one.missed,
        "in_sample": None if one.overlap is None else str(one.overlap),
    }


def table(slices: Iterable[SliceScore]) -> str:
    """The slices as CSV with a header line; unknown values are empty, true and false are 1 and 0."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for one in slices:
        values = plain(row(one))
        writer.writerow({name: _cell(values[name]) for name in COLUMNS})
    return stream.getvalue()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return int(value)
    return f"{value:.6g}" if isinstance(value, float) else value


def plain(value: Any) -> Any:
    """A value for JSON: nan becomes null, infinity a text, and keys become texts."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else INFINITE
    return value
