"""A Segmentation is checked without waste."""

import tracemalloc

import numpy as np

from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import Structure


def test_checking_a_large_study_takes_no_copy_of_it():
    labels = np.zeros((20, 4, 200, 200), np.uint8)
    tracemalloc.start()
    Segmentation(labels, {Structure.CAVITY: np.ones(20, dtype=bool)})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < labels.nbytes
