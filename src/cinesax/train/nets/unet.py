"""A Functional U-Net with transposed convolutions."""

from dataclasses import dataclass

import keras
from keras import layers

from cinesax.train.limits import Limit, check_limits

_LIMITS = {"channels": Limit(1), "stem": Limit(1), "classes": Limit(2), "dropout": Limit(0, 1, below=True)}


@dataclass(frozen=True, slots=True)
class UNetConfig:
    """A U-Net; with a stem it works at half resolution, at which a CPU can afford more channels.

    Attributes:
        channels: channels of each level, from the finest down; the last is the bottom.
        stem: channels of the strided convolution that halves the resolution; None: at full resolution.
        classes: classes of the output, background included.
        dropout: dropout at the bottom.
    """

    channels: tuple[int, ...] = (24, 48, 96, 128, 160)
    stem: int | None = 16
    classes: int = 2
    dropout: float = 0.2

    def __post_init__(self) -> None:
        check_limits(self, _LIMITS)

    @property
    def factor(self) -> int:
        """Rows and columns of an image are multiples of this."""
        return int(2 ** (len(self.channels) - (self.stem is None)))


def _block(x: keras.KerasTensor, channels: int, name: str) -> keras.KerasTensor:
    for step in (1, 2):
        x = layers.Conv2D(channels, 3, padding="same", use_bias=False, name=f"{name}_conv{step}")(x)
        x = layers.BatchNormalization(momentum=0.98, name=f"{name}_norm{step}")(x)
        x = layers.ReLU(name=f"{name}_relu{step}")(x)
    return x


def unet(config: UNetConfig, *, size: int | None = None) -> keras.Model:
    """A Functional U-Net with transposed convolutions: image (row, column, 1) -> probabilities (row, column, classes).

    Source: Ronneberger et al., U-Net, MICCAI 2015; here with batch normalisation, and at half resolution if it has a
        stem.

    Args:
        config: its dimensions.
        size: rows and columns; None: any multiple of `config.factor`.

    Returns:
        A keras.Model; input "image", float32, 0 to 1; output "probabilities", float32, a softmax over the classes.
    """
    # Normalisation is part of the graph, so that no user of the graph can forget it.
    image = keras.Input((size, size, 1), name="image")
    x = layers.Rescaling(4.0, offset=-1.0, name="normalise")(image)
    if config.stem is not None:
        x = layers.Conv2D(config.stem, 4, strides=2, padding="same", activation="relu", name="stem")(x)
    # Functional model: down, ...
    skips = []
    for level, channels in enumerate(config.channels[:-1]):
        x = _block(x, channels, f"down{level}")
        skips.append(x)
        x = layers.MaxPooling2D(name=f"pool{level}")(x)
    x = _block(x, config.channels[-1], "bottom")
    x = layers.Dropout(config.dropout, name="dropout")(x)
    # ... and up again.
    for level, skip in reversed(list(enumerate(skips))):
        x = layers.Conv2DTranspose(config.channels[level], 2, strides=2, name=f"up{level}")(x)
        x = layers.Concatenate(name=f"join{level}")([x, skip])
        x = _block(x, config.channels[level], f"merge{level}")
    if config.stem is not None:
        x = layers.Conv2DTranspose(config.classes, 4, strides=2, padding="same", name="logits")(x)
    else:
        x = layers.Conv2D(config.classes, 1, name="logits")(x)
    probabilities = layers.Softmax(dtype="float32", name="probabilities")(x)
    return keras.Model(image, probabilities, name="unet")
