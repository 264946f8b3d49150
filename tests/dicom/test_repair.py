"""UIDs that break the rules: told, and on request repaired in copies of the images to which the objects then refer."""

import csv
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest

import exams
import objects
from cinesax.cli.main import main
from cinesax.core.errors import NoObjectsError
from cinesax.dicom.copied import lenient
from cinesax.dicom.read.series import valid_uid
from cinesax.dicom.write.options import DicomOptions
from cinesax.formats.contours import write_contours
from cinesax.inputs import open_cine
from cinesax.results.write import write_results

BAD_STUDY = "1.2.826.0.1.012"


def _spoil(files: list[Path]) -> None:
    for number, path in enumerate(files, start=1):
        with lenient():
            exams.edit(path, SOPInstanceUID=f"{BAD_STUDY}.07.0{number}", StudyInstanceUID=BAD_STUDY)


def _uids(dataset: pydicom.Dataset) -> set[str]:
    return {
        str(uid)
        for element in dataset.iterall()
        if element.VR == "UI" and element.value
        for uid in (element.value if element.VM > 1 else [element.value])
    }


def test_the_same_uid_on_different_frames_is_told_and_other_results_stay(tmp_path):
    cine = objects.exam_on_disk(tmp_path / "exam", SOPInstanceUID="1.2.3.4.77")
    (finding,) = cine.findings
    assert (finding.code, finding.message.split(":")[0]) == (
        "shared-uid",
        "30 of 30 frames share their SOPInstanceUID with another frame",
    )
    np.testing.assert_array_equal(cine.pixels, exams.small_cine().pixels)
    with pytest.raises(NoObjectsError, match="30 frames of this exam share their SOPInstanceUID"):
        write_results(objects.analysis_of(cine), tmp_path / "out", dicom=DicomOptions())
    assert json.loads((tmp_path / "out" / "analysis.json").read_text())["measurements"]["edv_ml"] > 0
    assert not list((tmp_path / "out").rglob("*.dcm"))


def test_two_of_all_frames_with_one_uid_are_enough(tmp_path):
    files = exams.write_exam(tmp_path)
    exams.edit(files[7:9], SOPInstanceUID="1.2.3.4.77")
    assert "2 of 30 frames" in open_cine(tmp_path).findings[0].message


def test_the_command_says_it_in_one_line(tmp_path, capsys):
    cine = objects.exam_on_disk(tmp_path / "exam", SOPInstanceUID="1.2.3.4.77")
    write_contours(objects.ring(cine), cine, tmp_path / "contours")
    arguments = ["analyze", str(tmp_path / "exam"), "--segmentation", str(tmp_path / "contours")]
    assert main([*arguments, "-o", str(tmp_path / "out"), "--dicom"]) == 7
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "DICOM objects cannot refer to them" in said.err
    assert "Ejection fraction" in said.out and (tmp_path / "out" / "report.html").exists()
    assert main([*arguments, "-o", str(tmp_path / "out"), "--dicom", "--repair-uids"]) == 0
    capsys.readouterr()
    assert len(list((tmp_path / "out" / "images").iterdir())) == 30
    # Written again without them, nothing of the copies stays.
    assert main([*arguments, "-o", str(tmp_path / "out")]) == 0
    assert not (tmp_path / "out" / "images").exists()
    assert main([*arguments, "--repair-uids"]) == 2
    assert "give --dicom too" in capsys.readouterr().err


@pytest.mark.parametrize("spoil", ["invalid", "shared", "absent", "no study"])
def test_objects_refer_to_copies_with_valid_uids(tmp_path, spoil):
    files = exams.write_exam(tmp_path / "exam")
    if spoil == "invalid":
        _spoil(files)
    elif spoil == "shared":
        exams.edit(files, SOPInstanceUID="1.2.3.4.77")
    else:
        exams.edit(files, **{"SOPInstanceUID" if spoil == "absent" else "StudyInstanceUID": None})
    cine = open_cine(tmp_path / "exam")
    out = tmp_path / "out"
    options = DicomOptions(repair_uids=True, rtstruct=True)
    write_results(objects.analysis_of(cine), out, dicom=options)
    copies = {str(one.SOPInstanceUID): one for one in map(pydicom.dcmread, sorted((out / "images").iterdir()))}
    assert len(copies) == 30
    everything = [*copies.values(), *map(pydicom.dcmread, out.glob("*.dcm"))]
    assert len(everything) == 36
    assert all(valid_uid(uid) for one in everything for uid in _uids(one))
    assert len({one.StudyInstanceUID for one in everything}) == 1
    for one in everything[30:]:
        assert {str(item.value) for item in one.iterall() if item.keyword == "ReferencedSOPInstanceUID"} & set(copies)
    # Nothing but UIDs has changed, and the copies are read as the exam was.
    again = open_cine(out / "images")
    np.testing.assert_array_equal(again.pixels, cine.pixels)
    assert again.patient == cine.patient and again.grid.same_as(cine.grid)
    assert all(uid in copies for phase in again.source.instance_uids for uid in phase)
    with (out / "uid_map.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    if spoil == "invalid":
        new_of = {row["old"]: row["new"] for row in rows}
        assert new_of[BAD_STUDY] == str(everything[0].StudyInstanceUID) and len(new_of) == 31
        assert all(new.startswith("2.25.") and valid_uid(new) for new in new_of.values())
        assert {row["copy"] for row in rows} == {"", *(path.name for path in (out / "images").iterdir())}


@pytest.mark.parametrize("repair", [True, False])
def test_what_an_anonymiser_left_invalid_is_emptied_only_in_repaired_objects(tmp_path, repair):
    files = exams.write_exam(tmp_path / "exam")
    _spoil(files)
    with lenient():
        exams.edit(files, PatientBirthDate="00000000", ReferringPhysicianName=None)
    cine = open_cine(tmp_path / "exam")
    message = next(finding.message for finding in cine.findings if finding.code == "invalid-uid")
    assert message.startswith("the exam has invalid UIDs") and message.endswith("unless --repair-uids is given")
    out = tmp_path / "out"
    write_results(objects.analysis_of(cine), out, dicom=DicomOptions(repair_uids=repair))
    with lenient():
        made = [pydicom.dcmread(path) for path in out.rglob("*.dcm")]
        assert {one.PatientBirthDate or "" for one in made} == {"" if repair else "00000000"}
        assert {str(one.ReferringPhysicianName) for one in made} == {""}
    assert (len(made) > 30) is repair


def test_a_valid_birth_date_and_physician_stay_in_repaired_objects(tmp_path):
    files = exams.write_exam(tmp_path / "exam")
    _spoil(files)
    with lenient():
        exams.edit(files, PatientBirthDate="19610402", ReferringPhysicianName="Weber^Ute")
    write_results(
        objects.analysis_of(open_cine(tmp_path / "exam")), tmp_path / "out", dicom=DicomOptions(repair_uids=True)
    )
    made = [pydicom.dcmread(path) for path in (tmp_path / "out").rglob("*.dcm")]
    assert {(one.PatientBirthDate, str(one.ReferringPhysicianName)) for one in made} == {("19610402", "Weber^Ute")}


def test_the_same_exam_gives_the_same_bytes(tmp_path):
    _spoil(exams.write_exam(tmp_path / "exam"))
    analysis = objects.analysis_of(open_cine(tmp_path / "exam"))
    for name in ("a", "b"):
        write_results(analysis, tmp_path / name, dicom=DicomOptions(repair_uids=True))
    for path in (tmp_path / "a").rglob("*.dcm"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_without_need_nothing_is_copied(tmp_path):
    cine = objects.exam_on_disk(tmp_path / "exam")
    write_results(objects.analysis_of(cine), tmp_path / "out", dicom=DicomOptions(repair_uids=True))
    assert not (tmp_path / "out" / "images").exists() and (tmp_path / "out" / "seg_ed.dcm").exists()


def test_a_foreign_file_among_the_copies_is_not_overwritten_unasked(tmp_path):
    _spoil(exams.write_exam(tmp_path / "exam"))
    analysis = objects.analysis_of(open_cine(tmp_path / "exam"))
    write_results(analysis, tmp_path / "out", dicom=DicomOptions(repair_uids=True))
    (tmp_path / "out" / "images" / "mine.txt").write_text("mine")
    assert main(["analyze", str(tmp_path / "exam"), "-o", str(tmp_path / "out")]) == 7
    write_results(analysis, tmp_path / "out", force=True)
    assert [path.name for path in (tmp_path / "out" / "images").iterdir()] == ["mine.txt"]


@pytest.mark.data
def test_dsrdump_reads_the_report_of_a_real_exam(sunnybrook, tmp_path):
    if shutil.which("dsrdump") is None:
        pytest.skip("dsrdump is absent: install the Debian package dcmtk")
    cine = open_cine(sunnybrook / "dicom" / "SC-HF-I-04")
    write_results(objects.analysis_of(cine), tmp_path / "out", dicom=DicomOptions(repair_uids=True))
    said = subprocess.run(
        ["dsrdump", str(tmp_path / "out" / "measurements_sr.dcm")], capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
