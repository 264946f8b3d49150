"""When the phases of a NIfTI file are, and what is said of times that are a guess."""

import json

import numpy as np
import pytest

import exams
import hearts
from cinesax.analyze import analyze
from cinesax.inputs import open_cine
from formats_nifti import image_of, saved

PHASES = exams.PHASES


def _open(folder, sidecar=None, *, step_s=0.14):
    path = saved(image_of(exams.small_cine(), step_s=step_s), folder / "c.nii.gz")
    if sidecar is not None:
        text = sidecar if isinstance(sidecar, str) else json.dumps(sidecar)
        (folder / "c.json").write_text(text)
    return open_cine(path)


def test_pixdim_is_a_guess_and_is_said_to_be_one(tmp_path):
    cine = _open(tmp_path)
    (finding,) = cine.findings
    assert (finding.code, finding.severity) == ("times-uncertain", "warning")
    assert "71/min" in finding.message
    assert cine.heart_rate_bpm == pytest.approx(60_000 / 840)


def test_pixdim_that_the_json_file_calls_the_repetition_time(tmp_path):
    (finding,) = _open(tmp_path, {"RepetitionTime": 0.14}).findings
    assert "the JSON file calls the repetition time" in finding.message


@pytest.mark.parametrize(
    "sidecar",
    [
        {"TriggerTime": [0, 130, 260, 390, 520, 650], "NominalInterval": 800},
        {"TriggerDelayTime": [0, 130, 260, 390, 520, 650], "HeartRate": 75},
        {"FrameTimesStart": [0, 0.13, 0.26, 0.39, 0.52, 0.65], "RRInterval": 800},
    ],
)
def test_the_json_file_knows_better(tmp_path, sidecar):
    cine = _open(tmp_path, sidecar)
    assert cine.findings == ()
    assert cine.heart_rate_bpm == pytest.approx(75)
    np.testing.assert_allclose(cine.trigger_times_ms[:, 0], 130 * np.arange(PHASES))


def test_times_without_a_beat_make_one(tmp_path):
    cine = _open(tmp_path, {"VolumeTiming": [0, 0.15, 0.3, 0.45, 0.6, 0.75]})
    assert (cine.findings, cine.rr_interval_ms) == ((), pytest.approx(900))


def test_a_stated_beat_that_pixdim_agrees_with(tmp_path):
    cine = _open(tmp_path, {"NominalInterval": 850})
    assert (cine.findings, cine.rr_interval_ms) == ((), 850)
    assert cine.trigger_times_ms[1, 0] == pytest.approx(140)


def test_a_stated_beat_against_pixdim(tmp_path):
    """The heart rate is known; when the phases are is not, and nothing is made of pixdim[4]."""
    cine = _open(tmp_path, {"NominalInterval": 1000})
    assert (exams.codes(cine), cine.heart_rate_bpm, cine.trigger_times_ms) == (["missing-trigger-times"], 60, None)


@pytest.mark.parametrize(
    "sidecar",
    [
        "{",
        "[1, 2]",
        '"text"',
        "[" * 100_000,
        {"TriggerTime": [0, 1]},
        {"TriggerTime": [0, 5, 4, 6, 7, 8]},
        {"TriggerTime": [0, 1, 2, 3, 4, float("nan")]},
        {"TriggerTime": "0"},
        {"HeartRate": 0},
        {"HeartRate": True},
        {"NominalInterval": 10**400},
        {"NominalInterval": -5},
    ],
)
def test_json_files_that_say_nothing(tmp_path, sidecar):
    cine = _open(tmp_path, sidecar)
    assert "times-uncertain" in exams.codes(cine)
    assert cine.rr_interval_ms == pytest.approx(840)


def test_no_number_that_rests_on_pixdim_comes_without_the_warning(tmp_path):
    cine = hearts.cine()
    path = saved(image_of(cine, step_s=0.1), tmp_path / "c.nii")
    analysis = analyze(path, segmentation=hearts.labels())
    assert analysis.measurements.cardiac_output_l_per_min is not None
    assert analysis.measurements.peak_ejection_rate_ml_per_s is not None
    assert "times-uncertain" in [finding.code for finding in analysis.findings]


def test_two_phases_say_that_they_are_two(tmp_path):
    cine = hearts.cine(phases=2)
    analysis = analyze(saved(image_of(cine), tmp_path / "c.nii"), segmentation=hearts.labels((20, 10)))
    assert analysis.measurements.ef_percent == pytest.approx(75)
    assert "two-phases" in [finding.code for finding in analysis.findings]
    assert analysis.measurements.heart_rate_bpm is None
