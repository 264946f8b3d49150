"""A network's signs of one patient beside its true errors: what `cinesax calibrate` learns from."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cinesax.core.measurements import EfBasis
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import Structure
from cinesax.evaluate.function import case_function
from cinesax.evaluate.study import LabelledStudy, mask_of, moments, truth_areas_px
from cinesax.trust.features import features_of


@dataclass(frozen=True, slots=True)
class CaseSigns:
    """One patient.

    Attributes:
        case: the patient.
        features: see `cinesax.trust.features`; None if no cavity was drawn at ED or at ES.
        dice: Dice of the cavity by volume, mean of the true ED and ES; frames without a known truth do not count.
        ef_percent: the predicted EF.
        ef_error_points: predicted - true.
    """

    case: str
    features: Mapping[str, float] | None
    dice: float
    ef_percent: float
    ef_error_points: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without the patient."""
        values = asdict(self)
        del values["case"]
        return values


def case_signs(study: LabelledStudy, predicted: Segmentation) -> CaseSigns | None:
    """The signs and errors of a patient; None unless ED and ES are known, and the segmentation is a network's."""
    function = case_function(study, predicted)
    if function is None or predicted.presence is None:
        return None
    frames = np.zeros(predicted.labels.shape[:2], dtype=bool)
    frames[tuple(np.array(list(study.names)).T)] = True
    # Whole exams are measured at the ED and ES of their own curve, where there may be no truth.
    features = features_of(predicted.presence, None if function.basis is EfBasis.VOLUMES else frames)
    dice = [_dice(study, predicted, phase) for phase in moments(truth_areas_px(study))]
    return CaseSigns(
        study.case, features, float(np.mean(dice)), function.predicted.ef_percent, function.ef_error_points
    )


def _dice(study: LabelledStudy, predicted: Segmentation, phase: int) -> float:
    """Dice of all slices of a phase together."""
    shared = total = 0
    for at, index in study.names:
        if at == phase:
            true, drawn = (mask_of(one, Structure.CAVITY, phase, index) for one in (study.truth, predicted))
            shared, total = shared + int((true & drawn).sum()), total + int(true.sum()) + int(drawn.sum())
    return 2 * shared / total if total else 1.0
