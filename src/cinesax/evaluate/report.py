"""The report of an evaluation: an Evaluation as one HTML file that loads nothing from the internet."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from cinesax._version import __version__
from cinesax.core.grid import Floats
from cinesax.core.measurements import EfBasis
from cinesax.evaluate import Evaluation, Picture
from cinesax.evaluate import figures as plots
from cinesax.evaluate.agreement import Interval
from cinesax.evaluate.evaluation import Summary, agreement_of, summarise
from cinesax.network.fingerprint import Overlap
from cinesax.results import figures
from cinesax.results.html import template

_MARGIN_PX = 22
_SIDE_PX = 300
_QUALITY = 88
_NAMES = {"ef_percent": "EF (%)", "edv_ml": "EDV (ml)", "esv_ml": "ESV (ml)"}


def render(evaluation: Evaluation, *, of: str, on: str) -> str:
    """The report as HTML text.

    Args:
        evaluation: the evaluation, with pictures of the worst slices.
        of: the subject: name and version of a network, or the source of the masks.
        on: name of the data.
    """
    groups = dict(evaluation.groups())
    return template("evaluation.html.j2").render(
        of=of,
        on=on,
        version=__version__,
        evaluation=evaluation,
        everything=groups["all"],
        groups=groups,
        unit=str(evaluation.slices[0].unit),
        cards=cards(evaluation, groups["all"]),
        lead=lead(evaluation, groups),
        known=evaluation.in_sample,
        training_known=evaluation.training_known,
        same_images=sum(overlap is Overlap.IMAGE for overlap in evaluation.in_sample.values()),
        slice_plots=[
            ("Dice by patient", plots.dice_by_patient(evaluation)),
            ("Dice by size", plots.dice_by_size(evaluation)),
            ("Distances", plots.distance_shares(evaluation)),
        ],
        agreement=list(_agreement(evaluation)),
        levels=any(score.level is not None for score in evaluation.slices),
        patients=patients(evaluation),
        volumes=any(function.basis is EfBasis.VOLUMES for function in evaluation.functions),
        others=[(part, summarise(part.slices), agreement_of(part.functions)) for part in evaluation.others],
        tiles=[_tile(picture) for picture in evaluation.pictures],
        units=figures.PATH_UNITS_A_PIXEL,
        width=plots.WIDTH,
    )


@dataclass(frozen=True, slots=True)
class Card:
    """A key figure: its name, value and explanation."""

    name: str
    value: str
    note: str


def cards(evaluation: Evaluation, all_slices: Summary) -> list[Card]:
    """The key figures at the top."""
    intervals, unit = evaluation.intervals(), evaluation.slices[0].unit
    made = [
        Card("Mean Dice", f"{all_slices.dice_mean:.3f}", _range(intervals.get("dice_mean"), ".3f")),
        Card("Median Dice", f"{all_slices.dice_median:.3f}", _range(intervals.get("dice_median"), ".3f")),
        Card("HD95, median", _distance(all_slices.hd95_median, str(unit)), _range(intervals.get("hd95_median"), ".1f")),
        Card("Dice below 0.5", f"{100 * all_slices.below_half:.1f} %", f"{_count(all_slices)} slices"),
        Card(
            "Missed / false",
            f"{all_slices.misses} / {all_slices.false_positives}",
            "no LV predicted / LV predicted where there is none",
        ),
    ]
    if evaluation.functions:
        errors = np.array([function.ef_error_points for function in evaluation.functions])
        value = f"{np.abs(errors).mean():.1f} points"
        made.append(Card("EF, mean error", value, _range(intervals.get("ef_mean_absolute_error"), ".1f")))
    return made


def _count(group: Summary) -> str:
    return f"{round(group.below_half * group.n)} of {group.n}"


def _range(interval: Interval | None, form: str) -> str:
    if interval is None:
        return "too few patients for an interval"
    low, high = (format(end, form) if np.isfinite(end) else "infinite" for end in (interval.low, interval.high))
    return f"95 % interval {low} to {high}"


def _distance(value: float, unit: str) -> str:
    return f"{value:.1f} {unit}" if np.isfinite(value) else "infinite"


def lead(evaluation: Evaluation, groups: dict[str, Summary]) -> list[str]:
    """Sentences about the slices and patients that lose most Dice."""
    with_lv = sorted((score for score in evaluation.slices if score.truth_px), key=lambda score: score.truth_px)
    lost = sum(1 - score.dice for score in with_lv)
    sentences = []
    if len(with_lv) >= 8 and lost > 0:
        quarter = with_lv[: len(with_lv) // 4]
        share = 100 * sum(1 - score.dice for score in quarter) / lost
        sentences.append(
            f"The smallest quarter of the slices (up to {quarter[-1].truth_px} pixels) accounts for {share:.0f} % of "
            "the lost Dice."
        )
    cases = {case: sum(1 - score.dice for score in scores) for case, scores in evaluation.by_case().items()}
    if len(cases) >= 3 and sum(cases.values()) > 0:
        worst = max(cases, key=cases.__getitem__)
        share = 100 * cases[worst] / sum(cases.values())
        sentences.append(f"One patient, {worst}, accounts for {share:.0f} %.")
    areas = np.array([(score.truth_px, score.found_px) for score in evaluation.slices]).sum(axis=0)
    if areas[0] > 0:
        change = 100 * (areas[1] / areas[0] - 1)
        size = "larger" if change >= 0 else "smaller"
        sentences.append(f"In total, the predicted area is {abs(change):.1f} % {size} than the true one.")
    if "apex" in groups and "middle" in groups:
        sentences.append(
            f"Mean Dice: {groups['middle'].dice_mean:.3f} in the middle, {groups['apex'].dice_mean:.3f} at the apex."
        )
    return sentences


@dataclass(frozen=True, slots=True)
class Compared:
    """A measurement of all patients, true and predicted."""

    name: str
    figures: Any
    plots: tuple[plots.Plot, plots.Plot]


def _agreement(evaluation: Evaluation) -> Iterator[Compared]:
    functions = evaluation.functions
    in_ml = [function for function in functions if function.basis is EfBasis.VOLUMES]
    values = {
        "ef_percent": [
            (function.case, function.truth.ef_percent, function.predicted.ef_percent) for function in functions
        ],
        "edv_ml": [(function.case, function.truth.ed, function.predicted.ed) for function in in_ml],
        "esv_ml": [(function.case, function.truth.es, function.predicted.es) for function in in_ml],
    }
    for name, figures_ in evaluation.agreement().items():
        cases = [case for case, _, _ in values[name]]
        truth, predicted = (np.array([row[i] for row in values[name]]) for i in (1, 2))
        yield Compared(_NAMES[name], figures_, _both(truth, predicted, cases, name=name, figures_=figures_))


def _both(
    truth: Floats, predicted: Floats, cases: list[str], *, name: str, figures_: Any
) -> tuple[plots.Plot, plots.Plot]:
    what = _NAMES[name]
    apart = plots.differences(truth, predicted, cases, what=what, figures=figures_)
    return plots.against_truth(truth, predicted, cases, what), apart


def patients(evaluation: Evaluation) -> list[dict[str, Any]]:
    """One row per patient, the lowest mean Dice first."""
    functions = {function.case: function for function in evaluation.functions}
    rows = []
    for case, scores in evaluation.by_case().items():
        dice = [score.dice for score in scores]
        rows.append(
            {
                "case": case,
                "n": len(scores),
                "mean": float(np.mean(dice)),
                "lowest": min(dice),
                "hd95": _distance(
                    float(np.quantile([score.hd95 for score in scores], 0.5, method="higher")), str(scores[0].unit)
                ),
                "function": functions.get(case),
                "in_ml": case in functions and functions[case].basis is EfBasis.VOLUMES,
                "overlap": evaluation.in_sample.get(case),
            }
        )
    return sorted(rows, key=lambda row: row["mean"])


@dataclass(frozen=True, slots=True)
class Tile:
    """One slice of the gallery."""

    picture: Picture
    uri: str
    crop: figures.Crop
    truth: str
    predicted: str
    hd95: str
    aspect: float


def _tile(picture: Picture) -> Tile:
    crop = _crop(picture)
    shown = picture.pixels[crop.top : crop.bottom, crop.left : crop.right].astype(np.float32)
    low, high = np.percentile(picture.pixels, (1, 99.5))
    grey = np.clip((shown - low) * (255 / max(float(high - low), 1e-6)) + 0.5, 0, 255).astype(np.uint8)
    factor = _SIDE_PX / max(grey.shape)
    grey = figures.resized(grey, factor) if factor < 1 else grey
    down, right = picture.spacing_mm or (1.0, 1.0)
    return Tile(
        picture,
        figures.webp(grey, _QUALITY),
        crop,
        figures.svg_path(picture.truth, crop),
        figures.svg_path(picture.predicted, crop),
        _distance(picture.score.hd95, str(picture.score.unit)),
        round(crop.width * right / (crop.height * down), 4),
    )


def _crop(picture: Picture) -> figures.Crop:
    """A square around both contours with a margin; the whole frame if there is no contour."""
    rows, columns = picture.pixels.shape
    points = [polygon for polygon in (*picture.truth, *picture.predicted) if len(polygon)]
    if not points:
        return figures.Crop(0, rows, 0, columns)
    low, high = np.concatenate(points).min(axis=0), np.concatenate(points).max(axis=0)
    side = float((high - low).max()) + 2 * _MARGIN_PX
    left, right = _range_of(float((low[0] + high[0]) / 2), side, columns)
    top, bottom = _range_of(float((low[1] + high[1]) / 2), side, rows)
    return figures.Crop(top, bottom, left, right)


def _range_of(middle: float, length: float, limit: int) -> tuple[int, int]:
    whole = min(round(length), limit)
    start = min(max(0, round(middle - whole / 2)), limit - whole)
    return start, start + whole
