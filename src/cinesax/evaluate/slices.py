"""How one frame was segmented."""

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
    """How one frame was segmented.

    Attributes:
        name: of the frame.
        case: the patient.
        dice: 2 |A and B| / (|A| + |B|); 1 where both are empty, 0 where only one is.
        truth_px: area of the truth in pixels.
        found_px: area that was found in pixels.
        hd95: see `BorderDistances`; infinite where one mask is empty, 0 where both are.
        mean_distance: the same.
        unit: of the distances.
        phase: index in the study.
        slice: index in the study.
        moment: ED or ES by the truth; None at other phases, or where they are not known.
        level: third of the LV by the truth; None where there is none to tell.
        overlap: what the network knows of it from its training.
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
        """|A and B| / |A or B|, which follows from Dice: 1 where both are empty, 0 where only one is."""
        return self.dice / (2 - self.dice)

    @property
    def false_positive(self) -> bool:
        """LV found where there is none."""
        return self.truth_px == 0 and self.found_px > 0

    @property
    def missed(self) -> bool:
        """No LV found where there is one."""
        return self.truth_px > 0 and self.found_px == 0


def dice(truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> float:
    """Dice of two masks of the same shape; two empty masks agree (1). Source: Dice, Ecology 26, 1945."""
    total = int(truth.sum()) + int(found.sum())
    return 1.0 if total == 0 else 2 * int((truth & found).sum()) / total


def slice_scores(
    study: LabelledStudy, found: Segmentation, structure: Structure = Structure.CAVITY
) -> Iterator[SliceScore]:
    """The score of each frame of a study in which the truth of a structure is known, without overlap.

    Moment and level are those of the LV cavity, whatever the structure.
    """
    areas = truth_areas_px(study)
    when, where = moments(areas), levels(areas, study.cine.base_first)
    grid = study.cine.grid
    for (phase, index), name in study.names.items():
        if not is_known(study, structure, phase):
            continue
        a, b = (mask_of(one, structure, phase, index) for one in (study.truth, found))
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
