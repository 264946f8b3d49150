"""Studies with truth, and the position of their frames in the heart and in the beat."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from cinesax.core.cine import Cine
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import Structure


@dataclass(frozen=True, slots=True)
class LabelledStudy:
    """A study, or a part of one, with its truth.

    Attributes:
        case: the patient.
        names: (phase, slice) -> name, for the frames to compare: those with a known truth.
        cine: the images.
        truth: the truth, on the same grid.
    """

    case: str
    names: dict[tuple[int, int], str]
    cine: Cine
    truth: Segmentation


class Moment(StrEnum):
    """A moment of the true beat."""

    ED = "ED"
    ES = "ES"


class Level(StrEnum):
    """A third of the slices with true LV at ED."""

    BASE = "base"
    MIDDLE = "middle"
    APEX = "apex"


def truth_areas_px(study: LabelledStudy, structure: Structure = Structure.CAVITY) -> NDArray[np.float64]:
    """(phase, slice): pixels of the true structure; nan if the truth is unknown."""
    areas = np.full(study.truth.labels.shape[:2], np.nan)
    for phase, index in study.names:
        if is_known(study, structure, phase):
            areas[phase, index] = np.count_nonzero(mask_of(study.truth, structure, phase, index))
    return areas


def is_known(study: LabelledStudy, structure: Structure, phase: int) -> bool:
    """Whether the truth of a structure is known in a phase; that of the cavity is known in all named frames."""
    known = study.truth.known_phases.get(structure)
    return structure is Structure.CAVITY or (known is not None and bool(known[phase]))


def mask_of(segmentation: Segmentation, structure: Structure, phase: int, index: int) -> NDArray[np.bool_]:
    """(row, column): the mask of a structure in one frame."""
    return np.isin(segmentation.labels[phase, index], segmentation.counted_as(structure))


def moments(areas: NDArray[np.float64]) -> dict[int, Moment]:
    """The phases of the largest and smallest summed area, among at least two phases with a known truth.

    Args:
        areas: (phase, slice), nan where not known.
    """
    known = np.flatnonzero(~np.isnan(areas).all(axis=1))
    sums = np.nansum(areas[known], axis=1)
    if len(known) < 2 or sums.max() <= 0:
        return {}
    ed = known[np.argmax(sums)]
    # If phases tie, ED and ES must still differ.
    es = min((phase for phase in known if phase != ed), key=lambda phase: float(np.nansum(areas[phase])))
    return {int(ed): Moment.ED, int(es): Moment.ES}


def levels(areas: NDArray[np.float64], base_first: bool | None) -> dict[int, Level]:
    """The third of the LV of each slice with LV at ED; empty for fewer than three slices.

    Args:
        areas: (phase, slice), nan where not known.
        base_first: whether the cine's first slice is at the base; None: the end with smaller slices is taken as the
            apex.
    """
    ed = next((phase for phase, moment in moments(areas).items() if moment is Moment.ED), 0)
    inside = np.flatnonzero(np.nan_to_num(areas[ed]) > 0)
    if len(inside) < 3:
        return {}
    if base_first is None:
        third = max(1, len(inside) // 3)
        base_first = bool(areas[ed, inside[:third]].sum() >= areas[ed, inside[-third:]].sum())
    ordered = inside if base_first else inside[::-1]
    thirds = tuple(Level)
    return {int(index): thirds[3 * place // len(ordered)] for place, index in enumerate(ordered)}
