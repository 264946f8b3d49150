"""Fingerprints: recognise a test image among the images that a network was trained on.

A fingerprint is text of 64 hexadecimal digits. The frame is windowed, averaged to 16 rows of 17 blocks, and each bit
says whether a block is brighter than the one to its left (a "difference hash"). Linear changes of the intensities, and
export to 8 bits with its loss, change only a few bits. So `same` decides whether two images are the same, not equality.
Sunnybrook frames that exist as PNG and as DICOM differ in at most 2 bits of 256, frames of different patients in 34 or
more, and neighbouring phases of one slice, which are nearly the same image, in 0 to 11. Up to 6 count as the same.

A fingerprint is computed from the native frame. It also matches the framed image if framing did not resample, crop or
pad.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ROWS, _COLUMNS = 16, 17
_WINDOW_PERCENTILES = (0.5, 98.0)
SAME_WITHIN_BITS = 6


class Overlap(StrEnum):
    """What a network saw of a test frame in training."""

    IMAGE = "image"
    """The same image."""
    PATIENT = "patient"
    """Another image of the same patient."""


def fingerprint(frame: NDArray[Any]) -> str:
    """The fingerprint of a frame (row, column), native pixels of any real type."""
    low, high = np.percentile(frame, _WINDOW_PERCENTILES)
    windowed = np.clip((frame.astype(np.float64) - low) / max(float(high - low), 1e-9), 0, 1)
    blocks = _averaging(frame.shape[0], _ROWS) @ windowed @ _averaging(frame.shape[1], _COLUMNS).T
    bits = np.diff(blocks, axis=1) > 0
    return np.packbits(bits).tobytes().hex()


def _averaging(length: int, blocks: int) -> NDArray[np.float64]:
    """(blocks, length): averages equal blocks; a pixel on a border counts in part for both."""
    edges = np.linspace(0, length, blocks + 1)
    pixels = np.arange(length)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.asarray(np.clip(covered, 0, 1) * blocks / length)


def bits_apart(first: str, second: str) -> int:
    """The number of bits, of 256, in which two fingerprints differ."""
    return (int(first, 16) ^ int(second, 16)).bit_count()


def same(first: str, second: str) -> bool:
    """Whether two fingerprints belong to the same image."""
    return bits_apart(first, second) <= SAME_WITHIN_BITS


@dataclass(frozen=True, slots=True)
class Learned:
    """The training data of a network, as its bundle lists them.

    Attributes:
        cases: the patients.
        images: fingerprints of their images.
    """

    cases: frozenset[str] = frozenset()
    images: tuple[str, ...] = ()
    _known: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_known", tuple(int(image, 16) for image in self.images))

    def overlap(self, case: str, frame: NDArray[Any]) -> Overlap | None:
        """Whether a frame, or another frame of its patient, was among the training images.

        Args:
            case: the patient of the frame.
            frame: (row, column), native pixels.
        """
        if self._known:
            bits = int(fingerprint(frame), 16)
            if any((bits ^ known).bit_count() <= SAME_WITHIN_BITS for known in self._known):
                return Overlap.IMAGE
        return Overlap.PATIENT if case in self.cases else None


def learned(cases: Iterable[str], images: Iterable[str] = ()) -> Learned:
    """`Learned` from the `cases` and `images` in a bundle's `training`."""
    return Learned(frozenset(cases), tuple(images))
