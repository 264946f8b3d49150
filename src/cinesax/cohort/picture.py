"""A small picture of each exam: a middle slice of the ventricle at ED and ES, with its contours."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from cinesax.core.analysis import Analysis
from cinesax.core.structures import Structure
from cinesax.results import figures

PICTURE_NAME = "picture.webp"
_SIDE_PX = 160
_QUALITY = 70


def write_picture(analysis: Analysis, path: Path) -> None:
    """Write the picture, unless no cavity is drawn at ED."""
    m, cine, segmentation = analysis.measurements, analysis.cine, analysis.segmentation
    if m.ed_phase is None:
        return
    areas = np.count_nonzero(segmentation.labels[m.ed_phase] == Structure.CAVITY, axis=(1, 2))
    drawn = np.flatnonzero(areas)
    if not len(drawn):
        return
    place = int(drawn[len(drawn) // 2])
    phases = [phase for phase in (m.ed_phase, m.es_phase) if phase is not None]
    crop = figures.heart_crop(cine, segmentation)
    one_slice = cine.pixels[:, :, crop.top : crop.bottom, crop.left : crop.right][phases, place]
    low, high = np.percentile(one_slice, (1, 99.5))
    greys = np.clip((one_slice.astype(np.float32) - low) * (255 / max(float(high - low), 1e-6)), 0, 255)
    side = Image.new("RGB", (_SIDE_PX * 2, _SIDE_PX))
    for index, phase in enumerate(phases):
        frame = Image.fromarray(greys[index].astype(np.uint8)).resize((_SIDE_PX, _SIDE_PX)).convert("RGB")
        _draw(frame, analysis, (phase, place), crop)
        side.paste(frame, (index * _SIDE_PX, 0))
    # Greater efforts take three times as long and save nothing on so small a picture.
    side.save(path, "WEBP", quality=_QUALITY, method=1)


def _draw(frame: Image.Image, analysis: Analysis, at: tuple[int, int], crop: figures.Crop) -> None:
    pencil = ImageDraw.Draw(frame)
    across, down = _SIDE_PX / crop.width, _SIDE_PX / crop.height
    for structure in analysis.segmentation.known_phases:
        for polygon in analysis.segmentation.outline(structure, *at):
            points = [((x - crop.left + 0.5) * across, (y - crop.top + 0.5) * down) for x, y in polygon]
            pencil.line([*points, points[0]], fill=structure.facts.line_rgb, width=2)
