"""Fingerprints: find again, among the images that a network has learned from, the one that it is to be tested on.

A fingerprint is text of 64 hexadecimal digits. The frame is windowed, averaged to 16 rows of 17 blocks, and each bit
says whether a block is brighter than the one to its left (a "difference hash"). Any linear change of the intensities,
an export to 8 bits and the loss that comes with it leave nearly all bits as they are. What is the same image is thus
decided by `same`, not by equality. Of the Sunnybrook frames that exist as PNG and as DICOM the two differ in at most
2 bits of 256; frames of different patients differ in 34 or more; neighbouring phases of one slice, which are nearly
the same image, in 0 to 11. Up to 6 count as the same.

Taken of the native frame: also its framed form is found where framing neither resamples, crops nor pads.
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
    """How a frame under test is known to a network from its training."""

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
    """(blocks, length): the mean of equal stretches; pixels on a border count for both in part."""
    edges = np.linspace(0, length, blocks + 1)
    pixels = np.arange(length)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.asarray(np.clip(covered, 0, 1) * blocks / length)


def bits_apart(one: str, other: str) -> int:
    """In how many of the 256 bits two fingerprints differ."""
    return (int(one, 16) ^ int(other, 16)).bit_count()


def same(one: str, other: str) -> bool:
    """Whether two fingerprints are of one image."""
    return bits_apart(one, other) <= SAME_WITHIN_BITS


@dataclass(frozen=True, slots=True)
class Learned:
    """What a network has learned from, as its bundle lists it.

    Attributes:
        cases: patients.
        images: fingerprints.
    """

    cases: frozenset[str] = frozenset()
    images: tuple[str, ...] = ()
    _known: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_known", tuple(int(image, 16) for image in self.images))

    def overlap(self, case: str, frame: NDArray[Any]) -> Overlap | None:
        """Whether a frame, or another one of its patient, was among the training images.

        Args:
            case: the patient of the frame.
            frame: (row, column), native pixels.
        """
        if self._known:
            seen = int(fingerprint(frame), 16)
            if any((seen ^ known).bit_count() <= SAME_WITHIN_BITS for known in self._known):
                return Overlap.IMAGE
        return Overlap.PATIENT if case in self.cases else None


def learned(cases: Iterable[str], images: Iterable[str] = ()) -> Learned:
    """What a bundle's `training` lists as `cases` and `images`."""
    return Learned(frozenset(cases), tuple(images))
