"""Which slices count as left ventricle, and by which rule; and signs of how sure a network was of its contours."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
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
class Signs(ArrayValue):
    """Signs of how sure a network was of the cavity at ED and ES; `cinesax.trust` predicts errors from them.

    All arrays are (moment, slice), moments ED and ES, in pixels of the network's framed images.

    Attributes:
        phases: the phases of ED and ES.
        area_px: area of the cavity, in all frames: `Presence.inside` says which of them count.
        sure_px: sum of the scores inside the border; as large as the area if the network is sure.
        beyond_px: sum of the scores outside the border; 0 if the network is sure.
        mirrored_px: area of the cavity that the network draws in the mirror image.
        shared_px: the part of `area_px` that it draws in the mirror image too.
        wall_px: area of the myocardium; nan if the network does not draw it.
        blood: mean intensity of the cavity, 0 to 1; nan without cavity.
        around: mean intensity of a ring around the cavity.
        spread: standard deviation of the intensity of the cavity.
    """

    phases: tuple[int, int]
    area_px: Floats
    sure_px: Floats
    beyond_px: Floats
    mirrored_px: Floats
    shared_px: Floats
    wall_px: Floats
    blood: Floats
    around: Floats
    spread: Floats

    def __post_init__(self) -> None:
        names = [entry.name for entry in fields(self) if entry.name != "phases"]
        shapes = {getattr(self, name).shape for name in names}
        if len(shapes) != 1 or self.area_px.ndim != 2 or len(self.area_px) != len(self.phases):
            raise GeometryError(f"signs must all be (2, slice), seen {sorted(shapes)} for {len(self.phases)} phases")
        for name in names:
            object.__setattr__(self, name, frozen(getattr(self, name)))

    def __repr__(self) -> str:
        return f"Signs(ED {self.phases[0]}, ES {self.phases[1]}, {self.area_px.shape[1]} slices)"


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
        signs: how sure the network was of the cavity at ED and ES; None: not known.

    Raises:
        GeometryError: arrays have different shapes, or no array belongs to the rule used.
    """

    rule: BaseRule
    inside: Mapping[BaseRule, NDArray[np.bool_]]
    certainty: Floats
    enclosure: Floats
    set_aside: Mapping[tuple[Structure, int, int], tuple[Floats, ...]]
    signs: Signs | None = None

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
