"""Segmenter: runs the network of a Bundle on a Cine. Other rooms know of networks only `segment(cine)`."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cinesax.core.cine import Cine
from cinesax.core.errors import BundleError, DatasetError
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.origins import Origin
from cinesax.core.presence import BaseRule, Presence, Signs
from cinesax.core.segmentation import ContourKey, Polygons, Segmentation, trace
from cinesax.core.structures import LV, Structure, painting_order
from cinesax.network.bundle import Bundle, HeartPass, open_bundle
from cinesax.network.cleaning import DEFAULT_RULES, Rule, clean, clean_ventricle, without_holes
from cinesax.network.framing import Crop, Framing, Placement
from cinesax.network.passes import BORDER, Pass, Progress, Scores, draw, draw_mirrored, find_heart
from cinesax.network.presence import decide, evidence, relative, wall_lost
from cinesax.network.signs import moments, signs_of

_AT_ONCE = 2
"""How many batches run at the same time, each with its part of the threads: more would need more memory."""

_NAMED_FRAMES = 4
"""How many frames a finding names."""


class Segmenter(Protocol):
    """The interface of a segmenter for the rest of the package."""

    @property
    def name(self) -> str:
        """Its name and version, for the provenance."""
        ...

    @property
    def checksum(self) -> str:
        """SHA-256 of everything that decides its results."""
        ...

    def segment(self, cine: Cine, progress: Progress | None = None) -> Segmentation:
        """Labels and sub-pixel contours of every frame, on the cine's own grid."""
        ...


@dataclass(frozen=True, eq=False)
class NetworkSegmenter:
    """A bundle's network in ONNX Runtime, and the cleaning after it. Made by `load_segmenter`.

    Attributes:
        bundle: the network.
        refiner: the pass that draws.
        finder: the pass that finds the heart; None: the refiner sees whole frames.
        rules: the cleaning rules.
        base: the rule for slices at the base.
        unvalidated: whether to draw also structures that the bundle marks as not validated.
    """

    bundle: Bundle
    refiner: Pass
    finder: Pass | None = None
    rules: frozenset[Rule] = DEFAULT_RULES
    base: BaseRule = BaseRule.HALF
    unvalidated: bool = False

    @property
    def name(self) -> str:
        """Name and version of the network."""
        return f"{self.bundle.name} {self.bundle.version}"

    @property
    def checksum(self) -> str:
        """SHA-256 of the network's graphs, framing and classes."""
        return self.bundle.checksum

    def segment(self, cine: Cine, progress: Progress | None = None) -> Segmentation:
        """Segment every frame.

        Args:
            cine: the study. Without a grid (unknown spacing), its pixels are not resampled.
            progress: called with (frames done, all frames).

        Returns:
            Labels (phase, slice, row, column) and sub-pixel contours, on the cine's grid, known in all phases.
        """
        placement = self.placement(cine)
        return self.finish(self.scores(cine, placement, progress), cine, placement)

    def on_framed(self, framing: Framing) -> "NetworkSegmenter":
        """The same network and cleaning for frames that are framed already (those of a prepared set).

        Framing them again would window them again, with the black border of a small frame among its intensities.

        Args:
            framing: how the frames were framed.

        Raises:
            DatasetError: this network needs another framing.
        """
        if framing != self.bundle.framing:
            raise DatasetError(
                f"the set was framed differently from what {self.name} needs: prepare it again, "
                "or give the pairs folder"
            )
        # Framed values are from 0 to 1 and reach both, so this window leaves them as they are.
        unchanged = replace(framing, window_percentiles=(0.0, 100.0))
        return replace(self, bundle=replace(self.bundle, framing=unchanged))

    def placement(self, cine: Cine) -> Placement:
        """Where the frames of a cine lie in the network's framed square."""
        if cine.grid is not None:
            return self.bundle.framing.place_on(cine.grid)
        return self.bundle.framing.place((cine.pixels.shape[2], cine.pixels.shape[3]), None)

    def scores(self, cine: Cine, placement: Placement, progress: Progress | None = None) -> Scores:
        """The network's scores of every frame, before any cleaning.

        Args:
            cine: the study.
            placement: of its frames.
            progress: called with (frames done, all frames).
        """
        crop: Crop | None = self.bundle.framing.whole
        if self.finder is not None and self.bundle.heart is not None:
            crop = find_heart(cine, self.bundle, self.finder, placement=placement, crop=self.bundle.heart.crop)
        if crop is not None:
            return draw(cine, self.bundle, self.refiner, placement=placement, crop=crop, progress=progress)
        if progress:
            progress(cine.n_phases * cine.n_slices, cine.n_phases * cine.n_slices)
        # The finder saw no heart: an empty crop of one pixel per frame, so that no caller needs a special case.
        nothing = np.zeros((cine.n_phases, cine.n_slices, 1, 1), np.float32)
        known = self.bundle.classes.values()
        return Scores(Crop((0, 0), 1), {structure: nothing for structure in Structure if structure in known})

    def finish(self, scores: Scores, cine: Cine, placement: Placement) -> Segmentation:
        """Clean the scores, decide where the ventricle ends, and bring contours and labels back to the cine's grid.

        Args:
            scores: from `scores`.
            cine: the study.
            placement: of its frames.
        """
        cavity = clean(scores.regions[Structure.CAVITY], self.rules)
        cleaned, removed = {Structure.CAVITY: cavity.probabilities}, cavity.removed
        left_out = () if self.unvalidated else self.bundle.unvalidated
        for structure, region in scores.regions.items():
            if structure is Structure.MYOCARDIUM:
                wall = clean_ventricle(
                    region,
                    cavity=scores.regions[Structure.CAVITY],
                    cleaned=cavity.probabilities,
                    rules=self.rules,
                )
                cleaned[structure], removed = wall.probabilities, removed | wall.removed
            elif structure is not Structure.CAVITY and structure not in left_out:
                # Not counted as removed: the finding is about the LV only.
                rules = self.rules if structure.facts.one_region else self.rules - {Rule.ONE_REGION}
                cleaned[structure] = clean(region, rules).probabilities
        # Before unvalidated structures are left out: the wall decides where the base is even if it is not drawn.
        measured = evidence(cleaned)
        seen = relative(measured)
        slice_mm = None if cine.grid is None else cine.grid.slice_distance_mm
        inside = decide(seen, base_first=cine.base_first, slice_mm=slice_mm)
        if Structure.MYOCARDIUM in cleaned:
            # Where the wall is lost in all phases, no rule has more to go by than `half`.
            inside.setdefault(BaseRule.WHOLE, inside[BaseRule.HALF])
        areas = seen.area_px * inside[self.base]
        signs = self._aside(
            partial(self._signs, scores, Scores(scores.crop, cleaned), areas, cine=cine, placement=placement)
        )
        doubtful = [structure for structure in cleaned if structure in self.bundle.unvalidated]
        if not self.unvalidated:
            cleaned = {structure: values for structure, values in cleaned.items() if structure not in doubtful}
        contours = self._outlines(Scores(scores.crop, cleaned), placement)
        counted, set_aside = _split(contours, inside[self.base], cine.base_first)
        labels = self._labels(Scores(scores.crop, cleaned), counted, cine, placement)
        known = {structure: np.ones(cine.n_phases, dtype=bool) for structure in cleaned}
        findings = (*_findings(cavity.off, removed), *_outside(placement, self.bundle.framing.size))
        findings += tuple(_wall_lost(wall_lost(measured)))
        if self.unvalidated:
            findings += tuple(_unvalidated(doubtful))
        presence = Presence(
            self.base, inside, seen.by(self.base, base_first=cine.base_first), seen.enclosure, set_aside, signs.result()
        )
        return Segmentation(
            labels,
            known,
            _with_wall(counted, labels),
            findings=findings,
            author=self.name,
            origin=Origin.NETWORK,
            presence=presence,
        )

    def _aside(self, work: Callable[[], Signs | None]) -> Future[Signs | None]:
        """The result of some work, done in another thread if the network may use several."""
        if self.refiner.at_once > 1:
            pool = ThreadPoolExecutor(1)
            future = pool.submit(work)
            pool.shutdown(wait=False)
            return future
        done: Future[Signs | None] = Future()
        done.set_result(work())
        return done

    def _signs(
        self, scores: Scores, cleaned: Scores, areas_px: NDArray[np.float64], *, cine: Cine, placement: Placement
    ) -> Signs | None:
        """How sure the network is of the cavity at ED and ES; None without a cavity, or with one phase only.

        Args:
            scores: of all frames.
            cleaned: the same after cleaning.
            areas_px: (phase, slice): area of the cavity in frames that count.
            cine: the study.
            placement: of its frames.
        """
        phases = moments(areas_px)
        if phases is None:
            return None
        images, mirrored = draw_mirrored(
            cine, self.bundle, self.refiner, placement=placement, scores=scores, phases=phases
        )
        return signs_of(scores, cleaned, phases, images=images, mirrored=mirrored)

    def _outlines(self, scores: Scores, placement: Placement) -> dict[ContourKey, Polygons]:
        """Contours on the cine's own pixels; outside the crop there are none."""
        rows, columns = self.bundle.framing.native_crop(placement, scores.crop)
        shape = placement.turn.apply_pair(placement.native_shape)
        contours: dict[ContourKey, Polygons] = {}
        for structure, values in scores.regions.items():
            for phase, place in np.argwhere((values >= BORDER).any(axis=(2, 3))):
                native = self.bundle.framing.uncut(values[phase, place], placement, scores.crop)
                moved = (polygon + [columns.start, rows.start] for polygon in _traced(native))
                polygons = tuple(placement.turn.undo_points(polygon, shape) for polygon in moved)
                if polygons:
                    contours[structure, int(phase), int(place)] = polygons
        return contours

    def _labels(
        self, scores: Scores, contours: Mapping[ContourKey, Polygons], cine: Cine, placement: Placement
    ) -> NDArray[np.uint8]:
        """(phase, slice, row, column): the labels of all structures with contours."""
        labels = np.zeros(cine.pixels.shape, np.uint8)
        turned = placement.turn.apply(labels)
        rows, columns = self.bundle.framing.native_crop(placement, scores.crop)
        for structure in painting_order(scores.regions):
            for which, phase, place in contours:
                if which is structure:
                    native = self.bundle.framing.uncut(scores.regions[structure][phase, place], placement, scores.crop)
                    turned[phase, place, rows, columns][without_holes(native >= BORDER)] = structure
        return labels


def _split(
    contours: Mapping[ContourKey, Polygons], inside: NDArray[np.bool_], base_first: bool | None
) -> tuple[dict[ContourKey, Polygons], dict[ContourKey, Polygons]]:
    """The contours that count, and those of the left ventricle in frames that do not count.

    The wall goes with its cavity. Wall without cavity counts beyond the apical end, where it is the tip of the
    ventricle, but not beyond the basal end.

    Args:
        contours: of all frames.
        inside: (phase, slice), bool: frames that count.
        base_first: whether slice 0 is the basal end; None: not known.
    """
    counted: dict[ContourKey, Polygons] = {}
    set_aside: dict[ContourKey, Polygons] = {}
    for key, polygons in contours.items():
        structure, phase, place = key
        away = structure.facts.chamber == LV and not inside[phase, place]
        if away and (Structure.CAVITY, phase, place) not in contours:
            away = _beyond_base(inside[phase], place, base_first)
        (set_aside if away else counted)[key] = polygons
    return counted, set_aside


def _beyond_base(inside: NDArray[np.bool_], place: int, base_first: bool | None) -> bool:
    counted = np.flatnonzero(inside)
    if len(counted) == 0:
        return True
    if base_first is None:
        return False
    return bool(place < counted[0] if base_first else place > counted[-1])


def _traced(values: NDArray[np.float32]) -> Polygons:
    """The outlines of scores (row, column), traced in their bounding box only: most of a crop is background."""
    inside = values >= BORDER
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if len(rows) == 0:
        return ()
    # One more pixel on each side: contours run between pixels inside and pixels outside.
    top, left = max(0, int(rows[0]) - 1), max(0, int(columns[0]) - 1)
    polygons = trace(values[top : int(rows[-1]) + 2, left : int(columns[-1]) + 2], level=BORDER)
    return tuple(polygon + [left, top] for polygon in polygons)


def _with_wall(contours: Mapping[ContourKey, Polygons], labels: NDArray[np.uint8]) -> dict[ContourKey, Polygons]:
    """The contours without the epicardium of frames without a pixel of myocardium: it would equal the endocardium."""
    wall = np.any(labels == Structure.MYOCARDIUM, axis=(2, 3))
    return {key: line for key, line in contours.items() if key[0] is not Structure.MYOCARDIUM or wall[key[1], key[2]]}


def _findings(off: Sequence[Rule], removed: NDArray[np.bool_]) -> list[Finding]:
    findings = []
    if off:
        sentence = "neighbouring slices or phases are missing, so these cleaning rules are off: {rules}"
        findings.append(Finding(Code.RULES_OFF, Severity.NOTE, sentence, texts={"rules": ", ".join(off)}))
    if removed.any():
        findings.append(_removed(removed))
    return findings


def _removed(removed: NDArray[np.bool_]) -> Finding:
    """The finding about frames (phase, slice) from which regions were removed: it names the first few, by slice."""
    places = [(int(phase), int(place)) for place, phase in np.argwhere(removed.T)]
    sentence = "regions that cannot belong to the LV were removed from {frames} frame"
    numbers = {"frames": len(places)}
    if len(places) == 1:
        ((phase, place),) = places
        return Finding(Code.REMOVED_REGION, Severity.NOTE, sentence, phase=phase, slice=place, numbers=numbers)
    named = []
    for at, (phase, place) in enumerate(places[:_NAMED_FRAMES], start=1):
        named.append(f"slice {{slice_{at}}} phase {{phase_{at}}}")
        numbers |= {f"slice_{at}": place, f"phase_{at}": phase}
    if len(places) > _NAMED_FRAMES:
        named.append("and {more} more")
        numbers["more"] = len(places) - _NAMED_FRAMES
    return Finding(Code.REMOVED_REGION, Severity.NOTE, f"{sentence}s: {', '.join(named)}", numbers=numbers)


def _wall_lost(lost: NDArray[np.bool_]) -> list[Finding]:
    if not lost.any():
        return []
    sentence = (
        "in {lost} of {phases} phases the network drew hardly any wall around the cavity, so it could not tell where "
        "the ventricle ends at the base: atrium may be counted. Check the basal slices"
    )
    numbers = {"lost": int(lost.sum()), "phases": len(lost)}
    return [Finding(Code.WALL_NOT_SEEN, Severity.WARNING, sentence, numbers=numbers)]


def _unvalidated(structures: Sequence[Structure]) -> list[Finding]:
    if not structures:
        return []
    names = " and ".join(structure.facts.words for structure in structures)
    sentence = "the network was not validated for {structures}: these contours and their numbers may be wrong"
    labels = {structure.key: int(structure) for structure in structures}
    return [Finding(Code.NOT_VALIDATED, Severity.WARNING, sentence, numbers=labels, texts={"structures": names})]


def _outside(placement: Placement, size: int) -> list[Finding]:
    lost = [length * scale > size + 1 for length, scale in zip(placement.native_shape, placement.scale, strict=True)]
    if not any(lost):
        return []
    rows, columns = placement.native_shape
    seen_rows, seen_columns = (
        min(length, round(size / scale)) for length, scale in zip(placement.native_shape, placement.scale, strict=True)
    )
    sentence = (
        "only the central {seen_rows} x {seen_columns} of {rows} x {columns} pixels were searched for the heart: "
        "the field of view is larger than the network's"
    )
    numbers = {"rows": rows, "columns": columns, "seen_rows": seen_rows, "seen_columns": seen_columns}
    return [Finding(Code.FRAME_CROPPED, Severity.NOTE, sentence, numbers=numbers)]


def load_segmenter(
    which: str | Path | None = None,
    *,
    threads: int | None = None,
    rules: frozenset[Rule] = DEFAULT_RULES,
    base: BaseRule = BaseRule.HALF,
    unvalidated: bool = False,
) -> NetworkSegmenter:
    """Open a bundle and start its network.

    Args:
        which: a bundle folder, or the name of a shipped one; None: "default".
        threads: of ONNX Runtime; None: as many as this process has cores.
        rules: the cleaning rules.
        base: the rule for slices at the base.
        unvalidated: whether to draw also structures that the bundle marks as not validated.

    Raises:
        BundleError: the bundle cannot be used, or does not draw the wall that the base rule needs.
    """
    bundle = open_bundle(which)
    if Structure.CAVITY not in bundle.classes.values():
        raise BundleError(f"{bundle.folder} has no class for the LV cavity")
    if base is BaseRule.WHOLE and Structure.MYOCARDIUM not in bundle.classes.values():
        raise BundleError(
            f"{bundle.name} does not draw the myocardium, which the base rule 'whole' needs: use 'half' or 'any'"
        )
    cores = threads or _cores()
    at_once = min(_AT_ONCE, cores)
    session = _start(bundle.graph_path, bundle, cores // at_once)
    _check_shapes(bundle, bundle.graph_path, session, Shape(bundle.framing.size, 1))
    on_frames = Pass(session, bundle.input_name, bundle.output_name, at_once=at_once)
    if bundle.heart is None:
        return NetworkSegmenter(bundle, on_frames, rules=rules, base=base, unvalidated=unvalidated)
    session = _start(bundle.heart_path, bundle.heart, cores // at_once)
    _check_shapes(bundle, bundle.heart_path, session, Shape(bundle.heart.crop, bundle.heart.context))
    on_crops = Pass(session, bundle.heart.input_name, bundle.heart.output_name, bundle.heart.context, at_once)
    return NetworkSegmenter(bundle, on_crops, on_frames, rules, base, unvalidated)


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of a graph's image: rows and columns (the same), and channels."""

    size: int
    channels: int


def _cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start(graph: Path, names: Bundle | HeartPass, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Threads that spin while they wait keep the cores from reading before and writing after.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        inputs, outputs = [i.name for i in session.get_inputs()], [o.name for o in session.get_outputs()]
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's exceptions have no common base of their own
        raise BundleError(f"{graph} cannot be loaded by ONNX Runtime: {error}") from None
    if names.input_name not in inputs or names.output_name not in outputs:
        raise BundleError(f"{graph} has inputs {inputs} and outputs {outputs}, not those of bundle.json")
    return session


def _check_shapes(bundle: Bundle, graph: Path, session: Any, image: Shape) -> None:
    """Raise BundleError if a graph has another image size or other classes than bundle.json says."""
    given, taken = session.get_inputs()[0].shape, session.get_outputs()[0].shape
    squares = all(
        len(shape) == 4 and all(n == image.size for n in shape[1:3] if isinstance(n, int)) for shape in (given, taken)
    )
    squares = squares and (given[3] == image.channels or not isinstance(given[3], int))
    named = sorted(bundle.classes)
    classes = taken[-1] if squares and isinstance(taken[-1], int) else named[-1] + 1
    # At least one class must remain for the background.
    all_named = 1 < classes <= len(bundle.classes)
    if not squares or named[0] < 0 or named[-1] >= classes or all_named:
        raise BundleError(
            f"{graph} has input {given} and output {taken}, which does not fit bundle.json: "
            f"squares of {image.size}, channels {image.channels}, classes {named}"
        )
