"""A table of how makes of scanners write a cine: which attributes describe phases, slices and beats.

Sources of the rows:

- GE: the headers of the public Sunnybrook exams (SIGNA HDx, software 14).
- Siemens: public dumps of cines (sequence names, image types), and reports by users of UK Biobank and the Data Science
  Bowl that each slice is a series.
- Philips: dcm2niix, Philips/README.md and issues 395, 408 and 529: rescaling, temporal positions that count dynamics,
  instance numbers in no order.
- Canon: dcm2niix, Canon/README.md (few attributes, public ones). Phases given by TemporalPositionIdentifier alone were
  not seen in a file of this make: the row stands for any scanner that does so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any


class Vendor(StrEnum):
    """The make of scanner whose style a phantom follows; the value is the name on the command line."""

    PLAIN = "plain"
    GE = "ge"
    SIEMENS = "siemens"
    PHILIPS = "philips"
    CANON = "canon"
    PHILIPS_ENHANCED = "philips-enhanced"
    SIEMENS_ENHANCED = "siemens-enhanced"


class TemporalPosition(StrEnum):
    """What TemporalPositionIdentifier counts."""

    ABSENT = "absent"
    PHASES = "phases"
    DYNAMICS = "dynamics"
    """Repetitions of the whole scan; a cine has one, so it is 1 in every frame."""


@dataclass(frozen=True, kw_only=True)
class Style:
    """How one make of scanner writes a cine.

    Attributes:
        manufacturer: Manufacturer; None takes that of the Cine's source.
        image_type: ImageType; None takes that of the series' identity.
        scan_options: ScanOptions.
        sequence_name: SequenceName.
        enhanced: Enhanced MR Image Storage, many frames in one instance, instead of one instance per frame.
        one_series_a_slice: each slice is a series of its own, whose instances are counted from 1.
        again_in_same_series: a slice that is acquired again goes into the series of its first acquisition, with another
            AcquisitionNumber; otherwise it forms a series of its own, as on a scanner's console.
        phase_by_phase: InstanceNumber runs through all slices of a phase before the next phase.
        signed: pixels are stored as signed numbers of 16 bits.
        rescale_type: RescaleType; if given, values are stored on the full range of 12 bits, with the RescaleSlope that
            restores them.
        trigger_times: frames have a TriggerTime.
        beat: which of NominalInterval, HeartRate and CardiacNumberOfImages the frames have.
        temporal_position: what TemporalPositionIdentifier counts.
        spacing_between_slices: frames have SpacingBetweenSlices.
        reconstructed_in_disorder: ContentTime is the time of reconstruction, which is not in the order of phases.
        elements: further attributes with the same value in all frames, by keyword.
    """

    manufacturer: str | None = None
    image_type: tuple[str, ...] | None = None
    scan_options: tuple[str, ...] = ("CG",)
    sequence_name: str | None = None
    enhanced: bool = False
    one_series_a_slice: bool = False
    again_in_same_series: bool = False
    phase_by_phase: bool = False
    signed: bool = False
    rescale_type: str | None = None
    trigger_times: bool = True
    beat: frozenset[str] = frozenset({"NominalInterval", "HeartRate", "CardiacNumberOfImages"})
    temporal_position: TemporalPosition = TemporalPosition.ABSENT
    spacing_between_slices: bool = True
    reconstructed_in_disorder: bool = False
    elements: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


STYLES: Mapping[Vendor, Style] = MappingProxyType(
    {
        Vendor.PLAIN: Style(again_in_same_series=True),
        Vendor.GE: Style(
            manufacturer="GE MEDICAL SYSTEMS",
            image_type=("ORIGINAL", "PRIMARY", "CARDIAC", "NONE"),
            scan_options=("FAST_GEMS", "SEQ_GEMS", "CG"),
            signed=True,
            reconstructed_in_disorder=True,
            elements=MappingProxyType({"BeatRejectionFlag": "N", "AngioFlag": "N", "VariableFlipAngleFlag": "N"}),
        ),
        Vendor.SIEMENS: Style(
            manufacturer="SIEMENS",
            image_type=("ORIGINAL", "PRIMARY", "M", "RETRO", "NORM", "DIS2D"),
            sequence_name="*tfi2d1_15",
            one_series_a_slice=True,
            beat=frozenset({"NominalInterval", "CardiacNumberOfImages"}),
            spacing_between_slices=False,
            elements=MappingProxyType({"AngioFlag": "N"}),
        ),
        Vendor.PHILIPS: Style(
            manufacturer="Philips Medical Systems",
            image_type=("ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"),
            phase_by_phase=True,
            rescale_type="normalized",
            beat=frozenset({"HeartRate"}),
            temporal_position=TemporalPosition.DYNAMICS,
        ),
        Vendor.CANON: Style(
            manufacturer="CANON_MEC",
            image_type=("ORIGINAL", "PRIMARY", "OTHER"),
            scan_options=(),
            trigger_times=False,
            again_in_same_series=True,
            beat=frozenset({"HeartRate"}),
            temporal_position=TemporalPosition.PHASES,
        ),
        Vendor.PHILIPS_ENHANCED: Style(
            manufacturer="Philips Medical Systems", enhanced=True, phase_by_phase=True, rescale_type="US"
        ),
        Vendor.SIEMENS_ENHANCED: Style(manufacturer="Siemens Healthineers", enhanced=True, one_series_a_slice=True),
    }
)
