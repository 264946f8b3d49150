"""Radii of cavity, wall and RV in an example, ray by ray from the centre of the cavity; and its neighbours.

NumPy code, run once when the examples are loaded.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

ANGLES = 36
"""Rays from the middle of the cavity, evenly spread from along a row, turning towards larger rows."""

LENGTH = 2 + 4 * ANGLES
"""The length of the description of a heart that `rays` gives."""

_FEWEST_PX = 20
# In framed pixels: the rim assumed around the cavity if the wall was not drawn, and the least thickness of a drawn
# wall.
_RIM_PX = 8.0
_LEAST_WALL_PX = 1.5


def rays(
    cavity: NDArray[np.bool_], ventricle: NDArray[np.bool_] | None, right: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """The heart of one image in polar form.

    Args:
        cavity: (row, column).
        ventricle: (row, column): cavity and myocardium; None if the wall was not drawn.
        right: (row, column): RV cavity; None if it was not drawn.

    Returns:
        (LENGTH,): row and column of the centre, radii of the cavity, radii of the outer border of the wall, radii at
        which each ray enters the RV, and how far it runs in it (0: it does not meet the RV), in pixels. All 0 if there
        is no cavity, or a tiny one.
    """
    rows, columns = np.nonzero(cavity)
    if len(rows) < _FEWEST_PX:
        return np.zeros(LENGTH, np.float32)
    middle = np.array([rows.mean(), columns.mean()])
    inner = _radii(cavity, middle)
    outer = inner + _RIM_PX if ventricle is None else np.maximum(_radii(ventricle, middle), inner + _LEAST_WALL_PX)
    return np.concatenate([middle, inner, outer, *_across(right, middle)]).astype(np.float32)


def _radii(mask: NDArray[np.bool_], middle: NDArray[np.float64]) -> NDArray[np.float64]:
    number, far = _polar(mask, middle)
    radii = np.zeros(ANGLES)
    np.maximum.at(radii, number, far + 0.5)
    return _smooth(_filled(radii, radii > 0))


def _across(
    right: NDArray[np.bool_] | None, middle: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where each ray enters the RV, and how far it runs in it."""
    if right is None or np.count_nonzero(right) < _FEWEST_PX:
        return np.zeros(ANGLES), np.zeros(ANGLES)
    number, far = _polar(right, middle)
    first, last = np.full(ANGLES, np.inf), np.zeros(ANGLES)
    np.minimum.at(first, number, far - 0.5)
    np.maximum.at(last, number, far + 0.5)
    met = last > 0
    # Rays beside the RV keep the radius of the nearest one that meets it: only the width falls to 0 there.
    return _smooth(_filled(first, met)), _smooth(np.where(met, last - np.where(met, first, 0), 0.0))


def _polar(mask: NDArray[np.bool_], middle: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The nearest ray of each pixel of a mask, and its distance from the centre."""
    away = np.argwhere(mask) - middle
    turn = np.arctan2(away[:, 0], away[:, 1]) / (2 * np.pi) % 1 * ANGLES
    return np.rint(turn).astype(np.int64) % ANGLES, np.hypot(away[:, 0], away[:, 1])


def _filled(radii: NDArray[np.float64], hit: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.interp(np.arange(ANGLES), np.flatnonzero(hit), radii[hit], period=ANGLES)


def _smooth(radii: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((np.roll(radii, 1) + 2 * radii + np.roll(radii, -1)) / 4)


Place = tuple[str, int, int]


def neighbours(places: Sequence[Place], areas: Sequence[float]) -> NDArray[np.int32]:
    """For each example, the examples of the next slices at the same phase: towards the base, towards the apex.

    The base is the end of the stack towards which the cavity areas grow.

    Args:
        places: (stack, phase, slice) of each example; phase or slice below 0 means unknown.
        areas: cavity area of each example; 0: no cavity, or not labelled.

    Returns:
        (example, 2): indices, -1 if there is none.
    """
    index = {place: number for number, place in enumerate(places) if min(place[1:]) >= 0}
    towards_apex = _towards_apex(places, areas)
    pairs = np.full((len(places), 2), -1, np.int32)
    for (stack, phase, place), number in index.items():
        for side, step in enumerate((-1, 1)):
            pairs[number, side] = index.get((stack, phase, place + step * towards_apex.get(stack, 1)), -1)
    return pairs


def _towards_apex(places: Sequence[Place], areas: Sequence[float]) -> Mapping[str, int]:
    """For each stack, 1 if slices count from base to apex, otherwise -1."""
    slopes: dict[str, float] = {}
    by_phase: dict[tuple[str, int], list[tuple[int, float]]] = {}
    for (stack, phase, place), area in zip(places, areas, strict=True):
        if area > 0:
            by_phase.setdefault((stack, phase), []).append((place, area))
    for (stack, _), listed in by_phase.items():
        if len(listed) > 2:
            where, area = np.array(listed, float).T
            slopes[stack] = slopes.get(stack, 0.0) + float(np.cov(where, area)[0, 1])
    return {stack: 1 if slope < 0 else -1 for stack, slope in slopes.items()}
