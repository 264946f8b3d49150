"""The convention of contour files: the coordinates of the first pixel's centre, and how a folder records them.

Sunnybrook files count from the outer corner of the first pixel: its centre is (0.5, 0.5), the standard here. Older
versions of cinesax wrote files with (0, 0). The convention of a file comes from its folder, or from the nearest folder
above that has one:

1. `convention.json` next to the files, which `write_contours` writes and which travels with the folder;
2. for a folder `contours`, the analysis.json of its result: `segmentation.contour_first_pixel_centre`, or (0, 0) if an
   older result lacks it;
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
BEFORE_IT_WAS_RECORDED: Centre = (0.0, 0.0)
MARKER_NAME = "convention.json"
FIELD = "contour_first_pixel_centre"
"""The field in analysis.json, in `segmentation`."""

_SCHEMA = "cinesax/contours/1"
_RESULT_SCHEMAS = "cinesax/analysis/"
_RESULT_NAME, _CONTOURS_NAME = "analysis.json", "contours"


@dataclass(frozen=True)
class Convention:
    """The convention of a folder.

    Attributes:
        folder: the folder that records it.
        first_pixel_centre: (x, y) of the first stored pixel's centre in its files.
        exceptions: path below the folder, with slashes -> (x, y) of files from elsewhere.
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
        InputError: a marker or analysis.json does not give a convention where it should.
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
    """Record in a folder that its contours have the standard convention.

    Args:
        folder: the folder of the contours.
        others: other contour files in it, at any depth, which keep their present convention.

    Raises:
        InputError: see `first_pixel_centres`.
        OSError: the marker cannot be written.
    """
    return _write(folder, exceptions_among(folder, others))


def add_exceptions(folder: Path, exceptions: Mapping[str, Centre]) -> None:
    """Record in a folder's marker which files have another convention: see `exceptions_among`."""
    if exceptions:
        _write(folder, exceptions)


def exceptions_among(folder: Path, files: Iterable[Path]) -> dict[str, Centre]:
    """Path below the folder -> convention, for files without the standard convention."""
    centres = first_pixel_centres(files)
    return {
        file.relative_to(folder).as_posix(): centre for file, centre in sorted(centres.items()) if centre != STANDARD
    }


def _write(folder: Path, exceptions: Mapping[str, Centre]) -> Path:
    marker: dict[str, Any] = {"schema": _SCHEMA, "first_pixel_centre": STANDARD}
    if exceptions:
        marker["exceptions"] = dict(exceptions)
    path = folder / MARKER_NAME
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(marker) + "\n", encoding="utf-8")
    return path


def _of_folder(start: Path) -> Convention:
    for folder in (start, *start.parents):
        convention = _marked(folder) or (_of_result(folder) if folder.name == _CONTOURS_NAME else None)
        if convention is not None:
            return convention
    return Convention(start, STANDARD)


def _marked(folder: Path) -> Convention | None:
    path = folder / MARKER_NAME
    if not path.is_file():
        return None
    try:
        marker = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}, which gives the convention of the contours next to it, cannot be read: {error}"
        ) from error
    if not isinstance(marker, dict) or marker.get("schema") != _SCHEMA:
        return None  # another program's
    exceptions = marker.get("exceptions", {})
    if not isinstance(exceptions, dict):
        raise InputError(f"{path}: exceptions must be an object of file names, seen {type(exceptions).__name__}")
    others = {name: _centre(value, path, name) for name, value in exceptions.items()}
    return Convention(folder, _centre(marker.get("first_pixel_centre"), path, "first_pixel_centre"), others)


def _of_result(folder: Path) -> Convention | None:
    path = folder.parent / _RESULT_NAME
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(result, dict) or not str(result.get("schema")).startswith(_RESULT_SCHEMAS):
        return None
    segmentation = result.get("segmentation")
    if not isinstance(segmentation, dict) or FIELD not in segmentation:
        return Convention(folder, BEFORE_IT_WAS_RECORDED)
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
