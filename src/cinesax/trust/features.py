"""Features: a few numbers of one exam that go with the errors of a network. They need no truth.

All are computed from the network's signs at ED and ES only, so that they mean the same for an exam of 30 phases and for
a stack of two, which is what most labelled data are. Large values go with large errors.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cinesax.core.presence import Presence, Signs

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_FLOOR = 0.002
"""Added to shares before their logarithm: a smaller share is noise."""


def features_of(presence: Presence, frames: Flags | None = None) -> Mapping[str, float] | None:
    """The features of an exam; None if the network left no signs, or no cavity counts at ED or at ES.

    Args:
        presence: of a network's segmentation.
        frames: (phase, slice), bool: the frames to look at; None: all. Where only some frames have a truth, errors
            come from these alone.
    """
    signs = presence.signs
    if signs is None:
        return None
    at = list(signs.phases)
    looked = np.ones_like(signs.area_px, dtype=bool) if frames is None else frames[at]
    counts = presence.inside[presence.rule][at] & looked
    area = np.where(counts, signs.area_px, 0.0)
    if not np.all(area.sum(axis=1) > 0):
        return None
    return {
        "mirror": _mirror(signs, counts),
        "border": _border(signs, counts),
        "ends": _ends(presence.certainty[at], signs.area_px, area, looked=looked),
        "steps": _steps(area, counts),
        "small": _small(area),
        "contrast": _contrast(signs, area),
        "mass": _mass(signs, counts),
    }


def _mirror(signs: Signs, counts: Flags) -> float:
    """Log of 1 - Dice by volume between the contours and those of the mirror images; mean of ED and ES.

    Frames that do not count are left out: there the mirror image shows the same blood without wall.
    """
    shared, area, seen = (
        np.where(counts, v, 0.0).sum(axis=1) for v in (signs.shared_px, signs.area_px, signs.mirrored_px)
    )
    return float(np.log(np.mean(1 - 2 * shared / (area + seen)) + _FLOOR))


def _border(signs: Signs, counts: Flags) -> float:
    """Log of 1 - the Dice that would be expected if each score were the chance of cavity; mean of ED and ES."""
    sure, area, beyond = (np.where(counts, v, 0.0).sum(axis=1) for v in (signs.sure_px, signs.area_px, signs.beyond_px))
    return float(np.log(np.mean(1 - 2 * sure / (area + sure + beyond)) + _FLOOR))


def _ends(certainty: Floats, drawn: Floats, area: Floats, *, looked: Flags) -> float:
    """Log of the share of the volume that lies in slices of which it is not sure whether they count."""
    doubt = 1 / (1 + np.exp(np.abs(certainty)))
    at_stake = np.where(looked, drawn * doubt, 0.0).sum(axis=1)
    return float(np.log(np.mean(at_stake / area.sum(axis=1)) + _FLOOR))


def _steps(area: Floats, counts: Flags) -> float:
    """Log of how far areas lie off the mean of their neighbours along the stack, as a share of the volume."""
    off = np.abs(area[:, 1:-1] - (area[:, :-2] + area[:, 2:]) / 2)
    inner = counts[:, 1:-1] & counts[:, :-2] & counts[:, 2:]
    between = np.where(inner, area[:, 1:-1], 1e-9).sum(axis=1)
    # A stack of one or two slices has no neighbours on both sides: it says nothing, like a smooth one.
    share = np.where(inner, off, 0.0).sum(axis=1) / np.maximum(between, 1e-9)
    return float(np.log(np.mean(share) + _FLOOR))


def _small(area: Floats) -> float:
    """- log of the mean radius of the cavity at ES, framed pixels: the same border error costs a small cavity more."""
    es = area[1][area[1] > 0]
    return -float(np.log(np.sqrt(es.mean() / np.pi)))


def _contrast(signs: Signs, area: Floats) -> float:
    """- log of the contrast between blood and what surrounds it; mean over the frames, by area."""
    known = (area > 0) & ~np.isnan(signs.around)
    step = np.where(known, signs.blood - signs.around, 0.0)
    mean = (step * area).sum() / max(float(np.where(known, area, 0.0).sum()), 1e-9)
    return -float(np.log(max(mean, 0.02)))


def _mass(signs: Signs, counts: Flags) -> float:
    """How far the volume of muscle differs between ED and ES, |log ratio|: it should not; 0 if no wall is drawn."""
    wall = np.where(counts, np.nan_to_num(signs.wall_px), 0.0).sum(axis=1)
    return float(min(abs(np.log(wall[1] / wall[0])), 2.0)) if np.all(wall > 0) else 0.0
