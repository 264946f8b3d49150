"""measurements.xlsx, read by openpyxl: another program than that which writes it."""

import sys
from pathlib import Path

import openpyxl
import pytest

import cinesax
import hearts
from cinesax.cli.main import main
from cinesax.core.errors import MissingExtraError
from cinesax.results import tables
from cinesax.results.workbook import Sheet, sheets_of, write_workbook


@pytest.fixture(scope="module")
def analysis() -> cinesax.Analysis:
    return cinesax.analyze(hearts.cine(), segmentation=hearts.labels())


def rows(path: Path, sheet: str) -> list[tuple[object, ...]]:
    return list(openpyxl.load_workbook(path)[sheet].iter_rows(values_only=True))


def test_it_holds_the_row_of_the_csv_and_volumes_and_areas(analysis: cinesax.Analysis, tmp_path: Path) -> None:
    out = cinesax.write_results(analysis, tmp_path / "out", xlsx=True)
    book = out / "measurements.xlsx"
    header, values = rows(book, "measurements")
    assert header == tables.CSV_COLUMNS
    shown = tables.row(cinesax.analyze(hearts.cine(), segmentation=hearts.labels()))
    written = dict(zip(header, values, strict=True))
    for name in (*tables.SCALARS, "errors", "warnings", "research_use"):
        assert written[name] == shown[name], name
    m = analysis.measurements
    volumes = rows(book, "volumes")
    assert volumes[0][:3] == ("phase", "time_ms", "lv_volume_ml")
    assert [row[2] for row in volumes[1:]] == pytest.approx(list(m.volumes_ml), abs=1e-4)
    areas = rows(book, "areas")
    assert (len(areas), len(areas[0])) == (1 + 6, 1 + 10)
    assert areas[3][5] == pytest.approx(m.cavity_areas_mm2[4, 2], abs=1e-4)
    assert [row[1] for row in rows(book, "findings")[1:]] == [one.code.value for one in analysis.findings]


def test_the_same_analysis_gives_the_same_bytes(analysis: cinesax.Analysis, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_workbook(sheets_of(analysis), tmp_path / f"{name}.xlsx")
    assert (tmp_path / "a.xlsx").read_bytes() == (tmp_path / "b.xlsx").read_bytes()


def test_a_text_is_never_a_formula_nor_a_link(tmp_path: Path) -> None:
    foreign = ['=HYPERLINK("http://example.org")', "http://example.org", "=1+1"]
    write_workbook([Sheet("measurements", ["a", "b", "c"], [foreign])], tmp_path / "a.xlsx")
    cells = next(openpyxl.load_workbook(tmp_path / "a.xlsx")["measurements"].iter_rows(min_row=2))
    assert [cell.value for cell in cells[:3]] == foreign
    assert {cell.data_type for cell in cells[:3]} == {"s"} and not any(cell.hyperlink for cell in cells)


def test_an_earlier_workbook_goes_with_its_result(analysis: cinesax.Analysis, tmp_path: Path) -> None:
    out = cinesax.write_results(analysis, tmp_path / "out", xlsx=True)
    cinesax.write_results(analysis, out)
    assert not (out / "measurements.xlsx").exists()


def test_without_the_extra_it_is_one_line_that_names_it(
    analysis: cinesax.Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "xlsxwriter", None)
    with pytest.raises(MissingExtraError, match=r"XlsxWriter; .*'\.\[tables\]'"):
        cinesax.write_results(analysis, tmp_path / "out", xlsx=True)
    assert main(["analyze", str(tmp_path), "-o", str(tmp_path / "out"), "--xlsx"]) == 8
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "[tables]" in error
    assert not (tmp_path / "out").exists()


def test_it_needs_a_folder_to_lie_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", str(tmp_path), "--xlsx"]) == 2
    assert "-o OUT" in capsys.readouterr().err
