"""DICOM SEG from elsewhere: every kind of pixels, frames placed by reference or by position, and clear refusals."""

import random
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from highdicom.seg import SegmentationFractionalTypeValues, SegmentDescription
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sr.coding import Code

import exams
import objects
from cinesax.analyze import analyze
from cinesax.cli.main import main
from cinesax.core.cine import Cine
from cinesax.core.errors import GeometryError, InputError, UsageError
from cinesax.core.segmentation import Segmentation
from cinesax.core.selection import LabelReading
from cinesax.core.structures import Structure
from cinesax.dicom.objects.seg import read_seg
from cinesax.dicom.write.objects import write_objects
from cinesax.dicom.write.options import DicomOptions
from cinesax.formats.nifti import write_segmentation
from cinesax.inputs import read_segmentation

LEFT_VENTRICLE = Code("87878005", "SCT", "Left ventricle")
ORGAN = Code("123037004", "SCT", "Body structure")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exam")


@pytest.fixture(scope="module")
def cine(folder: Path) -> Cine:
    return objects.exam_on_disk(folder / "dicom")


@pytest.fixture(scope="module")
def ours(cine: Cine, folder: Path) -> Path:
    """Our own seg_cine.dcm."""
    write_objects(objects.analysis_of(cine), folder, DicomOptions())
    return folder / "seg_cine.dcm"


def changed(path: Path, to: Path, change: Callable[[Dataset], None]) -> Path:
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(to)
    return to


def elsewhere(
    folder: Path,
    pixels: NDArray[np.generic],
    *,
    phase: int = 2,
    labels: tuple[str, ...] = ("LV blood pool", "LV myocardium"),
    kind: str = "BINARY",
    code: Code = ORGAN,
    **place: object,
) -> Path:
    """A segmentation of one phase as another program would make it, straight by highdicom from the source files."""
    files = sorted((folder / "dicom").iterdir())
    sources = [
        pydicom.dcmread(exams.frame_file(files, phase=phase, slice_index=index)) for index in range(exams.SLICES)
    ]
    segments = [
        SegmentDescription(i, label, Code("123037004", "SCT", "Anatomical Structure"), code, "SEMIAUTOMATIC",
                           highdicom.AlgorithmIdentificationSequence("paint", ORGAN, "1"))
        for i, label in enumerate(labels, 1)
    ]  # fmt: skip
    made = highdicom.seg.Segmentation(
        sources, pixels, kind, segments, highdicom.UID(), 1, highdicom.UID(), 1, "other", "other", "1", "1",
        fractional_type=SegmentationFractionalTypeValues.PROBABILITY, **place,
    )  # fmt: skip
    path = folder / f"elsewhere-{random.randrange(10**9)}.dcm"
    made.save_as(path)
    return path


def meant_at(cine: Cine, phase: int) -> NDArray[np.uint8]:
    labels = np.zeros(cine.pixels.shape, dtype=np.uint8)
    labels[phase] = objects.ring(cine).labels[phase]
    return labels


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_another_programs_masks_land_on_the_phase_of_their_sources(cine: Cine, folder: Path, kind: str) -> None:
    path = elsewhere(folder, objects.ring(cine).labels[2], kind=kind)
    seen, source = read_segmentation(path, cine)
    np.testing.assert_array_equal(seen.labels, meant_at(cine, 2))
    assert source == "dicom-seg" and seen.author == "paint"
    assert np.flatnonzero(seen.known_phases[Structure.CAVITY]).tolist() == [2]


def test_of_fractions_half_and_more_counts(cine: Cine, folder: Path) -> None:
    labels = objects.ring(cine).labels[2]
    shares = np.stack([labels == Structure.CAVITY, labels == Structure.MYOCARDIUM], axis=-1) * 0.5
    shares[labels == 0] = (0.2, 0.45)
    seen = read_seg(elsewhere(folder, shares, kind="FRACTIONAL"), cine)
    np.testing.assert_array_equal(seen.labels, meant_at(cine, 2))


@pytest.mark.parametrize(
    ("labels", "code", "structures"),
    [
        (("heart_ventricle_left", "heart_myocardium"), ORGAN, (1, 2)),
        (("LV endo", "LV epi"), ORGAN, (1, 2)),
        (("LV_blood", "LV_wall"), ORGAN, (1, 2)),
        (("ventricle_left", "ventricle_right"), ORGAN, (1, 3)),
        (("Segment 1", "LV wall"), LEFT_VENTRICLE, (1, 2)),
        (("left ventricle", "right ventricle"), ORGAN, (1, 3)),
        (("LV", "RV blood pool"), ORGAN, (1, 3)),
        (("LV", "RV wall"), ORGAN, (1, 0)),
        (("LV", "right atrium"), ORGAN, (1, 0)),
        (("LV", "RV insertion point"), ORGAN, (1, 0)),
        (("LV", "right lung"), ORGAN, (1, 0)),
        (("liver", "LV cavity"), ORGAN, (0, 1)),
    ],
)
def test_segments_are_told_by_code_and_by_label(
    cine: Cine, folder: Path, labels: tuple[str, str], code: Code, structures: tuple[int, int]
) -> None:
    meant = np.array([0, *structures])[objects.ring(cine).labels[2]]
    seen = read_seg(elsewhere(folder, objects.ring(cine).labels[2], labels=labels, code=code), cine)
    np.testing.assert_array_equal(seen.labels[2], meant)


@pytest.mark.parametrize(
    ("label", "included"),
    [
        ("LV cavity", True),
        ("LV cavity, papillary muscles included", True),
        ("LV cavity, papillary muscles excluded", False),
        ("LV blood pool without papillary muscles", False),
        ("LV (papillary muscles excluded)", False),
        ("LV endocardium excl. papillary muscles", False),
        ("LV cavity, papillary muscles not included", False),
        ("LV w/o papillary muscles", False),
        ("LV_cavity_without_papillary_muscles", False),
        ("LV cavity without trabeculae and papillary muscles", False),
        ("LV cavity without trabeculae/papillary muscles", False),
        ("LV cavity excluding trabeculae & papillary muscles", False),
        ("LV cavity, pap. muscles excluded", False),
        ("LV cavity without pap muscles", False),
        ("LV endocardium and papillary muscles", True),
        ("LV cavity without trabeculae, papillary muscles included", True),
    ],
)
def test_whether_papillary_muscles_are_in_it_is_told_by_its_label(
    cine: Cine, folder: Path, label: str, included: bool
) -> None:
    path = elsewhere(folder, objects.ring(cine).labels[2], labels=(label, "LV wall"))
    seen = read_seg(path, cine)
    np.testing.assert_array_equal(seen.labels, meant_at(cine, 2))
    assert seen.papillary_muscles_included is included
    # Said by the user, it is as the user says.
    assert analyze(cine, segmentation=path, papillary_muscles_included=True).segmentation.papillary_muscles_included


@pytest.mark.parametrize(
    ("wall", "included"),
    [
        ("LV myocardium", True),
        ("LV myocardium, papillary muscles excluded", True),
        ("LV myocardium without papillary muscles", True),
        ("LV myocardium including papillary muscles", False),
        ("LV_wall_with_papillary_muscles", False),
    ],
)
def test_of_the_wall_they_are_in_what_they_are_not_in_of_the_cavity(
    cine: Cine, folder: Path, wall: str, included: bool
) -> None:
    seen = read_seg(elsewhere(folder, objects.ring(cine).labels[2], labels=("LV cavity", wall)), cine)
    np.testing.assert_array_equal(seen.labels, meant_at(cine, 2))
    assert seen.papillary_muscles_included is included


def test_papillary_muscles_as_a_segment_of_their_own_are_not_in_the_cavity(cine: Cine, folder: Path) -> None:
    labels = objects.ring(cine).labels[2]
    seen = read_seg(elsewhere(folder, labels, labels=("LV", "LV papillary muscles")), cine)
    np.testing.assert_array_equal(seen.labels[2], np.array([0, 1, 4])[labels])
    assert np.count_nonzero(seen.mask(Structure.CAVITY)[2]) == np.count_nonzero(labels == Structure.CAVITY)
    assert not seen.papillary_muscles_included


@pytest.mark.parametrize("included", [True, False])
def test_all_structures_go_from_one_object_to_the_next(cine: Cine, tmp_path: Path, included: bool) -> None:
    labels = objects.ring(cine).labels.copy()
    labels[:, 1:, 6:8, 7:9], labels[:2, 2:, 18:20, 1:4] = Structure.PAPILLARY_MUSCLES, Structure.RV_CAVITY
    known = {one: np.ones(cine.n_phases, dtype=bool) for one in Structure}
    first = Segmentation(labels, known, author="manual", papillary_muscles_included=included)
    write_objects(objects.analysis_of(cine, first), tmp_path, DicomOptions())
    again = read_seg(tmp_path / "seg_cine.dcm", cine)
    np.testing.assert_array_equal(again.labels, labels)
    assert again.papillary_muscles_included is included and set(again.known_phases) == set(Structure)


def test_excluded_papillary_muscles_go_from_one_object_to_the_next(cine: Cine, folder: Path, tmp_path: Path) -> None:
    first = replace(objects.ring(cine), papillary_muscles_included=False)
    write_objects(objects.analysis_of(cine, first), tmp_path, DicomOptions())
    again = analyze(cine, segmentation=tmp_path / "seg_cine.dcm")
    assert not again.segmentation.papillary_muscles_included
    (tmp_path / "again").mkdir()
    write_objects(again, tmp_path / "again", DicomOptions())
    report = pydicom.dcmread(tmp_path / "again" / "measurements_sr.dcm")
    assert "122620" in str(report) and "122621" not in str(report)


def test_a_filled_outer_outline_keeps_what_the_cavity_leaves(cine: Cine, folder: Path) -> None:
    labels = objects.ring(cine).labels[2]
    filled = np.stack([labels == Structure.CAVITY, labels > 0], axis=-1).astype(np.uint8)
    seen = read_seg(elsewhere(folder, filled, labels=("LV endocardium", "LV epicardium")), cine)
    np.testing.assert_array_equal(seen.labels, meant_at(cine, 2))


def test_nothing_of_the_left_ventricle_is_an_error_that_lists_what_is_there(cine: Cine, folder: Path) -> None:
    path = elsewhere(folder, objects.ring(cine).labels[2], labels=("liver", "right ventricle"))
    with pytest.raises(InputError, match="its segments are liver, right ventricle"):
        read_seg(path, cine)


def geometry(
    cine: Cine, *, along_row: NDArray[np.float64], along_column: NDArray[np.float64], origins: NDArray[np.float64]
) -> dict[str, object]:
    return {
        "plane_orientation": highdicom.PlaneOrientationSequence("PATIENT", [*along_row, *along_column]),
        "plane_positions": [highdicom.PlanePositionSequence("PATIENT", origin) for origin in origins],
        "pixel_measures": highdicom.PixelMeasuresSequence(cine.grid.spacing_mm, 8.0),
    }


def test_a_cropped_mask_lies_where_it_says(cine: Cine, folder: Path) -> None:
    grid, labels = cine.grid, objects.ring(cine).labels[2]
    origins = np.array([grid.to_patient((place, 1, 2)) for place in range(cine.n_slices)])
    place = geometry(cine, along_row=grid.along_row, along_column=grid.along_column, origins=origins)
    seen = read_seg(by_source(elsewhere(folder, labels[:, 1:, 2:].copy(), **place), cine, phase=2), cine)
    np.testing.assert_array_equal(seen.labels, meant_at(cine, 2))


def test_a_mask_that_is_turned_over_lies_where_it_says(cine: Cine, folder: Path) -> None:
    grid, labels = cine.grid, objects.ring(cine).labels[2]
    origins = np.array([grid.to_patient((place, 0, grid.shape[2] - 1)) for place in range(cine.n_slices)])
    place = geometry(cine, along_row=-grid.along_row, along_column=grid.along_column, origins=origins)
    seen = read_seg(by_source(elsewhere(folder, labels[:, :, ::-1].copy(), **place), cine, phase=2), cine)
    np.testing.assert_array_equal(seen.labels, meant_at(cine, 2))


def by_source(path: Path, cine: Cine, *, phase: int) -> Path:
    """Name the source of each frame, which highdicom leaves out where geometry is not that of the source."""

    def change(dataset: Dataset) -> None:
        for item in dataset.PerFrameFunctionalGroupsSequence:
            position = np.array(item.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
            place = int(np.argmin(np.abs(cine.grid.positions_mm - position @ cine.grid.normal)))
            source, derivation = Dataset(), Dataset()
            source.ReferencedSOPClassUID = pydicom.uid.MRImageStorage
            source.ReferencedSOPInstanceUID = cine.source.instance_uids[phase][place]
            derivation.SourceImageSequence = [source]
            item.DerivationImageSequence = [derivation]

    return changed(path, path, change)


def without_sources(dataset: Dataset) -> None:
    for item in dataset.PerFrameFunctionalGroupsSequence:
        item.DerivationImageSequence = []


def test_without_references_time_and_position_tell(cine: Cine, ours: Path, tmp_path: Path) -> None:
    seen = read_seg(changed(ours, tmp_path / "seg.dcm", without_sources), cine)
    np.testing.assert_array_equal(seen.labels, objects.ring(cine).labels)


def test_without_references_a_single_phase_needs_no_time(cine: Cine, folder: Path, tmp_path: Path) -> None:
    still = replace(
        cine,
        pixels=cine.pixels[2:3].copy(),
        trigger_times_ms=None,
        source=replace(cine.source, instance_uids=cine.source.instance_uids[2:3]),
    )
    path = changed(elsewhere(folder, objects.ring(cine).labels[2]), tmp_path / "seg.dcm", without_sources)
    np.testing.assert_array_equal(read_seg(path, still).labels[0], objects.ring(cine).labels[2])
    with pytest.raises(GeometryError, match="does not name its phase"):
        read_seg(path, cine)


def test_one_frame_that_names_all_its_phases_as_sources_needs_a_time(cine: Cine, ours: Path, tmp_path: Path) -> None:
    def name_all(dataset: Dataset) -> None:
        for item in dataset.PerFrameFunctionalGroupsSequence:
            place = item.FrameContentSequence[0].DimensionIndexValues[-1] - 1
            item.DerivationImageSequence[0].SourceImageSequence = [one(row[place]) for row in cine.source.instance_uids]

    def one(uid: str) -> Dataset:
        source = Dataset()
        source.ReferencedSOPInstanceUID = uid
        return source

    path = changed(ours, tmp_path / "seg.dcm", name_all)
    np.testing.assert_array_equal(read_seg(path, cine).labels, objects.ring(cine).labels)

    def forget_time(dataset: Dataset) -> None:
        for item in dataset.PerFrameFunctionalGroupsSequence:
            del item.FrameContentSequence[0].TemporalPositionIndex

    with pytest.raises(GeometryError, match="refers to 6 frames of this cine at once"):
        read_seg(changed(path, path, forget_time), cine)


def test_a_frame_that_serves_twice_is_labelled_twice_unless_a_time_is_told(
    cine: Cine, folder: Path, ours: Path
) -> None:
    uids = list(cine.source.instance_uids)
    uids[3] = uids[2]
    twice = replace(cine, source=replace(cine.source, instance_uids=tuple(uids)))
    seen = read_seg(elsewhere(folder, objects.ring(cine).labels[2]), twice)
    np.testing.assert_array_equal(seen.labels[3], seen.labels[2])
    assert seen.labels[2].any() and not seen.labels[[0, 1, 4, 5]].any()


def move(dataset: Dataset) -> None:
    for item in dataset.PerFrameFunctionalGroupsSequence:
        position = item.PlanePositionSequence[0].ImagePositionPatient
        item.PlanePositionSequence[0].ImagePositionPatient = [position[0], position[1], position[2] + 5]


def turn(dataset: Dataset) -> None:
    dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 0, 1, 0]


def test_a_frame_that_lies_elsewhere_than_its_source_is_refused(cine: Cine, ours: Path, tmp_path: Path) -> None:
    for change in (move, turn):
        with pytest.raises(GeometryError, match="refers to a frame of this cine and does not lie on it"):
            read_seg(changed(ours, tmp_path / "seg.dcm", change), cine)

    def both(dataset: Dataset) -> None:
        move(dataset)
        without_sources(dataset)

    with pytest.raises(GeometryError, match="48 of 48 frames of the left ventricle lie on no slice"):
        read_seg(changed(ours, tmp_path / "seg.dcm", both), cine)


def test_labels_outside_of_the_images_are_refused(cine: Cine, folder: Path) -> None:
    grid = cine.grid
    origins = np.array([grid.to_patient((place, -10, 0)) for place in range(cine.n_slices)])
    place = geometry(cine, along_row=grid.along_row, along_column=grid.along_column, origins=origins)
    path = by_source(elsewhere(folder, objects.ring(cine).labels[2], **place), cine, phase=2)
    with pytest.raises(GeometryError, match="labels outside the images"):
        read_seg(path, cine)


def test_the_segmentation_of_another_exam_is_refused(ours: Path) -> None:
    other = exams.small_cine()
    other = replace(other, source=replace(other.source, kind="dicom", frame_of_reference_uid="1.2.3.4.99"))
    with pytest.raises(GeometryError, match="belongs to another exam: .* its frame of reference is 1.2.3.4.6"):
        read_seg(ours, other)
    anonymous = replace(other, source=replace(other.source, frame_of_reference_uid=None, study_uid="1.2.3.5"))
    with pytest.raises(GeometryError, match="belongs to another exam: .* its study is 1.2.3.4"):
        read_seg(ours, anonymous)


def test_other_objects_and_damaged_ones_are_refused(cine: Cine, folder: Path, ours: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is MR Image Storage: expected a DICOM segmentation"):
        read_seg(next((folder / "dicom").iterdir()), cine)
    with pytest.raises(InputError, match="is Comprehensive SR Storage"):
        read_seg(folder / "measurements_sr.dcm", cine)

    def fewer(dataset: Dataset) -> None:
        dataset.PerFrameFunctionalGroupsSequence = dataset.PerFrameFunctionalGroupsSequence[:-1]

    def huge(dataset: Dataset) -> None:
        dataset.NumberOfFrames = 2_000_000_000

    for change, message in ((fewer, "48 frames and describes 47"), (huge, "2000000000 frames")):
        with pytest.raises(InputError, match=message):
            read_seg(changed(ours, tmp_path / "seg.dcm", change), cine)
    (tmp_path / "cut.dcm").write_bytes(ours.read_bytes()[:-2000])
    with pytest.raises(InputError, match="cannot be read as a DICOM segmentation"):
        read_seg(tmp_path / "cut.dcm", cine)


def test_damage_of_any_kind_gives_labels_or_a_clear_error(cine: Cine, ours: Path, tmp_path: Path) -> None:
    whole, path, draw = ours.read_bytes(), tmp_path / "seg.dcm", random.Random(5)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(draw.choice((1, 3, 10))):
            data[draw.randrange(132, len(data))] = draw.randrange(256)
        path.write_bytes(data[: draw.choice((len(data), len(data), draw.randrange(132, len(data))))])
        try:
            read_seg(path, cine)
            outcomes["read"] += 1
        except InputError as error:
            assert "\n" not in str(error)
            outcomes["refused"] += 1
    assert outcomes["read"] and outcomes["refused"]


def test_the_command_measures_it_as_it_measures_the_same_labels_in_nifti(
    cine: Cine, folder: Path, ours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_segmentation(objects.ring(cine), cine, tmp_path / "labels.nii.gz")
    by_nifti = analyze(folder / "dicom", segmentation=tmp_path / "labels.nii.gz").measurements
    by_seg = analyze(folder / "dicom", segmentation=ours)
    assert (by_seg.measurements.edv_ml, by_seg.measurements.ef_percent) == (by_nifti.edv_ml, by_nifti.ef_percent)
    assert by_seg.provenance.segmentation_source == "dicom-seg"
    assert main(["analyze", str(folder / "dicom"), "--segmentation", str(ours)]) == 0
    assert f"{by_nifti.ef_percent:.1f}" in capsys.readouterr().out
    mr = str(next((folder / "dicom").iterdir()))
    assert main(["analyze", str(folder / "dicom"), "--segmentation", mr]) == 3
    assert "expected a DICOM segmentation" in capsys.readouterr().err


def test_segments_by_their_numbers(cine: Cine, folder: Path) -> None:
    path = elsewhere(folder, objects.ring(cine).labels[2], labels=("Segment_1", "Segment_2"))
    with pytest.raises(InputError, match="--labels names them by number"):
        read_segmentation(path, cine)
    seen, _ = read_segmentation(path, cine, LabelReading(labels="lv=1,myo=2"))
    np.testing.assert_array_equal(seen.labels, meant_at(cine, 2))
    with pytest.raises(InputError, match="none of the segments 7"):
        read_segmentation(path, cine, LabelReading(labels="lv=7"))


def test_a_phase_for_frames_that_name_none(cine: Cine, ours: Path, folder: Path, tmp_path: Path) -> None:
    def forget(dataset: Dataset) -> None:
        for item in dataset.PerFrameFunctionalGroupsSequence:
            item.pop("DerivationImageSequence", None)

    path = changed(elsewhere(folder, objects.ring(cine).labels[2]), tmp_path / "seg.dcm", forget)
    with pytest.raises(GeometryError, match="give it with --segmentation-phase"):
        read_segmentation(path, cine)
    seen, _ = read_segmentation(path, cine, LabelReading(phase=4))
    np.testing.assert_array_equal(seen.labels[4], objects.ring(cine).labels[2])
    with pytest.raises(UsageError, match="leave --segmentation-phase out"):
        read_segmentation(ours, cine, LabelReading(phase=4))


def test_pixel_data_of_an_odd_length_are_read_without_a_warning(cine: Cine, ours: Path, tmp_path: Path) -> None:
    def longer(dataset: Dataset) -> None:
        dataset.PixelData += b"\0\0\0\0"

    def as_long_compressed(dataset: Dataset) -> None:
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.RLELossless
        length = len(dataset.PixelData)
        dataset.PixelData = encapsulate([bytes(length - 16)], has_bot=False)
        dataset["PixelData"].is_undefined_length = True
        dataset.PixelData += bytes(length - len(dataset.PixelData))

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        labels = read_seg(changed(ours, tmp_path / "longer.dcm", longer), cine).labels
        assert not seen
    np.testing.assert_array_equal(labels, read_seg(ours, cine).labels)
    compressed = changed(ours, tmp_path / "compressed.dcm", as_long_compressed)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(InputError, match="cannot be read as a DICOM segmentation"):
            read_seg(compressed, cine)
        assert not seen
