"""DICOM SR out: what was measured, as an Imaging Measurement Report (TID 1500) in Comprehensive SR.

    Imaging Measurement Report
    ├── device observer: cinesax; procedure: cardiac MRI
    └── Imaging Measurements
        ├── Measurement Group, TID 1411: the cavity at end diastole, its segment in seg_ed.dcm; EDV
        ├── Measurement Group, TID 1411: the cavity at end systole, its segment in seg_es.dcm; ESV
        ├── Measurement Group, TID 1411: the myocardium at end diastole, its segment in seg_ed.dcm; LV mass
        └── Measurement Group, TID 1501: the left ventricle; stroke volume, EF, cardiac output, heart rate

What was not measured is not in it. The report is unverified and preliminary: no person has looked at it.
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
    QualitativeEvaluation,
    ReferencedSegment,
    SourceImageForSegmentation,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from cinesax._version import __version__
from cinesax.core.analysis import Analysis
from cinesax.core.errors import InputError, OutputError
from cinesax.core.measurements import EfBasis
from cinesax.core.segmentation import Structure
from cinesax.dicom.copied import lenient
from cinesax.dicom.read.header import DICOM_ERRORS
from cinesax.dicom.uid import derived_uid
from cinesax.dicom.write.filing import Filing, Kind, describe, finish, reference, source_images
from cinesax.dicom.write.options import SEG_ED_NAME, SEG_ES_NAME, SR_NAME
from cinesax.dicom.write.seg import ANATOMICAL_STRUCTURE, LEFT_VENTRICLE, SEGMENTS, tracking

EDV = Code("8821-1", "LN", "Left Ventricular ED Volume")
ESV = Code("8823-7", "LN", "Left Ventricular ES Volume")
STROKE_VOLUME = Code("90096001", "SCT", "Stroke Volume")
EJECTION_FRACTION = Code("8811-2", "LN", "Left ventricular ejection fraction by MR")
CARDIAC_OUTPUT = Code("82799009", "SCT", "Cardiac Output")
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
MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")

_REFERENCED_SEGMENT = "121191"

DECIMALS = 4
"""Of the numbers, as in analysis.json: both say the same."""


Group = MeasurementsAndQualitativeEvaluations | VolumetricROIMeasurementsAndQualitativeEvaluations


@dataclass(frozen=True, slots=True)
class _Roi:
    """A number that was measured on one structure at one phase, and the SEG object that holds it."""

    name: Code
    value: float | None
    unit: Code
    structure: Structure
    moment: str
    phase: int | None
    seg: str


def sr_dataset(analysis: Analysis, filing: Filing, segs: Mapping[str, Dataset]) -> Dataset | None:
    """The report of an analysis.

    Args:
        analysis: of an exam read from DICOM.
        filing: see `dicom_out.file_under`.
        segs: the SEG objects of the same analysis by the names of their files (`dicom_seg.seg_datasets`).

    Returns:
        The object; None where nothing was measured.
    """
    rois = [roi for roi in _rois(analysis) if roi.value is not None and roi.phase is not None]
    included = analysis.segmentation.papillary_muscles_included
    papillary = QualitativeEvaluation(PAPILLARY_MUSCLES, INCLUDED if included else EXCLUDED)
    with lenient():
        images = source_images(analysis.cine, filing)
        algorithm = _algorithm(analysis)
        groups: list[Group] = [_volume(roi, analysis, filing, segs, shared=(papillary, algorithm)) for roi in rois]
        groups += _function(analysis, filing, (papillary, algorithm))
        if not groups:
            return None
        report = MeasurementReport(_observer(), CARDIAC_MRI, groups, title=MEASUREMENT_REPORT)
        _separate(report)
        # Source images first: what highdicom copies from there, `finish` replaces.
        frames = [image for roi in rois for image in images[roi.phase or 0]]
        document = ComprehensiveSR(
            evidence=[*(frames or images[0]), *(segs[name] for name in sorted({roi.seg for roi in rois}))],
            content=report,
            sop_instance_uid=filing.uid(SR_NAME, *sorted(s.SOPInstanceUID for s in segs.values())),
            instance_number=1,
            is_complete=True,
            is_final=False,
            is_verified=False,
            **describe(filing, Kind.SR),
        )
        finish(document, filing)
    return document


def _rois(analysis: Analysis) -> tuple[_Roi, ...]:
    m = analysis.measurements
    ed, es = ("end diastole", m.ed_phase, SEG_ED_NAME), ("end systole", m.es_phase, SEG_ES_NAME)
    return (
        _Roi(EDV, m.edv_ml, ML, Structure.CAVITY, *ed),
        _Roi(ESV, m.esv_ml, ML, Structure.CAVITY, *es),
        _Roi(LV_MASS, m.lv_mass_g, G, Structure.MYOCARDIUM, *ed),
    )


def _volume(
    roi: _Roi,
    analysis: Analysis,
    filing: Filing,
    segs: Mapping[str, Dataset],
    *,
    shared: tuple[QualitativeEvaluation, AlgorithmIdentification],
) -> Group:
    """TID 1411: one structure at one phase."""
    papillary, algorithm = shared
    seg, code, phase = segs[roi.seg], SEGMENTS[roi.structure].code, roi.phase or 0
    present = np.flatnonzero(analysis.segmentation.mask(roi.structure)[phase].any(axis=(1, 2)))
    _, uid = tracking(filing, roi.structure, analysis.segmentation)
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=uid, identifier=f"LV {roi.structure.name.lower()}, {roi.moment}"),
        referenced_segment=ReferencedSegment(
            sop_class_uid=seg.SOPClassUID,
            sop_instance_uid=seg.SOPInstanceUID,
            segment_number=_segment_number(seg, code),
            source_images=_sources(analysis, filing, phase, [int(place) for place in present] or [0]),
        ),
        finding_category=ANATOMICAL_STRUCTURE,
        finding_type=code,
        algorithm_id=algorithm,
        finding_sites=[FindingSite(anatomic_location=LEFT_VENTRICLE)],
        measurements=[_number(roi.name, roi.value, roi.unit)],
        qualitative_evaluations=[papillary],
    )


def _function(
    analysis: Analysis, filing: Filing, shared: tuple[QualitativeEvaluation, AlgorithmIdentification]
) -> list[Group]:
    """TID 1501: what belongs to the beat rather than to a phase; [] where there is nothing of it."""
    papillary, algorithm = shared
    m = analysis.measurements
    values = (
        (STROKE_VOLUME, m.sv_ml, ML),
        # A fraction of summed areas is no ejection fraction of the ventricle by MR.
        (EJECTION_FRACTION, m.ef_percent if m.ef_basis is EfBasis.VOLUMES else None, PERCENT),
        (CARDIAC_OUTPUT, m.cardiac_output_l_per_min, L_PER_MIN),
        (HEART_RATE, m.heart_rate_bpm, BEATS_PER_MIN),
    )
    numbers = [_number(name, value, unit) for name, value, unit in values if value is not None]
    if not numbers:
        return []
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=derived_uid(filing.study_uid, "tracking", "function"), identifier="LV function"
        ),
        finding_category=ANATOMICAL_STRUCTURE,
        finding_type=LEFT_VENTRICLE,
        algorithm_id=algorithm,
        finding_sites=[FindingSite(anatomic_location=LEFT_VENTRICLE)],
        measurements=numbers,
        qualitative_evaluations=[papillary],
    )
    return [group]


def _number(name: Code, value: float | None, unit: Code) -> Measurement:
    return Measurement(name=name, value=round(float(value or 0.0), DECIMALS), unit=unit)


def _segment_number(seg: Dataset, code: Code) -> int:
    """The number of the segment of a structure, found by its code."""
    for segment in seg.SegmentSequence:
        if segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == code.value:
            return int(segment.SegmentNumber)
    raise InputError(f"the segmentation object has no segment of {code.meaning} (SCT {code.value}), which was measured")


def _sources(analysis: Analysis, filing: Filing, phase: int, places: Sequence[int]) -> list[SourceImageForSegmentation]:
    """The source of each frame of a segment; of multi-frame instances one reference with all its frames."""
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


def _algorithm(analysis: Analysis) -> AlgorithmIdentification:
    made, m = analysis.provenance, analysis.measurements
    parameters = [
        f"segmentation: {made.model or analysis.segmentation.author}",
        f"areas from {m.area_method.value}",
        f"phases from 0: ED {m.ed_phase}, ES {m.es_phase}",
    ]
    return AlgorithmIdentification(
        name="cinesax, summation of slices",
        version=__version__,
        manufacturer="cinesax",
        parameters=[one.encode("ascii", "replace").decode("ascii") for one in parameters],
    )


def _separate(items: Sequence[Dataset]) -> None:
    """Say that the items of containers stand apart: as flowing text, which highdicom says, they show without names."""
    for item in items:
        if item.ValueType == "CONTAINER":
            item.ContinuityOfContent = "SEPARATE"
        _separate(item.get("ContentSequence", ()))


def _observer() -> ObservationContext:
    device = DeviceObserverIdentifyingAttributes(
        uid=derived_uid("cinesax", __version__),
        name="cinesax",
        manufacturer_name="cinesax",
        model_name="cinesax",
        serial_number=__version__,
    )
    observer = ObserverContext(observer_type=CodedConcept.from_code(DEVICE), observer_identifying_attributes=device)
    return ObservationContext(observer_device_context=observer)


def prove_sr(path: Path, analysis: Analysis) -> None:
    """Read a report again, and compare it with what was measured and with the segmentations beside it.

    Args:
        path: the file; the SEG objects that it refers to lie in the same folder.
        analysis: what it was made from.

    Raises:
        OutputError: a number is missing, is one too many or another; a segment that is referred to is not there.
    """
    m = analysis.measurements
    named = {
        EDV.value: m.edv_ml,
        ESV.value: m.esv_ml,
        LV_MASS.value: m.lv_mass_g,
        STROKE_VOLUME.value: m.sv_ml,
        EJECTION_FRACTION.value: m.ef_percent if m.ef_basis is EfBasis.VOLUMES else None,
        CARDIAC_OUTPUT.value: m.cardiac_output_l_per_min,
        HEART_RATE.value: m.heart_rate_bpm,
    }
    meant = {code: round(float(value), DECIMALS) for code, value in named.items() if value is not None}
    try:
        with lenient():
            items = list(_descendants(pydicom.dcmread(path)))
            numbers = [_read_number(item) for item in items if item.ValueType == "NUM"]
            segments = {_read_segment(item) for item in items if _code_of(item) == _REFERENCED_SEGMENT}
            there = {pair for name in (SEG_ED_NAME, SEG_ES_NAME) for pair in _segments_of(path.parent / name)}
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
    return [(str(seg.SOPInstanceUID), int(one.SegmentNumber)) for one in seg.SegmentSequence]


def _mismatch(path: Path, what: str) -> OutputError:
    return OutputError(f"{path.name} was read again and is not what was meant: {what}; nothing was kept of the results")
