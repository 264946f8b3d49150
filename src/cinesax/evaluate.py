"""Evaluation: any segment function against expert labels, on the native grid, nothing left out."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinesax.cine import Cine
from cinesax.findings import Finding
from cinesax.segmentation import Segmentation, Structure

SCHEMA = "cinesax/evaluation/1"


@dataclass(frozen=True, slots=True)
class LabelledStudy:
    """A study, or a part of one, with its truth.

    Attributes:
        case: the patient.
        names: (phase, slice) -> name, for the frames to compare: those where the truth is known.
        cine: the images.
        truth: on the same grid.
    """

    case: str
    names: dict[tuple[int, int], str]
    cine: Cine
    truth: Segmentation


@dataclass(frozen=True, slots=True)
class SliceScore:
    """How one frame was segmented.

    Attributes:
        name: of the frame.
        case: the patient.
        dice: 2 |A and B| / (|A| + |B|); 1 where both are empty, 0 where only one is.
        truth_px: area of the truth in pixels.
        found_px: area that was found in pixels.
    """

    name: str
    case: str
    dice: float
    truth_px: int
    found_px: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The scores of all frames.

    Attributes:
        slices: one score a frame, in the order of the studies.
        findings: what the segmenter said (each message once), e.g. rules that were off.
    """

    slices: tuple[SliceScore, ...]
    findings: tuple[Finding, ...] = ()

    @property
    def dice(self) -> NDArray[np.float64]:
        """(frame,): the Dice of each frame."""
        return np.array([score.dice for score in self.slices])

    @property
    def false_positives(self) -> int:
        """Frames without LV in which some was found."""
        return sum(score.truth_px == 0 and score.found_px > 0 for score in self.slices)

    @property
    def misses(self) -> int:
        """Frames with LV in which none was found."""
        return sum(score.truth_px > 0 and score.found_px == 0 for score in self.slices)

    def by_case(self) -> dict[str, list[SliceScore]]:
        """The scores of each patient."""
        cases: dict[str, list[SliceScore]] = defaultdict(list)
        for score in self.slices:
            cases[score.case].append(score)
        return dict(sorted(cases.items()))

    def worst(self, count: int = 10) -> list[SliceScore]:
        """The frames with the lowest Dice, worst first."""
        return sorted(self.slices, key=lambda score: score.dice)[:count]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, of schema cinesax/evaluation/1."""
        dice = self.dice
        return {
            "schema": SCHEMA,
            "n": len(dice),
            "dice": {
                "mean": float(dice.mean()),
                "median": float(np.median(dice)),
                "std": float(dice.std()),
                "min": float(dice.min()),
            },
            "false_positives": self.false_positives,
            "misses": self.misses,
            "cases": {
                case: {"n": len(scores), "dice_mean": float(np.mean([score.dice for score in scores]))}
                for case, scores in self.by_case().items()
            },
            "slices": [
                {"name": s.name, "dice": s.dice, "truth_px": s.truth_px, "found_px": s.found_px} for s in self.slices
            ],
            "findings": [str(finding) for finding in self.findings],
        }


def dice(truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> float:
    """Dice of two masks of the same shape; two empty masks agree (1). Source: Dice, Ecology 26, 1945."""
    total = int(truth.sum()) + int(found.sum())
    return 1.0 if total == 0 else 2 * int((truth & found).sum()) / total


def evaluate(studies: Iterable[LabelledStudy], segment: Callable[[Cine], Segmentation]) -> Evaluation:
    """Segment each study and compare every frame whose truth is known, also those without LV.

    Args:
        studies: what to compare on.
        segment: Cine -> Segmentation: `Segmenter.segment`, or anything else.
    """
    scores: list[SliceScore] = []
    findings: dict[str, Finding] = {}
    for study in studies:
        found = segment(study.cine)
        for finding in found.findings:
            findings.setdefault(finding.message, finding)
        for (phase, index), name in study.names.items():
            a = study.truth.labels[phase, index] == Structure.CAVITY
            b = found.labels[phase, index] == Structure.CAVITY
            scores.append(SliceScore(name, study.case, dice(a, b), int(a.sum()), int(b.sum())))
    return Evaluation(tuple(scores), tuple(findings.values()))
