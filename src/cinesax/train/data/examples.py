"""Examples: framed images with their labels, from every kind of source."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinesax.core.cine import Cine
from cinesax.core.errors import DatasetError
from cinesax.core.orientation import Turn, standard_position
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import Structure
from cinesax.formats import acdc, chla, contours, label_maps, pair_studies, pairs
from cinesax.network.framing import Framing, Placement
from cinesax.phantom import PhantomSettings, draw_settings, label_right, make_truth, render_frames
from cinesax.phantom.heart import ventricle


class Kind(StrEnum):
    """The kind of source that an example comes from."""

    PAIRS = "pairs"
    STUDY = "study"
    PHANTOM = "phantom"
    ACDC = "acdc"
    CHLA = "chla"
    LABEL_MAP = "label-map"


UNKNOWN = 255
"""In a label: it is not known what this pixel is."""

_BEFORE = 16
_THICK_EVERY = 3
# Slices without LV at any phase give every fourth phase only: neighbours in time are near copies.
_OTHER_PHASES_EVERY = 4


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled frame as the network sees it.

    A class that is not in `known` was not labelled in this frame: a background pixel may belong to it. A pixel of value
    UNKNOWN can be anything.

    Attributes:
        name: unique in its set.
        case: the patient; splits never divide a case.
        kind: kind of source.
        image: (size, size), uint16: the framed image, 0 to 65535 for 0 to 1.
        label: (size, size), uint8: 0 or values of Structure, or UNKNOWN.
        slice: index of the slice in its stack, or -1.
        phase: index of the phase, or -1.
        spacing_mm: (row, column) spacing of the framed pixels, or None if unknown.
        known: the labelled classes, without the background.

    Raises:
        DatasetError: shapes or types do not fit, or the label has a class that is not in `known`.
    """

    name: str
    case: str
    kind: Kind
    image: NDArray[np.uint16]
    label: NDArray[np.uint8]
    slice: int = -1
    phase: int = -1
    spacing_mm: tuple[float, float] | None = None
    known: frozenset[Structure] = frozenset({Structure.CAVITY})

    def __post_init__(self) -> None:
        image, label = self.image, self.label
        if image.shape != label.shape or image.ndim != 2 or image.dtype != np.uint16 or label.dtype != np.uint8:
            raise DatasetError(
                f"{self.name}: expected a uint16 image and a uint8 label of one shape, seen {image.dtype} "
                f"{image.shape} and {label.dtype} {label.shape}"
            )
        present = set(np.flatnonzero(np.bincount(label.ravel(), minlength=256)).tolist())
        wrong = present - {int(structure) for structure in self.known} - {0, UNKNOWN}
        if wrong:
            raise DatasetError(f"{self.name}: the label holds {sorted(wrong)}, which is not among its labelled classes")


@dataclass(frozen=True, slots=True)
class LabelledFrame:
    """An expert's label of one frame of a study, on its own pixels.

    Attributes:
        phase: index of the phase.
        slice: index of the slice.
        label: (row, column), uint8: 0 or values of Structure.
        known: the labelled classes.
    """

    phase: int
    slice: int
    label: NDArray[np.uint8]
    known: frozenset[Structure]


def _framed(frame: NDArray[Any], label: NDArray[np.uint8], framing: Framing, **facts: Any) -> Example:
    native_mm: tuple[float, float] | None = facts.pop("spacing_mm", None)
    turn: Turn = facts.pop("turn", Turn())
    placement = framing.place((frame.shape[0], frame.shape[1]), native_mm, turn)
    if native_mm is not None:
        native_mm = turn.apply_pair(native_mm)
    image = np.round(framing.apply(frame, placement) * 65535).astype(np.uint16)
    scale = placement.scale
    spacing = None if native_mm is None else (native_mm[0] / scale[0], native_mm[1] / scale[1])
    return Example(image=image, label=_framed_label(label, framing, placement), spacing_mm=spacing, **facts)


def _framed_label(label: NDArray[np.uint8], framing: Framing, placement: Placement) -> NDArray[np.uint8]:
    """The framed label: resampling puts endocardium and outermost border where coverage is half a pixel."""
    framed = framing.apply_labels(label, placement)
    others = [int(value) for value in np.unique(label) if value not in (0, Structure.CAVITY)]
    if placement.is_native or not others:
        return framed
    # Where three structures meet, none may cover half of a pixel. Without this, background would fill the gap.
    inside = framing.apply_labels((label > 0).astype(np.uint8), placement) > 0
    framed[inside & (framed == 0)] = others[0]
    framed[framing.apply_labels((label == Structure.CAVITY).astype(np.uint8), placement) > 0] = Structure.CAVITY
    return framed


def known_in(label: NDArray[np.uint8], labelled: Iterable[Structure]) -> frozenset[Structure]:
    """The known classes of a label, among those that were labelled anywhere in its source.

    Every cavity in a short-axis frame has a wall, so a cavity without a wall means that the wall was not drawn.
    """
    present = {Structure(int(value)) for value in np.unique(label) if value in {*Structure}}
    return frozenset(labelled) - {inner.enclosing for inner in present if inner.enclosing not in present}


def from_pairs(
    source: Path | Sequence[pairs.Pair],
    framing: Framing,
    *,
    labelled: frozenset[Structure] | None = None,
    phases: int | None = None,
) -> Iterator[Example]:
    """Every image of a `pairs` folder (`images/NAME.png`, `labels/NAME.png`), or those given.

    Args:
        source: the folder, or its pairs.
        framing: how the network sees them.
        labelled: the labelled classes; None: those that occur in at least one label of `source`, and the LV cavity.
        phases: phases per slice, for names that count the frames of a study; None: derived from the names.

    Raises:
        InputError: the folder does not exist, an image has no label, or sizes differ.
    """
    chosen = pairs.read_pairs(source) if isinstance(source, Path) else source
    if labelled is None:
        labelled = classes_in(chosen)
    phases = phases or pair_studies.phases_by_numbers([pair.name for pair in chosen], [pair.case for pair in chosen])
    for pair in chosen:
        image, label = pairs.load_classes(pair)
        phase, place = pair_studies.place_of(pair.name, phases) or (-1, -1)
        facts = {"name": pair.name, "case": pair.case, "kind": Kind.PAIRS, "known": known_in(label, labelled)}
        yield _framed(image, label, framing, slice=place, phase=phase, **facts)


def classes_in(listed: Iterable[pairs.Pair]) -> frozenset[Structure]:
    """The LV cavity, and every other class in at least one label of the pairs."""
    chosen = list(listed)
    values = {value for pair in chosen for value in pairs.label_values(pair.label)}
    walls = {Structure.MYOCARDIUM} if any(pair.wall for pair in chosen) else set()
    return frozenset(Structure(value) for value in values - {0, UNKNOWN}) | walls | {Structure.CAVITY}


def labelled_frames(truth: Segmentation) -> tuple[list[LabelledFrame], dict[tuple[int, int], str]]:
    """The frames of a study that a network can learn from, and the reasons for skipping the others.

    Experts label ED and ES, slice by slice. Slices left empty there, above the base or below the apex, are frames
    without LV. A frame without contour counts as unknown at other phases, at phases with less than half of the labelled
    slices of the best phase, and between two labelled slices. A slice that is empty at ED and ES is empty in the whole
    beat, because the LV is longest at ED; every fourth phase of it is used too.

    Returns:
        frames: by phase, then slice.
        skipped: (phase, slice) -> the reason.
    """
    cavity = np.any(truth.labels == Structure.CAVITY, axis=(2, 3))
    wall = np.any(truth.labels == Structure.MYOCARDIUM, axis=(2, 3))
    cavity_phases = _complete_phases(cavity | wall, truth, Structure.CAVITY)
    never = _never(cavity | wall, cavity_phases)
    wall_phases = _complete_phases(wall, truth, Structure.MYOCARDIUM)
    others = [other for other in truth.known_phases if other not in (Structure.CAVITY, Structure.MYOCARDIUM)]
    drawn = {other: np.any(truth.labels == other, axis=(2, 3)) for other in others}
    complete = {other: _complete_phases(drawn[other], truth, other) for other in others}
    frames: list[LabelledFrame] = []
    skipped: dict[tuple[int, int], str] = {}
    for phase, index in np.ndindex(*cavity.shape):
        reason = _not_learned(truth, cavity | wall, cavity_phases, phase=phase, index=index)
        if reason and never[index] and not phase % _OTHER_PHASES_EVERY:
            reason = None
        if reason:
            skipped[phase, index] = reason
            continue
        known = {Structure.CAVITY}
        if wall[phase, index] or (wall_phases[phase] and not cavity[phase, index]):
            known.add(Structure.MYOCARDIUM)
        known |= {other for other in others if drawn[other][phase, index] or complete[other][phase]}
        frames.append(LabelledFrame(phase, index, truth.labels[phase, index], frozenset(known)))
    return frames, skipped


def _complete_phases(drawn: NDArray[np.bool_], truth: Segmentation, structure: Structure) -> NDArray[np.bool_]:
    """(phase,): phases at which an unlabelled frame is known to lack the structure."""
    known = truth.known_phases.get(structure)
    if known is None:
        return np.zeros(len(drawn), dtype=bool)
    counts = drawn.sum(axis=1)
    return np.asarray(known & (2 * counts >= counts.max()) & (counts > 0))


def _never(drawn: NDArray[np.bool_], complete: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(slice,): slices without LV in the whole beat: empty at every labelled phase (at least two, ED and ES)."""
    if np.count_nonzero(complete) < 2:
        return np.zeros(drawn.shape[1], dtype=bool)
    return np.asarray(~np.any(drawn[complete], axis=0))


def _not_learned(
    truth: Segmentation, drawn: NDArray[np.bool_], complete: NDArray[np.bool_], *, phase: int, index: int
) -> str | None:
    if drawn[phase, index]:
        outlines = truth.contours
        if outlines is not None and (Structure.CAVITY, phase, index) not in outlines:
            return "an epicardium without an endocardium: the cavity is not known"
        return None
    if not truth.known_phases[Structure.CAVITY][phase]:
        return "no label at this phase"
    if not complete[phase]:
        return "no label, at a phase where few slices are labelled"
    labelled = np.flatnonzero(drawn[phase])
    if labelled[0] < index < labelled[-1]:
        return "no label, between two slices that are labelled"
    return None


def from_study(case: str, cine: Cine, truth: Segmentation, framing: Framing) -> Iterator[Example]:
    """Examples from the frames of a study that experts labelled, or left empty for lack of LV: see `labelled_frames`.

    Args:
        case: the patient's key.
        cine: the study.
        truth: expert labels on the study's grid.
        framing: how the network sees it.
    """
    spacing = cine.grid.spacing_mm if cine.grid else None
    numbers = {place: number for number, place in contours.frame_numbers(cine).items()}
    for frame in labelled_frames(truth)[0]:
        place = frame.phase, frame.slice
        facts: dict[str, Any] = {
            "slice": frame.slice,
            "phase": frame.phase,
            "spacing_mm": spacing,
            "turn": standard_position(cine.grid) or Turn(),
        }
        name = f"{case}-IM-0001-{numbers[place]:04d}"
        facts |= {"name": name, "case": case, "kind": Kind.STUDY, "known": frame.known}
        yield _framed(cine.pixels[place], frame.label, framing, **facts)


def from_approved(case: str, cine: Cine, approved: Segmentation, framing: Framing) -> Iterator[Example]:
    """Examples from the frames of an exam that a person approved: in each, the structures approved there are known.

    Args:
        case: the patient's key.
        cine: the exam.
        approved: what the person approved, on the exam's grid.
        framing: how the network sees it.
    """
    spacing = cine.grid.spacing_mm if cine.grid else None
    for phase, index in np.ndindex(*approved.labels.shape[:2]):
        known = frozenset(
            structure
            for structure, phases in approved.known_phases.items()
            if phases[phase] and approved.drawn(structure, phase, index).approved
        )
        if known:
            facts: dict[str, Any] = {"slice": index, "phase": phase, "spacing_mm": spacing, "known": known}
            facts |= {"turn": standard_position(cine.grid) or Turn(), "case": case, "kind": Kind.STUDY}
            name = f"{case}-p{phase:03d}-s{index:02d}"
            yield _framed(cine.pixels[phase, index], approved.labels[phase, index], framing, name=name, **facts)


def from_acdc(patient: acdc.AcdcPatient, framing: Framing) -> Iterator[Example]:
    """Every slice of the labelled frames of one ACDC patient: LV cavity, myocardium and RV are known in all."""
    classes = frozenset({Structure.CAVITY, Structure.MYOCARDIUM, Structure.RV_CAVITY})
    for frame in patient.frames:
        grid = frame.cine.grid
        for index in range(frame.cine.n_slices):
            facts: dict[str, Any] = {
                "slice": index,
                "phase": frame.phase,
                "spacing_mm": grid.spacing_mm if grid else None,
            }
            facts |= {
                "turn": standard_position(grid) or Turn(),
                "known": classes,
                "case": patient.case,
                "kind": Kind.ACDC,
            }
            name = f"{patient.case}-frame{frame.phase + 1:02d}-s{index:02d}"
            yield _framed(frame.cine.pixels[0, index], frame.labels[index], framing, name=name, **facts)


def from_chla(patient: chla.ChlaPatient, framing: Framing) -> Iterator[Example]:
    """Every image of a CHLA patient; a cavity that was not labelled in an image is unknown there.

    The files do not give the orientation; nearly all frames are stored as scanners show short-axis frames.

    Args:
        patient: the patient as read.
        framing: how the network sees it.
    """
    for frame in patient.frames:
        known = frozenset(Structure(value) for value in frame.known)
        # Slices of the RV alone may lie before the first one of the LV.
        place = -1 if frame.slice is None else frame.slice + _BEFORE
        facts: dict[str, Any] = {"case": patient.case, "kind": Kind.CHLA, "known": known, "slice": place}
        name = f"{patient.case}-{chla.PHASES[frame.phase]}-{frame.number:02d}"
        facts |= {"phase": frame.phase, "spacing_mm": patient.spacing_mm}
        yield _framed(frame.image, frame.label, framing, name=name, **facts)


def from_label_map(stack: label_maps.LabelledStack, framing: Framing) -> Iterator[Example]:
    """Every slice of a stack with a label map: LV cavity, myocardium and RV are known in all slices.

    The affine of these files has only the axis lengths. All seven patients were checked by eye: the files are stored
    upside down, with the diaphragm on top.
    """
    classes = frozenset({Structure.CAVITY, Structure.MYOCARDIUM, Structure.RV_CAVITY})
    grid = stack.cine.grid
    for index, (image, label) in enumerate(zip(stack.cine.pixels[0], stack.labels, strict=True)):
        facts: dict[str, Any] = {"slice": index, "phase": stack.phase, "known": classes, "case": stack.case}
        facts |= {
            "spacing_mm": grid.spacing_mm if grid else None,
            "turn": Turn(rows_reversed=True),
            "kind": Kind.LABEL_MAP,
        }
        name = f"{stack.case}-{('ED', 'ES')[stack.phase]}-{index:02d}"
        yield _framed(image, label, framing, name=name, **facts)


def from_phantoms(seeds: Iterable[int], framing: Framing, *, frames_each: int = 8) -> Iterator[Example]:
    """Frames of synthetic hearts, stack by stack, including slices without LV: at ED, at ES, then at other phases.

    Args:
        seeds: seeds, one heart each.
        framing: how the network sees it.
        frames_each: number of frames of each heart; neighbouring slices if not all slices are needed.
    """
    classes = frozenset({Structure.CAVITY, Structure.MYOCARDIUM, Structure.RV_CAVITY})
    for seed in seeds:
        settings = training_settings(seed)
        frames = _phantom_frames(settings, frames_each)
        images, labels = render_frames(settings, frames)
        rights = label_right(settings, frames)
        turn = standard_position(make_truth(settings, phases=[0])[0]) or Turn()
        for (phase, index), image, label, right in zip(frames, images, labels, rights, strict=True):
            case = f"PHANTOM-{seed:06d}"
            facts = {"slice": index, "phase": phase, "spacing_mm": settings.spacing_mm, "known": classes, "turn": turn}
            whole = np.where(right & (label == 0), np.uint8(Structure.RV_CAVITY), label)
            name = f"{case}-s{index:02d}-p{phase:02d}"
            yield _framed(image, whole, framing, name=name, case=case, kind=Kind.PHANTOM, **facts)


def training_settings(seed: int) -> PhantomSettings:
    """Settings of a training phantom: every third has a thick wall, a small cavity at ES and coarse trabeculae.

    Such hearts are rare among patients, and networks draw their cavities too large.

    Args:
        seed: seed of the phantom.
    """
    if seed % _THICK_EVERY:
        return draw_settings(seed)
    rng = np.random.default_rng((seed, 3))
    thick = {
        "edv_ml": float(rng.uniform(70, 170)),
        "wall_mm": float(rng.uniform(12, 21)),
        "ef_percent": float(rng.uniform(60, 80)),
        "trabecula_mm": float(rng.uniform(1.5, 5)),
    }
    return draw_settings(seed, **thick)


def _phantom_frames(settings: PhantomSettings, count: int) -> list[tuple[int, int]]:
    rng = np.random.default_rng((settings.seed, 1))
    es = ventricle(settings).es_phase
    others = [phase for phase in range(settings.n_phases) if phase not in (0, es)]
    frames: list[tuple[int, int]] = []
    for phase in (*rng.permutation([0, es]).tolist(), *rng.permutation(others).tolist()):
        wanted = min(count - len(frames), settings.n_slices)
        first = int(rng.integers(0, settings.n_slices - wanted + 1))
        frames += [(int(phase), first + step) for step in range(wanted)]
    return frames
