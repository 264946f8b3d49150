"""Turn a person's edits into changes of contours.

`plan` turns an edit into a Change, which has all new contours of each changed frame. Nothing is stored here.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

import msgspec
import numpy as np

from cinesax.core import orientation
from cinesax.core.analysis import Analysis
from cinesax.core.errors import GeometryError, UsageError, counted
from cinesax.core.grid import Floats
from cinesax.core.origins import Drawn, Origin
from cinesax.core.segmentation import ContourKey, Polygons, Segmentation
from cinesax.core.structures import LV, Chamber, Part, Structure
from cinesax.reader import messages
from cinesax.reader.editing import lines
from cinesax.reader.editing.change import Change, Frame, Reading, chamber_of, outlines_of, structure_of
from cinesax.reader.editing.wall import following


def plan(analysis: Analysis, reading: Reading, edit: messages.Edit, by: str) -> tuple[Change, str]:
    """The change that an edit makes, and a sentence for the history.

    Args:
        analysis: the analysis of the reading, with its measurements.
        reading: the reading to edit.
        edit: the edit.
        by: the person who edits.

    Raises:
        UsageError: the edit makes no sense for this exam.
        GeometryError: frames that do not exist, polygons that are not valid.
    """
    draft = _Draft(reading.segmentation, by)
    match edit:
        case messages.Phases():
            return _phases(reading, edit)
        case messages.Papillary():
            return _papillary(draft, edit)
        case messages.InterpolatePhases():
            return _interpolate_phases(draft, edit)
        case messages.InterpolateSlices():
            return _interpolate_slices(draft, analysis, edit)
        case messages.Base():
            return _base(draft, analysis, edit)
        case messages.Delete():
            return _delete(draft, analysis, edit)
        case _:
            return _plan_of_frames(draft, analysis, edit)


def _plan_of_frames(
    draft: "_Draft",
    analysis: Analysis,
    edit: messages.SetContour | messages.Copy | messages.Grow | messages.Shift,
) -> tuple[Change, str]:
    """Edits of the contours in a frame."""
    match edit:
        case messages.SetContour():
            return _set(draft, edit)
        case messages.Copy():
            return _copy(draft, edit)
        case messages.Grow():
            return _grow(draft, analysis, edit)
        case messages.Shift():
            return _shift(draft, edit)


class _Draft:
    """Collects the frames of a change."""

    def __init__(self, segmentation: Segmentation, by: str) -> None:
        self.segmentation = segmentation
        self.by = by
        self.phases, self.slices = segmentation.labels.shape[:2]
        self.shape = (segmentation.labels.shape[2], segmentation.labels.shape[3])
        self._frames: dict[Frame, dict[Structure, Polygons]] = {}
        self._origins: dict[ContourKey, Drawn | None] = {}
        self._known = {structure: known.copy() for structure, known in segmentation.known_phases.items()}

    def frame(self, frame: Frame) -> dict[Structure, Polygons]:
        """The contours of a frame, for editing."""
        phase, place = frame
        if not (0 <= phase < self.phases and 0 <= place < self.slices):
            raise GeometryError(f"there is no phase {phase}, slice {place}: {self.phases} phases, {self.slices} slices")
        if frame not in self._frames:
            self._frames[frame] = outlines_of(self.segmentation, frame)
        return self._frames[frame]

    def put(self, structure: Structure, frame: Frame, polygons: Polygons, origin: Origin) -> None:
        """Set the contour of a structure in a frame; () removes it."""
        outlines = self.frame(frame)
        outlines.pop(structure, None)
        if polygons:
            outlines[structure] = polygons
        known = self._known.setdefault(structure, np.zeros(self.phases, dtype=bool))
        known[frame[0]] = True
        self._origins[structure, *frame] = Drawn(origin, self.by)

    def remove(self, chamber: Chamber, frame: Frame) -> None:
        """Remove a chamber from a frame."""
        self.frame(frame)
        for structure in self.segmentation.known_phases:
            if structure.facts.chamber == chamber:
                self.put(structure, frame, (), Origin.EDITED)

    def change(self) -> Change:
        """The collected change; the wall follows the cavity."""
        for frame, outlines in self._frames.items():
            self._follow(frame, outlines)
        return Change(self._frames, self._origins, self._known)

    def _follow(self, frame: Frame, outlines: dict[Structure, Polygons]) -> None:
        """Let the wall of a frame follow its cavity if one of them was changed."""
        cavity, wall = (Structure.CAVITY, *frame), (Structure.MYOCARDIUM, *frame)
        changed = self._origins.get(cavity) or self._origins.get(wall)
        if changed is None:
            return
        # If the wall was changed too, the cavity before says nothing about where this wall is open.
        before = () if wall in self._origins else outlines_of(self.segmentation, frame).get(Structure.CAVITY, ())
        made = following(outlines.get(Structure.MYOCARDIUM, ()), before, outlines.get(Structure.CAVITY, ()))
        if made is not None:
            outlines[Structure.MYOCARDIUM] = made
            self._origins.setdefault(wall, changed)

    def drawn_structures(self, frame: Frame, key: str | None) -> list[Structure]:
        """The structure with a key, or all structures that are drawn in a frame.

        Raises:
            UsageError: they are not drawn there.
        """
        outlines = self.frame(frame)
        wanted = list(outlines) if key is None else [structure_of(key)]
        if not wanted or not all(outlines.get(structure) for structure in wanted):
            raise UsageError(f"nothing is drawn in phase {frame[0]}, slice {frame[1]}")
        return wanted

    def frames(self, phase: int, place: int, *, whole_slice: bool) -> list[Frame]:
        """One frame, or its slice at all phases."""
        self.frame((phase, place))
        return [(p, place) for p in range(self.phases)] if whole_slice else [(phase, place)]


def _set(draft: _Draft, edit: messages.SetContour) -> tuple[Change, str]:
    structure, frame = structure_of(edit.structure), (edit.phase, edit.slice)
    polygons = lines.checked(edit.polygons, draft.shape)
    draft.put(structure, frame, polygons, Origin.EDITED)
    what = "Draw" if polygons else "Delete"
    return draft.change(), f"{what} {structure.facts.border}, phase {edit.phase}, slice {edit.slice}"


def _delete(draft: _Draft, analysis: Analysis, edit: messages.Delete) -> tuple[Change, str]:
    chamber = chamber_of(edit.chamber)
    if edit.reach == "slice" or edit.reach == "frame":
        frames = draft.frames(edit.phase, edit.slice, whole_slice=edit.reach == "slice" or edit.all_phases)
    else:
        draft.frame((edit.phase, edit.slice))
        phases = range(draft.phases) if edit.all_phases else [edit.phase]
        frames = [(phase, place) for phase in phases for place in _beyond(analysis, draft.slices, edit)]
    for frame in frames:
        draft.remove(chamber, frame)
    where = {"frame": f"phase {edit.phase}, slice {edit.slice}", "slice": f"slice {edit.slice} at all phases"}
    place = where.get(edit.reach, f"slice {edit.slice} and {edit.reach.replace('_', ' ')}")
    return draft.change(), f"No {chamber.short} in {place}"


def _beyond(analysis: Analysis, slices: int, edit: messages.Delete) -> range:
    """The slice of an edit and all slices from there to one end of the stack."""
    first = base_at_first_slice(analysis)
    if edit.reach == "beyond":
        to_low_end = edit.slice < slices / 2
    else:
        if first is None:
            raise UsageError("it is not known which end of the stack is the base: delete slice by slice")
        to_low_end = first == (edit.reach == "beyond_base")
    return range(edit.slice + 1) if to_low_end else range(edit.slice, slices)


def base_at_first_slice(analysis: Analysis) -> bool | None:
    """Whether slice 0 is the basal end; None if the exam does not say."""
    cine = analysis.cine
    return orientation.base_first(cine.grid) if cine.base_first is None and cine.grid is not None else cine.base_first


def _copy(draft: _Draft, edit: messages.Copy) -> tuple[Change, str]:
    source = (edit.phase, edit.slice)
    structures = draft.drawn_structures(source, edit.structure)
    outlines = outlines_of(draft.segmentation, source)
    for target in edit.to:
        for structure in structures:
            draft.put(structure, (target.phase, target.slice), outlines[structure], Origin.EDITED)
    what = "contours" if edit.structure is None else structures[0].facts.border
    return draft.change(), f"Copy {what} of phase {edit.phase}, slice {edit.slice} to {counted(len(edit.to), 'frame')}"


def _interpolate_phases(draft: _Draft, edit: messages.InterpolatePhases) -> tuple[Change, str]:
    structure = structure_of(edit.structure)
    draft.frame((0, edit.slice))
    keys = edit.keys if edit.keys is not None else _edited_phases(draft, structure, edit.slice)
    for phase in keys:
        draft.frame((phase, edit.slice))
    drawn = {phase: outlines_of(draft.segmentation, (phase, edit.slice)).get(structure) for phase in sorted(set(keys))}
    with_line = {float(phase): polygons[0] for phase, polygons in drawn.items() if polygons}
    if len(drawn) < 2 or not with_line:
        raise UsageError(
            f"interpolation in time needs the {structure.facts.border} corrected in at least 2 phases of slice "
            f"{edit.slice}, seen {len(with_line)}: correct another phase, such as ED or ES"
        )
    missing = [phase for phase in range(draft.phases) if phase not in drawn]
    made = lines.between(with_line, missing, period=float(draft.phases))
    for phase, polygon in zip(missing, made, strict=True):
        # If the nearest edited phase has no contour, this phase gets none either.
        nearest = min(drawn, key=lambda key: min((key - phase) % draft.phases, (phase - key) % draft.phases))
        draft.put(structure, (phase, edit.slice), (polygon,) if drawn[nearest] else (), Origin.INTERPOLATED)
    return draft.change(), f"Interpolate {structure.facts.border} of slice {edit.slice} between {len(drawn)} phases"


def _edited_phases(draft: _Draft, structure: Structure, place: int) -> list[int]:
    drawn = [draft.segmentation.drawn(structure, phase, place) for phase in range(draft.phases)]
    return [phase for phase, mark in enumerate(drawn) if mark.origin is Origin.EDITED or mark.approved]


def _interpolate_slices(draft: _Draft, analysis: Analysis, edit: messages.InterpolateSlices) -> tuple[Change, str]:
    structure = structure_of(edit.structure)
    low, high = sorted((edit.first, edit.last))
    draft.frame((edit.phase, high))
    if high - low < 2:
        raise UsageError(f"there is no slice between {low} and {high}")
    grid = analysis.cine.grid
    places = np.arange(draft.slices, dtype=float) if grid is None else grid.positions_mm
    done = 0
    for phase in range(draft.phases) if edit.all_phases else [edit.phase]:
        below, above = (outlines_of(draft.segmentation, (phase, place)).get(structure) for place in (low, high))
        if not below or not above:
            continue
        keys = {float(places[low]): below[0], float(places[high]): above[0]}
        between = range(low + 1, high)
        for place, polygon in zip(between, lines.between(keys, [float(places[p]) for p in between]), strict=True):
            draft.put(structure, (phase, place), (polygon,), Origin.INTERPOLATED)
        done += 1
    if not done:
        raise UsageError(f"the {structure.facts.border} must be drawn in both slices, {low} and {high}")
    when = "all phases" if edit.all_phases else f"phase {edit.phase}"
    return draft.change(), f"Interpolate {structure.facts.border} between slices {low} and {high}, {when}"


def _move(
    draft: _Draft,
    structures: Iterable[Structure],
    frames: Iterable[Frame],
    moved: Callable[[Floats], Floats],
) -> None:
    """Replace existing contours by moved ones."""
    wanted = list(structures)
    for frame in frames:
        outlines = outlines_of(draft.segmentation, frame)
        for structure in wanted:
            if structure in outlines:
                draft.put(structure, frame, tuple(moved(line) for line in outlines[structure]), Origin.EDITED)


def _grow(draft: _Draft, analysis: Analysis, edit: messages.Grow) -> tuple[Change, str]:
    spacing = (1.0, 1.0) if analysis.cine.grid is None else analysis.cine.grid.spacing_mm
    structures = draft.drawn_structures((edit.phase, edit.slice), edit.structure)
    frames = draft.frames(edit.phase, edit.slice, whole_slice=edit.reach == "slice")
    _move(draft, structures, frames, lambda line: lines.grown(line, edit.mm, spacing))
    what = "Grow" if edit.mm > 0 else "Shrink"
    return draft.change(), f"{what} {structures[0].facts.border} by {abs(edit.mm):g} mm, {_where(edit)}"


def _shift(draft: _Draft, edit: messages.Shift) -> tuple[Change, str]:
    structures = draft.drawn_structures((edit.phase, edit.slice), edit.structure)
    frames = draft.frames(edit.phase, edit.slice, whole_slice=edit.reach == "slice")
    limit = np.array([draft.shape[1], draft.shape[0]]) - 0.5
    _move(draft, structures, frames, lambda line: np.clip(line + (edit.dx, edit.dy), -0.5, limit))
    what = "contours" if edit.structure is None else structures[0].facts.border
    return draft.change(), f"Shift {what} by {edit.dx:g}, {edit.dy:g} px, {_where(edit)}"


def _where(edit: messages.Grow | messages.Shift) -> str:
    return f"slice {edit.slice}" + (" at all phases" if edit.reach == "slice" else f", phase {edit.phase}")


def _base(draft: _Draft, analysis: Analysis, edit: messages.Base) -> tuple[Change, str]:
    m, first = analysis.measurements, base_at_first_slice(analysis)
    if m.ed_phase is None or m.es_phase is None:
        raise UsageError("ED and ES are not known: set both phases first")
    for place in (edit.ed_slice, edit.es_slice):
        draft.frame((0, place))
    if first is None:
        # The base is the end that is nearer to the given slices.
        first = edit.ed_slice + edit.es_slice < draft.slices - 1
    for phase in range(draft.phases):
        share = systolic_share(phase, m.ed_phase, m.es_phase, draft.phases)
        limit = round(edit.ed_slice + share * (edit.es_slice - edit.ed_slice))
        _end_at(draft, phase, limit, base_first=first)
    return draft.change(), f"The base ends at slice {edit.ed_slice} at ED and {edit.es_slice} at ES"


def systolic_share(phase: int, ed: int, es: int, phases: int) -> float:
    """The part of the way from ED to ES at a phase: 0 at ED, 1 at ES, linear between them, periodic."""
    systole, diastole = (es - ed) % phases, (ed - es) % phases
    since = (phase - ed) % phases
    return since / systole if since <= systole else 1 - (since - systole) / diastole


def _end_at(draft: _Draft, phase: int, limit: int, *, base_first: bool) -> None:
    """Remove the LV basal to a slice, and fill in the LV from this slice to the first slice that has it."""
    inwards = range(limit, draft.slices) if base_first else range(limit, -1, -1)
    outwards = range(limit) if base_first else range(limit + 1, draft.slices)
    before = {place: outlines_of(draft.segmentation, (phase, place)) for place in inwards}
    for place in outwards:
        if any(structure.facts.chamber == LV for structure in outlines_of(draft.segmentation, (phase, place))):
            draft.remove(LV, (phase, place))
    missing = []
    for place in inwards:
        if Structure.CAVITY in before[place]:
            break
        missing.append(place)
    else:
        return  # nothing is drawn in this phase
    presence = draft.segmentation.presence
    set_aside = {} if presence is None else presence.set_aside
    nearest = before[place]
    for empty in missing:
        for structure in (Structure.MYOCARDIUM, Structure.CAVITY):
            # A contour that the network drew there but set aside is better than the neighbour's contour.
            polygons = set_aside.get((structure, phase, empty)) or nearest.get(structure, ())
            if polygons:
                draft.put(structure, (phase, empty), polygons, Origin.INTERPOLATED)


def _papillary(draft: _Draft, edit: messages.Papillary) -> tuple[Change, str]:
    if not has_papillary_muscles(draft.segmentation):
        raise UsageError("no papillary muscles are drawn: draw them first")
    return Change(papillary_muscles_included=edit.included), (
        f"Papillary muscles {'belong' if edit.included else 'do not belong'} to the cavity"
    )


def has_papillary_muscles(segmentation: Segmentation) -> bool:
    """Whether papillary muscles are among the structures."""
    return any(structure.facts.part is Part.MUSCLE for structure in segmentation.known_phases)


def _phases(reading: Reading, edit: messages.Phases) -> tuple[Change, str]:
    overrides, words = reading.overrides, list[str]()
    if not isinstance(edit.ed_phase, msgspec.UnsetType):
        overrides = replace(overrides, ed_phase=edit.ed_phase)
        words.append(f"ED {'from the curve' if edit.ed_phase is None else edit.ed_phase}")
    if not isinstance(edit.es_phase, msgspec.UnsetType):
        overrides = replace(overrides, es_phase=edit.es_phase)
        words.append(f"ES {'from the curve' if edit.es_phase is None else edit.es_phase}")
    if not words:
        raise UsageError("give ed_phase, es_phase or both")
    return Change(overrides=overrides), f"Set {', '.join(words)}"
