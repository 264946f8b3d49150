"""Results on disk: whole or not at all, and never over what is not theirs."""

import csv
import dataclasses
import json
import os
import stat
from pathlib import Path

import nibabel
import numpy as np
import pytest

import cinesax
import hearts
from cinesax.core.cine import Source
from cinesax.core.errors import OutputError
from cinesax.files import folder_swap
from cinesax.results import tables
from cinesax.results import write as results


@pytest.fixture(scope="module")
def analysis() -> cinesax.Analysis:
    return cinesax.analyze(hearts.cine(), segmentation=hearts.labels())


STALE = "IM-0001-9999-icontour-auto.txt"  # as a result may have written it


def by(author: str) -> cinesax.Analysis:
    return cinesax.analyze(hearts.cine(), segmentation=dataclasses.replace(hearts.labels(), author=author))


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_all_is_written_and_nothing_else(analysis: cinesax.Analysis, tmp_path: Path) -> None:
    out = cinesax.write_results(analysis, tmp_path / "new" / "deeper" / "out")
    assert {path.name for path in out.iterdir()} == set(results.NAMES)
    assert files(tmp_path) == {"new", "new/deeper", "new/deeper/out"} | {
        f"new/deeper/out/{name}" for name in files(out)
    }
    assert tables.read_json(out / "analysis.json")["case"] == analysis.case
    assert float(
        next(csv.DictReader((out / "measurements.csv").read_text().splitlines()))["ef_percent"]
    ) == pytest.approx(75.0)
    image = nibabel.load(out / "segmentation.nii.gz")
    assert image.shape == (48, 48, 6, 10)
    assert int(np.count_nonzero(np.asarray(image.dataobj))) == int((analysis.segmentation.labels > 0).sum())
    assert len(list((out / "contours").glob("*icontour*"))) == 40


def test_folder_and_files_have_the_usual_permissions(analysis: cinesax.Analysis, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        out = cinesax.write_results(analysis, tmp_path / "out")
    finally:
        os.umask(before)
    assert stat.S_IMODE(out.stat().st_mode) == 0o750
    assert stat.S_IMODE((out / "analysis.json").stat().st_mode) == 0o640


def test_an_earlier_result_is_replaced(analysis: cinesax.Analysis, tmp_path: Path) -> None:
    out = cinesax.write_results(analysis, tmp_path / "out")
    (out / "contours" / STALE).write_text("of another exam")
    cinesax.write_results(analysis, out)
    assert not (out / "contours" / STALE).exists()
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_the_results_of_another_exam_are_replaced_by_force_only(analysis: cinesax.Analysis, tmp_path: Path) -> None:
    def case() -> str:
        return str(tables.read_json(out / "analysis.json")["case"])

    out = cinesax.write_results(dataclasses.replace(analysis, pseudonym="case-another"), tmp_path / "out")
    with pytest.raises(OutputError, match=r"results of another exam \(case-another\).*--force"):
        cinesax.write_results(analysis, out)
    assert case() == "case-another"
    cinesax.write_results(analysis, out, force=True)
    assert case() == analysis.case


def test_an_empty_folder_is_used(analysis: cinesax.Analysis, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    cinesax.write_results(analysis, tmp_path / "out")
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.parametrize("name", ["thesis.docx", "report.html", "contours"])
def test_other_files_are_not_touched(analysis: cinesax.Analysis, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputError, match="--force"):
        cinesax.write_results(analysis, tmp_path)
    assert files(tmp_path) == {name}


def test_a_result_among_which_somebody_keeps_notes_is_not_touched(analysis: cinesax.Analysis, tmp_path: Path) -> None:
    out = cinesax.write_results(analysis, tmp_path / "out")
    (out / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"notes\.txt"):
        results.check_output(out)


@pytest.mark.parametrize(
    ("author", "name"),
    [
        ("net 1.0", "notes.txt"),
        ("net 1.0", "IM-0001-0011-icontour-manual.txt"),
        ("manual", "IM-0001-0011-icontour-auto.txt"),
        ("net 1.0", "IM-0002-0011-icontour-auto.txt"),
        ("net 1.0", "IM-0001-0011-icontour-auto.txt.bak"),
        ("net 1.0", "corrected/IM-0001-0011-icontour-auto.txt"),
    ],
)
@pytest.mark.parametrize("stands_in_it", [False, True])
def test_what_people_keep_among_the_contours_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, author: str, name: str, stands_in_it: bool
) -> None:
    made = by(author)
    out = cinesax.write_results(made, tmp_path / "out")
    ours = files(out)
    mine = out / "contours" / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    stale = out / "contours" / STALE.replace("auto", "manual" if author == "manual" else "auto")
    stale.write_text("of an earlier result")
    if stands_in_it:
        monkeypatch.chdir(out)
    before = files(out)
    with pytest.raises(OutputError, match=f"contours/{name.partition('/')[0]}.*--force"):
        cinesax.write_results(made, out)
    assert files(out) == before
    cinesax.write_results(made, out, force=True)
    assert files(out) == before - {f"contours/{stale.name}"} and ours < files(out)
    assert mine.read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_contours_that_are_of_no_result_stay(analysis: cinesax.Analysis, tmp_path: Path) -> None:
    (tmp_path / "contours").mkdir()
    (tmp_path / "contours" / STALE).write_text("mine")
    cinesax.write_results(analysis, tmp_path, force=True)
    assert (tmp_path / "contours" / STALE).read_text() == "mine"
    assert len(list((tmp_path / "contours").glob("*icontour*"))) == 41


def made_before_conventions_were_named(out: Path) -> None:
    """Turn a result into what an older version wrote: the first pixel's centre at (0, 0), and nothing says so."""
    document = json.loads((out / "analysis.json").read_text())
    del document["segmentation"]["contour_first_pixel_centre"]
    (out / "analysis.json").write_text(json.dumps(document))
    (out / "contours" / "convention.json").unlink()
    for path in (out / "contours").iterdir():
        np.savetxt(path, np.loadtxt(path) - 0.5)


def test_an_older_result_is_read_as_it_was_meant_and_replaced(analysis: cinesax.Analysis, tmp_path: Path) -> None:
    out = cinesax.write_results(analysis, tmp_path / "out")
    made_before_conventions_were_named(out)
    again = cinesax.analyze(hearts.cine(), segmentation=out / "contours")
    np.testing.assert_array_equal(again.segmentation.labels, analysis.segmentation.labels)
    cinesax.write_results(analysis, out)
    again = cinesax.analyze(hearts.cine(), segmentation=out / "contours")
    np.testing.assert_array_equal(again.segmentation.labels, analysis.segmentation.labels)


def test_corrections_in_an_older_result_keep_their_meaning_when_it_is_replaced(tmp_path: Path) -> None:
    made = by("net 1.0")
    out = cinesax.write_results(made, tmp_path / "out")
    made_before_conventions_were_named(out)
    name = "IM-0001-0011-icontour-manual.txt"
    square = np.array([[11.5, 12.5], [31.5, 12.5], [31.5, 32.5], [11.5, 32.5]])
    np.savetxt(out / "contours" / name, square)
    before = cinesax.analyze(hearts.cine(), segmentation=out / "contours").segmentation
    for _ in range(2):
        cinesax.write_results(made, out, force=True)
        after = cinesax.analyze(hearts.cine(), segmentation=out / "contours").segmentation
        np.testing.assert_array_equal(after.labels, before.labels)
        np.testing.assert_array_equal(after.contours[cinesax.Structure.CAVITY, 0, 1][0], square)
    np.testing.assert_array_equal(np.loadtxt(out / "contours" / name), square)


def test_a_marker_of_somebody_else_in_an_older_result_is_not_touched(tmp_path: Path) -> None:
    made = by("net 1.0")
    out = cinesax.write_results(made, tmp_path / "out")
    made_before_conventions_were_named(out)
    (out / "contours" / "convention.json").write_text("{}")
    with pytest.raises(OutputError, match=r"contours/convention\.json.*--force"):
        cinesax.write_results(made, out)


@pytest.mark.parametrize("author", ["manual", "net 1.0", "truth"])
def test_a_result_is_known_as_one_whoever_drew_it(tmp_path: Path, author: str) -> None:
    out = cinesax.write_results(by(author), tmp_path / "out")
    cinesax.write_results(by("manual"), out)
    cinesax.write_results(by("net 1.0"), out)
    names = {path.name.rpartition("-")[2] for path in (out / "contours").iterdir()}
    assert names == {"auto.txt", "convention.json"}


def test_forced_results_are_written_beside_other_files(analysis: cinesax.Analysis, tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").write_text("mine")
    (tmp_path / "contours").mkdir()
    cinesax.write_results(analysis, tmp_path, force=True)
    cinesax.write_results(analysis, tmp_path, force=True)
    assert {path.name for path in tmp_path.iterdir()} == {*results.NAMES, "thesis.docx"}
    assert (tmp_path / "thesis.docx").read_text() == "mine"


def test_the_folder_in_which_a_person_stands_stays(
    analysis: cinesax.Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cinesax.write_results(analysis, ".")
    assert {path.name for path in Path().iterdir()} == set(results.NAMES)


def test_a_link_to_a_folder_stays_a_link(analysis: cinesax.Analysis, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    cinesax.write_results(analysis, tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real" / "report.html").is_file()


@pytest.mark.parametrize("out", ["file", "file/out", "file/a/b"])
def test_a_file_in_the_way(analysis: cinesax.Analysis, tmp_path: Path, out: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError):
        results.check_output(tmp_path / out)
    assert files(tmp_path) == {"file"}


@pytest.mark.parametrize("out", ["circle", "circle/out", "x" * 300, "~nobody-of-this-name/out"])
def test_a_folder_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(OutputError):
        results.check_output(out)


def test_the_longest_name_that_a_folder_can_have(analysis: cinesax.Analysis, tmp_path: Path) -> None:
    cinesax.write_results(analysis, tmp_path / ("x" * 255))
    assert [path.name for path in tmp_path.iterdir()] == ["x" * 255]


def test_a_file_name_that_is_no_text(tmp_path: Path) -> None:
    source = Source("nifti", description=os.fsdecode(b"jane\xff.nii.gz"))
    made = cinesax.analyze(hearts.cine(source=source), segmentation=hearts.labels())
    out = cinesax.write_results(made, tmp_path / "out", show_patient=True)
    assert tables.read_json(out / "analysis.json")["series"]["description"] == "jane?.nii.gz"


def test_where_nothing_can_be_written() -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        results.check_output("/proc/cinesax")


def test_checking_leaves_nothing_behind(tmp_path: Path) -> None:
    results.check_output(tmp_path / "a" / "b")
    assert files(tmp_path) == set()


def test_a_failure_while_writing_leaves_the_earlier_result(
    analysis: cinesax.Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = cinesax.write_results(analysis, tmp_path / "out")
    before = (out / "analysis.json").read_bytes()

    def full(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cinesax.results.tables.to_json", full)
    for target in (out, tmp_path / "new" / "out"):
        with pytest.raises(OutputError, match="No space left"):
            cinesax.write_results(analysis, target)
    assert (out / "analysis.json").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_an_earlier_result_comes_back_when_the_last_step_fails(
    analysis: cinesax.Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = cinesax.write_results(analysis, tmp_path / "out")
    rename, calls = Path.rename, []

    def second_fails(self: Path, target: Path) -> Path:
        calls.append(self)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(folder_swap, "swap", lambda *_: False)  # a system that cannot exchange folders in one step
    monkeypatch.setattr(Path, "rename", second_fails)
    with pytest.raises(OutputError, match="Input/output"):
        cinesax.write_results(analysis, out)
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    assert tables.read_json(out / "analysis.json")["case"] == analysis.case


def test_the_patient_is_named_only_when_asked_for(analysis: cinesax.Analysis, tmp_path: Path) -> None:
    hidden = cinesax.write_results(analysis, tmp_path / "hidden")
    shown = cinesax.write_results(analysis, tmp_path / "shown", show_patient=True)
    for name in ("analysis.json", "report.html"):
        assert "Doe" not in (hidden / name).read_text() and "Doe" in (shown / name).read_text()
    assert "Doe" not in (hidden / "measurements.csv").read_text()
