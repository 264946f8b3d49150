"""A bull's eye of the 16 segments as shapes for SVG and PDF: basal ring outside, apex inside, anterior at the top."""

from collections.abc import Sequence
from colorsys import hls_to_rgb
from dataclasses import dataclass

import numpy as np

from cinesax.core.measurements import Measurements

SIZE = 200
_HUE, _SATURATION = 210 / 360, 0.6
LEGEND = (
    "Wall thickness at end diastole in mm (16 segments; anterior at the top, septum at the left, apex in the middle)."
)
_POINTS = 31
_RINGS = ((98.0, 70.0), (70.0, 42.0), (42.0, 12.0))


@dataclass(frozen=True, slots=True)
class Sector:
    """One segment. Positions are in a square of SIZE with y down.

    Attributes:
        degrees: where it begins and ends, counter-clockwise from the right.
        radii: the inner and the outer one.
        x: of the middle of the text.
        y: likewise.
        shade: from 0 (thin) to 1.
        text: the thickness in mm; "" where it is not known.
    """

    degrees: tuple[float, float]
    radii: tuple[float, float]
    x: float
    y: float
    shade: float
    text: str

    @property
    def path(self) -> str:
        """The outline as the `d` of an SVG path."""
        return _arc(*self.degrees, *self.radii)

    def outline(self) -> list[tuple[float, float]]:
        """The same as points round the middle, with y up."""
        first, last = self.degrees
        angles = np.radians(np.linspace(first, last, _POINTS))
        inner, outer = self.radii
        ends = ((outer, angles), (inner, angles[::-1]))
        return [(radius * float(np.cos(at)), radius * float(np.sin(at))) for radius, along in ends for at in along]

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The fill, from 0 to 255 each: the thicker, the darker."""
        red, green, blue = hls_to_rgb(_HUE, 0.94 - 0.52 * self.shade, _SATURATION)
        return round(255 * red), round(255 * green), round(255 * blue)

    @property
    def is_dark(self) -> bool:
        """Whether only a light text can be read on it."""
        return self.shade >= 0.55


def sectors_of(m: Measurements) -> list[Sector]:
    """The sectors of measurements; [] if the thickness of the wall is not known."""
    return [] if m.wall_thickness is None else bulls_eye(m.wall_thickness.segments_mm.tolist())


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
        sectors.append(Sector((middle - width / 2, middle + width / 2), (inner, outer), x, y, shade, text))
    return sectors


def _point(degrees: float, radius: float) -> tuple[float, float]:
    angle = np.radians(degrees)
    return round(SIZE / 2 + radius * float(np.cos(angle)), 1), round(SIZE / 2 - radius * float(np.sin(angle)), 1)


def _arc(first: float, last: float, inner: float, outer: float) -> str:
    (ax, ay), (bx, by) = _point(first, outer), _point(last, outer)
    (cx, cy), (dx, dy) = _point(last, inner), _point(first, inner)
    return f"M{ax} {ay}A{outer} {outer} 0 0 0 {bx} {by}L{cx} {cy}A{inner} {inner} 0 0 1 {dx} {dy}Z"
