"""The process in which GDCM decodes JPEG (extended, lossless): `python -m cinesax.dicom.pixels.jpeg_process`.

A C++ library that meets damage may end its process. This one is not the user's: what is lost is one frame. It answers
on standard output what it is asked on standard input, frame by frame (`cinesax.dicom.pixels.jpeg` has the other end).
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
    """What came of a frame; the bytes that follow are pixels or a reason."""

    PIXELS = 0
    FAILED = 1


@dataclass(frozen=True, slots=True)
class Codestream:
    """One frame as it is compressed, and what its header says of it.

    Attributes:
        transfer_syntax_uid: one of the JPEG ones.
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
        """As it goes through the pipe."""
        numbers = self._NUMBERS.pack(
            *(self.rows, self.columns, self.bits_allocated, self.bits_stored, self.pixel_representation)
        )
        return numbers + self.transfer_syntax_uid.encode().ljust(64, b"\0") + self.data

    @classmethod
    def from_bytes(cls, message: bytes) -> Self:
        """As it comes out of the pipe."""
        rows, columns, allocated, stored, signed = cls._NUMBERS.unpack(message[:20])
        uid = message[20:84].rstrip(b"\0").decode()
        return cls(uid, rows, columns, allocated, stored, signed, message[84:])


def send(stream: BinaryIO, message: bytes) -> None:
    """Write one message, its length first."""
    stream.write(_SIZES.pack(len(message)) + message)
    stream.flush()


def receive(stream: BinaryIO, *, at_most: int | None = None) -> bytes | None:
    """Read one message; None where the other end is gone, or declares more bytes than can be meant."""
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
        ValueError: GDCM gives none.
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
    # GDCM gives char* as str: these are its bytes.
    pixels: bytes = text.encode("utf-8", "surrogateescape")
    return pixels


def work(asked: BinaryIO, answers: BinaryIO) -> None:
    """Answer until nothing is asked any more."""
    while (message := receive(asked)) is not None:
        try:
            send(answers, bytes([Answer.PIXELS]) + decode(Codestream.from_bytes(message)))
        except Exception as error:  # noqa: BLE001 - whatever it is, the other end is told
            send(answers, bytes([Answer.FAILED]) + str(error).encode("utf-8", "replace")[:300])


def _own_streams() -> tuple[BinaryIO, BinaryIO]:
    """The pipes, out of reach of what C libraries write to standard output."""
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
