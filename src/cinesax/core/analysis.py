"""Analysis: everything that a run of cinesax produced. Values only."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cinesax._views import views
from cinesax.core.cine import Cine
from cinesax.core.findings import Finding
from cinesax.core.measurements import Measurements
from cinesax.core.origins import Approval
from cinesax.core.segmentation import Segmentation


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made the analysis.

    Attributes:
        software: name and version of this program.
        model: name and version of the network, or None if the segmentation was given.
        model_checksum: SHA-256 of the network's graph, or None.
        segmentation_source: "network", or the kind of file that was given.
        seconds: wall time of each step, by name.
    """

    software: str
    model: str | None = None
    model_checksum: str | None = None
    segmentation_source: str = "network"
    seconds: tuple[tuple[str, float], ...] = ()


class Reason(StrEnum):
    """Why a larger error than usual is expected; stable names that scripts may test for."""

    NO_CAVITY = "no-cavity"
    UNLIKE = "unlike-calibration"
    MIRROR = "mirror-image-differs"
    BORDER = "soft-border"
    ENDS = "unsure-ends"
    STEPS = "uneven-slices"
    SMALL = "small-cavity"
    CONTRAST = "low-contrast"
    MASS = "mass-differs"

    @property
    def words(self) -> str:
        """The reason as a clause."""
        return _REASONS[self]


_REASONS = {
    Reason.NO_CAVITY: "there is no cavity at ED or at ES",
    Reason.UNLIKE: "the images are unlike those of the calibration",
    Reason.MIRROR: "the network draws the mirror image differently",
    Reason.BORDER: "the border of the cavity is not sharp",
    Reason.ENDS: "it is unclear which slices at base and apex count",
    Reason.STEPS: "areas change abruptly from slice to slice",
    Reason.SMALL: "the cavity is small",
    Reason.CONTRAST: "blood is hardly brighter than what surrounds it",
    Reason.MASS: "the volume of muscle differs between ED and ES",
}


@dataclass(frozen=True, slots=True)
class Trust:
    """How far the contours and the EF of a network can be trusted, predicted without a truth.

    Calibrated on patients that networks of the same recipe had not seen (`cinesax.trust`). It is about the network's
    own contours: an Analysis with edited ones has none.

    Attributes:
        dice: the predicted Dice of the LV cavity with an expert's, by volume, mean of ED and ES.
        ef_error_points: the typical absolute error of EF in such exams: a geometric mean, so large ones count little.
        ef_low_percent: lower end of the interval for EF; None if there is no EF.
        ef_high_percent: upper end.
        level: the share of exams like the calibration's whose true EF lies in such intervals.
        widened: the factor by which the interval was widened because the exam is unlike the calibration's; 1 if not.
        reasons: why more error than usual is expected, most important first; () if nothing stands out.
        patients: the number of patients of the calibration.
    """

    dice: float
    ef_error_points: float
    ef_low_percent: float | None
    ef_high_percent: float | None
    level: float
    widened: float
    reasons: tuple[Reason, ...]
    patients: int

    @property
    def words(self) -> str:
        """The reasons as a sentence without a full stop."""
        return " and ".join(reason.words for reason in self.reasons) or "nothing stands out"


@dataclass(frozen=True, repr=False, slots=True)
class Analysis:
    """A cine, its segmentation, the measurements, the findings and the provenance.

    Attributes:
        pseudonym: the case key, if `cinesax.results.privacy.pseudonymise` has removed what identifies the patient; else
            None.
        approval: the signature of the person who approved it; None if it is not approved.
        trust: how far the network's contours can be trusted; None for other and edited contours, and for networks
            without a calibration.
    """

    cine: Cine
    segmentation: Segmentation
    measurements: Measurements
    findings: tuple[Finding, ...]
    provenance: Provenance
    pseudonym: str | None = None
    approval: Approval | None = None
    trust: Trust | None = None

    @property
    def case(self) -> str:
        """A pseudonymous key of the study: always the same for one study, and it does not lead back to the patient."""
        return self.pseudonym or case_key(self.cine)

    def __repr__(self) -> str:
        return (
            f"Analysis({self.case} by {self.segmentation.author!r}: {self.measurements.shown}, "
            f"findings: {len(self.findings)})"
        )

    def to_dict(self, *, show_patient: bool = False) -> dict[str, Any]:
        """The contents of analysis.json as plain values.

        Args:
            show_patient: whether to include patient, UIDs and study date.
        """
        return views().to_dict(self, show_patient=show_patient)

    def _repr_html_(self) -> str:
        """Numbers, volume-time curve and findings, in a notebook."""
        return views().to_html(self)


def case_key(cine: Cine) -> str:
    """Give "case-" and ten hexadecimal digits: a hash of the StudyInstanceUID, or of the pixels if there is none."""
    uid = cine.source.study_uid
    return case_key_of(uid if uid else cine.pixels.tobytes())


def case_key_of(study: str | bytes) -> str:
    """The case key of a StudyInstanceUID, or of pixels."""
    return f"case-{hashlib.sha256(study.encode() if isinstance(study, str) else study).hexdigest()[:10]}"
