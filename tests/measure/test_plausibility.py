"""Doubts: none on what is clean, the right one on what is damaged."""

from dataclasses import replace

import numpy as np
import pytest

import hearts
from cinesax.core.cine import Cine, Patient
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.segmentation import Segmentation, from_contours
from cinesax.core.selection import Overrides
from cinesax.core.structures import Structure
from cinesax.measure.plausibility import check
from cinesax.measure.volumes import measure
from cinesax.phantom import draw_settings, make_truth


def doubts(segmentation: Segmentation, exam: Cine | None = None, **given: int) -> tuple[Finding, ...]:
    cine = hearts.cine() if exam is None else exam
    return check(cine, segmentation, measure(cine, segmentation, Overrides(**given)))


def codes(findings: tuple[Finding, ...]) -> list[Code]:
    return [finding.code for finding in findings]


BIG = tuple(2 * side for side in hearts.BEAT)
"""Sides of a cavity of a plausible size: 64 ml at ED."""


def changed(phase: int | slice, index: int | slice, value: int) -> Segmentation:
    labels = hearts.labels(BIG).labels.copy()
    labels[phase, index] = value
    return Segmentation(labels, {Structure.CAVITY: np.ones(10, dtype=bool)})


def test_a_clean_result_gives_nothing_to_doubt() -> None:
    assert doubts(hearts.labels(BIG)) == ()


@pytest.mark.parametrize("seed", [101, 104, 112, 118, 143])
def test_the_truth_of_a_phantom_gives_nothing_to_doubt(seed: int) -> None:
    drawn = draw_settings(seed)
    settings = replace(drawn, breath_shifts_mm=((0.0, 0.0),) * drawn.n_slices)
    grid, truth, _ = make_truth(settings)
    rr_ms = np.array(settings.rr_intervals_ms)
    cine = Cine(np.zeros(truth.labels.shape, np.uint8), grid, None, rr_ms, base_first=settings.base_first)
    assert doubts(truth, cine) == ()


def test_a_phantom_that_lost_its_cavity_in_one_phase_is_doubted() -> None:
    grid, truth, _ = make_truth(draw_settings(104))
    labels = truth.labels.copy()
    labels[5] = 0
    cine = Cine(np.zeros(labels.shape, np.uint8), grid, None, np.full(labels.shape[1], 900.0), base_first=True)
    jump = [f for f in doubts(Segmentation(labels, truth.known_phases), cine) if f.code is Code.VOLUME_JUMP]
    assert [(f.phase, f.severity) for f in jump] == [(5, Severity.WARNING)]


def test_no_cavity_at_all() -> None:
    findings = doubts(hearts.labels(inside=range(0)))
    assert codes(findings) == [Code.NO_LV_FOUND] and findings[0].severity is Severity.ERROR
    nothing = measure(hearts.cine(), hearts.labels(inside=range(0)))
    assert (nothing.peak_ejection_rate_ml_per_s, nothing.peak_filling_rate_ml_per_s) == (None, None)


def test_a_hole_in_the_stack_names_its_frame() -> None:
    findings = doubts(changed(6, 2, 0))
    assert [(f.code, f.phase, f.slice) for f in findings] == [(Code.GAP_INSIDE_LV, 6, 2)]


def test_a_phase_in_which_the_volume_breaks_down_is_named() -> None:
    findings = doubts(changed(8, slice(2, 6), 0))
    assert [(f.code, f.phase) for f in findings] == [(Code.VOLUME_JUMP, 8)]
    assert "below" in findings[0].message


@pytest.mark.parametrize(("base_first", "end"), [(True, "basal"), (False, "apical"), (None, "an end")])
def test_a_ventricle_that_is_cut_off_by_the_stack(base_first: bool | None, end: str) -> None:
    findings = doubts(hearts.labels(BIG, inside=range(4)), hearts.cine(base_first=base_first))
    cut = [f for f in findings if f.code is Code.LV_AT_STACK_END]
    assert [f.slice for f in cut] == [0] and end in cut[0].message


def test_the_tip_of_the_apex_in_the_last_slice_is_no_cut() -> None:
    labels = hearts.labels(BIG, inside=range(1, 6)).labels.copy()
    labels[:, 5] = 0
    labels[0, 5, 20:32, 20:32] = Structure.CAVITY
    assert doubts(Segmentation(labels, {Structure.CAVITY: np.ones(10, dtype=bool)})) == ()


def test_values_no_heart_has() -> None:
    findings = doubts(hearts.labels(tuple(6 if side < 20 else 20 for side in BIG)))
    assert Code.IMPLAUSIBLE_VALUE in codes(doubts(hearts.labels()))  # 16 ml
    assert all(f.code is not Code.VOLUME_JUMP for f in findings)
    assert Code.IMPLAUSIBLE_VALUE in codes(doubts(hearts.labels((40, 4, 4, 4, 4, 4, 4, 4, 4, 40))))
    slow = hearts.cine(rr_intervals_ms=np.full(6, 4000.0))
    assert any("heart rate of 15" in f.message for f in doubts(hearts.labels(BIG), slow))


def test_a_stored_size_no_body_has() -> None:
    findings = doubts(hearts.labels(BIG), hearts.cine(patient=Patient(height_cm=1.8)))
    assert [(f.code, f.severity) for f in findings] == [(Code.IMPLAUSIBLE_VALUE, Severity.NOTE)]


def test_given_phases_are_reported() -> None:
    findings = doubts(hearts.labels(BIG), ed_phase=9, es_phase=5)
    assert codes(findings) == [Code.OVERRIDDEN_PHASE, Code.OVERRIDDEN_PHASE]
    assert "phase 3" in findings[1].message
    assert doubts(hearts.labels(BIG), ed_phase=0, es_phase=3) == ()


def test_ed_and_es_given_the_wrong_way_round_are_one_error() -> None:
    findings = doubts(hearts.labels(BIG), ed_phase=3, es_phase=0)
    assert [(f.code, f.severity) for f in findings if f.severity is not Severity.NOTE] == [
        (Code.PHASES_REVERSED, Severity.ERROR)
    ]
    error = next(f for f in findings if f.code is Code.PHASES_REVERSED)
    assert (error.phase, error.numbers["edv_ml"], error.numbers["esv_ml"]) == (3, 16.0, 64.0)
    assert error.message == (
        "the volume at the phase given as ED, 16.0 ml (phase 3), is smaller than at the one given as ES, 64.0 ml "
        "(phase 0), so EF is negative: exchange the two, or give neither (the curve has ED at phase 0 and "
        "ES at phase 3)"
    )
    # Without spacing there are areas only.
    (areas,) = (
        f for f in doubts(hearts.labels(BIG), hearts.cine(grid=None), ed_phase=3, es_phase=0) if f.code is error.code
    )
    assert "the area at the phase given as ED, 1600 px (phase 3), is smaller than" in areas.message
    # Not the extremes, but the right way round: nothing but the notes of what was given.
    given = doubts(hearts.labels(BIG), ed_phase=8, es_phase=5)
    assert Code.PHASES_REVERSED not in codes(given)


def with_rv(sides: tuple[int, ...]) -> Segmentation:
    """A plausible LV, and an RV of 4 pixels by these numbers of pixels in the same slices."""
    labels = hearts.labels(BIG).labels.copy()
    for phase, side in enumerate(sides):
        labels[phase, 1:5, 44:48, :side] = Structure.RV_CAVITY
    return Segmentation(labels, dict.fromkeys((Structure.CAVITY, Structure.RV_CAVITY), np.ones(10, dtype=bool)))


def test_phases_that_are_reversed_for_the_rv_alone_are_an_error() -> None:
    """Given phases are those of all chambers, and the RV may empty at another time than the LV."""
    both = with_rv((12, 14, 18, 20, 20, 18, 14, 10, 10, 10))
    assert Code.PHASES_REVERSED not in codes(doubts(both))
    (error,) = (f for f in doubts(both, ed_phase=9, es_phase=5) if f.severity is not Severity.NOTE)
    assert (error.code, error.severity, error.phase) == (Code.PHASES_REVERSED, Severity.ERROR, 9)
    assert error.texts["chamber"] == "right ventricle"
    assert error.message == (
        "the volume of the right ventricle at the phase given as ED, 1.6 ml (phase 9), is smaller than at the one "
        "given as ES, 2.9 ml (phase 5), so its EF is negative: give neither, and each chamber has ED and ES of its own "
        "curve (that of the right ventricle has ED at phase 3 and ES at phase 7)"
    )
    (areas,) = (f for f in doubts(both, hearts.cine(grid=None), ed_phase=9, es_phase=5) if f.code is error.code)
    assert "the area of the right ventricle at the phase given as ED, 160 px (phase 9)" in areas.message
    # Where the LV is reversed too, one error says it.
    turned = doubts(with_rv(hearts.BEAT), ed_phase=3, es_phase=0)
    assert ["right ventricle" in f.message for f in turned if f.code is Code.PHASES_REVERSED] == [False]


def test_values_that_no_rv_has() -> None:
    lost = doubts(with_rv((20, 18, 14, 0, 12, 14, 18, 20, 20, 20)))
    messages = [f.message for f in lost if f.code is Code.IMPLAUSIBLE_VALUE]
    assert "the ejection fraction of the right ventricle, 100 %, lies outside 5 to 85 %" in messages
    assert all("right ventricle" in message for message in messages)


def test_a_partial_segmentation_is_reported() -> None:
    labels = hearts.labels(BIG).labels
    two = doubts(Segmentation(labels, {Structure.CAVITY: np.isin(np.arange(10), (0, 3))}))
    assert [(f.code, f.severity) for f in two] == [(Code.PARTIAL_SEGMENTATION, Severity.NOTE)]
    one = doubts(Segmentation(labels, {Structure.CAVITY: np.arange(10) == 0}))
    assert [(f.code, f.severity) for f in one] == [(Code.PARTIAL_SEGMENTATION, Severity.WARNING)]


def test_a_wall_that_is_missing_in_some_slices_at_ed_makes_the_mass_too_small() -> None:
    inner = np.array([[8.0, 8], [40, 8], [40, 40], [8, 40]])
    contours = {(Structure.CAVITY, phase, index): (inner,) for phase in (0, 3) for index in range(1, 5)}
    contours |= {(Structure.MYOCARDIUM, 0, index): ((inner - 24) * 1.2 + 24,) for index in (1, 2, 3)}
    findings = doubts(from_contours(contours, (10, 6, 48, 48)))
    wall = [f for f in findings if f.code is Code.PARTIAL_SEGMENTATION and f.slice is not None]
    assert [(f.phase, f.slice) for f in wall] == [(0, 4)]


def test_unknowns_are_reported_once() -> None:
    bare = hearts.cine(rr_intervals_ms=None, base_first=None)
    assert codes(doubts(hearts.labels(BIG), bare)) == [Code.APEX_BASE_UNKNOWN, Code.UNKNOWN_HEART_RATE]
    reported = replace(bare, findings=(Finding(Code.APEX_BASE_UNKNOWN, Severity.NOTE, "as the reader said"),))
    assert codes(doubts(hearts.labels(BIG), reported)) == [Code.UNKNOWN_HEART_RATE]
    assert codes(doubts(hearts.labels(BIG), hearts.cine(grid=None))) == [Code.UNKNOWN_SPACING]


def ring(inner_side: float, *, off: float = 0.0) -> Segmentation:
    """A square wall of 20 px in slice 2 at all phases, and a square cavity in its middle or off it."""

    def square(side: float, middle: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        half = side / 2
        return np.array([[-half, -half], [half, -half], [half, half], [-half, half]]) + [middle, 24.0]

    contours = {}
    for phase in range(10):
        contours[Structure.CAVITY, phase, 2] = (square(inner_side, 24 + off),)
        contours[Structure.MYOCARDIUM, phase, 2] = (square(20, 24),)
    return from_contours(contours, hearts.cine().pixels.shape)


def test_an_endocardium_outside_the_epicardium_is_reported_with_the_volume_at_stake() -> None:
    (finding,) = [f for f in doubts(ring(14, off=8)) if f.code is Code.ENDOCARDIUM_OUTSIDE]
    assert (finding.slice, finding.numbers["frames"]) == (2, 10)
    # 5 px of 14 stick out, over 14 px; a slice counts for 10 mm.
    assert finding.numbers["outside_px"] == pytest.approx(70, abs=1)
    assert finding.numbers["outside_ml"] == pytest.approx(0.7, abs=0.01)
    assert Code.ENDOCARDIUM_OUTSIDE not in codes(doubts(ring(14)))
    assert Code.ENDOCARDIUM_OUTSIDE not in codes(doubts(ring(20)))


class TestAFrameThatIsLost:
    """One contour file of many was deleted by mistake, the wrong one for the right one."""

    def _findings(self, where: tuple[int, int], base_first: bool | None):
        findings = doubts(changed(*where, 0), hearts.cine(base_first=base_first))
        return [one for one in findings if one.code is Code.GAP_INSIDE_LV]

    @pytest.mark.parametrize("phase", [0, 3, 9])
    def test_an_apical_one_is_told(self, phase):
        (finding,) = self._findings((phase, 1), base_first=False)
        assert (finding.phase, finding.slice, finding.severity) == (phase, 1, Severity.WARNING)
        assert "phases before and after" in finding.message

    def test_the_most_basal_one_may_be_empty_in_truth(self):
        assert self._findings((3, 1), base_first=True) == []

    def test_one_between_two_slices_is_told_once(self):
        (finding,) = self._findings((3, 2), base_first=False)
        assert "slices on both sides" in finding.message
