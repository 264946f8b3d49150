"""The refiner: a U-Net on a crop around both ventricles, with the neighbouring slices.

Purpose: draw LV cavity, myocardium and RV cavity after a finder (preset `finder`) has located the heart. The
    neighbouring slices at the same phase are extra input channels; they may be missing.
Command: cinesax train DATA -o RUN --preset refiner; then cinesax export RUN -o BUNDLE --finder FINDER_RUN
"""

from cinesax.train.data.augment import Augmentation
from cinesax.train.data.pipeline import PipelineConfig
from cinesax.train.fit.config import Precision, TrainConfig
from cinesax.train.nets import SlimConfig
from cinesax.train.nets.losses import DiceOver

AUGMENTATION = Augmentation(
    rotation_degrees=20.0,
    log_scale=0.25,
    gamma=0.5,
    bias_field=0.3,
    noise=0.05,
    blur_chance=0.35,
    turn_chance=0.2,
    reshape_chance=0.5,
    saturate_chance=0.3,
)


def config() -> TrainConfig:
    """The settings."""
    return TrainConfig(
        model=SlimConfig(),
        pipeline=PipelineConfig(
            batch=16,
            crop=128,
            jitter_px=6.0,
            context=True,
            phantom_share=0.2,
            kind_shares=(("study", 0.12), ("chla", 0.2), ("label-map", 0.12)),
            augmentation=AUGMENTATION,
        ),
        epochs=40,
        steps=150,
        dice_over=DiceOver.BOTH,
        precision=Precision.ONEDNN_BFLOAT16,
        xla=False,
    )
