"""Polygons and edits as values: no server, no store."""

from dataclasses import replace

import numpy as np
import pytest

from cinesax.analyze import analyze, remeasure
from cinesax.core.analysis import Analysis
from cinesax.core.errors import GeometryError, UsageError
from cinesax.core.findings import Code
from cinesax.core.grid import Grid
from cinesax.core.origins import Origin
from cinesax.core.presence import BaseRule, Presence
from cinesax.core.segmentation import Segmentation, area_px, polygon_area, rasterise, trace
from cinesax.core.selection import NO_OVERRIDES
from cinesax.core.structures import Structure
from cinesax.formats.crossings import crossing
from cinesax.reader import messages
from cinesax.reader.editing import lines
from cinesax.reader.editing.change import Change, Reading, apply, opposite
from cinesax.reader.editing.masks import smooth_outlines
from cinesax.reader.editing.plans import plan, systolic_share
from cinesax.reader.long_axis import cut
from cinesax.reader.store.changes import packed, unpacked
from reader.served import MIDDLE, PHASES, SIDE, SLICES, beating, circle, drawn, flat


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return analyze(replace(beating(), base_first=True), segmentation=drawn())


def edited(analysis: Analysis, edit: messages.Edit) -> Segmentation:
    reading = Reading(analysis.segmentation, NO_OVERRIDES)
    change, what = plan(analysis, reading, edit, "Ann")
    assert what
    return apply(reading, change, analysis.segmentation).segmentation


def area(segmentation: Segmentation, phase: int, place: int) -> float:
    return area_px(segmentation.outline(Structure.CAVITY, phase, place))


def test_between_two_circles_lies_a_circle() -> None:
    middle = lines.between({0.0: circle(10, 20, 20), 4.0: circle(14, 24, 20)}, [2.0])[0]
    assert np.allclose(lines.centroid(middle), (22, 20), atol=0.05)
    assert polygon_area(middle) == pytest.approx(np.pi * 12**2, rel=0.02)


def test_interpolation_in_time_goes_round_and_never_beyond_its_keys() -> None:
    made = lines.between({1.0: circle(12), 4.0: circle(8)}, list(range(8)), period=8.0)
    areas = [polygon_area(polygon) for polygon in made]
    # From 4 on it grows back towards 1 of the next beat.
    assert areas[1] > areas[2] > areas[3] > areas[4] < areas[5] < areas[6] < areas[7] < areas[0] < areas[1]
    assert max(areas) <= np.pi * 12.05**2 and min(areas) >= np.pi * 7.9**2 * 0.97


def test_a_bent_ventricle_is_interpolated_point_by_point() -> None:
    angles = np.linspace(-1.9, 1.9, 30)
    outer = np.column_stack([20 * np.cos(angles), 20 * np.sin(angles)])
    inner = np.column_stack([15 * np.cos(angles[::-1]), 15 * np.sin(angles[::-1])])
    crescent = np.vstack([outer, inner]) + 30
    middle = lines.between({0.0: crescent, 2.0: crescent + (4, 0)}, [1.0])[0]
    assert polygon_area(middle) == pytest.approx(polygon_area(crescent), rel=0.03)
    assert np.allclose(lines.centroid(middle), lines.centroid(crescent) + (2, 0), atol=0.3)


@pytest.mark.parametrize("direction", [1, -1])
def test_a_contour_grows_and_shrinks_by_millimetres(direction: int) -> None:
    grown = lines.grown(circle(10)[::direction], 3.0, (1.5, 1.5))
    assert polygon_area(grown) == pytest.approx(np.pi * 12**2, rel=0.02)
    shrunk = lines.grown(circle(10)[::direction], -3.0, (1.5, 1.5))
    assert polygon_area(shrunk) == pytest.approx(np.pi * 8**2, rel=0.02)
    with pytest.raises(GeometryError, match="nothing would be left"):
        lines.grown(circle(10)[::direction], -30.0, (1.5, 1.5))


def test_a_contour_that_crosses_itself_is_healed() -> None:
    # A circle whose pen went through a small loop at its end.
    looped = np.vstack([circle(10), circle(2, 34.0, 24.0)[:20]])
    assert crossing(looped) is not None
    (healed,) = lines.checked(flat(looped), (48, 48))
    assert crossing(healed) is None
    assert polygon_area(healed) == pytest.approx(np.pi * 100, rel=0.05)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([1, 2, 3, 4, 5, 6, 7], "pairs"),
        ([1, 2, 3, 4, 5, 1e300], "far outside"),
        ([1, 2, 3, 4, float("nan"), 6], "far outside"),
        ([1, 1, 1, 1, 1, 1], "half a pixel"),
    ],
)
def test_what_is_no_contour_is_refused(numbers: list[float], message: str) -> None:
    with pytest.raises(GeometryError, match=message):
        lines.checked([numbers], (48, 48))


def test_a_change_taken_back_leaves_no_trace(analysis: Analysis) -> None:
    first = Reading(analysis.segmentation, NO_OVERRIDES)
    edit = messages.SetContour("cavity", 2, 3, flat(circle(7, 22, 25)))
    change, _ = plan(analysis, first, edit, "Ann")
    second = apply(first, change, first.segmentation)
    assert not np.array_equal(second.segmentation.labels, first.segmentation.labels)
    third = apply(second, unpacked(packed(opposite(first, change))), first.segmentation)
    assert third.segmentation == first.segmentation
    # And again, from its bytes, it is the same to the bit.
    assert apply(third, unpacked(packed(change)), first.segmentation).segmentation == second.segmentation


def test_labels_follow_from_contours_alone_whatever_the_order(analysis: Analysis) -> None:
    start = analysis.segmentation
    a = messages.SetContour("cavity", 2, 3, flat(circle(12, 25, 25)))
    b = messages.SetContour("cavity", 2, 3, flat(circle(7, 22, 25)))
    reading = Reading(start, NO_OVERRIDES)
    one = apply(reading, plan(analysis, reading, a, "Ann")[0], start)
    both = apply(one, plan(analysis, one, b, "Ann")[0], start)
    assert np.array_equal(both.segmentation.labels, edited(analysis, b).labels)


def test_deleting_reaches_as_far_as_asked(analysis: Analysis) -> None:
    def gone(edit: messages.Delete) -> set[tuple[int, int]]:
        made = edited(analysis, edit)
        return {
            (phase, place)
            for phase in range(PHASES)
            for place in range(1, 5)
            if not made.outline(Structure.CAVITY, phase, place)
        }

    assert gone(messages.Delete(0, 2)) == {(0, 2)}
    assert gone(messages.Delete(0, 2, reach="slice")) == {(phase, 2) for phase in range(PHASES)}
    assert gone(messages.Delete(0, 2, reach="beyond_base")) == {(0, 1), (0, 2)}
    assert gone(messages.Delete(0, 3, reach="beyond_apex", all_phases=True)) == {
        (phase, place) for phase in range(PHASES) for place in (3, 4)
    }
    assert gone(messages.Delete(0, 1, reach="beyond")) == {(0, 1)}
    without = edited(analysis, messages.Delete(0, 2))
    assert without.drawn(Structure.MYOCARDIUM, 0, 2).origin is Origin.EDITED
    assert not without.labels[0, 2].any()


def test_interpolation_fills_the_phases_between_edited_ones(analysis: Analysis) -> None:
    one = edited(analysis, messages.SetContour("cavity", 0, 2, flat(circle(14))))
    with pytest.raises(UsageError, match="at least 2 phases"):
        edited(replace(analysis, segmentation=one), messages.InterpolatePhases("cavity", 2))
    two = edited(replace(analysis, segmentation=one), messages.SetContour("cavity", 4, 2, flat(circle(6))))
    made = edited(replace(analysis, segmentation=two), messages.InterpolatePhases("cavity", 2))
    areas = [area(made, phase, 2) for phase in range(PHASES)]
    assert areas == sorted(areas[:5], reverse=True) + sorted(areas[5:])
    assert made.drawn(Structure.CAVITY, 2, 2).origin is Origin.INTERPOLATED
    assert made.drawn(Structure.CAVITY, 0, 2).origin is Origin.EDITED
    assert area(made, 1, 3) == area(analysis.segmentation, 1, 3)


def test_interpolation_fills_the_slices_between(analysis: Analysis) -> None:
    edit = messages.InterpolateSlices("cavity", 0, 1, 4)
    bigger = edited(analysis, messages.Grow("cavity", 0, 4, 3.0))
    made = edited(replace(analysis, segmentation=bigger), edit)
    assert area(made, 0, 1) < area(made, 0, 2) < area(made, 0, 3) < area(made, 0, 4)
    with pytest.raises(UsageError, match="must be drawn in both"):
        edited(analysis, messages.InterpolateSlices("cavity", 0, 0, 4))


def test_the_base_moves_linearly_between_ed_and_es(analysis: Analysis) -> None:
    assert (analysis.measurements.ed_phase, analysis.measurements.es_phase) == (0, 4)
    assert [systolic_share(phase, 0, 4, 8) for phase in range(8)] == [0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25]
    made = edited(analysis, messages.Base(ed_slice=0, es_slice=2))
    first = [
        next(place for place in range(SLICES) if made.outline(Structure.CAVITY, phase, place))
        for phase in range(PHASES)
    ]
    assert first == [0, 0, 1, 2, 2, 2, 1, 0]
    # Slice 0 had no contour: it has that of its neighbour, and says that nobody drew it.
    assert area(made, 0, 0) == area(analysis.segmentation, 0, 1)
    assert made.drawn(Structure.CAVITY, 0, 0).origin is Origin.INTERPOLATED
    assert made.outline(Structure.MYOCARDIUM, 4, 1) == ()


def test_where_the_network_drew_beyond_the_base_its_contour_comes_back(analysis: Analysis) -> None:
    start = analysis.segmentation
    every = {BaseRule.HALF: np.ones((PHASES, SLICES), dtype=bool)}
    aside = {(Structure.CAVITY, phase, 0): (circle(5),) for phase in range(PHASES)}
    presence = Presence(BaseRule.HALF, every, np.zeros((PHASES, SLICES)), np.ones((PHASES, SLICES)), aside)
    known = replace(analysis, segmentation=replace(start, presence=presence))
    made = edited(known, messages.Base(ed_slice=0, es_slice=0))
    assert area(made, 3, 0) == pytest.approx(np.pi * 25, rel=0.02)


def test_labels_without_contours_are_corrected_to_whole_pixels() -> None:
    labels = replace(drawn(), contours=None)
    given = analyze(replace(beating(), base_first=True), segmentation=labels)
    reading = Reading(labels, NO_OVERRIDES)
    change, _ = plan(given, reading, messages.SetContour("cavity", 0, 2, flat(circle(9))), "Ann")
    made = apply(reading, change, labels)
    assert made.segmentation.contours is None
    untouched = made.segmentation.labels != labels.labels
    untouched[0, 2] = False
    assert not untouched.any()
    assert np.count_nonzero(made.segmentation.labels[0, 2] == Structure.CAVITY) == pytest.approx(np.pi * 81, rel=0.02)
    back = apply(made, opposite(reading, change), labels).segmentation
    assert np.array_equal(back.labels, labels.labels)


@pytest.mark.parametrize("radius", [2.0, 6.5, 15.0])
def test_contours_of_labels_are_smooth_and_give_the_same_labels(radius: float) -> None:
    rows, columns = np.mgrid[:SIDE, :SIDE] - MIDDLE + 0.3
    angle = np.arctan2(rows, columns)
    inside = np.hypot(rows, columns) < radius * (1 + 0.15 * np.cos(2 * angle) + 0.1 * np.cos(3 * angle))
    smooth, stairs = smooth_outlines(inside), trace(inside)
    assert np.array_equal(rasterise(smooth, inside.shape), inside)
    assert area_px(smooth) == pytest.approx(np.count_nonzero(inside), rel=0.005)
    if radius > 3:
        assert turns(smooth[0]) < 2.5 and turns(stairs[0]) > 1.5 * turns(smooth[0])


def turns(polygon: np.ndarray) -> float:
    """How often a polygon turns around in total: once if it is round."""
    along = np.diff(polygon, axis=0, append=polygon[:1])
    angles = np.arctan2(along[:, 1], along[:, 0])
    return float(np.abs(np.angle(np.exp(1j * np.diff(angles, append=angles[:1])))).sum() / (2 * np.pi))


@pytest.mark.parametrize(("ed", "es"), [(0, 4), (1, 5), (3, 5)])
def test_a_base_that_moves_far_leaves_the_slices_in_step(analysis: Analysis, ed: int, es: int) -> None:
    made = edited(analysis, messages.Base(ed_slice=ed, es_slice=es))
    after = remeasure(analysis, made)
    assert after.measurements.ef_percent is not None
    assert not [finding for finding in after.findings if finding.code is Code.SLICES_OUT_OF_STEP]


def test_lines_show_where_short_axis_slices_cut_a_long_axis() -> None:
    short = beating().grid
    assert short is not None
    # A plane along the stack's normal, through the middle of its frames.
    start = short.to_patient([2, 24, 24]) - 30 * short.normal - 30 * short.along_row
    plane = Grid(start[None], short.along_row, short.normal, (1.0, 1.0), (1, 80, 60))
    cuts = [cut(plane, short, index) for index in range(SLICES)]
    for index, line in enumerate(cuts):
        assert line is not None
        for x, y in (line.start, line.end):
            point = plane.to_patient([0, y, x])
            assert abs((point - short.origins_mm[index]) @ short.normal) < 0.01
            assert x in (-0.5, 59.5)  # from one side of the image to the other
    far = Grid(start[None] + 500 * short.normal, short.along_row, short.normal, (1.0, 1.0), (1, 80, 60))
    assert cut(far, short, 0) is None


def test_copies_shifts_and_phases(analysis: Analysis) -> None:
    to = [messages.Place(1, 2), messages.Place(0, 3)]
    made = edited(analysis, messages.Copy(0, 2, to, "cavity"))
    assert area(made, 1, 2) == area(analysis.segmentation, 0, 2)
    moved = edited(analysis, messages.Shift(0, 2, 2.0, -1.0))
    for structure in (Structure.CAVITY, Structure.MYOCARDIUM):
        (before,), (after,) = (one.outline(structure, 0, 2) for one in (analysis.segmentation, moved))
        assert np.allclose(after - before, (2, -1))
    reading = Reading(analysis.segmentation, NO_OVERRIDES)
    change, _ = plan(analysis, reading, messages.Phases(es_phase=5), "Ann")
    assert change == Change(overrides=replace(NO_OVERRIDES, es_phase=5))
    with pytest.raises(UsageError, match="no papillary muscles"):
        plan(analysis, reading, messages.Papillary(included=False), "Ann")
    with pytest.raises(UsageError, match="no structure is called"):
        plan(analysis, reading, messages.Grow("spleen", 0, 2, 1.0), "Ann")
