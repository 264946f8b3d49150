"""Enhanced MR Image Storage: all frames of a series in one instance, described by functional groups."""

from collections.abc import Sequence

import numpy as np
import pydicom
from pydicom.sequence import Sequence as Items
from pydicom.tag import Tag
from pydicom.uid import EnhancedMRImageStorage

from cinesax._version import __version__
from cinesax.dicom.uid import derived_uid
from cinesax.phantom.dicom.parts import (
    SYNTHETIC_DATE,
    Writing,
    as_ds,
    as_ds_list,
    describe_pixels,
    describe_study,
    file_meta,
    time_of_day,
)
from cinesax.phantom.scanning import Scan, ScannedFrame

_STACK = "1"
_TR_MS, _TE_MS, _FLIP_DEGREES = 3.2, 1.6, 50.0
_FRAME_TYPE = ["ORIGINAL", "PRIMARY", "CARDIAC", "NONE"]
_HYDROGEN_MHZ_PER_T = 42.577478


def enhanced_instances(
    writing: Writing, frames: Sequence[ScannedFrame], *, first_instance: int = 1
) -> list[pydicom.Dataset]:
    """Make one instance for each matrix size and acquisition: the frames of one instance share both.

    Args:
        writing: what the instances are made from.
        frames: the frames of one series, in stored order.
        first_instance: the first InstanceNumber.
    """
    groups: dict[tuple[int, ...], list[ScannedFrame]] = {}
    for frame in frames:
        groups.setdefault((frame.acquisition, *frame.pixels.shape), []).append(frame)
    return [
        _instance(writing, groups[key], number=number)
        for number, key in enumerate(sorted(groups), start=first_instance)
    ]


def _instance(writing: Writing, frames: Sequence[ScannedFrame], *, number: int) -> pydicom.Dataset:
    scan, stored = writing.scan, writing.stored
    dataset = describe_study(writing)
    dataset.SOPClassUID = EnhancedMRImageStorage
    dataset.SOPInstanceUID = derived_uid(dataset.SeriesInstanceUID, "enhanced", number)
    dataset.InstanceNumber = number
    dataset.DeviceSerialNumber = "phantom"
    _describe_image(dataset, scan, frames)
    _describe_sequence(dataset, scan)
    describe_pixels(dataset, stored, frames[0].pixels.shape)
    dataset.NumberOfFrames = len(frames)
    _describe_dimensions(dataset)
    dataset.SharedFunctionalGroupsSequence = Items([_shared_groups(scan, frames[0])])
    places = {place: index for index, place in enumerate(sorted({frame.slice_index for frame in frames}), start=1)}
    dataset.PerFrameFunctionalGroupsSequence = Items(
        [_frame_groups(frame, writing, place=places[frame.slice_index]) for frame in frames]
    )
    dataset.file_meta = file_meta(dataset)
    dataset.PixelData = b"".join(stored.frame_bytes(frame.pixels) for frame in frames)
    return dataset


def _describe_image(dataset: pydicom.Dataset, scan: Scan, frames: Sequence[ScannedFrame]) -> None:
    dataset.ImageType = _FRAME_TYPE
    dataset.AcquisitionNumber = 1 + frames[0].acquisition
    del dataset.AcquisitionDate
    dataset.AcquisitionDateTime = dataset.StudyDate + time_of_day(frames[0].acquired_s)
    dataset.AcquisitionDuration = 8000.0
    dataset.ContentTime = time_of_day(frames[-1].acquired_s + 10)
    dataset.PixelPresentation = "MONOCHROME"
    dataset.VolumetricProperties = "VOLUME"
    dataset.VolumeBasedCalculationTechnique = "NONE"
    dataset.ComplexImageComponent = "MAGNITUDE"
    dataset.AcquisitionContrast = "UNKNOWN"
    dataset.ContentQualification = "RESEARCH"
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.AcquisitionContextSequence = Items()
    dataset.ApplicableSafetyStandardAgency = "IEC"
    dataset.ResonantNucleus = "1H"
    dataset.KSpaceFiltering = "NONE"
    dataset.MagneticFieldStrength = scan.source.field_strength_t or 1.5
    dataset.SoftwareVersions = __version__


def _describe_sequence(dataset: pydicom.Dataset, scan: Scan) -> None:
    """The modules of the pulse sequence and of cardiac synchronisation."""
    values = {
        "PulseSequenceName": "bSSFP",
        "MRAcquisitionType": "2D",
        "EchoPulseSequence": "GRADIENT",
        "MultiPlanarExcitation": "NO",
        "PhaseContrast": "NO",
        "TimeOfFlightContrast": "NO",
        "SteadyStatePulseSequence": "FREE_PRECESSION",
        "EchoPlanarPulseSequence": "NO",
        "SaturationRecovery": "NO",
        "SpectrallySelectedSuppression": "NONE",
        "OversamplingPhase": "NONE",
        "GeometryOfKSpaceTraversal": "RECTILINEAR",
        "RectilinearPhaseEncodeReordering": "LINEAR",
        "SegmentedKSpaceTraversal": "PARTIAL",
        "NumberOfKSpaceTrajectories": 1,
        "CardiacSynchronizationTechnique": scan.gating.value.upper(),
        "CardiacSignalSource": "ECG",
        "CardiacBeatRejectionTechnique": "NONE",
    }
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    intervals = [frame.rr_interval_ms for frame in scan.frames if frame.rr_interval_ms is not None]
    if intervals:
        dataset.CardiacRRIntervalSpecified = float(np.median(intervals))
        _describe_accepted_beats(dataset, float(np.median(intervals)))


def _describe_accepted_beats(dataset: pydicom.Dataset, rr_interval_ms: float) -> None:
    dataset.LowRRValue, dataset.HighRRValue = round(0.9 * rr_interval_ms), round(1.1 * rr_interval_ms)
    dataset.IntervalsAcquired, dataset.IntervalsRejected = 10, 0


def _describe_dimensions(dataset: pydicom.Dataset) -> None:
    organization = derived_uid(dataset.SOPInstanceUID, "dimensions")
    dataset.DimensionOrganizationSequence = Items([_item(DimensionOrganizationUID=organization)])
    frame_content = Tag("FrameContentSequence")
    dataset.DimensionIndexSequence = Items(
        [
            _item(
                DimensionOrganizationUID=organization,
                DimensionIndexPointer=Tag(keyword),
                FunctionalGroupPointer=frame_content,
                DimensionDescriptionLabel=label,
            )
            for keyword, label in (
                ("StackID", "stack"),
                ("InStackPositionNumber", "slice"),
                ("TemporalPositionIndex", "phase"),
            )
        ]
    )


def _item(**values: object) -> pydicom.Dataset:
    item = pydicom.Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _items(**values: object) -> Items:
    return Items([_item(**values)])


def _shared_groups(scan: Scan, frame: ScannedFrame) -> pydicom.Dataset:
    """The groups that all frames share."""
    code = _item(CodeValue="80891009", CodingSchemeDesignator="SCT", CodeMeaning="Heart")
    groups = _item(
        MRImageFrameTypeSequence=_items(
            FrameType=_FRAME_TYPE,
            PixelPresentation="MONOCHROME",
            VolumetricProperties="VOLUME",
            VolumeBasedCalculationTechnique="NONE",
            ComplexImageComponent="MAGNITUDE",
            AcquisitionContrast="UNKNOWN",
        ),
        FrameAnatomySequence=_items(FrameLaterality="U", AnatomicRegionSequence=Items([code])),
        PixelMeasuresSequence=_items(
            PixelSpacing=as_ds_list(frame.spacing_mm),
            SliceThickness=as_ds(scan.source.slice_thickness_mm or scan.slice_distance_mm or 8.0),
        ),
        MREchoSequence=_items(EffectiveEchoTime=_TE_MS),
        MRModifierSequence=_items(**_MODIFIERS),
        MRAveragesSequence=_items(NumberOfAverages=as_ds(1)),
    )
    _add_timing(groups)
    _add_encoding(groups, scan, frame)
    _add_coils(groups)
    return groups


def _add_timing(groups: pydicom.Dataset) -> None:
    modes = (("STATIC FIELD", "IEC_NORMAL"), ("RF", "IEC_NORMAL"), ("GRADIENT", "IEC_NORMAL"))
    groups.MRTimingAndRelatedParametersSequence = _items(
        RepetitionTime=as_ds(_TR_MS),
        FlipAngle=as_ds(_FLIP_DEGREES),
        EchoTrainLength=1,
        RFEchoTrainLength=0,
        GradientEchoTrainLength=1,
        SpecificAbsorptionRateSequence=_items(
            SpecificAbsorptionRateDefinition="IEC_WHOLE_BODY", SpecificAbsorptionRateValue=1.0
        ),
        GradientOutputType="DB_DT",
        GradientOutput=0.0,
        OperatingModeSequence=Items([_item(OperatingModeType=kind, OperatingMode=mode) for kind, mode in modes]),
    )


def _add_encoding(groups: pydicom.Dataset, scan: Scan, frame: ScannedFrame) -> None:
    rows, columns = frame.pixels.shape
    groups.MRFOVGeometrySequence = _items(
        InPlanePhaseEncodingDirection="COLUMN",
        MRAcquisitionFrequencyEncodingSteps=columns,
        MRAcquisitionPhaseEncodingStepsInPlane=rows,
        PercentSampling=as_ds(100),
        PercentPhaseFieldOfView=as_ds(100),
    )
    groups.MRImagingModifierSequence = _items(
        MagnetizationTransfer="NONE",
        BloodSignalNulling="NO",
        Tagging="NONE",
        TransmitterFrequency=_HYDROGEN_MHZ_PER_T * (scan.source.field_strength_t or 1.5),
        PixelBandwidth=as_ds(976.5625),
    )


def _add_coils(groups: pydicom.Dataset) -> None:
    groups.MRReceiveCoilSequence = _items(
        ReceiveCoilName="phantom",
        ReceiveCoilManufacturerName="",
        ReceiveCoilType="MULTICOIL",
        QuadratureReceiveCoil="NO",
        MultiCoilDefinitionSequence=_items(MultiCoilElementName="phantom", MultiCoilElementUsed="YES"),
    )
    groups.MRTransmitCoilSequence = _items(
        TransmitCoilName="phantom", TransmitCoilManufacturerName="", TransmitCoilType="BODY"
    )


_MODIFIERS = {
    "InversionRecovery": "NO",
    "FlowCompensation": "NONE",
    "Spoiling": "NONE",
    "T2Preparation": "NO",
    "SpectrallySelectedExcitation": "NONE",
    "SpatialPresaturation": "NONE",
    "PartialFourier": "NO",
    "ParallelAcquisition": "NO",
}


def _frame_groups(frame: ScannedFrame, writing: Writing, *, place: int) -> pydicom.Dataset:
    """The position and time of a frame."""
    style, stored = writing.style, writing.stored
    started = SYNTHETIC_DATE + time_of_day(frame.acquired_s)
    phase = 1 + frame.phase
    low, high = stored.window
    groups = _item(
        FrameContentSequence=_items(
            FrameAcquisitionNumber=1 + frame.acquisition,
            FrameReferenceDateTime=started,
            FrameAcquisitionDateTime=started,
            FrameAcquisitionDuration=8000.0,
            StackID=_STACK,
            InStackPositionNumber=place,
            TemporalPositionIndex=phase,
            DimensionIndexValues=[1, place, phase],
        ),
        PlanePositionSequence=_items(ImagePositionPatient=as_ds_list(frame.origin_mm)),
        PlaneOrientationSequence=_items(
            ImageOrientationPatient=as_ds_list(np.concatenate([frame.along_row, frame.along_column]))
        ),
        PixelValueTransformationSequence=_items(
            RescaleIntercept=as_ds(0), RescaleSlope=as_ds(stored.slope or 1), RescaleType=style.rescale_type or "US"
        ),
        FrameVOILUTSequence=_items(
            WindowCenter=as_ds(round((low + high) / 2)), WindowWidth=as_ds(max(1, round(high - low)))
        ),
    )
    if frame.trigger_time_ms is not None:
        beat = _item(NominalCardiacTriggerDelayTime=frame.trigger_time_ms)
        if frame.rr_interval_ms is not None:
            beat.RRIntervalTimeNominal = frame.rr_interval_ms
            _describe_accepted_beats(beat, frame.rr_interval_ms)
        groups.CardiacSynchronizationSequence = Items([beat])
    return groups
