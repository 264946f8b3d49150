"""`cinesax inspect` as a user sees it."""

import json

import numpy as np
import pytest

import exams
from cinesax.cli.main import main
from formats_nifti import image_of, saved


def test_table(tmp_path, capsys):
    exams.write_exam(tmp_path)
    exams.write_exam(tmp_path / "late", exams.small_cine(phases=1), number=2, series_uid="1.2.9", description="PSIR")
    assert main(["inspect", str(tmp_path)]) == 0
    said = capsys.readouterr()
    (picked,) = [line for line in said.out.splitlines() if "->" in line]
    assert "SAX" in picked
    assert "5 parallel slices" in picked
    assert "late enhancement" in said.out
    assert "picked: 1.2.3.4.5" in said.out
    assert said.err == ""


def test_json(tmp_path, capsys):
    exams.write_exam(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    assert main(["inspect", str(tmp_path), "--format", "json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    (series,) = listed["series"]
    assert (series["instances"], series["slices"], series["phases"]) == (30, 5, 6)
    assert (series["kind"], series["picked"]) == ("short-axis cine", True)
    assert listed["schema"] == "cinesax/inspection/1"
    assert listed["ignored"] == [{"file": "notes.txt", "reason": "not DICOM"}]
    assert (listed["findings"], listed["error"]) == ([], None)


@pytest.mark.parametrize("form", ["table", "json"])
def test_the_patient_is_shown_only_when_asked_for(tmp_path, capsys, form):
    exams.write_exam(tmp_path)
    main(["inspect", str(tmp_path), "--format", form])
    said = "".join(capsys.readouterr())
    assert "DOE" not in said
    assert "ID-77" not in said
    main(["inspect", str(tmp_path), "--format", form, "--show-patient"])
    said = "".join(capsys.readouterr())
    assert "DOE^JANE" in said
    assert "ID-77" in said


@pytest.mark.parametrize("form", ["table", "json"])
@pytest.mark.parametrize("phases", [1, 6])
def test_a_patient_in_a_description_is_not_shown(tmp_path, capsys, form, phases):
    exams.write_exam(tmp_path / "a", exams.small_cine(phases=phases), number=1, description="Doe Jane SAX id-77")
    exams.write_exam(
        tmp_path / "b", exams.small_cine(phases=phases), number=2, description="jane", series_uid="1.2.3.4.9"
    )
    main(["inspect", str(tmp_path), "--format", form])
    said = "".join(capsys.readouterr())
    assert [secret for secret in ("doe", "jane", "id-77") if secret in said.lower()] == []
    main(["inspect", str(tmp_path), "--format", form, "--show-patient"])
    assert "Doe Jane" in capsys.readouterr().out


def test_nothing_to_pick_prints_the_table_and_fails(tmp_path, capsys):
    exams.write_exam(tmp_path, exams.small_cine(phases=1))
    assert main(["inspect", str(tmp_path)]) == 4
    said = capsys.readouterr()
    assert "one phase only" in said.out
    assert said.err.startswith("cinesax: error: no short-axis cine")
    assert said.err.count("\n") == 1


def test_broken_geometry_is_seen_before_any_pixel(tmp_path, capsys):
    files = exams.write_exam(tmp_path)
    files[3].unlink()
    assert main(["inspect", str(tmp_path), "--format", "json"]) == 5
    said = capsys.readouterr()
    listed = json.loads(said.out)
    assert "slice 0 has 5" in listed["error"]
    assert "slice 0 has 5" in said.err
    # What analyze would refuse is not picked.
    assert [one["picked"] for one in listed["series"]] == [False]
    assert main(["inspect", str(tmp_path)]) == 5
    said = capsys.readouterr()
    assert "->" not in said.out and "picked" not in said.out


def test_series_by_uid(tmp_path, capsys):
    exams.write_exam(tmp_path)
    exams.write_exam(tmp_path / "b", exams.small_cine(slices=4), number=2, series_uid="1.2.9")
    assert main(["inspect", str(tmp_path), "--series", "1.2.9"]) == 0
    assert "picked: 1.2.9" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path), "--series", "7.7"]) == 2


def test_headers_cannot_write_to_the_terminal(tmp_path, capsys):
    files = exams.write_exam(tmp_path)
    exams.edit(files, SeriesDescription="[red]\x1b]0;owned\x07[/nothing]")
    assert main(["inspect", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "[red]" in said


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_bad_input_is_one_line(tmp_path, capsys, name):
    (tmp_path / "empty").mkdir()
    assert main(["inspect", str(tmp_path / name)]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1


@pytest.mark.data
def test_a_real_patient(sunnybrook, capsys):
    assert main(["inspect", str(sunnybrook / "dicom" / "SC-HF-I-01"), "--format", "json"]) == 0
    said = capsys.readouterr().out
    listed = json.loads(said)
    assert [(one["instances"], one["kind"], one["picked"]) for one in listed["series"]] == [
        (15, "localizer", False),
        (240, "short-axis cine", True),
    ]
    assert "SCD0000101" not in said


def _two_studies(folder):
    exams.write_exam(folder / "a")
    files = exams.write_exam(folder / "b", series_uid="1.2.9.2")
    exams.edit(files, StudyInstanceUID="1.2.8", PatientID="ID-99", PatientName="ROE^RICHARD")


def test_one_study_of_several(tmp_path, capsys):
    _two_studies(tmp_path)
    assert main(["inspect", str(tmp_path)]) == 4
    said = capsys.readouterr()
    assert "study 1.2.3.4 (patient 1, 1 series); study 1.2.8 (patient 2, 1 series)" in said.err
    assert "--study UID" in said.err
    assert "ID-99" not in said.out + said.err
    assert main(["inspect", str(tmp_path), "--study", "1.2.8"]) == 0
    assert "picked: 1.2.9.2" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path), "--patient", "ID-77"]) == 0
    assert "picked: 1.2.3.4.5" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path), "--study", "1.9"]) == 2


def test_all_patients_are_shown_when_asked_for(tmp_path, capsys):
    _two_studies(tmp_path)
    main(["inspect", str(tmp_path), "--show-patient"])
    said = capsys.readouterr().out
    assert "patient 1: name DOE^JANE, id ID-77" in said
    assert "patient 2: name ROE^RICHARD, id ID-99" in said


def test_each_row_says_whose_it_is(tmp_path, capsys):
    _two_studies(tmp_path)
    main(["inspect", str(tmp_path)])
    said = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")] for line in said.splitlines() if "parallel slices" in line]
    assert [row[2:4] for row in rows] == [["1", "1"], ["2", "2"]]
    assert "study 1: 1.2.3.4" in said and "study 2: 1.2.8" in said
    assert "ID-77" not in said and "ID-99" not in said
    main(["inspect", str(tmp_path), "--format", "json"])
    series = json.loads(capsys.readouterr().out)["series"]
    assert [(one["patient_numbers"], one["study_number"]) for one in series] == [([1], 1), ([2], 2)]


def test_a_series_of_two_patients_says_so(tmp_path, capsys):
    files = exams.write_exam(tmp_path)
    exams.edit(files[exams.PHASES :], PatientID="ID-99")
    main(["inspect", str(tmp_path)])
    (row,) = [line.split("│") for line in capsys.readouterr().out.splitlines() if "parallel slices" in line]
    assert row[2].strip() in ("1, 2", "2, 1")
    main(["inspect", str(tmp_path), "--format", "json"])
    assert sorted(json.loads(capsys.readouterr().out)["series"][0]["patient_numbers"]) == [1, 2]


@pytest.mark.parametrize("columns", [60, 40])
def test_a_narrow_terminal_gets_whole_words(tmp_path, capsys, monkeypatch, columns):
    _two_studies(tmp_path)
    monkeypatch.setenv("COLUMNS", str(columns))
    main(["inspect", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    text = " ".join(" ".join(lines).split())
    assert "patient 2, study 2: 30 images, 5 slices, 6 phases" in text
    assert "short-axis cine" in text and "5 parallel slices 9.0 mm apart of 6 phases, across an axis" in text


def test_nifti_files_on_a_narrow_terminal(tmp_path, capsys, monkeypatch):
    path = saved(image_of(exams.small_cine()), tmp_path / "cine.nii.gz")
    monkeypatch.setenv("COLUMNS", "60")
    assert main(["inspect", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "-> cine.nii.gz" and "5 slices, 6 phases" in " ".join(lines)


def test_frames_of_reference_are_ignored_on_request_only(tmp_path, capsys):
    exams.edit(exams.write_exam(tmp_path), FrameOfReferenceUID=lambda one: f"1.2.{1 + one.InstanceNumber // 15}")
    assert main(["inspect", str(tmp_path)]) == 5
    assert "--ignore-frame-of-reference" in capsys.readouterr().err
    assert main(["inspect", str(tmp_path), "--ignore-frame-of-reference"]) == 0
    assert "warning: 3 different FrameOfReferenceUIDs" in capsys.readouterr().out


class TestNifti:
    def test_one_file(self, tmp_path, capsys):
        path = saved(image_of(exams.small_cine()), tmp_path / "c.nii.gz")
        assert main(["inspect", str(path)]) == 0
        said = capsys.readouterr()
        (row,) = [line for line in said.out.splitlines() if "->" in line]
        assert "24 x 20 x 5 x 6" in row
        assert "read: 5 slices of 6 phases" in said.out
        assert "pixdim[4]" in said.out

    def test_files_of_a_folder_as_they_are_read(self, tmp_path, capsys):
        image = image_of(exams.small_cine())
        saved(image, tmp_path / "cine.nii.gz")
        saved(image.slicer[..., 0], tmp_path / "ED.nii.gz")
        assert main(["inspect", str(tmp_path), "--format", "json"]) == 0
        document = json.loads(capsys.readouterr().out)
        listed = {row["file"]: (row["slices"], row["phases"], row["picked"]) for row in document["nifti"]}
        assert listed == {"ED.nii.gz": (5, 1, False), "cine.nii.gz": (5, 6, True)}
        assert (document["schema"], document["error"]) == ("cinesax/inspection/1", None)
        assert [finding["code"] for finding in document["findings"]] == ["times-uncertain"]

    def test_a_header_that_contradicts_itself(self, tmp_path, capsys):
        path = saved(image_of(exams.small_cine()), tmp_path / "c.nii")
        data = bytearray(path.read_bytes())
        data[80:84] = np.array([0.6], "<f4").tobytes()
        path.write_bytes(bytes(data))
        assert main(["inspect", str(path)]) == 5
        assert "--nifti-geometry" in capsys.readouterr().err
        assert main(["inspect", str(path), "--nifti-geometry", "sform"]) == 0
        assert "sform was chosen" in " ".join(capsys.readouterr().out.split())

    def test_what_is_not_read_is_not_picked(self, tmp_path, capsys):
        image = image_of(exams.small_cine())
        for phase, name in enumerate(("a", "b")):
            saved(image.slicer[..., phase], tmp_path / f"{name}.nii.gz")
        assert main(["inspect", str(tmp_path)]) == 3
        assert "->" not in capsys.readouterr().out

    def test_options_for_dicom(self, tmp_path, capsys):
        path = saved(image_of(exams.small_cine()), tmp_path / "c.nii")
        assert main(["inspect", str(path), "--series", "1.2"]) == 2
        assert "has no series" in capsys.readouterr().err
