"""From the bytes of a DICOM file to its elements, with values as stored (PS3.5, chapter 7; PS3.10).

pydicom could read them too, but warns about oddities of real files. Warnings can only be silenced for the whole
process, which is not safe if several threads read. Values are not checked here: `elements` decodes those needed.
"""

import struct
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"
TRANSFER_SYNTAX_UID = 0x00020010

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_UNDEFINED = 0xFFFFFFFF
LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
"""Value representations whose length takes four bytes, after two empty bytes."""
_ENCAPSULATED = ("OB", "OW")
"""Value representations of compressed pixels, which come in items without elements."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a data set is written: with value representations or without, and its byte order."""

    explicit: bool
    little: bool


@dataclass(frozen=True, slots=True)
class Element:
    """One element as stored.

    Attributes:
        vr: value representation; "" if the file has none.
        value: the bytes; b"" for a sequence of undefined length.
        encoding: encoding of the value.
        read_items: the items of a sequence of undefined length, which must be read to find its end; otherwise None.
    """

    vr: str
    value: bytes
    encoding: Encoding
    read_items: "tuple[Elements, ...] | None" = None


Elements = Mapping[int, Element]
"""The elements of a data set, by tag."""

Stop = Callable[[int], bool]
"""Whether to stop before the element of this tag."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """The content of a file.

    Attributes:
        meta: the file meta information; empty if the file is a bare data set.
        elements: the data set, up to the pixels.
        encoding: encoding of the data set.
    """

    meta: Elements
    elements: Elements
    encoding: Encoding


def parse_file(stream: BinaryIO, wanted: Collection[int] | None = None, *, last: int | None = None) -> Parsed:
    """Read the elements of a file up to its pixels; the stream stops there.

    Args:
        stream: at the start of the file; not deflated.
        wanted: top-level tags to keep; None: all.
        last: the last tag to read; None: all up to the pixels.

    Raises:
        EOFError, ValueError, struct.error, RecursionError: the file is damaged.
    """
    start = stream.read(132)
    stream.seek(132 if start[128:132] == b"DICM" else 0)
    meta = parse(stream, Encoding(explicit=True, little=True), stop=lambda tag: tag >> 16 != 2)
    # Some files begin with elements of the network protocol.
    parse(stream, Encoding(explicit=False, little=True), stop=lambda tag: tag >> 16 != 0, wanted=())
    encoding = _encoding(meta, stream)

    def stop(tag: int) -> bool:
        return tag in _PIXELS or (last is not None and tag > last)

    return Parsed(meta, parse(stream, encoding, stop=stop, wanted=wanted), encoding)


def _encoding(meta: Elements, stream: BinaryIO) -> Encoding:
    if TRANSFER_SYNTAX_UID in meta:
        syntax = meta[TRANSFER_SYNTAX_UID].value.decode("latin-1").strip(" \0")
        return Encoding(explicit=syntax != IMPLICIT_LITTLE_ENDIAN, little=syntax != EXPLICIT_BIG_ENDIAN)
    first = _peek(stream, 6)
    explicit = _is_vr(first[4:6])
    # Groups of the first elements are small: read with the wrong byte order, 0008 is 2048.
    return Encoding(explicit, little=not (explicit and int.from_bytes(first[:2], "little") >= 1024))


def parse(
    stream: BinaryIO,
    encoding: Encoding,
    *,
    length: int = _UNDEFINED,
    stop: Stop | None = None,
    wanted: Collection[int] | None = None,
) -> dict[int, Element]:
    """Read the elements of a data set or of an item.

    Args:
        stream: at the first element.
        encoding: the encoding that the file declares. If the first element shows the opposite for value
            representations, the element counts.
        length: bytes of the data set; undefined: up to the end of the item or file.
        stop: where to stop, before an element.
        wanted: tags to keep; None: all.
    """
    first = _peek(stream, 6)
    if len(first) == 6 and _tag(first, encoding) != _ITEM_END:
        encoding = Encoding(_is_vr(first[4:6]), encoding.little)
    elements: dict[int, Element] = {}
    end = None if length == _UNDEFINED else stream.tell() + length
    while end is None or stream.tell() < end:
        begin = stream.tell()
        head = stream.read(8)
        tag = _tag(head, encoding) if len(head) == 8 else _ITEM_END
        if tag == _ITEM_END:
            break
        if stop is not None and stop(tag):
            stream.seek(begin)
            break
        vr, size, how = _head(head, stream, encoding)
        if size == _UNDEFINED and vr in _ENCAPSULATED:
            element = Element(vr, _fragments(stream), how)
        elif size == _UNDEFINED:
            element = Element("SQ", b"", how, _items(stream, how, _UNDEFINED))
        elif wanted is not None and tag not in wanted:
            stream.seek(size, 1)
            continue
        else:
            element = Element(vr, stream.read(size), how)
        if wanted is None or tag in wanted:
            elements[tag] = element
    return elements


def items(element: Element | None) -> tuple[Elements, ...]:
    """The items of a sequence; () if there is no element, or it is not a sequence."""
    if element is None or element.vr not in ("SQ", "UN", ""):
        return ()
    if element.read_items is not None:
        return element.read_items
    return _items(BytesIO(element.value), element.encoding, len(element.value))


def _items(stream: BinaryIO, encoding: Encoding, length: int) -> tuple[Elements, ...]:
    read: list[Elements] = []
    end = None if length == _UNDEFINED else stream.tell() + length
    while end is None or stream.tell() < end:
        head = stream.read(8)
        if len(head) < 8:
            raise EOFError("a sequence is cut short")
        tag, size = _tag(head, encoding), int.from_bytes(head[4:], "little" if encoding.little else "big")
        if tag == _SEQUENCE_END:
            break
        if tag != _ITEM:
            raise ValueError("a sequence holds something that is not an item")
        read.append(parse(stream, encoding, length=size))
    return tuple(read)


def _fragments(stream: BinaryIO) -> bytes:
    """The items of compressed pixels; the delimiter is read, but left out."""
    start = stream.tell()
    while True:
        head = stream.read(8)
        if len(head) < 8:
            raise EOFError("compressed pixels are cut short")
        if int.from_bytes(head[:2], "little") << 16 | int.from_bytes(head[2:4], "little") == _SEQUENCE_END:
            break
        stream.seek(int.from_bytes(head[4:], "little"), 1)
    end = stream.tell()
    stream.seek(start)
    value = stream.read(end - 8 - start)
    stream.seek(end)
    return value


def _head(head: bytes, stream: BinaryIO, encoding: Encoding) -> tuple[str, int, Encoding]:
    """Value representation and length of the element whose first eight bytes are `head`, and its encoding."""
    order = "<" if encoding.little else ">"
    vr = head[4:6]
    if not encoding.explicit or not _is_vr(vr):
        # Some writers forget the value representation of single elements.
        return "", struct.unpack(order + "I", head[4:])[0], Encoding(explicit=False, little=encoding.little)
    if vr in LONG:
        return vr.decode("ascii"), struct.unpack(order + "I", stream.read(4))[0], encoding
    return vr.decode("ascii"), struct.unpack(order + "H", head[6:])[0], encoding


def _is_vr(two: bytes) -> bool:
    return len(two) == 2 and two.isalpha() and two.isupper()


def _tag(head: bytes, encoding: Encoding) -> int:
    group, number = struct.unpack("<HH" if encoding.little else ">HH", head[:4])
    return int(group << 16 | number)


def _peek(stream: BinaryIO, count: int) -> bytes:
    at = stream.tell()
    seen = stream.read(count)
    stream.seek(at)
    return seen
