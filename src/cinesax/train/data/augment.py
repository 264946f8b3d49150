"""Augmentation inside tf.data: image and label move together; parameters are drawn separately from being applied.

All randomness comes from a stateless seed, shape (2,), int32: the same seed gives the same result, so a resumed
training sees the images that an uninterrupted one would have seen.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tensorflow as tf

from cinesax.core.errors import UsageError
from cinesax.train.data.anatomy import ANGLES
from cinesax.train.limits import SHARE, Limit, check_limits

# A wall keeps at least half of its thickness.
_THINNEST = 0.5
# Beyond these limits, images are no longer images of a heart, or their pixels no longer numbers.
_LIMITS = {
    "rotation_degrees": Limit(0, 180),
    "log_scale": Limit(0, 2),
    "shear": Limit(0, 1),
    "warp_px": Limit(0, 50),
    "gamma": Limit(0, 3),
    "gain": Limit(0, 1),
    "bias_field": Limit(0, 3),
    "noise": Limit(0, 1),
    "blur_chance": SHARE,
    "flip_chance": SHARE,
    "turn_chance": SHARE,
    "reshape_chance": SHARE,
    "reshape_range": Limit(0, 5, above=True),
    "saturate_chance": SHARE,
    "squeeze_chance": SHARE,
    "squeeze_range": Limit(0, 1.5, above=True),
}
# In framed pixels (20 mm): how far beyond the RV its surroundings are stretched if the RV gets smaller.
_AROUND_PX = 14.0


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How widely the training images vary; every value is drawn again for each image.

    Attributes:
        rotation_degrees: standard deviation of the in-plane rotation.
        log_scale: half width of the uniform distribution of the logarithm of the scale.
        shear: standard deviation of the shear.
        warp_px: standard deviation of the smooth displacement, at its control points.
        gamma: half width of the uniform distribution of the logarithm of gamma.
        gain: half width of the uniform distribution of the gain; the offset's is a third as wide.
        bias_field: standard deviation of the smooth logarithmic gain, at its control points.
        noise: largest standard deviation of the noise (uniform from 0).
        blur_chance: share of the images that lose resolution, by a factor of up to 2.
        flip_chance: share of the images that are mirrored.
        turn_chance: share of the images that get a random one of the eight quarter turns and mirrorings.
        reshape_chance: share of the hearts whose wall is made thicker or thinner (see `reshaped`).
        reshape_range: smallest and largest factor of the cavity's radius in that case; its logarithm is uniform.
        saturate_chance: share of the images whose brightest parts are clipped.
        squeeze_chance: share of the hearts whose RV is squeezed against the septum, as in systole (see `squeezed`).
        squeeze_range: smallest and largest factor of the RV's width in that case; its logarithm is uniform.
    """

    rotation_degrees: float = 20.0
    log_scale: float = 0.3
    shear: float = 0.08
    warp_px: float = 2.5
    gamma: float = 0.3
    gain: float = 0.25
    bias_field: float = 0.15
    noise: float = 0.05
    blur_chance: float = 0.25
    flip_chance: float = 0.0
    turn_chance: float = 0.0
    reshape_chance: float = 0.0
    reshape_range: tuple[float, float] = (0.35, 1.2)
    saturate_chance: float = 0.0
    squeeze_chance: float = 0.0
    squeeze_range: tuple[float, float] = (0.4, 1.1)

    def __post_init__(self) -> None:
        check_limits(self, _LIMITS)
        for name in ("reshape_range", "squeeze_range"):
            low, high = getattr(self, name)
            if low > high:
                raise UsageError(f"{name} must be the smallest and the largest factor, seen {low:g},{high:g}")


def _seeds(seed: tf.Tensor, count: int) -> list[tf.Tensor]:
    return tf.unstack(tf.random.split(seed, count))


def draw_geometry(
    seed: tf.Tensor,
    settings: Augmentation,
    *,
    size: int,
    crop: int,
    about: tuple[tf.Tensor, float] | None = None,
    anatomy: tf.Tensor | None = None,
) -> tf.Tensor:
    """The position in the framed image from which each pixel of the augmented image is taken.

    Args:
        seed: (2,), int32.
        settings: how widely.
        size: rows and columns of the framed image.
        crop: rows and columns of the augmented image.
        about: centre of the crop, (row, column), and the standard deviation around it in pixels; None: the position of
            the crop is uniform over the framed image.
        anatomy: anatomy of the heart in the image (see `cinesax.train.data.anatomy`); None: the wall is not changed.

    Returns:
        (crop, crop, 2), float32: row and column in the framed image.
    """
    keys = _seeds(seed, 10)
    angle = tf.random.stateless_normal([], keys[0]) * (settings.rotation_degrees * 3.14159265 / 180)
    scale = tf.exp(-tf.random.stateless_uniform([], keys[1], -settings.log_scale, settings.log_scale))
    shear = tf.random.stateless_normal([], keys[2]) * settings.shear
    mirror = tf.where(tf.random.stateless_uniform([], keys[3]) < settings.flip_chance, -1.0, 1.0)
    if about is None:
        middle = tf.random.stateless_uniform([2], keys[4], crop / 2 - 0.5, size - crop / 2 - 0.5 + 1e-3)
    else:
        middle = about[0] + tf.random.stateless_normal([2], keys[4]) * about[1]
    cos, sin = tf.cos(angle) * scale, tf.sin(angle) * scale
    matrix = tf.stack([tf.stack([cos, (shear - sin) * mirror]), tf.stack([sin + shear, cos * mirror])])
    line = tf.range(crop, dtype=tf.float32) - (crop - 1) / 2
    rows, columns = tf.meshgrid(line, line, indexing="ij")
    line_up = tf.stack([rows, columns], axis=-1) @ _any_turn(keys[6], settings.turn_chance)
    moved = line_up @ tf.transpose(matrix)
    control = tf.random.stateless_normal([1, 6, 6, 2], keys[5]) * settings.warp_px
    warp = tf.image.resize(control, [crop, crop], method="bicubic")[0]
    places = moved + middle + warp
    if anatomy is None:
        return places
    if settings.reshape_chance > 0:
        places = _sometimes(
            reshaped, places, anatomy, keys[7:9], chance=settings.reshape_chance, limits=settings.reshape_range
        )
    if settings.squeeze_chance > 0:
        own = _seeds(keys[9], 2)
        places = _sometimes(
            squeezed, places, anatomy, own, chance=settings.squeeze_chance, limits=settings.squeeze_range
        )
    return places


def _sometimes(
    change: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor],
    places: tf.Tensor,
    anatomy: tf.Tensor,
    keys: Sequence[tf.Tensor],
    *,
    chance: float,
    limits: tuple[float, float],
) -> tf.Tensor:
    low, high = limits
    factor = tf.exp(tf.random.stateless_uniform([], keys[0], math.log(low), math.log(high)))
    chosen = tf.random.stateless_uniform([], keys[1]) < chance
    return tf.cond(chosen, lambda: change(places, anatomy, factor), lambda: places)


def _any_turn(seed: tf.Tensor, chance: float) -> tf.Tensor:
    """(2, 2): with probability `chance` one of the eight quarter turns and mirrorings, otherwise the identity."""
    keys = _seeds(seed, 4)
    signs = tf.where(tf.random.stateless_uniform([2], keys[0]) < 0.5, -1.0, 1.0)
    matrix = tf.linalg.diag(signs)
    matrix = tf.where(tf.random.stateless_uniform([], keys[1]) < 0.5, matrix[::-1], matrix)
    return tf.where(tf.random.stateless_uniform([], keys[2]) < chance, matrix, tf.eye(2))


def reshaped(places: tf.Tensor, anatomy: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Move places along rays from the centre of the cavity: a smaller cavity in a thicker wall, or the reverse.

    The radius of the cavity is multiplied, and the outer border of the wall stays. Image and label are sampled at the
    same places, so the new label is as exact as the old one.

    Args:
        places: (..., 2), float32: row and column in the framed image.
        anatomy: (LENGTH,): see `cinesax.train.data.anatomy`. All 0: no cavity, so nothing moves.
        factor: (), multiplies the radius of the cavity.

    Returns:
        As `places`.
    """
    inner, outer, _, _ = tf.split(anatomy[2:], 4)
    away, far, along = _rays_through(places, anatomy[:2])
    endo, epi = along(inner), along(outer)
    wanted = tf.minimum(endo * factor, endo + (epi - endo) * _THINNEST)
    inside = far * endo / tf.maximum(wanted, 1e-3)
    in_wall = endo + (far - wanted) * (epi - endo) / tf.maximum(epi - wanted, 1e-3)
    came_from = tf.where(far < wanted, inside, tf.where(far < epi, in_wall, far))
    return anatomy[:2] + away * (came_from / tf.maximum(far, 1e-3))[..., None]


def squeezed(places: tf.Tensor, anatomy: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Move places along rays from the centre of the LV: the free wall of the RV comes nearer to the septum, or leaves.

    This is how the RV of an image from diastole comes to look as in systole. The width of the RV along each ray is
    multiplied, the septum stays, and what lies beyond the RV is stretched.

    Args:
        places: (..., 2), float32: row and column in the framed image.
        anatomy: (LENGTH,): see `cinesax.train.data.anatomy`. Without an RV nothing moves.
        factor: (), multiplies the width of the RV; at most 1.5.

    Returns:
        As `places`.
    """
    _, _, near, width = tf.split(anatomy[2:], 4)
    away, far, along = _rays_through(places, anatomy[:2])
    start, wide = along(near), along(width)
    end, limit = start + wide * factor, start + wide + _AROUND_PX
    inside = start + (far - start) / factor
    beyond = limit - (limit - far) * _AROUND_PX / tf.maximum(limit - end, 1e-3)
    moved = tf.where(far < end, inside, beyond)
    came_from = tf.where((far > start) & (far < limit), moved, far)
    return anatomy[:2] + away * (came_from / tf.maximum(far, 1e-3))[..., None]


def _rays_through(
    places: tf.Tensor, middle: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Places relative to a centre, their distance from it, and a function that interpolates radii to their rays."""
    away = places - middle
    far = tf.norm(away, axis=-1)
    turn = tf.math.atan2(away[..., 0], away[..., 1]) / (2 * math.pi) % 1.0 * ANGLES
    low = tf.floor(turn)
    part, first = turn - low, tf.cast(low, tf.int32) % ANGLES

    def along(radii: tf.Tensor) -> tf.Tensor:
        return tf.gather(radii, first) * (1 - part) + tf.gather(radii, (first + 1) % ANGLES) * part

    return away, far, along


def sample(values: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """Bilinear interpolation, 0 outside.

    Args:
        values: (row, column, channel), float32.
        places: (..., 2), float32: row and column.

    Returns:
        (..., channel).
    """
    padded = tf.pad(values, [[1, 1], [1, 1], [0, 0]])
    limit = tf.cast(tf.shape(padded)[:2], tf.float32) - 1.001
    place = tf.clip_by_value(places + 1.0, 0.0, limit)
    low = tf.floor(place)
    part = place - low
    low = tf.cast(low, tf.int32)
    width = tf.shape(padded)[1]
    flat = tf.reshape(padded, [-1, tf.shape(padded)[2]])
    index = low[..., 0] * width + low[..., 1]
    top = tf.gather(flat, index) * (1 - part[..., 1:]) + tf.gather(flat, index + 1) * part[..., 1:]
    bottom = tf.gather(flat, index + width) * (1 - part[..., 1:]) + tf.gather(flat, index + width + 1) * part[..., 1:]
    return top * (1 - part[..., :1]) + bottom * part[..., :1]


def smooth_field(seed: tf.Tensor, size: tf.Tensor, deviation: float) -> tf.Tensor:
    """A smooth random field (size, size, 1) with the given standard deviation at its 4 x 4 control points."""
    control = tf.random.stateless_normal([1, 4, 4, 1], seed) * deviation
    return tf.image.resize(control, tf.stack([size, size]), method="bicubic")[0]


def vary_contrast(image: tf.Tensor, seed: tf.Tensor, settings: Augmentation) -> tf.Tensor:
    """The image (row, column, channel), 0 to 1, with another gamma, gain, offset, bias field, resolution and noise."""
    keys = _seeds(seed, 10)
    size = tf.shape(image)[0]
    gamma = tf.exp(tf.random.stateless_uniform([], keys[0], -settings.gamma, settings.gamma))
    image = tf.pow(tf.clip_by_value(image, 0.0, 1.0) + 1e-6, gamma)
    gain = 1 + tf.random.stateless_uniform([], keys[1], -settings.gain, settings.gain)
    offset = tf.random.stateless_uniform([], keys[2], -settings.gain / 3, settings.gain / 3)
    image = image * gain * tf.exp(smooth_field(keys[3], size, settings.bias_field)) + offset
    if settings.saturate_chance > 0:
        highest = tf.reduce_max(image) * tf.random.stateless_uniform([], keys[8], 0.35, 1.0)
        cut = tf.random.stateless_uniform([], keys[9]) < settings.saturate_chance
        image = tf.where(cut, tf.minimum(image, highest), image)
    coarse = tf.random.stateless_uniform([], keys[4], 0.5, 1.0)
    coarse = tf.where(tf.random.stateless_uniform([], keys[5]) < settings.blur_chance, coarse, 1.0)
    image = tf.cond(coarse < 1.0, lambda: _lower_resolution(image, coarse), lambda: image)
    noise = tf.random.stateless_uniform([], keys[6], 0.0, settings.noise)
    return image + tf.random.stateless_normal(tf.shape(image), keys[7]) * noise


def _lower_resolution(image: tf.Tensor, part: tf.Tensor) -> tf.Tensor:
    shape = tf.shape(image)[:2]
    small = tf.cast(tf.cast(shape, tf.float32) * part, tf.int32)
    return tf.image.resize(tf.image.resize(image, small, antialias=True), shape)


def augment(
    image: tf.Tensor,
    label: tf.Tensor,
    seed: tf.Tensor,
    settings: Augmentation,
    *,
    crop: int,
    about: tuple[tf.Tensor, float] | None = None,
    anatomy: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """One augmented image with its one-hot label.

    Args:
        image: (size, size, channels), float32, 0 to 1.
        label: (size, size, classes), float32, one-hot.
        seed: (2,), int32.
        settings: how widely.
        crop: rows and columns of the result, at most size.
        about: where the crop is taken; see `draw_geometry`.
        anatomy: anatomy of the heart in the image; see `draw_geometry`.

    Returns:
        (crop, crop, channels) float32 and (crop, crop, classes) float32, one-hot.
    """
    geometry, contrast = _seeds(seed, 2)
    places = draw_geometry(geometry, settings, size=image.shape[0], crop=crop, about=about, anatomy=anatomy)
    channels = image.shape[-1]
    # Outside the frame, background must be 1, but sampling gives 0. So background is not sampled but added afterwards.
    moved = sample(tf.concat([image, label[..., 1:]], axis=-1), places)
    structures = moved[..., channels:]
    background = 1.0 - tf.reduce_sum(structures, axis=-1, keepdims=True)
    classes = tf.argmax(tf.concat([background, structures], axis=-1), axis=-1)
    new_label = tf.one_hot(classes, label.shape[-1])
    new_image = vary_contrast(moved[..., :channels], contrast, settings)
    new_image.set_shape([crop, crop, channels])
    return new_image, new_label
