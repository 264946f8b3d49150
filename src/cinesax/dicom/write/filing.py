"""What all DICOM objects made from an Analysis have in common: patient, study, UIDs and names.

    filing = file_under(analysis, content_time=None)    patient, study, new UIDs: once for all objects of one analysis
    sources = source_images(analysis.cine, filing)      (phase, slice) headers that highdicom takes for its references
    dataset = highdicom.SomeObject(..., **describe(filing, ObjectKind.SEG))
    finish(dataset, filing) patient and study as in the source; no clock times
    data = to_bytes(dataset)                            the file

Do all this, including the constructor of highdicom, inside one `with lenient():`, because UIDs and dates of real exams
are copied even if they are not valid. The same analysis gives the same bytes.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from enum import Enum
from io import BytesIO
from typing import Any

import numpy as np
from pydicom import uid as uids
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import correct_ambiguous_vr

from cinesax._version import __version__
from cinesax.core.analysis import Analysis
from cinesax.core.cine import Cine
from cinesax.core.errors import GeometryError, InputError
from cinesax.dicom.copied import CONTEXT, DATED, PATIENT, STUDY, copied_elements, decoded, keep_bytes, lenient
from cinesax.dicom.read.header import ENHANCED_MR_IMAGE, MR_IMAGE
from cinesax.dicom.read.series import valid_date
from cinesax.dicom.uid import derived_uid

NO_TIME = datetime(1900, 1, 1)
"""The content time of objects whose source has no valid date: a time earlier than any exam."""

_TYPE_2 = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
)


class ObjectKind(Enum):
    """The kinds of objects, each a series of its own: Modality, SeriesNumber, SeriesDescription."""

    SEG = ("SEG", 7001, "cinesax left ventricle, segmentation")
    SR = ("SR", 7002, "cinesax left ventricle, measurements")
    RTSTRUCT = ("RTSTRUCT", 7003, "cinesax left ventricle, contours")
    PDF = ("DOC", 7004, "cinesax left ventricle, report")
    CAPTURE = ("OT", 7005, "cinesax left ventricle, pictures")

    @property
    def modality(self) -> str:
        """Modality."""
        return self.value[0]

    @property
    def series_number(self) -> int:
        """SeriesNumber: far above those of scanners."""
        return self.value[1]

    @property
    def description(self) -> str:
        """SeriesDescription."""
        return self.value[2]


@dataclass(frozen=True, eq=False)
class Filing:
    """Where the objects of one analysis are filed, and the basis of their UIDs.

    Attributes:
        copied: patient, study and dates of the source (`cinesax.dicom.copied.decoded` turns it into a data set).
        content: ContentDate and ContentTime of every object.
        digest: hash of everything that the objects are made from (see `file_under`).
        study_uid: StudyInstanceUID, as in the source.
        frame_of_reference_uid: the one that all frames share, as in the source, else one derived from the study.
        source_class_uid: SOPClassUID of the source instances.
    """

    copied: bytes
    content: datetime
    digest: str
    study_uid: str
    frame_of_reference_uid: str
    source_class_uid: str

    def uid(self, *what: object) -> str:
        """A new valid UID for an object of this analysis, for example `filing.uid("seg_ed.dcm", "BINARY")`.

        The same analysis and the same words give the same UID. Pass every option that changes the object and is not
        part of the analysis.
        """
        return derived_uid(self.digest, *what)

    def series_uid(self, kind: ObjectKind) -> str:
        """SeriesInstanceUID of all objects of one kind."""
        return self.uid("series", kind.modality)


def file_under(analysis: Analysis, *, content_time: datetime | None = None) -> Filing:
    """The Filing of the objects of an analysis.

    Args:
        analysis: the analysis of an exam read from DICOM.
        content_time: when the content was made; None takes the newest valid date of the source, or NO_TIME if it has
            none. The clock is never used: the same input gives the same bytes.

    Returns:
        The Filing. Its digest is the SHA-256 of source UIDs, patient and study attributes, geometry, masks,
        contours, measurements (and with them every option), model, software version and content time.

    Raises:
        InputError: the exam was not read from DICOM, or its instances have no SOPInstanceUID to refer to.
        GeometryError: an exam without geometry.
    """
    cine, source = analysis.cine, analysis.cine.source
    if not source.copied:
        raise InputError("DICOM objects need a DICOM exam: this one has no patient and study to file them under")
    if cine.grid is None:
        raise GeometryError("DICOM objects need the positions of the pixels: this exam has no geometry")
    if problem := reference_problem(cine):
        raise InputError(problem)
    copied = decoded(source.copied)
    content = content_time or newest_time(copied) or NO_TIME
    study = source.study_uid or derived_uid("study", *(uid for phase in source.instance_uids for uid in phase))
    return Filing(
        source.copied,
        content,
        _digest(analysis, content),
        study,
        source.frame_of_reference_uid or derived_uid(study, "frame of reference"),
        source.sop_class_uid or (ENHANCED_MR_IMAGE if source.frame_numbers else MR_IMAGE),
    )


def reference_problem(cine: Cine) -> str | None:
    """Why DICOM objects cannot refer to the frames of a cine, as text; None if they can.

    The cine must have been read from DICOM.
    """
    source = cine.source
    uids = [uid for phase in source.instance_uids for uid in phase]
    if not uids or not all(uids):
        return "some instances of this exam have no SOPInstanceUID: DICOM objects cannot refer to them"
    frames = source.files or source.instance_uids
    numbers = source.frame_numbers or ((1,) * cine.n_slices,) * cine.n_phases
    # A frame may be used in several phases; two frames must not have one name.
    named: dict[tuple[str, int], set[object]] = {}
    for phase in range(cine.n_phases):
        for place in range(cine.n_slices):
            key = source.instance_uids[phase][place], numbers[phase][place]
            named.setdefault(key, set()).add((frames[phase][place], place))
    shared = sum(len(frames) for frames in named.values() if len(frames) > 1)
    if not shared:
        return None
    return (
        f"{shared} frames of this exam share their SOPInstanceUID with another one: DICOM objects cannot refer to them"
    )


def newest_time(copied: Dataset) -> datetime | None:
    """The newest valid date of a source instance, with its time (midnight if the time is not valid)."""
    times = [_moment(text_of(copied, day), text_of(copied, time)) for day, time in DATED]
    stamp = text_of(copied, "AcquisitionDateTime")
    times.append(_moment(stamp[:8], stamp[8:21]))
    return max((time for time in times if time is not None), default=None)


def _moment(day: str, time: str) -> datetime | None:
    if valid_date(day) is None:
        return None
    match = re.match(r"(\d\d)(\d\d)?(\d\d)?(?:\.(\d{1,6}))?", time.replace(":", ""))
    hour, minute, second, fraction = match.groups("0") if match else ("0",) * 4
    date = datetime(int(day[:4]), int(day[4:6]), int(day[6:]))
    try:
        return date.replace(
            hour=int(hour), minute=int(minute), second=int(second), microsecond=int(fraction.ljust(6, "0"))
        )
    except ValueError:
        return date


def text_of(dataset: Dataset, keyword: str) -> str:
    """A text without padding; undecoded text stays undecoded; "" if there is none."""
    element = dataset.get_item(keyword)
    value = None if element is None else element.value
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value or "")
    return text.strip(" \0")


def _digest(analysis: Analysis, content: datetime) -> str:
    cine, segmentation = analysis.cine, analysis.segmentation
    source, made = cine.source, analysis.provenance
    hashed = hashlib.sha256()
    for part in (
        (source.study_uid, source.series_uids, source.instance_uids, source.frame_numbers, source.copied),
        (source.frame_of_reference_uid, cine.grid, cine.trigger_times_ms),
        (segmentation.labels, segmentation.known_phases, segmentation.contours, segmentation.author),
        segmentation.papillary_muscles_included,
        analysis.measurements,
        (made.software, made.model, made.model_checksum, made.segmentation_source, content.isoformat()),
    ):
        _feed(hashed, part)
    if analysis.approval is not None:
        # A version of its own, even where nothing was corrected.
        _feed(hashed, (analysis.approval, segmentation.origins))
    return hashed.hexdigest()


def _feed(hashed: "hashlib._Hash", value: object) -> None:
    """Add a value to a hash, so that different values add different bytes."""
    if is_dataclass(value) and not isinstance(value, type):
        _feed(hashed, {item.name: getattr(value, item.name) for item in fields(value)})
    elif isinstance(value, Mapping):
        _feed(hashed, tuple(value.items()))
    elif isinstance(value, list | tuple):
        hashed.update(f"[{len(value)}".encode())
        for item in value:
            _feed(hashed, item)
    elif isinstance(value, np.ndarray):
        hashed.update(f"a{value.dtype.str}{value.shape}".encode())
        hashed.update(np.ascontiguousarray(value).data)
    else:
        data = value if isinstance(value, bytes) else repr(value).encode()
        hashed.update(f"v{len(data)}:".encode() + data)


def series_of_frames(cine: Cine) -> tuple[tuple[str, ...], ...]:
    """(phase, slice): SeriesInstanceUID of every frame."""
    source = cine.source
    series_uid = next(iter(source.series_uids), "") or derived_uid(source.study_uid, "series")
    return source.frame_series_uids or ((series_uid,) * cine.n_slices,) * cine.n_phases


def source_images(cine: Cine, filing: Filing) -> list[list[Dataset]]:
    """Data sets for the source images and evidence of highdicom, made from the Cine: no file is read, no pixels.

    Returns:
        [phase][slice]: data sets of classic images, with UIDs, position and size of each frame. Frames of one
        enhanced (multi-frame) instance share its SOPInstanceUID: an evidence list takes each instance once.
    """
    grid = cine.grid
    if grid is None:
        raise GeometryError("DICOM objects need the positions of the pixels: this exam has no geometry")
    series = series_of_frames(cine)
    shared = Dataset()
    for keyword in _TYPE_2:
        setattr(shared, keyword, "")
    shared.SOPClassUID = filing.source_class_uid
    shared.Modality = "MR"
    shared.StudyInstanceUID = filing.study_uid
    shared.FrameOfReferenceUID = filing.frame_of_reference_uid
    shared.PositionReferenceIndicator = text_of(decoded(filing.copied), "PositionReferenceIndicator")
    shared.Rows, shared.Columns = grid.shape[1:]
    shared.PixelSpacing = [float(value) for value in grid.spacing_mm]
    shared.SliceThickness = cine.source.slice_thickness_mm or grid.slice_distance_mm or 1.0
    shared.ImageOrientationPatient = [*map(float, grid.along_row), *map(float, grid.along_column)]
    shared.file_meta = FileMetaDataset()
    shared.file_meta.TransferSyntaxUID = uids.ExplicitVRLittleEndian
    return [
        [_source_image(cine, shared, series[phase][place], frame=(phase, place)) for place in range(cine.n_slices)]
        for phase in range(cine.n_phases)
    ]


def _source_image(cine: Cine, shared: Dataset, series_uid: str, *, frame: tuple[int, int]) -> Dataset:
    phase, place = frame
    image = Dataset()
    image.update(shared)
    image.file_meta = shared.file_meta
    image.SeriesInstanceUID = series_uid
    image.SOPInstanceUID = cine.source.instance_uids[phase][place]
    if cine.grid is not None:
        image.ImagePositionPatient = [float(value) for value in cine.grid.origins_mm[place]]
    return image


def reference(cine: Cine, filing: Filing, phase: int, place: int) -> Dataset:
    """An item that refers to the source of one frame: class, instance and, in a multi-frame instance, frame number."""
    item = Dataset()
    item.ReferencedSOPClassUID = filing.source_class_uid
    item.ReferencedSOPInstanceUID = cine.source.instance_uids[phase][place]
    if cine.source.frame_numbers:
        item.ReferencedFrameNumber = cine.source.frame_numbers[phase][place]
    return item


def describe(filing: Filing, kind: ObjectKind) -> dict[str, Any]:
    """Arguments for every highdicom constructor, except the instance UID: series, equipment, content time."""
    return {
        "series_instance_uid": filing.series_uid(kind),
        "series_number": kind.series_number,
        "series_description": kind.description,
        "manufacturer": "cinesax",
        "manufacturer_model_name": "cinesax",
        "software_versions": __version__,
        "device_serial_number": __version__,
        "content_date": filing.content.date(),
        "content_time": filing.content.time(),
        "transfer_syntax_uid": uids.ExplicitVRLittleEndian,
    }


def finish(dataset: Dataset, filing: Filing) -> None:
    """Insert patient and study as in the source, and remove all times taken from the clock.

    Required attributes that the source lacks become empty. Texts of the object itself must be ASCII:
    SpecificCharacterSet is that of the source.
    """
    for keyword in (*CONTEXT, *PATIENT, *STUDY, "InstanceCreationDate", "InstanceCreationTime"):
        if keyword in dataset:
            del dataset[keyword]
    for keyword in _TYPE_2:
        setattr(dataset, keyword, "")
    dataset.StudyInstanceUID = filing.study_uid
    for element in copied_elements(decoded(filing.copied), (*CONTEXT, *PATIENT, *STUDY)).values():
        dataset[element.tag] = element
    for equipment in dataset.get("ContributingEquipmentSequence", ()):
        if "ContributionDateTime" in equipment:
            del equipment.ContributionDateTime


def to_bytes(dataset: Dataset) -> bytes:
    """The DICOM file of a data set that highdicom made."""
    stream = BytesIO()
    with lenient():
        correct_ambiguous_vr(dataset, True)
        keep_bytes(dataset)
        dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
