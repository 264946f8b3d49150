"""Analysis: everything that a run of cinesax produced. Values only."""

import hashlib
from dataclasses import dataclass
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


@dataclass(frozen=True, repr=False, slots=True)
class Analysis:
    """A cine, its segmentation, the measurements, the findings and the provenance.

    Attributes:
        pseudonym: the case key, if `cinesax.results.privacy.pseudonymise` has removed what identifies the patient; else
            None.
        approval: the signature of the person who approved it; None if it is not approved.
    """

    cine: Cine
    segmentation: Segmentation
    measurements: Measurements
    findings: tuple[Finding, ...]
    provenance: Provenance
    pseudonym: str | None = None
    approval: Approval | None = None

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
