"""Scores of structures other than the LV cavity, if their truth is known."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import Part, Structure
from cinesax.evaluate.function import CaseFunction, case_function
from cinesax.evaluate.slices import SliceScore, slice_scores
from cinesax.evaluate.study import LabelledStudy, Moment


@dataclass(frozen=True, slots=True)
class StructureScores:
    """The scores of one structure in all frames with a known truth.

    Attributes:
        structure: the structure.
        slices: one score per frame.
        functions: for the blood of a chamber, volumes and EF of each patient with known ED and ES.
    """

    structure: Structure
    slices: tuple[SliceScore, ...]
    functions: tuple[CaseFunction, ...] = ()

    def volume_dice(self) -> dict[Moment, float]:
        """Dice of all slices of a patient together, at ED and at ES: mean over patients."""
        totals: dict[tuple[Moment, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
        for score in self.slices:
            if score.moment is not None:
                both = score.truth_px + score.found_px
                # Two empty masks have a Dice of 1 and no pixels, so they do not count here.
                totals[score.moment, score.case][0] += score.dice * both
                totals[score.moment, score.case][1] += both
        dice_at = {}
        for moment in Moment:
            values = [part / whole for (at, _), (part, whole) in totals.items() if at is moment and whole > 0]
            if values:
                dice_at[moment] = float(np.mean(values))
        return dice_at


def structure_scores(study: LabelledStudy, predicted: Segmentation) -> Iterator[StructureScores]:
    """The scores of one study, for each structure except the cavity that truth and segmentation both have.

    A structure that the segmentation does not have is not a miss: most networks draw only the LV.
    """
    for structure in Structure:
        shared = structure in study.truth.known_phases and structure in predicted.known_phases
        if structure is Structure.CAVITY or not shared:
            continue
        slices = tuple(slice_scores(study, predicted, structure))
        function = None
        if structure.facts.part is Part.BLOOD:
            function = case_function(study, predicted, structure.facts.chamber)
        if slices:
            yield StructureScores(structure, slices, () if function is None else (function,))


def together(parts: list[StructureScores]) -> tuple[StructureScores, ...]:
    """The scores of all studies, structure by structure in the order of the table."""
    return tuple(
        StructureScores(
            structure,
            tuple(score for part in parts if part.structure is structure for score in part.slices),
            tuple(function for part in parts if part.structure is structure for function in part.functions),
        )
        for structure in Structure
        if any(part.structure is structure for part in parts)
    )
