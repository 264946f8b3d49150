"""A Cine as a series of classic MR Image Storage: what a phantom is stored as."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage
from pydicom.valuerep import DSfloat, format_number_as_ds

from cinesax._version import __version__
from cinesax.cine import Cine, Patient, Source
from cinesax.errors import GeometryError, InputError, OutputError
from cinesax.formats.dicom_uid import derived_uid
from cinesax.formats.stored_files import replacing

Pixels = NDArray[Any]

_SYNTHETIC_DATE = "20240101"
_PHANTOM = "phantom"


@dataclass(frozen=True, slots=True)
class SeriesIdentity:
    """What a written series calls itself.

    A phantom brings its patient and the UIDs of study, series and frame of reference along. Of any other Cine the
    patient is left out and all UIDs are derived from `seed`: a written copy must not pass for its source.

    Attributes:
        seed: the same seed gives the same UIDs; series of one exam share it.
        number: SeriesNumber; tells the series of one exam apart.
        description: SeriesDescription; None takes that of the Cine's source.
        image_type: ImageType.
        series_uid: SeriesInstanceUID, for several cines (localizers) that make one series.
        scanning_sequence: ScanningSequence.
        sequence_variant: SequenceVariant.
        inversion_time_ms: InversionTime, for late enhancement.
    """

    seed: str = ""
    number: int = 1
    description: str | None = None
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "OTHER")
    series_uid: str | None = None
    scanning_sequence: tuple[str, ...] = ("GR",)
    sequence_variant: tuple[str, ...] = ("SS",)
    inversion_time_ms: float | None = None


def write_series(cine: Cine, folder: Path, identity: SeriesIdentity, *, first_instance: int = 1) -> list[Path]:
    """Write a Cine as a series of classic MR Image Storage, one instance a frame, explicit little endian.

    InstanceNumber counts slice by slice in the order of the Cine, and phases within each slice, from
    `first_instance`. The files are named IM-SSSS-NNNN.dcm after series and instance number.

    Args:
        cine: pixels of an integer type of at most 16 bits, or real numbers that are rounded to it; a grid.
        folder: is made where it does not exist.
        identity: what the series calls itself.
        first_instance: lets several cines of different orientation (localizers) be one series.

    Returns:
        The files, in the order of InstanceNumber.

    Raises:
        GeometryError: a Cine without a grid.
        InputError: pixels that 16 bits do not hold.
        OutputError: the files cannot be written.
    """
    if cine.grid is None:
        raise GeometryError("a cine without geometry cannot be written as DICOM")
    pixels = _sixteen_bits(cine.pixels)
    shared = _shared(cine, identity, pixels)
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for place in range(cine.n_slices):
            for phase in range(cine.n_phases):
                number = first_instance + place * cine.n_phases + phase
                path = folder / f"IM-{identity.number:04d}-{number:04d}.dcm"
                instance = _instance(cine, identity, shared, (phase, place, number))
                instance.PixelData = pixels[phase, place].astype("<" + pixels.dtype.str[1:]).tobytes()
                _save(instance, path)
                written.append(path)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from error
    return written


def _save(instance: pydicom.Dataset, path: Path) -> None:
    with replacing(path) as temporary:
        instance.save_as(temporary, enforce_file_format=True)


def _sixteen_bits(pixels: Pixels) -> Pixels:
    rounded = np.rint(pixels) if pixels.dtype.kind == "f" else pixels
    low, high = int(rounded.min()), int(rounded.max())
    if low >= 0 and high <= 65535:
        return rounded.astype(np.uint16)
    if low >= -32768 and high <= 32767:
        return rounded.astype(np.int16)
    raise InputError(f"pixels from {low} to {high} do not fit the 16 bits of MR Image Storage: scale them first")


def _number(value: float) -> DSfloat:
    return DSfloat(format_number_as_ds(float(value)))


def _numbers(values: Sequence[float] | NDArray[Any]) -> list[DSfloat]:
    return [_number(value) for value in values]


def _shared(cine: Cine, identity: SeriesIdentity, pixels: Pixels) -> pydicom.Dataset:
    """What all instances of the series have in common."""
    dataset = pydicom.Dataset()
    _describe_study(dataset, cine, identity)
    _describe_sequence(dataset, cine, identity)
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape[2:]
    dataset.BitsAllocated = 16
    highest = max(int(pixels.max()), 1)
    signed = pixels.dtype.kind == "i"
    dataset.BitsStored = 16 if signed else max(12, highest.bit_length())
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(signed)
    low, high = np.percentile(pixels[0], (1, 99.5))
    dataset.WindowCenter = _number(round((low + high) / 2))
    dataset.WindowWidth = _number(max(1, round(high - low)))
    return dataset


def _describe_study(dataset: pydicom.Dataset, cine: Cine, identity: SeriesIdentity) -> None:
    source = cine.source if cine.source.kind == _PHANTOM else Source(_PHANTOM)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = list(identity.image_type)
    dataset.SOPClassUID = MRImageStorage
    # A synthetic exam was made at no time: one constant, so that the same seed gives the same bytes.
    date = source.study_date or _SYNTHETIC_DATE
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = date
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = "120000"
    dataset.StudyID = "1"
    dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
    dataset.Modality = "MR"
    dataset.Manufacturer = source.manufacturer or "cinesax"
    dataset.ManufacturerModelName = source.scanner or "cinesax"
    dataset.SoftwareVersions = __version__
    dataset.SeriesDescription = (identity.description or source.description or "SAX cine")[:64]
    dataset.BodyPartExamined = "HEART"
    dataset.PatientPosition = "HFS"
    study = source.study_uid or derived_uid(identity.seed, "study")
    series = identity.series_uid or next(iter(source.series_uids), derived_uid(study, "series", identity.number))
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.FrameOfReferenceUID = source.frame_of_reference_uid or derived_uid(study, "frame of reference")
    dataset.PositionReferenceIndicator = ""
    dataset.SeriesNumber = identity.number
    dataset.AcquisitionNumber = 1
    _describe_patient(dataset, cine.patient if cine.source.kind == _PHANTOM else Patient())


def _describe_patient(dataset: pydicom.Dataset, patient: Patient) -> None:
    dataset.PatientName = patient.name or "ANONYMOUS^CINESAX"
    dataset.PatientID = patient.patient_id or "ANONYMOUS"
    dataset.PatientBirthDate = patient.birth_date or ""
    dataset.PatientSex = patient.sex or ""
    if patient.age_years is not None:
        dataset.PatientAge = f"{round(patient.age_years):03d}Y"
    if patient.height_cm is not None:
        dataset.PatientSize = _number(round(patient.height_cm / 100, 4))
    if patient.weight_kg is not None:
        dataset.PatientWeight = _number(patient.weight_kg)


def _describe_sequence(dataset: pydicom.Dataset, cine: Cine, identity: SeriesIdentity) -> None:
    grid = cine.grid
    distance = (grid.slice_distance_mm if grid else None) or 8.0
    thickness = cine.source.slice_thickness_mm or distance
    dataset.ScanningSequence = list(identity.scanning_sequence)
    dataset.SequenceVariant = list(identity.sequence_variant)
    # TriggerTime is required where the scan was gated.
    dataset.ScanOptions = "" if cine.trigger_times_ms is None else "CG"
    dataset.MRAcquisitionType = "2D"
    dataset.SliceThickness = _number(thickness)
    if grid is not None and cine.n_slices > 1:
        dataset.SpacingBetweenSlices = _number(distance)
    dataset.RepetitionTime = _number(3.2)
    dataset.EchoTime = _number(1.6)
    dataset.FlipAngle = _number(50)
    dataset.EchoTrainLength = 1
    dataset.MagneticFieldStrength = _number(cine.source.field_strength_t or 1.5)
    if identity.inversion_time_ms is not None:
        dataset.InversionTime = _number(identity.inversion_time_ms)
    if grid is not None:
        dataset.PixelSpacing = _numbers(grid.spacing_mm)
        dataset.ImageOrientationPatient = _numbers(np.concatenate([grid.along_row, grid.along_column]))


def _instance(
    cine: Cine, identity: SeriesIdentity, shared: pydicom.Dataset, frame: tuple[int, int, int]
) -> pydicom.Dataset:
    phase, place, number = frame
    instance = pydicom.Dataset()
    instance.update(shared)
    instance.InstanceNumber = number
    instance.SOPInstanceUID = derived_uid(shared.SeriesInstanceUID, "instance", number)
    if cine.grid is not None:
        instance.ImagePositionPatient = _numbers(cine.grid.origins_mm[place])
        instance.SliceLocation = _number(cine.grid.positions_mm[place])
    if cine.trigger_times_ms is not None:
        instance.TriggerTime = _number(cine.trigger_times_ms[phase, place])
    if cine.rr_intervals_ms is not None:
        interval = float(cine.rr_intervals_ms[place])
        instance.NominalInterval = round(interval)
        instance.HeartRate = round(60_000 / interval)
        instance.CardiacNumberOfImages = cine.n_phases
    instance.file_meta = FileMetaDataset()
    instance.file_meta.MediaStorageSOPClassUID = MRImageStorage
    instance.file_meta.MediaStorageSOPInstanceUID = UID(instance.SOPInstanceUID)
    instance.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    instance.file_meta.ImplementationClassUID = UID(derived_uid("cinesax"))
    instance.file_meta.ImplementationVersionName = f"CINESAX_{__version__}"[:16]
    return instance
