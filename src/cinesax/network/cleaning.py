"""Cleaning: what a network drew that cannot be LV, by anatomy over space and time.

Every rule works on probabilities of the cavity over the whole study, (phase, slice, row, column), and is a
function of its own, so that its effect can be measured by leaving it out (benchmarks/cleaning.py prints the table).
Phases are a circle: the last one is followed by the first.

Where a network draws the myocardium too, the same rules are applied to the ventricle, cavity and myocardium together,
but what is kept of it is what holds the cavity, not what is largest: a body of wall without cavity is none.
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
# Gaps between cavity and wall up to twice as wide are closed.
_GAP_PX = 3
_GAP = np.hypot(*np.indices((2 * _GAP_PX + 1, 2 * _GAP_PX + 1)) - _GAP_PX) <= _GAP_PX + 0.5


class Rule(StrEnum):
    """A rule of the cleaning, in the order in which they are applied."""

    STEADY = "steady"
    ONE_BODY = "one-body"
    ONE_REGION = "one-region"


Rules = Mapping[Rule, Callable[[Probabilities], Probabilities]]


@dataclass(frozen=True, eq=False, slots=True)
class Cleaned:
    """What the rules left, and which of them could not be applied.

    Attributes:
        probabilities: (phase, slice, row, column), float32; 0 where something was removed.
        removed: (phase, slice), bool: frames of which something was removed.
        off: rules that need phases or neighbours which this stack does not have.
    """

    probabilities: Probabilities
    removed: NDArray[np.bool_]
    off: tuple[Rule, ...]


def clean(probabilities: Probabilities, rules: frozenset[Rule]) -> Cleaned:
    """Apply the rules.

    Args:
        probabilities: of the cavity, (phase, slice, row, column), float32.
        rules: which ones.
    """
    return _clean(probabilities, rules, _RULES, _window(probabilities))


def clean_ventricle(
    probabilities: Probabilities, *, cavity: Probabilities, cleaned: Probabilities, rules: frozenset[Rule]
) -> Cleaned:
    """Apply the rules to cavity and myocardium together.

    What was no cavity is no ventricle either: left as it is, it would become myocardium where it touches some. What
    lies inside of the wall is ventricle, whatever it looks like: a gap round the cavity does not part it from its wall.

    Args:
        probabilities: of being either, (phase, slice, row, column), float32, before any cleaning.
        cavity: the probabilities of the cavity alone, of the same shape, before any cleaning.
        cleaned: what `clean` left of these.
        rules: which ones.

    Returns:
        The ventricle. It holds the whole cavity: nowhere is it less probable.
    """
    seeds = cleaned >= BORDER
    window = _window(probabilities)
    holding: Rules = {
        Rule.STEADY: steady,
        Rule.ONE_BODY: partial(body_of, cavity=seeds[window]),
        Rule.ONE_REGION: partial(region_of, cavity=seeds[window]),
    }
    dropped = (cavity >= BORDER) & (cleaned <= 0)
    whole = _without_gaps(np.where(dropped, np.float32(0), probabilities), cleaned, window)
    done = _clean(whole, rules, holding, window)
    return replace(done, probabilities=np.maximum(done.probabilities, cleaned))


def _without_gaps(ventricle: Probabilities, cavity: Probabilities, window: Window) -> Probabilities:
    """The ventricle in place, 1 where a frame has a gap between cavity and wall, or a hole.

    In systole networks leave pixels of background between the two. Where the wall is closed that is a hole; where it
    is open, at the base, what lies between cavity and near wall is wall too.
    """
    blood_frames, frames = cavity[window], ventricle[window]
    for place in np.ndindex(*frames.shape[:2]):
        frame, blood = frames[place], blood_frames[place] >= BORDER
        inside = frame >= BORDER
        filled = ndimage.binary_fill_holes(inside)
        if np.any(blood) and np.any(ndimage.binary_dilation(blood) & ~filled):
            padded = np.pad(filled, _GAP_PX)
            closed = ndimage.binary_closing(padded, _GAP)[_GAP_PX:-_GAP_PX, _GAP_PX:-_GAP_PX]
            filled |= closed & (ndimage.distance_transform_edt(~blood) <= 2 * _GAP_PX)
        frame[filled & ~inside] = 1
    return ventricle


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
    # The rules take seconds on whole frames and tenths of one where there is anything to clean.
    highest = probabilities.max(axis=(0, 1))
    sides = []
    for line in (highest.max(axis=1), highest.max(axis=0)):
        there = np.flatnonzero(line >= _NOTHING)
        first, last = (int(there[0]), int(there[-1])) if len(there) else (0, 0)
        sides.append(slice(max(0, first - _MARGIN_PX), last + 1 + _MARGIN_PX))
    return slice(None), slice(None), sides[0], sides[1]


def _applies(rule: Rule, shape: tuple[int, ...]) -> bool:
    if rule is Rule.STEADY:
        return shape[0] >= _FEWEST_PHASES
    return rule is not Rule.ONE_BODY or shape[0] * shape[1] > 1


def steady(probabilities: Probabilities) -> Probabilities:
    """Each frame averaged with its neighbours in time, weights 1 2 1: contours do not flicker."""
    before, after = np.roll(probabilities, 1, axis=0), np.roll(probabilities, -1, axis=0)
    return np.asarray((before + 2 * probabilities + after) / 4, dtype=np.float32)


def one_body(probabilities: Probabilities) -> Probabilities:
    """Only the largest body that is connected through slices and phases: the LV is one."""
    bodies, count = _bodies(probabilities)
    if count < 2:
        return probabilities
    sizes = np.bincount(bodies.ravel(), minlength=count + 1)
    sizes[0] = 0
    return _without(probabilities, bodies, bodies == int(np.argmax(sizes)))


def body_of(probabilities: Probabilities, cavity: NDArray[np.bool_]) -> Probabilities:
    """Only the bodies, connected through slices and phases, that hold cavity somewhere.

    Args:
        probabilities: of the ventricle.
        cavity: of the same shape.
    """
    bodies, _ = _bodies(probabilities)
    return _without(probabilities, bodies, np.isin(bodies, np.unique(bodies[cavity & (bodies > 0)])))


def _bodies(probabilities: Probabilities) -> tuple[NDArray[np.integer[Any]], int]:
    """Each pixel's body, from 1; 0 is none. And the highest number that a body may have."""
    inside = probabilities >= BORDER
    # The last phase touches the first, as any phase touches the next: the first is labelled behind it once more.
    bodies, count = ndimage.label(np.concatenate([inside, inside[:1]]), np.ones((3, 3, 3, 3)))
    if count < 2:
        return bodies[:-1], count
    return _joined_round_the_beat(bodies, count)[bodies[:-1]], count


def _joined_round_the_beat(bodies: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    # Bodies that have the same pixels in both copies of the first phase are one.
    parent = np.arange(count + 1)
    seen = bodies[0] > 0
    for one, other in np.unique(np.stack([bodies[-1][seen], bodies[0][seen]]), axis=1).T:
        parent[parent == parent[other]] = parent[one]
    return parent


def one_region(probabilities: Probabilities) -> Probabilities:
    """In each frame only the largest region: the cavity of one slice is in one piece."""
    return region_of(probabilities, np.zeros(probabilities.shape, bool))


def region_of(probabilities: Probabilities, cavity: NDArray[np.bool_]) -> Probabilities:
    """In each frame only the region that holds most of the cavity; without cavity, as at the apex, the largest.

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
    """The values, 0 in and just round the regions that are not kept; the rim of what is kept stays soft."""
    dropped = (regions > 0) & ~kept
    reach = np.zeros((3,) * values.ndim)
    reach[(1,) * (values.ndim - 2)] = 1
    rim = ndimage.binary_dilation(dropped, reach, iterations=2) & (values < BORDER)
    near_kept = ndimage.binary_dilation(kept, reach, iterations=2)
    return np.where(dropped | (rim & ~near_kept), np.float32(0), values)


_RULES: Rules = MappingProxyType({Rule.STEADY: steady, Rule.ONE_BODY: one_body, Rule.ONE_REGION: one_region})

# Measured on whole studies (docs/segmentation.md): STEADY takes a third of the flicker and damps the beat, so that EF
# comes out one to two points too low; it is left to those who want calm contours.
DEFAULT_RULES = frozenset({Rule.ONE_BODY, Rule.ONE_REGION})
