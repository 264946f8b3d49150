"""report.html: an Analysis for people, in one file that asks nothing of the network.

Phases and slices are counted from 0 in it, as in all other outputs and on the command line.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from cinesax import figures, summary
from cinesax.analysis import Analysis
from cinesax.cine import Cine
from cinesax.formats import tables
from cinesax.grid import Floats
from cinesax.measure import Measurements
from cinesax.segmentation import Outline, Segmentation, Structure

STILL_QUALITY = 90
MONTAGE_QUALITY = 80
STILL_SIDE_PX = 320
MONTAGE_PIXELS = 14_000_000
"""Beyond so many pixels the montage is shown smaller: about 3 MB as WebP of noisy frames."""


def render(analysis: Analysis, *, show_patient: bool = False) -> str:
    """The report as HTML text.

    Args:
        analysis: what to show.
        show_patient: whether to name the patient and the study date.
    """
    environment = Environment(
        loader=PackageLoader("cinesax"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    told = tables.document(analysis, show_patient=show_patient)
    return environment.get_template("report.html.j2").render(
        told=told,
        cards=summary.main_numbers(analysis.measurements),
        numbers=summary.more_numbers(analysis),
        read=summary.what_was_read(analysis, told),
        curve=_curve(analysis.measurements),
        measurements=analysis.measurements,
        method=summary.area_method(analysis.measurements),
        **_pictures(analysis),
    )


def _curve(m: Measurements) -> figures.Curve | None:
    return None if m.volumes_ml is None else figures.curve(m.volumes_ml, m.phase_times_ms)


@dataclass(frozen=True, slots=True)
class Still:
    """One frame at ED or ES."""

    name: str
    uri: str
    inner: str
    outer: str
    caption: str


@dataclass(frozen=True, slots=True)
class Tile:
    """One slice: its stills and its part of the montage."""

    index: int
    end: str
    stills: list[Still]
    sprite: figures.Sprite


def _pictures(analysis: Analysis) -> dict[str, Any]:
    """All that the template needs to show frames: tiles in the order of display, and the geometry they share."""
    cine, segmentation, m = analysis.cine, analysis.segmentation, analysis.measurements
    crop = figures.heart_crop(cine, segmentation)
    frames = figures.greys(cine, crop)
    still_frames = _shrunk(frames, STILL_SIDE_PX)
    movie = _shrunk(frames, int(np.sqrt(MONTAGE_PIXELS / (cine.n_phases * cine.n_slices))))
    order = list(range(cine.n_slices))[:: -1 if cine.base_first is False else 1]
    phases = [(name, phase) for name, phase in (("ED", m.ed_phase), ("ES", m.es_phase)) if phase is not None]
    down, right = cine.grid.spacing_mm if cine.grid else (1.0, 1.0)
    outlines = [_outlines(segmentation, crop, index) for index in order]
    letters = figures.edge_letters(cine.grid)
    return {
        "tiles": [
            Tile(
                index=index,
                end=_end_name(cine, place),
                stills=[
                    _still(analysis, name, (phase, index), frame=still_frames[phase, index], outlines=outlines[place])
                    for name, phase in phases
                ],
                sprite=figures.sprite(movie[:, index], MONTAGE_QUALITY),
            )
            for place, index in enumerate(order)
        ],
        "crop": crop,
        "units": figures.PATH_UNITS_A_PIXEL,
        "aspect": round(crop.width * right / (crop.height * down), 4),
        "bar_px": None if cine.grid is None else 20 / right,
        "left_letter": letters[0],
        "top_letter": letters[1],
        "has_outer": any(any(outer) for _, outer in outlines),
        "first_phase": m.ed_phase or 0,
        "movie": _movie_data(analysis, outlines),
    }


def _shrunk(frames: figures.Greys, side_px: int) -> figures.Greys:
    longest = max(frames.shape[-2:])
    return frames if longest <= side_px else figures.resized(frames, side_px / longest)


def _end_name(cine: Cine, place: int) -> str:
    if cine.base_first is None or cine.n_slices < 2:
        return ""
    return {0: "base", cine.n_slices - 1: "apex"}.get(place, "")


Outlines = tuple[list[str], list[str]]


def _outlines(segmentation: Segmentation, crop: figures.Crop, index: int) -> Outlines:
    """SVG paths of one slice for every phase: endocardium and epicardium."""

    def of(outline: Outline) -> list[str]:
        phases = range(segmentation.labels.shape[0])
        return [figures.svg_path(segmentation.outline(outline, phase, index), crop) for phase in phases]

    has_wall = Structure.MYOCARDIUM in segmentation.known_phases
    return of(Outline.ENDOCARDIUM), of(Outline.EPICARDIUM) if has_wall else [""] * segmentation.labels.shape[0]


def _still(analysis: Analysis, name: str, place: tuple[int, int], *, frame: figures.Greys, outlines: Outlines) -> Still:
    phase, index = place
    m = analysis.measurements
    area = m.cavity_areas_px[place] if m.cavity_areas_mm2 is None else m.cavity_areas_mm2[place] / 100
    caption = "no cavity" if not area > 0 else f"{area:.0f} px²" if m.cavity_areas_mm2 is None else f"{area:.1f} cm²"
    inner, outer = (paths[phase] for paths in outlines)
    return Still(name, figures.webp(frame, STILL_QUALITY), inner, outer, caption)


def _movie_data(analysis: Analysis, outlines: list[Outlines]) -> dict[str, Any]:
    """What the script of the page plays."""
    cine, m = analysis.cine, analysis.measurements
    drawn = _curve(m)
    return {
        "phases": cine.n_phases,
        "inner": [inner for inner, _ in outlines],
        "outer": [outer for _, outer in outlines],
        "xs": None if drawn is None else drawn.xs,
        "times": _rounded(m.phase_times_ms),
        "volumes": _rounded(m.volumes_ml),
        "known": analysis.segmentation.known_phases[Structure.CAVITY].tolist(),
        "beat": cine.rr_interval_ms or 1000.0,
        "ed": m.ed_phase,
        "es": m.es_phase,
    }


def _rounded(values: Floats | None) -> list[float | None] | None:
    return None if values is None else [None if np.isnan(value) else round(float(value), 1) for value in values]
