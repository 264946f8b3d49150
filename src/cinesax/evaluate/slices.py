"""The score of one frame."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import Structure
from cinesax.evaluate.distances import Unit, border_distances
from cinesax.evaluate.study import LabelledStudy, Level, Moment, is_known, levels, mask_of, moments, truth_areas_px
from cinesax.network.fingerprint import Overlap


@dataclass(frozen=True, slots=True)
class SliceScore:
    """The score of one frame.

    Attributes:
        name: name of the frame.
        case: the patient.
        dice: 2 |A and B| / (|A| + |B|); 1 if both are empty, 0 if only one is.
        truth_px: area of the truth in pixels.
        found_px: predicted area in pixels.
        hd95: see `BorderDistances`; infinite if one mask is empty, 0 if both are.
        mean_distance: see `BorderDistances`, likewise.
        unit: unit of the distances.
        phase: index of the phase in the study.
        slice: index of the slice in the study.
        moment: true ED or ES; None at other phases, or if unknown.
        level: third of the true LV; None if unknown.
        overlap: what the network's training data share with this frame.
    """

    name: str
    case: str
    dice: float
    truth_px: int
    found_px: int
    hd95: float = float("nan")
    mean_distance: float = float("nan")
    unit: Unit = Unit.PIXELS
    phase: int = 0
    slice: int = 0
    moment: Moment | None = None
    level: Level | None = None
    overlap: Overlap | None = None

    @property
    def iou(self) -> float:
        """|A and B| / |A or B|, derived from Dice: 1 if both are empty, 0 if only one is."""
        return self.dice / (2 - self.dice)

    @property
    def false_positive(self) -> bool:
        """LV predicted in a frame without LV."""
        return self.truth_px == 0 and self.found_px > 0

    @property
    def missed(self) -> bool:
        """No LV predicted in a frame with LV."""
        return self.truth_px > 0 and self.found_px == 0


def dice(truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> float:
    """Dice of two masks of the same shape; two empty masks agree (1). Source: Dice, Ecology 26, 1945."""
    total = int(truth.sum()) + int(predicted.sum())
    return 1.0 if total == 0 else 2 * int((truth & predicted).sum()) / total


def slice_scores(
    study: LabelledStudy, predicted: Segmentation, structure: Structure = Structure.CAVITY
) -> Iterator[SliceScore]:
    """The score of each frame of a study with a known truth of a structure, without overlap.

    Moment and level are those of the LV cavity, for every structure.
    """
    areas = truth_areas_px(study)
    when, where = moments(areas), levels(areas, study.cine.base_first)
    grid = study.cine.grid
    for (phase, index), name in study.names.items():
        if not is_known(study, structure, phase):
            continue
        a, b = (mask_of(drawn, structure, phase, index) for drawn in (study.truth, predicted))
        apart = border_distances(a, b, (1.0, 1.0) if grid is None else grid.spacing_mm)
        yield SliceScore(
            name=name,
            case=study.case,
            dice=dice(a, b),
            truth_px=int(a.sum()),
            found_px=int(b.sum()),
            hd95=apart.hd95,
            mean_distance=apart.mean,
            unit=Unit.PIXELS if grid is None else Unit.MM,
            phase=phase,
            slice=index,
            moment=when.get(phase),
            level=where.get(index),
        )
