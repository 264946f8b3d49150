"""Reading an RT Structure Set (RTSTRUCT), by cinesax or others: contours of the ventricles on the grid of a cine.

The code or name of a region of interest (ROI) says which structure it is. Its contour is the outer border of that
structure: for a myocardium, the epicardium. A contour belongs to the frame that it refers to; if it refers to no frame
of this cine, to the slice in whose plane it lies, at the given phase.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage

from cinesax.core.cine import Cine
from cinesax.core.errors import GeometryError, InputError, printable
from cinesax.core.grid import Floats
from cinesax.core.segmentation import ContourKey, Polygons, Segmentation, from_contours
from cinesax.core.structures import Structure
from cinesax.dicom.objects.dataset import read_dataset
from cinesax.dicom.objects.names import structure_of
from cinesax.dicom.read.elements import raw_value, text
from cinesax.dicom.read.header import DICOM_ERRORS, NotDicomError, inflated
from cinesax.dicom.read.parse import parse_file

_OFF_PLANE_MM = 1.0
_SOP_CLASS_UID = 0x00080016
_MAX_POINTS = 5_000_000


@dataclass(frozen=True, eq=False)
class _Contour:
    """One closed contour.

    Attributes:
        structure: the structure whose border it is.
        sources: (SOPInstanceUID, frame number or None) of the frames that it refers to.
        points_mm: (point, 3), LPS, mm.
    """

    structure: Structure
    sources: tuple[tuple[str, int | None], ...]
    points_mm: Floats


@dataclass(frozen=True, eq=False)
class _Object:
    """What is read from an object.

    Attributes:
        contours: of structures.
        frames_of_reference: UIDs of their coordinate systems.
        study_uid: StudyInstanceUID.
        by_hand: whether all of its ROIs were drawn by a person.
    """

    contours: tuple[_Contour, ...]
    frames_of_reference: frozenset[str]
    study_uid: str
    by_hand: bool


def read_rtstruct(path: Path, cine: Cine, *, phase: int | None = None) -> Segmentation:
    """Read the contours of the ventricles from a structure set.

    Args:
        path: the object.
        cine: the exam that the contours were drawn on.
        phase: the phase of contours that refer to no frame of the cine, if it has several phases.

    Raises:
        InputError: the file is not a structure set, is damaged, or has no ventricle.
        GeometryError: it belongs to another exam, does not lie on the slices of the cine, or does not say its phase.
    """
    try:
        held = _load(path)
    except (*DICOM_ERRORS, NotDicomError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path} cannot be read as an RT Structure Set: {printable(reason)}") from error
    places = _places_of_frames(cine)
    contours: dict[ContourKey, Polygons] = {}
    for contour in held.contours:
        for where in _frames_of(path, contour, held, cine, places=places, phase=phase):
            key = contour.structure, *where
            contours[key] = (*contours.get(key, ()), _in_pixels(path, contour, cine, where[1]))
    contours = {key: _without_holes(key[0], polygons) for key, polygons in contours.items()}
    shape = (cine.n_phases, cine.n_slices, cine.pixels.shape[2], cine.pixels.shape[3])
    return from_contours(contours, shape, author="manual" if held.by_hand else "automatic")


def is_rtstruct(path: Path) -> bool:
    """Whether a DICOM file is a structure set, by its SOP class."""
    try:
        with path.open("rb") as stream:
            elements = parse_file(inflated(stream), [_SOP_CLASS_UID]).elements
            return text(*raw_value(elements, _SOP_CLASS_UID)) == RTStructureSetStorage
    except (*DICOM_ERRORS, NotDicomError):
        return False


def _load(path: Path) -> _Object:
    with path.open("rb") as stream:
        dataset = read_dataset(stream)
    if dataset.get("SOPClassUID") != RTStructureSetStorage:
        raise InputError(f"{path} is not an RT Structure Set")
    rois = {int(item.ROINumber): item for item in dataset.get("StructureSetROISequence", ())}
    codes = _codes(dataset)
    structures = {
        number: structure_of(str(item.get("ROIName", "")), codes.get(number, "")) for number, item in rois.items()
    }
    contours: list[_Contour] = []
    points = 0
    for item in dataset.get("ROIContourSequence", ()):
        structure = structures.get(int(item.ReferencedROINumber))
        for contour in item.get("ContourSequence") or () if structure is not None else ():
            if contour.get("ContourGeometricType") == "CLOSED_PLANAR" and structure is not None:
                contours.append(_contour(structure, contour))
                points += len(contours[-1].points_mm)
        if points > _MAX_POINTS:
            raise InputError(f"{path} holds more than {_MAX_POINTS} points: no contours of a cine")
    if not contours:
        names = [printable(str(item.get("ROIName", ""))) or "without name" for item in rois.values()]
        raise InputError(
            f"{path} holds no closed contour of a ventricle by code or name: its regions are "
            f"{', '.join(names[:6]) or 'none'}"
        )
    used = {number for number, structure in structures.items() if structure is not None}
    spaces = {str(rois[number].get("ReferencedFrameOfReferenceUID", "")).strip(" \0") for number in used}
    return _Object(
        tuple(contours),
        frozenset(spaces),
        str(dataset.get("StudyInstanceUID", "")).strip(" \0"),
        by_hand=all(rois[number].get("ROIGenerationAlgorithm") == "MANUAL" for number in used),
    )


def _codes(dataset: Dataset) -> dict[int, str]:
    """ROI number -> code value of the ROI."""
    codes = {}
    for item in dataset.get("RTROIObservationsSequence", ()):
        for code in item.get("RTROIIdentificationCodeSequence") or ():
            codes[int(item.ReferencedROINumber)] = str(code.get("CodeValue", ""))
    return codes


def _contour(structure: Structure, item: Dataset) -> _Contour:
    points = np.array([float(value) for value in item.ContourData], dtype=np.float64).reshape(-1, 3)
    if len(points) < 3 or not np.all(np.isfinite(points)):
        raise ValueError(f"a contour has {len(points)} points, or one that is not finite")
    return _Contour(structure, tuple(_sources(item)), points)


def _sources(item: Dataset) -> Iterator[tuple[str, int | None]]:
    for image in item.get("ContourImageSequence") or ():
        number = image.get("ReferencedFrameNumber")
        numbers = [number] if number is None or isinstance(number, int | str) else list(number)
        uid = str(image.get("ReferencedSOPInstanceUID", "")).strip(" \0")
        for number in numbers:
            yield uid, None if number is None else int(number)


_Places = dict[tuple[str, int | None], list[tuple[int, int]]]


def _places_of_frames(cine: Cine) -> _Places:
    source, places = cine.source, defaultdict[tuple[str, int | None], list[tuple[int, int]]](list)
    for phase, row in enumerate(source.instance_uids):
        for place, uid in enumerate(row):
            places[uid, source.frame_numbers[phase][place] if source.frame_numbers else None].append((phase, place))
    return dict(places)


def _frames_of(
    path: Path, contour: _Contour, held: _Object, cine: Cine, *, places: _Places, phase: int | None
) -> list[tuple[int, int]]:
    """(phase, slice) of the frames of a contour: several if its source is used in several phases."""
    referred = [where for source in contour.sources for where in places.get(source, ())]
    near = _slices(contour, cine)
    if referred:
        lies_on = [where for where in referred if where[1] in near]
        if not lies_on:
            raise GeometryError(f"{path}: a contour refers to a frame of this cine and does not lie in its plane")
        return lies_on
    _refuse_other_space(path, held, cine)
    if not near:
        raise GeometryError(f"{path}: a contour lies on no slice of this cine")
    if phase is None and cine.n_phases > 1:
        raise GeometryError(
            f"{path}: a contour refers to no frame of this cine, so its phase is not known: "
            "give it with --segmentation-phase"
        )
    return [(phase or 0, near[0])]


def _refuse_other_space(path: Path, held: _Object, cine: Cine) -> None:
    mine = cine.source.frame_of_reference_uid
    if mine is not None and held.frames_of_reference != {mine}:
        raise GeometryError(f"{path} belongs to another exam: it refers to none of its frames, nor to their space")
    if mine is None and cine.source.study_uid != held.study_uid:
        raise GeometryError(
            f"{path} belongs to another exam: it refers to none of its frames, and its study is another"
        )


def _slices(contour: _Contour, cine: Cine) -> list[int]:
    """The slices in whose plane a contour lies, the nearest first."""
    if cine.grid is None:
        return []
    with np.errstate(over="ignore", invalid="ignore"):  # positions of 1e300 mm lie nowhere
        heights = contour.points_mm @ cine.grid.normal
        off = np.abs(heights[:, None] - cine.grid.positions_mm).max(axis=0)
    return [int(index) for index in np.argsort(off) if off[index] <= _OFF_PLANE_MM]


def _in_pixels(path: Path, contour: _Contour, cine: Cine, place: int) -> Floats:
    """(point, 2): x and y in pixels."""
    if cine.grid is None:
        raise GeometryError(f"{path} lies in millimetres, and this exam has no geometry")
    polygon = cine.grid.to_pixel(contour.points_mm, place)[:, ::-1]
    rows, columns = cine.pixels.shape[2:]
    if np.any(polygon < -1) or np.any(polygon > [columns, rows]):
        raise GeometryError(f"{path}: a contour leaves the images of {columns} columns and {rows} rows")
    return np.asarray(polygon, dtype=np.float64)


def _without_holes(structure: Structure, polygons: Polygons) -> Polygons:
    """The outer border of a wall drawn as a ring: the inner border belongs to another structure."""
    if structure is not Structure.MYOCARDIUM or len(polygons) < 2:
        return polygons
    ordered = sorted(polygons, key=lambda polygon: float(np.ptp(polygon, axis=0).prod()), reverse=True)
    low, high = ordered[0].min(axis=0), ordered[0].max(axis=0)
    return (ordered[0], *(polygon for polygon in ordered[1:] if np.any(polygon < low) or np.any(polygon > high)))
