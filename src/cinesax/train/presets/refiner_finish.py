"""Fine-tuning after the preset `refiner`, on a set whose missing walls a network has drawn.

Purpose: keep the wall at ES, where experts drew only the cavity, and see ES often enough: there small errors of the
    contour change EF most. The base rule measures how much wall surrounds the blood, so a wall that is lost costs
    slices.
Command: cinesax dataset walls SET -o WALLS; cinesax train WALLS -o RUN2 --from RUN --preset refiner_finish; RUN:
    finished, of the preset `refiner`
"""

from dataclasses import replace

from cinesax.train.fit.config import TrainConfig
from cinesax.train.presets import refiner


def config() -> TrainConfig:
    """The settings."""
    before = refiner.config()
    augmentation = replace(before.pipeline.augmentation or refiner.AUGMENTATION, reshape_chance=0.35)
    return replace(
        before,
        pipeline=replace(before.pipeline, systole_weight=2.0, augmentation=augmentation),
        epochs=12,
        learning_rate=8e-4,
        warmup_steps=100,
    )
