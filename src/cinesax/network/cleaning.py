"""Cleaning: removes regions that cannot be LV, by anatomy over space and time.

Every rule works on probabilities of the cavity over the whole study, (phase, slice, row, column), and is a separate
function, so that its effect can be measured by leaving it out (benchmarks/cleaning.py prints the table).
Phases are a circle: the first follows the last.

If a network also draws the myocardium, the same rules clean the ventricle (cavity and myocardium together). They then
keep the part that holds the cavity, not the largest part: wall without a cavity is not a ventricle.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Probabilities = NDArray[np.float32]
Window = tuple[slice, slice, slice, slice]

BORDER = 0.5
_FEWEST_PHASES = 8
_NOTHING = 0.02
_MARGIN_PX = 4
# Closes gaps between cavity and wall up to twice this width.
_GAP_PX = 3
_GAP = np.hypot(*np.indices((2 * _GAP_PX + 1, 2 * _GAP_PX + 1)) - _GAP_PX) <= _GAP_PX + 0.5


class Rule(StrEnum):
    """The cleaning rules, in the order in which they are applied."""

    STEADY = "steady"
    ONE_BODY = "one-body"
    ONE_REGION = "one-region"


Rules = Mapping[Rule, Callable[[Probabilities], Probabilities]]


@dataclass(frozen=True, eq=False, slots=True)
class Cleaned:
    """The cleaned probabilities, and the rules that could not be applied.

    Attributes:
        probabilities: (phase, slice, row, column), float32; 0 where something was removed.
        removed: (phase, slice), bool: frames in which something was removed.
        off: rules that need more phases or slices than this stack has.
    """

    probabilities: Probabilities
    removed: NDArray[np.bool_]
    off: tuple[Rule, ...]


def clean(probabilities: Probabilities, rules: frozenset[Rule]) -> Cleaned:
    """Apply rules to the cavity.

    Args:
        probabilities: of the cavity, (phase, slice, row, column), float32.
        rules: the rules to apply.
    """
    return _clean(probabilities, rules, _RULES, _window(probabilities))


def clean_ventricle(
    probabilities: Probabilities, *, cavity: Probabilities, cleaned: Probabilities, rules: frozenset[Rule]
) -> Cleaned:
    """Apply rules to cavity and myocardium together.

    Regions that were removed from the cavity are removed from the ventricle too. Everything inside the wall belongs to
    the ventricle, so a gap around the cavity does not separate the cavity from its wall.

    Args:
        probabilities: of the ventricle (cavity or myocardium), (phase, slice, row, column), float32, not cleaned.
        cavity: of the cavity alone, same shape, not cleaned.
        cleaned: the cavity after `clean`.
        rules: the rules to apply.

    Returns:
        The ventricle. Nowhere is it less probable than the cavity.
    """
    seeds = cleaned >= BORDER
    window = _window(probabilities)
    holding: Rules = {
        Rule.STEADY: steady,
        Rule.ONE_BODY: partial(body_of, cavity=seeds[window]),
        Rule.ONE_REGION: partial(region_of, cavity=seeds[window]),
    }
    # Blood that was removed (of the right ventricle, say) still counts as ventricle here. Kept, it would have no cavity
    # and so become myocardium, and where it touches the wall no rule would part the two.
    dropped = (cavity >= BORDER) & (cleaned <= 0)
    whole = _without_gaps(np.where(dropped, np.float32(0), probabilities), cleaned, window)
    done = _clean(whole, rules, holding, window)
    # Without this, the epicardium could cross the endocardium where a rule took a rim off the ventricle.
    return replace(done, probabilities=np.maximum(done.probabilities, cleaned))


def _without_gaps(ventricle: Probabilities, cavity: Probabilities, window: Window) -> Probabilities:
    """The ventricle, changed in place: 1 in holes and in gaps between cavity and wall.

    In systole networks leave pixels of background between cavity and wall. If the wall is closed, they are a hole. If
    it is open, as at the base, the pixels between the cavity and nearby wall are set to wall too.
    """
    blood_frames, frames = cavity[window], ventricle[window]
    for place in np.ndindex(*frames.shape[:2]):
        frame, blood = frames[place], blood_frames[place] >= BORDER
        inside = frame >= BORDER
        filled = without_holes(inside)
        # Closing is slow, and most frames have wall all around the cavity.
        if np.any(blood) and np.any(_and_neighbours(blood) & ~filled):
            padded = np.pad(filled, _GAP_PX)
            closed = ndimage.binary_closing(padded, _GAP)[_GAP_PX:-_GAP_PX, _GAP_PX:-_GAP_PX]
            # Near the blood only: closing also fills dents in the outer border of the wall.
            filled = filled | (closed & (ndimage.distance_transform_edt(~blood) <= 2 * _GAP_PX))
        frame[filled & ~inside] = 1
    return ventricle


def _and_neighbours(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(row, column): the mask and the pixels beside it, as `ndimage.binary_dilation` gives, many times as fast."""
    grown = inside.copy()
    grown[1:] |= inside[:-1]
    grown[:-1] |= inside[1:]
    grown[:, 1:] |= inside[:, :-1]
    grown[:, :-1] |= inside[:, 1:]
    return grown


def without_holes(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(row, column): the mask with its holes filled, as `ndimage.binary_fill_holes` does, ten times as fast."""
    outside, count = ndimage.label(np.pad(~inside, 1, constant_values=True))
    return inside if count == 1 else np.asarray(outside != outside[0, 0])[1:-1, 1:-1]


def _clean(probabilities: Probabilities, rules: frozenset[Rule], how: Rules, window: Window) -> Cleaned:
    off = tuple(rule for rule in Rule if rule in rules and not _applies(rule, probabilities.shape))
    part = cleaned = probabilities[window]
    for rule in Rule:
        if rule in rules and rule not in off:
            cleaned = how[rule](cleaned)
    lost = np.any((part >= BORDER) & (cleaned <= 0), axis=(2, 3))
    whole = np.zeros_like(probabilities)
    whole[window] = cleaned
    return Cleaned(whole, np.asarray(lost), off)


def _window(probabilities: Probabilities) -> Window:
    # The rules take seconds on whole frames, but tenths of a second on the part that holds anything.
    highest = probabilities.max(axis=(0, 1))
    sides = []
    for line in (highest.max(axis=1), highest.max(axis=0)):
        held = np.flatnonzero(line >= _NOTHING)
        first, last = (int(held[0]), int(held[-1])) if len(held) else (0, 0)
        sides.append(slice(max(0, first - _MARGIN_PX), last + 1 + _MARGIN_PX))
    return slice(None), slice(None), sides[0], sides[1]


def _applies(rule: Rule, shape: tuple[int, ...]) -> bool:
    if rule is Rule.STEADY:
        return shape[0] >= _FEWEST_PHASES
    return rule is not Rule.ONE_BODY or shape[0] * shape[1] > 1


def steady(probabilities: Probabilities) -> Probabilities:
    """Each frame averaged with its neighbours in time, weights 1 2 1, so that contours do not flicker."""
    before, after = np.roll(probabilities, 1, axis=0), np.roll(probabilities, -1, axis=0)
    return np.asarray((before + 2 * probabilities + after) / 4, dtype=np.float32)


def one_body(probabilities: Probabilities) -> Probabilities:
    """Only the largest body that is connected through slices and phases: the LV is one body."""
    bodies, count = _bodies(probabilities)
    if count < 2:
        return probabilities
    sizes = np.bincount(bodies.ravel(), minlength=count + 1)
    sizes[0] = 0
    return _without(probabilities, bodies, bodies == int(np.argmax(sizes)))


def body_of(probabilities: Probabilities, cavity: NDArray[np.bool_]) -> Probabilities:
    """Only the bodies, connected through slices and phases, that hold some of the cavity.

    Args:
        probabilities: of the ventricle.
        cavity: of the same shape.
    """
    bodies, count = _bodies(probabilities)
    held = np.zeros(count + 1, dtype=bool)
    held[bodies[cavity]] = True
    held[0] = False
    return _without(probabilities, bodies, held[bodies])


def _bodies(probabilities: Probabilities) -> tuple[NDArray[np.integer[Any]], int]:
    """The number of each pixel's body, from 1 (0: background), and the highest number that a body may have."""
    inside = probabilities >= BORDER
    # The last phase touches the first. So a copy of the first phase is labelled behind the last one.
    bodies, count = ndimage.label(np.concatenate([inside, inside[:1]]), np.ones((3, 3, 3, 3)))
    if count < 2:
        return bodies[:-1], count
    return _joined_around_the_beat(bodies, count)[bodies[:-1]], count


def _joined_around_the_beat(bodies: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    # Two bodies with the same pixel in both copies of the first phase are one body.
    parent = np.arange(count + 1)
    inside = bodies[0] > 0
    for in_copy, in_first in np.unique(np.stack([bodies[-1][inside], bodies[0][inside]]), axis=1).T:
        parent[parent == parent[in_first]] = parent[in_copy]
    return parent


def one_region(probabilities: Probabilities) -> Probabilities:
    """In each frame only the largest region: the cavity of a slice is one piece."""
    return region_of(probabilities, np.zeros(probabilities.shape, bool))


def region_of(probabilities: Probabilities, cavity: NDArray[np.bool_]) -> Probabilities:
    """In each frame only the region with most of the cavity; without a cavity, as at the apex, the largest region.

    Args:
        probabilities: of the ventricle.
        cavity: of the same shape.
    """
    cleaned = probabilities.copy()
    frame_shape = probabilities.shape[2:]
    for frame, seeds in zip(cleaned.reshape(-1, *frame_shape), cavity.reshape(-1, *frame_shape), strict=True):
        regions, count = ndimage.label(frame >= BORDER)
        if count > 1:
            inside = regions[seeds & (regions > 0)]
            sizes = np.bincount(inside if len(inside) else regions.ravel())
            sizes[0] = 0
            frame[:] = _without(frame, regions, regions == int(np.argmax(sizes)))
    return cleaned


def _without(values: Probabilities, regions: NDArray[np.integer[Any]], kept: NDArray[np.bool_]) -> Probabilities:
    """The values, set to 0 in and just around the regions that are not kept."""
    dropped = (regions > 0) & ~kept
    if not dropped.any():
        return values
    reach = np.zeros((3,) * values.ndim)
    reach[(1,) * (values.ndim - 2)] = 1
    # Values fall off over some pixels around a region. A dropped region's rim would remain as a faint ring; a kept
    # region's rim must stay, because its contour is interpolated there.
    rim = ndimage.binary_dilation(dropped, reach, iterations=2) & (values < BORDER)
    near_kept = ndimage.binary_dilation(kept, reach, iterations=2)
    return np.where(dropped | (rim & ~near_kept), np.float32(0), values)


_RULES: Rules = MappingProxyType({Rule.STEADY: steady, Rule.ONE_BODY: one_body, Rule.ONE_REGION: one_region})

# Measured on whole studies (docs/segmentation.md): STEADY removes a third of the flicker, but damps the beat, so that
# EF is one to two points too low. It is off unless asked for.
DEFAULT_RULES = frozenset({Rule.ONE_BODY, Rule.ONE_REGION})
