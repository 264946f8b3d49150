"""Reading a DICOM Segmentation (SEG), by cinesax or others: its masks on the grid of a cine.

Types: BINARY, FRACTIONAL (a pixel counts from half of the largest value) and LABELMAP. Each frame belongs to the frame
    of the cine that it refers to; if it refers to none of them, to the slice in whose plane it lies, at the phase that
    it names. Either way its pixels keep their position in the patient: a frame may be cropped, flipped, or have another
    matrix.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from cinesax.core.cine import Cine
from cinesax.core.errors import GeometryError, InputError, UsageError, printable
from cinesax.core.grid import Floats, Grid
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import LV, Structure, painting_order
from cinesax.dicom.objects.dataset import read_dataset
from cinesax.dicom.objects.names import is_papillary_muscle, names_papillary_muscles, structure_of
from cinesax.dicom.pixels.lengths import fit_length
from cinesax.dicom.read.header import DICOM_ERRORS, NotDicomError

SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"

_WITHOUT_PAPILLARY = re.compile(
    r"(papillar\w*|\bpap\b\.?)( muscles?)?[\s,:(-]*((are|is)\s+)?"
    r"(excl(uded)?|removed|out|not\s+in(cluded)?|non[\s-]?included)\b|"
    r"\b(without|w/o|no|excl(udes|uding|\.)?|minus)[\s-]+(the\s+|trabecul\w*\s*(and|&|/|\+)\s*)?(papillar|pap\b)",
    re.IGNORECASE,
)
_WITH_PAPILLARY = re.compile(r"papillar\w*( muscles?)?[\s,:(-]*((are|is)\s+)?incl", re.IGNORECASE)

_MAX_BYTES = 1024**3  # 60 phases of 16 slices of 512 x 512 in four segments; pydicom takes twice of it
_IN_PLANE_COSINE = 0.999  # 2.6 degrees: half a pixel at the rim of the heart
_OFF_PLANE_MM = 1.0
_SAME_MM = 0.01

_Place = tuple[int, int]


@dataclass(frozen=True)
class _Frame:
    """One frame of an object.

    Attributes:
        index: its index among the frames of the object.
        structures: pixel value -> structure.
        sources: (SOPInstanceUID, frame number or None) of the frames that it refers to.
        time: TemporalPositionIndex (from 1), or None.
        grid: its position, as a stack of one slice; None if the object does not say.
    """

    index: int
    structures: dict[int, Structure]
    sources: tuple[tuple[str, int | None], ...]
    time: int | None
    grid: Grid | None


@dataclass(frozen=True, eq=False)
class _Object:
    """What is read from an object: nothing is decoded later.

    Attributes:
        frames: the frames of known structures.
        pixels: (frame, row, column): the values of a label map; else 0 and 1.
        papillary_muscles_included: false if the object says that the cavity excludes them, or has a segment for them.
    """

    frames: tuple[_Frame, ...]
    pixels: NDArray[Any]
    label_map: bool
    frame_of_reference_uid: str
    study_uid: str
    author: str
    papillary_muscles_included: bool


def is_dicom(path: Path) -> bool:
    """Whether a file starts like a DICOM file."""
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def read_seg(
    path: Path, cine: Cine, *, segments: Mapping[int, Structure] | None = None, phase: int | None = None
) -> Segmentation:
    """Read the left ventricle, and other structures if present, on the grid of the segmented cine.

    The known phases of a structure are those in which the object has a frame of it.

    Args:
        path: the object.
        cine: the exam that was segmented.
        segments: the structure of each SegmentNumber; None: as codes and labels say.
        phase: the phase of frames that refer to no frame of the cine.

    Raises:
        InputError: the file is not a segmentation object, is damaged, or has no left ventricle.
        GeometryError: it belongs to another exam, or does not lie on the slices of the cine.
        UsageError: `phase` is given, but the object belongs to other phases.
    """
    try:
        loaded = _load(path, segments)
    except (*DICOM_ERRORS, NotDicomError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path} cannot be read as a DICOM segmentation: {printable(str(reason))}") from error
    with np.errstate(over="ignore", invalid="ignore"):  # positions of 1e300 mm lie nowhere, and need no warning
        placed = _onto(path, loaded, cine, phase)
    _check_phase(path, placed, phase)
    return placed


def _check_phase(path: Path, seen: Segmentation, phase: int | None) -> None:
    known = {int(index) for where in seen.known_phases.values() for index in np.flatnonzero(where)}
    if phase is not None and not known <= {phase}:
        listed = ", ".join(str(index) for index in sorted(known)[:6])
        raise UsageError(f"{path} names its phases itself ({listed}): leave --segmentation-phase out")


def _load(path: Path, segments: Mapping[int, Structure] | None) -> _Object:
    dataset = _open(path)
    return _Object(
        tuple(_frames(dataset, _segments(path, dataset) if segments is None else _given(path, dataset, segments))),
        _pixels(path, dataset),
        label_map=dataset.SOPClassUID == LABEL_MAP_STORAGE,
        frame_of_reference_uid=str(dataset.get("FrameOfReferenceUID", "")).strip(" \0"),
        study_uid=str(dataset.get("StudyInstanceUID", "")).strip(" \0"),
        author=_author(dataset),
        papillary_muscles_included=_papillary_muscles_included(dataset),
    )


def _open(path: Path) -> Dataset:
    with path.open("rb") as stream:
        dataset = read_dataset(stream)
    sop_class = dataset.get("SOPClassUID", "")
    if sop_class not in (SEGMENTATION_STORAGE, LABEL_MAP_STORAGE):
        name = getattr(sop_class, "name", sop_class) or "no kind of object"
        raise InputError(f"{path} is {printable(str(name))}: expected a DICOM segmentation (SEG)")
    return dataset


def _pixels(path: Path, dataset: Dataset) -> NDArray[Any]:
    """(frame, row, column): the values of a label map; else 0 and 1."""
    shape = (int(dataset.NumberOfFrames), int(dataset.Rows), int(dataset.Columns))
    described = len(dataset.get("PerFrameFunctionalGroupsSequence", ()))
    if min(shape) < 1 or np.prod(shape, dtype=float) > _MAX_BYTES:
        raise InputError(
            f"{path} declares {shape[0]} frames of {shape[1]} x {shape[2]}: this is not a segmentation of a cine"
        )
    if described != shape[0]:
        raise InputError(f"{path} is damaged: it has {shape[0]} frames and describes {described}")
    fit_length(dataset, shape[1] * shape[2] * int(dataset.BitsAllocated) / 8, shape[0])
    pixels = np.asarray(dataset.pixel_array).reshape(shape)
    if dataset.get("SegmentationType") == "FRACTIONAL":
        half = (max(1, int(dataset.get("MaximumFractionalValue", 255))) + 1) // 2
        return np.asarray(pixels >= half, dtype=np.uint8)
    return pixels


def _segments(path: Path, dataset: Dataset) -> dict[int, Structure]:
    """SegmentNumber -> structure, for segments that are a known structure."""
    known, others = {}, []
    for item in dataset.get("SegmentSequence", ()):
        structure = _structure(item)
        if structure is None or structure.facts.chamber != LV:
            others.append(str(item.get("SegmentLabel", "")) or "without label")
        if structure is not None:
            known[int(item.SegmentNumber)] = structure
    if not any(structure.facts.chamber == LV for structure in known.values()):
        listed = ", ".join(others[:6]) or "none"
        raise InputError(
            f"{path} has no left ventricle that could be recognised by code (SCT 87878005, 49848007) or label: "
            f"its segments are {listed}; --labels names them by number"
        )
    return known


def _given(path: Path, dataset: Dataset, segments: Mapping[int, Structure]) -> dict[int, Structure]:
    """SegmentNumber -> structure, for the named segments, which must exist."""
    numbers = {int(item.SegmentNumber) for item in dataset.get("SegmentSequence", ())}
    if not numbers & segments.keys():
        meant, seen = (", ".join(map(str, sorted(listed))) for listed in (segments.keys(), numbers))
        raise InputError(f"{path} has none of the segments {meant} that --labels names: it has {seen or 'none'}")
    return {number: structure for number, structure in segments.items() if number in numbers}


def _structure(item: Dataset) -> Structure | None:
    types = item.get("SegmentedPropertyTypeCodeSequence") or [Dataset()]
    return structure_of(_label(item), str(types[0].get("CodeValue", "")))


def _papillary_muscles_included(dataset: Dataset) -> bool:
    """Whether the cavity includes the papillary muscles, by the labels of the segments; true if they do not say.

    Muscles that belong to the wall do not belong to the cavity: a myocardium with papillary muscles means a cavity
    without them; a myocardium without them means nothing.
    """
    items = list(dataset.get("SegmentSequence", ()))
    if any(_structure(item) is Structure.CAVITY and _WITH_PAPILLARY.search(_label(item)) for item in items):
        return True
    return not any(_leaves_them_out(item) for item in items)


def _leaves_them_out(item: Dataset) -> bool:
    label = _label(item)
    without = _WITHOUT_PAPILLARY.search(label) is not None
    if _structure(item) is Structure.RV_CAVITY:
        return False
    if _structure(item) is Structure.MYOCARDIUM:
        return names_papillary_muscles(label) and not without
    return without or is_papillary_muscle(label)


def _label(item: Dataset) -> str:
    """SegmentLabel with words separated: a pattern for words does not see the underscore in LV_wall as an end."""
    return str(item.get("SegmentLabel", "")).replace("_", " ")


def _frames(dataset: Dataset, segments: dict[int, Structure]) -> Iterator[_Frame]:
    shared = next(iter(dataset.get("SharedFunctionalGroupsSequence", ())), Dataset())
    size = (int(dataset.Rows), int(dataset.Columns))
    for index, item in enumerate(dataset.get("PerFrameFunctionalGroupsSequence", ())):
        structures = segments
        if dataset.SOPClassUID != LABEL_MAP_STORAGE:
            number = _group(item, shared, "SegmentIdentificationSequence").get("ReferencedSegmentNumber")
            if number is None:
                raise InputError(f"frame {index + 1} does not name its segment")
            structures = {1: segments[number]} if number in segments else {}
        if structures:
            time = _group(item, shared, "FrameContentSequence").get("TemporalPositionIndex")
            yield _Frame(index, structures, tuple(_sources(item, shared)), time, _grid(item, shared, size))


def _group(item: Dataset, shared: Dataset, keyword: str) -> Dataset:
    """The first item of a functional group: that of the frame, else the shared one, else an empty one."""
    return next(iter(item.get(keyword) or shared.get(keyword) or ()), Dataset())


def _sources(item: Dataset, shared: Dataset) -> Iterator[tuple[str, int | None]]:
    for derivation in item.get("DerivationImageSequence") or shared.get("DerivationImageSequence") or ():
        for source in derivation.get("SourceImageSequence") or ():
            numbers = source.get("ReferencedFrameNumber")
            uid = str(source.get("ReferencedSOPInstanceUID", "")).strip(" \0")
            for number in numbers if isinstance(numbers, MultiValue) else [numbers]:
                yield uid, None if number is None else int(number)


def _grid(item: Dataset, shared: Dataset, size: tuple[int, int]) -> Grid | None:
    position = _group(item, shared, "PlanePositionSequence").get("ImagePositionPatient")
    orientation = _group(item, shared, "PlaneOrientationSequence").get("ImageOrientationPatient")
    spacing = _group(item, shared, "PixelMeasuresSequence").get("PixelSpacing")
    if not position or not orientation or not spacing:
        return None
    turned = np.array([float(value) for value in orientation]).reshape(2, 3)
    origin = np.array([[float(value) for value in position]])
    return Grid(origin, turned[0], turned[1], (float(spacing[0]), float(spacing[1])), (1, *size))


class _Placing:
    """Finds where the frames of an object belong in a cine."""

    def __init__(self, path: Path, loaded: _Object, cine: Cine, phase: int | None) -> None:
        self.path, self.cine, self.phase = path, cine, phase
        self.other_space = _other_space(loaded, cine)
        self.places: dict[tuple[str, int | None], list[_Place]] = defaultdict(list)
        self.numbers: dict[str, set[int | None]] = defaultdict(set)
        source = cine.source
        for phase, row in enumerate(source.instance_uids):
            for place, uid in enumerate(row):
                number = source.frame_numbers[phase][place] if source.frame_numbers else None
                self.places[uid, number].append((phase, place))
                self.numbers[uid].add(number)

    def find(self, frame: _Frame, mask: NDArray[np.bool_]) -> list[_Place]:
        """The places of a frame: one; several if its source is used in several phases; none if it matches no slice."""
        referred = self._referred(frame)
        if not referred:
            return self._by_position(frame, mask)
        lies_on = set(self._slices(frame, mask))
        left = {source: [place for place in self.places[source] if place[1] in lies_on] for source in referred}
        left = _at_time(frame, {source: places for source, places in left.items() if places})
        if not left:
            raise GeometryError(
                f"{self.path}: frame {frame.index + 1} refers to a frame of this cine and does not lie on it: "
                "its position, orientation or matrix differs"
            )
        if len(left) > 1:
            raise GeometryError(
                f"{self.path}: frame {frame.index + 1} refers to {len(left)} frames of this cine at once: "
                "it does not say which one it is of"
            )
        return next(iter(left.values()))

    def _referred(self, frame: _Frame) -> set[tuple[str, int | None]]:
        """The frames of this cine that a frame refers to; without frame number, all frames of the instance."""
        referred = set()
        for uid, number in frame.sources:
            of_instance = self.numbers.get(uid, set())
            referred |= {(uid, known) for known in of_instance if number is None or known is None or known == number}
        return referred

    def _by_position(self, frame: _Frame, mask: NDArray[np.bool_]) -> list[_Place]:
        if not mask.any() and frame.grid is None:
            return []
        if frame.grid is None or self.cine.grid is None:
            raise GeometryError(
                f"{self.path}: frame {frame.index + 1} neither refers to a frame of this cine nor says where it lies"
            )
        if self.other_space:
            raise GeometryError(f"{self.path} belongs to another exam: {self.other_space}")
        phase = 0 if self.cine.n_phases == 1 else (frame.time or 0) - 1
        phase = phase if self.phase is None else self.phase
        if not 0 <= phase < self.cine.n_phases:
            raise GeometryError(
                f"{self.path}: frame {frame.index + 1} does not name its phase: it refers to no frame of "
                f"this cine, and its TemporalPositionIndex is {frame.time or 'absent'} where the cine has "
                f"{self.cine.n_phases} phases: give it with --segmentation-phase"
            )
        return [(phase, place) for place in self._slices(frame, mask)[:1]]

    def _slices(self, frame: _Frame, mask: NDArray[np.bool_]) -> list[int]:
        """The slices in whose plane a frame lies, the nearest first."""
        grid = self.cine.grid
        if frame.grid is None or grid is None:
            return list(range(self.cine.n_slices)) if mask.shape == self.cine.pixels.shape[2:] else []
        if abs(float(frame.grid.normal @ grid.normal)) < _IN_PLANE_COSINE:
            return []
        centre = np.argwhere(mask).mean(axis=0) if mask.any() else (np.array(mask.shape) - 1) / 2
        point = frame.grid.to_patient([0.0, *centre])
        off = np.abs(grid.positions_mm - float(point @ grid.normal))
        return [int(index) for index in np.argsort(off) if off[index] <= _OFF_PLANE_MM]

    def sampled(self, frame: _Frame, mask: NDArray[np.bool_], place: _Place) -> NDArray[np.bool_]:
        """(row, column): the mask of a frame on the pixels of a slice, by nearest neighbour."""
        grid = self.cine.grid
        if frame.grid is None or grid is None or _coincide(frame.grid, grid, place[1]):
            return mask
        outside = grid.to_pixel(frame.grid.to_patient(_indices(np.argwhere(mask))), place[1])
        if np.any(outside < -0.5) or np.any(outside > np.array(grid.shape[1:]) - 0.5):
            raise GeometryError(f"{self.path}: frame {frame.index + 1} has labels outside the images of this cine")
        rows, columns = np.indices(grid.shape[1:])
        points = grid.to_patient(np.stack([np.full_like(rows, place[1]), rows, columns], axis=-1))
        row, column = np.moveaxis(np.rint(frame.grid.to_pixel(points, 0)).astype(int), -1, 0)
        inside = (row >= 0) & (row < mask.shape[0]) & (column >= 0) & (column < mask.shape[1])
        on_grid = np.zeros(grid.shape[1:], dtype=bool)
        on_grid[inside] = mask[row[inside], column[inside]]
        return on_grid


def _at_time(
    frame: _Frame, candidates: dict[tuple[str, int | None], list[_Place]]
) -> dict[tuple[str, int | None], list[_Place]]:
    """Those of several places that match the time of the frame; all of them if none does."""
    timely = {
        source: [place for place in places if place[0] + 1 == frame.time] for source, places in candidates.items()
    }
    return {source: places for source, places in timely.items() if places} or candidates


def _indices(pixels: NDArray[np.int_]) -> NDArray[np.int_]:
    """(n, 3) slice, row, column of (n, 2) row, column in a stack of one slice."""
    return np.concatenate([np.zeros((len(pixels), 1), dtype=int), pixels], axis=1)


def _coincide(single: Grid, grid: Grid, place: int) -> bool:
    """Whether a stack of one slice has the same pixels as a slice of another, to a hundredth of a millimetre."""
    if single.shape[1:] != grid.shape[1:]:
        return False
    corners = np.array([(0, row, column) for row in (0, single.shape[1] - 1) for column in (0, single.shape[2] - 1)])
    apart: Floats = single.to_patient(corners) - grid.to_patient(corners + (place, 0, 0))
    return bool(np.all(np.linalg.norm(apart, axis=-1) <= _SAME_MM))


def _other_space(loaded: _Object, cine: Cine) -> str:
    """Why the coordinates of an object are not those of a cine; empty if they are."""
    mine, its, study = cine.source.frame_of_reference_uid, loaded.frame_of_reference_uid, loaded.study_uid
    if mine is not None and its != mine:
        return f"it refers to none of the instances of this cine, and its frame of reference is {its or 'not given'}"
    if mine is None and cine.source.study_uid != study:
        return f"it refers to none of the instances of this cine, and its study is {study or 'not given'}"
    return ""


def _onto(path: Path, loaded: _Object, cine: Cine, phase: int | None) -> Segmentation:
    placing, frames, pixels = _Placing(path, loaded, cine, phase), loaded.frames, loaded.pixels
    placed = [(frame, placing.find(frame, pixels[frame.index] > 0)) for frame in frames]
    nowhere = sum(not places and bool(pixels[frame.index].any()) for frame, places in placed)
    if nowhere or not any(places for _, places in placed):
        raise GeometryError(
            f"{path}: {nowhere or len(frames)} of {len(frames)} frames of the left ventricle lie on no slice of "
            "this cine"
        )
    labels = np.zeros(cine.pixels.shape, dtype=np.uint8)
    known = {
        structure: np.zeros(cine.n_phases, dtype=bool) for frame in frames for structure in frame.structures.values()
    }
    # Enclosing structures first: the cavity is painted on the filled outer outline, and the rest of it is wall.
    for structure in painting_order(known):
        for frame, places in placed:
            for value, one in frame.structures.items():
                mask = pixels[frame.index] == value
                for place in places if one is structure else ():
                    labels[place][placing.sampled(frame, mask, place)] = structure
                    known[structure][place[0]] = True
    if loaded.label_map:
        known = {structure: where & _labelled(labels, structure) for structure, where in known.items()}
    return Segmentation(
        labels,
        {structure: where for structure, where in known.items() if where.any()},
        author=loaded.author,
        papillary_muscles_included=loaded.papillary_muscles_included,
    )


def _labelled(labels: NDArray[np.uint8], structure: Structure) -> NDArray[np.bool_]:
    """(phase,): whether a label map has the structure or no structure at all: its frames hold all segments."""
    return np.asarray((labels == structure).any(axis=(1, 2, 3)) | ~labels.any(axis=(1, 2, 3)))


def _author(dataset: Dataset) -> str:
    """Give "manual" if all segments were drawn by hand, else the name of the algorithm."""
    items = list(dataset.get("SegmentSequence", ()))
    if all(item.get("SegmentAlgorithmType") == "MANUAL" for item in items):
        return "manual"
    for item in items:
        for algorithm in item.get("SegmentationAlgorithmIdentificationSequence", ()):
            if name := str(algorithm.get("AlgorithmName", "")):
                return name
    names = [str(item.get("SegmentAlgorithmName") or "") for item in items]
    return next((name for name in names if name), "automatic")
