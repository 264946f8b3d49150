"""NIfTI, both ways: cines and labels in (3D, or 3D and time), segmentations out.

NIfTI's world is RAS (x to the right, y to the front), DICOM's and cinesax's is LPS. Array axes are (column, row,
slice, phase), as converters from DICOM write them.
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

from cinesax.core.cine import Cine, Source
from cinesax.core.errors import GeometryError, InputError, OutputError
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.grid import Floats, Grid
from cinesax.core.orientation import base_first
from cinesax.core.segmentation import Segmentation, Structure
from cinesax.files.stored_files import replacing

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
_MM = {"mm": 1.0, "meter": 1000.0, "micron": 0.001}
_MS = {"msec": 1.0, "sec": 1000.0, "usec": 0.001}
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class _Volume:
    """A NIfTI file on the axes of cinesax: values (phase, slice, row, column), slices along the normal.

    Attributes:
        oriented: whether the affine places the file in the patient.
        measured: whether affine or pixdim gives a spacing.
    """

    values: NDArray[Any]
    grid: Grid
    step_ms: float | None
    findings: tuple[Finding, ...]
    oriented: bool
    measured: bool


def is_nifti(path: Path) -> bool:
    """Whether the name is that of a NIfTI file."""
    return path.name.lower().endswith(SUFFIXES)


def read_cine(path: Path) -> Cine:
    """Read a cine: 4D (column, row, slice, phase), or 3D, which is one phase.

    Spacing comes from pixdim where the affine is a unit matrix (as some public sets have it), else from the
    affine. Times are those of pixdim[4]; no trigger times where they cannot be a heart beat.

    Raises:
        InputError: not a NIfTI file, damaged, or not of images in grey.
        GeometryError: axes that are not at right angles, spacing that is not positive.
    """
    volume = _read(path)
    phases, slices = volume.values.shape[:2]
    step = volume.step_ms
    triggers = None if step is None else np.repeat(np.arange(phases)[:, None] * step, slices, axis=1)
    findings = list(volume.findings)
    if step is None and phases > 1:
        message = "the file does not say how long a phase lasts: heart rate and rates of filling are not known"
        findings.append(Finding(Code.MISSING_TRIGGER_TIMES, Severity.WARNING, message))
    grid = volume.grid if volume.measured else None
    return Cine(
        volume.values,
        grid,
        triggers,
        None if step is None else np.full(slices, step * phases),
        source=Source("nifti", description=path.name),
        base_first=base_first(grid),
        findings=tuple(findings),
    )


def read_labels(path: Path, cine: Cine, *, author: str = "manual") -> Segmentation:
    """Read labels (0, 1 cavity, 2 myocardium) that lie on the grid of a cine.

    A phase without any label counts as not looked at.

    Args:
        path: 3D or 4D; as many phases as the cine.
        cine: whose grid the labels must share; where the label file has no geometry (a unit affine and unit
            spacing), its shape alone decides.
        author: who made them.

    Raises:
        InputError: not a NIfTI file, damaged, or not of labels.
        GeometryError: labels on another grid than the cine's.
    """
    volume = _read(path)
    values = volume.values
    if values.shape != cine.pixels.shape:
        raise GeometryError(
            f"{path} has shape {values.shape} (phase, slice, row, column) where the cine has {cine.pixels.shape}"
        )
    if volume.oriented and cine.grid is not None and not _lies_on(volume.grid, cine.grid):
        raise GeometryError(f"{path} does not lie where the cine lies: the labels are of another grid")
    whole = np.rint(values)
    if np.any(whole != values) or values.min() < 0 or values.max() > max(Structure):
        raise InputError(f"{path} holds values other than the labels 0, 1 (cavity) and 2 (myocardium)")
    labels = whole.astype(np.uint8)
    known = {Structure.CAVITY: labels.any(axis=(1, 2, 3))}
    if np.any(labels == Structure.MYOCARDIUM):
        known[Structure.MYOCARDIUM] = np.any(labels == Structure.MYOCARDIUM, axis=(1, 2, 3))
    return Segmentation(labels, known, author=author)


def _lies_on(grid: Grid, of_cine: Grid) -> bool:
    """Whether a file's grid is that of the cine, or what one affine makes of it where slices are not evenly placed."""
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


def _read(path: Path) -> _Volume:
    try:
        with LoggingOutputSuppressor():
            image: Any = nib.load(path)
            header = image.header
            values = _values(path, image)
            affine, findings, oriented = _affine(image, header)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist") from error
    except _ERRORS as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is not a readable NIfTI file: {reason}") from error
    values = np.ascontiguousarray(values.transpose(3, 2, 1, 0))
    values, grid = _on_grid(values, _RAS_TO_LPS @ affine)
    return _Volume(values, grid, _phase_ms(header, len(values)), findings, oriented, measured=not findings)


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


def _affine(image: Any, header: Any) -> tuple[Floats, tuple[Finding, ...], bool]:
    unit = _MM.get(header.get_xyzt_units()[0], 1.0)
    affine = np.array(image.affine, dtype=np.float64)
    zooms = np.array(header.get_zooms()[:3], dtype=np.float64)
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.all(np.isfinite(affine)) or np.any(lengths == 0) or np.any(zooms <= 0):
        raise GeometryError("the affine or pixdim is not finite and positive")
    # Turned axes of length 1 were measured: a scan of 1 mm in each direction.
    oriented = not np.allclose(np.abs(affine[:3, :3]), np.eye(3), atol=1e-4)
    spaced = not np.allclose(zooms, 1, atol=1e-4)
    findings: tuple[Finding, ...] = ()
    if not oriented and not spaced:
        message = "neither affine nor pixdim gives a spacing: no volumes, the ejection fraction is one of summed areas"
        findings = (Finding(Code.UNKNOWN_SPACING, Severity.WARNING, message),)
    elif spaced and np.allclose(lengths, 1, atol=1e-4):
        affine[:3, :3] *= zooms
    affine[:3] *= unit
    return affine, findings, oriented


def _on_grid(values: NDArray[Any], affine: Floats) -> tuple[NDArray[Any], Grid]:
    slices, rows, columns = values.shape[1:]
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    along_row, along_column = affine[:3, 0] / lengths[0], affine[:3, 1] / lengths[1]
    origins = affine[:3, 3] + np.arange(slices)[:, None] * affine[:3, 2]
    if float(np.cross(along_row, along_column) @ affine[:3, 2]) < 0:
        # Left-handed axes: the slices run against row x column. Their order is turned, the pixels stay.
        values, origins = values[:, ::-1], origins[::-1]
    return values, Grid(origins, along_row, along_column, (lengths[1], lengths[0]), (slices, rows, columns))


def _phase_ms(header: Any, phases: int) -> float | None:
    if phases < 2:
        return None
    step = float(header["pixdim"][4])
    name = header.get_xyzt_units()[1]
    # Where the unit is not told, below 1 can only be seconds: no cine has phases of less than 1 ms.
    step *= _MS.get(name, 1000.0 if step < 1 else 1.0)
    return step if math.isfinite(step) and 300 <= step * phases <= 2500 else None
