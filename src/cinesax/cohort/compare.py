"""Agreement of two sets of values for the same exams: statistics and the worst exams, as JSON and as a page."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from cinesax.cohort.sources import NAMES, VARIABLES, Values
from cinesax.core.errors import InputError, OutputError
from cinesax.core.grid import Floats
from cinesax.evaluate import figures
from cinesax.evaluate.agreement import (
    BlandAltman,
    Interval,
    IntraclassCorrelation,
    bland_altman,
    intraclass_correlation,
)
from cinesax.files.stored_files import replacing
from cinesax.results.tables import RESEARCH_USE

SCHEMA = "cinesax/comparison/1"
JSON_NAME = "comparison.json"
PAGE_NAME = "comparison.html"
_FEWEST = 3
_WORST = 20
_EXAMPLES = 3
_LEAST_SHOWN = 0.0005
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
        by: what matched them, in the plural, such as "exam keys".
        variables: the variables that at least three exams have on both sides.
        left_out: what could not be compared because columns are not clear, each as a text for people.
    """

    first: Values
    second: Values
    matched: dict[str, str]
    by: str
    variables: tuple[Variable, ...]
    left_out: tuple[str, ...]

    @property
    def n_compared(self) -> int:
        """The number of exams with values of a variable on both sides."""
        return len({key for variable in self.variables for key in variable.keys})


def compare(first: Values, second: Values) -> Comparison:
    """Match the exams of two sides, and compare the values that both have.

    Exams are matched by their keys; if none is on both sides, by the names in names.csv of one side and the keys of
    the other; else by the names in names.csv of both.

    Raises:
        InputError: the sides have too few exams or no column in common, or several exams share a name in names.csv
            that an exam of the other side has.
    """
    matched, by = _matched(first, second)
    if len(matched) < _FEWEST:
        exams = "1 exam" if len(matched) == 1 else f"{len(matched)} exams"
        sides = f"{first.name} and {second.name} have {exams} in common, at least {_FEWEST} are needed"
        if matched:
            raise InputError(f"{sides}: compare more exams")
        raise InputError(
            f"{sides}: exams are named {_examples(first)} and {_examples(second)}; "
            "say with --key which columns name the exams"
        )
    variables = [v for column in VARIABLES if (v := _variable(column, first, second, matched)) is not None]
    left_out = _left_out(first, second)
    if not variables:
        why = "".join(f"; left out: {one}" for one in left_out)
        raise InputError(
            f"{first.name} and {second.name} have no column in common with values for {_FEWEST} exams{why}"
        )
    return Comparison(first, second, matched, by, tuple(variables), left_out)


def _examples(values: Values) -> str:
    return ", ".join(list(values.exams)[:2]) or "none"


def _matched(first: Values, second: Values) -> tuple[dict[str, str], str]:
    """Key on the first side -> key on the second, and what matched them.

    Raises:
        InputError: several exams share a name that is needed.
    """
    kinds = range(len(NAMES))
    # The sooner two names are equal by chance, the later they are tried.
    attempts: list[tuple[int | None, int | None]] = [(None, None)]
    attempts += [pair for kind in kinds for pair in ((kind, None), (None, kind))]
    attempts += [(kind, kind) for kind in kinds]
    for one, other in attempts:
        left, right = _named(first, one), _named(second, other)
        common = [name for name in left if name in right]
        for values, kind, named in ((first, one, left), (second, other, right)):
            if kind is not None:
                _refuse_shared(values, NAMES[kind], [name for name in common if len(named[name]) > 1])
        if common:
            kind = one if one is not None else other
            by = "exam keys" if kind is None else f"{NAMES[kind]}s"
            return {left[name][0]: right[name][0] for name in common}, by
    return {}, ""


def _named(values: Values, kind: int | None) -> dict[str, list[str]]:
    """Name -> the keys of the exams that have it; with None, keys count as names."""
    if kind is None:
        return {key: [key] for key in values.exams}
    named: dict[str, list[str]] = {}
    for key in values.exams:
        name = values.labels[key][kind] if key in values.labels else ""
        if name:
            named.setdefault(name, []).append(key)
    return named


def _refuse_shared(values: Values, kind: str, names: list[str]) -> None:
    """Refuse to choose one of several exams of the same name, such as the exams of one patient."""
    if not names:
        return
    more = f" and {len(names) - _EXAMPLES} more" if len(names) > _EXAMPLES else ""
    raise InputError(
        f"several exams of {values.name} have the {kind} {', '.join(names[:_EXAMPLES])}{more}: name exams by their "
        "exam keys, or run cinesax cohort again with a --label that is unique"
    )


def _left_out(first: Values, second: Values) -> tuple[str, ...]:
    """What columns that are not clear keep from being compared; nothing that the other side lacks anyway."""
    return tuple(
        f"{VARIABLES[column][0]} ({side.name}: {reason})"
        for side, other in ((first, second), (second, first))
        for column, reason in side.left_out.items()
        if column in other.left_out or any(column in values for values in other.exams.values())
    )


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
        "matched_by": comparison.by,
        "exams_in_common": comparison.n_compared,
        "exams_without_values": len(comparison.matched) - comparison.n_compared,
        "exams_only_in_first": len(comparison.first.exams) - len(comparison.matched),
        "exams_only_in_second": len(comparison.second.exams) - len(comparison.matched),
        "left_out": list(comparison.left_out),
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
            (_shown(variable), _plots(variable, first, second), _worst_rows(comparison, variable, out))
            for variable in comparison.variables
        ],
        width=figures.WIDTH,
        research_use=RESEARCH_USE,
        remarks=_remarks(comparison),
        most_dots=_MOST_DOTS,
    )


def _remarks(comparison: Comparison) -> list[str]:
    """Sentences on what the figures do not cover."""
    remarks = [f"Exams were matched by their {comparison.by.removeprefix('exam ')}."]
    if missing := len(comparison.matched) - comparison.n_compared:
        remarks.append(f"Values of {comparison.n_compared:,} exams are compared, {missing:,} lack values on a side.")
    return remarks + [f"Left out: {one}." for one in comparison.left_out]


def _shown(variable: Variable) -> Variable:
    """The variable without figures that would be printed as -0.000."""

    def signless(number: float) -> float:
        return 0.0 if abs(number) < _LEAST_SHOWN else number

    a, icc = variable.agreement, variable.icc
    return replace(
        variable,
        agreement=replace(
            a,
            slope=None if a.slope is None else signless(a.slope),
            correlation=None if a.correlation is None else signless(a.correlation),
        ),
        icc=None
        if icc is None
        else IntraclassCorrelation(
            signless(icc.value), Interval(signless(icc.interval.low), signless(icc.interval.high))
        ),
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
