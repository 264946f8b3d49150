"""Distances between the borders of two masks."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]


class Unit(StrEnum):
    """The unit of a distance."""

    MM = "mm"
    PIXELS = "px"


@dataclass(frozen=True, slots=True)
class BorderDistances:
    """The distances between two borders.

    Attributes:
        hd95: the larger of the two directed 95th percentiles (the "95 % Hausdorff distance").
        mean: the mean over the border pixels of both masks (the "average symmetric surface distance").
    """

    hd95: float
    mean: float


AGREE = BorderDistances(0.0, 0.0)
APART = BorderDistances(float("inf"), float("inf"))


def border_distances(truth: Mask, predicted: Mask, spacing: tuple[float, float] = (1.0, 1.0)) -> BorderDistances:
    """Distances from each border pixel of one mask to the nearest border pixel of the other.

    A border pixel is a pixel of the mask with one of its four neighbours outside. Two empty masks agree (0); if only
    one is empty, the distances are infinite. Definitions: Taha and Hanbury, "Metrics for evaluating 3D medical image
    segmentation", BMC Medical Imaging 15 (2015) 29; Maier-Hein, Reinke et al., "Metrics reloaded", Nat Methods 21
    (2024) 195-212, for the percentile of each direction separately.

    Args:
        truth: (row, column).
        predicted: (row, column).
        spacing: between rows and between columns; the result has its unit.
    """
    if not truth.any() or not predicted.any():
        return AGREE if truth.any() == predicted.any() else APART
    window = _window(truth | predicted)
    a, b = _border(truth[window]), _border(predicted[window])
    to_truth = ndimage.distance_transform_edt(~a, spacing)[b]
    to_predicted = ndimage.distance_transform_edt(~b, spacing)[a]
    hd95 = max(float(np.percentile(to_truth, 95)), float(np.percentile(to_predicted, 95)))
    return BorderDistances(hd95, float(np.concatenate([to_truth, to_predicted]).mean()))


def _window(mask: Mask) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _border(mask: Mask) -> Mask:
    return np.asarray(mask & ~ndimage.binary_erosion(mask))
