"""Which part of the complex MR signal a frame shows. Only magnitude images are read.

Scanners that keep several parts store them in one series, with the same positions and times: only the header of each
frame distinguishes them.
"""

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

from cinesax.dicom.read.header import Header


class Component(StrEnum):
    """A part of the complex signal."""

    MAGNITUDE = "magnitude"
    PHASE = "phase"
    REAL = "real"
    IMAGINARY = "imaginary"
    MIXED = "mixed"


# RawDataType_ImageType of GE (0043,102F), as GE's DICOM conformance statements list it.
_GE_RAW_DATA_TYPES = dict(enumerate((Component.MAGNITUDE, Component.PHASE, Component.REAL, Component.IMAGINARY)))

_GE_CREATOR = "GEMS_PARM_01"

# Values of ImageType. Philips writes both a general and a particular one (PHASE MAP and P, M_FFE and M); frames with
# both M and P are phase images (PHASE CONTRAST M is Philips' word for a velocity-coded magnitude).
_IMAGE_TYPES = (
    (Component.PHASE, frozenset({"P", "PHA", "PHASE", "PHASE MAP", "PHASE_MAP", "VELOCITY MAP", "ANGLE"})),
    (Component.IMAGINARY, frozenset({"I", "IMAG", "IMAGINARY"})),
    (Component.REAL, frozenset({"R", "REAL"})),
    (Component.MAGNITUDE, frozenset({"M", "MAG", "MAGNITUDE"})),
)
_PREFIXES = {"P": Component.PHASE, "I": Component.IMAGINARY, "R": Component.REAL, "M": Component.MAGNITUDE}


def component(header: Header) -> Component | None:
    """What a frame shows, by ComplexImageComponent, GE's RawDataType or ImageType; None if none of them says."""
    stated = (header.complex_component or "").lower()
    if stated in set(Component):
        return Component(stated)
    # Other makers use the same private tag for other things; those who anonymise may replace the name of the maker.
    by_ge = header.ge_creator == _GE_CREATOR or (header.manufacturer or "GE").upper().startswith("GE")
    if by_ge and header.ge_raw_data_type is not None:
        return _GE_RAW_DATA_TYPES[header.ge_raw_data_type]
    values = {value.upper() for value in header.image_type}
    # M_FFE, P_SE, R_IR and so on: the first letter, before the kind of sequence.
    values |= {value[0] for value in values if value[1:2] == "_" and value[0] in _PREFIXES}
    return next((part for part, words in _IMAGE_TYPES if words & values), None)


def is_velocity_map(header: Header) -> bool:
    """Whether a frame shows velocities: then its magnitude image belongs to a phase-contrast scan, not to a cine."""
    return "VELOCITY MAP" in header.image_type


def magnitude_only(headers: Iterable[Header]) -> tuple[Header, ...]:
    """The magnitude images among frames; all frames if none is known to be a magnitude image."""
    frames = tuple(headers)
    kept = tuple(header for header in frames if component(header) in (None, Component.MAGNITUDE))
    return kept or frames


def left_out(headers: Iterable[Header]) -> str:
    """How many frames of each part `magnitude_only` leaves out, as text; "" if it leaves out none."""
    frames = tuple(headers)
    if len(magnitude_only(frames)) == len(frames):
        return ""
    counts = Counter(part for header in frames if (part := component(header)) not in (None, Component.MAGNITUDE))
    return ", ".join(f"{count} {part}" for part, count in sorted(counts.items()))
