"""The pages that scripts are written by tell what the code does."""

import re
from pathlib import Path

from cinesax.core import errors
from cinesax.core.findings import Code
from cinesax.measure import plausibility
from cinesax.results import tables
from cinesax.results import write as results

DOCS = Path(__file__).resolve().parents[2] / "docs"


def all_errors(kind: type[errors.CinesaxError] = errors.CinesaxError) -> dict[str, int]:
    found = {sub.__name__: sub.exit_code for sub in kind.__subclasses__() if sub.__module__ == errors.__name__}
    for sub in kind.__subclasses__():
        found |= all_errors(sub)
    return found


def test_exit_codes_are_those_of_the_errors() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", (DOCS / "exit-codes.md").read_text(), flags=re.MULTILINE)
    assert {name: int(code) for code, name in rows} == all_errors()


def test_every_file_measure_and_doubt_is_described() -> None:
    page = (DOCS / "outputs.md").read_text()
    named = set(re.findall(r"`([^`]+)`", page))
    assert {name + "/" if name == results.CONTOURS_NAME else name for name in results.ALL_NAMES} <= named
    assert {*tables.SCALARS, *tables.ARRAYS, "errors", "warnings", "notes", "case", "model", "software"} <= named
    source = Path(plausibility.__file__).read_text()
    assert {code.value for code in Code if f"Code.{code.name}" in source} <= named


def test_the_limits_told_are_those_used() -> None:
    page = " ".join((DOCS / "outputs.md").read_text().split())
    for name, (_, low, high, _) in plausibility.PLAUSIBLE.items():
        assert f"outside {low:.0f} to {high:.0f}" in page, name
    for part in (plausibility.END_AREA_PART, plausibility.JUMP_OF_EDV, plausibility.JUMP_OF_STROKE):
        assert f"{100 * part:.0f} %" in page
