"""Damage to the elements of one DICOM file: it stays well-formed, and says what cannot be."""

import io
import random
import struct
import warnings
from collections.abc import Callable, Iterator

import pydicom
from pydicom import config
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.tag import Tag

ElementDamage = Callable[[Dataset, random.Random], None]

_SIZES = ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel")
_TEXTS = (
    *("ImageType", "SOPClassUID", "SOPInstanceUID", "StudyDate", "AcquisitionTime", "ContentTime", "Modality"),
    *("SeriesDescription", "PatientName", "PatientID", "PatientAge", "PatientSize", "PatientWeight", "StudyTime"),
    *("SliceThickness", "InversionTime", "EchoTime", "SpacingBetweenSlices", "TriggerTime", "NominalInterval"),
    *("HeartRate", "CardiacNumberOfImages", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "PatientSex"),
    *("AcquisitionNumber", "InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    *("FrameOfReferenceUID", "TemporalPositionIdentifier", "SliceLocation", "PhotometricInterpretation"),
    *("NumberOfFrames", "RescaleIntercept", "RescaleSlope", "LossyImageCompression", "SpecificCharacterSet"),
    *("ContentDate", "AcquisitionDate", "AcquisitionDateTime", "PatientBirthDate", "ProtocolName", "SequenceName"),
    *("SegmentLabel", "SegmentNumber", "ReferencedSegmentNumber", "SegmentationType", "MaximumFractionalValue"),
)
_VALUES = (
    *(b"", b" ", b"\0", b"0", b"-0", b"-1", b"1", b"nan", b"inf", b"-inf", b"1e400", b"1e308", b"-1e308", b"1e-320"),
    *(b"1e300\\1e300\\1e300", b"0\\0\\0", b"0\\0", b"1\\0\\0\\0\\1\\0", b"1\\0\\0\\1\\0\\0", b"0\\0\\0\\0\\0\\0"),
    *(b"nan\\nan\\nan", b"1\\2", b"1e-300\\1e-300", b"-1\\-1", b"99999999999999999999", b"2147483648", b"1000000"),
    *(b"abc", b"1,5", b"0x10", b"1_0", b"\xd9\xa1\xd9\xa2", b"1.2.3.4.5\0", b"1." + b"9" * 300, b"20240230"),
    *(b"999999.999999", b"246060", b"\\" * 60, b"\\" * 5000, b"9" * 5000, b"A" * 70_000, b"\n\r\x1b[31m", b"\xff\xfe"),
    *(b"ISO_IR 192", b"ISO 2022 IR 87", b"\\ISO 2022 IR 149", b"ISO_IR 999", b"utf-8", b"\xe5\xb1\xb1^\x1b$B;3ED"),
    *(b"MR", b"00000000", b"MONOCHROME1", b"PALETTE COLOR", b"RGB", b"YBR_FULL", b"1.2.840.10008.1.3.10"),
    b"1.2.840.10008.5.1.4.1.1.4.1",
    *(b"FRACTIONAL", b"LABELMAP", b"MIXED", b"1.2.840.10008.5.1.4.1.1.66.4", b"ORIGINAL\\PRIMARY\\LOCALIZER"),
)  # fmt: skip
_WHOLE = (0, 1, 2, 3, 7, 8, 12, 16, 19, 24, 25, 32, 64, 255, 256, 4096, 32767, 32768, 65535)


def _put(dataset: Dataset, tag: int, vr: str, value: bytes) -> None:
    """An element whose bytes are written as they are."""
    implicit, little = (bool(flag) for flag in dataset.original_encoding)
    dataset[Tag(tag)] = RawDataElement(Tag(tag), vr, len(value), value, 0, implicit, little)


def _every(dataset: Dataset, depth: int = 0) -> Iterator[tuple[Dataset, int]]:
    """All elements at all depths, as (data set, tag)."""
    for tag in list(dataset.keys()):
        yield dataset, tag
        element = dataset.get_item(tag)
        known = pydicom.datadict.dictionary_has_tag(tag)
        vr = element.VR or (pydicom.datadict.dictionary_VR(tag) if known else "")
        if vr == "SQ" and depth < 6:
            for item in dataset[tag].value or ():
                yield from _every(item, depth + 1)


def _spot(dataset: Dataset, rng: random.Random, keywords: tuple[str, ...]) -> tuple[Dataset, int] | None:
    tags = {pydicom.datadict.tag_for_keyword(keyword) for keyword in keywords}
    spots = [spot for spot in _every(dataset) if spot[1] in tags]
    return rng.choice(spots) if spots else None


def odd_values(dataset: Dataset, rng: random.Random) -> None:
    """Values that are no such values: one to five elements, at any depth."""
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        spot = _spot(dataset, rng, (rng.choice(_TEXTS),)) or _spot(dataset, rng, _TEXTS)
        if spot is not None:
            _put(*spot, _vr(*spot), rng.choice(_VALUES))


def _vr(dataset: Dataset, tag: int) -> str:
    return dataset.get_item(tag).VR or pydicom.datadict.dictionary_VR(tag) if tag in dataset else "UN"


def impossible_sizes(dataset: Dataset, rng: random.Random) -> None:
    """Images of no rows, of 65535, of 3 bits a pixel, of a million frames."""
    for _ in range(rng.choice([1, 1, 2, 4])):
        keyword = rng.choice((*_SIZES, "Rows", "Columns", "BitsStored"))
        value = rng.choice(_WHOLE)
        tag = pydicom.datadict.tag_for_keyword(keyword)
        packed = struct.pack("<H" if dataset.original_encoding[1] else ">H", value)
        _put(dataset, tag, "US", rng.choice([b"", b"\1", bytes(4)]) if rng.random() < 0.1 else packed)
    if rng.random() < 0.3:
        _put(dataset, 0x00280008, "IS", rng.choice([b"0", b"-1", b"2", b"1000000000", b"99999", b"1e9", b"x", b"13"]))


def leave_out(dataset: Dataset, rng: random.Random) -> None:
    """Elements that are not there, at any depth."""
    for _ in range(rng.choice([1, 1, 3, 10])):
        parent, tag = rng.choice(list(_every(dataset)))
        if tag in parent:
            del parent[tag]


def swap_values(dataset: Dataset, rng: random.Random) -> None:
    """Two elements with one another's bytes."""
    spots = [spot for spot in _every(dataset) if isinstance(spot[0].get_item(spot[1]), RawDataElement)]
    if len(spots) > 1:
        (one, a), (other, b) = rng.sample(spots, 2)
        first, second = one.get_item(a), other.get_item(b)
        one[a], other[b] = first._replace(value=second.value), second._replace(value=first.value)


def other_vr(dataset: Dataset, rng: random.Random) -> None:
    """An element under another value representation, its bytes as they were."""
    spots = [spot for spot in _every(dataset) if isinstance(spot[0].get_item(spot[1]), RawDataElement)]
    for parent, tag in rng.sample(spots, min(len(spots), rng.choice([1, 3]))):
        vr = rng.choice(["UN", "OB", "SQ", "FD", "US", "DS", "IS", "LO", "AT", "UI", "PN", "SV", "OF", "UT"])
        parent[tag] = parent.get_item(tag)._replace(VR=vr)


def nested(dataset: Dataset, rng: random.Random) -> None:
    """Sequences in sequences, up to far beyond any purpose, or an item that is its own kind again."""
    depth = rng.choice([2, 10, 60, 150])
    item = Dataset()
    item.CodeValue = "1"
    tag = rng.choice([0x00081140, 0x00409096, 0x52009229, 0x52009230, 0x00089215, 0x00620002, 0x00209113])
    for _ in range(depth):
        outer = Dataset()
        outer[Tag(tag)] = pydicom.DataElement(Tag(tag), "SQ", Sequence([item]))
        item = outer
    place = rng.choice([0x00081140, 0x52009229, 0x52009230, 0x00101002, 0x00081110])
    dataset[Tag(place)] = pydicom.DataElement(Tag(place), "SQ", Sequence([item] * rng.choice([1, 2])))


def deep_bytes(dataset: Dataset, rng: random.Random) -> None:
    """A sequence nested some thousand times, written by hand: no library writes such a thing."""
    depth = rng.choice([300, 3000, 20_000])
    tag, item = b"\x08\x00\x15\x92", b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    if dataset.original_encoding[0]:
        value = (item + tag + b"\xff\xff\xff\xff") * depth
    else:
        value = (item + tag + b"SQ\0\0\xff\xff\xff\xff") * depth
    place = rng.choice([0x00081140, 0x52009229, 0x00101002, 0x00089215])
    _put(dataset, place, "SQ", value)


def groups(dataset: Dataset, rng: random.Random) -> None:
    """Functional groups of too few, too many, the same or no frames."""
    tag = rng.choice([0x52009230, 0x52009230, 0x52009229])
    items = list(dataset[tag].value) if tag in dataset else [Dataset()]
    value = rng.choice([items[:-1], items + items, items[:1] * len(items), items[::-1], [], [Dataset()] * len(items)])
    dataset[Tag(tag)] = pydicom.DataElement(Tag(tag), "SQ", Sequence(value))


def pixels(dataset: Dataset, rng: random.Random) -> None:
    """Pixel data of another length, of fragments that do not fit, or none; codestreams that declare a giant image."""
    data = bytes(dataset.get("PixelData") or b"")
    compressed = data[:4] == b"\xfe\xff\x00\xe0"
    parts = [b"", data[: len(data) // 2], data + data, bytes(len(data)), data[:-2], b"\0\0", data + b"\1" * 100]
    if compressed:
        parts += [encapsulate([data[16:]]), encapsulate([b"\0\0"] * 3), encapsulate([data[16:-8]] * 2), _giant(data)]
    dataset.PixelData = rng.choice(parts)
    dataset["PixelData"].is_undefined_length = compressed or rng.random() < 0.1


def _giant(data: bytes) -> bytes:
    """The same fragments, whose codestreams say that they hold an image of 60,000 x 60,000, or of no pixel."""
    changed = bytearray(data)
    at = changed.find(b"\xff\x4f\xff\x51")
    if at >= 0:  # JPEG 2000: SIZ, Xsiz and Ysiz
        changed[at + 8 : at + 16] = struct.pack(">II", 60_000, 60_000)
    for marker in (b"\xff\xf7", b"\xff\xc3", b"\xff\xc0", b"\xff\xc1"):  # JPEG-LS, JPEG: the start of the frame
        at = changed.find(marker)
        if at >= 0:
            changed[at + 5 : at + 9] = struct.pack(">HH", 60_000, 60_000)
            break
    return bytes(changed)


DAMAGE: tuple[ElementDamage, ...] = (
    *(odd_values, odd_values, odd_values, impossible_sizes, impossible_sizes, leave_out, swap_values, other_vr, nested),
    *(deep_bytes, groups, pixels, pixels),
)


def damaged(content: bytes, damage: ElementDamage, rng: random.Random) -> bytes:
    """A file after damage to its elements; as it was where pydicom cannot write such a thing."""
    with warnings.catch_warnings(action="ignore"), config.disable_value_validation():
        try:
            dataset = pydicom.dcmread(io.BytesIO(content), force=True)
            damage(dataset, rng)
            stream = io.BytesIO()
            implicit, little = dataset.original_encoding
            pydicom.dcmwrite(stream, dataset, implicit_vr=implicit, little_endian=little, force_encoding=True)
            return stream.getvalue()
        except Exception:  # noqa: BLE001 - the library that damages is not what is tested
            return content
