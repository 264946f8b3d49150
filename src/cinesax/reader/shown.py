"""What the page shows of an exam, as types that become JSON. All numbers come from `measure`."""

import math
from collections.abc import Iterable

import numpy as np
from msgspec import Struct
from msgspec.structs import asdict

from cinesax.core.cine import Cine
from cinesax.core.findings import Finding
from cinesax.core.grid import Floats
from cinesax.core.measurements import Measurements
from cinesax.core.orientation import base_first
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import Part, Structure
from cinesax.reader.editing.change import Frame, outlines_of

_POINT_DECIMALS = 3
"""A thousandth of a pixel is enough: the page only draws contours, and sends back only those that a person changed."""

Curve = list[float | None]


class ChamberNumbers(Struct, frozen=True):
    """Numbers of a chamber."""

    ed_phase: int | None
    es_phase: int | None
    edv_ml: float | None
    esv_ml: float | None
    sv_ml: float | None
    ef_percent: float | None
    volumes_ml: Curve | None


class Numbers(ChamberNumbers, frozen=True):
    """Numbers of a reading: those of the LV, and of the other chambers."""

    ef_basis: str | None
    lv_mass_g: float | None
    heart_rate_bpm: float | None
    cardiac_output_l_per_min: float | None
    areas_px: Curve
    slice_ml: list[Curve] | None
    chambers: dict[str, ChamberNumbers]


class ShownFinding(Struct, frozen=True):
    """A finding."""

    code: str
    severity: str
    message: str
    phase: int | None
    slice: int | None


class ShownContour(Struct, frozen=True):
    """The contour of a structure in a frame."""

    structure: str
    phase: int
    slice: int
    polygons: list[list[float]]
    origin: str
    by: str
    approved: bool


class Decided(Struct, frozen=True):
    """A decision that a structure is absent from a frame."""

    structure: str
    phase: int
    slice: int
    origin: str
    by: str
    approved: bool


class ShownFrame(Struct, frozen=True):
    """All contours and decisions in one frame."""

    phase: int
    slice: int
    contours: list[ShownContour]
    decided: list[Decided]


class ShownStructure(Struct, frozen=True):
    """A structure that can be drawn."""

    key: str
    label: int
    name: str
    border: str
    chamber: str
    color: str
    inside_of: str | None
    known: bool


class Pixels(Struct, frozen=True):
    """The scale of the sent pixels, and a suitable window."""

    low: float
    high: float
    offset: float
    scale: float


class ShownExam(Struct, frozen=True):
    """The cine."""

    phases: int
    slices: int
    rows: int
    columns: int
    spacing_mm: tuple[float, float] | None
    slice_distance_mm: float | None
    slice_positions_mm: list[float] | None
    extents_mm: Curve | None
    base_first: bool | None
    times_ms: Curve | None
    description: str | None
    pixels: Pixels
    long_axis: int | None


def finite(value: float | None) -> float | None:
    """A number for JSON; None if it is not finite."""
    return None if value is None or not math.isfinite(value) else float(value)


def curve(values: Floats | None) -> Curve | None:
    """Numbers for JSON."""
    return None if values is None else [finite(value) for value in values]


def numbers_of(m: Measurements) -> Numbers:
    """The numbers of a reading."""
    slice_ml = None
    if m.cavity_areas_mm2 is not None and m.slice_extents_mm is not None:
        slice_ml = [curve(row) or [] for row in m.cavity_areas_mm2 * m.slice_extents_mm / 1000]
    return Numbers(
        **asdict(_chamber(m)),
        ef_basis=None if m.ef_basis is None else m.ef_basis.value,
        lv_mass_g=finite(m.lv_mass_g),
        heart_rate_bpm=finite(m.heart_rate_bpm),
        cardiac_output_l_per_min=finite(m.cardiac_output_l_per_min),
        areas_px=curve(m.cavity_areas_px.sum(axis=1)) or [],
        slice_ml=slice_ml,
        chambers={other.chamber.key: _chamber(other) for other in m.others},
    )


def _chamber(m: Measurements) -> ChamberNumbers:
    return ChamberNumbers(
        ed_phase=m.ed_phase,
        es_phase=m.es_phase,
        edv_ml=finite(m.edv_ml),
        esv_ml=finite(m.esv_ml),
        sv_ml=finite(m.sv_ml),
        ef_percent=finite(m.ef_percent),
        volumes_ml=curve(m.volumes_ml),
    )


def findings_of(findings: Iterable[Finding]) -> list[ShownFinding]:
    """The findings, without the names of files."""
    return [ShownFinding(f.code.value, f.severity.value, f.message, f.phase, f.slice) for f in findings]


def frames_of(segmentation: Segmentation, frames: Iterable[Frame]) -> list[ShownFrame]:
    """The contours and decisions in some frames."""
    return [ShownFrame(phase, place, *_in_frame(segmentation, (phase, place))) for phase, place in sorted(set(frames))]


def _in_frame(segmentation: Segmentation, frame: Frame) -> tuple[list[ShownContour], list[Decided]]:
    contours, decided = [], []
    outlines = outlines_of(segmentation, frame)
    for structure in segmentation.known_phases:
        polygons = outlines.get(structure, ())
        if polygons:
            drawn = segmentation.drawn(structure, *frame)
            lines = [np.round(polygon.ravel(), _POINT_DECIMALS).tolist() for polygon in polygons]
            contours.append(ShownContour(structure.key, *frame, lines, drawn.origin.value, drawn.by, drawn.approved))
        elif (structure, *frame) in segmentation.origins:
            drawn = segmentation.origins[structure, *frame]
            decided.append(Decided(structure.key, *frame, drawn.origin.value, drawn.by, drawn.approved))
    return contours, decided


def contours_of(segmentation: Segmentation) -> tuple[list[ShownContour], list[Decided]]:
    """All contours, and all decisions that a structure is absent."""
    phases, slices = segmentation.labels.shape[:2]
    shown = [_in_frame(segmentation, (phase, place)) for phase in range(phases) for place in range(slices)]
    return [contour for contours, _ in shown for contour in contours], [
        item for _, decided in shown for item in decided
    ]


def known_of(segmentation: Segmentation) -> dict[str, list[int]]:
    """The known phases of each structure."""
    return {structure.key: np.flatnonzero(known).tolist() for structure, known in segmentation.known_phases.items()}


def structures_of(segmentation: Segmentation) -> list[ShownStructure]:
    """All structures that can be drawn."""
    return [
        ShownStructure(
            key=structure.key,
            label=int(structure),
            name=structure.facts.words,
            border=structure.facts.border,
            chamber=structure.facts.chamber.key,
            color="#{:02x}{:02x}{:02x}".format(*structure.facts.line_rgb),
            inside_of=None if structure.enclosing is None else structure.enclosing.key,
            known=structure in segmentation.known_phases and bool(segmentation.known_phases[structure].any()),
        )
        for structure in sorted(Structure, key=lambda entry: entry.facts.part is Part.MUSCLE)
    ]


def exam_of(cine: Cine, m: Measurements, *, pixels: Pixels, long_axis: int | None) -> ShownExam:
    """The cine, without its pixels and without the patient."""
    grid = cine.grid
    return ShownExam(
        phases=cine.n_phases,
        slices=cine.n_slices,
        rows=int(cine.pixels.shape[2]),
        columns=int(cine.pixels.shape[3]),
        spacing_mm=None if grid is None else grid.spacing_mm,
        slice_distance_mm=None if grid is None else finite(grid.slice_distance_mm),
        slice_positions_mm=None if grid is None else [float(value) for value in grid.positions_mm],
        extents_mm=curve(m.slice_extents_mm),
        base_first=base_first(cine.grid) if cine.base_first is None and grid is not None else cine.base_first,
        times_ms=curve(m.phase_times_ms),
        description=cine.source.description,
        pixels=pixels,
        long_axis=long_axis,
    )
