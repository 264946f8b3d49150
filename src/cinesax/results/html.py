"""report.html: an Analysis for people, in one file that loads nothing from elsewhere.

Frames are named by the numbers of their files, so that a person who corrects contour files finds the right one. Slices
and phases stand beside them, counted from 0 as in all other outputs and on the command line.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from cinesax.core.analysis import Analysis
from cinesax.core.cine import Cine
from cinesax.core.findings import Finding
from cinesax.core.grid import Floats
from cinesax.core.measurements import Measurements
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import Structure, painting_order
from cinesax.formats.contours import frame_numbers
from cinesax.results import bulls_eye, figures, summary, tables

STILL_QUALITY = 90
MONTAGE_QUALITY = 80
STILL_SIDE_PX = 320
MONTAGE_PIXELS = 14_000_000
"""A montage of more pixels is shown smaller: encoding this many takes a second."""
STILLS_BYTES = 1_400_000
MONTAGE_BYTES = 3_200_000
"""Size limits of the stills and the montage: with contours and text the report stays below 6 MB."""


def render(analysis: Analysis) -> str:
    """The report as HTML text. It shows everything the analysis holds about the patient (see `results.privacy`)."""
    text = template("report.html.j2").render(
        content=tables.document(analysis),
        places=[_place(finding, analysis.cine) for finding in analysis.findings],
        signature=summary.signature(analysis),
        cards=summary.main_numbers(analysis.measurements),
        trust=summary.trust_line(analysis.trust),
        numbers=summary.more_numbers(analysis),
        base_rules=summary.base_rules(analysis.measurements),
        chambers=summary.other_chambers(analysis),
        segments=bulls_eye.sectors_of(analysis.measurements),
        wall_legend=bulls_eye.LEGEND,
        read=summary.what_was_read(analysis),
        curve=figures.curve_of(analysis.measurements),
        curves=summary.curves_line(analysis),
        measurements=analysis.measurements,
        method=summary.area_method(analysis.measurements),
        **_pictures(analysis),
    )
    # Header texts may contain lone surrogates, which UTF-8 cannot encode.
    return text.encode("utf-8", "replace").decode("utf-8")


def render_short(analysis: Analysis) -> str:
    """Numbers, volume-time curve and findings as an HTML fragment for a notebook."""
    return template("notebook.html.j2").render(
        content=tables.document(analysis),
        numbers=[*summary.main_numbers(analysis.measurements), *summary.more_numbers(analysis)],
        chambers=summary.other_chambers(analysis),
        curve=figures.curve_of(analysis.measurements),
        measurements=analysis.measurements,
    )


@cache
def template(name: str) -> Template:
    """A template of this room, ready to be filled."""
    environment = Environment(
        loader=PackageLoader("cinesax.results"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


@dataclass(frozen=True, slots=True)
class Still:
    """One frame at ED or ES; `file` is the number in the names of its contour files."""

    name: str
    file: str
    uri: str
    lines: dict[str, str]
    caption: str


@dataclass(frozen=True, slots=True)
class Tile:
    """One slice: its stills, its part of the montage, and the numbers of its contour files (`files`)."""

    index: int
    files: str
    end: str
    stills: list[Still]
    sprite: figures.Sprite
    first: dict[str, str]


def _pictures(analysis: Analysis) -> dict[str, Any]:
    """What the template needs to show frames: tiles in display order, and the geometry they share."""
    cine, segmentation, m = analysis.cine, analysis.segmentation, analysis.measurements
    crop = figures.heart_crop(cine, segmentation)
    frames = figures.greys(cine, crop)
    still_frames = _shrunk(frames, STILL_SIDE_PX)
    movie = _shrunk(frames, int(np.sqrt(MONTAGE_PIXELS / (cine.n_phases * cine.n_slices))))
    order = list(range(cine.n_slices))[:: -1 if cine.base_first is False else 1]
    phases = [(name, phase) for name, phase in (("ED", m.ed_phase), ("ES", m.es_phase)) if phase is not None]
    down, right = cine.grid.spacing_mm if cine.grid else (1.0, 1.0)
    drawn = _drawn(segmentation)
    outlines = [_outlines(analysis, drawn, crop, index) for index in order]
    letters = figures.edge_letters(cine.grid)
    numbers = {place: number for number, place in frame_numbers(cine).items()}
    stills = {
        name: figures.sprites(still_frames[[phase]], STILL_QUALITY, limit_bytes=STILLS_BYTES // 2)
        for name, phase in phases
    }
    montage = figures.sprites(movie, MONTAGE_QUALITY, limit_bytes=MONTAGE_BYTES)
    return {
        "tiles": [
            Tile(
                index=index,
                files=_file_range([numbers[phase, index] for phase in range(cine.n_phases)]),
                end=_end_name(cine, place),
                stills=[
                    Still(
                        name,
                        f"{numbers[phase, index]:04d}",
                        stills[name][index].uri,
                        lines={key: paths[phase] for key, paths in outlines[place].items()},
                        caption=_area_text(m, phase, index),
                    )
                    for name, phase in phases
                ],
                sprite=montage[index],
                first={key: paths[m.ed_phase or 0] for key, paths in outlines[place].items()},
            )
            for place, index in enumerate(order)
        ],
        "structures": drawn,
        "crop": crop,
        "units": figures.PATH_UNITS_A_PIXEL,
        "aspect": round(crop.width * right / (crop.height * down), 4),
        "bar_px": None if cine.grid is None else 20 / right,
        "left_letter": letters[0],
        "top_letter": letters[1],
        "first_phase": m.ed_phase or 0,
        "movie": _movie_data(analysis, outlines)
        | {"files": [[f"{numbers[phase, index]:04d}" for phase in range(cine.n_phases)] for index in order]},
    }


def _place(finding: Finding, cine: Cine) -> str:
    """Where a finding is: the files of its frames, where these have numbers in a row, then slice and phase."""
    index = ", ".join(
        f"{name} {value}" for name, value in (("slice", finding.slice), ("phase", finding.phase)) if value is not None
    )
    if finding.slice is None or not 0 <= finding.slice < cine.n_slices:
        return index
    phases = range(cine.n_phases) if finding.phase is None else [finding.phase]
    numbers = {place: number for number, place in frame_numbers(cine).items()}
    files = _file_range([numbers[phase, finding.slice] for phase in phases if (phase, finding.slice) in numbers])
    return f"{files} ({index})" if files else index


def _file_range(numbers: Sequence[int]) -> str:
    """The contour file numbers of a slice, "files 41–60"; empty if numbers of other slices lie between them."""
    if not numbers or max(numbers) - min(numbers) != len(numbers) - 1:
        return ""
    low, high = min(numbers), max(numbers)
    return f"files {low}\N{EN DASH}{high}" if high > low else f"file {low:04d}"


def _shrunk(frames: figures.Greys, side_px: int) -> figures.Greys:
    longest = max(frames.shape[-2:])
    return frames if longest <= side_px else figures.resized(frames, side_px / longest)


def _end_name(cine: Cine, place: int) -> str:
    if cine.base_first is None or cine.n_slices < 2:
        return ""
    return {0: "base", cine.n_slices - 1: "apex"}.get(place, "")


Outlines = dict[str, list[str]]


def _drawn(segmentation: Segmentation) -> tuple[Structure, ...]:
    """The structures with an outline anywhere, the inner ones last, so that they are drawn on top."""
    if segmentation.contours is not None:
        return painting_order({structure for structure, _, _ in segmentation.contours})
    return painting_order(part for part in segmentation.known_phases if np.any(segmentation.labels == part))


def _outlines(analysis: Analysis, drawn: tuple[Structure, ...], crop: figures.Crop, index: int) -> Outlines:
    """SVG paths of one slice: key of the structure -> its path in every phase."""
    outline, phases = analysis.segmentation.outline, range(analysis.cine.n_phases)
    return {part.key: [figures.svg_path(outline(part, phase, index), crop) for phase in phases] for part in drawn}


def _area_text(m: Measurements, phase: int, index: int) -> str:
    if not m.cavity_areas_px[phase, index] > 0:
        return "no cavity"
    if m.cavity_areas_mm2 is None:
        return f"{m.cavity_areas_px[phase, index]:.0f} px²"
    return f"{m.cavity_areas_mm2[phase, index] / 100:.1f} cm²"


def _movie_data(analysis: Analysis, outlines: list[Outlines]) -> dict[str, Any]:
    """The data that the page's script plays."""
    cine, m = analysis.cine, analysis.measurements
    drawn = figures.curve_of(m)
    return {
        "phases": cine.n_phases,
        "lines": outlines,
        "xs": None if drawn is None else drawn.xs,
        "times": _rounded(m.phase_times_ms),
        "volumes": _rounded(m.volumes_ml),
        "known": analysis.segmentation.known_phases[Structure.CAVITY].tolist(),
        "beat": _loop_ms(analysis),
        "ed": m.ed_phase,
        "es": m.es_phase,
    }


def _loop_ms(analysis: Analysis) -> float:
    """How long all phases together last, in ms: one beat, or several if the series holds several."""
    beat = analysis.measurements.beat
    once = (None if beat is None else beat.rr_interval_ms) or analysis.cine.rr_interval_ms or 1000.0
    return once if beat is None or beat.beats < 1 else once * beat.beats


def _rounded(values: Floats | None) -> list[float | None] | None:
    return None if values is None else [None if np.isnan(value) else round(float(value), 1) for value in values]
