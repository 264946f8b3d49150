"""An analysis in words and rounded numbers, for the terminal and the report."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from cinesax.core.analysis import Analysis, Trust
from cinesax.core.cine import Cine, Gating, Patient
from cinesax.core.findings import Code
from cinesax.core.measurements import AreaMethod, Beat, EfBasis, Measurements
from cinesax.core.origins import Origin
from cinesax.core.presence import BaseRule
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import Structure, blood_of

_SOURCES = {
    "network": "by a network",
    "contours": "given, as contour files",
    "nifti": "given, as a label file",
    "given": "given",
}
_KINDS = {"dicom": "DICOM", "nifti": "a NIfTI file", "pairs": "PNG pictures", "phantom": "a phantom"}
_METHODS = {
    AreaMethod.POLYGONS: "Areas are computed exactly from sub-pixel contours.",
    AreaMethod.PIXELS: "Areas are computed by counting label pixels.",
}


def area_method(m: Measurements) -> str:
    """How the areas were computed, as a sentence."""
    return _METHODS[m.area_method]


@dataclass(frozen=True, slots=True)
class Number:
    """A value as text with its unit, or the reason why it is not known."""

    name: str
    value: str | None
    unit: str
    why_not: str = ""


def _number(name: str, value: float | None, form: str, *, unit: str, why_not: str = "") -> Number:
    return Number(name, None if value is None else format(value, form), unit, why_not)


def main_numbers(m: Measurements) -> list[Number]:
    """The five numbers that everybody asks for."""
    no_volume = _why_no_volume(m)
    ef_why = "only one phase segmented" if m.ed_phase is not None and m.es_phase is None else no_volume
    ef_name = "Ejection fraction" + (" (of areas)" if m.ef_basis is EfBasis.AREAS else "")
    return [
        _number(ef_name, m.ef_percent, ".1f", unit="%", why_not=ef_why or "no cavity found"),
        _number("End-diastolic volume", m.edv_ml, ".0f", unit="ml", why_not=no_volume),
        _number("End-systolic volume", m.esv_ml, ".0f", unit="ml", why_not=no_volume or ef_why),
        _number("Stroke volume", m.sv_ml, ".0f", unit="ml", why_not=no_volume or ef_why),
        _number("Cardiac output", m.cardiac_output_l_per_min, ".1f", unit="l/min", why_not=_why_no_output(m)),
    ]


def trust_line(trust: Trust | None) -> str:
    """What is expected of the network on this exam, as a sentence; "" if nothing is known."""
    if trust is None:
        return ""
    ef = ""
    if trust.ef_low_percent is not None and trust.ef_high_percent is not None:
        wider = f", widened {trust.widened:.1f} times" if trust.widened >= _SHOWN_WIDENING else ""
        ef = (
            f"; EF between {trust.ef_low_percent:.0f} and {trust.ef_high_percent:.0f} % "
            f"({100 * trust.level:.0f} % interval{wider})"
        )
    return f"Expected of the network: Dice {trust.dice:.2f}{ef}. {trust.words[:1].upper()}{trust.words[1:]}."


_SHOWN_WIDENING = 1.05


def other_chambers(analysis: Analysis) -> list[tuple[str, list[Number]]]:
    """(name, main numbers) of every other segmented chamber; a name says if the network was not validated for it."""
    return [
        (other.chamber.name + _validity(analysis, blood_of(other.chamber)), main_numbers(other))
        for other in analysis.measurements.others
    ]


def curves_line(analysis: Analysis) -> str:
    """Which line of the volume curve is which chamber; "" if no other chamber has a line."""
    chambers = zip(other_chambers(analysis), analysis.measurements.others, strict=True)
    names = [name for (name, _), other in chambers if _makes_a_line(other)]
    return f"Solid: left ventricle; dashed: {', '.join(names)}." if names else ""


def _makes_a_line(m: Measurements) -> bool:
    """Whether the volumes of two neighbouring phases are known: labels of ED and ES alone make no line."""
    if m.volumes_ml is None:
        return False
    known = ~np.isnan(m.volumes_ml)
    return bool((known[1:] & known[:-1]).any())


def _validity(analysis: Analysis, structure: Structure) -> str:
    doubts = (finding for finding in analysis.findings if finding.code is Code.NOT_VALIDATED)
    return " (not validated)" if any(structure.key in finding.numbers for finding in doubts) else ""


def _why_no_volume(m: Measurements) -> str:
    if m.ed_phase is None:
        return "no cavity found"
    if m.cavity_areas_mm2 is None:
        return "no pixel spacing and slice distance"
    if m.beat is not None and not m.beat.in_step:
        return "slices are out of step"
    return "a single slice" if m.slice_extents_mm is None else ""


def _why_no_output(m: Measurements) -> str:
    return "no stroke volume" if m.sv_ml is None else "heart rate not known"


def more_numbers(analysis: Analysis) -> list[Number]:
    """All other numbers. Indexed ones are listed one by one only if the body size is known."""
    m = analysis.measurements
    no_volume = _why_no_volume(m)
    no_rate = no_volume or "needs the contours and the time of every phase"
    prospective = analysis.cine.gating is Gating.PROSPECTIVE
    no_filling = "prospective gating leaves out the end of the beat" if prospective and not no_volume else no_rate
    wall_known = Structure.MYOCARDIUM in analysis.segmentation.known_phases
    no_mass = _why_no_volume(m) or ("myocardium not segmented at ED" if wall_known else "myocardium not segmented")
    wall = _validity(analysis, Structure.MYOCARDIUM)
    return [
        _number("Heart rate", m.heart_rate_bpm, ".0f", unit="/min", why_not="no RR interval stored"),
        _number("Peak ejection rate", m.peak_ejection_rate_ml_per_s, ".0f", unit="ml/s", why_not=no_rate),
        _number("Peak filling rate", m.peak_filling_rate_ml_per_s, ".0f", unit="ml/s", why_not=no_filling),
        _number("Myocardial mass at ED" + wall, m.lv_mass_g, ".0f", unit="g", why_not=no_mass),
        *_indexed(m, no_mass),
    ]


BASE_MATTERS_POINTS = 3.0
"""If the rules for the base give EFs that differ by more than this, the reader is shown all of them."""

_BASE_WORDS = {
    BaseRule.HALF: "wall around at least half of the blood",
    BaseRule.ANY: "every slice with LV blood",
    BaseRule.WHOLE: "closed wall",
}


def base_rules(m: Measurements) -> list[tuple[str, str]]:
    """(rule, EF and volumes) for each rule for the base; empty if EF hardly depends on the rule."""
    efs = [values.ef_percent for values in m.by_base_rule if values.ef_percent is not None]
    if len(efs) < 2 or max(efs) - min(efs) <= BASE_MATTERS_POINTS:
        return []
    return [
        (
            f"Base: {_BASE_WORDS[values.rule]}" + (" (used)" if values.rule is m.base_rule else ""),
            ", ".join(
                f"{name} {value:{form}} {unit}"
                for name, value, form, unit in (
                    ("EF", values.ef_percent, ".1f", "%"),
                    ("EDV", values.edv_ml, ".0f", "ml"),
                    ("ESV", values.esv_ml, ".0f", "ml"),
                )
                if value is not None
            ),
        )
        for values in m.by_base_rule
    ]


def _indexed(m: Measurements, no_mass: str) -> list[Number]:
    if m.bsa_m2 is None:
        missing = " and ".join(
            name for name, value in (("body height", m.height_cm), ("weight", m.weight_kg)) if value is None
        )
        return [Number("Indexed to body surface area", None, "", f"{missing} not known")]
    why = _why_no_volume(m) or "see above"
    return [
        _number("Body surface area", m.bsa_m2, ".2f", unit="m²"),
        _number("EDV index", m.edv_index_ml_per_m2, ".0f", unit="ml/m²", why_not=why),
        _number("ESV index", m.esv_index_ml_per_m2, ".0f", unit="ml/m²", why_not=why),
        _number("Stroke volume index", m.sv_index_ml_per_m2, ".0f", unit="ml/m²", why_not=why),
        _number("Cardiac index", m.cardiac_index_l_per_min_per_m2, ".1f", unit="l/min/m²", why_not=why),
        _number("Mass index", m.lv_mass_index_g_per_m2, ".0f", unit="g/m²", why_not=no_mass),
    ]


def what_was_read(analysis: Analysis) -> list[tuple[str, str]]:
    """What was read, as (name, text); unknown entries are left out."""
    cine, source, given = analysis.cine, analysis.cine.source, analysis.provenance.segmentation_source
    scanner = " ".join(text for text in (source.manufacturer, source.scanner) if text)
    field_strength = "" if source.field_strength_t is None else f", {source.field_strength_t:g} T"
    rows = [
        ("Read from", _KINDS.get(source.kind, "")),
        ("Study date", source.study_date or ""),
        ("Series", " · ".join(text for text in (source.description, source.protocol) if text)),
        ("Picked because", source.picked_because or ""),
        ("Not picked", "; ".join(f"{series}: {reason}" for series, reason in source.not_picked)),
        ("Scanner", scanner + field_strength if scanner else ""),
        ("Stack", f"{cine.n_slices} slices of {cine.pixels.shape[2]} × {cine.pixels.shape[3]} pixels"),
        ("Phases", _phases_text(analysis)),
        ("Pixel spacing", _spacing_text(cine)),
        ("Slice distance", _distance_text(cine)),
        ("Heart beat", _beat_text(cine, analysis.measurements.beat)),
        ("Order", _order_text(cine)),
        ("Patient", _patient_text(cine.patient, analysis.measurements)),
        ("Segmentation", _SOURCES.get(given, given)),
    ]
    return [(name, text) for name, text in rows if text]


def _phases_text(analysis: Analysis) -> str:
    known = int(analysis.segmentation.known_phases[Structure.CAVITY].sum())
    total = analysis.cine.n_phases
    times = analysis.measurements.phase_times_ms
    apart = "" if times is None or total < 2 else f", {(times[-1] - times[0]) / (total - 1):.0f} ms apart"
    return f"{total}{apart}; " + ("all segmented" if known == total else f"{known} of them segmented")


def _spacing_text(cine: Cine) -> str:
    if cine.grid is None:
        return "not known"
    down, right = cine.grid.spacing_mm
    return f"{down:.2f} mm" if abs(down - right) < 0.005 else f"{down:.2f} mm (rows) × {right:.2f} mm (columns)"


def _distance_text(cine: Cine) -> str:
    if cine.grid is None or cine.grid.slice_distance_mm is None:
        return "not known" if cine.grid is None else "a single slice"
    distances, thickness = cine.grid.slice_distances_mm, cine.source.slice_thickness_mm
    text = f"{cine.grid.slice_distance_mm:.1f} mm, centre to centre"
    if not cine.grid.is_even():
        text = f"uneven, {distances.min():.1f} to {distances.max():.1f} mm, centre to centre"
    return text + ("" if thickness is None else f" (slice thickness {thickness:.3g} mm)")


def _beat_text(cine: Cine, beat: Beat | None) -> str:
    if beat is not None and beat.rr_interval_ms is not None and beat.rr_interval_ms != cine.rr_interval_ms:
        phases = f"phases {beat.phases[0]} to {beat.phases[1]} of {cine.n_phases}"
        return f"{60_000 / beat.rr_interval_ms:.0f} /min, RR {beat.rr_interval_ms:.0f} ms from the areas ({phases})"
    if cine.rr_intervals_ms is None or cine.heart_rate_bpm is None:
        return "RR interval not known"
    low, high = cine.rr_intervals_ms.min(), cine.rr_intervals_ms.max()
    spread = "" if high - low < 1 else f" ({low:.0f} to {high:.0f} ms from slice to slice)"
    return f"{cine.heart_rate_bpm:.0f} /min, RR {cine.rr_interval_ms:.0f} ms{spread}"


def _order_text(cine: Cine) -> str:
    if cine.base_first is None:
        return "base and apex unknown: slices in stored order"
    return f"shown from base to apex; slice 0 is the {'basal' if cine.base_first else 'apical'} end"


def _patient_text(patient: Patient, m: Measurements) -> str:
    age = None if patient.age_years is None else f"{patient.age_years:.0f} years"
    named = (patient.name, patient.patient_id, patient.birth_date)
    size = [None if m.height_cm is None else f"{m.height_cm:.0f} cm", m.weight_kg and f"{m.weight_kg:.0f} kg"]
    return ", ".join(text for text in (*named, patient.sex, age, *size) if text)


def signature(analysis: Analysis) -> list[tuple[str, str]]:
    """Who approved the results and who corrected what, as (name, text); [] where no person has touched them."""
    rows, approval = [], analysis.approval
    if approval is not None:
        by = f"{approval.by} ({approval.organization})" if approval.organization != "not stated" else approval.by
        rows.append(("Approved by", f"{by}, {approval.moment:%Y-%m-%d %H:%M} UTC, version {approval.number}"))
        rows += [("Comment", approval.comment)] if approval.comment else []
    return rows + [(f"Corrected by {person}", text) for person, text in corrections(analysis.segmentation).items()]


def corrections(segmentation: Segmentation) -> dict[str, str]:
    """Person -> which contours that person has drawn, interpolated or decided against."""
    counts: dict[str, Counter[tuple[Structure, str]]] = {}
    for key, drawn in sorted(segmentation.origins.items(), key=lambda item: item[0]):
        if drawn.origin not in (Origin.EDITED, Origin.INTERPOLATED):
            continue
        there = bool(segmentation.outline(*key))
        what = "left empty" if not there else "drawn" if drawn.origin is Origin.EDITED else "interpolated"
        counts.setdefault(drawn.by, Counter())[key[0], what] += 1
    return {
        person: ", ".join(f"{structure.facts.border}: {count} {what}" for (structure, what), count in mine.items())
        for person, mine in counts.items()
    }
