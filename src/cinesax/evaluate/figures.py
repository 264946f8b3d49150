"""The plots of the evaluation report, laid out in the units of their SVG. Colours and fonts are the template's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from cinesax.core.grid import Floats
from cinesax.core.ticks import round_ticks
from cinesax.evaluate import Evaluation, SliceScore
from cinesax.evaluate.agreement import BlandAltman

WIDTH = 560
_LABEL_PX = 16
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 14, 46


@dataclass(frozen=True, slots=True)
class Dot:
    """One measured point: its position, its kind (a CSS class) and its caption."""

    x: float
    y: float
    kind: str
    title: str


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line with its kind (a CSS class) and a label at its end."""

    x1: float
    y1: float
    x2: float
    y2: float
    kind: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot, in the units of its SVG.

    Attributes:
        height: of the SVG; its width is WIDTH.
        left, right, top, bottom: the sides of the plotting area.
        x_ticks, y_ticks: marks.
        x_title, y_title: titles of the axes.
        dots, lines: the drawn points and lines.
        path: the `d` of a curve, or "".
        about: description for readers who cannot see the plot.
    """

    height: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    x_title: str
    y_title: str
    about: str
    dots: tuple[Dot, ...] = ()
    lines: tuple[Line, ...] = ()
    path: str = ""
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    top: float = _TOP
    bottom: float = field(default=0.0)


@dataclass(frozen=True, slots=True)
class _Scale:
    """Maps values to positions along an axis."""

    low: float
    high: float
    start: float
    end: float
    shape: Callable[[float], float] = float

    def __call__(self, value: float) -> float:
        low, high, value = (self.shape(v) for v in (self.low, self.high, value))
        return round(float(self.start + (value - low) / (high - low) * (self.end - self.start)), 1)


def _stretched(dice: float) -> float:
    """Dice on a stretched scale with 0.75 in the middle, because nearly all slices are near 1."""
    return float(1 - (1 - dice) ** 0.5)


_DICE_TICKS = (0, 0.5, 0.8, 0.9, 0.95, 0.98, 1)


def _ticks(values: Sequence[float], scale: _Scale) -> tuple[Tick, ...]:
    return tuple(Tick(scale(value), f"{value:g}") for value in values)


def dice_by_patient(evaluation: Evaluation) -> Plot:
    """One dot per slice, one row per patient, the lowest mean on top."""
    cases = sorted(evaluation.by_case().items(), key=lambda item: np.mean([score.dice for score in item[1]]))
    row = 24 if len(cases) <= 40 else 14
    left, bottom = 118, _TOP + row * len(cases)
    across = _Scale(0, 1, left, WIDTH - _RIGHT, _stretched)
    dots: list[Dot] = []
    lines: list[Line] = []
    for place, (case, scores) in enumerate(cases):
        y = _TOP + row * (place + 0.5)
        mean = float(np.mean([score.dice for score in scores]))
        lines.append(Line(across(mean), y - row * 0.34, across(mean), y + row * 0.34, "mean"))
        # Dots with equal Dice would hide each other, so they are spread over the row in slice order.
        for index, score in enumerate(scores):
            spread = ((index * 0.618) % 1 - 0.5) * row * 0.44
            dots.append(Dot(across(score.dice), round(y + spread, 1), _kind(score), _caption(score)))
        del case
    return Plot(
        height=bottom + _BOTTOM,
        x_ticks=_ticks(_DICE_TICKS, across),
        y_ticks=tuple(Tick(_TOP + row * (place + 0.5), case) for place, (case, _) in enumerate(cases)),
        x_title="Dice (stretched towards 1)",
        y_title="",
        about=f"Dice of every slice of {len(cases)} patients, with the mean of each",
        dots=tuple(dots),
        lines=tuple(lines),
        left=left,
        bottom=bottom,
    )


def dice_by_size(evaluation: Evaluation) -> Plot:
    """Dice against the area in the truth, on a logarithmic axis; without slices that have no LV."""
    shown = [score for score in evaluation.slices if score.truth_px]
    areas = [score.truth_px for score in shown] or [1, 10]
    low, high = 10 ** np.floor(np.log10(min(areas))), max(10 ** np.ceil(np.log10(max(areas))), 10.0)
    height, bottom = 300, 300 - _BOTTOM
    across = _Scale(float(low), float(high), _LEFT, WIDTH - _RIGHT, np.log10)
    up = _Scale(0, 1, bottom, _TOP, _stretched)
    marks = [
        m * 10.0**e for e in range(int(np.log10(low)), int(np.log10(high)) + 1) for m in (1, 3) if m * 10.0**e <= high
    ]
    return Plot(
        height=height,
        x_ticks=_ticks(marks, across),
        y_ticks=_ticks(_DICE_TICKS, up),
        x_title="area in the truth (px, logarithmic)",
        y_title="Dice (stretched)",
        about="Dice of every slice against its size",
        dots=tuple(Dot(across(score.truth_px), up(score.dice), _kind(score), _caption(score)) for score in shown),
        bottom=bottom,
    )


def distance_shares(evaluation: Evaluation) -> Plot:
    """The cumulative share of slices by HD95; infinite distances never enter."""
    unit = evaluation.slices[0].unit
    values = np.sort([score.hd95 for score in evaluation.slices])
    finite = values[np.isfinite(values)]
    ticks = round_ticks(0, float(np.quantile(finite, 0.98)) if len(finite) else 1.0)
    height, bottom = 300, 300 - _BOTTOM
    across, up = _Scale(0, ticks[-1], _LEFT, WIDTH - _RIGHT), _Scale(0, 100, bottom, _TOP)
    path = f"M{across(0)} {up(0)}"
    for place, value in enumerate(finite[finite <= ticks[-1]], start=1):
        path += f"H{across(float(value))}V{up(100 * place / len(values))}"
    path += f"H{across(ticks[-1])}"
    median = float(np.quantile(values, 0.5, method="higher"))
    lines = [
        Line(_LEFT, up(50), across(median), up(50), "guide"),
        Line(across(median), up(50), across(median), bottom, "guide"),
    ]
    return Plot(
        height=height,
        x_ticks=_ticks(ticks, across),
        y_ticks=_ticks([0, 25, 50, 75, 100], up),
        x_title=f"95 % Hausdorff distance ({unit})",
        y_title="slices within it (%)",
        about=f"Share of slices by their 95 % Hausdorff distance; median {median:.2f} {unit}",
        lines=tuple(lines) if median <= ticks[-1] else (),
        path=path,
        bottom=bottom,
    )


def against_truth(truth: Floats, predicted: Floats, names: Sequence[str], what: str) -> Plot:
    """Prediction against truth, with the line of equality."""
    ticks = round_ticks(float(min(truth.min(), predicted.min(), 0)), float(max(truth.max(), predicted.max())))
    height, bottom = 360, 360 - _BOTTOM
    across, up = _Scale(ticks[0], ticks[-1], _LEFT, WIDTH - _RIGHT), _Scale(ticks[0], ticks[-1], bottom, _TOP)
    equal = Line(across(ticks[0]), up(ticks[0]), across(ticks[-1]), up(ticks[-1]), "equal")
    dots = [
        Dot(across(t), up(f), "case", f"{n}: truth {t:.1f}, predicted {f:.1f}")
        for t, f, n in zip(truth, predicted, names, strict=True)
    ]
    return Plot(
        height=height,
        x_ticks=_ticks(ticks, across),
        y_ticks=_ticks(ticks, up),
        x_title=f"{what}, truth",
        y_title=f"{what}, predicted",
        about=f"{what}: prediction against truth for {len(dots)} patients",
        dots=tuple(dots),
        lines=(equal,),
        bottom=bottom,
    )


def differences(truth: Floats, predicted: Floats, names: Sequence[str], *, what: str, figures: BlandAltman) -> Plot:
    """Bland-Altman plot: difference against mean, with bias and limits of agreement."""
    means, apart = (truth + predicted) / 2, predicted - truth
    across_ticks = round_ticks(float(means.min()), float(means.max()))
    up_ticks = round_ticks(float(min(apart.min(), figures.lower, 0)), float(max(apart.max(), figures.upper, 0)))
    height, bottom = 360, 360 - _BOTTOM
    across = _Scale(across_ticks[0], across_ticks[-1], _LEFT, WIDTH - _RIGHT)
    up = _Scale(up_ticks[0], up_ticks[-1], bottom, _TOP)
    apart_px = min(abs(up(figures.bias) - up(limit)) for limit in (figures.lower, figures.upper))
    bias, limits = f"bias {figures.bias:+.1f}", [f"{limit:+.1f}" for limit in (figures.lower, figures.upper)]
    if apart_px < _LABEL_PX:  # one label for all three: they would be printed over each other
        bias, limits = f"{bias}, limits {limits[0]} to {limits[1]}", ["", ""]
    named = [(0.0, "zero", ""), (figures.bias, "bias", bias)]
    named += [(value, "limit", label) for value, label in zip((figures.lower, figures.upper), limits, strict=True)]
    lines = [Line(_LEFT, up(value), WIDTH - _RIGHT, up(value), kind, label) for value, kind, label in named]
    dots = [Dot(across(m), up(d), "case", f"{n}: {d:+.1f}") for m, d, n in zip(means, apart, names, strict=True)]
    return Plot(
        height=height,
        x_ticks=_ticks(across_ticks, across),
        y_ticks=_ticks(up_ticks, up),
        x_title=f"{what}, mean of truth and prediction",
        y_title="predicted − truth",
        about=f"Differences of {what}: bias {figures.bias:+.1f}, limits {figures.lower:+.1f} to {figures.upper:+.1f}",
        dots=tuple(dots),
        lines=tuple(lines),
        bottom=bottom,
    )


def _kind(score: SliceScore) -> str:
    """The CSS class of a slice's dot: its level, or its error."""
    if score.missed or score.false_positive:
        return "failed"
    return "slice" if score.level is None else str(score.level)


def _caption(score: SliceScore) -> str:
    hd95 = f"{score.hd95:.1f} {score.unit}" if np.isfinite(score.hd95) else "infinite"
    place = ", ".join(str(value) for value in (score.level, score.moment) if value is not None)
    return f"{score.name}{f' ({place})' if place else ''}: Dice {score.dice:.3f}, HD95 {hd95}"
