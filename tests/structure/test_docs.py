"""The pages that scripts are written by tell what the code does."""

import argparse
import re
from pathlib import Path

from cinesax.cli.main import COMMANDS, build_parser
from cinesax.core import errors
from cinesax.core.findings import Code
from cinesax.measure import plausibility, shape, volumes
from cinesax.results import tables
from cinesax.results import write as results

DOCS = Path(__file__).resolve().parents[2] / "docs"


def all_errors(kind: type[errors.CinesaxError] = errors.CinesaxError) -> dict[str, int]:
    exits = {sub.__name__: sub.exit_code for sub in kind.__subclasses__() if sub.__module__ == errors.__name__}
    for sub in kind.__subclasses__():
        exits |= all_errors(sub)
    return exits


def test_exit_codes_are_those_of_the_errors() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", (DOCS / "exit-codes.md").read_text(), flags=re.MULTILINE)
    assert {name: int(code) for code, name in rows} == all_errors()


def test_every_file_measure_and_doubt_is_described() -> None:
    page = (DOCS / "outputs.md").read_text()
    named = set(re.findall(r"`([^`]+)`", page))
    folders = (results.CONTOURS_NAME, results.IMAGES_NAME)
    assert {name + "/" if name in folders else name for name in results.ALL_NAMES} <= named
    assert {*tables.SCALARS, *tables.ARRAYS, "errors", "warnings", "notes", "case", "model", "software"} <= named
    source = Path(plausibility.__file__).read_text()
    assert {code.value for code in Code if f"Code.{code.name}" in source} <= named


def test_the_limits_told_are_those_used() -> None:
    page = " ".join((DOCS / "outputs.md").read_text().split())
    for name, (_, low, high, _) in plausibility.PLAUSIBLE.items():
        assert f"outside {low:g} to {high:g}" in page, name
    parts = (plausibility.JUMP_OF_EDV, plausibility.JUMP_OF_STROKE, shape.END_AREA_PART, shape.CUT_PART_OF_EDV)
    parts += (shape.FULL_AREA_PART, shape.ABRUPT_PART, shape.GROWS_PART, shape.UNSURE_PART, shape.MASS_PART)
    for part in parts:
        assert f"{100 * part:.0f} %" in page
    assert f"{shape.BASE_POINTS:.0f} points" in page and f"{shape.UNSURE_POINTS:.0f} points" in page
    assert f"{shape.GROWS_MM2:.0f} mm²" in page
    assert f"more than {shape.FAR_APART_MM} mm apart" in page and f"more than {shape.SHIFT_MM:.0f} mm off" in page


# Options of other programs that the pages show: those of TensorBoard, pip and Ray.
ELSEWHERE = {"--logdir", "--constraint", "--help", "--head"}


def options_of(name: str) -> set[str]:
    parsers = next(action for action in build_parser(name)._actions if action.dest == "command").choices
    return options_below(parsers[name])  # type: ignore[index, call-overload]


def options_below(parser: argparse.ArgumentParser) -> set[str]:
    """The options of a parser and of the parsers of its subcommands."""
    options = {option for action in parser._actions for option in action.option_strings}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            options = options.union(*(options_below(below) for below in action.choices.values()))
    return options


def test_options_that_the_pages_name_are_there() -> None:
    """In a line `cinesax COMMAND ...` those of the command; elsewhere those of any."""
    options = {name: options_of(name) for name in COMMANDS}
    known = ELSEWHERE.union(*options.values(), *(benchmark_options()))
    for page in [*DOCS.glob("*.md"), DOCS.parent / "README.md"]:
        text = page.read_text()
        unknown = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", text)) - known
        assert not unknown, f"{page.name} names options that no command has: {unknown}"
        shown = "\n".join(re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL))
        for name, line in re.findall(r"^ *cinesax ([a-z]+) ([^#\n]*)", shown, flags=re.MULTILINE):
            used = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", line))
            assert name in options and used <= options[name], f"{page.name}: cinesax {name} {line}"


def benchmark_options() -> list[set[str]]:
    scripts = (DOCS.parent / "benchmarks").glob("*.py")
    return [set(re.findall(r"[\"'](--[a-z][a-z0-9-]+)[\"']", script.read_text())) for script in scripts]


def test_measuring_tells_the_numbers_that_the_code_uses() -> None:
    page = " ".join((DOCS / "measuring.md").read_text().split())
    words = ("zero", "one", "two", "three", "four", "five", "six")
    assert f"{words[volumes.RATE_HARMONICS]} harmonics" in page
    assert f"{volumes.MYOCARDIAL_DENSITY_G_PER_ML:g} g/ml" in page
    for low, high, unit in ((*volumes.BODY_LIMITS["height"], "cm"), (*volumes.BODY_LIMITS["weight"], "kg")):
        assert f"outside {low:g} to {high:g} {unit}" in page
