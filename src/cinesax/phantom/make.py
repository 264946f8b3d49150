"""Whole phantoms: the short-axis cine with its truth, single frames of it, and decoys."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from cinesax.core.cine import Cine, Patient, Source
from cinesax.core.errors import UsageError
from cinesax.core.grid import Floats, Grid, stacked_grid
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import Structure
from cinesax.phantom import physics
from cinesax.phantom.anatomy import heart, heart_frame
from cinesax.phantom.heart import Section, ventricle
from cinesax.phantom.render import Stored, cine_signals, make_plane, render
from cinesax.phantom.settings import PhantomSettings

Labels = NDArray[np.uint8]

_SUBSAMPLES = 10


class DecoyKind(StrEnum):
    """Kinds of series of the same exam that are not the short-axis cine."""

    LOCALIZER_AXIAL = "localizer-axial"
    LOCALIZER_CORONAL = "localizer-coronal"
    LOCALIZER_SAGITTAL = "localizer-sagittal"
    LONG_AXIS = "long-axis"
    LATE_ENHANCEMENT = "late-enhancement"


@dataclass(frozen=True, eq=False)
class Phantom:
    """A synthetic short-axis cine and its truth.

    Attributes:
        settings: every drawn value.
        cine: (phase, slice, row, column), uint16; phase 0 is ED.
        truth: cavity and myocardium in every phase. A pixel is cavity if at least half of its area lies in the
            closed-form cross-section in the plane of the slice's centre, myocardium if it is not cavity and at least
            half of its area lies in the outer outline. The papillary muscles and trabeculae are cavity, here and in
            `volumes_ml`. The slice thickness blurs only the image.
        volumes_ml: (phase,): volume of the cavity in closed form.
        myocardial_volume_ml: the same in every phase, without the papillary muscles.
        es_phase: the phase of the smallest volume.
    """

    settings: PhantomSettings
    cine: Cine
    truth: Segmentation
    volumes_ml: Floats
    myocardial_volume_ml: float
    es_phase: int


def make_phantom(settings: PhantomSettings) -> Phantom:
    """Render a whole phantom.

    Raises:
        GeometryError: the cavity would break through the wall.
    """
    grid, truth, volumes_ml = make_truth(settings)
    pixels = np.empty((settings.n_phases, *grid.shape), dtype=np.uint16)
    for slice_index in range(settings.n_slices):
        phases = range(settings.n_phases)
        pixels[:, slice_index] = _render_slice(settings, grid, slice_index, phases=phases)
    cine = Cine(
        pixels,
        grid,
        trigger_times_ms=_trigger_times_ms(settings),
        rr_intervals_ms=np.array(settings.rr_intervals_ms),
        source=_source(settings, "SAX cine bSSFP", thickness_mm=settings.slice_thickness_mm),
        patient=_patient(settings),
        base_first=settings.base_first,
    )
    lv = ventricle(settings)
    return Phantom(settings, cine, truth, volumes_ml, lv.myocardial_volume_ml, lv.es_phase)


def make_truth(settings: PhantomSettings, *, phases: Sequence[int] | None = None) -> tuple[Grid, Segmentation, Floats]:
    """The truth of a phantom, without rendering any image.

    Args:
        settings: of the phantom.
        phases: which phases, in the order of the result; None: all phases.

    Returns:
        The grid; the segmentation, (phase, slice, row, column); the closed-form volume of the cavity in ml, (phase,).

    Raises:
        UsageError: a phase that does not exist.
        GeometryError: the cavity would break through the wall.
    """
    lv, grid = ventricle(settings), _grid(settings)
    wanted = range(settings.n_phases) if phases is None else phases
    _check_frames(settings, [(phase, 0) for phase in wanted])
    labels = np.zeros((len(wanted), *grid.shape), dtype=np.uint8)
    for slice_index, position in enumerate(_positions(settings)):
        for i, phase in enumerate(wanted):
            _label(labels[i, slice_index], lv.section(position.w_mm, phase), position)
    known = {structure: np.ones(len(wanted), dtype=bool) for structure in (Structure.CAVITY, Structure.MYOCARDIUM)}
    return grid, Segmentation(labels, known, author="truth"), lv.volumes_ml[list(wanted)]


def render_frames(settings: PhantomSettings, frames: Sequence[tuple[int, int]]) -> tuple[Stored, Labels]:
    """Some frames of a phantom, the same as in the whole phantom.

    Frames of one slice share the work for the still body: request all frames of a phantom in one call.

    Args:
        settings: of the phantom.
        frames: (phase, slice) of each frame.

    Returns:
        images: (frame, row, column), uint16.
        labels: (frame, row, column), uint8, of Structure.

    Raises:
        UsageError: a frame that does not exist.
        GeometryError: the cavity would break through the wall.
    """
    _check_frames(settings, frames)
    lv, grid, positions = ventricle(settings), _grid(settings), _positions(settings)
    images = np.zeros((len(frames), *grid.shape[1:]), dtype=np.uint16)
    labels = np.zeros((len(frames), *grid.shape[1:]), dtype=np.uint8)
    for slice_index in sorted({slice_index for _, slice_index in frames}):
        mine = [i for i, frame in enumerate(frames) if frame[1] == slice_index]
        images[mine] = _render_slice(settings, grid, slice_index, phases=[frames[i][0] for i in mine])
        for i in mine:
            _label(labels[i], lv.section(positions[slice_index].w_mm, frames[i][0]), positions[slice_index])
    return images, labels


def label_right(settings: PhantomSettings, frames: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
    """The cavity of the right ventricle in some frames, up to the base plane: pixels whose centre lies in it.

    Args:
        settings: of the phantom.
        frames: (phase, slice) of each frame.

    Returns:
        (frame, row, column).

    Raises:
        UsageError: a frame that does not exist.
    """
    _check_frames(settings, frames)
    beating, positions, (rows, columns) = heart(settings), _positions(settings), _grid(settings).shape[1:]
    at = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), axis=-1).reshape(-1, 2)
    inside = np.zeros((len(frames), rows * columns), dtype=bool)
    for out, (phase, slice_index) in zip(inside, frames, strict=True):
        position = positions[slice_index]
        x, y = (at @ np.stack([position.by_row, position.by_column]) + position.start).T.astype(np.float32)
        w = np.full(len(at), position.w_mm, dtype=np.float32)
        out[:] = beating.in_right_cavity(x, y, w, phase=phase)
    return inside.reshape(-1, rows, columns)


def make_decoys(settings: PhantomSettings) -> tuple[tuple[DecoyKind, Cine], ...]:
    """Other series of the same patient in the same frame of reference.

    Localizers in three planes (one phase, three slices each), a four-chamber cine (one slice, all phases), and
    a late-enhancement stack (one phase, in diastole) on the grid of the short-axis cine.
    """
    centre = np.array(settings.heart_centre_mm)
    planes = {
        DecoyKind.LOCALIZER_AXIAL: ([1, 0, 0], [0, 1, 0]),
        DecoyKind.LOCALIZER_CORONAL: ([1, 0, 0], [0, 0, -1]),
        DecoyKind.LOCALIZER_SAGITTAL: ([0, 1, 0], [0, 0, -1]),
    }
    decoys = [
        (kind, _decoy(settings, kind, _plane_grid(centre, row, column, n_slices=3), phases=[0]))
        for kind, (row, column) in planes.items()
    ]
    frame = heart_frame(settings)
    long_axis = _plane_grid(centre, frame.axes[2] * -1, frame.axes[0] * -1, n_slices=1)
    decoys.append(
        (DecoyKind.LONG_AXIS, _decoy(settings, DecoyKind.LONG_AXIS, long_axis, phases=range(settings.n_phases)))
    )
    late = _decoy(settings, DecoyKind.LATE_ENHANCEMENT, _grid(settings), phases=[round(0.85 * settings.n_phases)])
    return (*decoys, (DecoyKind.LATE_ENHANCEMENT, late))


@dataclass(frozen=True, slots=True)
class _Position:
    """A slice in heart coordinates: its height, and x, y of a pixel: start + row * by_row + column * by_column."""

    w_mm: float
    start: Floats
    by_row: Floats
    by_column: Floats


def _grid(settings: PhantomSettings, *, shifted: int | None = None) -> Grid:
    """The grid as stored; with `shifted`, displaced like the body in the breath-hold of each slice."""
    s, frame = settings, heart_frame(settings)
    turn, side = np.deg2rad(s.in_plane_degrees), -1.0 if s.base_first else 1.0
    normal = side * frame.axes[2]
    # The usual view: anterior on top, and the RV to the left if seen from the apex.
    right, down = -side * frame.axes[0], -frame.axes[1]
    along_row = np.cos(turn) * right + np.sin(turn) * down
    along_column = np.cross(normal, along_row)
    first, last = ((i + s.stack_offset - s.slices_below) * s.slice_distance_mm for i in (0, s.n_slices - 1))
    middle_x, middle_y = 14.0, 0.0
    centre = frame.to_patient(np.array([middle_x, middle_y, last if s.base_first else first]))
    corner = [(n - 1) / 2 * d - off for n, d, off in zip(s.matrix, s.spacing_mm, s.image_centre_mm, strict=True)]
    if shifted is not None:
        corner = [value + shift for value, shift in zip(corner, s.breath_shifts_mm[shifted], strict=True)]
    return stacked_grid(
        centre - corner[0] * along_column - corner[1] * along_row,
        spacing_mm=s.spacing_mm,
        slice_distance_mm=s.slice_distance_mm,
        shape=(s.n_slices, *s.matrix),
        along_row=along_row,
        along_column=along_column,
    )


def _positions(settings: PhantomSettings) -> list[_Position]:
    frame, positions = heart_frame(settings), []
    for slice_index in range(settings.n_slices):
        grid = _grid(settings, shifted=slice_index)
        x, y, w = (grid.origins_mm[slice_index] - frame.apex_mm) @ frame.axes.T
        by_row, by_column = grid.along_column * grid.spacing_mm[0], grid.along_row * grid.spacing_mm[1]
        positions.append(_Position(float(w), np.array([x, y]), (frame.axes @ by_row)[:2], (frame.axes @ by_column)[:2]))
    return positions


def _label(labels: Labels, section: Section, position: _Position) -> None:
    """Fill (row, column) labels with the pixels of a section."""
    if section.outer_mm > 0:
        _fill(labels, section, position, inner=False)
    if section.inner_mm > 0:
        _fill(labels, section, position, inner=True)


def _fill(labels: Labels, section: Section, position: _Position, *, inner: bool) -> None:
    """Set the pixels that lie at least half inside an outline.

    If the outline were straight, these would be the pixels whose centre lies inside. Only pixels whose centre is so
    near to the outline that its curvature could decide are sampled.
    """
    radius = section.inner_mm if inner else section.outer_mm
    centre = section.inner_centre_mm if inner else section.outer_centre_mm
    steps = np.stack([position.by_row, position.by_column], axis=1)
    row, column = np.linalg.solve(steps, np.array(centre) - position.start)
    spacing = np.linalg.norm(steps, axis=0)
    reach = 1.35 * radius / spacing + 2
    rows, columns = (
        np.arange(max(0, int(at - far)), max(0, min(n, int(at + far) + 2)))
        for at, far, n in zip((row, column), reach, labels.shape, strict=True)
    )
    if len(rows) == 0 or len(columns) == 0:
        return
    at = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).astype(np.float64)
    depth = section.depth_mm(*np.moveaxis(at @ steps.T + position.start, -1, 0), inner=inner)
    inside = depth > 0
    near = 0.2 if radius > 4 * spacing.max() else 1.5
    doubtful = np.abs(depth) < near * spacing.max()
    sub = (np.arange(_SUBSAMPLES) + 0.5) / _SUBSAMPLES - 0.5
    sub_at = np.stack(np.meshgrid(sub, sub, indexing="ij"), axis=-1).reshape(-1, 2)
    points = (at[doubtful][:, None] + sub_at) @ steps.T + position.start
    covered = section.depth_mm(points[..., 0], points[..., 1], inner=inner) > 0
    inside[doubtful] = covered.mean(axis=1) >= 0.5
    block = labels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    block[inside] = Structure.CAVITY if inner else Structure.MYOCARDIUM


def _render_slice(settings: PhantomSettings, grid: Grid, slice_index: int, *, phases: Sequence[int]) -> Stored:
    signals = cine_signals(settings)
    plane = make_plane(
        settings,
        _grid(settings, shifted=slice_index),
        slice_index,
        thickness_mm=settings.slice_thickness_mm,
        signals=signals,
    )
    return np.stack([render(plane, phase, signals=signals, key=(0, phase, slice_index)) for phase in phases])


def _plane_grid(
    centre: Floats, along_row: Sequence[float] | Floats, along_column: Sequence[float] | Floats, *, n_slices: int
) -> Grid:
    row, column = np.asarray(along_row, dtype=np.float64), np.asarray(along_column, dtype=np.float64)
    size, spacing, distance = 192, 1.9, 20.0
    corner = centre - (size - 1) / 2 * spacing * (row + column) - (n_slices - 1) / 2 * distance * np.cross(row, column)
    return stacked_grid(
        corner.tolist(),
        spacing_mm=(spacing, spacing),
        slice_distance_mm=distance,
        shape=(n_slices, size, size),
        along_row=row,
        along_column=column,
    )


def _decoy(settings: PhantomSettings, kind: DecoyKind, grid: Grid, *, phases: Sequence[int]) -> Cine:
    late = kind is DecoyKind.LATE_ENHANCEMENT
    signals = cine_signals(settings)
    if late:
        raw = physics.late_enhancement_signals(settings.t1_ms, settings.proton_density)
        signals = tuple((raw / raw[physics.Tissue.BLOOD]).tolist())
    number = 1 + list(DecoyKind).index(kind)
    pixels = np.empty((len(phases), *grid.shape), dtype=np.uint16)
    for i in range(grid.shape[0]):
        plane = make_plane(settings, grid, i, thickness_mm=8.0, signals=signals)
        for j, phase in enumerate(phases):
            pixels[j, i] = render(plane, phase, signals=signals, key=(number, phase, i))
    rr = np.full(grid.shape[0], float(np.median(settings.rr_intervals_ms)))
    return Cine(
        pixels,
        grid,
        trigger_times_ms=settings.trigger_delay_ms + np.outer(np.array(phases) / settings.n_phases, rr),
        rr_intervals_ms=rr,
        source=_source(settings, _DESCRIPTIONS[kind], thickness_mm=8.0),
        patient=_patient(settings),
        base_first=settings.base_first if late else None,
    )


_DESCRIPTIONS = {
    DecoyKind.LOCALIZER_AXIAL: "Localizer axial",
    DecoyKind.LOCALIZER_CORONAL: "Localizer coronal",
    DecoyKind.LOCALIZER_SAGITTAL: "Localizer sagittal",
    DecoyKind.LONG_AXIS: "4CH cine bSSFP",
    DecoyKind.LATE_ENHANCEMENT: "SAX late enhancement",
}


def _check_frames(settings: PhantomSettings, frames: Sequence[tuple[int, int]]) -> None:
    for phase, slice_index in frames:
        if not (0 <= phase < settings.n_phases and 0 <= slice_index < settings.n_slices):
            raise UsageError(
                f"the phantom has {settings.n_phases} phases and {settings.n_slices} slices; "
                f"there is no frame of phase {phase}, slice {slice_index}"
            )


def _trigger_times_ms(settings: PhantomSettings) -> Floats:
    share = np.arange(settings.n_phases) / settings.n_phases
    return settings.trigger_delay_ms + np.outer(share, settings.rr_intervals_ms)


def _uid(*parts: object) -> str:
    """A UID derived from what it names, by the standard's method for UUIDs (PS3.5, annex B.2)."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def _source(settings: PhantomSettings, description: str, *, thickness_mm: float) -> Source:
    return Source(
        "phantom",
        study_uid=_uid(settings, "study"),
        series_uids=(_uid(settings, "series", description),),
        frame_of_reference_uid=_uid(settings, "frame of reference"),
        description=description,
        study_date="20240101",
        manufacturer="cinesax",
        scanner="phantom",
        field_strength_t=1.5,
        slice_thickness_mm=thickness_mm,
        protocol=description,
    )


def _patient(settings: PhantomSettings) -> Patient:
    return Patient(
        name=f"PHANTOM^SEED {settings.seed}",
        patient_id=f"PHANTOM-{settings.seed}",
        birth_date=f"{2023 - round(settings.age_years):04d}0701",
        sex=settings.sex,
        age_years=settings.age_years,
        height_cm=float(settings.height_cm),
        weight_kg=float(settings.weight_kg),
    )
