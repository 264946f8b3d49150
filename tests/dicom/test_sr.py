"""DICOM SR: what is in it, what is not, and what other programs say of it."""

import json
import re
import shutil
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from highdicom.sr import srread
from pydicom.dataset import Dataset

import filed
from checkers import dciodvfy, dsr2html
from cinesax.analyze import analyze
from cinesax.cli.main import main
from cinesax.core.analysis import Analysis, Reason, Trust
from cinesax.core.errors import OutputError
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import RV, Structure
from cinesax.dicom.write.filing import file_under, to_bytes
from cinesax.dicom.write.options import RTSTRUCT_NAME, SR_NAME, DicomOptions
from cinesax.dicom.write.seg import seg_datasets
from cinesax.dicom.write.sr import prove_sr, sr_dataset
from cinesax.inputs import open_cine
from cinesax.results.write import write_results

# (code, coding scheme): meaning and unit, as PS3.16 has them (CID 3468, 3469, 3833, 3835, 12203, 12204).
NUMBERS = {
    ("8821-1", "LN"): ("Left Ventricular ED Volume", "ml"),
    ("8823-7", "LN"): ("Left Ventricular ES Volume", "ml"),
    ("90096001", "SCT"): ("Stroke Volume", "ml"),
    ("8811-2", "LN"): ("Left ventricular ejection fraction by MR", "%"),
    ("82799009", "SCT"): ("Cardiac Output", "l/min"),
    ("18087-7", "LN"): ("Left Ventricle Mass", "g"),
    ("8867-4", "LN"): ("Heart rate", "{H.B.}/min"),
    ("8822-9", "LN"): ("Right Ventricular ED Volume", "ml"),
    ("8824-5", "LN"): ("Right Ventricular ES Volume", "ml"),
    ("429483009", "SCT"): ("RV Stroke Volume", "ml"),
    ("8818-7", "LN"): ("Right ventricular ejection fraction by MR", "%"),
    ("428628004", "SCT"): ("RV Cardiac Output", "l/min"),
}


def descendants(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", ()):
        yield child
        yield from descendants(child)


def code(item: Dataset, keyword: str = "ConceptNameCodeSequence") -> tuple[str, str]:
    coded = item[keyword].value[0]
    return coded.CodeValue, coded.CodingSchemeDesignator


def numbers(report: Dataset) -> dict[str, tuple[float, str]]:
    """LOINC or SNOMED code -> (value, unit)."""
    values = {}
    for item in descendants(report):
        if item.ValueType == "NUM":
            value = item.MeasuredValueSequence[0]
            meaning = item.ConceptNameCodeSequence[0].CodeMeaning
            unit = value.MeasurementUnitsCodeSequence[0]
            assert (meaning, unit.CodeValue) == NUMBERS[code(item)] and unit.CodingSchemeDesignator == "UCUM"
            assert float(value.NumericValue) == float(value.FloatingPointValue)
            values[code(item)[0]] = float(value.NumericValue), unit.CodeValue
    return values


def groups(report: Dataset) -> dict[str, Dataset]:
    """Tracking identifier -> measurement group."""
    values = {}
    for item in descendants(report):
        if code(item) == ("125007", "DCM"):
            name = next(one.TextValue for one in item.ContentSequence if code(one) == ("112039", "DCM"))
            values[name] = item
    return values


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    trust = Trust(0.913, 4.2, 68.5, 81.5, 0.9, 1.3, (Reason.UNLIKE, Reason.BORDER), 70)
    return replace(filed.analysis(tmp_path_factory.mktemp("exam")), trust=trust)


@pytest.fixture(scope="module")
def out(squares: Analysis, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_results(squares, tmp_path_factory.mktemp("results") / "out", dicom=DicomOptions())


@pytest.fixture(scope="module")
def report(out: Path) -> Dataset:
    return pydicom.dcmread(out / SR_NAME)


def test_every_number_is_there_with_its_code_and_unit_as_in_the_json(report: Dataset, out: Path) -> None:
    m = json.loads((out / "analysis.json").read_text())["measurements"]
    assert m["edv_ml"] == 16 and m["esv_ml"] == 4  # 4 slices of 400 and 100 mm2, 10 mm apart
    assert numbers(report) == {
        "8821-1": (m["edv_ml"], "ml"),
        "8823-7": (m["esv_ml"], "ml"),
        "90096001": (m["sv_ml"], "ml"),
        "8811-2": (m["ef_percent"], "%"),
        "82799009": (m["cardiac_output_l_per_min"], "l/min"),
        "18087-7": (m["lv_mass_g"], "g"),
        "8867-4": (m["heart_rate_bpm"], "{H.B.}/min"),
    }


def test_volumes_stand_in_groups_that_refer_to_their_segment_and_source(report: Dataset, out: Path) -> None:
    for name, file, number, structure, phase in (
        ("LV cavity, end diastole", "seg_ed.dcm", "8821-1", "87878005", 0),
        ("LV cavity, end systole", "seg_es.dcm", "8823-7", "87878005", 3),
        ("LV myocardium, end diastole", "seg_ed.dcm", "18087-7", "49848007", 0),
    ):
        group, seg = groups(report)[name], pydicom.dcmread(out / file)
        assert group.ContentTemplateSequence[0].TemplateIdentifier == "1411"
        assert [code(one)[0] for one in group.ContentSequence if one.ValueType == "NUM"] == [number]
        referred = next(one for one in group.ContentSequence if code(one) == ("121191", "DCM")).ReferencedSOPSequence[0]
        assert referred.ReferencedSOPInstanceUID == seg.SOPInstanceUID
        segment = seg.SegmentSequence[referred.ReferencedSegmentNumber - 1]
        assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == structure
        tracked = next(one.UID for one in group.ContentSequence if code(one) == ("112040", "DCM"))
        assert tracked == segment.TrackingUID
        sources = [one for one in group.ContentSequence if code(one) == ("121233", "DCM")]
        uids = {one.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for one in sources}
        exam = [row for row in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence]
        assert len(uids) == 4 and uids < {one.ReferencedSOPInstanceUID for one in exam}, (name, phase)


def test_what_to_expect_of_the_network_stands_in_words_among_the_qualitative_evaluations(report: Dataset) -> None:
    group = groups(report)["LV function"]
    (text,) = [
        item for item in group.ContentSequence if item.ValueType == "TEXT" and item.RelationshipType == "CONTAINS"
    ]
    assert code(text) == ("121106", "DCM")
    assert text.TextValue == (
        "predicted Dice of the LV cavity 0.91; EF 68 to 82 % (90 % interval); "
        "the images are unlike those of the calibration and the border of the cavity is not sharp"
    )


def test_function_stands_in_a_group_of_its_own_with_the_left_ventricle_as_site(report: Dataset) -> None:
    group = groups(report)["LV function"]
    assert group.ContentTemplateSequence[0].TemplateIdentifier == "1501"
    values = [code(one)[0] for one in group.ContentSequence if one.ValueType == "NUM"]
    assert values == ["90096001", "8811-2", "82799009", "8867-4"]
    site = next(one for one in group.ContentSequence if code(one) == ("363698007", "SCT"))
    assert code(site, "ConceptCodeSequence") == ("87878005", "SCT")


def test_every_group_says_that_papillary_muscles_are_included_and_by_which_algorithm(report: Dataset) -> None:
    assert len(groups(report)) == 4
    for group in groups(report).values():
        said = next(one for one in group.ContentSequence if code(one) == ("122670", "DCM"))
        assert code(said, "ConceptCodeSequence") == ("122621", "DCM")
        texts = [one.TextValue for one in group.ContentSequence if one.ValueType == "TEXT"]
        assert "cinesax, summation of slices" in texts and "segmentation: a network 1" in texts


def test_it_is_preliminary_unverified_and_observed_by_a_device(report: Dataset) -> None:
    assert report.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.33" and report.Modality == "SR"
    assert (report.PreliminaryFlag, report.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    top = {code(one): one for one in report.ContentSequence}
    assert code(top["121005", "DCM"], "ConceptCodeSequence") == ("121007", "DCM")  # observer type: device
    assert top["121013", "DCM"].TextValue == "cinesax"


def test_papillary_muscles_can_be_said_to_be_excluded(squares: Analysis) -> None:
    without = replace(squares.segmentation, papillary_muscles_included=False)
    squares = replace(squares, segmentation=without)
    filing = file_under(squares)
    segs = seg_datasets(squares, filing)
    made = sr_dataset(squares, filing, segs)
    assert made is not None
    labels = {segment.SegmentLabel for seg in segs.values() for segment in seg.SegmentSequence}
    assert labels == {"LV cavity, papillary muscles excluded", "LV myocardium"}
    said = [code(one, "ConceptCodeSequence")[0] for one in descendants(made) if code(one) == ("122670", "DCM")]
    assert set(said) == {"122620"}


def test_what_was_not_measured_is_not_in_it(tmp_path: Path) -> None:
    whole = filed.stored(tmp_path / "exam")
    cavity_only = filed.squares(myocardium=False)
    without_beat = replace(whole, rr_intervals_ms=None)
    report = filed.written(analyze(without_beat, segmentation=cavity_only), tmp_path / "out")[SR_NAME]
    assert set(numbers(report)) == {"8821-1", "8823-7", "90096001", "8811-2"}
    assert len(groups(report)) == 3


def test_where_nothing_was_measured_there_is_no_report(tmp_path: Path) -> None:
    whole = replace(filed.stored(tmp_path / "exam"), rr_intervals_ms=None)
    nothing = filed.squares(myocardium=False, sides=[])
    empty = replace(
        nothing,
        labels=np.zeros(whole.pixels.shape, np.uint8),
        known_phases={k: np.ones(10, bool) for k in nothing.known_phases},
    )
    objects = filed.written(analyze(whole, segmentation=empty), tmp_path / "out")
    assert "seg_cine.dcm" in objects and SR_NAME not in objects


def test_highdicom_reads_it_as_a_measurement_report(out: Path) -> None:
    read = srread(out / SR_NAME).content
    assert len(read.get_volumetric_roi_measurement_groups()) == 3
    assert len(read.get_image_measurement_groups()) == 1


def test_the_same_analysis_gives_the_same_bytes_and_another_another_uid(squares: Analysis, tmp_path: Path) -> None:
    def made(of: Analysis) -> Dataset:
        filing = file_under(of)
        report = sr_dataset(of, filing, seg_datasets(of, filing))
        assert report is not None
        return report

    first = made(squares)
    time.sleep(1.1)  # the clock must not be in it
    assert to_bytes(made(squares)) == to_bytes(first)
    other = analyze(squares.cine, segmentation=filed.squares(sides=[*filed.CAVITY_SIDES[:-1], 19]))
    assert made(other).SOPInstanceUID != first.SOPInstanceUID


@pytest.mark.parametrize("spoil", ["number", "missing", "segment", "cut"])
def test_a_report_that_says_something_else_is_not_kept(
    squares: Analysis, out: Path, tmp_path: Path, spoil: str
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(out, folder)
    path = folder / SR_NAME
    prove_sr(path, squares)
    report = pydicom.dcmread(path)
    items = list(descendants(report))
    if spoil == "number":
        next(one for one in items if one.ValueType == "NUM").MeasuredValueSequence[0].NumericValue = "17"
    elif spoil == "missing":
        items_of_group = groups(report)["LV function"].ContentSequence
        del items_of_group[max(place for place, one in enumerate(items_of_group) if one.ValueType == "NUM")]
    elif spoil == "segment":
        next(one for one in items if code(one) == ("121191", "DCM")).ReferencedSOPSequence[
            0
        ].ReferencedSegmentNumber = 7
    report.save_as(path)
    if spoil == "cut":
        path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(OutputError, match="was read back and differs from what was intended"):
        prove_sr(path, squares)


def test_the_validator_finds_nothing_in_it(out: Path) -> None:
    assert dciodvfy(out / SR_NAME, kind="ComprehensiveSR") == []


def test_dcmtk_shows_every_number_with_its_name(out: Path, report: Dataset) -> None:
    code_, html, said = dsr2html(out / SR_NAME)
    assert (code_, said) == (0, [])
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))
    for item in descendants(report):
        if item.ValueType == "NUM":
            value = item.MeasuredValueSequence[0]
            unit = value.MeasurementUnitsCodeSequence[0].CodeValue
            assert f"{item.ConceptNameCodeSequence[0].CodeMeaning}: {value.NumericValue} {unit}" in text
    assert "UNVERIFIED" in text and "PRELIMINARY" in text and "Papillary Muscle Included" in text


@pytest.mark.parametrize("options", [("--vendor", "plain"), ("--vendor", "philips-enhanced")])
def test_phantoms_pass_the_validator(tmp_path: Path, options: tuple[str, ...]) -> None:
    few = ["--phases", "6", "--slice-distance", "15"]
    assert main(["phantom", str(tmp_path / "p"), "--seed", "3", *few, *options]) == 0
    truth = next((tmp_path / "p").rglob("segmentation.nii.gz"))
    of = ["analyze", tmp_path / "p", "-o", tmp_path / "out", "--segmentation", truth, "--dicom", "--rtstruct"]
    assert main(list(map(str, of))) == 0
    assert dciodvfy(tmp_path / "out" / SR_NAME, kind="ComprehensiveSR") == []
    assert dciodvfy(tmp_path / "out" / RTSTRUCT_NAME, kind="RTStructureSet") == []
    code_, _, said = dsr2html(tmp_path / "out" / SR_NAME)
    assert (code_, said) == (0, [])


# What a copied value that was not valid in the source looks like, and what is missing because it is missing there.
COPIED = re.compile(
    r"Value (invalid|dubious) for this VR - .*(UI (Study Instance|Series Instance|Referenced SOP Instance|Frame of "
    r"Reference) UID|DA (Study|Patient's Birth) Date|PN Patient's Name)|contains invalid data values for Value Repr"
    r"|needed to build DICOMDIR - (Study ID|Study Date|Study Time|Patient ID)"
)


@pytest.mark.data
@pytest.mark.parametrize("patient", ["SC-HF-I-01", "SC-HF-I-02", "SC-HF-I-04"])
def test_real_exams_pass_the_validator_but_for_what_is_copied(sunnybrook: Path, tmp_path: Path, patient: str) -> None:
    of = analyze(sunnybrook / "dicom" / patient / "cine_sax", segmentation=sunnybrook / "contours" / patient)
    out = write_results(of, tmp_path / "out", dicom=DicomOptions(rtstruct=True))
    for name, kind in ((SR_NAME, "ComprehensiveSR"), (RTSTRUCT_NAME, "RTStructureSet")):
        assert [line for line in dciodvfy(out / name, kind=kind) if not COPIED.search(line)] == []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = pydicom.dcmread(out / SR_NAME)
        assert report.StudyInstanceUID == of.cine.source.study_uid and "18087-7" in numbers(report)


@pytest.mark.data
def test_dcmtk_shows_a_real_exam_whose_identifiers_were_made_valid(sunnybrook: Path, tmp_path: Path) -> None:
    patient = "SC-HF-I-04"
    (tmp_path / "exam").mkdir()
    for path in (sunnybrook / "dicom" / patient / "cine_sax").iterdir():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path)
            for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
                setattr(dataset, keyword, re.sub(r"\.0+(?=\d)", ".", str(dataset[keyword].value)))
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            dataset.StudyDate, dataset.PatientBirthDate = "20120101", ""
            dataset.save_as(tmp_path / "exam" / path.name)
    of = analyze(open_cine(tmp_path / "exam"), segmentation=sunnybrook / "contours" / patient)
    out = write_results(of, tmp_path / "out", dicom=DicomOptions())
    code_, html, said = dsr2html(out / SR_NAME)
    assert (code_, said) == (0, [])
    assert f"{round(of.measurements.edv_ml or 0, 4)} ml" in html and "Left Ventricular ED Volume" in html


def test_a_report_takes_well_below_a_second(squares: Analysis) -> None:
    filing = file_under(squares)
    segs = seg_datasets(squares, filing)
    spent = []
    for _ in range(3):
        start = time.process_time()
        sr_dataset(squares, filing, segs)
        spent.append(time.process_time() - start)
    assert min(spent) < 0.5


@pytest.fixture(scope="module")
def both(squares: Analysis) -> Analysis:
    """The squares, and beside them an RV whose ED is a phase later than that of the LV."""
    cavity = squares.segmentation
    labels = cavity.labels.copy()
    for phase, side in enumerate((6, 8, 4, 2)):
        labels[phase, 1:3, 1 : 1 + side, 0:2] = Structure.RV_CAVITY
    known = np.isin(np.arange(len(labels)), range(4))
    segmentation = Segmentation(labels, {**cavity.known_phases, Structure.RV_CAVITY: known}, author="manual")
    return analyze(squares.cine, segmentation=segmentation)


def test_numbers_and_segments_of_the_right_ventricle_stand_beside_those_of_the_left(
    both: Analysis, tmp_path: Path
) -> None:
    out = write_results(both, tmp_path / "out", dicom=DicomOptions(rtstruct=True))
    report, right = pydicom.dcmread(out / SR_NAME), both.measurements.of(RV)
    assert right is not None and right.ed_phase == 1 and right.es_phase == both.measurements.es_phase == 3
    written = numbers(report)
    assert written["8822-9"] == (pytest.approx(right.edv_ml), "ml")
    assert written["8824-5"] == (pytest.approx(right.esv_ml), "ml")
    assert written["8818-7"] == (pytest.approx(right.ef_percent, abs=1e-4), "%")
    assert written["429483009"] == (pytest.approx(right.sv_ml), "ml")
    assert written["428628004"] == (pytest.approx(right.cardiac_output_l_per_min, abs=1e-4), "l/min")
    for name, file in (("RV cavity, end diastole", "seg_cine.dcm"), ("RV cavity, end systole", "seg_es.dcm")):
        group, seg = groups(report)[name], pydicom.dcmread(out / file)
        referred = next(one for one in group.ContentSequence if code(one) == ("121191", "DCM")).ReferencedSOPSequence[0]
        assert referred.ReferencedSOPInstanceUID == seg.SOPInstanceUID
        segment = seg.SegmentSequence[referred.ReferencedSegmentNumber - 1]
        assert segment.SegmentLabel == "RV cavity"
        assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "53085002"
    names = [str(roi.ROIName) for roi in pydicom.dcmread(out / RTSTRUCT_NAME).StructureSetROISequence]
    assert names[-2:] == ["RV cavity ED", "RV cavity ES"]


def test_the_numbers_of_the_left_are_those_without_the_right_ventricle(both: Analysis, report: Dataset) -> None:
    filing = file_under(both)
    written = numbers(sr_dataset(both, filing, seg_datasets(both, filing)))
    assert {name: value for name, value in written.items() if name in numbers(report)} == numbers(report)
