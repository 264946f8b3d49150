"""Two tables of the same exams, of cinesax or of anybody."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cinesax.cli.main import main
from cinesax.cohort.compare import compare, write_comparison
from cinesax.cohort.sources import read_sides, read_values
from cinesax.core.errors import InputError, UsageError
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
        ("exam,ef_percent", ["other-1,50", "other-2,51"], "say with --key which columns name the exams"),
        ("exam,ef_percent", ["case-01,50"], "have 1 exam in common, at least 3 are needed: compare more"),
        ("exam,age", ["case-01,50"], "no column that can be compared"),
        (
            "exam,ef_percent",
            ["same,50", "same,51"],
            "the exam 'same' appears twice in the column 'exam'; choose another column with --key",
        ),
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


def named(folder: Path, names: dict[str, tuple[str, str]]) -> Path:
    """A cohort whose exams have these labels and paths."""
    made = cohort(folder, {key: 50.0 + index for index, key in enumerate(names)})
    return write(made / "names.csv", "exam,label,path", [f"{key},{a},{b}" for key, (a, b) in names.items()]).parent


def test_a_label_of_several_exams_matches_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {f"case-{number}": (f"P{number % 4}", f"/data/{number}") for number in range(5)}
    first = named(tmp_path / "first", names)
    second = write(tmp_path / "b.csv", "id,EF", [f"P{number},60" for number in range(4)])
    for sides in ((first, second), (second, first)):
        assert main(["compare", *map(str, sides)]) == 3
        error = capsys.readouterr().err
        assert "several exams of first have the label P0:" in error and "exam keys" in error and "--label" in error
    # Nobody asks for P0 here: it does not matter who has it.
    fewer = write(tmp_path / "c.csv", "id,EF", [f"P{number},60" for number in range(1, 4)])
    assert set(compare(read_values(first), read_values(fewer)).matched) == {"case-1", "case-2", "case-3"}


@pytest.mark.parametrize(
    ("first", "second", "by"),
    [
        (("P{}", "/a/{}/cine"), ("P{}", "/b/{}x/cine"), "labels"),
        (("", "/a/{}/cine"), ("", "/a/{}/cine"), "paths"),
        (("", "/a/P{}"), ("Q{}", "/b/P{}"), "folder names"),
    ],
)
def test_exams_with_other_keys_match_by_their_names(
    tmp_path: Path, first: tuple[str, str], second: tuple[str, str], by: str
) -> None:
    sides = [
        named(tmp_path / side, {f"{side}-{n}": (label.format(n), path.format(n)) for n in range(4)})
        for side, (label, path) in (("one", first), ("two", second))
    ]
    result = compare(*map(read_values, sides))
    assert (result.matched, result.by) == ({f"one-{n}": f"two-{n}" for n in range(4)}, by)


def test_key_once_counts_for_the_sides_that_have_the_column(tmp_path: Path, efs: dict[str, float]) -> None:
    first = cohort(tmp_path / "first", efs)
    rows = [f"{number},P{key[-2:]},{ef + 1}" for number, (key, ef) in enumerate(efs.items())]
    second = write(tmp_path / "b.csv", "id,Patient,EF", rows)
    for sides, bias in (((first, second), 1), ((second, first), -1)):
        assert compare(*read_sides(*sides, ["Patient"])).variables[0].agreement.bias == pytest.approx(bias)
    assert len(compare(*read_sides(first, second, ["exam", "Patient"])).matched) == 30
    with pytest.raises(UsageError, match=r"neither first .* nor b.csv .*id, Patient, EF.* has a column Pat"):
        read_sides(first, second, ["Pat"])
    with pytest.raises(UsageError, match="has no column Patient"):
        read_sides(first, second, ["Patient", "Patient"])


def test_a_key_in_the_table_of_a_cohort_keeps_reports(tmp_path: Path, efs: dict[str, float]) -> None:
    first = cohort(tmp_path / "first", efs)
    rows = [f"{key},{ef},p{key[-2:]}" for key, ef in efs.items()]
    write(first / "cohort.csv", "exam,ef_percent,patient", rows)
    values = read_values(first, key="patient")
    assert values.reports["p07"].is_file() and values.labels["p07"][0] == "P07"


@pytest.mark.parametrize(
    ("header", "column"),
    [
        ("LVEDV (ml)", "edv_ml"),
        ("EDV [mL]", "edv_ml"),
        ("LVEDV_ml", "edv_ml"),
        ("LVEDV cm³", "edv_ml"),
        ("lvef_percent", "ef_percent"),
        ("LVEF_percent", "ef_percent"),
        ("LVEF %", "ef_percent"),
        ("RVEF_percent", "rv_ef_percent"),
        ("Mass_g", "lv_mass_g"),
        ("stroke volume ml", "sv_ml"),
        ("LVEDV (ml/m²)", None),
        ("LVEDV (ml/m2)", None),
        ("EDV (l)", None),
        ("EDV_l", None),
        ("EDV %", None),
        ("EDV (% of normal)", None),
        ("LV mass (g/m²)", None),
        ("lv_mass_g_m2", None),
    ],
)
def test_a_column_needs_the_expected_unit(tmp_path: Path, header: str, column: str | None) -> None:
    table = write(tmp_path / "a.csv", f"id,{header}", [f"x{number},{50 + number}" for number in range(3)])
    if column is not None:
        assert read_values(table).exams["x1"] == {column: 51}
        return
    with pytest.raises(InputError, match="no column that can be compared"):
        read_values(table)


def test_values_that_are_left_out_are_named(
    tmp_path: Path, efs: dict[str, float], capsys: pytest.CaptureFixture[str]
) -> None:
    header = "exam,{},ESV (ml),ESV (ml/m²)"
    rows = [f"{key},{ef},{ef + 1},{ef + 2},{ef / 2}" for key, ef in efs.items()]
    first = write(tmp_path / "a.csv", header.format("edv_ml,EDV"), rows)
    second = write(tmp_path / "b.csv", header.format("LVEDV,EDV"), rows)
    assert main(["compare", str(first), str(second), "-o", str(tmp_path / "out")]) == 0
    left = "EDV (b.csv: LVEDV, EDV all fit, keep one of them)"
    assert f"left out: {left}\n" in capsys.readouterr().out
    document = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert (list(document["variables"]), document["left_out"]) == (["esv_ml"], [left])
    assert f"Left out: {left}." in (tmp_path / "out" / "comparison.html").read_text()
    # The exact name wins over others; nothing is left out.
    assert compare(read_values(first), read_values(first)).left_out == ()
    indexed = write(tmp_path / "c.csv", "exam,EDV (ml/m²)", ["x,80"])
    with pytest.raises(InputError, match=r"EDV \(ml/m²\) is not clearly in ml"):
        read_values(indexed)


def test_fractions_are_not_taken_for_percent(tmp_path: Path) -> None:
    table = write(tmp_path / "a.csv", "id,LVEF", ["a,0.42", "b,0.71", "c,"])
    with pytest.raises(InputError, match=r"'LVEF' holds 0.42 to 0.71, .*fractions.*: multiply them by 100"):
        read_values(table)
    assert len(read_values(write(tmp_path / "b.csv", "id,LVEF", ["a,0.9", "b,58"])).exams) == 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_tables_of_spreadsheets_are_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.csv").write_bytes("Größe;id;EDV (cm³)\r\n1,80;Müller;120,5\r\n".encode(encoding))
    assert read_values(tmp_path / "a.csv").exams == {"Müller": {"edv_ml": 120.5}}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.xlsx", b"PK\x03\x04\x14\x00", "a workbook.*save it as CSV"),
        ("a.csv", b"PK\x03\x04\x14\x00", "a workbook.*save it as CSV"),
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a workbook.*save it as CSV"),
        ("a.csv", b"id,EF\n\x00\x01,\x02\n", "not a text.*save it as CSV"),
        ("a.csv", b"id,EF\nM\x81,50\n", r"not a text.*save it as CSV \(UTF-8\)"),
    ],
)
def test_what_is_no_text_asks_for_csv(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_values(tmp_path / name)


def results(folder: Path, case: str, ef: float) -> None:
    folder.mkdir(parents=True)
    values = {"ef_percent": ef, "chambers": {}}
    document = {"schema": "cinesax/analysis/1", "case": case, "measurements": values}
    (folder / "analysis.json").write_text(json.dumps(document))


def test_exams_of_a_cohort_have_its_keys(tmp_path: Path, efs: dict[str, float]) -> None:
    first = cohort(tmp_path / "first", efs)
    for key, ef in efs.items():
        shutil.rmtree(first / "exams" / key)
        # Studies that share a UID have one case: the keys of the cohort tell them apart.
        results(first / "exams" / key, "case-same", ef + 1)
        (first / "exams" / key / "receipt.json").write_text("{}")
    result = compare(read_values(first), read_values(first / "exams"))
    assert len(result.matched) == 30 and result.variables[0].agreement.bias == pytest.approx(1)
    one = read_values(first / "exams" / "case-07")
    assert list(one.exams) == ["case-07"] and one.labels["case-07"][0] == "P07"


def test_a_value_of_zero_is_a_value(tmp_path: Path) -> None:
    results(tmp_path / "still", "case-still", 0.0)
    assert read_values(tmp_path / "still").exams == {"case-still": {"ef_percent": 0}}


def test_sides_and_exams_are_named_as_they_are(
    tmp_path: Path, efs: dict[str, float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for place, name, shift in (("x", "r1", 0), ("x", "r2", 1), ("y", "r1", 2)):
        cohort(tmp_path / place / name, {key: ef + shift for key, ef in efs.items()})
    monkeypatch.chdir(tmp_path / "x" / "r2")
    assert main(["compare", ".", "../r1"]) == 0
    assert "differences are r1 - r2\n" in capsys.readouterr().out
    assert main(["compare", "../r1", "../../y/r1"]) == 0
    assert "differences are ../../y/r1 - ../r1\n" in capsys.readouterr().out


def test_exams_without_values_do_not_count(
    tmp_path: Path, efs: dict[str, float], capsys: pytest.CaptureFixture[str]
) -> None:
    first = cohort(tmp_path / "first", efs)
    table = write(tmp_path / "b.csv", "exam,EF", [f"{key},{'' if key < 'case-25' else 50}" for key in efs])
    assert main(["compare", str(first), str(table), "-o", str(tmp_path / "out")]) == 0
    assert "5 exams in common with values, 25 without" in capsys.readouterr().out
    document = json.loads((tmp_path / "out" / "comparison.json").read_text())
    counts = [document[f"exams_{name}"] for name in ("in_common", "without_values", "only_in_first")]
    assert counts == [5, 25, 0]


def test_no_figure_is_minus_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Means of 50 on both sides, and values that go together by next to nothing.
    first = write(tmp_path / "a.csv", "id,EF", ["a,40", "b,60", "c,50", "d,50"])
    second = write(tmp_path / "b.csv", "id,EF", ["a,50", "b,49.995", "c,40", "d,60.005"])
    icc = compare(read_values(first), read_values(second)).variables[0].icc
    assert icc is not None and -0.0005 < icc.value < 0
    assert main(["compare", str(first), str(second), "-o", str(tmp_path / "out")]) == 0
    seen = capsys.readouterr().out
    assert "ICC 0.000" in seen and "-0.00 " not in seen
    assert "-0.000" not in (tmp_path / "out" / "comparison.html").read_text()
