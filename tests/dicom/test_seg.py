"""DICOM SEG: what archives and viewers get, seen through the validator, highdicom and plain pydicom."""

import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

import exams
import objects
from checkers import dciodvfy
from cinesax.analyze import analyze
from cinesax.core.analysis import Analysis, Provenance
from cinesax.core.cine import Cine
from cinesax.core.errors import InputError
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import Structure
from cinesax.dicom.copied import lenient
from cinesax.dicom.objects.seg import read_seg
from cinesax.dicom.write.filing import file_under, to_bytes
from cinesax.dicom.write.objects import write_objects
from cinesax.dicom.write.options import DicomOptions, SegmentationType
from cinesax.dicom.write.seg import NAMES, seg_datasets
from cinesax.inputs import open_cine
from cinesax.phantom import draw_settings, make_phantom
from cinesax.phantom.dicom import SeriesIdentity, Vendor, write_scan
from cinesax.phantom.make import Phantom
from cinesax.phantom.scanning import Oddity, scan

COMES_FROM_THE_SOURCE = re.compile(
    r"Value invalid for this VR - \(0x....,0x....\) (UI (Referenced SOP|Study|Series) Instance UID"
    r"|DA Patient's Birth Date|DA Study Date)|Dicom dataset contains invalid data values for Value Representations$"
    r"|Warning - (Value dubious for this VR - \(0x0010,0x0010\)|Missing attribute .* DICOMDIR - Study ID$)"
)


@pytest.fixture(scope="module")
def cine(tmp_path_factory: pytest.TempPathFactory) -> Cine:
    return objects.exam_on_disk(tmp_path_factory.mktemp("exam"))


@pytest.fixture(scope="module")
def analysis(cine: Cine) -> Analysis:
    return objects.analysis_of(cine)


def written(
    analysis: Analysis, folder: Path, kind: SegmentationType = SegmentationType.BINARY, **options: object
) -> dict[str, Path]:
    """The SEG objects of an analysis on disk, by name."""
    folder.mkdir(exist_ok=True)
    names = write_objects(analysis, folder, DicomOptions(kind, **options))
    return {name: folder / name for name in names if name in NAMES}


def everything_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def uids(dataset: Dataset) -> set[str]:
    return {str(element.value) for element in dataset.iterall() if element.VR == "UI" and element.VM == 1}


def test_the_validator_finds_nothing_wrong(analysis: Analysis, tmp_path: Path) -> None:
    files = written(analysis, tmp_path)
    assert set(files) == {"seg_ed.dcm", "seg_es.dcm", "seg_cine.dcm"}
    for path in files.values():
        assert dciodvfy(path, kind="Segmentation") == []


@pytest.mark.data
@pytest.mark.parametrize("case", ["SC-HF-I-01", "SC-HF-I-02", "SC-HF-I-04"])
def test_of_real_exams_only_what_is_copied_is_wrong(sunnybrook: Path, tmp_path: Path, case: str) -> None:
    exam = analyze(sunnybrook / "dicom" / case / "cine_sax", segmentation=sunnybrook / "contours" / case)
    for path in written(exam, tmp_path).values():
        lines = dciodvfy(path, kind="Segmentation")
        assert [line for line in lines if not COMES_FROM_THE_SOURCE.search(line)] == []
    labels = read_seg(tmp_path / "seg_cine.dcm", exam.cine)
    np.testing.assert_array_equal(labels.labels, exam.segmentation.labels)


@pytest.mark.parametrize("kind", SegmentationType)
@pytest.mark.parametrize("columns", [24, 21])  # 24: whole bytes in each frame; 21: frames begin within a byte
def test_another_reader_gets_every_pixel_by_its_source_instance(
    cine: Cine, tmp_path: Path, kind: SegmentationType, columns: int
) -> None:
    cropped = replace(
        cine,
        pixels=cine.pixels[..., :columns].copy(),
        grid=replace(cine.grid, shape=(*cine.grid.shape[:2], columns)),
    )
    analysis = objects.analysis_of(cropped)
    segmentation = highdicom.seg.segread(written(analysis, tmp_path, kind)["seg_cine.dcm"])
    for phase, uids_of_phase in enumerate(cine.source.instance_uids):
        seen = segmentation.get_pixels_by_source_instance(
            list(uids_of_phase),
            combine_segments=True,
            ignore_spatial_locations=True,
            assert_missing_frames_are_empty=True,
        )
        np.testing.assert_array_equal(seen, analysis.segmentation.labels[phase])


def test_ed_and_es_are_plain_stacks_that_lie_where_the_cine_lies(analysis: Analysis, tmp_path: Path) -> None:
    files = written(analysis, tmp_path)
    for name, phase in (("seg_ed.dcm", analysis.measurements.ed_phase), ("seg_es.dcm", analysis.measurements.es_phase)):
        volume = highdicom.seg.segread(files[name]).get_volume(combine_segments=True, allow_missing_positions=False)
        grid = analysis.cine.grid
        where = volume.map_reference_to_indices(grid.to_patient(np.argwhere(analysis.segmentation.labels[phase])))
        index = np.rint(where).astype(int)
        np.testing.assert_allclose(where, index, atol=1e-6)
        meant = analysis.segmentation.labels[phase]
        np.testing.assert_array_equal(volume.array[tuple(index.T)], meant[meant > 0])
        assert np.count_nonzero(volume.array) == np.count_nonzero(meant)


def test_the_cine_is_ordered_by_segment_time_and_place(analysis: Analysis, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(written(analysis, tmp_path)["seg_cine.dcm"])
    pointers = [item.DimensionIndexPointer for item in dataset.DimensionIndexSequence]
    assert pointers == [0x0062000B, 0x00209128, 0x00200032]
    assert len({item.DimensionOrganizationUID for item in dataset.DimensionIndexSequence}) == 1
    contents = [item.FrameContentSequence[0] for item in dataset.PerFrameFunctionalGroupsSequence]
    values = [tuple(content.DimensionIndexValues) for content in contents]
    assert values == sorted(values) and len(set(values)) == len(values) == 2 * 6 * 4
    assert [content.TemporalPositionIndex for content in contents] == [value[1] for value in values]
    by_uid = {
        uid: (phase + 1, place + 1)
        for phase, row in enumerate(analysis.cine.source.instance_uids)
        for place, uid in enumerate(row)
    }
    sources = [
        item.DerivationImageSequence[0].SourceImageSequence[0] for item in dataset.PerFrameFunctionalGroupsSequence
    ]
    assert [by_uid[source.ReferencedSOPInstanceUID] for source in sources] == [value[1:] for value in values]
    assert {source.ReferencedSOPClassUID for source in sources} == {pydicom.uid.MRImageStorage}
    assert dataset.SegmentationType == "BINARY" and dataset.file_meta.TransferSyntaxUID.name.startswith(
        "Explicit VR Li"
    )


def test_what_the_segments_say(analysis: Analysis, tmp_path: Path) -> None:
    made = Provenance("cinesax 9", model="unet 3", model_checksum="ab" * 32)
    automatic = pydicom.dcmread(written(replace(analysis, provenance=made), tmp_path / "a")["seg_ed.dcm"])
    manual = pydicom.dcmread(written(analysis, tmp_path / "m")["seg_ed.dcm"])
    cavity, myocardium = automatic.SegmentSequence
    assert [cavity.SegmentLabel, myocardium.SegmentLabel] == ["LV cavity, papillary muscles included", "LV myocardium"]
    for segment, code in ((cavity, "87878005"), (myocardium, "49848007")):
        category, kind = segment.SegmentedPropertyCategoryCodeSequence[0], segment.SegmentedPropertyTypeCodeSequence[0]
        assert (category.CodeValue, category.CodingSchemeDesignator) == ("91723000", "SCT")
        assert (kind.CodeValue, kind.CodingSchemeDesignator) == (code, "SCT")
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
        assert algorithm.AlgorithmName == "unet 3" and "ab" * 32 in algorithm.AlgorithmParameters
    assert cavity.RecommendedDisplayCIELabValue != myocardium.RecommendedDisplayCIELabValue
    assert [one.SegmentAlgorithmType for one in manual.SegmentSequence] == ["MANUAL", "MANUAL"]
    # The same heart in every object of the study, however it was drawn.
    assert [one.TrackingUID for one in manual.SegmentSequence] == [cavity.TrackingUID, myocardium.TrackingUID]


def test_the_same_input_gives_the_same_bytes_and_another_one_other_uids(analysis: Analysis, tmp_path: Path) -> None:
    def made(of: Analysis, name: str, **options: object) -> dict[str, bytes]:
        written(of, tmp_path / name, **options)
        return everything_in(tmp_path / name)

    first = made(analysis, "first")
    again = objects.analysis_of(analysis.cine, objects.ring(analysis.cine))
    assert made(again, "again") == first
    labels = analysis.segmentation.labels.copy()
    labels[3, 2, 5, 6] = 0
    changed_mask = replace(analysis, segmentation=replace(analysis.segmentation, labels=labels))
    others = [
        made(changed_mask, "mask"),
        made(replace(analysis, provenance=replace(analysis.provenance, software="cinesax 99")), "version"),
        made(analyze(analysis.cine, segmentation=analysis.segmentation, height_cm=180.0), "option"),
        made(analysis, "time", content_time=datetime(2025, 3, 4, 5, 6, 7)),
        made(analysis, "kind", kind=SegmentationType.LABELMAP),
    ]
    named = [{name: pydicom.dcmread(tmp_path / "first" / name).SOPInstanceUID for name in first}]
    for folder, objects_made in zip(("mask", "version", "option", "time", "kind"), others, strict=True):
        named.append({name: pydicom.dcmread(tmp_path / folder / name).SOPInstanceUID for name in objects_made})
    seen = [one["seg_ed.dcm"] for one in named]
    assert len(set(seen)) == len(seen)
    assert all(re.fullmatch(r"2\.25\.[1-9]\d*", uid) and len(uid) <= 64 for uid in seen)
    assert pydicom.dcmread(tmp_path / "time" / "seg_cine.dcm").ContentTime == "050607"


def test_a_series_of_its_own_in_the_study_of_the_source(analysis: Analysis, tmp_path: Path) -> None:
    made = [pydicom.dcmread(path) for path in written(analysis, tmp_path).values()]
    assert {one.StudyInstanceUID for one in made} == {analysis.cine.source.study_uid}
    assert len({one.SeriesInstanceUID for one in made}) == 1 and made[0].SeriesInstanceUID.startswith("2.25.")
    assert made[0].SeriesInstanceUID not in analysis.cine.source.series_uids
    assert [one.InstanceNumber for one in made] == [1, 2, 3]
    assert {one.FrameOfReferenceUID for one in made} == {analysis.cine.source.frame_of_reference_uid}


def test_patient_and_study_are_copied_even_where_they_are_not_valid(tmp_path: Path) -> None:
    other = Dataset()
    other.PatientID, other.TypeOfPatientID = "B-2", "TEXT"
    changes = {
        "SpecificCharacterSet": "ISO_IR 100",
        "PatientName": "Müller^Jürgen",
        "OtherPatientIDsSequence": [other],
        "AccessionNumber": "A 17",
        "StudyInstanceUID": "1.2.840.07.5",
        "FrameOfReferenceUID": "1.2.840.08.5",
    }
    exam = tmp_path / "exam"
    files = exams.write_exam(exam)
    with lenient():
        exams.edit(files, **changes)
    for path in files:
        raw = path.read_bytes().replace(b"DA\x08\x0020240101", b"DA\x08\x0020120000")
        path.write_bytes(raw)
    cine = open_cine(exam)
    for path in written(objects.analysis_of(cine), tmp_path / "out").values():
        with lenient():
            source, made = pydicom.dcmread(files[0]), pydicom.dcmread(path)
            for keyword in ("SpecificCharacterSet", "PatientName", "PatientID", "PatientBirthDate", "PatientSex"):
                assert made.get_item(keyword).value == source.get_item(keyword).value, keyword
            assert bytes(made.get_item("PatientName").value).startswith(b"M\xfcller^J\xfcrgen")
            assert made.StudyDate == "20120000" and made.StudyInstanceUID == "1.2.840.07.5"
            assert made.FrameOfReferenceUID == "1.2.840.08.5" and made.AccessionNumber == "A 17"
            assert made.OtherPatientIDsSequence[0].PatientID == "B-2"
            assert (made.ContentDate, made.ContentTime) == ("19000101", "000000")


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        (b"\\ISO 2022 IR 87 ", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"),
        (b"GB18030 ", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab"),
        (b"ISO_IR 192", "Ζ^Ω".encode()),
        (b"ISO_IR 999", b"no such \xff\xfe set"),
        (b"ISO_IR 6", b"\x1b$B cut off \xe9"),
        (b"", b"  padded  "),
    ],
)
def test_a_name_is_copied_byte_for_byte_whatever_its_character_set(tmp_path: Path, charset: bytes, name: bytes) -> None:
    files = exams.write_exam(tmp_path / "exam")
    name += b" " * (len(name) % 2)
    for path in files:
        data = path.read_bytes()
        for old, new in ((b"CS\x0a\x00ISO_IR 192", charset), (b"PN\x08\x00DOE^JANE", name)):
            assert data.count(old) == 1
            data = data.replace(old, old[:2] + len(new).to_bytes(2, "little") + new)
        path.write_bytes(data)
    folder = tmp_path / "out"
    folder.mkdir()
    write_objects(objects.analysis_of(open_cine(tmp_path / "exam")), folder, DicomOptions(rtstruct=True))
    made = [path.read_bytes() for path in folder.iterdir()]
    assert len(made) == 5
    for data in made:
        assert b"\x10\0\x10\0PN" + len(name).to_bytes(2, "little") + name in data
        assert (b"\x08\0\x05\0CS" + len(charset).to_bytes(2, "little") + charset in data) == bool(charset)


@pytest.mark.parametrize("absent", ["StudyDate", "PatientBirthDate", "AccessionNumber", "StudyTime"])
def test_what_the_source_does_not_say_stays_empty(tmp_path: Path, absent: str) -> None:
    cine = objects.exam_on_disk(tmp_path / "exam", **{absent: None})
    for path in written(objects.analysis_of(cine), tmp_path / "out").values():
        assert absent in pydicom.dcmread(path) and not pydicom.dcmread(path).get(absent)


def test_the_content_time_is_the_newest_valid_date_of_the_source(tmp_path: Path) -> None:
    dates = {"StudyDate": "20190228", "SeriesDate": "20190301", "AcquisitionDate": "20190301", "ContentDate": ""}
    cine = objects.exam_on_disk(tmp_path / "exam", **dates, SeriesTime="235959.5", AcquisitionTime="0715")
    made = pydicom.dcmread(written(objects.analysis_of(cine), tmp_path / "out")["seg_ed.dcm"])
    assert (made.ContentDate, made.ContentTime) == ("20190301", "235959.500000")


@pytest.mark.parametrize("kind", SegmentationType)
def test_a_phase_in_which_nothing_was_found_is_told_from_one_that_nobody_looked_at(
    cine: Cine, tmp_path: Path, kind: SegmentationType
) -> None:
    labels = objects.ring(cine).labels.copy()
    labels[3:] = 0
    labels[1:3][labels[1:3] == Structure.MYOCARDIUM] = 0
    known = {
        Structure.CAVITY: np.array([True, True, True, True, False, False]),
        Structure.MYOCARDIUM: np.array([True, False, False, True, False, False]),
    }
    meant = Segmentation(labels, known, author="net 1")
    path = written(objects.analysis_of(cine, meant), tmp_path, kind)["seg_cine.dcm"]
    seen = read_seg(path, cine)
    np.testing.assert_array_equal(seen.labels, meant.labels)
    for structure, where in known.items():
        np.testing.assert_array_equal(seen.known_phases[structure], where)
    assert seen.author == "net 1"


def test_without_any_ventricle_there_is_only_an_empty_cine(cine: Cine, tmp_path: Path) -> None:
    nothing = replace(objects.ring(cine), labels=np.zeros(cine.pixels.shape, dtype=np.uint8))
    files = written(objects.analysis_of(cine, nothing), tmp_path)
    seen = read_seg(files["seg_cine.dcm"], cine)
    assert not seen.labels.any() and seen.known_phases[Structure.CAVITY].all()
    assert dciodvfy(files["seg_cine.dcm"], kind="Segmentation") == []


def test_one_series_a_slice_is_referred_to_series_by_series(tmp_path: Path) -> None:
    files = exams.write_exam(tmp_path / "exam")
    for place in range(exams.SLICES):
        of_slice = [exams.frame_file(files, phase=phase, slice_index=place) for phase in range(exams.PHASES)]
        exams.edit(of_slice, SeriesInstanceUID=f"1.2.3.{place + 1}", SeriesNumber=place + 1)
    cine = open_cine(tmp_path / "exam")
    dataset = pydicom.dcmread(written(objects.analysis_of(cine), tmp_path / "out")["seg_cine.dcm"])
    referred = {
        item.SeriesInstanceUID: {one.ReferencedSOPInstanceUID for one in item.ReferencedInstanceSequence}
        for item in dataset.ReferencedSeriesSequence
    }
    meant: dict[str, set[str]] = {}
    for path in files:
        header = pydicom.dcmread(path, stop_before_pixels=True)
        meant.setdefault(header.SeriesInstanceUID, set()).add(header.SOPInstanceUID)
    assert referred == meant


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    stack = {"n_slices": 6, "slice_distance_mm": 16.0, "matrix": (96, 100), "spacing_mm": (2.4, 2.4)}
    return make_phantom(draw_settings(3, n_phases=4, **stack))


@pytest.mark.parametrize(
    ("vendor", "oddities"),
    [
        *((vendor, ()) for vendor in Vendor if vendor is not Vendor.PLAIN),
        *((Vendor.PLAIN, (oddity,)) for oddity in (Oddity.UNEQUAL_PHASES, Oddity.OTHER_MATRIX, Oddity.TILTED_SLICES)),
        (Vendor.PHILIPS_ENHANCED, (Oddity.UNEQUAL_PHASES,)),
        (Vendor.SIEMENS_ENHANCED, (Oddity.OTHER_MATRIX,)),
    ],
)
def test_exams_of_all_makes_of_scanners(
    phantom: Phantom, tmp_path: Path, vendor: Vendor, oddities: tuple[Oddity, ...]
) -> None:
    write_scan(scan(phantom, oddities), tmp_path / "exam", SeriesIdentity(number=3), vendor=vendor)
    cine = open_cine(tmp_path / "exam")
    analysis = objects.analysis_of(cine, objects.ring(cine))
    files = written(analysis, tmp_path / "out")
    assert [line for path in files.values() for line in dciodvfy(path, kind="Segmentation")] == []
    np.testing.assert_array_equal(read_seg(files["seg_cine.dcm"], cine).labels, analysis.segmentation.labels)
    dataset = pydicom.dcmread(files["seg_cine.dcm"])
    stored = {}
    for path in (tmp_path / "exam").rglob("*"):
        if path.is_file():
            source = pydicom.dcmread(path, stop_before_pixels=True)
            stored[source.SOPInstanceUID] = source
    referred = {
        one.ReferencedSOPInstanceUID: (series.SeriesInstanceUID, one.ReferencedSOPClassUID)
        for series in dataset.ReferencedSeriesSequence
        for one in series.ReferencedInstanceSequence
    }
    assert referred == {uid: (stored[uid].SeriesInstanceUID, stored[uid].SOPClassUID) for uid in referred}
    for item in dataset.PerFrameFunctionalGroupsSequence:
        source = item.DerivationImageSequence[0].SourceImageSequence[0]
        header = stored[source.ReferencedSOPInstanceUID]
        assert ("ReferencedFrameNumber" in source) == ("NumberOfFrames" in header)
        same = (header.Rows, header.Columns) == (dataset.Rows, dataset.Columns)
        assert source.SpatialLocationsPreserved == ("YES" if same else "NO")
        plane = header
        if not same:
            continue
        if "ReferencedFrameNumber" in source:
            groups = header.PerFrameFunctionalGroupsSequence[source.ReferencedFrameNumber - 1]
            plane = groups.PlanePositionSequence[0]
        position = np.array(plane.ImagePositionPatient, dtype=float)
        # The Cine lays slices that are turned against one another by up to a degree into parallel planes.
        within_mm = 1.0 if Oddity.TILTED_SLICES in oddities else 1e-3
        np.testing.assert_allclose(item.PlanePositionSequence[0].ImagePositionPatient, position, atol=within_mm)


def test_only_what_was_read_from_dicom_can_be_filed(analysis: Analysis) -> None:
    elsewhere = replace(analysis, cine=replace(analysis.cine, source=replace(analysis.cine.source, copied=b"")))
    with pytest.raises(InputError, match="need a DICOM exam"):
        file_under(elsewhere)
    unnamed = replace(analysis.cine.source, instance_uids=(("",) * 5,) * 6)
    with pytest.raises(InputError, match="no SOPInstanceUID"):
        file_under(replace(analysis, cine=replace(analysis.cine, source=unnamed)))


def test_nothing_of_the_clock_gets_in(analysis: Analysis) -> None:
    today = datetime.now().strftime("%Y%m%d").encode()
    for dataset in seg_datasets(analysis, file_under(analysis)).values():
        assert today not in to_bytes(dataset)
        assert uids(dataset).isdisjoint({"2.25.1", "2.25.2"})  # the names that highdicom was given for the slices
