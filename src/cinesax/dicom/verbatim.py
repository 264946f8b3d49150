"""Elements of a file as the bytes of a data set in explicit little endian, with values as stored."""

import struct
from collections.abc import Iterable

from pydicom.datadict import dictionary_VR

from cinesax.dicom.read.header import DICOM_ERRORS
from cinesax.dicom.read.parse import LONG, Element, Elements, items

_LONGEST = 0xFFFE
# Values of these are the same bytes in every encoding of DICOM.
_TEXTS = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UI", "UC", "UT"})
_SIZES = {"US": 2, "SS": 2, "OW": 2, "AT": 2, "UL": 4, "SL": 4, "FL": 4, "OF": 4, "OL": 4, "FD": 8, "OD": 8, "OV": 8}
"""Bytes of one number, by value representation: their order follows the file's byte order."""


def verbatim(elements: Elements, tags: Iterable[int]) -> bytes:
    """The bytes of the elements with these tags, in the order of tags; absent and damaged elements are left out."""
    written = b""
    for tag in sorted(set(tags) & elements.keys()):
        try:
            written += _written(tag, elements[tag]) or b""
        except DICOM_ERRORS:
            continue  # damaged: nothing can be copied
    return written


def _written(tag: int, element: Element) -> bytes | None:
    """The bytes of one element; None if it is too long, or contradicts its tag."""
    vr = dictionary_VR(tag)
    if vr == "SQ":
        if element.read_items is None and element.vr not in ("SQ", "UN", ""):
            return None
        value = b"".join(_item(item) for item in items(element))
    else:
        # The dictionary allows several types for some numbers ("US or SS"); the file says which one it uses.
        vr = vr if vr in _TEXTS else element.vr or vr.split(" ")[0]
        value = element.value if vr in _TEXTS or element.encoding.little else _turned(element.value, _SIZES.get(vr, 1))
        if len(value) % 2:
            value += b" " if vr in _TEXTS and vr != "UI" else b"\0"
        if len(value) > _LONGEST:
            return None
    group, number = tag >> 16, tag & 0xFFFF
    if vr.encode() in LONG:
        return struct.pack("<HH2sHI", group, number, vr.encode(), 0, len(value)) + value
    return struct.pack("<HH2sH", group, number, vr.encode(), len(value)) + value


def _item(elements: Elements) -> bytes:
    inner = b"".join(_written(tag, elements[tag]) or b"" for tag in sorted(elements) if not tag >> 16 & 1)
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner


def _turned(value: bytes, size: int) -> bytes:
    return b"".join(value[start : start + size][::-1] for start in range(0, len(value), size))
