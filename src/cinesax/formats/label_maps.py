"""NIfTI stacks with label maps, as in the UK Digital Heart Project: one folder per patient.

    A/sa_ED.nii.gz                  a stack at ED
    A/seg_sa_ED.nii.gz              its labels (or any other seg*.nii.gz on the image's own grid):
                                    0 background, 1 LV cavity, 2 myocardium, 3 or 4 RV cavity

Every slice of the stack is labelled: a slice without labels shows no heart.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cinesax.core.cine import Cine
from cinesax.core.errors import GeometryError, InputError
from cinesax.formats.nifti import is_nifti, read_cine

UNKNOWN = 255
_IMAGE = re.compile(r"sa_(ED|ES)\.nii(\.gz)?", re.IGNORECASE)
_LABELS = re.compile(r"seg.*\.nii(\.gz)?", re.IGNORECASE)
# Index: value in the file; entry: class in cinesax (1 LV cavity, 2 myocardium, 3 RV).
_CLASSES = np.array([0, 1, 2, 3, 3], dtype=np.uint8)
# Labels from an atlas leave crumbs above the base; smaller regions (mm²) are not LV.
_CRUMB_MM2 = 60.0


@dataclass(frozen=True, eq=False, slots=True)
class LabelledStack:
    """A stack at one phase with its labels.

    Attributes:
        case: the folder's name.
        phase: 0 for ED, 1 for ES.
        cine: the stack as a cine of this one phase.
        labels: (slice, row, column), uint8: 0, 1 LV cavity, 2 myocardium, 3 RV; 255 (unknown) in crumbs.
        files: image and labels.
    """

    case: str
    phase: int
    cine: Cine
    labels: NDArray[np.uint8]
    files: tuple[Path, Path]


def is_image(path: Path) -> bool:
    """Whether the name is that of a stack with a label map in its folder."""
    if not _IMAGE.fullmatch(path.name):
        return False
    return any(_LABELS.fullmatch(other.name) for other in path.parent.iterdir())


def read_stack(path: Path) -> LabelledStack:
    """Read a stack and the first label file in its folder that lies on its grid.

    Raises:
        InputError: a file cannot be read, or labels are not 0 to 4.
        GeometryError: there are no labels on the image's grid.
    """
    cine = read_cine(path)
    match = _IMAGE.fullmatch(path.name)
    for other in sorted(path.parent.iterdir()):
        if not (is_nifti(other) and _LABELS.fullmatch(other.name)):
            continue
        drawn = read_cine(other)
        if drawn.pixels.shape != cine.pixels.shape:
            continue
        if cine.grid is not None and drawn.grid is not None and not cine.grid.same_as(drawn.grid, tolerance_mm=1.0):
            continue
        phase = int(match is not None and match[1].upper() == "ES")
        labels = _classes(drawn.pixels[0], other)
        return LabelledStack(path.parent.name, phase, cine, _without_crumbs(labels, cine), (path, other))
    raise GeometryError(f"{path} has no seg*.nii.gz in its folder that lies on its grid {cine.pixels.shape[1:]}")


def _classes(values: NDArray[np.generic], path: Path) -> NDArray[np.uint8]:
    whole = np.rint(values.astype(np.float32))
    if np.any(whole != values) or whole.min() < 0 or whole.max() >= len(_CLASSES):
        raise InputError(
            f"{path} holds values other than the labels 0, 1 (LV cavity), 2 (myocardium) and 3 or 4 (RV cavity)"
        )
    return np.asarray(_CLASSES[whole.astype(np.uint8)])


def _without_crumbs(labels: NDArray[np.uint8], cine: Cine) -> NDArray[np.uint8]:
    rows_mm, columns_mm = cine.grid.spacing_mm if cine.grid else (1.4, 1.4)
    least = _CRUMB_MM2 / (rows_mm * columns_mm)
    cleaned = labels.copy()
    for label, out in zip(labels, cleaned, strict=True):
        for classes in ((1, 2), (3,)):
            regions, count = ndimage.label(np.isin(label, classes))
            sizes = np.bincount(regions.ravel(), minlength=count + 1)
            out[(regions > 0) & (sizes[regions] < least)] = UNKNOWN
    return cleaned
