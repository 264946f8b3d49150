"""Elements of DICOM data sets as plain values, decoded from their raw bytes.

Not through pydicom's value classes: real files hold dates that are no dates and UIDs that are no UIDs, and one oddity
must neither stop the reading nor warn 240 times. What cannot be understood is None or ().
"""

import math
import struct
from collections.abc import Callable, Mapping
from typing import Any

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

_MAX_TEXT = 256

Decoder = Callable[[bytes, bool], Any]
"""From the bytes of a value, and whether they are little endian."""

Elements = Mapping[int, RawDataElement | DataElement]
"""The elements of a data set by their tags."""


def clean(text: str) -> str:
    """Without padding and control characters, of bounded length: a damaged header may hand over half the file."""
    text = text[:_MAX_TEXT]
    if not text.isprintable():
        text = "".join(letter for letter in text if letter.isprintable())
    return text.strip()


def texts(raw: bytes, _: bool) -> tuple[str, ...]:
    """Several texts (CS, LO), divided by backslashes."""
    whole = clean(raw.decode("latin-1"))
    return tuple(part.strip() for part in whole.split("\\")) if whole else ()


def text(raw: bytes, _: bool) -> str | None:
    """One text without padding."""
    return clean(raw.decode("latin-1")) or None


def numbers(raw: bytes, _: bool) -> tuple[float, ...]:
    """Numbers written as text (DS, IS); () where one of them is none."""
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


def elements(dataset: Dataset) -> Elements:
    """All elements of a data set as they are, undecoded where pydicom has not looked at them yet."""
    return dict(dataset.items())


def raw_value(among: Elements, tag: int) -> tuple[bytes, bool]:
    """The bytes of a value and whether they are little endian; no bytes where there is no such element."""
    element = among.get(tag)
    if element is None:
        return b"", True
    if isinstance(element, RawDataElement):
        return element.value or b"", element.is_little_endian
    value = element.value
    # pydicom has looked at a few elements itself (the character sets), and holds several values as a list.
    shown = "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value)
    return (shown.encode("latin-1", "replace") if value is not None else b""), True
