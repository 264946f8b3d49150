"""In which slices the left ventricle is, phase by phase: base and apex are decided, not left to single pixels.

For each frame there is evidence, as log odds:

- blood: how sure the network is of the pixels that it is surest of as cavity;
- enclosure: which part of the cavity's border has wall right outside of it. Where the base has moved down in systole,
  a slice shows atrium: blood without wall. Experts count a slice where wall surrounds at least half of the blood.

Blood has to be there and to be enclosed: atrium is blood beyond doubt. So where there is a cavity, its enclosure
decides, and doubt of the blood is taken off it. Then an interval of slices, from a basal to an apical end, is chosen
for all phases together: it holds as much evidence for the left ventricle as can be, and its ends move little from
phase to phase. Between end diastole and end systole the basal end moves towards the apex only.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cinesax.core.presence import BaseRule
from cinesax.core.structures import Structure
from cinesax.network.passes import BORDER

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

SECTORS = 36
"""The border of the cavity is looked at in so many equal angles about its centre."""

_RING_PX = 6
"""Framed pixels outside of the cavity in which wall is looked for, 7 to 10 mm: in systole networks leave a gap."""

_BASE_MOVES_MM = 22.0
"""The base moves towards the apex by 10 to 20 mm. Where it seems to go further, wall was not seen that is there."""

_SUREST_PX = 12
"""Pixels of the cavity, by score the first of a frame, whose mean says how sure the network is of blood."""

_NOTHING = 0.02

_HIGHEST = 4.0
"""No evidence is surer than this, in log odds: a network that is wrong is often sure of it."""

_ENCLOSURE_WEIGHT = 12.0
_ENOUGH: Mapping[BaseRule, float] = {BaseRule.HALF: 0.5, BaseRule.WHOLE: 0.9}
"""The part of the border that has to have wall."""

_COST_A_SLICE = 1.0
"""What it costs that an end moves by a slice from one phase to the next, in log odds, at 20 phases or more."""

_USUAL_PHASES = 20
_NEVER = 1e6


@dataclass(frozen=True, eq=False, slots=True)
class Evidence:
    """What speaks for the left ventricle in each frame; (phase, slice) each.

    Attributes:
        blood: log odds.
        enclosure: 0 to 1: the part of the cavity's border with wall outside; nan where there is no cavity, or where
            the network knows no wall.
        area_px: of the cavity.
    """

    blood: Floats
    enclosure: Floats
    area_px: Floats

    def by(self, rule: BaseRule) -> Floats:
        """(phase, slice), log odds of the left ventricle being there by a rule."""
        if rule is BaseRule.ANY:
            return self.blood
        wall = np.clip(_ENCLOSURE_WEIGHT * (self.enclosure - _ENOUGH[rule]), -_HIGHEST, _HIGHEST)
        return np.where(np.isnan(wall), self.blood, wall + np.minimum(self.blood, 0))


def evidence(regions: Mapping[Structure, NDArray[np.float32]]) -> Evidence:
    """What the scores of each frame say.

    Args:
        regions: scores after cleaning, (phase, slice, row, column); the cavity among them.
    """
    cavity, ventricle = regions[Structure.CAVITY], regions.get(Structure.MYOCARDIUM)
    shape = cavity.shape[:2]
    blood, enclosure = np.full(shape, -_HIGHEST), np.full(shape, np.nan)
    area = np.asarray((cavity >= BORDER).sum(axis=(2, 3)), dtype=np.float64)
    for frame in np.ndindex(*shape):
        scores = cavity[frame][cavity[frame] > _NOTHING]
        surest = (
            float(np.partition(scores, -_SUREST_PX)[-_SUREST_PX:].mean())
            if len(scores) > _SUREST_PX
            else (float(scores.sum()) / _SUREST_PX)
        )
        odds = np.clip(surest, 1e-6, 1 - 1e-6)
        blood[frame] = np.clip(np.log(odds / (1 - odds)), -_HIGHEST, _HIGHEST)
        if ventricle is not None and area[frame]:
            enclosure[frame] = enclosed(cavity[frame] >= BORDER, ventricle[frame] >= BORDER)
    return Evidence(blood, enclosure, area)


def enclosed(cavity: Flags, ventricle: Flags) -> float:
    """The part of the cavity's border, by angle about its centre, that has wall outside of it, 0 to 1.

    Args:
        cavity: (row, column), not empty.
        ventricle: the same with the wall.
    """
    rows, columns = np.flatnonzero(cavity.any(axis=1)), np.flatnonzero(cavity.any(axis=0))
    window = tuple(slice(max(0, side[0] - _RING_PX), side[-1] + 1 + _RING_PX) for side in (rows, columns))
    inside = cavity[window]
    ring = (ndimage.distance_transform_edt(~inside) <= _RING_PX) & ~inside
    middle = np.argwhere(inside).mean(axis=0)
    down, right = (np.argwhere(ring) - middle).T
    sectors = ((np.arctan2(down, right) / (2 * np.pi) + 0.5) * SECTORS).astype(int) % SECTORS
    with_wall = np.bincount(sectors, weights=ventricle[window][ring], minlength=SECTORS) > 0
    seen = np.bincount(sectors, minlength=SECTORS) > 0
    return int(np.count_nonzero(with_wall)) / max(1, int(np.count_nonzero(seen)))


def decide(seen: Evidence, *, base_first: bool | None, slice_mm: float | None = None) -> dict[BaseRule, Flags]:
    """In which frames the left ventricle is, by each rule that the evidence allows.

    A stricter rule never counts a frame that a laxer one does not. Without wall there are no rules of it: `half` is
    then what `any` is.

    Args:
        seen: the evidence, slices in stored order.
        base_first: whether slice 0 is the basal end; None: not known.
        slice_mm: from slice to slice; None: not known.

    Returns:
        By rule (phase, slice), bool.
    """
    upside_down = base_first is False
    systole = None if base_first is None else _systole(seen.area_px.sum(axis=1))
    chosen: dict[BaseRule, Flags] = {}
    reach = seen.blood.shape[1] if slice_mm is None or base_first is None else round(_BASE_MOVES_MM / slice_mm)
    has_wall = bool(np.any(~np.isnan(seen.enclosure)))
    for rule in (BaseRule.ANY, BaseRule.HALF, BaseRule.WHOLE):
        if rule is BaseRule.WHOLE and not has_wall:
            continue
        odds = seen.by(rule if has_wall else BaseRule.ANY)
        inside = interval(odds[:, ::-1] if upside_down else odds, systole, base_moves=max(1, reach))
        inside = inside[:, ::-1] if upside_down else inside
        laxer = chosen.get(BaseRule.HALF, chosen.get(BaseRule.ANY))
        chosen[rule] = inside if laxer is None else inside & laxer
    return chosen


def interval(odds: Floats, systole: Flags | None, *, base_moves: int | None = None) -> Flags:
    """The slices from a basal to an apical end, for all phases together, that hold most evidence.

    Dynamic programming over the phases, which are a circle: three beats in a row are decided, and the middle one
    counts.

    Args:
        odds: (phase, slice), log odds, slice 0 towards the base.
        systole: (phase,), bool: phases into which the basal end may only have moved towards the apex; None: none.
        base_moves: slices that the basal end moves by at most over the beat; None: any number.

    Returns:
        (phase, slice), bool.
    """
    slices = odds.shape[1]
    if base_moves is None or base_moves >= slices - 1:
        return _interval(odds, systole)[0]
    # Each place that the base may have at its highest: the best of these is taken.
    choices = [_interval(odds, systole, (top, top + base_moves)) for top in range(slices - base_moves)]
    return max(choices, key=lambda choice: choice[1])[0]


def _interval(odds: Floats, systole: Flags | None, bases: tuple[int, int] | None = None) -> tuple[Flags, float]:
    """One answer of `interval`, its basal end from the first to the last of some slices, and what it is worth."""
    phases, slices = odds.shape
    lowest, highest = bases or (0, slices - 1)
    ends = [(first, last) for first in range(lowest, highest + 1) for last in range(first, slices)]
    first, last = np.array([*ends, (-1, -1)]).T
    empty = len(ends)
    sums = np.concatenate([np.zeros((phases, 1)), np.cumsum(odds, axis=1)], axis=1)
    gain = sums[:, last + 1] - sums[:, np.maximum(first, 0)]
    gain[:, empty] = 0
    moved = np.abs(first[:, None] - first) + np.abs(last[:, None] - last)
    length = last - first + 1
    moved[empty, :] = length
    moved[:, empty] = length
    moved[empty, empty] = 0
    cost = _COST_A_SLICE * min(1.0, phases / _USUAL_PHASES) * moved
    # To the base (from row to column) in systole: never. What is empty has no base.
    back = (first < first[:, None]) & (first >= 0)
    beats = 1 if phases == 1 else 3
    score = gain[0].copy()
    came_from = np.zeros((beats * phases, len(first)), dtype=int)
    for step in range(1, beats * phases):
        phase = step % phases
        paid = score[:, None] - cost
        if systole is not None and systole[phase]:
            paid = paid - _NEVER * back
        came_from[step] = np.argmax(paid, axis=0)
        score = paid[came_from[step], np.arange(len(first))] + gain[phase]
    inside = np.zeros((beats * phases, slices), dtype=bool)
    state, worth = int(np.argmax(score)), float(np.max(score))
    for step in range(beats * phases - 1, -1, -1):
        if state != empty:
            inside[step, first[state] : last[state] + 1] = True
        state = int(came_from[step, state])
    middle = phases if beats == 3 else 0
    return inside[middle : middle + phases], worth


def _systole(areas: Floats) -> Flags:
    """(phase,): the phases after the one of the largest summed area up to the smallest, round the beat."""
    phases = len(areas)
    systole = np.zeros(phases, dtype=bool)
    if phases < 3 or not np.any(areas > 0):
        return systole
    largest, smallest = int(np.argmax(areas)), int(np.argmin(areas))
    steps = (smallest - largest) % phases
    # Longer than this it is no systole: noise, or a base that comes and goes, has moved the extremes.
    if steps <= 0.6 * phases:
        systole[(largest + 1 + np.arange(steps)) % phases] = True
    return systole
