"""All DICOM objects of an analysis: segmentations, measurements that refer to them, contours."""

from collections.abc import Iterator
from pathlib import Path

from pydicom.dataset import Dataset

from cinesax.core.analysis import Analysis
from cinesax.dicom.copied import lenient
from cinesax.dicom.write.filing import Filing, file_under, to_bytes
from cinesax.dicom.write.options import RTSTRUCT_NAME, SR_NAME, DicomOptions
from cinesax.dicom.write.rtstruct import rtstruct_dataset
from cinesax.dicom.write.seg import seg_datasets
from cinesax.dicom.write.sr import sr_dataset


def write_objects(analysis: Analysis, folder: Path, options: DicomOptions) -> tuple[str, ...]:
    """Write the objects into a folder.

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
        for name, dataset in _objects(analysis, filing, options):
            (folder / name).write_bytes(to_bytes(dataset))
            names.append(name)
    return tuple(names)


def _objects(analysis: Analysis, filing: Filing, options: DicomOptions) -> Iterator[tuple[str, Dataset]]:
    """Each object with its file name: referenced objects come first."""
    segs = seg_datasets(analysis, filing, kind=options.segmentation_type)
    yield from segs.items()
    report = sr_dataset(analysis, filing, segs)
    if report is not None:
        yield SR_NAME, report
    contours = rtstruct_dataset(analysis, filing) if options.rtstruct else None
    if contours is not None:
        yield RTSTRUCT_NAME, contours
