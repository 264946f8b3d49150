"""The process in which GDCM decodes JPEG (extended, lossless): `python -m cinesax.dicom.pixels.jpeg_process`.

Damaged data may crash a C++ library and its process. If this process crashes, only one frame is lost. It reads requests
from standard input and answers on standard output, frame by frame (`cinesax.dicom.pixels.jpeg` is the other end).
"""

import os
import struct
import sys
from dataclasses import dataclass
from enum import IntEnum
from importlib import import_module
from typing import Any, BinaryIO, Self

_SIZES = struct.Struct("<I")


class Answer(IntEnum):
    """The result for a frame; the bytes that follow are pixels or a reason."""

    PIXELS = 0
    FAILED = 1


@dataclass(frozen=True, slots=True)
class Codestream:
    """One compressed frame, and what its header says about it.

    Attributes:
        transfer_syntax_uid: one of the JPEG transfer syntaxes.
        pixel_representation: 0 for unsigned, 1 for signed.
        data: SOI to EOI.
    """

    transfer_syntax_uid: str
    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    pixel_representation: int
    data: bytes

    _NUMBERS = struct.Struct("<5I")

    def to_bytes(self) -> bytes:
        """The message for the pipe."""
        numbers = self._NUMBERS.pack(
            *(self.rows, self.columns, self.bits_allocated, self.bits_stored, self.pixel_representation)
        )
        return numbers + self.transfer_syntax_uid.encode().ljust(64, b"\0") + self.data

    @classmethod
    def from_bytes(cls, message: bytes) -> Self:
        """The codestream from a message of the pipe."""
        rows, columns, allocated, stored, signed = cls._NUMBERS.unpack(message[:20])
        uid = message[20:84].rstrip(b"\0").decode()
        return cls(uid, rows, columns, allocated, stored, signed, message[84:])


def send(stream: BinaryIO, message: bytes) -> None:
    """Write one message, its length first."""
    stream.write(_SIZES.pack(len(message)) + message)
    stream.flush()


def receive(stream: BinaryIO, *, at_most: int | None = None) -> bytes | None:
    """Read one message; None if the other end is gone or declares too many bytes."""
    start = stream.read(_SIZES.size)
    if len(start) < _SIZES.size:
        return None
    (length,) = _SIZES.unpack(start)
    if at_most is not None and length > at_most:
        return None
    message = stream.read(length)
    return message if len(message) == length else None


def decode(frame: Codestream) -> bytes:
    """The pixels of a frame, little endian, by GDCM.

    Raises:
        ValueError: GDCM cannot decode the frame.
    """
    gdcm: Any = import_module("gdcm")
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame.data)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((frame.columns, frame.rows, 1))
    image.SetDataElement(element)
    grey = gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2")
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(grey))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(frame.transfer_syntax_uid)))
    bits = frame.bits_allocated, frame.bits_stored, frame.bits_stored - 1, frame.pixel_representation
    image.SetPixelFormat(gdcm.PixelFormat(1, *bits))
    text: Any = image.GetBuffer()
    if not text:
        raise ValueError("GDCM gives no pixels")
    # GDCM returns char* as str: these are its bytes.
    pixels: bytes = text.encode("utf-8", "surrogateescape")
    return pixels


def work(asked: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until the other end closes."""
    while (message := receive(asked)) is not None:
        try:
            send(answers, bytes([Answer.PIXELS]) + decode(Codestream.from_bytes(message)))
        except Exception as error:  # noqa: BLE001 - the other end gets every error
            send(answers, bytes([Answer.FAILED]) + str(error).encode("utf-8", "replace")[:300])


def _own_streams() -> tuple[BinaryIO, BinaryIO]:
    """The pipes, protected from what C libraries write to standard output."""
    asked, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    return asked, answers


if __name__ == "__main__":
    if sys.platform == "win32":
        import msvcrt

        for number in (0, 1):
            msvcrt.setmode(number, os.O_BINARY)
    work(*_own_streams())
