"""Which phases of a series make up one heart beat, and whether its slices are in step.

Both follow from the areas of the cavity over time, slice by slice, because headers of real-time and ungated scans are
silent or wrong about them. The thresholds rest on the network's areas of three failing hearts (Sunnybrook) and a
phantom. If a series holds a beat twice, areas one beat apart correlate by 0.9 or more; in a series of one beat, areas a
third to two thirds of the series apart correlate negatively. Gated slices are in step by 0.89 to 0.99; slices that
start anywhere in the beat, by 0.08 to 0.48.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cinesax.core.cine import Cine
from cinesax.core.grid import Floats
from cinesax.core.measurements import Beat

SEVERAL_BEATS = 1.5
"""A series of at least this many beats is measured on one of them. (A shorter one is measured as a whole.)"""

IN_STEP = 0.75
"""Slices with a lower value start in different parts of the beat (1: all together, 0: anywhere)."""

EF_AT_STAKE_PERCENT = 5.0
"""Slices count as out of step only if EF changes by at least this: a heart that hardly moves has no clear timing."""

NOTABLE_EF_PERCENT = 1.0
"""If EF rises by more than this without uneven timing, it is probably wrong by about 2 points: slices that are too
early or too late also pull the trend that they are compared with. Four gated exams (sax-heart 5): -1.0, 0.1, 0.9, and
1.9 in SC-HF-I-01, where the network draws basal frames that the experts leave empty."""

_REPEATS = 0.5
# A stated RR interval needs less evidence than one that only the areas show.
_STATED_REPEATS = 0.3
_MIN_PHASES = 8
# A longer period would not have half a beat more to repeat in (SEVERAL_BEATS).
_LONGEST_PART = 2 / 3
_SAME_PERIOD = 0.2
_NOTABLE_AREA = 0.2
# A slice with a cavity in fewer phases than this is one that the base leaves; a few lost contours are not.
_PRESENT = 0.75
# If all but one slice are this much in step, that one is alone; with fewer slices, the others are often so by chance.
_ALL_BUT_ONE = 0.9
_ENOUGH_SLICES = 6
_NOTABLE_LOSS = 0.08
"""Of the largest area: smaller cavities at the apex come and go."""


def find_beat(cine: Cine, areas: Floats) -> Beat:
    """The beat to measure: the whole series if it holds one beat, else its most complete beat.

    The beat lasts as long as the stated RR interval if the areas repeat after it, else as long as the areas say.

    Args:
        cine: gives times and RR intervals.
        areas: (phase, slice): the areas of the cavity, in any unit; nan if not known.
    """
    count = len(areas)
    step, stated = _step_ms(cine), cine.rr_interval_ms
    # In phases. Only an interval much shorter than the series means that it holds several beats: stated intervals are
    # often a little off, and cutting the series at one that is too short would lose phases.
    stated_period = stated / step if step is not None and stated is not None else None
    if stated_period is not None and count / stated_period < SEVERAL_BEATS:
        stated_period = None
    if np.any(np.isnan(areas)) or count < _MIN_PHASES:
        # For example contours at ED and ES only: two phases show no repetition.
        return Beat((0, count - 1), 1.0 if stated_period is None else count / stated_period, stated)
    period, doubted = _period(areas, stated_period), None
    if stated_period is not None and period is None:
        # The areas show one beat, so it lasts as long as the series.
        doubted, stated = stated, count * (step or 0.0)
    elif period is not None and (stated_period is None or abs(period / stated_period - 1) > _SAME_PERIOD):
        doubted = stated if stated_period is not None else None
        stated = stated if step is None else period * step
    first, last = _most_complete(areas, period)
    timing = _in_step(areas[first : last + 1], period)
    return Beat(
        (first, last),
        1.0 if period is None else count / period,
        stated,
        from_areas=period is not None and (stated_period is None or doubted is not None),
        doubted_rr_ms=doubted,
        in_step=timing.together,
        ef_as_stored_percent=timing.ef_as_stored,
        ef_in_step_percent=timing.ef_in_step,
        ef_evened_percent=timing.ef_evened,
    )


def _step_ms(cine: Cine) -> float | None:
    if cine.trigger_times_ms is None or cine.n_phases < 3:
        return None
    step = float(np.median(np.diff(cine.trigger_times_ms.mean(axis=1))))
    return step if step > 0 else None


def _period(areas: Floats, stated: float | None) -> float | None:
    """The number of phases after which the areas repeat: `stated` if they do so there; None if they do not repeat."""
    correlation = _autocorrelation(areas)
    if stated is not None:
        near = correlation[max(0, math.floor(stated) - 1) : math.ceil(stated) + 2]
        if len(near) and near.max() >= _STATED_REPEATS:
            return stated
    return _period_from_areas(correlation)


def _period_from_areas(correlation: Floats) -> float | None:
    """The first lag at which areas correlate again after they have been opposed; None if there is none."""
    # Neighbouring phases always correlate: a peak means a new beat only after a lag at which the areas are opposed.
    opposed = np.flatnonzero(correlation < 0)
    if len(opposed) == 0:
        return None
    for lag in range(max(int(opposed[0]), _MIN_PHASES - 1), int(_LONGEST_PART * len(correlation)) + 1):
        around = correlation[lag - 1 : lag + 2]
        if correlation[lag] >= _REPEATS and correlation[lag] == around.max() and len(around) == 3:
            # A beat is no whole number of phases: take the top of the parabola through the three values.
            bend = around[0] - 2 * around[1] + around[2]
            return lag + (0.0 if bend == 0 else 0.5 * float((around[0] - around[2]) / bend))
    return None


def _autocorrelation(areas: Floats) -> Floats:
    """(lag,), -1 to 1: the correlation of the areas with those `lag` phases later, over all slices.

    The mean is taken off in each slice, not off the sum of the slices: the sum of slices out of step hardly moves, but
    each of them repeats. Slices that move more weigh more.
    """
    count = len(areas)
    correlation = np.zeros(count)
    # With fewer than four pairs of phases, noise correlates as well as a beat: those lags stay 0.
    for lag in range(count - 3):
        early, late = areas[: count - lag], areas[lag:]
        early, late = early - early.mean(axis=0), late - late.mean(axis=0)
        size = math.sqrt(float((early**2).sum()) * float((late**2).sum()))
        correlation[lag] = 0.0 if size == 0 else float((early * late).sum()) / size
    return correlation


def _most_complete(areas: Floats, period: float | None) -> tuple[int, int]:
    """First and last phase of the beat with the most frames that show a cavity; the first such beat if several tie."""
    count = len(areas)
    if period is None or count / period < SEVERAL_BEATS:
        return 0, count - 1
    length = min(count, round(period))
    # Free-breathing series lose the heart in some beats, and their volumes would be too small there.
    shown = (areas > 0).sum(axis=1)
    starts = [round(beat * period) for beat in range(int(count // period)) if round(beat * period) + length <= count]
    first = max(starts or [0], key=lambda start: int(shown[start : start + length].sum()))
    return first, first + length - 1


@dataclass(frozen=True, slots=True)
class _Step:
    """Whether the slices empty together, and EF (%) from the sums of their areas: as stored, and shifted in time."""

    together: bool = True
    ef_as_stored: float | None = None
    ef_in_step: float | None = None
    ef_evened: float | None = None


def _in_step(areas: Floats, period: float | None) -> _Step:
    """Whether the slices empty at the same time, and EF with the slices shifted so that they do.

    Args:
        areas: (phase, slice), of one beat.
        period: its length in phases; None if it is the whole series.
    """
    # A contour that is missing in one phase says nothing about time.
    beside = (np.roll(areas, 1, axis=0) + np.roll(areas, -1, axis=0)) / 2
    areas = np.where(lost_frames(areas), beside, areas)
    # A slice without a cavity in many phases has the timing of the base that moves through it, or of the person who
    # moved the base, not that of its own emptying. The smallest slices (apex) have no reliable timing either.
    large = areas.max(axis=0) > _NOTABLE_AREA * max(float(areas.max()), 1e-9)
    whole = np.mean(areas > 0, axis=0) >= _PRESENT
    if np.count_nonzero(whole & large) < max(3, np.count_nonzero(large) / 2):
        whole = np.ones_like(whole)
    notable = np.flatnonzero(whole & large)
    if len(areas) < _MIN_PHASES or len(notable) < 3:
        return _Step()
    turns = np.exp(-2j * np.pi * np.arange(len(areas)) / (period or len(areas)))
    # The first harmonic of each slice says how much it moves (size) and when (angle). Slices in step add up to the sum
    # of their sizes; slices that start anywhere cancel each other.
    waves = (areas * turns[:, None]).sum(axis=0)
    together = waves[notable].sum()
    step = _together(waves[notable])
    # One slice alone is a wrong contour or a repeated breath-hold (APEX_GROWS and the warning are about it), and not
    # a stack without gating.
    alone = len(notable) >= _ENOUGH_SLICES and any(
        _together(np.delete(waves[notable], place)) >= _ALL_BUT_ONE for place in range(len(notable))
    )
    early = np.where(whole, np.angle(waves * np.conj(together)), 0.0)
    stored, joined = _ef_percent(areas), _ef_shifted_percent(areas, early)
    # A failing heart truly empties from one end to the other: such a drift stays. Timing that does not follow it shows
    # when each slice was started.
    uneven = np.zeros_like(early)
    weights = np.sqrt(np.abs(waves[notable]))
    if len(notable) > 3 and np.count_nonzero(weights) > 1:
        drift = np.polynomial.Polynomial.fit(notable, early[notable], 1, w=weights)
        uneven[notable] = early[notable] - drift(notable)
    evened = _ef_shifted_percent(areas, uneven)
    apart = step < IN_STEP and joined - stored >= EF_AT_STAKE_PERCENT
    in_step = alone or (not apart and evened - stored < EF_AT_STAKE_PERCENT)
    return _Step(in_step, stored, joined, evened)


def _together(waves: NDArray[np.complex128]) -> float:
    """How far slices are in step, 0 to 1, from their first harmonics (slice,)."""
    return abs(complex(waves.sum())) / max(float(np.abs(waves).sum()), 1e-9)


def lost_frames(areas: Floats) -> NDArray[np.bool_]:
    """(phase, slice), bool: no cavity although the phases before and after have a large one in the same slice.

    Args:
        areas: (phase, slice), of one beat, whose last phase is followed by its first one; nan if not known.
    """
    beside = np.minimum(np.roll(areas, 1, axis=0), np.roll(areas, -1, axis=0))
    return np.asarray((areas == 0) & (beside > _NOTABLE_LOSS * np.nanmax(areas, initial=0.0)))


def _later(areas: Floats, early: Floats) -> Floats:
    """(..., phase, slice): the areas (phase, slice) with each slice shifted later around the beat.

    Args:
        areas: of one beat, whose last phase is followed by its first one.
        early: (..., slice), the angles in radians.
    """
    count, slices = areas.shape
    # All shifts at once: np.interp, slice by slice, took a third of the time in which EF follows the pointer.
    places = np.arange(count)[:, None] - (early / (2 * np.pi) * count)[..., None, :]
    before = np.floor(places).astype(int)
    part = places - before
    which = np.arange(slices)
    return np.asarray(areas[before % count, which] * (1 - part) + areas[(before + 1) % count, which] * part)


def _ef_shifted_percent(areas: Floats, early: Floats) -> float:
    """EF with each slice shifted later by its angle.

    Interpolating between phases cuts off peaks. A common extra shift of all slices does not matter, so the one that
    keeps most of the peaks is used.
    """
    phase = 2 * np.pi / len(areas)
    shifts = np.arange(-0.5, 0.5, 0.125) * phase
    return max(_ef_percent(shifted) for shifted in _later(areas, early + shifts[:, None]))


def _ef_percent(areas: Floats) -> float:
    """EF (%) from the sums over the slices of (phase, slice)."""
    curve = areas.sum(axis=1)
    return 100 * float(curve.max() - curve.min()) / max(float(curve.max()), 1e-9)
