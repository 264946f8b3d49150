"""Base and apex are decided: what speaks for the ventricle in a frame, and one interval of slices a phase."""

import numpy as np
import pytest

from cinesax.core.presence import BaseRule
from cinesax.core.structures import Structure
from cinesax.network.presence import Evidence, decide, enclosed, evidence, interval, relative, wall_lost

SIDE = 48
ROWS, COLUMNS = np.indices((SIDE, SIDE))
FAR = np.hypot(ROWS - 24, COLUMNS - 24)
ANGLE = np.degrees(np.arctan2(ROWS - 24, COLUMNS - 24)) % 360


@pytest.mark.parametrize("part", [0.0, 0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("thickness", [1.2, 5.0])
def test_enclosure_is_the_part_of_the_angles_that_have_wall(part, thickness):
    cavity = FAR < 9
    wall = (FAR >= 9) & (FAR < 9 + thickness) & (ANGLE < 360 * part)
    assert enclosed(cavity, cavity | wall) == pytest.approx(part, abs=0.06)


def test_wall_away_from_the_border_does_not_enclose():
    cavity = FAR < 6
    assert enclosed(cavity, cavity | (FAR > 14)) == 0


def scores(*frames: tuple[float, float]) -> dict[Structure, np.ndarray]:
    """One phase: a slice for each (score of the blood, part of the border with wall)."""
    cavity = np.stack([np.where(FAR < 9, blood, 0.01) for blood, _ in frames])[None].astype(np.float32)
    wall = np.stack([np.where((FAR < 14) & (ANGLE < 360 * part), 0.95, 0.02) for _, part in frames])[None]
    return {Structure.CAVITY: cavity, Structure.MYOCARDIUM: np.maximum(cavity, wall.astype(np.float32))}


def test_rules_count_from_wide_to_narrow():
    # Atrium, half a wall, most of a wall, middle, apex, below the apex.
    seen = evidence(scores((0.95, 0.1), (0.95, 0.6), (0.95, 0.97), (0.98, 1.0), (0.98, 1.0), (0.02, 0.0)))
    chosen = decide(seen, base_first=True)
    assert {rule: inside[0].astype(int).tolist() for rule, inside in chosen.items()} == {
        BaseRule.ANY: [1, 1, 1, 1, 1, 0],
        BaseRule.HALF: [0, 1, 1, 1, 1, 0],
        BaseRule.WHOLE: [0, 0, 1, 1, 1, 0],
    }


def test_sure_blood_does_not_outweigh_an_open_wall_and_a_closed_wall_outweighs_doubtful_blood():
    open_wall = evidence(scores((0.99, 0.3), (0.98, 1.0)))
    assert decide(open_wall, base_first=True)[BaseRule.HALF].tolist() == [[False, True]]
    small = scores((0.98, 1.0), (0.02, 1.0))
    small[Structure.CAVITY][0, 1][FAR < 1.6] = 0.9  # the tip of the apex: too few pixels for sure blood
    assert evidence(small).blood[0, 1] < 1
    assert decide(evidence(small), base_first=True)[BaseRule.HALF].tolist() == [[True, True]]


@pytest.mark.parametrize("base_first", [True, None])
def test_at_the_apex_a_missing_wall_says_nothing(base_first):
    # Base without wall (atrium), three closed slices, the apex without wall, and nothing.
    stack = scores((0.98, 0.2), (0.98, 1.0), (0.98, 1.0), (0.98, 1.0), (0.95, 0.1), (0.02, 0.0))
    for values in stack.values():
        values[0, 4][FAR > 3] = 0.01  # a small cavity: of two open ends, the other is the base
    for flip in (slice(None), slice(None, None, -1)):
        seen = evidence({structure: values[:, flip] for structure, values in stack.items()})
        turned = base_first if flip.step is None or base_first is None else not base_first
        chosen = decide(seen, base_first=turned)
        assert chosen[BaseRule.HALF][0, flip].astype(int).tolist() == [0, 1, 1, 1, 1, 0]
        assert chosen[BaseRule.WHOLE][0, flip].astype(int).tolist() == [0, 1, 1, 1, 0, 0]
    doubtful = scores((0.98, 1.0), (0.98, 1.0), (0.98, 1.0), (0.3, 0.1))
    assert not decide(evidence(doubtful), base_first=True)[BaseRule.HALF][0, 3]


def test_without_wall_half_is_any_and_there_is_no_whole():
    seen = evidence({Structure.CAVITY: scores((0.02, 0), (0.9, 0.1), (0.9, 1))[Structure.CAVITY]})
    chosen = decide(seen, base_first=None)
    assert set(chosen) == {BaseRule.ANY, BaseRule.HALF}
    assert chosen[BaseRule.HALF].tolist() == chosen[BaseRule.ANY].tolist() == [[False, True, True]]


def beat(phases: int = 24, slices: int = 8) -> np.ndarray:
    """Log odds of a ventricle in slices 1 to 6 whose base moves a slice towards the apex from phase 6 to 13."""
    odds = np.full((phases, slices), -3.0)
    odds[:, 1:7] = 3.0
    odds[6:14, 1] = -3.0
    return odds


def test_a_wall_that_the_network_draws_nowhere_does_not_cost_the_ventricle():
    # Seen in children of another scanner: good cavities, hardly any wall, and no slice counted at all.
    seen = evidence(scores((0.02, 0.0), (0.97, 0.1), (0.98, 0.1), (0.98, 0.2), (0.97, 0.0), (0.02, 0.0)))
    assert not decide(seen, base_first=True)[BaseRule.HALF][0, :3].any()
    assert wall_lost(seen).tolist() == [True]
    judged = decide(relative(seen), base_first=True)
    assert judged[BaseRule.HALF].astype(int).tolist() == [[0, 1, 1, 1, 1, 0]]


def test_a_wall_that_is_drawn_with_gaps_everywhere_is_judged_by_its_best_slices():
    # Atrium, a third of the usual wall, then slices with gaps of 40 %.
    seen = evidence(scores((0.97, 0.05), (0.98, 0.6), (0.98, 0.62), (0.98, 0.6), (0.97, 0.45)))
    assert not wall_lost(seen).any()
    assert decide(relative(seen), base_first=True)[BaseRule.HALF].astype(int).tolist() == [[0, 1, 1, 1, 1]]


def test_a_closed_wall_in_the_middle_leaves_the_evidence_as_it_is():
    seen = evidence(scores((0.95, 0.1), (0.95, 0.6), (0.98, 0.97), (0.98, 1.0), (0.98, 1.0), (0.97, 0.9)))
    np.testing.assert_array_equal(relative(seen).enclosure, seen.enclosure)
    without = evidence({Structure.CAVITY: scores((0.9, 0.1), (0.9, 1))[Structure.CAVITY]})
    assert not wall_lost(without).any() and np.isnan(relative(without).enclosure).all()


def test_a_base_that_moves_for_a_part_of_the_beat_is_followed():
    np.testing.assert_array_equal(interval(beat(), None), beat() > 0)


def test_single_frames_that_differ_from_their_neighbours_in_time_do_not_count():
    odds = beat()
    odds[18, 1] = -1.0
    odds[9, 0] = 0.8
    odds[3, 4] = -2.0
    np.testing.assert_array_equal(interval(odds, None), beat() > 0)


def test_phases_are_a_circle():
    odds = np.roll(beat(), 13, axis=0)
    np.testing.assert_array_equal(interval(odds, None), odds > 0)
    for shift in (1, 5, 11):
        np.testing.assert_array_equal(
            interval(np.roll(odds, shift, axis=0), None), np.roll(interval(odds, None), shift, axis=0)
        )


def test_in_systole_the_base_moves_towards_the_apex_only():
    odds = beat()
    odds[8:11, 1] = 2.5
    systole = np.zeros(24, bool)
    systole[1:12] = True
    free, held = interval(odds, None), interval(odds, systole)
    first = held.argmax(axis=1)
    assert free[8:11, 1].all()
    assert np.all(np.diff(first[:12]) >= 0) and len(set(first)) == 2


def test_the_base_does_not_go_further_than_a_heart_can_move():
    odds = beat(slices=10)
    odds[:, 7:] = 3.0
    odds[8:12, 1:6] = -1.0  # the wall was not seen in systole
    assert not interval(odds, None)[9, 3:6].any()
    held = interval(odds, None, base_moves=2)
    assert held[:, 3:].all() and not held[:, 0].any()


def test_nothing_anywhere_is_an_empty_interval():
    assert not interval(np.full((10, 6), -2.0), None).any()
    assert interval(np.full((1, 1), 2.0), None).all()


def test_a_few_phases_are_each_for_themselves():
    odds = np.array([[3.0, 3, 3, 3], [-3, -3, 3, 3]])
    np.testing.assert_array_equal(interval(odds, None), odds > 0)


def of_two_phases(base_wall: tuple[float, float], base_area: tuple[float, float]) -> Evidence:
    """ED and ES: a basal slice, four closed ones that contract, and an empty one."""
    wall, area = np.full((2, 6), 1.0), np.array([[0, 900, 800, 500, 200, 0.0], [0, 500, 400, 250, 90, 0]])
    wall[:, 0], area[:, 0] = base_wall, base_area
    wall[:, 5] = np.nan
    blood = np.where(area > 0, 4.0, -4.0)
    return Evidence(blood, wall, area)


def test_with_two_phases_a_basal_slice_whose_blood_grows_in_systole_is_atrium():
    # As in SC-HF-I-01: with all of its phases the base has left this slice in systole. ED and ES alone must agree.
    grown = of_two_phases((0.56, 0.72), (300, 640))
    for base_first, flip in ((True, slice(None)), (False, slice(None, None, -1))):
        turned = Evidence(grown.blood[:, flip], grown.enclosure[:, flip], grown.area_px[:, flip])
        chosen = decide(turned, base_first=base_first)
        assert chosen[BaseRule.HALF][:, flip][:, 0].tolist() == [True, False]
        assert chosen[BaseRule.ANY][:, flip][:, 0].tolist() == [True, True]
    # It is not known which end is the base; and a base that contracts.
    assert decide(grown, base_first=None)[BaseRule.HALF][:, 0].all()
    assert decide(of_two_phases((0.56, 0.72), (640, 600)), base_first=True)[BaseRule.HALF][:, 0].all()


def test_with_two_phases_too_the_base_does_not_move_up_in_systole():
    inside = decide(of_two_phases((0.45, 0.54), (640, 600)), base_first=True)[BaseRule.HALF]
    assert not inside[:, 0].any() and inside[:, 1:5].all()


def test_upside_down_gives_the_same_upside_down():
    rng = np.random.default_rng(4)
    blood, wall, area = rng.normal(1, 3, (20, 7)), rng.random((20, 7)), rng.random((20, 7))
    one = decide(Evidence(blood, wall, area), base_first=True)
    other = decide(Evidence(blood[:, ::-1], wall[:, ::-1], area[:, ::-1]), base_first=False)
    for rule in BaseRule:
        np.testing.assert_array_equal(one[rule], other[rule][:, ::-1])
