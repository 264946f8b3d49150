"""A refiner without neighbouring slices: a U-Net at full resolution, on a crop around the heart.

Purpose: draw the LV cavity after a finder (preset `unet`) has located the heart.
Command: cinesax train DATA -o RUN --preset heart; then cinesax export RUN -o BUNDLE --finder FINDER_RUN
Time: 52,800 images; 30 to 50 minutes on one core.
Score to expect with the finder of the preset `unet`, both trained on the 15 training patients of Sunnybrook and 150
    phantoms: mean Dice by slice 0.882 on the 226 slices of the 13 validation patients, with the labels before they were
    re-made.
"""

from cinesax.train.data.augment import Augmentation
from cinesax.train.data.pipeline import PipelineConfig
from cinesax.train.fit.config import TrainConfig
from cinesax.train.nets import UNetConfig
from cinesax.train.nets.losses import DiceOver


def config() -> TrainConfig:
    """The settings."""
    return TrainConfig(
        model=UNetConfig(channels=(16, 32, 64, 128, 160), stem=None),
        pipeline=PipelineConfig(batch=8, crop=96, jitter_px=5.0, augmentation=Augmentation()),
        epochs=44,
        steps=150,
        dice_over=DiceOver.BOTH,
    )
