"""The finder: a small U-Net on whole frames that works at an eighth of their resolution.

Purpose: locate the ventricles in frames of any scanner and any orientation; it draws no contours.
Command: cinesax train DATA -o RUN --preset finder
"""

from dataclasses import replace

from cinesax.train.data.pipeline import PipelineConfig
from cinesax.train.fit.config import Precision, TrainConfig
from cinesax.train.nets import SlimConfig
from cinesax.train.presets import refiner


def config() -> TrainConfig:
    """The settings."""
    augmentation = replace(refiner.AUGMENTATION, turn_chance=0.5, reshape_chance=0.1)
    return TrainConfig(
        model=SlimConfig(channels=(24, 32, 48, 64), stem=16, inputs=1, shrink=2),
        pipeline=PipelineConfig(
            batch=16,
            crop=160,
            phantom_share=0.2,
            kind_shares=(("study", 0.12), ("chla", 0.22), ("label-map", 0.14)),
            augmentation=augmentation,
        ),
        epochs=10,
        steps=150,
        precision=Precision.ONEDNN_BFLOAT16,
        xla=False,
    )
