"""Evaluation: the scores of all frames and patients, and figures derived from them."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinesax.core.cine import Cine
from cinesax.core.errors import GeometryError
from cinesax.core.findings import Finding
from cinesax.core.measurements import EfBasis
from cinesax.core.segmentation import Polygons, Segmentation
from cinesax.core.structures import Structure
from cinesax.core.values import ArrayValue, frozen
from cinesax.evaluate import document
from cinesax.evaluate.agreement import BlandAltman, Interval, bland_altman, bootstrap
from cinesax.evaluate.function import CaseFunction, case_function
from cinesax.evaluate.miccai2009 import MiccaiCase, miccai_case
from cinesax.evaluate.slices import SliceScore, slice_scores
from cinesax.evaluate.structures import StructureScores, structure_scores, together
from cinesax.evaluate.study import LabelledStudy
from cinesax.network.fingerprint import Learned, Overlap

LOW_DICE = 0.5
_NAMED = 3
"""Patients who are named with a finding; of others only their number is told."""


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Picture(ArrayValue):
    """One frame with both contours, for display.

    Attributes:
        score: score of the frame.
        pixels: (row, column).
        truth: true contours of the cavity.
        found: predicted contours.
        spacing_mm: between rows and columns, or None.
    """

    score: SliceScore
    pixels: NDArray[Any]
    truth: Polygons
    found: Polygons
    spacing_mm: tuple[float, float] | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels", frozen(self.pixels))
        for name in ("truth", "found"):
            object.__setattr__(self, name, tuple(map(frozen, getattr(self, name))))

    def __repr__(self) -> str:
        rows, columns = self.pixels.shape
        return f"Picture({self.score.name}, Dice {self.score.dice:.3f}, {rows} x {columns} pixels)"


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures of a group of frames; distances may be infinite.

    Attributes:
        n: number of frames.
        dice_mean: mean Dice.
        dice_median: median Dice.
        iou_mean: mean IoU.
        hd95_median: median of the 95 % Hausdorff distances.
        mean_distance_median: median of the mean distances.
        below_half: share of the frames with a Dice below 0.5.
        false_positives: number of frames without LV in which LV was predicted.
        misses: number of frames with LV in which none was predicted.
    """

    n: int
    dice_mean: float
    dice_median: float
    iou_mean: float
    hd95_median: float
    mean_distance_median: float
    below_half: float
    false_positives: int
    misses: int


def summarise(scores: Iterable[SliceScore]) -> Summary:
    """Figures of a group of frames, at least one."""
    group = list(scores)
    dice = np.array([one.dice for one in group])
    return Summary(
        n=len(group),
        dice_mean=float(dice.mean()),
        dice_median=float(np.median(dice)),
        iou_mean=float(np.mean([one.iou for one in group])),
        hd95_median=_median([one.hd95 for one in group]),
        mean_distance_median=_median([one.mean_distance for one in group]),
        below_half=float(np.mean(dice < LOW_DICE)),
        false_positives=sum(one.false_positive for one in group),
        misses=sum(one.missed for one in group),
    )


def _median(values: Iterable[float]) -> float:
    """The median; of an even number of values the larger middle value, because one of the two may be infinite."""
    return float(np.quantile(np.array(list(values)), 0.5, method="higher"))


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Evaluation(ArrayValue):
    """The scores of all frames.

    Attributes:
        slices: one score per frame, in the order of the studies.
        findings: findings of the segmenter, each once, e.g. rules that were off; with their patients, if these are not
            all.
        functions: volumes and EF of each patient with known ED and ES.
        miccai: measures of the MICCAI 2009 challenge for each patient with spacing.
        pictures: pictures of the worst frames, worst first.
        others: scores of the other structures that truth and segmentation both have. All other fields are about the LV.
        training_known: whether the training data are known; if not, no frame can be marked as in-sample.
    """

    slices: tuple[SliceScore, ...]
    findings: tuple[Finding, ...] = ()
    functions: tuple[CaseFunction, ...] = ()
    miccai: tuple[MiccaiCase, ...] = ()
    pictures: tuple[Picture, ...] = ()
    training_known: bool = False
    others: tuple[StructureScores, ...] = ()

    def __repr__(self) -> str:
        mean = f", mean Dice {self.dice.mean():.3f}" if self.slices else ""
        frames = f"{len(self.slices)} frames of {len(self.by_case())} patients"
        return f"Evaluation({frames}{mean}, findings: {len(self.findings)})"

    @property
    def dice(self) -> NDArray[np.float64]:
        """(frame,): the Dice of each frame."""
        return np.array([score.dice for score in self.slices])

    @property
    def false_positives(self) -> int:
        """Frames without LV in which LV was predicted."""
        return sum(score.false_positive for score in self.slices)

    @property
    def misses(self) -> int:
        """Frames with LV in which none was predicted."""
        return sum(score.missed for score in self.slices)

    @property
    def in_sample(self) -> dict[str, Overlap]:
        """Patients from the network's training; IMAGE if an image is the same too."""
        known: dict[str, Overlap] = {}
        for one in self.slices:
            if one.overlap is not None and known.get(one.case) is not Overlap.IMAGE:
                known[one.case] = one.overlap
        return known

    def by_case(self) -> dict[str, list[SliceScore]]:
        """The scores of each patient."""
        cases: dict[str, list[SliceScore]] = defaultdict(list)
        for score in self.slices:
            cases[score.case].append(score)
        return dict(sorted(cases.items()))

    def worst(self, count: int = 10) -> list[SliceScore]:
        """The frames with the lowest Dice, worst first; ties are ordered by the larger distance."""
        return sorted(self.slices, key=_goodness)[:count]

    def groups(self) -> Iterator[tuple[str, Summary]]:
        """Figures of all frames, of those with and without LV, and by level and moment if they are known."""
        yield "all", summarise(self.slices)
        parts: dict[str, list[SliceScore]] = defaultdict(list)
        for one in self.slices:
            parts["with LV" if one.truth_px else "without LV"].append(one)
            if one.level is not None:
                parts[one.level].append(one)
                if one.moment is not None:
                    parts[f"{one.level}, {one.moment}"].append(one)
            if one.moment is not None:
                parts[one.moment].append(one)
        order = ["with LV", "without LV", "ED", "ES"]
        order += [f"{level}{at}" for level in ("base", "middle", "apex") for at in ("", ", ED", ", ES")]
        yield from ((name, summarise(parts[name])) for name in order if parts[name])

    def intervals(self) -> dict[str, Interval]:
        """95 % intervals from resampling patients (empty for fewer than three patients)."""
        cases = list(self.by_case().values())
        dice = [np.array([one.dice for one in scores]) for scores in cases]
        hd95 = [np.array([one.hd95 for one in scores]) for scores in cases]
        errors = [np.array([one.ef_error_points]) for one in self.functions]
        found = {
            "dice_mean": bootstrap(dice, lambda values: float(values.mean())),
            "dice_median": bootstrap(dice, lambda values: float(np.median(values))),
            "case_dice_mean": bootstrap(
                [np.array([values.mean()]) for values in dice], lambda values: float(values.mean())
            ),
            "below_half": bootstrap(dice, lambda values: float((values < LOW_DICE).mean())),
            "hd95_median": bootstrap(hd95, _median),
            "ef_mean_absolute_error": bootstrap(errors, lambda values: float(np.abs(values).mean())),
        }
        return {name: interval for name, interval in found.items() if interval is not None}

    def agreement(self) -> dict[str, BlandAltman]:
        """Bland-Altman figures of EF (points) over all patients, of EDV and ESV (ml) over those with volumes."""
        return agreement_of(self.functions)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, of schema cinesax/evaluation/1."""
        dice = self.dice
        written = {
            "schema": document.SCHEMA,
            "n": len(dice),
            "dice": {
                "mean": float(dice.mean()),
                "median": float(np.median(dice)),
                "std": float(dice.std()),
                "min": float(dice.min()),
            },
            "false_positives": self.false_positives,
            "misses": self.misses,
            "groups": {name: asdict(figures) for name, figures in self.groups()},
            "intervals_95": {name: asdict(interval) for name, interval in self.intervals().items()},
            "agreement": {name: asdict(figures) for name, figures in self.agreement().items()},
            "training_known": self.training_known,
            "in_sample": {case: str(overlap) for case, overlap in self.in_sample.items()},
            "cases": document.by_case(self.by_case()),
            "functions": {one.case: document.function(one) for one in self.functions},
            "miccai2009": {one.case: document.miccai(one) for one in self.miccai},
            "slices": [document.row(one) for one in self.slices],
            "structures": {one.structure.key: _structure(one) for one in self.others},
            "findings": [str(finding) for finding in self.findings],
        }
        return dict(document.plain(written))


def _structure(one: StructureScores) -> dict[str, Any]:
    return {
        **asdict(summarise(one.slices)),
        "volume_dice": {str(moment): value for moment, value in one.volume_dice().items()},
        "agreement": {name: asdict(figures) for name, figures in agreement_of(one.functions).items()},
        "functions": {function.case: document.function(function) for function in one.functions},
        "slices": [document.row(score) for score in one.slices],
    }


def agreement_of(functions: Sequence[CaseFunction]) -> dict[str, BlandAltman]:
    """Bland-Altman figures of EF (points) over all patients, of EDV and ESV (ml) over those with volumes."""
    in_ml = [one for one in functions if one.basis is EfBasis.VOLUMES]
    pairs = {
        "ef_percent": [(one.truth.ef_percent, one.found.ef_percent) for one in functions],
        "edv_ml": [(one.truth.ed, one.found.ed) for one in in_ml],
        "esv_ml": [(one.truth.es, one.found.es) for one in in_ml],
    }
    compared = {name: bland_altman(*np.array(values).T) for name, values in pairs.items() if values}
    return {name: figures for name, figures in compared.items() if figures is not None}


def _goodness(one: SliceScore) -> tuple[float, float, int]:
    return one.dice, -one.mean_distance if np.isfinite(one.mean_distance) else -np.inf, -max(one.truth_px, one.found_px)


def evaluate(
    studies: Iterable[LabelledStudy],
    segment: Callable[[Cine], Segmentation],
    *,
    learned: Learned | None = None,
    pictures: int = 0,
) -> Evaluation:
    """Segment each study and compare every frame with a known truth, including those without LV.

    Args:
        studies: the studies to compare on.
        segment: Cine -> Segmentation: `Segmenter.segment`, or anything else.
        learned: what the network learned from, to mark in-sample frames; None: unknown.
        pictures: number of worst frames to keep as pictures.
    """
    return score(((study, segment(study.cine)) for study in studies), learned=learned, pictures=pictures)


def score(
    compared: Iterable[tuple[LabelledStudy, Segmentation]], *, learned: Learned | None = None, pictures: int = 0
) -> Evaluation:
    """Compare segmentations with truths, frame by frame and patient by patient; arguments as `evaluate`.

    Raises:
        GeometryError: a segmentation does not fit its study.
    """
    scores: list[SliceScore] = []
    findings: dict[Finding, list[str]] = {}
    cases: set[str] = set()
    functions: list[CaseFunction | None] = []
    miccai: list[MiccaiCase | None] = []
    worst: list[Picture] = []
    others: list[StructureScores] = []
    for study, found in compared:
        if found.labels.shape != study.cine.pixels.shape:
            raise GeometryError(
                f"{study.case}: the segmentation has (phases, slices, rows, columns) {found.labels.shape}, "
                f"the study {study.cine.pixels.shape}: give masks of the same frames"
            )
        cases.add(study.case)
        for finding in found.findings:
            findings.setdefault(finding, []).append(study.case)
        own = [_marked(one, study, learned) for one in slice_scores(study, found)]
        scores += own
        functions.append(case_function(study, found))
        miccai.append(miccai_case(study, found))
        others += structure_scores(study, found)
        chosen = sorted(own, key=_goodness)[:pictures]
        worst = sorted([*worst, *(_picture(one, study, found) for one in chosen)], key=lambda p: _goodness(p.score))
        worst = worst[:pictures]
    return Evaluation(
        tuple(scores),
        tuple(_of_whom(finding, told, cases) for finding, told in findings.items()),
        tuple(one for one in functions if one is not None),
        tuple(one for one in miccai if one is not None),
        tuple(worst),
        learned is not None,
        together(others),
    )


def _of_whom(finding: Finding, told: Sequence[str], cases: Set[str]) -> Finding:
    """The finding, with the first of its patients if these are not all."""
    names = sorted(set(told))
    if len(names) == len(cases):
        return finding
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    texts = {**finding.texts, "of_whom": f"{', '.join(names[:_NAMED])}{more}"}
    return replace(finding, sentence="{of_whom}: " + finding.sentence, texts=texts)


def _marked(one: SliceScore, study: LabelledStudy, learned: Learned | None) -> SliceScore:
    if learned is None:
        return one
    return replace(one, overlap=learned.overlap(one.case, study.cine.pixels[one.phase, one.slice]))


def _picture(one: SliceScore, study: LabelledStudy, found: Segmentation) -> Picture:
    at = Structure.CAVITY, one.phase, one.slice
    spacing = None if study.cine.grid is None else study.cine.grid.spacing_mm
    pixels = study.cine.pixels[one.phase, one.slice].copy()
    return Picture(one, pixels, study.truth.outline(*at), found.outline(*at), spacing)
