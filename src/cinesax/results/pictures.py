"""Contact sheets: every slice at one phase with its contours in one RGB picture, for viewers of pictures only."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cinesax.core.analysis import Analysis
from cinesax.core.structures import painting_order
from cinesax.formats.contours import frame_numbers
from cinesax.results import figures
from cinesax.results.tables import RESEARCH_USE

Picture = NDArray[np.uint8]

_TILE_PX = 300
# Lines are drawn larger and made smaller with the image: Pillow draws them without smooth edges.
_FINER = 2
_GAP_PX = 6
_TITLE_PX = 62
_LEGEND_AT_PX = 36
_CAPTION_PX = 22
_SHAPE = 4 / 3
"""Width by height of the sheet, about that of a screen."""


def contact_sheet(analysis: Analysis, phase: int, name: str) -> Picture:
    """(row, column, 3), RGB: the slices at a phase, from base to apex, cropped to the heart, with their contours.

    Each is named by the number of its contour files, and by its index, counted from 0. Nothing names the patient.

    Args:
        analysis: what to show.
        phase: which phase, counted from 0.
        name: what the phase is, as text in ASCII.
    """
    cine = analysis.cine
    order = list(range(cine.n_slices))[:: -1 if cine.base_first is False else 1]
    crop = figures.heart_crop(cine, analysis.segmentation)
    frames = figures.greys(cine, crop)[phase]
    down, right = cine.grid.spacing_mm if cine.grid else (1.0, 1.0)
    width = round(_TILE_PX * min(2.0, max(0.5, crop.width * right / (crop.height * down))))
    columns = math.ceil(math.sqrt(len(order) * _SHAPE * _TILE_PX / width))
    rows = math.ceil(len(order) / columns)
    across, along = width + _GAP_PX, _TILE_PX + _CAPTION_PX + _GAP_PX
    sheet = Image.new("RGB", (columns * across + _GAP_PX, _TITLE_PX + rows * along), "black")
    pen = ImageDraw.Draw(sheet)
    pen.text((_GAP_PX, 8), f"{name} (phase {phase}), {analysis.case}", "white", ImageFont.load_default(20))
    small = ImageFont.load_default(15)
    left = _GAP_PX
    for structure in reversed(painting_order(analysis.segmentation.known_phases)):
        if any(analysis.segmentation.outline(structure, phase, index) for index in order):
            words = structure.facts.border
            pen.text((left, _LEGEND_AT_PX), words, structure.facts.line_rgb, small)
            left += round(pen.textlength(words, small)) + 3 * _GAP_PX
    pen.text((sheet.width - _GAP_PX, 12), RESEARCH_USE, "#ffb3a7", small, anchor="ra")
    numbers = {place: number for number, place in frame_numbers(cine).items()}
    for at, index in enumerate(order):
        left, top = _GAP_PX + at % columns * across, _TITLE_PX + at // columns * along
        sheet.paste(_tile(analysis, frames[index], crop, where=(phase, index), size=(width, _TILE_PX)), (left, top))
        end = {0: ", base", len(order) - 1: ", apex"}.get(at, "") if cine.base_first is not None else ""
        text = f"file {numbers[phase, index]:04d}   slice {index}{end}"
        pen.text((left + 2, top + _TILE_PX + 2), text, "white", small)
    return np.asarray(sheet)


def _tile(
    analysis: Analysis, frame: figures.Greys, crop: figures.Crop, *, where: tuple[int, int], size: tuple[int, int]
) -> Image.Image:
    """One frame with its contours; `size` is (width, height) in pixels."""
    width, height = size[0] * _FINER, size[1] * _FINER
    image = Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC).convert("RGB")
    pen = ImageDraw.Draw(image)
    for structure in painting_order(analysis.segmentation.known_phases):
        for polygon in analysis.segmentation.outline(structure, *where):
            # Pixel centres have whole numbers, so the crop's corner lies half a pixel before its first centre.
            points = (polygon - (crop.left, crop.top) + 0.5) * (width / crop.width, height / crop.height)
            closed = [(float(x), float(y)) for x, y in (*points, points[0])]
            pen.line(closed, structure.facts.line_rgb, width=2 * _FINER, joint="curve")
    return image.resize(size, Image.Resampling.LANCZOS)
