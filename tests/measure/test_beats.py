"""Which phases make one beat, and whether slices are in step: in series whose beats can be counted by hand."""

from dataclasses import replace

import numpy as np
import pytest

import hearts
from cinesax.analyze import analyze
from cinesax.core.findings import Code, Severity
from cinesax.core.measurements import Measurements
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import LV, blood_of
from cinesax.measure.beats import find_beat
from cinesax.measure.volumes import areas_of
from cinesax.phantom import draw_settings, make_truth

# Ten phases of a beat of 1000 ms; no phase is like another, and ED is the first.
BEAT = (40, 36, 30, 24, 20, 22, 28, 32, 34, 38)


def findings(analysis, code):
    return [one for one in analysis.findings if one.code is code]


def series(beats: float, *, rr_ms: float | None = 1000.0, start: int = 0, step_ms: float | None = 100.0):
    """A cine of so many beats, and its segmentation."""
    count = round(beats * len(BEAT))
    sides = [BEAT[(start + phase) % len(BEAT)] for phase in range(count)]
    times = None if step_ms is None else np.tile(np.arange(count)[:, None] * step_ms, (1, 6))
    rr = None if rr_ms is None else np.full(6, rr_ms)
    return hearts.cine(count, trigger_times_ms=times, rr_intervals_ms=rr), hearts.labels(sides)


def numbers(m: Measurements) -> tuple[float | None, ...]:
    rates = m.peak_ejection_rate_ml_per_s, m.peak_filling_rate_ml_per_s
    return (m.edv_ml, m.esv_ml, m.ef_percent, m.heart_rate_bpm, m.cardiac_output_l_per_min, *rates)


def test_one_beat_is_one_beat():
    analysis = analyze(series(1)[0], segmentation=series(1)[1])
    assert analysis.measurements.beat.phases == (0, 9)
    assert analysis.findings == ()


@pytest.mark.parametrize("beats", [1.7, 2, 3.4])
def test_several_beats_with_a_stated_rr_give_the_numbers_of_one(beats):
    cine, segmentation = series(beats)
    analysis = analyze(cine, segmentation=segmentation)
    one = analyze(series(1)[0], segmentation=series(1)[1])
    assert numbers(analysis.measurements) == pytest.approx(numbers(one.measurements))
    assert (analysis.measurements.ed_phase, analysis.measurements.es_phase) == (0, 4)
    (finding,) = analysis.findings
    assert (finding.code, finding.severity) == (Code.SEVERAL_BEATS, Severity.NOTE)
    assert dict(finding.numbers) == {"beats": beats, "first_phase": 0, "last_phase": 9, "rr_interval_ms": 1000}


def test_without_a_stated_rr_the_areas_tell_the_beat():
    """A reader of files knows nothing better than to call the whole series one beat."""
    cine, segmentation = series(2.5, rr_ms=2500.0, start=3)
    analysis = analyze(cine, segmentation=segmentation)
    one = analyze(series(1)[0], segmentation=series(1)[1])
    m = analysis.measurements
    assert m.heart_rate_bpm == pytest.approx(60, rel=0.03)
    assert (m.edv_ml, m.esv_ml) == (one.measurements.edv_ml, one.measurements.esv_ml)
    (finding,) = findings(analysis, Code.SEVERAL_BEATS)
    assert finding.severity is Severity.WARNING
    assert "by the areas of the cavity" in finding.message


def test_without_times_there_is_a_beat_but_no_heart_rate():
    analysis = analyze(*series(2, rr_ms=None, step_ms=None)[:1], segmentation=series(2)[1])
    assert analysis.measurements.beat.phases == (0, 9)
    assert analysis.measurements.heart_rate_bpm is None


def test_the_most_complete_beat_is_measured():
    cine, segmentation = series(3)
    labels = segmentation.labels.copy()
    labels[:6, 4] = 0
    analysis = analyze(cine, segmentation=replace(segmentation, labels=labels))
    assert analysis.measurements.beat.phases == (10, 19)
    assert analysis.measurements.ed_phase == 10


def test_a_stated_rr_that_the_areas_contradict_is_doubted():
    cine, segmentation = series(1, rr_ms=500.0)
    analysis = analyze(cine, segmentation=segmentation)
    assert analysis.measurements.heart_rate_bpm == pytest.approx(60)
    (finding,) = findings(analysis, Code.DOUBTFUL_RR)
    assert dict(finding.numbers) == {"stated_rr_ms": 500, "rr_interval_ms": 1000}
    cine, segmentation = series(3, rr_ms=1500.0)
    analysis = analyze(cine, segmentation=segmentation)
    assert analysis.measurements.heart_rate_bpm == pytest.approx(60, rel=0.03)
    assert {one.code for one in analysis.findings} == {Code.DOUBTFUL_RR, Code.SEVERAL_BEATS}


def test_contours_of_two_phases_repeat_nothing():
    cine, segmentation = series(2)
    known = {structure: np.isin(np.arange(20), (0, 4)) for structure in segmentation.known_phases}
    labels = np.where(known[next(iter(known))][:, None, None, None], segmentation.labels, 0).astype(np.uint8)
    m = analyze(cine, segmentation=Segmentation(labels, known)).measurements
    assert (m.ed_phase, m.es_phase, m.heart_rate_bpm) == (0, 4, 60)


def test_a_given_phase_may_lie_in_another_beat():
    cine, segmentation = series(2)
    m = analyze(cine, segmentation=segmentation, ed_phase=10).measurements
    assert (m.ed_phase, m.es_phase) == (10, 4)


def ungated(shifts):
    cine, segmentation = series(1, rr_ms=None, step_ms=None)
    labels = np.stack(
        [np.roll(segmentation.labels[:, place], shift, axis=0) for place, shift in enumerate(shifts)], axis=1
    )
    return cine, replace(segmentation, labels=labels)


def test_slices_out_of_step_have_no_volume():
    cine, segmentation = ungated((0, 0, 3, 6, 8, 0))
    analysis = analyze(cine, segmentation=segmentation)
    m = analysis.measurements
    assert (m.volumes_ml, m.edv_ml, m.ef_percent, m.ed_phase, m.cardiac_output_l_per_min) == (None,) * 5
    (finding,) = [one for one in analysis.findings if one.severity is Severity.ERROR]
    assert finding.code is Code.SLICES_OUT_OF_STEP
    assert finding.numbers["ef_in_step_percent"] == pytest.approx(75)
    assert finding.numbers["ef_as_stored_percent"] < 60
    # Nor does it with phases that are given: they are other moments in each slice.
    assert analyze(cine, segmentation=segmentation, ed_phase=0, es_phase=4).measurements.ef_percent is None


def test_slices_out_of_step_are_seen_without_those_that_the_base_leaves():
    cine, segmentation = ungated((0, 0, 3, 6, 8, 0))
    labels = segmentation.labels.copy()
    labels[5:, 0] = 0
    cut = replace(segmentation, labels=labels)
    assert findings(analyze(cine, segmentation=cut), Code.SLICES_OUT_OF_STEP)


def test_slices_out_of_step_are_seen_in_spite_of_lost_contours():
    cine, segmentation = ungated((0, 0, 3, 6, 8, 0))
    labels = segmentation.labels.copy()
    for place in range(1, 6):
        labels[place : place + 2, place] = 0
    lost = replace(segmentation, labels=labels)
    assert findings(analyze(cine, segmentation=lost), Code.SLICES_OUT_OF_STEP)


@pytest.mark.parametrize("shifts", [(0, 0, 0, 0, 0, 0), (0, 5, 5, 5, 5, 0)])
def test_slices_in_step_have_one(shifts):
    cine, segmentation = ungated(shifts)
    analysis = analyze(cine, segmentation=segmentation)
    assert analysis.measurements.ef_percent == pytest.approx(75)
    assert not findings(analysis, Code.SLICES_OUT_OF_STEP)


@pytest.mark.parametrize(("shifts", "ef"), [((0, 0, 1, 0, 1, 0), 71), ((0, 0, 1, 2, 3, 0), 59)])
def test_slices_partly_out_of_step_say_by_how_much_ef_may_be_wrong(shifts, ef):
    """By 36 degrees of the beat here and there, or more and more from slice to slice: EF is 75 % in truth."""
    cine, segmentation = ungated(shifts)
    analysis = analyze(cine, segmentation=segmentation)
    assert analysis.measurements.ef_percent == pytest.approx(ef, abs=0.5)
    (finding,) = findings(analysis, Code.SLICES_OUT_OF_STEP)
    assert finding.severity is Severity.WARNING
    assert finding.numbers["ef_in_step_percent"] == pytest.approx(75, abs=0.5)


@pytest.mark.parametrize("seed", range(4))
def test_a_gated_heart_raises_nothing_and_60_degrees_either_way_do(seed):
    settings = draw_settings(seed)
    _, segmentation, _ = make_truth(settings)
    areas = areas_of(segmentation, blood_of(LV))
    count = len(areas)
    gated = find_beat(hearts.cine(count), areas)
    assert gated.in_step and gated.ef_evened_percent - gated.ef_as_stored_percent < 0.5
    rng = np.random.default_rng(seed)
    for _ in range(8):
        shifts = rng.integers(-count // 6, count // 6 + 1, areas.shape[1])
        stored = np.stack([np.roll(areas[:, place], shift) for place, shift in enumerate(shifts)], axis=1)
        beat = find_beat(hearts.cine(count), stored)
        if gated.ef_as_stored_percent - beat.ef_as_stored_percent > 5:
            assert not beat.in_step or beat.ef_in_step_percent - beat.ef_as_stored_percent > 1


def test_a_heart_that_hardly_moves_has_no_step():
    areas = 300 + np.random.default_rng(0).normal(0, 2, (20, 8))
    assert find_beat(hearts.cine(20), areas).in_step


def test_rates_and_output_beyond_any_heart_are_reported():
    """Wrong times (0.1 ms a phase)."""
    cine, segmentation = series(1, step_ms=0.1)
    analysis = analyze(cine, segmentation=segmentation)
    names = {name for one in findings(analysis, Code.IMPLAUSIBLE_VALUE) for name in one.numbers}
    assert {"peak_ejection_rate_ml_per_s", "peak_filling_rate_ml_per_s"} <= names
