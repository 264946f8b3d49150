"""What classic and enhanced instances share: identity, study, patient, pixels and formats of values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pydicom.valuerep import DSfloat, format_number_as_ds

from cinesax._version import __version__
from cinesax.core.cine import Patient, Source
from cinesax.core.errors import InputError
from cinesax.dicom.uid import derived_uid
from cinesax.phantom.dicom.vendors import Style
from cinesax.phantom.scanning import Scan

Pixels = NDArray[Any]

SYNTHETIC_DATE = "20240101"
_PHANTOM = "phantom"
_START_S = 12 * 3600.0


@dataclass(frozen=True, slots=True)
class SeriesIdentity:
    """The identity of a written series.

    A phantom has its own patient and UIDs of study, series and frame of reference. For any other Cine the patient is
    left out and all UIDs are derived from `seed`: a written copy must not pass for its source.

    Attributes:
        seed: the same seed gives the same UIDs; series of one exam share it.
        number: SeriesNumber; different for each series of an exam.
        description: SeriesDescription; None takes that of the Cine's source.
        image_type: ImageType.
        series_uid: SeriesInstanceUID, for several cines (localizers) that form one series.
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


@dataclass(frozen=True, slots=True)
class StoredPixels:
    """How the pixels of a scan are stored: value = stored number x slope.

    Attributes:
        dtype: int16 or uint16.
        bits: BitsStored.
        slope: RescaleSlope, or None if there is none.
        window: lowest and highest value of the default display window.
    """

    dtype: np.dtype[Any]
    bits: int
    slope: float | None
    window: tuple[float, float]

    def frame_bytes(self, pixels: Pixels) -> bytes:
        """The stored pixels of one frame, little endian."""
        values = pixels if self.slope is None else pixels / self.slope
        return np.rint(values).astype(self.dtype.newbyteorder("<")).tobytes()


@dataclass(frozen=True, eq=False, slots=True)
class Writing:
    """What all instances of a series are made from.

    Attributes:
        scan: the scan; the frames of the series are a part of it.
        identity: identity of the series.
        style: the style of the make of scanner.
        stored: how the pixels are stored.
    """

    scan: Scan
    identity: SeriesIdentity
    style: Style
    stored: StoredPixels


def store_pixels(frames: Sequence[Pixels], style: Style) -> StoredPixels:
    """How to store frames: as 16 bits, or as 12 bits with a slope.

    Raises:
        InputError: the pixels do not fit into 16 bits.
    """
    low = min(float(np.rint(pixels.min())) for pixels in frames)
    high = max(float(np.rint(pixels.max())) for pixels in frames)
    first = np.percentile(np.concatenate([pixels.ravel() for pixels in frames[:: max(1, len(frames) // 8)]]), (1, 99.5))
    window = float(round(first[0])), float(round(first[1]))
    if style.rescale_type is not None and low >= 0:
        # As many digits as DS holds, so that reading gives the stored value.
        return StoredPixels(np.dtype(np.uint16), 12, float(f"{max(high, 1) / 4095:.10g}"), window)
    if low >= 0 and high <= 65535 and not style.signed:
        return StoredPixels(np.dtype(np.uint16), max(12, max(int(high), 1).bit_length()), None, window)
    if low >= -32768 and high <= 32767:
        return StoredPixels(np.dtype(np.int16), 16, None, window)
    raise InputError(
        f"pixels from {low:.0f} to {high:.0f} do not fit the 16 bits of MR Image Storage: scale them first"
    )


def as_ds(value: float) -> DSfloat:
    """A number as DS, of at most 16 characters."""
    return DSfloat(format_number_as_ds(float(value)))


def as_ds_list(values: Sequence[float] | NDArray[Any]) -> list[DSfloat]:
    """Numbers as DS."""
    return [as_ds(value) for value in values]


def time_of_day(seconds: float) -> str:
    """TM: seconds after the start of the exam, which is at noon."""
    whole, rest = divmod(_START_S + seconds, 1)
    return f"{int(whole) // 3600 % 24:02d}{int(whole) // 60 % 60:02d}{int(whole) % 60:02d}.{int(rest * 1e6):06d}"


def file_meta(instance: pydicom.Dataset) -> FileMetaDataset:
    """The file meta information of an uncompressed instance."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(instance.SOPClassUID)
    meta.MediaStorageSOPInstanceUID = UID(instance.SOPInstanceUID)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(derived_uid("cinesax"))
    meta.ImplementationVersionName = f"CINESAX_{__version__}"[:16]
    return meta


def describe_study(writing: Writing) -> pydicom.Dataset:
    """Write patient, study, series, equipment and frame of reference, for classic and enhanced instances."""
    scan, identity = writing.scan, writing.identity
    dataset = pydicom.Dataset()
    source = scan.source if scan.source.kind == _PHANTOM else Source(_PHANTOM)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    # A synthetic exam has no date: this constant makes the same seed give the same bytes.
    date = source.study_date or SYNTHETIC_DATE
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = date
    dataset.StudyTime = dataset.SeriesTime = time_of_day(0)
    dataset.StudyID = "1"
    dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
    dataset.Modality = "MR"
    dataset.Manufacturer = writing.style.manufacturer or source.manufacturer or "cinesax"
    dataset.ManufacturerModelName = source.scanner or "cinesax"
    dataset.SoftwareVersions = __version__
    dataset.SeriesDescription = (identity.description or source.description or "SAX cine")[:64]
    dataset.BodyPartExamined = "HEART"
    dataset.PatientPosition = "HFS"
    study = source.study_uid or derived_uid(identity.seed, "study")
    dataset.StudyInstanceUID = study
    series = identity.series_uid or next(iter(source.series_uids), derived_uid(study, "series", identity.number))
    dataset.SeriesInstanceUID = series
    dataset.FrameOfReferenceUID = source.frame_of_reference_uid or derived_uid(study, "frame of reference")
    dataset.PositionReferenceIndicator = ""
    dataset.SeriesNumber = identity.number
    _describe_patient(dataset, scan.patient if scan.source.kind == _PHANTOM else Patient())
    return dataset


def _describe_patient(dataset: pydicom.Dataset, patient: Patient) -> None:
    dataset.PatientName = patient.name or "ANONYMOUS^CINESAX"
    dataset.PatientID = patient.patient_id or "ANONYMOUS"
    dataset.PatientBirthDate = patient.birth_date or ""
    dataset.PatientSex = patient.sex or ""
    if patient.age_years is not None:
        dataset.PatientAge = f"{round(patient.age_years):03d}Y"
    if patient.height_cm is not None:
        dataset.PatientSize = as_ds(round(patient.height_cm / 100, 4))
    if patient.weight_kg is not None:
        dataset.PatientWeight = as_ds(patient.weight_kg)


def describe_pixels(dataset: pydicom.Dataset, stored: StoredPixels, matrix: Sequence[int]) -> None:
    """Write how the pixels of an instance are stored."""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = matrix
    dataset.BitsAllocated = 16
    dataset.BitsStored = stored.bits
    dataset.HighBit = stored.bits - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
