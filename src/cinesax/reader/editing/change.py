"""A Change: other contours in some frames, and what it makes of a reading. Values in, values out; nothing is stored.

A Change has its opposite, which takes it back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from cinesax.core.errors import UsageError
from cinesax.core.origins import Drawn
from cinesax.core.segmentation import ContourKey, Polygons, Segmentation
from cinesax.core.selection import Overrides
from cinesax.core.structures import Chamber, Structure, chambers

Frame = tuple[int, int]
Outlines = Mapping[Structure, Polygons]
Known = Mapping[Structure, NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a person has made of an analysis: the value that edits change.

    Attributes:
        segmentation: the contours.
        overrides: ED, ES and body size that were given.
    """

    segmentation: Segmentation
    overrides: Overrides


@dataclass(frozen=True, slots=True)
class Change:
    """How a reading becomes another one.

    Attributes:
        frames: (phase, slice) -> all contours of that frame afterwards.
        origins: what changes in `Segmentation.origins`; None: an entry that goes.
        known: the known phases afterwards; None: as they are.
        overrides: afterwards; None: as they are.
        papillary_muscles_included: afterwards; None: as it is.
    """

    frames: Mapping[Frame, Outlines] = field(default_factory=dict)
    origins: Mapping[ContourKey, Drawn | None] = field(default_factory=dict)
    known: Known | None = None
    overrides: Overrides | None = None
    papillary_muscles_included: bool | None = None


def apply(reading: Reading, change: Change, first: Segmentation) -> Reading:
    """The reading after a change; `first` is the segmentation before any (see `Segmentation.with_frames`)."""
    segmentation = reading.segmentation
    if change.frames or change.origins:
        known = segmentation.known_phases if change.known is None else change.known
        segmentation = segmentation.with_frames(change.frames, change.origins, known, first=first)
    included = change.papillary_muscles_included
    if included is not None and included != segmentation.papillary_muscles_included:
        segmentation = replace(segmentation, papillary_muscles_included=included)
    return Reading(segmentation, change.overrides or reading.overrides)


def opposite(reading: Reading, change: Change) -> Change:
    """The change that leads back to `reading` from where `change` leads."""
    segmentation = reading.segmentation
    return Change(
        {frame: outlines_of(segmentation, frame) for frame in change.frames},
        {key: segmentation.origins.get(key) for key in change.origins},
        None if change.known is None else segmentation.known_phases,
        None if change.overrides is None else reading.overrides,
        None if change.papillary_muscles_included is None else segmentation.papillary_muscles_included,
    )


def outlines_of(segmentation: Segmentation, frame: Frame) -> dict[Structure, Polygons]:
    """All contours of one frame."""
    found = {structure: segmentation.outline(structure, *frame) for structure in segmentation.known_phases}
    return {structure: polygons for structure, polygons in found.items() if polygons}


def structure_of(key: str) -> Structure:
    """The structure with a key such as "cavity".

    Raises:
        UsageError: there is none.
    """
    found = next((structure for structure in Structure if structure.key == key), None)
    if found is None:
        raise UsageError(f"no structure is called {key}: expected {', '.join(one.key for one in Structure)}")
    return found


def chamber_of(key: str) -> Chamber:
    """The chamber with a key such as "lv".

    Raises:
        UsageError: there is none.
    """
    found = next((chamber for chamber in chambers() if chamber.key == key), None)
    if found is None:
        raise UsageError(f"no chamber is called {key}: expected {', '.join(one.key for one in chambers())}")
    return found
