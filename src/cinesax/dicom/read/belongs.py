"""Which study and patient a DICOM file belongs to: its first elements, and nothing else of it."""

from dataclasses import dataclass
from typing import BinaryIO

from cinesax.dicom.read.elements import raw_value, text
from cinesax.dicom.read.header import DICOMDIR, inflated, refuse_other_files, understanding
from cinesax.dicom.read.parse import parse_file

_SOP_CLASS, _INSTANCE, _PATIENT, _STUDY = 0x00080016, 0x00080018, 0x00100020, 0x0020000D
_WANTED = (_SOP_CLASS, _INSTANCE, _PATIENT, _STUDY)


@dataclass(frozen=True, slots=True)
class Belonging:
    """Whose a file is; None for what it does not say.

    Attributes:
        study_uid: StudyInstanceUID.
        patient_id: PatientID.
        instance_uid: SOPInstanceUID.
        is_directory: whether it is a DICOMDIR, which belongs to nobody.
    """

    study_uid: str | None
    patient_id: str | None
    instance_uid: str | None
    is_directory: bool = False


def belonging(stream: BinaryIO) -> Belonging:
    """Read whose a file is.

    Args:
        stream: at its start, seekable.

    Raises:
        NotDicomError: the bytes are not a DICOM file, or are damaged before these elements.
    """
    with understanding():
        refuse_other_files(stream)
        parsed = parse_file(inflated(stream), _WANTED, last=_STUDY)
        elements = parsed.elements
        sop_class = text(*raw_value(elements, _SOP_CLASS)) or text(*raw_value(parsed.meta, 0x00020002))
        return Belonging(
            text(*raw_value(elements, _STUDY)),
            text(*raw_value(elements, _PATIENT)),
            text(*raw_value(elements, _INSTANCE)),
            is_directory=sop_class == DICOMDIR,
        )
