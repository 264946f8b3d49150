"""Finds the slice axis of a NIfTI array and puts its voxels on a Grid.

Converters from DICOM write (column, row, slice). Programs that bring an image to "canonical" axes (nibabel's
`as_closest_canonical`, FSL's `fslreorient2std`) swap and reverse axes, so any of the three may be the slice axis.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cinesax.core.grid import Floats, Grid
from cinesax.core.orientation import USUAL_LONG_AXIS, standard_position

Axes = tuple[int, int, int]

_THICKER = 1.5
_FEWER = 2
_ACROSS_THE_HEART_DEGREES = 35.0


def slice_axis(shape: Sequence[int], affine_lps: Floats, *, oriented: bool) -> tuple[int, bool]:
    """The slice axis (0 to 2), and whether the geometry determines it.

    The first criterion that decides: slices are further apart than pixels; their normal is near the usual long axis of
    the heart (a stack that was resampled to cubes); there are fewer slices than pixels. Else the third axis, as the
    format defines it.

    Args:
        shape: shape of the array, its first three axes.
        affine_lps: (4, 4), array indices to LPS mm.
        oriented: whether the directions of the affine are meaningful.
    """
    lengths = np.linalg.norm(affine_lps[:3, :3], axis=0)
    widest = int(np.argmax(lengths))
    if lengths[widest] >= _THICKER * np.sort(lengths)[1]:
        return widest, True
    if oriented:
        cosines = np.abs(USUAL_LONG_AXIS @ (affine_lps[:3, :3] / lengths))
        nearest = int(np.argmax(cosines))
        if cosines[nearest] >= np.cos(np.deg2rad(_ACROSS_THE_HEART_DEGREES)):
            return nearest, True
    fewest = int(np.argmin(shape[:3]))
    if _FEWER * shape[fewest] <= sorted(shape[:3])[1]:
        return fewest, True
    return 2, shape[2] == min(shape[:3])


def on_grid(
    values: NDArray[np.generic], affine_lps: Floats, slices: int, *, oriented: bool
) -> tuple[NDArray[np.generic], Grid, Axes]:
    """Put an array on a Grid: axes are swapped and reversed, nothing is interpolated.

    A NIfTI file does not say which way up its frames are shown. They are put into the standard position, in which DICOM
    frames are usually stored, so that an exam has the same Grid from both formats.

    Args:
        values: (first, second, third axis, phase).
        affine_lps: (4, 4), array indices to LPS mm.
        slices: the slice axis.
        oriented: whether the directions of the affine are meaningful; else no axis is reversed.

    Returns:
        (phase, slice, row, column); its Grid; and for column, row and slice the axis of the array, counted from 1,
        negative if it runs backwards.

    Raises:
        GeometryError: the axes are not at right angles.
    """
    column, row = (axis + 1 for axis in range(3) if axis != slices)
    if not oriented:
        return _without_place(values, affine_lps, (column, row, slices + 1))
    directions = affine_lps[:3, [column - 1, row - 1, slices]]
    # In a left-handed array slices run against row x column. A Grid is right-handed, so their order is reversed.
    right_handed = float(np.cross(directions[:, 0], directions[:, 1]) @ directions[:, 2]) > 0
    axes = (column, row, slices + 1 if right_handed else -slices - 1)
    turn = standard_position(grid_of(values.shape, affine_lps, axes))
    if turn is not None:
        column, row = turn.apply_pair((column, row))
        axes = (
            -column if turn.columns_reversed else column,
            -row if turn.rows_reversed else row,
            -axes[2] if turn.mirrors else axes[2],
        )
    return arrange(values, axes), grid_of(values.shape, affine_lps, axes), axes


def _without_place(
    values: NDArray[np.generic], affine_lps: Floats, axes: Axes
) -> tuple[NDArray[np.generic], Grid, Axes]:
    """Slices along z, whichever axis of the array they are on: the file has no position in the patient."""
    widths = np.linalg.norm(affine_lps[:3, [axis - 1 for axis in axes]], axis=0)
    arranged = arrange(values, axes)
    shape = values.shape[axes[0] - 1], values.shape[axes[1] - 1], values.shape[axes[2] - 1]
    return arranged, grid_of(shape, np.diag([*widths, 1.0]), (1, 2, 3)), axes


def arrange(values: NDArray[np.generic], axes: Axes) -> NDArray[np.generic]:
    """(phase, slice, row, column) of (first, second, third axis, phase).

    Args:
        values: the array of a file.
        axes: for column, row and slice the axis of the array, counted from 1, negative if it runs backwards.
    """
    column, row, slices = (abs(axis) - 1 for axis in axes)
    arranged = values.transpose(3, slices, row, column)
    backwards = tuple(slice(None, None, -1 if axis < 0 else None) for axis in axes)
    return np.ascontiguousarray(arranged[:, backwards[2], backwards[1], backwards[0]])


def axes_onto(affine_lps: Floats, onto: Grid) -> Axes | None:
    """The swap and reversal of axes that puts an array on a grid; None if there is none.

    Args:
        affine_lps: (4, 4), array indices to LPS mm.
        onto: the grid.
    """
    wanted = onto.affine_lps()[:3, :3]
    cosines = (wanted / np.linalg.norm(wanted, axis=0)).T @ (
        affine_lps[:3, :3] / np.linalg.norm(affine_lps[:3, :3], axis=0)
    )
    nearest = np.argmax(np.abs(cosines), axis=1)
    if len(set(nearest.tolist())) < 3:
        return None
    signed = [int(np.sign(cosines[index, axis])) * (int(axis) + 1) for index, axis in enumerate(nearest)]
    return signed[0], signed[1], signed[2]


def grid_of(shape: Sequence[int], affine_lps: Floats, axes: Axes) -> Grid:
    """The Grid of an array after `arrange`.

    Args:
        shape: (first, second, third axis) of the array.
        affine_lps: (4, 4), array indices to LPS mm.
        axes: as for `arrange`.

    Raises:
        GeometryError: the axes are not at right angles, or are left-handed.
    """
    index = [abs(axis) - 1 for axis in axes]
    signs = np.sign(axes)
    steps = affine_lps[:3, index] * signs
    columns, rows, slices = (int(shape[axis]) for axis in index)
    first = np.where(signs < 0, [columns - 1, rows - 1, slices - 1], 0)
    origins = affine_lps[:3, 3] - steps @ first + np.arange(slices)[:, None] * steps[:, 2]
    widths = np.linalg.norm(steps, axis=0)
    along_row, along_column = steps[:, 0] / widths[0], steps[:, 1] / widths[1]
    return Grid(origins, along_row, along_column, (widths[1], widths[0]), (slices, rows, columns))
