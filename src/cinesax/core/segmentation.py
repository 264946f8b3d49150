"""Segmentation: which structure each pixel belongs to; and contours, the same as sub-pixel polygons.

A polygon is an array (point, 2) of x (column) and y (row) in pixels, whole numbers at pixel centres, closed implicitly
(the last point joins the first). Coordinates in Sunnybrook contour files are half a pixel larger: `formats.contours`.
"""

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar, cast

import contourpy
import numpy as np
from numpy.typing import NDArray

from cinesax.core.errors import GeometryError
from cinesax.core.findings import Finding
from cinesax.core.grid import Floats
from cinesax.core.origins import Drawn, Origin
from cinesax.core.presence import Presence
from cinesax.core.structures import LV, Chamber, Part, Structure, painting_order
from cinesax.core.values import ArrayValue, frozen

Polygons = tuple[Floats, ...]
Result = TypeVar("Result")

Outline = Structure
"""An earlier name for `Structure`, for its outer border around everything that it encloses (for the myocardium: the
epicardium)."""

ContourKey = tuple[Structure, int, int]


@dataclass(frozen=True, eq=False, repr=False)
class Segmentation(ArrayValue):
    """Labels of every frame on the grid of its Cine, and the contours that they came from, if any.

    Attributes:
        labels: (phase, slice, row, column), uint8: 0 or a value of Structure.
        known_phases: for each segmented structure, (phase,) bool: the phases in which it was segmented. In other phases
            its absence means nothing (expert contours exist at ED and ES only).
        contours: (structure, phase, slice) -> the polygons around it and what it encloses. If given, areas are polygon
            areas in closed form; if None, areas are pixel counts. If given, a frame without an entry has no contour.
        findings: what the reader should know about the segmentation.
        author: who made it: a network's name and version, "manual", or "truth".
        papillary_muscles_included: whether the cavity includes the papillary muscles, as in the shipped network and the
            Sunnybrook contours.
        origin: what made the contours (or labels) that are not in `origins`; `author` says who.
        origins: (structure, phase, slice) -> where that contour comes from, if not from `origin`; also records
            decisions that a frame has no contour.
        presence: in which frames the left ventricle counts as present, and by which rule; None if no rule was applied
            (given contours all count).

    Raises:
        GeometryError: shapes do not match, labels are not values of Structure, or polygons are not valid.
    """

    labels: NDArray[np.uint8]
    known_phases: Mapping[Structure, NDArray[np.bool_]]
    contours: Mapping[ContourKey, Polygons] | None = None
    findings: tuple[Finding, ...] = field(default=())
    author: str = "unknown"
    papillary_muscles_included: bool = True
    origin: Origin = Origin.GIVEN
    origins: Mapping[ContourKey, Drawn] = field(default_factory=dict)
    presence: Presence | None = None

    def __post_init__(self) -> None:
        if self.labels.ndim != 4 or self.labels.dtype != np.uint8:
            raise GeometryError(
                "labels must be uint8 of shape (phase, slice, row, column), "
                f"seen {self.labels.dtype} of shape {self.labels.shape}"
            )
        # Phase by phase: bincount makes a 64-bit copy, for a large study more than a gigabyte.
        known_values = {0, *(int(s) for s in self.known_phases)}
        highest = int(self.labels.max(initial=0))
        unknown: list[int] = []
        # If all values up to the highest are known, skip the count, which takes 20 times as long.
        if not known_values.issuperset(range(highest + 1)):
            present = np.flatnonzero(sum(np.bincount(phase.ravel(), minlength=256) for phase in self.labels))
            unknown = sorted({int(value) for value in present} - known_values)
        if unknown:
            raise GeometryError(f"labels hold the values {unknown}, which are not among the structures segmented")
        if not self.known_phases:
            raise GeometryError("a segmentation must name at least one structure")
        for structure, known in self.known_phases.items():
            if known.shape != self.labels.shape[:1] or known.dtype != np.bool_:
                raise GeometryError(f"known_phases of {structure.name} must be bool of shape {self.labels.shape[:1]}")
        known_phases = {structure: frozen(known) for structure, known in self.known_phases.items()}
        object.__setattr__(self, "labels", frozen(self.labels))
        object.__setattr__(self, "known_phases", MappingProxyType(known_phases))
        frames = self.labels.shape[:2]
        if self.contours is not None:
            object.__setattr__(self, "contours", MappingProxyType(_checked(self.contours, frames)))
        for _, phase, slice_index in self.origins:
            _refuse_outside(phase, slice_index, frames)
        object.__setattr__(self, "origins", MappingProxyType(dict(self.origins)))

    def __repr__(self) -> str:
        phases, slices = self.labels.shape[:2]
        names = ", ".join(structure.name.lower() for structure in self.known_phases)
        drawn = "labels only" if self.contours is None else f"{len(self.contours)} contours"
        return f"Segmentation({names} by {self.author!r}: {phases} phases, {slices} slices, {drawn})"

    def mask(self, structure: Structure) -> NDArray[np.bool_]:
        """(phase, slice, row, column), bool: where the structure is, including muscles that count as part of it."""
        counted = self.counted_as(structure)
        return np.asarray(self.labels == structure if len(counted) == 1 else np.isin(self.labels, counted))

    def outline(self, structure: Structure, phase: int, slice_index: int) -> Polygons:
        """The polygons around a structure and what it encloses, in one frame.

        They are the stored contours, else traced around the labels; () if the structure itself is absent.
        """
        if self.contours is not None:
            return self.contours.get((structure, phase, slice_index), ())
        labels = self.labels[phase, slice_index]
        if not np.any(labels == structure):
            return ()
        return trace(np.isin(labels, structure.region))

    def drawn(self, structure: Structure, phase: int, slice_index: int) -> Drawn:
        """Where the contour of a structure in one frame comes from, or the decision that there is none."""
        return self.origins.get((structure, phase, slice_index)) or Drawn(self.origin, self.author)

    def with_contour(
        self,
        phase: int,
        slice_index: int,
        structure: Structure,
        polygon: Floats | Polygons,
        *,
        by: str,
        origin: Origin = Origin.EDITED,
        approved: bool = False,
    ) -> "Segmentation":
        """A copy with another contour of one structure in one frame; other frames are shared, not computed again.

        A segmentation without contours stays so: the pixels inside are labelled, and the polygon is not kept.

        Args:
            phase: of the frame.
            slice_index: of the frame.
            structure: the structure inside the contour. It becomes known in this phase.
            polygon: (point, 2), x and y in pixels; or several of them.
            by: who drew it.
            origin: what made it.
            approved: whether a person approved it.

        Raises:
            GeometryError: the frame does not exist, or the polygon is not valid.
        """
        key = (structure, phase, slice_index)
        polygons = (polygon,) if isinstance(polygon, np.ndarray) else polygon
        drawn = _checked({key: polygons}, self.labels.shape[:2])
        if not drawn:
            raise GeometryError("a contour needs at least one polygon; `without` says that there is none")
        outlines = self._outlines(phase, slice_index) | {structure: drawn[key]}
        labels = self.labels[phase, slice_index]
        # Only pixels that enter or leave the outlines get a new label: what is inside before and after keeps its label.
        changed = rasterise(drawn[key], _size(labels)) != np.isin(labels, structure.region)
        known = {**self.known_phases, structure: self._known_also_at(structure, phase)}
        return self._with_frame((phase, slice_index), outlines, changed)._changed(
            known_phases=MappingProxyType(known),
            origins=MappingProxyType({**self.origins, key: Drawn(origin, by, approved)}),
        )

    def without(
        self, phase: int, slice_index: int, *, by: str, chamber: Chamber = LV, approved: bool = False
    ) -> "Segmentation":
        """A copy without a chamber in one frame, with the decision that it is absent there.

        Args:
            phase: of the frame.
            slice_index: of the frame.
            by: who decided.
            chamber: the absent chamber.
            approved: whether a person approved it.

        Raises:
            GeometryError: no such frame.
        """
        _refuse_outside(phase, slice_index, self.labels.shape[:2])
        gone = [member for member in self.known_phases if member.facts.chamber == chamber]
        kept = {member: line for member, line in self._outlines(phase, slice_index).items() if member not in gone}
        decided = {(member, phase, slice_index): Drawn(Origin.EDITED, by, approved) for member in gone}
        changed = np.isin(self.labels[phase, slice_index], gone)
        return self._with_frame((phase, slice_index), kept, changed)._changed(
            origins=MappingProxyType({**self.origins, **decided})
        )

    def with_approval(self, phase: int, slice_index: int, *, approved: bool = True) -> "Segmentation":
        """A copy with all contours of one frame approved, or no longer approved.

        Raises:
            GeometryError: no such frame.
        """
        _refuse_outside(phase, slice_index, self.labels.shape[:2])
        decided = {
            (member, phase, slice_index): replace(self.drawn(member, phase, slice_index), approved=approved)
            for member in self.known_phases
        }
        return self._changed(origins=MappingProxyType({**self.origins, **decided}))

    def with_frames(
        self,
        frames: Mapping[tuple[int, int], Mapping[Structure, Polygons]],
        origins: Mapping[ContourKey, Drawn | None],
        known_phases: Mapping[Structure, NDArray[np.bool_]],
        *,
        first: "Segmentation | None" = None,
        paint: bool = True,
    ) -> "Segmentation":
        """A copy with other contours in several frames at once; other frames are shared, not computed again.

        Without frames, labels and contours are the same objects: `remeasure` sees that nothing was drawn.

        Args:
            frames: (phase, slice) -> all contours of that frame.
            origins: changes of `origins`; None removes an entry.
            known_phases: (phase,) bool for every segmented structure.
            first: the segmentation that this one was made from. In the changed frames, pixels keep the labels of
                `first` where its contours and the new ones agree. So the result depends on its contours alone, not on
                the order of changes, and a change that is undone leaves no trace.
            paint: False: if the segmentation has contours, its labels stay as they are, and only values that follow
                from contours (areas, volumes) are right. For a contour that moves with the pointer: to copy and paint
                the labels of a whole study takes as long as to measure it.

        Raises:
            GeometryError: a frame does not exist, or a polygon is not valid.
        """
        first = first or self
        painted = bool(frames) and (paint or self.contours is None)
        labels = self.labels.copy() if painted else self.labels
        kept = None if self.contours is None else {k: p for k, p in self.contours.items() if k[1:] not in frames}
        for frame, given in frames.items():
            drawn = _checked({(structure, *frame): polygons for structure, polygons in given.items()}, labels.shape[:2])
            if painted:
                outlines = {structure: line for (structure, _, _), line in drawn.items()}
                labels[frame] = first._labels_with(frame, outlines)
            if kept is not None:
                kept |= drawn
        merged = {key: drawn for key, drawn in {**self.origins, **origins}.items() if drawn is not None}
        known = MappingProxyType({structure: frozen(array) for structure, array in known_phases.items()})
        return self._changed(
            frozenset(frames),
            labels=frozen(labels) if painted else labels,
            contours=MappingProxyType(kept) if frames and kept is not None else self.contours,
            origins=MappingProxyType(merged),
            known_phases=known,
        )

    def _labels_with(self, frame: tuple[int, int], outlines: Mapping[Structure, Polygons]) -> NDArray[np.uint8]:
        """(row, column): the labels of a frame, painted again where its outlines differ from the present ones."""
        labels = self.labels[frame].copy()
        changed = np.zeros(labels.shape, dtype=bool)
        present = self._outlines(*frame)
        for structure in {*present, *outlines}:
            before, after = present.get(structure, ()), outlines.get(structure, ())
            if len(before) != len(after) or not all(map(np.array_equal, before, after)):
                changed |= rasterise(after, _size(labels)) != np.isin(labels, structure.region)
        labels[changed] = _painted(outlines, _size(labels))[changed]
        return np.asarray(labels, dtype=np.uint8)

    def _outlines(self, phase: int, slice_index: int) -> dict[Structure, Polygons]:
        """The contours of one frame, or those traced around its labels."""
        outlines = {member: self.outline(member, phase, slice_index) for member in self.known_phases}
        return {member: polygons for member, polygons in outlines.items() if polygons}

    def _known_also_at(self, structure: Structure, phase: int) -> NDArray[np.bool_]:
        known = self.known_phases.get(structure)
        changed = np.zeros(len(self.labels), dtype=bool) if known is None else known.copy()
        changed[phase] = True
        return frozen(changed)

    def of_frame(
        self, function: "Callable[[Segmentation, int, int], Result]", phase: int, slice_index: int
    ) -> "Result":
        """The value of a function for one frame, computed once.

        `with_contour`, `without` and `with_approval` pass the stored values on to the new Segmentation, so that only
        the changed frame is computed again.

        Args:
            function: takes segmentation, phase and slice; it may use only the contours and labels of that frame.
            phase: of the frame.
            slice_index: of the frame.
        """
        key = function, phase, slice_index
        if key not in self._of_frames:
            self._of_frames[key] = function(self, phase, slice_index)
        return cast("Result", self._of_frames[key])

    @cached_property
    def _of_frames(self) -> dict[tuple[object, int, int], object]:
        return {}

    def _with_frame(
        self, frame: tuple[int, int], outlines: Mapping[Structure, Polygons], changed: NDArray[np.bool_]
    ) -> "Segmentation":
        """A copy with other contours in one frame; its labels are painted again where `changed` is True."""
        labels = self.labels.copy()
        labels[frame][changed] = _painted(outlines, _size(labels[frame]))[changed]
        if self.contours is None:
            return self._changed({frame}, labels=frozen(labels))
        kept = {key: polygons for key, polygons in self.contours.items() if key[1:] != frame}
        kept |= {(structure, *frame): polygons for structure, polygons in outlines.items()}
        return self._changed({frame}, labels=frozen(labels), contours=MappingProxyType(kept))

    def _changed(self, frames: Set[tuple[int, int]] = frozenset(), **changed: Any) -> "Segmentation":
        """A copy with other values of some fields. They must be frozen and valid: nothing is checked again.

        Args:
            frames: the frames whose contours or labels have changed.
            **changed: the new values, by field.
        """
        made = object.__new__(Segmentation)
        for entry in fields(self):
            object.__setattr__(made, entry.name, changed.get(entry.name, getattr(self, entry.name)))
        made._of_frames.update((key, value) for key, value in dict(self._of_frames).items() if key[1:] not in frames)
        return made

    def counted_as(self, structure: Structure) -> tuple[Structure, ...]:
        """The segmented structures that count as this one: itself, and muscles in the blood by convention."""
        muscles = (member for member in self._right_inside(structure) if member.facts.part is Part.MUSCLE)
        return (structure, *(muscles if self.papillary_muscles_included else ()))

    def apart_from(self, structure: Structure) -> tuple[Structure, ...]:
        """The segmented structures directly inside this one that do not count as it."""
        return tuple(member for member in self._right_inside(structure) if member not in self.counted_as(structure))

    def _right_inside(self, structure: Structure) -> tuple[Structure, ...]:
        return tuple(member for member in self.known_phases if member.enclosing is structure)


def _painted(outlines: Mapping[Structure, Polygons], size: tuple[int, int]) -> NDArray[np.uint8]:
    """(row, column): the labels of a frame, from its contours."""
    labels = np.zeros(size, dtype=np.uint8)
    for structure in painting_order(outlines):
        labels[rasterise(outlines[structure], size)] = structure
    return labels


def _size(frame: NDArray[Any]) -> tuple[int, int]:
    return frame.shape[0], frame.shape[1]


def _refuse_outside(phase: int, slice_index: int, frames: tuple[int, ...]) -> None:
    if not (0 <= phase < frames[0] and 0 <= slice_index < frames[1]):
        raise GeometryError(f"phase {phase}, slice {slice_index} is outside the stack of {frames} phases and slices")


def _checked(contours: Mapping[ContourKey, Polygons], frames: tuple[int, ...]) -> dict[ContourKey, Polygons]:
    checked: dict[ContourKey, Polygons] = {}
    for (structure, phase, slice_index), polygons in contours.items():
        _refuse_outside(phase, slice_index, frames)
        kept = tuple(np.array(polygon, dtype=np.float64) for polygon in polygons)
        for polygon in kept:
            if polygon.ndim != 2 or polygon.shape[1] != 2 or len(polygon) < 3 or not np.all(np.isfinite(polygon)):
                raise GeometryError(f"a contour is at least three finite points (x, y), seen shape {polygon.shape}")
            polygon.setflags(write=False)
        if kept:
            checked[Structure(structure), int(phase), int(slice_index)] = kept
    return checked


def polygon_area(polygon: Floats) -> float:
    """Area of a closed polygon in square pixels (the shoelace formula), without sign."""
    return abs(_signed_area(polygon))


def _signed_area(polygon: Floats) -> float:
    x, y = polygon[:, 0], polygon[:, 1]
    # Joined by hand: np.roll takes longer than everything else here, and a noisy mask has thousands of polygons.
    next_x, next_y = np.concatenate((x[1:], x[:1])), np.concatenate((y[1:], y[:1]))
    return (float(np.dot(x, next_y)) - float(np.dot(y, next_x))) / 2


def area_px(polygons: Iterable[Floats]) -> float:
    """Total area of the polygons of one frame in square pixels; polygons of one frame do not overlap."""
    return sum(polygon_area(polygon) for polygon in polygons)


def trace(inside: NDArray[Any], *, level: float = 0.5) -> Polygons:
    """Outlines of a mask or of a probability map by marching squares, with linear sub-pixel interpolation.

    Args:
        inside: (row, column): bool, or values whose border is at `level`. Structures are closed at the edge of the
            frame.
        level: the value on the border.

    Returns:
        Outer polygons, largest first. Holes are not returned: the LV cavity has none.
    """
    values = np.asarray(inside, dtype=np.float64)
    above = values > level
    rows, columns = (np.flatnonzero(above.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return ()
    # A heart fills a small part of its frame, and contourpy's time grows with all of it. One pixel around is enough.
    top, left = max(rows[0] - 1, 0), max(columns[0] - 1, 0)
    part = values[top : rows[-1] + 2, left : columns[-1] + 2]
    padded = np.pad(part, 1, constant_values=min(0.0, level - 1.0))
    lines = contourpy.contour_generator(z=padded).lines(level)
    corner = (left - 1, top - 1)
    polygons = [np.asarray(line, dtype=np.float64)[:-1] + corner for line in lines if len(line) >= 4]
    # contourpy runs counter-clockwise around higher values (x right, y up): holes have the other sign.
    outer = [polygon for polygon in polygons if _signed_area(polygon) > 0]
    return tuple(sorted(outer, key=polygon_area, reverse=True))


def rasterise(polygons: Iterable[Floats], shape: tuple[int, int], *, subsamples: int = 8) -> NDArray[np.bool_]:
    """Pixels that lie at least half inside the polygons (the rule of the Sunnybrook labels).

    Args:
        polygons: each (point, 2), x and y in pixels.
        shape: (rows, columns) of the result.
        subsamples: lines per pixel on which the covered length is computed; along x it is exact.

    Returns:
        (row, column), bool.
    """
    return coverage(polygons, shape, subsamples=subsamples) >= 0.5


def coverage(polygons: Iterable[Floats], shape: tuple[int, int], *, subsamples: int = 8) -> Floats:
    """The part of each pixel that lies inside the polygons, 0 to 1 (even-odd rule), (row, column)."""
    rows, columns = shape
    covered = np.zeros((rows, columns + 1))
    for polygon in polygons:
        _add_coverage(covered, polygon, subsamples)
    return np.clip(covered[:, :columns] / subsamples, 0, 1)


def _add_coverage(covered: Floats, polygon: Floats, subsamples: int) -> None:
    """Add to (row, column + 1) the covered length of each pixel, in lines (`subsamples` lines per pixel)."""
    rows, columns = covered.shape[0], covered.shape[1] - 1
    x0, y0 = polygon[:, 0] + 0.5, polygon[:, 1] + 0.5
    x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
    first, last = max(0, int(np.floor(y0.min()))), min(rows, int(np.ceil(y0.max())))
    lines = np.arange(first * subsamples, last * subsamples)
    ys = (lines + 0.5) / subsamples
    line, edge = np.nonzero((y0 <= ys[:, None]) != (y1 <= ys[:, None]))
    xs = x0[edge] + (ys[line] - y0[edge]) * (x1 - x0)[edge] / (y1 - y0)[edge]
    # A closed polygon crosses each line an even number of times: the sorted crossings are the ends of the inner parts.
    xs = xs[np.lexsort((xs, line))].clip(0, columns)
    left, right, row = xs[::2], xs[1::2], lines[line[::2]] // subsamples
    a, b = left.astype(int), right.astype(int)
    within = a == b
    np.add.at(covered, (row, a), np.where(within, right - left, a + 1 - left))
    np.add.at(covered, (row, b), np.where(within, 0.0, right - b))
    # The pixels between are fully covered: +1 where they begin, -1 where they end, then a sum along x.
    steps = np.zeros((max(0, last - first), columns + 1))
    np.add.at(steps, (row[~within] - first, a[~within] + 1), 1.0)
    np.add.at(steps, (row[~within] - first, b[~within]), -1.0)
    covered[first : first + len(steps)] += np.cumsum(steps, axis=1)


def from_contours(
    contours: Mapping[ContourKey, Polygons], shape: tuple[int, int, int, int], *, author: str = "manual"
) -> Segmentation:
    """A Segmentation with labels painted from contours; phases with at least one contour are the known ones.

    Args:
        contours: (structure, phase, slice) -> polygons.
        shape: (phase, slice, row, column).
        author: who drew them.
    """
    labels = np.zeros(shape, dtype=np.uint8)
    known: dict[Structure, NDArray[np.bool_]] = {Structure.CAVITY: np.zeros(shape[0], dtype=bool)}
    for structure in painting_order({structure for structure, _, _ in contours}):
        for (which, phase, slice_index), polygons in contours.items():
            if which is structure and polygons:
                labels[phase, slice_index][rasterise(polygons, shape[2:])] = structure
                known.setdefault(structure, np.zeros(shape[0], dtype=bool))[phase] = True
    return Segmentation(labels, known, contours=dict(contours), author=author)
