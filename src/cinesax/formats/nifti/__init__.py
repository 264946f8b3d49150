"""Reads and writes NIfTI.

`image` reads one file and writes segmentations, `labels` reads labels, `files` reads several files as one cine.
`header`, `axes` and `times` interpret headers; `names` interprets file names.
"""

from typing import TYPE_CHECKING, Any

from cinesax.formats.nifti.names import SUFFIXES, is_nifti

if TYPE_CHECKING:
    from cinesax.formats.nifti.image import Part, read_cine, read_part, read_written, write_segmentation

__all__ = ["SUFFIXES", "Part", "is_nifti", "read_cine", "read_part", "read_written", "write_segmentation"]


def __getattr__(name: str) -> Any:
    # nibabel takes a tenth of a second to load, and whether an exam is NIfTI is asked of every DICOM exam.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cinesax.formats.nifti import image

    value = globals()[name] = getattr(image, name)
    return value
