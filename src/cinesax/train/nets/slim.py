"""A U-Net for the CPU: it standardises its own input, and every large operation has an 8-bit form."""

from dataclasses import dataclass

import keras
from keras import layers, ops

from cinesax.core.errors import UsageError
from cinesax.train.limits import Limit, check_limits

_EPSILON = 1e-6
_LIMITS = {
    "channels": Limit(1),
    "stem": Limit(1),
    "shrink": Limit(1),
    "classes": Limit(2),
    "dropout": Limit(0, 1, below=True),
}


@dataclass(frozen=True, slots=True)
class SlimConfig:
    """A U-Net that starts at half or a quarter of the resolution, and ends at full resolution.

    Attributes:
        channels: channels of each level, from the finest down; the last is the bottom.
        stem: channels of the strided convolution that halves the resolution.
        inputs: channels of the image: 1; or 3: the slice between its two neighbours.
        shrink: the image is first averaged over this many pixels, along rows and columns.
        classes: classes of the output, background included.
        dropout: dropout at the bottom.
    """

    channels: tuple[int, ...] = (48, 64, 96, 128)
    stem: int = 32
    inputs: int = 3
    shrink: int = 1
    classes: int = 4
    dropout: float = 0.1

    def __post_init__(self) -> None:
        check_limits(self, _LIMITS)
        if self.inputs not in (1, 3):
            raise UsageError(f"inputs must be 1 (the slice) or 3 (with its two neighbours), seen {self.inputs}")

    @property
    def factor(self) -> int:
        """Rows and columns of an image are multiples of this."""
        return int(self.shrink * 2 ** len(self.channels))


def _step(x: keras.KerasTensor, channels: int, name: str, *, size: int = 3, strides: int = 1) -> keras.KerasTensor:
    x = layers.Conv2D(channels, size, strides=strides, padding="same", use_bias=False, name=f"{name}_conv")(x)
    x = layers.BatchNormalization(momentum=0.98, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def standardised(image: keras.KerasTensor, inputs: int) -> keras.KerasTensor:
    """The image minus the mean of its middle channel, divided by that channel's standard deviation.

    So the result does not depend on the scale of the intensities: window, coil or gain.
    """
    middle = image[..., inputs // 2 : inputs // 2 + 1]
    mean = ops.mean(middle, axis=(1, 2, 3), keepdims=True)
    variance = ops.mean(ops.square(middle - mean), axis=(1, 2, 3), keepdims=True)
    return (image - mean) * ops.rsqrt(variance + _EPSILON)


def slim(config: SlimConfig, *, size: int | None = None) -> keras.Model:
    """The network: image (row, column, inputs) -> probabilities (row, column, classes).

    Up-sampling repeats pixels and smooths them with a convolution, because transposed convolutions have no 8-bit form
    in ONNX Runtime. Only the last step, which is small, is a transposed convolution.

    Args:
        config: its dimensions.
        size: rows and columns; None: any multiple of `config.factor`.

    Returns:
        A keras.Model; input "image", float32, on any linear scale (about 0 to 1 in framed images); output
        "probabilities", float32, a softmax over the classes.
    """
    image = keras.Input((size, size, config.inputs), name="image")
    x = image if config.shrink == 1 else layers.AveragePooling2D(config.shrink, name="shrink")(image)
    x = _step(standardised(x, config.inputs), config.stem, "stem", size=4, strides=2)
    skips = []
    for level, channels in enumerate(config.channels[:-1]):
        x = _step(x, channels, f"down{level}a")
        x = x if level == 0 else _step(x, channels, f"down{level}b")
        skips.append(x)
        x = layers.MaxPooling2D(name=f"pool{level}")(x)
    x = _step(_step(x, config.channels[-1], "bottoma"), config.channels[-1], "bottomb")
    x = layers.Dropout(config.dropout, name="dropout")(x)
    for level, skip in reversed(list(enumerate(skips))):
        channels = config.channels[level]
        x = layers.UpSampling2D(name=f"up{level}")(_step(x, channels, f"narrow{level}", size=1))
        x = layers.Concatenate(name=f"join{level}")([x, skip])
        x = _step(x, channels, f"merge{level}")
    x = layers.Conv2DTranspose(config.classes, 4, strides=2, padding="same", name="logits")(x)
    x = x if config.shrink == 1 else layers.UpSampling2D(config.shrink, name="widen")(x)
    return keras.Model(image, layers.Softmax(dtype="float32", name="probabilities")(x), name="slim")
