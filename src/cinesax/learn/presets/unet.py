"""The U-Net that ships.

Purpose: LV cavity in short-axis cine frames of any scanner, on a CPU.
Command: cinesax train DATA -o RUN --preset unet
"""

from cinesax.learn.augment import Augmentation
from cinesax.learn.models import UNetConfig
from cinesax.learn.pipeline import PipelineConfig
from cinesax.learn.train import TrainConfig


def config() -> TrainConfig:
    """The settings."""
    return TrainConfig(
        model=UNetConfig(),
        pipeline=PipelineConfig(batch=8, crop=160, augmentation=Augmentation()),
        epochs=50,
        steps=150,
    )
