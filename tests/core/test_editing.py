"""A person corrects contours: new values, in which only what was changed is different."""

import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cinesax
import hearts
from cinesax.core.errors import GeometryError
from cinesax.core.findings import Code
from cinesax.core.origins import Drawn, Origin
from cinesax.core.segmentation import ContourKey, Polygons, Segmentation, area_px, from_contours, rasterise
from cinesax.core.structures import RV, Structure
from cinesax.measure.volumes import measure

CAVITY, WALL, RV_CAVITY = Structure.CAVITY, Structure.MYOCARDIUM, Structure.RV_CAVITY
PHASE, SLICE = 3, 2


def square(side: float, x: float = 20.3, y: float = 22.6) -> np.ndarray:
    half = side / 2
    return np.array([(x - half, y - half), (x + half, y - half), (x + half, y + half), (x - half, y + half)])


def contours() -> dict[ContourKey, Polygons]:
    """Cavity, wall and an RV that the wall cuts, in all phases but the last and all slices but those at the ends."""
    drawn: dict[ContourKey, Polygons] = {}
    for phase in range(9):
        for place in range(1, 5):
            side = hearts.BEAT[phase] * 0.9
            drawn[CAVITY, phase, place] = (square(side),)
            drawn[WALL, phase, place] = (square(side + 6),)
            drawn[RV_CAVITY, phase, place] = (square(side, x=36),)
    return drawn


def heart() -> Segmentation:
    return from_contours(contours(), (10, 6, 48, 48), author="a network 1")


def elsewhere(one: Segmentation, other: Segmentation) -> bool:
    """Whether labels and contours are the same but for the frame that was changed."""
    mask = np.ones(one.labels.shape[:2], dtype=bool)
    mask[PHASE, SLICE] = False
    kept = [
        {key: polygons for key, polygons in (which.contours or {}).items() if key[1:] != (PHASE, SLICE)}
        for which in (one, other)
    ]
    shared = kept[0].keys() == kept[1].keys() and all(kept[0][key] is kept[1][key] for key in kept[0])
    return shared and np.array_equal(one.labels[mask], other.labels[mask])


def test_a_new_contour_changes_its_frame_alone() -> None:
    before = heart()
    as_it_was = heart()
    polygon = square(9.25, x=21.1)
    after = before.with_contour(PHASE, SLICE, CAVITY, polygon, by="A. Reader")
    assert before == as_it_was, "the old value stays"
    assert after != before and elsewhere(before, after)
    assert np.array_equal(after.outline(CAVITY, PHASE, SLICE)[0], polygon)
    assert after.outline(WALL, PHASE, SLICE) is before.outline(WALL, PHASE, SLICE)
    expected = from_contours(contours() | {(CAVITY, PHASE, SLICE): (polygon,)}, before.labels.shape)
    assert np.array_equal(after.labels, expected.labels)
    assert not after.labels.flags.writeable and pickle.loads(pickle.dumps(after)) == after
    with pytest.raises(ValueError, match="read-only"):
        after.outline(CAVITY, PHASE, SLICE)[0][0] = 0
    polygon += 5  # what was given is not what is kept
    assert not np.array_equal(after.outline(CAVITY, PHASE, SLICE)[0], polygon)


def test_the_numbers_follow() -> None:
    cine = hearts.cine()
    before, drawn = measure(cine, heart()), square(8.5)
    after = measure(cine, heart().with_contour(PHASE, SLICE, CAVITY, drawn, by="A. Reader"))
    assert after.cavity_areas_px[PHASE, SLICE] == pytest.approx(8.5**2)
    change = area_px([drawn]) - before.cavity_areas_px[PHASE, SLICE]
    assert after.volumes_ml is not None and before.volumes_ml is not None
    assert after.volumes_ml[PHASE] - before.volumes_ml[PHASE] == pytest.approx(change * 10 / 1000)
    others = np.arange(10) != PHASE
    np.testing.assert_array_equal(after.volumes_ml[others], before.volumes_ml[others])


SIDES = st.floats(3, 25).map(lambda side: round(side, 2))
CHANGES = st.lists(
    st.tuples(st.sampled_from([CAVITY, WALL, RV_CAVITY]), SIDES, st.floats(10, 40), st.floats(10, 40)),
    min_size=1,
    max_size=5,
)


@given(changes=CHANGES)
@settings(max_examples=60, deadline=None)
def test_labels_after_many_changes_are_those_of_the_contours(
    changes: list[tuple[Structure, float, float, float]],
) -> None:
    drawn = {(one, 0, place): polygons for (one, phase, place), polygons in contours().items() if phase == PHASE}
    made = from_contours(drawn, (1, 6, 48, 48))
    for structure, side, x, y in changes:
        polygon = square(side, x, y)
        made = made.with_contour(0, SLICE, structure, polygon, by="A. Reader")
        drawn[structure, 0, SLICE] = (polygon,)
    assert np.array_equal(made.labels, from_contours(drawn, (1, 6, 48, 48)).labels)
    assert made.contours is not None and made.contours.keys() == drawn.keys()


def test_pixels_that_stay_inside_keep_the_labels_of_the_network() -> None:
    made = heart()
    odd = made.labels.copy()
    odd[PHASE, SLICE, 22, 20] = 0  # as no contour would paint it
    odd[PHASE, SLICE, 2, 2] = CAVITY
    after = dataclasses.replace(made, labels=odd).with_contour(PHASE, SLICE, CAVITY, square(9.1), by="A. Reader")
    assert after.labels[PHASE, SLICE, 2, 2] == 0, "it lies outside of the new contour"
    assert after.labels[PHASE, SLICE, 22, 20] == CAVITY, "it lies inside"
    wall = after.labels[PHASE, SLICE] == WALL
    assert np.array_equal(
        wall, heart().with_contour(PHASE, SLICE, CAVITY, square(9.1), by="x").labels[PHASE, SLICE] == WALL
    )


def test_no_lv_here() -> None:
    before = heart()
    after = before.without(PHASE, SLICE, by="A. Reader")
    assert elsewhere(before, after) and after.outline(CAVITY, PHASE, SLICE) == () == after.outline(WALL, PHASE, SLICE)
    assert set(np.unique(after.labels[PHASE, SLICE])) == {0, RV_CAVITY}, "the RV stays, and gets back what the wall hid"
    inside = rasterise(before.outline(RV_CAVITY, PHASE, SLICE), (48, 48))
    assert np.array_equal(after.labels[PHASE, SLICE] == RV_CAVITY, inside)
    assert after.known_phases[CAVITY][PHASE], "the phase is now known"
    assert after.drawn(CAVITY, PHASE, SLICE) == Drawn(Origin.EDITED, "A. Reader")
    assert measure(hearts.cine(), after).cavity_areas_px[PHASE, SLICE] == 0
    assert after.without(PHASE, SLICE, by="A. Reader", chamber=RV).labels[PHASE, SLICE].max() == 0


def test_a_contour_makes_its_phase_known() -> None:
    before = heart()
    assert not before.known_phases[CAVITY][9]
    after = before.with_contour(9, SLICE, CAVITY, square(10), by="A. Reader")
    assert after.known_phases[CAVITY][9] and not after.known_phases[WALL][9] and not before.known_phases[CAVITY][9]
    muscles = before.with_contour(0, SLICE, Structure.PAPILLARY_MUSCLES, square(3), by="A. Reader")
    assert muscles.known_phases[Structure.PAPILLARY_MUSCLES].tolist() == [True] + [False] * 9
    assert np.any(muscles.labels[0, SLICE] == Structure.PAPILLARY_MUSCLES)


def test_labels_alone_are_painted() -> None:
    before = hearts.labels()
    after = before.with_contour(PHASE, SLICE, CAVITY, square(12, 23.5, 23.5), by="A. Reader")
    assert after.contours is None and int(np.count_nonzero(after.labels[PHASE, SLICE])) == 144
    assert elsewhere(before, after)
    gone = after.without(PHASE, SLICE, by="A. Reader")
    assert not gone.labels[PHASE, SLICE].any() and gone.drawn(CAVITY, PHASE, SLICE).by == "A. Reader"


def test_each_contour_says_where_it_comes_from() -> None:
    made = dataclasses.replace(heart(), origin=Origin.NETWORK)
    assert made.drawn(CAVITY, 0, 1) == Drawn(Origin.NETWORK, "a network 1")
    edited = made.with_contour(PHASE, SLICE, CAVITY, square(9), by="A. Reader", approved=True)
    between = edited.with_contour(4, SLICE, CAVITY, square(9), by="linear", origin=Origin.INTERPOLATED)
    assert between.drawn(CAVITY, PHASE, SLICE) == Drawn(Origin.EDITED, "A. Reader", approved=True)
    assert between.drawn(CAVITY, 4, SLICE) == Drawn(Origin.INTERPOLATED, "linear")
    assert between.drawn(WALL, PHASE, SLICE) == Drawn(Origin.NETWORK, "a network 1")
    approved = between.with_approval(4, SLICE)
    assert approved.drawn(CAVITY, 4, SLICE) == Drawn(Origin.INTERPOLATED, "linear", approved=True)
    assert approved.drawn(WALL, 4, SLICE) == Drawn(Origin.NETWORK, "a network 1", approved=True)
    assert approved.with_approval(4, SLICE, approved=False).drawn(WALL, 4, SLICE) == made.drawn(WALL, 4, SLICE)
    assert made.origins == {}


@pytest.mark.parametrize("frame", [(10, 0), (-1, 0), (0, 6)])
def test_a_frame_that_is_not_there_is_an_error(frame: tuple[int, int]) -> None:
    for change in (
        lambda: heart().with_contour(*frame, CAVITY, square(9), by="x"),
        lambda: heart().without(*frame, by="x"),
        lambda: heart().with_approval(*frame),
    ):
        with pytest.raises(GeometryError, match="outside the stack"):
            change()


@pytest.mark.parametrize("polygon", [square(9)[:2], np.zeros((4, 3)), np.full((4, 2), np.nan), ()])
def test_what_is_no_polygon_is_an_error(polygon: np.ndarray) -> None:
    with pytest.raises(GeometryError):
        heart().with_contour(0, 1, CAVITY, polygon, by="x")


def test_what_is_known_of_other_frames_is_not_computed_again() -> None:
    asked: list[tuple[int, int]] = []

    def area(segmentation: Segmentation, phase: int, place: int) -> float:
        asked.append((phase, place))
        return area_px(segmentation.outline(CAVITY, phase, place))

    def all_areas(segmentation: Segmentation) -> list[float]:
        return [segmentation.of_frame(area, phase, place) for phase in range(10) for place in range(6)]

    before = heart()
    areas = all_areas(before)
    assert all_areas(before) == areas and len(asked) == 60
    after = before.with_contour(PHASE, SLICE, CAVITY, square(8), by="A. Reader").with_approval(0, 1)
    asked.clear()
    changed = all_areas(after)
    assert asked == [(PHASE, SLICE)]
    assert [index for index in range(60) if changed[index] != areas[index]] == [PHASE * 6 + SLICE]
    asked.clear()
    assert all_areas(before) == areas and asked == []
    all_areas(after.without(5, 2, by="A. Reader"))
    assert asked == [(5, 2)]
    asked.clear()
    all_areas(pickle.loads(pickle.dumps(after)))
    assert len(asked) == 60, "a copy from elsewhere knows nothing yet"


@pytest.mark.parametrize("paint", [True, False])
def test_without_frames_nothing_is_drawn_again(paint: bool) -> None:
    before = heart()
    approved = {(CAVITY, PHASE, SLICE): Drawn(before.origin, before.author, approved=True)}
    after = before.with_frames({}, approved, before.known_phases, paint=paint)
    assert after.labels is before.labels and after.contours is before.contours
    assert after.drawn(CAVITY, PHASE, SLICE).approved and not before.drawn(CAVITY, PHASE, SLICE).approved


def test_an_analysis_is_measured_again() -> None:
    made = cinesax.analyze(hearts.cine(), segmentation=heart())
    nothing = made.segmentation
    for place in range(6):
        nothing = nothing.without(0, place, by="A. Reader")
    again = cinesax.remeasure(made, nothing)
    assert again.segmentation is nothing and again.cine is made.cine and again.provenance == made.provenance
    assert again.measurements.esv_ml == 0 and made.measurements.es_phase == PHASE and again.measurements.es_phase == 0
    assert again == dataclasses.replace(cinesax.analyze(made.cine, segmentation=nothing), provenance=made.provenance)
    assert {finding.code for finding in again.findings} - {finding.code for finding in made.findings} != set()
    given = cinesax.remeasure(made, nothing, cinesax.Overrides(ed_phase=1, es_phase=4))
    assert (given.measurements.ed_phase, given.measurements.es_phase) == (1, 4)
    assert Code.OVERRIDDEN_PHASE in {finding.code for finding in given.findings}
