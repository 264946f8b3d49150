"""Times in a stack: their unit, and beats that are stated."""

import numpy as np
import pytest

import exams
from cinesax.inputs import open_cine


def scaled(factor: float):
    return lambda one: f"{float(one.TriggerTime) * factor:.6g}"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"TriggerTime": scaled(0.001)}, ["time-units"]),
        ({"TriggerTime": scaled(1000)}, ["time-units"]),
        ({"TriggerTime": scaled(0.001), "NominalInterval": None, "HeartRate": None}, ["time-units"]),
    ],
)
def test_times_are_brought_to_ms_by_the_stated_beat(tmp_path, changes, expected):
    cine = exams.small_cine(rr_intervals_ms=np.full(5, 1000.0))
    exams.edit(exams.write_exam(tmp_path, cine), **changes)
    read = open_cine(tmp_path)
    np.testing.assert_allclose(read.trigger_times_ms, cine.trigger_times_ms, rtol=1e-3)
    assert exams.codes(read) == expected
    if "HeartRate" not in changes:
        np.testing.assert_allclose(read.rr_intervals_ms, 1000.0)


def test_times_that_fit_in_no_unit_are_not_known(tmp_path):
    exams.edit(exams.write_exam(tmp_path), TriggerTime=scaled(0.05))
    read = open_cine(tmp_path)
    assert read.trigger_times_ms is None
    assert exams.codes(read) == ["time-units"]
    assert "fits the stated RR interval of 820 ms in no unit" in read.findings[0].message


def test_100_phases_in_seconds_are_no_doubles(tmp_path):
    cine = exams.small_cine(phases=100, slices=3)
    exams.edit(exams.write_exam(tmp_path, cine), TriggerTime=scaled(0.001))
    read = open_cine(tmp_path)
    assert (read.n_phases, exams.codes(read)) == (100, ["time-units"])


def test_real_time_images_keep_the_stated_beat(tmp_path):
    """40 frames of 43 ms with a stated RR of 863 ms are two beats, and not one of 1720 ms."""
    times = np.tile(43.0 * np.arange(40)[:, None], (1, 3))
    cine = exams.small_cine(phases=40, slices=3, trigger_times_ms=times, rr_intervals_ms=np.full(3, 863.0))
    exams.write_exam(tmp_path, cine)
    read = open_cine(tmp_path)
    np.testing.assert_allclose(read.rr_intervals_ms, 863.0)
    assert read.gating is None
    assert read.findings == ()


@pytest.mark.parametrize("factor", [100, 20])
def test_steps_longer_than_most_of_a_beat_are_no_times_in_one(tmp_path, factor):
    """Ticks of 10 or 50 microseconds taken for ms: 6 phases would show 100 or 20 beats."""
    exams.edit(exams.write_exam(tmp_path), TriggerTime=scaled(factor))
    read = open_cine(tmp_path)
    assert read.trigger_times_ms is None
    assert exams.codes(read) == ["time-units"]


@pytest.mark.parametrize(
    ("changes", "covered"), [({"TriggerTime": scaled(0.4)}, 40), ({"NominalInterval": 1640, "HeartRate": 37}, 50)]
)
def test_phases_that_cover_half_of_the_stated_beat_raise_a_doubt(tmp_path, changes, covered):
    exams.edit(exams.write_exam(tmp_path), **changes)
    read = open_cine(tmp_path)
    (finding,) = [one for one in read.findings if one.code.value == "doubtful-rr"]
    assert finding.severity.value == "warning"
    assert finding.numbers["covered_percent"] == pytest.approx(covered, abs=1)


def test_a_slice_in_another_unit_than_the_others(tmp_path):
    files = exams.write_exam(tmp_path)
    exams.edit(files[: exams.PHASES], TriggerTime=scaled(0.001))
    read = open_cine(tmp_path)
    assert read.trigger_times_ms is None
    assert exams.codes(read) == ["time-units"]
    np.testing.assert_array_equal(read.pixels, exams.small_cine().pixels)
