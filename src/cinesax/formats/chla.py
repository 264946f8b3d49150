"""The congenital heart disease set of the Children's Hospital Los Angeles (CHLA): one NumPy file per patient.

`NAME.npz` holds stacks of slices at ED and ES, each with the endocardial contours of one ventricle: `LV_ED_image` and
`LV_ED_mask` (slice, row, column), uint8, and the same for `LV_ES`, `RV_ED` and `RV_ES`; `rv_index_of_lv_ED` and `_ES`
(LV slice,): the index of the same image in the RV stack, or -1; `spacing_mm`: along x, y and between slices. A stack
holds only slices with its ventricle. The wall is not drawn.

Source: Karimi-Bidhendi S et al., "Fully-automated deep-learning segmentation of pediatric cardiovascular magnetic
resonance of patients with complex congenital heart diseases", J Cardiovasc Magn Reson 22, 80, 2020.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinesax.core.errors import InputError

LV, RV = 1, 3
PHASES = ("ED", "ES")
_NEEDED = {f"{side}_{phase}_{what}" for side in ("LV", "RV") for phase in PHASES for what in ("image", "mask")}
_NEEDED |= {f"rv_index_of_lv_{phase}" for phase in PHASES} | {"spacing_mm"}


@dataclass(frozen=True, eq=False, slots=True)
class ChlaFrame:
    """One image and the ventricles that were drawn on it.

    Attributes:
        phase: 0 for ED, 1 for ES.
        slice: its index in the LV stack; may be below 0 or beyond the last. None: unknown.
        number: counts the frames of a phase, from 0.
        image: (row, column), uint8.
        label: (row, column), uint8: 0, 1 LV cavity, 3 RV cavity.
        known: the ventricles whose truth is known: LV, RV or both.
    """

    phase: int
    slice: int | None
    number: int
    image: NDArray[np.uint8]
    label: NDArray[np.uint8]
    known: frozenset[int]


@dataclass(frozen=True, eq=False, slots=True)
class ChlaPatient:
    """A patient.

    Attributes:
        case: the name of the file.
        spacing_mm: (between rows, between columns).
        frames: by phase; the LV stack first, then images that are only in the RV stack.
    """

    case: str
    spacing_mm: tuple[float, float]
    frames: tuple[ChlaFrame, ...]


def is_chla(path: Path) -> bool:
    """Whether a file holds a patient of this set, judged by the names of its arrays."""
    if path.suffix.lower() != ".npz":
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return {f"{name}.npy" for name in _NEEDED} <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def read_patient(path: Path) -> ChlaPatient:
    """Read one patient.

    Raises:
        InputError: the file is of another kind or damaged, or its arrays do not fit each other.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in _NEEDED}
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a readable file of the CHLA set: {error}") from None
    _check(arrays, path)
    column_mm, row_mm = (float(step) for step in arrays["spacing_mm"][:2])
    frames = [frame for number in range(len(PHASES)) for frame in _frames(arrays, number)]
    return ChlaPatient(path.stem, (row_mm, column_mm), tuple(frames))


def _check(arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    spacing = arrays["spacing_mm"]
    if spacing.shape != (3,) or not np.all(np.isfinite(spacing)) or np.any(spacing <= 0):
        raise InputError(f"{path}: spacing_mm is {spacing.tolist()}, expected three lengths above 0")
    for phase in PHASES:
        for side in ("LV", "RV"):
            image, mask = arrays[f"{side}_{phase}_image"], arrays[f"{side}_{phase}_mask"]
            if image.ndim != 3 or image.shape != mask.shape or image.dtype != np.uint8:
                raise InputError(
                    f"{path}: {side}_{phase} has images {image.dtype} {image.shape} and masks {mask.shape}, "
                    "expected uint8 (slice, row, column) and equal shapes"
                )
        index = arrays[f"rv_index_of_lv_{phase}"]
        count = len(arrays[f"RV_{phase}_image"])
        if index.shape != (len(arrays[f"LV_{phase}_image"]),) or np.any((index < -1) | (index >= count)):
            raise InputError(f"{path}: rv_index_of_lv_{phase} does not fit its stacks")


def _frames(arrays: Mapping[str, NDArray[Any]], number: int) -> list[ChlaFrame]:
    phase = PHASES[number]
    images, cavities = arrays[f"LV_{phase}_image"], arrays[f"LV_{phase}_mask"] > 0
    others, rights = arrays[f"RV_{phase}_image"], arrays[f"RV_{phase}_mask"] > 0
    partner = [int(index) for index in arrays[f"rv_index_of_lv_{phase}"]]
    frames = []
    for place, (image, cavity, twin) in enumerate(zip(images, cavities, partner, strict=True)):
        label = np.where(rights[twin], RV, 0) if twin >= 0 else np.zeros(image.shape)
        label = np.where(cavity, LV, label).astype(np.uint8)
        known = frozenset({LV, RV} if twin >= 0 else {LV})
        frames.append(ChlaFrame(number, place, place, image, label, known))
    places = _places(partner, len(others))
    for twin, (image, right) in enumerate(zip(others, rights, strict=True)):
        if twin not in partner:
            label = right.astype(np.uint8) * np.uint8(RV)
            frames.append(ChlaFrame(number, places[twin], len(frames), image, label, frozenset({RV})))
    return frames


def _places(partner: list[int], count: int) -> list[int | None]:
    """The index in the LV stack of each slice of the RV stack; None if unknown.

    Both stacks are in order, so shared images give the offset. Two are needed, because the stacks may run in opposite
    directions.
    """
    shared = [(twin, place) for place, twin in enumerate(partner) if twin >= 0]
    if len(shared) < 2:
        return [None] * count
    step = np.sign(shared[-1][0] - shared[0][0]) * np.sign(shared[-1][1] - shared[0][1])
    offsets = {place - int(step) * twin for twin, place in shared}
    if step == 0 or len(offsets) != 1:
        return [None] * count
    return [int(step) * twin + min(offsets) for twin in range(count)]
