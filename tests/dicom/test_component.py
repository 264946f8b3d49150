"""Magnitude, phase, real and imaginary images in one series: the magnitude is what is read."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

import exams
from cinesax.core.errors import NoShortAxisError
from cinesax.core.selection import Selection
from cinesax.dicom.read.exam import open_exam
from cinesax.dicom.read.pick import pick_short_axis, read_cine
from cinesax.dicom.read.series import SeriesKind
from cinesax.inputs import open_cine
from cinesax.phantom.dicom import SeriesIdentity, Vendor, write_scan
from cinesax.phantom.scanning import take_apart

CINE = exams.small_cine(phases=4, slices=3)
M_TYPE, P_TYPE = ["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]


def _ge(value: int) -> Any:
    def change(dataset: pydicom.Dataset) -> None:
        block = dataset.private_block(0x43, "GEMS_PARM_01", create=True)
        block.add_new(0x2F, "SS", value)
        dataset.Manufacturer = "GE MEDICAL SYSTEMS"

    return change


def _type(*values: str) -> Any:
    return lambda dataset: setattr(dataset, "ImageType", list(values))


def _stated(value: str) -> Any:
    def change(dataset: pydicom.Dataset) -> None:
        dataset.add_new("ComplexImageComponent", "CS", value)

    return change


FORMS = {
    "Siemens": [_type("ORIGINAL", "PRIMARY", letter, "RETRO", "NORM") for letter in "MPRI"],
    "Philips": [
        _type("ORIGINAL", "PRIMARY", *values)
        for values in (("M_FFE", "M", "FFE"), ("PHASE MAP", "P", "FFE"), ("R_FFE", "R", "FFE"), ("I_FFE", "I", "FFE"))
    ],
    "abbreviations": [_type("ORIGINAL", "PRIMARY", word) for word in ("MAG", "PHA", "REAL", "IMAG")],
    "words": [_type("ORIGINAL", "PRIMARY", word) for word in ("OTHER", "PHASE", "REAL", "IMAGINARY")],
    "GE": [_ge(value) for value in range(4)],
    "mixed": [_stated(word) for word in ("MAGNITUDE", "MIXED")],
    "component": [_stated(word) for word in ("MAGNITUDE", "PHASE", "REAL", "IMAGINARY")],
}


def write_parts(folder: Path, form: str, parts: int) -> None:
    """The small cine as magnitude images, and other pixels at the same places and times as the other parts."""
    for part in range(parts):
        cine = CINE if part == 0 else replace(CINE, pixels=CINE.pixels[::-1, ::-1] // 2)
        files = exams.write_exam(folder / str(part), cine)
        for number, path in enumerate(files):
            dataset = pydicom.dcmread(path)
            dataset.SOPInstanceUID = f"1.2.9.{part}.{number + 1}"
            # Some scanners count the parts of a frame one after the other, others part by part.
            dataset.InstanceNumber = number * parts + part + 1 if form == "GE" else part * len(files) + number + 1
            FORMS[form][part](dataset)
            dataset.save_as(path)


@pytest.mark.parametrize("form", [form for form in FORMS if form != "mixed"])
@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize("by_hand", [False, True])
def test_the_magnitude_is_read(tmp_path, form, parts, by_hand):
    write_parts(tmp_path, form, parts)
    pick = pick_short_axis(open_exam(tmp_path), Selection("1.2.3.4.5" if by_hand else None))
    cine = read_cine(pick)
    np.testing.assert_array_equal(cine.pixels, CINE.pixels)
    assert pick.series[0].kind is SeriesKind.SHORT_AXIS
    assert f"without {'12 phase images' if parts == 2 else '12 imaginary, 12 phase, 12 real images'}" in pick.reason
    assert cine.findings == ()


def test_one_enhanced_instance_of_both(tmp_path):
    cine = CINE
    (path,) = write_scan(take_apart(cine), tmp_path, SeriesIdentity(), vendor=Vendor.PHILIPS_ENHANCED)
    dataset = pydicom.dcmread(path)
    frames, pixels = list(dataset.PerFrameFunctionalGroupsSequence), dataset.pixel_array
    made, stored = [], []
    for frame, image in zip(frames, pixels, strict=True):
        for word in ("PHASE", "MAGNITUDE"):
            group = pydicom.Dataset()
            group.update(frame)
            kind = pydicom.Dataset()
            kind.FrameType, kind.ComplexImageComponent = ["ORIGINAL", "PRIMARY", "CARDIAC", "NONE"], word
            group.MRImageFrameTypeSequence = [kind]
            made.append(group)
            stored.append(image if word == "MAGNITUDE" else 7 * np.ones_like(image))
    dataset.ComplexImageComponent = "MIXED"
    dataset.NumberOfFrames = len(made)
    dataset.PerFrameFunctionalGroupsSequence = made
    dataset.PixelData = np.array(stored).tobytes()
    dataset.save_as(path)
    read = open_cine(tmp_path)
    np.testing.assert_allclose(read.pixels, cine.pixels, atol=1)
    assert set(np.ravel(read.source.frame_numbers) % 2) == {0}


@pytest.mark.parametrize(
    ("image_type", "kind"),
    [(P_TYPE, SeriesKind.PHASE_CONTRAST), (["ORIGINAL", "PRIMARY", "R_FFE"], SeriesKind.NOT_MAGNITUDE)],
)
def test_a_series_without_magnitude_is_no_cine_and_read_only_by_name(tmp_path, image_type, kind):
    exams.edit(exams.write_exam(tmp_path, CINE), ImageType=image_type)
    with pytest.raises(NoShortAxisError, match=str(kind)):
        open_cine(tmp_path)
    assert exams.codes(open_cine(tmp_path, series_uid="1.2.3.4.5")) == ["not-magnitude"]


def test_magnitude_beside_velocities_is_that_of_a_flow_measurement(tmp_path):
    exams.edit(exams.write_exam(tmp_path / "m", CINE), ImageType=M_TYPE)
    files = exams.write_exam(tmp_path / "v", CINE)
    exams.edit(files, ImageType=["ORIGINAL", "PRIMARY", "VELOCITY MAP", "P"])
    exams.edit(files, SOPInstanceUID=lambda one: one.SOPInstanceUID + "1")
    with pytest.raises(NoShortAxisError, match="phase contrast"):
        open_cine(tmp_path)
    np.testing.assert_array_equal(open_cine(tmp_path, series_uid="1.2.3.4.5").pixels, CINE.pixels)


def test_a_plain_cine_comes_before_one_with_phase_images(tmp_path):
    write_parts(tmp_path / "parts", "Siemens", 2)
    exams.write_exam(tmp_path / "plain", exams.small_cine(phases=3, slices=3), number=2, series_uid="1.2.3.4.9")
    assert pick_short_axis(open_exam(tmp_path)).series[0].uid == "1.2.3.4.9"


@pytest.mark.parametrize("maker", ["Anonymized", ""])
def test_it_counts_where_only_the_name_of_the_maker_was_removed(tmp_path, maker):
    write_parts(tmp_path, "GE", 2)
    exams.edit(tmp_path.rglob("*.dcm"), Manufacturer=maker)
    np.testing.assert_array_equal(open_cine(tmp_path).pixels, CINE.pixels)


def test_mixed_images_are_left_out_beside_magnitude_images(tmp_path):
    write_parts(tmp_path, "mixed", 2)
    np.testing.assert_array_equal(open_cine(tmp_path).pixels, CINE.pixels)


@pytest.mark.parametrize("maker", ["SIEMENS", "Philips"])
def test_the_private_element_counts_only_for_its_maker(tmp_path, maker):
    files = exams.write_exam(tmp_path, CINE)
    for path in files[::2]:
        dataset = pydicom.dcmread(path)
        dataset.private_block(0x43, f"{maker} MR", create=True).add_new(0x2F, "SS", 1)
        dataset.Manufacturer = maker
        dataset.save_as(path)
    np.testing.assert_array_equal(open_cine(tmp_path).pixels, CINE.pixels)
