"""The passes of a network over a study: the finder finds the heart, the refiner draws it.

The finder sees whole frames of a few phases. The refiner sees every frame once, as a crop around the heart, with the
neighbouring slices if it has learned to use them. A bundle with one graph has no finder: it draws on whole frames.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cinesax.core.cine import Cine
from cinesax.core.structures import Structure
from cinesax.network.bundle import Bundle
from cinesax.network.framing import Crop, Framing, Placement, crop_corner

Progress = Callable[[int, int], None]
Result = TypeVar("Result")

BORDER = 0.5
"""The score on the border of a structure."""

FINDER_PHASES = 4
"""The heart does not move away: a few phases, spread evenly over the beat, are enough to find it."""

# Activations of 8 crops stay below 100 MB; larger batches are not faster on a CPU.
_BATCH = 8
_HEAT_BLUR_PX = 1.5
_HEAT_RIM = 0.3
# Slices further apart than this say little about each other; stacks of every second or third slice are that far apart.
# Not at a usual distance: with a limit of 15.0, rounding decided whether slices 15 mm apart were neighbours, and ESV
# changed by 3 %.
_NEIGHBOUR_MM = 15.5


@dataclass(frozen=True, eq=False, slots=True)
class Scores:
    """The output of a network, on a crop of the framed square.

    Attributes:
        crop: the part of the framed square.
        regions: for each structure that the network draws, (phase, slice, crop.size, crop.size), float32, 0 to 1:
            the score of the structure with everything that it encloses (see `share`); 0.5 on its outline.
        window: the intensities of the images that became 0 and 1, if all frames share them.
    """

    crop: Crop
    regions: Mapping[Structure, NDArray[np.float32]]
    window: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Pass:
    """One graph, ready to run.

    Attributes:
        session: onnxruntime.InferenceSession.
        input_name: of the graph: (batch, size, size, channels), float32, 0 to 1.
        output_name: of the graph: (batch, size, size, classes), float32, probabilities.
        channels: of the image: 1, or 3: the frame between its neighbours towards the base and towards the apex.
        at_once: how many batches run at the same time, each in a thread of its own. The graph uses several threads
            itself, but what comes before and after it in a batch does not.
    """

    session: Any
    input_name: str
    output_name: str
    channels: int = 1
    at_once: int = 1

    def each(self, work: Callable[[slice], Result], batches: Sequence[slice]) -> Iterator[Result]:
        """The result of some work for each batch, in their order; as many batches at a time as `at_once` says."""
        if self.at_once == 1 or len(batches) < 2:
            yield from map(work, batches)
            return
        with ThreadPoolExecutor(self.at_once) as pool:
            try:
                yield from pool.map(work, batches)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities, (batch, size, size, classes), of images (batch, size, size, channels)."""
        feeds = {self.input_name: np.ascontiguousarray(images)}
        return np.asarray(self.session.run([self.output_name], feeds)[0])


def find_heart(cine: Cine, bundle: Bundle, finder: Pass, *, placement: Placement, crop: int) -> Crop | None:
    """Where the heart is in the framed square: one place for the whole study.

    Args:
        cine: the study.
        bundle: framing and classes.
        finder: the pass over whole frames.
        placement: of the frames.
        crop: rows and columns of the crop to place.

    Returns:
        None if the finder predicts no LV in any frame.
    """
    phases = np.unique(np.linspace(0, cine.n_phases, FINDER_PHASES, endpoint=False).astype(int))
    frames = [cine.pixels[phase, place] for phase in phases for place in range(cine.n_slices)]
    # Summed over all frames, so that a false region in a few of them does not outweigh the heart in all of them.
    heat = np.zeros((bundle.framing.size, bundle.framing.size))
    highest = 0.0
    ventricle = [channel for channel, structure in bundle.classes.items() if structure in _LEFT_VENTRICLE]
    framing, window = bundle.framing, None
    if bundle.heart is not None and bundle.heart.context > 1:
        # Networks with context standardise their images themselves, so one window for the study is enough.
        window = framing.window(placement.turn.apply(cine.pixels))

    def scores_of(part: slice) -> NDArray[np.float32]:
        framed = np.stack(
            [
                framing.apply(frame, placement)
                if window is None
                else framing.cut(frame, placement, framing.whole, window)
                for frame in frames[part]
            ]
        )
        return share(finder.run(framed[..., None]), ventricle)

    for scores in finder.each(scores_of, _batches(len(frames))):
        heat += scores.sum(axis=0, dtype=np.float64)
        highest = max(highest, float(scores.max()))
    return place_of_heart(heat / len(frames), crop) if highest >= BORDER else None


_LEFT_VENTRICLE = (Structure.CAVITY, Structure.MYOCARDIUM)


def place_of_heart(heat: NDArray[np.floating[Any]], crop: int) -> Crop:
    """The crop with the LV in its middle, or as near to it as the framed square allows.

    Args:
        heat: (size, size): mean score of the LV over the frames, not 0 everywhere.
        crop: rows and columns of the crop, at most size.
    """
    # The centre of the heaviest region, not of all heat: a false region at the edge would pull the crop off the heart.
    smooth = ndimage.gaussian_filter(np.asarray(heat, np.float64), _HEAT_BLUR_PX)
    regions, count = ndimage.label(smooth > _HEAT_RIM * smooth.max())
    weights = ndimage.sum_labels(smooth, regions, np.arange(1, count + 1))
    middle = ndimage.center_of_mass(smooth, regions, int(np.argmax(weights)) + 1)
    return Crop(crop_corner(middle, crop, heat.shape[0]), crop)


def draw(
    cine: Cine, bundle: Bundle, refiner: Pass, *, placement: Placement, crop: Crop, progress: Progress | None = None
) -> Scores:
    """The refiner's scores of every frame, before any cleaning.

    Args:
        cine: the study.
        bundle: framing and classes.
        refiner: the pass over crops.
        placement: of the frames.
        crop: the part of each frame that the refiner sees.
        progress: called with (frames done, all frames).
    """
    # Networks of one channel have learned from frames with a window each.
    window = bundle.framing.window(placement.turn.apply(cine.pixels)) if refiner.channels > 1 else None
    images = _crops(cine, bundle.framing, placement=placement, crop=crop, window=window)
    structures = tuple(structure for structure in Structure if structure in bundle.classes.values())
    shape = (len(images), crop.size, crop.size)
    regions = {structure: np.empty(shape, np.float32) for structure in structures}
    neighbours = _neighbours(cine, cine.n_phases)

    def drawn(part: slice) -> int:
        probabilities = refiner.run(_batch(images, part, refiner, neighbours))
        for structure in structures:
            regions[structure][part] = share(probabilities, _channels(bundle, structure))
        return int(part.stop)

    for done in refiner.each(drawn, _batches(len(images))):
        if progress:
            progress(done, shape[0])
    for values in regions.values():
        _blank_outside(values, bundle.framing.inside(placement, crop))
    stack = (cine.n_phases, cine.n_slices, crop.size, crop.size)
    return Scores(crop, {structure: values.reshape(stack) for structure, values in regions.items()}, window)


def draw_mirrored(
    cine: Cine, bundle: Bundle, refiner: Pass, *, placement: Placement, scores: Scores, phases: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The images of some phases, and the cavity's scores in their mirror images, mirrored back.

    A network that is sure of a frame draws the same in its mirror image.

    Args:
        cine: the study.
        bundle: framing and classes.
        refiner: the pass over crops.
        placement: of the frames.
        scores: from `draw`.
        phases: which phases.

    Returns:
        Both (phase, slice, crop.size, crop.size), float32, 0 to 1.
    """
    images = _crops(
        cine, bundle.framing, placement=placement, crop=scores.crop, window=scores.window, phases=tuple(phases)
    )
    mirrored, turned = np.empty_like(images), images[:, :, ::-1]
    neighbours = _neighbours(cine, len(phases))

    def drawn(part: slice) -> None:
        probabilities = refiner.run(_batch(turned, part, refiner, neighbours))
        mirrored[part] = share(probabilities, _channels(bundle, Structure.CAVITY))[:, :, ::-1]

    list(refiner.each(drawn, _batches(len(images))))
    _blank_outside(mirrored, bundle.framing.inside(placement, scores.crop))
    stack = (len(phases), cine.n_slices, *images.shape[1:])
    return images.reshape(stack), mirrored.reshape(stack)


def _blank_outside(values: NDArray[np.float32], inside: tuple[slice, slice]) -> None:
    """Set scores outside of the frame, (..., row, column), to 0: there the network saw no image."""
    rows, columns = inside
    values[..., : rows.start, :] = values[..., rows.stop :, :] = 0.0
    values[..., : columns.start] = values[..., columns.stop :] = 0.0


def _channels(bundle: Bundle, structure: Structure) -> list[int]:
    return [channel for channel, member in bundle.classes.items() if member in structure.region]


def _batch(
    images: NDArray[np.float32], part: slice, refiner: Pass, neighbours: tuple[NDArray[np.int_], NDArray[np.int_]]
) -> NDArray[np.float32]:
    """What the refiner sees of some frames, (batch, size, size, channels)."""
    if refiner.channels == 1:
        return images[part, ..., None]
    before, after = neighbours
    return np.stack([_beside(images, before[part]), images[part], _beside(images, after[part])], axis=-1)


def _crops(
    cine: Cine,
    framing: Framing,
    *,
    placement: Placement,
    crop: Crop,
    window: tuple[float, float] | None,
    phases: tuple[int, ...] | None = None,
) -> NDArray[np.float32]:
    """(frame, crop.size, crop.size): the crop of every frame, phase by phase; with a window each if none is given.

    Networks with context standardise their crop. Where it reaches beyond the frame, zeros would change the brightness
    and the contrast of the heart: of three patients with the heart in a corner of the frame, cavities were 12 % too
    small. So the pixels at the edge of the frame are repeated there.
    """
    # Frame by frame: reshape would copy the whole stack if its pixels are not in C order, as in a NIfTI.
    frames = [frame for phase in (range(cine.n_phases) if phases is None else phases) for frame in cine.pixels[phase]]
    if window is None:
        (row, column), size = crop.corner, crop.size
        whole = (framing.apply(frame, placement) for frame in frames)
        return np.stack([frame[row : row + size, column : column + size] for frame in whole])
    return np.stack([framing.cut(frame, placement, crop, window, extended=True) for frame in frames])


def _neighbours(cine: Cine, n_phases: int) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """For each frame of n_phases: the frame of the next slice towards base, and towards apex; -1 if there is none."""
    index = np.arange(n_phases * cine.n_slices).reshape(n_phases, cine.n_slices)
    lower, higher = np.full_like(index, -1), np.full_like(index, -1)
    near = np.ones(cine.n_slices - 1, bool)
    if cine.grid is not None:
        near = np.abs(cine.grid.slice_distances_mm) <= _NEIGHBOUR_MM
    lower[:, 1:] = np.where(near, index[:, :-1], -1)
    higher[:, :-1] = np.where(near, index[:, 1:], -1)
    # If it is not known which end is the base, either order will do: in training they are swapped at random.
    to_base, to_apex = (higher, lower) if cine.base_first is False else (lower, higher)
    return to_base.ravel(), to_apex.ravel()


def _beside(images: NDArray[np.float32], which: NDArray[np.int_]) -> NDArray[np.float32]:
    """The images with these indices; all 0 for -1, as in training."""
    return np.where((which >= 0)[:, None, None], images[which], np.float32(0))


def share(probabilities: NDArray[np.float32], channels: Sequence[int]) -> NDArray[np.float32]:
    """The score of some classes against all others: p / (p + q), the highest probability among them and the others.

    It is at least 0.5 exactly where the arg-max over all classes is one of them, and changes smoothly, so that its
    border can be traced between the pixels. With two classes it is the probability itself.

    Args:
        probabilities: (..., classes).
        channels: the classes; not all classes.

    Returns:
        (...), 0 to 1.
    """
    if probabilities.shape[-1] <= 2:
        return np.asarray(probabilities[..., channels[0]])
    others = [channel for channel in range(probabilities.shape[-1]) if channel not in channels]
    p, q = _highest(probabilities, channels), _highest(probabilities, others)
    return np.asarray(p / np.maximum(p + q, np.finfo(np.float32).tiny), dtype=np.float32)


def _highest(probabilities: NDArray[np.float32], channels: Sequence[int]) -> NDArray[np.float32]:
    # Several times as fast as .max(axis=-1) over a copy of the channels.
    highest = probabilities[..., channels[0]]
    for channel in channels[1:]:
        highest = np.maximum(highest, probabilities[..., channel])
    return highest


def _batches(count: int) -> list[slice]:
    return [slice(first, min(first + _BATCH, count)) for first in range(0, count, _BATCH)]
