"""Reads the names of NIfTI files: labels or image, ED or ES, phase, slice; and says which files are NIfTI.

Loads no library: every exam is asked whether it is NIfTI, and most are DICOM.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from cinesax.files.stored_files import list_files

SUFFIXES = (".nii", ".nii.gz")
_PAIR = {".hdr": ".img", ".img": ".hdr"}
"""The suffixes of a file in two parts; compressed files also end in .gz."""
_BESIDE = {".json", ".txt", ".cfg", ".csv", ".tsv", ".md", ".log", ".bval", ".bvec", ".pdf"}
_LABELS = re.compile(r"(?<![a-z])(gt|seg|segmentation|label|labels|mask|masks)(?![a-z])", re.IGNORECASE)
_ENDING = re.compile(r"\.(nii|hdr|img)(\.gz)?$", re.IGNORECASE)
_ED = re.compile(r"(?<![a-z])(ed|(end[-_ ]?)?diastol\w*)(?![a-z])", re.IGNORECASE)
_ES = re.compile(r"(?<![a-z])(es|(end[-_ ]?)?systol\w*)(?![a-z])", re.IGNORECASE)
_SLICE = re.compile(r"(?<![a-z])(?:slice|sli|slc|sl|s|z|loc)[-_ ]?(\d+)", re.IGNORECASE)
_PHASE = re.compile(r"(?<![a-z])(?:phase|ph|frame|fr|time|tp|t|p|volume|vol|v)[-_ ]?(\d+)", re.IGNORECASE)


def is_nifti(path: Path) -> bool:
    """Whether the name is that of a NIfTI file; .hdr and .img count if both files exist."""
    return path.name.lower().endswith(SUFFIXES) or _other_part(path) is not None


def is_second_part(path: Path) -> bool:
    """Whether a file is an .img whose .hdr stands for both files."""
    return path.name.lower().removesuffix(".gz").endswith(".img") and _other_part(path) is not None


def _other_part(path: Path) -> Path | None:
    """The .img of a .hdr, or the reverse; None for other names, or if it does not exist."""
    compressed = path.name[len(path.name) - 3 :] if path.name.lower().endswith(".gz") else ""
    inner = path.name[: len(path.name) - len(compressed)]
    other = _PAIR.get(inner[-4:].lower())
    if other is None:
        return None
    place = path.with_name(inner[:-4] + (other.upper() if inner[-4:].isupper() else other) + compressed)
    try:
        return place if place.is_file() else None
    except OSError:
        return None


def nifti_files(folder: Path) -> tuple[Path, ...]:
    """The images of a folder of NIfTI files (with JSON, text and the like); () if it holds other files, such as DICOM.

    Files with names of labels (gt, seg, label, mask) are left out.
    """
    files = [file.path for file in list_files(folder)]
    images = [file for file in files if is_nifti(file) and not is_second_part(file)]
    files = [file for file in files if not is_second_part(file)]
    if any(file not in images and file.suffix.lower() not in _BESIDE for file in files):
        return ()
    return tuple(file for file in images if not is_labels(file.name))


def is_labels(name: str) -> bool:
    """Whether the name of a file is that of labels, not of an image."""
    return _LABELS.search(_stem(name)) is not None


def moment(path: Path) -> int | None:
    """0 if the name says ED, 1 if it says ES, else None."""
    stem = _stem(path.name)
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
    numbers = {path: [int(number) for number in re.findall(r"\d+", _stem(path.name))] for path in paths}
    if len({re.sub(r"\d+", "#", _stem(path.name)) for path in paths}) != 1:
        return lambda path: None
    columns = list(zip(*numbers.values(), strict=True))
    varying = [index for index, column in enumerate(columns) if len(set(column)) > 1]
    return lambda path: numbers[path][varying[0]] if len(varying) == 1 else None


def _number(pattern: re.Pattern[str], path: Path) -> int | None:
    numbers = {int(number) for number in pattern.findall(_stem(path.name))}
    return numbers.pop() if len(numbers) == 1 else None


def _stem(name: str) -> str:
    return _ENDING.sub("", name)
