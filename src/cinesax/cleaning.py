"""Cleaning: what a network drew that cannot be LV, by anatomy over space and time.

Every rule works on probabilities of the cavity over the whole study, (phase, slice, row, column), and is a
function of its own, so that its effect can be measured by leaving it out (benchmarks/cleaning.py prints the table).
Phases are a circle: the last one is followed by the first.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Probabilities = NDArray[np.float32]

BORDER = 0.5
_FEWEST_PHASES = 8
_NOTHING = 0.02
_MARGIN_PX = 4


class Rule(StrEnum):
    """A rule of the cleaning, in the order in which they are applied."""

    STEADY = "steady"
    ONE_BODY = "one-body"
    ONE_REGION = "one-region"


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What the rules left, and which of them could not be applied.

    Attributes:
        probabilities: (phase, slice, row, column), float32; 0 where something was removed.
        removed_frames: number of frames of which something was removed.
        off: rules that need phases or neighbours which this stack does not have.
    """

    probabilities: Probabilities
    removed_frames: int
    off: tuple[Rule, ...]


def clean(probabilities: Probabilities, rules: frozenset[Rule]) -> Cleaned:
    """Apply the rules.

    Args:
        probabilities: of the cavity, (phase, slice, row, column), float32.
        rules: which ones.
    """
    off = tuple(rule for rule in Rule if rule in rules and not _applies(rule, probabilities.shape))
    window = _window(probabilities)
    part = cleaned = probabilities[window]
    for rule in Rule:
        if rule in rules and rule not in off:
            cleaned = _RULES[rule](cleaned)
    lost = ((part >= BORDER) & (cleaned <= 0)).any(axis=(2, 3))
    whole = np.zeros_like(probabilities)
    whole[window] = cleaned
    return Cleaned(whole, int(np.count_nonzero(lost)), off)


def _window(probabilities: Probabilities) -> tuple[slice, slice, slice, slice]:
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
    inside = probabilities >= BORDER
    # The last phase touches the first, as any phase touches the next: the first is labelled behind it once more.
    bodies, count = ndimage.label(np.concatenate([inside, inside[:1]]), np.ones((3, 3, 3, 3)))
    if count < 2:
        return probabilities
    joined = _joined_round_the_beat(bodies, count)
    bodies = bodies[:-1]
    sizes = np.bincount(joined[bodies].ravel(), minlength=count + 1)
    sizes[0] = 0
    return _without(probabilities, bodies, joined[bodies] == int(np.argmax(sizes)))


def _joined_round_the_beat(bodies: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    # Bodies that have the same pixels in both copies of the first phase are one.
    parent = np.arange(count + 1)
    seen = bodies[0] > 0
    for one, other in np.unique(np.stack([bodies[-1][seen], bodies[0][seen]]), axis=1).T:
        parent[parent == parent[other]] = parent[one]
    return parent


def one_region(probabilities: Probabilities) -> Probabilities:
    """In each frame only the largest region: the cavity of one slice is in one piece."""
    cleaned = probabilities.copy()
    for frame in cleaned.reshape(-1, *probabilities.shape[2:]):
        regions, count = ndimage.label(frame >= BORDER)
        if count > 1:
            sizes = np.bincount(regions.ravel())
            sizes[0] = 0
            frame[:] = _without(frame, regions, regions == int(np.argmax(sizes)))
    return cleaned


def _without(values: Probabilities, regions: NDArray[np.int32], kept: NDArray[np.bool_]) -> Probabilities:
    """The values, 0 in and just round the regions that are not kept; the rim of what is kept stays soft."""
    dropped = (regions > 0) & ~kept
    reach = np.zeros((3,) * values.ndim)
    reach[(1,) * (values.ndim - 2)] = 1
    rim = ndimage.binary_dilation(dropped, reach, iterations=2) & (values < BORDER)
    near_kept = ndimage.binary_dilation(kept, reach, iterations=2)
    return np.where(dropped | (rim & ~near_kept), np.float32(0), values)


_RULES: Mapping[Rule, Callable[[Probabilities], Probabilities]] = MappingProxyType(
    {Rule.STEADY: steady, Rule.ONE_BODY: one_body, Rule.ONE_REGION: one_region}
)

# Measured on whole studies (docs/segmentation.md): STEADY takes a third of the flicker and damps the beat, so that EF
# comes out one to two points too low; it is left to those who want calm contours.
DEFAULT_RULES = frozenset({Rule.ONE_BODY, Rule.ONE_REGION})
