"""RT Structure Set: the contours lie where the ventricle is, in every orientation."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

import filed
import orientations
from checkers import dciodvfy
from cinesax.analyze import analyze
from cinesax.core.analysis import Analysis
from cinesax.core.cine import Cine
from cinesax.core.errors import OutputError
from cinesax.core.segmentation import from_contours
from cinesax.core.structures import Structure
from cinesax.dicom.write.filing import file_under, to_bytes
from cinesax.dicom.write.options import RTSTRUCT_NAME, DicomOptions
from cinesax.dicom.write.rtstruct import prove_rtstruct, rtstruct_dataset
from cinesax.results.write import write_results

Points = NDArray[np.float64]


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return filed.analysis(tmp_path_factory.mktemp("exam"))


@pytest.fixture(scope="module")
def out(squares: Analysis, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_results(squares, tmp_path_factory.mktemp("results") / "out", dicom=DicomOptions(rtstruct=True))


def contours(structures: Dataset) -> dict[str, list[tuple[str, Points]]]:
    """Name of the ROI -> the source instance and the points (n, 3) of each of its contours, LPS mm."""
    names = {roi.ROINumber: roi.ROIName for roi in structures.StructureSetROISequence}
    return {
        names[item.ReferencedROINumber]: [
            (
                str(contour.ContourImageSequence[0].ReferencedSOPInstanceUID),
                np.array(contour.ContourData, dtype=float).reshape(-1, 3),
            )
            for contour in item.ContourSequence
        ]
        for item in structures.ROIContourSequence
    }


def test_each_border_at_ed_and_es_is_a_region_of_its_own(out: Path, squares: Analysis) -> None:
    read = pydicom.dcmread(out / RTSTRUCT_NAME)
    assert {name: len(of) for name, of in contours(read).items()} == {
        "LV cavity ED": 4,
        "LV epicardium ED": 4,
        "LV cavity ES": 4,
    }
    assert {roi.ROIGenerationAlgorithm for roi in read.StructureSetROISequence} == {"AUTOMATIC"}
    assert read.StudyInstanceUID == squares.cine.source.study_uid and read.ApprovalStatus == "UNAPPROVED"
    source = read.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence
    named = {one.ReferencedSOPInstanceUID for item in source for one in item.ContourImageSequence}
    assert {uid for of in contours(read).values() for uid, _ in of} <= named
    assert {item.SeriesInstanceUID for item in source} == set(squares.cine.source.series_uids)


def test_contours_have_the_size_that_was_measured_and_lie_in_the_plane_of_their_image(
    out: Path, tmp_path: Path
) -> None:
    again = filed.stored(tmp_path / "exam")  # the same files: the same UIDs
    planes = {pydicom.dcmread(path).SOPInstanceUID: pydicom.dcmread(path) for path in (tmp_path / "exam").iterdir()}
    assert again.n_slices == 6
    for name, side in (("LV cavity ED", 20), ("LV epicardium ED", 28), ("LV cavity ES", 10)):
        for uid, points in contours(pydicom.dcmread(out / RTSTRUCT_NAME))[name]:
            image = planes[uid]
            axes = np.array(image.ImageOrientationPatient, dtype=float).reshape(2, 3)
            offset = points - np.array(image.ImagePositionPatient, dtype=float)
            assert np.abs(offset @ np.cross(*axes)).max() < 0.001
            assert np.ptp(offset @ axes.T, axis=0) == pytest.approx([side, side], abs=0.001)


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Patient and study of some DICOM source."""
    return filed.stored(tmp_path_factory.mktemp("filed")).source.copied


def inside(polygon: Points, points: Points) -> NDArray[np.bool_]:
    """Which of the points (n, 2) lie inside of a polygon (m, 2), by the even-odd rule."""
    x, y = points[:, :1], points[:, 1:]
    (x0, y0), (x1, y1) = polygon.T, np.roll(polygon, -1, axis=0).T
    crosses = ((y0 <= y) != (y1 <= y)) & (x < x0 + (y - y0) * (x1 - x0) / np.where(y1 == y0, 1, y1 - y0))
    return np.asarray(crosses.sum(axis=1) % 2 == 1)


@pytest.mark.parametrize("pose", orientations.SOME_POSES, ids=str)
def test_in_any_orientation_they_lie_on_the_millimetres_of_the_solid(pose: orientations.Pose, copied: bytes) -> None:
    cine, truth = orientations.stack(pose)
    cine = replace(cine, source=replace(cine.source, copied=copied))
    of = analyze(cine, segmentation=truth, ed_phase=0, es_phase=2)
    structures = rtstruct_dataset(of, file_under(of))
    assert structures is not None
    generator = np.random.default_rng(0)
    compared = 0
    for name, named in contours(pydicom.dcmread(pydicom.filebase.DicomBytesIO(to_bytes(structures)))).items():
        phase = 0 if name.endswith("ED") else 2
        least = Structure.CAVITY if "cavity" in name else None
        for uid in sorted({uid for uid, _ in named}):
            polygons = [points for one, points in named if one == uid]
            origin, axes = plane(polygons[0])
            flat = [(points - origin) @ axes.T for points in polygons]
            low, high = np.min(np.vstack(flat), axis=0) - 4, np.max(np.vstack(flat), axis=0) + 4
            probes = generator.uniform(low, high, (150, 2))
            there, clear = at(origin + probes @ axes, axes, phase=phase, margin_mm=max(pose.spacing_mm), only=least)
            here = np.any([inside(polygon, probes) for polygon in flat], axis=0)
            assert np.array_equal(here[clear], there[clear]), (name, uid)
            compared += int(clear.sum())
        assert {uid for uid, _ in named} == sections(cine, phase, only=least)
    assert compared > 1500


def plane(polygon: Points) -> tuple[Points, Points]:
    """A point of the plane of a contour, and two axes (2, 3) in it."""
    centre = polygon.mean(axis=0)
    return centre, np.linalg.svd(polygon - centre)[2][:2]


def at(
    points: Points, axes: Points, *, phase: int, margin_mm: float, only: Structure | None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether the solid is at points, and whether it is the same for a margin around them in the plane."""

    def there(where: Points) -> NDArray[np.bool_]:
        labels = orientations.labels_at(where, phase=phase)
        return np.asarray(labels > 0 if only is None else labels == only)

    turns = np.arange(12) * np.pi / 6
    rings = np.array([part * margin_mm * np.array([np.cos(a), np.sin(a)]) @ axes for a in turns for part in (0.5, 1)])
    here = there(points)
    return here, np.all(there(points + rings[:, None]) == here, axis=0)


def sections(cine: Cine, phase: int, *, only: Structure | None) -> set[str]:
    """The instances of the slices that cut the solid."""
    labels = orientations.labels_at(orientations.pixel_centres(cine), phase=phase)
    cut = (labels > 0 if only is None else labels == only).any(axis=(1, 2))
    return {uid for uid, hit in zip(cine.source.instance_uids[phase], cut, strict=True) if hit}


@pytest.mark.parametrize("spoil", ["moved", "turned over", "another slice", "missing", "twice", "cut"])
def test_contours_that_lie_elsewhere_are_not_kept(squares: Analysis, out: Path, tmp_path: Path, spoil: str) -> None:
    path = tmp_path / RTSTRUCT_NAME
    shutil.copy(out / RTSTRUCT_NAME, path)
    prove_rtstruct(path, squares)
    read = pydicom.dcmread(path)
    items = read.ROIContourSequence[0].ContourSequence
    points = np.array(items[0].ContourData, dtype=float).reshape(-1, 3)
    if spoil == "moved":
        items[0].ContourData = [f"{value:.4f}" for value in (points + (0, 0.02, 0)).ravel()]
    elif spoil == "turned over":
        items[0].ContourData = [f"{value:.4f}" for value in (points * (1, -1, 1)).ravel()]
    elif spoil == "another slice":
        items[0].ContourImageSequence = items[1].ContourImageSequence
    elif spoil == "missing":
        del items[0]
    elif spoil == "twice":
        items.append(items[0])
    read.save_as(path)
    if spoil == "cut":
        path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(OutputError, match="was read back and differs from what was intended"):
        prove_rtstruct(path, squares)


def test_contours_of_any_number_of_points_are_kept_whole(squares: Analysis, tmp_path: Path) -> None:
    turn = np.linspace(0, 2 * np.pi, 5000, endpoint=False)
    circle = 23.5 + 10 * np.column_stack([np.cos(turn), np.sin(turn)])
    keys = squares.segmentation.contours or {}
    drawn = {key: (circle,) for key in keys if key[0] is Structure.CAVITY and key[1] < 2}
    of = analyze(squares.cine, segmentation=from_contours(drawn, squares.cine.pixels.shape, author="manual"))
    read = filed.written(of, tmp_path / "out")[RTSTRUCT_NAME]
    # The same in all phases: one phase is both.
    assert contours(read)["LV cavity ED ES"][0][1].shape == (5000, 3)
    assert {roi.ROIGenerationAlgorithm for roi in read.StructureSetROISequence} == {"MANUAL"}
    assert dciodvfy(tmp_path / "out" / RTSTRUCT_NAME, kind="RTStructureSet") == []


def test_without_contours_there_is_none(tmp_path: Path) -> None:
    nothing = filed.squares(myocardium=False, sides=[0.0] * 10)
    of = analyze(filed.stored(tmp_path / "exam"), segmentation=replace(nothing, contours=None))
    assert RTSTRUCT_NAME not in filed.written(of, tmp_path / "out")


def test_the_same_analysis_gives_the_same_bytes(squares: Analysis) -> None:
    made = [rtstruct_dataset(squares, file_under(squares)) for _ in range(2)]
    assert made[0] is not None and made[1] is not None
    assert to_bytes(made[0]) == to_bytes(made[1])


def test_the_validator_finds_nothing_in_it(out: Path) -> None:
    assert dciodvfy(out / RTSTRUCT_NAME, kind="RTStructureSet") == []
