"""The sequential FCN of the course.

Purpose: a first network to study, and the baseline that every other network must beat; not for measurements.
Command: cinesax train DATA -o RUN --preset fcn
Time: 24,000 images; 15 to 30 minutes on one or two cores.
Score to expect: mean Dice by slice 0.88 on the held-out patients of fold 0 of Sunnybrook's `train`, where `unet`
    reaches 0.91 in the same time (benchmarks/networks.py).
"""

from cinesax.train.data.augment import Augmentation
from cinesax.train.data.pipeline import PipelineConfig
from cinesax.train.fit.config import TrainConfig
from cinesax.train.nets import FCNConfig


def config() -> TrainConfig:
    """The settings."""
    return TrainConfig(
        model=FCNConfig(),
        pipeline=PipelineConfig(batch=8, crop=160, augmentation=Augmentation()),
        epochs=30,
        steps=100,
        learning_rate=1e-3,
    )
