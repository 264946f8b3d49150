"""A Change: new contours in some frames, and how it changes a reading. Values in, values out; nothing is stored.

Every Change has an opposite, which undoes it.
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
from cinesax.reader.editing import masks

Frame = tuple[int, int]
Outlines = Mapping[Structure, Polygons]
Known = Mapping[Structure, NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class Reading:
    """The present contours and settings of an exam: the value that edits change.

    Attributes:
        segmentation: the contours.
        overrides: the given ED, ES and body size.
    """

    segmentation: Segmentation
    overrides: Overrides


@dataclass(frozen=True, slots=True)
class Change:
    """The difference between two readings.

    Attributes:
        frames: (phase, slice) -> all contours of that frame after the change.
        origins: new entries of `Segmentation.origins`; None removes an entry.
        known: the known phases after the change; None: unchanged.
        overrides: the overrides after the change; None: unchanged.
        papillary_muscles_included: its value after the change; None: unchanged.
    """

    frames: Mapping[Frame, Outlines] = field(default_factory=dict)
    origins: Mapping[ContourKey, Drawn | None] = field(default_factory=dict)
    known: Known | None = None
    overrides: Overrides | None = None
    papillary_muscles_included: bool | None = None


def apply(reading: Reading, change: Change, first: Segmentation, *, paint: bool = True) -> Reading:
    """The reading after a change.

    Args:
        reading: the reading before.
        change: the change.
        first: the segmentation before all changes: see `Segmentation.with_frames`.
        paint: see `Segmentation.with_frames`.
    """
    segmentation = reading.segmentation
    if change.frames or change.origins:
        known = segmentation.known_phases if change.known is None else change.known
        segmentation = segmentation.with_frames(change.frames, change.origins, known, first=first, paint=paint)
    included = change.papillary_muscles_included
    if included is not None and included != segmentation.papillary_muscles_included:
        segmentation = replace(segmentation, papillary_muscles_included=included)
    return Reading(segmentation, change.overrides or reading.overrides)


def opposite(reading: Reading, change: Change) -> Change:
    """The change that undoes `change` of `reading`."""
    segmentation = reading.segmentation
    return Change(
        {frame: outlines_of(segmentation, frame) for frame in change.frames},
        {key: segmentation.origins.get(key) for key in change.origins},
        None if change.known is None else segmentation.known_phases,
        None if change.overrides is None else reading.overrides,
        None if change.papillary_muscles_included is None else segmentation.papillary_muscles_included,
    )


def outlines_of(segmentation: Segmentation, frame: Frame) -> dict[Structure, Polygons]:
    """All contours of one frame; those around labels are smooth."""
    return masks.outlines(segmentation, *frame)


def structure_of(key: str) -> Structure:
    """The structure with a key such as "cavity".

    Raises:
        UsageError: there is no such structure.
    """
    structure = next((structure for structure in Structure if structure.key == key), None)
    if structure is None:
        raise UsageError(f"no structure is called {key}: expected {', '.join(known.key for known in Structure)}")
    return structure


def chamber_of(key: str) -> Chamber:
    """The chamber with a key such as "lv".

    Raises:
        UsageError: there is no such chamber.
    """
    chamber = next((chamber for chamber in chambers() if chamber.key == key), None)
    if chamber is None:
        raise UsageError(f"no chamber is called {key}: expected {', '.join(known.key for known in chambers())}")
    return chamber
