"""Where contour files have the centre of an image's first pixel, and how a folder of them says so.

The Sunnybrook files count from the outer corner of the first pixel: its centre is (0.5, 0.5), the standard here.
Older versions wrote files in which it is (0, 0). Which one holds for a file is decided in its folder, else in the next
one above it, and so on:

1. `convention.json` beside the files, which `write_contours` leaves there and which travels with the folder;
2. in a folder `contours`, the analysis.json of the result that it is part of: what its
   `segmentation.contour_first_pixel_centre` says, and (0, 0) where an older result lacks that;
3. the standard.
"""

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cinesax.core.errors import InputError
from cinesax.files.stored_files import replacing

Centre = tuple[float, float]

STANDARD: Centre = (0.5, 0.5)
BEFORE_IT_WAS_NAMED: Centre = (0.0, 0.0)
MARKER_NAME = "convention.json"
FIELD = "contour_first_pixel_centre"
"""The name in analysis.json, in `segmentation`."""

_SCHEMA = "cinesax/contours/1"
_RESULT_SCHEMAS = "cinesax/analysis/"
_RESULT_NAME, _CONTOURS_NAME = "analysis.json", "contours"


@dataclass(frozen=True)
class Convention:
    """What holds in a folder.

    Attributes:
        folder: where it was found.
        first_pixel_centre: (x, y) of the first stored pixel's centre in its files.
        exceptions: path below the folder, with slashes -> the same of files that somebody else put there.
    """

    folder: Path
    first_pixel_centre: Centre
    exceptions: Mapping[str, Centre] = field(default_factory=dict)

    def of(self, file: Path) -> Centre:
        """The convention of a file at any depth of the folder."""
        return self.exceptions.get(file.relative_to(self.folder).as_posix(), self.first_pixel_centre)


def first_pixel_centres(files: Iterable[Path]) -> dict[Path, Centre]:
    """(x, y) of the first pixel's centre in each of the contour files.

    Raises:
        InputError: a marker or analysis.json that names no convention where it should.
    """
    by_folder: dict[Path, Convention] = {}
    centres = {}
    for file in files:
        place = Path(os.path.abspath(file))
        if place.parent not in by_folder:
            by_folder[place.parent] = _of_folder(place.parent)
        centres[file] = by_folder[place.parent].of(place)
    return centres


def write_marker(folder: Path, *, others: Iterable[Path] = ()) -> Path:
    """Say in a folder that its contours are of the standard convention.

    Args:
        folder: where they are.
        others: contour files in it, at any depth, which keep the convention that they have now.

    Raises:
        InputError: see `first_pixel_centres`.
        OSError: it cannot be written.
    """
    return _write(folder, exceptions_among(folder, others))


def add_exceptions(folder: Path, exceptions: Mapping[str, Centre]) -> None:
    """Let the marker of a folder say which of its files have another convention: see `exceptions_among`."""
    if exceptions:
        _write(folder, exceptions)


def exceptions_among(folder: Path, files: Iterable[Path]) -> dict[str, Centre]:
    """Path below the folder -> convention, of those files that do not have the standard one."""
    centres = first_pixel_centres(files)
    return {
        file.relative_to(folder).as_posix(): centre for file, centre in sorted(centres.items()) if centre != STANDARD
    }


def _write(folder: Path, exceptions: Mapping[str, Centre]) -> Path:
    told: dict[str, Any] = {"schema": _SCHEMA, "first_pixel_centre": STANDARD}
    if exceptions:
        told["exceptions"] = dict(exceptions)
    path = folder / MARKER_NAME
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(told) + "\n", encoding="utf-8")
    return path


def _of_folder(start: Path) -> Convention:
    for folder in (start, *start.parents):
        found = _marked(folder) or (_of_result(folder) if folder.name == _CONTOURS_NAME else None)
        if found is not None:
            return found
    return Convention(start, STANDARD)


def _marked(folder: Path) -> Convention | None:
    path = folder / MARKER_NAME
    if not path.is_file():
        return None
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read, which says how the contours beside it are meant: {error}") from error
    if not isinstance(told, dict) or told.get("schema") != _SCHEMA:
        return None  # another program's
    exceptions = told.get("exceptions", {})
    if not isinstance(exceptions, dict):
        raise InputError(f"{path}: exceptions must be an object of file names, seen {type(exceptions).__name__}")
    others = {name: _centre(value, path, name) for name, value in exceptions.items()}
    return Convention(folder, _centre(told.get("first_pixel_centre"), path, "first_pixel_centre"), others)


def _of_result(folder: Path) -> Convention | None:
    path = folder.parent / _RESULT_NAME
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(told, dict) or not str(told.get("schema")).startswith(_RESULT_SCHEMAS):
        return None
    segmentation = told.get("segmentation")
    if not isinstance(segmentation, dict) or FIELD not in segmentation:
        return Convention(folder, BEFORE_IT_WAS_NAMED)
    return Convention(folder, _centre(segmentation[FIELD], path, FIELD))


def _centre(value: object, path: Path, name: str) -> Centre:
    numbers = value if isinstance(value, list) and len(value) == 2 else []
    x, y = (
        float(number) if isinstance(number, int | float) and math.isfinite(number) else math.nan
        for number in (*numbers, *([None] * (2 - len(numbers))))
    )
    if math.isnan(x + y):
        raise InputError(f"{path}: {name} must be two numbers, x and y, seen {str(value)[:40]}")
    return x, y
