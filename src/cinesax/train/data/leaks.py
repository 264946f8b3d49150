"""Leaks: patients or near-identical images on both sides of a split.

A network that has seen a patient, or a copy of an image under another name, scores too well. Two images count as
near-identical if their fine structure agrees: both are averaged to 64 x 64, high-pass filtered (to remove contrast and
coil shading), and correlated at every shift and in all eight quarter turns and mirrorings.

On 486 labelled Sunnybrook slices of 28 patients (including SC-N-06, which the data no longer contain), images of
different patients reach 0.44 at most; an image and its copy after 8-bit rounding, noise of 5 %, gamma 0.6, a shift of a
dozen pixels or cropping to 216 rows at least 0.87; the most similar other slice of the same patient has 0.94 in the
median. Copies that were enlarged, or rotated by a few degrees, are not detected.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from cinesax.core.errors import counted
from cinesax.train.data.examples import Kind

LIMIT = 0.6
_SIZE = 64
_SMOOTH = 1.5
# For each image, how many images with the most similar spectra are compared in full.
_CANDIDATES = 5
_BLOCK = 512
# How many images' transforms are kept, 70 kB each.
_KEPT = 1024
Fine = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Seen:
    """The facts of one example that the check needs.

    Attributes:
        name: name of the example.
        case: the patient.
        kind: kind of source; phantoms are not compared.
        side: the split, or the fold of it, that must not share anything with another side.
    """

    name: str
    case: str
    kind: Kind
    side: str


@dataclass(frozen=True, slots=True)
class Leak:
    """Two patients on two sides that seem to be the same.

    Attributes:
        cases: the patients on the first and second side; equal if one patient is on both.
        sides: the two sides.
        pairs: number of near-identical image pairs; 0 if only the names agree.
        names: names of the most similar pair, or ().
        likeness: likeness of that pair, at most 1.
    """

    cases: tuple[str, str]
    sides: tuple[str, str]
    pairs: int = 0
    names: tuple[str, ...] = ()
    likeness: float = 0.0

    def __str__(self) -> str:
        where = f"{self.cases[0]} ({self.sides[0]}) and {self.cases[1]} ({self.sides[1]})"
        if self.cases[0] == self.cases[1]:
            where = f"patient {self.cases[0]} is in {self.sides[0]} and in {self.sides[1]}"
        elif not self.pairs:
            return f"{where} are the same patient by their names"
        if not self.pairs:
            return where
        alike = f"{self.names[0]} and {self.names[1]} (likeness {self.likeness:.2f})"
        return f"{where}: {counted(self.pairs, 'near-identical pair')} of images, the most alike are {alike}"


def fine_structure(image: NDArray[np.uint16]) -> Fine:
    """The fine structure of a framed image.

    Args:
        image: (size, size).

    Returns:
        (64, 64), float32: mean 0 and norm 1; all 0 if the image is flat.
    """
    size = image.shape[0]
    if size % _SIZE == 0:
        small = image.reshape(_SIZE, size // _SIZE, _SIZE, size // _SIZE).mean(axis=(1, 3))
    else:
        smooth = ndimage.gaussian_filter(image.astype(np.float64), max(0.0, (size / _SIZE - 1) / 2))
        small = ndimage.zoom(smooth, _SIZE / size, order=1)
    # The edge of a small frame is not structure: it would make all frames of one size similar.
    inside = np.zeros(small.shape)
    inside[np.ix_(small.any(axis=1), small.any(axis=0))] = 1
    weight = np.maximum(ndimage.gaussian_filter(inside, _SMOOTH, mode="nearest"), 1e-6)
    fine = (small - ndimage.gaussian_filter(small * inside, _SMOOTH, mode="nearest") / weight) * inside
    fine -= fine.mean(where=inside > 0) * inside if inside.any() else 0
    norm = float(np.linalg.norm(fine))
    return np.asarray(fine / norm if norm > 0 else fine * 0, dtype=np.float32)


def likeness(first: Fine, second: Fine) -> float:
    """The largest correlation of two fine structures, over all shifts, quarter turns and mirrorings."""
    return _largest_correlation(_transforms(first)[0], _transforms(second))


def _transforms(image: Fine) -> NDArray[np.complex64]:
    """(4, row, column): the Fourier transforms of an image, its mirror image, and both with axes swapped."""
    swapped = image.T
    return np.asarray(fft.rfft2(np.stack([image, image[:, ::-1], swapped, swapped[:, ::-1]])))


def _largest_correlation(first: NDArray[np.complex64], others: NDArray[np.complex64]) -> float:
    # Half a turn makes a transform its conjugate, but for a shift; and all shifts are looked at. So four transforms
    # serve for the eight ways to turn and mirror a picture.
    size = first.shape[0]
    correlations = fft.irfft2(first * np.concatenate([others.conj(), others]), s=(size, size))
    return float(correlations.max())


def find_leaks(seen: Sequence[Seen], images: NDArray[np.float32], *, limit: float = LIMIT) -> list[Leak]:
    """Find patients and near-identical images on two sides.

    Args:
        seen: the examples.
        images: (example, 64, 64): the fine structure of each.
        limit: the likeness from which two images count as near-identical.

    Returns:
        One leak per pair of patients, the clearest first: same patient, then most image pairs.
    """
    real = [i for i, example in enumerate(seen) if example.kind is not Kind.PHANTOM]
    leaks: dict[tuple[str, ...], Leak] = {}
    for leak in (*_by_name([seen[i] for i in real]), *_by_image(seen, images, real, limit)):
        leaks[*leak.cases, *leak.sides] = leak
    return sorted(leaks.values(), key=lambda leak: (leak.cases[0] != leak.cases[1], -leak.pairs, leak.cases))


def patient_key(case: str) -> tuple[str, ...]:
    """A key shared by all spellings of a patient's name: SC-HF-I-1, SC-HF-I-01 and sc_hf_i_01."""
    return tuple(str(int(part)) if part.isdigit() else part for part in re.findall(r"[a-z]+|\d+", case.lower()))


def _by_name(seen: Iterable[Seen]) -> Iterator[Leak]:
    sides: dict[tuple[str, ...], dict[tuple[str, str], None]] = defaultdict(dict)
    for example in seen:
        sides[patient_key(example.case)][example.case, example.side] = None
    for places in sides.values():
        (first, side), *others = sorted(places, key=lambda place: (place[1], place[0]))
        for case, other in others:
            if other != side:
                yield Leak((first, case), (side, other))


def _by_image(seen: Sequence[Seen], images: NDArray[np.float32], real: Sequence[int], limit: float) -> Iterator[Leak]:
    pairs: dict[tuple[str, str, str, str], list[tuple[float, str, str]]] = defaultdict(list)
    transforms = lru_cache(_KEPT)(lambda number: _transforms(images[number]))
    for i, j in _candidates(seen, images, real):
        value = _largest_correlation(transforms(i)[0], transforms(j))
        if value >= limit:
            a, b = sorted((seen[i], seen[j]), key=lambda example: (example.side, example.case, example.name))
            pairs[a.case, b.case, a.side, b.side].append((value, a.name, b.name))
    for (case, other, side, far), alike in pairs.items():
        best = max(alike)
        yield Leak((case, other), (side, far), len(set(alike)), best[1:], best[0])


def _candidates(seen: Sequence[Seen], images: NDArray[np.float32], real: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Pairs worth comparing: those with the most similar spectra, which shifts and half turns do not change."""
    if not real:
        return
    index = np.array(real)
    side_of = np.unique([seen[i].side for i in real], return_inverse=True)[1]
    spectra = _spectra(images[index])
    mirrored = images[index][:, :, ::-1]
    turned = (mirrored, images[index].transpose(0, 2, 1), mirrored.transpose(0, 2, 1))
    taken: set[tuple[int, int]] = set()
    for other in (spectra, *map(_spectra, turned)):
        for start in range(0, len(index), _BLOCK):
            block = spectra[start : start + _BLOCK] @ other.T
            block[side_of[start : start + _BLOCK, None] == side_of[None]] = -np.inf
            best = np.argpartition(-block, min(_CANDIDATES, block.shape[1] - 1), axis=1)[:, :_CANDIDATES]
            for row, column in zip(*np.nonzero(np.isfinite(np.take_along_axis(block, best, 1))), strict=True):
                i, j = start + int(row), int(best[row, column])
                taken.add((int(index[min(i, j)]), int(index[max(i, j)])))
    yield from sorted(taken)


def _spectra(images: NDArray[np.float32]) -> NDArray[np.float32]:
    size = np.abs(np.fft.rfft2(images)).astype(np.float32)
    spectra = ndimage.gaussian_filter(np.log1p(100 * size), (0, 1, 1))
    flat = (spectra - spectra.mean(axis=0)).reshape(len(images), -1)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9), dtype=np.float32)
