"""A solid that looks like nothing but itself, cut by a stack in any orientation: for tests of geometry.

The solid is told in patient coordinates, once and for all poses: `labels_at` says what is at any millimetre. `stack`
cuts it with a stack of the pose asked for. Whatever is written of such a stack, and by whatever reader it is read
again, must agree with `labels_at` at the millimetres that the reader names: no axis can be swapped, turned round,
scaled or moved without being noticed.
"""

from dataclasses import dataclass, replace
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cinesax.core.cine import Cine, Patient, Source
from cinesax.core.grid import Floats, Grid
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import Structure

PHASES = 3
ORIENTATIONS = tuple(
    (row, column) for row, column in product(range(-3, 4), repeat=2) if row * column and abs(row) != abs(column)
)
"""The 24 ways to lay a stack along the patient's axes: row and column direction, 1 to 3 for x, y, z, with sign."""

_CENTRE_MM = np.array([31.0, -47.0, 19.0])
# Three arms of different lengths leave from one block: no mirror image, no axis of symmetry. They taper by more than an
# oblique stack is turned, so that no plane cuts an arm off its block: every section is in one piece.
_BLOCK_MM = np.array([(-20, 4), (-18, 2), (-24, 2)], dtype=np.float64)
_ARMS_MM = (34.0, 26.0, 43.0)
_TAPER = 0.19
_WALL_MM = 7.0
_BOX_MM = np.array([(-28, 46), (-26, 36), (-32, 53)])
_OBLIQUE_AXIS, _OBLIQUE_DEGREES = np.array([0.48, -0.60, 0.64]), 7.0


@dataclass(frozen=True, kw_only=True)
class Pose:
    """How a stack lies.

    Attributes:
        orientation: index into ORIENTATIONS.
        base_first: slice 0 is the base. Grids always run along their normal: what is turned round is which end the
            base is, and in which order the source counts its slices (`instance_numbers`).
        spacing_mm: between rows, between columns.
        slice_distance_mm: centre to centre.
        slice_thickness_mm: less than the distance is a gap.
        oblique: turned away from the patient's axes.
        shift_mm: how far each slice lies beside the one before, along its rows: a sheared stack.
    """

    orientation: int = 0
    base_first: bool = True
    spacing_mm: tuple[float, float] = (1.7, 1.1)
    slice_distance_mm: float = 8.0
    slice_thickness_mm: float = 6.0
    oblique: bool = False
    shift_mm: float = 0.0

    def __str__(self) -> str:
        row, column = (f"{'-' if axis < 0 else '+'}{'xyz'[abs(axis) - 1]}" for axis in ORIENTATIONS[self.orientation])
        extras = "-oblique" * self.oblique + "-sheared" * bool(self.shift_mm)
        return f"{row}{column}-{'base' if self.base_first else 'apex'}-first{extras}"


EVERY_POSE = tuple(
    Pose(
        orientation=index,
        base_first=base_first,
        spacing_mm=((1.7, 1.1), (1.3, 2.2))[index % 2],
        slice_distance_mm=(8.0, 6.0, 9.5)[index % 3],
        oblique=(index + base_first) % 2 == 0,
        shift_mm=1.5 if index % 4 == 3 else 0.0,
    )
    for index in range(len(ORIENTATIONS))
    for base_first in (True, False)
)
"""24 orientations in both slice orders; over them non-square pixels, gaps, oblique planes and sheared stacks."""

EACH_ORIENTATION = tuple(pose for pose in EVERY_POSE if pose.base_first == (pose.orientation // 2 % 2 == 0))
"""Every orientation once; slice orders, oblique planes and sheared stacks spread over them."""

SOME_POSES = EACH_ORIENTATION[::3]
"""Eight of them, for what takes the place of a pixel from the grid, whose orientations are tested on their own."""


def labels_at(points_mm: ArrayLike, *, phase: int) -> NDArray[np.uint8]:
    """What is at points of the patient.

    Args:
        points_mm: (..., 3), LPS, mm.
        phase: 0 (full) to PHASES - 1 (small): the arms are drawn in by a tenth of their length with each phase.

    Returns:
        (...), uint8: 0 or a value of Structure.
    """
    offset = np.asarray(points_mm, dtype=np.float64) - _CENTRE_MM
    labels = np.zeros(offset.shape[:-1], dtype=np.uint8)
    for structure, margin_mm in ((Structure.MYOCARDIUM, _WALL_MM), (Structure.CAVITY, 0.0)):
        low, high = _BLOCK_MM.T + np.array([[-margin_mm], [margin_mm]])
        for axis, length_mm in enumerate(_ARMS_MM):
            beyond = offset[..., axis] - high[axis]
            near = (offset[..., axis] > low[axis]) & (beyond < length_mm * (1 - 0.1 * phase))
            narrower = _TAPER * np.clip(beyond, 0, None)
            for other in {0, 1, 2} - {axis}:
                near &= (offset[..., other] > low[other] + narrower) & (offset[..., other] < high[other] - narrower)
            labels[near] = structure
    return labels


@cache
def stack(pose: Pose) -> tuple[Cine, Segmentation]:
    """The solid as a cine and its true segmentation on the cine's own grid.

    Pixels are distinct: they grow along all three axes of the patient and with the phase. The cine comes with the
    UIDs, instance numbers and times of a DICOM source of one file a frame.
    """
    grid = _grid(pose)
    points = _pixel_centres(grid)
    labels = np.stack([labels_at(points, phase=phase) for phase in range(PHASES)])
    ramp = (points - _CENTRE_MM) @ np.array([2.0, 3.0, 5.0]) + 700
    pixels = np.stack([ramp + 40 * phase for phase in range(PHASES)]) + 300 * (labels == Structure.CAVITY)
    n_slices = grid.shape[0]
    rr = np.full(n_slices, 900.0)
    cine = Cine(
        np.rint(pixels).astype(np.uint16),
        grid,
        trigger_times_ms=np.outer(np.arange(PHASES) / PHASES, rr),
        rr_intervals_ms=rr,
        source=_source(pose, n_slices),
        patient=Patient("SOLID^ASYMMETRIC", "SOLID-1", "19600102", sex="O", age_years=60.0),
        base_first=pose.base_first,
    )
    known = {structure: np.ones(PHASES, dtype=bool) for structure in (Structure.CAVITY, Structure.MYOCARDIUM)}
    return cine, Segmentation(labels, known, author="truth")


def pixel_centres(cine: Cine) -> Floats:
    """(slice, row, column, 3), LPS, mm: where each pixel of a cine lies."""
    if cine.grid is None:
        raise ValueError("the cine has no grid")
    return _pixel_centres(cine.grid)


def _pixel_centres(grid: Grid) -> Floats:
    return grid.to_patient(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1))


def _grid(pose: Pose) -> Grid:
    row, column = (np.sign(axis) * np.eye(3)[abs(axis) - 1] for axis in ORIENTATIONS[pose.orientation])
    if pose.oblique:
        row, column = _turned(row), _turned(column)
    normal = np.cross(row, column)
    axes = np.stack([normal, column, row])
    corners = np.array(list(product(*_BOX_MM))) @ axes.T
    low, high = corners.min(axis=0), corners.max(axis=0)
    # One empty slice at either end, an uneven rim in the plane: the solid is not in the middle of the frame.
    steps = np.array([pose.slice_distance_mm, *pose.spacing_mm])
    # So chosen that no pixel centre lies on a face, where rounding in a file would decide what it is, in any pose.
    low, high = low - steps * (0.992, 3.245, 6.308), high + steps * (0.8, 9, 4) + (0, 0, abs(pose.shift_mm) * 14)
    shape = np.ceil((high - low) / steps).astype(int) + 1
    start = _CENTRE_MM + low @ axes
    along = np.arange(shape[0])[:, None]
    origins = start + along * (pose.slice_distance_mm * normal - pose.shift_mm * row)
    return Grid(origins, row, column, pose.spacing_mm, (int(shape[0]), int(shape[1]), int(shape[2])))


def _turned(vector: Floats) -> Floats:
    """Rodrigues' formula about no axis of the patient: what was along one of them is along none any more."""
    axis = _OBLIQUE_AXIS / np.linalg.norm(_OBLIQUE_AXIS)
    cos, sin = np.cos(np.deg2rad(_OBLIQUE_DEGREES)), np.sin(np.deg2rad(_OBLIQUE_DEGREES))
    return np.asarray(vector * cos + np.cross(axis, vector) * sin + axis * (axis @ vector) * (1 - cos))


def _source(pose: Pose, n_slices: int) -> Source:
    root = f"1.2.826.0.1.3680043.8.498.{1 + pose.orientation}.{int(pose.base_first)}"
    # The study counts its slices from the base, whichever end of the grid that is.
    place = [index if pose.base_first else n_slices - 1 - index for index in range(n_slices)]
    numbers = tuple(tuple(1 + phase + PHASES * at for at in place) for phase in range(PHASES))
    source = Source("dicom", study_uid=f"{root}.1", series_uids=(f"{root}.2",), frame_of_reference_uid=f"{root}.3")
    return replace(
        source,
        instance_uids=tuple(tuple(f"{root}.2.{number}" for number in phase) for phase in numbers),
        instance_numbers=numbers,
        description="SAX asymmetric solid",
        study_date="20240101",
        manufacturer="cinesax",
        scanner="solid",
        field_strength_t=1.5,
        slice_thickness_mm=pose.slice_thickness_mm,
    )
