"""The second pass: the place of the heart is found in the whole study, then a crop round it is looked at again."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from cinesax.core.cine import Cine
from cinesax.core.structures import Structure
from cinesax.network.bundle import HeartPass
from cinesax.network.segmenter import NetworkSegmenter, load_segmenter, place_of_heart
from cinesax.phantom import draw_settings, make_phantom

CROP = 128


def discs(*places: tuple[int, int, int], size: int = 64) -> np.ndarray:
    """A frame of probabilities: 0.9 within a radius of each (row, column)."""
    rows, columns = np.indices((size, size))
    inside = [np.hypot(rows - row, columns - column) <= radius for row, column, radius in places]
    return 0.9 * np.any(inside, axis=0).astype(np.float32)


def test_the_crop_has_the_ventricle_in_its_middle():
    rows, columns = place_of_heart(np.stack([discs((40, 25, 6))] * 3), 20)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (20, 20)
    assert abs((rows.start + rows.stop) / 2 - 40) <= 1 and abs((columns.start + columns.stop) / 2 - 25) <= 1


@pytest.mark.parametrize(("place", "corner"), [((3, 30), (0, 20)), ((60, 61), (44, 44)), ((30, 2), (20, 0))])
def test_at_the_edge_the_crop_stays_inside(place, corner):
    rows, columns = place_of_heart(discs((*place, 5))[None], 20)
    assert abs(rows.start - corner[0]) <= 1 and abs(columns.start - corner[1]) <= 1
    assert rows.start >= 0 and rows.stop <= 64 and columns.start >= 0 and columns.stop <= 64


def test_what_single_frames_show_elsewhere_counts_little():
    frames = [discs((40, 25, 5))] * 8 + [discs((10, 55, 12)), discs((40, 25, 5), (8, 8, 9))]
    rows, columns = place_of_heart(np.stack(frames), 24)
    assert abs(rows.start + 12 - 40) <= 1 and abs(columns.start + 12 - 25) <= 1


def test_where_nothing_is_found_there_is_no_place():
    assert place_of_heart(np.zeros((4, 64, 64), np.float32), 20) is None
    assert place_of_heart(np.full((4, 64, 64), 0.3, np.float32), 20) is None
    assert place_of_heart(discs((32, 32, 5))[None] * 0.4, 20) is None


class Bright:
    """A second pass without a network: blood is bright. It keeps what it was shown."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def run(self, names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        (image,) = feeds.values()
        self.seen.append(image)
        blood = 0.9 / (1 + np.exp(-30 * (image[..., 0] - 0.45)))
        return [np.stack([1 - blood, blood], axis=-1).astype(np.float32)]


@pytest.fixture(scope="module")
def first_pass() -> NetworkSegmenter:
    """The finder of the network that ships, alone."""
    shipped = load_segmenter(threads=1)
    return replace(shipped, bundle=replace(shipped.bundle, heart=None), heart_session=None)


def with_second(first: NetworkSegmenter, session: object) -> NetworkSegmenter:
    return replace(first, bundle=replace(first.bundle, heart=HeartPass(CROP, "x", "y")), heart_session=session)


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


def test_the_second_pass_sees_the_ventricle_off_centre_and_both_count_alike(first_pass, off_centre):
    bright, steps = Bright(), []
    both = with_second(first_pass, bright)
    placement = both.placement(off_centre.cine)
    alone = first_pass.scores(off_centre.cine, placement).cavity
    together = both.scores(off_centre.cine, placement, lambda done, total: steps.append((done, total))).cavity
    frames = off_centre.cine.n_phases * off_centre.cine.n_slices
    window = place_of_heart(alone.reshape(frames, *alone.shape[2:]), CROP)
    centre = (alone.shape[2] - CROP) / 2
    assert abs(window[0].start - centre) > 10 and abs(window[1].start - centre) > 10
    # All of the ventricle lies in what the second pass is shown.
    framing = first_pass.bundle.framing
    as_grey = Cine(off_centre.truth.astype(np.uint16), off_centre.cine.grid)
    framed = [framing.apply(f, placement) for f in as_grey.pixels.reshape(frames, *as_grey.pixels.shape[2:])]
    truth = np.stack(framed) > 0.5
    assert truth.any() and truth.sum() == truth[(slice(None), *window)].sum()
    # Once each, in order, cut out of the framed images.
    shown = np.concatenate(bright.seen)
    assert shown.shape == (frames, CROP, CROP, 1) and shown.max() <= 1
    third = framing.apply(off_centre.cine.pixels[0, 3], placement)[window]
    np.testing.assert_allclose(shown[3, ..., 0], third, atol=1e-6)
    # The mean of both inside of the crop, the first alone outside.
    cut = (slice(None), slice(None), *window)
    second = Bright().run([], {"x": shown})[0][..., 1].reshape(alone[cut].shape)
    np.testing.assert_allclose(together[cut], (alone[cut] + second) / 2, atol=1e-6)
    rest = np.ones(alone.shape, bool)
    rest[cut] = False
    np.testing.assert_array_equal(together[rest], alone[rest])
    assert steps[-1] == (frames, frames) and steps == sorted(steps)
    assert any(done <= frames // 2 for done, _ in steps)


def test_the_ventricle_off_centre_is_segmented_by_two_passes(first_pass, off_centre):
    found = with_second(first_pass, Bright()).segment(off_centre.cine).labels == Structure.CAVITY
    both = (found & off_centre.truth).sum()
    assert 2 * both / (found.sum() + off_centre.truth.sum()) > 0.8


def test_where_the_first_pass_finds_nothing_the_second_is_not_asked(first_pass):
    bright, steps = Bright(), []
    empty = Cine(np.zeros((2, 9, 64, 64), np.uint16), None)
    found = with_second(first_pass, bright).segment(empty, lambda done, total: steps.append((done, total)))
    assert not found.labels.any() and bright.seen == []
    assert steps[-1] == (18, 18)
