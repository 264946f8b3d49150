"""Order, distances and times of a stack, each oddity made on purpose."""

import numpy as np
import pytest

import exams
from cinesax.core.errors import GeometryError
from cinesax.dicom.read.series import valid_uid
from cinesax.inputs import open_cine


def _of_slice(files, index):
    return files[index * exams.PHASES : (index + 1) * exams.PHASES]


def _moved(files, index, along_mm):
    normal = np.cross(exams.ALONG_ROW, exams.ALONG_COLUMN)
    exams.edit(
        _of_slice(files, index),
        ImagePositionPatient=lambda one: [
            f"{float(x) + along_mm * n:.6f}" for x, n in zip(one.ImagePositionPatient, normal, strict=True)
        ],
    )


def test_slice_location_is_never_believed(tmp_path):
    exams.edit(exams.write_exam(tmp_path), SliceLocation=lambda one: f"{-3.3 * ((one.InstanceNumber - 1) // 6):.2f}")
    cine = open_cine(tmp_path)
    np.testing.assert_array_equal(cine.pixels, exams.small_cine().pixels)
    np.testing.assert_allclose(cine.grid.slice_distances_mm, 9, atol=1e-4)
    assert exams.codes(cine) == ["slice-location-misleading"]


def test_instance_numbers_are_not_needed(tmp_path):
    exams.edit(exams.write_exam(tmp_path), InstanceNumber=None, SliceLocation=None)
    cine = open_cine(tmp_path)
    np.testing.assert_array_equal(cine.pixels, exams.small_cine().pixels)
    assert cine.source.instance_numbers == ()


def test_uneven_distance_is_told_and_kept(tmp_path):
    files = exams.write_exam(tmp_path)
    _moved(files, 4, 1.5)
    cine = open_cine(tmp_path)
    np.testing.assert_allclose(cine.grid.slice_distances_mm, [9, 9, 9, 10.5], atol=1e-4)
    (finding,) = [one for one in cine.findings if one.code == "uneven-slice-distance"]
    assert (finding.slice, "10.50 mm" in finding.message) == (3, True)


def test_missing_slice_in_the_middle_is_told(tmp_path):
    files = exams.write_exam(tmp_path)
    for path in _of_slice(files, 2):
        path.unlink()
    cine = open_cine(tmp_path)
    (finding,) = [one for one in cine.findings if one.code == "uneven-slice-distance"]
    assert "1 of them missing, it seems" in finding.message
    np.testing.assert_allclose(cine.grid.slice_distances_mm, [9, 18, 9], atol=1e-4)


def test_missing_frame_names_its_slice(tmp_path):
    files = exams.write_exam(tmp_path)
    exams.frame_file(files, phase=2, slice_index=3).unlink()
    with pytest.raises(GeometryError, match="slice 3 has 5, the others 6"):
        open_cine(tmp_path)


def test_same_phase_missing_everywhere_is_told(tmp_path):
    files = exams.write_exam(tmp_path)
    for index in range(exams.SLICES):
        exams.frame_file(files, phase=3, slice_index=index).unlink()
    cine = open_cine(tmp_path)
    assert cine.n_phases == exams.PHASES - 1
    messages = [one.message for one in cine.findings if one.code == "incomplete-slice"]
    assert any("CardiacNumberOfImages says 6" in message for message in messages)
    assert sum("skip a step" in message for message in messages) == exams.SLICES


def test_doubled_frame_the_later_is_taken(tmp_path):
    files = exams.write_exam(tmp_path)
    path = exams.frame_file(files, phase=2, slice_index=3)
    again = path.with_name("again.dcm")
    again.write_bytes(path.read_bytes())
    exams.edit(
        again,
        SOPInstanceUID="1.2.77",
        InstanceNumber=999,
        ContentTime="130000",
        PixelData=lambda one: bytes(len(one.PixelData)),
    )
    cine = open_cine(tmp_path)
    assert not cine.pixels[2, 3].any()
    assert cine.source.instance_uids[2][3] == "1.2.77"
    (finding,) = cine.findings
    assert (finding.code, finding.slice) == ("duplicate-frame", 3)


def test_slice_acquired_twice_in_one_series(tmp_path):
    files = exams.write_exam(tmp_path)
    for path in _of_slice(files, 1):
        again = path.with_name("x" + path.name)
        again.write_bytes(path.read_bytes())
        exams.edit(
            again,
            SOPInstanceUID=lambda one: f"1.2.77.{one.InstanceNumber}",
            TriggerTime=lambda one: f"{float(one.TriggerTime) * 1.07:.3f}",
            AcquisitionNumber=2,
            AcquisitionTime="123000",
            PixelData=lambda one: bytes(len(one.PixelData)),
            InstanceNumber=lambda one: one.InstanceNumber + 500,
        )
    cine = open_cine(tmp_path)
    assert not cine.pixels[:, 1].any()
    assert exams.codes(cine) == ["duplicate-frame"]


@pytest.mark.parametrize(
    ("clue", "changes"),
    [
        ("TemporalPositionIdentifier", {"TemporalPositionIdentifier": lambda one: (one.InstanceNumber - 1) % 6 + 1}),
        ("AcquisitionTime", {"AcquisitionTime": lambda one: f"1200{(one.InstanceNumber - 1) % 6:02d}.5"}),
        ("ContentTime", {"ContentTime": lambda one: f"1200{(one.InstanceNumber - 1) % 6:02d}"}),
        ("InstanceNumber", {}),
    ],
)
@pytest.mark.parametrize("trigger", [None, "0"])
def test_other_clues_order_the_phases(tmp_path, clue, changes, trigger):
    exams.edit(exams.write_exam(tmp_path), TriggerTime=trigger, **changes)
    cine = open_cine(tmp_path)
    np.testing.assert_array_equal(cine.pixels, exams.small_cine().pixels)
    assert cine.trigger_times_ms is None
    (finding,) = cine.findings
    assert finding.code == "missing-trigger-times"
    assert f"ordered by {clue}," in finding.message


def test_nothing_tells_phases_apart(tmp_path):
    exams.edit(exams.write_exam(tmp_path), TriggerTime=None, InstanceNumber=1)
    with pytest.raises(GeometryError, match="nothing distinguishes the phases"):
        open_cine(tmp_path)


def test_phases_follow_trigger_time_and_not_instance_number(tmp_path):
    exams.edit(exams.write_exam(tmp_path), InstanceNumber=lambda one: 1000 - one.InstanceNumber)
    np.testing.assert_array_equal(open_cine(tmp_path).pixels, exams.small_cine().pixels)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 800 + 10 * np.arange(5)),
        ({"NominalInterval": None, "HeartRate": 75}, np.full(5, 800.0)),
        ({"NominalInterval": 0, "HeartRate": None}, 800 + 10 * np.arange(5)),
        ({"NominalInterval": 1, "HeartRate": 9000}, 800 + 10 * np.arange(5)),
    ],
)
def test_beat_length_from_the_first_possible_source(tmp_path, changes, expected):
    exams.edit(exams.write_exam(tmp_path), **changes)
    np.testing.assert_allclose(open_cine(tmp_path).rr_intervals_ms, expected, rtol=1e-6)


def test_beats_that_differ_are_told(tmp_path):
    files = exams.write_exam(tmp_path)
    exams.edit(
        _of_slice(files, 2),
        TriggerTime=lambda one: f"{(float(one.TriggerTime) - 10) * 1.3 + 10:.3f}",
        NominalInterval=1066,
        HeartRate=56,
    )
    assert exams.codes(open_cine(tmp_path)) == ["rr-intervals-differ"]


def test_slices_that_start_elsewhere_in_the_beat_are_told(tmp_path):
    files = exams.write_exam(tmp_path)
    exams.edit(_of_slice(files, 2), TriggerTime=lambda one: f"{float(one.TriggerTime) + 120:.3f}")
    assert exams.codes(open_cine(tmp_path)) == ["phase-order"]


def _tilted(files, index, degrees):
    """Turn a slice about its own row direction through its centre."""
    cine = exams.small_cine()
    normal = np.cross(exams.ALONG_ROW, exams.ALONG_COLUMN)
    angle = np.deg2rad(degrees)
    column = np.cos(angle) * exams.ALONG_COLUMN + np.sin(angle) * normal
    half_mm = 1.4 * (exams.ROWS - 1) / 2
    position = cine.grid.origins_mm[index] + half_mm * (exams.ALONG_COLUMN - column)
    exams.edit(
        _of_slice(files, index),
        ImageOrientationPatient=[f"{x:.6f}" for x in (*exams.ALONG_ROW, *column)],
        ImagePositionPatient=[f"{x:.6f}" for x in position],
        SliceLocation=None,
    )


def test_small_tilt_is_averaged_and_told(tmp_path):
    files = exams.write_exam(tmp_path)
    _tilted(files, 2, 0.8)
    cine = open_cine(tmp_path)
    assert exams.codes(cine) == ["tilted-slices"]
    # Turned about their centres, the slices keep their distances.
    np.testing.assert_allclose(cine.grid.slice_distances_mm, 9, atol=0.02)


def test_large_tilt_is_an_error(tmp_path):
    files = exams.write_exam(tmp_path)
    _tilted(files, 2, 6)
    with pytest.raises(GeometryError, match="do not form one stack.*turned by 6.0 degrees"):
        open_cine(tmp_path)


def test_a_smaller_matrix_is_padded_and_told(tmp_path):
    """The last rows and the first columns of a slice are not stored; its pixels stay where they are in the patient."""
    files = exams.write_exam(tmp_path)
    whole = exams.small_cine()

    def cropped(one):
        frame = np.frombuffer(one.PixelData, "<u2").reshape(exams.ROWS, exams.COLUMNS)
        return frame[:-4, 3:].tobytes()

    def moved(one):
        return [f"{float(x) + 3 * 1.2 * d:.6f}" for x, d in zip(one.ImagePositionPatient, exams.ALONG_ROW, strict=True)]

    exams.edit(_of_slice(files, 2), PixelData=cropped, ImagePositionPatient=moved)
    exams.edit(_of_slice(files, 2), Rows=exams.ROWS - 4, Columns=exams.COLUMNS - 3)
    cine = open_cine(tmp_path)
    assert exams.codes(cine) == ["matrix-differs"]
    np.testing.assert_array_equal(cine.pixels[:, 2, :-4, 3:], whole.pixels[:, 2, :-4, 3:])
    assert np.all(cine.pixels[:, 2, :, :3] == whole.pixels[:, 2, :-4, 3:].min(axis=(1, 2))[:, None, None])
    assert cine.grid.same_as(whole.grid, tolerance_mm=1e-3)
    assert cine.source.paddings_px == ((0, 0), (0, 0), (0, 3), (0, 0), (0, 0))
    assert cine.source.stored_matrices[2] == (exams.ROWS - 4, exams.COLUMNS - 3)
    assert cine.source.stored_matrices[1] == (exams.ROWS, exams.COLUMNS)


def test_a_matrix_that_differs_within_a_slice_is_an_error(tmp_path):
    files = exams.write_exam(tmp_path)
    path = exams.frame_file(files, phase=1, slice_index=2)
    exams.edit(path, Rows=10, PixelData=lambda one: one.PixelData[: len(one.PixelData) // 2])
    with pytest.raises(GeometryError, match="frames of slice 2 differ in Rows and Columns: 10 x 24, 20 x 24"):
        open_cine(tmp_path)


def test_mixed_spacing_is_an_error(tmp_path):
    files = exams.write_exam(tmp_path)
    exams.edit(_of_slice(files, 2), PixelSpacing=["1.5", "1.2"])
    with pytest.raises(GeometryError, match="do not form one stack"):
        open_cine(tmp_path)


def test_positions_that_contradict_slice_location(tmp_path):
    first = []
    files = exams.write_exam(tmp_path)
    exams.edit(files, ImagePositionPatient=lambda one: first.append(one.ImagePositionPatient) or first[0])
    with pytest.raises(GeometryError, match="geometry contradicts itself"):
        open_cine(tmp_path)


def test_positions_that_move_within_the_plane(tmp_path):
    files = exams.write_exam(tmp_path)
    path = exams.frame_file(files, phase=1, slice_index=2)
    exams.edit(
        path,
        ImagePositionPatient=lambda one: [
            f"{float(x) + 20 * d:.4f}" for x, d in zip(one.ImagePositionPatient, exams.ALONG_ROW, strict=True)
        ],
    )
    with pytest.raises(GeometryError, match="frames of slice 2 lie up to 20.0 mm apart"):
        open_cine(tmp_path)


def test_orientation_that_is_none(tmp_path):
    exams.edit(exams.write_exam(tmp_path), ImageOrientationPatient=[1, 0, 0, 0.6, 0.8, 0])
    with pytest.raises(GeometryError, match="not two unit vectors at right angles"):
        open_cine(tmp_path)


def test_a_frame_of_reference_of_each_file_is_an_anonymisers_work(tmp_path):
    files = exams.write_exam(tmp_path)
    exams.edit(files, FrameOfReferenceUID=lambda one: f"1.2.{one.InstanceNumber}")
    cine = open_cine(tmp_path)
    assert [(one.code, one.severity) for one in cine.findings] == [("frame-of-reference-per-file", "note")]
    derived = cine.source.frame_of_reference_uid
    assert valid_uid(derived)
    assert open_cine(tmp_path).source.frame_of_reference_uid == derived
    exams.edit(files[3], FrameOfReferenceUID="1.2.999")
    assert open_cine(tmp_path).source.frame_of_reference_uid != derived


def test_a_few_frames_of_reference_are_an_error_unless_they_are_ignored(tmp_path):
    files = exams.write_exam(tmp_path)
    exams.edit(files, FrameOfReferenceUID=lambda one: f"1.2.{1 + one.InstanceNumber // 15}")
    with pytest.raises(GeometryError, match=r"3 different FrameOfReferenceUIDs.*--ignore-frame-of-reference"):
        open_cine(tmp_path)
    cine = open_cine(tmp_path, ignore_frame_of_reference=True)
    np.testing.assert_array_equal(cine.pixels, exams.small_cine().pixels)
    assert [(one.code, one.severity) for one in cine.findings] == [("frame-of-reference-per-file", "warning")]
    assert valid_uid(cine.source.frame_of_reference_uid)


def _along_row(files, index, by_mm):
    exams.edit(
        _of_slice(files, index),
        ImagePositionPatient=lambda one: [
            f"{float(x) + by_mm * d:.4f}" for x, d in zip(one.ImagePositionPatient, exams.ALONG_ROW, strict=True)
        ],
    )


def test_a_slice_that_is_shifted_in_its_plane_is_told(tmp_path):
    _along_row(exams.write_exam(tmp_path), 3, 6)
    (finding,) = open_cine(tmp_path).findings
    assert (finding.code, finding.slice, "by 6.0 mm" in finding.message) == ("shifted-slices", 3, True)


def test_a_slanted_stack_is_on_one_line(tmp_path):
    files = exams.write_exam(tmp_path)
    for index in range(exams.SLICES):
        _along_row(files, index, 5 * index)
    assert open_cine(tmp_path).findings == ()
