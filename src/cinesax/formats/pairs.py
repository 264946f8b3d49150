"""Training sets as pairs of pictures with the same name: `images/NAME.png` and `labels/NAME.png`.

`walls/NAME.png`, which any of the pictures may have, shows everything inside the epicardium: the part of it that is not
cavity is myocardium.

Pictures have no spacing: distances on them are in pixels. A label picture holds either 0 and 255 (255 is the LV
cavity), or the labels of the table of structures: 0 background, 1 LV cavity, 2 myocardium, 3 RV cavity, 4 papillary
muscles, and 255 for unknown.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from cinesax.core.cine import Cine, Source
from cinesax.core.errors import DatasetError, counted
from cinesax.core.structures import Structure

IMAGES, LABELS, WALLS = "images", "labels", "walls"
UNKNOWN = 255
_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".pgm")
# Words between the patient and the number of a slice. If one is missed, every slice becomes a patient of its own, and
# one heart may be on both sides of a split.
_WORD = "(?:slice|frame|phase|time|image|img|ed|es|sl|fr|ph)"
_LAST = "(?:slice|frame|phase|time|image|img|ed|es|sl|s|z|fr|ph|t|im)"
_CASE = re.compile(
    rf"(.+?)(?:-IM-\d+-\d+|(?:[-_](?:{_WORD}[-_]?\d+|ed|es))*[-_](?:{_LAST}[-_]?)?\d+(?:[-_](?:ed|es))?)",
    re.IGNORECASE,
)
_ERRORS = (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError)


@dataclass(frozen=True, slots=True)
class Pair:
    """One labelled slice.

    Attributes:
        name: the file name without its suffix.
        case: the patient: the name up to "-IM-...", or to the last number and the word before it, if any.
        image: the grey picture.
        label: the picture of the LV cavity.
        wall: the picture of everything inside the epicardium, including the cavity; None if it was not drawn.
    """

    name: str
    case: str
    image: Path
    label: Path
    wall: Path | None = None


def case_of(name: str) -> str:
    """The patient in a file name (without suffix): "SC-HF-I-01" in "SC-HF-I-01-IM-0001-0048"."""
    match = _CASE.fullmatch(name)
    return match[1] if match else name


def read_pairs(folder: Path) -> list[Pair]:
    """The pairs of a folder with `images/` and `labels/`, by name.

    Raises:
        DatasetError: a folder is missing or empty, or an image has no label or the reverse.
    """
    images, labels = _pictures(folder / IMAGES), _pictures(folder / LABELS)
    alone = sorted(set(images) ^ set(labels))
    if alone:
        missing = LABELS if alone[0] in images else IMAGES
        raise DatasetError(
            f"{folder}: {counted(len(alone), 'image')} without a partner; the first is {alone[0]}, missing in "
            f"{missing}/"
        )
    if not images:
        raise DatasetError(f"{folder} has no images: expected {IMAGES}/NAME.png and {LABELS}/NAME.png")
    walls = _pictures(folder / WALLS) if (folder / WALLS).is_dir() else {}
    strange = sorted(set(walls) - set(images))
    if strange:
        raise DatasetError(f"{folder}: {WALLS}/ holds {strange[0]}, which has no picture in {IMAGES}/")
    return [Pair(name, case_of(name), images[name], labels[name], walls.get(name)) for name in sorted(images)]


def is_picture(path: Path) -> bool:
    """Whether a file has the name of a picture that may belong to a pair."""
    return path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")


def _pictures(folder: Path) -> dict[str, Path]:
    pictures: dict[str, Path] = {}
    try:
        for path in sorted(folder.iterdir()):
            if not is_picture(path):
                continue
            if path.stem in pictures:
                raise DatasetError(f"{folder} has two images named {path.stem}: keep only one")
            pictures[path.stem] = path
    except OSError as error:
        raise DatasetError(f"{folder} cannot be read: {error.strerror or error}") from error
    return pictures


def load_image(path: Path) -> NDArray[Any]:
    """A grey picture.

    Returns:
        (row, column), uint8 or uint16; one channel of a colour picture whose channels are equal.

    Raises:
        DatasetError: the picture cannot be read, or is in colour.
    """
    pixels = _load(path)
    if pixels.ndim == 3:
        grey = pixels[..., :1]
        if np.any(pixels[..., : min(3, pixels.shape[2])] != grey):
            raise DatasetError(f"{path} is in colour: expected a grey image")
        pixels = grey[..., 0]
    if pixels.ndim != 2 or pixels.dtype.kind not in "iub":
        raise DatasetError(f"{path} has shape {pixels.shape} of {pixels.dtype}: expected a grey image")
    if pixels.dtype == np.bool_ or (pixels.min() >= 0 and pixels.max() <= 255 and pixels.dtype != np.uint16):
        return pixels.astype(np.uint8)
    return pixels.astype(np.uint16)


def load_label(path: Path) -> NDArray[np.bool_]:
    """The LV cavity of a label picture.

    Returns:
        (row, column), bool: True in the LV cavity.

    Raises:
        DatasetError: the picture cannot be read, or holds values that are not labels.
    """
    return np.asarray(_load_classes(path) == Structure.CAVITY)


def _load_classes(path: Path) -> NDArray[np.uint8]:
    pixels = load_image(path)
    values = set(np.flatnonzero(np.bincount(pixels.ravel())).tolist())
    if values <= {0, 255}:
        return (pixels > 0).astype(np.uint8) * np.uint8(Structure.CAVITY)
    if not values <= {0, *Structure, UNKNOWN}:
        listed = ", ".join(f"{int(structure)} ({structure.facts.words})" for structure in Structure)
        raise DatasetError(
            f"{path} holds the values {sorted(values)[:6]}: expected 0 and 255 for the LV cavity, or the labels "
            f"0 (background), {listed} and 255 (not known)"
        )
    return pixels.astype(np.uint8)


def label_values(path: Path) -> set[int]:
    """The labels in a picture: 0 (background), those of the table of structures, and 255 (unknown).

    Raises:
        DatasetError: as `load_label`.
    """
    return set(np.unique(_load_classes(path)).tolist())


def load_classes(pair: Pair) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Image and label of a pair, both (row, column); the label holds 0, Structures, and 255 (unknown).

    Raises:
        DatasetError: as `load`.
    """
    image, label = load_image(pair.image), _load_classes(pair.label)
    if image.shape != label.shape:
        raise DatasetError(f"{pair.image} has shape {image.shape}, its label {label.shape}: expected the same")
    if pair.wall is not None:
        inside = load_image(pair.wall) > 0
        if inside.shape != label.shape:
            raise DatasetError(f"{pair.wall} has shape {inside.shape}, its image {image.shape}: expected the same")
        label = np.where(inside & (label == 0), np.uint8(Structure.MYOCARDIUM), label)
    return image, label


def load(pair: Pair) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Image and label of a pair, both (row, column).

    Raises:
        DatasetError: as `load_image` and `load_label`; or their sizes differ.
    """
    image, label = load_classes(pair)
    return image, np.asarray(label == Structure.CAVITY)


def read_cine(pair: Pair) -> Cine:
    """A pair's image as a Cine of one phase and one slice, without geometry.

    Raises:
        DatasetError: as `load_image`.
    """
    pixels = load_image(pair.image)
    return Cine(pixels[None, None], None, source=Source("pairs", description=pair.name))


def _load(path: Path) -> NDArray[Any]:
    try:
        with Image.open(path) as picture:
            if picture.mode == "P":
                # Pillow warns that the conversion loses it.
                picture.info.pop("transparency", None)
                return np.asarray(picture.convert("RGB"))
            return np.asarray(picture)
    except _ERRORS as error:
        raise DatasetError(f"{path} is not a readable image: {type(error).__name__}") from error
