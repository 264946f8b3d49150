"""From a Cine to labels and contours on its own grid, by the network that ships."""

from dataclasses import replace

import numpy as np
import pytest

from cinesax.core.cine import Cine
from cinesax.core.errors import BundleError
from cinesax.core.findings import Code
from cinesax.core.grid import Grid
from cinesax.core.orientation import TURNS, Turn, base_first
from cinesax.core.segmentation import area_px
from cinesax.core.structures import Structure
from cinesax.measure.volumes import measure
from cinesax.network.bundle import open_bundle
from cinesax.network.segmenter import NetworkSegmenter, _findings, load_segmenter
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
    predicted = segmenter.segment(phantom.cine, lambda done, total: seen.append((done, total)))
    assert predicted.labels.shape == phantom.cine.pixels.shape
    frames = phantom.cine.n_phases * phantom.cine.n_slices
    assert seen[-1] == (frames, frames) and seen == sorted(seen)
    assert predicted.author == segmenter.name
    assert set(predicted.known_phases) == {Structure.CAVITY, Structure.MYOCARDIUM}
    for (structure, phase, index), polygons in predicted.contours.items():
        # The wall's contour is the epicardium, which encloses the cavity.
        inside = (Structure.CAVITY, Structure.MYOCARDIUM)[: 1 + (structure is Structure.MYOCARDIUM)]
        pixels = int(np.isin(predicted.labels[phase, index], inside).sum())
        assert area_px(polygons) == pytest.approx(pixels, rel=0.05, abs=6)
    both = (predicted.labels == Structure.CAVITY) & (phantom.truth.labels == Structure.CAVITY)
    total = (predicted.labels == Structure.CAVITY).sum() + (phantom.truth.labels == Structure.CAVITY).sum()
    assert 2 * both.sum() / total > 0.85


def test_a_frame_gives_the_same_whatever_is_in_its_batch(segmenter, phantom):
    # Where the refiner looks depends on the whole study, and what it sees there must not.
    segmenter = replace(segmenter, finder=None, refiner=segmenter.finder)
    whole = some_phases(phantom, [0, 3])
    placement = segmenter.placement(whole)
    together = segmenter.scores(whole, placement).regions[Structure.CAVITY]
    alone = segmenter.scores(some_phases(phantom, [3]), placement).regions[Structure.CAVITY]
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
    predicted, back = segmenter.segment(cine).labels, segmenter.segment(mirrored).labels[:, ::-1, ::-1]
    assert predicted.any()
    assert np.mean(predicted != back) < 1e-3


def test_a_single_frame_says_which_rules_are_off_and_a_large_one_what_was_not_searched(segmenter, phantom):
    frame = Cine(phantom.cine.pixels[:1, 4:5].copy(), None)
    assert [finding.code for finding in segmenter.segment(frame).findings] == [Code.RULES_OFF]
    large = Cine(np.zeros((1, 1, 400, 300), np.uint16), None)
    assert Code.FRAME_CROPPED in [finding.code for finding in segmenter.segment(large).findings]


def test_a_file_that_is_not_a_graph_is_refused(tmp_path):
    from cinesax.network.bundle import write_bundle

    (tmp_path / "graph").write_bytes(b"no graph")
    bundle = write_bundle(replace(open_bundle(), folder=tmp_path / "bundle", heart=None), tmp_path / "graph", "card")
    with pytest.raises(BundleError, match="cannot be loaded"):
        load_segmenter(bundle.folder)


@pytest.mark.parametrize("turn", TURNS[1:])
def test_eight_ways_to_store_an_exam_give_the_same_result(segmenter, phantom, turn):
    cine = some_phases(phantom, [0, 4])
    cine = replace(cine, base_first=base_first(cine.grid))
    stored = stored_as(cine, turn)
    first, second = segmenter.segment(cine), segmenter.segment(stored)
    labels = turn.undo(second.labels)
    np.testing.assert_array_equal(first.labels, labels[:, ::-1] if turn.mirrors else labels)
    assert first.labels.any()
    one, other = measure(cine, first), measure(stored, second)
    np.testing.assert_allclose(one.volumes_ml, other.volumes_ml, rtol=1e-9)
    assert one.ef_percent == pytest.approx(other.ef_percent, abs=1e-9)


def stored_as(cine: Cine, turn: Turn) -> Cine:
    """The same exam with its frames turned or mirrored. A mirror image reverses the normal, so the slices too."""
    grid = cine.grid
    (rows, columns), spacing = turn.apply_pair(grid.shape[1:]), turn.apply_pair(grid.spacing_mm)
    along_row, along_column = turn.apply_pair((grid.along_row, grid.along_column))
    origins = grid.origins_mm
    if turn.columns_reversed:
        origins, along_row = origins + (columns - 1) * spacing[1] * along_row, -along_row
    if turn.rows_reversed:
        origins, along_column = origins + (rows - 1) * spacing[0] * along_column, -along_column
    pixels = turn.apply(cine.pixels)
    if turn.mirrors:
        origins, pixels = origins[::-1], pixels[:, ::-1]
    turned = Grid(origins, along_row, along_column, spacing, (grid.shape[0], rows, columns))
    return replace(cine, pixels=pixels, grid=turned, base_first=base_first(turned))


@pytest.mark.parametrize(
    ("places", "words", "where"),
    [
        ([(7, 2)], "1 frame", (2, 7)),
        ([(7, 2), (3, 5), (1, 2)], "3 frames: slice 2 phase 1, slice 2 phase 7, slice 5 phase 3", (None, None)),
        (
            [(phase, 4) for phase in range(9)],
            "9 frames: slice 4 phase 0, slice 4 phase 1, slice 4 phase 2, slice 4 phase 3, and 5 more",
            (None, None),
        ),
    ],
)
def test_removed_regions_say_where_they_were(places, words, where):
    removed = np.zeros((9, 6), dtype=bool)
    removed[tuple(zip(*places, strict=True))] = True
    (finding,) = _findings((), removed)
    assert finding.message == f"regions that cannot belong to the LV were removed from {words}"
    assert (finding.slice, finding.phase) == where and finding.numbers["frames"] == len(places)
