"""Checks of the shape of the ventricle along the stack: its ends, single slices, and the stack itself.

Each check gives at most one finding, which says how much is at stake. A correctly measured heart gives none: the limits
were tried on the truth of phantoms and on expert contours.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cinesax.core.cine import Cine
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.grid import Floats, Grid
from cinesax.core.measurements import Measurements, volume_curve
from cinesax.core.presence import BaseRule
from cinesax.core.segmentation import Segmentation, area_px
from cinesax.core.structures import Structure

END_AREA_PART = 0.15
"""An end slice of the stack with a larger cavity than this part of the largest one shows more than the tip."""

CUT_PART_OF_EDV = 0.04
"""A smaller part of EDV beyond the stack is not reported."""

CLOSED = 0.9
"""If at least this part of the border has wall, more ventricle lies beyond; a more open slice is the base itself."""

FULL_AREA_PART = 0.85
"""If the wall is not known: a basal area at least this large has not begun to close, and more ventricle lies beyond."""

ABRUPT_PART = 0.4
"""If the ventricle ends within the stack in a larger apical slice than this part of the largest, slices are missing."""

GROWS_PART, GROWS_MM2 = 0.25, 60.0
"""An apical slice grows if it is larger at ES than at ED by both."""

UNSURE_LOG_ODDS = 0.7
"""The network is unsure of a slice below these log odds (a chance of 67 %)."""

UNSURE_POINTS, UNSURE_PART = 3.0, 0.10
"""An unsure slice is reported if the other decision changes EF by more points, or EDV or ESV by a larger part."""

BASE_POINTS = 5.0
"""Reported if EF by the rules HALF and ANY differs by more points."""

BASE_PART_OF_SV = 0.5
"""Reported if the basal slice holds a larger part of the stroke volume. Such hearts move their base by less than a
slice, and the sum of slices sees a whole slice of it, or nothing. On the truth masks of 40 phantoms, EF is off by 3.7
to 6.8 points in the twelve above this limit, and by at most 4.4 in the others (root mean square 5.4 and 2.5)."""

BASE_POINTS_A_PERCENT = 0.4
"""The usual error of EF, in points for each percent of EDV in the basal slice: the base at ED and at ES lies anywhere
within a slice (the standard deviation of the difference of two uniform values)."""

FAR_APART_MM = 12.5
"""Reported if slices are further apart, centre to centre; usual are 8 to 10 mm."""

SHIFT_MM = 4.0
"""Reported if the centre of a slice is further from the middle of its neighbours': the breath was held differently."""

MASS_PART = 0.2
"""Muscle does not vanish: its mass at ED and ES is the same, up to errors of this part."""


def check_shape(cine: Cine, segmentation: Segmentation, measurements: Measurements) -> Iterator[Finding]:
    """All findings about the shape, in the order of the checks.

    Args:
        cine: the exam.
        segmentation: of that exam.
        measurements: of that segmentation.
    """
    if measurements.ed_phase is None or cine.n_slices < 3:
        return
    yield from _at_stack_end(cine, segmentation, measurements)
    yield from _ends_abruptly(cine, measurements)
    if not measurements.phases_reversed:
        # Otherwise these would only say the same once more.
        yield from _apex_grows(cine, measurements)
        yield from _unsure(segmentation, measurements)
        yield from _depends_on_base_rule(measurements)
        yield from _base_between_slices(cine, measurements)
    yield from _far_apart(cine)
    yield from _shifted(cine, segmentation, measurements)
    yield from _mass_differs(measurements)


def _at_stack_end(cine: Cine, segmentation: Segmentation, m: Measurements) -> Iterator[Finding]:
    ed = m.ed_phase
    if ed is None:
        return
    areas = m.cavity_areas_px[ed]
    for index, neighbour, is_base in (
        (0, 1, cine.base_first),
        (cine.n_slices - 1, cine.n_slices - 2, cine.base_first is False),
    ):
        if areas[index] <= END_AREA_PART * areas.max() or (is_base and _is_the_base(segmentation, areas, ed, index)):
            continue
        # Towards the apex the ventricle continues as a cone at most; towards the base, by half a slice on average.
        stake = _ml(m, areas[index]) if m.slice_extents_mm is not None else None
        stake_ml = None if stake is None else stake[index] * _beyond(areas, index, neighbour, is_base=bool(is_base))
        if stake_ml is not None and m.edv_ml and stake_ml < CUT_PART_OF_EDV * m.edv_ml:
            continue
        end = "an" if cine.base_first is None else "the basal" if is_base else "the apical"
        about = "" if stake_ml is None else " (about {ml_at_stake:.0f} ml)"
        sentence = (
            f"at ED the cavity reaches {end} end slice of the stack: part of the ventricle{about} may lie outside"
        )
        numbers = {"area_px": float(areas[index]), "largest_area_px": float(areas.max())}
        numbers |= {} if stake_ml is None else {"ml_at_stake": float(stake_ml)}
        yield Finding(Code.LV_AT_STACK_END, Severity.WARNING, sentence, ed, index, numbers=numbers)


def _is_the_base(segmentation: Segmentation, areas: Floats, phase: int, index: int) -> bool:
    """Whether a basal slice shows the end of the ventricle: its wall is open, or its area has begun to close."""
    presence = segmentation.presence
    enclosure = np.nan if presence is None else presence.enclosure[phase, index]
    return bool(areas[index] < FULL_AREA_PART * areas.max() if np.isnan(enclosure) else enclosure < CLOSED)


def _ml(m: Measurements, area_px: float) -> Floats | None:
    """(slice,), ml: the volume of this area in each slice; None if there are no volumes."""
    if m.cavity_areas_mm2 is None or m.slice_extents_mm is None:
        return None
    positive = m.cavity_areas_px > 0
    if not np.any(positive):
        return None
    mm2_a_px = float(m.cavity_areas_mm2[positive][0] / m.cavity_areas_px[positive][0])
    return np.asarray(area_px * mm2_a_px * m.slice_extents_mm / 1000)


def _beyond(areas: Floats, index: int, neighbour: int, *, is_base: bool) -> float:
    """The volume beyond the stack, roughly, in multiples of the end slice's volume."""
    if is_base:
        return 0.5
    # The area falls linearly to 0 (hence / 2). Half of the end slice's extent is still inside the stack (hence - 0.5).
    falls = float(areas[neighbour] - areas[index])
    slices_left = min(3.0, areas[index] / falls) if falls > 0 else 3.0
    return max(0.0, (slices_left - 0.5) / 2)


def _counted(m: Measurements, cine: Cine, phase: int) -> list[int]:
    """The slices with a cavity at a phase, from base to apex; in stored order if the base is not known."""
    slices = [int(index) for index in np.flatnonzero(m.cavity_areas_px[phase] > 0)]
    return slices[::-1] if cine.base_first is False else slices


def _ends_abruptly(cine: Cine, m: Measurements) -> Iterator[Finding]:
    ed = m.ed_phase
    counted = [] if ed is None else _counted(m, cine, ed)
    if ed is None or cine.base_first is None or len(counted) < 2:
        return
    last = counted[-1]
    # One empty slice is no proof that the scan went past the apex: the tip may lie between the two.
    empty = cine.n_slices - 1 - last if cine.base_first else last
    areas = m.cavity_areas_px[ed]
    if empty < 2 or areas[last] <= ABRUPT_PART * areas.max():
        return
    sentence = (
        "at ED the cavity of the last slice towards the apex has {percent:.0f} % of the largest area, and the {empty} "
        "slices beyond it have none: contours may be missing at the apex"
    )
    numbers = {"percent": 100 * float(areas[last] / areas.max()), "empty": empty}
    yield Finding(Code.ABRUPT_END, Severity.WARNING, sentence, ed, last, numbers=numbers)


def _apex_grows(cine: Cine, m: Measurements) -> Iterator[Finding]:
    if cine.base_first is None or m.ed_phase is None or m.es_phase is None or m.cavity_areas_mm2 is None:
        return
    counted = _counted(m, cine, m.ed_phase)
    apical = counted[len(counted) // 2 :]
    ed, es = m.cavity_areas_mm2[m.ed_phase], m.cavity_areas_mm2[m.es_phase]
    grown = [index for index in apical if es[index] - ed[index] > max(GROWS_MM2, GROWS_PART * ed[index])]
    if not grown:
        return
    worst = max(grown, key=lambda index: float(es[index] - ed[index]))
    sentence = (
        "an apical slice is larger at ES ({es_mm2:.0f} mm²) than at ED ({ed_mm2:.0f} mm²): check its contours at ED"
    )
    numbers = {"ed_mm2": float(ed[worst]), "es_mm2": float(es[worst])}
    yield Finding(Code.APEX_GROWS, Severity.WARNING, sentence, m.es_phase, worst, numbers=numbers)


def _unsure(segmentation: Segmentation, m: Measurements) -> Iterator[Finding]:
    presence = segmentation.presence
    if presence is None:
        return
    # Only ED and ES: EF depends on no other phase.
    stakes = [
        stake
        for phase in (m.ed_phase, m.es_phase)
        if phase is not None
        for index in range(presence.certainty.shape[1])
        if (stake := _other_decision(segmentation, m, phase, index)) is not None
    ]
    if not stakes:
        return
    worst = max(stakes, key=lambda stake: (stake.points, stake.numbers["percent_at_stake"]))
    name = "ED" if worst.phase == m.ed_phase else "ES"
    counts = "counts" if worst.counts else "does not count"
    other = "did not count" if worst.counts else "counted"
    # Both parts: a strong heart may lose a tenth of its ESV by this slice, and hardly any EF.
    what = (
        "{ml_at_stake:.0f} ml ({percent_at_stake:.0f} %)"
        if "ml_at_stake" in worst.numbers
        else "{percent_at_stake:.0f} % of the area"
    )
    so = f", and {what} depend on that"
    if "ef_percent" in worst.numbers:
        so += f". EF is {{ef_percent:.1f}} %; if the slice {other}, EF would be {{other_ef_percent:.1f}} %"
    sentence = f"it is not certain whether this slice shows the left ventricle at {name}: it {counts}{so}"
    numbers = {**worst.numbers, "slices": len(stakes)}
    yield Finding(Code.UNSURE_SLICE, Severity.WARNING, sentence, worst.phase, worst.index, numbers=numbers)


@dataclass(frozen=True, slots=True)
class _Stake:
    """A slice at ED or ES of which the network is unsure, whether it counts, and what depends on that."""

    phase: int
    index: int
    counts: bool
    points: float
    numbers: dict[str, float]


def _other_decision(segmentation: Segmentation, m: Measurements, phase: int, index: int) -> _Stake | None:
    """What depends on an unsure slice; None if the network is sure of it, a person drew it, or little depends on it."""
    presence = segmentation.presence
    if presence is None or any((phase, index) == (at, place) for _, at, place in segmentation.origins):
        return None
    counts = bool(presence.inside[presence.rule][phase, index])
    # Below 0 if neighbouring frames have overruled the network's own opinion of this one.
    if presence.certainty[phase, index] * (1 if counts else -1) >= UNSURE_LOG_ODDS:
        return None
    area = m.cavity_areas_px[phase, index] or _set_aside_px(segmentation, phase, index)
    ml = _ml(m, area)
    curve = volume_curve(m.cavity_areas_px, m.volumes_ml)
    size = float(area if ml is None else ml[index]) * (-1 if counts else 1)
    now = float(curve[phase])
    part = abs(size) / now if now > 0 else 0.0
    numbers = {"percent_at_stake": 100 * part} | ({} if ml is None else {"ml_at_stake": abs(size)})
    points, ef = 0.0, m.ef_percent
    if ef is not None and m.ed_phase is not None and m.es_phase is not None:
        ed, es = (float(curve[at]) + (size if at == phase else 0.0) for at in (m.ed_phase, m.es_phase))
        other = 100 * (ed - es) / ed if ed > 0 else 0.0
        points = abs(other - ef)
        numbers |= {"ef_percent": ef, "other_ef_percent": other}
    return _Stake(phase, index, counts, points, numbers) if points > UNSURE_POINTS or part > UNSURE_PART else None


def _set_aside_px(segmentation: Segmentation, phase: int, index: int) -> float:
    presence = segmentation.presence
    return 0.0 if presence is None else area_px(presence.set_aside.get((Structure.CAVITY, phase, index), ()))


def _depends_on_base_rule(m: Measurements) -> Iterator[Finding]:
    efs = {volumes.rule: volumes.ef_percent for volumes in m.by_base_rule}
    half, every = efs.get(BaseRule.HALF), efs.get(BaseRule.ANY)
    if half is None or every is None or abs(half - every) <= BASE_POINTS:
        return
    sentence = (
        "the ejection fraction depends on which slices count at the base: {half_percent:.0f} % with those whose blood "
        "is half surrounded by wall, {any_percent:.0f} % with every slice that has blood"
    )
    numbers = {"half_percent": half, "any_percent": every}
    yield Finding(Code.BASE_MATTERS, Severity.WARNING, sentence, numbers=numbers)


def _base_between_slices(cine: Cine, m: Measurements) -> Iterator[Finding]:
    if cine.base_first is None or m.ed_phase is None or not m.edv_ml or m.sv_ml is None:
        return
    index = _counted(m, cine, m.ed_phase)[0]
    ml = _ml(m, m.cavity_areas_px[m.ed_phase, index])
    if ml is None or ml[index] <= BASE_PART_OF_SV * abs(m.sv_ml):
        return
    sentence = (
        "the basal slice holds {slice_ml:.0f} ml beside a stroke volume of {sv_ml:.0f} ml, and counts as a whole or "
        "not at all, wherever in it the ventricle ends: EF may be off by about {points:.0f} points"
    )
    points = BASE_POINTS_A_PERCENT * 100 * float(ml[index]) / m.edv_ml
    numbers = {"slice_ml": float(ml[index]), "sv_ml": m.sv_ml, "points": points}
    yield Finding(Code.BASE_BETWEEN_SLICES, Severity.NOTE, sentence, m.ed_phase, index, numbers=numbers)


def _far_apart(cine: Cine) -> Iterator[Finding]:
    apart = None if cine.grid is None else cine.grid.slice_distance_mm
    if apart is None or apart <= FAR_APART_MM:
        return
    sentence = "slices are {distance_mm:.1f} mm apart, centre to centre: volumes are coarse"
    yield Finding(Code.SLICES_FAR_APART, Severity.WARNING, sentence, numbers={"distance_mm": apart})


def _shifted(cine: Cine, segmentation: Segmentation, m: Measurements) -> Iterator[Finding]:
    if cine.grid is None or m.ed_phase is None:
        return
    centres = _centres_mm(cine.grid, segmentation, m.ed_phase)
    counted = [index for index in _counted(m, cine, m.ed_phase) if index in centres]
    if len(counted) < 5:
        return
    # The ends always lie off the axis: the base opens to one side, and the tip is too small for a stable centre.
    off = {
        index: float(np.linalg.norm(centres[index] - (centres[before] + centres[after]) / 2))
        for before, index, after in zip(counted[1:], counted[2:], counted[3:-1], strict=False)
    }
    worst = max(off, key=lambda index: off[index], default=None)
    if worst is None or off[worst] <= SHIFT_MM:
        return
    sentence = (
        "at ED the centre of the ventricle in this slice lies {off_mm:.0f} mm off the line between its neighbours: "
        "the breath may have been held differently"
    )
    numbers = {"off_mm": off[worst]}
    yield Finding(Code.BREATHING_SHIFT, Severity.WARNING, sentence, m.ed_phase, worst, numbers=numbers)


def _centres_mm(grid: Grid, segmentation: Segmentation, phase: int) -> dict[int, Floats]:
    """Centre of the ventricle (of the cavity if there is no wall) by slice, LPS, without the part along the stack."""
    centres = {}
    for index in range(grid.shape[0]):
        inside = np.isin(segmentation.labels[phase, index], Structure.MYOCARDIUM.region)
        if inside.any():
            row, column = np.argwhere(inside).mean(axis=0)
            place = grid.to_patient((index, row, column))
            centres[index] = place - (place @ grid.normal) * grid.normal
    return centres


def _mass_differs(m: Measurements) -> Iterator[Finding]:
    ed, es = m.lv_mass_g, m.lv_mass_es_g
    if not ed or es is None or abs(es - ed) <= MASS_PART * ed:
        return
    sentence = (
        "the myocardium has {ed_g:.0f} g at ED and {es_g:.0f} g at ES, but muscle does not vanish: check the epicardium"
    )
    yield Finding(Code.MASS_DIFFERS, Severity.WARNING, sentence, numbers={"ed_g": ed, "es_g": es})
