"""Which phases of a series make one heart beat, and whether its slices are in step with one another.

Both are seen in the areas of the cavity over time, slice by slice: headers of real-time and ungated scans do not say
it, or say it wrongly. On the network's areas of three failing hearts (Sunnybrook) and a phantom, areas one beat apart
agree by 0.9 and more where the series holds it twice, and are opposed (below 0) at all distances from a third to two
thirds of a series of one beat. Slices of these hearts are in step by 0.89 to 0.99; started anywhere in the beat, by
0.08 to 0.48.
"""

import math

import numpy as np

from cinesax.core.cine import Cine
from cinesax.core.grid import Floats
from cinesax.core.measurements import Beat

SEVERAL_BEATS = 1.5
"""A series that covers so many beats and more holds one whole beat wherever it starts, and is measured on that."""

IN_STEP = 0.75
"""Slices that are in step by less started in different parts of the beat (1 is all at once, 0 is anywhere)."""

EF_AT_STAKE_PERCENT = 5.0
"""What slices out of step take from EF must be more than this to matter: a heart that hardly moves has no step."""

_REPEATS = 0.5
_STATED_REPEATS = 0.3
_MIN_PHASES = 8
_LONGEST_PART = 2 / 3
_SAME_PERIOD = 0.2
_NOTABLE_AREA = 0.2


def find_beat(cine: Cine, areas: Floats) -> Beat:
    """The phases of one beat: all of a series that holds one beat, the most complete beat of one that holds several.

    The length of the beat is the stated RR interval where the areas repeat after it, else that after which they do.

    Args:
        cine: gives times and RR intervals.
        areas: (phase, slice), the areas of the cavity, in any unit; nan where not known.
    """
    count = len(areas)
    step, stated = _step_ms(cine), cine.rr_interval_ms
    told = stated / step if step is not None and stated is not None else None
    told = told if told is not None and count / told >= SEVERAL_BEATS else None
    if np.any(np.isnan(areas)) or count < _MIN_PHASES:
        # Contours of ED and ES alone, say: nothing repeats in two phases.
        return Beat((0, count - 1), 1.0 if told is None else count / told, stated)
    period, doubted = _period(areas, told), None
    if told is not None and period is None:
        # One beat by the areas: then it lasts as long as its phases.
        doubted, stated = stated, count * (step or 0.0)
    elif period is not None and (told is None or abs(period / told - 1) > _SAME_PERIOD):
        doubted = stated if told is not None else None
        stated = stated if step is None else period * step
    first, last = _most_complete(areas, period)
    in_step, ef, ef_in_step = _in_step(areas[first : last + 1], period)
    return Beat(
        (first, last),
        1.0 if period is None else count / period,
        stated,
        from_areas=period is not None and (told is None or doubted is not None),
        doubted_rr_ms=doubted,
        in_step=in_step,
        ef_as_stored_percent=ef,
        ef_in_step_percent=ef_in_step,
    )


def _step_ms(cine: Cine) -> float | None:
    if cine.trigger_times_ms is None or cine.n_phases < 3:
        return None
    step = float(np.median(np.diff(cine.trigger_times_ms.mean(axis=1))))
    return step if step > 0 else None


def _period(areas: Floats, told: float | None) -> float | None:
    """After how many phases the areas repeat, as told or as seen; None where they do not."""
    likeness = _likeness(areas)
    if told is not None:
        near = likeness[max(0, math.floor(told) - 1) : math.ceil(told) + 2]
        if len(near) and near.max() >= _STATED_REPEATS:
            return told
    return _seen_period(likeness)


def _seen_period(likeness: Floats) -> float | None:
    """The first distance at which areas agree again, after one at which they are opposed."""
    opposed = np.flatnonzero(likeness < 0)
    if len(opposed) == 0:
        return None
    for lag in range(max(int(opposed[0]), _MIN_PHASES - 1), int(_LONGEST_PART * len(likeness)) + 1):
        around = likeness[lag - 1 : lag + 2]
        if likeness[lag] >= _REPEATS and likeness[lag] == around.max() and len(around) == 3:
            # Between phases: the top of the parabola through the three.
            bend = around[0] - 2 * around[1] + around[2]
            return lag + (0.0 if bend == 0 else 0.5 * float((around[0] - around[2]) / bend))
    return None


def _likeness(areas: Floats) -> Floats:
    """(phase,), -1 to 1: how well areas agree with those so many phases later, over all slices by their movement.

    Slice by slice, so that slices out of step repeat as well as those in step.
    """
    count = len(areas)
    found = np.zeros(count)
    for lag in range(count - 3):
        early, late = areas[: count - lag], areas[lag:]
        early, late = early - early.mean(axis=0), late - late.mean(axis=0)
        size = math.sqrt(float((early**2).sum()) * float((late**2).sum()))
        found[lag] = 0.0 if size == 0 else float((early * late).sum()) / size
    return found


def _most_complete(areas: Floats, period: float | None) -> tuple[int, int]:
    """First and last phase of the beat in which most frames show a cavity; of as many, the first."""
    count = len(areas)
    if period is None or count / period < SEVERAL_BEATS:
        return 0, count - 1
    length = min(count, round(period))
    shown = (areas > 0).sum(axis=1)
    starts = [round(beat * period) for beat in range(int(count // period)) if round(beat * period) + length <= count]
    first = max(starts or [0], key=lambda start: int(shown[start : start + length].sum()))
    return first, first + length - 1


def _in_step(areas: Floats, period: float | None) -> tuple[bool, float | None, float | None]:
    """Whether slices empty at the same time; EF of their sums as they are, and if each is shifted to that time."""
    notable = areas.max(axis=0) > _NOTABLE_AREA * max(float(areas.max()), 1e-9)
    if len(areas) < _MIN_PHASES or np.count_nonzero(notable) < 3:
        return True, None, None
    turns = np.exp(-2j * np.pi * np.arange(len(areas)) / (period or len(areas)))
    # The first harmonic of each slice: how much it moves, and when.
    waves = (areas * turns[:, None]).sum(axis=0)
    together = waves[notable].sum()
    step = abs(together) / max(float(np.abs(waves[notable]).sum()), 1e-9)
    late = np.angle(waves * np.conj(together)) / (2 * np.pi) * len(areas)
    shifted = sum(np.roll(areas[:, place], round(float(late[place]))) for place in range(areas.shape[1]))
    stored, joined = _ef_percent(areas.sum(axis=1)), _ef_percent(np.asarray(shifted))
    return bool(step >= IN_STEP) or joined - stored < EF_AT_STAKE_PERCENT, stored, joined


def _ef_percent(curve: Floats) -> float:
    return 100 * float(curve.max() - curve.min()) / max(float(curve.max()), 1e-9)
