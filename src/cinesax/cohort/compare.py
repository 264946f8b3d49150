"""Agreement of two sets of values of the same exams: figures, the worst exams, as JSON and as a page."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from cinesax.cohort.sources import VARIABLES, Values
from cinesax.core.errors import InputError, OutputError
from cinesax.core.grid import Floats
from cinesax.evaluate import figures
from cinesax.evaluate.agreement import BlandAltman, IntraclassCorrelation, bland_altman, intraclass_correlation
from cinesax.files.stored_files import replacing
from cinesax.results.tables import RESEARCH_USE

SCHEMA = "cinesax/comparison/1"
JSON_NAME = "comparison.json"
PAGE_NAME = "comparison.html"
_FEWEST = 3
_WORST = 20
_MOST_DOTS = 2_000


@dataclass(frozen=True, slots=True)
class Variable:
    """Agreement in one column: differences are second minus first.

    Attributes:
        column: of the tables.
        name, unit: for people.
        keys: the exams that have a value on both sides.
        first, second: (exam,) their values.
        agreement: bias, limits, slope.
        icc: the intraclass correlation.
    """

    column: str
    name: str
    unit: str
    keys: tuple[str, ...]
    first: Floats
    second: Floats
    agreement: BlandAltman
    icc: IntraclassCorrelation | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sides, and how they agree.

    Attributes:
        first, second: the sides.
        matched: key of the first -> key of the second.
        variables: those that at least three exams have on both sides.
    """

    first: Values
    second: Values
    matched: dict[str, str]
    variables: tuple[Variable, ...]


def compare(first: Values, second: Values) -> Comparison:
    """Match the exams of two sides by their keys, else by what names.csv calls them, and compare what both have.

    Raises:
        InputError: they have too few exams or no column in common.
    """
    matched = _matched(first, second)
    if len(matched) < _FEWEST:
        raise InputError(
            f"{first.name} and {second.name} have {len(matched)} exams in common, at least {_FEWEST} are needed: they "
            f"name exams as {_examples(first)} and {_examples(second)}; name the columns with --key"
        )
    variables = [one for column in VARIABLES if (one := _variable(column, first, second, matched)) is not None]
    if not variables:
        raise InputError(f"{first.name} and {second.name} have no value in common that {_FEWEST} exams have")
    return Comparison(first, second, matched, tuple(variables))


def _examples(values: Values) -> str:
    return ", ".join(list(values.exams)[:2]) or "none"


def _matched(first: Values, second: Values) -> dict[str, str]:
    same = {key: key for key in first.exams if key in second.exams}
    if same:
        return same
    for one, other, turned in ((first, second, False), (second, first, True)):
        named = {label: key for key, labels in one.labels.items() for label in labels if key in one.exams}
        found = {named[label]: label for label in other.exams if label in named}
        if found:
            return {label: key for key, label in found.items()} if turned else found
    return {}


def _variable(column: str, first: Values, second: Values, matched: dict[str, str]) -> Variable | None:
    pairs = [
        (key, first.exams[key][column], second.exams[other][column])
        for key, other in sorted(matched.items())
        if column in first.exams[key] and column in second.exams[other]
    ]
    one, two = (np.array([pair[place] for pair in pairs], dtype=np.float64) for place in (1, 2))
    agreement = bland_altman(one, two)
    if agreement is None:
        return None
    icc = intraclass_correlation(np.stack([one, two], axis=1))
    return Variable(column, *VARIABLES[column], tuple(pair[0] for pair in pairs), one, two, agreement, icc)


def worst(variable: Variable, count: int = _WORST) -> list[tuple[str, float, float]]:
    """The exams of the largest differences: (key, first, second)."""
    order = np.argsort(-np.abs(variable.second - variable.first), kind="stable")[:count]
    return [(variable.keys[index], float(variable.first[index]), float(variable.second[index])) for index in order]


def write_comparison(comparison: Comparison, out: Path) -> Path:
    """Write comparison.json and comparison.html into a folder.

    Raises:
        OutputError: they cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in ((JSON_NAME, _json(comparison)), (PAGE_NAME, _page(comparison, out))):
            with replacing(out / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"the comparison cannot be written to {out}: {error.strerror or error}") from error
    return out / PAGE_NAME


def _json(comparison: Comparison) -> str:
    told = {
        "schema": SCHEMA,
        "research_use": RESEARCH_USE,
        "first": comparison.first.name,
        "second": comparison.second.name,
        "exams_in_common": len(comparison.matched),
        "exams_only_in_first": len(comparison.first.exams) - len(comparison.matched),
        "exams_only_in_second": len(comparison.second.exams) - len(comparison.matched),
        "variables": {
            one.column: {
                "unit": one.unit,
                "agreement": asdict(one.agreement),
                "icc": None if one.icc is None else asdict(one.icc),
                "worst": [
                    {"exam": key, "first": a, "second": b, "difference": round(b - a, 6)} for key, a, b in worst(one)
                ],
            }
            for one in comparison.variables
        },
    }
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


def _page(comparison: Comparison, out: Path) -> str:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("cinesax.cohort"), PackageLoader("cinesax.results")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    first, second = comparison.first.name, comparison.second.name
    return environment.get_template("compare.html.j2").render(
        first=first,
        second=second,
        comparison=comparison,
        variables=[
            (one, _plots(one, first, second), _worst_rows(comparison, one, out)) for one in comparison.variables
        ],
        width=figures.WIDTH,
        research_use=RESEARCH_USE,
        most_dots=_MOST_DOTS,
    )


def _plots(one: Variable, first: str, second: str) -> tuple[figures.Plot, figures.Plot]:
    """Second against first, and differences against means."""
    # A page of 50,000 dots opens in no browser: evenly many of them show the same cloud.
    shown = np.arange(len(one.keys))[:: -(-len(one.keys) // _MOST_DOTS)]
    a, b, names = one.first[shown], one.second[shown], [one.keys[index] for index in shown]
    what = f"{one.name} ({one.unit})"
    against = figures.against_truth(a, b, names, what)
    apart = figures.differences(a, b, names, what=what, figures=one.agreement)
    dots = _captioned(against.dots, names, a, b)
    return (
        replace(against, x_title=f"{what}, {first}", y_title=f"{what}, {second}", dots=dots),
        replace(apart, x_title=f"{what}, mean of both", y_title="second − first"),
    )


def _captioned(dots: Sequence[figures.Dot], names: Sequence[str], a: Floats, b: Floats) -> tuple[figures.Dot, ...]:
    return tuple(
        replace(dot, title=f"{name}: {one:.1f}, {two:.1f}")
        for dot, name, one, two in zip(dots, names, a, b, strict=True)
    )


@dataclass(frozen=True, slots=True)
class WorstRow:
    """An exam in the list of the largest differences; links where there are reports."""

    key: str
    first: float
    second: float
    first_report: str | None
    second_report: str | None


def _worst_rows(comparison: Comparison, one: Variable, out: Path) -> list[WorstRow]:
    return [
        WorstRow(
            key,
            a,
            b,
            _link(comparison.first.reports.get(key), out),
            _link(comparison.second.reports.get(comparison.matched[key]), out),
        )
        for key, a, b in worst(one)
    ]


def _link(report: Path | None, out: Path) -> str | None:
    if report is None or not report.is_file():
        return None
    return quote(Path(os.path.relpath(report.resolve(), out.resolve())).as_posix())
