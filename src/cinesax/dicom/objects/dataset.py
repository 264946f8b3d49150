"""A whole file as a pydicom Dataset, for code that needs pydicom. Values are decoded here, without warnings."""

import struct
from typing import Any, BinaryIO

from pydicom import config
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.uid import UID

from cinesax.dicom.read.charsets import decode_text
from cinesax.dicom.read.elements import texts
from cinesax.dicom.read.header import inflated
from cinesax.dicom.read.parse import TRANSFER_SYNTAX_UID, Element, Elements, items, parse, parse_file

_CHARACTER_SET = 0x00080005
_NUMBERS = {
    "US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d",
}  # fmt: skip
_WHOLE_TEXTS = frozenset({"LT", "ST", "UT", "UR"})
_TEXTS = _WHOLE_TEXTS | {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "PN", "SH", "TM", "UC", "UI"}


def read_dataset(stream: BinaryIO) -> Dataset:
    """Read a file with its pixels. Private elements are left out.

    Args:
        stream: at the start of the file.

    Raises:
        NotDicomError, EOFError, ValueError, struct.error, RecursionError: the file is damaged or not DICOM.
    """
    stream = inflated(stream)
    parsed = parse_file(stream)
    dataset = _dataset({**parsed.elements, **parse(stream, parsed.encoding)}, ())
    dataset.file_meta = FileMetaDataset()
    if TRANSFER_SYNTAX_UID in parsed.meta:
        dataset.file_meta[TRANSFER_SYNTAX_UID] = _decoded(TRANSFER_SYNTAX_UID, parsed.meta[TRANSFER_SYNTAX_UID], ())
    return dataset


def _dataset(elements: Elements, charsets: tuple[str, ...]) -> Dataset:
    if _CHARACTER_SET in elements:
        charsets = texts(elements[_CHARACTER_SET].value, True)
    dataset = Dataset()
    for tag, element in elements.items():
        # Texts are decoded already: given the character set, pydicom would decode them again.
        if tag != _CHARACTER_SET and not tag >> 16 & 1:
            dataset[tag] = _decoded(tag, element, charsets)
    return dataset


def _decoded(tag: int, element: Element, charsets: tuple[str, ...]) -> DataElement:
    vr = element.vr if element.vr not in ("", "UN") else dictionary_VR(tag) if dictionary_has_tag(tag) else "UN"
    value: Any
    if vr == "SQ" or element.read_items is not None:
        vr, value = "SQ", Sequence(_dataset(item, charsets) for item in items(element))
    elif vr in _TEXTS:
        value = _text(vr, element.value, charsets)
    elif vr in _NUMBERS:
        value = _numbers(_NUMBERS[vr], element)
    else:
        value = element.value
    return DataElement(tag, vr, value, already_converted=True, validation_mode=config.IGNORE)


def _text(vr: str, raw: bytes, charsets: tuple[str, ...]) -> Any:
    whole = decode_text(raw, charsets)
    if vr in _WHOLE_TEXTS:
        return whole.rstrip(" \0")
    values = [_single(vr, part.strip(" \0")) for part in whole.split("\\")]
    return values[0] if len(values) == 1 else MultiValue(lambda value: value, values)


def _single(vr: str, text: str) -> Any:
    if vr == "UI":
        return UID(text, config.IGNORE)
    try:
        return int(float(text)) if vr == "IS" else float(text) if vr == "DS" else text
    except (ValueError, OverflowError):
        return text


def _numbers(kind: str, element: Element) -> Any:
    count = len(element.value) // struct.calcsize(kind)
    order = "<" if element.encoding.little else ">"
    values = struct.unpack(f"{order}{count}{kind}", element.value[: count * struct.calcsize(kind)])
    return values[0] if count == 1 else None if count == 0 else MultiValue(lambda value: value, values)
