"""The header of one DICOM instance as plain values: read fast, without pixels, and without judging.

Values are decoded from the raw elements rather than through pydicom's value classes: real files hold dates
that are no dates and UIDs that are no UIDs, and one oddity must neither stop the reading nor warn 240 times.
"""

import math
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import pydicom
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.dataelem import RawDataElement
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue

from cinesax.cine import StoredFile

# What pydicom is known to raise on bytes that are no DICOM, or damaged DICOM.
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
DICOMDIR = "1.2.840.10008.1.3.10"
DEFLATED = "1.2.840.10008.1.2.1.99"
_IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
_MAX_TEXT = 256


@dataclass(frozen=True, slots=True)
class Header:
    """What the header of one instance says; None or () where it says nothing that can be understood.

    Texts are stripped of padding, numbers are finite. Names are those of the standard's keywords.

    Attributes:
        file: where the instance is.
        pixel_offset: where the pixel data element starts in the file, bytes; -1 when that is not known.
        pixel_bytes: how many bytes follow from there to the end of the file; -1 when that is not known.
        position_mm: ImagePositionPatient, three numbers, LPS.
        orientation: ImageOrientationPatient, six numbers.
        pixel_spacing_mm: PixelSpacing, (between rows, between columns).
        trigger_time_ms: TriggerTime, else NominalCardiacTriggerDelayTime.
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

    @property
    def has_pixels(self) -> bool:
        """Whether a pixel data element with anything in it follows the header."""
        return self.pixel_bytes < 0 or self.pixel_bytes > 12


def _clean(text: str) -> str:
    """Without padding and control characters, of bounded length: a damaged header may hand over half the file."""
    return "".join(letter for letter in text[:_MAX_TEXT] if letter.isprintable()).strip()


def _texts(raw: bytes, _: bool) -> tuple[str, ...]:
    text = _clean(raw.decode("latin-1"))
    return tuple(part.strip() for part in text.split("\\")) if text else ()


def _text(raw: bytes, _: bool) -> str | None:
    return _clean(raw.decode("latin-1")) or None


def _numbers(raw: bytes, _: bool) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in raw.decode("ascii").strip(" \0").split("\\"))
    except ValueError:
        return ()
    return values if all(math.isfinite(value) for value in values) else ()


def _number(raw: bytes, little: bool) -> float | None:
    return next(iter(_numbers(raw, little)), None)


def _short(raw: bytes, little: bool) -> int | None:
    return int.from_bytes(raw[:2], "little" if little else "big") if len(raw) >= 2 else None


def _double(raw: bytes, little: bool) -> float | None:
    if len(raw) < 8:
        return None
    value = float(struct.unpack("<d" if little else ">d", raw[:8])[0])
    return value if math.isfinite(value) else None


_Decoder = Callable[[bytes, bool], Any]
_SPECIFIC_CHARACTER_SET = 0x00080005
_TRIGGER_DELAY = 0x00209153

# Field of Header -> (tag, how to read it). Encoded names and descriptions are decoded again by _decoded().
_ELEMENTS: dict[str, tuple[int, _Decoder]] = {
    "image_type": (0x00080008, _texts),
    "sop_class_uid": (0x00080016, _text),
    "sop_instance_uid": (0x00080018, _text),
    "study_date": (0x00080020, _text),
    "series_date": (0x00080021, _text),
    "acquisition_date": (0x00080022, _text),
    "content_date": (0x00080023, _text),
    "acquisition_time": (0x00080032, _text),
    "content_time": (0x00080033, _text),
    "modality": (0x00080060, _text),
    "manufacturer": (0x00080070, _text),
    "series_description": (0x0008103E, _text),
    "scanner": (0x00081090, _text),
    "patient_name": (0x00100010, _text),
    "patient_id": (0x00100020, _text),
    "patient_birth_date": (0x00100030, _text),
    "patient_sex": (0x00100040, _text),
    "patient_age": (0x00101010, _text),
    "patient_size_m": (0x00101020, _number),
    "patient_weight_kg": (0x00101030, _number),
    "scanning_sequence": (0x00180020, _texts),
    "sequence_name": (0x00180024, _text),
    "slice_thickness_mm": (0x00180050, _number),
    "echo_time_ms": (0x00180081, _number),
    "inversion_time_ms": (0x00180082, _number),
    "field_strength_t": (0x00180087, _number),
    "spacing_between_slices_mm": (0x00180088, _number),
    "protocol_name": (0x00181030, _text),
    "trigger_time_ms": (0x00181060, _number),
    "nominal_interval_ms": (0x00181062, _number),
    "heart_rate_bpm": (0x00181088, _number),
    "cardiac_number_of_images": (0x00181090, _number),
    "study_uid": (0x0020000D, _text),
    "series_uid": (0x0020000E, _text),
    "series_number": (0x00200011, _number),
    "acquisition_number": (0x00200012, _number),
    "instance_number": (0x00200013, _number),
    "position_mm": (0x00200032, _numbers),
    "orientation": (0x00200037, _numbers),
    "frame_of_reference_uid": (0x00200052, _text),
    "temporal_position": (0x00200100, _number),
    "slice_location_mm": (0x00201041, _number),
    "samples_per_pixel": (0x00280002, _short),
    "photometric_interpretation": (0x00280004, _text),
    "number_of_frames": (0x00280008, _number),
    "rows": (0x00280010, _short),
    "columns": (0x00280011, _short),
    "pixel_spacing_mm": (0x00280030, _numbers),
    "bits_allocated": (0x00280100, _short),
    "bits_stored": (0x00280101, _short),
    "pixel_representation": (0x00280103, _short),
    "rescale_intercept": (0x00281052, _number),
    "rescale_slope": (0x00281053, _number),
}
_ENCODED = ("patient_name", "series_description", "protocol_name")
_TAGS = [tag for tag, _ in _ELEMENTS.values()] + [_SPECIFIC_CHARACTER_SET, _TRIGGER_DELAY]


class NotDicomError(Exception):
    """The file is no DICOM instance (never leaves the reading of an exam: such files are listed as ignored)."""


def read_header(file: StoredFile, stream: BinaryIO) -> Header:
    """Read the header of one instance.

    Args:
        file: what the stream was opened from, kept in the result.
        stream: at its start, seekable.

    Raises:
        NotDicomError: the bytes are not those of a DICOM file, with the reason.
    """
    force = not _has_preamble(stream)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=_TAGS, force=force)
            syntax = _clean(str(dataset.file_meta.get("TransferSyntaxUID") or _IMPLICIT_LITTLE_ENDIAN))
            values = {name: _value(dataset, tag, decode) for name, (tag, decode) in _ELEMENTS.items()}
            values.update(_decoded(dataset))
            if values["trigger_time_ms"] is None:
                values["trigger_time_ms"] = _value(dataset, _TRIGGER_DELAY, _double)
            if values["sop_class_uid"] is None:
                values["sop_class_uid"] = str(dataset.file_meta.get("MediaStorageSOPClassUID") or "") or None
        except DICOM_ERRORS as error:
            raise NotDicomError(f"damaged DICOM ({type(error).__name__})") from error
    offset, left = (-1, -1) if syntax == DEFLATED else _pixel_place(stream)
    return Header(file=file, pixel_offset=offset, pixel_bytes=left, transfer_syntax_uid=syntax, **values)


def _has_preamble(stream: BinaryIO) -> bool:
    start = stream.read(132)
    stream.seek(0)
    if start[128:132] == b"DICM":
        return True
    # Some old archives store the bare data set: it starts with group 0002 or 0008, little endian.
    if len(start) < 16 or start[:2] not in (b"\x02\x00", b"\x08\x00") or start[3:4] != b"\x00":
        raise NotDicomError("not DICOM")
    return False


def _pixel_place(stream: BinaryIO) -> tuple[int, int]:
    offset = stream.tell()
    return offset, stream.seek(0, os.SEEK_END) - offset


def _raw(dataset: pydicom.Dataset, tag: int) -> tuple[bytes, bool]:
    if tag not in dataset:
        return b"", True
    element = dataset.get_item(tag)
    if isinstance(element, RawDataElement):
        return element.value or b"", element.is_little_endian
    value = getattr(element, "value", None)
    # pydicom has looked at a few elements itself (the character sets), and holds several values as a list.
    text = "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value)
    return (text.encode("latin-1", "replace") if value is not None else b""), True


def _value(dataset: pydicom.Dataset, tag: int, decode: _Decoder) -> Any:
    raw, little = _raw(dataset, tag)
    return decode(raw, little)


def _decoded(dataset: pydicom.Dataset) -> dict[str, str | None]:
    charsets = list(_texts(*_raw(dataset, _SPECIFIC_CHARACTER_SET))) or [""]
    values: dict[str, str | None] = {}
    for name in _ENCODED:
        raw, _ = _raw(dataset, _ELEMENTS[name][0])
        if not raw.isascii() or b"\x1b" in raw:
            values[name] = _decode(raw, charsets)
    return values


def _decode(raw: bytes, charsets: list[str]) -> str | None:
    try:
        text = decode_bytes(raw, convert_encodings(charsets), {0x5C, 0x5E, 0x3D})
    except (LookupError, UnicodeError, ValueError):
        text = raw.decode("latin-1")
    return _clean(text) or None
