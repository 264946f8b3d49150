"""Reads cvi42 workspaces: contours that people drew in Circle's cvi42, from its XML export (`.cvi42wsx`).

The file is a tree of `Hash:item` elements. The key of an image is its SOPInstanceUID; under its key Contours it holds
each contour by name, with Points (`Point:x`, `Point:y`) and SubpixelResolution, the number of points per pixel.
Coordinates divided by that number are whole at pixel centres. The format is not published; this reader follows parsers
in public repositories (parse_cvi42_xml.py of ukbb_cardiac; Contour42; getCMR42Contours.m of Gerardus).
"""

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

import numpy as np

from cinesax.core.cine import Cine
from cinesax.core.errors import InputError
from cinesax.core.grid import Floats
from cinesax.core.segmentation import ContourKey, Polygons, Segmentation, from_contours
from cinesax.core.structures import Structure

XML_SUFFIX, BINARY_SUFFIX = ".cvi42wsx", ".cvi42ws"

_CONTOURS = {
    "saendocardialContour": Structure.CAVITY,
    "saendocardialOpenContour": Structure.CAVITY,
    "saepicardialContour": Structure.MYOCARDIUM,
    "saepicardialOpenContour": Structure.MYOCARDIUM,
    "sarvendocardialContour": Structure.RV_CAVITY,
}
_NUMBERED = re.compile(r"(?P<name>[A-Za-z]+)\d*")
_MAX_BYTES = 512 * 1024**2
_MAX_DEPTH = 64
_MAX_POINTS = 5_000_000
_CHUNK = 1024**2


@dataclass
class _Contour:
    """One contour as stored: x and y of its points, before division."""

    x: list[float] = field(default_factory=list)
    y: list[float] = field(default_factory=list)
    per_pixel: float = 1.0


def is_workspace(path: Path) -> bool:
    """Whether the name is that of a cvi42 workspace."""
    return path.name.lower().endswith((XML_SUFFIX, BINARY_SUFFIX))


def read_workspace(path: Path, cine: Cine) -> Segmentation:
    """The short-axis contours of a cine in a workspace: LV endocardium and epicardium, RV endocardium.

    Contours of other images, long-axis contours and papillary muscles (which are part of the cavity) are ignored. Open
    contours (at the base) are closed by a straight line.

    Args:
        path: the XML export.
        cine: the exam that the contours were drawn on, from DICOM.

    Raises:
        InputError: the workspace is binary, damaged or unsafe, has no contour of this exam, or has points outside the
            image.
    """
    if path.name.lower().endswith(BINARY_SUFFIX):
        raise InputError(f"{path} is a binary workspace: export it from cvi42 as XML (.cvi42wsx)")
    if not cine.source.instance_uids:
        raise InputError(
            f"{path} names images by their SOPInstanceUID, which this exam does not have: give it as DICOM"
        )
    places = _places(cine)
    drawn = _parse(path)
    of_cine = {key: contour for key, contour in drawn.items() if key[0] in places}
    if not of_cine:
        others = len({uid for uid, _ in drawn})
        raise InputError(
            f"{path} holds no contour of this exam: its {others} images with contours belong to other exams"
        )
    contours: dict[ContourKey, Polygons] = {}
    for (uid, name), contour in sorted(of_cine.items(), key=_closed_last):
        structure = _structure(name)
        if structure is None or len(contour.x) < 3:
            continue
        if cine.source.frame_numbers and len(places[uid]) > 1:
            raise InputError(
                f"{path} has contours of a multi-frame instance, but does not say of which frame: it cannot be read"
            )
        for phase, place in places[uid]:
            key = structure, phase, place
            others_of_frame = contours.get(key, ()) if name[-1].isdigit() else ()
            contours[key] = (*others_of_frame, _polygon(path, contour, cine, place))
    if not contours:
        raise InputError(f"{path} holds no contour of a ventricle: expected saendocardialContour and the like")
    shape = (cine.n_phases, cine.n_slices, cine.pixels.shape[2], cine.pixels.shape[3])
    return from_contours(contours, shape, author="manual")


def _places(cine: Cine) -> dict[str, list[tuple[int, int]]]:
    """SOPInstanceUID -> (phase, slice) of each of its frames."""
    places: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for phase, row in enumerate(cine.source.instance_uids):
        for place, uid in enumerate(row):
            places[uid].append((phase, place))
    return places


def _closed_last(item: tuple[tuple[str, str], _Contour]) -> tuple[str, bool, str]:
    """Sorts closed contours after open ones: if a border has both, the closed contour replaces the open one."""
    (uid, name), _ = item
    return uid, "Open" not in name, name


def _structure(name: str) -> Structure | None:
    match = _NUMBERED.fullmatch(name)
    return None if match is None else _CONTOURS.get(match["name"])


def _polygon(path: Path, contour: _Contour, cine: Cine, place: int) -> Floats:
    if len(contour.x) != len(contour.y) or not contour.per_pixel > 0:
        raise InputError(
            f"{path} holds a contour with {len(contour.x)} x and {len(contour.y)} y coordinates: it is damaged"
        )
    points = np.column_stack([contour.x, contour.y]) / contour.per_pixel
    if cine.source.paddings_px:
        points = points + np.array(cine.source.paddings_px[place][::-1], dtype=np.float64)
    rows, columns = cine.pixels.shape[2:]
    if not np.all(np.isfinite(points)) or np.any(points < -1) or np.any(points > [columns, rows]):
        raise InputError(f"{path} holds a contour that leaves its image of {columns} columns and {rows} rows")
    # A last point that repeats the first would close the polygon twice.
    return points[:-1] if len(points) > 3 and np.array_equal(points[0], points[-1]) else points


class _Reader:
    """Collects contours from the events of the parser: (SOPInstanceUID, name of the contour) -> contour."""

    def __init__(self) -> None:
        self.contours: dict[tuple[str, str], _Contour] = defaultdict(_Contour)
        self.keys: list[str] = []
        self.text: list[str] = []
        self.points = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins: note its key, or its name if it has no key."""
        key = next((value for named, value in attributes.items() if _local(named) == "key"), _local(name))
        self.keys.append(key)
        self.text.clear()
        if len(self.keys) > _MAX_DEPTH:
            raise ValueError("elements are nested too deeply")

    def end(self, name: str) -> None:
        """An element ends: if it is a number of a contour, keep the number."""
        current, text = self._in_contour(), "".join(self.text).strip()
        if current is not None and text:
            contour, keys = current
            if keys == ("SubpixelResolution",):
                contour.per_pixel = float(text)
            elif len(keys) == 3 and keys[0] == "Points" and keys[2] in ("x", "y"):
                (contour.x if keys[2] == "x" else contour.y).append(float(text))
                self.points += 1
                if self.points > 2 * _MAX_POINTS:
                    raise ValueError("too many points")
        self.keys.pop()
        self.text.clear()

    def _in_contour(self) -> tuple[_Contour, tuple[str, ...]] | None:
        """The contour around the current element, and the keys from the contour down to the element."""
        if "Contours" not in self.keys:
            return None
        at = self.keys.index("Contours")
        if at == 0 or len(self.keys) < at + 3:
            return None
        return self.contours[self.keys[at - 1], self.keys[at + 1]], tuple(self.keys[at + 2 :])


def _local(name: str) -> str:
    """A name without its prefix."""
    return name.rpartition(":")[2]


def _parse(path: Path) -> dict[tuple[str, str], _Contour]:
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
    parser.CharacterDataHandler = reader.text.append
    # No workspace declares entities. Those of an attack expand to gigabytes, or read local files.
    parser.StartDoctypeDeclHandler = _refuse
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError("larger than any workspace")
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                parser.Parse(chunk, False)
            parser.Parse(b"", True)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except (expat.ExpatError, ValueError) as error:
        raise InputError(f"{path} is not a readable cvi42 workspace: {error}") from error
    return dict(reader.contours)


def _refuse(*of_doctype: object) -> None:
    raise ValueError("it declares a document type, which no workspace does")
