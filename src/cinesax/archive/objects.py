"""The DICOM objects in a folder, in the order in which to send them to an archive."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.uid import UID

from cinesax.core.errors import InputError
from cinesax.dicom.read.header import DICOM_ERRORS, DICOMDIR
from cinesax.files.stored_files import list_files

_PREAMBLE_BYTES = 128
_RT_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
_LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", _LABEL_MAP)
_STRUCTURED_REPORTS = "1.2.840.10008.5.1.4.1.1.88."


@dataclass(frozen=True, slots=True)
class DicomObject:
    """One SOP instance in a file (DICOM part 10), described by the file itself.

    Attributes:
        path: the file.
        sop_class_uid: SOPClassUID.
        sop_instance_uid: SOPInstanceUID, valid or not.
        transfer_syntax_uid: how it is encoded.
    """

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str

    @property
    def kind(self) -> str:
        """The name of its SOP class, as text."""
        if self.sop_class_uid == _LABEL_MAP:
            return "Label Map Segmentation"  # of DICOM 2024d, which pydicom 3.0 does not know
        return UID(self.sop_class_uid).name.removesuffix(" Storage")


def find_objects(path: Path) -> tuple[DicomObject, ...]:
    """The DICOM objects in a folder (any depth), or the one in a file; other files are skipped.

    Returns:
        Referenced objects come first: images, then segmentations and structure sets, then reports.

    Raises:
        InputError: the path does not exist, is not readable or holds no DICOM object; or a DICOM file is damaged.
    """
    read = [_object(file.path) for file in list_files(path) if file.member is None]
    objects = [entry for entry in read if entry is not None]
    if not objects:
        raise InputError(f"{path} holds no DICOM objects to send: write some with cinesax analyze EXAM -o OUT --dicom")
    return tuple(sorted(objects, key=lambda entry: (_rank(entry.sop_class_uid), entry.path)))


def _rank(sop_class_uid: str) -> int:
    if sop_class_uid.startswith(_STRUCTURED_REPORTS):
        return 2
    return 1 if sop_class_uid in (*_SEGMENTATIONS, _RT_STRUCTURE_SET) else 0


def _object(path: Path) -> DicomObject | None:
    try:
        # A pipe or a device would block for ever.
        if not path.is_file():
            return None
        with path.open("rb") as stream:
            if stream.read(_PREAMBLE_BYTES + 4)[_PREAMBLE_BYTES:] != b"DICM":
                return None
            stream.seek(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read = pydicom.dcmread(stream, specific_tags=["SOPClassUID", "SOPInstanceUID"], stop_before_pixels=True)
                identifiers = (read.SOPClassUID, read.SOPInstanceUID, read.file_meta.TransferSyntaxUID)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except DICOM_ERRORS as error:
        if _is_directory(path):
            return None
        raise InputError(f"{path} is a damaged DICOM file ({error}): nothing was sent") from error
    return DicomObject(path, *(str(uid) for uid in identifiers))


def _is_directory(path: Path) -> bool:
    """Whether the file is a DICOMDIR, which lists objects but is not an object."""
    try:
        return str(pydicom.filereader.read_file_meta_info(path).get("MediaStorageSOPClassUID")) == DICOMDIR
    except DICOM_ERRORS:
        return False
