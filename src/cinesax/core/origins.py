"""Where a contour comes from: what made it, who made it, and whether a person approved it."""

from dataclasses import dataclass
from enum import StrEnum


class Origin(StrEnum):
    """What made a contour."""

    NETWORK = "network"
    INTERPOLATED = "interpolated"
    """Computed from contours of other frames."""
    EDITED = "edited"
    """Drawn or changed by a person in this exam; also: the person said that there is nothing to draw."""
    GIVEN = "given"
    """Read from a file, or made by another program."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """Where one contour comes from; also records the decision that a frame has none.

    Attributes:
        origin: what made it.
        by: who made it: a person, or a network's name and version.
        approved: whether a person approved it.
    """

    origin: Origin
    by: str
    approved: bool = False
