"""The header of one DICOM instance as plain values, read fast: no pixels, no interpretation."""

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from typing import BinaryIO

from pydicom.errors import BytesLengthException, InvalidDicomError

from cinesax.core.cine import StoredFile
from cinesax.dicom.read.charsets import decode_text
from cinesax.dicom.read.elements import (
    Decoder,
    clean,
    double,
    number,
    numbers,
    raw_value,
    short,
    text,
    texts,
)
from cinesax.dicom.read.parse import DEFLATED, IMPLICIT_LITTLE_ENDIAN, TRANSFER_SYNTAX_UID, Elements, parse_file

# What pydicom is known to raise on bytes that are not DICOM, or on damaged DICOM.
DICOM_ERRORS = (
    InvalidDicomError,
    BytesLengthException,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    MemoryError,
    struct.error,
    zlib.error,
)

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4.1"
LEGACY_ENHANCED_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4.4"
DICOMDIR = "1.2.840.10008.1.3.10"
_MEDIA_STORAGE_SOP_CLASS_UID = 0x00020002
_EXPLICIT_LITTLE_ENDIAN = b"1.2.840.10008.1.2.1"
# No cine is larger; a file that expands further is an attack or a mistake.
_MAX_INFLATED_BYTES = 512 * 1024**2
_MAX_META_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Header:
    """The header of one frame; None or () for values that are missing or cannot be understood.

    A classic instance is one frame; in an Enhanced MR instance each frame has a header (`frame_number`). Texts have no
    padding, numbers are finite. Names follow the keywords of the standard.

    Attributes:
        file: where the instance is.
        pixel_offset: where the pixel data element starts in the file, in bytes; -1 if not known.
        pixel_bytes: how many bytes follow from there to the end of the file; -1 if not known.
        position_mm: ImagePositionPatient, three numbers, LPS.
        orientation: ImageOrientationPatient, six numbers.
        pixel_spacing_mm: PixelSpacing, (between rows, between columns).
        trigger_time_ms: TriggerTime, else NominalCardiacTriggerDelayTime.
        gating: CardiacSynchronizationTechnique.
        temporal_position: TemporalPositionIdentifier, or TemporalPositionIndex.
        complex_component: ComplexImageComponent.
        ge_creator: who reserved the private elements (0043,10xx), by (0043,0010).
        ge_raw_data_type: RawDataType of GE (0043,102F), if it is one of the four known values.
        frame_number: 1-based number of the frame in its instance; None if the instance is a single frame.
    """

    file: StoredFile
    pixel_offset: int
    pixel_bytes: int
    transfer_syntax_uid: str
    sop_class_uid: str | None
    sop_instance_uid: str | None
    image_type: tuple[str, ...]
    study_date: str | None
    series_date: str | None
    acquisition_date: str | None
    content_date: str | None
    acquisition_time: str | None
    content_time: str | None
    modality: str | None
    manufacturer: str | None
    series_description: str | None
    scanner: str | None
    patient_name: str | None
    patient_id: str | None
    patient_birth_date: str | None
    patient_sex: str | None
    patient_age: str | None
    patient_size_m: float | None
    patient_weight_kg: float | None
    scanning_sequence: tuple[str, ...]
    sequence_name: str | None
    slice_thickness_mm: float | None
    inversion_time_ms: float | None
    echo_time_ms: float | None
    spacing_between_slices_mm: float | None
    field_strength_t: float | None
    protocol_name: str | None
    trigger_time_ms: float | None
    gating: str | None
    nominal_interval_ms: float | None
    heart_rate_bpm: float | None
    cardiac_number_of_images: float | None
    study_uid: str | None
    series_uid: str | None
    series_number: float | None
    acquisition_number: float | None
    instance_number: float | None
    position_mm: tuple[float, ...]
    orientation: tuple[float, ...]
    frame_of_reference_uid: str | None
    temporal_position: float | None
    slice_location_mm: float | None
    samples_per_pixel: int | None
    photometric_interpretation: str | None
    number_of_frames: float | None
    rows: int | None
    columns: int | None
    pixel_spacing_mm: tuple[float, ...]
    bits_allocated: int | None
    bits_stored: int | None
    pixel_representation: int | None
    rescale_intercept: float | None
    rescale_slope: float | None
    lossy_compression: str | None
    complex_component: str | None = None
    ge_raw_data_type: int | None = None
    ge_creator: str | None = None
    frame_number: int | None = None
    high_bit: int | None = None

    @property
    def has_pixels(self) -> bool:
        """Whether a pixel data element that is not empty follows the header."""
        return self.pixel_bytes < 0 or self.pixel_bytes > 12


_SPECIFIC_CHARACTER_SET = 0x00080005
_TRIGGER_DELAY = 0x00209153
SHARED_GROUPS, PER_FRAME_GROUPS = 0x52009229, 0x52009230


def _ge_raw_data_type(raw: bytes, little: bool) -> int | None:
    """A whole number of two bytes, or text if an archive has rewritten the private element as such."""
    stated = raw.strip(b" \0")
    value = int(stated) if stated.isdigit() else short(raw, little)
    return value if value is not None and 0 <= value <= 3 else None


# Field of Header -> (tag, how to read it). Encoded names and descriptions are decoded again by _decoded().
_ELEMENTS: dict[str, tuple[int, Decoder]] = {
    "image_type": (0x00080008, texts),
    "sop_class_uid": (0x00080016, text),
    "sop_instance_uid": (0x00080018, text),
    "study_date": (0x00080020, text),
    "series_date": (0x00080021, text),
    "acquisition_date": (0x00080022, text),
    "content_date": (0x00080023, text),
    "acquisition_time": (0x00080032, text),
    "content_time": (0x00080033, text),
    "modality": (0x00080060, text),
    "manufacturer": (0x00080070, text),
    "series_description": (0x0008103E, text),
    "scanner": (0x00081090, text),
    "patient_name": (0x00100010, text),
    "patient_id": (0x00100020, text),
    "patient_birth_date": (0x00100030, text),
    "patient_sex": (0x00100040, text),
    "patient_age": (0x00101010, text),
    "patient_size_m": (0x00101020, number),
    "patient_weight_kg": (0x00101030, number),
    "scanning_sequence": (0x00180020, texts),
    "sequence_name": (0x00180024, text),
    "slice_thickness_mm": (0x00180050, number),
    "echo_time_ms": (0x00180081, number),
    "inversion_time_ms": (0x00180082, number),
    "field_strength_t": (0x00180087, number),
    "spacing_between_slices_mm": (0x00180088, number),
    "protocol_name": (0x00181030, text),
    "trigger_time_ms": (0x00181060, number),
    "gating": (0x00189037, text),
    "nominal_interval_ms": (0x00181062, number),
    "heart_rate_bpm": (0x00181088, number),
    "cardiac_number_of_images": (0x00181090, number),
    "study_uid": (0x0020000D, text),
    "series_uid": (0x0020000E, text),
    "series_number": (0x00200011, number),
    "acquisition_number": (0x00200012, number),
    "instance_number": (0x00200013, number),
    "position_mm": (0x00200032, numbers),
    "orientation": (0x00200037, numbers),
    "frame_of_reference_uid": (0x00200052, text),
    "temporal_position": (0x00200100, number),
    "slice_location_mm": (0x00201041, number),
    "samples_per_pixel": (0x00280002, short),
    "photometric_interpretation": (0x00280004, text),
    "number_of_frames": (0x00280008, number),
    "rows": (0x00280010, short),
    "columns": (0x00280011, short),
    "pixel_spacing_mm": (0x00280030, numbers),
    "bits_allocated": (0x00280100, short),
    "bits_stored": (0x00280101, short),
    "high_bit": (0x00280102, short),
    "pixel_representation": (0x00280103, short),
    "rescale_intercept": (0x00281052, number),
    "rescale_slope": (0x00281053, number),
    "lossy_compression": (0x00282110, text),
    "complex_component": (0x00089208, text),
    "ge_raw_data_type": (0x0043102F, _ge_raw_data_type),
    "ge_creator": (0x00430010, text),
}
_ENCODED = (
    *("patient_name", "patient_id", "series_description", "protocol_name", "sequence_name", "manufacturer"),
    "scanner",
)
_TAGS = [tag for tag, _ in _ELEMENTS.values()] + [_SPECIFIC_CHARACTER_SET, _TRIGGER_DELAY]
_TAGS += [SHARED_GROUPS, PER_FRAME_GROUPS]


class Reason(StrEnum):
    """Why a file of an exam is not read."""

    NOT_DICOM = "not DICOM"
    DIRECTORY = "a DICOMDIR, not an image"
    COPY = "a copy"
    DAMAGED = "damaged DICOM"
    NAMED_DICOM = "named as DICOM, but the content is not DICOM"
    CANNOT_BE_READ = "cannot be read"

    @property
    def is_loss(self) -> bool:
        """Whether an image that belongs to the exam may be missing."""
        return self in (Reason.DAMAGED, Reason.NAMED_DICOM, Reason.CANNOT_BE_READ)


class NotDicomError(Exception):
    """The file is not a DICOM instance (caught while an exam is read: such files are listed as ignored).

    Attributes:
        reason: NOT_DICOM or DAMAGED.
        detail: what is damaged, as text, or "".
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason} ({detail})" if detail else str(reason))
        self.reason, self.detail = reason, detail


@contextmanager
def understanding() -> Iterator[None]:
    """A context in which any error raised on damaged data becomes one error.

    Raises:
        NotDicomError: the data are damaged.
    """
    try:
        yield
    except DICOM_ERRORS as error:
        raise NotDicomError(Reason.DAMAGED, type(error).__name__) from error


def read_instance(file: StoredFile, stream: BinaryIO) -> tuple[Header, Elements]:
    """Read the header of one instance.

    Args:
        file: what the stream was opened from, kept in the result.
        stream: at its start, seekable.

    Returns:
        The header at the top level, and the elements that were read (including the functional groups).

    Raises:
        NotDicomError: the bytes are not a DICOM file; with the reason.
    """
    with understanding():
        refuse_other_files(stream)
        stream = inflated(stream)
        parsed = parse_file(stream, _TAGS)
        elements = parsed.elements
        syntax = text(*raw_value(parsed.meta, TRANSFER_SYNTAX_UID)) or IMPLICIT_LITTLE_ENDIAN
        values = {name: decode(*raw_value(elements, tag)) for name, (tag, decode) in _ELEMENTS.items()}
        values.update(_decoded(elements))
        if values["trigger_time_ms"] is None:
            values["trigger_time_ms"] = double(*raw_value(elements, _TRIGGER_DELAY))
        if values["sop_class_uid"] is None:
            values["sop_class_uid"] = text(*raw_value(parsed.meta, _MEDIA_STORAGE_SOP_CLASS_UID))
        offset, left = _pixel_place(stream)
    return Header(file=file, pixel_offset=offset, pixel_bytes=left, transfer_syntax_uid=syntax, **values), elements


def refuse_other_files(stream: BinaryIO) -> None:
    """Raise NotDicomError where a file, by its first bytes, is not DICOM."""
    start = stream.read(132)
    stream.seek(0)
    if start[128:132] == b"DICM":
        return
    # Some old archives store the bare data set: it starts with group 0002 or 0008, little endian.
    if len(start) < 16 or start[:2] not in (b"\x02\x00", b"\x08\x00") or start[3:4] != b"\x00":
        raise NotDicomError(Reason.NOT_DICOM)


def inflated(stream: BinaryIO) -> BinaryIO:
    """A deflated DICOM file, inflated in memory; any other stream is returned unchanged.

    pydicom inflates without a limit: a file of a few MB could use up all memory.

    Raises:
        NotDicomError: the file expands to more than any cine, or is truncated.
        zlib.error: the file is damaged.
    """
    start = stream.read(144)
    # (0002,0000) says where the meta information ends and the deflated data set starts.
    length = int.from_bytes(start[140:144], "little") if start[132:140] == b"\x02\x00\x00\x00UL\x04\x00" else 0
    meta = start + stream.read(min(length, _MAX_META_BYTES))
    at = meta.find(DEFLATED.encode())
    if at < 0:
        stream.seek(0)
        return stream
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    data = inflater.decompress(stream.read(), _MAX_INFLATED_BYTES)
    if inflater.unconsumed_tail:
        raise NotDicomError(Reason.DAMAGED, f"deflated, expands beyond {_MAX_INFLATED_BYTES // 1024**2} MiB")
    if not inflater.eof:
        raise NotDicomError(Reason.DAMAGED, "deflated and cut short")
    plain = _EXPLICIT_LITTLE_ENDIAN.ljust(len(DEFLATED), b"\0")
    return BytesIO(meta[:at] + plain + meta[at + len(plain) :] + data)


def _pixel_place(stream: BinaryIO) -> tuple[int, int]:
    offset = stream.tell()
    return offset, stream.seek(0, os.SEEK_END) - offset


def _decoded(elements: Elements) -> dict[str, str | None]:
    charsets = texts(*raw_value(elements, _SPECIFIC_CHARACTER_SET))
    values: dict[str, str | None] = {}
    for name in _ENCODED:
        raw, _ = raw_value(elements, _ELEMENTS[name][0])
        if not raw.isascii() or b"\x1b" in raw:
            values[name] = clean(decode_text(raw, charsets)) or None
    return values
