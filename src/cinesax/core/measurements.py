"""Measurements: the results for one segmentation. Values only."""

from dataclasses import dataclass, fields
from enum import StrEnum

import numpy as np

from cinesax.core.errors import GeometryError
from cinesax.core.grid import Floats
from cinesax.core.presence import BaseRule
from cinesax.core.structures import LV, Chamber
from cinesax.core.values import ArrayValue, frozen


class AreaMethod(StrEnum):
    """How areas are computed."""

    POLYGONS = "polygons"
    """From sub-pixel contours, in closed form (the shoelace formula)."""
    PIXELS = "pixels"
    """From counting the pixels of the labels."""


class EfBasis(StrEnum):
    """Whether the ejection fraction is computed from volumes or from summed areas."""

    VOLUMES = "volumes"
    """Volumes in ml, from true distances between slices."""
    AREAS = "areas"
    """Summed areas of the slices, as if equally spaced, because distances are not known."""


@dataclass(frozen=True, slots=True)
class BaseVolumes:
    """Volumes of the left ventricle by one rule for its base; None if not known.

    Attributes:
        rule: the rule.
        ed_phase: end diastole on the volume curve of this rule, unless given.
        es_phase: end systole, likewise.
        edv_ml: volume at ED.
        esv_ml: volume at ES.
        ef_percent: ejection fraction from volumes, or from summed areas if there are no volumes.
    """

    rule: BaseRule
    ed_phase: int | None
    es_phase: int | None
    edv_ml: float | None
    esv_ml: float | None
    ef_percent: float | None


@dataclass(frozen=True, eq=False, slots=True)
class WallThickness(ArrayValue):
    """End-diastolic wall thickness on the 16 segments of the American Heart Association. Not validated.

    Attributes:
        segments_mm: (16,): the means of segments 1 to 16; nan if a segment holds no ray.
        slices: the slices that were divided into basal, middle and apical thirds, from base to apex.
    """

    segments_mm: Floats
    slices: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.segments_mm.shape != (16,):
            raise GeometryError(f"wall thickness has 16 segments, seen shape {self.segments_mm.shape}")
        object.__setattr__(self, "segments_mm", frozen(self.segments_mm))


@dataclass(frozen=True, slots=True)
class Beat:
    """The heart beat that was measured.

    Attributes:
        phases: its first and its last phase.
        beats: the number of beats that the series holds; 1 unless it holds several.
        rr_interval_ms: how long the beat lasts; None if not known.
        from_areas: whether its length comes from the areas of the cavity rather than from the stated RR interval.
        doubted_rr_ms: the stated RR interval if the areas contradict it, else None.
        in_step: whether the slices show the same part of the beat in the same phase; if not, there are no volumes.
        ef_as_stored_percent: EF from the sums of the areas as stored; None if it was not computed.
        ef_in_step_percent: EF from these sums with each slice shifted in time to empty with the others. An estimate:
            the shift also removes true differences between slices (0 to 3 points of EF in failing hearts).
        ef_evened_percent: EF with each slice shifted only by the difference of its timing from a steady drift along the
            axis, because true differences mostly follow such a drift.
    """

    phases: tuple[int, int]
    beats: float = 1.0
    rr_interval_ms: float | None = None
    from_areas: bool = False
    doubted_rr_ms: float | None = None
    in_step: bool = True
    ef_as_stored_percent: float | None = None
    ef_in_step_percent: float | None = None
    ef_evened_percent: float | None = None

    @property
    def inside(self) -> slice:
        """The phases of the beat, as an index."""
        return slice(self.phases[0], self.phases[1] + 1)


@dataclass(frozen=True, eq=False, repr=False, slots=True, kw_only=True)
class Measurements(ArrayValue):
    """The measurements of one chamber in one segmentation. Unknown values are None (nan inside arrays).

    Attributes:
        area_method: how the areas were computed.
        cavity_areas_px: (phase, slice): area of the cavity in square pixels; nan in phases that were not segmented.
        cavity_areas_mm2: (phase, slice), the same in mm²; None without a grid.
        slice_extents_mm: (slice,), the length along the normal that each slice stands for; None without a grid or for a
            single slice.
        volumes_ml: (phase,), volume of the cavity; nan in phases that were not segmented; None if slice_extents_mm is
            None or the slices are out of step.
        phase_times_ms: (phase,), mean over the slices of the time after the R wave; None if not known.
        curve_ed_phase: the phase of largest volume (or summed area) among the known ones of the beat; None if
            there is no cavity or the slices are out of step.
        curve_es_phase: the phase of smallest volume; None unless at least two phases are known.
        ed_phase: end diastole as used: curve_ed_phase unless another was given.
        es_phase: end systole as used: curve_es_phase unless another was given.
        heart_rate_bpm: heart beats per minute.
        peak_ejection_rate_ml_per_s: the fastest fall of the volume, as a positive number.
        peak_filling_rate_ml_per_s: the fastest rise of the volume; None under prospective gating, which does not
            record the end of the beat.
        lv_mass_g: myocardial mass at ED; None for other chambers than the LV.
        height_cm: the body height used.
        weight_kg: the body weight used.
        beat: the beat that was measured; None stands for all phases.
        chamber: whose volumes these are.
        others: the measurements of the other segmented chambers. Only those of the LV have this.
        lv_mass_es_g: myocardial mass at ES, which should equal that at ED; None for other chambers than the LV.
        wall_thickness: of the LV at ED; None if wall, RV or the orientation of the image is not known.
        base_rule: the rule by which slices at the base count; None if no rule was applied (a given segmentation).
        by_base_rule: volumes and EF of the LV by each rule that the segmentation allows.
    """

    area_method: AreaMethod
    cavity_areas_px: Floats
    cavity_areas_mm2: Floats | None
    slice_extents_mm: Floats | None
    volumes_ml: Floats | None
    phase_times_ms: Floats | None
    curve_ed_phase: int | None
    curve_es_phase: int | None
    ed_phase: int | None
    es_phase: int | None
    heart_rate_bpm: float | None
    peak_ejection_rate_ml_per_s: float | None
    peak_filling_rate_ml_per_s: float | None
    lv_mass_g: float | None
    height_cm: float | None
    weight_kg: float | None
    beat: Beat | None = None
    chamber: Chamber = LV
    others: tuple["Measurements", ...] = ()
    lv_mass_es_g: float | None = None
    wall_thickness: WallThickness | None = None
    base_rule: BaseRule | None = None
    by_base_rule: tuple[BaseVolumes, ...] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                object.__setattr__(self, field.name, frozen(value))

    def of(self, chamber: Chamber) -> "Measurements | None":
        """The measurements of a chamber; None if it was not segmented."""
        return next((measured for measured in (self, *self.others) if measured.chamber == chamber), None)

    def __repr__(self) -> str:
        return f"Measurements({self.shown})"

    @property
    def shown(self) -> str:
        """The main numbers on one line."""
        numbers = (
            ("EDV", self.edv_ml, "{:.1f} ml"),
            ("ESV", self.esv_ml, "{:.1f} ml"),
            ("EF", self.ef_percent, "{:.1f} %"),
            ("ED phase", self.ed_phase, "{}"),
            ("ES phase", self.es_phase, "{}"),
        )
        return ", ".join(
            f"{name} {'unknown' if value is None else form.format(value)}" for name, value, form in numbers
        )

    @property
    def edv_ml(self) -> float | None:
        """Volume at ED."""
        return _at(self.volumes_ml, self.ed_phase)

    @property
    def esv_ml(self) -> float | None:
        """Volume at ES."""
        return _at(self.volumes_ml, self.es_phase)

    @property
    def sv_ml(self) -> float | None:
        """Stroke volume: EDV - ESV."""
        return None if self.edv_ml is None or self.esv_ml is None else self.edv_ml - self.esv_ml

    @property
    def ef_percent(self) -> float | None:
        """Ejection fraction: 100 * (EDV - ESV) / EDV; from volumes or areas (see `ef_basis`)."""
        curve = volume_curve(self.cavity_areas_px, self.volumes_ml)
        ed, es = _at(curve, self.ed_phase), _at(curve, self.es_phase)
        return None if ed is None or es is None or ed <= 0 else 100 * (ed - es) / ed

    @property
    def phases_reversed(self) -> bool:
        """Whether there is more at ES than at ED, so that EF is negative: only with phases that a person gave."""
        return self.ef_percent is not None and self.ef_percent < 0

    @property
    def ef_basis(self) -> EfBasis | None:
        """Whether `ef_percent` comes from volumes or from summed areas; None if there is none."""
        if self.ef_percent is None:
            return None
        return EfBasis.AREAS if self.volumes_ml is None else EfBasis.VOLUMES

    @property
    def cardiac_output_l_per_min(self) -> float | None:
        """Stroke volume * heart rate."""
        return None if self.sv_ml is None or self.heart_rate_bpm is None else self.sv_ml * self.heart_rate_bpm / 1000

    @property
    def bsa_m2(self) -> float | None:
        """Body surface area (Mosteller)."""
        known = self.height_cm is not None and self.weight_kg is not None
        return body_surface_area_m2(self.height_cm or 0, self.weight_kg or 0) if known else None

    @property
    def edv_index_ml_per_m2(self) -> float | None:
        """EDV / body surface area."""
        return _ratio(self.edv_ml, self.bsa_m2)

    @property
    def esv_index_ml_per_m2(self) -> float | None:
        """ESV / body surface area."""
        return _ratio(self.esv_ml, self.bsa_m2)

    @property
    def sv_index_ml_per_m2(self) -> float | None:
        """Stroke volume / body surface area."""
        return _ratio(self.sv_ml, self.bsa_m2)

    @property
    def cardiac_index_l_per_min_per_m2(self) -> float | None:
        """Cardiac output / body surface area."""
        return _ratio(self.cardiac_output_l_per_min, self.bsa_m2)

    @property
    def lv_mass_index_g_per_m2(self) -> float | None:
        """Myocardial mass / body surface area."""
        return _ratio(self.lv_mass_g, self.bsa_m2)


def body_surface_area_m2(height_cm: float, weight_kg: float) -> float:
    """Mosteller, "Simplified calculation of body-surface area", N Engl J Med 317 (1987) 1098."""
    return float(np.sqrt(height_cm * weight_kg / 3600))


def volume_curve(areas_px: Floats, volumes_ml: Floats | None) -> Floats:
    """(phase,): the volumes, or the summed areas if there are no volumes."""
    return np.asarray(areas_px.sum(axis=1)) if volumes_ml is None else volumes_ml


def _at(curve: Floats | None, phase: int | None) -> float | None:
    return None if curve is None or phase is None else float(curve[phase])


def _ratio(value: float | None, by: float | None) -> float | None:
    return None if value is None or by is None else value / by
