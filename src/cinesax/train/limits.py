"""Limits of settings: each setting of a config must lie in its range, or one line says so."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cinesax.core.errors import UsageError


class Limit(NamedTuple):
    """The range of a setting.

    Attributes:
        low: the smallest value.
        high: the largest value.
        above: whether the smallest value itself is excluded.
        below: whether the largest value itself is excluded.
    """

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False

    def holds(self, value: float) -> bool:
        """Whether a value lies in the range; NaN and infinity never do."""
        low = value > self.low if self.above else value >= self.low
        high = value < self.high if self.below else value <= self.high
        return math.isfinite(value) and low and high

    def __str__(self) -> str:
        low = f"{'above' if self.above else 'at least'} {_text(self.low)}"
        if self.high == math.inf:
            return low
        if self.above:
            return f"{low} and {'below' if self.below else 'at most'} {_text(self.high)}"
        return f"from {_text(self.low)} to {'below ' if self.below else ''}{_text(self.high)}"


def _text(number: float) -> str:
    return f"{number:.10g}"


SHARE = Limit(0, 1)


def check_limits(config: object, limits: Mapping[str, Limit]) -> None:
    """Check the settings of a config. Each value of a list is checked; None, which switches a setting off, passes.

    Args:
        config: has the settings as attributes.
        limits: name of a setting -> its range.

    Raises:
        UsageError: a setting out of its range, or an empty list.
    """
    for name, limit in limits.items():
        value = getattr(config, name)
        listed = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        strange = [one for one in listed if one is not None and not isinstance(one, int | float)]
        if strange:
            raise UsageError(f"{name} must be a number, seen {strange[0]!r}")
        if not listed:
            raise UsageError(f"{name} is empty; give at least one value")
        if not all(one is None or limit.holds(one) for one in listed):
            each = "each value of " if isinstance(value, Sequence) else ""
            seen = ",".join(_text(one) for one in listed)
            raise UsageError(f"{each}{name} must be {limit}, seen {seen}")
