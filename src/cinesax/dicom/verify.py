"""Proof of geometry: written files are read again by another reader and compared with the segmentation.

The position of each labelled pixel in the patient is computed from the bytes of the file by the formula of its
standard, not by the code that wrote it: DICOM with pydicom and PS3.3 C.7.6.2.1.1, NIfTI-1 from its header. An archive
or a planning system must never get a ventricle that is flipped or shifted by a slice.
"""

import gzip
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from cinesax.core.cine import Cine
from cinesax.core.errors import OutputError
from cinesax.core.grid import Floats
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import Structure
from cinesax.dicom.copied import lenient
from cinesax.dicom.read.header import DICOM_ERRORS

TOLERANCE_MM = 0.01
"""The tolerance for positions of pixels: numbers are stored in 16 characters (DICOM) or 32 bits (NIfTI)."""

_Place = tuple[Structure, int, int]
_CODES = {entry.facts.code.value: entry for entry in Structure}
_UINT8 = 2
_RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])


def prove_seg(path: Path, segmentation: Segmentation, cine: Cine, *, phases: Iterable[int]) -> None:
    """Read a segmentation object again and compare it, pixel by pixel in the patient, with the intended masks.

    Args:
        path: the object.
        segmentation: the intended masks.
        cine: its exam.
        phases: the phases in the object.

    Raises:
        OutputError: a pixel is extra, missing or in another place, or a frame refers to another source.
    """
    held = tuple(phases)
    meant = {
        (structure, phase, place)
        for structure in segmentation.known_phases
        for phase in held
        for place in map(int, np.flatnonzero(np.any(segmentation.labels[phase] == structure, axis=(1, 2))))
    }
    try:
        for where, points in _points_of_seg(path, cine, held):
            structure, phase, place = where
            pixels = np.argwhere(segmentation.labels[phase, place] == structure)
            _compare(path, points, _meant(cine, place, pixels), _name(where))
            meant.discard(where)
    except DICOM_ERRORS as error:
        raise _mismatch(path, f"it cannot be read ({type(error).__name__}: {error})") from error
    if meant:
        raise _mismatch(path, f"{_name(min(meant))} is missing")


def _name(where: _Place) -> str:
    return f"{where[0].name.lower()} at phase {where[1]}, slice {where[2]}"


def _meant(cine: Cine, place: int, pixels: NDArray[np.int_]) -> Floats:
    """(n, 3), LPS, mm, of (n, 2) row, column."""
    if cine.grid is None:
        raise OutputError("an exam without geometry cannot be compared in patient coordinates")
    return cine.grid.to_patient(np.column_stack([np.full(len(pixels), place), pixels]))


def _points_of_seg(path: Path, cine: Cine, phases: tuple[int, ...]) -> Iterator[tuple[_Place, Floats]]:
    """The content of an object, frame by frame: (structure, phase, slice), and its pixels as (n, 3) LPS mm."""
    with lenient():
        dataset = pydicom.dcmread(path)
        pixels = np.asarray(dataset.pixel_array).reshape(-1, dataset.Rows, dataset.Columns)
        shared = dataset.SharedFunctionalGroupsSequence[0]
        named = {
            int(item.SegmentNumber): _CODES[item.SegmentedPropertyTypeCodeSequence[0].CodeValue]
            for item in dataset.SegmentSequence
            if item.SegmentNumber != 0
        }
        for image, frame in zip(pixels, dataset.PerFrameFunctionalGroupsSequence, strict=True):
            phase, place = _source_place(path, frame, cine, phases)
            points = _patient_points(frame, shared)
            segment = frame.get("SegmentIdentificationSequence") or shared.get("SegmentIdentificationSequence")
            values = {1: named[int(segment[0].ReferencedSegmentNumber)]} if segment else named
            for value, structure in values.items():
                yield (structure, phase, place), points(np.argwhere(image == value))


def _source_place(path: Path, frame: Any, cine: Cine, phases: tuple[int, ...]) -> tuple[int, int]:
    """(phase, slice) of the source frame that a frame refers to."""
    phase = int(frame.FrameContentSequence[0].get("TemporalPositionIndex", phases[0] + 1)) - 1
    source = frame.DerivationImageSequence[0].SourceImageSequence[0]
    uid, number = str(source.ReferencedSOPInstanceUID), source.get("ReferencedFrameNumber")
    if phase in phases:
        for place, instance in enumerate(cine.source.instance_uids[phase]):
            numbers = cine.source.frame_numbers
            if instance == uid and (not numbers or numbers[phase][place] == number):
                return phase, place
    raise _mismatch(path, f"a frame refers to {uid}, which is not one of the intended source frames")


def _patient_points(frame: Any, shared: Any) -> Any:
    """A function from (n, 2) row, column to (n, 3) LPS mm: equation C.7.6.2.1-1 of PS3.3."""
    origin = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, dtype=np.float64)
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=np.float64)
    between_rows, between_columns = (float(value) for value in shared.PixelMeasuresSequence[0].PixelSpacing)

    def points(pixels: NDArray[np.int_]) -> Floats:
        right, down = pixels[:, 1:] * between_columns * cosines[:3], pixels[:, :1] * between_rows * cosines[3:]
        return np.asarray(origin + right + down, dtype=np.float64)

    return points


def prove_nifti(path: Path, segmentation: Segmentation, cine: Cine) -> None:
    """Read a label file again and compare it, voxel by voxel in the patient, with the intended labels.

    The file has one affine: if slices are not evenly spaced on one line, it places the first and the last, with the
    others evenly between them, and the comparison uses these positions.

    Raises:
        OutputError: labels or positions differ from the intended ones.
    """
    try:
        labels, affine = _read_nifti(path)
    except (struct.error, ValueError, EOFError, gzip.BadGzipFile) as error:
        raise _mismatch(path, f"it cannot be read ({error})") from error
    if labels.shape != segmentation.labels.shape or np.any(labels != segmentation.labels):
        raise _mismatch(path, "its labels differ from those that were written")
    if cine.grid is None:
        return
    slices, rows, columns = (np.ascontiguousarray(axis) for axis in np.nonzero(labels.any(axis=0)))
    homogeneous = np.stack([columns, rows, slices, np.ones_like(slices)], axis=-1)
    seen = (homogeneous @ affine.T) * _RAS_TO_LPS
    meant = cine.grid.to_patient(np.stack([slices, rows, columns], axis=-1))
    if not cine.grid.is_straight():
        origins = cine.grid.origins_mm
        even = origins[0] + np.arange(len(origins))[:, None] * (origins[-1] - origins[0]) / max(1, len(origins) - 1)
        meant = meant + (even - origins)[slices]
    _compare(path, seen, meant, "its labels")


def _read_nifti(path: Path) -> tuple[NDArray[np.uint8], Floats]:
    """(phase, slice, row, column) labels, and (3, 4): (column, row, slice, 1) to RAS mm."""
    data = path.read_bytes()
    data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    size, count, *shape = (*struct.unpack_from("<i", data), *struct.unpack_from("<5h", data, 40))
    (kind,), (offset,) = struct.unpack_from("<h", data, 70), struct.unpack_from("<f", data, 108)
    (sform_code,) = struct.unpack_from("<h", data, 254)
    if size != 348 or kind != _UINT8 or sform_code < 1 or count not in (3, 4):
        raise _mismatch(path, "it is not a NIfTI-1 file of labels with an affine")
    shape = shape[:count] + [1] * (4 - count)
    voxels = np.frombuffer(data, np.uint8, int(np.prod(shape)), int(offset)).reshape(shape[::-1])
    return voxels, np.array(struct.unpack_from("<12f", data, 280), dtype=np.float64).reshape(3, 4)


def _compare(path: Path, seen: Floats, meant: Floats, what: str) -> None:
    if seen.shape != meant.shape:
        raise _mismatch(path, f"{what}: {len(seen)} pixels where {len(meant)} were meant")
    apart = np.linalg.norm(seen - meant, axis=-1)
    if len(apart) and float(apart.max()) > TOLERANCE_MM:
        raise _mismatch(path, f"{what}: {float(apart.max()):.2f} mm from where it was meant")


def _mismatch(path: Path, what: str) -> OutputError:
    return OutputError(f"{path.name} was read back and differs from what was intended: {what}; no results were kept")
