"""Several threads read at once, and nothing that all of them share is changed by it."""

import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from nibabel.imageglobals import logger
from pydicom import config

import cinesax
import exams
import objects
from cinesax.dicom.objects.rtstruct import read_rtstruct
from cinesax.dicom.objects.seg import read_seg
from cinesax.phantom.dicom import SeriesIdentity, Vendor, write_scan
from cinesax.phantom.scanning import take_apart

ODD = {
    "StudyInstanceUID": "1.02.3",  # not valid
    "StudyDate": "20129999",
    "PatientBirthDate": "once upon a time",
    "PatientWeight": None,
    "SpecificCharacterSet": "ISO_IR 192",
}


def shared_state() -> tuple[object, ...]:
    return (
        warnings.filters,
        tuple(warnings.filters),
        warnings.showwarning,
        config.settings.reading_validation_mode,
        config.settings.writing_validation_mode,
        tuple(logger.handlers),
        sys.stderr,
    )


@contextmanager
def watched() -> Iterator[None]:
    """Look all the time whether anything that threads share is other than before."""
    before, seen, stop = shared_state(), set(), threading.Event()

    def look() -> None:
        while not stop.is_set():
            now = shared_state()
            seen.update(index for index, (one, other) in enumerate(zip(before, now, strict=True)) if one != other)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()
    assert seen == set() and shared_state() == before


def odd_exam(folder: Path) -> Path:
    """An exam that pydicom would warn of: UIDs, dates, numbers and texts that are not valid."""
    files = exams.write_exam(folder)
    with warnings.catch_warnings(), config.disable_value_validation():
        warnings.simplefilter("ignore")
        for path in files:
            dataset = pydicom.dcmread(path)
            dataset.file_meta.MediaStorageSOPInstanceUID = "1.02.3." + path.stem
            for keyword, value in ODD.items():
                setattr(dataset, keyword, value)
            dataset.add_new(0x00080104, "LO", "a meaning that is far too long for its kind of value " * 3)
            dataset.save_as(path)
            # A text that is no UTF-8, of the same length.
            path.write_bytes(path.read_bytes().replace(b"DOE^JANE", b"DOE^J\xc4NE"))
    return folder


def test_the_exam_is_as_odd_as_it_should_be(tmp_path: Path) -> None:
    with pytest.warns(UserWarning) as seen:
        for path in odd_exam(tmp_path).iterdir():
            str(pydicom.dcmread(path))
    assert len({str(one.message)[:30] for one in seen}) >= 3


@pytest.mark.parametrize("form", ["classic", "enhanced", "rle", "nifti"])
def test_reading_in_threads(tmp_path: Path, form: str) -> None:
    path = made(tmp_path, form)
    expected = cinesax.open_cine(path)
    with watched(), ThreadPoolExecutor(4) as pool:
        for cine in pool.map(cinesax.open_cine, [path] * 8):
            assert cine == expected


def made(folder: Path, form: str) -> Path:
    if form == "nifti":
        pixels = np.random.default_rng(1).integers(0, 300, (20, 22, 4, 6)).astype(np.int16)
        image = nibabel.Nifti1Image(pixels, np.diag([-1.5, -1.25, 8, 1]))
        image.header["pixdim"][0] = 7  # nibabel would write of it to standard error
        nibabel.save(image, folder / "cine.nii")
        return folder / "cine.nii"
    if form == "enhanced":
        write_scan(take_apart(exams.small_cine()), folder, SeriesIdentity(), vendor=Vendor.PHILIPS_ENHANCED)
        return folder
    odd_exam(folder)
    if form == "rle":
        for path in folder.iterdir():
            compress(path)
    return folder


def compress(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path)
        dataset.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
        dataset.save_as(path)


def test_reading_a_segmentation_in_threads(tmp_path: Path) -> None:
    cine = objects.exam_on_disk(tmp_path / "exam")
    made = objects.analysis_of(cine)
    out = cinesax.write_results(made, tmp_path / "out", dicom=cinesax.DicomOptions(rtstruct=True))
    with watched(), ThreadPoolExecutor(4) as pool:
        for segmentation in pool.map(lambda _: read_seg(out / "seg_cine.dcm", cine), range(8)):
            assert np.array_equal(segmentation.labels, made.segmentation.labels)
        for segmentation in pool.map(lambda _: read_rtstruct(out / "rtstruct.dcm", cine), range(8)):
            assert segmentation.contours
