"""What a reader should doubt in a result, and why.

Each check looks for one thing that a person would want to see for themselves before they trust the numbers, and gives
at most one finding. A clean exam gives none.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from cinesax.core.cine import Cine
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.grid import Floats
from cinesax.core.measurements import Beat, Measurements
from cinesax.core.origins import Origin
from cinesax.core.segmentation import Polygons, Segmentation, coverage
from cinesax.core.structures import LV, Structure
from cinesax.measure.beats import EF_AT_STAKE_PERCENT, NOTABLE_EF_PERCENT, SEVERAL_BEATS, lost_frames
from cinesax.measure.shape import check_shape
from cinesax.measure.volumes import BODY_LIMITS, MYOCARDIAL_DENSITY_G_PER_ML, areas_of

PLAUSIBLE = {
    "ef_percent": ("the ejection fraction", 5.0, 85.0, "%"),
    "edv_ml": ("the end-diastolic volume", 30.0, 600.0, "ml"),
    "esv_ml": ("the end-systolic volume", 2.0, 550.0, "ml"),
    "sv_ml": ("the stroke volume", 5.0, 250.0, "ml"),
    "heart_rate_bpm": ("the heart rate", 25.0, 220.0, "/min"),
    "cardiac_output_l_per_min": ("the cardiac output", 0.5, 25.0, "l/min"),
    "peak_ejection_rate_ml_per_s": ("the peak ejection rate", 0.0, 2000.0, "ml/s"),
    "peak_filling_rate_ml_per_s": ("the peak filling rate", 0.0, 2000.0, "ml/s"),
    "lv_mass_g": ("the myocardial mass", 20.0, 600.0, "g"),
}
"""The range of almost all adult hearts, including those of athletes and failing ones.

A rate outside its range means wrong time units: no heart empties in a few ms.
"""

_OF_ED_AND_ES = ("ef_percent", "edv_ml", "esv_ml", "sv_ml", "cardiac_output_l_per_min")

_FEWEST_IN_TIME, _MOST_LOST = 8, 2
JUMP_OF_EDV = 0.17
JUMP_OF_STROKE = 0.25
"""A volume jumps if it differs by more than both (parts of EDV and of stroke volume) from the mean of its neighbours.

A basal slice that comes and goes with the beat makes true volumes jump by 4 to 8 % of EDV, in small hearts by 16 %
(measured on the truth of 60 phantoms).
"""

SAID_ONCE = {
    Code.APEX_BASE_UNKNOWN,
    Code.NO_LV_FOUND,
    Code.PARTIAL_SEGMENTATION,
    Code.UNKNOWN_HEART_RATE,
    Code.UNKNOWN_SPACING,
}
"""Codes that are not repeated if the cine or the segmentation already has a finding with them."""


def check(cine: Cine, segmentation: Segmentation, measurements: Measurements) -> tuple[Finding, ...]:
    """All findings about a result, in the order of the checks.

    Args:
        cine: the exam; its own findings are not repeated.
        segmentation: of that exam.
        measurements: of that segmentation.
    """
    findings = [
        *_no_lv(measurements),
        *_beat(measurements),
        *_partial(segmentation, measurements),
        *_two_phases(cine, measurements),
        *_reversed(measurements),
        *_wall_without_cavity(cine, segmentation, measurements),
        *_endocardium_outside(cine, segmentation, measurements),
        *_gap_inside(measurements),
        *_gap_in_time(cine, measurements),
        *check_shape(cine, segmentation, measurements),
        *_volume_jump(measurements),
        *_implausible(cine, measurements),
        *_overridden(measurements),
        *_unknowns(cine, measurements),
    ]
    said = {finding.code for finding in (*cine.findings, *segmentation.findings)}
    return tuple(finding for finding in findings if finding.code not in said & SAID_ONCE)


def _no_lv(measurements: Measurements) -> Iterator[Finding]:
    if measurements.curve_ed_phase is None and (measurements.beat is None or measurements.beat.in_step):
        known = int(np.count_nonzero(~np.isnan(measurements.cavity_areas_px[:, 0])))
        sentence = "no left ventricle was found in any slice of the {phases} segmented phases: there are no volumes"
        yield Finding(Code.NO_LV_FOUND, Severity.ERROR, sentence, numbers={"phases": known})


def _beat(measurements: Measurements) -> Iterator[Finding]:
    beat = measurements.beat
    if beat is None:
        return
    if not beat.in_step and beat.ef_in_step_percent is not None and beat.ef_as_stored_percent is not None:
        sentence = (
            "slices show different parts of the heart beat in the same phase (they were probably not gated): there "
            "are no volumes and no ejection fraction. It would be {ef_as_stored_percent:.0f} % from the areas as "
            "stored, and about {ef_in_step_percent:.0f} % with each slice shifted in time to empty with the others"
        )
        numbers = {"ef_as_stored_percent": beat.ef_as_stored_percent, "ef_in_step_percent": beat.ef_in_step_percent}
        yield Finding(Code.SLICES_OUT_OF_STEP, Severity.ERROR, sentence, numbers=numbers)
    yield from _uneven(beat)
    facts = {"beats": beat.beats, "first_phase": beat.phases[0], "last_phase": beat.phases[1]}
    length = {} if beat.rr_interval_ms is None else {"rr_interval_ms": beat.rr_interval_ms}
    if beat.beats >= SEVERAL_BEATS and len(measurements.cavity_areas_px) > beat.phases[1] - beat.phases[0] + 1:
        by = "the areas of the cavity" if beat.from_areas else "the stated RR interval"
        lasting = " of {rr_interval_ms:.0f} ms" if length else ""
        sentence = (
            f"the series holds {{beats:.1f}} heart beats{lasting} by {by}: the beat of phases {{first_phase}} to "
            "{last_phase} is measured"
        )
        severity = Severity.WARNING if beat.from_areas else Severity.NOTE
        yield Finding(Code.SEVERAL_BEATS, severity, sentence, beat.phases[0], numbers=facts | length)
    if beat.doubted_rr_ms is not None and length:
        sentence = (
            "the stated RR interval of {stated_rr_ms:.0f} ms does not fit the areas of the cavity, which repeat after "
            "{rr_interval_ms:.0f} ms: heart rate, output and rates use the latter"
        )
        numbers = {"stated_rr_ms": beat.doubted_rr_ms} | length
        yield Finding(Code.DOUBTFUL_RR, Severity.WARNING, sentence, numbers=numbers)


def _uneven(beat: Beat) -> Iterator[Finding]:
    """A finding for slices that are partly out of step, if EF depends on it."""
    stored, joined, evened = beat.ef_as_stored_percent, beat.ef_in_step_percent, beat.ef_evened_percent
    if not beat.in_step or stored is None or joined is None or evened is None:
        return
    if evened - stored <= NOTABLE_EF_PERCENT and joined - stored < EF_AT_STAKE_PERCENT:
        return
    sentence = (
        "slices seem to be partly out of step (were they gated?): EF is {ef_as_stored_percent:.0f} % from the areas as "
        "stored, and up to {ef_in_step_percent:.0f} % with each slice shifted in time to empty with the others"
    )
    numbers = {"ef_as_stored_percent": stored, "ef_in_step_percent": max(joined, evened)}
    yield Finding(Code.SLICES_OUT_OF_STEP, Severity.WARNING, sentence, numbers=numbers)


def _partial(segmentation: Segmentation, measurements: Measurements) -> Iterator[Finding]:
    known = np.flatnonzero(segmentation.known_phases[Structure.CAVITY])
    total = segmentation.labels.shape[0]
    if len(known) == 1:
        sentence = (
            "only phase {segmented_phase} of {phases} was segmented: there is one volume and no ejection fraction"
        )
        numbers = {"segmented_phase": int(known[0]), "segmented": 1, "phases": total}
        yield Finding(Code.PARTIAL_SEGMENTATION, Severity.WARNING, sentence, phase=int(known[0]), numbers=numbers)
    elif len(known) < total:
        listed = f"phases {', '.join(map(str, known))}" if len(known) <= 4 else f"{len(known)} phases"
        sentence = "only {listed} of {phases} were segmented: ED and ES are chosen among these"
        numbers = {"segmented": len(known), "phases": total}
        yield Finding(Code.PARTIAL_SEGMENTATION, Severity.NOTE, sentence, numbers=numbers, texts={"listed": listed})
    missing = _slices_without_wall(segmentation, measurements.ed_phase)
    if missing and measurements.lv_mass_g is not None:
        sentence = "at ED, slices {listed} have a cavity but no myocardium: the myocardial mass is too small"
        yield Finding(
            Code.PARTIAL_SEGMENTATION,
            Severity.WARNING,
            sentence,
            measurements.ed_phase,
            missing[0],
            numbers={"slices": len(missing)},
            texts={"listed": ", ".join(map(str, missing))},
        )


def _two_phases(cine: Cine, measurements: Measurements) -> Iterator[Finding]:
    if cine.n_phases == 2 and measurements.ef_percent is not None:
        message = "the exam has two phases: EF assumes that these are ED and ES, which no curve confirms"
        yield Finding(Code.TWO_PHASES, Severity.NOTE, message)


def _reversed(measurements: Measurements) -> Iterator[Finding]:
    """A finding for the LV; for the other chambers only if the LV is not reversed: it would say the same once more."""
    for m in (measurements,) if measurements.phases_reversed else measurements.others:
        if m.phases_reversed and m.ed_phase is not None and m.es_phase is not None:
            yield _reversed_in(m, m.ed_phase, m.es_phase)


def _reversed_in(m: Measurements, ed_phase: int, es_phase: int) -> Finding:
    numbers: dict[str, float] = {"ed_phase": ed_phase, "es_phase": es_phase}
    if m.edv_ml is not None and m.esv_ml is not None:
        what, ed, es = "volume", "{edv_ml:.1f} ml", "{esv_ml:.1f} ml"
        numbers |= {"edv_ml": m.edv_ml, "esv_ml": m.esv_ml}
    else:
        what, ed, es = "area", "{ed_area_px:.0f} px", "{es_area_px:.0f} px"
        at_ed, at_es = (float(m.cavity_areas_px[phase].sum()) for phase in (ed_phase, es_phase))
        numbers |= {"ed_area_px": at_ed, "es_area_px": at_es}
    own = ""
    if m.curve_ed_phase is not None and m.curve_es_phase is not None:
        numbers |= {"curve_ed_phase": m.curve_ed_phase, "curve_es_phase": m.curve_es_phase}
        own = " has ED at phase {curve_ed_phase} and ES at phase {curve_es_phase})"
    if m.chamber == LV:
        of, whose, own = "", "EF", own and f" (the curve{own}"
        advice = "exchange the two, or give neither"
    else:
        of, whose, own = " of the {chamber}", "its EF", own and f" (that of the {{chamber}}{own}"
        # Exchanged, they would be reversed for the LV.
        advice = "give neither, and each chamber has ED and ES of its own curve"
    sentence = (
        f"the {what}{of} at the phase given as ED, {ed} (phase {{ed_phase}}), is smaller than at the one given as ES, "
        f"{es} (phase {{es_phase}}), so {whose} is negative: {advice}{own}"
    )
    texts = {"chamber": m.chamber.name}
    return Finding(Code.PHASES_REVERSED, Severity.ERROR, sentence, ed_phase, numbers=numbers, texts=texts)


def _slices_without_wall(segmentation: Segmentation, phase: int | None) -> list[int]:
    known = segmentation.known_phases.get(Structure.MYOCARDIUM)
    if known is None or phase is None or not known[phase]:
        return []
    return [
        index
        for index in range(segmentation.labels.shape[1])
        if segmentation.outline(Structure.CAVITY, phase, index)
        and not segmentation.outline(Structure.MYOCARDIUM, phase, index)
    ]


NOTABLE_MASS_PART = 0.05
"""Two readers differ by as much. The tip of the apex may be muscle alone, and has less."""


def _wall_without_cavity(cine: Cine, segmentation: Segmentation, m: Measurements) -> Iterator[Finding]:
    """A finding for slices at ED in which a person deleted the endocardium, and the epicardium is still there."""
    ed, extents = m.ed_phase, m.slice_extents_mm
    if ed is None or extents is None or cine.grid is None or not m.lv_mass_g:
        return
    deleted = [
        index
        for index in range(cine.n_slices)
        if segmentation.drawn(Structure.CAVITY, ed, index).origin is Origin.EDITED
        and segmentation.outline(Structure.MYOCARDIUM, ed, index)
        and not segmentation.outline(Structure.CAVITY, ed, index)
    ]
    ml_a_px = extents * cine.grid.pixel_area_mm2 / 1000
    muscle_g = MYOCARDIAL_DENSITY_G_PER_ML * areas_of(segmentation, Structure.MYOCARDIUM)[ed] * ml_a_px
    total_g = float(muscle_g[deleted].sum())
    if total_g <= NOTABLE_MASS_PART * m.lv_mass_g:
        return
    some = "the endocardium of this slice was" if len(deleted) == 1 else "the endocardia of {slices} slices were"
    sentence = (
        f"at ED {some} deleted and the epicardium was not: all that it encloses counts as muscle, {{muscle_g:.0f}} g "
        "of the myocardial mass of {mass_g:.0f} g"
    )
    numbers = {"slices": len(deleted), "muscle_g": total_g, "mass_g": m.lv_mass_g}
    worst = max(deleted, key=lambda index: float(muscle_g[index]))
    yield Finding(Code.WALL_WITHOUT_CAVITY, Severity.WARNING, sentence, ed, worst, numbers=numbers)


OUTSIDE_PART = 0.04
"""A larger part of the cavity outside the epicardium is an error, not imprecise drawing: of 76 pairs of expert contours
(Sunnybrook) three cross, by 1.9 % at most."""


def _endocardium_outside(cine: Cine, segmentation: Segmentation, measurements: Measurements) -> Iterator[Finding]:
    """Contours are drawn one by one and may contradict each other; labels cannot."""
    crossing: list[tuple[float, float, int, int]] = []
    for structure, phase, place in segmentation.contours or {}:
        if structure is Structure.CAVITY:
            outside, part = segmentation.of_frame(_cavity_outside, phase, place)
            if part > OUTSIDE_PART:
                crossing.append((outside, part, phase, place))
    if not crossing:
        return
    worst_px, part, phase, place = max(crossing)
    extents = measurements.slice_extents_mm
    numbers = {"frames": len(crossing), "outside_px": worst_px, "outside_percent": 100 * part}
    at_stake = ""
    if cine.grid is not None and extents is not None:
        numbers["outside_ml"] = worst_px * cine.grid.pixel_area_mm2 * float(extents[place]) / 1000
        at_stake = ", {outside_ml:.1f} ml"
    frames = "frame" if len(crossing) == 1 else "frames"
    sentence = (
        f"in {{frames}} {frames} the endocardium lies outside the epicardium, most in this one: {{outside_px:.0f}} px "
        f"({{outside_percent:.0f}} % of the cavity{at_stake}); the myocardial mass is wrong there"
    )
    yield Finding(Code.ENDOCARDIUM_OUTSIDE, Severity.WARNING, sentence, phase, place, numbers=numbers)


def _cavity_outside(segmentation: Segmentation, phase: int, place: int) -> tuple[float, float]:
    """The area of the cavity outside the epicardium in one frame: square pixels, and part of the cavity."""
    inner = segmentation.outline(Structure.CAVITY, phase, place)
    outer = segmentation.outline(Structure.MYOCARDIUM, phase, place)
    # The test of the points is quick and settles nearly all frames; the exact coverage is slow.
    if not inner or not outer or all(all_inside(polygon, outer) for polygon in inner):
        return 0.0, 0.0
    shape = segmentation.labels.shape[2], segmentation.labels.shape[3]
    covered = coverage(inner, shape)
    outside = float(np.maximum(covered - coverage(outer, shape), 0).sum())
    return outside, outside / float(covered.sum()) if outside > 0 else 0.0


def all_inside(polygon: Floats, outer: Polygons) -> bool:
    """Whether all points of a polygon are in one of the others (even-odd rule); then the whole polygon mostly is."""
    # A point is inside if a line from it to the left border crosses the polygon an odd number of times.
    x, y = polygon[:, :1], polygon[:, 1:]
    inside = np.zeros(len(polygon), dtype=bool)
    for other in outer:
        after = np.roll(other, -1, axis=0)
        spans = (other[:, 1] <= y) != (after[:, 1] <= y)
        with np.errstate(divide="ignore", invalid="ignore"):
            at = other[:, 0] + (y - other[:, 1]) * (after[:, 0] - other[:, 0]) / (after[:, 1] - other[:, 1])
        inside |= (spans & (x < at)).sum(axis=1) % 2 == 1
    return bool(inside.all())


def _gap_inside(measurements: Measurements) -> Iterator[Finding]:
    gaps = np.argwhere(_gaps(measurements.cavity_areas_px > 0))
    if len(gaps) == 0:
        return
    phase, slice_index = (int(value) for value in gaps[0])
    frames = "one frame has" if len(gaps) == 1 else "{frames} frames have"
    sentence = f"{frames} no cavity although slices on both sides have one: the volume is too small there"
    yield Finding(Code.GAP_INSIDE_LV, Severity.WARNING, sentence, phase, slice_index, numbers={"frames": len(gaps)})


def _gap_in_time(cine: Cine, measurements: Measurements) -> Iterator[Finding]:
    """A finding for slices without a cavity in one phase only: a contour was lost, or the network missed it once."""
    areas, beat = measurements.cavity_areas_px, measurements.beat
    if beat is None or len(areas) < _FEWEST_IN_TIME:
        return
    inside = areas[beat.inside]
    # Those between slices with a cavity are named already.
    lost = lost_frames(inside) & ~_gaps(inside > 0)
    # The base really leaves the most basal slice, in 3 of 30 phantoms in one phase only.
    shown = np.flatnonzero(np.nanmax(inside, axis=0, initial=0.0) > 0)
    for end, may_be_base in ((0, cine.base_first is not False), (-1, cine.base_first is not True)):
        if len(shown) and may_be_base:
            lost[:, shown[end]] = False
    # Where most of a phase is lost, the volume jumps, and that is said.
    lost[np.count_nonzero(lost, axis=1) > _MOST_LOST] = False
    if not lost.any():
        return
    usual = np.where(lost, np.nanmax(inside, axis=0, initial=0.0), 0.0)
    phase, slice_index = (int(value) for value in np.unravel_index(np.argmax(usual), lost.shape))
    frames = int(np.count_nonzero(lost))
    some = "this frame has" if frames == 1 else "{frames} frames, such as this one, have"
    sentence = (
        f"{some} no cavity although the phases before and after have one in the same slice: is a contour missing?"
    )
    yield Finding(
        Code.GAP_INSIDE_LV,
        Severity.WARNING,
        sentence,
        beat.phases[0] + phase,
        slice_index,
        numbers={"frames": frames},
    )


def _gaps(present: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """(phase, slice), bool: where the cavity is absent although it is present on both sides along the slices."""
    before = np.logical_or.accumulate(present, axis=1)
    after = np.logical_or.accumulate(present[:, ::-1], axis=1)[:, ::-1]
    return ~present & before & after


def _volume_jump(measurements: Measurements) -> Iterator[Finding]:
    volumes, edv, sv = measurements.volumes_ml, measurements.edv_ml, measurements.sv_ml
    first = 0
    if volumes is not None and measurements.beat is not None:
        # Only the curve of one beat is periodic: its last phase has its first one as neighbour.
        first, volumes = measurements.beat.phases[0], volumes[measurements.beat.inside]
    if volumes is None or edv is None or sv is None or len(volumes) < 8:
        # In so few phases, true volumes change as much from one to the next.
        return
    off = _off_neighbours(volumes)
    limit = max(JUMP_OF_EDV * edv, JUMP_OF_STROKE * abs(sv))
    jumps = int(np.count_nonzero(np.abs(off) > limit))
    if jumps == 0:
        return
    worst = int(np.nanargmax(np.abs(off)))
    more = "" if jumps == 1 else " ({jumps} phases jump)"
    sentence = (
        f"the volume of {{volume_ml:.0f}} ml lies {{off_ml:.0f}} ml {'above' if off[worst] > 0 else 'below'} "
        f"the mean of the neighbouring phases{more}: check its contours"
    )
    numbers = {"volume_ml": float(volumes[worst]), "off_ml": abs(float(off[worst])), "jumps": jumps}
    yield Finding(Code.VOLUME_JUMP, Severity.WARNING, sentence, first + worst, numbers=numbers)


def _off_neighbours(volumes_ml: Floats) -> Floats:
    """(phase,), ml: volume minus the mean of its two neighbours on the periodic curve; 0 if one is not known."""
    off = volumes_ml - (np.roll(volumes_ml, 1) + np.roll(volumes_ml, -1)) / 2
    return np.where(np.isnan(off), 0, off)


def _implausible(cine: Cine, measurements: Measurements) -> Iterator[Finding]:
    yield from _implausible_in(measurements, PLAUSIBLE)
    for other in measurements.others:
        yield from _implausible_in(other, _OF_ED_AND_ES)
    sizes = (("height", cine.patient.height_cm, "cm"), ("weight", cine.patient.weight_kg, "kg"))
    for name, stored, unit in sizes:
        low, high = BODY_LIMITS[name]
        if stored is not None and not low <= stored <= high and getattr(measurements, f"{name}_{unit}") is None:
            size = f"{name}_{unit}"
            sentence = (
                f"the stored body {name} of {{{size}:g}} {unit} lies outside {{low:g}} to {{high:g}} {unit}: not used"
            )
            numbers = {size: stored, "low": low, "high": high}
            yield Finding(Code.IMPLAUSIBLE_VALUE, Severity.NOTE, sentence, numbers=numbers)


def _implausible_in(m: Measurements, names: Iterable[str]) -> Iterator[Finding]:
    """Findings for these values of a chamber; the ranges of the LV are wide enough for the RV."""
    texts = {} if m.chamber == LV else {"chamber": m.chamber.name}
    for name in names:
        what, low, high, unit = PLAUSIBLE[name]
        value = getattr(m, name)
        if m.phases_reversed and name in _OF_ED_AND_ES:
            continue
        if value is not None and not low <= value <= high:
            seen = f"{{{name}:.0f}} {unit}"
            whose = f"{what} of the {{chamber}}, {seen}," if texts else f"{what} of {seen}"
            sentence = f"{whose} lies outside {{low:g}} to {{high:g}} {unit}"
            numbers = {name: value, "low": low, "high": high}
            yield Finding(Code.IMPLAUSIBLE_VALUE, Severity.WARNING, sentence, numbers=numbers, texts=texts)


def _overridden(measurements: Measurements) -> Iterator[Finding]:
    phases = (
        ("ED", "largest", measurements.ed_phase, measurements.curve_ed_phase),
        ("ES", "smallest", measurements.es_phase, measurements.curve_es_phase),
    )
    for name, extreme, used, of_curve in phases:
        if used is not None and used != of_curve:
            at = "" if of_curve is None else f"; the {extreme} volume is at phase {{extreme_phase}}"
            numbers = {"given_phase": used} | ({} if of_curve is None else {"extreme_phase": of_curve})
            sentence = f"{name} was given as phase {{given_phase}}{at}"
            yield Finding(Code.OVERRIDDEN_PHASE, Severity.NOTE, sentence, used, numbers=numbers)


def _unknowns(cine: Cine, measurements: Measurements) -> Iterator[Finding]:
    if cine.grid is None:
        sentence = (
            "no pixel spacing or slice distance: no volumes, and the ejection fraction is computed from summed areas"
        )
        yield Finding(Code.UNKNOWN_SPACING, Severity.WARNING, sentence)
    elif measurements.slice_extents_mm is None:
        sentence = "a single slice has no volume: the ejection fraction is computed from its areas"
        yield Finding(Code.PARTIAL_SEGMENTATION, Severity.WARNING, sentence)
    if cine.base_first is None and cine.n_slices > 1:
        sentence = "it is not known which end is the base: slices are shown in their stored order"
        yield Finding(Code.APEX_BASE_UNKNOWN, Severity.NOTE, sentence)
    if measurements.sv_ml is not None and measurements.heart_rate_bpm is None:
        sentence = "the heart rate is not known: there is no cardiac output"
        yield Finding(Code.UNKNOWN_HEART_RATE, Severity.NOTE, sentence)
