"""The table of structures, and what a Segmentation makes of it."""

import copy
import pickle

import numpy as np
import pytest

import cinesax
from cinesax.core.segmentation import Segmentation, area_px, from_contours
from cinesax.core.structures import (
    LV,
    RV,
    Part,
    Structure,
    blood_of,
    chambers,
    of_bundle_name,
    of_class_name,
    painting_order,
    wall_of,
)

CAVITY, WALL, RIGHT, MUSCLES = Structure


def square(low: float, high: float) -> tuple[np.ndarray, ...]:
    return (np.array([[low, low], [high, low], [high, high], [low, high]]),)


def heart(*structures: Structure) -> Segmentation:
    """One frame: a wall of 10 x 10 px around a cavity of 6 x 6 with muscles of 2 x 2; next to it an RV of 4 x 8."""
    labels = np.zeros((1, 1, 20, 20), np.uint8)
    boxes = {WALL: (2, 12, 2, 12), CAVITY: (4, 10, 4, 10), MUSCLES: (5, 7, 5, 7), RIGHT: (4, 8, 12, 20)}
    for one in painting_order(structures):
        top, bottom, left, right = boxes[one]
        labels[0, 0, top:bottom, left:right] = one
    return Segmentation(labels, {one: np.ones(1, dtype=bool) for one in structures})


def test_what_is_written_in_files_stays_as_it_is() -> None:
    """Labels, letters and names stand in files of users: a change here makes them unreadable."""
    written = {int(one): (one.key, one.facts.letter, one.facts.class_name, one.facts.bundle_name) for one in Structure}
    assert written == {
        1: ("cavity", "i", "lv_cavity", "CAVITY"),
        2: ("myocardium", "o", "myocardium", "MYOCARDIUM"),
        3: ("rv_cavity", "r", "rv", "RV"),
        4: ("papillary_muscles", "p", "papillary_muscles", "PAPILLARY_MUSCLES"),
    }
    assert [one.key for one in chambers()] == ["lv", "rv"]


def test_no_two_structures_share_a_name_or_a_code() -> None:
    for values in (
        [one.facts.letter for one in Structure],
        [one.facts.words for one in Structure],
        [one.facts.class_name for one in Structure],
        [one.facts.bundle_name for one in Structure],
        [code for one in Structure for code in (*one.facts.older_codes, one.facts.code)],
        [one.facts.chamber for one in Structure if one.facts.part is Part.BLOOD],
    ):
        assert len(set(values)) == len(values)


def test_a_structure_stays_itself_when_it_travels() -> None:
    assert all(pickle.loads(pickle.dumps(one)) is one and copy.deepcopy(one) is one for one in Structure)


def test_names_from_before_the_table_still_work() -> None:
    assert cinesax.Structure.CAVITY is CAVITY and cinesax.Outline("o") is WALL
    assert of_bundle_name("RV") is RIGHT and of_class_name("lv_cavity") is CAVITY
    with pytest.raises(LookupError, match="'atrium': expected one of CAVITY, MYOCARDIUM, RV"):
        of_bundle_name("atrium")
    with pytest.raises(ValueError, match="99"):
        Structure(99)


def test_what_encloses_is_painted_first_and_the_left_wins_where_the_ventricles_overlap() -> None:
    assert painting_order(Structure) == (RIGHT, WALL, CAVITY, MUSCLES)
    assert WALL.region == (WALL, CAVITY, MUSCLES) and RIGHT.region == (RIGHT,)
    assert (blood_of(RV), wall_of(LV), wall_of(RV)) == (RIGHT, WALL, None)


def test_the_epicardium_surrounds_the_left_ventricle_only() -> None:
    outlines = heart(CAVITY, WALL, RIGHT)
    assert area_px(outlines.outline(WALL, 0, 0)) == pytest.approx(100, abs=1)
    assert area_px(outlines.outline(RIGHT, 0, 0)) == pytest.approx(32, abs=1.5)


def test_papillary_muscles_count_as_cavity_by_convention() -> None:
    outlines = heart(CAVITY, WALL, MUSCLES)
    assert outlines.mask(CAVITY).sum() == 36 and outlines.counted_as(CAVITY) == (CAVITY, MUSCLES)
    without = Segmentation(outlines.labels, outlines.known_phases, papillary_muscles_included=False)
    assert without.mask(CAVITY).sum() == 32 and without.apart_from(CAVITY) == (MUSCLES,)
    # The border of the cavity goes round its muscles either way.
    assert area_px(without.outline(CAVITY, 0, 0)) == area_px(outlines.outline(CAVITY, 0, 0))


def test_contours_of_all_structures_become_labels() -> None:
    sides = {CAVITY: square(3.5, 9.5), WALL: square(1.5, 11.5), RIGHT: square(10.5, 15.5), MUSCLES: square(4.5, 6.5)}
    outlines = from_contours({(one, 0, 0): lines for one, lines in sides.items()}, (1, 1, 20, 20))
    counts = {one: int((outlines.labels == one).sum()) for one in Structure}
    assert counts == {CAVITY: 32, WALL: 64, RIGHT: 24, MUSCLES: 4}
