"""What the page sends, as types: each body is parsed once, and what does not fit is refused with one line."""

from typing import Annotated, Literal, TypeVar

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
StructureKey = Annotated[str, Meta(max_length=40)]
ChamberKey = Annotated[str, Meta(max_length=10)]
Reach = Literal["frame", "slice"]
DeleteReach = Literal["frame", "slice", "beyond", "beyond_base", "beyond_apex"]


class _Edit(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op"):
    """One of the edits."""


class SetContour(_Edit, frozen=True, tag="set"):
    """Another contour of one structure in one frame."""

    structure: StructureKey
    phase: Index
    slice: Index
    polygons: Polygons


class Delete(_Edit, frozen=True, tag="delete"):
    """A chamber is absent in one frame or more."""

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
    """Contours of one frame in others too."""

    phase: Index
    slice: Index
    to: Annotated[list[Place], Meta(min_length=1, max_length=MAX_TARGETS)]
    structure: StructureKey | None = None


class InterpolatePhases(_Edit, frozen=True, tag="interpolate_phases"):
    """Contours between the edited phases of a slice."""

    structure: StructureKey
    slice: Index
    keys: Annotated[list[Index], Meta(max_length=MAX_TARGETS)] | None = None


class InterpolateSlices(_Edit, frozen=True, tag="interpolate_slices"):
    """Contours of the slices between two."""

    structure: StructureKey
    phase: Index
    first: Index = msgspec.field(name="from")
    last: Index = msgspec.field(name="to")
    all_phases: bool = False


class Grow(_Edit, frozen=True, tag="grow"):
    """A contour moved outwards or inwards along its normals."""

    structure: StructureKey
    phase: Index
    slice: Index
    mm: Annotated[float, Meta(ge=-50, le=50)]
    reach: Reach = "frame"


class Shift(_Edit, frozen=True, tag="shift"):
    """A contour moved as a whole."""

    phase: Index
    slice: Index
    dx: Annotated[float, Meta(ge=-1000, le=1000)]
    dy: Annotated[float, Meta(ge=-1000, le=1000)]
    structure: StructureKey | None = None
    reach: Reach = "frame"


class Base(_Edit, frozen=True, tag="base"):
    """The first slice that counts at the base, at ED and at ES, with linear motion between."""

    ed_slice: Index
    es_slice: Index


class Papillary(_Edit, frozen=True, tag="papillary"):
    """Whether papillary muscles, where they are drawn, count as cavity."""

    included: bool


class Phases(_Edit, frozen=True, tag="phases"):
    """ED and ES; null: from the volume curve; left out: as it is."""

    ed_phase: Index | None | msgspec.UnsetType = msgspec.UNSET
    es_phase: Index | None | msgspec.UnsetType = msgspec.UNSET


Edit = SetContour | Delete | Copy | InterpolatePhases | InterpolateSlices | Grow | Shift | Base | Papillary | Phases


class _Body(Struct, frozen=True, forbid_unknown_fields=True):
    """A body of a request."""


class EditBody(_Body, frozen=True):
    """An edit of a version."""

    version: Index
    edit: Edit
    by: Name = ""


class VersionBody(_Body, frozen=True):
    """Undo, redo, include."""

    version: Index
    by: Name = ""


class PreviewBody(_Body, frozen=True):
    """A contour whose numbers are asked for."""

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
    """An exam that is not approved."""

    version: Index
    by: Annotated[str, Meta(min_length=1, max_length=60)]
    comment: Text = ""


class ExcludeBody(_Body, frozen=True):
    """An exam that is not to be used."""

    version: Index
    reason: Annotated[str, Meta(min_length=1, max_length=400)]
    by: Name = ""


class HereBody(_Body, frozen=True):
    """A window that shows an exam."""

    window: Annotated[str, Meta(min_length=1, max_length=80)]


class PathBody(_Body, frozen=True):
    """An exam, results or a folder of them to add."""

    path: Annotated[str, Meta(min_length=1, max_length=4000)]


class SeriesBody(_Body, frozen=True):
    """Another series of the exam to analyze."""

    version: Index
    series: Index
    by: Name = ""


class Empty(Struct, frozen=True):
    """A body without content."""


Kind = TypeVar("Kind")


class BadBodyError(Exception):
    """A body that is not JSON, or not of its type; the message is one line."""


def parsed(body: bytes, kind: type[Kind]) -> Kind:
    """The body of a request as a type.

    Raises:
        BadBodyError: it does not fit.
    """
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    # RecursionError: brackets in brackets; ValueError: numbers of thousands of digits.
    except (msgspec.MsgspecError, RecursionError, ValueError, OverflowError) as error:
        raise BadBodyError(f"the body does not fit: {error}") from error
