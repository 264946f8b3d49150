"""The stored pixels of chosen frames."""

import struct
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cinesax.core.errors import InputError, printable
from cinesax.dicom.pixels.decoding import decoded_frames
from cinesax.dicom.pixels.jpeg import JpegDecoder, jpeg_decoder
from cinesax.dicom.read.header import Header, NotDicomError, inflated
from cinesax.dicom.uid import derived_uid as derived_uid
from cinesax.files.stored_files import Opener, opener

_IMPLICIT, _EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
_PIXEL_DATA = b"\xe0\x7f\x10\x00"
_MAX_MATRIX = 4096
_MAX_CINE_BYTES = 1536 * 1024**2

Pixels = NDArray[Any]
Place = tuple[int, int]


def read_pixels(frames: Sequence[Sequence[Header]], paddings: Sequence[tuple[int, int]] = ()) -> Pixels:
    """Read the pixels of an ordered stack.

    Args:
        frames: (phase, slice); a frame may be used in several places.
        paddings: (slice, 2): how many (rows, columns) lie before the first stored pixel of each slice, if matrices
            differ: the frame is placed on the largest, and the rest is filled with its darkest value.

    Returns:
        (phase, slice, row, column): the stored integers; float32 if RescaleSlope and RescaleIntercept change anything;
        MONOCHROME1 is inverted, so that brighter is more signal.

    Raises:
        InputError: a file cannot be read, holds fewer pixels than its header says, or has a compression without
            decoder. Frames are never left out silently.
        MissingExtraError: the compression needs the optional decoders, which are not installed.
    """
    headers = [header for phase in frames for header in phase]
    if not headers:
        raise InputError("there are no frames to read")
    shape = _shape(frames, headers)
    for header in headers:
        _refuse_contradictory_bits(header)
        _refuse_other_than_grey(header)
    rescaled = any(_rescale(header) != (1.0, 0.0) for header in headers)
    pixels: Pixels | None = None
    with opener() as open_file, jpeg_decoder() as jpeg:
        for header, frame, places in _read_frames(frames, open_file, jpeg):
            if rescaled:
                slope, intercept = _rescale(header)
                frame = (frame * slope + intercept).astype(np.float32)
            if pixels is None:
                pixels = np.empty(shape, frame.dtype)
            elif frame.dtype != pixels.dtype:
                pixels = pixels.astype(np.promote_types(frame.dtype, pixels.dtype))
            for phase, place in places:
                pixels[phase, place] = _padded(frame, shape[2:], paddings[place]) if paddings else frame
    if pixels is None:
        raise InputError("there are no frames to read")
    return _upright(pixels, {header.photometric_interpretation for header in headers})


def _shape(frames: Sequence[Sequence[Header]], headers: Sequence[Header]) -> tuple[int, int, int, int]:
    rows = max(header.rows or 0 for header in headers)
    columns = max(header.columns or 0 for header in headers)
    if max(rows, columns) > _MAX_MATRIX:
        raise InputError(
            f"{headers[0].file}: images of {rows} x {columns} pixels: no cine is larger than {_MAX_MATRIX}, "
            "the file may be damaged"
        )
    shape = len(frames), len(frames[0]), rows, columns
    size = int(np.prod(shape, dtype=np.int64)) * ((headers[0].bits_allocated or 16) // 8 or 1)
    if size > _MAX_CINE_BYTES:
        raise InputError(
            f"{headers[0].file}: {shape[0]} phases of {shape[1]} slices of {rows} x {columns} pixels are "
            f"{size / 1024**3:.1f} GiB, more than the {_MAX_CINE_BYTES / 1024**3:.1f} GiB that are read"
        )
    return shape


def _refuse_contradictory_bits(header: Header) -> None:
    """Raise if the bit numbers contradict each other: the frame would be read as noise or lose its high bits."""
    allocated, stored, high = header.bits_allocated, header.bits_stored, header.high_bit
    if header.pixel_representation not in (None, 0, 1):
        raise InputError(
            f"{header.file}: PixelRepresentation is {header.pixel_representation}, expected 0 or 1: the file is damaged"
        )
    if stored is not None and (not 0 < stored <= (allocated or stored) or high not in (None, stored - 1)):
        raise InputError(
            f"{header.file}: BitsAllocated {allocated}, BitsStored {stored} and HighBit {high} contradict each other: "
            "the file is damaged"
        )


def _refuse_other_than_grey(header: Header) -> None:
    """Raise for colour and palette images. An image that does not say what it is (None) counts as MONOCHROME2."""
    if header.photometric_interpretation not in (None, "MONOCHROME1", "MONOCHROME2"):
        raise InputError(
            f"{header.file}: PhotometricInterpretation is {printable(header.photometric_interpretation)!r}, expected "
            "MONOCHROME1 or MONOCHROME2: these are not grey values, or the file is damaged"
        )


def _padded(frame: Pixels, matrix: tuple[int, int], before: tuple[int, int]) -> Pixels:
    if frame.shape == matrix:
        return frame
    whole = np.full(matrix, frame.min(), frame.dtype)
    whole[before[0] : before[0] + frame.shape[0], before[1] : before[1] + frame.shape[1]] = frame
    return whole


def _rescale(header: Header) -> tuple[float, float]:
    slope = 1.0 if header.rescale_slope is None else header.rescale_slope
    if slope == 0:
        raise InputError(f"{header.file}: RescaleSlope is 0, so the image holds nothing")
    return slope, header.rescale_intercept or 0.0


def _upright(pixels: Pixels, interpretations: set[str | None]) -> Pixels:
    if "MONOCHROME1" not in interpretations:
        return pixels
    if len(interpretations) > 1:
        raise InputError(
            f"the frames of one cine differ in PhotometricInterpretation: {sorted(map(str, interpretations))}"
        )
    low, high = pixels.min(), pixels.max()
    # This keeps the whole range: no overflow for any integer type.
    return np.asarray(high - (pixels - low), dtype=pixels.dtype)


def _read_frames(
    frames: Sequence[Sequence[Header]], open_file: Opener, jpeg: JpegDecoder
) -> Iterator[tuple[Header, Pixels, Sequence[Place]]]:
    """Each frame once, with its places; each file is opened once."""
    places: dict[int, list[Place]] = {}
    files: dict[object, dict[int, Header]] = {}
    for phase, row in enumerate(frames):
        for place, header in enumerate(row):
            places.setdefault(id(header), []).append((phase, place))
            files.setdefault(header.file, {})[id(header)] = header
    for wanted in files.values():
        headers = sorted(wanted.values(), key=lambda header: header.frame_number or 0)
        for header, frame in zip(headers, _read_file(headers, open_file, jpeg), strict=True):
            yield header, frame, places[id(header)]


def _read_file(headers: Sequence[Header], open_file: Opener, jpeg: JpegDecoder) -> Iterator[Pixels]:
    file = headers[0].file
    if not headers[0].has_pixels:
        raise InputError(f"{file} has no pixel data: the exam is not complete")
    try:
        with open_file(file) as stored:
            stream = inflated(stored)
            for header, frame in zip(headers, _frames(headers, stream, jpeg), strict=True):
                if frame.shape != (header.rows, header.columns):
                    raise InputError(
                        f"{file}: pixels of shape {frame.shape} where Rows and Columns say "
                        f"({header.rows}, {header.columns})"
                    )
                yield frame
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}") from error
    except NotDicomError as error:
        raise InputError(f"{file}: {error}") from error


def _frames(headers: Sequence[Header], stream: BinaryIO, jpeg: JpegDecoder) -> Iterator[Pixels]:
    first = headers[0]
    start = _start_of_plain(first, stream)
    if start is not None:
        return (_plain_frame(header, stream, start) for header in headers)
    stream.seek(0)
    return (_used_bits(frame, first) for frame in decoded_frames(headers, stream, jpeg))


def _start_of_plain(header: Header, stream: BinaryIO) -> int | None:
    """Where uncompressed little-endian pixels start in the file; None if they are stored differently."""
    explicit = header.transfer_syntax_uid == _EXPLICIT
    plain = (explicit or header.transfer_syntax_uid == _IMPLICIT) and header.pixel_offset >= 0
    if not plain or header.samples_per_pixel != 1 or header.bits_allocated not in (8, 16, 32):
        return None
    stream.seek(header.pixel_offset)
    element = stream.read(12 if explicit else 8)
    if len(element) < 8 or element[:4] != _PIXEL_DATA:
        return None
    (declared,) = struct.unpack("<I", element[-4:])
    frames = 1 if header.frame_number is None else int(header.number_of_frames or 1)
    expected = frames * _frame_bytes(header)
    start = stream.tell()
    row, surplus = expected // frames // (header.rows or 1), declared - expected
    # Some writers pad to a block; an extra row that is not empty means that Rows, Columns or BitsAllocated are wrong.
    stream.seek(start + expected)
    if surplus > row or (surplus == row and any(stream.read(row))):
        raise InputError(
            f"{header.file} holds {declared} bytes of pixels where Rows, Columns and BitsAllocated make {expected}"
        )
    if declared < expected:
        raise _truncated(header, declared, expected)
    return start


def _frame_bytes(header: Header) -> int:
    return (header.rows or 0) * (header.columns or 0) * (header.bits_allocated or 0) // 8


def _truncated(header: Header, seen: int, expected: int) -> InputError:
    return InputError(f"{header.file} is truncated: {seen} bytes of pixels where {expected} are expected")


def _plain_frame(header: Header, stream: BinaryIO, start: int) -> Pixels:
    expected = _frame_bytes(header)
    before = ((header.frame_number or 1) - 1) * expected
    stream.seek(start + before)
    data = stream.read(expected)
    if len(data) < expected:
        raise _truncated(header, before + len(data), before + expected)
    kind = "i" if header.pixel_representation == 1 else "u"
    stored = np.frombuffer(data, dtype=f"<{kind}{(header.bits_allocated or 0) // 8}")
    return _used_bits(stored.reshape(header.rows or 0, -1), header)


def _used_bits(stored: Pixels, header: Header) -> Pixels:
    unused = (header.bits_allocated or 0) - (header.bits_stored or header.bits_allocated or 0)
    if unused <= 0 or unused >= (header.bits_allocated or 0) or stored.itemsize * 8 != header.bits_allocated:
        return stored
    # High bits beyond BitsStored may hold old overlays; shifting out and back also extends the sign.
    return np.right_shift(np.left_shift(stored, unused), unused)
