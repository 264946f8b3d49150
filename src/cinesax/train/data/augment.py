"""Augmentation inside tf.data: image and label move together; drawing parameters is apart from applying them.

All randomness comes from a stateless seed, shape (2,), int32: the same seed gives the same result, so a resumed
training sees the images that an uninterrupted one would have seen.
"""

from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How widely the training images vary; each is drawn anew for every image.

    Attributes:
        rotation_degrees: standard deviation of the in-plane rotation.
        log_scale: half width of the uniform distribution of the logarithm of the scale.
        shear: standard deviation of the shear.
        warp_px: standard deviation of the smooth displacement, at its control points.
        gamma: half width of the uniform distribution of the logarithm of gamma.
        gain: half width of the uniform distribution of the gain; offset likewise, a third as wide.
        bias_field: standard deviation of the smooth logarithmic gain, at its control points.
        noise: largest standard deviation of the noise (uniform from 0).
        blur_chance: part of the images that lose resolution, by a factor of up to 2.
        flip_chance: part of the images that are mirrored.
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


def _seeds(seed: tf.Tensor, count: int) -> list[tf.Tensor]:
    return tf.unstack(tf.random.split(seed, count))


def draw_geometry(
    seed: tf.Tensor,
    settings: Augmentation,
    *,
    size: int,
    crop: int,
    about: tuple[tf.Tensor, float] | None = None,
) -> tf.Tensor:
    """Where each pixel of the augmented image is taken from.

    Args:
        seed: (2,), int32.
        settings: how widely.
        size: rows and columns of the framed image.
        crop: rows and columns of the augmented image.
        about: its middle, (row, column), and the standard deviation from it in pixels; None: its place is uniform
            over the framed image.

    Returns:
        (crop, crop, 2), float32: row and column in the framed image.
    """
    keys = _seeds(seed, 6)
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
    moved = tf.stack([rows, columns], axis=-1) @ tf.transpose(matrix)
    control = tf.random.stateless_normal([1, 6, 6, 2], keys[5]) * settings.warp_px
    warp = tf.image.resize(control, [crop, crop], method="bicubic")[0]
    return moved + middle + warp


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
    """The image (row, column, 1), 0 to 1, with another gamma, gain, offset, bias field, resolution and noise."""
    keys = _seeds(seed, 8)
    size = tf.shape(image)[0]
    gamma = tf.exp(tf.random.stateless_uniform([], keys[0], -settings.gamma, settings.gamma))
    image = tf.pow(tf.clip_by_value(image, 0.0, 1.0) + 1e-6, gamma)
    gain = 1 + tf.random.stateless_uniform([], keys[1], -settings.gain, settings.gain)
    offset = tf.random.stateless_uniform([], keys[2], -settings.gain / 3, settings.gain / 3)
    image = image * gain * tf.exp(smooth_field(keys[3], size, settings.bias_field)) + offset
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
) -> tuple[tf.Tensor, tf.Tensor]:
    """One augmented image with its one-hot label.

    Args:
        image: (size, size, 1), float32, 0 to 1.
        label: (size, size, classes), float32, one-hot.
        seed: (2,), int32.
        settings: how widely.
        crop: rows and columns of the result, at most size.
        about: where the result is cut; see `draw_geometry`.

    Returns:
        (crop, crop, 1) float32 and (crop, crop, classes) float32, one-hot.
    """
    geometry, contrast = _seeds(seed, 2)
    places = draw_geometry(geometry, settings, size=image.shape[0], crop=crop, about=about)
    # Background counts as 1 outside of the frame, so it is left out of the sampling and put back.
    moved = sample(tf.concat([image, label[..., 1:]], axis=-1), places)
    structures = moved[..., 1:]
    background = 1.0 - tf.reduce_sum(structures, axis=-1, keepdims=True)
    classes = tf.argmax(tf.concat([background, structures], axis=-1), axis=-1)
    new_label = tf.one_hot(classes, label.shape[-1])
    new_image = vary_contrast(moved[..., :1], contrast, settings)
    new_image.set_shape([crop, crop, 1])
    return new_image, new_label
