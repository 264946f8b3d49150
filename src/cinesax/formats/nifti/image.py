"""Reads cines from NIfTI (3D, or 3D and time) and writes segmentations; `labels` reads labels.

NIfTI coordinates are RAS (x to the right, y to the front), those of DICOM and cinesax LPS. Array axes are written as
(column, row, slice, phase), as converters from DICOM do, and read in any order: see `axes`. `header` interprets
position and time in the header.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.imageglobals import logger
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from cinesax.core.cine import Cine, Source
from cinesax.core.errors import GeometryError, InputError, OutputError
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.grid import Floats, Grid
from cinesax.core.orientation import base_first
from cinesax.core.segmentation import Segmentation
from cinesax.core.selection import NiftiGeometry
from cinesax.files.remote import refuse_url
from cinesax.files.stored_files import replacing
from cinesax.formats.nifti.axes import on_grid, slice_axis
from cinesax.formats.nifti.header import HeaderGeometry, in_words
from cinesax.formats.nifti.header import geometry as geometry_of
from cinesax.formats.nifti.names import SUFFIXES
from cinesax.formats.nifti.times import phase_times

_ERRORS = (
    ImageFileError,
    HeaderDataError,
    WrapStructError,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    OverflowError,
    MemoryError,
    zlib.error,
    struct.error,
)
_FEWEST_TO_COMPARE = 4
_THICK_MM = 4.0
"""Thinner slices resemble each other as much as phases do."""
_EXCHANGED = 1.5
_LABELS_AT_MOST = 16
"""An image of so few values holds labels, which are flat within a slice and say nothing of time."""
_LONGEST_STACK_MM = 500.0
_AXES_HINT = "is time not the fourth axis? Reorder the axes to (column, row, slice, phase)"
_MAX_BYTES = 8 * 1024**3
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class NiftiFile:
    """A NIfTI file as it is stored.

    Attributes:
        values: (first, second, third axis, phase).
        place: the positions of the voxels.
        header: the header from nibabel.
    """

    path: Path
    values: NDArray[Any]
    place: HeaderGeometry
    header: Any

    @property
    def affine_lps(self) -> Floats:
        """(4, 4): array indices to LPS mm."""
        return _RAS_TO_LPS @ self.place.affine_ras


def read_cine(path: Path, *, geometry: NiftiGeometry | None = None) -> Cine:
    """Read a cine: 4D (two axes of pixels, one of slices in any order, then phases), or 3D, which is one phase.

    Times are those of the JSON file next to it, else of pixdim[4]: see `times`.

    Args:
        path: the file.
        geometry: the part of the header that gives position and spacing, if its parts disagree.

    Raises:
        InputError: the file is not NIfTI, is damaged, or does not hold grey images.
        GeometryError: the header contradicts itself, axes are not at right angles, or the spacing is impossible.
        UsageError: the header does not have the chosen part.
    """
    return read_part(path, geometry=geometry).cine


@dataclass(frozen=True, eq=False)
class Part:
    """A file as a cine, which may be part of a larger cine: one phase, or one slice.

    Attributes:
        path: the file.
        cine: its contents.
        grid: the grid of its pixels, with a spacing of 1 mm if the file has none.
        step_mm: the slice distance in the header; the grid of a single slice has none.
        oriented: whether `grid` gives the position in the patient; else only its spacing is meaningful.
        stored_shape: the shape of the array in the header.
        header: sform, qform and pixdim in words.
    """

    path: Path
    cine: Cine
    grid: Grid
    step_mm: float
    oriented: bool
    stored_shape: tuple[int, ...]
    header: str


def read_part(path: Path, *, geometry: NiftiGeometry | None = None) -> Part:
    """Read a file as `read_cine` does, with what `files` needs to combine it with others."""
    file = read_file(path, geometry)
    slices, clear = slice_axis(file.values.shape, file.affine_lps, oriented=file.place.oriented)
    pixels, placed, axes = on_grid(file.values, file.affine_lps, slices, oriented=file.place.oriented)
    phases, count = pixels.shape[:2]
    step = float(np.linalg.norm(file.affine_lps[:3, slices]))
    if file.place.measured:
        _refuse_exchanged(path, pixels, step)
    times = phase_times(path, file.header, phases)
    findings = [*file.place.findings, *times.findings]
    if not clear:
        message = "axes and spacings do not show which axis counts slices: the third is used, as the format defines it"
        findings.append(Finding(Code.SLICE_AXIS_UNCLEAR, Severity.WARNING, message))
    grid = placed if file.place.measured else None
    cine = Cine(
        pixels,
        grid,
        None if times.triggers_ms is None else np.repeat(times.triggers_ms[:, None], count, axis=1),
        None if times.beat_ms is None else np.full(count, times.beat_ms),
        source=Source("nifti", description=path.name, stored_axes=axes),
        base_first=base_first(grid),
        findings=tuple(findings),
    )
    shape = tuple(int(size) for size in file.header.get_data_shape())
    return Part(path, cine, placed, step, file.place.oriented, shape, in_words(file.header))


def _refuse_exchanged(path: Path, pixels: NDArray[Any], step_mm: float) -> None:
    """Raise if the image shows that the axis of phases is swapped with that of slices or pixels.

    Neighbouring phases resemble each other: they differ 0.11 to 0.31 times as much as neighbouring slices in four exams
    and six phantoms, or 0.5 times if there are only ED and ES.
    """
    phases, slices = pixels.shape[:2]
    if (slices - 1) * step_mm > _LONGEST_STACK_MM:
        raise GeometryError(
            f"{path} would be a stack of {slices} slices {step_mm:.1f} mm apart, {(slices - 1) * step_mm / 1000:.1f} m "
            f"long: {_AXES_HINT}"
        )
    if phases < _FEWEST_TO_COMPARE or slices < _FEWEST_TO_COMPARE or step_mm < _THICK_MM:
        return
    # Every second pixel is enough, and the borders show little of the heart.
    quarter = [slice(size // 4, size - size // 4, 2) for size in pixels.shape[2:]]
    middle = pixels[:, :, quarter[0], quarter[1]].astype(np.float32)
    if np.unique(middle).size <= _LABELS_AT_MOST:
        return
    in_time, across = (float(np.abs(np.diff(middle, axis=axis)).mean()) for axis in (0, 1))
    if in_time > _EXCHANGED * across:
        raise GeometryError(
            f"{path} has {phases} phases of {slices} slices by the order of its axes, but neighbouring phases differ "
            f"{in_time / max(across, 1e-9):.1f} times as much as neighbouring slices: {_AXES_HINT}"
        )


def write_segmentation(segmentation: Segmentation, cine: Cine, path: Path) -> None:
    """Write the labels as 4D NIfTI (column, row, slice, phase), uint8, in mm and s, in scanner coordinates.

    The file has one affine. If the slices are not evenly spaced on one line, it has the mean step between them, and the
    description in the header says so.

    Raises:
        GeometryError: the labels do not fit the cine.
        OutputError: the file cannot be written.
    """
    if segmentation.labels.shape != cine.pixels.shape:
        raise GeometryError(f"labels of shape {segmentation.labels.shape} do not fit a cine of {cine.pixels.shape}")
    if not path.name.lower().endswith(SUFFIXES):
        raise OutputError(f"{path} must end in .nii or .nii.gz")
    affine = np.eye(4) if cine.grid is None else _RAS_TO_LPS @ cine.grid.affine_lps()
    make_image: Any = nib.Nifti1Image
    image = make_image(np.ascontiguousarray(segmentation.labels.transpose(3, 2, 1, 0)), affine)
    header: Any = image.header
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    header.set_zooms((*np.linalg.norm(affine[:3, :3], axis=0), (_step_ms(cine) or 0.0) / 1000))
    header.set_xyzt_units("mm", "sec")
    header["intent_name"] = b"LV labels"
    if cine.grid is None:
        header["descrip"] = b"spacing unknown"
    elif not cine.grid.is_straight(tolerance_mm=0.1):
        header["descrip"] = b"slices not evenly on one line: mean step"
    _save(image, path)


def read_written(path: Path, cine: Cine) -> NDArray[np.uint8]:
    """(phase, slice, row, column): the labels that `write_segmentation` wrote.

    Raises:
        InputError: the file is not NIfTI, is damaged, or has another shape or type than the labels of this cine.
    """
    values = read_file(path, None).values.transpose(3, 2, 1, 0)
    if values.shape != cine.pixels.shape or values.dtype != np.uint8:
        raise InputError(
            f"{path} holds {values.dtype} of shape {values.shape}: not the labels of a cine of {cine.pixels.shape}"
        )
    return np.ascontiguousarray(values)


def _save(image: nib.Nifti1Image, path: Path) -> None:
    try:
        with replacing(path) as temporary:
            nib.save(image, temporary)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error


def _step_ms(cine: Cine) -> float | None:
    if cine.trigger_times_ms is not None and cine.n_phases > 1:
        return float(np.median(np.diff(cine.trigger_times_ms, axis=0)))
    return None if cine.rr_interval_ms is None else cine.rr_interval_ms / cine.n_phases


_UNLOGGED = ContextVar("unlogged", default=False)
# nibabel logs its doubts about a header; here `header` judges it. nibabel's own LoggingOutputSuppressor removes the
# handlers for all threads; this filter does not affect other users of nibabel.
logger.addFilter(lambda record: not _UNLOGGED.get())


@contextmanager
def _unlogged() -> Iterator[None]:
    token = _UNLOGGED.set(True)
    try:
        yield
    finally:
        _UNLOGGED.reset(token)


def read_file(path: Path, chosen: NiftiGeometry | None) -> NiftiFile:
    """A file as it is stored; `chosen`: the part of its header to use, if its parts disagree."""
    try:
        with _unlogged():
            image = _load(path)
            header = image.header
            values = _values(path, image)
            place = geometry_of(path, header, chosen)
    except FileNotFoundError as error:
        refuse_url(path)
        raise InputError(f"{path} does not exist") from error
    except _ERRORS as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is not a readable NIfTI file: {reason}") from error
    return NiftiFile(path, values, place, header)


def _load(path: Path) -> Any:
    """The image, if it is NIfTI: nibabel also reads Analyze, which has the same file names and no position."""
    image: Any = nib.load(path)
    if not isinstance(image, nib.Nifti1Pair):
        raise ImageFileError(f"it has the format {type(image).__name__.removesuffix('Image')}; convert it to .nii.gz")
    return image


def _values(path: Path, image: Any) -> NDArray[Any]:
    shape = tuple(int(size) for size in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    shape = (*shape, 1) if len(shape) == 3 else shape
    if len(shape) != 4 or min(shape) < 1:
        raise InputError(
            f"{path} has shape {image.shape}: expected (column, row, slice) or (column, row, slice, phase)"
        )
    kind = image.get_data_dtype()
    if kind.kind not in "iuf" or math.prod(shape) * kind.itemsize > _MAX_BYTES:
        raise InputError(f"{path} holds {math.prod(shape)} values of type {kind}: expected grey images of usual size")
    values = np.asanyarray(image.dataobj).reshape(shape)
    if values.dtype.kind == "f":
        values = values.astype(np.float32)
        if not np.all(np.isfinite(values)):
            raise InputError(f"{path} holds values that are not finite (NaN or infinity)")
    return np.asarray(values, dtype=values.dtype.newbyteorder("="))
