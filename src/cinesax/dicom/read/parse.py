"""From the bytes of a DICOM file to its elements, with values as stored (PS3.5, chapter 7; PS3.10).

pydicom could read them too, but warns about oddities of real files. Warnings can only be silenced for the whole
process, which is not safe if several threads read. Values are not checked here: `elements` decodes those needed.
"""

import struct
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import BinaryIO

IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"
TRANSFER_SYNTAX_UID = 0x00020010

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_UNDEFINED = 0xFFFFFFFF
# A plan of a cohort reads millions of elements. By byte order: tag, value representation and a length of two bytes, and
# a length of four bytes.
_HEADS = {True: struct.Struct("<HH2sH"), False: struct.Struct(">HH2sH")}
_LENGTHS = {True: struct.Struct("<I"), False: struct.Struct(">I")}
LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
"""Value representations whose length takes four bytes, after two empty bytes."""
_SHORT = frozenset(
    (b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS")
    + (b"LO", b"LT", b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US")
)
"""Value representations whose length takes two bytes."""
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

    until = _PIXELS[0] if last is None else min(last + 1, _PIXELS[0])
    return Parsed(meta, parse(stream, encoding, stop=stop, wanted=wanted, until=until), encoding)


def first_values(start: bytes, wanted: Collection[int], last: int) -> dict[int, bytes] | None:
    """The values of some elements, straight from the first bytes of an ordinary file: three times as fast.

    A plan of a cohort asks this of every file. Ordinary are files with a header whose elements are explicit little
    endian, and sequences of known length.

    Args:
        start: the first bytes of the file.
        wanted: top-level tags, of the meta information too.
        last: the last tag to read.

    Returns:
        Tag -> the bytes of its value, as `parse_file` reads them; None for other files, damaged ones, those whose tags
        do not ascend, and those in which not all tags up to the last lie within the bytes.
    """
    if start[128:132] != b"DICM":
        return None
    unpack = _HEADS[True].unpack_from
    values: dict[int, bytes] = {}
    at, end, before = 132, len(start) - 12, 0x00020000 - 1
    while at <= end:
        group, number, letters, size = unpack(start, at)
        tag = group << 16 | number
        if tag > last:
            return values if _is_plain(values.get(TRANSFER_SYNTAX_UID)) else None
        if tag <= before:
            return None
        before = tag
        at += 8
        if letters not in _SHORT:
            if letters not in LONG:
                return None
            # An undefined length leads beyond the bytes.
            size = int.from_bytes(start[at : at + 4], "little")
            at += 4
        if tag in wanted or tag == TRANSFER_SYNTAX_UID:
            values[tag] = start[at : at + size]
        at += size
    return None


def _is_plain(syntax: bytes | None) -> bool:
    """Whether a transfer syntax is explicit little endian, and not deflated."""
    others = (IMPLICIT_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN, DEFLATED)
    return syntax is not None and syntax.decode("latin-1").strip(" \0") not in others


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
    until: int = 0,
) -> dict[int, Element]:
    """Read the elements of a data set or of an item.

    Args:
        stream: at the first element.
        encoding: the encoding that the file declares. If the first element shows the opposite for value
            representations, the element counts.
        length: bytes of the data set; undefined: up to the end of the item or file.
        stop: where to stop, before an element.
        wanted: tags to keep; None: all.
        until: `stop` is not asked below this tag.
    """
    first = _peek(stream, 6)
    if len(first) == 6 and _tag(first, encoding) != _ITEM_END:
        encoding = Encoding(_is_vr(first[4:6]), encoding.little)
    unpack = _HEADS[encoding.little].unpack
    elements: dict[int, Element] = {}
    end = None if length == _UNDEFINED else stream.tell() + length
    while end is None or stream.tell() < end:
        quick = wanted is not None and until and end is None and encoding.explicit
        head = _next_head(stream, encoding, wanted or (), until) if quick else stream.read(8)
        if len(head) < 8:
            break
        group, number, letters, short = unpack(head)
        tag = group << 16 | number
        if tag == _ITEM_END:
            break
        if stop is not None and stop(tag):
            stream.seek(-8, 1)
            break
        vr = _vr(letters) if encoding.explicit else ""
        # Some writers forget the value representation of single elements.
        how = encoding if vr else Encoding(explicit=False, little=encoding.little)
        size = short if vr and letters not in LONG else _long(stream.read(4) if vr else head[4:], encoding)
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


def _next_head(stream: BinaryIO, encoding: Encoding, wanted: Collection[int], until: int) -> bytes:
    """Skip short elements below a tag that are not wanted; return the first eight bytes of the next element."""
    unpack = _HEADS[encoding.little].unpack
    while True:
        head = stream.read(8)
        if len(head) < 8:
            return head
        group, number, letters, size = unpack(head)
        tag = group << 16 | number
        if letters not in _SHORT or tag >= until or tag in wanted:
            return head
        stream.seek(size, 1)


@lru_cache(maxsize=1024)
def _vr(letters: bytes) -> str:
    """Two bytes as a value representation; "" if they are none."""
    return letters.decode("ascii") if _is_vr(letters) else ""


def _is_vr(two: bytes) -> bool:
    return len(two) == 2 and two.isalpha() and two.isupper()


def _long(four: bytes, encoding: Encoding) -> int:
    return int(_LENGTHS[encoding.little].unpack(four)[0])


def _tag(head: bytes, encoding: Encoding) -> int:
    group, number = struct.unpack("<HH" if encoding.little else ">HH", head[:4])
    return int(group << 16 | number)


def _peek(stream: BinaryIO, count: int) -> bytes:
    at = stream.tell()
    seen = stream.read(count)
    stream.seek(at)
    return seen
