"""Enhanced MR: many frames in one file, and what its functional groups say of each."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

import exams
from cinesax.core.errors import GeometryError, InputError
from cinesax.dicom.read.exam import open_exam
from cinesax.dicom.read.series import SeriesKind
from cinesax.inputs import open_cine
from cinesax.phantom.dicom import SeriesIdentity, Vendor, write_scan
from cinesax.phantom.scanning import take_apart

FRAMES = exams.PHASES * exams.SLICES


def write_enhanced(folder: Path, vendor: Vendor = Vendor.PHILIPS_ENHANCED) -> list[Path]:
    """The small cine as one Enhanced MR file (or one a slice)."""
    write_scan(take_apart(exams.small_cine()), folder, SeriesIdentity(number=5), vendor=vendor)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def edit_groups(path: Path, change: Callable[[int, Dataset], None]) -> None:
    """Change the per-frame functional groups of a file: called with the index and the item of each frame."""
    dataset = pydicom.dcmread(path)
    for index, item in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        change(index, item)
    dataset.save_as(path)


@pytest.mark.parametrize("vendor", [Vendor.PHILIPS_ENHANCED, Vendor.SIEMENS_ENHANCED])
def test_every_frame_is_where_its_functional_groups_say(tmp_path, vendor):
    files = write_enhanced(tmp_path, vendor)
    cine = open_cine(tmp_path)
    np.testing.assert_allclose(cine.pixels, exams.small_cine().pixels, atol=0.5)
    plain = {str(one.SOPInstanceUID): one for one in map(pydicom.dcmread, files)}
    for phase in range(exams.PHASES):
        for place in range(exams.SLICES):
            instance = plain[cine.source.instance_uids[phase][place]]
            number = cine.source.frame_numbers[phase][place]
            groups = instance.PerFrameFunctionalGroupsSequence[number - 1]
            position = groups.PlanePositionSequence[0].ImagePositionPatient
            np.testing.assert_allclose(cine.grid.origins_mm[place], [float(x) for x in position], atol=1e-3)
            synchronized = groups.CardiacSynchronizationSequence[0]
            delay = synchronized.NominalCardiacTriggerDelayTime
            assert cine.trigger_times_ms[phase, place] == pytest.approx(delay)
            assert cine.source.files[phase][place].path in files
    assert cine.source.sop_class_uid == "1.2.840.10008.5.1.4.1.1.4.1"
    assert cine.source.instance_numbers == ()
    assert cine.gating == "retrospective"


def test_inspection_counts_files_and_frames_apart(tmp_path):
    write_enhanced(tmp_path)
    (series,) = open_exam(tmp_path).series
    assert (series.kind, series.n_instances, series.n_slices, series.n_phases) == (
        SeriesKind.SHORT_AXIS, 1, exams.SLICES, exams.PHASES,
    )  # fmt: skip


def test_order_of_frames_in_the_file_means_nothing(tmp_path):
    (path,) = write_enhanced(tmp_path)
    expected = open_cine(tmp_path)
    dataset = pydicom.dcmread(path)
    order = np.random.default_rng(3).permutation(FRAMES)
    groups = list(dataset.PerFrameFunctionalGroupsSequence)
    dataset.PixelData = dataset.pixel_array[order].tobytes()
    dataset.PerFrameFunctionalGroupsSequence = [groups[index] for index in order]
    dataset.save_as(path)
    read = open_cine(tmp_path)
    np.testing.assert_array_equal(read.pixels, expected.pixels)
    np.testing.assert_array_equal(read.trigger_times_ms, expected.trigger_times_ms)
    assert read.source.frame_numbers != expected.source.frame_numbers


def _by_temporal_position(index: int, item: Dataset) -> None:
    del item.CardiacSynchronizationSequence


def _by_percentage(index: int, item: Dataset) -> None:
    beat = item.CardiacSynchronizationSequence[0]
    share = beat.NominalCardiacTriggerDelayTime / beat.RRIntervalTimeNominal
    item.FrameContentSequence[0].NominalPercentageOfCardiacPhase = 100.0 * share
    del beat.NominalCardiacTriggerDelayTime
    del item.FrameContentSequence[0].TemporalPositionIndex


@pytest.mark.parametrize(
    ("change", "codes"), [(_by_temporal_position, ["missing-trigger-times"]), (_by_percentage, [])]
)
def test_other_clues_of_time(tmp_path, change, codes):
    (path,) = write_enhanced(tmp_path)
    expected = open_cine(tmp_path)
    edit_groups(path, change)
    cine = open_cine(tmp_path)
    np.testing.assert_array_equal(cine.pixels, expected.pixels)
    assert exams.codes(cine) == codes
    if not codes:
        np.testing.assert_allclose(cine.trigger_times_ms, expected.trigger_times_ms, atol=1e-3)


def test_rescaling_of_single_frames(tmp_path):
    (path,) = write_enhanced(tmp_path)
    expected = open_cine(tmp_path).pixels
    number = open_cine(tmp_path).source.frame_numbers[2][3]

    def double(index: int, item: Dataset) -> None:
        if index == number - 1:
            value = item.PixelValueTransformationSequence[0]
            value.RescaleSlope, value.RescaleIntercept = 2 * value.RescaleSlope, 7

    edit_groups(path, double)
    pixels = open_cine(tmp_path).pixels
    np.testing.assert_allclose(pixels[2, 3], 2 * expected[2, 3] + 7, rtol=1e-5)
    np.testing.assert_array_equal(pixels[1, 3], expected[1, 3])


def test_velocity_maps_are_no_cine(tmp_path):
    (path,) = write_enhanced(tmp_path)

    def phase(index: int, item: Dataset) -> None:
        item.MRImageFrameTypeSequence[0].ComplexImageComponent = "PHASE"

    dataset = pydicom.dcmread(path)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    if "MRImageFrameTypeSequence" in shared:
        phase(0, shared)
        dataset.save_as(path)
    else:
        edit_groups(path, phase)
    (series,) = open_exam(tmp_path).series
    assert series.kind is SeriesKind.PHASE_CONTRAST


def test_frames_of_reference_count_by_file(tmp_path):
    files = write_enhanced(tmp_path, Vendor.SIEMENS_ENHANCED)
    for index, path in enumerate(files):
        exams.edit(path, FrameOfReferenceUID=f"1.2.{index}")
    assert exams.codes(open_cine(tmp_path)) == ["frame-of-reference-per-file"]
    for index, path in enumerate(files):
        exams.edit(path, FrameOfReferenceUID=f"1.2.{index // 3}")
    with pytest.raises(GeometryError, match="2 different FrameOfReferenceUIDs"):
        open_cine(tmp_path)


def test_copies_are_left_out_once_a_file(tmp_path):
    (path,) = write_enhanced(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    exam = open_exam(tmp_path)
    assert len(exam.ignored) == 1
    assert exam.series[0].n_phases == exams.PHASES


@pytest.mark.parametrize("count", [1, FRAMES - 1, FRAMES + 1, 100_000_000])
def test_a_number_of_frames_that_contradicts_the_groups(tmp_path, count):
    (path,) = write_enhanced(tmp_path)
    exams.edit(path, NumberOfFrames=count)
    with pytest.raises(InputError, match=f"functional groups of {FRAMES} frames, NumberOfFrames {count}"):
        open_cine(tmp_path)


def test_without_functional_groups(tmp_path):
    (path,) = write_enhanced(tmp_path)
    exams.edit(path, PerFrameFunctionalGroupsSequence=None)
    with pytest.raises(InputError, match="no valid ImagePositionPatient") as caught:
        open_cine(tmp_path)
    assert caught.value.exit_code == 5


def test_pixels_that_are_cut(tmp_path):
    (path,) = write_enhanced(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="truncated"):
        open_cine(tmp_path)


def test_fewer_pixels_than_frames(tmp_path):
    (path,) = write_enhanced(tmp_path)
    exams.edit(path, PixelData=lambda one: one.PixelData[: -2 * exams.ROWS * exams.COLUMNS])
    with pytest.raises(InputError, match="truncated"):
        open_cine(tmp_path)
