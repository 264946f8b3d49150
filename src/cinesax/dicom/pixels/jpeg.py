"""JPEG extended (12 bit) and JPEG lossless, which only GDCM decodes, in a process of its own.

A damaged codestream may crash the process that GDCM runs in (std::terminate, a wrong address). Here a crash becomes a
one-line error: GDCM runs in another process, which starts with the first such frame and ends with the last.
"""

import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec

from cinesax.core.errors import counted
from cinesax.dicom.pixels import jpeg_process
from cinesax.dicom.pixels.jpeg_process import Answer, Codestream, receive, send

PROCESS = jpeg_process.__name__
# The import path of this process is searched last: cinesax need not be installed.
_START = """import runpy, sys
sys.path += (folder for folder in sys.argv[2:] if folder not in sys.path)
runpy.run_module(sys.argv[1], run_name="__main__")
"""
_PATIENCE_SECONDS = 30.0
_LONGEST_REASON = 4096
_SOF = frozenset({0xC0, 0xC1, 0xC2, 0xC3})
# Markers without a length: TEM, RST0 to RST7.
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})


def is_available() -> bool:
    """Whether GDCM (extra `decoders`) is installed."""
    return find_spec("gdcm") is not None


class JpegDecoder:
    """Decodes frames in another process, which starts with the first frame."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def decode(self, frame: Codestream) -> bytes:
        """The pixels of a frame: rows x columns of 8 or 16 bits, little endian.

        Raises:
            ValueError: the codestream is damaged or contradicts its header.
        """
        _refuse_contradiction(frame)
        expected = frame.rows * frame.columns * frame.bits_allocated // 8
        answer = self._asked(frame.to_bytes(), at_most=1 + max(expected, _LONGEST_REASON))
        if answer is None:
            raise ValueError("the JPEG decoder broke on it")
        if answer[:1] != bytes([Answer.PIXELS]):
            raise ValueError(answer[1:].decode("utf-8", "replace") or "the JPEG decoder gives no reason")
        if len(answer) - 1 != expected:
            raise ValueError(f"the JPEG decoder gives {len(answer) - 1} bytes where {expected} are expected")
        return answer[1:]

    def _asked(self, message: bytes, *, at_most: int) -> bytes | None:
        process = self._started()
        if process.stdin is None or process.stdout is None:
            raise ValueError("the JPEG decoder cannot be reached")
        timer = threading.Timer(_PATIENCE_SECONDS, process.kill)
        timer.start()
        answer = None
        try:
            with suppress(OSError):
                send(process.stdin, message)  # type: ignore[arg-type]
                answer = receive(process.stdout, at_most=at_most)  # type: ignore[arg-type]
        finally:
            timer.cancel()  # also of an interrupted user: the interpreter waits for its threads
        if answer is None:
            self.close()
        return answer

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            # -P, and no empty folder name: a gdcm.py in the current folder must not be run.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, PROCESS, *filter(None, sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),  # Windows alone has windows
            )
        return self._process

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        process.wait()


@contextmanager
def jpeg_decoder() -> Iterator[JpegDecoder]:
    """A decoder whose process ends with the block."""
    decoder = JpegDecoder()
    try:
        yield decoder
    finally:
        decoder.close()


def _refuse_contradiction(frame: Codestream) -> None:
    """Raise ValueError if the codestream declares another image than the header, before it is decoded."""
    seen = _size(frame.data)
    if seen is None:
        raise ValueError("no JPEG frame header is in it")
    precision, rows, columns, components = seen
    if (rows, columns) != (frame.rows, frame.columns):
        raise ValueError(
            f"the JPEG holds an image of {rows} x {columns} where Rows and Columns say {frame.rows} x {frame.columns}"
        )
    if components != 1 or not 2 <= precision <= frame.bits_allocated:
        raise ValueError(
            f"the JPEG holds {counted(components, 'component')} of {precision} bits where one of up to "
            f"{frame.bits_allocated} bits is expected"
        )


def _size(data: bytes) -> tuple[int, int, int, int] | None:
    """(precision, rows, columns, components) of the first frame header (SOF), or None. ISO/IEC 10918-1, B.2.2."""
    at = 2
    if data[:2] != b"\xff\xd8":
        return None
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill
            at += 1
            continue
        if marker in _BARE:
            at += 2
            continue
        if marker in _SOF:
            precision, rows, columns, components = struct.unpack(">BHHB", data[at + 4 : at + 10])
            return precision, rows, columns, components
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if length < 2 or marker == 0xDA:
            return None
        at += 2 + length
    return None
