"""Frames that are compressed, big endian or otherwise not plain, through pydicom and the decoders that are installed.

What is always there (pydicom, Pillow, and CharLS through highdicom) decodes RLE, JPEG baseline, JPEG-LS and most
JPEG 2000; the extra `decoders` (GDCM, OpenJPEG) adds JPEG lossless, High-Throughput JPEG 2000 and the rest of
JPEG 2000.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any, BinaryIO

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID

from cinesax.errors import CinesaxError, InputError, MissingExtraError
from cinesax.formats.dicom_header import DICOM_ERRORS, Header, lenient

EXTRA = "pip install 'cinesax[decoders]'"

# Transfer syntaxes (the starts of their UIDs) that the extra decodes, and the module of the package that does.
_DECODED_BY_EXTRA = (
    ("1.2.840.10008.1.2.4.5", "gdcm"),  # JPEG baseline, extended, lossless
    ("1.2.840.10008.1.2.4.70", "gdcm"),  # JPEG lossless, first-order prediction
    ("1.2.840.10008.1.2.4.8", "jpeg_ls"),  # JPEG-LS
    ("1.2.840.10008.1.2.4.9", "openjpeg"),  # JPEG 2000
    ("1.2.840.10008.1.2.4.20", "openjpeg"),  # High-Throughput JPEG 2000
)


def decoded_frames(headers: Sequence[Header], stream: BinaryIO) -> Iterator[NDArray[Any]]:
    """The chosen frames of one file, one after the other.

    Args:
        headers: of one file, in the order of their frames.
        stream: the file, at its start.

    Returns:
        For each header an array (row, column) in the byte order of this machine.

    Raises:
        InputError: pixels that are damaged, or compressed in a way that nothing decodes.
        MissingExtraError: compressed in a way that the extra `decoders` reads, which is not installed.
    """
    first = headers[0]
    numbers = [(header.frame_number or 1) - 1 for header in headers]
    with lenient():
        _refuse_unknown_syntax(first)
        try:
            dataset = pydicom.dcmread(stream, force=True)
            _refuse_too_few(first, dataset)
            frames = [np.asarray(frame) for frame in iter_pixels(dataset, indices=numbers, raw=True)]
        except (*DICOM_ERRORS, RuntimeError) as error:
            raise _not_decoded(first, error) from error
    if len(frames) != len(headers):
        raise InputError(f"{first.file}: {len(frames)} of {len(headers)} frames could be decoded")
    return (np.asarray(frame, dtype=frame.dtype.newbyteorder("=")) for frame in frames)


def _refuse_too_few(header: Header, dataset: pydicom.Dataset) -> None:
    if "PixelData" not in dataset:
        raise ValueError("there is no pixel data element")
    if header.frame_number is None and (header.number_of_frames or 1) > 1:
        raise ValueError("several frames where one is expected")


def _refuse_unknown_syntax(header: Header) -> None:
    """Raise where no installed decoder reads the transfer syntax."""
    uid = UID(header.transfer_syntax_uid)
    try:
        available = get_decoder(uid).is_available
    except NotImplementedError:
        name = uid.name if uid.is_transfer_syntax else header.transfer_syntax_uid
        raise InputError(f"{header.file} is stored in a way that is not read here: transfer syntax {name}") from None
    _silence_decoders()
    if not available:
        raise MissingExtraError(
            f"{header.file} is compressed ({uid.name}) and no installed decoder reads it: {EXTRA}, or store it anew "
            "without compression"
        )


def _silence_decoders() -> None:
    """Decoders write their doubts of odd files to standard error, a few lines for each: what matters they raise."""
    for name in ("openjpeg", "pylibjpeg", "pydicom"):
        logger = logging.getLogger(name)
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())
    with suppress(ImportError, AttributeError):
        gdcm = import_module("gdcm")
        gdcm.Trace.WarningOff()
        gdcm.Trace.ErrorOff()
        gdcm.Trace.DebugOff()


def _not_decoded(header: Header, error: Exception) -> CinesaxError:
    reason = "".join(letter if letter.isprintable() else " " for letter in " ".join(str(error).split()))[:300]
    absent = [module for start, module in _DECODED_BY_EXTRA if header.transfer_syntax_uid.startswith(start)]
    if absent and find_spec(absent[0]) is None:
        return MissingExtraError(
            f"{header.file}: pixels cannot be decoded with what is installed; {EXTRA} adds another decoder ({reason})"
        )
    return InputError(f"{header.file}: pixels cannot be decoded, the file may be damaged: {reason}")
