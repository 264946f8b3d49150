"""A contact sheet: many examples in one picture, with the borders of their labels, to check what a network will learn.

A person sees in a minute what no check detects: labels of another patient, mirrored hearts, a wrong slice.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from cinesax.core.errors import OutputError, UsageError
from cinesax.core.structures import Structure, painting_order
from cinesax.files.stored_files import replacing
from cinesax.train.data.examples import UNKNOWN, Example

_FORMATS = {"": "PNG", ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
_UNKNOWN_COLOUR = (200, 60, 160)
_CAPTION_PX, _GAP_PX, _FONT_PX = 30, 4, 11
_ENLARGED = 2


def draw_sheet(examples: Sequence[Example], *, columns: int = 8, tile_px: int = 256, zoom: bool = False) -> Image.Image:
    """Draw the sheet as a picture.

    Args:
        examples: the examples in display order, row by row.
        columns: tiles in a row.
        tile_px: rows and columns of a tile.
        zoom: show the surroundings of the label instead of the whole frame.

    Returns:
        RGB; the caption of each tile is the name, and below it the known classes with their numbers of pixels.
    """
    columns = max(1, min(columns, len(examples)))
    lines = -(-len(examples) // columns)
    step = tile_px + _GAP_PX, tile_px + _CAPTION_PX + _GAP_PX
    sheet = Image.new("RGB", (columns * step[0] + _GAP_PX, lines * step[1] + _GAP_PX), (20, 20, 24))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_PX)
    for number, example in enumerate(examples):
        left, top = _GAP_PX + number % columns * step[0], _GAP_PX + number // columns * step[1]
        sheet.paste(_tile(example, tile_px, zoom), (left, top))
        for line, text in enumerate(_caption(example)):
            pen.text((left, top + tile_px + 1 + line * 13), _fitted(text, tile_px, font), (225, 225, 225), font)
    return sheet


def picture_format(path: Path) -> str:
    """The format of a picture by the suffix of its file, as Pillow names it; without a suffix PNG.

    Raises:
        UsageError: the suffix is not that of a format in which a sheet is written.
    """
    written = _FORMATS.get(path.suffix.lower())
    if written is None:
        raise UsageError(f"{path} is not the name of a picture: end it with {', '.join(filter(None, _FORMATS))}")
    return written


def write_sheet(examples: Sequence[Example], path: Path, **options: Any) -> None:
    """Write the sheet as PNG or JPEG, by the suffix of the file; see `draw_sheet` for the options.

    Raises:
        UsageError: the suffix is that of another format.
        OutputError: the file cannot be written.
    """
    written = picture_format(path)
    picture = draw_sheet(examples, **options)
    try:
        with replacing(path.absolute()) as work:
            picture.save(work, format=written, quality=92)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from None


def _tile(example: Example, tile_px: int, zoom: bool) -> Image.Image:
    rows, columns = _window(example.label, zoom)
    image, label = example.image[rows, columns], example.label[rows, columns]
    inner = max(tile_px, _ENLARGED * image.shape[0])
    grey = Image.fromarray((image >> 8).astype(np.uint8)).resize((inner, inner), Image.Resampling.BICUBIC)
    coloured = np.asarray(grey.convert("RGB")).copy()
    sharp = np.asarray(Image.fromarray(label).resize((inner, inner), Image.Resampling.NEAREST))
    # Only the outer border of the wall: its inner border is the border of the cavity, which is drawn later.
    for structure in painting_order(Structure):
        if np.any(sharp == structure):
            coloured[_border(np.isin(sharp, structure.region), inner // tile_px)] = structure.facts.line_rgb
    coloured[_border(sharp == UNKNOWN, inner // tile_px)] = _UNKNOWN_COLOUR
    return Image.fromarray(coloured).resize((tile_px, tile_px), Image.Resampling.LANCZOS)


def _border(inside: NDArray[np.bool_], thickness: int) -> NDArray[np.bool_]:
    return np.asarray(inside & ~ndimage.binary_erosion(inside, iterations=max(1, thickness)))


def _window(label: NDArray[np.uint8], zoom: bool) -> tuple[slice, slice]:
    size = label.shape[0]
    if not zoom or not label.any():
        return slice(0, size), slice(0, size)
    reach = size // 5
    places = [int(round(float(middle))) for middle in np.argwhere(label > 0).mean(axis=0)]
    starts = [min(max(0, place - reach), size - 2 * reach) for place in places]
    return slice(starts[0], starts[0] + 2 * reach), slice(starts[1], starts[1] + 2 * reach)


def _caption(example: Example) -> tuple[str, str]:
    parts = [
        f"{structure.facts.class_name.replace('lv_', '')} {np.count_nonzero(example.label == structure)}"
        for structure in Structure
        if structure in example.known
    ]
    if not np.any(example.label):
        parts = ["no LV"]
    return example.name, ", ".join(parts)


def _fitted(text: str, width: int, font: Any) -> str:
    while font.getlength(text) > width and len(text) > 4:
        text = "…" + text[2:]
    return text
