"""Decoding frames that are compressed, big endian or otherwise not plain, with pydicom and the installed decoders.

The required packages (pydicom, Pillow, and CharLS through highdicom) decode RLE, JPEG baseline, JPEG-LS and most JPEG
2000; the extra `decoders` (GDCM, OpenJPEG) adds JPEG lossless and extended, High-Throughput JPEG 2000 and the rest of
JPEG 2000.

A table in this file says which decoder decodes what. By default pydicom tries GDCM first, which ends the process on
some damaged JPEG-LS (std::length_error in its codec, seen with 3.2.6): here GDCM decodes only JPEG, in a process of its
own.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom import config, uid
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID

from cinesax.core.errors import CinesaxError, InputError, MissingExtraError, install_hint
from cinesax.dicom.pixels.jpeg import JpegDecoder
from cinesax.dicom.pixels.jpeg_process import Codestream
from cinesax.dicom.pixels.lengths import fit_length
from cinesax.dicom.read.header import DICOM_ERRORS, Header
from cinesax.dicom.read.parse import parse, parse_file

_PIXEL_DATA = 0x7FE00010
_OFFSETS = (0x7FE00001, 0x7FE00002)
"""Tables with the position of each frame in the pixel data."""

EXTRA = install_hint("decoders")

# Decoders by transfer syntax, in the order to try; for others pydicom has only one.
_GDCM = "gdcm"
_DECODERS: Mapping[str, tuple[str, ...]] = {
    uid.JPEGBaseline8Bit: ("pillow",),
    uid.JPEGExtended12Bit: (_GDCM, "pillow"),
    uid.JPEGLossless: (_GDCM,),
    uid.JPEGLosslessSV1: (_GDCM,),
    uid.JPEGLSLossless: ("pyjpegls",),
    uid.JPEGLSNearLossless: ("pyjpegls",),
    uid.JPEG2000Lossless: ("pylibjpeg", "pillow"),
    uid.JPEG2000: ("pylibjpeg", "pillow"),
}

# Transfer syntaxes (the starts of their UIDs) that need the extra, and the module that decodes them.
_DECODED_BY_EXTRA = (
    ("1.2.840.10008.1.2.4.5", "gdcm"),  # JPEG baseline, extended, lossless
    ("1.2.840.10008.1.2.4.70", "gdcm"),  # JPEG lossless, first-order prediction
    ("1.2.840.10008.1.2.4.8", "jpeg_ls"),  # JPEG-LS
    ("1.2.840.10008.1.2.4.9", "openjpeg"),  # JPEG 2000
    ("1.2.840.10008.1.2.4.20", "openjpeg"),  # High-Throughput JPEG 2000
)


def decoded_frames(headers: Sequence[Header], stream: BinaryIO, jpeg: JpegDecoder) -> Iterator[NDArray[Any]]:
    """The chosen frames of one file, one after the other.

    Args:
        headers: the headers of one file, in the order of their frames.
        stream: the file, at its start.
        jpeg: decodes what only GDCM can decode.

    Returns:
        For each header an array (row, column) in the byte order of this machine.

    Raises:
        InputError: the pixels are damaged, or no decoder exists for their compression.
        MissingExtraError: the compression needs the extra `decoders`, which is not installed.
    """
    first = headers[0]
    decoders = _installed_decoders(first)
    try:
        frames = _first_success(decoders, headers, _dataset(first, stream), jpeg)
    except (*DICOM_ERRORS, RuntimeError) as error:
        raise _not_decoded(first, error) from error
    if len(frames) != len(headers):
        raise InputError(f"{first.file}: {len(frames)} of {len(headers)} frames could be decoded")
    return (np.asarray(frame, dtype=frame.dtype.newbyteorder("=")) for frame in frames)


def _first_success(
    decoders: Sequence[str], headers: Sequence[Header], dataset: Dataset, jpeg: JpegDecoder
) -> list[NDArray[Any]]:
    """The frames from the first decoder that succeeds; else raises the error of the first decoder."""
    numbers = [(header.frame_number or 1) - 1 for header in headers]
    failed: Exception | None = None
    for decoder in decoders:
        try:
            if decoder == _GDCM:
                return [_by_gdcm(headers[0], dataset, number, jpeg) for number in numbers]
            fit_length(dataset, _bytes_a_frame(headers[0]), int(headers[0].number_of_frames or 1))
            chosen = iter_pixels(dataset, indices=numbers, raw=True, decoding_plugin=decoder)
            return [np.asarray(frame) for frame in chosen]
        except (*DICOM_ERRORS, RuntimeError) as error:
            failed = failed or error
    raise failed or ValueError("nothing decodes it")


def _bytes_a_frame(header: Header) -> float:
    return (
        (header.rows or 0) * (header.columns or 0) * (header.samples_per_pixel or 1) * (header.bits_allocated or 0) / 8
    )


def _by_gdcm(header: Header, dataset: Dataset, number: int, jpeg: JpegDecoder) -> NDArray[Any]:
    """(row, column) of one frame of JPEG extended or lossless."""
    rows, columns, allocated = header.rows or 0, header.columns or 0, header.bits_allocated or 0
    if header.samples_per_pixel != 1 or allocated not in (8, 16):
        raise ValueError(f"{header.samples_per_pixel} samples of {allocated} bits a pixel: expected one of 8 or 16")
    data = get_frame(dataset.PixelData, number, number_of_frames=int(header.number_of_frames or 1))
    signed = header.pixel_representation or 0
    stored = header.bits_stored or allocated
    pixels = jpeg.decode(Codestream(header.transfer_syntax_uid, rows, columns, allocated, stored, signed, data))
    return np.frombuffer(pixels, dtype=f"<{'i' if signed else 'u'}{allocated // 8}").reshape(rows, columns)


def _dataset(header: Header, stream: BinaryIO) -> Dataset:
    """The pixels of a file and the elements that decoders need; pydicom would warn about other odd elements."""
    parsed = parse_file(stream, ())
    elements = parse(stream, parsed.encoding, wanted=(*_OFFSETS, _PIXEL_DATA))
    if _PIXEL_DATA not in elements:
        raise ValueError("there is no pixel data element")
    if header.frame_number is None and (header.number_of_frames or 1) > 1:
        raise ValueError("several frames, expected one")
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(header.transfer_syntax_uid)
    described = {
        "SamplesPerPixel": header.samples_per_pixel,
        "PhotometricInterpretation": header.photometric_interpretation,
        "NumberOfFrames": int(header.number_of_frames or 1),
        "Rows": header.rows,
        "Columns": header.columns,
        "BitsAllocated": header.bits_allocated,
        "BitsStored": header.bits_stored,
        "PixelRepresentation": header.pixel_representation,
    }
    for keyword, value in described.items():
        if value is not None:
            setattr(dataset, keyword, value)
    for tag, element in elements.items():
        dataset[tag] = DataElement(tag, element.vr or "OW", element.value, already_converted=True)
    return dataset


def _installed_decoders(header: Header) -> list[str]:
    """The decoders to try; "" lets pydicom choose.

    Raises:
        InputError: no decoder exists for the transfer syntax.
        MissingExtraError: the transfer syntax needs the extra, which is not installed.
    """
    syntax = UID(header.transfer_syntax_uid, config.IGNORE)
    try:
        # pydicom would warn about an invalid UID.
        known = get_decoder(syntax) if syntax.is_valid else None
    except NotImplementedError:
        known = None
    if known is None:
        name = syntax.name if syntax.is_transfer_syntax else header.transfer_syntax_uid
        raise InputError(f"{header.file} is stored in a way that cinesax does not read: transfer syntax {name}")
    _silence_decoders()
    if syntax in _DECODERS:
        decoders = [name for name in _DECODERS[syntax] if name in known.available_plugins]
    else:
        decoders = [""] if known.is_available else []
    if not decoders:
        raise MissingExtraError(
            f"{header.file} is compressed ({syntax.name}) and no installed decoder reads it: {EXTRA}; or store it "
            "again without compression"
        )
    return decoders


def _silence_decoders() -> None:
    """Silence warnings that decoders write to standard error: they raise errors for everything that matters."""
    for name in ("openjpeg", "pylibjpeg", "pydicom"):
        logger = logging.getLogger(name)
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())


def _not_decoded(header: Header, error: Exception) -> CinesaxError:
    reason = "".join(letter if letter.isprintable() else " " for letter in " ".join(str(error).split()))[:300]
    absent = [module for start, module in _DECODED_BY_EXTRA if header.transfer_syntax_uid.startswith(start)]
    if absent and find_spec(absent[0]) is None:
        return MissingExtraError(
            f"{header.file}: the installed decoders cannot read the pixels ({reason}); {EXTRA} adds another decoder"
        )
    return InputError(f"{header.file}: pixels cannot be decoded, the file may be damaged: {reason}")
