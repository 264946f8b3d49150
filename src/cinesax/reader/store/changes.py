"""A Change as bytes and back, for the store. Numbers are kept exactly."""

import zlib
from dataclasses import asdict

import msgspec
import numpy as np
from msgspec import Struct

from cinesax.core.grid import Floats
from cinesax.core.origins import Drawn, Origin
from cinesax.core.segmentation import ContourKey, Polygons
from cinesax.core.selection import Overrides
from cinesax.reader.editing.change import Change, structure_of


class _Frame(Struct, frozen=True):
    phase: int
    slice: int
    contours: dict[str, list[list[float]]]


class _Origin(Struct, frozen=True):
    structure: str
    phase: int
    slice: int
    origin: str | None
    by: str = ""
    approved: bool = False


class _Given(Struct, frozen=True):
    ed_phase: int | None = None
    es_phase: int | None = None
    height_cm: float | None = None
    weight_kg: float | None = None
    papillary_muscles_included: bool | None = None


class _Change(Struct, frozen=True):
    frames: list[_Frame]
    origins: list[_Origin]
    phases: int = 0
    known: dict[str, list[int]] | None = None
    overrides: _Given | None = None
    papillary_muscles_included: bool | None = None


def flat(polygons: Polygons) -> list[list[float]]:
    """Polygons as lists x0, y0, x1, y1, ..."""
    return [[float(value) for value in polygon.ravel()] for polygon in polygons]


def unflat(polygons: list[list[float]]) -> tuple[Floats, ...]:
    """Polygons (point, 2) from lists x0, y0, x1, y1, ..."""
    return tuple(np.array(numbers, dtype=np.float64).reshape(-1, 2) for numbers in polygons)


def packed(change: Change) -> bytes:
    """A change as bytes."""
    known = change.known
    stored = _Change(
        [
            _Frame(phase, place, {structure.key: flat(polygons) for structure, polygons in outlines.items()})
            for (phase, place), outlines in change.frames.items()
        ],
        [_origin(key, drawn) for key, drawn in change.origins.items()],
        0 if not known else len(next(iter(known.values()))),
        None
        if known is None
        else {structure.key: np.flatnonzero(array).tolist() for structure, array in known.items()},
        None if change.overrides is None else _Given(**asdict(change.overrides)),
        change.papillary_muscles_included,
    )
    return zlib.compress(msgspec.json.encode(stored), 1)


def _origin(key: ContourKey, drawn: Drawn | None) -> _Origin:
    structure, phase, place = key
    if drawn is None:
        return _Origin(structure.key, phase, place, None)
    return _Origin(structure.key, phase, place, drawn.origin.value, drawn.by, drawn.approved)


def unpacked(data: bytes) -> Change:
    """The change that `packed` made into bytes."""
    stored = msgspec.json.decode(zlib.decompress(data), type=_Change)
    known = None
    if stored.known is not None:
        known = {}
        for key, phases in stored.known.items():
            known[structure_of(key)] = array = np.zeros(stored.phases, dtype=bool)
            array[phases] = True
    given = stored.overrides
    return Change(
        {
            (frame.phase, frame.slice): {structure_of(key): unflat(lines) for key, lines in frame.contours.items()}
            for frame in stored.frames
        },
        {
            (structure_of(mark.structure), mark.phase, mark.slice): None
            if mark.origin is None
            else Drawn(Origin(mark.origin), mark.by, mark.approved)
            for mark in stored.origins
        },
        known,
        None if given is None else Overrides(**msgspec.structs.asdict(given)),
        stored.papillary_muscles_included,
    )
