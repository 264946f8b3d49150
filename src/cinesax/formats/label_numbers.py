"""What the numbers of a label file mean: `--labels lv=3,myo=2,rv=1`, or the name of a usual set.

acdc: ACDC (Bernard et al., IEEE TMI 37, 2018) counts from the right ventricle. mnms: M&Ms and M&Ms-2 (Campello et al.,
IEEE TMI 40, 2021) count from the left. totalsegmentator: the task heartchambers_highres, and totalsegmentator-v1 the
task total of version 1, as in `totalsegmentator/map_to_binary.py` of the program.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cinesax.core.errors import InputError, UsageError
from cinesax.core.structures import Structure

LabelMap = Mapping[int, Structure]
"""Number in a file -> structure. Numbers that it does not name are of no structure."""

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
    """The map that a text names.

    Args:
        text: the name of a usual set, or name=number for each structure, joined by commas; a structure may have several
            numbers. Names are lv, myo, rv and pap, and those of the table of structures.

    Raises:
        UsageError: neither of these; a number twice.
    """
    if text.strip().lower() in _SETS:
        return _mapped([(_SHORT[name], number) for name, number in _SETS[text.strip().lower()].items()], text)
    pairs = []
    for part in text.split(","):
        name, equals, number = part.strip().partition("=")
        structure = _named(name.strip().lower())
        if not equals or structure is None or not number.strip().isdecimal() or len(number.strip()) > 5:
            raise UsageError(
                f"--labels names what numbers mean, as in lv=3,myo=2,rv=1 (names: {', '.join(_SHORT)}) or "
                f"{', '.join(_SETS)}; seen {part.strip() or 'nothing'!r}"
            )
        pairs.append((structure, int(number)))
    return _mapped(pairs, text)


def _named(name: str) -> Structure | None:
    by_name = {one.facts.class_name: one for one in Structure}
    return _SHORT.get(name) or by_name.get(name)


def _mapped(pairs: list[tuple[Structure, int]], text: str) -> LabelMap:
    numbers = [number for _, number in pairs]
    if len(set(numbers)) != len(numbers) or not all(0 < number <= _LARGEST for number in numbers):
        raise UsageError(f"--labels names each number once, and numbers from 1 to {_LARGEST}; seen {text!r}")
    return MappingProxyType({number: structure for structure, number in pairs})


def to_structures(values: NDArray[np.generic], labels: LabelMap, of: str) -> NDArray[np.uint8]:
    """Label values of a file as those of the table of structures.

    Args:
        values: any shape, whole numbers from 0.
        labels: what they mean.
        of: the file, for messages.

    Raises:
        InputError: none of the numbers is there.
    """
    found = np.zeros(values.shape, dtype=np.uint8)
    for number, structure in labels.items():
        found[values == number] = structure
    if not found.any() and values.any():
        seen = ", ".join(str(int(value)) for value in np.unique(values)[:12] if value)
        meant = ", ".join(str(number) for number in sorted(labels))
        raise InputError(f"{of} holds none of the labels {meant}: it holds {seen}; --labels says what its numbers mean")
    return found
