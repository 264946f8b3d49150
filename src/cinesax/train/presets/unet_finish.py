"""Fine-tuning after the preset `unet`: more noise and rotation, and unbiased contour sizes.

Purpose: fine-tune a trained `unet` for more noise and any tilt; see also the preset `heart_finish`.
Command: cinesax train DATA -o RUN2 --from RUN --preset unet_finish; RUN: a finished training of the preset `unet`
Time: 9,600 images; 6 to 10 minutes on one core.
Score to expect of finder and refiner after fine-tuning, trained as described in `unet` and `heart`: mean Dice by slice
    0.880, mean error of EF 3.2 points, slope 0.865 on the 13 validation patients of Sunnybrook, with the labels before
    they were re-made.
"""

from dataclasses import replace

from cinesax.train.data.augment import Augmentation
from cinesax.train.fit.config import TrainConfig
from cinesax.train.nets.losses import DiceOver
from cinesax.train.presets import unet


def config() -> TrainConfig:
    """The settings."""
    before = unet.config()
    return replace(
        before,
        pipeline=replace(before.pipeline, augmentation=Augmentation(noise=0.12, rotation_degrees=30.0)),
        epochs=8,
        learning_rate=8e-4,
        warmup_steps=50,
        keep_start=0.5,
        dice_over=DiceOver.BOTH,
        false_positives=(0.8, 0.4),
    )
