"""The phantom: its closed form, its truth, its pictures."""

import dataclasses
import hashlib
import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cinesax.core.errors import GeometryError, UsageError
from cinesax.core.structures import Structure
from cinesax.phantom import (
    DecoyKind,
    FieldOfView,
    Phantom,
    PhantomSettings,
    draw_settings,
    make_decoys,
    make_phantom,
    make_truth,
    render_frames,
)
from cinesax.phantom.heart import ventricle
from cinesax.phantom.physics import (
    PROTON_DENSITY,
    T1_MS,
    T2_MS,
    Tissue,
    acquire,
    bssfp_signals,
    fat_opposed,
    kspace_window,
    late_enhancement_signals,
)

_SEEDS = st.integers(min_value=0, max_value=2**31)
_SMALL = {"n_phases": 12, "matrix": (128, 128), "spacing_mm": (2.0, 2.0), "slice_distance_mm": 11.0}


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(
        draw_settings(7, **_SMALL, edv_ml=150.0, ef_percent=55.0, in_plane_degrees=0.0, base_first=False)
    )


def _digest(phantom: Phantom) -> str:
    return hashlib.sha256(phantom.cine.pixels.tobytes() + phantom.truth.labels.tobytes()).hexdigest()


# -- the closed form


@settings(max_examples=60, deadline=None)
@given(_SEEDS)
def test_any_seed_gives_a_heart_within_the_stated_ranges(seed: int) -> None:
    s = draw_settings(seed)
    assert 60 <= s.edv_ml <= 350
    assert 10 <= s.ef_percent <= 80
    assert all(1.0 <= value <= 2.0 for value in s.spacing_mm)
    assert 6 <= s.slice_distance_mm <= 12
    assert 0 < s.slice_thickness_mm <= s.slice_distance_mm
    assert 8 <= s.n_slices <= 16
    assert 12 <= s.n_phases <= 40
    assert 0 <= s.stack_offset < 1


@settings(max_examples=60, deadline=None)
@given(_SEEDS)
def test_ed_is_phase_zero_and_the_volumes_have_exactly_the_ef_that_was_set(seed: int) -> None:
    s = draw_settings(seed)
    lv = ventricle(s)
    assert int(np.argmax(lv.volumes_ml)) == 0
    assert int(np.argmin(lv.volumes_ml)) == lv.es_phase
    assert np.sum(lv.volumes_ml == lv.volumes_ml.max()) == 1
    assert np.sum(lv.volumes_ml == lv.volumes_ml.min()) == 1
    assert lv.volumes_ml[0] == s.edv_ml
    ef = 100 * (1 - lv.volumes_ml.min() / lv.volumes_ml[0])
    assert ef == pytest.approx(s.ef_percent, rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(_SEEDS)
def test_sections_integrate_to_the_closed_form_and_the_myocardium_is_conserved(seed: int) -> None:
    s = draw_settings(seed)
    lv = ventricle(s)
    for phase in (0, lv.es_phase // 2, lv.es_phase, s.n_phases - 1):
        step = lv.base_mm[phase] / 20_000
        w = (np.arange(20_000) + 0.5) * step
        cavity_ml = np.sum(np.pi * lv.inner_at(w, phase) ** 2) * step / 1000
        outer_ml = np.sum(np.pi * lv.outer_at(w, phase) ** 2) * step / 1000
        assert cavity_ml == pytest.approx(lv.volumes_ml[phase], rel=1e-4)
        assert outer_ml - cavity_ml == pytest.approx(lv.myocardial_volume_ml, rel=1e-4)


@settings(max_examples=25, deadline=None)
@given(_SEEDS)
def test_the_heart_shortens_and_its_wall_gets_thicker(seed: int) -> None:
    lv = ventricle(draw_settings(seed))
    wall = lv.outer_radius_mm - lv.inner_radius_mm
    assert lv.base_mm[lv.es_phase] < lv.base_mm[0]
    assert wall[lv.es_phase] > wall[0]
    assert np.argmin(lv.base_mm) == lv.es_phase


def test_rounded_outlines_have_the_area_of_their_circle() -> None:
    lv = ventricle(draw_settings(3, shape=((0.06, 30.0), (0.025, 60.0)), inner_shape=((0.01, 10.0), (0.01, 80.0))))
    angle = np.linspace(0, 2 * np.pi, 100_000, endpoint=False)
    for shape in (lv.outer_shape, lv.inner_shape):
        radius = shape(angle)
        assert radius.max() > 1.05
        assert np.mean(radius**2) == pytest.approx(1, rel=1e-9)


def test_the_apex_twists_against_the_base() -> None:
    lv = ventricle(draw_settings(3, twist_degrees=15.0))
    w = np.array([0.0, lv.base_mm[lv.es_phase]])
    assert np.all(lv.twist_at(w, 0) == 0)
    apex, base = np.rad2deg(lv.twist_at(w, lv.es_phase))
    assert apex < 0 < base
    assert base - apex == pytest.approx(15)


# -- the truth


def test_truth_masks_on_a_fine_grid_count_to_the_closed_form() -> None:
    fine = draw_settings(
        11,
        n_slices=64,
        slice_distance_mm=2.0,
        slice_thickness_mm=2.0,
        slices_below=2,
        spacing_mm=(0.7, 0.7),
        matrix=(384, 384),
        edv_ml=140.0,
    )
    es = ventricle(fine).es_phase
    grid, truth, volumes_ml = make_truth(fine, phases=[0, es])
    voxel_ml = grid.pixel_area_mm2 * 2.0 / 1000
    cavity_ml = truth.mask(Structure.CAVITY).sum(axis=(1, 2, 3)) * voxel_ml
    myocardium_ml = truth.mask(Structure.MYOCARDIUM).sum(axis=(1, 2, 3)) * voxel_ml
    # A cut base is counted to the nearest slice: half a slice of base area is the most that can be amiss.
    lv = ventricle(fine)
    for i, phase in enumerate((0, es)):
        base_area = np.pi * lv.inner_at(np.array([lv.base_mm[phase] - 1e-6]), phase)[0] ** 2
        outer_area = np.pi * lv.outer_at(np.array([lv.base_mm[phase] - 1e-6]), phase)[0] ** 2
        assert abs(cavity_ml[i] - volumes_ml[i]) <= base_area * 1.02 / 1000 + 0.002 * volumes_ml[i]
        assert abs(myocardium_ml[i] - lv.myocardial_volume_ml) <= (outer_area - base_area) * 1.05 / 1000 + 0.5


@pytest.mark.parametrize("seed", [1, 5, 9, 14])
def test_every_slice_has_the_area_of_its_section(seed: int) -> None:
    s = draw_settings(seed)
    lv = ventricle(s)
    grid, truth, _ = make_truth(s, phases=[0, lv.es_phase])
    heights = (np.arange(s.n_slices) + s.stack_offset - s.slices_below) * s.slice_distance_mm
    heights = heights[::-1] if s.base_first else heights
    for i, phase in enumerate((0, lv.es_phase)):
        expected = np.pi * lv.inner_at(heights, phase) ** 2
        seen = truth.mask(Structure.CAVITY)[i].sum(axis=(1, 2)) * grid.pixel_area_mm2
        # The error of counting pixels grows with the root of the outline's length.
        slack = 2.0 * grid.pixel_area_mm2 * np.sqrt(1 + 2 * np.sqrt(np.pi * expected) / s.spacing_mm[0])
        assert np.all(np.abs(seen - expected) <= slack)


@settings(max_examples=12, deadline=None)
@given(_SEEDS)
def test_the_stack_covers_the_lv_with_empty_slices_beyond_both_ends(seed: int) -> None:
    s = draw_settings(seed)
    _, truth, _ = make_truth(s, phases=[0])
    present = np.any(truth.labels[0] > 0, axis=(1, 2))
    assert not present[0]
    assert not present[-1]
    where = np.flatnonzero(present)
    assert np.array_equal(where, np.arange(where[0], where[-1] + 1))
    lv, heights = ventricle(s), (np.arange(s.n_slices) + s.stack_offset - s.slices_below) * s.slice_distance_mm
    heights = heights[::-1] if s.base_first else heights
    assert np.array_equal(present, (heights > 0) & (heights < lv.base_mm[0]))


def test_no_lv_above_the_base_plane_which_comes_down_in_systole() -> None:
    s = draw_settings(4, n_phases=20, base_excursion_mm=14.0, slice_distance_mm=9.0, base_first=False)
    lv = ventricle(s)
    _, truth, _ = make_truth(s)
    heights = (np.arange(s.n_slices) + s.stack_offset - s.slices_below) * 9.0
    for phase in range(20):
        present = np.any(truth.labels[phase] > 0, axis=(1, 2))
        assert not np.any(present[(heights >= lv.base_mm[phase]) | (heights <= 0)])
    top = [int(np.flatnonzero(np.any(truth.labels[p] > 0, axis=(1, 2)))[-1]) for p in (0, lv.es_phase)]
    assert top[1] < top[0]


def test_the_cavity_is_one_body_inside_of_the_wall(phantom: Phantom) -> None:
    labels = phantom.truth.labels
    cavity = labels == Structure.CAVITY
    outside = labels == 0
    for axis in (2, 3):
        for a, b in ((cavity, outside), (outside, cavity)):
            touching = np.take(a, range(a.shape[axis] - 1), axis) & np.take(b, range(1, a.shape[axis]), axis)
            assert not touching.any()


def test_labels_follow_the_breath_hold_of_their_slice() -> None:
    still = draw_settings(21, **_SMALL)
    n = still.n_slices
    moved = dataclasses.replace(still, breath_shifts_mm=((4.0, -6.0),) * n)
    still = dataclasses.replace(still, breath_shifts_mm=((0.0, 0.0),) * n)
    _, a, _ = make_truth(still, phases=[0])
    _, b, _ = make_truth(moved, phases=[0])
    # Pixels of 2 mm: two rows down, three columns to the left.
    assert not np.array_equal(a.labels, b.labels)
    assert np.array_equal(np.roll(a.labels, (2, -3), axis=(2, 3)), b.labels)


# -- the picture


def test_same_seed_same_bytes_and_other_seed_other_bytes(phantom: Phantom) -> None:
    again = make_phantom(phantom.settings)
    assert _digest(again) == _digest(phantom)
    other = make_phantom(dataclasses.replace(phantom.settings, seed=8))
    assert _digest(other) != _digest(phantom)


def test_a_frame_alone_is_the_frame_in_its_stack(phantom: Phantom) -> None:
    frames = [(3, 4), (0, 2), (5, 4)]
    images, labels = render_frames(phantom.settings, frames)
    for image, label, (phase, slice_index) in zip(images, labels, frames, strict=True):
        assert np.array_equal(image, phantom.cine.pixels[phase, slice_index])
        assert np.array_equal(label, phantom.truth.labels[phase, slice_index])


def test_the_cine_says_what_a_scanner_says(phantom: Phantom) -> None:
    cine, s = phantom.cine, phantom.settings
    assert cine.pixels.dtype == np.uint16
    assert cine.pixels.shape == (12, s.n_slices, 128, 128)
    assert cine.grid is not None
    assert cine.trigger_times_ms is not None
    assert cine.grid.slice_distance_mm == pytest.approx(11.0)
    assert np.all(np.diff(cine.trigger_times_ms, axis=0) > 0)
    assert np.all(cine.trigger_times_ms[-1] < s.rr_intervals_ms + np.float64(s.trigger_delay_ms))
    assert cine.patient.name == "PHANTOM^SEED 7"
    assert cine.patient.height_cm == s.height_cm
    assert cine.patient.weight_kg == s.weight_kg
    assert cine.source.kind == "phantom"
    assert cine.base_first is False
    assert phantom.truth.author == "truth"
    assert phantom.truth.contours is None
    assert all(known.all() for known in phantom.truth.known_phases.values())


def test_slice_zero_is_the_end_that_base_first_names() -> None:
    for base_first in (False, True):
        s = draw_settings(5, **_SMALL, base_first=base_first)
        grid, truth, _ = make_truth(s, phases=[0])
        areas = truth.mask(Structure.CAVITY)[0].sum(axis=(1, 2))
        areas = areas[areas > 0]
        assert bool(areas[0] > areas[-1]) is base_first
        # The apex points to the left, to the front and to the feet.
        to_apex = grid.normal * (1 if base_first else -1)
        assert to_apex[0] > 0
        assert to_apex[1] < 0
        assert to_apex[2] < 0


def test_blood_is_bright_and_muscle_grey_and_lung_dark(phantom: Phantom) -> None:
    middle = phantom.settings.n_slices // 2
    image, labels = phantom.cine.pixels[0, middle].astype(float), phantom.truth.labels[0, middle]
    blood, muscle = np.median(image[labels == Structure.CAVITY]), np.median(image[labels == Structure.MYOCARDIUM])
    assert 1.6 < blood / muscle < 6
    assert np.percentile(image, 10) < 0.35 * muscle


def test_the_rv_lies_to_the_left_of_the_usual_picture(phantom: Phantom) -> None:
    middle = phantom.settings.n_slices // 2
    image, labels = phantom.cine.pixels[0, middle].astype(float), phantom.truth.labels[0, middle]
    rows, columns = np.nonzero(labels)
    row, left, right = int(rows.mean()), int(columns.min()), int(columns.max())
    blood = np.median(image[labels == Structure.CAVITY])
    beside_left = image[row - 4 : row + 5, left - 10 : left - 3].mean()
    beside_right = image[row - 4 : row + 5, right + 7 : right + 14].mean()
    assert beside_left > 0.6 * blood
    assert beside_right < 0.5 * blood


def test_the_picture_moves_with_the_truth(phantom: Phantom) -> None:
    middle, es = phantom.settings.n_slices // 2, phantom.es_phase
    became_wall = (phantom.truth.labels[0, middle] == Structure.CAVITY) & (
        phantom.truth.labels[es, middle] == Structure.MYOCARDIUM
    )
    assert became_wall.sum() > 20
    frames = phantom.cine.pixels[:, middle].astype(float)
    assert np.median(frames[es][became_wall]) < 0.75 * np.median(frames[0][became_wall])


def test_blood_above_the_base_and_no_lv_in_the_truth() -> None:
    s = draw_settings(4, n_phases=12, base_first=False, slice_distance_mm=10.0)
    lv = ventricle(s)
    heights = (np.arange(s.n_slices) + s.stack_offset - s.slices_below) * 10.0
    first_above = int(np.flatnonzero(heights > lv.base_mm[0])[0])
    images, labels = render_frames(s, [(0, first_above), (0, first_above - 3)])
    assert not labels[0].any()
    blood = np.median(images[1][labels[1] == Structure.CAVITY])
    # Atria and great vessels: a bright area of some 30 cm², where the ventricle was three slices below.
    around = images[0][labels[1] > 0]
    assert np.mean(around > 0.6 * blood) > 0.5


def test_matrix_may_be_rectangular_and_partly_empty() -> None:
    s = draw_settings(2, n_phases=12, matrix=(160, 208), spacing_mm=(1.6, 1.6), field_of_view=FieldOfView.CIRCLE)
    images, labels = render_frames(s, [(0, s.n_slices // 2)])
    assert images.shape == labels.shape == (1, 160, 208)
    assert images[0, 0, 0] == images[0, -1, -1] == 0


# -- the physics


def test_steady_state_signal_agrees_with_a_simulated_train_of_pulses() -> None:
    flip, tr, t1, t2 = np.deg2rad(50.0), 3.2, 1030.0, 40.0
    rotate = np.array([[1, 0, 0], [0, np.cos(flip), np.sin(flip)], [0, -np.sin(flip), np.cos(flip)]])
    alternate = np.diag([-1.0, -1.0, 1.0])
    relax, regrow = np.diag(np.exp([-tr / t2, -tr / t2, -tr / t1])), np.array([0, 0, 1 - np.exp(-tr / t1)])
    m = np.array([0.0, 0.0, 1.0])
    for _ in range(5000):
        m = relax @ (alternate @ rotate @ m) + regrow
    after = np.linalg.norm((rotate @ m)[:2]) * np.exp(-tr / 2 / t2)
    signal = bssfp_signals([t1], [t2], [1.0], flip_degrees=50.0, tr_ms=tr)[0]
    assert signal == pytest.approx(after, rel=1e-6)


def test_published_times_order_the_tissues_as_a_picture_shows_them() -> None:
    signals = bssfp_signals(T1_MS, T2_MS, PROTON_DENSITY, flip_degrees=50, tr_ms=3.2)
    by = {tissue: signals[tissue] for tissue in Tissue}
    assert by[Tissue.BLOOD] > by[Tissue.FAT] * 0.8 > by[Tissue.LIVER] > by[Tissue.MYOCARDIUM] > by[Tissue.LUNG] > 0
    assert by[Tissue.AIR] == 0
    assert fat_opposed(signals)[Tissue.FAT] == -by[Tissue.FAT]
    late = late_enhancement_signals(T1_MS, PROTON_DENSITY)
    assert late[Tissue.MYOCARDIUM] == pytest.approx(0, abs=1e-12)
    assert late[Tissue.BLOOD] > 0.2


def test_noise_is_rician() -> None:
    window = kspace_window((128, 128), (0.8, 0.8))
    rng = np.random.default_rng(0)
    dark = acquire(np.zeros((128, 128), np.float32), window, noise=0.1, rng=rng)
    bright = acquire(np.full((128, 128), 2.0, np.float32), window, noise=0.1, rng=rng)
    assert dark.mean() == pytest.approx(0.1 * np.sqrt(np.pi / 2), rel=0.03)
    assert bright.mean() == pytest.approx(np.sqrt(4 + 0.01), rel=2e-3)
    assert bright.std() == pytest.approx(0.1, rel=0.05)


# -- decoys


def test_decoys_are_other_series_of_the_same_exam(phantom: Phantom) -> None:
    decoys = dict(make_decoys(phantom.settings))
    assert set(decoys) == set(DecoyKind)
    cine = phantom.cine
    assert cine.grid is not None
    series = {cine.source.series_uids}
    for kind, decoy in decoys.items():
        assert decoy.grid is not None
        assert decoy.source.study_uid == cine.source.study_uid
        assert decoy.source.frame_of_reference_uid == cine.source.frame_of_reference_uid
        assert decoy.patient == cine.patient
        assert decoy.pixels.std() > 10
        series.add(decoy.source.series_uids)
        short_axis = abs(float(decoy.grid.normal @ cine.grid.normal)) > 0.99
        assert short_axis is (kind is DecoyKind.LATE_ENHANCEMENT)
        assert decoy.n_phases == (phantom.settings.n_phases if kind is DecoyKind.LONG_AXIS else 1)
    assert len(series) == 6
    assert abs(float(decoys[DecoyKind.LONG_AXIS].grid.normal @ cine.grid.normal)) < 0.01  # type: ignore[union-attr]


def test_late_enhancement_nulls_the_myocardium(phantom: Phantom) -> None:
    late = dict(make_decoys(phantom.settings))[DecoyKind.LATE_ENHANCEMENT]
    middle = phantom.settings.n_slices // 2
    _, still, _ = make_truth(
        dataclasses.replace(phantom.settings, breath_shifts_mm=((0.0, 0.0),) * phantom.settings.n_slices),
        phases=[round(0.85 * phantom.settings.n_phases)],
    )
    image = late.pixels[0, middle].astype(float)
    blood = np.median(image[still.mask(Structure.CAVITY)[0, middle]])
    assert np.median(image[still.mask(Structure.MYOCARDIUM)[0, middle]]) < 0.4 * blood


# -- settings


def test_overrides_fix_one_value_and_leave_the_others() -> None:
    a, b = draw_settings(5), draw_settings(5, snr=20.0, n_phases=20)
    changed = {f.name for f in dataclasses.fields(PhantomSettings) if getattr(a, f.name) != getattr(b, f.name)}
    assert changed == {"snr", "n_phases"}
    assert draw_settings(5) == a


def test_draws_fill_their_ranges() -> None:
    drawn = [draw_settings(seed) for seed in range(300)]
    edv, ef = np.array([s.edv_ml for s in drawn]), np.array([s.ef_percent for s in drawn])
    assert edv.min() < 65 and edv.max() > 330
    assert ef.min() < 14 and ef.max() > 76
    assert min(s.slice_distance_mm for s in drawn) < 6.5 and max(s.slice_distance_mm for s in drawn) > 11.5
    assert {s.n_slices for s in drawn} >= set(range(9, 17))
    assert {s.field_of_view for s in drawn} == set(FieldOfView)
    assert {s.base_first for s in drawn} == {False, True}
    assert any(s.matrix[0] != s.matrix[1] for s in drawn)
    offsets = np.array([s.stack_offset for s in drawn])
    assert np.all(np.histogram(offsets, bins=5, range=(0, 1))[0] > 35)


@pytest.mark.parametrize(
    ("overrides", "error", "says"),
    [
        ({"edv": 100.0}, UsageError, "did you mean 'edv_ml'"),
        ({"ef_percent": 120.0}, UsageError, "ef_percent must lie within"),
        ({"edv_ml": -1.0}, GeometryError, "edv_ml must lie within"),
        ({"edv_ml": "many"}, UsageError, "must be a number"),
        ({"spacing_mm": (0.0, 1.0)}, GeometryError, "spacing_mm must lie within"),
        ({"slice_distance_mm": float("nan")}, GeometryError, "slice_distance_mm must lie within"),
        ({"n_phases": 2}, GeometryError, "n_phases must lie within"),
        ({"n_phases": 20.5}, UsageError, "whole number"),
        ({"n_slices": 10.0}, UsageError, "whole number"),
        ({"rr_intervals_ms": (800.0,)}, GeometryError, "one value for each slice"),
        ({"t1_ms": (800.0,)}, UsageError, "one value for each tissue"),
        ({"sex": "X"}, UsageError, "M or F"),
        ({"snr": 0.0}, UsageError, "snr must lie within"),
    ],
)
def test_values_that_cannot_be_meant(overrides: dict[str, object], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        draw_settings(1, **overrides)


def test_a_seed_must_be_a_whole_number() -> None:
    with pytest.raises(UsageError, match="whole number"):
        draw_settings(-1)


def test_a_cavity_that_breaks_through_its_wall() -> None:
    with pytest.raises(GeometryError, match="wall would be"):
        make_truth(draw_settings(1, wall_mm=3.0, offset_ed=0.45, inner_shape=((0.2, 0.0), (0.2, 0.0))))


def test_frames_that_do_not_exist() -> None:
    s = draw_settings(1, **_SMALL)
    with pytest.raises(UsageError, match="there is no frame"):
        render_frames(s, [(12, 0)])
    with pytest.raises(UsageError, match="there is no frame"):
        make_truth(s, phases=[-1])


# -- the error of discretisation


def _discretisation() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "discretisation.py"
    spec = importlib.util.spec_from_file_location("discretisation", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_summed_truth_has_no_bias_over_80_hearts() -> None:
    benchmark = _discretisation()
    table = benchmark.errors(range(80))
    assert len(table) == 80
    for column in (benchmark.EDV, benchmark.ESV, benchmark.EF):
        assert abs(float(np.mean(table[:, column]))) <= 1.0


def test_the_spread_shrinks_with_the_slice_distance() -> None:
    benchmark = _discretisation()
    spread = [
        float(np.std(benchmark.errors(range(24), slice_distance_mm=distance)[:, benchmark.EDV]))
        for distance in (12.0, 6.0)
    ]
    assert spread[1] < 0.7 * spread[0]
