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
from cinesax.evaluate.signs import CaseSigns, case_signs
from cinesax.evaluate.slices import SliceScore, slice_scores
from cinesax.evaluate.structures import StructureScores, structure_scores, together
from cinesax.evaluate.study import LabelledStudy
from cinesax.network.fingerprint import Learned, Overlap

LOW_DICE = 0.5
_NAMED = 3
"""The number of patients that are named with a finding; further ones are only counted."""


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Picture(ArrayValue):
    """One frame with both contours, for display.

    Attributes:
        score: score of the frame.
        pixels: (row, column).
        truth: true contours of the cavity.
        predicted: predicted contours.
        spacing_mm: between rows and columns, or None.
    """

    score: SliceScore
    pixels: NDArray[Any]
    truth: Polygons
    predicted: Polygons
    spacing_mm: tuple[float, float] | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels", frozen(self.pixels))
        for name in ("truth", "predicted"):
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
    dice = np.array([score.dice for score in group])
    return Summary(
        n=len(group),
        dice_mean=float(dice.mean()),
        dice_median=float(np.median(dice)),
        iou_mean=float(np.mean([score.iou for score in group])),
        hd95_median=_median([score.hd95 for score in group]),
        mean_distance_median=_median([score.mean_distance for score in group]),
        below_half=float(np.mean(dice < LOW_DICE)),
        false_positives=sum(score.false_positive for score in group),
        misses=sum(score.missed for score in group),
    )


def _median(values: Iterable[float]) -> float:
    """The median; of an even number of values the larger middle value, because one of the two may be infinite."""
    return float(np.quantile(np.array(list(values)), 0.5, method="higher"))


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Evaluation(ArrayValue):
    """The scores of all frames.

    Attributes:
        slices: one score per frame, in the order of the studies.
        findings: findings of the segmenter, each once, e.g. rules that were off; with the patients, unless it is about
            all of them.
        functions: volumes and EF of each patient with a known ED and ES.
        miccai: measures of the MICCAI 2009 challenge for each patient with spacing.
        pictures: pictures of the worst frames, worst first.
        others: scores of the other structures that truth and segmentation both have. All other fields are about the LV.
        signs: for each patient with a known ED and ES, a network's signs beside its true errors.
        training_known: whether the training data are known; if not, no frame can be marked as in-sample.
    """

    slices: tuple[SliceScore, ...]
    findings: tuple[Finding, ...] = ()
    functions: tuple[CaseFunction, ...] = ()
    miccai: tuple[MiccaiCase, ...] = ()
    pictures: tuple[Picture, ...] = ()
    training_known: bool = False
    others: tuple[StructureScores, ...] = ()
    signs: tuple[CaseSigns, ...] = ()

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
        for score in self.slices:
            if score.overlap is not None and known.get(score.case) is not Overlap.IMAGE:
                known[score.case] = score.overlap
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
        for score in self.slices:
            parts["with LV" if score.truth_px else "without LV"].append(score)
            if score.level is not None:
                parts[score.level].append(score)
                if score.moment is not None:
                    parts[f"{score.level}, {score.moment}"].append(score)
            if score.moment is not None:
                parts[score.moment].append(score)
        order = ["with LV", "without LV", "ED", "ES"]
        order += [f"{level}{at}" for level in ("base", "middle", "apex") for at in ("", ", ED", ", ES")]
        yield from ((name, summarise(parts[name])) for name in order if parts[name])

    def intervals(self) -> dict[str, Interval]:
        """95 % intervals from resampling patients (empty for fewer than three patients)."""
        cases = list(self.by_case().values())
        dice = [np.array([score.dice for score in scores]) for scores in cases]
        hd95 = [np.array([score.hd95 for score in scores]) for scores in cases]
        errors = [np.array([function.ef_error_points]) for function in self.functions]
        intervals = {
            "dice_mean": bootstrap(dice, lambda values: float(values.mean())),
            "dice_median": bootstrap(dice, lambda values: float(np.median(values))),
            "case_dice_mean": bootstrap(
                [np.array([values.mean()]) for values in dice], lambda values: float(values.mean())
            ),
            "below_half": bootstrap(dice, lambda values: float((values < LOW_DICE).mean())),
            "hd95_median": bootstrap(hd95, _median),
            "ef_mean_absolute_error": bootstrap(errors, lambda values: float(np.abs(values).mean())),
        }
        return {name: interval for name, interval in intervals.items() if interval is not None}

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
            "functions": {entry.case: document.function(entry) for entry in self.functions},
            "miccai2009": {entry.case: document.miccai(entry) for entry in self.miccai},
            "signs": {entry.case: entry.to_dict() for entry in self.signs},
            "slices": [document.row(entry) for entry in self.slices],
            "structures": {part.structure.key: _structure(part) for part in self.others},
            "findings": [str(finding) for finding in self.findings],
        }
        return dict(document.plain(written))


def _structure(part: StructureScores) -> dict[str, Any]:
    return {
        **asdict(summarise(part.slices)),
        "volume_dice": {str(moment): value for moment, value in part.volume_dice().items()},
        "agreement": {name: asdict(figures) for name, figures in agreement_of(part.functions).items()},
        "functions": {function.case: document.function(function) for function in part.functions},
        "slices": [document.row(score) for score in part.slices],
    }


def agreement_of(functions: Sequence[CaseFunction]) -> dict[str, BlandAltman]:
    """Bland-Altman figures of EF (points) over all patients, of EDV and ESV (ml) over those with volumes."""
    in_ml = [function for function in functions if function.basis is EfBasis.VOLUMES]
    pairs = {
        "ef_percent": [(function.truth.ef_percent, function.predicted.ef_percent) for function in functions],
        "edv_ml": [(function.truth.ed, function.predicted.ed) for function in in_ml],
        "esv_ml": [(function.truth.es, function.predicted.es) for function in in_ml],
    }
    compared = {name: bland_altman(*np.array(values).T) for name, values in pairs.items() if values}
    return {name: figures for name, figures in compared.items() if figures is not None}


def _goodness(score: SliceScore) -> tuple[float, float, int]:
    nearness = -score.mean_distance if np.isfinite(score.mean_distance) else -np.inf
    return score.dice, nearness, -max(score.truth_px, score.found_px)


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
        learned: the network's training data, to mark in-sample frames; None: unknown.
        pictures: the number of worst frames to keep as pictures.
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
    signs: list[CaseSigns | None] = []
    for study, predicted in compared:
        if predicted.labels.shape != study.cine.pixels.shape:
            raise GeometryError(
                f"{study.case}: the segmentation has (phases, slices, rows, columns) {predicted.labels.shape}, "
                f"the study {study.cine.pixels.shape}: give masks of the same frames"
            )
        cases.add(study.case)
        for finding in predicted.findings:
            findings.setdefault(finding, []).append(study.case)
        own = [_marked(frame, study, learned) for frame in slice_scores(study, predicted)]
        scores += own
        functions.append(case_function(study, predicted))
        miccai.append(miccai_case(study, predicted))
        others += structure_scores(study, predicted)
        signs.append(case_signs(study, predicted))
        chosen = sorted(own, key=_goodness)[:pictures]
        worst += [_picture(frame, study, predicted) for frame in chosen]
        worst = sorted(worst, key=lambda picture: _goodness(picture.score))[:pictures]
    return Evaluation(
        tuple(scores),
        tuple(_of_whom(finding, names, cases) for finding, names in findings.items()),
        tuple(entry for entry in functions if entry is not None),
        tuple(entry for entry in miccai if entry is not None),
        tuple(worst),
        learned is not None,
        together(others),
        tuple(entry for entry in signs if entry is not None),
    )


def _of_whom(finding: Finding, patients: Sequence[str], cases: Set[str]) -> Finding:
    """The finding, with the first of its patients, unless it is about all cases."""
    names = sorted(set(patients))
    if len(names) == len(cases):
        return finding
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    texts = {**finding.texts, "of_whom": f"{', '.join(names[:_NAMED])}{more}"}
    return replace(finding, sentence="{of_whom}: " + finding.sentence, texts=texts)


def _marked(score: SliceScore, study: LabelledStudy, learned: Learned | None) -> SliceScore:
    if learned is None:
        return score
    return replace(score, overlap=learned.overlap(score.case, study.cine.pixels[score.phase, score.slice]))


def _picture(score: SliceScore, study: LabelledStudy, predicted: Segmentation) -> Picture:
    at = Structure.CAVITY, score.phase, score.slice
    spacing = None if study.cine.grid is None else study.cine.grid.spacing_mm
    pixels = study.cine.pixels[score.phase, score.slice].copy()
    return Picture(score, pixels, study.truth.outline(*at), predicted.outline(*at), spacing)
