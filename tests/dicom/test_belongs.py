"""Which study and patient a file belongs to: the quick way through its first bytes says the same as the parser."""

import io
import random

import pytest

import exams
from cinesax.dicom.read import belongs
from cinesax.dicom.read.belongs import Belonging, belonging
from cinesax.dicom.read.header import NotDicomError
from cinesax.phantom.dicom import SeriesIdentity, TransferSyntax, Vendor, write_scan
from cinesax.phantom.scanning import take_apart

MUTANTS = 300
# The others need packages that only encode.
SYNTAXES = (TransferSyntax.IMPLICIT, TransferSyntax.BIG_ENDIAN, TransferSyntax.DEFLATED, TransferSyntax.RLE)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One file of each vendor, and one in each transfer syntax."""
    scan = take_apart(exams.small_cine(phases=2, slices=1))
    kinds = [(vendor, TransferSyntax.EXPLICIT) for vendor in Vendor]
    kinds += [(Vendor.PLAIN, syntax) for syntax in SYNTAXES]
    found = {}
    for vendor, syntax in kinds:
        folder = tmp_path_factory.mktemp("belongs")
        files = write_scan(scan, folder, SeriesIdentity(number=5), vendor=vendor, syntax=syntax)
        found[vendor, syntax] = files[0].read_bytes()
    return found


def said(content: bytes) -> Belonging | str:
    try:
        return belonging(io.BytesIO(content))
    except NotDicomError as error:
        return str(error)


def parsed(content: bytes, monkeypatch: pytest.MonkeyPatch) -> Belonging | str:
    """What the parser alone says."""
    with monkeypatch.context() as patch:
        patch.setattr(belongs, "first_values", lambda *_: None)
        return said(content)


def test_both_ways_say_the_same(files, monkeypatch):
    for kind, content in files.items():
        found = said(content)
        assert isinstance(found, Belonging) and found.study_uid and found.instance_uid, kind
        assert found == parsed(content, monkeypatch), kind


def test_ordinary_files_are_read_the_quick_way(files, monkeypatch):
    monkeypatch.setattr(belongs, "parse_file", lambda *_, **__: pytest.fail("the parser was asked"))
    for vendor in Vendor:
        belonging(io.BytesIO(files[vendor, TransferSyntax.EXPLICIT]))


def test_of_damaged_files_both_ways_say_the_same(files, monkeypatch):
    content = files[Vendor.PLAIN, TransferSyntax.EXPLICIT]
    rng = random.Random(0)
    for _ in range(MUTANTS):
        data = bytearray(content[:1500])
        for _ in range(rng.choice((1, 3, 20))):
            data[rng.randrange(128, 700)] ^= 1 << rng.randrange(8)
        del data[rng.choice((1500, rng.randrange(140, 700))) :]
        assert said(bytes(data)) == parsed(bytes(data), monkeypatch)


def test_a_study_behind_a_long_element_is_found(files, monkeypatch):
    content = files[Vendor.PLAIN, TransferSyntax.EXPLICIT]
    place = content.index(b"\x10\x00\x10\x00PN")
    private = b"\x09\x00\x10\x00UN\0\0" + (20_000).to_bytes(4, "little") + bytes(20_000)
    longer = content[:place] + private + content[place:]
    assert said(longer) == said(content) == parsed(longer, monkeypatch)
