"""What plain viewers of archives show: the report as Encapsulated PDF, and pictures as Secondary Capture."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

import filed
from checkers import dciodvfy
from cinesax.analyze import analyze
from cinesax.cli.main import main
from cinesax.core.analysis import Analysis
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.origins import Approval
from cinesax.core.structures import RV, Structure
from cinesax.dicom.write.options import CAPTURE_ED_NAME, CAPTURE_ES_NAME, PDF_NAME, SR_NAME, DicomOptions
from cinesax.results.html import render
from cinesax.results.pictures import contact_sheet
from cinesax.results.write import write_results


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return filed.analysis(tmp_path_factory.mktemp("exam"))


@pytest.fixture(scope="module")
def out(analysis: Analysis, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results") / "out"
    return write_results(analysis, folder, dicom=DicomOptions(captures=True))


def text_of(pdf: bytes, tmp_path: Path) -> str:
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext is absent: install the Debian package poppler-utils")
    (tmp_path / "report.pdf").write_bytes(pdf)
    command = ["pdftotext", "-layout", str(tmp_path / "report.pdf"), "-"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def pdf_in(path: Path) -> bytes:
    held = pydicom.dcmread(path)
    return bytes(held.EncapsulatedDocument[: held.EncapsulatedDocumentLength])


@pytest.mark.parametrize(
    ("name", "kind"), [(PDF_NAME, "EncapsulatedPDF"), (CAPTURE_ED_NAME, "SCImage"), (CAPTURE_ES_NAME, "SCImage")]
)
def test_they_are_valid_and_filed_as_the_report_is(out: Path, name: str, kind: str) -> None:
    assert dciodvfy(out / name, kind=kind) == []
    made, report = pydicom.dcmread(out / name), pydicom.dcmread(out / SR_NAME)
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "StudyDate", "AccessionNumber", "ContentDate"):
        assert made.get(keyword) == report.get(keyword), keyword
    assert made.SeriesInstanceUID != report.SeriesInstanceUID


def test_the_pdf_holds_numbers_findings_and_the_patient(analysis: Analysis, out: Path, tmp_path: Path) -> None:
    text = text_of(pdf_in(out / PDF_NAME), tmp_path)
    m = analysis.measurements
    said = " ".join(text.split())
    assert f"Ejection fraction {m.ef_percent:.1f} %" in said
    assert f"End-diastolic volume {m.edv_ml:.0f} ml" in said
    assert str(analysis.cine.patient.patient_id) in said
    pages = text.rstrip("\f").count("\f") + 1
    assert pages >= 2 and text.count("For research use; not a medical device.") >= pages
    for finding in analysis.findings:
        assert finding.message[:30] in said


def test_the_pdf_says_who_approved_it_and_names_the_contours(analysis: Analysis, tmp_path: Path) -> None:
    from cinesax.results.pdf import report_pdf

    assert "No person has approved it" in text_of(report_pdf(analysis, []), tmp_path)
    approval = Approval("A. Reader", "2026-05-01T10:30:00Z", "", 2, "Clinic")
    said = " ".join(text_of(report_pdf(replace(analysis, approval=approval), []), tmp_path).split())
    assert "No person" not in said and "Approved by A. Reader (Clinic), 2026-05-01 10:30 UTC, version 2" in said
    sheet = contact_sheet(analysis, analysis.measurements.ed_phase or 0, "End diastole")
    for structure in (Structure.CAVITY, Structure.MYOCARDIUM):
        assert np.all(sheet[:60] == structure.facts.line_rgb, axis=2).any(), "the legend lacks a colour"


def test_a_chamber_that_the_network_was_not_validated_for_is_marked(analysis: Analysis, tmp_path: Path) -> None:
    from cinesax.results.pdf import report_pdf

    doubt = Finding(Code.NOT_VALIDATED, Severity.WARNING, "not validated", numbers={"rv_cavity": 3, "myocardium": 2})
    right = replace(analysis.measurements, chamber=RV)
    both = replace(analysis.measurements, others=(right,))
    marked = replace(analysis, measurements=both, findings=(*analysis.findings, doubt))
    for text in (" ".join(text_of(report_pdf(marked, []), tmp_path).split()), render(marked)):
        assert "Right ventricle (not validated)" in text and "Myocardial mass at ED (not validated)" in text
    assert "not validated)" not in render(replace(analysis, measurements=both))


def test_foreign_texts_are_no_markup_and_foreign_letters_no_error(analysis: Analysis, tmp_path: Path) -> None:
    from cinesax.results.pdf import report_pdf

    source = replace(analysis.cine.source, description="<b>SAX & <unknown a='1'>", protocol="短軸 кино")
    patient = replace(analysis.cine.patient, name="山田^太郎")
    strange = replace(analysis, cine=replace(analysis.cine, source=source, patient=patient))
    text = text_of(report_pdf(strange, []), tmp_path)
    assert "<b>SAX & <unknown a='1'>" in text
    assert "??^??" not in text.splitlines()[0], "a name in question marks could be anybody's"


def test_an_exam_of_hundreds_of_series_without_a_ventricle_has_a_report(analysis: Analysis, tmp_path: Path) -> None:
    from cinesax.results.pdf import report_pdf

    others = tuple((f"series {number} of the exam", "one phase in three orientations") for number in range(400))
    cine = replace(analysis.cine, source=replace(analysis.cine.source, not_picked=others))
    labels = np.zeros_like(analysis.segmentation.labels)
    empty = analyze(cine, segmentation=replace(analysis.segmentation, contours=None, labels=labels))
    text = " ".join(text_of(report_pdf(empty, []), tmp_path).split())
    assert "not known: no cavity found" in text and "series 3 of the exam" in text


def test_a_capture_shows_the_frames_and_contours_of_its_phase(analysis: Analysis, out: Path) -> None:
    m = analysis.measurements
    for name, phase, title in (
        (CAPTURE_ED_NAME, m.ed_phase, "End diastole"),
        (CAPTURE_ES_NAME, m.es_phase, "End systole"),
    ):
        held = pydicom.dcmread(out / name)
        np.testing.assert_array_equal(held.pixel_array, contact_sheet(analysis, phase, title))
        assert [item.ReferencedSOPInstanceUID for item in held.SourceImageSequence] == list(
            analysis.cine.source.instance_uids[phase]
        )
        drawn = np.all(np.abs(held.pixel_array.astype(int) - Structure.CAVITY.facts.line_rgb) < 40, axis=2)
        assert drawn.sum() > 1000
    without = replace(analysis.segmentation, contours=None, labels=np.zeros_like(analysis.segmentation.labels))
    bare = contact_sheet(replace(analysis, segmentation=without), m.ed_phase, "End diastole")
    assert not np.any(np.all(np.abs(bare.astype(int) - Structure.CAVITY.facts.line_rgb) < 40, axis=2))


def test_the_same_analysis_gives_the_same_bytes_and_pictures_come_on_request(
    analysis: Analysis, out: Path, tmp_path: Path
) -> None:
    again = write_results(analysis, tmp_path / "again", dicom=DicomOptions())
    assert (again / PDF_NAME).read_bytes() == (out / PDF_NAME).read_bytes()
    assert not (again / CAPTURE_ED_NAME).exists()


def test_without_the_extra_the_rest_is_written_and_a_line_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = filed.analysis(tmp_path / "exam")
    labels = write_results(made, tmp_path / "first") / "segmentation.nii.gz"
    monkeypatch.setitem(sys.modules, "reportlab", None)
    command = ["analyze", str(tmp_path / "exam"), "--segmentation", str(labels), "-o", str(tmp_path / "out"), "--dicom"]
    assert main([*command, "--secondary-captures"]) == 0
    assert f"{PDF_NAME} was not written: it needs ReportLab; install the extra" in capsys.readouterr().err
    names = {path.name for path in (tmp_path / "out").glob("*.dcm")}
    assert PDF_NAME not in names and {SR_NAME, CAPTURE_ED_NAME, CAPTURE_ES_NAME} <= names


def test_captures_are_an_option_of_dicom(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", str(tmp_path), "-o", str(tmp_path / "out"), "--secondary-captures"]) == 2
    assert "give --dicom too" in capsys.readouterr().err
