"""What a DICOM object made from an exam copies from its source: patient, study and dates, byte for byte.

An archive files an object by these attributes, so they are copied unchanged, even if they are not valid: correcting a
StudyDate of 20120000 or a UID with a leading zero would put the object into another study.
"""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO

from pydicom import config
from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from cinesax.core.errors import InputError
from cinesax.core.identity import Identifiers
from cinesax.dicom.read.charsets import decode_text
from cinesax.dicom.read.elements import texts
from cinesax.dicom.read.header import DICOM_ERRORS, Header, NotDicomError, inflated
from cinesax.dicom.read.parse import Elements, Encoding, items, parse, parse_file
from cinesax.dicom.verbatim import verbatim
from cinesax.files.stored_files import opener

PATIENT = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "TypeOfPatientID", "IssuerOfPatientIDQualifiersSequence"),
    *("PatientBirthDate", "PatientBirthTime", "PatientBirthDateInAlternativeCalendar", "PatientAlternativeCalendar"),
    *("PatientDeathDateInAlternativeCalendar", "PatientSex", "QualityControlSubject", "OtherPatientIDs"),
    *("OtherPatientIDsSequence", "OtherPatientNames", "ReferencedPatientSequence", "EthnicGroup"),
    *("EthnicGroupCodeSequence", "PatientSpeciesDescription", "PatientSpeciesCodeSequence", "PatientBreedDescription"),
    *("PatientBreedCodeSequence", "BreedRegistrationSequence", "ResponsiblePerson", "ResponsiblePersonRole"),
    *("ResponsibleOrganization", "PatientComments", "PatientIdentityRemoved", "DeidentificationMethod"),
    *("DeidentificationMethodCodeSequence", "ClinicalTrialSponsorName", "ClinicalTrialProtocolID"),
    *("ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName", "ClinicalTrialSubjectID"),
    *("ClinicalTrialSubjectReadingID", "ClinicalTrialProtocolEthicsCommitteeName"),
    "ClinicalTrialProtocolEthicsCommitteeApprovalNumber",
)
"""Attributes of the Patient and Clinical Trial Subject modules (PS3.3, C.7.1.1 and C.7.1.3)."""

STUDY = (
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "IssuerOfAccessionNumberSequence"),
    *("ReferringPhysicianName", "ReferringPhysicianIdentificationSequence", "ConsultingPhysicianName"),
    *("StudyDescription", "ProcedureCodeSequence", "PhysiciansOfRecord", "NameOfPhysiciansReadingStudy"),
    *("ReferencedStudySequence", "RequestingService", "RequestingServiceCodeSequence"),
    *("ReasonForPerformedProcedureCodeSequence", "AdmittingDiagnosesDescription", "AdmittingDiagnosesCodeSequence"),
    *("PatientAge", "PatientSize", "PatientWeight", "PatientBodyMassIndex", "MedicalAlerts", "Allergies"),
    *("Occupation", "SmokingStatus", "AdditionalPatientHistory", "PregnancyStatus", "LastMenstrualDate"),
    *("PatientSexNeutered", "ReasonForVisit", "AdmissionID", "IssuerOfAdmissionIDSequence", "ServiceEpisodeID"),
    *("ServiceEpisodeDescription", "PatientState", "ClinicalTrialTimePointID", "ClinicalTrialTimePointDescription"),
)
"""Attributes of the General Study, Patient Study and Clinical Trial Study modules (C.7.2.1 to C.7.2.3)."""

CONTEXT = ("SpecificCharacterSet", "TimezoneOffsetFromUTC", "LongitudinalTemporalInformationModified")
"""Attributes needed to interpret the values above; left out if empty."""

DATED = (
    ("StudyDate", "StudyTime"),
    ("SeriesDate", "SeriesTime"),
    ("AcquisitionDate", "AcquisitionTime"),
    ("ContentDate", "ContentTime"),
    ("InstanceCreationDate", "InstanceCreationTime"),
)
"""(date, time) attributes of the source instance."""

_NOTED = (
    "SOPClassUID",
    "AcquisitionDateTime",
    "PositionReferenceIndicator",
    *(name for pair in DATED for name in pair),
)


def _tags(keywords: Iterable[str]) -> tuple[int, ...]:
    return tuple(tag for tag in map(tag_for_keyword, keywords) if tag is not None)


_TAGS = _tags((*CONTEXT, *PATIENT, *STUDY, *_NOTED))
_LONGEST = 0xFFFE
# Values of these types have the same bytes in every DICOM encoding.
_TEXT_VRS = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UI", "UC", "UT"})


def read_copied(header: Header) -> bytes:
    """The patient, study and dates of one instance, for `Source.copied`.

    Returns:
        A data set in explicit little endian, without preamble or file meta information: those attributes named in this
        file that the instance has, with the bytes of their values unchanged. Damaged attributes are left out.

    Raises:
        InputError: the file can no longer be read.
    """
    try:
        with opener() as open_file, open_file(header.file) as stream:
            elements = dict(parse_file(inflated(stream), _TAGS).elements)
            for tag in _tags(CONTEXT):
                if tag in elements and not elements[tag].value.strip(b" \0"):
                    del elements[tag]
            return verbatim(elements, _TAGS)
    except (*DICOM_ERRORS, NotDicomError) as error:
        raise InputError(f"{header.file} cannot be read: {error}") from error


def copied_elements(source: Dataset, keywords: tuple[str, ...]) -> Dataset:
    """The attributes that the source has, unchanged: texts undecoded, sequences item by item."""
    copied = Dataset()
    for keyword in keywords:
        tag = tag_for_keyword(keyword)
        if tag is None or tag not in source:
            continue
        alone = Dataset()
        try:
            element = _copy(source, tag)
            if element is None or (keyword in CONTEXT and not element.value):
                continue
            alone[tag] = element
            encoded(alone)
        except DICOM_ERRORS:
            continue  # damaged: nothing can be copied
        copied[tag] = element
    return copied


def _copy(source: Dataset, tag: int) -> DataElement | RawDataElement | None:
    vr = dictionary_VR(tag)
    element = source.get_item(tag)
    if isinstance(element, RawDataElement) and vr in _TEXT_VRS:
        return _raw(tag, vr, element.value or b"")
    decoded = source[tag]
    if decoded.VR != "SQ":
        return DataElement(tag, decoded.VR, decoded.value) if vr != "SQ" else None
    items = []
    for item in decoded.value:
        inner = Dataset()
        for inner_tag in item:
            copy = _copy(item, inner_tag.tag) if not inner_tag.tag.is_private else None
            if copy is not None:
                inner[inner_tag.tag] = copy
        keep_bytes(inner)
        items.append(inner)
    return DataElement(tag, "SQ", Sequence(items))


def _raw(tag: int, vr: str, value: bytes) -> RawDataElement | None:
    if len(value) % 2:
        value += b"\0" if vr == "UI" else b" "
    if len(value) > _LONGEST:
        return None
    return RawDataElement(Tag(tag), vr, len(value), value, 0, False, True)


def keep_bytes(dataset: Dataset) -> None:
    """Make pydicom write undecoded values unchanged: by default it decodes and encodes them again."""
    charset = dataset.get("SpecificCharacterSet")
    dataset.set_original_encoding(False, True, convert_encodings(charset) if charset else default_encoding)


def encoded(dataset: Dataset) -> bytes:
    """The bytes of a data set in explicit little endian."""
    keep_bytes(dataset)
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, False
    write_dataset(stream, dataset)
    return stream.getvalue()


def decoded(copied: bytes) -> Dataset:
    """The data set of `read_copied`; its texts stay undecoded until they are used."""
    with lenient():
        return read_dataset(BytesIO(copied), is_implicit_VR=False, is_little_endian=True)


_ID_KEYWORDS = (
    *("PatientID", "OtherPatientIDs", "StudyID", "AccessionNumber", "AdmissionID", "ServiceEpisodeID"),
    *("ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID"),
)
_ID_TAGS = frozenset(_tags(_ID_KEYWORDS))
_CHARACTER_SET = 0x00080005


def identifiers(copied: bytes) -> Identifiers:
    """Names of people, IDs and dates in `Source.copied`, also inside sequences; damaged values are left out."""
    names: list[str] = []
    ids: list[str] = []
    dates: list[str] = []
    for tag, vr, text in _texts(parse(BytesIO(copied), Encoding(explicit=True, little=True)), ()):
        parts = [part.strip(" \0") for part in text.split("\\") if part.strip(" \0")]
        if vr == "PN":
            names += [part.rstrip("=") for part in parts]
        elif tag in _ID_TAGS:
            ids += parts
        elif vr in ("DA", "DT"):
            dates += [part[:8] for part in parts]
    return Identifiers(tuple(names), tuple(ids), tuple(dates))


def _texts(elements: Elements, charsets: tuple[str, ...]) -> Iterator[tuple[int, str, str]]:
    """(tag, value representation, text) of all elements, also inside sequences."""
    if _CHARACTER_SET in elements:
        charsets = texts(elements[_CHARACTER_SET].value, True)
    for tag, element in elements.items():
        if element.vr == "SQ":
            for item in items(element):
                yield from _texts(item, charsets)
        else:
            yield tag, element.vr, decode_text(element.value, charsets)


@contextmanager
def lenient() -> Iterator[None]:
    """A context in which pydicom neither refuses nor warns about values that break the rules of DICOM."""
    with warnings.catch_warnings(action="ignore"), config.disable_value_validation():
        yield
