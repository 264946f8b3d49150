"""Labelled images as others store them (pairs of pictures, ACDC's folders), for tests of what reads them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cinesax.core.cine import Cine
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import Structure
from cinesax.formats.pairs import IMAGES, LABELS, Pair, case_of

_FROM_ACDC = np.array([0, 3, 2, 1], dtype=np.uint8)


def write_pair(folder: Path, name: str, image: NDArray[Any], label: NDArray[np.bool_] | NDArray[np.uint8]) -> Pair:
    """An image (row, column), uint8 or uint16, and its label as PNG: a cavity as 255 (bool), or classes as they are."""
    paths = folder / IMAGES / f"{name}.png", folder / LABELS / f"{name}.png"
    values = label.astype(np.uint8) * np.uint8(255 if label.dtype == np.bool_ else 1)
    for path, pixels in zip(paths, (image, values), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return Pair(name, case_of(name), *paths)


def write_patient(
    folder: Path, case: str, frames: Sequence[tuple[int, NDArray[Any], NDArray[np.uint8]]], **facts: Any
) -> Path:
    """A patient as ACDC stores one: unit affine, spacing in pixdim.

    Args:
        folder: gets the folder of the patient, which is returned.
        case: the patient, e.g. "patient001".
        frames: (phase counted from 0, image (slice, row, column), labels (slice, row, column) of 0 background, 1 LV
            cavity, 2 myocardium, 3 RV); the first is ED, the second ES.
        facts: `spacing_mm`, three numbers: between slices, rows, columns; anything else becomes a line of Info.cfg.
    """
    spacing_mm = facts.pop("spacing_mm")
    place = folder / case
    place.mkdir(parents=True, exist_ok=True)
    for phase, image, labels in frames:
        stem = f"{case}_frame{phase + 1:02d}"
        # The mapping is its own inverse: 1 and 3 change places.
        for values, name in ((image, f"{stem}.nii.gz"), (_FROM_ACDC[labels], f"{stem}_gt.nii.gz")):
            volume = nib.Nifti1Image(np.ascontiguousarray(values.transpose(2, 1, 0)), np.eye(4))
            # The affine first: it would reset pixdim.
            volume.set_sform(np.eye(4), code=2)
            volume.header.set_zooms(tuple(float(step) for step in reversed(spacing_mm)))
            volume.header.set_xyzt_units("mm")
            nib.save(volume, place / name)
    info = {"ED": frames[0][0] + 1, "ES": frames[1][0] + 1, **facts}
    (place / "Info.cfg").write_text("".join(f"{key}: {value}\n" for key, value in info.items()))
    return place


def as_cine(example: Any) -> tuple[Cine, Segmentation]:
    """An example of a training set as a Cine of one frame without geometry, and its truth."""
    cine = Cine(example.image[None, None], None)
    structures = [one for one in Structure if one in example.known] or [Structure.CAVITY]
    labels = np.where(np.isin(example.label, structures), example.label, 0).astype(np.uint8)[None, None]
    return cine, Segmentation(labels, {one: np.ones(1, dtype=bool) for one in structures}, author="manual")
