"""What a PDF by ReportLab draws, read with the standard library: texts page by page, and operators."""

import base64
import re
import zlib

_STREAM = re.compile(rb"/ASCII85Decode /FlateDecode \][^>]*>>\s*stream\r?\n(.*?)~>", re.DOTALL)
_TEXT = re.compile(rb"\(((?:[^()\\]|\\.)*)\) Tj|\b(?:T\*|ET)", re.DOTALL)
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|.)", re.DOTALL)


def pages(pdf: bytes) -> list[bytes]:
    """The operators of each page, in the order of the pages."""
    return [zlib.decompress(base64.a85decode(held)) for held in _STREAM.findall(pdf)]


def text(pdf: bytes) -> str:
    """All texts, each line of a paragraph on a line of its own, a form feed after each page."""
    return "".join(_text_of(page) + "\f" for page in pages(pdf))


def _text_of(page: bytes) -> str:
    parts = ("\n" if found[1] is None else _plain(found[1]) for found in _TEXT.finditer(page))
    return re.sub(r"\n+", "\n", "".join(parts)).strip("\n")


def _plain(drawn: bytes) -> str:
    def meant(found: re.Match[bytes]) -> bytes:
        what = found[1]
        return bytes([int(what, 8)]) if what.isdigit() else {b"n": b"\n", b"r": b"\r", b"t": b"\t"}.get(what, what)

    return _ESCAPE.sub(meant, drawn).decode("cp1252")
