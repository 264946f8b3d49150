"""Finding: something that the reader of a result should know."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from numbers import Integral
from typing import TypeVar

Fact = TypeVar("Fact", float, str)

_PLACE = re.compile(r"\{(?P<name>\w+)(?::(?P<form>[^{}]*))?\}")


class Severity(StrEnum):
    """How serious a finding is."""

    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


class Code(StrEnum):
    """What a finding is about; stable names that scripts may test for."""

    # the exam as it was stored
    UNREADABLE_FILE = "unreadable-file"
    INVALID_UID = "invalid-uid"
    SHARED_UID = "shared-uid"
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
    TIMES_UNCERTAIN = "times-uncertain"
    PHASE_ORDER = "phase-order"
    UNEQUAL_PHASES = "unequal-phases"
    RR_INTERVALS_DIFFER = "rr-intervals-differ"
    APEX_BASE_UNKNOWN = "apex-base-unknown"
    LOSSY_COMPRESSION = "lossy-compression"
    UNKNOWN_SPACING = "unknown-spacing"
    GEOMETRY_CHOSEN = "geometry-chosen"
    SLICE_AXIS_UNCLEAR = "slice-axis-unclear"
    OTHER_CANDIDATES = "other-candidates"
    OFF_AXIS_STACK = "off-axis-stack"
    NOT_MAGNITUDE = "not-magnitude"
    TIME_UNITS = "time-units"
    # the segmentation
    RULES_OFF = "rules-off"
    FRAME_CROPPED = "frame-cropped"
    REMOVED_REGION = "removed-region"
    NO_LV_FOUND = "no-lv-found"
    NOT_VALIDATED = "not-validated"
    WALL_NOT_SEEN = "wall-not-seen"
    PARTIAL_SEGMENTATION = "partial-segmentation"
    ENDOCARDIUM_OUTSIDE = "endocardium-outside"
    WALL_WITHOUT_CAVITY = "wall-without-cavity"
    LABELS_WITHOUT_PLACE = "labels-without-place"
    LABELS_DOUBTED = "labels-doubted"
    # the measurements
    VOLUME_JUMP = "volume-jump"
    IMPLAUSIBLE_VALUE = "implausible-value"
    LV_AT_STACK_END = "lv-at-stack-end"
    ABRUPT_END = "abrupt-end"
    APEX_GROWS = "apex-grows"
    UNSURE_SLICE = "unsure-slice"
    BASE_MATTERS = "base-matters"
    BASE_BETWEEN_SLICES = "base-between-slices"
    SLICES_FAR_APART = "slices-far-apart"
    BREATHING_SHIFT = "breathing-shift"
    MASS_DIFFERS = "mass-differs"
    GAP_INSIDE_LV = "gap-inside-lv"
    OVERRIDDEN_PHASE = "overridden-phase"
    PHASES_REVERSED = "phases-reversed"
    TWO_PHASES = "two-phases"
    UNKNOWN_HEART_RATE = "unknown-heart-rate"
    SEVERAL_BEATS = "several-beats"
    DOUBTFUL_RR = "doubtful-rr"
    SLICES_OUT_OF_STEP = "slices-out-of-step"
    LOW_TRUST = "low-trust"


class Facts(Mapping[str, Fact]):
    """A few named values, frozen: they can be compared, hashed, copied and pickled."""

    __slots__ = ("_held",)

    def __init__(self, held: Mapping[str, Fact] | None = None) -> None:
        self._held: dict[str, Fact] = dict(held) if held else {}

    def __getitem__(self, name: str) -> Fact:
        return self._held[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def __hash__(self) -> int:
        return hash(frozenset(self._held.items()))

    def __repr__(self) -> str:
        return repr(self._held)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that the reader should know: facts as fields, and a sentence made from them.

    Programs use `code` and the fields, never the sentence. Only `files` and `texts` may contain patient names.

    Attributes:
        code: what it is about.
        severity: how much it matters.
        sentence: what was seen, and what was done about it; "{name}" or "{name:.1f}" stands for the number or text of
            that name. Braces around anything else are kept.
        phase: index of the phase (0-based), or None if the finding is not about one phase.
        slice: index of the slice (0-based), or None if the finding is not about one slice.
        numbers: counts and measured values, by name; the name ends with the unit, if any.
        files: names of the files concerned.
        texts: names from outside (of series, cases), and choices that the sentence mentions.
        message: the sentence with its numbers and texts filled in. It never names a file.

    Raises:
        ValueError: a number and a text have the same name.
    """

    code: Code
    severity: Severity
    sentence: str = field(repr=False, compare=False)
    phase: int | None = None
    slice: int | None = None
    numbers: Mapping[str, float] = field(default_factory=Facts)
    files: tuple[str, ...] = ()
    texts: Mapping[str, str] = field(default_factory=Facts, repr=False, compare=False)
    message: str = field(init=False)

    def __post_init__(self) -> None:
        # Numbers of NumPy become plain ones: they go to JSON and into other processes.
        plain = {name: int(n) if isinstance(n, Integral) else float(n) for name, n in self.numbers.items()}
        if both := self.numbers.keys() & self.texts.keys():
            raise ValueError(f"a number and a text of a finding have the same name: {', '.join(sorted(both))}")
        object.__setattr__(self, "numbers", Facts(plain))
        object.__setattr__(self, "texts", Facts(self.texts))
        object.__setattr__(self, "files", tuple(self.files))
        object.__setattr__(self, "message", worded(self))

    def __str__(self) -> str:
        places = (("slice", self.slice), ("phase", self.phase))
        place = ", ".join(f"{name} {value}" for name, value in places if value is not None)
        return f"{self.severity}: {with_files(self)}" + (f" ({place})" if place else "")


def worded(finding: Finding) -> str:
    """The message of a finding: the only place that turns facts into a sentence."""
    facts: dict[str, float | str] = {**finding.texts, **finding.numbers}

    def fact(place: re.Match[str]) -> str:
        return format(facts[place["name"]], place["form"] or "") if place["name"] in facts else place[0]

    return _PLACE.sub(fact, finding.sentence)


def with_files(finding: Finding) -> str:
    """The message, with the first of its files, if any."""
    return finding.message + (f", the first is {finding.files[0]}" if finding.files else "")
