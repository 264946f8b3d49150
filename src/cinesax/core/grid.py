"""Grid: where the pixels of a stack of parallel slices lie in the patient.

Coordinates are DICOM's patient coordinates: LPS (x to the left, y to posterior, z to the head), in mm.
Pixel indices are (slice, row, column), whole numbers at pixel centres.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cinesax.core.errors import GeometryError
from cinesax.core.values import ArrayValue, frozen

Floats = NDArray[np.float64]

_UNIT_TOLERANCE = 1e-3
_ROUNDING = 4 * float(np.finfo(np.float64).eps)
_IN_PLANE_SHIFT_TOLERANCE_MM = 0.01


def _unit(vector: ArrayLike, name: str) -> Floats:
    direction = np.asarray(vector, dtype=np.float64)
    if direction.shape != (3,) or not np.all(np.isfinite(direction)):
        raise GeometryError(f"{name} must be three finite numbers, seen {direction.tolist()}")
    length = float(np.linalg.norm(direction))
    if abs(length - 1) > _UNIT_TOLERANCE:
        raise GeometryError(f"{name} must have length 1, seen {length:.4f} in {direction.tolist()}")
    # A direction of length 1 is not changed: a Grid made from the fields of another must equal it.
    return direction if abs(length - 1) <= _ROUNDING else direction / length


@dataclass(frozen=True, eq=False, repr=False)
class Grid(ArrayValue):
    """The pixel centres of `n` parallel slices of one in-plane matrix.

    Attributes:
        origins_mm: (slice, 3), LPS, mm: the centre of pixel (row 0, column 0) of each slice. Strictly
            increasing along `normal`; distances need not be equal, nor the slices exactly on one line
            (breath-hold corrections, tilted stacks of oblique slices).
        along_row: (3,), unit vector: the direction of increasing column index (the first three numbers of
            ImageOrientationPatient).
        along_column: (3,), unit vector: the direction of increasing row index (the last three).
        spacing_mm: distance between the centres of neighbouring rows, and of neighbouring columns
            (the order of DICOM's PixelSpacing).
        shape: (slices, rows, columns).

    Raises:
        GeometryError: directions are not orthogonal unit vectors, spacing is not positive, slices are not in order
            along the normal, or values are not finite.
    """

    origins_mm: Floats
    along_row: Floats
    along_column: Floats
    spacing_mm: tuple[float, float]
    shape: tuple[int, int, int]

    def __post_init__(self) -> None:
        origins = np.asarray(self.origins_mm, dtype=np.float64)
        if origins.ndim != 2 or origins.shape[1] != 3 or not np.all(np.isfinite(origins)):
            raise GeometryError(f"slice origins must be finite numbers of shape (slice, 3), seen shape {origins.shape}")
        along_row = _unit(self.along_row, "the row direction")
        along_column = _unit(self.along_column, "the column direction")
        if abs(float(along_row @ along_column)) > _UNIT_TOLERANCE:
            raise GeometryError(
                f"row and column directions must be at right angles, seen cosine {float(along_row @ along_column):.4f}"
            )
        spacing = (float(self.spacing_mm[0]), float(self.spacing_mm[1]))
        if not all(np.isfinite(value) and value > 0 for value in spacing):
            raise GeometryError(f"pixel spacing must be positive and finite, seen {spacing} mm")
        shape = (int(self.shape[0]), int(self.shape[1]), int(self.shape[2]))
        if min(shape) < 1 or shape[0] != len(origins):
            raise GeometryError(f"the grid's shape {shape} does not fit its {len(origins)} slice origins")
        object.__setattr__(self, "origins_mm", frozen(origins))
        object.__setattr__(self, "along_row", frozen(along_row))
        object.__setattr__(self, "along_column", frozen(along_column))
        object.__setattr__(self, "spacing_mm", spacing)
        object.__setattr__(self, "shape", shape)
        if len(origins) > 1 and float(self.slice_distances_mm.min()) <= 0:
            raise GeometryError(
                "slices must be in order along their normal (row direction x column direction) and not coincide; "
                f"seen positions {np.round(self.positions_mm, 2).tolist()} mm"
            )

    def __repr__(self) -> str:
        (slices, rows, columns), (down, right) = self.shape, self.spacing_mm
        apart = "" if self.slice_distance_mm is None else f", {self.slice_distance_mm:.4g} mm apart"
        return f"Grid({slices} slices of {rows} x {columns} pixels of {down:.3g} x {right:.3g} mm{apart})"

    @cached_property
    def normal(self) -> Floats:
        """(3,), unit vector: along_row x along_column, the direction of increasing slice index."""
        normal = np.cross(self.along_row, self.along_column)
        return frozen(np.asarray(normal / np.linalg.norm(normal), dtype=np.float64))

    @cached_property
    def positions_mm(self) -> Floats:
        """(slice,), mm: the position of each slice along the normal."""
        return frozen(np.asarray(self.origins_mm @ self.normal, dtype=np.float64))

    @cached_property
    def slice_distances_mm(self) -> Floats:
        """(slice - 1,), mm: distance along the normal from each slice to the next, centre to centre."""
        return frozen(np.diff(self.positions_mm))

    @cached_property
    def slice_distance_mm(self) -> float | None:
        """The median distance between neighbouring slices in mm; None for a single slice."""
        return float(np.median(self.slice_distances_mm)) if self.shape[0] > 1 else None

    @cached_property
    def pixel_area_mm2(self) -> float:
        """The area of one pixel in mm²."""
        return self.spacing_mm[0] * self.spacing_mm[1]

    def is_even(self, tolerance: float = 0.02) -> bool:
        """Whether all neighbouring slices are equally far apart, within `tolerance` of the median distance."""
        if self.shape[0] < 3:
            return True
        median = float(np.median(self.slice_distances_mm))
        return bool(np.all(np.abs(self.slice_distances_mm - median) <= tolerance * median))

    def is_straight(self, tolerance_mm: float = _IN_PLANE_SHIFT_TOLERANCE_MM) -> bool:
        """Whether the slice origins lie on one line along which they are evenly spaced, so that one affine holds."""
        if self.shape[0] < 3:
            return True
        steps = np.diff(self.origins_mm, axis=0)
        return bool(np.all(np.abs(steps - steps.mean(axis=0)) <= tolerance_mm))

    def to_patient(self, indices: ArrayLike) -> Floats:
        """Patient coordinates of pixel indices.

        Args:
            indices: (..., 3): slice (a whole number), row, column; rows and columns may be fractions.

        Returns:
            (..., 3), LPS, mm.
        """
        index = np.asarray(indices, dtype=np.float64)
        origin = self.origins_mm[index[..., 0].astype(int)]
        down = index[..., 1:2] * self.spacing_mm[0] * self.along_column
        right = index[..., 2:3] * self.spacing_mm[1] * self.along_row
        return np.asarray(origin + down + right, dtype=np.float64)

    def to_pixel(self, points_mm: ArrayLike, slice_index: int) -> Floats:
        """Row and column of patient points projected onto a slice.

        Args:
            points_mm: (..., 3), LPS, mm.
            slice_index: the slice.

        Returns:
            (..., 2): row, column, as fractions.
        """
        offset = np.asarray(points_mm, dtype=np.float64) - self.origins_mm[slice_index]
        rows = offset @ self.along_column / self.spacing_mm[0]
        columns = offset @ self.along_row / self.spacing_mm[1]
        return np.stack([rows, columns], axis=-1)

    def affine_lps(self) -> Floats:
        """(4, 4): maps (column, row, slice, 1) to LPS mm; exact where `is_straight()`, else the mean slice step."""
        affine = np.eye(4)
        affine[:3, 0] = self.along_row * self.spacing_mm[1]
        affine[:3, 1] = self.along_column * self.spacing_mm[0]
        if self.shape[0] > 1:
            affine[:3, 2] = (self.origins_mm[-1] - self.origins_mm[0]) / (self.shape[0] - 1)
        else:
            affine[:3, 2] = self.normal
        affine[:3, 3] = self.origins_mm[0]
        return affine

    def same_as(self, other: "Grid", tolerance_mm: float = 0.1) -> bool:
        """Whether both grids have the same shape and all their corner pixels coincide within `tolerance_mm`."""
        if self.shape != other.shape:
            return False
        slices, rows, columns = self.shape
        corners = [(s, r, c) for s in range(slices) for r in (0, rows - 1) for c in (0, columns - 1)]
        apart = np.linalg.norm(self.to_patient(corners) - other.to_patient(corners), axis=-1)
        return bool(np.all(apart <= tolerance_mm))


def stacked_grid(
    origin_mm: Sequence[float],
    *,
    spacing_mm: tuple[float, float],
    slice_distance_mm: float,
    shape: tuple[int, int, int],
    along_row: ArrayLike = (1.0, 0.0, 0.0),
    along_column: ArrayLike = (0.0, 1.0, 0.0),
) -> Grid:
    """A Grid of evenly spaced slices along the normal.

    Args:
        origin_mm: LPS, mm: the centre of pixel (slice 0, row 0, column 0).
        spacing_mm: (between rows, between columns).
        slice_distance_mm: centre to centre, along the normal.
        shape: (slices, rows, columns).
        along_row: unit vector: the direction of increasing column index.
        along_column: unit vector: the direction of increasing row index.
    """
    row, column = _unit(along_row, "the row direction"), _unit(along_column, "the column direction")
    steps = np.arange(shape[0])[:, None] * slice_distance_mm * np.cross(row, column)
    return Grid(np.asarray(origin_mm, dtype=np.float64) + steps, row, column, spacing_mm, shape)
