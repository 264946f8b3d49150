"""The requests of the page as types: each body is parsed once, and a body that does not fit is refused in one line."""

from typing import Annotated, Literal, TypeVar
from unicodedata import category

import msgspec
from msgspec import Meta, Struct

MAX_POINTS = 2000
MAX_POLYGONS = 8
MAX_TARGETS = 400

Index = Annotated[int, Meta(ge=0, le=100_000)]
Name = Annotated[str, Meta(max_length=120)]
Text = Annotated[str, Meta(max_length=4000)]
Flat = Annotated[list[float], Meta(min_length=6, max_length=2 * MAX_POINTS)]
"""A polygon as x0, y0, x1, y1, ..."""
Polygons = Annotated[list[Flat], Meta(max_length=MAX_POLYGONS)]
_WRITTEN = (("by", "name", ""), ("comment", "comment", "\n\t"), ("reason", "reason", ""))
"""What a person writes: field, its name, and the control characters that may be in it."""
StructureKey = Annotated[str, Meta(max_length=40)]
ChamberKey = Annotated[str, Meta(max_length=10)]
Reach = Literal["frame", "slice"]
DeleteReach = Literal["frame", "slice", "beyond", "beyond_base", "beyond_apex"]


class _Edit(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op"):
    """Any edit."""


class SetContour(_Edit, frozen=True, tag="set"):
    """Set the contour of one structure in one frame."""

    structure: StructureKey
    phase: Index
    slice: Index
    polygons: Polygons


class Delete(_Edit, frozen=True, tag="delete"):
    """Remove a chamber from one or more frames."""

    phase: Index
    slice: Index
    chamber: ChamberKey = "lv"
    reach: DeleteReach = "frame"
    all_phases: bool = False


class Place(Struct, frozen=True, forbid_unknown_fields=True):
    """A frame."""

    phase: Index
    slice: Index


class Copy(_Edit, frozen=True, tag="copy"):
    """Copy the contours of one frame to others."""

    phase: Index
    slice: Index
    to: Annotated[list[Place], Meta(min_length=1, max_length=MAX_TARGETS)]
    structure: StructureKey | None = None


class InterpolatePhases(_Edit, frozen=True, tag="interpolate_phases"):
    """Interpolate contours between the edited phases of a slice."""

    structure: StructureKey
    slice: Index
    keys: Annotated[list[Index], Meta(max_length=MAX_TARGETS)] | None = None


class InterpolateSlices(_Edit, frozen=True, tag="interpolate_slices"):
    """Interpolate contours in the slices between two slices."""

    structure: StructureKey
    phase: Index
    first: Index = msgspec.field(name="from")
    last: Index = msgspec.field(name="to")
    all_phases: bool = False


class Grow(_Edit, frozen=True, tag="grow"):
    """Move a contour outwards or inwards along its normals."""

    structure: StructureKey
    phase: Index
    slice: Index
    mm: Annotated[float, Meta(ge=-50, le=50)]
    reach: Reach = "frame"


class Shift(_Edit, frozen=True, tag="shift"):
    """Move contours as a whole."""

    phase: Index
    slice: Index
    dx: Annotated[float, Meta(ge=-1000, le=1000)]
    dy: Annotated[float, Meta(ge=-1000, le=1000)]
    structure: StructureKey | None = None
    reach: Reach = "frame"


class Base(_Edit, frozen=True, tag="base"):
    """Set the basal slice at ED and at ES; between them it moves linearly."""

    ed_slice: Index
    es_slice: Index


class Papillary(_Edit, frozen=True, tag="papillary"):
    """Set whether drawn papillary muscles count as cavity."""

    included: bool


class Phases(_Edit, frozen=True, tag="phases"):
    """Set ED and ES. null: from the volume curve; left out: unchanged."""

    ed_phase: Index | None | msgspec.UnsetType = msgspec.UNSET
    es_phase: Index | None | msgspec.UnsetType = msgspec.UNSET


Edit = SetContour | Delete | Copy | InterpolatePhases | InterpolateSlices | Grow | Shift | Base | Papillary | Phases


class _Body(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request."""

    def __post_init__(self) -> None:
        for field, what, allowed in _WRITTEN:
            text = getattr(self, field, "")
            control = next((letter for letter in text if category(letter) == "Cc" and letter not in allowed), None)
            if control is not None:
                raise ValueError(f"the {what} holds a control character, U+{ord(control):04X}: delete it")


class EditBody(_Body, frozen=True):
    """An edit, and the version of the exam that it was made on."""

    version: Index
    edit: Edit
    by: Name = ""


class VersionBody(_Body, frozen=True):
    """Undo, redo or include."""

    version: Index
    by: Name = ""


class PreviewBody(_Body, frozen=True):
    """A contour for which the page asks the numbers."""

    structure: StructureKey
    phase: Index
    slice: Index
    polygons: Polygons


class ApproveBody(_Body, frozen=True):
    """A signature."""

    version: Index
    by: Annotated[str, Meta(min_length=1, max_length=60)]
    comment: Text = ""
    dicom: bool = False
    rtstruct: bool = False
    repair_uids: bool = False


class SendBackBody(_Body, frozen=True):
    """Send an exam back instead of approving it."""

    version: Index
    by: Annotated[str, Meta(min_length=1, max_length=60)]
    comment: Text = ""


class ExcludeBody(_Body, frozen=True):
    """Exclude an exam."""

    version: Index
    reason: Annotated[str, Meta(min_length=1, max_length=400)]
    by: Name = ""


class HereBody(_Body, frozen=True):
    """A browser window reports that it shows an exam."""

    window: Annotated[str, Meta(min_length=1, max_length=80)]


class PathBody(_Body, frozen=True):
    """Add an exam, results, or a folder of them."""

    path: Annotated[str, Meta(min_length=1, max_length=4000)]


class SeriesBody(_Body, frozen=True):
    """Analyze another series of the exam."""

    version: Index
    series: Index
    by: Name = ""


class Empty(Struct, frozen=True):
    """A body without content."""


Kind = TypeVar("Kind")


class BadBodyError(Exception):
    """A body that is not JSON or not of the expected type; the message is one line."""


def parsed(body: bytes, kind: type[Kind]) -> Kind:
    """Parse the body of a request into a type.

    Raises:
        BadBodyError: the body is not of this type.
    """
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    # RecursionError: deeply nested brackets; ValueError: numbers with thousands of digits.
    except (msgspec.MsgspecError, RecursionError, ValueError, OverflowError) as error:
        raise BadBodyError(f"the body of the request is not valid: {error}") from error
