"""Classic MR Image Storage, both ways: pixels of chosen frames in, a Cine as a series out."""

import hashlib
import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileMetaDataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage
from pydicom.valuerep import DSfloat, format_number_as_ds

from cinesax._version import __version__
from cinesax.cine import Cine, Patient, Source
from cinesax.errors import GeometryError, InputError, OutputError
from cinesax.formats.dicom_header import DICOM_ERRORS, Header
from cinesax.formats.stored_files import Opener, opener, replacing

_IMPLICIT, _EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
_PIXEL_DATA = b"\xe0\x7f\x10\x00"
_DECODERS = (
    ("1.2.840.10008.1.2.4.8", "pyjpegls"),
    ("1.2.840.10008.1.2.4.9", "pylibjpeg pylibjpeg-openjpeg"),
    ("1.2.840.10008.1.2.4.20", "pylibjpeg pylibjpeg-openjpeg"),
    ("1.2.840.10008.1.2.4", "python-gdcm"),
)

Pixels = NDArray[Any]


def read_pixels(frames: Sequence[Sequence[Header]]) -> Pixels:
    """Read the pixels of frames that have their places.

    Args:
        frames: (phase, slice), all of one matrix size.

    Returns:
        (phase, slice, row, column): the stored integers; float32 where RescaleSlope and RescaleIntercept
        change anything; MONOCHROME1 turned round, so that brighter is more signal.

    Raises:
        InputError: a file that cannot be read, holds fewer pixels than its header says, or is compressed
            in a way that no installed package decodes. Never are there silently fewer frames.
    """
    first = frames[0][0]
    shape = (len(frames), len(frames[0]), first.rows or 0, first.columns or 0)
    rescaled = any(_rescale(header) != (1.0, 0.0) for phase in frames for header in phase)
    pixels: Pixels | None = None
    with opener() as open_file:
        for phase, row in enumerate(frames):
            for place, header in enumerate(row):
                frame = _read_frame(header, open_file)
                if rescaled:
                    slope, intercept = _rescale(header)
                    frame = (frame * slope + intercept).astype(np.float32)
                if pixels is None:
                    pixels = np.empty(shape, frame.dtype)
                elif frame.dtype != pixels.dtype:
                    pixels = pixels.astype(np.promote_types(frame.dtype, pixels.dtype))
                pixels[phase, place] = frame
    if pixels is None:
        raise InputError("there are no frames to read")
    return _upright(pixels, {header.photometric_interpretation for row in frames for header in row})


def _rescale(header: Header) -> tuple[float, float]:
    slope = 1.0 if header.rescale_slope is None else header.rescale_slope
    if slope == 0:
        raise InputError(f"{header.file}: RescaleSlope is 0, so the image holds nothing")
    return slope, header.rescale_intercept or 0.0


def _upright(pixels: Pixels, interpretations: set[str | None]) -> Pixels:
    if "MONOCHROME1" not in interpretations:
        return pixels
    if len(interpretations) > 1:
        raise InputError(f"frames of one cine differ in PhotometricInterpretation: {sorted(map(str, interpretations))}")
    low, high = pixels.min(), pixels.max()
    # Whole range kept: no overflow for any integer type.
    return np.asarray(high - (pixels - low), dtype=pixels.dtype)


def _read_frame(header: Header, open_file: Opener) -> Pixels:
    if not header.has_pixels:
        raise InputError(f"{header.file} holds no pixel data: the exam is not complete")
    try:
        with open_file(header.file) as stream:
            frame = _stored_plainly(header, stream)
            if frame is None:
                stream.seek(0)
                frame = _decoded(header, stream)
    except OSError as error:
        raise InputError(f"{header.file} cannot be read: {error.strerror or error}") from error
    if frame.shape != (header.rows, header.columns):
        raise InputError(
            f"{header.file}: pixels of shape {frame.shape} where Rows and Columns say ({header.rows}, {header.columns})"
        )
    return frame


def _stored_plainly(header: Header, stream: BinaryIO) -> Pixels | None:
    """Uncompressed little-endian pixels, straight from the file; None where they are not stored so."""
    explicit = header.transfer_syntax_uid == _EXPLICIT
    plain = (explicit or header.transfer_syntax_uid == _IMPLICIT) and header.pixel_offset >= 0
    if not plain or header.samples_per_pixel != 1 or header.bits_allocated not in (8, 16, 32):
        return None
    stream.seek(header.pixel_offset)
    start = stream.read(12 if explicit else 8)
    if len(start) < 8 or start[:4] != _PIXEL_DATA:
        return None
    (declared,) = struct.unpack("<I", start[-4:])
    kind = "i" if header.pixel_representation == 1 else "u"
    expected = (header.rows or 0) * (header.columns or 0) * header.bits_allocated // 8
    data = stream.read(expected)
    if len(data) < expected or declared < expected:
        raise InputError(
            f"{header.file} is truncated: {min(len(data), declared)} bytes of pixels where {expected} are expected"
        )
    # Some writers pad to a block; a whole row more means that Rows, Columns or BitsAllocated are not true.
    if declared - expected >= expected // (header.rows or 1):
        raise InputError(
            f"{header.file} holds {declared} bytes of pixels where Rows, Columns and BitsAllocated make {expected}"
        )
    stored = np.frombuffer(data, dtype=f"<{kind}{header.bits_allocated // 8}").reshape(header.rows or 0, -1)
    return _used_bits(stored, header)


def _used_bits(stored: Pixels, header: Header) -> Pixels:
    unused = (header.bits_allocated or 0) - (header.bits_stored or header.bits_allocated or 0)
    if unused <= 0 or unused >= (header.bits_allocated or 0):
        return stored
    # High bits beyond BitsStored may hold old overlays; shifting out and back also extends the sign.
    return np.right_shift(np.left_shift(stored, unused), unused)


def _decoded(header: Header, stream: BinaryIO) -> Pixels:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _refuse_unknown_syntax(header)
        try:
            frame = pydicom.dcmread(stream, force=True).pixel_array
        except (*DICOM_ERRORS, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{header.file}: pixels cannot be decoded, the file may be damaged: {reason}") from error
    return np.asarray(frame, dtype=frame.dtype.newbyteorder("="))


def _refuse_unknown_syntax(header: Header) -> None:
    uid = UID(header.transfer_syntax_uid)
    try:
        available = get_decoder(uid).is_available
    except NotImplementedError:
        available = not uid.is_compressed if uid.is_transfer_syntax else False
    if not available:
        package = next((name for start, name in _DECODERS if uid.startswith(start)), "a decoder for it")
        raise InputError(
            f"{header.file} is compressed ({uid.name}) and nothing installed decodes it: pip install {package}"
        )


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


def derived_uid(*parts: object) -> str:
    """A valid UID ("2.25." and 128 bits in decimals) that is the same for the same parts."""
    digest = hashlib.sha256("\0".join(str(part) for part in parts).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


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
