"""A bundle of several classes: the highest probability counts, and the wall belongs to its cavity."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cinesax.core.cine import Cine
from cinesax.core.errors import BundleError
from cinesax.core.findings import Code
from cinesax.core.grid import stacked_grid
from cinesax.core.presence import BaseRule
from cinesax.core.segmentation import Segmentation, polygon_area
from cinesax.core.structures import RV, Structure
from cinesax.measure.plausibility import check
from cinesax.measure.volumes import MYOCARDIAL_DENSITY_G_PER_ML, measure
from cinesax.network.bundle import HeartPass, open_bundle, write_bundle
from cinesax.network.cleaning import DEFAULT_RULES, Rule, clean, clean_ventricle
from cinesax.network.passes import Pass, share
from cinesax.network.segmenter import NetworkSegmenter, load_segmenter

ALL = {1: Structure.CAVITY, 2: Structure.MYOCARDIUM, 3: Structure.RV_CAVITY}
SIDE, MM = 120, 1.25
INNER, OUTER = 14.0, 22.0


class Greys:
    """A network whose classes are grey values: 0 background, then each a step brighter, with soft borders."""

    def __init__(self, classes: int = 4, order: tuple[int, ...] | None = None) -> None:
        self.classes, self.order = classes, order or tuple(range(classes))
        self.seen: list[np.ndarray] = []

    def run(self, names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        (image,) = feeds.values()
        self.seen.append(image)
        far = np.abs(image * (self.classes - 1) - np.array(self.order))
        nearness = np.exp(-8 * far.astype(np.float64))
        return [(nearness / nearness.sum(axis=-1, keepdims=True)).astype(np.float32)]


@pytest.fixture(scope="module")
def shipped() -> NetworkSegmenter:
    return load_segmenter(threads=1)


def network(shipped: NetworkSegmenter, *, heart: int | None = None, **changes: Any) -> NetworkSegmenter:
    """Grey values as classes: 1 cavity, 2 myocardium, 3 right ventricle."""
    framing = replace(shipped.bundle.framing, window_percentiles=(0.0, 100.0))
    second = None if heart is None else HeartPass(heart, "x", "y")
    bundle = replace(shipped.bundle, framing=framing, classes=ALL, heart=second, unvalidated=())
    return NetworkSegmenter(bundle, greys(), None if heart is None else greys(), **changes)


def greys(classes: int = 4, order: tuple[int, ...] | None = None) -> Pass:
    return Pass(Greys(classes, order), "x", "y")


def discs(*, phases: int = 3, slices: int = 4, inner: float = INNER, outer: float = OUTER) -> np.ndarray:
    """Classes as painted: an LV with its wall, an RV next to it, and a corner pixel of RV so that 3 is the whitest.

    The first slice has no LV, the last one nothing but wall.
    """
    rows, columns = np.indices((SIDE, SIDE))
    far = np.hypot(rows - 60, columns - 66)
    frame = np.zeros((SIDE, SIDE), np.uint8)
    frame[np.hypot(rows - 60, columns - 30) < 15] = 3
    frame[far < outer] = 2
    painted = np.tile(frame, (phases, slices, 1, 1))
    painted[:, :-1][..., far < inner] = 1
    painted[:, 0] = 0
    painted[..., 0, 0] = 3
    return painted


def exam(painted: np.ndarray) -> Cine:
    grid = stacked_grid((0, 0, 0), spacing_mm=(MM, MM), slice_distance_mm=8.0, shape=painted.shape[1:])
    return Cine(painted * np.uint16(100), grid)


def areas_mm2(segmentation: Segmentation, outline: Structure) -> list[float]:
    return [sum(polygon_area(p) for p in segmentation.outline(outline, 0, index)) * MM**2 for index in range(4)]


def test_a_share_is_half_or_more_exactly_where_the_arg_max_is_one_of_the_classes():
    rng = np.random.default_rng(3)
    probabilities = rng.dirichlet(np.ones(4), size=(50, 50)).astype(np.float32)
    for channels in ([1], [2], [1, 2]):
        seen = share(probabilities, channels)
        np.testing.assert_array_equal(seen >= 0.5, np.isin(probabilities.argmax(axis=-1), channels))
        assert seen.min() >= 0 and seen.max() <= 1
    # Whatever is cavity is ventricle.
    assert np.all(share(probabilities, [1, 2]) >= share(probabilities, [1]))
    two = rng.dirichlet(np.ones(2), size=20).astype(np.float32)
    np.testing.assert_array_equal(share(two, [1]), two[:, 1])


@pytest.mark.parametrize("heart", [None, 112])
def test_both_ventricles_and_the_wall_are_drawn_and_measured(shipped, heart):
    painted = discs()
    cine = exam(painted)
    predicted = network(shipped, heart=heart).segment(cine)
    # The pixel in the corner is none: the right ventricle is one body.
    painted[..., 0, 0] = 0
    assert np.mean(predicted.labels != painted) < 1e-3
    assert set(predicted.known_phases) == {Structure.CAVITY, Structure.MYOCARDIUM, Structure.RV_CAVITY}
    assert all(known.all() for known in predicted.known_phases.values())
    inner, outer = np.pi * (INNER * MM) ** 2, np.pi * (OUTER * MM) ** 2
    assert areas_mm2(predicted, Structure.CAVITY) == pytest.approx([0, inner, inner, 0], rel=0.02)
    assert areas_mm2(predicted, Structure.MYOCARDIUM) == pytest.approx([0, outer, outer, outer], rel=0.02)
    measured = measure(cine, predicted)
    true_ml = (2 * (outer - inner) + outer) * 8 / 1000
    assert measured.lv_mass_g == pytest.approx(MYOCARDIAL_DENSITY_G_PER_ML * true_ml, rel=0.02)
    assert measured.edv_ml == pytest.approx(2 * inner * 8 / 1000, rel=0.02)
    right_ml = np.count_nonzero(painted[0] == 3) * MM**2 * 8 / 1000
    assert measured.of(RV).edv_ml == pytest.approx(right_ml, rel=0.02)
    assert not [f for f in check(cine, predicted, measured) if f.code is Code.PARTIAL_SEGMENTATION]


def test_a_network_of_two_classes_says_nothing_of_the_wall(shipped):
    alone = network(shipped)
    alone = replace(alone, bundle=replace(alone.bundle, classes={1: Structure.CAVITY}))
    predicted = alone.segment(exam(discs()))
    assert set(predicted.known_phases) == {Structure.CAVITY} and set(np.unique(predicted.labels)) == {0, 1}
    assert {key[0] for key in predicted.contours} == {Structure.CAVITY}


def test_the_order_of_the_channels_is_the_bundle_s(shipped):
    painted = discs()
    usual = network(shipped)
    swapped = replace(
        usual,
        bundle=replace(usual.bundle, classes={3: Structure.CAVITY, 1: Structure.MYOCARDIUM, 2: Structure.RV_CAVITY}),
        refiner=greys(order=(0, 2, 3, 1)),
    )
    np.testing.assert_array_equal(swapped.segment(exam(painted)).labels, usual.segment(exam(painted)).labels)


def test_resampled_frames_keep_the_cavity_inside_of_the_wall(shipped):
    painted = discs()
    grid = stacked_grid((0, 0, 0), spacing_mm=(0.8, 0.8), slice_distance_mm=8.0, shape=painted.shape[1:])
    predicted = network(shipped).segment(Cine(painted * np.uint16(100), grid))
    for structure, inside in ((Structure.CAVITY, painted == 1), (Structure.MYOCARDIUM, painted == 2)):
        both = (predicted.mask(structure) & inside).sum()
        assert 2 * both / (predicted.mask(structure).sum() + inside.sum()) > 0.93
    for phase, index in np.ndindex(3, 4):
        inner, outer = (predicted.outline(o, phase, index) for o in (Structure.CAVITY, Structure.MYOCARDIUM))
        if inner:
            ((low, high), (least, most)) = ((p[0].min(axis=0), p[0].max(axis=0)) for p in (outer, inner))
            assert np.all(low < least) and np.all(most < high)


def test_between_cavity_and_wall_there_is_no_hole(shipped):
    painted = discs()
    rows, columns = np.indices((SIDE, SIDE))
    far = np.hypot(rows - 60, columns - 66)
    wanted = painted.copy()
    painted[:, 1:3][..., (far >= INNER) & (far < INNER + 2)] = 0  # a gap of background between the two
    painted[:, 1, 60, 66] = 2  # a papillary muscle
    predicted = network(shipped).segment(exam(painted))
    assert np.mean(predicted.labels != wanted) < 2e-3
    assert areas_mm2(predicted, Structure.MYOCARDIUM)[1] == pytest.approx(np.pi * (OUTER * MM) ** 2, rel=0.02)


def test_a_frame_without_any_wall_has_no_epicardium_and_is_reported(shipped):
    painted = discs()
    painted[:, 1][painted[:, 1] == 2] = 0
    cine = exam(painted)
    predicted = network(shipped, base=BaseRule.ANY).segment(cine)
    assert predicted.outline(Structure.CAVITY, 0, 1) and not predicted.outline(Structure.MYOCARDIUM, 0, 1)
    messages = [f.message for f in check(cine, predicted, measure(cine, predicted))]
    assert any("slices 1 have a cavity but no myocardium" in message for message in messages)


def test_a_wall_without_its_cavity_goes_and_the_apex_stays(shipped):
    painted = discs()
    painted[:, 1, 100:112, 20:50] = 2  # larger than nothing, and far from any cavity
    painted[0, 3, 5:9, 100:104] = 2
    predicted = network(shipped).segment(exam(painted))
    assert not predicted.mask(Structure.MYOCARDIUM)[:, 1, 95:, :55].any() and not predicted.labels[0, 3, :12, 95:].any()
    assert predicted.mask(Structure.MYOCARDIUM)[:, 3].any(axis=(1, 2)).all()
    (said,) = (finding for finding in predicted.findings if finding.code is Code.REMOVED_REGION)
    assert "slice 1 phase 0, slice 1 phase 1" in said.message


def test_what_was_taken_for_cavity_outside_does_not_become_wall(shipped):
    painted = discs()
    painted[:, 1:3][..., 55:65, 26:46] = 1  # blood of the right ventricle, up to the septum
    predicted = network(shipped).segment(exam(painted))
    assert not predicted.mask(Structure.MYOCARDIUM)[..., :, 26:42].any()


def test_of_two_bodies_the_wall_of_the_kept_cavity_is_kept_though_it_is_smaller():
    shape = (1, 3, 40, 40)
    cavity, ventricle = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    cavity[:, :, 5:11, 5:11], ventricle[:, :, 3:13, 3:13] = 0.9, 0.9
    ventricle[:, :, 18:38, 18:38] = 0.9
    cavity[:, 1, 30:34, 30:34] = 0.9
    first = clean(cavity, DEFAULT_RULES)
    both = clean_ventricle(ventricle, cavity=cavity, cleaned=first.probabilities, rules=DEFAULT_RULES)
    assert both.probabilities[:, :, 3:13, 3:13].min() > 0.5 and not both.probabilities[:, :, 16:, 16:].any()
    assert both.removed.all()
    for rules in (frozenset[Rule](), frozenset({Rule.STEADY}), frozenset(Rule)):
        done = clean(cavity, rules).probabilities
        assert np.all(
            clean_ventricle(ventricle, cavity=cavity, cleaned=done, rules=rules).probabilities >= done
        )  # the cavity is always inside


def test_the_refiner_alone_draws(shipped):
    cine = exam(discs())
    both = network(shipped, heart=96)
    # It takes cavity for wall and wall for cavity, and the finder, which sees it right, is not asked.
    swapped = replace(both, refiner=greys(order=(0, 2, 1, 3)))
    placement = both.placement(cine)
    scores = swapped.scores(cine, placement)
    middle = (0, 1, 128 - scores.crop.corner[0], 134 - scores.crop.corner[1])
    assert scores.regions[Structure.CAVITY][middle] < 0.1 and scores.regions[Structure.MYOCARDIUM][middle] > 0.9


@pytest.fixture
def copy(tmp_path) -> Path:
    shutil.copytree(open_bundle().folder, tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"1": "CAVITY", "2": "AORTA"}, "cannot be used"),
        ({"1": "CAVITY", "2": "CAVITY"}, "name the same structure twice"),
        ({"1": "MYOCARDIUM"}, "no class for the LV cavity"),
        ({"1": "RV"}, "no class for the LV cavity"),
        ({"1": "CAVITY", "4": "RV"}, r"does not fit bundle.json: squares of 256, channels 1, classes \[1, 4\]"),
        (
            {"0": "PAPILLARY_MUSCLES", "1": "CAVITY", "2": "MYOCARDIUM", "3": "RV"},
            "does not fit bundle.json",
        ),
        ({"1": ["CAVITY"]}, "cannot be used"),
    ],
)
def test_invalid_classes_give_an_error_of_one_line(classes, message, copy):
    manifest = json.loads((copy / "bundle.json").read_text())
    (copy / "bundle.json").write_text(json.dumps(manifest | {"classes": classes}))
    with pytest.raises(BundleError, match=message):
        load_segmenter(copy)


def test_classes_come_back_from_a_bundle(copy, tmp_path):
    from cinesax.network.bundle import write_bundle

    bundle = replace(open_bundle(copy), folder=tmp_path / "new", classes=ALL, heart=None)
    again = write_bundle(bundle, copy / "graph.onnx", "card")
    assert again.classes == ALL
    assert again.class_names == {"1": "CAVITY", "2": "MYOCARDIUM", "3": "RV"}
    assert again.checksum != replace(again, classes={1: Structure.CAVITY}).checksum


def test_what_a_network_was_not_validated_for_is_drawn_on_request_only(shipped):
    cine = exam(discs())
    both = network(shipped)
    careful = replace(both, bundle=replace(both.bundle, unvalidated=(Structure.MYOCARDIUM,)))
    plain, all_of_it = careful.segment(cine), replace(careful, unvalidated=True).segment(cine)
    assert Structure.MYOCARDIUM not in plain.known_phases and not (plain.labels == Structure.MYOCARDIUM).any()
    np.testing.assert_array_equal(plain.mask(Structure.CAVITY), all_of_it.mask(Structure.CAVITY))
    assert Structure.MYOCARDIUM in all_of_it.known_phases
    assert Code.NOT_VALIDATED not in [finding.code for finding in plain.findings]
    (doubt,) = [finding for finding in all_of_it.findings if finding.code is Code.NOT_VALIDATED]
    assert "LV myocardium" in doubt.message and dict(doubt.numbers) == {"myocardium": 2}


def test_a_bundle_keeps_what_it_was_not_validated_for(shipped, tmp_path):
    bundle = replace(network(shipped).bundle, folder=tmp_path / "b", unvalidated=(Structure.MYOCARDIUM,), heart=None)
    written = write_bundle(bundle, shipped.bundle.graph_path, "card")
    assert written.unvalidated == (Structure.MYOCARDIUM,)
    assert '"unvalidated"' in (tmp_path / "b" / "bundle.json").read_text()


@pytest.mark.parametrize("rule", list(BaseRule))
def test_every_rule_works_where_no_wall_or_no_ventricle_is_seen(shipped, rule):
    bare = discs()
    bare[bare == 2] = 0
    seen = network(shipped, base=rule).segment(exam(bare))
    assert (seen.labels == Structure.CAVITY).any()
    assert Code.WALL_NOT_SEEN in [finding.code for finding in seen.findings]
    nothing = discs()
    nothing[(nothing == 1) | (nothing == 2)] = 0
    assert not (network(shipped, base=rule).segment(exam(nothing)).labels == Structure.CAVITY).any()
