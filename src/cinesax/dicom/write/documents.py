"""Writing DICOM objects that any viewer shows: an Encapsulated PDF and Secondary Capture images.

Both are pictures of results for people. Programs take the numbers and masks from SR and SEG.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray
from pydicom import uid as uids
from pydicom.dataset import Dataset, FileMetaDataset

from cinesax._version import __version__
from cinesax.core.cine import Cine
from cinesax.dicom.write.filing import Filing, ObjectKind, finish, reference


def pdf_dataset(cine: Cine, filing: Filing, pdf: bytes, *, name: str, title: str) -> Dataset:
    """A PDF as an Encapsulated PDF object.

    Args:
        cine: the exam of the report.
        filing: see `cinesax.dicom.write.filing.file_under`.
        pdf: the bytes of the PDF file.
        name: the name of the DICOM file, which enters its UID.
        title: DocumentTitle, in ASCII.
    """
    made = _started(filing, ObjectKind.PDF, uids.EncapsulatedPDFStorage, name, content=pdf)
    made.AcquisitionDateTime = ""
    made.BurnedInAnnotation = "YES"  # the report names the patient if the exam does
    made.DocumentTitle = title
    made.ConceptNameCodeSequence = []
    made.MIMETypeOfEncapsulatedDocument = "application/pdf"
    made.EncapsulatedDocumentLength = len(pdf)
    made.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    made.SourceInstanceSequence = _instances(cine, filing)
    finish(made, filing)
    return made


def capture_dataset(
    cine: Cine, filing: Filing, picture: NDArray[np.uint8], *, name: str, phase: int, number: int
) -> Dataset:
    """A picture as a Secondary Capture image.

    Args:
        cine: the exam in the picture.
        filing: see `cinesax.dicom.write.filing.file_under`.
        picture: (row, column, 3), RGB.
        name: the name of the DICOM file, which enters its UID.
        phase: the phase in the picture, counted from 0.
        number: InstanceNumber, from 1.
    """
    pixels = np.ascontiguousarray(picture).tobytes()
    made = _started(filing, ObjectKind.CAPTURE, uids.SecondaryCaptureImageStorage, name, content=pixels)
    made.InstanceNumber = number
    made.PatientOrientation = ""
    made.BodyPartExamined = "HEART"
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.DerivationDescription = f"cinesax {__version__}: slices at phase {phase} (from 0) with contours"
    made.SourceImageSequence = [reference(cine, filing, phase, place) for place in range(cine.n_slices)]
    made.BurnedInAnnotation = "NO"
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PlanarConfiguration = 3, "RGB", 0
    made.Rows, made.Columns = picture.shape[:2]
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    made.PixelData = pixels + b"\0" * (len(pixels) % 2)
    made["PixelData"].VR = "OB"
    finish(made, filing)
    return made


def _started(filing: Filing, kind: ObjectKind, sop_class: str, name: str, *, content: bytes) -> Dataset:
    """The common part of both objects: file meta, SOP common, series, equipment."""
    made = Dataset()
    made.SOPClassUID = sop_class
    made.SOPInstanceUID = filing.uid(name, hashlib.sha256(content).hexdigest())
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.file_meta.TransferSyntaxUID = uids.ExplicitVRLittleEndian
    made.Modality = kind.modality
    made.SeriesInstanceUID = filing.series_uid(kind)
    made.SeriesNumber = kind.series_number
    made.SeriesDescription = kind.description
    made.InstanceNumber = 1
    made.Manufacturer = made.ManufacturerModelName = "cinesax"
    made.SoftwareVersions = made.DeviceSerialNumber = __version__
    made.ConversionType = "WSD"
    made.ContentDate = filing.content.strftime("%Y%m%d").zfill(8)
    made.ContentTime = filing.content.strftime("%H%M%S.%f")
    return made


def _instances(cine: Cine, filing: Filing) -> list[Dataset]:
    """References to all instances of the exam, each once and without frame numbers."""
    items = [reference(cine, filing, phase, place) for phase in range(cine.n_phases) for place in range(cine.n_slices)]
    for item in items:
        item.pop("ReferencedFrameNumber", None)
    return list({str(item.ReferencedSOPInstanceUID): item for item in items}.values())
