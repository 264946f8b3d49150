"""The pixels of chosen frames, as they are stored."""

import struct
import warnings
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from cinesax.errors import InputError
from cinesax.formats.dicom_header import DICOM_ERRORS, Header
from cinesax.formats.dicom_uid import derived_uid as derived_uid
from cinesax.formats.stored_files import Opener, opener

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
