"""From anatomy to stored pixels: one plane through the phantom at any phase."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cinesax.core.grid import Floats, Grid
from cinesax.phantom import physics
from cinesax.phantom.anatomy import Waves, heart, heart_frame, torso
from cinesax.phantom.physics import Singles, Tissue
from cinesax.phantom.settings import FieldOfView, PhantomSettings

Stored = NDArray[np.uint16]

_STILL_SAMPLES = 4
_MOVING_SAMPLES = 9
_AIR_VALUE = np.uint8(255)


def samples(n: int) -> Floats:
    """(n, 3): sample positions in a voxel: row, column, through the slice, each in -1/2 to 1/2.

    Each of the three is stratified (every n-th of the voxel once), and rows and columns are spread by the R2 sequence,
    so that a few samples give a smooth edge at any angle.
    """
    index = np.arange(n)
    column = (index * 0.7548776662466927 + 0.5) % 1
    order = np.argsort(np.argsort((index * 0.5698402909980532 + 0.5) % 1))
    depth = np.argsort(np.argsort((index * 0.6180339887498949 + 0.25) % 1))
    return np.stack([(order + 0.5) / n, (np.argsort(np.argsort(column)) + 0.5) / n, (depth + 0.5) / n], axis=1) - 0.5


@dataclass(frozen=True, eq=False)
class Plane:
    """One slice through the phantom, with everything that does not move already computed.

    Attributes:
        settings: of the phantom.
        shape: rows, columns.
        still: (row x column,): signal of the body without the heart.
        shading: (row x column,): sensitivity of the coil.
        visible: (row x column,), bool: where the image is not empty.
        moving: (pixel,): flat indices of the pixels that the heart can reach.
        xyw: x, y, w of heart coordinates, each (sample x pixel,), sample by sample.
        texture: (pixel,): signal of the tissue relative to its mean.
    """

    settings: PhantomSettings
    shape: tuple[int, int]
    still: Singles
    shading: Singles
    visible: NDArray[np.bool_]
    moving: NDArray[np.intp]
    xyw: tuple[Singles, Singles, Singles]
    texture: Singles


@lru_cache(maxsize=8)
def cine_signals(settings: PhantomSettings) -> tuple[float, ...]:
    """By Tissue: signed bSSFP signal relative to blood."""
    signals = physics.bssfp_signals(
        settings.t1_ms,
        settings.t2_ms,
        settings.proton_density,
        flip_degrees=settings.flip_degrees,
        tr_ms=settings.tr_ms,
    )
    signals[Tissue.BLOOD] *= settings.inflow
    signals[Tissue.FAT] *= settings.fat_gain
    return tuple((physics.fat_opposed(signals) / signals[Tissue.BLOOD]).tolist())


def make_plane(
    settings: PhantomSettings, grid: Grid, slice_index: int, *, thickness_mm: float, signals: tuple[float, ...]
) -> Plane:
    """Sample the still body on one slice of a grid.

    Args:
        settings: of the phantom.
        grid: where the pixels lie.
        slice_index: which slice of it.
        thickness_mm: the length along the normal over which the slice averages.
        signals: by Tissue.
    """
    rows, columns = grid.shape[1:]
    at = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), axis=-1).reshape(-1, 2)
    steps = np.stack([grid.along_column * grid.spacing_mm[0], grid.along_row * grid.spacing_mm[1]])
    centres = (grid.origins_mm[slice_index] + at @ steps).astype(np.float32)
    jumps = np.vstack([steps, grid.normal * thickness_mm])
    lut = np.array(signals, dtype=np.float32)
    texture = _texture(settings, centres)
    at_heart = heart_frame(settings).to_heart(centres)
    moving = _within_heart_box(settings, at_heart, margin_mm=thickness_mm / 2 + 2)
    offsets = samples(_STILL_SAMPLES) @ jumps
    still = _still_signal(settings, centres, at_heart=at_heart, offsets=offsets, lut=lut) * texture
    turned = heart_frame(settings).turn(samples(_MOVING_SAMPLES) @ jumps).astype(np.float32)
    x, y, w = (np.add.outer(turned[:, i], at_heart[i][moving]).ravel() for i in range(3))
    return Plane(
        settings=settings,
        shape=(rows, columns),
        still=still,
        shading=_shading(settings, centres),
        visible=_visible(settings.field_of_view, rows, columns),
        moving=moving,
        xyw=(x, y, w),
        texture=texture[moving],
    )


def render(plane: Plane, phase: int, *, signals: tuple[float, ...], key: tuple[int, ...]) -> Stored:
    """(row, column), uint16: the stored image of a plane at a phase.

    Args:
        plane: from `make_plane`.
        phase: which phase.
        signals: by Tissue, blood about 1.
        key: identifies the frame; noise is drawn from seed and key, so that a frame is the same alone and in its stack.
    """
    s = plane.settings
    lut = np.append(np.array(signals, dtype=np.float32), np.zeros(256 - len(signals), dtype=np.float32))
    codes = heart(s).tissue(*plane.xyw, phase=phase).reshape(_MOVING_SAMPLES, -1)
    background = plane.still[plane.moving]
    beat = lut[codes].sum(axis=0) * plane.texture + np.count_nonzero(codes == _AIR_VALUE, axis=0) * background
    image = plane.still.copy()
    image[plane.moving] = beat / np.float32(_MOVING_SAMPLES)
    image *= plane.shading
    window = physics.kspace_window(plane.shape, s.acquired)
    rng = np.random.default_rng([s.seed, 5, *key])
    shown = physics.acquire(image.reshape(plane.shape), window, noise=1 / s.snr, rng=rng)
    shown *= plane.visible.reshape(plane.shape) * np.float32(s.blood_value)
    return np.clip(np.rint(shown), 0, 65535).astype(np.uint16)


def _still_signal(
    settings: PhantomSettings,
    centres: Singles,
    *,
    at_heart: tuple[Singles, Singles, Singles],
    offsets: Floats,
    lut: Singles,
) -> Singles:
    total = np.zeros(len(centres), dtype=np.float32)
    body, beating = torso(settings), heart(settings)
    near = _within_heart_box(settings, at_heart, margin_mm=settings.pericardial_fat_mm + 12)
    near_x, near_y, near_w = (value[near] for value in at_heart)
    # Fat is thicker on two sides of the heart than on the others.
    round_ = np.sin(np.arctan2(near_y, near_x) * 2 + np.float32(settings.seed % 7))
    thick = np.float32(settings.pericardial_fat_mm) * (np.float32(0.55) + np.float32(0.45) * round_)
    # The contracting heart leaves fat behind, not ribs or belly.
    thick = np.maximum(thick, np.float32(0.5))
    turned = heart_frame(settings).turn(offsets).astype(np.float32)
    for offset, (dx, dy, dw) in zip(offsets.astype(np.float32), turned, strict=True):
        codes = body.tissue(centres + offset)
        fat = beating.fat_distance(near_x + dx, near_y + dy, near_w + dw)
        codes[near[fat < thick]] = Tissue.FAT
        total += lut[codes]
    return total / np.float32(len(offsets))


def _within_heart_box(
    settings: PhantomSettings, at_heart: tuple[Singles, Singles, Singles], *, margin_mm: float
) -> NDArray[np.intp]:
    low, high = heart(settings).box_mm()
    inside = np.ones(len(at_heart[0]), dtype=bool)
    for value, a, b in zip(at_heart, low, high, strict=True):
        inside &= (value > a - margin_mm) & (value < b + margin_mm)
    return np.flatnonzero(inside)


def _texture(settings: PhantomSettings, points: Singles) -> Singles:
    rng = np.random.default_rng([settings.seed, 4])
    coarse, fine = Waves(rng, n=5, wavelength_mm=(40, 120)), Waves(rng, n=14, wavelength_mm=(5, 16))
    return 1 + np.float32(settings.texture) * (coarse(points) * np.float32(0.6) + fine(points) * np.float32(0.5))


def _shading(settings: PhantomSettings, points: Singles) -> Singles:
    front = torso(settings).front_mm
    elements = [(x, front * (1 - 0.25 * (x / 110) ** 2), z) for x in (-70, 10, 90) for z in (-60, 60)]
    elements += [(x, -front, z) for x in (-60, 60) for z in (-60, 60)]
    return physics.coil_shading(
        points,
        elements_mm=np.array(elements),
        reach_mm=settings.coil_reach_mm,
        centre_mm=np.array(settings.heart_centre_mm),
    )


def _visible(kind: FieldOfView, rows: int, columns: int) -> NDArray[np.bool_]:
    v = (np.arange(rows) - (rows - 1) / 2)[:, None] / (rows / 2)
    u = (np.arange(columns) - (columns - 1) / 2)[None] / (columns / 2)
    if kind is FieldOfView.CIRCLE:
        least = min(rows, columns)
        seen = np.hypot(v * rows / least, u * columns / least) < 1
    elif kind is FieldOfView.WARPED:
        seen = (np.abs(u) < 0.9 + 0.1 * v * v) & (np.abs(v) < 1)
    else:
        seen = np.ones((rows, columns), dtype=bool)
    return np.asarray(seen.ravel())
