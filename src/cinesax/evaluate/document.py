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


def function(case: CaseFunction) -> dict[str, Any]:
    """Volumes (or areas) and EF of one patient as plain values."""
    ed, es = ("edv_ml", "esv_ml") if case.basis is EfBasis.VOLUMES else ("ed_area_px", "es_area_px")
    sides = {"truth": case.truth, "found": case.predicted}
    return {
        "basis": str(case.basis),
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
        "ed_error_percent": case.ed_error_percent,
        "es_error_percent": case.es_error_percent,
        "ef_error_points": case.ef_error_points,
        "ed_phases_apart": case.phases_apart(Moment.ED),
        "es_phases_apart": case.phases_apart(Moment.ES),
    }


def miccai(case: MiccaiCase) -> dict[str, Any]:
    """The measures of the MICCAI 2009 challenge for one patient as plain values."""
    return {
        "good_percent": case.good_percent,
        "apd_mm": case.apd_mm,
        "dice": case.dice,
        "manual": {"edv_ml": case.manual_ml[0], "esv_ml": case.manual_ml[1], "ef_percent": case.ef_percent[0]},
        "found": {"edv_ml": case.predicted_ml[0], "esv_ml": case.predicted_ml[1], "ef_percent": case.ef_percent[1]},
        "slices": [asdict(slice_) for slice_ in case.slices],
    }


def row(score: SliceScore) -> dict[str, Any]:
    """One slice as plain values, in the order of COLUMNS (name, dice and areas first, as in earlier versions)."""
    return {
        "name": score.name,
        "dice": score.dice,
        "truth_px": score.truth_px,
        "found_px": score.found_px,
        "case": score.case,
        "phase": score.phase,
        "slice": score.slice,
        "moment": None if score.moment is None else str(score.moment),
        "level": None if score.level is None else str(score.level),
        "iou": score.iou,
        "hd95": score.hd95,
        "mean_distance": score.mean_distance,
        "unit": str(score.unit),
        "false_positive": score.false_positive,
        "missed": score.missed,
        "in_sample": None if score.overlap is None else str(score.overlap),
    }


def table(slices: Iterable[SliceScore]) -> str:
    """The slices as CSV with a header line; unknown values are empty, true and false are 1 and 0."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for score in slices:
        values = plain(row(score))
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
