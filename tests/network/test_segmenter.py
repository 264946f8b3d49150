"""From a Cine to labels and contours on its own grid, by the network that ships."""

from dataclasses import replace

import numpy as np
import pytest

from cinesax.core.cine import Cine
from cinesax.core.errors import BundleError
from cinesax.core.findings import Code
from cinesax.core.grid import Grid
from cinesax.core.segmentation import area_px
from cinesax.core.structures import Structure
from cinesax.network.bundle import open_bundle
from cinesax.network.segmenter import NetworkSegmenter, load_segmenter
from cinesax.phantom import Phantom, draw_settings, make_phantom


@pytest.fixture(scope="module")
def segmenter() -> NetworkSegmenter:
    return load_segmenter(threads=1)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(draw_settings(900_007, n_phases=12, n_slices=8, edv_ml=120.0))


def some_phases(phantom: Phantom, phases: list[int]) -> Cine:
    return Cine(phantom.cine.pixels[phases].copy(), phantom.cine.grid)


def test_labels_and_contours_lie_on_the_grid_of_the_cine_and_agree(segmenter, phantom):
    seen = []
    found = segmenter.segment(phantom.cine, lambda done, total: seen.append((done, total)))
    assert found.labels.shape == phantom.cine.pixels.shape
    frames = phantom.cine.n_phases * phantom.cine.n_slices
    assert seen[-1] == (frames, frames) and seen == sorted(seen)
    assert found.author == segmenter.name
    for (_, phase, index), polygons in found.contours.items():
        pixels = int((found.labels[phase, index] == Structure.CAVITY).sum())
        assert area_px(polygons) == pytest.approx(pixels, rel=0.05, abs=6)
    both = (found.labels == Structure.CAVITY) & (phantom.truth.labels == Structure.CAVITY)
    total = (found.labels == Structure.CAVITY).sum() + (phantom.truth.labels == Structure.CAVITY).sum()
    assert 2 * both.sum() / total > 0.85


def test_a_frame_gives_the_same_whatever_is_in_its_batch(segmenter, phantom):
    # The second look depends on the whole study, by the place of its heart; the first one must not.
    segmenter = replace(segmenter, bundle=replace(segmenter.bundle, heart=None))
    whole = some_phases(phantom, [0, 3])
    placement = segmenter.placement(whole)
    together = segmenter.scores(whole, placement).cavity
    alone = segmenter.scores(some_phases(phantom, [3]), placement).cavity
    np.testing.assert_allclose(alone[0], together[1], atol=1e-5)


def test_a_cine_stored_mirrored_gives_the_mirrored_result(segmenter, phantom):
    cine = some_phases(phantom, [0])
    grid = cine.grid
    rows = grid.shape[1]
    far = grid.origins_mm + (rows - 1) * grid.spacing_mm[0] * grid.along_column
    # Reversed rows reverse the normal, so the slices are listed the other way round too.
    mirrored = Cine(
        cine.pixels[:, ::-1, ::-1].copy(),
        Grid(far[::-1], grid.along_row, -grid.along_column, grid.spacing_mm, grid.shape),
    )
    found, back = segmenter.segment(cine).labels, segmenter.segment(mirrored).labels[:, ::-1, ::-1]
    assert found.any()
    assert np.mean(found != back) < 1e-3


def test_a_single_frame_says_which_rules_are_off_and_a_large_one_what_was_not_searched(segmenter, phantom):
    frame = Cine(phantom.cine.pixels[:1, 4:5].copy(), None)
    assert [finding.code for finding in segmenter.segment(frame).findings] == [Code.RULES_OFF]
    large = Cine(np.zeros((1, 1, 400, 300), np.uint16), None)
    assert Code.FRAME_CROPPED in [finding.code for finding in segmenter.segment(large).findings]


def test_a_graph_that_is_none_is_refused(tmp_path):
    from cinesax.network.bundle import write_bundle

    (tmp_path / "graph").write_bytes(b"no graph")
    bundle = write_bundle(replace(open_bundle(), folder=tmp_path / "bundle", heart=None), tmp_path / "graph", "card")
    with pytest.raises(BundleError, match="cannot be loaded"):
        load_segmenter(bundle.folder)
