"""presence.json: what a network decided at base and apex, and how sure it was, to read results back in full.

It also holds the contours of frames that do not count: they are not part of the result, but volumes by another rule
need them. Coordinates are those of a Segmentation: whole numbers at pixel centres.
"""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from cinesax.core.errors import InputError
from cinesax.core.grid import Floats
from cinesax.core.presence import BaseRule, Presence, Signs
from cinesax.core.structures import Structure

PRESENCE_NAME = "presence.json"
_SCHEMA = "cinesax/presence/1"
_SIGNS = tuple(entry.name for entry in fields(Signs) if entry.name != "phases")


def write_presence(presence: Presence, path: Path) -> None:
    """Write everything, numbers in full precision."""
    held = {
        "schema": _SCHEMA,
        "rule": presence.rule.value,
        "inside": {rule.value: inside.astype(int).tolist() for rule, inside in presence.inside.items()},
        "certainty": _rows(presence.certainty),
        "enclosure": _rows(presence.enclosure),
        "set_aside": [
            {
                "structure": structure.key,
                "phase": phase,
                "slice": place,
                "polygons": [polygon.tolist() for polygon in polygons],
            }
            for (structure, phase, place), polygons in sorted(presence.set_aside.items(), key=lambda item: item[0])
        ],
        "signs": None if presence.signs is None else _signs(presence.signs),
    }
    path.write_text(json.dumps(held, allow_nan=False) + "\n", encoding="utf-8")


def read_presence(path: Path) -> Presence:
    """Read what `write_presence` wrote.

    Raises:
        InputError: the file cannot be read, or is damaged.
    """
    try:
        held: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Presence(
            BaseRule(held["rule"]),
            {BaseRule(rule): np.array(rows, dtype=bool) for rule, rows in held["inside"].items()},
            _numbers(held["certainty"]),
            _numbers(held["enclosure"]),
            {
                (Structure[entry["structure"].upper()], entry["phase"], entry["slice"]): tuple(
                    np.array(polygon, dtype=np.float64) for polygon in entry["polygons"]
                )
                for entry in held["set_aside"]
            },
            _read_signs(held.get("signs")),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} cannot be read: {type(error).__name__}: {error}") from error


def _signs(signs: Signs) -> dict[str, Any]:
    return {"phases": list(signs.phases), **{name: _rows(getattr(signs, name)) for name in _SIGNS}}


def _read_signs(held: dict[str, Any] | None) -> Signs | None:
    if held is None:
        return None
    ed, es = held["phases"]
    return Signs((ed, es), **{name: _numbers(held[name]) for name in _SIGNS})


def _rows(values: Floats) -> list[list[float | None]]:
    """Rows with None for nan, which JSON does not have."""
    return [[None if np.isnan(value) else float(value) for value in row] for row in values]


def _numbers(rows: list[list[float | None]]) -> Floats:
    return np.array([[np.nan if value is None else value for value in row] for row in rows], dtype=np.float64)
