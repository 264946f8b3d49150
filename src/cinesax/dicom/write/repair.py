"""Copies of source images with valid UIDs, for archives and tools that refuse those of the exam.

By default invalid UIDs are kept: an archive that holds the exam knows it by them. An archive that refuses them needs
copies of the images too: otherwise the objects would refer to images that do not exist.
"""

import csv
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO, StringIO
from pathlib import Path

import pydicom
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID, ImplicitVRLittleEndian

from cinesax.core.cine import Cine, StoredFile
from cinesax.core.errors import InputError
from cinesax.dicom.copied import decoded, encoded, lenient
from cinesax.dicom.read.elements import clean
from cinesax.dicom.read.header import DICOM_ERRORS
from cinesax.dicom.read.series import valid_date, valid_uid
from cinesax.dicom.uid import derived_uid
from cinesax.dicom.write.options import IMAGES_NAME, UID_MAP_NAME
from cinesax.files.stored_files import opener

_SOP_INSTANCE_UID = 0x00080018


def repair_uids(cine: Cine, folder: Path) -> Cine:
    """Write copies of the source images with valid UIDs, and a table of old and new UIDs, if any are not valid.

    An invalid UID becomes "2.25." and a hash of it, wherever it occurs. A SOPInstanceUID that is missing, or that
    several files share, becomes a hash of it and of the bytes of its file. In copies
    and objects, a PatientBirthDate that is no date becomes empty, and an absent PatientBirthDate or
    ReferringPhysicianName is added empty: the standard requires both, empty or not. Everything else is unchanged.

    Args:
        cine: the cine read from DICOM.
        folder: where to write the folder of the images and the table.

    Returns:
        The cine as read from the copies; the same cine if all UIDs are valid.

    Raises:
        InputError: a source image can no longer be read.
        OSError: the copies cannot be written.
    """
    names = _Names(cine)
    if not names.are_needed:
        return cine
    (folder / IMAGES_NAME).mkdir()
    with opener() as open_file, lenient():
        for number, file in enumerate(names.stored, start=1):
            name = f"{number:05d}.dcm"
            try:
                with open_file(file) as stream:
                    copy = _copy(stream.read(), names, file, name)
            except DICOM_ERRORS as error:
                raise InputError(f"{file} cannot be copied: {error}") from error
            (folder / IMAGES_NAME / name).write_bytes(copy)
    (folder / UID_MAP_NAME).write_text(names.table(), encoding="utf-8")
    return _renamed(cine, names)


class _Names:
    """The new UID for each old one, and the table of both.

    Attributes:
        stored: the SOPInstanceUID of each file of the cine, slice by slice.
        own: the new SOPInstanceUID of each copied file.
    """

    def __init__(self, cine: Cine) -> None:
        source = cine.source
        self.stored: dict[StoredFile, str] = {
            source.files[phase][place]: source.instance_uids[phase][place]
            for place in range(cine.n_slices)
            for phase in range(cine.n_phases)
        }
        self.own: dict[StoredFile, str] = {}
        self._shared = {uid for uid, count in Counter(self.stored.values()).items() if count > 1}
        self._digest = hashlib.sha256(cine.pixels.tobytes()).hexdigest()
        self._rows: dict[tuple[str, str, str, str], None] = {}
        frames = [source.frame_of_reference_uid] if source.frame_of_reference_uid else []
        uids = (source.study_uid, *source.series_uids, *self.stored.values(), *frames)
        self.are_needed = bool(self._shared) or not all(map(valid_uid, uids))

    def new(self, old: str) -> str:
        """The UID to use instead of one that may not be valid."""
        return old if valid_uid(old) else derived_uid(old)

    def series_or_study(self, old: str | None, what: str) -> str:
        """The same; if there is no UID, one derived from the pixels."""
        return self.new(old) if old else derived_uid(what, self._digest)

    def instance(self, file: StoredFile, data: bytes) -> str:
        """The SOPInstanceUID of the copy of a file."""
        old = self.stored[file]
        alone = bool(old) and old not in self._shared
        self.own[file] = self.new(old) if alone else derived_uid(old, hashlib.sha256(data).hexdigest())
        return self.own[file]

    def note(self, attribute: str, old: str, new: str, copy: str = "") -> None:
        """Add a row to the table if something changed; `copy` is the file concerned."""
        if old != new:
            self._rows[attribute, old, new, copy] = None

    def table(self) -> str:
        """Old and new UIDs as CSV."""
        text = StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(("attribute", "old", "new", "copy"))
        rows.writerows(self._rows)
        return text.getvalue()


def _copy(data: bytes, names: _Names, file: StoredFile, name: str) -> bytes:
    dataset = pydicom.dcmread(BytesIO(data), force=True)
    own = names.instance(file, data)
    names.note("SOPInstanceUID", names.stored[file], own, name)
    for inner, tag in _uid_elements(dataset):
        _rename(inner, tag, names)
    for keyword, what in (("StudyInstanceUID", "study"), ("SeriesInstanceUID", "series")):
        if not dataset.get(keyword):
            setattr(dataset, keyword, names.series_or_study(None, what))
            names.note(keyword, "", dataset[keyword].value)
    if dataset.get("SOPInstanceUID") != own:
        dataset[_SOP_INSTANCE_UID] = DataElement(_SOP_INSTANCE_UID, "UI", own)
    _complete(dataset)
    meta = dataset.file_meta
    meta.MediaStorageSOPInstanceUID = UID(own)
    meta.setdefault("MediaStorageSOPClassUID", dataset.SOPClassUID)
    meta.setdefault("TransferSyntaxUID", ImplicitVRLittleEndian)
    copy = BytesIO()
    dataset.save_as(copy, enforce_file_format=True)
    return copy.getvalue()


def _uid_elements(dataset: Dataset) -> Iterator[tuple[Dataset, BaseTag]]:
    """For each public UID element: its data set (or sequence item) and its tag."""
    for tag in list(dataset.keys()):
        item = dataset.get_item(tag)
        if item is None or tag.is_private:
            continue
        vr = item.VR or (dictionary_VR(tag) if dictionary_has_tag(tag) else None)
        if vr == "UI":
            yield dataset, tag
        elif vr == "SQ":
            for inner in dataset[tag].value:
                yield from _uid_elements(inner)


def _rename(dataset: Dataset, tag: BaseTag, names: _Names) -> None:
    element = dataset[tag]
    old = [clean(str(uid)) for uid in (element.value if element.VM > 1 else [element.value or ""])]
    made = [names.new(uid) if uid else uid for uid in old]
    if made == old:
        return
    dataset[tag] = DataElement(tag, "UI", made if len(made) > 1 else made[0])
    if tag != _SOP_INSTANCE_UID:
        for before, after in zip(old, made, strict=True):
            names.note(element.keyword, before, after)


def _complete(dataset: Dataset) -> None:
    """Give a data set the attributes of type 2 that anonymisers remove or fill with zeros: empty if unknown."""
    if not valid_date(clean(str(dataset.get("PatientBirthDate") or ""))):
        dataset.PatientBirthDate = ""
    if "ReferringPhysicianName" not in dataset:
        dataset.ReferringPhysicianName = ""


def _renamed(cine: Cine, names: _Names) -> Cine:
    source = cine.source
    with lenient():
        copied = decoded(source.copied)
        for inner, tag in _uid_elements(copied):
            _rename(inner, tag, names)
        copied.StudyInstanceUID = names.series_or_study(source.study_uid, "study")
        _complete(copied)
        kept = encoded(copied)
    renamed = replace(
        source,
        study_uid=names.series_or_study(source.study_uid, "study"),
        series_uids=tuple(names.series_or_study(uid, "series") for uid in source.series_uids),
        instance_uids=tuple(tuple(names.own[file] for file in phase) for phase in source.files),
        frame_series_uids=tuple(
            tuple(names.series_or_study(uid, "series") for uid in phase) for phase in source.frame_series_uids
        ),
        frame_of_reference_uid=names.new(source.frame_of_reference_uid) if source.frame_of_reference_uid else None,
        copied=kept,
    )
    return replace(cine, source=renamed)
