"""Finding: something that a person who reads the result should know."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding should trouble the reader."""

    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


class Code(StrEnum):
    """What a finding is about; stable names that scripts may test for."""

    # the exam as it was stored
    UNREADABLE_FILE = "unreadable-file"
    INVALID_UID = "invalid-uid"
    INVALID_DATE = "invalid-date"
    FRAME_OF_REFERENCE_PER_FILE = "frame-of-reference-per-file"
    SLICE_LOCATION_MISLEADING = "slice-location-misleading"
    DUPLICATE_FRAME = "duplicate-frame"
    INCOMPLETE_SLICE = "incomplete-slice"
    UNEVEN_SLICE_DISTANCE = "uneven-slice-distance"
    TILTED_SLICES = "tilted-slices"
    SHIFTED_SLICES = "shifted-slices"
    MATRIX_DIFFERS = "matrix-differs"
    MISSING_TRIGGER_TIMES = "missing-trigger-times"
    PHASE_ORDER = "phase-order"
    UNEQUAL_PHASES = "unequal-phases"
    RR_INTERVALS_DIFFER = "rr-intervals-differ"
    APEX_BASE_UNKNOWN = "apex-base-unknown"
    LOSSY_COMPRESSION = "lossy-compression"
    UNKNOWN_SPACING = "unknown-spacing"
    GEOMETRY_CHOSEN = "geometry-chosen"
    SLICE_AXIS_UNCLEAR = "slice-axis-unclear"
    OTHER_CANDIDATES = "other-candidates"
    # the segmentation
    RULES_OFF = "rules-off"
    FRAME_CROPPED = "frame-cropped"
    REMOVED_REGION = "removed-region"
    NO_LV_FOUND = "no-lv-found"
    PARTIAL_SEGMENTATION = "partial-segmentation"
    LABELS_WITHOUT_PLACE = "labels-without-place"
    # the measurements
    VOLUME_JUMP = "volume-jump"
    IMPLAUSIBLE_VALUE = "implausible-value"
    LV_AT_STACK_END = "lv-at-stack-end"
    GAP_INSIDE_LV = "gap-inside-lv"
    OVERRIDDEN_PHASE = "overridden-phase"
    UNKNOWN_HEART_RATE = "unknown-heart-rate"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know, with its place in the stack where it has one.

    Attributes:
        code: what it is about.
        severity: how much it matters.
        message: one sentence for a person: what was seen, and what was done about it.
        phase: index of the phase (0-based), or None when it is not about one phase.
        slice: index of the slice (0-based), or None when it is not about one slice.
    """

    code: Code
    severity: Severity
    message: str
    phase: int | None = None
    slice: int | None = None

    def __str__(self) -> str:
        place = ", ".join(
            f"{name} {value}" for name, value in (("slice", self.slice), ("phase", self.phase)) if value is not None
        )
        return f"{self.severity}: {self.message}" + (f" ({place})" if place else "")
