"""Volumes and ejection fraction of one patient, true and predicted."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cinesax.core.measurements import EfBasis
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import LV, Chamber, Structure, blood_of
from cinesax.evaluate.study import LabelledStudy, Moment, moments, truth_areas_px
from cinesax.measure.volumes import measure


@dataclass(frozen=True, slots=True)
class Function:
    """The blood in the left ventricle at ED and ES.

    Attributes:
        ed: volume at ED in ml, or summed area in pixels.
        es: the same at ES.
        ed_phase: the phase of ED.
        es_phase: the phase of ES.
    """

    ed: float
    es: float
    ed_phase: int
    es_phase: int

    @property
    def ef_percent(self) -> float:
        """100 * (ED - ES) / ED; 0 if nothing was predicted at ED."""
        return 100 * (self.ed - self.es) / self.ed if self.ed > 0 else 0.0


@dataclass(frozen=True, slots=True)
class CaseFunction:
    """The function of one patient, true and predicted.

    Attributes:
        case: the patient.
        basis: volumes in ml, each at the ED and ES of its own curve; or, without geometry, sums over the labelled
            slices at the true ED and ES, because there are no other phases.
        truth: the function by the labels.
        predicted: the predicted function.
        phases: number of phases of the beat, for cyclic distances between phases.
    """

    case: str
    basis: EfBasis
    truth: Function
    predicted: Function
    phases: int

    @property
    def ef_error_points(self) -> float:
        """Predicted - truth, in percentage points."""
        return self.predicted.ef_percent - self.truth.ef_percent

    @property
    def ed_error_percent(self) -> float:
        """Signed error of EDV (or of the summed area at ED) in % of the truth."""
        return 100 * (self.predicted.ed / self.truth.ed - 1)

    @property
    def es_error_percent(self) -> float | None:
        """Signed error of ESV (or of the summed area at ES) in % of the truth; None if the truth is 0."""
        return 100 * (self.predicted.es / self.truth.es - 1) if self.truth.es > 0 else None

    def phases_apart(self, moment: Moment) -> int:
        """Phases between the true and the predicted moment, counted cyclically."""
        ends = self.truth, self.predicted
        true, predicted = (end.ed_phase if moment is Moment.ED else end.es_phase for end in ends)
        return min((true - predicted) % self.phases, (predicted - true) % self.phases)


def case_function(study: LabelledStudy, predicted: Segmentation, chamber: Chamber = LV) -> CaseFunction | None:
    """Compare volumes or, without geometry, summed areas; None unless ED and ES are both known."""
    areas = truth_areas_px(study, blood_of(chamber))
    when = {moment: phase for phase, moment in moments(areas).items()}
    if len(when) < 2:
        return None
    in_space = study.cine.grid is not None and study.cine.n_slices > 1
    volumes = _by_volumes(study, predicted, when, chamber) if in_space else None
    return volumes or _by_areas(study, predicted, areas, when=when, blood=blood_of(chamber))


def _by_volumes(
    study: LabelledStudy, predicted: Segmentation, when: Mapping[Moment, int], chamber: Chamber
) -> CaseFunction | None:
    true, measured = (measure(study.cine, segmentation).of(chamber) for segmentation in (study.truth, predicted))
    pair = [
        Function(m.edv_ml, m.esv_ml, m.ed_phase, m.es_phase)
        for m in (true, measured)
        if m is not None
        if m.edv_ml is not None and m.esv_ml is not None and m.ed_phase is not None and m.es_phase is not None
    ]
    if true is None or true.edv_ml is None or true.esv_ml is None:
        return None
    if len(pair) == 1:
        # Nothing was predicted in the whole study. It counts with volumes of 0: left out, the worst case would flatter
        # the mean error.
        pair.append(Function(0.0, 0.0, when[Moment.ED], when[Moment.ES]))
    return CaseFunction(study.case, EfBasis.VOLUMES, pair[0], pair[1], study.cine.n_phases)


def _by_areas(
    study: LabelledStudy,
    predicted: Segmentation,
    areas: NDArray[np.float64],
    *,
    when: Mapping[Moment, int],
    blood: Structure,
) -> CaseFunction:
    # Only frames with a known truth: predictions elsewhere have nothing to be compared with.
    drawn = np.where(np.isnan(areas), 0, predicted.mask(blood).sum(axis=(2, 3)))
    ed, es = when[Moment.ED], when[Moment.ES]
    true, sums = (Function(float(np.nansum(a[ed])), float(np.nansum(a[es])), ed, es) for a in (areas, drawn))
    return CaseFunction(study.case, EfBasis.AREAS, true, sums, study.cine.n_phases)
