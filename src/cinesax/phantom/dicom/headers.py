"""Oddities of headers and file names, for every make; the images do not change."""

import hashlib
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

import pydicom
from pydicom import config
from pydicom.uid import UID, EnhancedMRImageStorage

from cinesax.core.errors import UsageError
from cinesax.dicom.uid import derived_uid
from cinesax.phantom.dicom.parts import as_ds, time_of_day

Instances = Sequence[pydicom.Dataset]


class HeaderOddity(StrEnum):
    """An oddity of headers or file names; the value is the name on the command line."""

    ANONYMISED = "anonymised"
    """Like the public Sunnybrook exams: each file has its own frame of reference, UIDs have leading zeros, dates are
    not valid, SliceLocation steps are shorter than the slice distance."""
    PATIENT_MOVED = "patient-moved"
    """Two frames of reference: the patient was repositioned between two halves of the stack."""
    COUNTED_BACKWARDS = "counted-backwards"
    """InstanceNumber runs opposite to the slices and to time."""
    NO_TRIGGER_TIMES = "no-trigger-times"
    """No attributes of the beat; AcquisitionTime increases from phase to phase."""
    INSTANCE_NUMBERS_ONLY = "instance-numbers-only"
    """No attributes of the beat, and all times are the same: only InstanceNumber distinguishes phases."""
    NO_SUFFIX = "no-suffix"
    """Names without suffix, in random order, spread over folders."""
    DICOMDIR = "dicomdir"
    """As on a medium: folders of patient, study and series, and a DICOMDIR that lists them."""


_BEAT = (
    "TriggerTime",
    "NominalInterval",
    "HeartRate",
    "CardiacNumberOfImages",
    "TemporalPositionIdentifier",
    "NumberOfTemporalPositions",
)
_CLASSIC_ONLY = {
    HeaderOddity.PATIENT_MOVED,
    HeaderOddity.COUNTED_BACKWARDS,
    HeaderOddity.NO_TRIGGER_TIMES,
    HeaderOddity.INSTANCE_NUMBERS_ONLY,
}
_SHORT_STEP = 0.67


def spoil(instances: Instances, oddities: Collection[HeaderOddity]) -> None:
    """Change the headers of instances in place.

    Raises:
        UsageError: enhanced instances cannot have this oddity.
    """
    enhanced = any(instance.SOPClassUID == EnhancedMRImageStorage for instance in instances)
    for oddity, change in _CHANGES.items():
        if oddity in oddities:
            if enhanced and oddity in _CLASSIC_ONLY:
                raise UsageError(f"enhanced instances cannot be {oddity}: choose another vendor")
            # Invalid values are intended here, but pydicom warns about existing elements even so.
            with config.disable_value_validation(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                change(instances)


def _put(instance: pydicom.Dataset, keyword: str, value: object) -> None:
    """Replace an element: instances of a series share elements, and changing one would change all."""
    if keyword in instance:
        delattr(instance, keyword)
    setattr(instance, keyword, value)


def _anonymise(instances: Instances) -> None:
    study = "1.2.826.0.1.012"
    series: dict[str, str] = {}
    for index, instance in enumerate(instances):
        series.setdefault(instance.SeriesInstanceUID, f"{study}.0{len(series) + 3}")
        _put(instance, "StudyInstanceUID", study)
        _put(instance, "SeriesInstanceUID", series[instance.SeriesInstanceUID])
        _put(instance, "SOPInstanceUID", f"{study}.07.0{index + 1}")
        instance.file_meta.MediaStorageSOPInstanceUID = UID(instance.SOPInstanceUID)
        _put(instance, "FrameOfReferenceUID", f"{study}.09.0{index + 1}")
        for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
            if keyword in instance:
                _put(instance, keyword, "20240000")
        _put(instance, "PatientBirthDate", "00000000")
        if "SliceLocation" in instance:
            _put(instance, "SliceLocation", as_ds(_SHORT_STEP * float(instance.SliceLocation)))


def _move(instances: Instances) -> None:
    heights = sorted({float(instance.SliceLocation) for instance in instances})
    middle = heights[len(heights) // 2]
    for instance in instances:
        if float(instance.SliceLocation) >= middle:
            _put(instance, "FrameOfReferenceUID", derived_uid(instance.FrameOfReferenceUID, "again"))


def _count_backwards(instances: Instances) -> None:
    last: dict[str, int] = {}
    for instance in instances:
        uid = instance.SeriesInstanceUID
        last[uid] = max(last.get(uid, 0), int(instance.InstanceNumber))
    for instance in instances:
        _put(instance, "InstanceNumber", last[instance.SeriesInstanceUID] + 1 - int(instance.InstanceNumber))


def _forget_the_beat(instances: Instances, *, step_s: float) -> None:
    for index, instance in enumerate(instances):
        for keyword in _BEAT:
            if keyword in instance:
                delattr(instance, keyword)
        _put(instance, "ScanOptions", "")
        _put(instance, "AcquisitionTime", time_of_day(index * step_s))
        _put(instance, "ContentTime", time_of_day(60))


# In the order of application: counting backwards must see the final numbers.
_CHANGES: Mapping[HeaderOddity, Callable[[Instances], None]] = {
    HeaderOddity.NO_TRIGGER_TIMES: lambda instances: _forget_the_beat(instances, step_s=1.5),
    HeaderOddity.INSTANCE_NUMBERS_ONLY: lambda instances: _forget_the_beat(instances, step_s=0.0),
    HeaderOddity.PATIENT_MOVED: _move,
    HeaderOddity.COUNTED_BACKWARDS: _count_backwards,
    HeaderOddity.ANONYMISED: _anonymise,
}


def file_name(instance: pydicom.Dataset, oddities: Collection[HeaderOddity]) -> Path:
    """The path of an instance in the folder of its series."""
    plain = f"IM-{int(instance.SeriesNumber):04d}-{int(instance.InstanceNumber):04d}"
    if HeaderOddity.NO_SUFFIX not in oddities:
        return Path(f"{plain}.dcm")
    scrambled = hashlib.sha256(str(instance.SOPInstanceUID).encode()).hexdigest().upper()
    return Path(scrambled[:1], scrambled[1:9])
