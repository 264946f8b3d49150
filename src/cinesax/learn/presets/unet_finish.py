"""The last stage of the network that ships: hearts at every angle.

Purpose: scanners turn short-axis frames by any angle; after `unet`, which has learned the usual one, this stage
learns the others, under stronger coil shading.
Command: cinesax train DATA -o RUN2 --preset unet_finish --from RUN
"""

from dataclasses import replace

from cinesax.learn.augment import Augmentation
from cinesax.learn.presets import unet
from cinesax.learn.train import TrainConfig


def config() -> TrainConfig:
    """The settings."""
    base = unet.config()
    return replace(
        base,
        pipeline=replace(
            base.pipeline, phantom_share=0.15, augmentation=Augmentation(rotation_degrees=60.0, bias_field=0.25)
        ),
        epochs=20,
        learning_rate=1e-3,
        warmup_steps=100,
        seed=3,
    )
