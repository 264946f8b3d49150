"""Pictures of a cine for the report: grey values, sprites, contours as SVG paths, and the volume-time curve."""

import base64
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from itertools import repeat

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cinesax.core.cine import Cine
from cinesax.core.grid import Floats, Grid
from cinesax.core.measurements import Measurements
from cinesax.core.segmentation import Polygons, Segmentation
from cinesax.core.ticks import round_ticks

Greys = NDArray[np.uint8]

MARGIN_MM = 22.0
MARGIN_WITHOUT_GRID_PX = 16
SMALLEST_FRAME_PX = 32
LARGEST_SPRITE_PX = 16_000
"""WebP holds at most 16383 pixels along a side."""


@dataclass(frozen=True, slots=True)
class Crop:
    """The part of every frame that is shown: pixels top to bottom - 1, left to right - 1."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left


def heart_crop(cine: Cine, segmentation: Segmentation) -> Crop:
    """A square (in mm) around everything segmented in any frame, with a margin; the whole frame if nothing is."""
    rows, columns = cine.pixels.shape[2:]
    seen = np.asarray(segmentation.labels.max(axis=(0, 1)) > 0)
    if not seen.any():
        return Crop(0, rows, 0, columns)
    down, right = cine.grid.spacing_mm if cine.grid else (1.0, 1.0)
    margin = MARGIN_MM if cine.grid else MARGIN_WITHOUT_GRID_PX
    ys, xs = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    side = max((ys[-1] - ys[0] + 1) * down, (xs[-1] - xs[0] + 1) * right) + 2 * margin
    top, bottom = _centred((ys[0] + ys[-1] + 1) / 2, side / down, rows)
    left, end = _centred((xs[0] + xs[-1] + 1) / 2, side / right, columns)
    return Crop(top, bottom, left, end)


def _centred(middle: float, length: float, limit: int) -> tuple[int, int]:
    """A range of `length` around `middle`, moved into 0 to `limit`, and no longer than `limit`."""
    whole = min(round(length), limit)
    start = min(max(0, round(middle - whole / 2)), limit - whole)
    return start, start + whole


def greys(cine: Cine, crop: Crop) -> Greys:
    """(phase, slice, row, column): the cropped frames as 0 (dark) to 255 (bright), with one window for the stack.

    One window keeps slices comparable. It runs from the 1st to the 99.5th percentile of the cropped pixels.
    """
    shown = cine.pixels[:, :, crop.top : crop.bottom, crop.left : crop.right]
    step = max(1, shown.size // 2_000_000)
    low, high = np.percentile(shown.reshape(-1)[::step], (1, 99.5))
    scale = np.float32(255 / max(high - low, 1e-6))
    return np.asarray(np.clip((shown.astype(np.float32) - np.float32(low)) * scale + 0.5, 0, 255), dtype=np.uint8)


def resized(frames: Greys, factor: float) -> Greys:
    """(..., row, column): frames made smaller, each by area averaging."""
    height, width = (max(1, round(length * factor)) for length in frames.shape[-2:])
    flat = frames.reshape(-1, *frames.shape[-2:])
    small = [np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BOX)) for frame in flat]
    return np.stack(small).reshape(*frames.shape[:-2], height, width)


def webp(image: Greys, quality: int) -> str:
    """(row, column) as a data URI for an `img` element or a CSS background."""
    encoded = BytesIO()
    Image.fromarray(image).save(encoded, "WEBP", quality=quality, method=3)
    return "data:image/webp;base64," + base64.b64encode(encoded.getvalue()).decode("ascii")


@dataclass(frozen=True, slots=True)
class Sprite:
    """All phases of one slice in one picture, row by row in `columns` columns."""

    uri: str
    columns: int
    rows: int


def sprite(frames: Greys, quality: int) -> Sprite:
    """Put (phase, row, column) into one picture."""
    phases, height, width = frames.shape
    columns = min(int(np.ceil(np.sqrt(phases))), max(1, LARGEST_SPRITE_PX // width))
    rows = -(-phases // columns)
    sheet = np.zeros((rows * columns, height, width), dtype=np.uint8)
    sheet[:phases] = frames
    tiled = sheet.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)
    return Sprite(webp(tiled, quality), columns, rows)


def sprites(frames: Greys, quality: int, *, limit_bytes: int) -> list[Sprite]:
    """One sprite for each slice of (phase, slice, row, column), together no longer than `limit_bytes`.

    Frames are made smaller if necessary: noise does not compress, and a report must fit into an email.
    """
    while True:
        with ThreadPoolExecutor(2) as pool:  # the encoder releases Python's lock
            made = list(pool.map(sprite, frames.swapaxes(0, 1), repeat(quality)))
        total = sum(len(sheet.uri) for sheet in made)
        if total <= limit_bytes or min(frames.shape[-2:]) <= SMALLEST_FRAME_PX:
            return made
        frames = resized(frames, 0.95 * np.sqrt(limit_bytes / total))


PATH_UNITS_A_PIXEL = 10


def svg_path(polygons: Polygons, crop: Crop) -> str:
    """Closed outlines as the `d` of an SVG path, in tenths of pixels from the crop's upper left corner.

    Whole numbers relative to the previous point take a third of the space of plain coordinates.
    """
    parts = []
    for polygon in polygons:
        # Pixel centres have whole coordinates, so the crop's corner lies half a pixel before its first centre.
        points = np.rint((polygon - (crop.left, crop.top) + 0.5) * PATH_UNITS_A_PIXEL).astype(int)
        steps = np.diff(points, axis=0)
        steps = steps[np.any(steps != 0, axis=1)]
        line = " ".join(f"{x} {y}" for x, y in steps).replace(" -", "-")
        parts.append(f"M{points[0, 0]} {points[0, 1]}l{line}z" if line else "")
    return "".join(parts)


def edge_letters(grid: Grid | None) -> tuple[str, str]:
    """The patient's side at the left and at the top of every frame, such as AL (anterior left); "" without a grid."""
    return ("", "") if grid is None else (_letters(-grid.along_row), _letters(-grid.along_column))


def _letters(direction: Floats) -> str:
    """Patient directions of a vector, the larger part first, without parts below a quarter of its length."""
    names = (("L", "R"), ("P", "A"), ("H", "F"))
    order = np.argsort(-np.abs(direction))
    return "".join(names[axis][int(direction[axis] < 0)] for axis in order[:2] if abs(direction[axis]) > 0.25)


Dots = tuple[tuple[float, float] | None, ...]
"""(x, y) of each phase, None where the volume is not known."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The volume-time curve, laid out in the units of its SVG.

    Attributes:
        xs: horizontal position of each phase.
        dots: of the volumes.
        x_ticks: (x, label).
        y_ticks: (y, label).
        x_title: title of the horizontal axis, with its unit.
        others: `dots` of each other chamber.
    """

    xs: tuple[float, ...]
    dots: Dots
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    x_title: str
    others: tuple[Dots, ...] = ()

    @property
    def line(self) -> str:
        """The `d` of the path through neighbouring known phases."""
        return _broken_line(self.dots)

    @property
    def beside(self) -> tuple[str, ...]:
        """`line` of each other chamber."""
        return tuple(_broken_line(dots) for dots in self.others)


CURVE_BOX = (54.0, 18.0, 616.0, 252.0)
"""Left, top, right and bottom of the plot, in a drawing of 640 by 300."""


def curve(volumes_ml: Floats, times_ms: Floats | None, beside: Sequence[Floats] = ()) -> Curve | None:
    """Lay out the volume-time curve; None if no volume is known.

    Args:
        volumes_ml: (phase,), nan where not known.
        times_ms: (phase,); with None the horizontal axis counts phases.
        beside: volumes of other chambers, each like `volumes_ml`.
    """
    known = ~np.isnan(volumes_ml)
    if not known.any():
        return None
    xs = np.arange(len(volumes_ml), dtype=np.float64) if times_ms is None else times_ms
    x_values, y_values = (round_ticks(0, max(0.0, float(np.nanmax(v))) or 1.0) for v in (xs, [volumes_ml, *beside]))
    left, top, right, bottom = CURVE_BOX
    x_end = max(float(xs.max()), x_values[-1]) or 1.0
    y_end = max(float(np.nanmax([volumes_ml, *beside])), y_values[-1]) or 1.0

    def across(value: float) -> float:
        return round(left + (right - left) * value / x_end, 1)

    def up(value: float) -> float:
        return round(bottom - (bottom - top) * value / y_end, 1)

    def dots_of(volumes: Floats) -> Dots:
        return tuple(None if np.isnan(y) else (across(x), up(y)) for x, y in zip(xs, volumes, strict=True))

    return Curve(
        xs=tuple(across(x) for x in xs),
        dots=dots_of(volumes_ml),
        x_ticks=tuple((across(value), f"{value:g}") for value in x_values),
        y_ticks=tuple((up(value), f"{value:g}") for value in y_values),
        x_title="phase" if times_ms is None else "time after the R wave (ms)",
        others=tuple(dots_of(volumes) for volumes in beside),
    )


def curve_of(m: Measurements) -> Curve | None:
    """The volume-time curve of the LV with those of the other chambers; None if no volume is known."""
    beside = [other.volumes_ml for other in m.others if other.volumes_ml is not None]
    return None if m.volumes_ml is None else curve(m.volumes_ml, m.phase_times_ms, beside)


def _broken_line(dots: Dots) -> str:
    path, pen_down = "", False
    for dot in dots:
        if dot is not None:
            path += f"{'L' if pen_down else 'M'}{dot[0]:g} {dot[1]:g}"
        pen_down = dot is not None
    return path
