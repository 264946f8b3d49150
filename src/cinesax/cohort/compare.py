"""Agreement of two sets of values for the same exams: statistics and the worst exams, as JSON and as a page."""

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
    """Agreement in one column; differences are second minus first.

    Attributes:
        column: the column of the tables.
        name, unit: the name and unit for people.
        keys: the exams that have a value on both sides.
        first, second: (exam,) the values of each side.
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

    @property
    def difference_unit(self) -> str:
        """The unit of a difference: of 60 % and 50 % it is 10 points."""
        return "points" if self.unit == "%" else self.unit


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sides and their agreement.

    Attributes:
        first, second: the sides.
        matched: key on the first side -> key on the second.
        variables: the variables that at least three exams have on both sides.
    """

    first: Values
    second: Values
    matched: dict[str, str]
    variables: tuple[Variable, ...]


def compare(first: Values, second: Values) -> Comparison:
    """Match the exams of two sides by their keys, or else by their names in names.csv, and compare the values of both.

    Raises:
        InputError: the sides have too few exams or no column in common.
    """
    matched = _matched(first, second)
    if len(matched) < _FEWEST:
        exams = "1 exam" if len(matched) == 1 else f"{len(matched)} exams"
        sides = f"{first.name} and {second.name} have {exams} in common, at least {_FEWEST} are needed"
        if matched:
            raise InputError(f"{sides}: compare more exams")
        raise InputError(
            f"{sides}: exams are named {_examples(first)} and {_examples(second)}; "
            "give the columns with the names with --key"
        )
    variables = [v for column in VARIABLES if (v := _variable(column, first, second, matched)) is not None]
    if not variables:
        raise InputError(f"{first.name} and {second.name} have no column in common with values for {_FEWEST} exams")
    return Comparison(first, second, matched, tuple(variables))


def _examples(values: Values) -> str:
    return ", ".join(list(values.exams)[:2]) or "none"


def _matched(first: Values, second: Values) -> dict[str, str]:
    same = {key: key for key in first.exams if key in second.exams}
    if same:
        return same
    for labelled, other, swapped in ((first, second, False), (second, first, True)):
        named = {label: key for key, labels in labelled.labels.items() for label in labels if key in labelled.exams}
        matches = {named[label]: label for label in other.exams if label in named}
        if matches:
            return {label: key for key, label in matches.items()} if swapped else matches
    return {}


def _variable(column: str, first: Values, second: Values, matched: dict[str, str]) -> Variable | None:
    pairs = [
        (key, first.exams[key][column], second.exams[other][column])
        for key, other in sorted(matched.items())
        if column in first.exams[key] and column in second.exams[other]
    ]
    a, b = (np.array([pair[side] for pair in pairs], dtype=np.float64) for side in (1, 2))
    agreement = bland_altman(a, b)
    if agreement is None:
        return None
    icc = intraclass_correlation(np.stack([a, b], axis=1))
    return Variable(column, *VARIABLES[column], tuple(pair[0] for pair in pairs), a, b, agreement, icc)


def worst(variable: Variable, count: int = _WORST) -> list[tuple[str, float, float]]:
    """The exams with the largest differences: (key, first, second)."""
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
    content = {
        "schema": SCHEMA,
        "research_use": RESEARCH_USE,
        "first": comparison.first.name,
        "second": comparison.second.name,
        "exams_in_common": len(comparison.matched),
        "exams_only_in_first": len(comparison.first.exams) - len(comparison.matched),
        "exams_only_in_second": len(comparison.second.exams) - len(comparison.matched),
        "variables": {
            variable.column: {
                "unit": variable.unit,
                "difference_unit": variable.difference_unit,
                "agreement": asdict(variable.agreement),
                "icc": None if variable.icc is None else asdict(variable.icc),
                "worst": [
                    {"exam": key, "first": a, "second": b, "difference": round(b - a, 6)}
                    for key, a, b in worst(variable)
                ],
            }
            for variable in comparison.variables
        },
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


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
            (variable, _plots(variable, first, second), _worst_rows(comparison, variable, out))
            for variable in comparison.variables
        ],
        width=figures.WIDTH,
        research_use=RESEARCH_USE,
        most_dots=_MOST_DOTS,
    )


def _plots(variable: Variable, first: str, second: str) -> tuple[figures.Plot, figures.Plot]:
    """Two plots: second against first, and differences against means."""
    # Browsers cannot show 50,000 dots: every nth dot shows the same cloud.
    shown = np.arange(len(variable.keys))[:: -(-len(variable.keys) // _MOST_DOTS)]
    a, b, names = variable.first[shown], variable.second[shown], [variable.keys[index] for index in shown]
    what = f"{variable.name} ({variable.unit})"
    against = figures.against_truth(a, b, names, what)
    apart = figures.differences(a, b, names, what=what, figures=variable.agreement)
    dots = _captioned(against.dots, names, a, b)
    return (
        replace(against, x_title=f"{what}, {first}", y_title=f"{what}, {second}", dots=dots),
        replace(apart, x_title=f"{what}, mean of both", y_title=f"second − first ({variable.difference_unit})"),
    )


def _captioned(dots: Sequence[figures.Dot], names: Sequence[str], a: Floats, b: Floats) -> tuple[figures.Dot, ...]:
    return tuple(
        replace(dot, title=f"{name}: {first:.1f}, {second:.1f}")
        for dot, name, first, second in zip(dots, names, a, b, strict=True)
    )


@dataclass(frozen=True, slots=True)
class WorstRow:
    """An exam in the list of largest differences, with links to its reports if there are any."""

    key: str
    first: float
    second: float
    first_report: str | None
    second_report: str | None


def _worst_rows(comparison: Comparison, variable: Variable, out: Path) -> list[WorstRow]:
    return [
        WorstRow(
            key,
            a,
            b,
            _link(comparison.first.reports.get(key), out),
            _link(comparison.second.reports.get(comparison.matched[key]), out),
        )
        for key, a, b in worst(variable)
    ]


def _link(report: Path | None, out: Path) -> str | None:
    if report is None or not report.is_file():
        return None
    return quote(Path(os.path.relpath(report.resolve(), out.resolve())).as_posix())
