"""--set key=value: typed, and clear where it is wrong."""

from dataclasses import dataclass, field
from enum import StrEnum

import pytest

from cinesax.core.errors import UsageError
from cinesax.train.fit.settings import keys, override


class Over(StrEnum):
    BATCH = "batch"
    SLICE = "slice"


@dataclass(frozen=True)
class Inner:
    channels: tuple[int, ...] = (8, 16)
    window: tuple[float, float] = (0.5, 98.0)
    rate: float | None = None
    shares: tuple[tuple[str, float], ...] = (("chla", 0.2), ("study", 0.1))


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    maybe: Inner | None = field(default_factory=Inner)
    steps: int = 10
    fast: bool = True
    over: Over = Over.BATCH

    def __post_init__(self) -> None:
        if self.steps < len(self.inner.channels):
            raise UsageError("too few steps")


def test_values_are_read_as_their_fields_are_typed():
    settings = ["inner.channels=4, 5,6", "inner.rate=1e-3", "steps=3", "fast=no", "over=slice", "inner.window=(1,99)"]
    seen = override(Outer(), settings)
    assert seen == Outer(inner=Inner((4, 5, 6), (1.0, 99.0), 1e-3), steps=3, fast=False, over=Over.SLICE)
    assert type(seen.steps) is int and type(seen.inner.window[0]) is float
    assert override(seen, ["inner.rate=none", "maybe=none"]).inner.rate is None
    assert override(Outer(), []) == Outer()


def test_groups_of_values_are_written_with_colons():
    shown = override(Outer(), ["inner.shares=chla:0, label-map:0.15"]).inner.shares
    assert shown == (("chla", 0.0), ("label-map", 0.15))
    with pytest.raises(UsageError, match="expected name:number,name:number,... or none; it is chla:0.2,study:0.1 now"):
        override(Outer(), ["inner.shares=chla,0.2,study,0.1"])


@pytest.mark.parametrize("empty", ["none", "None", "", "()", "[]"])
def test_groups_of_values_can_be_emptied(empty):
    without = override(Outer(), [f"inner.shares={empty}"])
    assert without.inner.shares == ()
    with pytest.raises(UsageError, match="it is none now"):
        override(without, ["inner.shares=chla"])


def test_what_belongs_together_is_checked_together():
    with pytest.raises(UsageError, match="too few steps"):
        override(Outer(), ["steps=1"])
    assert override(Outer(), ["steps=1", "inner.channels=7"]).inner.channels == (7,)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("steps=ten", "--set steps=ten: expected a whole number; it is 10 now"),
        ("steps=1.5", "expected a whole number"),
        ("fast=maybe", "expected true or false; it is true now"),
        ("over=image", "expected batch or slice"),
        ("inner.channels=a,b", "expected whole numbers, separated by commas; it is 8,16 now"),
        ("inner.channels=", "separated by commas"),
        ("inner.window=1,2,3", "expected 2 numbers, separated by commas"),
        ("inner.rate=nan", "expected a number or none"),
        ("inner.chanels=4", "no such setting; did you mean inner.channels"),
        ("channels=4", "did you mean inner.channels or maybe.channels"),
        ("zzz=4", "there are inner.channels, inner.window"),
        ("inner=4", "set its parts, such as inner.channels"),
        ("maybe=4", "set its parts or none"),
        ("steps.deep=4", "steps is 10 and has no parts"),
        ("steps", "expected key=value"),
    ],
)
def test_what_is_wrong_is_told_with_what_is_right(setting, message):
    with pytest.raises(UsageError, match=message):
        override(Outer(), [setting])


def test_a_part_and_its_whole_contradict():
    for settings in (["maybe=none", "maybe.rate=1"], ["maybe.rate=1", "maybe=none"]):
        with pytest.raises(UsageError, match="set"):
            override(Outer(), settings)
    assert "inner.channels" in list(keys(Outer())) and "maybe" in list(keys(Outer(maybe=None)))
