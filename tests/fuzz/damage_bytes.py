"""Damage to the bytes of one file, without knowing what they mean."""

import random
import re
import struct
import zlib
from collections.abc import Callable

Bytes = bytearray
ByteDamage = Callable[[Bytes, random.Random], None]

_ELEMENT = re.compile(rb"[\x02\x08\x10\x18\x20\x28\x00\x54\x62\xe0][\x00\x52\x7f]..[A-Z][A-Z]", re.DOTALL)
_LONG = {b"OB", b"OW", b"SQ", b"UN", b"UT", b"OF", b"OD", b"UC", b"UR", b"OL", b"OV", b"SV", b"UV"}
_VRS = (
    *(b"AE AS AT CS DA DS DT FL FD IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()),
    *(b"ZZ", b"\x00\x00", b"\xff\xff", b"  "),
)
_DELIMITERS = (
    b"\xfe\xff\x00\xe0\xff\xff\xff\xff",
    b"\xfe\xff\x0d\xe0\x00\x00\x00\x00",
    b"\xfe\xff\xdd\xe0\x00\x00\x00\x00",
    b"\xfe\xff\x00\xe0\x00\x00\x00\x00",
    b"\xfe\xff\x00\xe0\xfe\xff\xff\x7f",
)
_LENGTHS = (0xFFFFFFFF, 0xFFFFFFFE, 0x7FFFFFFF, 0x80000000, 0x40000000, 0xFFFF, 0x10000, 1, 0, 3)

_SYNTAXES = (
    *("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"),
    *("1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57"),
    *("1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.90"),
    *("1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.100", "1.2.3", "", "x" * 200),
)
_TRANSFER_SYNTAX = b"\x02\x00\x10\x00UI"


def _header_end(data: Bytes) -> int:
    """Where the pixels start, about; most damage before it is damage to the header."""
    at = max(data.rfind(b"\xe0\x7f\x10\x00"), data.rfind(b"\x7f\xe0\x00\x10"))
    return at if at > 0 else len(data)


def _place(data: Bytes, rng: random.Random) -> int:
    """Somewhere, mostly in the header, mostly behind the preamble."""
    end = len(data) if rng.random() < 0.2 else _header_end(data)
    start = 0 if rng.random() < 0.1 else min(128, end - 1)
    return rng.randrange(max(start, 0), max(end, 1)) if data else 0


def flip_bits(data: Bytes, rng: random.Random) -> None:
    """One to 200 flipped bits."""
    for _ in range(rng.choice([1, 1, 2, 5, 20, 200]) if data else 0):
        data[_place(data, rng)] ^= 1 << rng.randrange(8)


def cut(data: Bytes, rng: random.Random) -> None:
    """All from some place on is gone."""
    del data[rng.choice([_place(data, rng), rng.randrange(len(data) + 1), len(data) - 1, 0]) :]


def swap(data: Bytes, rng: random.Random) -> None:
    """Two pieces change places."""
    size = rng.choice([2, 4, 8, 64])
    a, b = sorted((_place(data, rng), _place(data, rng)))
    if a + size <= b and b + size <= len(data):
        data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]


def insert(data: Bytes, rng: random.Random) -> None:
    """A few bytes too many: noise, a delimiter, or a piece of the file again."""
    at, start = _place(data, rng), _place(data, rng)
    again = bytes(data[start : start + rng.choice([8, 200])])
    data[at:at] = rng.choice([rng.randbytes(1), rng.randbytes(8), rng.choice(_DELIMITERS), again])


def remove(data: Bytes, rng: random.Random) -> None:
    """A piece is gone."""
    at = _place(data, rng)
    del data[at : at + rng.choice([1, 2, 8, 64, 1000])]


def blank(data: Bytes, rng: random.Random) -> None:
    """A piece, up to a disc block, is all zeros, ones or noise."""
    at, size = _place(data, rng), rng.choice([4, 16, 512, 4096])
    size = min(size, len(data) - at)
    data[at : at + size] = rng.choice([bytes(size), b"\xff" * size, rng.randbytes(size), b"\\" * size])


def append(data: Bytes, rng: random.Random) -> None:
    """Something after the end: noise, zeros, the file once more."""
    data += rng.choice([rng.randbytes(33), bytes(4096), bytes(data)])


def declare_length(data: Bytes, rng: random.Random) -> None:
    """Elements that declare to be longer, or shorter, than they are."""
    for _ in range(rng.choice([1, 1, 2, 10])):
        spots = [element.start() for element in _ELEMENT.finditer(data)]
        if not spots:
            at = _place(data, rng)
            data[at : at + 4] = struct.pack("<I", rng.choice(_LENGTHS))
            return
        at = rng.choice(spots)
        length = rng.choice(_LENGTHS)
        if bytes(data[at + 4 : at + 6]) in _LONG and at + 12 <= len(data):
            data[at + 8 : at + 12] = struct.pack("<I", length)
        elif at + 8 <= len(data):
            data[at + 6 : at + 8] = struct.pack("<H", length & 0xFFFF)


def rename_vr(data: Bytes, rng: random.Random) -> None:
    """Elements of another value representation, or of none that exists."""
    for _ in range(rng.choice([1, 1, 3, 30])):
        spots = [element.start() for element in _ELEMENT.finditer(data)]
        if spots:
            at = rng.choice(spots)
            data[at + 4 : at + 6] = rng.choice(_VRS)


def rename_tags(data: Bytes, rng: random.Random) -> None:
    """Two elements that carry one another's tag, or one that carries a tag of noise."""
    spots = [element.start() for element in _ELEMENT.finditer(data)]
    if len(spots) > 1:
        a, b = rng.sample(spots, 2)
        data[a : a + 4], data[b : b + 4] = data[b : b + 4], data[a : a + 4]
        if rng.random() < 0.3:
            data[a : a + 4] = rng.randbytes(4)


def other_syntax(data: Bytes, rng: random.Random) -> None:
    """A transfer syntax that is not the one of the file, or none."""
    at = data.find(_TRANSFER_SYNTAX)
    if at >= 0:
        length = int.from_bytes(data[at + 6 : at + 8], "little")
        said = rng.choice(_SYNTAXES).encode()
        data[at + 6 : at + 8 + length] = struct.pack("<H", max(length, len(said))) + said.ljust(length, b"\0")


def replace_all(data: Bytes, rng: random.Random) -> None:
    """Another kind of file altogether, some that begin like DICOM."""
    noise = rng.randbytes(rng.choice([1, 16, 3000]))
    meta = bytes(data[: rng.choice([132, 144, 300])])
    start = bytes(128) + b"DICM"
    data[:] = rng.choice(
        [b"", noise, start, start + noise, meta + noise, b"\x08\x00" + noise, b"%PDF-1.7\n", b"PK\x03\x04" + noise,
         b"\x1f\x8b\x08\x00" + noise, b"<html>", bytes(100_000), b"\x08\x00\x05\x00" * 4000]
    )  # fmt: skip


DAMAGE: tuple[ByteDamage, ...] = (
    *(flip_bits, flip_bits, flip_bits, cut, cut, swap, insert, remove, blank, append, declare_length, declare_length),
    *(rename_vr, rename_tags, other_syntax, replace_all),
)
LOSES = (cut,)
"""Of these, those after which the pixels of the file cannot all be there."""


def inside_deflated(damage: ByteDamage, data: Bytes, rng: random.Random) -> None:
    """Do damage to the data set of a deflated file, and deflate it again."""
    at = 144 + int.from_bytes(data[140:144], "little")
    body = Bytes(zlib.decompress(bytes(data[at:]), wbits=-zlib.MAX_WBITS))
    damage(body, rng)
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    data[at:] = deflater.compress(bytes(body)) + deflater.flush()
