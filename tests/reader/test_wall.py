"""The wall after an edit: it encloses the cavity and stays open where it was open."""

from dataclasses import replace

import numpy as np
import pytest

from cinesax.analyze import analyze, remeasure
from cinesax.core.analysis import Analysis
from cinesax.core.findings import Code, Severity
from cinesax.core.origins import Origin
from cinesax.core.segmentation import Segmentation, area_px
from cinesax.core.selection import NO_OVERRIDES, Overrides
from cinesax.core.structures import Structure
from cinesax.measure.volumes import areas_of
from cinesax.reader import messages
from cinesax.reader.editing.change import Reading, apply, opposite
from cinesax.reader.editing.plans import plan
from cinesax.reader.editing.wall import following
from reader.served import MIDDLE, beating, circle, drawn, flat

ED, PLACE = 0, 2
RADIUS, WALL = 12.0, 5.0


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return analyze(replace(beating(), base_first=True), segmentation=drawn())


def edited(analysis: Analysis, edit: messages.Edit) -> Segmentation:
    reading = Reading(analysis.segmentation, NO_OVERRIDES)
    change, _ = plan(analysis, reading, edit, "Ann")
    after = apply(reading, change, analysis.segmentation)
    assert apply(after, opposite(reading, change), analysis.segmentation).segmentation == analysis.segmentation
    return after.segmentation


def with_set(analysis: Analysis, structure: Structure, polygon: np.ndarray) -> Segmentation:
    return edited(analysis, messages.SetContour(structure.key, ED, PLACE, flat(polygon)))


def wall_px(segmentation: Segmentation) -> tuple[float, int]:
    """The area of the wall, by contours and by labels."""
    by_contours = areas_of(segmentation, Structure.MYOCARDIUM)[ED, PLACE]
    return float(by_contours), int((segmentation.labels[ED, PLACE] == Structure.MYOCARDIUM).sum())


def opened(radius: float, wall: float = WALL) -> np.ndarray:
    """An epicardium that runs along the cavity in the left third, where the wall is open."""
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    away = np.where(np.abs(angles - np.pi) < np.pi / 3, radius, radius + wall)
    return np.column_stack([MIDDLE + away * np.cos(angles), MIDDLE + away * np.sin(angles)])


def test_a_cavity_that_is_pushed_through_the_wall_takes_it_along(analysis: Analysis) -> None:
    made = with_set(analysis, Structure.CAVITY, circle(RADIUS, MIDDLE + 9))
    assert made.drawn(Structure.MYOCARDIUM, ED, PLACE).origin is Origin.EDITED
    by_contours, by_labels = wall_px(made)
    assert by_contours == pytest.approx(by_labels, abs=12)
    # The wall that the cavity now covers is gone; what it covered before on the other side is wall.
    whole = area_px((circle(RADIUS + WALL),)) - area_px((circle(RADIUS),))
    assert by_contours > whole
    again = remeasure(analysis, made)
    assert Code.ENDOCARDIUM_OUTSIDE not in {finding.code for finding in again.findings}


def test_a_wall_that_is_pushed_into_the_cavity_stops_there(analysis: Analysis) -> None:
    made = with_set(analysis, Structure.MYOCARDIUM, circle(RADIUS + WALL, MIDDLE - 9))
    before = analysis.segmentation.outline(Structure.CAVITY, ED, PLACE)
    assert np.array_equal(made.outline(Structure.CAVITY, ED, PLACE), before)
    by_contours, by_labels = wall_px(made)
    assert by_contours == pytest.approx(by_labels, abs=12)
    again = remeasure(analysis, made)
    assert again.measurements.ef_percent == analysis.measurements.ef_percent
    assert Code.ENDOCARDIUM_OUTSIDE not in {finding.code for finding in again.findings}


@pytest.mark.parametrize("radius", [RADIUS - 3, RADIUS + 3])
def test_within_a_closed_wall_the_epicardium_stays(analysis: Analysis, radius: float) -> None:
    made = with_set(analysis, Structure.CAVITY, circle(radius))
    key = Structure.MYOCARDIUM, ED, PLACE
    assert np.array_equal(made.outline(*key)[0], analysis.segmentation.outline(*key)[0])
    assert made.drawn(*key).origin is not Origin.EDITED
    assert wall_px(made)[0] == pytest.approx(np.pi * ((RADIUS + WALL) ** 2 - radius**2), rel=0.02)


@pytest.mark.parametrize("by", [-4, -1.5, 1.5, 4])
def test_an_open_wall_stays_open(by: float) -> None:
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    left = np.abs(angles - np.pi) < np.pi / 4
    away = RADIUS + by * np.where(left, np.cos(2 * (angles - np.pi)), 0)
    after = np.column_stack([MIDDLE + away * np.cos(angles), MIDDLE + away * np.sin(angles)])
    made = following((opened(RADIUS),), (circle(RADIUS, points=200),), (after,))
    assert made is not None
    muscle = area_px((opened(RADIUS),)) - area_px((circle(RADIUS, points=200),))
    assert area_px(made) - area_px((after,)) == pytest.approx(muscle, rel=0.02)


def test_blood_that_is_taken_from_beside_the_wall_is_wall() -> None:
    after = circle(RADIUS - 2, MIDDLE - 2, points=200)
    made = following((opened(RADIUS),), (circle(RADIUS, points=200),), (after,))
    # The cavity shrinks on the right, away from the opening, and touches it on the left as before.
    shrunk = area_px((circle(RADIUS, points=200),)) - area_px((after,))
    muscle = area_px((opened(RADIUS),)) - area_px((circle(RADIUS, points=200),))
    wall = area_px(made or (opened(RADIUS),)) - area_px((after,))
    assert muscle + 0.5 * shrunk < wall < muscle + shrunk


def test_copied_cavities_have_walls_that_enclose_them(analysis: Analysis) -> None:
    first = with_set(analysis, Structure.CAVITY, circle(RADIUS, MIDDLE + 9))
    reading = Reading(first, NO_OVERRIDES)
    edit = messages.Copy(ED, PLACE, [messages.Place(4, PLACE)], "cavity")
    change, _ = plan(analysis, reading, edit, "Ann")
    made = apply(reading, change, analysis.segmentation).segmentation
    again = remeasure(analysis, made)
    assert Code.ENDOCARDIUM_OUTSIDE not in {finding.code for finding in again.findings}


def test_a_wall_whose_cavity_a_person_deleted_is_said_to_count_as_muscle(analysis: Analysis) -> None:
    """The epicardium alone may be meant, at the apex; but the mass must not jump in silence."""
    made = edited(analysis, messages.SetContour("cavity", ED, PLACE, []))
    phases = Overrides(ed_phase=ED, es_phase=4)
    before, again = (remeasure(analysis, one, phases) for one in (analysis.segmentation, made))
    (finding,) = (f for f in again.findings if f.code is Code.WALL_WITHOUT_CAVITY)
    assert (finding.severity, finding.phase, finding.slice) == (Severity.WARNING, ED, PLACE)
    # A slice counts for 9 mm of 1.5 mm pixels.
    assert finding.numbers["muscle_g"] == pytest.approx(np.pi * 17**2 * 1.5**2 * 9 / 1000 * 1.05, rel=0.02)
    assert before.measurements.lv_mass_g is not None and again.measurements.lv_mass_g is not None
    assert again.measurements.lv_mass_g > before.measurements.lv_mass_g + 8
    assert not [f for f in before.findings if f.code is Code.WALL_WITHOUT_CAVITY]
    # Both deleted, or a cavity that is missing at a phase that the mass is not taken from: nothing to say.
    for edit in (messages.Delete(ED, PLACE), messages.SetContour("cavity", 2, PLACE, [])):
        assert not [f for f in remeasure(analysis, edited(analysis, edit), phases).findings if f.code is finding.code]


def test_an_approved_wall_without_cavity_is_no_deletion(analysis: Analysis) -> None:
    alone = edited(analysis, messages.SetContour("cavity", ED, PLACE, []))
    drawn_so = replace(alone, origins={})  # as a network draws the tip of the apex
    phases = Overrides(ed_phase=ED, es_phase=4)
    for made, said in ((alone, True), (drawn_so, False)):
        again = remeasure(analysis, made.with_approval(ED, PLACE), phases)
        assert any(finding.code is Code.WALL_WITHOUT_CAVITY for finding in again.findings) is said


def test_a_wall_without_cavity_stays() -> None:
    assert following((circle(9),), (), ()) is None
    assert following((), (), (circle(9),)) is None
