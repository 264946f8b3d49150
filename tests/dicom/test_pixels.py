"""Pixels as they are stored, and the series that is written."""

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

import exams
from cinesax.core.cine import Source
from cinesax.core.errors import GeometryError, InputError, MissingExtraError, OutputError
from cinesax.core.grid import Grid
from cinesax.dicom.read.series import valid_uid
from cinesax.dicom.uid import derived_uid
from cinesax.inputs import open_cine
from cinesax.phantom.dicom import SeriesIdentity, write_series


class TestWriting:
    def test_the_validator_finds_nothing(self, tmp_path):
        assert exams.checked_by_dciodvfy(exams.write_exam(tmp_path)) == []

    @pytest.mark.parametrize("kind", [np.int16, np.uint8, np.float32])
    def test_other_pixel_types(self, tmp_path, kind):
        pixels = (exams.small_cine().pixels % 200 - (100 if kind is np.int16 else 0)).astype(kind)
        cine = exams.small_cine(pixels=pixels)
        files = exams.write_exam(tmp_path, cine)
        np.testing.assert_array_equal(open_cine(tmp_path).pixels, cine.pixels)
        assert exams.checked_by_dciodvfy(files[:2]) == []

    def test_without_patient_times_and_uids(self, tmp_path):
        cine = exams.small_cine(source=Source("nifti"), trigger_times_ms=None, rr_intervals_ms=None)
        files = exams.write_exam(tmp_path, cine, seed="a")
        assert exams.checked_by_dciodvfy(files[:2]) == []
        assert "DOE" not in str(pydicom.dcmread(files[0]).PatientName)
        np.testing.assert_array_equal(open_cine(tmp_path).pixels, cine.pixels)

    def test_same_seed_same_bytes_and_other_seed_other_uids(self, tmp_path):
        cine = exams.small_cine(source=Source("unknown"))
        first = exams.write_exam(tmp_path / "1", cine, seed="a")
        again = exams.write_exam(tmp_path / "2", cine, seed="a")
        other = exams.write_exam(tmp_path / "3", cine, seed="b")
        assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
        uids = [{pydicom.dcmread(path).SOPInstanceUID for path in files} for files in (first, other)]
        assert len(uids[0]) == len(first)
        assert not uids[0] & uids[1]
        assert all(valid_uid(uid) for uid in uids[0])

    def test_only_the_files_of_the_series_are_left(self, tmp_path):
        files = exams.write_exam(tmp_path)
        assert sorted(tmp_path.iterdir()) == sorted(files)

    def test_derived_uids_are_valid_and_tell_parts_apart(self):
        uids = {derived_uid(*parts) for parts in [("a", "b"), ("ab",), ("a", "b", ""), ("b", "a")]}
        assert len(uids) == 4
        assert all(valid_uid(uid) for uid in uids)

    def test_what_cannot_be_written(self, tmp_path):
        with pytest.raises(GeometryError, match="without geometry"):
            write_series(exams.small_cine(grid=None), tmp_path, SeriesIdentity())
        with pytest.raises(InputError, match="16 bits"):
            exams.write_exam(tmp_path, exams.small_cine(pixels=exams.small_cine().pixels.astype(np.int32) * 100))
        (tmp_path / "file").write_text("")
        with pytest.raises(OutputError, match="cannot be written"):
            exams.write_exam(tmp_path / "file")


class TestPixels:
    def test_rescale(self, tmp_path):
        exams.edit(exams.write_exam(tmp_path), RescaleSlope="0.5", RescaleIntercept="-10", RescaleType="US")
        cine = open_cine(tmp_path)
        assert cine.pixels.dtype == np.float32
        np.testing.assert_allclose(cine.pixels, exams.small_cine().pixels * 0.5 - 10)

    def test_rescale_that_differs_between_frames(self, tmp_path):
        files = exams.write_exam(tmp_path)
        exams.edit(exams.frame_file(files, phase=1, slice_index=2), RescaleSlope="2", RescaleIntercept="0")
        pixels = open_cine(tmp_path).pixels
        np.testing.assert_allclose(pixels[1, 2], exams.small_cine().pixels[1, 2] * 2.0)
        np.testing.assert_allclose(pixels[0, 2], exams.small_cine().pixels[0, 2])

    def test_identity_rescale_keeps_integers(self, tmp_path):
        exams.edit(exams.write_exam(tmp_path), RescaleSlope="1", RescaleIntercept="0")
        assert open_cine(tmp_path).pixels.dtype == np.uint16

    def test_rescale_of_zero(self, tmp_path):
        exams.edit(exams.write_exam(tmp_path), RescaleSlope="0", RescaleIntercept="0")
        with pytest.raises(InputError, match="RescaleSlope is 0"):
            open_cine(tmp_path)

    @pytest.mark.parametrize("signed", [False, True])
    def test_monochrome1_is_turned_round(self, tmp_path, signed):
        pixels = exams.small_cine().pixels
        cine = exams.small_cine(pixels=pixels.astype(np.int16) - 1500 if signed else pixels)
        exams.edit(exams.write_exam(tmp_path, cine), PhotometricInterpretation="MONOCHROME1")
        read = open_cine(tmp_path).pixels
        whole = cine.pixels.astype(int)
        np.testing.assert_array_equal(read, whole.max() + whole.min() - whole)

    def test_bits_beyond_those_stored_are_not_signal(self, tmp_path):
        def overlaid(one):
            return (np.frombuffer(one.PixelData, "<u2") | 0x8000).tobytes()

        exams.edit(exams.write_exam(tmp_path), PixelData=overlaid)
        np.testing.assert_array_equal(open_cine(tmp_path).pixels, exams.small_cine().pixels)

    def test_sign_of_twelve_bits(self, tmp_path):
        cine = exams.small_cine(pixels=exams.small_cine().pixels.astype(np.int16) - 1500)

        def masked(one):
            return (np.frombuffer(one.PixelData, "<u2") & 0x0FFF).tobytes()

        exams.edit(exams.write_exam(tmp_path, cine), PixelData=masked, BitsStored=12, HighBit=11)
        np.testing.assert_array_equal(open_cine(tmp_path).pixels, cine.pixels)

    def test_implicit_little_endian(self, tmp_path):
        for path in exams.write_exam(tmp_path):
            dataset = pydicom.dcmread(path)
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
            dataset.save_as(path, implicit_vr=True, little_endian=True)
        np.testing.assert_array_equal(open_cine(tmp_path).pixels, exams.small_cine().pixels)

    def test_big_endian(self, tmp_path):
        for path in exams.write_exam(tmp_path):
            dataset = pydicom.dcmread(path)
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
            list(dataset.iterall())  # decodes all elements, so that they are encoded anew
            dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
            pydicom.dcmwrite(path, dataset, implicit_vr=False, little_endian=False)
        pixels = open_cine(tmp_path).pixels
        np.testing.assert_array_equal(pixels, exams.small_cine().pixels)
        assert pixels.dtype.isnative

    def test_deflated(self, tmp_path):
        for path in exams.write_exam(tmp_path):
            dataset = pydicom.dcmread(path)
            dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
            dataset.save_as(path)
        np.testing.assert_array_equal(open_cine(tmp_path).pixels, exams.small_cine().pixels)

    def test_deflated_and_damaged(self, tmp_path):
        files = exams.write_exam(tmp_path)
        for path in files:
            dataset = pydicom.dcmread(path)
            dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
            dataset.save_as(path)
        files[3].write_bytes(files[3].read_bytes()[:-200])
        with pytest.raises((InputError, zlib.error)) as caught:
            open_cine(tmp_path)
        assert isinstance(caught.value, InputError)

    def test_run_length_encoded(self, tmp_path):
        for path in exams.write_exam(tmp_path):
            dataset = pydicom.dcmread(path)
            dataset.compress(RLELossless, generate_instance_uid=False)
            dataset.save_as(path)
        np.testing.assert_array_equal(open_cine(tmp_path).pixels, exams.small_cine().pixels)

    @pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
    def test_a_syntax_that_nothing_decodes_names_what_to_install(self, tmp_path, syntax, monkeypatch):
        monkeypatch.setattr("pydicom.pixels.decoders.base.DecodeRunner", None)
        monkeypatch.setattr("pydicom.pixels.decoders.base.Decoder.available_plugins", ())
        for path in exams.write_exam(tmp_path):
            dataset = pydicom.dcmread(path)
            dataset.PixelData = pydicom.encaps.encapsulate([dataset.PixelData])
            dataset["PixelData"].is_undefined_length = True
            dataset.file_meta.TransferSyntaxUID = syntax
            dataset.save_as(path)
        with pytest.raises(
            MissingExtraError,
            match=r"no installed decoder reads it: install the extra, .* pip install '\.\[decoders\]'",
        ):
            open_cine(tmp_path)

    def test_compressed_pixels_that_are_damaged(self, tmp_path):
        for path in exams.write_exam(tmp_path):
            dataset = pydicom.dcmread(path)
            dataset.compress(RLELossless, generate_instance_uid=False)
            dataset.PixelData = pydicom.encaps.encapsulate([bytes(70)])
            dataset.save_as(path)
        with pytest.raises(InputError, match="may be damaged"):
            open_cine(tmp_path)

    @pytest.mark.parametrize(
        "changes", [{"Rows": 10}, {"Columns": 12}, {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}]
    )
    def test_more_pixels_than_the_header_says(self, tmp_path, changes):
        exams.edit(exams.write_exam(tmp_path), **changes)
        with pytest.raises(InputError, match="holds 960 bytes of pixels where .* make 480"):
            open_cine(tmp_path)

    def test_a_little_padding_is_no_contradiction(self, tmp_path):
        exams.edit(exams.write_exam(tmp_path), PixelData=lambda one: one.PixelData + bytes(32))
        np.testing.assert_array_equal(open_cine(tmp_path).pixels, exams.small_cine().pixels)

    def test_wrong_size_in_the_header(self, tmp_path):
        files = exams.write_exam(tmp_path)
        exams.edit(files, Rows=1000, Columns=1000)
        with pytest.raises(InputError, match="truncated"):
            open_cine(tmp_path)
        exams.edit(files, Rows=60000, Columns=60000)
        with pytest.raises(InputError, match="no cine is larger than 4096"):
            open_cine(tmp_path)

    def test_files_without_preamble(self, tmp_path):
        for path in exams.write_exam(tmp_path):
            path.write_bytes(path.read_bytes()[132:])
        np.testing.assert_array_equal(open_cine(tmp_path).pixels, exams.small_cine().pixels)


def test_a_stack_from_base_to_apex(tmp_path):
    """The same heart with the normal the other way: slices come out from base to apex, the pixels mirrored."""
    cine = exams.small_cine()
    grid = cine.grid
    far = grid.origins_mm + grid.along_row * (exams.COLUMNS - 1) * grid.spacing_mm[1]
    turned = Grid(far[::-1], -grid.along_row, grid.along_column, grid.spacing_mm, grid.shape)
    mirrored = replace(cine, pixels=cine.pixels[:, ::-1, :, ::-1].copy(), grid=turned, base_first=True)
    exams.write_exam(tmp_path, mirrored)
    read = open_cine(tmp_path)
    assert read.base_first is True
    np.testing.assert_array_equal(read.pixels, mirrored.pixels)
    assert read.grid.same_as(turned, tolerance_mm=1e-3)


@pytest.mark.data
def test_real_pixels_without_any_temporary_file(sunnybrook, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    open_cine(Path(sunnybrook) / "dicom" / "SC-HF-I-04")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"PixelRepresentation": 7}, "PixelRepresentation is 7"),
        ({"BitsStored": 2}, "BitsStored 2 and HighBit 11"),
        ({"BitsStored": 0}, "BitsStored 0"),
        ({"BitsStored": 17, "HighBit": 16}, "BitsStored 17"),
    ],
)
def test_bits_that_contradict_one_another_are_not_taken_for_an_image(tmp_path, changes, words):
    files = exams.write_exam(tmp_path)
    exams.edit(files[3], **changes)
    with pytest.raises(InputError, match=words):
        open_cine(tmp_path)
