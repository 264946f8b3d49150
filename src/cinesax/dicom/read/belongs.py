"""Which study and patient a DICOM file belongs to: its first elements, and nothing else of it."""

from dataclasses import dataclass
from typing import BinaryIO

from cinesax.dicom.read.elements import text
from cinesax.dicom.read.header import DICOMDIR, inflated, refuse_other_files, understanding
from cinesax.dicom.read.parse import first_values, parse_file

_META_SOP_CLASS = 0x00020002
_SOP_CLASS, _INSTANCE, _PATIENT, _STUDY = 0x00080016, 0x00080018, 0x00100020, 0x0020000D
_WANTED = frozenset((_META_SOP_CLASS, _SOP_CLASS, _INSTANCE, _PATIENT, _STUDY))
# Nearly every file names its study within them.
_START_BYTES = 8192


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
    values = first_values(stream.read(_START_BYTES), _WANTED, _STUDY)
    if values is None:
        stream.seek(0)
        values = _values(stream)

    def of(tag: int) -> str | None:
        return text(values.get(tag, b""), True)

    sop_class = of(_SOP_CLASS) or of(_META_SOP_CLASS)
    return Belonging(of(_STUDY), of(_PATIENT), of(_INSTANCE), is_directory=sop_class == DICOMDIR)


def _values(stream: BinaryIO) -> dict[int, bytes]:
    """The values of a file that is not like most."""
    with understanding():
        refuse_other_files(stream)
        parsed = parse_file(inflated(stream), _WANTED, last=_STUDY)
    return {tag: element.value for tag, element in (*parsed.meta.items(), *parsed.elements.items())}
