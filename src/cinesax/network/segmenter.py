"""Segmenter: Bundle -> something that segments a Cine. All that the rest knows of networks is `segment(cine)`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cinesax.core.cine import Cine
from cinesax.core.errors import BundleError, DatasetError
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.segmentation import ContourKey, Polygons, Segmentation, trace
from cinesax.core.structures import Structure, painting_order
from cinesax.network.bundle import Bundle, HeartPass, open_bundle
from cinesax.network.cleaning import BORDER, DEFAULT_RULES, Rule, clean, clean_ventricle
from cinesax.network.framing import Framing, Placement, crop_corner

Progress = Callable[[int, int], None]

# 8 frames of 256 x 256 keep the activations of the network below 200 MB; larger batches are not faster on a CPU.
_BATCH = 8
_HEAT_BLUR_PX = 1.5
_HEAT_RIM = 0.3


class Segmenter(Protocol):
    """What the rest of the package asks of a segmenter."""

    @property
    def name(self) -> str:
        """Name and version, for the provenance."""
        ...

    @property
    def checksum(self) -> str:
        """SHA-256 of what decides its results."""
        ...

    def segment(self, cine: Cine, progress: Progress | None = None) -> Segmentation:
        """Labels and sub-pixel contours of every frame, on the cine's own grid."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class Scores:
    """What a network saw, framed: for each pixel from 0 to 1, and 0.5 or more where it is one of a structure.

    Attributes:
        cavity: (phase, slice, size, size), float32: its probability, or, of more than two classes, its `share`.
        ventricle: the same of cavity and myocardium together, nowhere less than of the cavity; None where the network
            does not tell the myocardium apart.
        others: the same of every structure beside the LV that the network knows.
    """

    cavity: NDArray[np.float32]
    ventricle: NDArray[np.float32] | None = None
    others: Mapping[Structure, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class NetworkSegmenter:
    """A bundle's network in ONNX Runtime, and the cleaning after it. Made by `load_segmenter`.

    With a second pass, the first looks at the whole frames and so finds the place of the heart, one for the whole
    study; the second looks at a crop round it, at full resolution; inside of the crop the scores of both are averaged.

    Attributes:
        bundle: the network.
        session: onnxruntime.InferenceSession.
        heart_session: of the second pass; None: there is none.
        rules: of the cleaning.
    """

    bundle: Bundle
    session: Any
    heart_session: Any = None
    rules: frozenset[Rule] = DEFAULT_RULES

    @property
    def name(self) -> str:
        """Name and version of the network."""
        return f"{self.bundle.name} {self.bundle.version}"

    @property
    def checksum(self) -> str:
        """SHA-256 of the network's graphs, framing and classes."""
        return self.bundle.checksum

    def segment(self, cine: Cine, progress: Progress | None = None) -> Segmentation:
        """Find the LV cavity in every frame, and the other structures that the network knows.

        Args:
            cine: the study; grid None (unknown spacing) is taken at its own pixels.
            progress: called with (frames done, frames in all).

        Returns:
            Labels (phase, slice, row, column) and sub-pixel contours, on the cine's grid, known in all phases.
        """
        placement = self.placement(cine)
        return self.finish(self.scores(cine, placement, progress), cine, placement)

    def on_framed(self, framing: Framing) -> "NetworkSegmenter":
        """The same network and cleaning for frames that were framed already (those of a prepared set).

        To frame them again would window them again: the black round a small frame would count as its intensities.

        Args:
            framing: how they were framed.

        Raises:
            DatasetError: not as this network sees frames.
        """
        if framing != self.bundle.framing:
            raise DatasetError(
                f"the set was framed in another way than {self.name} needs: prepare it again, or give the pairs folder"
            )
        # Framed values are from 0 to 1 and reach both, so this window leaves them as they are.
        as_it_is = replace(framing, window_percentiles=(0.0, 100.0))
        return replace(self, bundle=replace(self.bundle, framing=as_it_is))

    def placement(self, cine: Cine) -> Placement:
        """Where the frames of a cine lie in what the network sees."""
        if cine.grid is not None:
            return self.bundle.framing.place_on(cine.grid)
        return self.bundle.framing.place((cine.pixels.shape[2], cine.pixels.shape[3]), None)

    def finish(self, scores: Scores, cine: Cine, placement: Placement) -> Segmentation:
        """Clean what the network saw and bring it back to the cine's grid.

        Args:
            scores: framed.
            cine: the study.
            placement: of its frames.
        """
        cavity = clean(scores.cavity, self.rules)
        removed, ventricle = cavity.removed, None
        known = {Structure.CAVITY: np.ones(cine.n_phases, dtype=bool)}
        if scores.ventricle is not None:
            both = clean_ventricle(
                scores.ventricle, cavity=scores.cavity, cleaned=cavity.probabilities, rules=self.rules
            )
            removed, ventricle = removed | both.removed, both.probabilities
            known[Structure.MYOCARDIUM] = np.ones(cine.n_phases, dtype=bool)
        others = {}
        for structure, values in scores.others.items():
            # Not told as removed: nothing that goes here was taken for LV.
            rules = self.rules if structure.facts.one_region else self.rules - {Rule.ONE_REGION}
            others[structure] = clean(values, rules).probabilities
            known[structure] = np.ones(cine.n_phases, dtype=bool)
        labels, contours = self._native(Scores(cavity.probabilities, ventricle, others), cine, placement)
        findings = (*_findings(cavity.off, removed), *_outside(placement, self.bundle.framing.size))
        return Segmentation(labels, known, contours, findings=findings, author=self.name)

    def scores(self, cine: Cine, placement: Placement, progress: Progress | None = None) -> Scores:
        """What the network sees in every frame, before any cleaning.

        Args:
            cine: the study.
            placement: of its frames.
            progress: called with (frames done, frames in all).
        """
        size = self.bundle.framing.size
        # Frame by frame: pixels that do not lie in order (a NIfTI's) would be copied as a whole by a reshape.
        frames = [frame for phase in cine.pixels for frame in phase]
        heart = self.bundle.heart
        found = np.empty((len(self._structures), len(frames), size, size), np.float32)
        again = None if heart is None else np.empty((len(frames), size, size), np.float32)
        for part in _batches(len(frames)):
            framed = np.stack([self.bundle.framing.apply(frame, placement) for frame in frames[part]])
            found[:, part] = self._run(self.session, framed)
            if again is not None:
                again[part] = framed
            if progress:
                progress(part.stop // (1 if heart is None else 2), len(frames))
        if heart is not None and again is not None:
            self._look_again(found, again, heart, progress)
        whole = found.reshape(-1, cine.n_phases, cine.n_slices, size, size)
        of = dict(zip(self._structures, whole, strict=True))
        return Scores(of.pop(Structure.CAVITY), of.pop(Structure.MYOCARDIUM, None), of)

    def _look_again(
        self, found: NDArray[np.float32], framed: NDArray[np.float32], heart: HeartPass, progress: Progress | None
    ) -> None:
        """Average what was found, (structure, frame, size, size), in place with what the second pass sees."""
        window = place_of_heart(found[0], heart.crop)
        for part in _batches(len(framed)):
            if window is not None:
                inside = found[(slice(None), part, *window)]
                inside += self._run(self.heart_session, framed[(part, *window)], heart)
                inside /= 2
            if progress:
                progress((len(framed) + part.stop) // 2, len(framed))

    @property
    def _structures(self) -> tuple[Structure, ...]:
        return tuple(structure for structure in Structure if structure in self.bundle.classes.values())

    def _run(self, session: Any, images: NDArray[np.float32], heart: HeartPass | None = None) -> NDArray[np.float32]:
        """(structure, frame, row, column): the score of each structure with all that it encloses."""
        names = self.bundle if heart is None else heart
        output = session.run([names.output_name], {names.input_name: np.ascontiguousarray(images[..., None])})[0]
        channels = [
            [channel for channel, other in self.bundle.classes.items() if other in structure.region]
            for structure in self._structures
        ]
        return np.stack([share(output, inside) for inside in channels])

    def _native(
        self, scores: Scores, cine: Cine, placement: Placement
    ) -> tuple[NDArray[np.uint8], dict[ContourKey, Polygons]]:
        labels = np.zeros(cine.pixels.shape, np.uint8)
        contours: dict[ContourKey, Polygons] = {}
        seen = {Structure.CAVITY: scores.cavity, **scores.others}
        if scores.ventricle is not None:
            seen[Structure.MYOCARDIUM] = scores.ventricle
        for structure in painting_order(seen):
            values = seen[structure]
            for phase, index in np.argwhere((values >= BORDER).any(axis=(2, 3))):
                native = self.bundle.framing.undo(values[phase, index], placement)
                inside = ndimage.binary_fill_holes(native >= BORDER)
                polygons = trace(native, level=BORDER)
                if polygons and inside is not None and inside.any():
                    labels[phase, index][inside] = structure
                    contours[structure, int(phase), int(index)] = polygons
        return labels, _with_wall(contours, labels)


def share(probabilities: NDArray[np.float32], channels: Sequence[int]) -> NDArray[np.float32]:
    """How far some classes lie before all others: p / (p + q) of the highest probability in and outside of them.

    It is 0.5 or more exactly where the arg-max over all classes is one of them; its border can be traced between the
    pixels. Of two classes it is the probability itself.

    Args:
        probabilities: (..., classes).
        channels: the classes, not all of them.

    Returns:
        (...), 0 to 1.
    """
    if probabilities.shape[-1] <= 2:
        return np.asarray(probabilities[..., channels[0]])
    others = [channel for channel in range(probabilities.shape[-1]) if channel not in channels]
    here, there = probabilities[..., list(channels)].max(axis=-1), probabilities[..., others].max(axis=-1)
    return np.asarray(here / np.maximum(here + there, np.finfo(np.float32).tiny), dtype=np.float32)


def _with_wall(contours: dict[ContourKey, Polygons], labels: NDArray[np.uint8]) -> dict[ContourKey, Polygons]:
    """Without the epicardium of frames in which no pixel is myocardium: it is the endocardium once more."""
    wall = np.any(labels == Structure.MYOCARDIUM, axis=(2, 3))
    return {key: line for key, line in contours.items() if key[0] is not Structure.MYOCARDIUM or wall[key[1], key[2]]}


def _batches(count: int) -> list[slice]:
    return [slice(first, min(first + _BATCH, count)) for first in range(0, count, _BATCH)]


def place_of_heart(probabilities: NDArray[np.float32], crop: int) -> tuple[slice, slice] | None:
    """Where in the framed square the LV of a study lies.

    What was found in all frames is laid on one another: what was drawn elsewhere in single frames counts little.

    Args:
        probabilities: of the cavity (its scores), (frame, size, size).
        crop: rows and columns of the answer, at most size.

    Returns:
        Rows and columns, crop of each, inside of the square, with the LV in the middle as far as there is room;
        None where nothing was found in any frame.
    """
    if not probabilities.max(initial=0) >= BORDER:
        return None
    heat = ndimage.gaussian_filter(probabilities.mean(axis=0, dtype=np.float64), _HEAT_BLUR_PX)
    regions, count = ndimage.label(heat > _HEAT_RIM * heat.max())
    weights = ndimage.sum_labels(heat, regions, np.arange(1, count + 1))
    middle = ndimage.center_of_mass(heat, regions, int(np.argmax(weights)) + 1)
    row, column = crop_corner(middle, crop, heat.shape[0])
    return slice(row, row + crop), slice(column, column + crop)


def _findings(off: Sequence[Rule], removed: NDArray[np.bool_]) -> list[Finding]:
    found = []
    if off:
        sentence = "neighbouring slices or phases are missing, so these cleaning rules are off: {rules}"
        found.append(Finding(Code.RULES_OFF, Severity.NOTE, sentence, texts={"rules": ", ".join(off)}))
    if removed.any():
        number = int(np.count_nonzero(removed))
        frames = "frame" if number == 1 else "frames"
        sentence = f"regions that cannot be LV were removed from {{frames}} {frames}"
        found.append(Finding(Code.REMOVED_REGION, Severity.NOTE, sentence, numbers={"frames": number}))
    return found


def _outside(placement: Placement, size: int) -> list[Finding]:
    lost = [length * scale > size + 1 for length, scale in zip(placement.native_shape, placement.scale, strict=True)]
    if not any(lost):
        return []
    rows, columns = placement.native_shape
    sentence = (
        "the frames of {rows} x {columns} pixels are larger than what the network sees: "
        "only their middle was searched for the LV"
    )
    return [Finding(Code.FRAME_CROPPED, Severity.NOTE, sentence, numbers={"rows": rows, "columns": columns})]


def load_segmenter(
    which: str | Path | None = None, *, threads: int | None = None, rules: frozenset[Rule] = DEFAULT_RULES
) -> NetworkSegmenter:
    """Open a bundle and start its network.

    Args:
        which: a bundle folder; None or "default": the network that ships.
        threads: of ONNX Runtime; None: as many as there are cores for this process.
        rules: of the cleaning.

    Raises:
        BundleError: the bundle cannot be used.
    """
    bundle = open_bundle(which)
    if Structure.CAVITY not in bundle.classes.values():
        raise BundleError(f"{bundle.folder} has no class for the LV cavity")
    session = _start(bundle.graph_path, bundle, threads)
    _check_shapes(bundle, bundle.graph_path, session, bundle.framing.size)
    if bundle.heart is None:
        return NetworkSegmenter(bundle, session, rules=rules)
    close = _start(bundle.heart_path, bundle.heart, threads)
    _check_shapes(bundle, bundle.heart_path, close, bundle.heart.crop)
    return NetworkSegmenter(bundle, session, close, rules)


def _start(graph: Path, names: Bundle | HeartPass, threads: int | None) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        inputs, outputs = [i.name for i in session.get_inputs()], [o.name for o in session.get_outputs()]
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's exceptions have no common base of their own
        raise BundleError(f"{graph} cannot be loaded by ONNX Runtime: {error}") from None
    if names.input_name not in inputs or names.output_name not in outputs:
        raise BundleError(f"{graph} has inputs {inputs} and outputs {outputs}, not those of bundle.json")
    return session


def _check_shapes(bundle: Bundle, graph: Path, session: Any, size: int) -> None:
    """A graph of another size, or with other classes than bundle.json names, is a BundleError before it is run."""
    given, taken = session.get_inputs()[0].shape, session.get_outputs()[0].shape
    squares = all(
        len(shape) == 4 and all(n == size for n in shape[1:3] if isinstance(n, int)) for shape in (given, taken)
    )
    named = sorted(bundle.classes)
    classes = taken[-1] if squares and isinstance(taken[-1], int) else named[-1] + 1
    # One class has to be left for what is none of them.
    all_named = 1 < classes <= len(bundle.classes)
    if not squares or named[0] < 0 or named[-1] >= classes or all_named:
        raise BundleError(
            f"{graph} has input {given} and output {taken}, which does not fit bundle.json: "
            f"squares of {size}, classes {named}"
        )
