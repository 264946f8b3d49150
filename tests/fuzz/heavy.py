"""Inputs that are large or slow on purpose: each is made once, by its name, in `make fuzz`."""

import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import exams
from cinesax.phantom.dicom import TransferSyntax, Vendor
from fuzz.damage_folders import empty_files
from fuzz.samples import Sample, phantom_sample

_MANY = 100_000
Heavy = Callable[[Path], None]


def _put(folder: Path, sample: Sample) -> None:
    for name, content in sample.files.items():
        (folder / name).write_bytes(content)


def many_empty_files(folder: Path) -> None:
    """100,000 files of no byte, and nothing else."""
    empty_files(folder, random.Random(0), count=_MANY)


def an_exam_among_empty_files(folder: Path) -> None:
    """An exam, and 100,000 files of no byte beside it."""
    exams.write_exam(folder)
    empty_files(folder, random.Random(0), count=_MANY)


def too_many_files(folder: Path) -> None:
    """More files than are looked at."""
    empty_files(folder, random.Random(0), count=200_001)


def zip_of_empty_files(folder: Path) -> None:
    """A zip of 100,000 files of no byte, in a folder of its own."""
    with zipfile.ZipFile(folder.with_name("exam.zip"), "w") as archive:
        for number in range(_MANY):
            archive.writestr(f"{number:06d}.dcm", b"")


def deflate_bomb(folder: Path) -> None:
    """A deflated file that expands to 4 GB of zeros."""
    sample = phantom_sample(Vendor.PLAIN, TransferSyntax.DEFLATED)
    _put(folder, sample)
    name, content = next(iter(sample.files.items()))
    at = 144 + int.from_bytes(content[140:144], "little")
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    body = zlib.decompress(content[at:], wbits=-zlib.MAX_WBITS)
    zeros = bytes(1 << 24)
    packed = [deflater.compress(body), *(deflater.compress(zeros) for _ in range(256)), deflater.flush()]
    (folder / name).write_bytes(content[:at] + b"".join(packed))


def deep_sequences(folder: Path) -> None:
    """An element of two million sequences in one another."""
    sample = phantom_sample(Vendor.PLAIN, TransferSyntax.EXPLICIT)
    level = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff"
    for name, content in sample.files.items():
        at = content.find(b"\x10\x00\x10\x00PN")
        deep = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + level * 2_000_000
        (folder / name).write_bytes(content[:at] + deep + content[at:])
        return


def a_hundred_thousand_frames(folder: Path) -> None:
    """An Enhanced MR instance of 100,000 frames by its header, without a word of any of them."""
    sample = phantom_sample(Vendor.PHILIPS_ENHANCED, TransferSyntax.EXPLICIT)
    for name, content in sample.files.items():
        start, end = content.find(b"\x00\x52\x30\x92SQ"), content.rfind(b"\xe0\x7f\x10\x00")
        stripped = bytearray(content[:start] + content[end:])
        at = stripped.find(b"\x28\x00\x08\x00IS")
        length = struct.unpack("<H", stripped[at + 6 : at + 8])[0]
        stripped[at + 6 : at + 8 + length] = struct.pack("<H", 6) + b"100000"
        (folder / name).write_bytes(stripped)


def giant_matrix(folder: Path) -> None:
    """Images of 4096 x 4096 by their headers, with as many pixels: 12 frames of 32 MB each."""
    cine = exams.small_cine(phases=3, slices=4)
    for path in exams.write_exam(folder, cine):
        content = path.read_bytes()
        at = content.rfind(b"\xe0\x7f\x10\x00")
        header = bytearray(content[:at])
        for tag in (b"\x28\x00\x10\x00US", b"\x28\x00\x11\x00US"):
            place = header.find(tag)
            header[place + 8 : place + 10] = struct.pack("<H", 4096)
        size = 4096 * 4096 * 2
        path.write_bytes(bytes(header) + b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<I", size) + bytes(size))


CASES: Mapping[str, Heavy] = {
    heavy.__name__: heavy
    for heavy in (
        *(many_empty_files, an_exam_among_empty_files, too_many_files, zip_of_empty_files, deflate_bomb),
        *(deep_sequences, a_hundred_thousand_frames, giant_matrix),
    )
}
