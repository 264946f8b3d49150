"""Areas, volumes, ejection fraction and the values derived from them, chamber by chamber: NumPy only.

Volumes are sums over slices (the "method of discs", which cardiologists call Simpson's rule): Dulce et al.,
"Quantification of the left ventricular volumes and function with cine MR imaging: comparison of geometric models
with three-dimensional data", Radiology 188 (1993) 371-376. Papillary muscles belong to the cavity if the
segmentation says so; Schulz-Menger et al. say what to contour: "Standardized image interpretation and
post-processing in cardiovascular magnetic resonance - 2020 update", J Cardiovasc Magn Reson 22 (2020) 19.
"""

from dataclasses import replace

import numpy as np

from cinesax.core.cine import Cine, Gating
from cinesax.core.errors import GeometryError, UsageError
from cinesax.core.grid import Floats, Grid
from cinesax.core.measurements import AreaMethod, Beat, Measurements, volume_curve
from cinesax.core.segmentation import Segmentation, area_px
from cinesax.core.selection import NO_OVERRIDES, Overrides
from cinesax.core.structures import LV, Chamber, Structure, blood_of, chambers, wall_of
from cinesax.measure.base_rules import areas_by_rule, volumes_by_rule
from cinesax.measure.beats import find_beat
from cinesax.measure.wall import wall_thickness

MYOCARDIAL_DENSITY_G_PER_ML = 1.05
"""Grams per millilitre: Schulz-Menger et al. 2020, as above."""

RATE_HARMONICS = 3

BODY_LIMITS = {"height": (30.0, 250.0), "weight": (1.0, 400.0)}
"""Lowest and highest, in cm and kg: a stored size outside these limits is a typing error and is not used."""


def measure(
    cine: Cine, segmentation: Segmentation, overrides: Overrides = NO_OVERRIDES, *, thickness: bool = True
) -> Measurements:
    """Measure the left ventricle, and every other chamber that was segmented.

    Each chamber has the ED and ES of its own volume curve, because the right ventricle may empty later than the left.
    A given phase is used for all chambers; a chamber that was not segmented at that phase has no volume there.

    Args:
        cine: gives distances, times and body size.
        segmentation: on the grid of `cine`, with the cavity among its structures.
        overrides: values to use instead of those of the cine or of the volume curve.
        thickness: whether to measure the thickness of the wall, which takes as long as all volumes.

    Raises:
        GeometryError: the segmentation does not fit the cine.
        UsageError: a given phase does not exist, was not segmented, or would be both ED and ES; or no body has a given
            size.
    """
    check_overrides(cine, overrides)
    return measure_checked(cine, segmentation, overrides, thickness=thickness)


def measure_checked(
    cine: Cine, segmentation: Segmentation, overrides: Overrides, *, thickness: bool = True
) -> Measurements:
    """`measure` without `check_overrides`: for callers that have checked before they ran a network.

    Raises:
        GeometryError, UsageError: as `measure`, except for the errors of `check_overrides`.
    """
    _check_fit(cine, segmentation)
    height = _body_size("height", overrides.height_cm, cine.patient.height_cm)
    weight = _body_size("weight", overrides.weight_kg, cine.patient.weight_kg)
    given = overrides.ed_phase, overrides.es_phase
    beat = find_beat(cine, areas_of(segmentation, blood_of(LV)))
    left, *others = (
        replace(_of_chamber(cine, segmentation, chamber, given, beat=beat), height_cm=height, weight_kg=weight)
        for chamber in chambers(segmentation.known_phases)
    )
    wall = wall_thickness(cine, segmentation, left.ed_phase) if thickness else None
    return replace(left, others=tuple(others), wall_thickness=wall)


def _of_chamber(
    cine: Cine, segmentation: Segmentation, chamber: Chamber, given: tuple[int | None, int | None], *, beat: Beat
) -> Measurements:
    """The measurements of one chamber in one beat, without body size; `given`: ED and ES as given, or None each."""
    areas_px = areas_of(segmentation, blood_of(chamber))
    areas_mm2 = None if cine.grid is None else areas_px * cine.grid.pixel_area_mm2
    extents = None if cine.grid is None else slice_extents_mm(cine.grid)
    volumes = None if areas_mm2 is None or extents is None else areas_mm2 @ extents / 1000
    curve = volume_curve(areas_px, volumes)
    curve_ed, curve_es = _extremes(curve, beat)
    if not beat.in_step:
        # Slices that show different parts of the beat do not add up to a volume, whatever phases are given.
        volumes, ed, es = None, None, None
    elif chamber == LV:
        ed, es = _phases(curve, (curve_ed, curve_es), given)
    else:
        ed, es = _phases_of_other(curve, (curve_ed, curve_es), given)
    ml_a_px = None if cine.grid is None or extents is None else extents * cine.grid.pixel_area_mm2 / 1000
    by_rule = areas_by_rule(segmentation, areas_px) if chamber == LV and beat.in_step else {}
    times = phase_times_ms(cine)
    fall, rise = (None, None) if volumes is None or curve_ed is None else _rates(volumes, times, beat)
    if cine.gating is Gating.PROSPECTIVE:
        # The end of the beat, when the atria contract, was not recorded.
        rise = None
    return Measurements(
        area_method=AreaMethod.PIXELS if segmentation.contours is None else AreaMethod.POLYGONS,
        cavity_areas_px=areas_px,
        cavity_areas_mm2=areas_mm2,
        slice_extents_mm=extents,
        volumes_ml=volumes,
        phase_times_ms=times,
        curve_ed_phase=curve_ed,
        curve_es_phase=curve_es,
        ed_phase=ed,
        es_phase=es,
        heart_rate_bpm=None if beat.rr_interval_ms is None else 60_000 / beat.rr_interval_ms,
        peak_ejection_rate_ml_per_s=fall,
        peak_filling_rate_ml_per_s=rise,
        lv_mass_g=_mass_g(cine, segmentation, ed, extents) if chamber == LV else None,
        lv_mass_es_g=_mass_g(cine, segmentation, es, extents) if chamber == LV else None,
        height_cm=None,
        weight_kg=None,
        beat=beat,
        chamber=chamber,
        base_rule=segmentation.presence.rule if by_rule and segmentation.presence else None,
        by_base_rule=volumes_by_rule(by_rule, ml_a_px=ml_a_px, given=given, beat=beat),
    )


def _rates(volumes_ml: Floats, times_ms: Floats | None, beat: Beat) -> tuple[float | None, float | None]:
    times = None if times_ms is None else times_ms[beat.inside]
    return peak_rates(volumes_ml[beat.inside], times, beat.rr_interval_ms)


def check_overrides(cine: Cine, overrides: Overrides) -> None:
    """Check, before a network runs for nothing, that overrides make sense for a cine.

    Raises:
        UsageError: a phase does not exist, ED and ES are the same, or no body has the given size.
    """
    ed, es = overrides.ed_phase, overrides.es_phase
    for name, phase in (("ED", ed), ("ES", es)):
        if phase is not None and not 0 <= phase < cine.n_phases:
            raise UsageError(f"the {name} phase must be from 0 to {cine.n_phases - 1} (counted from 0), seen {phase}")
    if ed is not None and ed == es:
        raise UsageError(f"the ED phase and the ES phase must differ, seen {ed} for both")
    for name, size, unit in (("height", overrides.height_cm, "cm"), ("weight", overrides.weight_kg, "kg")):
        low, high = BODY_LIMITS[name]
        if size is not None and not low <= size <= high:
            raise UsageError(f"the body {name} must be from {low:g} to {high:g} {unit}, seen {size:g} {unit}")


def _phases(
    curve: Floats, own: tuple[int | None, int | None], given: tuple[int | None, int | None]
) -> tuple[int | None, int | None]:
    """ED and ES of the LV: as given, else from the curve.

    Raises:
        UsageError: a given phase was not segmented, or would be both ED and ES.
    """
    ed = own[0] if given[0] is None else _given_phase(given[0], "ED", curve)
    es = own[1] if given[1] is None else _given_phase(given[1], "ES", curve)
    _refuse_the_other(given[0], "ED", es, other="ES", extreme="smallest")
    _refuse_the_other(given[1], "ES", ed, other="ED", extreme="largest")
    return ed, es


def _phases_of_other(
    curve: Floats, own: tuple[int | None, int | None], given: tuple[int | None, int | None]
) -> tuple[int | None, int | None]:
    """ED and ES of another chamber: as given (None if it was not segmented there), else from the curve.

    The user chose a phase for the LV. If it happens to be the other extreme of this chamber, the chamber has no
    ejection fraction; that is not the user's error.
    """
    ed, es = (extreme if phase is None else phase for extreme, phase in zip(own, given, strict=True))
    if own[0] is None or ed is None or np.isnan(curve[ed]):
        ed = None
    if own[0] is None or es is None or np.isnan(curve[es]) or es == ed:
        es = None
    return ed, es


def _refuse_the_other(given: int | None, name: str, used: int | None, *, other: str, extreme: str) -> None:
    """Refuse one phase as both ED and ES: the ejection fraction would be 0."""
    if given is not None and given == used:
        raise UsageError(
            f"the {name} phase given, {given}, is the phase of the {extreme} volume, which is used as {other}: "
            f"give the {other} phase too"
        )


def areas_of(segmentation: Segmentation, structure: Structure) -> Floats:
    """(phase, slice), the area of a structure in square pixels; nan in phases in which it was not segmented.

    Polygon areas in closed form if the segmentation has contours, else pixel counts. Structures inside this one that do
    not count as part of it are subtracted.
    """
    if segmentation.contours is None:
        areas = np.asarray(segmentation.mask(structure).sum(axis=(2, 3)), dtype=np.float64)
    else:
        areas = _inside_of_outlines(segmentation, structure)
        inner = [_inside_of_outlines(segmentation, enclosed) for enclosed in segmentation.apart_from(structure)]
        if inner:
            # Not below 0: contours are drawn one by one, and an inner one may be the larger.
            areas = np.where(areas > 0, np.maximum(areas - np.sum(inner, axis=0), 0), 0)
    return np.where(segmentation.known_phases[structure][:, None], areas, np.nan)


def _inside_of_outlines(segmentation: Segmentation, structure: Structure) -> Floats:
    areas = np.zeros(segmentation.labels.shape[:2])
    for which, phase, slice_index in segmentation.contours or {}:
        if which is structure:
            areas[phase, slice_index] = segmentation.of_frame(_contour_areas_px, phase, slice_index)[structure]
    return areas


def _contour_areas_px(segmentation: Segmentation, phase: int, slice_index: int) -> dict[Structure, float]:
    drawn = {known: segmentation.outline(known, phase, slice_index) for known in segmentation.known_phases}
    return {structure: area_px(polygons) for structure, polygons in drawn.items() if polygons}


def slice_extents_mm(grid: Grid) -> Floats | None:
    """(slice,), mm: the length along the normal that each slice stands for; None for a single slice.

    A slice stands for half the distance to each neighbour, an end slice for the whole distance to its only neighbour,
    as if another slice followed at the same distance. For n slices d apart the sum is n * d.
    """
    distances = grid.slice_distances_mm
    if len(distances) == 0:
        return None
    padded = np.concatenate([distances[:1], distances, distances[-1:]])
    return np.asarray((padded[:-1] + padded[1:]) / 2, dtype=np.float64)


def phase_times_ms(cine: Cine) -> Floats | None:
    """(phase,), ms after the R wave: the mean over the slices, each with its own beat; None if not known."""
    return None if cine.trigger_times_ms is None else np.asarray(cine.trigger_times_ms.mean(axis=1), dtype=np.float64)


def peak_rates(
    volumes_ml: Floats, times_ms: Floats | None, rr_interval_ms: float | None, *, harmonics: int = RATE_HARMONICS
) -> tuple[float | None, float | None]:
    """The fastest fall and the fastest rise of the volume over the beat, both as positive numbers, in ml/s.

    They are the extreme slopes of the Fourier series of three harmonics that fits the volumes best (least squares).
    Radionuclide ventriculography uses few harmonics too (Bacharach et al., "Optimum Fourier filtering of cardiac
    data: a minimum-error method", J Nucl Med 24 (1983) 1176-1184). Here the reason is that sums of slices change in
    steps, when a slice at the base enters or leaves. On phantoms (benchmarks/rates.py) three harmonics lose 1 % of the
    true rates, and are off by a median of 12 % (ejection) and 17 % (filling) on summed truth masks; differences
    between neighbouring phases are off by 40 %.

    The beat lasts as long as the RR interval. If that is not known or too short, it lasts one mean phase longer than
    the phases span. Slopes are taken only within the recorded part of the beat.

    Args:
        volumes_ml: (phase,), nan where not known.
        times_ms: (phase,), or None.
        rr_interval_ms: length of the beat, or None.
        harmonics: their number.

    Returns:
        (None, None) if there are fewer than eight phases (or than the harmonics need), a volume is unknown, or times
        are absent or do not increase.
    """
    count = len(volumes_ml)
    if times_ms is None or count < max(8, 2 * harmonics + 1):
        return None, None
    if np.any(np.isnan(volumes_ml)) or np.any(np.diff(times_ms) <= 0):
        return None, None
    span = float(times_ms[-1] - times_ms[0])
    step = span / (count - 1)
    # The fitted series is periodic: in a shorter beat, the last phases would have to equal the first ones, and the fit
    # would bend there.
    beat = max(span + step, 0.0 if rr_interval_ms is None else rr_interval_ms)
    waves = 2 * np.pi / beat * np.arange(1, harmonics + 1)
    angles = np.outer(times_ms, waves)
    basis = np.hstack([np.ones((count, 1)), np.cos(angles), np.sin(angles)])
    fitted = np.linalg.lstsq(basis, volumes_ml, rcond=None)[0]
    # Without this limit, a prospective scan that stops before the end of the beat gets its steepest slope from the part
    # that nobody recorded, where the fit joins its ends.
    recorded = beat if beat < span + 2 * step else span
    fine = np.outer(times_ms[0] + np.linspace(0, recorded, 40 * count), waves)
    # The derivative of the fitted series, in ml/s: times are in ms.
    rates = 1000 * waves * np.hstack([-np.sin(fine), np.cos(fine)]).reshape(-1, 2, harmonics) * np.split(fitted[1:], 2)
    slopes = rates.sum(axis=(1, 2))
    return max(0.0, -float(slopes.min())), max(0.0, float(slopes.max()))


def _check_fit(cine: Cine, segmentation: Segmentation) -> None:
    if segmentation.labels.shape != cine.pixels.shape:
        raise GeometryError(
            f"the segmentation has (phases, slices, rows, columns) {segmentation.labels.shape}, the cine "
            f"{cine.pixels.shape}: give the segmentation of this cine"
        )
    if Structure.CAVITY not in segmentation.known_phases:
        raise GeometryError("the segmentation has no LV cavity (label 1), so there is no volume to measure")


def _extremes(curve: Floats, beat: Beat) -> tuple[int | None, int | None]:
    """The phases of the largest and the smallest known value of the beat; None if there is nothing to compare."""
    if not beat.in_step:
        return None, None
    curve = curve[beat.inside]
    known = int(np.count_nonzero(~np.isnan(curve)))
    if known == 0 or not np.nanmax(curve) > 0:
        return None, None
    first = beat.phases[0]
    return first + int(np.nanargmax(curve)), first + int(np.nanargmin(curve)) if known > 1 else None


def _given_phase(phase: int, name: str, curve: Floats) -> int:
    if np.isnan(curve[phase]):
        known = ", ".join(str(index) for index in np.flatnonzero(~np.isnan(curve)))
        raise UsageError(f"the {name} phase {phase} was not segmented; segmented phases: {known or 'none'}")
    return int(phase)


def _mass_g(cine: Cine, segmentation: Segmentation, phase: int | None, extents_mm: Floats | None) -> float | None:
    wall = wall_of(LV)
    if phase is None or extents_mm is None or wall is None or wall not in segmentation.known_phases:
        return None
    areas = areas_of(segmentation, wall)[phase]
    if cine.grid is None or np.any(np.isnan(areas)):
        return None
    volume_ml = float(areas @ extents_mm) * cine.grid.pixel_area_mm2 / 1000
    return MYOCARDIAL_DENSITY_G_PER_ML * volume_ml


def _body_size(name: str, given: float | None, stored: float | None) -> float | None:
    """The given size, else the stored one if a body can have it (`plausibility` reports a size that no body has)."""
    if given is not None:
        return given
    low, high = BODY_LIMITS[name]
    return stored if stored is not None and low <= stored <= high else None
