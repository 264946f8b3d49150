"""Transfer syntaxes: the same pixels out of all of them, and one clear line where nothing decodes them."""

import tomllib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import JPEG2000Lossless

import exams
from cinesax.cine import StoredFile
from cinesax.errors import InputError, MissingExtraError
from cinesax.exam import open_cine
from cinesax.formats.dicom_frames import read_headers
from cinesax.formats.dicom_image import read_pixels


def _public(name: str) -> Path:
    """A file of pydicom or of the package pydicom-data."""
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"{name} is absent: pip install pydicom-data")
    return Path(path)


def _frames(path: Path) -> np.ndarray:
    """(frame, row, column) as cinesax reads them."""
    with path.open("rb") as stream:
        headers = read_headers(StoredFile(path), stream)
    return read_pixels([[header] for header in headers])[:, 0]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("name", "same_as"),
    [
        ("MR_small_implicit.dcm", "MR_small.dcm"),
        ("MR_small_bigendian.dcm", "MR_small.dcm"),
        ("MR_small_expb.dcm", "MR_small.dcm"),
        ("MR_small_padded.dcm", "MR_small.dcm"),
        ("MR_small_RLE.dcm", "MR_small.dcm"),
        ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"),
        ("MR2_J2KR.dcm", "MR2_UNCR.dcm"),
        ("MR2_J2KI.dcm", "MR2_UNCI.dcm"),
        ("emri_small_big_endian.dcm", "emri_small.dcm"),
        ("emri_small_RLE.dcm", "emri_small.dcm"),
        ("emri_small_jpeg_2k_lossless.dcm", "emri_small.dcm"),
        ("emri_small_jpeg_ls_lossless.dcm", "emri_small.dcm"),
    ],
)
def test_public_files_give_the_same_pixels_in_every_syntax(name, same_as):
    plain = pydicom.dcmread(_public(same_as))
    slope, intercept = float(plain.get("RescaleSlope", 1)), float(plain.get("RescaleIntercept", 0))
    expected = plain.pixel_array.reshape(-1, plain.Rows, plain.Columns) * slope + intercept
    found = _frames(_public(name))
    assert found.dtype.isnative
    # The uncompressed twin of J2KI was made from it: JPEG 2000 decoders may differ by one grey value.
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=slope if "J2KI" in name else 1e-4)


def test_only_the_frames_that_are_asked_for_are_decoded_and_in_any_order():
    path = _public("emri_small_RLE.dcm")
    with path.open("rb") as stream:
        headers = read_headers(StoredFile(path), stream)
    expected = pydicom.dcmread(_public("emri_small.dcm")).pixel_array
    found = read_pixels([[headers[7], headers[2]], [headers[2], headers[0]]])
    np.testing.assert_array_equal(found, expected[[[7, 2], [2, 0]]])


@pytest.mark.parametrize("name", ["emri_small_jpeg_2k_lossless_too_short.dcm", "MR_truncated.dcm"])
def test_public_files_that_are_damaged(name):
    with pytest.raises(InputError) as caught:
        _frames(_public(name))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("process", ["JPEGLosslessProcess14", "JPEGLosslessProcess14_1"])
def test_jpeg_lossless(tmp_path, process):
    gdcm = pytest.importorskip("gdcm", reason="the extra `decoders` is not installed")
    syntax = gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, process))
    for path in exams.write_exam(tmp_path):
        reader = gdcm.ImageReader()
        reader.SetFileName(str(path))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(syntax)
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(path))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID.startswith("1.2.840.10008.1.2.4.")
    np.testing.assert_array_equal(open_cine(tmp_path).pixels, exams.small_cine().pixels)


def test_a_syntax_that_is_none(tmp_path):
    for path in exams.write_exam(tmp_path):
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"
        dataset.PixelData = pydicom.encaps.encapsulate([dataset.PixelData])
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(path)
    with pytest.raises(InputError, match="not read here: transfer syntax MPEG2"):
        open_cine(tmp_path)


def test_what_the_decoders_at_hand_cannot_is_not_called_damage(tmp_path, monkeypatch):
    """Pillow takes JPEG 2000 and fails on some: with OpenJPEG absent, the message says what to install."""
    for path in exams.write_exam(tmp_path):
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
        dataset.PixelData = pydicom.encaps.encapsulate([bytes(70)])
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(path)
    with pytest.raises(InputError, match="may be damaged"):
        open_cine(tmp_path)
    monkeypatch.setattr("cinesax.formats.dicom_decoding.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'cinesax\[decoders\]'"):
        open_cine(tmp_path)


def test_lossy_compression_is_told(tmp_path):
    exams.edit(exams.write_exam(tmp_path), LossyImageCompression="01")
    assert exams.codes(open_cine(tmp_path)) == ["lossy-compression"]


def test_no_decoder_under_the_gpl_is_asked_for():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    assert any("python-gdcm" in one for one in asked), "the extra is there"
    assert not any("pylibjpeg-libjpeg" in one or "pylibjpeg[" in one for one in asked)


def test_a_deflated_file_that_expands_without_bound(tmp_path, monkeypatch):
    for path in exams.write_exam(tmp_path):
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
        dataset.save_as(path)
    monkeypatch.setattr("cinesax.formats.dicom_header._MAX_INFLATED_BYTES", 1000)
    with pytest.raises(InputError, match="expands beyond"):
        open_cine(tmp_path)
