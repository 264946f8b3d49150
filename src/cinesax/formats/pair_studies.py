"""Pairs of pictures put together again to studies: the labelled frames of one patient, by slice and phase.

A network that finds the heart from all frames of a study should get all labelled frames of a patient at once, as it
does in `cinesax analyze`. Which slice and phase a picture shows stands in its name, in one of two ways:

- `PATIENT-IM-0001-NNNN` (Sunnybrook): NNNN counts the frames of the study from 1, slice by slice. How many phases a
  slice has, the names do not say: it is the largest number that leaves each patient at most two phases (ED and ES).
- words with numbers: `patient007_frame01_slice12`, `p7_ed_sl3`, `p7_slice4`.

Pictures with other names stay alone, each a study of one frame: neighbours that are none would mislead.
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
# One letter counts only at the start of a word: the S9 in A0S9V9 is a part of the patient's name.
_SLICE = re.compile(r"(?:(?<![a-z])(?:slice|sl)|(?<![a-z0-9])[sz])[-_]?(\d+)", re.IGNORECASE)
_PHASE = re.compile(r"(?:(?<![a-z])(?:frame|phase|time|fr|ph)|(?<![a-z0-9])t)[-_]?(\d+)", re.IGNORECASE)
_ED_ES = re.compile(r"(?<![a-z])(ed|es)(?![a-z])", re.IGNORECASE)
# Cines have 8 to 100 phases; below 8 many numbers fit by chance.
_PHASES = range(8, 101)

Place = tuple[int, int]


@dataclass(frozen=True, eq=False)
class PairStudy:
    """The labelled frames of one patient, of one matrix.

    Attributes:
        case: the patient.
        names: (phase, slice) in `cine` -> name of the pair, for the frames that there are.
        cine: the pictures, without geometry. Where a slice was labelled at one phase only, its picture stands at the
            other phases too: it is looked at there, not compared.
        truth: the labels, on the same grid; empty where there is no pair.
    """

    case: str
    names: Mapping[Place, str]
    cine: Cine
    truth: Segmentation


def read_studies(folder: Path, *, phases: int | None = None) -> Iterator[PairStudy]:
    """The pairs of a folder, patient by patient.

    Args:
        folder: with `images/` and `labels/`.
        phases: of each slice, for names that count the frames of a study; None: found from all names.

    Raises:
        DatasetError: as `read_pairs` and `load`, or two pictures of one slice and phase.
    """
    found = read_pairs(folder)
    count = phases or phases_by_numbers([pair.name for pair in found], [pair.case for pair in found])
    groups: dict[tuple[Any, ...], list[tuple[Pair, Place | None]]] = defaultdict(list)
    for pair in found:
        place = place_of(pair.name, count)
        groups[(pair.case,) if place is not None else (pair.case, pair.name)].append((pair, place))
    for group in groups.values():
        yield from _studies(group)


def phases_by_numbers(names: Sequence[str], cases: Sequence[str]) -> int | None:
    """How many phases a slice has, where names count the frames of a study; None where that is not to be told."""
    numbers: dict[str, set[int]] = defaultdict(set)
    for name, case in zip(names, cases, strict=True):
        match = _NUMBERED.search(name)
        if match:
            numbers[case].add(int(match[1]))
    # Three frames of a patient can only be two phases where one of them comes again a whole number of beats later.
    if not numbers or max(len(group) for group in numbers.values()) < 3:
        return None
    fits = [count for count in _PHASES if all(len({n % count for n in group}) <= 2 for group in numbers.values())]
    return max(fits, default=None)


def place_of(name: str, phases: int | None) -> Place | None:
    """Phase and slice that a name tells, both as counted there; None where it tells none.

    Args:
        name: of the picture, without suffix.
        phases: of each slice, for names that count the frames of a study.
    """
    numbered = _NUMBERED.search(name)
    if numbered:
        return None if phases is None else ((int(numbered[1]) - 1) % phases, (int(numbered[1]) - 1) // phases)
    # What names the patient tells no place, whatever it looks like: S9_ed_sl01 is slice 1.
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
        there = shapes[image.shape].get(place)
        if there is not None:
            raise DatasetError(
                f"{pair.image} and {there[0].image} are both phase {place[0]}, slice {place[1]} of {pair.case} "
                "by their names: keep one, or rename them"
            )
        shapes[image.shape][place] = pair, image, label
    for frames in shapes.values():
        yield _study(frames)


@dataclass(frozen=True, slots=True)
class Layout:
    """The labelled frames of a patient as an array without gaps.

    Attributes:
        shown: (phase, slice), counted from 0 -> the place of the picture that stands there: where a slice was labelled
            at other phases only, the one nearest in time.
        own: those of them whose picture belongs there.
    """

    shown: Mapping[Place, Place]
    own: Mapping[Place, Place]

    @property
    def shape(self) -> tuple[int, int]:
        """Phases and slices."""
        phases, slices = max(self.shown)
        return phases + 1, slices + 1


def lay_out(places: Iterable[Place]) -> Layout:
    """Put frames, of which phase and slice are known, into an array, in order; what lies between them is left out."""
    there = set(places)
    phases, slices = (sorted({place[axis] for place in there}) for axis in (0, 1))
    shown: dict[Place, Place] = {}
    for index, in_stack in enumerate(slices):
        known = [phase for phase in phases if (phase, in_stack) in there]
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
