"""Settings out of their range, and settings that contradict each other, are one line before the training starts."""

from dataclasses import replace

import pytest

from cinesax.core.errors import UsageError
from cinesax.train.fit.config import TrainConfig
from cinesax.train.fit.settings import keys, override
from cinesax.train.nets import FCNConfig, SlimConfig
from cinesax.train.presets import NAMES, load

PRESETS = {name: load(name) for name in NAMES}


def test_each_number_has_a_range():
    """A negative number is never a sensible setting."""
    checked = 0
    for config in (
        *PRESETS.values(),
        replace(PRESETS["unet"], pipeline=replace(PRESETS["unet"].pipeline, jitter_px=1.0)),
    ):
        for key in keys(config):
            value = config
            for part in key.split("."):
                value = getattr(value, part)
            numbers = value if isinstance(value, tuple) else (value,)
            if numbers and all(isinstance(one, int | float) and not isinstance(one, bool) for one in numbers):
                with pytest.raises(UsageError, match=rf"{key.rpartition('.')[2]}.*-3"):
                    override(config, [f"{key}={','.join('-3' for _ in numbers)}"])
                checked += 1
    assert checked > 150


@pytest.mark.parametrize(
    ("preset", "settings", "message"),
    [
        ("unet", ["pipeline.kind_shares=chlaa:0.2"], "no kind 'chlaa' of source; there are pairs, study, acdc, chla"),
        ("unet", ["pipeline.kind_shares=phantom:0.2"], "phantom_share sets the share of phantoms"),
        ("unet", ["pipeline.kind_shares=chla:0.2,chla:0.3"], "names chla twice"),
        ("unet", ["pipeline.kind_shares=chla:1.2"], "the share of chla must be from 0 to 1, seen 1.2"),
        ("unet", ["pipeline.phantom_share=1.5"], "phantom_share must be from 0 to 1, seen 1.5"),
        ("unet", ["pipeline.systole_weight=0"], "systole_weight must be above 0, seen 0"),
        ("unet", ["pipeline.augmentation.reshape_range=1.2,0.3"], "the smallest and the largest factor, seen 1.2,0.3"),
        (
            "unet",
            ["pipeline.augmentation.reshape_range=0,1"],
            "each value of reshape_range must be above 0 and at most 5",
        ),
        ("unet", ["pipeline.augmentation.log_scale=1000"], "log_scale must be from 0 to 2, seen 1000"),
        ("unet", ["pipeline.context=true"], "set pipeline.context=false, or use the preset refiner"),
        ("refiner", ["pipeline.context=false"], "set pipeline.context=true, or set model.inputs=1"),
        ("refiner", ["model.inputs=2"], "inputs must be 1 .* or 3"),
        ("refiner", ["pipeline.crop=none"], "jitter_px=6 moves a crop, and crop is none"),
        ("unet", ["model.dropout=1"], "dropout must be from 0 to below 1, seen 1"),
        ("unet", ["seed=2147483648"], "seed must be from 0 to 2147483647, seen 2147483648"),
        ("unet", ["epochs=2", "epochs=3"], "--set epochs is given twice, as 2 and as 3"),
    ],
)
def test_what_cannot_work_is_one_line(preset, settings, message):
    with pytest.raises(UsageError, match=message):
        override(PRESETS[preset], settings)


def test_what_is_switched_off_is_within_its_range():
    off = ["pipeline.crop=none", "pipeline.augmentation=none", "model.stem=none", "patience=none"]
    assert override(PRESETS["unet"], off).pipeline.crop is None
    emptied = override(PRESETS["refiner"], ["pipeline.kind_shares=none"])
    assert emptied.pipeline.kind_shares == ()


def test_a_network_has_a_channel_at_least():
    for kind, setting in ((FCNConfig, "bottom"), (SlimConfig, "channels")):
        with pytest.raises(UsageError, match=f"{setting} is empty"):
            kind(**{setting: ()})
    assert TrainConfig() == TrainConfig.from_dict(TrainConfig().to_dict())
