"""Examples: framed images with their labels, from every kind of source that a network can learn from."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinesax.cine import Cine
from cinesax.errors import DatasetError
from cinesax.exam import open_cine
from cinesax.formats import contours, pairs
from cinesax.framing import Framing, Turn, upright
from cinesax.phantom import draw_settings, render_frames
from cinesax.segmentation import Segmentation, Structure


class Kind(StrEnum):
    """Where an example comes from."""

    PAIRS = "pairs"
    STUDY = "study"
    PHANTOM = "phantom"


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled frame as the network sees it.

    Attributes:
        name: unique in its set.
        case: the patient: splits never divide a case.
        kind: where it comes from.
        image: (size, size), uint16: the framed image, 0 to 65535 for 0 to 1.
        label: (size, size), uint8: 0 or a value of Structure.
        slice: index of the slice in its stack, or -1.
        phase: index of the phase, or -1.
        spacing_mm: (row, column) spacing of the framed pixels, or None where it is not known.
    """

    name: str
    case: str
    kind: Kind
    image: NDArray[np.uint16]
    label: NDArray[np.uint8]
    slice: int = -1
    phase: int = -1
    spacing_mm: tuple[float, float] | None = None


def _framed(frame: NDArray[Any], label: NDArray[np.uint8], framing: Framing, **facts: Any) -> Example:
    native_mm: tuple[float, float] | None = facts.pop("spacing_mm", None)
    turn: Turn = facts.pop("turn", Turn())
    placement = framing.place((frame.shape[0], frame.shape[1]), native_mm, turn)
    if native_mm is not None and turn.transpose:
        native_mm = (native_mm[1], native_mm[0])
    image = np.round(framing.apply(frame, placement) * 65535).astype(np.uint16)
    scale = placement.scale
    spacing = None if native_mm is None else (native_mm[0] / scale[0], native_mm[1] / scale[1])
    return Example(image=image, label=framing.apply_labels(label, placement), spacing_mm=spacing, **facts)


def from_pairs(folder: Path, framing: Framing) -> Iterator[Example]:
    """Every image of a `pairs` folder (`images/NAME.png`, `labels/NAME.png`); labels above 0 are LV cavity.

    Raises:
        InputError: no such folder, an image without label, sizes that differ.
    """
    for pair in pairs.read_pairs(folder):
        image, inside = pairs.load(pair)
        label = inside.astype(np.uint8) * np.uint8(Structure.CAVITY)
        yield _framed(image, label, framing, name=pair.name, case=pair.case, kind=Kind.PAIRS)


def from_study(case: str, cine: Cine, truth: Segmentation, framing: Framing) -> Iterator[Example]:
    """Every frame of a study in the phases where the cavity was looked for; frames without LV are negative examples.

    Args:
        case: the patient's key.
        cine: the study.
        truth: expert labels on the study's grid.
        framing: how the network sees it.
    """
    spacing = cine.grid.spacing_mm if cine.grid else None
    numbers = {place: number for number, place in contours.frame_numbers(cine).items()}
    for phase in np.flatnonzero(truth.known_phases[Structure.CAVITY]):
        for index in range(cine.n_slices):
            label = (truth.labels[phase, index] == Structure.CAVITY).astype(np.uint8)
            facts = {"slice": index, "phase": int(phase), "spacing_mm": spacing, "turn": upright(cine.grid)}
            name = f"{case}-IM-0001-{numbers[int(phase), index]:04d}"
            yield _framed(cine.pixels[phase, index], label, framing, name=name, case=case, kind=Kind.STUDY, **facts)


def from_studies(folder: Path, contour_folder: Path, framing: Framing) -> Iterator[Example]:
    """Studies in subfolders of `folder`, with expert contours in the folder of the same name in `contour_folder`.

    Raises:
        DatasetError: no study has contours.
        InputError: a study or a contour file that cannot be read.
    """
    cases = sorted(path.name for path in folder.iterdir() if path.is_dir() and (contour_folder / path.name).is_dir())
    if not cases:
        raise DatasetError(f"no subfolder of {folder} has a folder of contours of the same name in {contour_folder}")
    for case in cases:
        cine = open_cine(folder / case)
        yield from from_study(case, cine, contours.read_contours(contour_folder / case, cine), framing)


def from_phantoms(seeds: Iterable[int], framing: Framing, *, frames_each: int = 8) -> Iterator[Example]:
    """Frames of synthetic hearts, drawn over all slices and phases: slices without LV too.

    Args:
        seeds: one heart each.
        framing: how the network sees it.
        frames_each: how many frames of each heart.
    """
    for seed in seeds:
        settings = draw_settings(seed)
        rng = np.random.default_rng((seed, 1))
        count = settings.n_phases * settings.n_slices
        chosen = np.sort(rng.choice(count, min(frames_each, count), replace=False))
        frames = [(int(c) // settings.n_slices, int(c) % settings.n_slices) for c in chosen]
        images, labels = render_frames(settings, frames)
        spacing = settings.spacing_mm
        for (phase, index), image, label in zip(frames, images, labels, strict=True):
            case = f"PHANTOM-{seed:06d}"
            cavity = (label == Structure.CAVITY).astype(np.uint8)
            facts = {"slice": index, "phase": phase, "spacing_mm": spacing}
            name = f"{case}-s{index:02d}-p{phase:02d}"
            yield _framed(image, cavity, framing, name=name, case=case, kind=Kind.PHANTOM, **facts)


def without_twins(examples: Iterable[Example]) -> Iterator[Example]:
    """The examples, without the PNG of a frame that has come as DICOM before.

    Raises:
        DatasetError: one name in two sources of the same kind: two frames, or one frame twice?
    """
    taken: set[str] = set()
    seen: dict[str, Kind] = {}
    for example in examples:
        earlier = seen.setdefault(example.name, example.kind)
        if earlier is Kind.STUDY and example.kind is Kind.PAIRS:
            continue
        if example.name in taken:
            raise DatasetError(f"{example.name} comes twice as {example.kind}: name each source once, and no two alike")
        taken.add(example.name)
        yield example


def as_cine(example: Example) -> tuple[Cine, Segmentation]:
    """A single framed frame as a Cine without geometry, and its truth: what `evaluate` feeds to a segmenter."""
    cine = Cine(example.image[None, None], None)
    known = {Structure.CAVITY: np.ones(1, dtype=bool)}
    return cine, Segmentation(example.label[None, None].copy(), known, author="manual")
