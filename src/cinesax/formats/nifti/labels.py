"""Reads labels in NIfTI files, from cinesax or other programs, onto the grid of the labelled cine."""

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
    """Read labels on the grid of a cine, with their axes in any order.

    A phase without any label counts as not segmented.

    Args:
        path: a file of all phases of the cine or of one phase; or one file per phase, in the order of their names.
        cine: the labels must share its grid. If the label file has no geometry (a unit affine and unit spacing), only
        its
            shape is compared.
        author: who made the labels.
        geometry: the part of the header that gives position and spacing, if its parts disagree.
        labels: the meaning of its numbers; None: as in the table of structures.
        phase: the phase of a file of one phase, if the cine has several.

    Raises:
        InputError: the file is not NIfTI, is damaged, or does not hold labels.
        GeometryError: the labels have another grid or number of phases than the cine.
        UsageError: a phase is given for a file of all phases, or the cine does not have it.
    """
    paths = [path] if isinstance(path, Path) else list(path)
    order = names.order(paths) if len(paths) > 1 else None
    files = [read_file(paths[index], geometry) for index in order or range(len(paths))]
    values = [_on_cine(file, cine) for file in files]
    stacked = _in_phases(files, values, cine, phase)
    known_phases = np.ones(cine.n_phases, bool) if len(files) > 1 else np.arange(cine.n_phases) == phase
    structures, findings = _structures(files[0].path, stacked, labels)
    present = {structure: np.any(structures == structure, axis=(1, 2, 3)) for structure in Structure}
    known = {Structure.CAVITY: present[Structure.CAVITY] | structures.any(axis=(1, 2, 3)) | known_phases}
    others = {structure: phases for structure, phases in present.items() if structure is not Structure.CAVITY}
    known |= {structure: phases for structure, phases in others.items() if phases.any()}
    return Segmentation(structures, known, author=author, findings=(*_of_place(files[0], cine), *findings))


def _structures(
    path: Path, values: NDArray[Any], labels: LabelMap | None
) -> tuple[NDArray[np.uint8], tuple[Finding, ...]]:
    """Labels of the table of structures, and findings about them."""
    whole = np.rint(values)
    whole_numbers = not np.any(whole != values) and values.min() >= 0
    if whole_numbers and labels is not None:
        structures = to_structures(whole, labels, path.name)
        return structures, _doubt(structures)
    if not whole_numbers or not set(np.unique(whole).tolist()) <= {0, *Structure}:
        listed = ", ".join(f"{int(structure)} ({structure.facts.words})" for structure in Structure)
        raise InputError(
            f"{path} holds values other than the labels 0, {listed}: numbers with another meaning need --labels, as in "
            "--labels lv=3,myo=2,rv=1"
        )
    structures = whole.astype(np.uint8)
    if _wall_around_rv(structures):
        raise InputError(
            f"{path} has the wall (label 2) around label 3, not around label 1: it seems to number the structures as "
            f"ACDC does (1 RV, 3 LV): give --labels acdc, or, if 1 is the LV, --labels lv=1,myo=2,rv=3"
        )
    return structures, ()


def _doubt(structures: NDArray[np.uint8]) -> tuple[Finding, ...]:
    if not _wall_around_rv(structures):
        return ()
    message = "in the label file the wall surrounds the structure that --labels calls the RV, not the LV"
    return (Finding(Code.LABELS_DOUBTED, Severity.WARNING, message),)


def _wall_around_rv(labels: NDArray[np.uint8]) -> bool:
    """Whether the wall surrounds the RV rather than the LV: the only sign of a file that numbers from the RV."""
    wall = labels == Structure.MYOCARDIUM
    if not wall.any() or not np.any(labels == Structure.RV_CAVITY):
        return False
    near_wall = ndimage.binary_dilation(wall, np.ones((1, 1, 3, 3))) & ~wall
    walled = {}
    for blood in (Structure.CAVITY, Structure.RV_CAVITY):
        inside = labels == blood
        border = inside & ~ndimage.binary_erosion(inside, np.ones((1, 1, 3, 3)))
        walled[blood] = float((border & near_wall).sum() / max(border.sum(), 1))
    return walled[Structure.RV_CAVITY] > max(0.5, walled[Structure.CAVITY])


def _in_phases(
    files: Sequence[NiftiFile], values: Sequence[NDArray[Any]], cine: Cine, phase: int | None
) -> NDArray[Any]:
    """(phase, slice, row, column): the values of the files at their phases of the cine."""
    counts, phases = [len(stack) for stack in values], cine.n_phases
    if phase is not None and not 0 <= phase < phases:
        raise UsageError(f"--segmentation-phase must be from 0 to {phases - 1} (counted from 0), seen {phase}")
    if phase is not None and (len(files) > 1 or counts[0] > 1):
        raise UsageError(f"{files[0].path} holds more than one phase: leave --segmentation-phase out")
    if len(files) > 1:
        if set(counts) != {1} or len(files) != phases:
            raise GeometryError(
                f"{len(files)} label files of {max(counts)} phases do not match the {phases} phases of the exam: give "
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
            f"{files[0].path} holds labels of one phase, but the exam has {phases}: say which with --segmentation-phase"
        )
    raise GeometryError(f"{files[0].path} has labels of {counts[0]} phases, but the cine has {phases}")


def _of_place(file: NiftiFile, cine: Cine) -> tuple[Finding, ...]:
    """A finding for a file without a position: it may list its slices in reverse, and nothing in it would show that."""
    if file.place.oriented or cine.grid is None or cine.source.stored_axes is not None or cine.n_slices == 1:
        return ()
    message = "the label file has no position: its slices are assumed to be in the order of the exam's slices"
    return (Finding(Code.LABELS_WITHOUT_PLACE, Severity.WARNING, message),)


def _on_cine(file: NiftiFile, cine: Cine) -> NDArray[Any]:
    """(phase, slice, row, column): the values of a file on the grid of a cine.

    If both have a position, the affines say which axis is which. Else the file has the axis order of the cine's own
    file or, if the cine is from DICOM, column, row, slice.
    """
    by_place = cine.grid if file.place.oriented else None
    axes = (cine.source.stored_axes or (1, 2, 3)) if by_place is None else axes_onto(file.affine_lps, by_place)
    seen, expected = _shape(file.values, axes or (1, 2, 3)), cine.pixels.shape[1:]
    if seen != expected:
        raise GeometryError(f"{file.path} has shape {seen} (slice, row, column), but the cine has {expected}")
    if axes is None or (by_place is not None and not _lies_on(file, axes, by_place)):
        raise GeometryError(f"{file.path} has another position than the cine: the labels belong to another grid")
    return arrange(file.values, axes)


def _shape(values: NDArray[Any], axes: Axes) -> tuple[int, ...]:
    column, row, slices = (values.shape[abs(axis) - 1] for axis in axes)
    return slices, row, column


def _lies_on(file: NiftiFile, axes: Axes, of_cine: Grid) -> bool:
    """Whether a file's grid is that of the cine, or its approximation by one affine if slices are not evenly spaced."""
    try:
        grid = grid_of(file.values.shape, file.affine_lps, axes)
    except GeometryError:
        return False
    steps = np.arange(of_cine.shape[0])[:, None] * of_cine.affine_lps()[:3, 2]
    evened = replace(of_cine, origins_mm=of_cine.origins_mm[0] + steps)
    return grid.same_as(of_cine, tolerance_mm=1.0) or grid.same_as(evened, tolerance_mm=1.0)
