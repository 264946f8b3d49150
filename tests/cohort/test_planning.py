"""Which exams there are: studies over folders and zips, NIfTI, lists; and what is said where there is none."""

import shutil
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

import crowd
import exams
from cinesax.cli.cohort import words
from cinesax.cli.main import main
from cinesax.cohort.page import Page
from cinesax.cohort.planning.find import find
from cinesax.cohort.planning.group import group
from cinesax.cohort.planning.listed import read_list
from cinesax.cohort.planning.plan import Kind, Plan, Planned
from cinesax.cohort.rows import Row
from cinesax.cohort.run import Progress
from cinesax.cohort.work import cleaned
from cinesax.core.cine import StoredFile
from cinesax.core.errors import InputError


def planned(root: Path, known: Path | None = None) -> dict[str, Planned]:
    """Place below the root -> exam."""
    plan = Plan(root.parent / f"plan-{len(list(root.parent.glob('plan-*')))}")
    if known is not None:
        plan.know(known)
    plan.add_scope(0, root)
    for _ in find(root, plan):
        pass
    group(plan)
    by_place = {one.place: one for one in plan.exams()}
    assert len(by_place) == plan.count()
    plan.close()
    return by_place


def nifti(path: Path, *shape: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.zeros(shape, dtype=np.int16), np.diag([1.5, 1.5, 8.0, 1.0])), path)


def test_a_study_over_several_folders_and_a_zip_is_one_exam(tmp_path: Path) -> None:
    root = tmp_path / "root"
    files = crowd.exam(root / "p1" / "a", 1)
    (root / "p1" / "b").mkdir()
    for path in files[3:6]:
        path.rename(root / "p1" / "b" / path.name)
    with zipfile.ZipFile(root / "p1" / "rest.zip", "w") as archive:
        for path in files[6:]:
            archive.write(path, path.name)
            path.unlink()
    (root / "p1" / "b" / "damaged.dcm").write_bytes(bytes(range(256)))
    crowd.exam(root / "p2", 2)
    plan = planned(root)
    assert set(plan) == {"p1", "p2"}
    # The damaged file lies in the folder of the exam: its reader reports it.
    assert (plan["p1"].n_files, len(plan["p1"].files), plan["p1"].patient_id) == (10, 10, "PATIENT-0001")


def test_studies_in_one_folder_are_exams_of_their_own(tmp_path: Path) -> None:
    for number in (1, 2):
        for path in crowd.exam(tmp_path / str(number), number):
            (tmp_path / "root").mkdir(exist_ok=True)
            path.rename(tmp_path / "root" / f"{number}-{path.name}")
    plan = Plan(tmp_path / "plan")
    plan.add_scope(0, tmp_path / "root")
    list(find(tmp_path / "root", plan))
    group(plan)
    assert sorted(len(one.files) for one in plan.exams()) == [9, 9]


def test_nifti_files_are_exams_or_one_exam_together(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("p1.nii.gz", "p2.nii.gz", "p2_seg.nii.gz"):
        nifti(root / "many" / name, 8, 8, 4, 5)
    nifti(root / "pair" / "x_ED.nii.gz", 8, 8, 4)
    nifti(root / "pair" / "x_ES.nii.gz", 8, 8, 4)
    nifti(root / "acdc" / "patient_4d.nii.gz", 8, 8, 4, 5)
    nifti(root / "acdc" / "patient_frame01.nii.gz", 8, 8, 4)
    (root / "acdc" / "Info.cfg").write_text("ED: 1")
    plan = planned(root)
    assert set(plan) == {"many/p1.nii.gz", "many/p2.nii.gz", "pair", "acdc"}
    assert {one.kind for one in plan.values()} == {Kind.NIFTI}


def test_keys_stay_when_the_root_moves_and_files_are_not_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd.exam(tmp_path / "root" / "p1", 1)
    nifti(tmp_path / "root" / "p2.nii.gz", 8, 8, 4, 5)
    before = planned(tmp_path / "root")
    assert before["p1"].fingerprint == planned(tmp_path / "root")["p1"].fingerprint
    monkeypatch.setattr("cinesax.cohort.planning.kinds.belonging", lambda stream: pytest.fail("opened again"))
    planned(tmp_path / "root", known=tmp_path / "plan-0")
    monkeypatch.undo()
    (tmp_path / "root").rename(tmp_path / "moved")
    after = planned(tmp_path / "moved")
    assert {place: (one.key, one.fingerprint) for place, one in before.items()} == {
        place: (one.key, one.fingerprint) for place, one in after.items()
    }


def test_a_list_brings_its_columns(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("Path;arm;age group\np1;A;old\nsub/p2;B;\n", encoding="utf-8-sig")
    one, other = read_list(tmp_path / "list.csv")
    assert (one.path, one.name, dict(one.columns)) == (tmp_path / "p1", "p1", {"arm": "A", "age group": "old"})
    assert other.path == tmp_path / "sub" / "p2"
    (tmp_path / "excel.csv").write_bytes("Path;Größe\r\nMüller;1,80\r\n".encode("cp1252"))
    assert [(entry.name, dict(entry.columns)) for entry in read_list(tmp_path / "excel.csv")] == [
        ("Müller", {"Größe": "1,80"})
    ]
    (tmp_path / "twice.csv").write_text("path\np1\np1\n")
    with pytest.raises(InputError, match="row 3: p1 is listed twice"):
        read_list(tmp_path / "twice.csv")


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ([], 2, "either the folder"),
        (["ROOT", "--jobs", "0"], 2, "--jobs must be at least 1"),
        (["ROOT", "--outputs", "film"], 2, "--outputs must be of"),
        (["ROOT", "--label", "arm"], 2, "a column needs --list"),
        (["ROOT/none"], 3, "does not exist"),
        (["EMPTY"], 3, "there is no exam below"),
        (["TEXTS"], 3, "no file there can be read as an image, such as text.dcm"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], code: int, words: str
) -> None:
    for name in ("ROOT", "EMPTY", "TEXTS"):
        (tmp_path / name).mkdir()
    for name in ("README.md", "text.dcm", "x.zip"):
        (tmp_path / "TEXTS" / name).write_text("a text\n")
    places = [str(tmp_path / one) if one[:4] in ("ROOT", "EMPT", "TEXT") else one for one in options]
    assert main(["cohort", *places, "-o", str(tmp_path / "out")]) == code
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def alike(folder: Path, like: Path, number: int) -> None:
    """Another exam under the UIDs of one that is there."""
    for path, first in zip(crowd.exam(folder, number, seed=99), sorted(like.iterdir()), strict=True):
        exams.edit(path, SOPInstanceUID=pydicom.dcmread(first, stop_before_pixels=True).SOPInstanceUID)


def test_a_key_stays_with_its_exam_when_another_one_has_its_uid(tmp_path: Path) -> None:
    root = tmp_path / "root"
    crowd.exam(root / "p2", 1)
    first = planned(root)["p2"].key
    alike(root / "p1", root / "p2", 1)
    second = {place: one.key for place, one in planned(root, known=tmp_path / "plan-0").items()}
    assert second["p2"] == first and second["p1"].startswith(f"{first}-")
    # Where one goes, the other keeps its key; and it is the same when that comes back, and where the root moves.
    (root / "p2").rename(tmp_path / "gone")
    assert planned(root, known=tmp_path / "plan-1")["p1"].key == second["p1"]
    (tmp_path / "gone").rename(root / "p2")
    root.rename(tmp_path / "moved")
    assert {place: one.key for place, one in planned(tmp_path / "moved", known=tmp_path / "plan-2").items()} == second


def test_a_key_of_a_list_stays_when_a_copy_is_listed(tmp_path: Path) -> None:
    crowd.exam(tmp_path / "a", 1)
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    keys = []
    for listed in (["a"], ["copy", "a"]):
        plan = Plan(tmp_path / f"list of {len(listed)}")
        if keys:
            plan.know(tmp_path / "list of 1")
        for scope, name in enumerate(listed):
            plan.add_scope(scope, tmp_path / name, name)
            list(find(tmp_path / name, plan, scope=scope))
        group(plan)
        keys.append({one.place: one.key for one in plan.exams()})
        plan.close()
    assert keys[1]["a"] == keys[0]["a"] and len(keys[1]) == 2


def test_what_is_named_as_an_image_and_cannot_be_read_is_in_the_plan(tmp_path: Path) -> None:
    root = tmp_path / "root"
    crowd.exam(root / "p1", 1)
    (root / "p1" / "page.dcm").write_text("<html>not found</html>")
    for number in (2, 3):
        for path in crowd.exam(tmp_path / str(number), number):
            (root / "two").mkdir(exist_ok=True)
            path.rename(root / "two" / f"{number}-{path.name}")
    (root / "two" / "zero.dcm").touch()
    (root / "two" / "Thumbs").write_bytes(bytes(range(256)))
    (root / "text.dcm").write_text("a text")
    (root / "README").write_text("a text")
    (root / "p1" / "images.zip").write_text("<html>not found</html>")
    (root / "many").mkdir()
    for number in range(300):
        (root / "many" / f"{number}.zip").write_text("<html>not found</html>")
    nifti(root / "nifti" / "x.nii.gz", 8, 8, 4, 5)
    (root / "nifti" / "y.nii.gz").write_text("a text")
    plan = Plan(tmp_path / "plan")
    plan.add_scope(0, root)
    list(find(root, plan))
    group(plan)
    assert sorted((one.place, one.n_files) for one in plan.exams()) == [
        ("many", 300),
        ("nifti/x.nii.gz", 1),
        ("nifti/y.nii.gz", 1),
        ("p1", 10),
        ("p1/images.zip", 1),
        ("text.dcm", 1),
        ("two", 9),
        ("two", 9),
        ("two/zero.dcm", 1),
    ]


def test_a_folder_of_something_else_is_no_place_for_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.docx").touch()
    crowd.exam(tmp_path / "root", 1)
    assert main(["cohort", str(tmp_path / "root"), "-o", str(tmp_path / "out")]) == 7
    assert "holds other files" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.docx"]


def test_a_message_replaces_whole_names_of_files_and_is_not_cut_in_a_parenthesis(tmp_path: Path) -> None:
    root = tmp_path / "b_text.dcm"
    exam = Planned("case-1", Kind.DICOM, root, (StoredFile(tmp_path / "text.dcm"),))
    message = f"{root} holds no DICOM image (extra_text.dcm); text.dcm: named as DICOM"
    assert cleaned(message, exam) == "the exam holds no DICOM image (extra_text.dcm); a file: named as DICOM"
    failure = f"case-1: cannot-be-read: {'x' * 80} holds (one, and {'more ' * 9})"
    assert words("analyze", Progress(1, failed=1, last_failure=failure)).endswith(f"{'x' * 80} holds ...)")


def test_the_page_of_a_small_cohort_has_no_empty_charts_and_names_doubts_in_words(tmp_path: Path) -> None:
    page = Page()
    page.take(Row("case-1", {"exam": "case-1", "status": "done", "ef_percent": 60.0, "doubts": "lv-at-stack-end"}))
    page.write(tmp_path / "index.html")
    text = (tmp_path / "index.html").read_text()
    assert text.count("<figure>") == 1 and "0 exams" not in text and "1 exams" not in text
    assert 'title="lv-at-stack-end">LV at stack end<' in text
