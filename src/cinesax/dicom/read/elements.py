"""Elements of DICOM data sets as plain values, decoded from their raw bytes.

This does not use pydicom's value classes: real files hold invalid dates and UIDs, and such a value must neither stop
the reading nor cause 240 warnings. A value that cannot be understood is None or ().
"""

import math
import struct
from collections.abc import Callable
from typing import Any

from cinesax.dicom.read.parse import Elements

_MAX_TEXT = 256

Decoder = Callable[[bytes, bool], Any]
"""From the bytes of a value, and whether they are little endian."""


def clean(text: str) -> str:
    """Remove padding and control characters, and limit the length: a damaged header may return half the file."""
    text = text[:_MAX_TEXT].rstrip(" \0")  # UIDs of odd length end with NUL
    if not text.isprintable():
        text = "".join(letter for letter in text if letter.isprintable())
    return text.strip()


def texts(raw: bytes, _: bool) -> tuple[str, ...]:
    """Several texts (CS, LO), separated by backslashes."""
    whole = clean(raw.decode("latin-1"))
    return tuple(part.strip() for part in whole.split("\\")) if whole else ()


def text(raw: bytes, _: bool) -> str | None:
    """One text without padding."""
    return clean(raw.decode("latin-1")) or None


def numbers(raw: bytes, _: bool) -> tuple[float, ...]:
    """Numbers written as text (DS, IS); () if any of them is not a number."""
    try:
        values = tuple(float(part) for part in raw.decode("ascii").strip(" \0").split("\\"))
    except ValueError:
        return ()
    return values if all(math.isfinite(value) for value in values) else ()


def number(raw: bytes, little: bool) -> float | None:
    """The first number written as text."""
    return next(iter(numbers(raw, little)), None)


def short(raw: bytes, little: bool) -> int | None:
    """A whole number of two bytes (US)."""
    return int.from_bytes(raw[:2], "little" if little else "big") if len(raw) >= 2 else None


def unsigned(raw: bytes, little: bool) -> int | None:
    """A whole number of four bytes (UL)."""
    return int.from_bytes(raw[:4], "little" if little else "big") if len(raw) >= 4 else None


def double(raw: bytes, little: bool) -> float | None:
    """The first real number of eight bytes (FD)."""
    if len(raw) < 8:
        return None
    value = float(struct.unpack("<d" if little else ">d", raw[:8])[0])
    return value if math.isfinite(value) else None


def single(raw: bytes, little: bool) -> float | None:
    """The first real number of four bytes (FL)."""
    if len(raw) < 4:
        return None
    value = float(struct.unpack("<f" if little else ">f", raw[:4])[0])
    return value if math.isfinite(value) else None


def raw_value(among: Elements, tag: int) -> tuple[bytes, bool]:
    """The bytes of a value, and whether they are little endian; no bytes if the element does not exist."""
    element = among.get(tag)
    return (b"", True) if element is None else (element.value, element.encoding.little)
