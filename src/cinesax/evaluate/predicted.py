"""Read a folder of masks that another program predicted as the segmentation of a study.

For pairs: `NAME.png` for each image. For studies: `CASE.nii.gz`, or a folder `CASE` of contour files. A missing file
counts as an empty prediction.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cinesax.core.errors import InputError
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.segmentation import Segmentation
from cinesax.core.selection import LabelReading
from cinesax.core.structures import Structure
from cinesax.evaluate import LabelledStudy
from cinesax.evaluate.labelled import labels_of
from cinesax.inputs import read_segmentation

_PICTURES = (".png", ".bmp", ".tif", ".tiff", ".pgm")


def read_masks(
    folder: Path, study: LabelledStudy, *, value: int | None = None, meaning: str | None = None
) -> Segmentation:
    """The predicted masks of a study.

    Args:
        folder: folder of the masks.
        study: the study that they belong to.
        value: the label of the LV cavity; None: 1 or 255 in pictures, 1 in NIfTI.
        meaning: what the numbers of whole studies mean, as `formats.label_numbers.parse_labels` takes it.

    Raises:
        InputError: a mask cannot be read, or has another size.
    """
    whole = labels_of(study.case, folder)
    if whole is not None:
        return _read_whole(whole, study, value, meaning)
    labels = np.zeros(study.cine.pixels.shape, np.uint8)
    absent = 0
    for (phase, index), name in study.names.items():
        path = next(
            (folder / f"{name}{suffix}" for suffix in _PICTURES if (folder / f"{name}{suffix}").is_file()), None
        )
        absent += path is None
        if path is not None:
            labels[phase, index][_read_picture(path, labels.shape[2:], value)] = Structure.CAVITY
    known = {Structure.CAVITY: np.ones(len(labels), dtype=bool)}
    return Segmentation(labels, known, findings=_absent(study, absent), author=folder.name)


def _absent(study: LabelledStudy, count: int) -> tuple[Finding, ...]:
    if not count:
        return ()
    sentence = "{case}: {missing} of {frames} frames have no mask: they count as predicted empty"
    numbers = {"missing": count, "frames": len(study.names)}
    return (
        Finding(Code.PARTIAL_SEGMENTATION, Severity.WARNING, sentence, numbers=numbers, texts={"case": study.case}),
    )


def _read_picture(path: Path, shape: tuple[int, ...], value: int | None) -> NDArray[np.bool_]:
    from cinesax.formats import pairs

    mask = pairs.load_label(path) if value is None else pairs.load_image(path) == value
    if mask.shape != shape:
        raise InputError(f"{path} has shape {mask.shape}, its image {shape}: expected the same")
    return np.asarray(mask)


def _read_whole(path: Path, study: LabelledStudy, value: int | None, meaning: str | None) -> Segmentation:
    reading = LabelReading(meaning if value is None else f"lv={value}")
    masks, _ = read_segmentation(path, study.cine, reading)
    # A phase without any mask counts as an empty prediction.
    known: dict[Structure, NDArray[np.bool_]] = {Structure.CAVITY: np.ones(study.cine.n_phases, dtype=bool)}
    known |= {structure: phases for structure, phases in masks.known_phases.items() if structure not in known}
    return Segmentation(masks.labels, known, masks.contours, author=path.name)
