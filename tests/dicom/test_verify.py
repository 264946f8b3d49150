"""Geometry proves itself: objects land on the millimetres that were meant, and what does not is never kept."""

import struct
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from highdicom.spatial import PixelToReferenceTransformer
from numpy.typing import NDArray
from pydicom.dataset import Dataset

import cinesax
import hearts
import objects
from cinesax.cli.main import main
from cinesax.core.analysis import Analysis
from cinesax.core.errors import OutputError
from cinesax.dicom.verify import prove_nifti, prove_seg
from cinesax.dicom.write import objects as dicom_objects
from cinesax.dicom.write.filing import file_under, to_bytes
from cinesax.dicom.write.objects import write_objects
from cinesax.dicom.write.options import DicomOptions, SegmentationType
from cinesax.dicom.write.seg import seg_datasets
from cinesax.formats import nifti
from cinesax.formats.nifti import write_segmentation
from orientations import EACH_ORIENTATION, PHASES, Pose, labels_at, stack

ALL = tuple(range(PHASES))


@cache
def posed(pose: Pose) -> Analysis:
    cine, truth = stack(pose)
    return objects.analysis_of(objects.filed(cine), truth)


def agree(points: NDArray[np.float64], labels: NDArray[Any], *, phase: int) -> bool:
    """Whether the solid is so at all points; at its very surface either side will do, within a thousandth of a mm."""
    wrong = labels_at(points, phase=phase) != labels
    for shift in product((-0.001, 0.001), repeat=3):
        wrong[wrong] = labels_at(points[wrong] + shift, phase=phase) != labels[wrong]
    return not wrong.any()


@pytest.mark.parametrize("pose", EACH_ORIENTATION, ids=str)
def test_segmentations_land_on_the_millimetres_of_the_solid(pose: Pose, tmp_path: Path) -> None:
    analysis = posed(pose)
    kind = list(SegmentationType)[pose.orientation % 2]
    path = tmp_path / "seg_cine.dcm"
    path.write_bytes(to_bytes(seg_datasets(analysis, file_under(analysis), kind=kind)[path.name]))
    prove_seg(path, analysis.segmentation, analysis.cine, phases=ALL)
    dataset = pydicom.dcmread(path)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    count = 0
    for image, item in zip(dataset.pixel_array, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        to_patient = PixelToReferenceTransformer(
            item.PlanePositionSequence[0].ImagePositionPatient,
            shared.PlaneOrientationSequence[0].ImageOrientationPatient,
            shared.PixelMeasuresSequence[0].PixelSpacing,
        )
        rows, columns = np.nonzero(image)
        seen = image[rows, columns]
        if kind is SegmentationType.BINARY:
            seen = seen * item.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        phase = item.FrameContentSequence[0].TemporalPositionIndex - 1
        assert agree(to_patient(np.column_stack([columns, rows])), seen, phase=phase)
        count += len(rows)
    assert count == np.count_nonzero(analysis.segmentation.labels) > 1000


@pytest.mark.parametrize("pose", EACH_ORIENTATION, ids=str)
def test_label_files_land_on_the_millimetres_of_the_solid(pose: Pose, tmp_path: Path) -> None:
    analysis = posed(pose)
    path = tmp_path / "labels.nii.gz"
    write_segmentation(analysis.segmentation, analysis.cine, path)
    prove_nifti(path, analysis.segmentation, analysis.cine)
    # No image of ITK is sheared: such files are for readers that take the affine as it is.
    labels, points = by_nibabel(path) if pose.shift_mm else by_simpleitk(path)
    assert labels.shape[0] == PHASES
    for phase in ALL:
        inside = labels[phase] > 0
        assert agree(points[inside], labels[phase][inside], phase=phase)
        assert np.count_nonzero(inside) == np.count_nonzero(analysis.segmentation.labels[phase])


def by_simpleitk(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """(phase, slice, row, column) labels, and where the voxels of a phase are: (slice, row, column, 3), LPS mm."""
    image = sitk.ReadImage(str(path))
    labels = sitk.GetArrayFromImage(image)
    size, direction = image.GetSize()[:3], np.array(image.GetDirection()).reshape(4, 4)[:3, :3]
    index = np.stack(np.meshgrid(*(np.arange(n) for n in size[::-1]), indexing="ij"), axis=-1)[..., ::-1]
    return labels, (index * image.GetSpacing()[:3]) @ direction.T + image.GetOrigin()[:3]


def by_nibabel(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    image = nibabel.load(path)
    labels = np.asarray(image.dataobj).transpose(3, 2, 1, 0)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in labels.shape[1:]), indexing="ij"), axis=-1)[..., ::-1]
    return labels, nibabel.affines.apply_affine(image.affine, index) * (-1, -1, 1)


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return posed(Pose(orientation=10, oblique=True))


@pytest.fixture(scope="module")
def seg(analysis: Analysis, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seg")
    write_objects(analysis, folder, DicomOptions())
    return folder / "seg_cine.dcm"


def frames(dataset: Dataset) -> list[Dataset]:
    return list(dataset.PerFrameFunctionalGroupsSequence)


def set_pixels(dataset: Dataset, pixels: NDArray[Any]) -> None:
    data = np.packbits(pixels.astype(np.uint8), bitorder="little").tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)


def upside_down(dataset: Dataset) -> None:
    set_pixels(dataset, dataset.pixel_array[:, ::-1])


def one_pixel_more(dataset: Dataset) -> None:
    pixels = dataset.pixel_array.copy()
    pixels[5, 0, 0] = 1
    set_pixels(dataset, pixels)


def swap_spacing(dataset: Dataset) -> None:
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.PixelSpacing = list(measures.PixelSpacing)[::-1]


def swap_orientation(dataset: Dataset) -> None:
    plane = dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    plane.ImageOrientationPatient = [*plane.ImageOrientationPatient[3:], *plane.ImageOrientationPatient[:3]]


def mirror(dataset: Dataset) -> None:
    for item in frames(dataset):
        plane = item.PlanePositionSequence[0]
        plane.ImagePositionPatient = [-plane.ImagePositionPatient[0], *plane.ImagePositionPatient[1:]]


def a_tenth_of_a_millimetre(dataset: Dataset) -> None:
    plane = frames(dataset)[7].PlanePositionSequence[0]
    plane.ImagePositionPatient = [*plane.ImagePositionPatient[:2], plane.ImagePositionPatient[2] + 0.1]


def swap_slices(dataset: Dataset) -> None:
    one, other = (item.DerivationImageSequence[0].SourceImageSequence[0] for item in frames(dataset)[3:5])
    swapped = other.ReferencedSOPInstanceUID, one.ReferencedSOPInstanceUID
    one.ReferencedSOPInstanceUID, other.ReferencedSOPInstanceUID = swapped


def swap_segments(dataset: Dataset) -> None:
    for item in frames(dataset):
        number = item.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        item.SegmentIdentificationSequence[0].ReferencedSegmentNumber = 3 - number


def next_phase(dataset: Dataset) -> None:
    item = frames(dataset)[0].FrameContentSequence[0]
    item.TemporalPositionIndex += 1


def foreign_source(dataset: Dataset) -> None:
    frames(dataset)[0].DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"


def last_frame_lost(dataset: Dataset) -> None:
    pixels = dataset.pixel_array[:-1]
    dataset.PerFrameFunctionalGroupsSequence = frames(dataset)[:-1]
    dataset.NumberOfFrames -= 1
    set_pixels(dataset, pixels)


def no_orientation(dataset: Dataset) -> None:
    del dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (upside_down, "mm from where it was meant|pixels where"),
        (one_pixel_more, "pixels where"),
        (swap_spacing, "mm from where it was meant"),
        (swap_orientation, "mm from where it was meant"),
        (mirror, "mm from where it was meant"),
        (a_tenth_of_a_millimetre, r"0\.10 mm from where it was meant"),
        (swap_slices, "mm from where it was meant|pixels where"),
        (swap_segments, "pixels where"),
        (next_phase, "not one of the intended source frames"),
        (foreign_source, r"refers to 1\.2\.3, which is not one of the intended source frames"),
        (last_frame_lost, "is missing"),
        (no_orientation, "cannot be read"),
    ],
)
def test_a_spoilt_segmentation_is_found_out(
    analysis: Analysis, seg: Path, tmp_path: Path, spoil: Callable[[Dataset], None], message: str
) -> None:
    prove_seg(seg, analysis.segmentation, analysis.cine, phases=ALL)
    dataset = pydicom.dcmread(seg)
    spoil(dataset)
    dataset.save_as(tmp_path / "seg.dcm")
    with pytest.raises(OutputError, match=message):
        prove_seg(tmp_path / "seg.dcm", analysis.segmentation, analysis.cine, phases=ALL)


@pytest.mark.parametrize(
    ("at", "message"),
    [
        (280, "mm from where it was meant"),  # srow_x
        (292, "mm from where it was meant"),  # its offset
        (70, "not a NIfTI-1 file of labels"),  # datatype
        (352 + 4000, "labels differ from those"),
    ],
)
def test_a_spoilt_label_file_is_found_out(analysis: Analysis, tmp_path: Path, at: int, message: str) -> None:
    path = tmp_path / "labels.nii"
    write_segmentation(analysis.segmentation, analysis.cine, path)
    prove_nifti(path, analysis.segmentation, analysis.cine)
    data = bytearray(path.read_bytes())
    if at in (280, 292):
        struct.pack_into("<f", data, at, -struct.unpack_from("<f", data, at)[0])
    else:
        data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(OutputError, match=message):
        prove_nifti(path, analysis.segmentation, analysis.cine)
    path.write_bytes(data[:200])
    with pytest.raises(OutputError, match="cannot be read"):
        prove_nifti(path, analysis.segmentation, analysis.cine)


def test_what_lies_elsewhere_is_not_kept_and_an_earlier_result_stays(
    analysis: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = cinesax.write_results(analysis, tmp_path / "out", dicom=DicomOptions())
    before = {path.name: path.read_bytes() for path in out.glob("*.*")}
    assert {"seg_ed.dcm", "seg_es.dcm", "seg_cine.dcm"} < set(before)

    def turned_over(dataset: Dataset) -> bytes:
        if dataset.Modality == "SEG":
            upside_down(dataset)
        return to_bytes(dataset)

    with monkeypatch.context() as patch:
        patch.setattr(dicom_objects, "to_bytes", turned_over)
        for target in (out, tmp_path / "new"):
            with pytest.raises(OutputError, match=r"seg_ed\.dcm was read back and differs from what was intended"):
                cinesax.write_results(analysis, target, dicom=DicomOptions())
    with monkeypatch.context() as patch:
        write = nifti.write_segmentation
        patch.setattr(nifti, "write_segmentation", lambda labels, _, path: write(labels, on_another_grid(labels), path))
        with pytest.raises(OutputError, match=r"segmentation\.nii\.gz was read back"):
            cinesax.write_results(analysis, tmp_path / "new")
    assert {path.name: path.read_bytes() for path in out.glob("*.*")} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def on_another_grid(segmentation: cinesax.Segmentation) -> cinesax.Cine:
    _, slices, rows, columns = segmentation.labels.shape
    origins = np.arange(slices)[:, None] * [0.0, 0.0, 9.0]
    grid = cinesax.Grid(origins, np.array([1, 0, 0]), np.array([0, 1, 0]), (1.0, 1.0), (slices, rows, columns))
    return cinesax.Cine(np.zeros(segmentation.labels.shape, np.uint8), grid)


def test_a_result_without_dicom_objects_does_not_keep_those_of_an_earlier_one(
    analysis: Analysis, tmp_path: Path
) -> None:
    out = cinesax.write_results(analysis, tmp_path / "out", dicom=DicomOptions(rtstruct=True))
    assert (out / "rtstruct.dcm").exists() and (out / "seg_ed.dcm").exists()
    cinesax.write_results(analysis, out)
    assert not list(out.glob("*.dcm"))
    cinesax.write_results(analysis, out, dicom=DicomOptions())
    (out / "notes.txt").write_text("mine")
    cinesax.write_results(analysis, out, force=True)
    assert not list(out.glob("*.dcm")) and (out / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dicom"], "give it with -o OUT"),
        (["--labelmap", "-o", "{out}"], "--labelmap is an option for DICOM objects: give --dicom too"),
        (["--rtstruct", "-o", "{out}"], "give --dicom too"),
        (["--dicom", "-o", "{out}", "--content-time", "noon"], "such as 2024-05-31T14:30"),
        (["--dicom", "-o", "{out}", "--content-time", "2024-05-31T14:30+02:00"], "without a time zone"),
        (["--dicom", "-o", "{out}", "--content-time", "0001-01-01"], "from 1900 on"),
        (["-o", "{out}"], "never writes into the exam"),
    ],
)
def test_options_that_cannot_be_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    arguments = [option.format(out=tmp_path / "out") for option in options]
    try:
        code = main(["analyze", str(tmp_path), *arguments])
    except SystemExit as error:
        code = error.code
    assert code == 2 and message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_label_file_is_proved_without_geometry_too(tmp_path: Path) -> None:
    bare = hearts.cine(grid=None)
    path = tmp_path / "labels.nii.gz"
    write_segmentation(hearts.labels(), bare, path)
    prove_nifti(path, hearts.labels(), bare)
    with pytest.raises(OutputError, match="labels differ from those"):
        prove_nifti(path, hearts.labels(sides=(8,) * 10), bare)
