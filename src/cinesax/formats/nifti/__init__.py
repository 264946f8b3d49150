"""Reads and writes NIfTI.

`image` reads one file and writes segmentations, `labels` reads labels, `files` reads several files as one cine.
`header`, `axes` and `times` interpret headers; `names` interprets file names.
"""

from cinesax.formats.nifti.image import (
    SUFFIXES,
    Part,
    is_nifti,
    read_cine,
    read_part,
    read_written,
    write_segmentation,
)

__all__ = ["SUFFIXES", "Part", "is_nifti", "read_cine", "read_part", "read_written", "write_segmentation"]
