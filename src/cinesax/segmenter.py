"""Segmenter: Bundle -> something that segments a Cine. All that the rest knows of networks is `segment(cine)`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cinesax.bundle import Bundle, HeartPass, open_bundle
from cinesax.cine import Cine
from cinesax.cleaning import BORDER, DEFAULT_RULES, Cleaned, Rule, clean
from cinesax.errors import BundleError, DatasetError
from cinesax.findings import Code, Finding, Severity
from cinesax.framing import Framing, Placement
from cinesax.segmentation import ContourKey, Outline, Polygons, Segmentation, Structure, trace

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


@dataclass(frozen=True, eq=False)
class NetworkSegmenter:
    """A bundle's network in ONNX Runtime, and the cleaning after it. Made by `load_segmenter`.

    With a second pass, the first looks at the whole frames and so finds the place of the heart, one for the whole
    study; the second looks at a crop round it, at full resolution; inside of the crop both are averaged.

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
        """Find the LV cavity in every frame.

        Args:
            cine: the study; grid None (unknown spacing) is taken at its own pixels.
            progress: called with (frames done, frames in all).

        Returns:
            Labels (phase, slice, row, column) and sub-pixel contours, on the cine's grid, known in all phases.
        """
        placement = self.placement(cine)
        return self.finish(self.probabilities(cine, placement, progress), cine, placement)

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

    def finish(self, probabilities: NDArray[np.float32], cine: Cine, placement: Placement) -> Segmentation:
        """Clean the network's probabilities and bring them back to the cine's grid.

        Args:
            probabilities: of the cavity, framed: (phase, slice, size, size).
            cine: the study.
            placement: of its frames.
        """
        cleaned = clean(probabilities, self.rules)
        labels, contours = self._native(cleaned.probabilities, cine, placement)
        known = {Structure.CAVITY: np.ones(cine.n_phases, dtype=bool)}
        findings = (*_findings(cleaned), *_outside(placement, self.bundle.framing.size))
        return Segmentation(labels, known, contours, findings=findings, author=self.name)

    def probabilities(self, cine: Cine, placement: Placement, progress: Progress | None = None) -> NDArray[np.float32]:
        """The network's probabilities of the cavity, framed: (phase, slice, size, size), before any cleaning."""
        size = self.bundle.framing.size
        # Frame by frame: pixels that do not lie in order (a NIfTI's) would be copied as a whole by a reshape.
        frames = [frame for phase in cine.pixels for frame in phase]
        heart = self.bundle.heart
        passes = 1 if heart is None else 2
        framed = np.empty((len(frames), size, size), np.float32)
        found = np.empty_like(framed)
        for part in _batches(len(frames)):
            framed[part] = [self.bundle.framing.apply(frame, placement) for frame in frames[part]]
            found[part] = self._run(self.session, framed[part])
            if progress:
                progress(part.stop // passes, len(frames))
        if heart is not None:
            window = place_of_heart(found, heart.crop)
            for part in _batches(len(frames)):
                if window is not None:
                    close = self._run(self.heart_session, framed[part][(slice(None), *window)], heart)
                    found[part][(slice(None), *window)] += close
                    found[part][(slice(None), *window)] /= 2
                if progress:
                    progress((len(frames) + part.stop) // passes, len(frames))
        return found.reshape(cine.n_phases, cine.n_slices, size, size)

    def _run(self, session: Any, images: NDArray[np.float32], heart: HeartPass | None = None) -> NDArray[np.float32]:
        names = self.bundle if heart is None else heart
        channel = next(c for c, structure in self.bundle.classes.items() if structure is Structure.CAVITY)
        output = session.run([names.output_name], {names.input_name: np.ascontiguousarray(images[..., None])})[0]
        return np.asarray(output[..., channel])

    def _native(
        self, probabilities: NDArray[np.float32], cine: Cine, placement: Placement
    ) -> tuple[NDArray[np.uint8], dict[ContourKey, Polygons]]:
        labels = np.zeros(cine.pixels.shape, np.uint8)
        contours: dict[ContourKey, Polygons] = {}
        for phase, index in np.argwhere((probabilities >= BORDER).any(axis=(2, 3))):
            native = self.bundle.framing.undo(probabilities[phase, index], placement)
            inside = ndimage.binary_fill_holes(native >= BORDER)
            polygons = trace(native, level=BORDER)
            if polygons and inside is not None and inside.any():
                labels[phase, index][inside] = Structure.CAVITY
                contours[Outline.ENDOCARDIUM, int(phase), int(index)] = polygons
        return labels, contours


def _batches(count: int) -> list[slice]:
    return [slice(first, min(first + _BATCH, count)) for first in range(0, count, _BATCH)]


def place_of_heart(probabilities: NDArray[np.float32], crop: int) -> tuple[slice, slice] | None:
    """Where in the framed square the LV of a study lies.

    What was found in all frames is laid on one another: what was drawn elsewhere in single frames counts little.

    Args:
        probabilities: of the cavity, (frame, size, size).
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
    size = heat.shape[0]
    corner = [int(np.clip(round(place) - crop // 2, 0, size - crop)) for place in middle]
    return slice(corner[0], corner[0] + crop), slice(corner[1], corner[1] + crop)


def _findings(cleaned: Cleaned) -> list[Finding]:
    found = []
    if cleaned.off:
        names = ", ".join(cleaned.off)
        message = f"neighbouring slices or phases are missing, so these cleaning rules are off: {names}"
        found.append(Finding(Code.RULES_OFF, Severity.NOTE, message))
    if cleaned.removed_frames:
        message = f"regions that cannot be LV were removed from {cleaned.removed_frames} frames"
        found.append(Finding(Code.REMOVED_REGION, Severity.NOTE, message))
    return found


def _outside(placement: Placement, size: int) -> list[Finding]:
    lost = [length * scale > size + 1 for length, scale in zip(placement.native_shape, placement.scale, strict=True)]
    if not any(lost):
        return []
    rows, columns = placement.native_shape
    message = (
        f"the frames of {rows} x {columns} pixels are larger than what the network sees: "
        f"only their middle was searched for the LV"
    )
    return [Finding(Code.FRAME_CROPPED, Severity.NOTE, message)]


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
    """A graph of another size, or with fewer classes than bundle.json names, is a BundleError before it is run."""
    given, taken = session.get_inputs()[0].shape, session.get_outputs()[0].shape
    squares = all(
        len(shape) == 4 and all(n == size for n in shape[1:3] if isinstance(n, int)) for shape in (given, taken)
    )
    classes = taken[-1] if squares and isinstance(taken[-1], int) else max(bundle.classes) + 1
    if not squares or min(bundle.classes) < 0 or max(bundle.classes) >= classes:
        raise BundleError(
            f"{graph} has input {given} and output {taken}, which does not fit bundle.json: "
            f"squares of {size}, classes {sorted(bundle.classes)}"
        )
