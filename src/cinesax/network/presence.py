"""Base and apex: which slices show the left ventricle, decided for all phases together rather than pixel by pixel.

Each frame gives two kinds of evidence, as log odds:

- blood: how sure the network is of its surest cavity pixels;
- enclosure: the part of the cavity's border with wall right outside it. When the base has moved down in systole, a
  basal slice shows atrium: blood without wall. Experts count a slice if wall surrounds at least half of the blood.

Atrium is blood without any doubt, so blood alone decides nothing. If a frame has a cavity, its enclosure decides, and
doubts about the blood are subtracted. But a network may fail to draw the wall in a whole exam. A wall that is missing
from the middle of the stack too says nothing about the base: there, enclosure is judged by the best of its phase, and
if that is low as well, blood alone decides and a finding says so.

Then one interval of slices per phase, from a basal to an apical end, is chosen for all phases together: the intervals
with the most evidence whose ends move little from phase to phase. Between end diastole and end systole the basal end
only moves towards the apex. A basal slice whose blood covers a larger area than at end diastole shows atrium by then,
however much wall the network draws around it.

Enclosure is asked for at the base only. In the apical half of the ventricle there is no atrium, and around a cavity of
a few pixels a network often draws no wall: there, a missing wall says nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cinesax.core.presence import BaseRule
from cinesax.core.structures import Structure
from cinesax.network.passes import BORDER

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

SECTORS = 36
"""The number of equal angles around the centre in which the border of the cavity is checked for wall."""

_RING_PX = 6
"""How far outside the cavity wall is looked for, in framed pixels (7 to 10 mm): in systole networks leave a gap."""

_BASE_MOVES_MM = 22.0
"""The base moves by 10 to 20 mm. If it seems to move further, the network has missed wall."""

_SUREST_PX = 12
"""The number of highest-scoring cavity pixels of a frame whose mean says how sure the network is of blood."""

_BASE_GROWS = 1.15
"""In the basal half of the ventricle, blood of a larger area than this times that at ED is not its own. In the expert
contours of 27 patients (Sunnybrook), areas at ES are at most 0.95 of those at ED in the basal half."""

_NOTHING = 0.02

_HIGHEST = 4.0
"""The limit of evidence in log odds: a wrong network is often sure, and neighbours must be able to overrule it."""

_ENCLOSURE_WEIGHT = 12.0
_ENOUGH: Mapping[BaseRule, float] = {BaseRule.HALF: 0.5, BaseRule.WHOLE: 0.9}
"""The part of the border that must have wall."""

_WALL_SEEN = 0.8
_WALL_LOST = 0.5
"""The enclosure of well-seen slices (see `usual_enclosure`): from WALL_SEEN on, enclosure counts as it is; below, in
relation to theirs; below WALL_LOST, not at all."""

_WELL_SEEN = 75
"""Percentile over the slices of a phase: in the middle of the stack the wall is closed, at the ends it may be open."""

_FEWEST_SLICES = 3
"""With fewer slices it is not known on which side of the middle of the ventricle one lies."""

_COST_A_SLICE = 1.0
"""The cost, in log odds, of moving an end by one slice from one phase to the next, at 20 phases or more."""

_USUAL_PHASES = 20
_NEVER = 1e6


@dataclass(frozen=True, eq=False, slots=True)
class Evidence:
    """The evidence for the left ventricle in each frame; all arrays are (phase, slice).

    Attributes:
        blood: log odds that the frame shows its blood.
        enclosure: 0 to 1: the part of the cavity's border with wall outside it; nan if there is no cavity, or if the
            network does not draw the wall.
        area_px: area of the cavity.
    """

    blood: Floats
    enclosure: Floats
    area_px: Floats

    def by(self, rule: BaseRule, *, base_first: bool | None = None) -> Floats:
        """(phase, slice), log odds that the left ventricle is present by a rule.

        Args:
            rule: the rule.
            base_first: whether slice 0 is the basal end; None: the end with the larger cavities is taken as the base.
        """
        if rule is BaseRule.ANY:
            return self.blood
        wall = np.clip(_ENCLOSURE_WEIGHT * (self.enclosure - _ENOUGH[rule]), -_HIGHEST, _HIGHEST)
        # A closed wall is asked for everywhere.
        silent = (wall < 0) & _apical(self.area_px, base_first) if rule is BaseRule.HALF else np.zeros(wall.shape, bool)
        # Only doubts about the blood count: the surest blood is that of the atrium, which has no wall.
        return np.where(np.isnan(wall) | silent, self.blood, wall + np.minimum(self.blood, 0))


def evidence(regions: Mapping[Structure, NDArray[np.float32]]) -> Evidence:
    """The evidence in the scores of each frame.

    Args:
        regions: scores after cleaning by structure, (phase, slice, row, column), including the cavity.
    """
    cavity, ventricle = regions[Structure.CAVITY], regions.get(Structure.MYOCARDIUM)
    shape = cavity.shape[:2]
    blood, enclosure = np.full(shape, -_HIGHEST), np.full(shape, np.nan)
    area = np.asarray((cavity >= BORDER).sum(axis=(2, 3)), dtype=np.float64)
    for frame in np.ndindex(*shape):
        scores = cavity[frame][cavity[frame] > _NOTHING]
        # Fewer pixels than that count as if the others scored 0: a cavity of three pixels is not sure blood.
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


def usual_enclosure(seen: Evidence) -> Floats:
    """The enclosure of the well-seen slices of each phase, (phase,), 0 to 1; nan without any cavity or wall.

    It is close to 1 unless the network fails to draw the wall.
    """
    sure = np.where(seen.blood > 0, seen.enclosure, np.nan)
    usual = np.full(len(sure), np.nan)
    for phase, row in enumerate(sure):
        known = row[~np.isnan(row)]
        if len(known):
            usual[phase] = np.percentile(known, _WELL_SEEN)
    return usual


def wall_lost(seen: Evidence) -> Flags:
    """(phase,), bool: the phases in which the network drew so little wall that it says nothing about the base."""
    return np.asarray(usual_enclosure(seen) < _WALL_LOST)


def relative(seen: Evidence) -> Evidence:
    """The evidence with enclosure in relation to that of the well-seen slices of its phase; nan where that is lost."""
    usual = usual_enclosure(seen)[:, None]
    scale = np.where(usual < _WALL_SEEN, usual, 1.0)
    scale[usual < _WALL_LOST] = np.nan
    return replace(seen, enclosure=np.minimum(seen.enclosure / scale, 1.0))


def enclosed(cavity: Flags, ventricle: Flags) -> float:
    """The part of the cavity's border with wall outside it, by angle around the centre, 0 to 1.

    Args:
        cavity: (row, column), not empty.
        ventricle: (row, column), cavity and wall.
    """
    rows, columns = np.flatnonzero(cavity.any(axis=1)), np.flatnonzero(cavity.any(axis=0))
    window = tuple(slice(max(0, side[0] - _RING_PX), side[-1] + 1 + _RING_PX) for side in (rows, columns))
    inside = cavity[window]
    ring = (ndimage.distance_transform_edt(~inside) <= _RING_PX) & ~inside
    middle = np.argwhere(inside).mean(axis=0)
    down, right = (np.argwhere(ring) - middle).T
    sectors = ((np.arctan2(down, right) / (2 * np.pi) + 0.5) * SECTORS).astype(int) % SECTORS
    with_wall = np.bincount(sectors, weights=ventricle[window][ring], minlength=SECTORS) > 0
    # The ring of a cavity at the edge of the crop does not reach around it: count only the angles that it has.
    with_ring = np.bincount(sectors, minlength=SECTORS) > 0
    return int(np.count_nonzero(with_wall)) / max(1, int(np.count_nonzero(with_ring)))


def decide(seen: Evidence, *, base_first: bool | None, slice_mm: float | None = None) -> dict[BaseRule, Flags]:
    """Which frames show the left ventricle, by each rule that the evidence allows.

    A frame that counts by a stricter rule also counts by a laxer one. If the network does not draw the wall, `half` is
    the same as `any`, and `whole` is absent.

    Args:
        seen: the evidence, slices in stored order.
        base_first: whether slice 0 is the basal end; None: not known.
        slice_mm: distance between slices; None: not known.

    Returns:
        (phase, slice), bool, by rule.
    """
    upside_down = base_first is False
    systole = None if base_first is None else _systole(seen.area_px.sum(axis=1))
    chosen: dict[BaseRule, Flags] = {}
    reach = seen.blood.shape[1] if slice_mm is None or base_first is None else round(_BASE_MOVES_MM / slice_mm)
    has_wall = bool(np.any(~np.isnan(seen.enclosure)))
    grown = _grown_at_base(seen.area_px, systole, base_first)
    for rule in (BaseRule.ANY, BaseRule.HALF, BaseRule.WHOLE):
        if rule is BaseRule.WHOLE and not has_wall:
            continue
        odds = seen.by(rule if has_wall else BaseRule.ANY, base_first=base_first)
        if rule is not BaseRule.ANY:
            odds = np.where(grown, -_HIGHEST, odds)
        inside = interval(odds[:, ::-1] if upside_down else odds, systole, base_moves=max(1, reach))
        inside = inside[:, ::-1] if upside_down else inside
        laxer = chosen.get(BaseRule.HALF, chosen.get(BaseRule.ANY))
        chosen[rule] = inside if laxer is None else inside & laxer
    return chosen


def _apical(areas: Floats, base_first: bool | None) -> Flags:
    """(slice,), bool: slices on the apical side of the middle of the ventricle at ED; none in a stack of two slices.

    Args:
        areas: (phase, slice): area of the cavity.
        base_first: whether slice 0 is the basal end; None: the end with the larger cavities is taken as the base.
    """
    at_ed = areas[int(np.argmax(areas.sum(axis=1)))]
    shown, places = np.flatnonzero(at_ed > 0), np.arange(areas.shape[1])
    if len(shown) < _FEWEST_SLICES:
        return np.zeros(len(places), dtype=bool)
    if base_first is None:
        third = len(shown) // 3
        base_first = bool(at_ed[shown[:third]].sum() >= at_ed[shown[-third:]].sum())
    middle = (shown[0] + shown[-1]) / 2
    return np.asarray(places > middle if base_first else places < middle)


def _grown_at_base(areas: Floats, systole: Flags | None, base_first: bool | None) -> Flags:
    """(phase, slice), bool: frames of the basal half that show more blood than at ED: by then the slice shows atrium.

    Args:
        areas: (phase, slice): area of the cavity.
        systole: (phase,), bool: the phases to judge; later, the base is on its way back.
        base_first: whether slice 0 is the basal end; None: not known, and so is the basal half.
    """
    grown = np.zeros(areas.shape, dtype=bool)
    at_ed = areas[int(np.argmax(areas.sum(axis=1)))]
    shown = np.flatnonzero(at_ed > 0)
    if systole is None or base_first is None or len(shown) < 2:
        return grown
    places, middle = np.arange(areas.shape[1]), (shown[0] + shown[-1]) / 2
    basal = (places < middle if base_first else places > middle) & (at_ed > 0)
    return np.asarray(systole[:, None] & basal & (areas > _BASE_GROWS * at_ed))


def interval(odds: Floats, systole: Flags | None, *, base_moves: int | None = None) -> Flags:
    """The interval of slices from a basal to an apical end, in each phase, with the most evidence over all phases.

    Dynamic programming over the phases. They are a circle, so three beats in a row are solved and the middle one
    counts, whose first and last phases have neighbours too.

    Args:
        odds: (phase, slice), log odds, slice 0 towards the base.
        systole: (phase,), bool: phases in which the basal end may only move towards the apex; None: no such phases.
        base_moves: the number of slices by which the basal end may move over the beat; None: any number.

    Returns:
        (phase, slice), bool.
    """
    slices = odds.shape[1]
    if base_moves is None or base_moves >= slices - 1:
        return _interval(odds, systole)[0]
    # A limit for the whole beat is not a cost of single steps: solve once for each range of the base, take the best.
    choices = [_interval(odds, systole, (top, top + base_moves)) for top in range(slices - base_moves)]
    return max(choices, key=lambda choice: choice[1])[0]


def _interval(odds: Floats, systole: Flags | None, bases: tuple[int, int] | None = None) -> tuple[Flags, float]:
    """`interval` with its basal end within a range of slices (first, last); also gives the score of the solution."""
    phases, slices = odds.shape
    lowest, highest = bases or (0, slices - 1)
    # The states of a phase: all intervals (first, last), and one for a phase without left ventricle.
    ends = [(first, last) for first in range(lowest, highest + 1) for last in range(first, slices)]
    first, last = np.array([*ends, (-1, -1)]).T
    empty = len(ends)
    sums = np.concatenate([np.zeros((phases, 1)), np.cumsum(odds, axis=1)], axis=1)
    gain = sums[:, last + 1] - sums[:, np.maximum(first, 0)]
    gain[:, empty] = 0
    moved = np.abs(first[:, None] - first) + np.abs(last[:, None] - last)
    # To vanish costs as much as moving an end over the whole interval.
    length = last - first + 1
    moved[empty, :] = length
    moved[:, empty] = length
    moved[empty, empty] = 0
    # With few phases the ends truly move further from one to the next.
    cost = _COST_A_SLICE * min(1.0, phases / _USUAL_PHASES) * moved
    # Moves (from row to column) of the basal end towards the base, forbidden in systole. The empty state has no base.
    back = (first < first[:, None]) & (first >= 0)
    beats = 1 if phases == 1 else 3
    # The best score of all paths that end in each state, and the state before it on that path.
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
    state, total = int(np.argmax(score)), float(np.max(score))
    for step in range(beats * phases - 1, -1, -1):
        if state != empty:
            inside[step, first[state] : last[state] + 1] = True
        state = int(came_from[step, state])
    middle = phases if beats == 3 else 0
    return inside[middle : middle + phases], total


def _systole(areas: Floats) -> Flags:
    """(phase,), bool: the phases after the largest summed area up to the smallest, around the beat."""
    phases = len(areas)
    systole = np.zeros(phases, dtype=bool)
    if phases < 2 or not np.any(areas > 0):
        return systole
    largest, smallest = int(np.argmax(areas)), int(np.argmin(areas))
    steps = (smallest - largest) % phases
    # A longer interval is not systole: noise, or a base that comes and goes, has moved the extremes.
    if steps <= 0.6 * phases:
        systole[(largest + 1 + np.arange(steps)) % phases] = True
    return systole
