"""Folders, files and zips; and zips that mean harm."""

import stat
import zipfile

import numpy as np
import pytest

import exams
from cinesax.core.errors import InputError
from cinesax.dicom.read.exam import Ignored, open_exam
from cinesax.dicom.read.header import Reason
from cinesax.files import stored_files
from cinesax.inputs import open_cine


def _zip(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def _members(folder):
    return [(f"study/{path.name}", path.read_bytes()) for path in exams.write_exam(folder)]


def test_a_zip_reads_as_its_folder(tmp_path):
    path = _zip(tmp_path / "exam.zip", [*_members(tmp_path / "exam"), ("readme.txt", b"hello")])
    read, expected = open_cine(path), open_cine(tmp_path / "exam")
    np.testing.assert_array_equal(read.pixels, expected.pixels)
    assert read.source == expected.source
    assert open_exam(path).ignored == (Ignored("readme.txt", Reason.NOT_DICOM),)


def test_members_that_cannot_be_unpacked_are_damaged_whatever_packed_them(tmp_path):
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        path = _zip(tmp_path / f"{method}.zip", [("a.dcm", bytes(range(256)) * 40)], method)
        data = bytearray(path.read_bytes())
        data[50:70] = b"\xff" * 20
        path.write_bytes(data)
        with pytest.raises(InputError, match="damaged zip member"):
            open_exam(path)


def test_names_are_shown_without_what_a_terminal_obeys(tmp_path):
    path = _zip(tmp_path / "exam.zip", [("a\nb\x1b[31m.dcm", b"")])
    with pytest.raises(InputError) as caught:
        open_exam(path)
    assert str(caught.value).isprintable() and "a\\nb\\x1b[31m.dcm" in str(caught.value)


def test_a_file_that_is_called_dicom_and_is_none_is_told(tmp_path):
    files = exams.write_exam(tmp_path)
    last = [path for path in files if int(path.stem.split("-")[-1]) > len(files) - exams.PHASES]
    for path in last:
        path.write_bytes(b"")
    (tmp_path / "._IM-0001.dcm").write_bytes(b"left by macOS")
    (tmp_path / "notes.txt").write_bytes(b"notes")
    cine = open_cine(tmp_path)
    assert cine.n_slices == exams.SLICES - 1
    (finding,) = [finding for finding in cine.findings if finding.code == "unreadable-file"]
    assert finding.numbers == {"unreadable": len(last)}
    assert finding.files == tuple(sorted(path.name for path in last))
    assert str(finding) == (
        f"warning: {len(last)} files could not be read and were left out "
        f"(named as DICOM, but the content is not DICOM), the first is {finding.files[0]}"
    )


def test_reading_a_zip_leaves_nothing_behind(tmp_path, monkeypatch):
    path = _zip(tmp_path / "exam.zip", _members(tmp_path / "exam"))
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    open_cine(path)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["../escape.dcm", "a/../../escape.dcm", "/etc/escape.dcm", "C:/x.dcm", "..\\x.dcm"])
def test_a_zip_that_escapes_its_folder(tmp_path, name):
    path = _zip(tmp_path / "exam.zip", [*_members(tmp_path / "exam"), (name, b"data")])
    with pytest.raises(InputError, match="not safe.*points outside"):
        open_exam(path)


def test_a_zip_with_a_symbolic_link(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = _zip(tmp_path / "exam.zip", [*_members(tmp_path / "exam"), (link, b"/etc/passwd")])
    with pytest.raises(InputError, match="not safe"):
        open_exam(path)


def test_a_zip_that_expands_without_bound(tmp_path):
    path = _zip(tmp_path / "bomb.zip", [(f"{i}.dcm", bytes(16 * 1024**2)) for i in range(6)])
    with pytest.raises(InputError, match=r"expands \d+-fold"):
        open_exam(path)


def test_a_zip_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_files, "MAX_ARCHIVE_BYTES", 10_000)
    path = _zip(tmp_path / "exam.zip", _members(tmp_path / "exam"))
    with pytest.raises(InputError, match="would expand"):
        open_exam(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_too_many_files(tmp_path, monkeypatch, zipped):
    monkeypatch.setattr(stored_files, "MAX_FILES", 20)
    members = _members(tmp_path / "exam")
    path = _zip(tmp_path / "exam.zip", members) if zipped else tmp_path / "exam"
    with pytest.raises(InputError, match="more than"):
        open_exam(path)


def test_a_zip_within_a_zip_is_not_followed(tmp_path):
    inner = _zip(tmp_path / "inner.zip", _members(tmp_path / "exam"))
    path = _zip(tmp_path / "outer.zip", [("inner.zip", inner.read_bytes())])
    with pytest.raises(InputError, match="no DICOM image"):
        open_exam(path)


def test_a_damaged_zip(tmp_path):
    path = _zip(tmp_path / "exam.zip", _members(tmp_path / "exam"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="not a readable zip"):
        open_exam(path)


def test_a_damaged_member_is_told(tmp_path):
    path = _zip(tmp_path / "exam.zip", _members(tmp_path / "exam"), zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[3000:3010] = b"\0" * 10
    path.write_bytes(bytes(data))
    exam = open_exam(path)
    (ignored,) = exam.ignored
    assert ignored.reason is Reason.CANNOT_BE_READ and "damaged zip member" in ignored.detail
    assert [one.code for one in exam.findings] == ["unreadable-file"]


def test_a_member_whose_declared_size_lies(tmp_path):
    """The central directory says 10 bytes, the data hold far more: no more than declared is ever read."""
    path = _zip(tmp_path / "lie.zip", [("a.dcm", bytes(1_000_000))])
    data = path.read_bytes()
    true_size = (1_000_000).to_bytes(4, "little")
    path.write_bytes(data.replace(true_size, (10).to_bytes(4, "little")))
    with pytest.raises(InputError):
        open_exam(path)


def test_an_encrypted_zip(tmp_path):
    path = _zip(tmp_path / "exam.zip", [("a.dcm", b"secret" * 100)])
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match="encrypted"):
        open_exam(path)
