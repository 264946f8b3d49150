"""Writing a DICOM SR: measurements as an Imaging Measurement Report (TID 1500) in Comprehensive SR.

    Imaging Measurement Report
    ├── device observer: cinesax; procedure: cardiac MRI
    └── Imaging Measurements
        ├── Measurement Group, TID 1411: the cavity at end diastole, its segment in seg_ed.dcm; EDV
        ├── Measurement Group, TID 1411: the cavity at end systole, its segment in seg_es.dcm; ESV
        ├── Measurement Group, TID 1411: the myocardium at end diastole, its segment in seg_ed.dcm; LV mass
        ├── Measurement Group, TID 1501: the left ventricle; stroke volume, EF, cardiac output, heart rate
        └── the same groups of each other chamber that was segmented; where its ED or ES is not that of the LV, its
            segment is that of seg_cine.dcm

The function of the left ventricle also holds, as a qualitative evaluation in words, which errors are to be expected of
the network.

Values that were not measured are left out. Unless a person has approved the analysis, the report is unverified and
preliminary: no person has checked it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PersonObserverIdentifyingAttributes,
    QualitativeEvaluation,
    ReferencedSegment,
    RelationshipTypeValues,
    SourceImageForSegmentation,
    TextContentItem,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from cinesax._version import __version__
from cinesax.core.analysis import Analysis, Trust
from cinesax.core.errors import InputError, OutputError
from cinesax.core.measurements import EfBasis, Measurements
from cinesax.core.structures import LV, Chamber, Structure, blood_of, wall_of
from cinesax.dicom.copied import lenient
from cinesax.dicom.read.header import DICOM_ERRORS
from cinesax.dicom.uid import derived_uid
from cinesax.dicom.write.filing import Filing, ObjectKind, describe, finish, reference, source_images
from cinesax.dicom.write.options import SEG_CINE_NAME, SEG_ED_NAME, SEG_ES_NAME, SR_NAME
from cinesax.dicom.write.people import ascii_text, person_name
from cinesax.dicom.write.seg import ANATOMICAL_STRUCTURE, code_of, tracking

LV_MASS = Code("18087-7", "LN", "Left Ventricle Mass")
HEART_RATE = Code("8867-4", "LN", "Heart rate")

ML = Code("ml", "UCUM", "ml")
PERCENT = Code("%", "UCUM", "percent")
L_PER_MIN = Code("l/min", "UCUM", "l/min")
G = Code("g", "UCUM", "g")
BEATS_PER_MIN = Code("{H.B.}/min", "UCUM", "beats per minute")

PAPILLARY_MUSCLES = Code("122670", "DCM", "Papillary Muscle Included/Excluded")
INCLUDED = Code("122621", "DCM", "Papillary Muscle Included")
EXCLUDED = Code("122620", "DCM", "Papillary Muscle Excluded")
CARDIAC_MRI = Code("241620005", "SCT", "Cardiac MRI")
DEVICE = Code("121007", "DCM", "Device")
PERSON = Code("121006", "DCM", "Person")
MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")

COMMENT = Code("121106", "DCM", "Comment")

_REFERENCED_SEGMENT = "121191"

DECIMALS = 4
"""Decimals of the values, as in analysis.json."""


Group = MeasurementsAndQualitativeEvaluations | VolumetricROIMeasurementsAndQualitativeEvaluations


@dataclass(frozen=True, slots=True)
class _Roi:
    """A value measured on one structure at one phase, and the SEG object that holds the structure."""

    name: Code
    value: float | None
    unit: Code
    structure: Structure
    moment: str
    phase: int | None
    seg: str


def sr_dataset(
    analysis: Analysis, filing: Filing, segs: Mapping[str, Dataset], *, predecessors: Sequence[Path] = ()
) -> Dataset | None:
    """The report of an analysis.

    Args:
        analysis: the analysis of an exam read from DICOM.
        filing: see `cinesax.dicom.write.filing.file_under`.
        segs: the SEG objects of the same analysis by file name (`cinesax.dicom.write.seg.seg_datasets`).
        predecessors: reports of earlier versions.

    Returns:
        The object; None if nothing was measured.
    """
    rois = [roi for roi in _rois(analysis) if roi.value is not None and roi.phase is not None]
    signed, included = analysis.approval, analysis.segmentation.papillary_muscles_included
    papillary = QualitativeEvaluation(PAPILLARY_MUSCLES, INCLUDED if included else EXCLUDED)
    with lenient():
        images = source_images(analysis.cine, filing)
        groups: list[Group] = [_volume(roi, analysis, filing, segs, papillary=papillary) for roi in rois]
        groups += _function(analysis, filing, papillary)
        if not groups:
            return None
        report = MeasurementReport(_observer(analysis), CARDIAC_MRI, groups, title=MEASUREMENT_REPORT)
        _separate(report)
        # Source images first: `finish` replaces what highdicom copies from them.
        frames = [image for roi in rois for image in images[roi.phase or 0]]
        document = ComprehensiveSR(
            evidence=[*(frames or images[0]), *(segs[name] for name in sorted({roi.seg for roi in rois}))],
            content=report,
            sop_instance_uid=filing.uid(SR_NAME, *sorted(s.SOPInstanceUID for s in segs.values())),
            instance_number=1,
            is_complete=True,
            is_final=signed is not None,
            is_verified=signed is not None,
            verifying_observer_name=None if signed is None else person_name(signed.by),
            verifying_organization=None if signed is None else ascii_text(signed.organization),
            previous_versions=[_identified(path) for path in predecessors] or None,
            **describe(filing, ObjectKind.SR),
        )
        for observer in document.get("VerifyingObserverSequence", ()):
            observer.VerificationDateTime = filing.content.strftime("%Y%m%d%H%M%S")
        finish(document, filing)
    return document


def _rois(analysis: Analysis) -> tuple[_Roi, ...]:
    left = analysis.measurements
    rois = []
    for m in (left, *left.others):
        blood, wall = blood_of(m.chamber), wall_of(m.chamber)
        # The objects of ED and ES hold one phase each: those of the LV.
        ed = "end diastole", m.ed_phase, SEG_ED_NAME if m.ed_phase == left.ed_phase else SEG_CINE_NAME
        es = "end systole", m.es_phase, SEG_ES_NAME if m.es_phase == left.es_phase else SEG_CINE_NAME
        if m.chamber.edv:
            rois.append(_Roi(code_of(m.chamber.edv), m.edv_ml, ML, blood, *ed))
        if m.chamber.esv:
            rois.append(_Roi(code_of(m.chamber.esv), m.esv_ml, ML, blood, *es))
        if wall is not None:
            rois.append(_Roi(LV_MASS, m.lv_mass_g, G, wall, *ed))
    return tuple(rois)


def _volume(
    roi: _Roi,
    analysis: Analysis,
    filing: Filing,
    segs: Mapping[str, Dataset],
    *,
    papillary: QualitativeEvaluation,
) -> Group:
    """TID 1411: one structure at one phase."""
    chamber = roi.structure.facts.chamber
    seg, code, phase = segs[roi.seg], code_of(roi.structure.facts.code), roi.phase or 0
    present = np.flatnonzero(analysis.segmentation.mask(roi.structure)[phase].any(axis=(1, 2)))
    _, uid = tracking(filing, roi.structure, analysis.segmentation)
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=uid, identifier=f"{roi.structure.facts.words}, {roi.moment}"),
        referenced_segment=ReferencedSegment(
            sop_class_uid=seg.SOPClassUID,
            sop_instance_uid=seg.SOPInstanceUID,
            segment_number=_segment_number(seg, code),
            source_images=_sources(analysis, filing, phase, [int(place) for place in present] or [0]),
        ),
        finding_category=ANATOMICAL_STRUCTURE,
        finding_type=code,
        algorithm_id=_algorithm(analysis, chamber),
        finding_sites=[FindingSite(anatomic_location=code_of(chamber.site))],
        measurements=[_number(roi.name, roi.value, roi.unit)],
        qualitative_evaluations=[papillary] if chamber == LV else None,
    )


def _function(analysis: Analysis, filing: Filing, papillary: QualitativeEvaluation) -> list[Group]:
    """TID 1501: values of the beat, not of a phase; [] if there are none."""
    left, groups = analysis.measurements, list[Group]()
    for m in (left, *left.others):
        values = _function_values(m)
        if not values:
            continue
        site, what = code_of(m.chamber.site), ["function", *([] if m is left else [m.chamber.key])]
        groups.append(
            MeasurementsAndQualitativeEvaluations(
                tracking_identifier=TrackingIdentifier(
                    uid=derived_uid(filing.study_uid, "tracking", *what), identifier=f"{m.chamber.short} function"
                ),
                finding_category=ANATOMICAL_STRUCTURE,
                finding_type=site,
                algorithm_id=_algorithm(analysis, m.chamber),
                finding_sites=[FindingSite(anatomic_location=site)],
                measurements=[_number(name, value, unit) for name, value, unit in values],
                qualitative_evaluations=[papillary] if m is left else None,
            )
        )
        if m is left and analysis.trust is not None:
            # highdicom takes coded evaluations only.
            groups[-1][0].ContentSequence.append(_expected(analysis.trust))
    return groups


def _expected(trust: Trust) -> TextContentItem:
    """The predicted Dice, the interval for EF, and the reasons."""
    low, high = trust.ef_low_percent, trust.ef_high_percent
    ef = "" if low is None or high is None else f"; EF {low:.0f} to {high:.0f} % ({100 * trust.level:.0f} % interval)"
    text = f"predicted Dice of the LV cavity {trust.dice:.2f}{ef}; {trust.words}"
    return TextContentItem(COMMENT, text, RelationshipTypeValues.CONTAINS)


def _function_values(m: Measurements) -> list[tuple[Code, float, Code]]:
    """Name, value and unit of the known values of a chamber's beat. Only the LV gets the heart rate."""
    # A fraction of summed areas is not the ejection fraction of the ventricle by MR.
    ef_percent = m.ef_percent if m.ef_basis is EfBasis.VOLUMES else None
    values = [
        (m.chamber.stroke_volume, m.sv_ml, ML),
        (m.chamber.ejection_fraction, ef_percent, PERCENT),
        (m.chamber.cardiac_output, m.cardiac_output_l_per_min, L_PER_MIN),
    ]
    named = [
        (code_of(concept), value, unit) for concept, value, unit in values if concept is not None and value is not None
    ]
    if m.chamber == LV and m.heart_rate_bpm is not None:
        named.append((HEART_RATE, m.heart_rate_bpm, BEATS_PER_MIN))
    return named


def _number(name: Code, value: float | None, unit: Code) -> Measurement:
    return Measurement(name=name, value=round(float(value or 0.0), DECIMALS), unit=unit)


def _segment_number(seg: Dataset, code: Code) -> int:
    """The segment number of a structure, by its code."""
    for segment in seg.SegmentSequence:
        if segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == code.value:
            return int(segment.SegmentNumber)
    raise InputError(f"the segmentation object has no segment of {code.meaning} (SCT {code.value}), which was measured")


def _sources(analysis: Analysis, filing: Filing, phase: int, places: Sequence[int]) -> list[SourceImageForSegmentation]:
    """The source of each frame of a segment; a multi-frame instance gets one reference with all its frames."""
    frames: dict[str, list[int]] = {}
    for place in places:
        item = reference(analysis.cine, filing, phase, place)
        numbers = frames.setdefault(item.ReferencedSOPInstanceUID, [])
        if "ReferencedFrameNumber" in item:
            numbers.append(int(item.ReferencedFrameNumber))
    return [
        SourceImageForSegmentation(filing.source_class_uid, uid, sorted(set(numbers)) or None)
        for uid, numbers in frames.items()
    ]


def _algorithm(analysis: Analysis, chamber: Chamber) -> AlgorithmIdentification:
    made, m = analysis.provenance, analysis.measurements.of(chamber) or analysis.measurements
    parameters = [
        f"segmentation: {made.model or analysis.segmentation.author}",
        f"areas from {m.area_method.value}",
        f"phases from 0: ED {m.ed_phase}, ES {m.es_phase}",
    ]
    return AlgorithmIdentification(
        name="cinesax, summation of slices",
        version=__version__,
        manufacturer="cinesax",
        parameters=[item.encode("ascii", "replace").decode("ascii") for item in parameters],
    )


def _separate(items: Sequence[Dataset]) -> None:
    """Mark the items of containers as separate: highdicom marks them as flowing text, shown without names."""
    for item in items:
        if item.ValueType == "CONTAINER":
            item.ContinuityOfContent = "SEPARATE"
        _separate(item.get("ContentSequence", ()))


def _identified(path: Path) -> Dataset:
    """The report of an earlier version, as far as a reference needs it."""
    try:
        return pydicom.dcmread(path, stop_before_pixels=True)
    except DICOM_ERRORS as error:
        raise InputError(f"{path} cannot be read as the report of an earlier version: {error}") from error


def _observer(analysis: Analysis) -> ObservationContext:
    """The program, and the person who signed."""
    device = DeviceObserverIdentifyingAttributes(
        uid=derived_uid("cinesax", __version__),
        name="cinesax",
        manufacturer_name="cinesax",
        model_name="cinesax",
        serial_number=__version__,
    )
    observer = ObserverContext(observer_type=CodedConcept.from_code(DEVICE), observer_identifying_attributes=device)
    if analysis.approval is None:
        return ObservationContext(observer_device_context=observer)
    organization = ascii_text(analysis.approval.organization)
    person = ObserverContext(
        observer_type=CodedConcept.from_code(PERSON),
        observer_identifying_attributes=PersonObserverIdentifyingAttributes(
            name=person_name(analysis.approval.by), organization_name=organization
        ),
    )
    return ObservationContext(observer_person_context=person, observer_device_context=observer)


def prove_sr(path: Path, analysis: Analysis) -> None:
    """Read a report again, and compare it with the measurements and with the segmentations in its folder.

    Args:
        path: the file; the SEG objects that it refers to are in the same folder.
        analysis: the analysis that it was made from.

    Raises:
        OutputError: a value is missing, extra or different, or a referenced segment does not exist.
    """
    left = analysis.measurements
    named = {roi.name.value: roi.value for roi in _rois(analysis)}
    named |= {name.value: value for m in (left, *left.others) for name, value, _ in _function_values(m)}
    meant = {code: round(float(value), DECIMALS) for code, value in named.items() if value is not None}
    try:
        with lenient():
            items = list(_descendants(pydicom.dcmread(path)))
            numbers = [_read_number(item) for item in items if item.ValueType == "NUM"]
            segments = {_read_segment(item) for item in items if _code_of(item) == _REFERENCED_SEGMENT}
            there = {
                pair for name in (SEG_ED_NAME, SEG_ES_NAME, SEG_CINE_NAME) for pair in _segments_of(path.parent / name)
            }
    except DICOM_ERRORS as error:
        raise _mismatch(path, f"it cannot be read ({error!r})") from error
    if len(numbers) != len(meant) or dict(numbers) != meant:
        raise _mismatch(path, f"it says {dict(numbers)} where {meant} was measured")
    if not segments <= there:
        raise _mismatch(path, f"it refers to segments that are not there: {sorted(segments - there)}")


def _descendants(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", ()):
        yield child
        yield from _descendants(child)


def _code_of(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeValue)


def _read_number(item: Dataset) -> tuple[str, float]:
    measured = item.MeasuredValueSequence[0]
    return _code_of(item), float(measured.NumericValue)


def _read_segment(item: Dataset) -> tuple[str, int]:
    """(SOPInstanceUID, SegmentNumber)."""
    referenced = item.ReferencedSOPSequence[0]
    return str(referenced.ReferencedSOPInstanceUID), int(referenced.ReferencedSegmentNumber)


def _segments_of(path: Path) -> list[tuple[str, int]]:
    if not path.exists():
        return []
    seg = pydicom.dcmread(path, specific_tags=["SOPInstanceUID", "SegmentSequence"], stop_before_pixels=True)
    return [(str(seg.SOPInstanceUID), int(item.SegmentNumber)) for item in seg.SegmentSequence]


def _mismatch(path: Path, what: str) -> OutputError:
    return OutputError(f"{path.name} was read back and differs from what was intended: {what}; no results were kept")
