"""Who the patient is stays out of all that is shared, however messages are worded, and stays in the DICOM objects."""

import gzip
import json
import pickle
import zipfile
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR

import cinesax
import exams
import hearts
from cinesax.cli.main import main
from cinesax.core import findings
from cinesax.core.cine import Patient, Source, StoredFile
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.segmentation import Outline, Segmentation, from_contours
from cinesax.dicom.write.options import DicomOptions
from cinesax.formats.contours import write_contours
from cinesax.results import html, summary, tables
from cinesax.results.privacy import pseudonymise

# No part of these comes about by chance in numbers or in pictures that are written as text.
NAME, PATIENT_ID = "QUAXENBÜHLER^ZWENIMIR^DR", "QX-9081726354"
STUDY_UID = "1.2.826.0.1.3680043.9.7433.77001.88002"
FRAME_OF_REFERENCE_UID = "1.2.826.0.1.3680043.9.7433.77001.99003"
OTHER_NAME, OTHER_ID, ACCESSION, ADMISSION = "VORMALIG^ANNEGRET", "ALT-5550123", "ACC8837261", "ADM-6637281"
SECRETS = (
    *("quaxenb", "zwenimir", "9081726354", "vormalig", "annegret", "5550123", "8837261", "6637281"),
    *("19310927", "1931-09-27", "27.09.1931", "20170613", "2017-06-13", "13.06.2017"),
    *(STUDY_UID, FRAME_OF_REFERENCE_UID, "7433.77001"),
)
TYPED = (
    f"{NAME} Zwenimir Quaxenbuehler {PATIENT_ID} QX9081726354 1931-09-27 27.09.1931 2017-06-13 13.06.2017 20170613 "
    f"{STUDY_UID} {OTHER_NAME} {OTHER_ID} {ACCESSION} {ADMISSION} D:/Quaxenbuehler_Zwenimir/19310927"
)
# Attributes in which people, consoles and archives write what they like; the patient's own come from the exam.
TEXTS = (
    *("SeriesDescription", "ProtocolName", "SequenceName", "StudyDescription", "ImageComments", "PatientComments"),
    *("Manufacturer", "ManufacturerModelName", "InstitutionName", "InstitutionAddress", "StationName"),
    *("OperatorsName", "PerformingPhysicianName", "ReferringPhysicianName", "PatientAddress", "DeviceSerialNumber"),
    *("AdditionalPatientHistory", "Occupation", "RequestedProcedureDescription", "PerformedProcedureStepDescription"),
    *("AdmittingDiagnosesDescription", "ReasonForVisit", "DerivationDescription", "InstitutionalDepartmentName"),
)


def spoil(files: list[Path], **more: object) -> None:
    """Write who the patient is into every text of the headers."""
    texts = {name: NAME if dictionary_VR(name) == "PN" else TYPED for name in TEXTS}
    texts["SeriesDescription"], texts["ProtocolName"] = f"SAX cine {TYPED}", f"TrueFISP {TYPED}"
    with pydicom.config.disable_value_validation():
        for path in files:
            dataset = pydicom.dcmread(path)
            # Texts longer than the standard allows are written by consoles, too.
            for name, value in {**texts, **more}.items():
                setattr(dataset, name, value)
            dataset.SpecificCharacterSet = "ISO_IR 192"
            dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = "20170613"
            dataset.AccessionNumber, dataset.AdmissionID = ACCESSION, ADMISSION
            dataset.OtherPatientIDs, dataset.OtherPatientNames = OTHER_ID, OTHER_NAME
            dataset.save_as(path)


def exam_of_a_patient(root: Path) -> Path:
    """An exam with findings of many kinds, whose every text and file name tells who the patient is."""
    folder = root / "Quaxenbuehler, Zwenimir 19310927" / PATIENT_ID
    named = Patient(NAME, PATIENT_ID, "19310927", "M", age_years=96, height_cm=171.0, weight_kg=64.0)
    origin = {"study_uid": STUDY_UID, "frame_of_reference_uid": FRAME_OF_REFERENCE_UID}
    cine = exams.small_cine()
    cine = replace(cine, patient=named, source=replace(cine.source, series_uids=(f"{STUDY_UID}.5",), **origin))
    files = exams.write_exam(folder / "cine Zwenimir", cine)
    other = exams.small_cine(phases=3, patient=named)
    other = replace(other, source=replace(other.source, series_uids=(f"{STUDY_UID}.6",), **origin))
    second = exams.write_exam(folder / "again", other)
    spoil(files)
    spoil(second, SeriesNumber=9, SeriesInstanceUID=f"{STUDY_UID}.6", SeriesDescription=f"repeat {TYPED}")
    exams.edit(files, SliceLocation=lambda dataset: 2.0 * ((int(dataset.InstanceNumber) - 1) // exams.PHASES))
    renamed = [path.rename(path.with_name(f"Quaxenbuehler_{PATIENT_ID}_{path.name}")) for path in files]
    # Files that cannot be read, with the patient in their names.
    damaged = folder / "Zwenimir QX-9081726354 20170613.dcm"
    damaged.write_bytes(renamed[0].read_bytes()[:140])
    (folder / "not an image of Quaxenbuehler.dcm").write_text(TYPED)
    return folder.parent


def segmentation_of(cine: cinesax.Cine) -> Segmentation:
    """A square cavity in every frame but for one gap, made by somebody who names the patient."""
    square = np.array([[6.0, 5], [14, 5], [14, 13], [6, 13]])
    outlines = {
        (Outline.ENDOCARDIUM, phase, index): (square + phase / 4,)
        for phase in range(cine.n_phases)
        for index in range(cine.n_slices)
        if (phase, index) != (1, 2)
    }
    from_elsewhere = Finding(Code.REMOVED_REGION, Severity.NOTE, f"one region of {TYPED}", files=(f"/data/{NAME}.nii",))
    drawn = from_contours(outlines, cine.pixels.shape, author=f"station of {TYPED}")
    return replace(drawn, findings=(from_elsewhere,))


@pytest.fixture(scope="module", autouse=True)
def worst_wording() -> Iterator[None]:
    """Messages of another version, which say all that a finding holds."""

    def reworded(finding: Finding) -> str:
        return f"in other words {dict(finding.numbers)} {finding.files} {dict(finding.texts)} {finding.sentence!r}"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(findings, "worded", reworded)
        yield


@pytest.fixture(scope="module")
def exam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exam_of_a_patient(tmp_path_factory.mktemp("exam"))


@pytest.fixture(scope="module")
def analysis(exam: Path) -> cinesax.Analysis:
    cine = cinesax.open_cine(exam)
    return cinesax.analyze(cine, segmentation=segmentation_of(cine))


def contents(out: Path) -> Iterator[tuple[str, str]]:
    """Name and content, as text, of every file that is shared."""
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.is_file() and path.suffix != ".dcm":
            content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            # A header of NIfTI or gzip may hold text in any encoding.
            yield name, f"{name}\n{content.decode('utf-8', 'ignore')}\n{path.read_bytes().decode('latin-1')}"


def leaks(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret in text.lower()]


def test_nothing_that_is_shared_tells_who_the_patient_is(analysis: cinesax.Analysis, tmp_path: Path) -> None:
    out = cinesax.write_results(analysis, tmp_path / "out", dicom=DicomOptions(rtstruct=True))
    written = dict(contents(out))
    assert {"analysis.json", "report.html", "measurements.csv", "segmentation.nii.gz"} < set(written)
    assert sum(name.startswith("contours/") for name in written) == exams.PHASES * exams.SLICES
    assert {name: leaks(text) for name, text in written.items() if leaks(text)} == {}
    document = json.loads((out / "analysis.json").read_text(encoding="utf-8"))
    assert document["case"] == analysis.case and document["patient"] == {"sex": "M", "age_years": 90.0}
    assert document["series"]["description"].startswith("SAX cine") and document["series"]["not_picked"]
    assert len({finding["code"] for finding in document["findings"]}) >= 5
    assert all(finding["message"].startswith("in other words") for finding in document["findings"])
    assert [finding["numbers"] for finding in document["findings"] if finding["code"] == "unreadable-file"] == [
        {"unreadable": 2}
    ]


def test_the_same_outputs_tell_it_when_asked_to(analysis: cinesax.Analysis, tmp_path: Path) -> None:
    """Shows that the test above would see a leak: each secret is in these."""
    out = cinesax.write_results(analysis, tmp_path / "out", show_patient=True)
    written = dict(contents(out))
    assert leaks(written["analysis.json"]) == [*(one for one in SECRETS if one != FRAME_OF_REFERENCE_UID)]
    assert {"quaxenb", "zwenimir", "9081726354", "20170613"} <= set(leaks(written["report.html"]))
    assert leaks(written["measurements.csv"]) == leaks(written["segmentation.nii.gz"]) == []
    document = json.loads((out / "analysis.json").read_text(encoding="utf-8"))
    (unreadable,) = [finding for finding in document["findings"] if finding["code"] == "unreadable-file"]
    assert len(unreadable["files"]) == 2 and all(leaks(name) for name in unreadable["files"])


def test_dicom_objects_keep_patient_and_study(
    analysis: cinesax.Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = cinesax.write_results(analysis, tmp_path / "out", dicom=DicomOptions(rtstruct=True))
    uids = [uid for phase in analysis.cine.source.instance_uids for uid in phase]
    objects = [pydicom.dcmread(path) for path in sorted(out.glob("*.dcm"))]
    assert {one.Modality for one in objects} == {"SEG", "SR", "RTSTRUCT", "DOC"}
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.IGNORE)
    for one in objects:
        assert (one.PatientName, one.PatientID, one.PatientBirthDate) == (NAME, PATIENT_ID, "19310927")
        assert (one.StudyInstanceUID, one.StudyDate, one.AccessionNumber) == (STUDY_UID, "20170613", ACCESSION)
        assert (one.OtherPatientIDs, one.OtherPatientNames, one.AdmissionID) == (OTHER_ID, OTHER_NAME, ADMISSION)
        assert one.PatientComments == one.StudyDescription == TYPED and one.PatientAge == "096Y"
        held = str(one)
        assert any(uid in held for uid in uids) and (f"{STUDY_UID}.5" in held or one.Modality == "DOC")


def test_standard_output_keeps_to_the_same_rule(
    analysis: cinesax.Analysis, exam: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_contours(analysis.segmentation, analysis.cine, tmp_path)
    command = ["analyze", str(exam), "--segmentation", str(tmp_path)]
    for options in (["--format", "table"], ["--format", "json"], ["--format", "table", "--show-patient"]):
        assert main([*command, *options]) == 0
        assert bool(leaks(capsys.readouterr().out)) is ("--show-patient" in options)


def test_an_exam_in_a_zip_or_in_nifti(exam: Path, tmp_path: Path) -> None:
    packed = tmp_path / f"{PATIENT_ID}.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in exam.rglob("*"):
            archive.write(path, path.relative_to(exam))
    cine = cinesax.open_cine(packed)
    made = cinesax.analyze(cine, segmentation=segmentation_of(cine))
    out = cinesax.write_results(made, tmp_path / "of the zip")
    assert {name: leaks(text) for name, text in contents(out) if leaks(text)} == {}
    named = tmp_path / "Quaxenbuehler 19310927" / f"{PATIENT_ID}.nii.gz"
    named.parent.mkdir()
    (out / "segmentation.nii.gz").rename(named)
    cine = cinesax.open_cine(named)
    out = cinesax.write_results(cinesax.analyze(cine, segmentation=named), tmp_path / "of NIfTI")
    assert {name: leaks(text) for name, text in contents(out) if leaks(text)} == {}


def test_numbers_pixels_and_case_stay(analysis: cinesax.Analysis) -> None:
    hidden = pseudonymise(analysis)
    assert hidden.pseudonym == hidden.case == analysis.case and analysis.pseudonym is None
    assert hidden.measurements is analysis.measurements
    assert np.shares_memory(hidden.cine.pixels, analysis.cine.pixels) and hidden.cine.grid is analysis.cine.grid
    np.testing.assert_array_equal(hidden.segmentation.labels, analysis.segmentation.labels)
    assert [(one.code, one.severity, one.phase, one.slice, one.numbers) for one in hidden.findings] == [
        (one.code, one.severity, one.phase, one.slice, one.numbers) for one in analysis.findings
    ]
    assert pseudonymise(hidden) is hidden and cinesax.pseudonymise is pseudonymise
    assert leaks(pickle.dumps(hidden).decode("latin-1")) == [] != leaks(pickle.dumps(analysis).decode("latin-1"))
    assert leaks(repr([hidden.cine.source, hidden.cine.patient, hidden.findings, hidden.cine.findings])) == []
    assert leaks(repr([hidden.segmentation.author, hidden.segmentation.findings])) == []


def test_the_writers_know_nothing_of_the_choice() -> None:
    for write in (tables.document, tables.to_json, tables.to_csv, html.render, summary.what_was_read):
        assert "show_patient" not in write.__code__.co_varnames


def test_a_field_that_is_added_to_the_source_is_left_out_until_somebody_decides() -> None:
    values = {
        field.name: {str | None: "x", float | None: 1.5, bytes: b""}.get(field.type, ((1, 1),))
        for field in fields(Source)
    }
    values |= {"kind": "dicom", "not_picked": (("x", "y"),), "files": ((StoredFile(Path("x")),),), "study_uid": "1.2"}
    made = cinesax.analyze(hearts.cine(source=Source(**values)), segmentation=hearts.labels())
    kept = pseudonymise(made).cine.source
    assert {field.name for field in fields(Source) if getattr(kept, field.name) == values[field.name]} - {"copied"} == {
        *("kind", "frame_numbers", "sop_class_uid", "instance_numbers", "paddings_px", "stored_matrices"),
        *("description", "manufacturer", "scanner", "field_strength_t", "slice_thickness_mm", "protocol"),
        *("picked_because", "not_picked", "stored_axes"),
    }


def test_a_manual_segmentation_stays_manual_whatever_the_patient_is_called() -> None:
    drawn = replace(hearts.labels(), author="manual")
    patient = Patient(name="Manual^Maria")
    made = pseudonymise(cinesax.analyze(hearts.cine(patient=patient), segmentation=drawn))
    assert made.segmentation is drawn
