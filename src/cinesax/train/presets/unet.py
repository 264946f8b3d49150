"""A U-Net on whole frames, at half resolution, which draws alone or finds the heart for the preset `heart`.

Purpose: draw the LV cavity in short-axis cine frames of any scanner, on a CPU; alone, or as the finder for the preset
    `heart`.
Command: cinesax train DATA -o RUN --preset unet
Time: 60,000 images; 40 to 60 minutes on one or two cores.
Score to expect alone, trained on the 15 training patients of Sunnybrook and 150 phantoms: mean Dice by slice 0.877 on
    the 226 slices of the 13 validation patients (0.902 without SC-N-06, whose labels do not lie on the LV of its
    images), with the labels before they were re-made.
"""

from cinesax.train.data.augment import Augmentation
from cinesax.train.data.pipeline import PipelineConfig
from cinesax.train.fit.config import TrainConfig
from cinesax.train.nets import UNetConfig


def config() -> TrainConfig:
    """The settings."""
    return TrainConfig(
        model=UNetConfig(),
        pipeline=PipelineConfig(batch=8, crop=160, augmentation=Augmentation()),
        epochs=50,
        steps=150,
    )
