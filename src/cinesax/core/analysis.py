"""Analysis: everything that is known after the main path has run. Values only."""

import hashlib
from dataclasses import dataclass

from cinesax.core.cine import Cine
from cinesax.core.findings import Finding
from cinesax.core.measurements import Measurements
from cinesax.core.segmentation import Segmentation


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made the analysis.

    Attributes:
        software: name and version of this program.
        model: name and version of the network, or None where the segmentation was given.
        model_checksum: SHA-256 of the network's graph, or None.
        segmentation_source: "network", or the kind of file that was given.
        seconds: wall time of each step, by name.
    """

    software: str
    model: str | None = None
    model_checksum: str | None = None
    segmentation_source: str = "network"
    seconds: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Analysis:
    """A cine, its segmentation, what was measured on it, what a reader should know, and what made it."""

    cine: Cine
    segmentation: Segmentation
    measurements: Measurements
    findings: tuple[Finding, ...]
    provenance: Provenance

    @property
    def case(self) -> str:
        """A pseudonymous key of the study: the same for the same study, and no way back to the patient."""
        return case_key(self.cine)


def case_key(cine: Cine) -> str:
    """Give "case-" and ten hexadecimal digits: a hash of the StudyInstanceUID, or of the pixels if there is none."""
    uid = cine.source.study_uid
    digest = hashlib.sha256(uid.encode() if uid else cine.pixels.tobytes()).hexdigest()
    return f"case-{digest[:10]}"
