"""Writing an RT Structure Set: contours in patient coordinates, for planning systems and contour editors.

One region of interest (ROI) for each structure at its chamber's ED and ES: "LV cavity" is the endocardial border, "LV
epicardium" the epicardial one, which goes around cavity and myocardium, "RV cavity" that of the right ventricle. A ring
is not written as one ROI: programs represent its hole differently, but a border means the same to all of them. Planning
systems do not know heart phases, so the phase is in the name of the ROI, and phases other than ED and ES are left out:
all would overlap.

Every contour lies in the plane of its source frame and refers to that frame. Its points are those of the sub-pixel
contour.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from highdicom.base import SOPClass
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RTStructureSetStorage

from cinesax.core.analysis import Analysis
from cinesax.core.cine import Cine
from cinesax.core.errors import GeometryError, OutputError
from cinesax.core.grid import Floats, Grid
from cinesax.core.measurements import Measurements
from cinesax.core.structures import Structure
from cinesax.dicom.copied import lenient
from cinesax.dicom.read.header import DICOM_ERRORS
from cinesax.dicom.write.filing import Filing, ObjectKind, describe, finish, reference, series_of_frames
from cinesax.dicom.write.options import RTSTRUCT_NAME
from cinesax.dicom.write.people import Drawing, creator, drawing_of, person_name

_DETACHED_STUDY = "1.2.840.10008.3.1.2.3.1"
_DECIMALS = 4
"""For coordinates in mm: a ten-thousandth is far below any pixel, and ten characters hold any position in a scanner."""
_LONGEST_VALUE = 65534
"""The maximum length of a decimal string with explicit VR, in bytes."""
TOLERANCE_MM = 0.001
"""The tolerance for positions of points."""


@dataclass(frozen=True, eq=False)
class _Contour:
    """One closed planar contour: its ROI, its source frame, and (point, 3) LPS mm."""

    roi: int
    phase: int
    place: int
    points_mm: Floats


@dataclass(frozen=True, slots=True)
class _Roi:
    """A border at a phase."""

    outline: Structure
    phase: int
    name: str
    rgb: tuple[int, int, int]


def rtstruct_dataset(analysis: Analysis, filing: Filing) -> Dataset | None:
    """The structure set of an analysis.

    Args:
        analysis: the analysis of an exam read from DICOM.
        filing: see `cinesax.dicom.write.filing.file_under`.

    Returns:
        The object; None if there is no contour at ED or ES.

    Raises:
        GeometryError: the exam has no geometry.
    """
    grid = analysis.cine.grid
    if grid is None:
        raise GeometryError("an RT Structure Set needs the positions of the pixels: this exam has no geometry")
    rois = _rois(analysis)
    contours = _contours(analysis, grid, rois)
    if not contours:
        return None
    texts = [_coordinates(contour.points_mm) for contour in contours]
    with lenient():
        dataset = _empty(filing, compact=max(map(len, texts)) <= _LONGEST_VALUE)
        dataset.ReferencedFrameOfReferenceSequence = [_source(analysis.cine, filing, {roi.phase for roi in rois})]
        dataset.StructureSetROISequence = [
            _roi(number, roi, filing, drawing_of(analysis, roi.outline)) for number, roi in enumerate(rois, 1)
        ]
        dataset.ROIContourSequence = [_roi_contour(number, roi) for number, roi in enumerate(rois, 1)]
        dataset.RTROIObservationsSequence = [_observation(number) for number in range(1, len(rois) + 1)]
        for contour, text in zip(contours, texts, strict=True):
            item = _contour(contour, text, reference(analysis.cine, filing, contour.phase, contour.place))
            dataset.ROIContourSequence[contour.roi - 1].ContourSequence.append(item)
        _sign(dataset, analysis, filing)
        finish(dataset, filing)
    return dataset


def _sign(dataset: Dataset, analysis: Analysis, filing: Filing) -> None:
    """Who drew, and who approved."""
    dataset.OperatorsName = creator(analysis) or ""
    if analysis.approval is None:
        return
    dataset.ApprovalStatus = "APPROVED"
    dataset.ReviewerName = person_name(analysis.approval.by)
    dataset.ReviewDate = filing.content.strftime("%Y%m%d")
    dataset.ReviewTime = filing.content.strftime("%H%M%S.%f")


def _rois(analysis: Analysis) -> list[_Roi]:
    drawn = sorted(analysis.segmentation.known_phases)
    return [
        _Roi(structure, phase, f"{structure.facts.roi or structure.facts.words} {' '.join(names)}", structure.facts.rgb)
        for m in (analysis.measurements, *analysis.measurements.others)
        for phase, names in _moments(m).items()
        for structure in drawn
        if structure.facts.chamber == m.chamber
        and any(analysis.segmentation.outline(structure, phase, place) for place in range(analysis.cine.n_slices))
    ]


def _moments(m: Measurements) -> dict[int, list[str]]:
    """Phase -> ED, ES, or both if the same phase was given for both."""
    moments = dict[int, list[str]]()
    for name, phase in (("ED", m.ed_phase), ("ES", m.es_phase)):
        if phase is not None:
            moments.setdefault(phase, []).append(name)
    return moments


def _contours(analysis: Analysis, grid: Grid, rois: Sequence[_Roi]) -> list[_Contour]:
    return [
        _Contour(number, roi.phase, place, _in_patient(grid, place, polygon))
        for number, roi in enumerate(rois, 1)
        for place in range(grid.shape[0])
        for polygon in analysis.segmentation.outline(roi.outline, roi.phase, place)
    ]


def _in_patient(grid: Grid, place: int, polygon: Floats) -> Floats:
    """(point, 3), LPS mm, of a polygon (point, 2) of x and y in pixels."""
    return grid.to_patient(np.column_stack([np.full(len(polygon), place), polygon[:, 1], polygon[:, 0]]))


def _coordinates(points_mm: Floats) -> str:
    rounded = np.round(points_mm.ravel(), _DECIMALS) + 0.0  # no "-0"
    return "\\".join(f"{value:.{_DECIMALS}f}".rstrip("0").rstrip(".") for value in rounded)


def _empty(filing: Filing, *, compact: bool) -> Dataset:
    """The structure set without regions and contours."""
    described = {name: value for name, value in describe(filing, ObjectKind.RTSTRUCT).items() if "content" not in name}
    # A contour of more than about two thousand points is too long for an explicit VR.
    described["transfer_syntax_uid"] = ExplicitVRLittleEndian if compact else ImplicitVRLittleEndian
    dataset = SOPClass(
        study_instance_uid=filing.study_uid,
        sop_instance_uid=filing.uid(RTSTRUCT_NAME),
        sop_class_uid=RTStructureSetStorage,
        instance_number=1,
        modality=ObjectKind.RTSTRUCT.modality,
        **described,
    )
    dataset.OperatorsName = ""
    dataset.FrameOfReferenceUID = filing.frame_of_reference_uid
    dataset.PositionReferenceIndicator = ""
    dataset.StructureSetLabel = "LV"
    dataset.StructureSetName = ObjectKind.RTSTRUCT.description
    dataset.StructureSetDate = filing.content.strftime("%Y%m%d")
    dataset.StructureSetTime = filing.content.strftime("%H%M%S.%f")
    dataset.ApprovalStatus = "UNAPPROVED"
    return dataset


def _source(cine: Cine, filing: Filing, phases: set[int]) -> Dataset:
    """The frames with contours, by series; a multi-frame instance is listed once."""
    uids, series = series_of_frames(cine), dict[str, dict[str, Dataset]]()
    for phase in sorted(phases):
        for place in range(cine.n_slices):
            item = reference(cine, filing, phase, place)
            item.pop("ReferencedFrameNumber", None)
            series.setdefault(uids[phase][place], {}).setdefault(item.ReferencedSOPInstanceUID, item)
    study = Dataset()
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = _DETACHED_STUDY, filing.study_uid
    study.RTReferencedSeriesSequence = [_series(uid, list(images.values())) for uid, images in series.items()]
    frame_of_reference = Dataset()
    frame_of_reference.FrameOfReferenceUID = filing.frame_of_reference_uid
    frame_of_reference.RTReferencedStudySequence = [study]
    return frame_of_reference


def _series(uid: str, images: list[Dataset]) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = uid
    item.ContourImageSequence = images
    return item


def _roi(number: int, roi: _Roi, filing: Filing, drawing: Drawing) -> Dataset:
    item = Dataset()
    item.ROINumber = number
    item.ReferencedFrameOfReferenceUID = filing.frame_of_reference_uid
    item.ROIName = roi.name
    item.ROIGenerationAlgorithm = drawing.value
    return item


def _roi_contour(number: int, roi: _Roi) -> Dataset:
    item = Dataset()
    item.ReferencedROINumber = number
    item.ROIDisplayColor = list(roi.rgb)
    item.ContourSequence = []
    return item


def _observation(number: int) -> Dataset:
    item = Dataset()
    item.ObservationNumber = item.ReferencedROINumber = number
    item.RTROIInterpretedType = "ORGAN"
    item.ROIInterpreter = ""
    return item


def _contour(contour: _Contour, text: str, source: Dataset) -> Dataset:
    item = Dataset()
    item.ContourImageSequence = [source]
    item.ContourGeometricType = "CLOSED_PLANAR"
    item.NumberOfContourPoints = len(contour.points_mm)
    item.ContourData = text.split("\\")
    return item


def prove_rtstruct(path: Path, analysis: Analysis) -> None:
    """Read a structure set again, and compare it with the intended contours, in mm in the patient.

    Each contour is projected back onto the source frame that it refers to: it must lie in that plane and match the
    contour of that frame.

    Args:
        path: the file.
        analysis: the analysis that it was made from.

    Raises:
        OutputError: a contour is missing or extra, refers to another frame, or lies elsewhere.
    """
    meant = {
        (roi.name, roi.phase, place): analysis.segmentation.outline(roi.outline, roi.phase, place)
        for roi in _rois(analysis)
        for place in range(analysis.cine.n_slices)
    }
    left = {where: list(polygons) for where, polygons in meant.items() if polygons}
    phases = {roi.name: roi.phase for roi in _rois(analysis)}
    try:
        for name, image, points_mm in _read_contours(path):
            place = _place(analysis.cine, phases[name], image)
            polygon = left[name, phases[name], place].pop(0)
            apart = _apart_mm(analysis.cine, place, points_mm, polygon)
            if apart > TOLERANCE_MM:
                raise _mismatch(path, f"a contour of {name} lies {apart:.2f} mm from where it was meant")
    except (*DICOM_ERRORS, LookupError) as error:
        raise _mismatch(path, f"a contour is one too many, or cannot be read ({error!r})") from error
    missing = [name for (name, _, _), polygons in left.items() if polygons]
    if missing:
        raise _mismatch(path, f"a contour of {missing[0]} is missing")


def _read_contours(path: Path) -> Iterator[tuple[str, Dataset, Floats]]:
    """For every contour: the name of its ROI, its source image, and (point, 3) LPS mm."""
    with lenient():
        read = pydicom.dcmread(path)
        names = {int(roi.ROINumber): str(roi.ROIName) for roi in read.StructureSetROISequence}
        for item in read.ROIContourSequence:
            for contour in item.ContourSequence:
                points_mm = np.array([float(value) for value in contour.ContourData]).reshape(-1, 3)
                yield names[int(item.ReferencedROINumber)], contour.ContourImageSequence[0], points_mm


def _place(cine: Cine, phase: int, image: Dataset) -> int:
    """The slice of the source frame that an item refers to."""
    source = cine.source
    for place, uid in enumerate(source.instance_uids[phase]):
        number = source.frame_numbers[phase][place] if source.frame_numbers else None
        if uid == str(image.ReferencedSOPInstanceUID) and number == image.get("ReferencedFrameNumber"):
            return place
    raise LookupError(f"{image.ReferencedSOPInstanceUID} is no source frame of phase {phase}")


def _apart_mm(cine: Cine, place: int, points_mm: Floats, polygon: Floats) -> float:
    """The largest distance of the points from those of the polygon, in the plane and off it."""
    if cine.grid is None or len(points_mm) != len(polygon):
        return float("inf")
    grid = cine.grid
    off_plane = np.abs((points_mm - grid.origins_mm[place]) @ grid.normal)
    in_plane = (grid.to_pixel(points_mm, place) - polygon[:, ::-1]) * grid.spacing_mm
    return float(np.hypot(np.linalg.norm(in_plane, axis=1), off_plane).max())


def _mismatch(path: Path, what: str) -> OutputError:
    return OutputError(f"{path.name} was read back and differs from what was intended: {what}; no results were kept")
