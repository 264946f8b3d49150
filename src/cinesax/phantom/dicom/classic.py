"""Classic MR Image Storage: one instance per frame."""

from collections.abc import Sequence

import numpy as np
import pydicom
from pydicom.uid import MRImageStorage

from cinesax.core.cine import Gating
from cinesax.dicom.uid import derived_uid
from cinesax.phantom.dicom.parts import (
    Writing,
    as_ds,
    as_ds_list,
    describe_pixels,
    describe_study,
    file_meta,
    time_of_day,
)
from cinesax.phantom.dicom.vendors import Style, TemporalPosition
from cinesax.phantom.scanning import ScannedFrame


def classic_instances(
    writing: Writing, frames: Sequence[ScannedFrame], *, first_instance: int = 1
) -> list[pydicom.Dataset]:
    """Make one instance for each frame.

    Args:
        writing: what the instances are made from.
        frames: the frames of one series, in the order of InstanceNumber.
        first_instance: the first InstanceNumber.
    """
    shared = _shared(writing)
    made = []
    for number, frame in enumerate(frames, start=first_instance):
        instance = _instance(frame, shared, style=writing.style, number=number)
        describe_pixels(instance, writing.stored, frame.pixels.shape)
        instance.PixelData = writing.stored.frame_bytes(frame.pixels)
        made.append(instance)
    return made


def _shared(writing: Writing) -> pydicom.Dataset:
    """The elements that all instances of a classic series share."""
    style, stored = writing.style, writing.stored
    dataset = describe_study(writing)
    dataset.SOPClassUID = MRImageStorage
    dataset.ImageType = list(_image_type(writing))
    _describe_sequence(dataset, writing)
    low, high = stored.window
    dataset.WindowCenter = as_ds(round((low + high) / 2))
    dataset.WindowWidth = as_ds(max(1, round(high - low)))
    if stored.slope is not None:
        dataset.RescaleIntercept, dataset.RescaleSlope = as_ds(0), as_ds(stored.slope)
        dataset.RescaleType = style.rescale_type
    for keyword, value in style.elements.items():
        setattr(dataset, keyword, value)
    return dataset


def _image_type(writing: Writing) -> tuple[str, ...]:
    own = writing.style.image_type or writing.identity.image_type
    # Siemens marks a retrospectively gated cine as such, and says nothing about a prospectively gated one.
    retrospective = writing.scan.gating is Gating.RETROSPECTIVE
    return own if retrospective else tuple(value for value in own if value != "RETRO")


def _describe_sequence(dataset: pydicom.Dataset, writing: Writing) -> None:
    scan, identity, style = writing.scan, writing.identity, writing.style
    distance = scan.slice_distance_mm or 8.0
    gated = style.trigger_times and any(frame.trigger_time_ms is not None for frame in scan.frames)
    dataset.ScanningSequence = list(identity.scanning_sequence)
    dataset.SequenceVariant = list(identity.sequence_variant)
    # TriggerTime is required if the scan was gated.
    dataset.ScanOptions = list(style.scan_options) if gated else ""
    if style.sequence_name is not None:
        dataset.SequenceName = style.sequence_name
    dataset.MRAcquisitionType = "2D"
    dataset.SliceThickness = as_ds(scan.source.slice_thickness_mm or distance)
    if style.spacing_between_slices and scan.slice_distance_mm is not None:
        dataset.SpacingBetweenSlices = as_ds(distance)
    dataset.RepetitionTime = as_ds(3.2)
    dataset.EchoTime = as_ds(1.6)
    dataset.FlipAngle = as_ds(50)
    dataset.EchoTrainLength = 1
    dataset.MagneticFieldStrength = as_ds(scan.source.field_strength_t or 1.5)
    if identity.inversion_time_ms is not None:
        dataset.InversionTime = as_ds(identity.inversion_time_ms)


def _instance(frame: ScannedFrame, shared: pydicom.Dataset, *, style: Style, number: int) -> pydicom.Dataset:
    instance = pydicom.Dataset()
    instance.update(shared)
    instance.InstanceNumber = number
    instance.AcquisitionNumber = 1 + frame.acquisition
    instance.SOPInstanceUID = derived_uid(shared.SeriesInstanceUID, "instance", number)
    _describe_plane(instance, frame)
    _describe_time(instance, frame, style)
    instance.file_meta = file_meta(instance)
    return instance


def _describe_plane(instance: pydicom.Dataset, frame: ScannedFrame) -> None:
    instance.PixelSpacing = as_ds_list(frame.spacing_mm)
    instance.ImageOrientationPatient = as_ds_list(np.concatenate([frame.along_row, frame.along_column]))
    instance.ImagePositionPatient = as_ds_list(frame.origin_mm)
    instance.SliceLocation = as_ds(float(frame.origin_mm @ np.cross(frame.along_row, frame.along_column)))


def _describe_time(instance: pydicom.Dataset, frame: ScannedFrame, style: Style) -> None:
    instance.AcquisitionTime = time_of_day(frame.acquired_s)
    # Which of two processes reconstructed a frame: the second one lags behind.
    lag_s = 0.025 * frame.phase + 0.07 * (frame.phase % 2) if style.reconstructed_in_disorder else 0.0
    instance.ContentTime = time_of_day(frame.acquired_s + 10 + lag_s)
    if style.trigger_times and frame.trigger_time_ms is not None:
        instance.TriggerTime = as_ds(frame.trigger_time_ms)
    if frame.rr_interval_ms is not None:
        beat = {
            "NominalInterval": round(frame.rr_interval_ms),
            "HeartRate": round(60_000 / frame.rr_interval_ms),
            "CardiacNumberOfImages": frame.n_phases,
        }
        for keyword in sorted(style.beat):
            setattr(instance, keyword, beat[keyword])
    if style.temporal_position is TemporalPosition.PHASES:
        instance.TemporalPositionIdentifier = 1 + frame.phase
        instance.NumberOfTemporalPositions = frame.n_phases
    elif style.temporal_position is TemporalPosition.DYNAMICS:
        instance.TemporalPositionIdentifier = instance.NumberOfTemporalPositions = 1
