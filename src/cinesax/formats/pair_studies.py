"""Studies made from pairs of pictures: the labelled frames of each patient, by slice and phase.

A network that finds the heart from all frames of a study should get all labelled frames of a patient at once, as in
`cinesax analyze`. The name of a picture gives its slice and phase in one of two ways:

- `PATIENT-IM-0001-NNNN` (Sunnybrook): NNNN counts the frames of the study from 1, slice by slice. The names do not give
  the number of phases per slice: it is the largest number that leaves each patient at most two phases (ED and ES).
- words with numbers: `patient007_frame01_slice12`, `p7_ed_sl3`, `p7_slice4`.

Pictures with other names become studies of one frame each: false neighbours would mislead the network.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinesax.core.cine import Cine, Source
from cinesax.core.errors import DatasetError
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import Structure
from cinesax.formats.pairs import Pair, case_of, load, read_pairs

_NUMBERED = re.compile(r"-IM-\d+-(\d+)$", re.IGNORECASE)
# A single letter counts only at the start of a word: the S9 in A0S9V9 is part of the patient's name.
_SLICE = re.compile(r"(?:(?<![a-z])(?:slice|sl)|(?<![a-z0-9])[sz])[-_]?(\d+)", re.IGNORECASE)
_PHASE = re.compile(r"(?:(?<![a-z])(?:frame|phase|time|fr|ph)|(?<![a-z0-9])t)[-_]?(\d+)", re.IGNORECASE)
_ED_ES = re.compile(r"(?<![a-z])(ed|es)(?![a-z])", re.IGNORECASE)
# Cines have 8 to 100 phases; below 8 many numbers fit by chance.
_PHASES = range(8, 101)

Place = tuple[int, int]


@dataclass(frozen=True, eq=False)
class PairStudy:
    """The labelled frames of one patient with the same matrix.

    Attributes:
        case: the patient.
        names: (phase, slice) in `cine` -> name of the pair, for the labelled frames.
        cine: the pictures, without geometry. If a slice was labelled at one phase only, its picture fills the other
            phases too: the network sees it there, but nothing is compared.
        truth: the labels, on the same grid; empty in frames without a pair.
    """

    case: str
    names: Mapping[Place, str]
    cine: Cine
    truth: Segmentation


def read_studies(folder: Path, *, phases: int | None = None) -> Iterator[PairStudy]:
    """The pairs of a folder, patient by patient.

    Args:
        folder: a folder with `images/` and `labels/`.
        phases: phases per slice, for names that count the frames of a study; None: derived from all names.

    Raises:
        DatasetError: as `read_pairs` and `load`; or two pictures show the same slice and phase.
    """
    pairs = read_pairs(folder)
    count = phases or phases_by_numbers([pair.name for pair in pairs], [pair.case for pair in pairs])
    groups: dict[tuple[Any, ...], list[tuple[Pair, Place | None]]] = defaultdict(list)
    for pair in pairs:
        place = place_of(pair.name, count)
        groups[(pair.case,) if place is not None else (pair.case, pair.name)].append((pair, place))
    for group in groups.values():
        yield from _studies(group)


def phases_by_numbers(names: Sequence[str], cases: Sequence[str]) -> int | None:
    """The number of phases per slice, if names count the frames of a study; None if the names do not determine it."""
    numbers: dict[str, set[int]] = defaultdict(set)
    for name, case in zip(names, cases, strict=True):
        match = _NUMBERED.search(name)
        if match:
            numbers[case].add(int(match[1]))
    # Only a patient with three or more frames says anything: any two frames are two phases at most.
    if not numbers or max(len(group) for group in numbers.values()) < 3:
        return None
    fits = [count for count in _PHASES if all(len({n % count for n in group}) <= 2 for group in numbers.values())]
    return max(fits, default=None)


def place_of(name: str, phases: int | None) -> Place | None:
    """Phase and slice in a name, with its own numbers; None if it gives no slice.

    Args:
        name: of the picture, without suffix.
        phases: phases per slice, for names that count the frames of a study.
    """
    numbered = _NUMBERED.search(name)
    if numbered:
        return None if phases is None else ((int(numbered[1]) - 1) % phases, (int(numbered[1]) - 1) // phases)
    # The patient's part of the name does not count: S9_ed_sl01 is slice 1 of patient S9.
    place = name.removeprefix(case_of(name)) or name
    in_stack, in_beat, ed_es = _SLICE.search(place), _PHASE.search(place), _ED_ES.search(place)
    if in_stack is None:
        return None
    if in_beat is not None:
        return int(in_beat[1]), int(in_stack[1])
    return (int(ed_es is not None and ed_es[1].lower() == "es"), int(in_stack[1]))


def _studies(group: list[tuple[Pair, Place | None]]) -> Iterator[PairStudy]:
    """One study for each matrix among the pictures of a patient."""
    shapes: dict[tuple[int, ...], dict[Place, tuple[Pair, NDArray[Any], NDArray[np.bool_]]]] = defaultdict(dict)
    for pair, place in group:
        image, label = load(pair)
        place = place or (0, 0)
        other = shapes[image.shape].get(place)
        if other is not None:
            raise DatasetError(
                f"{pair.image} and {other[0].image} are both phase {place[0]}, slice {place[1]} of {pair.case} "
                "by their names: keep one, or rename them"
            )
        shapes[image.shape][place] = pair, image, label
    for frames in shapes.values():
        yield _study(frames)


@dataclass(frozen=True, slots=True)
class Layout:
    """The labelled frames of a patient as an array without gaps.

    Attributes:
        shown: (phase, slice), counted from 0 -> the place whose picture is shown there: if a slice was labelled at
            other phases only, the one nearest in time.
        own: the part of `shown` whose pictures belong there.
    """

    shown: Mapping[Place, Place]
    own: Mapping[Place, Place]

    @property
    def shape(self) -> tuple[int, int]:
        """Phases and slices."""
        phases, slices = max(self.shown)
        return phases + 1, slices + 1


def lay_out(places: Iterable[Place]) -> Layout:
    """Arrange frames of known phase and slice as an array, in order, without the phases and slices in between."""
    labelled = set(places)
    phases, slices = (sorted({place[axis] for place in labelled}) for axis in (0, 1))
    shown: dict[Place, Place] = {}
    for index, in_stack in enumerate(slices):
        known = [phase for phase in phases if (phase, in_stack) in labelled]
        for number, phase in enumerate(phases):
            shown[number, index] = min(known, key=lambda other: abs(other - phase)), in_stack
    own = {(n, i): place for (n, i), place in shown.items() if place[0] == phases[n]}
    return Layout(shown, own)


def _study(frames: Mapping[Place, tuple[Pair, NDArray[Any], NDArray[np.bool_]]]) -> PairStudy:
    layout = lay_out(frames)
    first, image, _ = next(iter(frames.values()))
    shape = (*layout.shape, *image.shape)
    pixels = np.zeros(shape, np.result_type(*(image for _, image, _ in frames.values())))
    labels = np.zeros(shape, np.uint8)
    names = {index: frames[place][0].name for index, place in layout.own.items()}
    for index, place in layout.shown.items():
        pixels[index] = frames[place][1]
    for index, place in layout.own.items():
        labels[index][frames[place][2]] = Structure.CAVITY
    truth = Segmentation(labels, {Structure.CAVITY: np.ones(shape[0], dtype=bool)}, author="manual")
    description = first.name if len(frames) == 1 else first.case
    return PairStudy(first.case, names, Cine(pixels, None, source=Source("pairs", description=description)), truth)
