"""Two tables of the same exams, of cinesax or of anybody."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cinesax.cli.main import main
from cinesax.cohort.compare import compare, write_comparison
from cinesax.cohort.sources import read_values
from cinesax.core.errors import InputError
from cinesax.evaluate.agreement import bland_altman


def write(path: Path, header: str, rows: list[str]) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def cohort(folder: Path, efs: dict[str, float]) -> Path:
    """A folder as `cinesax cohort` leaves it, as far as a comparison looks."""
    (folder / ".cohort").mkdir(parents=True)
    for key in efs:
        (folder / "exams" / key).mkdir(parents=True)
        (folder / "exams" / key / "report.html").write_text("report")
    write(folder / "cohort.csv", "exam,status,ef_percent", [f"{key},done,{ef}" for key, ef in efs.items()])
    write(folder / "names.csv", "exam,label,path", [f"{key},P{key[-2:]},/data/{key[-2:]}" for key in efs])
    return folder


@pytest.fixture
def efs() -> dict[str, float]:
    rng = np.random.default_rng(3)
    return {f"case-{number:02d}": round(float(rng.normal(55, 10)), 2) for number in range(30)}


def test_figures_are_those_of_the_differences(tmp_path: Path, efs: dict[str, float]) -> None:
    first = write(tmp_path / "a.csv", "exam,ef_percent", [f"{key},{ef}" for key, ef in efs.items()])
    # Another program, in a country with decimal commas; one exam has no value, one is not in the first.
    others = [
        f"{key};{str(round(ef + 2 + index % 3, 2)).replace('.', ',')} %" for index, (key, ef) in enumerate(efs.items())
    ]
    others[3] = "case-03;"
    second = write(tmp_path / "b.csv", "Patient ID;LVEF (%)", [*others, "case-99;60"])
    result = compare(read_values(first), read_values(second))
    (ef,) = result.variables
    assert (ef.column, ef.agreement.n) == ("ef_percent", 29)
    a = np.array([efs[key] for key in ef.keys])
    shift = np.array([2 + list(efs).index(key) % 3 for key in ef.keys])
    assert ef.agreement.bias == pytest.approx(float(shift.mean()))
    assert ef.agreement == bland_altman(a, ef.second)
    assert ef.icc is not None and 0.9 < ef.icc.value < 1


def test_page_and_json_name_the_worst_exams_with_links(
    tmp_path: Path, efs: dict[str, float], capsys: pytest.CaptureFixture[str]
) -> None:
    first = cohort(tmp_path / "first", efs)
    second = cohort(tmp_path / "second", {key: ef + (20 if key == "case-07" else 1) for key, ef in efs.items()})
    assert main(["compare", str(first), str(second), "-o", str(tmp_path / "out")]) == 0
    assert "30 exams in common" in capsys.readouterr().out
    document = json.loads((tmp_path / "out" / "comparison.json").read_text())
    worst = document["variables"]["ef_percent"]["worst"][0]
    assert (worst["exam"], worst["difference"]) == ("case-07", 20)
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert 'href="../first/exams/case-07/report.html"' in page and 'href="../second/exams/case-07/report.html"' in page
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page


def test_somebody_elses_names_are_found_in_names_csv(tmp_path: Path, efs: dict[str, float]) -> None:
    first = cohort(tmp_path / "first", efs)
    second = write(tmp_path / "b.csv", "id,EF", [f"P{key[-2:]},{ef - 1}" for key, ef in efs.items()])
    for one, other, bias in ((first, second, -1), (second, first, 1)):
        assert compare(read_values(one), read_values(other)).variables[0].agreement.bias == pytest.approx(bias)


def test_folders_of_results_are_read(tmp_path: Path) -> None:
    measurements = {
        "edv_ml": 150.0,
        "esv_ml": 60.0,
        "sv_ml": 90.0,
        "ef_percent": 60.0,
        "lv_mass_g": None,
        "chambers": {},
    }
    for side, shift in (("a", 0.0), ("b", 3.0)):
        for number in range(4):
            folder = tmp_path / side / f"x{number}"
            folder.mkdir(parents=True)
            values = {**measurements, "ef_percent": 50.0 + number + shift}
            document = {"schema": "cinesax/analysis/1", "case": f"case-{number}", "measurements": values}
            (folder / "analysis.json").write_text(json.dumps(document))
    result = compare(read_values(tmp_path / "a"), read_values(tmp_path / "b"))
    assert [one.column for one in result.variables] == ["ef_percent", "edv_ml", "esv_ml", "sv_ml"]
    assert result.variables[0].agreement.bias == pytest.approx(3)
    shutil.copytree(tmp_path / "a" / "x0", tmp_path / "a" / "again")
    with pytest.raises(InputError, match="twice"):
        read_values(tmp_path / "a")


@pytest.mark.parametrize(
    ("header", "rows", "words"),
    [
        ("exam,ef_percent", ["other-1,50", "other-2,51"], "have 0 exams in common"),
        ("exam,ef_percent", ["case-01,50"], "have 1 exam in common, at least 3 are needed: compare more"),
        ("exam,age", ["case-01,50"], "no column that can be compared"),
        ("exam,ef_percent", ["case-01,50", "case-01,51"], "twice"),
        ("exam,ef_percent", [], "no rows"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    tmp_path: Path, efs: dict[str, float], capsys: pytest.CaptureFixture[str], header: str, rows: list[str], words: str
) -> None:
    first = cohort(tmp_path / "first", efs)
    second = write(tmp_path / "b.csv", header, rows)
    assert main(["compare", str(first), str(second)]) == 3
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_the_table_of_a_cohort_can_be_compared_with_itself(tmp_path: Path, efs: dict[str, float]) -> None:
    first = cohort(tmp_path / "first", efs)
    result = compare(read_values(first), read_values(first / "cohort.csv"))
    assert result.variables[0].agreement.bias == 0
    page = write_comparison(result, tmp_path / "out").read_text()
    assert "bias +0.0, limits +0.0 to +0.0</text>" in page and ">+0.0</text>" not in page
    assert "EF (points)" in page and "second − first (points)" in page
    with (first / "cohort.csv").open(newline="") as stream:
        assert len(list(csv.reader(stream))) == 31
