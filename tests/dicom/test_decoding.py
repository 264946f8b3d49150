"""Transfer syntaxes: the same pixels out of all of them, and one clear line where nothing decodes them."""

import struct
import subprocess
import sys
import threading
import tomllib
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.uid import (
    HTJ2K,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
)

import checkers
import exams
import htj2k
from cinesax.core.cine import StoredFile
from cinesax.core.errors import InputError, MissingExtraError
from cinesax.dicom.pixels.pixels import read_pixels
from cinesax.dicom.read.frames import read_headers
from cinesax.dicom.read.header import Header
from cinesax.inputs import open_cine


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
    frames = _frames(_public(name))
    assert frames.dtype.isnative
    # The uncompressed twin of J2KI was made from it: JPEG 2000 decoders may differ by one grey value.
    np.testing.assert_allclose(frames, expected, rtol=1e-6, atol=slope if "J2KI" in name else 1e-4)


def test_only_the_frames_that_are_asked_for_are_decoded_and_in_any_order():
    path = _public("emri_small_RLE.dcm")
    with path.open("rb") as stream:
        headers = read_headers(StoredFile(path), stream)
    expected = pydicom.dcmread(_public("emri_small.dcm")).pixel_array
    pixels = read_pixels([[headers[7], headers[2]], [headers[2], headers[0]]])
    np.testing.assert_array_equal(pixels, expected[[[7, 2], [2, 0]]])


@pytest.mark.parametrize("name", ["emri_small_jpeg_2k_lossless_too_short.dcm", "MR_truncated.dcm"])
def test_public_files_that_are_damaged(name):
    with pytest.raises(InputError) as caught:
        _frames(_public(name))
    assert "\n" not in str(caught.value)


def _jpeg_lossless(folder: Path, process: str) -> list[Path]:
    """The small exam in JPEG lossless, which GDCM alone writes."""
    gdcm = pytest.importorskip("gdcm", reason="the extra `decoders` is not installed")
    files = exams.write_exam(folder)
    for path in files:
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(path))
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, process)))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFileName(str(path))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
    return files


def _jpeg_ls(folder: Path, _: str = "") -> list[Path]:
    files = exams.write_exam(folder)
    for path in files:
        dataset = pydicom.dcmread(path)
        dataset.compress(JPEGLSLossless, generate_instance_uid=False)
        dataset.save_as(path)
    return files


@pytest.mark.parametrize("process", ["JPEGLosslessProcess14", "JPEGLosslessProcess14_1"])
def test_jpeg_lossless(tmp_path, process):
    path = _jpeg_lossless(tmp_path, process)[-1]
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID.startswith("1.2.840.10008.1.2.4.")
    np.testing.assert_array_equal(open_cine(tmp_path).pixels, exams.small_cine().pixels)


@pytest.mark.parametrize(
    ("make", "marker"), [(_jpeg_ls, b"\xff\xf7"), (_jpeg_lossless, b"\xff\xc3")], ids=["jpeg-ls", "jpeg-lossless"]
)
def test_a_codestream_of_a_giant_image_does_not_end_the_process(tmp_path, make, marker):
    """GDCM 3.2.6 ends it on JPEG-LS: std::length_error, which nobody catches."""
    path = make(tmp_path, "JPEGLosslessProcess14_1")[3]
    content = bytearray(path.read_bytes())
    at = content.find(marker, content.rfind(b"\xe0\x7f\x10\x00"))
    assert at > 0
    content[at + 5 : at + 9] = struct.pack(">HH", 60_000, 60_000)
    path.write_bytes(content)
    # In a process of its own: what ends it must not end the tests.
    command = [sys.executable, "-m", "cinesax", "analyze", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 3, run.stderr
    assert run.stderr.startswith(f"cinesax: error: {path}: pixels cannot be decoded")
    assert run.stderr.count("\n") == 1


def test_a_decoder_that_breaks_costs_one_file_and_not_the_process(tmp_path, monkeypatch):
    """Whatever GDCM does of a codestream whose start is in order, it does it in a process of its own."""
    files = _jpeg_lossless(tmp_path, "JPEGLosslessProcess14_1")
    process = tmp_path.parent / "breaking" / "breaking.py"
    process.parent.mkdir(exist_ok=True)
    process.write_text("import os\nos.abort()\n")
    monkeypatch.setenv("PYTHONPATH", str(process.parent))
    monkeypatch.setattr("cinesax.dicom.pixels.jpeg.PROCESS", "breaking")
    with pytest.raises(InputError, match=r"IM-0001-0001.dcm: pixels cannot be decoded.* the JPEG decoder broke on it"):
        read_pixels([[_header(files[0])]])
    monkeypatch.undo()
    assert read_pixels([[_header(files[0])]]).shape == (1, 1, exams.ROWS, exams.COLUMNS)


def test_the_decoder_starts_where_cinesax_is_not_installed_but_found(tmp_path):
    """As where an application has its packages in a folder of its own, and makes sys.path itself."""
    files = _jpeg_lossless(tmp_path, "JPEGLosslessProcess14_1")
    base = getattr(sys, "_base_executable", sys.executable)
    code = f"""import sys
sys.path += {[folder for folder in sys.path if folder]!r}
from pathlib import Path
from cinesax.dicom.read.frames import read_headers
from cinesax.dicom.pixels.pixels import read_pixels
from cinesax.core.cine import StoredFile
path = Path({str(files[0])!r})
with path.open("rb") as stream:
    print(read_pixels([[read_headers(StoredFile(path), stream)[0]]]).shape)
"""
    done = subprocess.run([base, "-P", "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.stdout.split() == ["(1,", "1,", f"{exams.ROWS},", f"{exams.COLUMNS})"], done.stderr


def test_who_interrupts_the_decoder_does_not_wait_for_it(tmp_path, monkeypatch):
    files = _jpeg_lossless(tmp_path, "JPEGLosslessProcess14_1")

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cinesax.dicom.pixels.jpeg.receive", interrupt)
    with pytest.raises(KeyboardInterrupt):
        read_pixels([[_header(files[0])]])
    running = [one for one in threading.enumerate() if isinstance(one, threading.Timer)]
    assert all(one.finished.is_set() for one in running)


def _header(path: Path) -> Header:
    with path.open("rb") as stream:
        return read_headers(StoredFile(path), stream)[0]


@pytest.mark.parametrize("name", ["JPGExtended.dcm", "JPEG-lossy.dcm"])
def test_jpeg_extended_of_twelve_bits(tmp_path, name):
    """Lossy, as an archive may have made it: the same values as dcmtk's decoder."""
    pytest.importorskip("gdcm", reason="the extra `decoders` is not installed")
    path, plain = _public(name), tmp_path / "plain.dcm"
    command = [checkers.checker("dcmdjpeg", "dcmtk"), str(path), str(plain)]
    subprocess.run(command, check=True, capture_output=True)
    expected = pydicom.dcmread(plain).pixel_array
    assert expected.max() > 255
    np.testing.assert_array_equal(_frames(path)[0], expected)


def _encapsulated(path: Path, syntax: str, codestream: bytes) -> None:
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.BitsStored, dataset.HighBit = 16, 15
    dataset.PixelData = pydicom.encaps.encapsulate([codestream])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)


@pytest.mark.parametrize(
    ("syntax", "codestream", "within"),
    [(HTJ2KLossless, htj2k.LOSSLESS, 0), (HTJ2KLosslessRPCL, htj2k.LOSSLESS, 0), (HTJ2K, htj2k.LOSSY, 3)],
)
def test_high_throughput_jpeg_2000(tmp_path, syntax, codestream, within):
    pytest.importorskip("openjpeg", reason="the extra `decoders` is not installed")
    path = exams.write_exam(tmp_path)[0]
    _encapsulated(path, syntax, codestream)
    np.testing.assert_allclose(_frames(path)[0].astype(int), htj2k.image().astype(int), atol=within)


_WITHOUT_EXTRA = """
import sys
for name in ("gdcm", "openjpeg", "pylibjpeg"):
    sys.modules[name] = None  # as if it were not installed
from cinesax.cli.main import main
sys.exit(main(["analyze", sys.argv[1]]))
"""


@pytest.mark.parametrize("syntax", [JPEGExtended12Bit, JPEGLosslessSV1, HTJ2KLossless])
def test_without_the_extra_the_error_names_it(tmp_path, syntax):
    for path in exams.write_exam(tmp_path):
        _encapsulated(path, syntax, htj2k.LOSSLESS)
    command = [sys.executable, "-c", _WITHOUT_EXTRA, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == MissingExtraError.exit_code, run.stderr
    assert run.stderr.count("\n") == 1
    assert "pip install '.[decoders]'" in run.stderr


@pytest.mark.parametrize("value", ["PALETTE COLOR", "RGB"])
def test_numbers_that_are_no_grey_values(tmp_path, value):
    exams.edit(exams.write_exam(tmp_path)[7], PhotometricInterpretation=value)
    with pytest.raises(
        InputError, match=f"PhotometricInterpretation is '{value}', expected MONOCHROME1 or MONOCHROME2"
    ):
        open_cine(tmp_path)


def test_a_syntax_that_is_none(tmp_path):
    for path in exams.write_exam(tmp_path):
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"
        dataset.PixelData = pydicom.encaps.encapsulate([dataset.PixelData])
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(path)
    with pytest.raises(InputError, match="that cinesax does not read: transfer syntax MPEG2"):
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
    monkeypatch.setattr("cinesax.dicom.pixels.decoding.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[decoders\]'"):
        open_cine(tmp_path)


def test_lossy_compression_is_told(tmp_path):
    exams.edit(exams.write_exam(tmp_path), LossyImageCompression="01")
    assert exams.codes(open_cine(tmp_path)) == ["lossy-compression"]


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGExtended12Bit])
def test_jpeg_of_eight_bits_is_read_and_is_lossy_whether_its_header_says_so_or_not(tmp_path, syntax):
    shades = []
    for number, path in enumerate(exams.write_exam(tmp_path)):
        flat = np.full((exams.ROWS, exams.COLUMNS), 40 + 5 * number, np.uint8)
        shades.append(flat[0, 0])
        stream = BytesIO()
        Image.fromarray(flat).save(stream, "JPEG", quality=95)
        _encapsulated(path, syntax, stream.getvalue())
        exams.edit(path, BitsAllocated=8, BitsStored=8, HighBit=7)
    cine = open_cine(tmp_path)
    assert exams.codes(cine) == ["lossy-compression"]
    numbers = cine.pixels[:, :, 0, 0].T.ravel().astype(int)
    np.testing.assert_allclose(numbers, np.array(shades, int), atol=1)


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
    monkeypatch.setattr("cinesax.dicom.read.header._MAX_INFLATED_BYTES", 1000)
    with pytest.raises(InputError, match="expands beyond"):
        open_cine(tmp_path)
