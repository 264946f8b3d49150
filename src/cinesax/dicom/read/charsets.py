"""Decode DICOM texts by their character sets (PS3.5, 6.1), without warnings about oddities of real files.

The tables are pydicom's. Bytes that cannot be decoded become replacement characters.
"""

import codecs
import re
from collections.abc import Sequence

from pydicom.charset import (
    CODES_TO_ENCODINGS,
    STAND_ALONE_ENCODINGS,
    default_encoding,
    handled_encodings,
    python_encoding,
)

_ESCAPE = b"\x1b"
_FRAGMENTS = re.compile(rb"^[^\x1b]+|\x1b[^\x1b]*")
_RESETS = re.compile(rb"[\\^=]")
"""After each of these the first character set applies again."""


def decode_text(raw: bytes, charsets: Sequence[str]) -> str:
    """Decode a text.

    Args:
        raw: the stored bytes.
        charsets: the values of SpecificCharacterSet; () if there is none.
    """
    encodings = _encodings(charsets)
    if _ESCAPE not in raw:
        return raw.decode(encodings[0], "replace")
    return "".join(_fragment(part, encodings) for part in _FRAGMENTS.findall(raw))


def _encodings(charsets: Sequence[str]) -> list[str]:
    names = [charset.strip() for charset in charsets] or [""]
    if names[0] in STAND_ALONE_ENCODINGS:
        names = names[:1]
    return [_encoding(name) for name in names if name is names[0] or name not in STAND_ALONE_ENCODINGS]


def _encoding(name: str) -> str:
    """Python's name of a character set; common misspellings are understood."""
    spelled = re.sub(r"^ISO[^_]IR", "ISO_IR", name)
    spelled = re.sub(r"^ISO.2022.IR.", "ISO 2022 IR ", spelled)
    known = python_encoding.get(name) or python_encoding.get(spelled)
    if known is not None:
        return known
    try:
        codecs.lookup(name)
    except (LookupError, ValueError):
        return default_encoding
    return name


def _fragment(part: bytes, encodings: Sequence[str]) -> str:
    """A part of a text in a single character set, which an escape sequence at its beginning names."""
    length = 4 if part.startswith((b"\x1b$(", b"\x1b$)")) else 3
    encoding = CODES_TO_ENCODINGS.get(part[:length]) if part.startswith(_ESCAPE) else encodings[0]
    if encoding not in (*encodings, default_encoding):
        return part.decode(encodings[0], "replace")
    try:
        if encoding in handled_encodings or not part.startswith(_ESCAPE):
            return part.decode(encoding)
        text, reset = part[length:], _RESETS.search(part, length)
        if reset is None:
            return text.decode(encoding)
        return part[length : reset.start()].decode(encoding) + part[reset.start() :].decode(encodings[0])
    except (UnicodeError, LookupError):
        return part.decode(encodings[0], "replace")
