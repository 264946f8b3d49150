"""NIfTI, both ways: cines and labels in (3D, or 3D and time), segmentations out.

NIfTI's world is RAS (x to the right, y to the front), DICOM's and cinesax's is LPS. Array axes are written as (column,
row, slice, phase), as converters from DICOM do, and read in any order: see `nifti_axes`. What the header says of place
and time is in `nifti_header`.
"""

import math
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.imageglobals import LoggingOutputSuppressor
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray
from scipy import ndimage

from cinesax.core.cine import Cine, Source
from cinesax.core.errors import GeometryError, InputError, OutputError
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.grid import Floats, Grid
from cinesax.core.orientation import base_first
from cinesax.core.segmentation import Segmentation
from cinesax.core.selection import NiftiGeometry
from cinesax.core.structures import Structure
from cinesax.files.stored_files import replacing
from cinesax.formats.nifti_axes import Axes, arrange, axes_onto, grid_of, on_grid, slice_axis
from cinesax.formats.nifti_header import HeaderGeometry, said
from cinesax.formats.nifti_header import geometry as geometry_of
from cinesax.formats.nifti_times import phase_times

SUFFIXES = (".nii", ".nii.gz")
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
_MAX_BYTES = 8 * 1024**3
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class _File:
    """A NIfTI file as it is stored.

    Attributes:
        values: (first, second, third axis, phase).
        place: where the voxels lie.
        header: of nibabel.
    """

    path: Path
    values: NDArray[Any]
    place: HeaderGeometry
    header: Any

    @property
    def affine_lps(self) -> Floats:
        """(4, 4): array indices to LPS mm."""
        return _RAS_TO_LPS @ self.place.affine_ras


def is_nifti(path: Path) -> bool:
    """Whether the name is that of a NIfTI file."""
    return path.name.lower().endswith(SUFFIXES)


def read_cine(path: Path, *, geometry: NiftiGeometry | None = None) -> Cine:
    """Read a cine: 4D (two axes of pixels, one of slices in any order, then phases), or 3D, which is one phase.

    Times are those of the JSON file beside it, else of pixdim[4]: see `nifti_times`.

    Args:
        path: the file.
        geometry: the part of the header that gives place and spacing, where its parts disagree.

    Raises:
        InputError: not a NIfTI file, damaged, or not of images in grey.
        GeometryError: a header that contradicts itself, axes that are not at right angles, spacing that cannot be.
        UsageError: a part of the header was chosen that it does not have.
    """
    return read_part(path, geometry=geometry).cine


@dataclass(frozen=True, eq=False)
class Part:
    """A file as a cine, which may be a part of one: a phase, or a slice.

    Attributes:
        path: the file.
        cine: what it holds.
        grid: where its pixels lie, with a spacing of 1 mm where it has none.
        step_mm: from slice to slice, by the header: of a single slice the grid has none.
        oriented: whether it lies in the patient where `grid` says; else only its spacing means something.
        stored_shape: of the array, as the header has it.
        header: what sform, qform and pixdim say, for a person.
    """

    path: Path
    cine: Cine
    grid: Grid
    step_mm: float
    oriented: bool
    stored_shape: tuple[int, ...]
    header: str


def read_part(path: Path, *, geometry: NiftiGeometry | None = None) -> Part:
    """Read a file as a cine, as `read_cine` does, and say whether it has a place."""
    file = _read(path, geometry)
    slices, clear = slice_axis(file.values.shape, file.affine_lps, oriented=file.place.oriented)
    pixels, placed, axes = on_grid(file.values, file.affine_lps, slices, oriented=file.place.oriented)
    phases, count = pixels.shape[:2]
    times = phase_times(path, file.header, phases)
    findings = [*file.place.findings, *times.findings]
    if not clear:
        message = "axes and spacings do not show which axis counts slices: the third was used, as the format defines it"
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
    step = float(np.linalg.norm(file.affine_lps[:3, slices]))
    shape = tuple(int(size) for size in file.header.get_data_shape())
    return Part(path, cine, placed, step, file.place.oriented, shape, said(file.header))


def read_labels(
    path: Path, cine: Cine, *, author: str = "manual", geometry: NiftiGeometry | None = None
) -> Segmentation:
    """Read labels (0, and those of the table of structures) that lie on the grid of a cine, axes in any order.

    A phase without any label counts as not looked at.

    Args:
        path: 3D or 4D; as many phases as the cine.
        cine: whose grid the labels must share; where the label file has no geometry (a unit affine and unit
            spacing), its shape alone decides.
        author: who made them.
        geometry: the part of the header that gives place and spacing, where its parts disagree.

    Raises:
        InputError: not a NIfTI file, damaged, or not of labels.
        GeometryError: labels on another grid than the cine's.
    """
    file = _read(path, geometry)
    values = _on_cine(file, cine)
    whole = np.rint(values)
    whole_numbers = not np.any(whole != values) and 0 <= values.min() and values.max() <= max(Structure)
    if not whole_numbers or not set(np.unique(whole.astype(np.uint8)).tolist()) <= {0, *Structure}:
        listed = ", ".join(f"{int(one)} ({one.facts.words})" for one in Structure)
        raise InputError(f"{path} holds values other than the labels 0, {listed}")
    labels = whole.astype(np.uint8)
    _refuse_other_numbering(path, labels)
    known = {Structure.CAVITY: labels.any(axis=(1, 2, 3))}
    present = {one: np.any(labels == one, axis=(1, 2, 3)) for one in Structure if one is not Structure.CAVITY}
    known |= {one: phases for one, phases in present.items() if phases.any()}
    return Segmentation(labels, known, author=author, findings=_of_place(file, cine))


def _refuse_other_numbering(path: Path, labels: NDArray[np.uint8]) -> None:
    """ACDC and others call the RV 1 and the LV 3: nothing but the wall, which lies round the LV, tells them apart."""
    wall = labels == Structure.MYOCARDIUM
    if not wall.any() or not np.any(labels == Structure.RV_CAVITY):
        return
    near_wall = ndimage.binary_dilation(wall, np.ones((1, 1, 3, 3))) & ~wall
    walled = {}
    for one in (Structure.CAVITY, Structure.RV_CAVITY):
        inside = labels == one
        border = inside & ~ndimage.binary_erosion(inside, np.ones((1, 1, 3, 3)))
        walled[one] = float((border & near_wall).sum() / max(border.sum(), 1))
    if walled[Structure.RV_CAVITY] > max(0.5, walled[Structure.CAVITY]):
        raise InputError(
            f"{path} has the wall (label 2) round label 3 and not round label 1: it seems to number the structures as "
            f"ACDC does (1 RV, 3 LV); expected 1 {Structure.CAVITY.facts.words}, 3 {Structure.RV_CAVITY.facts.words}"
        )


def _of_place(file: _File, cine: Cine) -> tuple[Finding, ...]:
    """A file without a place may count its slices from the other end, and nothing in it would show that."""
    if file.place.oriented or cine.grid is None or cine.source.stored_axes is not None or cine.n_slices == 1:
        return ()
    message = "the label file does not say where it lies: its slices are assumed to be in the order of the exam"
    return (Finding(Code.LABELS_WITHOUT_PLACE, Severity.WARNING, message),)


def _on_cine(file: _File, cine: Cine) -> NDArray[Any]:
    """(phase, slice, row, column): the values of a file on the grid of a cine.

    Where both have a place, the affines say which axis is which. Else the file's axes are those of the cine's own file,
    or, of a cine from DICOM, column, row, slice.
    """
    by_place = cine.grid if file.place.oriented else None
    axes = (cine.source.stored_axes or (1, 2, 3)) if by_place is None else axes_onto(file.affine_lps, by_place)
    seen, expected = _shape(file.values, axes or (1, 2, 3)), cine.pixels.shape
    if seen != expected:
        raise GeometryError(f"{file.path} has shape {seen} (phase, slice, row, column) where the cine has {expected}")
    if axes is None or (by_place is not None and not _lies_on(file, axes, by_place)):
        raise GeometryError(f"{file.path} does not lie where the cine lies: the labels belong to another grid")
    return arrange(file.values, axes)


def _shape(values: NDArray[Any], axes: Axes) -> tuple[int, ...]:
    column, row, slices = (values.shape[abs(axis) - 1] for axis in axes)
    return values.shape[3], slices, row, column


def _lies_on(file: _File, axes: Axes, of_cine: Grid) -> bool:
    """Whether a file's grid is that of the cine, or what one affine makes of it where slices are not evenly placed."""
    try:
        grid = grid_of(file.values.shape, file.affine_lps, axes)
    except GeometryError:
        return False
    steps = np.arange(of_cine.shape[0])[:, None] * of_cine.affine_lps()[:3, 2]
    evened = replace(of_cine, origins_mm=of_cine.origins_mm[0] + steps)
    return grid.same_as(of_cine, tolerance_mm=1.0) or grid.same_as(evened, tolerance_mm=1.0)


def write_segmentation(segmentation: Segmentation, cine: Cine, path: Path) -> None:
    """Write the labels as 4D NIfTI (column, row, slice, phase), uint8, in mm and s, in scanner coordinates.

    One affine holds for the whole file: where the slices do not lie evenly on one line, the mean step between
    them is written, and the description in the header says so.

    Raises:
        GeometryError: labels that do not fit the cine.
        OutputError: the file cannot be written.
    """
    if segmentation.labels.shape != cine.pixels.shape:
        raise GeometryError(f"labels of shape {segmentation.labels.shape} do not fit a cine of {cine.pixels.shape}")
    if not is_nifti(path):
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
    """(phase, slice, row, column): the labels that `write_segmentation` wrote, as they were.

    Raises:
        InputError: not a NIfTI file, damaged, or of another shape or type than the labels of this cine.
    """
    values = _read(path, None).values.transpose(3, 2, 1, 0)
    if values.shape != cine.pixels.shape or values.dtype != np.uint8:
        raise InputError(
            f"{path} holds {values.dtype} of shape {values.shape}: no labels of a cine of {cine.pixels.shape}"
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


def _read(path: Path, chosen: NiftiGeometry | None) -> _File:
    try:
        with LoggingOutputSuppressor():
            image: Any = nib.load(path)
            header = image.header
            values = _values(path, image)
            place = geometry_of(path, header, chosen)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist") from error
    except _ERRORS as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is not a readable NIfTI file: {reason}") from error
    return _File(path, values, place, header)


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
        raise InputError(f"{path} holds {math.prod(shape)} values of type {kind}: expected grey images of common size")
    values = np.asanyarray(image.dataobj).reshape(shape)
    if values.dtype.kind == "f":
        values = values.astype(np.float32)
        if not np.all(np.isfinite(values)):
            raise InputError(f"{path} holds values that are not finite (NaN or infinity)")
    return np.asarray(values, dtype=values.dtype.newbyteorder("="))
