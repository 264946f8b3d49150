"""RT Structure Sets in: what was written comes back, and contours of others land on their frames."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

import exams
import objects
from cinesax.core.analysis import Analysis
from cinesax.core.cine import Source
from cinesax.core.errors import GeometryError, InputError, UsageError
from cinesax.core.selection import LabelReading
from cinesax.core.structures import Structure
from cinesax.dicom.objects.names import structure_of
from cinesax.dicom.write.objects import write_objects
from cinesax.dicom.write.options import RTSTRUCT_NAME, DicomOptions
from cinesax.inputs import read_segmentation
from cinesax.measure.volumes import measure


@pytest.fixture(scope="module")
def exam(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return objects.analysis_of(objects.exam_on_disk(tmp_path_factory.mktemp("exam")))


@pytest.fixture(scope="module")
def ours(exam: Analysis, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("objects")
    write_objects(exam, folder, DicomOptions(rtstruct=True))
    return folder / RTSTRUCT_NAME


def changed(ours: Path, to: Path, change) -> Path:
    dataset = pydicom.dcmread(ours)
    change(dataset)
    dataset.save_as(to / "changed.dcm")
    return to / "changed.dcm"


def of_one_phase(dataset: Dataset) -> None:
    """Contours of ED without a word of the frames on which they were drawn, as planning systems export them."""
    names = {roi.ROINumber: str(roi.ROIName) for roi in dataset.StructureSetROISequence}
    at_ed = [item for item in dataset.ROIContourSequence if names[item.ReferencedROINumber].endswith("ED")]
    dataset.ROIContourSequence = at_ed
    for item in at_ed:
        for contour in item.ContourSequence:
            del contour.ContourImageSequence


def test_what_was_written_comes_back(exam: Analysis, ours: Path) -> None:
    seen, kind = read_segmentation(ours, exam.cine)
    assert (kind, seen.author) == ("rtstruct", "manual")
    phases = {exam.measurements.ed_phase, exam.measurements.es_phase}
    assert set(np.flatnonzero(seen.known_phases[Structure.CAVITY]).tolist()) == phases
    for phase in phases:
        for place in range(exam.cine.n_slices):
            for structure in (Structure.CAVITY, Structure.MYOCARDIUM):
                meant = exam.segmentation.outline(structure, phase, place)
                back = seen.outline(structure, phase, place)
                assert len(back) == len(meant)
                for one, other in zip(back, meant, strict=True):
                    np.testing.assert_allclose(one, other, atol=1e-3)
    measured = measure(exam.cine, seen)
    # Contours traced round pixels cut their corners: the same contours give the same volume.
    assert measured.ef_percent == pytest.approx(_of_contours(exam, "ef_percent"), rel=1e-3)
    assert measured.lv_mass_g == pytest.approx(_of_contours(exam, "lv_mass_g"), rel=1e-3)


def _of_contours(exam: Analysis, name: str) -> float:
    from cinesax.core.segmentation import from_contours

    segmentation = exam.segmentation
    keys = [
        (structure, phase, place)
        for structure in (Structure.CAVITY, Structure.MYOCARDIUM)
        for phase in (exam.measurements.ed_phase, exam.measurements.es_phase)
        for place in range(exam.cine.n_slices)
    ]
    traced = {key: segmentation.outline(*key) for key in keys}
    return getattr(measure(exam.cine, from_contours(traced, exam.cine.pixels.shape)), name)


def test_contours_that_name_no_frame_need_a_phase(exam: Analysis, ours: Path, tmp_path: Path) -> None:
    path = changed(ours, tmp_path, of_one_phase)
    with pytest.raises(GeometryError, match="give it with --segmentation-phase"):
        read_segmentation(path, exam.cine)
    seen, _ = read_segmentation(path, exam.cine, LabelReading(phase=3))
    ed = read_segmentation(ours, exam.cine)[0].labels[exam.measurements.ed_phase]
    assert np.flatnonzero(seen.known_phases[Structure.CAVITY]).tolist() == [3]
    np.testing.assert_array_equal(seen.labels[3], ed)


def test_a_wall_drawn_as_a_ring(exam: Analysis, ours: Path, tmp_path: Path) -> None:
    """Its inner border is no second epicardium."""

    def as_ring(dataset: Dataset) -> None:
        names = {roi.ROINumber: str(roi.ROIName) for roi in dataset.StructureSetROISequence}
        by_name = {names[item.ReferencedROINumber]: item for item in dataset.ROIContourSequence}
        by_name["LV epicardium ED"].ContourSequence.extend(by_name["LV cavity ED"].ContourSequence)

    path = changed(ours, tmp_path, as_ring)
    whole, ring = (read_segmentation(one, exam.cine)[0] for one in (ours, path))
    np.testing.assert_array_equal(whole.labels, ring.labels)
    assert measure(exam.cine, ring).lv_mass_g == measure(exam.cine, whole).lv_mass_g


@pytest.mark.parametrize(
    ("name", "code", "structure"),
    [
        ("LV endo", "", Structure.CAVITY),
        ("heart_ventricle_left", "", Structure.CAVITY),
        ("Ventricle_L", "87878005", Structure.CAVITY),
        ("LV epicardium ES", "", Structure.MYOCARDIUM),
        ("LV wall", "87878005", Structure.MYOCARDIUM),
        ("RV endo", "", Structure.RV_CAVITY),
        ("heart_ventricle_right", "", Structure.RV_CAVITY),
        ("blood", "53085002", Structure.RV_CAVITY),
        ("RV free wall", "", None),
        ("papillary muscles", "", Structure.PAPILLARY_MUSCLES),
        ("RV insertion point", "", None),
        ("right atrium", "", None),
        ("left atrium", "", None),
        ("septum", "", None),
        ("liver", "", None),
        ("GTV", "", None),
    ],
)
def test_names_and_codes(name: str, code: str, structure: Structure | None) -> None:
    assert structure_of(name, code) is structure


def rename(dataset: Dataset) -> None:
    for roi in dataset.StructureSetROISequence:
        roi.ROIName = "GTV"


def far_away(dataset: Dataset) -> None:
    contour = dataset.ROIContourSequence[0].ContourSequence[0]
    contour.ContourData = [float(value) + 500 for value in contour.ContourData]


def off_its_plane(dataset: Dataset) -> None:
    contour = dataset.ROIContourSequence[0].ContourSequence[0]
    contour.ContourData = [
        float(value) + (4 if index % 3 == 0 else 0) for index, value in enumerate(contour.ContourData)
    ]


def two_points(dataset: Dataset) -> None:
    dataset.ROIContourSequence[0].ContourSequence[0].ContourData = [1, 2, 3, 4, 5, 6]


def odd_number(dataset: Dataset) -> None:
    dataset.ROIContourSequence[0].ContourSequence[0].ContourData = [1, 2, 3, 4]


def out_of_order(dataset: Dataset) -> None:
    contour = dataset.ROIContourSequence[0].ContourSequence[2]
    points = np.array(contour.ContourData, dtype=float).reshape(-1, 3)
    order = [*range(0, len(points), 2), *range(1, len(points), 2)]
    contour.ContourData = [round(float(value), 6) for value in points[order].reshape(-1)]


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        (out_of_order, InputError, r"changed.dcm: the .* of frame \d+ \(phase \d+, slice \d\) crosses itself"),
        (rename, InputError, "its regions are GTV, GTV"),
        (far_away, GeometryError, "does not lie in its plane"),
        (off_its_plane, GeometryError, "does not lie in its plane"),
        (two_points, InputError, "has 2 points"),
        (odd_number, InputError, "cannot be read as an RT Structure Set"),
    ],
)
def test_what_cannot_be_read(exam: Analysis, ours: Path, tmp_path: Path, change, kind, said: str) -> None:
    with pytest.raises(kind, match=said):
        read_segmentation(changed(ours, tmp_path, change), exam.cine)


def test_of_another_exam(exam: Analysis, ours: Path) -> None:
    with pytest.raises(GeometryError, match="belongs to another exam"):
        read_segmentation(ours, exams.small_cine(source=Source("dicom", study_uid="9", frame_of_reference_uid="9.9")))


def test_it_has_names_and_no_numbers(exam: Analysis, ours: Path) -> None:
    with pytest.raises(UsageError, match="leave --labels out"):
        read_segmentation(ours, exam.cine, LabelReading(labels="acdc"))
