"""What the names of NIfTI files say: labels or images, ED or ES, which phase, which slice."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

_LABELS = re.compile(r"(?<![a-z])(gt|seg|segmentation|label|labels|mask|masks)(?![a-z])", re.IGNORECASE)
_ED = re.compile(r"(?<![a-z])(ed|(end[-_ ]?)?diastol\w*)(?![a-z])", re.IGNORECASE)
_ES = re.compile(r"(?<![a-z])(es|(end[-_ ]?)?systol\w*)(?![a-z])", re.IGNORECASE)
_SLICE = re.compile(r"(?<![a-z])(?:slice|sli|slc|sl|s|z|loc)[-_ ]?(\d+)", re.IGNORECASE)
_PHASE = re.compile(r"(?<![a-z])(?:phase|ph|frame|fr|time|tp|t|p|volume|vol|v)[-_ ]?(\d+)", re.IGNORECASE)


def is_labels(path: Path) -> bool:
    """Whether a name is that of labels rather than of an image."""
    return _LABELS.search(_stem(path)) is not None


def moment(path: Path) -> int | None:
    """0 of a name that says ED, 1 of one that says ES, else None."""
    stem = _stem(path)
    ed, es = _ED.search(stem) is not None, _ES.search(stem) is not None
    return None if ed == es else int(es)


def slice_number(path: Path) -> int | None:
    """The number of the slice, where the name has one and no second."""
    return _number(_SLICE, path)


def phase_number(path: Path) -> int | None:
    """The number of the phase, where the name has one and no second."""
    return _number(_PHASE, path)


def order(paths: Sequence[Path]) -> list[int] | None:
    """The order of files of one phase each.

    ED before ES, else by the number of the phase, else by the only number in which the names differ.

    Returns:
        Their indices, in order; None where the names do not tell.
    """
    readings: tuple[Callable[[Path], int | None], ...] = (moment, phase_number, _differing(paths))
    for reading in readings:
        keys = [reading(path) for path in paths]
        known = [key for key in keys if key is not None]
        if len(set(known)) == len(paths):
            return sorted(range(len(paths)), key=lambda index: known[index])
    return None


def _differing(paths: Sequence[Path]) -> Callable[[Path], int | None]:
    """A reading of the one number in which names that are otherwise the same differ."""
    numbers = {path: [int(number) for number in re.findall(r"\d+", _stem(path))] for path in paths}
    if len({re.sub(r"\d+", "#", _stem(path)) for path in paths}) != 1:
        return lambda path: None
    columns = list(zip(*numbers.values(), strict=True))
    varying = [index for index, column in enumerate(columns) if len(set(column)) > 1]
    return lambda path: numbers[path][varying[0]] if len(varying) == 1 else None


def _number(pattern: re.Pattern[str], path: Path) -> int | None:
    found = {int(number) for number in pattern.findall(_stem(path))}
    return found.pop() if len(found) == 1 else None


def _stem(path: Path) -> str:
    return re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)
