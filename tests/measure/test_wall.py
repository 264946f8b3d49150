"""Wall thickness on 16 segments: a ring whose thickness is known by segment, stored in any way."""

import numpy as np
import pytest

from cinesax.core.cine import Cine
from cinesax.core.grid import Grid, stacked_grid
from cinesax.core.orientation import TURNS, Turn, base_first, standard_position
from cinesax.core.segmentation import Segmentation, trace
from cinesax.core.structures import Structure
from cinesax.measure.wall import wall_thickness

SIDE, MM, SLICES = 96, 1.0, 6
ROWS, COLUMNS = np.indices((SIDE, SIDE))
FAR = np.hypot(ROWS - 48, COLUMNS - 48)
ANGLE = np.degrees(np.arctan2(48 - ROWS, COLUMNS - 48)) % 360  # counter-clockwise from the right
ALONG_ROW = np.array([0.712221, 0.701112, -0.0343949])
ALONG_COLUMN = np.array([-0.307716, 0.267798, -0.913015])


def exam(thick: tuple[float, float] | None, *, right_ventricle: bool = True) -> tuple[Cine, Segmentation]:
    """A wall of 8 mm, thicker by 6 from one angle to another; the RV lies at the left of the image."""
    outer = np.full((SIDE, SIDE), 26.0)
    if thick is not None:
        outer[(thick[0] <= ANGLE) & (ANGLE < thick[1])] += 6
    labels = np.zeros((1, SLICES, SIDE, SIDE), np.uint8)
    inside, wall = FAR < 18, (outer > FAR) & (FAR >= 18)
    beside = (outer + 1 < FAR) & (FAR < 44) & (120 < ANGLE) & (ANGLE < 240)
    labels[..., beside] = Structure.RV_CAVITY if right_ventricle else 0
    labels[..., wall] = Structure.MYOCARDIUM
    labels[..., inside] = Structure.CAVITY
    row = ALONG_ROW / np.linalg.norm(ALONG_ROW)
    column = ALONG_COLUMN - (ALONG_COLUMN @ row) * row
    grid = stacked_grid(
        (0, 0, 0),
        spacing_mm=(MM, MM),
        slice_distance_mm=8.0,
        shape=(SLICES, SIDE, SIDE),
        along_row=row,
        along_column=column / np.linalg.norm(column),
    )
    assert standard_position(grid) == Turn()
    return segmented(labels, grid)


def segmented(labels: np.ndarray, grid: Grid) -> tuple[Cine, Segmentation]:
    contours = {}
    for place in range(SLICES):
        frame = labels[0, place]
        contours[Structure.CAVITY, 0, place] = trace(frame == Structure.CAVITY)
        contours[Structure.MYOCARDIUM, 0, place] = trace((frame == Structure.CAVITY) | (frame == Structure.MYOCARDIUM))
        contours[Structure.RV_CAVITY, 0, place] = trace(frame == Structure.RV_CAVITY)
    known = dict.fromkeys((Structure.CAVITY, Structure.MYOCARDIUM, Structure.RV_CAVITY), np.ones(1, bool))
    cine = Cine(np.zeros(labels.shape, np.uint8), grid, base_first=base_first(grid))
    return cine, Segmentation(labels, known, contours)


# The septum lies at 180 degrees, anterior is up: 90.
@pytest.mark.parametrize(
    ("thick", "segments"),
    [
        ((60, 120), (1, 7)),
        ((120, 180), (2, 8)),
        ((180, 240), (3, 9)),
        ((240, 300), (4, 10)),
        ((300, 360), (5, 11)),
        ((0, 60), (6, 12)),
    ],
)
def test_a_thick_wall_gives_a_thick_segment(thick, segments):
    wall = wall_thickness(*exam(thick), 0)
    assert wall is not None and len(wall.slices) == SLICES
    for number in range(1, 13):
        expected = 14 if number in segments else 8
        assert wall.segments_mm[number - 1] == pytest.approx(expected, abs=1.0), number


def test_at_the_apex_there_are_four():
    wall = wall_thickness(*exam((45, 135)), 0)
    np.testing.assert_allclose(wall.segments_mm[12:], [14, 8, 8, 8], atol=1.0)
    np.testing.assert_allclose(wall_thickness(*exam(None), 0).segments_mm, 8, atol=0.4)


@pytest.mark.parametrize("turn", TURNS[1:])
def test_it_does_not_matter_how_frames_are_stored(turn):
    cine, segmentation = exam((120, 180))
    grid = cine.grid
    rows, columns = SIDE, SIDE
    along_row, along_column = turn.apply_pair((grid.along_row, grid.along_column))
    origins = grid.origins_mm
    if turn.columns_reversed:
        origins, along_row = origins + (columns - 1) * MM * along_row, -along_row
    if turn.rows_reversed:
        origins, along_column = origins + (rows - 1) * MM * along_column, -along_column
    labels = turn.apply(segmentation.labels)
    if turn.mirrors:
        origins, labels = origins[::-1], labels[:, ::-1]
    stored = Grid(origins, along_row, along_column, (MM, MM), grid.shape)
    turned = wall_thickness(*segmented(np.ascontiguousarray(labels), stored), 0)
    np.testing.assert_allclose(turned.segments_mm, wall_thickness(cine, segmentation, 0).segments_mm, atol=0.05)


def test_without_a_right_ventricle_or_a_known_side_there_are_no_segments():
    assert wall_thickness(*exam(None, right_ventricle=False), 0) is None
    cine, segmentation = exam(None)
    body = stacked_grid((0, 0, 0), spacing_mm=(MM, MM), slice_distance_mm=8.0, shape=cine.grid.shape)
    assert wall_thickness(Cine(cine.pixels, body, base_first=True), segmentation, 0) is None
    assert wall_thickness(cine, segmentation, None) is None
