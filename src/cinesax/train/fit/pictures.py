"""Pictures of a network's results: input, truth, prediction and difference, side by side."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Colours of the classes from 1: cavity, myocardium, right ventricle; further classes start again at the first. They are
# readable with red-green blindness (Okabe and Ito, 2008).
_COLOURS = np.array([[230, 159, 0], [86, 180, 233], [0, 158, 115], [204, 121, 167]], np.float32)
_TOO_MUCH, _MISSED, _OTHER = ((213, 94, 0), (0, 114, 178), (240, 228, 66))
_COVER = 0.45
UNKNOWN = -1


def panel(image: NDArray[Any], truth: NDArray[Any], predicted: NDArray[Any]) -> NDArray[np.uint8]:
    """Four pictures in a row: input, truth over input, prediction over input, and the difference over a darker input.

    In the difference, orange is predicted but not in the truth, blue is in the truth but not predicted, and yellow is
    another structure.

    Args:
        image: (row, column), 0 to 1.
        truth: (row, column), classes; -1 means unknown and never counts as a difference.
        predicted: (row, column), classes.

    Returns:
        (row, 4 * column, 3), uint8, RGB.
    """
    grey = np.repeat(np.clip(image, 0, 1)[..., None], 3, axis=-1).astype(np.float32) * 255
    differs = (truth != predicted) & (truth != UNKNOWN)
    difference = grey * 0.5
    for where, colour in (
        (differs & (truth == 0), _TOO_MUCH),
        (differs & (predicted == 0), _MISSED),
        (differs & (truth > 0) & (predicted > 0), _OTHER),
    ):
        difference[where] = colour
    parts = [grey, _coloured(grey, truth), _coloured(grey, predicted), difference]
    return np.concatenate(parts, axis=1).round().astype(np.uint8)


def _coloured(grey: NDArray[np.float32], classes: NDArray[Any]) -> NDArray[np.float32]:
    drawn = grey.copy()
    inside = classes > 0
    colours = _COLOURS[(classes[inside] - 1) % len(_COLOURS)]
    drawn[inside] = (1 - _COVER) * drawn[inside] + _COVER * colours
    return drawn
