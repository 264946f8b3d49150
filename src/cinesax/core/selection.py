"""The user's choices: what to read from a path, and which values replace those of the exam or of its volume curve.

Both are values that the command line passes down to the code that uses them. `analyze` and `open_cine` also accept
their fields by name: `analyze("EXAM", ed_phase=3)` is short for `analyze("EXAM", overrides=Overrides(ed_phase=3))`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, Final, TypedDict

from cinesax.core.errors import UsageError


class NiftiGeometry(StrEnum):
    """Which part of a NIfTI header gives position and spacing, if its parts disagree."""

    SFORM = "sform"
    """The affine of sform."""
    QFORM = "qform"
    """The affine of qform."""
    PIXDIM = "pixdim"
    """Only the spacing of pixdim: the position of the image is then unknown."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What to read from a path that holds several series, studies or patients, or that contradicts itself.

    Attributes:
        series_uid: the DICOM series to read, whatever its kind; None: choose automatically.
        study_uid: the study to read, if there are several.
        patient_id: the PatientID of the images to read, if there are several patients.
        ignore_frame_of_reference: read slices with different frames of reference as one stack, although the patient may
            have moved between them.
        nifti_geometry: the part of a NIfTI header to use (of the exam and of its segmentation), if its parts contradict
            each other; a name such as "sform" is accepted too.

    Raises:
        UsageError: no part of a NIfTI header has this name.
    """

    series_uid: str | None = None
    study_uid: str | None = None
    patient_id: str | None = None
    ignore_frame_of_reference: bool = False
    nifti_geometry: NiftiGeometry | None = None

    def __post_init__(self) -> None:
        if self.nifti_geometry is None:
            return
        if self.nifti_geometry not in set(NiftiGeometry):
            raise UsageError(f"the geometry of a NIfTI file is sform, qform or pixdim, seen {self.nifti_geometry}")
        object.__setattr__(self, "nifti_geometry", NiftiGeometry(self.nifti_geometry))

    @property
    def names_dicom(self) -> bool:
        """Whether the selection names a series, study or patient, which only DICOM has."""
        return (self.series_uid, self.study_uid, self.patient_id) != (None, None, None)


@dataclass(frozen=True, slots=True)
class Overrides:
    """Values to use instead of those in the exam or those derived from its volumes.

    Attributes:
        ed_phase: end diastole (0-based) instead of the phase of largest volume.
        es_phase: end systole (0-based) instead of the phase of smallest volume.
        height_cm: body height instead of the source's.
        weight_kg: body weight instead of the source's.
        papillary_muscles_included: whether the cavity of a given segmentation includes the papillary muscles; None: as
            a DICOM segmentation says, else included. Volumes are those of the drawn cavity; outputs name the
            convention.
    """

    ed_phase: int | None = None
    es_phase: int | None = None
    height_cm: float | None = None
    weight_kg: float | None = None
    papillary_muscles_included: bool | None = None


@dataclass(frozen=True, slots=True)
class LabelReading:
    """What a file of labels or contours does not say itself.

    Attributes:
        labels: the meaning of its numbers ("acdc", "lv=3,myo=2,rv=1": see `formats.label_numbers.parse_labels`), or
            None.
        phase: the phase (0-based) of a file that holds only one phase, or None.
        nifti_geometry: the part of a NIfTI header to use, or None.
    """

    labels: str | None = None
    phase: int | None = None
    nifti_geometry: NiftiGeometry | None = None


AS_IT_SAYS: Final = LabelReading()
"""The file says everything itself."""

BY_ITSELF: Final = Selection()
"""No choice: the short-axis cine is picked automatically."""

NO_OVERRIDES: Final = Overrides()
"""Nothing is overridden."""


class SelectionFields(TypedDict, total=False):
    """The fields of a Selection as keyword arguments."""

    series_uid: str | None
    study_uid: str | None
    patient_id: str | None
    ignore_frame_of_reference: bool
    nifti_geometry: str | None


class ChoiceFields(SelectionFields, total=False):
    """The fields of a Selection and of Overrides, as keyword arguments."""

    ed_phase: int | None
    es_phase: int | None
    height_cm: float | None
    weight_kg: float | None
    papillary_muscles_included: bool | None


def selection_of(selection: Selection | None, choices: Mapping[str, object]) -> Selection:
    """The selection with the fields replaced that were given by name; other names are ignored."""
    return replace(selection or BY_ITSELF, **_part(choices, Selection))


def overrides_of(overrides: Overrides | None, choices: Mapping[str, object]) -> Overrides:
    """The overrides with the fields replaced that were given by name; other names are ignored."""
    return replace(overrides or NO_OVERRIDES, **_part(choices, Overrides))


def refuse_others(function: str, choices: Mapping[str, object], *kinds: type) -> None:
    """Raise TypeError, as Python does, for a keyword argument that is not a field of these classes."""
    known = {field.name for kind in kinds for field in fields(kind)}
    other = next((name for name in choices if name not in known), None)
    if other is not None:
        raise TypeError(f"{function}() got an unexpected keyword argument {other!r}")


def _part(choices: Mapping[str, object], kind: type) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in choices.items() if name in names}
