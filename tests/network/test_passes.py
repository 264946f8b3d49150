"""The passes: the finder says where the heart is in the whole study, the refiner draws a crop round it."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from cinesax.core.cine import Cine
from cinesax.core.grid import stacked_grid
from cinesax.core.orientation import base_first
from cinesax.core.structures import Structure
from cinesax.network.bundle import HeartPass
from cinesax.network.passes import Pass, place_of_heart
from cinesax.network.segmenter import NetworkSegmenter, load_segmenter
from cinesax.phantom import draw_settings, make_phantom

CROP = 128


def discs(*places: tuple[int, int, int], size: int = 64) -> np.ndarray:
    """A frame of probabilities: 0.9 within a radius of each (row, column)."""
    rows, columns = np.indices((size, size))
    inside = [np.hypot(rows - row, columns - column) <= radius for row, column, radius in places]
    return 0.9 * np.any(inside, axis=0).astype(np.float32)


def test_the_crop_has_the_ventricle_in_its_middle():
    crop = place_of_heart(discs((40, 25, 6)), 20)
    assert crop.size == 20
    assert abs(crop.corner[0] + 10 - 40) <= 1 and abs(crop.corner[1] + 10 - 25) <= 1


@pytest.mark.parametrize(("place", "corner"), [((3, 30), (0, 20)), ((60, 61), (44, 44)), ((30, 2), (20, 0))])
def test_at_the_edge_the_crop_stays_inside(place, corner):
    crop = place_of_heart(discs((*place, 5)), 20)
    assert abs(crop.corner[0] - corner[0]) <= 1 and abs(crop.corner[1] - corner[1]) <= 1
    assert min(crop.corner) >= 0 and max(crop.corner) <= 44


def test_what_single_frames_show_elsewhere_counts_little():
    frames = [discs((40, 25, 5))] * 8 + [discs((10, 55, 12)), discs((40, 25, 5), (8, 8, 9))]
    crop = place_of_heart(np.mean(frames, axis=0), 24)
    assert abs(crop.corner[0] + 12 - 40) <= 1 and abs(crop.corner[1] + 12 - 25) <= 1


class Bright:
    """A refiner without a network: blood is bright. It keeps what it was shown."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def run(self, names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        (image,) = feeds.values()
        self.seen.append(image)
        blood = 0.9 / (1 + np.exp(-30 * (image[..., image.shape[-1] // 2] - 0.45)))
        return [np.stack([1 - blood, blood], axis=-1).astype(np.float32)]


@pytest.fixture(scope="module")
def shipped() -> NetworkSegmenter:
    return load_segmenter(threads=1)


def with_refiner(shipped: NetworkSegmenter, session: object, *, context: int = 1) -> NetworkSegmenter:
    """The finder of the network that ships, and another refiner."""
    bundle = replace(
        shipped.bundle, heart=HeartPass(CROP, "x", "y", context), classes={1: Structure.CAVITY}, unvalidated=()
    )
    return replace(shipped, bundle=bundle, refiner=Pass(session, "x", "y", context))


@pytest.fixture(scope="module")
def off_centre() -> SimpleNamespace:
    """Two phases of a phantom, its heart in a corner of the frame."""
    phantom = make_phantom(draw_settings(900_007, n_phases=12, n_slices=8, edv_ml=120.0))
    truth = phantom.truth.labels[:5:4] == Structure.CAVITY
    middle = np.argwhere(truth)[:, 2:].mean(axis=0)
    rows, columns = truth.shape[2:]
    shift = tuple(int(v) for v in np.round((0.3 * rows, 0.7 * columns) - middle))
    pixels = np.roll(phantom.cine.pixels[:5:4], shift, axis=(2, 3))
    return SimpleNamespace(cine=Cine(pixels, phantom.cine.grid), truth=np.roll(truth, shift, axis=(2, 3)))


def test_the_refiner_sees_the_ventricle_off_centre_once_each_in_order(shipped, off_centre):
    bright, steps = Bright(), []
    segmenter, cine = with_refiner(shipped, bright), off_centre.cine
    placement, framing = segmenter.placement(cine), segmenter.bundle.framing
    scores = segmenter.scores(cine, placement, lambda done, total: steps.append((done, total)))
    frames = cine.n_phases * cine.n_slices
    (row, column), centre = scores.crop.corner, (framing.size - CROP) / 2
    assert abs(row - centre) > 10 and abs(column - centre) > 10
    window = (slice(row, row + CROP), slice(column, column + CROP))
    # All of the ventricle lies in what the refiner is shown.
    truth = np.stack([framing.apply(f.astype(np.uint16), placement) for phase in off_centre.truth for f in phase]) > 0.5
    assert truth.any() and truth.sum() == truth[(slice(None), *window)].sum()
    shown = np.concatenate(bright.seen)
    assert shown.shape == (frames, CROP, CROP, 1) and shown.max() <= 1
    third = framing.apply(cine.pixels[0, 3], placement)[window]
    np.testing.assert_allclose(shown[3, ..., 0], third, atol=1e-6)
    again = Bright().run([], {"x": shown})[0][..., 1]
    drawn, inside = (
        scores.regions[Structure.CAVITY].reshape(again.shape),
        (slice(None), *framing.inside(placement, scores.crop)),
    )
    np.testing.assert_array_equal(drawn[inside], again[inside])
    drawn[inside] = 0.0
    assert not drawn.any()  # nothing is drawn outside of the frame
    assert steps[-1] == (frames, frames) and steps == sorted(steps)


def test_the_ventricle_off_centre_is_segmented(shipped, off_centre):
    predicted = shipped.segment(off_centre.cine).labels == Structure.CAVITY
    both = (predicted & off_centre.truth).sum()
    assert 2 * both / (predicted.sum() + off_centre.truth.sum()) > 0.8


def test_where_the_finder_finds_nothing_the_refiner_is_not_asked(shipped):
    bright, steps = Bright(), []
    empty = Cine(np.zeros((2, 9, 64, 64), np.uint16), None)
    predicted = with_refiner(shipped, bright).segment(empty, lambda done, total: steps.append((done, total)))
    assert not predicted.labels.any() and bright.seen == []
    assert steps[-1] == (18, 18)


def shown_with_neighbours(shipped: NetworkSegmenter, cine: Cine) -> np.ndarray:
    """(phase, slice, row, column, 3): what a refiner with neighbours is shown."""
    bright = Bright()
    segmenter = with_refiner(shipped, bright, context=3)
    segmenter.scores(cine, segmenter.placement(cine))
    return np.concatenate(bright.seen).reshape(*cine.pixels.shape[:2], CROP, CROP, 3)


@pytest.mark.parametrize("known", [True, False])
def test_neighbours_lie_towards_base_and_apex_at_the_same_phase(shipped, off_centre, known):
    cine = off_centre.cine
    first = base_first(cine.grid)
    assert first is not None
    shown = shown_with_neighbours(shipped, replace(cine, base_first=first if known else None))
    middle = shown[..., 1]
    lower, higher = (0, 2) if first or not known else (2, 0)
    np.testing.assert_array_equal(shown[:, 1:, ..., lower], middle[:, :-1])
    np.testing.assert_array_equal(shown[:, :-1, ..., higher], middle[:, 1:])
    assert not shown[:, 0, ..., lower].any() and not shown[:, -1, ..., higher].any()
    assert middle.reshape(-1, CROP * CROP).any(axis=1).all()


def test_slices_far_apart_are_no_neighbours(shipped, off_centre):
    cine = off_centre.cine
    grid = stacked_grid((0, 0, 0), spacing_mm=cine.grid.spacing_mm, slice_distance_mm=17.7, shape=cine.grid.shape)
    shown = shown_with_neighbours(shipped, Cine(cine.pixels, grid))
    assert shown[..., 1].any() and not shown[..., 0].any() and not shown[..., 2].any()
    one = shown_with_neighbours(shipped, Cine(cine.pixels[:, 4:5], None))
    assert one[..., 1].any() and not one[..., 0].any() and not one[..., 2].any()


def test_several_batches_at_once_give_the_same_and_a_failing_one_ends_them(shipped, off_centre):
    cine, seen = off_centre.cine, []
    one = with_refiner(shipped, Bright(), context=3)
    two = replace(one, refiner=replace(one.refiner, at_once=2), finder=replace(one.finder, at_once=2))
    placement = one.placement(cine)
    alone = one.scores(cine, placement)
    together = two.scores(cine, placement, lambda done, total: seen.append((done, total)))
    assert together.crop == alone.crop
    for structure, values in alone.regions.items():
        np.testing.assert_array_equal(together.regions[structure], values)
    frames = cine.n_phases * cine.n_slices
    assert seen == [(min(done + 8, frames), frames) for done in range(0, frames, 8)]

    def fails(names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        raise MemoryError("out of memory")

    broken = replace(two, refiner=replace(two.refiner, session=SimpleNamespace(run=fails)))
    with pytest.raises(MemoryError, match="out of memory"):
        broken.scores(cine, placement)
