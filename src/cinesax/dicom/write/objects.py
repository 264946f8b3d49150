"""All DICOM objects of an analysis: segmentations, measurements that refer to them, contours."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from cinesax.core.analysis import Analysis
from cinesax.dicom.copied import lenient
from cinesax.dicom.write.documents import capture_dataset, pdf_dataset
from cinesax.dicom.write.filing import Filing, file_under, to_bytes
from cinesax.dicom.write.options import PDF_NAME, RTSTRUCT_NAME, SR_NAME, DicomOptions
from cinesax.dicom.write.rtstruct import rtstruct_dataset
from cinesax.dicom.write.seg import seg_datasets
from cinesax.dicom.write.sr import sr_dataset


@dataclass(frozen=True, slots=True)
class Shown:
    """What people are shown, as drawn elsewhere.

    Attributes:
        pdf: the report as a PDF file, or None.
        title: of the PDF.
        captures: file name -> (phase, picture (row, column, 3) in RGB).
    """

    pdf: bytes | None = None
    title: str = ""
    captures: Mapping[str, tuple[int, NDArray[np.uint8]]] = field(default_factory=dict)


NOTHING_SHOWN = Shown()


def write_objects(
    analysis: Analysis, folder: Path, options: DicomOptions, shown: Shown = NOTHING_SHOWN
) -> tuple[str, ...]:
    """Write the objects into a folder.

    Args:
        analysis: the analysis of an exam read from DICOM.
        folder: where to.
        options: which objects, and how.
        shown: the report and the pictures to encapsulate.

    Returns:
        The names of the files. Objects of unknown content are left out: without an ED phase there is no seg_ed.dcm.

    Raises:
        InputError: the exam was not read from DICOM.
        GeometryError: the exam has no geometry.
        OSError: the files cannot be written.
    """
    filing = file_under(analysis, content_time=options.content_time)
    names = []
    with lenient():
        for name, dataset in _objects(analysis, filing, options, shown):
            (folder / name).write_bytes(to_bytes(dataset))
            names.append(name)
    return tuple(names)


def _objects(analysis: Analysis, filing: Filing, options: DicomOptions, shown: Shown) -> Iterator[tuple[str, Dataset]]:
    """Each object with its file name: referenced objects come first."""
    segs = seg_datasets(analysis, filing, kind=options.segmentation_type)
    yield from segs.items()
    report = sr_dataset(analysis, filing, segs, predecessors=options.predecessors)
    if report is not None:
        yield SR_NAME, report
    contours = rtstruct_dataset(analysis, filing) if options.rtstruct else None
    if contours is not None:
        yield RTSTRUCT_NAME, contours
    if shown.pdf is not None:
        yield PDF_NAME, pdf_dataset(analysis.cine, filing, shown.pdf, name=PDF_NAME, title=shown.title)
    for number, (name, (phase, picture)) in enumerate(shown.captures.items(), start=1):
        yield name, capture_dataset(analysis.cine, filing, picture, name=name, phase=phase, number=number)
