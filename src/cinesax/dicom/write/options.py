"""Options of the DICOM objects made from an analysis, and the names of their files."""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

SEG_ED_NAME, SEG_ES_NAME, SEG_CINE_NAME = "seg_ed.dcm", "seg_es.dcm", "seg_cine.dcm"
SR_NAME = "measurements_sr.dcm"
RTSTRUCT_NAME = "rtstruct.dcm"
PDF_NAME = "report_pdf.dcm"
CAPTURE_ED_NAME, CAPTURE_ES_NAME = "capture_ed.dcm", "capture_es.dcm"
IMAGES_NAME, UID_MAP_NAME = "images", "uid_map.csv"
DICOM_NAMES = (
    *(SEG_ED_NAME, SEG_ES_NAME, SEG_CINE_NAME, SR_NAME, RTSTRUCT_NAME),
    *(PDF_NAME, CAPTURE_ED_NAME, CAPTURE_ES_NAME),
)


class SegmentationType(StrEnum):
    """SegmentationType: one bit per pixel and segment, read by all viewers, or labels (DICOM 2024d), read by few."""

    BINARY = "BINARY"
    LABELMAP = "LABELMAP"


@dataclass(frozen=True, slots=True)
class DicomOptions:
    """Which DICOM objects to write, and how.

    Attributes:
        segmentation_type: how the pixels of the segmentations are stored.
        rtstruct: whether to write an RT Structure Set as well.
        captures: whether to write pictures of ED and ES with contours as Secondary Capture images as well.
        content_time: when the content was made, in the time zone of the source; None takes the newest valid date of the
            source, or a constant if it has none. The clock is never used: the same input gives the same bytes.
        predecessors: reports (measurements_sr.dcm) of earlier versions, which this one replaces.
        repair_uids: if UIDs of the exam are not valid, write copies of its images with valid ones; the objects then
            refer to the copies.
    """

    segmentation_type: SegmentationType = SegmentationType.BINARY
    rtstruct: bool = False
    captures: bool = False
    content_time: datetime | None = None
    repair_uids: bool = False
    predecessors: tuple[Path, ...] = ()


def is_copied_image(name: str) -> bool:
    """Whether a file name is that of a copied source image."""
    return re.fullmatch(r"\d{5,}\.dcm", name) is not None
