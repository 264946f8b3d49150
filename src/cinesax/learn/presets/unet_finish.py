"""The last stage of the network that ships: Dice slice by slice, with a low learning rate.

Purpose: after `unet`, slices near the apex count as much as large ones.
Command: cinesax train DATA -o RUN2 --preset unet_finish --from RUN
"""

from dataclasses import replace

from cinesax.learn.losses import DiceOver
from cinesax.learn.presets import unet
from cinesax.learn.train import TrainConfig


def config() -> TrainConfig:
    """The settings."""
    base = unet.config()
    return replace(
        base,
        pipeline=replace(base.pipeline, phantom_share=0.1),
        epochs=10,
        learning_rate=6e-4,
        warmup_steps=100,
        dice_over=DiceOver.SLICE,
        seed=2,
    )
