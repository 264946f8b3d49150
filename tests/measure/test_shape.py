"""Doubts of the ventricle's shape: each on a phantom that was damaged, and none on the phantom itself."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from cinesax.core.cine import Cine
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.grid import stacked_grid
from cinesax.core.presence import BaseRule, Presence
from cinesax.core.segmentation import Segmentation, area_px, trace
from cinesax.core.selection import Overrides
from cinesax.core.structures import Structure
from cinesax.measure.plausibility import check
from cinesax.measure.volumes import measure
from cinesax.phantom import draw_settings, make_truth


@pytest.fixture(scope="module")
def heart() -> SimpleNamespace:
    """A phantom's truth, slices from base to apex."""
    drawn = draw_settings(104)
    settings = replace(drawn, breath_shifts_mm=((0.0, 0.0),) * drawn.n_slices)
    grid, truth, _ = make_truth(settings)
    labels = truth.labels if settings.base_first else truth.labels[:, ::-1]
    cine = Cine(
        np.zeros(labels.shape, np.uint8),
        stacked_grid(
            (0, 0, 0),
            spacing_mm=grid.spacing_mm,
            slice_distance_mm=grid.slice_distance_mm,
            shape=grid.shape,
        ),
        rr_intervals_ms=np.full(labels.shape[1], 900.0),
        base_first=True,
    )
    inside = np.flatnonzero((labels[0] == Structure.CAVITY).any(axis=(1, 2)))
    assert len(inside) >= 7
    return SimpleNamespace(cine=cine, labels=np.ascontiguousarray(labels), known=truth.known_phases, inside=inside)


def doubts(heart: SimpleNamespace, labels: np.ndarray, cine: Cine | None = None, **more: object) -> list[Finding]:
    cine = cine or heart.cine
    segmentation = Segmentation(np.ascontiguousarray(labels), heart.known, **more)
    return list(check(cine, segmentation, measure(cine, segmentation)))


def of(code: Code, findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.code is code]


def test_the_truth_raises_nothing(heart):
    assert doubts(heart, heart.labels) == []


def test_slices_of_the_apex_that_were_left_out(heart):
    labels = heart.labels.copy()
    labels[:, heart.inside[-3] :] = 0
    empty = np.zeros_like(labels[:, :2])
    labels = np.concatenate([labels, empty], axis=1)[:, -heart.cine.n_slices :]
    (finding,) = of(Code.ABRUPT_END, doubts(heart, labels))
    areas = (labels[0] == Structure.CAVITY).sum(axis=(1, 2))
    assert finding.slice == np.flatnonzero(areas)[-1] and finding.severity is Severity.WARNING
    assert finding.numbers["percent"] == pytest.approx(100 * areas[finding.slice] / areas.max(), rel=1e-6)


def test_an_apical_slice_that_grows_in_systole(heart):
    labels = heart.labels.copy()
    volumes = (labels == Structure.CAVITY).sum(axis=(1, 2, 3))
    ed, es, index = int(volumes.argmax()), int(volumes.argmin()), int(heart.inside[-2])
    larger = ndimage.binary_dilation(labels[ed, index] == Structure.CAVITY, iterations=3)
    # Around ES only: over all of systole, the slice would be taken for one that beats out of step with the others.
    for phase in range(es - 2, es + 3):
        labels[phase, index][larger] = Structure.CAVITY
    (finding,) = of(Code.APEX_GROWS, doubts(heart, labels))
    assert finding.slice == index and finding.numbers["es_mm2"] > finding.numbers["ed_mm2"]


def with_presence(heart: SimpleNamespace, certainty: np.ndarray, enclosure: float = np.nan) -> Presence:
    inside = (heart.labels == Structure.CAVITY).any(axis=(2, 3))
    return Presence(
        BaseRule.HALF,
        {BaseRule.HALF: inside, BaseRule.ANY: inside},
        certainty,
        np.full(inside.shape, enclosure),
        {},
    )


def test_a_slice_that_the_network_is_unsure_of(heart):
    inside = (heart.labels == Structure.CAVITY).any(axis=(2, 3))
    certainty = np.where(inside, 4.0, -4.0)
    assert doubts(heart, heart.labels, presence=with_presence(heart, certainty)) == []
    certainty[0, heart.inside[0]] = 0.3
    (finding,) = of(Code.UNSURE_SLICE, doubts(heart, heart.labels, presence=with_presence(heart, certainty)))
    assert (finding.phase, finding.slice) == (0, heart.inside[0]) and finding.numbers["ml_at_stake"] > 3
    without = heart.labels.copy()
    without[0, heart.inside[0]] = 0
    other = measure(heart.cine, Segmentation(without, heart.known), Overrides(ed_phase=0)).ef_percent
    assert finding.numbers["other_ef_percent"] == pytest.approx(other)
    assert f"EF is {finding.numbers['ef_percent']:.1f} %" in finding.message and f"{other:.1f} %" in finding.message
    # At the tip of the apex little depends on it.
    certainty = np.where(inside, 4.0, -4.0)
    certainty[0, heart.inside[-1]] = 0.3
    assert of(Code.UNSURE_SLICE, doubts(heart, heart.labels, presence=with_presence(heart, certainty))) == []


def test_a_slice_that_its_neighbours_in_time_have_overruled_and_that_moves_the_ejection_fraction(heart):
    """As in SC-HF-I-01: 4 % of EDV in one basal slice at ES, which alone looks like ventricle."""
    volumes = (heart.labels == Structure.CAVITY).sum(axis=(1, 2, 3))
    es, index = int(volumes.argmin()), int(heart.inside[0]) - 1
    inside = (heart.labels == Structure.CAVITY).any(axis=(2, 3))
    assert not inside[:, index].any()
    blood, side = np.zeros(heart.labels.shape[2:], bool), round(np.sqrt(0.04 * volumes.max()))
    blood[9 : 9 + side, 9 : 9 + side] = True
    certainty = np.where(inside, 4.0, -4.0)
    certainty[es, index] = 2.7
    presence = replace(with_presence(heart, certainty), set_aside={(Structure.CAVITY, es, index): trace(blood)})
    lower = 100 * area_px(trace(blood)) / volumes.max()
    assert lower == pytest.approx(4, abs=0.6)
    (finding,) = of(Code.UNSURE_SLICE, doubts(heart, heart.labels, presence=presence))
    assert (finding.phase, finding.slice) == (es, index) and "it does not count" in finding.message
    assert finding.numbers["other_ef_percent"] == pytest.approx(finding.numbers["ef_percent"] - lower)
    # A person who has said that there is nothing knows better.
    segmentation = Segmentation(np.ascontiguousarray(heart.labels), heart.known, presence=presence)
    edited = segmentation.without(es, index, by="R. Eader")
    assert of(Code.UNSURE_SLICE, list(check(heart.cine, edited, measure(heart.cine, edited)))) == []


def test_a_heart_that_moves_less_blood_than_the_basal_slice_holds(heart):
    # Only slices of the middle contract, by a few pixels: the base stays where it is.
    labels, cavity = np.repeat(heart.labels[:1], len(heart.labels), axis=0), Structure.CAVITY
    for index in heart.inside[2:5]:
        smaller = ndimage.binary_erosion(labels[0, index] == cavity)
        labels[3:6, index][:, (labels[0, index] == cavity) & ~smaller] = Structure.MYOCARDIUM
    (finding,) = of(Code.BASE_BETWEEN_SLICES, doubts(heart, labels))
    measured = measure(heart.cine, Segmentation(labels, heart.known))
    held = (labels[0, heart.inside[0]] == cavity).sum() / (labels[0] == cavity).sum()
    assert finding.slice == heart.inside[0] and finding.severity is Severity.NOTE
    assert finding.numbers["slice_ml"] == pytest.approx(held * measured.edv_ml)
    assert finding.numbers["points"] == pytest.approx(40 * held) and finding.numbers["sv_ml"] == measured.sv_ml


def test_an_ejection_fraction_that_depends_on_one_basal_slice(heart):
    labels, index = heart.labels.copy(), int(heart.inside[0])
    volumes = (labels == Structure.CAVITY).sum(axis=(1, 2, 3))
    systole = np.flatnonzero(volumes < volumes.mean())
    atrium = ndimage.binary_dilation(labels[0, index] == Structure.CAVITY, iterations=6)
    half = (labels == Structure.CAVITY).any(axis=(2, 3))
    half[systole, index] = False
    every = half.copy()
    every[systole, index] = True
    labels[systole, index] = 0
    presence = Presence(
        BaseRule.HALF,
        {BaseRule.HALF: half, BaseRule.ANY: every},
        np.where(half, 4.0, -4.0),
        np.full(half.shape, np.nan),
        {(Structure.CAVITY, int(phase), index): trace(atrium) for phase in systole},
    )
    contours = {
        (Structure.CAVITY, phase, place): trace(labels[phase, place] == Structure.CAVITY)
        for phase, place in np.argwhere(half)
    }
    segmentation = Segmentation(labels, heart.known, contours, presence=presence)
    measured = measure(heart.cine, segmentation)
    by_rule = {one.rule: one for one in measured.by_base_rule}
    assert set(by_rule) == {BaseRule.HALF, BaseRule.ANY} and measured.base_rule is BaseRule.HALF
    assert by_rule[BaseRule.HALF].ef_percent == pytest.approx(measured.ef_percent)
    assert by_rule[BaseRule.ANY].ef_percent < measured.ef_percent - 5
    (doubt,) = of(Code.BASE_MATTERS, list(check(heart.cine, segmentation, measured)))
    assert doubt.numbers["any_percent"] == pytest.approx(by_rule[BaseRule.ANY].ef_percent)


def test_what_a_person_draws_counts_by_each_rule(heart):
    labels, index = heart.labels, int(heart.inside[0])
    inside = (labels == Structure.CAVITY).any(axis=(2, 3))
    half = inside.copy()
    half[:, index] = False
    presence = Presence(
        BaseRule.HALF,
        {BaseRule.HALF: half, BaseRule.ANY: half},
        np.where(half, 4.0, -4.0),
        np.full(half.shape, 1.0),
        {},
    )
    without = labels.copy()
    without[:, index] = 0
    contours = {
        (Structure.CAVITY, phase, place): trace(without[phase, place] == Structure.CAVITY)
        for phase, place in np.argwhere(half)
    }
    segmentation = Segmentation(without, heart.known, contours, presence=presence)
    drawn = segmentation.with_contour(
        0, index, Structure.CAVITY, trace(labels[0, index] == Structure.CAVITY), by="reader"
    )
    before, after = measure(heart.cine, segmentation), measure(heart.cine, drawn)
    added = after.volumes_ml[0] - before.volumes_ml[0]
    assert added > 1
    for one, other in zip(before.by_base_rule, after.by_base_rule, strict=True):
        assert other.edv_ml - one.edv_ml == pytest.approx(added)


@pytest.mark.parametrize(("enclosure", "fires"), [(1.0, True), (0.6, False)])
def test_a_basal_end_of_the_stack_counts_only_where_the_ventricle_goes_on(heart, enclosure, fires):
    labels = heart.labels[:, heart.inside[2] :]
    cut = SimpleNamespace(labels=labels, known=heart.known)
    grid = stacked_grid((0, 0, 0), spacing_mm=heart.cine.grid.spacing_mm, slice_distance_mm=9.0, shape=labels.shape[1:])
    cine = replace(heart.cine, pixels=heart.cine.pixels[:, heart.inside[2] :], grid=grid, rr_intervals_ms=None)
    certainty = np.where((labels == Structure.CAVITY).any(axis=(2, 3)), 4.0, -4.0)
    presence = with_presence(cut, certainty, enclosure)
    findings = of(Code.LV_AT_STACK_END, doubts(cut, labels, cine, presence=presence))
    assert [finding.slice for finding in findings] == ([0] if fires else [])
    assert all(finding.numbers["ml_at_stake"] > 3 for finding in findings)


def test_slices_far_apart(heart):
    grid = stacked_grid(
        (0, 0, 0), spacing_mm=heart.cine.grid.spacing_mm, slice_distance_mm=17.7, shape=heart.cine.grid.shape
    )
    (finding,) = of(Code.SLICES_FAR_APART, doubts(heart, heart.labels, replace(heart.cine, grid=grid)))
    assert finding.numbers["distance_mm"] == pytest.approx(17.7) and "17.7 mm apart" in finding.message


def test_a_slice_shifted_by_breathing(heart):
    labels, index = heart.labels.copy(), int(heart.inside[len(heart.inside) // 2])
    pixels = round(7 / heart.cine.grid.spacing_mm[0])
    labels[:, index] = np.roll(labels[:, index], pixels, axis=1)
    (finding,) = of(Code.BREATHING_SHIFT, doubts(heart, labels))
    assert finding.slice == index
    assert finding.numbers["off_mm"] == pytest.approx(pixels * heart.cine.grid.spacing_mm[0], abs=1.5)


def test_a_wall_that_vanishes_in_systole(heart):
    labels = heart.labels.copy()
    es = int((labels == Structure.CAVITY).sum(axis=(1, 2, 3)).argmin())
    thin = ndimage.binary_dilation(labels[es] == Structure.CAVITY, np.ones((1, 3, 3)), iterations=2)
    labels[es][(labels[es] == Structure.MYOCARDIUM) & ~thin] = 0
    (finding,) = of(Code.MASS_DIFFERS, doubts(heart, labels))
    assert finding.numbers["es_g"] < 0.8 * finding.numbers["ed_g"]
