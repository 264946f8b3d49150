"""Areas, volumes and what follows from them."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hearts
from cinesax.core.cine import Patient
from cinesax.core.errors import GeometryError, UsageError
from cinesax.core.grid import Grid
from cinesax.core.measurements import AreaMethod, EfBasis, body_surface_area_m2
from cinesax.core.segmentation import Segmentation, from_contours
from cinesax.core.selection import Overrides
from cinesax.core.structures import LV, RV, Structure
from cinesax.measure.volumes import areas_of, measure, peak_rates, slice_extents_mm
from cinesax.phantom import draw_settings, make_truth


def test_a_box_has_the_volume_of_a_box() -> None:
    m = measure(hearts.cine(), hearts.labels())
    # four slices of 20 x 20 mm, 10 mm apart, and of 10 x 10 mm
    assert (m.ed_phase, m.es_phase) == (0, 3)
    assert m.edv_ml == pytest.approx(16.0)
    assert m.esv_ml == pytest.approx(4.0)
    assert m.sv_ml == pytest.approx(12.0)
    assert m.ef_percent == pytest.approx(75.0)
    assert m.cardiac_output_l_per_min == pytest.approx(12 * 60 / 1000)
    assert m.area_method is AreaMethod.PIXELS
    assert m.ef_basis is EfBasis.VOLUMES


def test_an_end_slice_of_the_stack_counts_for_a_whole_distance() -> None:
    m = measure(hearts.cine(), hearts.labels(inside=range(6)))
    assert m.edv_ml == pytest.approx(6 * 4.0)


def test_uneven_slices_count_for_half_the_distance_to_each_neighbour() -> None:
    origins = np.array([[0, 0, z] for z in (0.0, 8.0, 20.0, 30.0)])
    grid = Grid(origins, np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), (1.0, 1.0), (4, 8, 8))
    assert slice_extents_mm(grid) == pytest.approx([8.0, 10.0, 11.0, 10.0])


def test_polygons_are_measured_in_closed_form_not_by_their_pixels() -> None:
    square = np.array([[10.0, 10.0], [20.25, 10.0], [20.25, 20.25], [10.0, 20.25]])
    contours = {(Structure.CAVITY, 0, index): (square,) for index in (1, 2)}
    m = measure(hearts.cine(), from_contours(contours, (10, 6, 48, 48)))
    assert m.area_method is AreaMethod.POLYGONS
    assert m.edv_ml == pytest.approx(2 * 10.25**2 * 10 / 1000)


def test_one_known_phase_has_a_volume_and_no_ejection_fraction() -> None:
    known = {Structure.CAVITY: np.arange(10) == 4}
    m = measure(hearts.cine(), Segmentation(hearts.labels().labels, known))
    assert (m.ed_phase, m.es_phase) == (4, None)
    assert m.edv_ml == pytest.approx(4.0)
    assert m.ef_percent is None and m.sv_ml is None and m.peak_ejection_rate_ml_per_s is None
    assert m.volumes_ml is not None and np.isnan(m.volumes_ml[[0, 9]]).all()


def test_ed_and_es_are_sought_among_known_phases_only() -> None:
    known = {Structure.CAVITY: np.isin(np.arange(10), (2, 5))}
    m = measure(hearts.cine(), Segmentation(hearts.labels().labels, known))
    assert (m.ed_phase, m.es_phase) == (2, 5)


def test_without_a_grid_the_ejection_fraction_comes_from_summed_areas() -> None:
    m = measure(hearts.cine(grid=None), hearts.labels())
    assert m.ef_percent == pytest.approx(75.0)
    assert m.ef_basis is EfBasis.AREAS
    assert m.volumes_ml is None and m.edv_ml is None and m.cardiac_output_l_per_min is None and m.lv_mass_g is None


def test_a_single_slice_has_no_volume() -> None:
    m = measure(hearts.cine(slices=1), hearts.labels(slices=1, inside=range(1)))
    assert m.volumes_ml is None and m.edv_ml is None
    assert m.ef_percent == pytest.approx(75.0) and m.ef_basis is EfBasis.AREAS


def test_an_empty_segmentation_has_volumes_of_zero_and_no_phases() -> None:
    m = measure(hearts.cine(), hearts.labels(inside=range(0)))
    assert m.volumes_ml == pytest.approx(np.zeros(10))
    assert m.ed_phase is None and m.edv_ml is None and m.ef_percent is None


def test_phases_can_be_given() -> None:
    m = measure(hearts.cine(), hearts.labels(), Overrides(ed_phase=9, es_phase=2))
    assert (m.ed_phase, m.es_phase, m.curve_ed_phase, m.curve_es_phase) == (9, 2, 0, 3)
    assert m.esv_ml == pytest.approx(4 * 1.96)


@pytest.mark.parametrize(
    "options",
    [
        {"ed_phase": 10},
        {"es_phase": -1},
        {"ed_phase": 3},
        {"es_phase": 0},
        {"height_cm": 1.75},
        {"weight_kg": float("nan")},
        {"height_cm": float("inf")},
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        measure(hearts.cine(), hearts.labels(), Overrides(**options))


def test_a_given_phase_must_be_a_segmented_one() -> None:
    known = {Structure.CAVITY: np.isin(np.arange(10), (2, 5))}
    with pytest.raises(UsageError, match="segmented phases: 2, 5"):
        measure(hearts.cine(), Segmentation(hearts.labels().labels, known), Overrides(ed_phase=3))


def test_the_segmentation_of_another_exam_is_refused() -> None:
    with pytest.raises(GeometryError, match="segmentation of this cine"):
        measure(hearts.cine(phases=9), hearts.labels())


def test_indexed_values_need_the_size_of_the_body() -> None:
    without = measure(hearts.cine(), hearts.labels())
    assert without.bsa_m2 is None and without.edv_index_ml_per_m2 is None
    m = measure(hearts.cine(), hearts.labels(), Overrides(height_cm=180, weight_kg=80))
    assert m.bsa_m2 == pytest.approx(2.0)
    assert m.edv_index_ml_per_m2 == pytest.approx(8.0)
    assert m.cardiac_index_l_per_min_per_m2 == pytest.approx(0.36)


def test_a_stored_size_that_no_body_has_is_not_used() -> None:
    m = measure(hearts.cine(patient=Patient(height_cm=1.8, weight_kg=80)), hearts.labels())
    assert m.height_cm is None and m.bsa_m2 is None and m.weight_kg == 80


def test_mosteller() -> None:
    assert body_surface_area_m2(170, 70) == pytest.approx(1.818, abs=1e-3)


def test_mass_is_that_of_the_wall_at_ed() -> None:
    array = hearts.labels().labels.copy()
    array[0, 1:5, 10:38, 10:38] = np.where(array[0, 1:5, 10:38, 10:38] == 0, Structure.MYOCARDIUM, Structure.CAVITY)
    known = {Structure.CAVITY: np.ones(10, bool), Structure.MYOCARDIUM: np.arange(10) == 0}
    m = measure(hearts.cine(), Segmentation(array, known))
    assert m.lv_mass_g == pytest.approx(4 * (28**2 - 20**2) * 10 / 1000 * 1.05)
    assert measure(hearts.cine(), Segmentation(array, known), Overrides(ed_phase=1)).lv_mass_g is None


def test_peak_rates_of_a_sine_are_its_steepest_slope() -> None:
    times = np.arange(30) * 900.0 / 30
    volumes = 100 + 40 * np.cos(2 * np.pi * times / 900)
    assert peak_rates(volumes, times, 900.0) == pytest.approx((40 * 2 * np.pi / 0.9,) * 2, rel=1e-3)


def test_a_beat_without_a_recorded_end_has_no_false_slope_there() -> None:
    times = np.arange(16) * 50.0  # the last fifth of a beat of 1000 ms is missing
    volumes = 100 + 40 * np.cos(2 * np.pi * times / 1000) + 8 * np.sin(4 * np.pi * times / 1000)
    fine = np.linspace(0, 750, 2000)
    slope = 2 * np.pi * (-40 * np.sin(2 * np.pi * fine / 1000) + 16 * np.cos(4 * np.pi * fine / 1000))
    fall, rise = peak_rates(volumes, times, 1000.0)
    assert (fall, rise) == pytest.approx((-slope.min(), slope.max()), rel=0.01)


@pytest.mark.parametrize("seed", [203, 211, 226])
def test_peak_rates_of_phantoms_are_near_those_of_the_closed_form(seed: int) -> None:
    settings = draw_settings(seed, ef_percent=55.0, n_phases=30)
    grid, truth, volumes = make_truth(settings)
    times, beat = np.arange(30) * 30.0, 900.0
    extents = slice_extents_mm(grid)
    assert extents is not None
    summed = areas_of(truth, Structure.CAVITY) @ extents * grid.pixel_area_mm2 / 1000
    exact = peak_rates(volumes, times, beat, harmonics=12)
    assert peak_rates(volumes, times, beat) == pytest.approx(exact, rel=0.12)
    assert peak_rates(summed, times, beat) == pytest.approx(exact, rel=0.35)


@given(st.lists(st.floats(1, 500), min_size=8, max_size=40), st.integers(0, 39))
def test_peak_rates_do_not_depend_on_where_the_beat_begins(volumes: list[float], shift: int) -> None:
    times = np.arange(len(volumes)) * 40.0
    rates = peak_rates(np.array(volumes), times, None)
    assert peak_rates(np.roll(volumes, shift), times, None) == pytest.approx(rates, rel=0.02, abs=1.0)


@pytest.mark.parametrize("times", [None, np.array([0.0, 10, 20, 15, 30, 40, 50, 60, 70, 80]), np.arange(5) * 10.0])
def test_no_rates_without_enough_phases_and_times_that_rise(times: np.ndarray | None) -> None:
    count = 10 if times is None else len(times)
    assert peak_rates(np.linspace(9, 5, count), times, 1000.0) == (None, None)


@given(st.floats(0.5, 3.0), st.floats(4.0, 14.0))
def test_the_ejection_fraction_does_not_depend_on_the_size_of_pixels(spacing_mm: float, distance_mm: float) -> None:
    from cinesax.core.grid import stacked_grid

    grid = stacked_grid(
        (0, 0, 0), spacing_mm=(spacing_mm, spacing_mm), slice_distance_mm=distance_mm, shape=(6, 48, 48)
    )
    m = measure(replace(hearts.cine(), grid=grid), hearts.labels())
    assert m.ef_percent == pytest.approx(75.0)
    assert m.edv_ml == pytest.approx(16.0 * spacing_mm**2 * distance_mm / 10)


# 26.16, 25.46 and 21.82: what polygon areas over true distances give, also when summed by hand.
@pytest.mark.data
@pytest.mark.parametrize(
    ("patient", "ef_percent", "edv_ml"),
    [("SC-HF-I-01", 26.16, 191.3), ("SC-HF-I-02", 25.46, 241.9), ("SC-HF-I-04", 21.82, 229.7)],
)
def test_expert_contours_of_real_studies(sunnybrook, patient: str, ef_percent: float, edv_ml: float) -> None:
    from cinesax.inputs import open_cine

    exam = open_cine(sunnybrook / "dicom" / patient)
    m = measure(exam, hearts.expert_contours(sunnybrook / "contours" / patient, exam))
    assert m.ef_percent == pytest.approx(ef_percent, abs=0.01)
    assert m.edv_ml == pytest.approx(edv_ml, abs=0.1)
    assert m.lv_mass_g is not None and 80 < m.lv_mass_g < 200


def with_right_ventricle(sides: dict[int, int], **changes: bool) -> Segmentation:
    """The LV of `hearts`, and an RV of `sides[phase]` x 4 pixels next to it in the same slices."""
    left = hearts.labels()
    labels = left.labels.copy()
    for phase, side in sides.items():
        labels[phase, 1:5, 2:6, 2 : 2 + side] = Structure.RV_CAVITY
    known = dict(left.known_phases) | {Structure.RV_CAVITY: np.isin(np.arange(10), list(sides))}
    return Segmentation(labels, known, **changes)


class TestTheRightVentricle:
    SIDES: ClassVar = dict(enumerate((30, 32, 26, 22, 20, 16, 20, 24, 28, 30)))

    def test_it_has_volumes_of_its_own_at_its_own_ed_and_es(self) -> None:
        m = measure(hearts.cine(), with_right_ventricle(self.SIDES))
        right = m.of(RV)
        assert right is not None and m.others == (right,) and m.of(LV) is m
        assert (right.ed_phase, right.es_phase) == (1, 5)
        assert right.edv_ml == pytest.approx(4 * 4 * 32 * 10 / 1000)
        assert right.esv_ml == pytest.approx(4 * 4 * 16 * 10 / 1000)
        assert right.ef_percent == pytest.approx(50.0)
        assert right.lv_mass_g is None
        assert right.cardiac_output_l_per_min == pytest.approx(2.56 * 60 / 1000)

    def test_the_left_ventricle_is_measured_as_if_alone(self) -> None:
        with_both = measure(hearts.cine(), with_right_ventricle(self.SIDES))
        assert replace(with_both, others=()) == measure(hearts.cine(), hearts.labels())

    def test_its_polygons_are_measured_in_closed_form(self) -> None:
        square = np.array([[10.0, 10.0], [20.25, 10.0], [20.25, 20.25], [10.0, 20.25]])
        outlines = {
            (one, 0, 2): (square + 12 * (one == Structure.RV_CAVITY),) for one in (Structure.CAVITY, Structure.RV)
        }
        m = measure(hearts.cine(), from_contours(outlines, (10, 6, 48, 48)))
        assert m.others[0].edv_ml == m.edv_ml == pytest.approx(10.25**2 * 10 / 1000)

    def test_phases_that_are_given_hold_for_both_ventricles(self) -> None:
        m = measure(hearts.cine(), with_right_ventricle(self.SIDES), Overrides(ed_phase=0, es_phase=4))
        assert (m.ed_phase, m.es_phase) == (m.others[0].ed_phase, m.others[0].es_phase) == (0, 4)

    def test_where_it_was_not_segmented_in_a_given_phase_it_has_no_volume_there(self) -> None:
        m = measure(hearts.cine(), with_right_ventricle({0: 30, 5: 16}), Overrides(es_phase=3))
        assert m.es_phase == 3 and m.esv_ml == pytest.approx(4.0)
        assert (m.others[0].ed_phase, m.others[0].es_phase) == (0, None)
        assert m.others[0].esv_ml is None and m.others[0].ef_percent is None

    def test_a_phase_given_for_the_left_ventricle_may_be_the_other_extreme_of_the_right(self) -> None:
        m = measure(hearts.cine(), with_right_ventricle(self.SIDES), Overrides(ed_phase=5))
        assert m.ed_phase == 5 and m.others[0].ed_phase == 5 and m.others[0].es_phase is None

    def test_an_empty_right_ventricle_has_no_volumes(self) -> None:
        empty = Segmentation(
            hearts.labels().labels, {one: np.ones(10, bool) for one in (Structure.CAVITY, Structure.RV)}
        )
        (right,) = measure(hearts.cine(), empty, Overrides(ed_phase=0)).others
        assert (right.ed_phase, right.edv_ml, right.ef_percent) == (None, None, None)


class TestPapillaryMuscles:
    def drawn(self, **changes: bool) -> Segmentation:
        labels = hearts.labels().labels.copy()
        labels[:, 1:5, 22:24, 22:24] = Structure.PAPILLARY_MUSCLES
        known = {one: np.ones(10, dtype=bool) for one in (Structure.CAVITY, Structure.PAPILLARY_MUSCLES)}
        return Segmentation(labels, known, **changes)

    def test_they_are_part_of_the_volume_where_the_cavity_includes_them(self) -> None:
        assert measure(hearts.cine(), self.drawn()).edv_ml == pytest.approx(16.0)
        without = measure(hearts.cine(), self.drawn(papillary_muscles_included=False))
        assert without.edv_ml == pytest.approx(16.0 - 4 * 4 * 10 / 1000)

    def test_by_polygons_alike(self) -> None:
        pixels = self.drawn(papillary_muscles_included=False)
        keys = [(one, phase, place) for one in pixels.known_phases for phase in range(10) for place in range(6)]
        lines = {key: pixels.outline(*key) for key in keys if pixels.outline(*key)}
        closed = replace(pixels, contours=lines)
        assert measure(hearts.cine(), closed).edv_ml == pytest.approx(16.0 - 0.16, rel=0.02)
        assert measure(hearts.cine(), replace(closed, papillary_muscles_included=True)).edv_ml == pytest.approx(
            16, rel=0.02
        )
