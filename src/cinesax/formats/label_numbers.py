"""The meaning of the numbers in a label file: `--labels lv=3,myo=2,rv=1`, or the name of a known set.

acdc: ACDC (Bernard et al., IEEE TMI 37, 2018) counts from the right ventricle. mnms: M&Ms and M&Ms-2 (Campello et al.,
IEEE TMI 40, 2021) count from the left. totalsegmentator: its task heartchambers_highres; totalsegmentator-v1: the task
total of its version 1; both as in its `totalsegmentator/map_to_binary.py`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cinesax.core.errors import InputError, UsageError
from cinesax.core.structures import Structure

LabelMap = Mapping[int, Structure]
"""Number in a file -> structure. All other numbers are background."""

_SHORT: Final = {
    "lv": Structure.CAVITY,
    "myo": Structure.MYOCARDIUM,
    "rv": Structure.RV_CAVITY,
    "pap": Structure.PAPILLARY_MUSCLES,
}
_SETS: Final[Mapping[str, Mapping[str, int]]] = {
    "acdc": {"rv": 1, "myo": 2, "lv": 3},
    "mnms": {"lv": 1, "myo": 2, "rv": 3},
    "totalsegmentator": {"myo": 1, "lv": 3, "rv": 5},
    "totalsegmentator-v1": {"myo": 44, "lv": 46, "rv": 48},
}
_LARGEST = 2**16 - 1


def parse_labels(text: str) -> LabelMap:
    """The label map that a text describes.

    Args:
        text: the name of a known set, or name=number for each structure, joined by commas; a structure may have several
            numbers. Names are lv, myo, rv and pap, and the class names of the table of structures.

    Raises:
        UsageError: the text is neither of these, or has a number twice.
    """
    if text.strip().lower() in _SETS:
        return _mapped([(_SHORT[name], number) for name, number in _SETS[text.strip().lower()].items()], text)
    pairs = []
    for part in text.split(","):
        name, equals, number = part.strip().partition("=")
        structure = _named(name.strip().lower())
        if not equals or structure is None or not number.strip().isdecimal() or len(number.strip()) > 5:
            raise UsageError(
                f"--labels names the meaning of numbers, as in lv=3,myo=2,rv=1 (names: {', '.join(_SHORT)}) or "
                f"{', '.join(_SETS)}; seen {part.strip() or 'nothing'!r}"
            )
        pairs.append((structure, int(number)))
    return _mapped(pairs, text)


def _named(name: str) -> Structure | None:
    by_name = {structure.facts.class_name: structure for structure in Structure}
    return _SHORT.get(name) or by_name.get(name)


def _mapped(pairs: list[tuple[Structure, int]], text: str) -> LabelMap:
    numbers = [number for _, number in pairs]
    if len(set(numbers)) != len(numbers) or not all(0 < number <= _LARGEST for number in numbers):
        raise UsageError(f"--labels names each number once, and numbers from 1 to {_LARGEST}; seen {text!r}")
    return MappingProxyType({number: structure for structure, number in pairs})


def to_structures(values: NDArray[np.generic], labels: LabelMap, of: str) -> NDArray[np.uint8]:
    """Translate the numbers of a file into labels of the table of structures.

    Args:
        values: any shape, whole numbers from 0.
        labels: their meaning.
        of: the file, for messages.

    Raises:
        InputError: the file has none of the numbers.
    """
    structures = np.zeros(values.shape, dtype=np.uint8)
    for number, structure in labels.items():
        structures[values == number] = structure
    if not structures.any() and values.any():
        seen = ", ".join(str(int(value)) for value in np.unique(values)[:12] if value)
        meant = ", ".join(str(number) for number in sorted(labels))
        raise InputError(f"{of} holds none of the labels {meant}: it holds {seen}; --labels says what its numbers mean")
    return structures
