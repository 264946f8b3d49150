"""A Segmentation is checked without waste."""

import tracemalloc

import numpy as np

from cinesax.core.segmentation import Segmentation, trace
from cinesax.core.structures import Structure


def test_checking_a_large_study_takes_no_copy_of_it():
    labels = np.zeros((20, 4, 200, 200), np.uint8)
    tracemalloc.start()
    Segmentation(labels, {Structure.CAVITY: np.ones(20, dtype=bool)})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < labels.nbytes


def test_an_outline_does_not_depend_on_the_frame_around_it():
    mask = np.random.default_rng(0).random((7, 9)) > 0.5
    alone = trace(np.pad(mask, 1))
    for row, column in ((1, 1), (32, 40), (12, 20)):
        frame = np.zeros((40, 50), bool)
        frame[row : row + 7, column : column + 9] = mask
        moved = trace(frame)
        assert len(moved) == len(alone) > 1
        for polygon, expected in zip(moved, alone, strict=True):
            np.testing.assert_array_equal(polygon - (column - 1, row - 1), expected)


def test_a_mask_that_fills_its_frame_is_closed_at_the_edge():
    for shape in ((3, 4), (30, 40)):
        (polygon,) = trace(np.ones(shape, bool))
        rows, columns = shape
        assert -0.5 <= polygon.min() < 0
        assert columns - 1 < polygon[:, 0].max() <= columns - 0.5
        assert rows - 1 < polygon[:, 1].max() <= rows - 0.5
    assert trace(np.zeros((3, 4), bool)) == trace(np.full((3, 4), 0.5)) == ()
