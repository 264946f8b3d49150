"""What plain viewers of archives show: the report as Encapsulated PDF, and pictures as Secondary Capture."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

import filed
import pdf_content
from checkers import dciodvfy
from cinesax.analyze import analyze
from cinesax.cli.main import main
from cinesax.core.analysis import Analysis
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.measurements import WallThickness
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


def test_the_pdf_holds_numbers_findings_and_the_patient(analysis: Analysis, out: Path) -> None:
    text = pdf_content.text(pdf_in(out / PDF_NAME))
    m = analysis.measurements
    said = " ".join(text.split())
    assert f"Ejection fraction {m.ef_percent:.1f} %" in said
    assert f"End-diastolic volume {m.edv_ml:.0f} ml" in said
    assert str(analysis.cine.patient.patient_id) in said
    pages = text.rstrip("\f").count("\f") + 1
    assert pages >= 2 and text.count("For research use; not a medical device.") >= pages
    for finding in analysis.findings:
        assert finding.message[:30] in said


def test_the_pdf_says_who_approved_it_and_names_the_contours(analysis: Analysis) -> None:
    from cinesax.results.pdf import report_pdf

    assert "No person has approved it" in pdf_content.text(report_pdf(analysis, []))
    approval = Approval("A. Reader", "2026-05-01T10:30:00Z", "", 2, "Clinic")
    said = " ".join(pdf_content.text(report_pdf(replace(analysis, approval=approval), [])).split())
    assert "No person" not in said and "Approved by A. Reader (Clinic), 2026-05-01 10:30 UTC, version 2" in said
    sheet = contact_sheet(analysis, analysis.measurements.ed_phase or 0, "End diastole")
    for structure in (Structure.CAVITY, Structure.MYOCARDIUM):
        assert np.all(sheet[:60] == structure.facts.line_rgb, axis=2).any(), "the legend lacks a colour"


def test_a_chamber_that_the_network_was_not_validated_for_is_marked(analysis: Analysis) -> None:
    from cinesax.results.pdf import report_pdf

    doubt = Finding(Code.NOT_VALIDATED, Severity.WARNING, "not validated", numbers={"rv_cavity": 3, "myocardium": 2})
    right = replace(analysis.measurements, chamber=RV)
    both = replace(analysis.measurements, others=(right,))
    marked = replace(analysis, measurements=both, findings=(*analysis.findings, doubt))
    for text in (" ".join(pdf_content.text(report_pdf(marked, [])).split()), render(marked)):
        assert "Right ventricle (not validated)" in text and "Myocardial mass at ED (not validated)" in text
    assert "not validated)" not in render(replace(analysis, measurements=both))


def test_the_pdf_draws_the_curve_of_the_rv_and_the_thickness_of_the_wall(analysis: Analysis) -> None:
    """As report.html does, and only where they are known."""
    from cinesax.results.pdf import report_pdf

    m = analysis.measurements
    assert m.volumes_ml is not None
    late = np.where(np.arange(10) == 4, np.nan, 2 * m.volumes_ml)
    segments = np.array([7.6, *range(5, 19), np.nan])
    right = replace(m, chamber=RV, volumes_ml=late)
    both = replace(m, others=(right,), wall_thickness=WallThickness(segments, (1, 2, 3, 4)))
    shown = report_pdf(replace(analysis, measurements=both), [])
    said = pdf_content.text(shown).split("\n")
    assert "Solid: left ventricle; dashed: right ventricle." in " ".join(said)
    # The axis reaches up to the larger chamber: 32 ml instead of 16.
    assert "30" in said and "30" not in pdf_content.text(report_pdf(analysis, [])).split("\n")
    first = pdf_content.pages(shown)[0]
    # The phase that is not known breaks the line in two.
    dashed = [line for line in re.findall(rb"\[([\d. ]*)\] 0 d", first) if line.strip()]
    assert len(dashed) == 2
    at = said.index("Wall thickness")
    assert {"8", *map(str, range(5, 19))} <= set(said[at:])
    assert "anterior at the top, septum at the left, apex in the middle). Not validated." in " ".join(said)
    bare = pdf_content.text(report_pdf(analysis, []))
    assert "Wall thickness" not in bare and "dashed" not in bare


def test_the_curve_names_no_line_of_a_chamber_that_is_known_at_ed_and_es_alone(analysis: Analysis) -> None:
    from cinesax.results.pdf import report_pdf

    m = analysis.measurements
    assert m.volumes_ml is not None
    alone = replace(m, chamber=RV, volumes_ml=np.where(np.isin(np.arange(10), [0, 4]), m.volumes_ml, np.nan))
    for right in (alone, replace(alone, volumes_ml=None)):
        both = replace(analysis, measurements=replace(m, others=(right,)))
        for text in (pdf_content.text(report_pdf(both, [])), render(both)):
            assert "Right ventricle" in text and "dashed:" not in text


def test_foreign_texts_are_no_markup_and_foreign_letters_no_error(analysis: Analysis) -> None:
    from cinesax.results.pdf import report_pdf

    source = replace(analysis.cine.source, description="<b>SAX & <unknown a='1'>", protocol="短軸 кино")
    patient = replace(analysis.cine.patient, name="山田^太郎")
    strange = replace(analysis, cine=replace(analysis.cine, source=source, patient=patient))
    text = pdf_content.text(report_pdf(strange, []))
    assert "<b>SAX & <unknown a='1'>" in text
    assert "??^??" not in text.splitlines()[0], "a name in question marks could be anybody's"


def test_an_exam_of_hundreds_of_series_without_a_ventricle_has_a_report(analysis: Analysis) -> None:
    from cinesax.results.pdf import report_pdf

    others = tuple((f"series {number} of the exam", "one phase in three orientations") for number in range(400))
    cine = replace(analysis.cine, source=replace(analysis.cine.source, not_picked=others))
    labels = np.zeros_like(analysis.segmentation.labels)
    empty = analyze(cine, segmentation=replace(analysis.segmentation, contours=None, labels=labels))
    text = " ".join(pdf_content.text(report_pdf(empty, [])).split())
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
