"""The last stage of the network that ships: a low learning rate and images closer to real ones.

Purpose: after `unet`, whose strong augmentation makes a network that holds in general, this stage lets it settle.
Command: cinesax train DATA -o RUN2 --preset unet_finish --from RUN
"""

from dataclasses import replace

from cinesax.learn.augment import Augmentation
from cinesax.learn.presets import unet
from cinesax.learn.train import TrainConfig


def config() -> TrainConfig:
    """The settings."""
    base = unet.config()
    milder = Augmentation(
        rotation_degrees=12.0,
        log_scale=0.15,
        shear=0.04,
        warp_px=1.5,
        gamma=0.2,
        gain=0.15,
        bias_field=0.08,
        noise=0.02,
        blur_chance=0.1,
    )
    return replace(
        base,
        pipeline=replace(base.pipeline, phantom_share=0.1, augmentation=milder),
        epochs=7,
        learning_rate=6e-4,
        warmup_steps=100,
        seed=4,
    )
