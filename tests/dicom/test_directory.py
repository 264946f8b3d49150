"""DICOMDIR: as an argument, in a folder and in a zip, and what it names that is not there."""

import gc
import shutil
import warnings
import zipfile

import numpy as np
import pydicom
import pytest
from pydicom.fileset import FileSet

import exams
from cinesax.core.errors import InputError
from cinesax.dicom.read.exam import Ignored, open_exam
from cinesax.dicom.read.header import Reason
from cinesax.inputs import open_cine


@pytest.fixture
def disc(tmp_path):
    """A file set as it is burnt on discs: DICOMDIR and files without suffix, eight letters a name."""
    files = exams.write_exam(tmp_path / "source")
    # pydicom warns of the temporary folder that its file set does not remove.
    with warnings.catch_warnings(action="ignore"):
        fileset = FileSet()
        for path in files:
            fileset.add(path)
        fileset.write(tmp_path / "disc")
        del fileset
        gc.collect()
    shutil.rmtree(tmp_path / "source")
    return tmp_path / "disc"


def test_the_folder_of_a_dicomdir(disc):
    np.testing.assert_array_equal(open_cine(disc).pixels, exams.small_cine().pixels)
    assert open_exam(disc).ignored == (Ignored("DICOMDIR", Reason.DIRECTORY),)
    assert open_cine(disc).findings == ()


def test_a_dicomdir_itself_stands_for_what_it_names(disc):
    other = exams.write_exam(disc / "other", exams.small_cine(slices=9), number=9, series_uid="1.2.9")
    cine = open_cine(disc / "DICOMDIR")
    np.testing.assert_array_equal(cine.pixels, exams.small_cine().pixels)
    assert len(open_exam(disc).series) == 2, other


def test_names_in_lower_case_with_versions(disc):
    shutil.move(disc / "DICOMDIR", disc.parent / "dicomdir")
    for path in [path for path in disc.rglob("*") if path.is_file()]:
        target = disc.parent / "copy" / f"{str(path.relative_to(disc)).lower()};1"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    shutil.copyfile(disc.parent / "dicomdir", disc.parent / "copy" / "dicomdir")
    cine = open_cine(disc.parent / "copy" / "dicomdir")
    np.testing.assert_array_equal(cine.pixels, exams.small_cine().pixels)
    assert cine.findings == ()


def test_what_a_dicomdir_names_and_is_not_there_is_told(disc):
    lost = sorted(path for path in disc.rglob("*") if path.is_file() and path.name != "DICOMDIR")[: exams.PHASES]
    for path in lost:
        path.unlink()
    for opened in (disc, disc / "DICOMDIR"):
        (finding,) = [one for one in open_exam(opened).findings if one.code == "unreadable-file"]
        assert f"{exams.PHASES} files listed in the DICOMDIR are missing" in finding.message


def test_a_dicomdir_in_a_zip(disc):
    path = disc.parent / "disc.zip"
    files = sorted(path for path in disc.rglob("*") if path.is_file())
    lost = next(path for path in files if path.name != "DICOMDIR")
    with zipfile.ZipFile(path, "w") as archive:
        for file in files:
            if file != lost:
                archive.write(file, f"export/{file.relative_to(disc)}")
    exam = open_exam(path)
    assert exam.ignored == (Ignored("export/DICOMDIR", Reason.DIRECTORY),)
    (finding,) = exam.findings
    assert finding.files == (lost.relative_to(disc).as_posix(),)
    assert f"the first is {finding.files[0]}" in str(finding)


def test_a_dicomdir_alone(disc, tmp_path):
    (tmp_path / "alone").mkdir()
    shutil.copyfile(disc / "DICOMDIR", tmp_path / "alone" / "DICOMDIR")
    with pytest.raises(InputError, match="no DICOM image"):
        open_exam(tmp_path / "alone")
    with pytest.raises(InputError, match="no DICOM image"):
        open_exam(tmp_path / "alone" / "DICOMDIR")


def test_a_dicomdir_that_points_outside_reads_nothing_there(disc):
    exams.write_exam(disc.parent / "secret")
    dataset = pydicom.dcmread(disc / "DICOMDIR")
    for record in dataset.DirectoryRecordSequence:
        if "ReferencedFileID" in record:
            with warnings.catch_warnings(action="ignore"):
                record.ReferencedFileID = ["..", "secret", "IM-0001-0001.dcm"]
    dataset.save_as(disc / "DICOMDIR")
    with pytest.raises(InputError, match="no DICOM image"):
        open_exam(disc / "DICOMDIR")
