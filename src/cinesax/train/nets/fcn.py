"""The sequential FCN of a first course on segmentation: convolutions, pooling, a transposed convolution, no skips."""

from dataclasses import dataclass

import keras
from keras import layers

from cinesax.train.limits import Limit, check_limits

_LIMITS = {
    "channels": Limit(1),
    "kernel": Limit(1),
    "bottom": Limit(1),
    "classes": Limit(2),
    "dropout": Limit(0, 1, below=True),
}


@dataclass(frozen=True, slots=True)
class FCNConfig:
    """A fully convolutional network without skips.

    The defaults are the network of NVIDIA's course "Image Segmentation with TensorFlow", which learns the LV from the
    same Sunnybrook images, except that here no ReLU follows the scores.

    Attributes:
        channels: channels of the strided convolutions; each convolution with its pooling divides the resolution by 4.
        kernel: rows and columns of their kernels.
        bottom: channels at the lowest resolution.
        classes: classes of the output, background included.
        dropout: dropout at the bottom.
    """

    channels: tuple[int, ...] = (100, 200)
    kernel: int = 5
    bottom: tuple[int, ...] = (300, 300)
    classes: int = 2
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_limits(self, _LIMITS)

    @property
    def factor(self) -> int:
        """Rows and columns of an image are multiples of this."""
        return int(4 ** len(self.channels))


def fcn(config: FCNConfig, *, size: int | None = None) -> keras.Model:
    """A Sequential FCN: image (row, column, 1) -> probabilities (row, column, classes).

    It teaches by what it lacks: one transposed convolution from a sixteenth of the resolution cannot draw a boundary to
    the pixel, and no finer features reach it. Compare `unet`.

    Source: Long et al., Fully Convolutional Networks for Semantic Segmentation, CVPR 2015 (its FCN-32s, here 16).

    Args:
        config: its dimensions.
        size: rows and columns; None: any multiple of `config.factor`.

    Returns:
        A keras.Sequential; input "image", float32, 0 to 1; output "probabilities", float32, a softmax.
    """
    network = keras.Sequential(name="fcn")
    network.add(keras.Input((size, size, 1), name="image"))
    network.add(layers.Rescaling(4.0, offset=-1.0, name="normalise"))
    for level, channels in enumerate(config.channels):
        network.add(_convolution(channels, config.kernel, f"down{level}", strides=2))
        network.add(layers.MaxPooling2D(name=f"pool{level}"))
    for step, channels in enumerate(config.bottom):
        network.add(_convolution(channels, 3, f"bottom{step}"))
    network.add(layers.Dropout(config.dropout, name="dropout"))
    network.add(layers.Conv2D(config.classes, 1, name="scores"))
    # The kernel is nearly two strides wide, so that the two nearest scores in each direction reach each output pixel.
    network.add(
        layers.Conv2DTranspose(
            config.classes, 2 * config.factor - 1, strides=config.factor, padding="same", name="logits"
        )
    )
    network.add(layers.Softmax(dtype="float32", name="probabilities"))
    return network


def _convolution(channels: int, kernel: int, name: str, *, strides: int = 1) -> keras.Layer:
    return layers.Conv2D(channels, kernel, strides=strides, padding="same", activation="relu", name=name)
