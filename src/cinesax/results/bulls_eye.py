"""A bull's eye of the 16 segments as shapes for SVG: basal ring outside, apex inside, anterior at the top."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SIZE = 200
_RINGS = ((98.0, 70.0), (70.0, 42.0), (42.0, 12.0))


@dataclass(frozen=True, slots=True)
class Sector:
    """One segment: its outline as an SVG path, the position of its text, its shade from 0 (thin) to 1, and its text."""

    path: str
    x: float
    y: float
    shade: float
    text: str


def bulls_eye(values_mm: Sequence[float]) -> list[Sector]:
    """The 16 sectors in numerical order.

    Args:
        values_mm: thickness of segments 1 to 16; nan where not known.
    """
    sectors = []
    for number, value in enumerate(values_mm):
        ring, place = (0, number) if number < 6 else (1, number - 6) if number < 12 else (2, number - 12)
        width = 90.0 if ring == 2 else 60.0
        # Segment 1 (7, 13) is anterior, at the top; the others follow counter-clockwise.
        middle = 90.0 + place * width
        outer, inner = _RINGS[ring]
        at = (outer + inner) / 2
        x, y = _point(middle, at)
        shade = 0.0 if np.isnan(value) else float(np.clip((value - 4) / 14, 0, 1))
        text = "" if np.isnan(value) else f"{value:.0f}"
        sectors.append(Sector(_arc(middle - width / 2, middle + width / 2, inner, outer), x, y, shade, text))
    return sectors


def _point(degrees: float, radius: float) -> tuple[float, float]:
    angle = np.radians(degrees)
    return round(SIZE / 2 + radius * float(np.cos(angle)), 1), round(SIZE / 2 - radius * float(np.sin(angle)), 1)


def _arc(first: float, last: float, inner: float, outer: float) -> str:
    (ax, ay), (bx, by) = _point(first, outer), _point(last, outer)
    (cx, cy), (dx, dy) = _point(last, inner), _point(first, inner)
    return f"M{ax} {ay}A{outer} {outer} 0 0 0 {bx} {by}L{cx} {cy}A{inner} {inner} 0 0 1 {dx} {dy}Z"
