"""Which slices count as left ventricle, and by which rule."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from cinesax.core.errors import GeometryError
from cinesax.core.grid import Floats
from cinesax.core.structures import Structure
from cinesax.core.values import ArrayValue, frozen


class BaseRule(StrEnum):
    """The rule for which slices at the base count as left ventricle."""

    HALF = "half"
    """Slices whose blood is surrounded by wall for at least half of its border, as most experts count."""
    ANY = "any"
    """Every slice with blood of the left ventricle."""
    WHOLE = "whole"
    """Slices whose wall is closed."""


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Presence(ArrayValue):
    """In which frames the left ventricle is present, according to a network.

    Attributes:
        rule: the rule used: contours of frames that do not count by it are set aside.
        inside: for each rule that could be applied, (phase, slice), bool: the frames that count by it.
        certainty: (phase, slice): log odds that the left ventricle is present by the rule used, before neighbouring
            frames are considered; 0 is undecided.
        enclosure: (phase, slice): the part of the cavity's border with wall outside it, 0 to 1; nan if there is no
            cavity, or if the network draws no wall.
        set_aside: (structure, phase, slice) -> polygons of the left ventricle in frames that do not count, for the
            other rules.

    Raises:
        GeometryError: arrays have different shapes, or no array belongs to the rule used.
    """

    rule: BaseRule
    inside: Mapping[BaseRule, NDArray[np.bool_]]
    certainty: Floats
    enclosure: Floats
    set_aside: Mapping[tuple[Structure, int, int], tuple[Floats, ...]]

    def __post_init__(self) -> None:
        shapes = {array.shape for array in (*self.inside.values(), self.certainty, self.enclosure)}
        if self.rule not in self.inside or len(shapes) != 1 or self.certainty.ndim != 2:
            raise GeometryError(
                f"presence by {self.rule} must be (phase, slice) for this rule and all others, seen {sorted(shapes)}"
            )
        inside = {rule: frozen(array) for rule, array in self.inside.items()}
        object.__setattr__(self, "inside", MappingProxyType(inside))
        object.__setattr__(self, "set_aside", MappingProxyType(dict(self.set_aside)))
        object.__setattr__(self, "certainty", frozen(self.certainty))
        object.__setattr__(self, "enclosure", frozen(self.enclosure))

    def __repr__(self) -> str:
        counts = ", ".join(f"{rule} {int(array.sum())}" for rule, array in self.inside.items())
        return f"Presence(by {self.rule}: frames with LV: {counts})"
