"""Reads the names of NIfTI files: labels or image, ED or ES, phase, slice."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

_LABELS = re.compile(r"(?<![a-z])(gt|seg|segmentation|label|labels|mask|masks)(?![a-z])", re.IGNORECASE)
_ED = re.compile(r"(?<![a-z])(ed|(end[-_ ]?)?diastol\w*)(?![a-z])", re.IGNORECASE)
_ES = re.compile(r"(?<![a-z])(es|(end[-_ ]?)?systol\w*)(?![a-z])", re.IGNORECASE)
_SLICE = re.compile(r"(?<![a-z])(?:slice|sli|slc|sl|s|z|loc)[-_ ]?(\d+)", re.IGNORECASE)
_PHASE = re.compile(r"(?<![a-z])(?:phase|ph|frame|fr|time|tp|t|p|volume|vol|v)[-_ ]?(\d+)", re.IGNORECASE)


def is_labels(path: Path) -> bool:
    """Whether the name is that of labels, not of an image."""
    return _LABELS.search(_stem(path)) is not None


def moment(path: Path) -> int | None:
    """0 if the name says ED, 1 if it says ES, else None."""
    stem = _stem(path)
    ed, es = _ED.search(stem) is not None, _ES.search(stem) is not None
    return None if ed == es else int(es)


def slice_number(path: Path) -> int | None:
    """The slice number in the name; None if the name has no or several slice numbers."""
    return _number(_SLICE, path)


def phase_number(path: Path) -> int | None:
    """The phase number in the name; None if the name has no or several phase numbers."""
    return _number(_PHASE, path)


def order(paths: Sequence[Path]) -> list[int] | None:
    """The order of files of one phase each.

    ED before ES; else by phase number; else by the only number in which the names differ.

    Returns:
        Their indices, in order; None if the names do not give an order.
    """
    readings: tuple[Callable[[Path], int | None], ...] = (moment, phase_number, _differing(paths))
    for reading in readings:
        keys = [reading(path) for path in paths]
        known = [key for key in keys if key is not None]
        if len(set(known)) == len(paths):
            return sorted(range(len(paths)), key=lambda index: known[index])
    return None


def _differing(paths: Sequence[Path]) -> Callable[[Path], int | None]:
    """A function that reads the one number in which otherwise equal names differ."""
    numbers = {path: [int(number) for number in re.findall(r"\d+", _stem(path))] for path in paths}
    if len({re.sub(r"\d+", "#", _stem(path)) for path in paths}) != 1:
        return lambda path: None
    columns = list(zip(*numbers.values(), strict=True))
    varying = [index for index, column in enumerate(columns) if len(set(column)) > 1]
    return lambda path: numbers[path][varying[0]] if len(varying) == 1 else None


def _number(pattern: re.Pattern[str], path: Path) -> int | None:
    numbers = {int(number) for number in pattern.findall(_stem(path))}
    return numbers.pop() if len(numbers) == 1 else None


def _stem(path: Path) -> str:
    return re.sub(r"\.(nii|hdr|img)(\.gz)?$", "", path.name, flags=re.IGNORECASE)
