"""Labels in NIfTI files, of this program or of others, on the grid of the cine that was labelled."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cinesax.core.cine import Cine
from cinesax.core.errors import GeometryError, InputError, UsageError
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.grid import Grid
from cinesax.core.segmentation import Segmentation
from cinesax.core.selection import NiftiGeometry
from cinesax.core.structures import Structure
from cinesax.formats.label_numbers import LabelMap, to_structures
from cinesax.formats.nifti import names
from cinesax.formats.nifti.axes import Axes, arrange, axes_onto, grid_of
from cinesax.formats.nifti.image import NiftiFile, read_file


def read_labels(
    path: Path | Sequence[Path],
    cine: Cine,
    *,
    author: str = "manual",
    geometry: NiftiGeometry | None = None,
    labels: LabelMap | None = None,
    phase: int | None = None,
) -> Segmentation:
    """Read labels that lie on the grid of a cine, their axes in any order.

    A phase without any label counts as not looked at.

    Args:
        path: of all phases of the cine, or of one; or one file for each of its phases, in the order that names tell.
        cine: whose grid the labels must share; where the label file has no geometry (a unit affine and unit
            spacing), its shape alone decides.
        author: who made them.
        geometry: the part of the header that gives place and spacing, where its parts disagree.
        labels: what its numbers mean; None: what they mean in the table of structures.
        phase: of a file of one phase, where the cine has several.

    Raises:
        InputError: not a NIfTI file, damaged, or not of labels.
        GeometryError: labels on another grid than the cine's, or of another number of phases.
        UsageError: a phase for a file that has all of them, or that the cine does not have.
    """
    paths = [path] if isinstance(path, Path) else list(path)
    order = names.order(paths) if len(paths) > 1 else None
    files = [read_file(paths[index], geometry) for index in order or range(len(paths))]
    values = [_on_cine(file, cine) for file in files]
    stacked = _in_phases(files, values, cine, phase)
    known_phases = np.ones(cine.n_phases, bool) if len(files) > 1 else np.arange(cine.n_phases) == phase
    structures, findings = _structures(files[0].path, stacked, labels)
    present = {one: np.any(structures == one, axis=(1, 2, 3)) for one in Structure}
    known = {Structure.CAVITY: present[Structure.CAVITY] | structures.any(axis=(1, 2, 3)) | known_phases}
    known |= {one: there for one, there in present.items() if there.any() and one is not Structure.CAVITY}
    return Segmentation(structures, known, author=author, findings=(*_of_place(files[0], cine), *findings))


def _structures(
    path: Path, values: NDArray[Any], labels: LabelMap | None
) -> tuple[NDArray[np.uint8], tuple[Finding, ...]]:
    """Values of the table of structures, and what to doubt in them."""
    whole = np.rint(values)
    whole_numbers = not np.any(whole != values) and values.min() >= 0
    if whole_numbers and labels is not None:
        found = to_structures(whole, labels, path.name)
        return found, _doubt(found)
    if not whole_numbers or not set(np.unique(whole).tolist()) <= {0, *Structure}:
        listed = ", ".join(f"{int(one)} ({one.facts.words})" for one in Structure)
        raise InputError(
            f"{path} holds values other than the labels 0, {listed}: numbers of another meaning need --labels, say "
            "--labels lv=3,myo=2,rv=1"
        )
    found = whole.astype(np.uint8)
    if _is_turned_round(found):
        raise InputError(
            f"{path} has the wall (label 2) round label 3 and not round label 1: it seems to number the structures as "
            f"ACDC does (1 RV, 3 LV): give --labels acdc, or, where 1 is the LV, --labels lv=1,myo=2,rv=3"
        )
    return found, ()


def _doubt(found: NDArray[np.uint8]) -> tuple[Finding, ...]:
    if not _is_turned_round(found):
        return ()
    message = "in the label file the wall lies round what --labels calls the RV, and not round the LV"
    return (Finding(Code.LABELS_DOUBTED, Severity.WARNING, message),)


def _is_turned_round(labels: NDArray[np.uint8]) -> bool:
    """Whether the wall lies round the RV: nothing but it tells files that count from the right from the others."""
    wall = labels == Structure.MYOCARDIUM
    if not wall.any() or not np.any(labels == Structure.RV_CAVITY):
        return False
    near_wall = ndimage.binary_dilation(wall, np.ones((1, 1, 3, 3))) & ~wall
    walled = {}
    for one in (Structure.CAVITY, Structure.RV_CAVITY):
        inside = labels == one
        border = inside & ~ndimage.binary_erosion(inside, np.ones((1, 1, 3, 3)))
        walled[one] = float((border & near_wall).sum() / max(border.sum(), 1))
    return walled[Structure.RV_CAVITY] > max(0.5, walled[Structure.CAVITY])


def _in_phases(
    files: Sequence[NiftiFile], values: Sequence[NDArray[Any]], cine: Cine, phase: int | None
) -> NDArray[Any]:
    """(phase, slice, row, column): the values of files at the phases of the cine that they are of."""
    counts, phases = [len(one) for one in values], cine.n_phases
    if phase is not None and not 0 <= phase < phases:
        raise UsageError(f"--segmentation-phase must lie in 0 to {phases - 1} (counted from 0), seen {phase}")
    if phase is not None and (len(files) > 1 or counts[0] > 1):
        raise UsageError(f"{files[0].path} is not of one phase only: leave --segmentation-phase out")
    if len(files) > 1:
        if set(counts) != {1} or len(files) != phases:
            raise GeometryError(
                f"{len(files)} label files of {max(counts)} phases do not make the {phases} phases of the exam: give "
                "one file of one phase for each"
            )
        return np.concatenate(list(values))
    if counts[0] == phases and phase in (None, 0):
        return values[0]
    if phase is not None:
        whole = np.zeros((phases, *values[0].shape[1:]), values[0].dtype)
        whole[phase] = values[0][0]
        return whole
    if counts[0] == 1:
        raise GeometryError(
            f"{files[0].path} holds labels of one phase where the exam has {phases}: say which with "
            "--segmentation-phase"
        )
    raise GeometryError(f"{files[0].path} has labels of {counts[0]} phases where the cine has {phases}")


def _of_place(file: NiftiFile, cine: Cine) -> tuple[Finding, ...]:
    """A file without a place may count its slices from the other end, and nothing in it would show that."""
    if file.place.oriented or cine.grid is None or cine.source.stored_axes is not None or cine.n_slices == 1:
        return ()
    message = "the label file does not say where it lies: its slices were taken to be in the order of the exam's"
    return (Finding(Code.LABELS_WITHOUT_PLACE, Severity.WARNING, message),)


def _on_cine(file: NiftiFile, cine: Cine) -> NDArray[Any]:
    """(phase, slice, row, column): the values of a file on the grid of a cine.

    Where both have a place, the affines say which axis is which. Else the file's axes are those of the cine's own file,
    or, of a cine from DICOM, column, row, slice.
    """
    by_place = cine.grid if file.place.oriented else None
    axes = (cine.source.stored_axes or (1, 2, 3)) if by_place is None else axes_onto(file.affine_lps, by_place)
    seen, expected = _shape(file.values, axes or (1, 2, 3)), cine.pixels.shape[1:]
    if seen != expected:
        raise GeometryError(f"{file.path} has shape {seen} (slice, row, column) where the cine has {expected}")
    if axes is None or (by_place is not None and not _lies_on(file, axes, by_place)):
        raise GeometryError(f"{file.path} does not lie where the cine lies: the labels are of another grid")
    return arrange(file.values, axes)


def _shape(values: NDArray[Any], axes: Axes) -> tuple[int, ...]:
    column, row, slices = (values.shape[abs(axis) - 1] for axis in axes)
    return slices, row, column


def _lies_on(file: NiftiFile, axes: Axes, of_cine: Grid) -> bool:
    """Whether a file's grid is that of the cine, or what one affine makes of it where slices are not evenly placed."""
    try:
        grid = grid_of(file.values.shape, file.affine_lps, axes)
    except GeometryError:
        return False
    steps = np.arange(of_cine.shape[0])[:, None] * of_cine.affine_lps()[:3, 2]
    evened = replace(of_cine, origins_mm=of_cine.origins_mm[0] + steps)
    return grid.same_as(of_cine, tolerance_mm=1.0) or grid.same_as(evened, tolerance_mm=1.0)
