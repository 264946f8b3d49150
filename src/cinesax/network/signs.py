"""Signs of how sure a network is of the cavity at ED and ES, from its scores and from those of the mirror images."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cinesax.core.presence import Signs
from cinesax.core.structures import Structure
from cinesax.network.passes import BORDER, Scores

_NEAR_PX = 4
"""Scores further from the cavity than this say nothing of its border."""

_RING_PX = 3
"""Width of the ring around the cavity whose intensity is compared with that of the blood."""


def moments(areas_px: NDArray[np.float64]) -> tuple[int, int] | None:
    """The phases of largest and smallest area; None if there is no cavity, or only one phase.

    Args:
        areas_px: (phase, slice): area of the cavity in frames that count.
    """
    sums = areas_px.sum(axis=1)
    if len(sums) < 2 or not sums.max() > 0:
        return None
    ed, es = int(np.argmax(sums)), int(np.argmin(sums))
    return None if ed == es else (ed, es)


def signs_of(
    scores: Scores,
    cleaned: Scores,
    phases: tuple[int, int],
    *,
    images: NDArray[np.float32],
    mirrored: NDArray[np.float32],
) -> Signs:
    """The signs.

    Args:
        scores: of all frames, as the network gives them. Cleaning averages over phases if there are many, which makes
            borders soft, and signs must mean the same for two phases.
        cleaned: the same after cleaning: where the cavity is.
        phases: ED and ES.
        images: (moment, slice, row, column): what the network saw, 0 to 1.
        mirrored: the same shape: the scores of the cavity in the mirror images, mirrored back.
    """
    cavity, ventricle = scores.regions[Structure.CAVITY], cleaned.regions.get(Structure.MYOCARDIUM)
    shape = mirrored.shape[:2]
    names = ("area_px", "sure_px", "beyond_px", "mirrored_px", "shared_px")
    sums = {name: np.zeros(shape) for name in names}
    means = {name: np.full(shape, np.nan) for name in ("wall_px", "blood", "around", "spread")}
    for moment, place in np.ndindex(*shape):
        phase, frame = phases[moment], (moment, place)
        kept = cleaned.regions[Structure.CAVITY][phase, place] >= BORDER
        near = ndimage.binary_dilation(kept, iterations=_NEAR_PX) if kept.any() else kept
        values = np.where(near, cavity[phase, place], np.float32(0))
        inside, again = values >= BORDER, (mirrored[frame] >= BORDER) & near
        sums["area_px"][frame] = inside.sum()
        sums["sure_px"][frame] = values[inside].sum(dtype=np.float64)
        sums["beyond_px"][frame] = values[~inside].sum(dtype=np.float64)
        sums["mirrored_px"][frame] = again.sum()
        sums["shared_px"][frame] = (inside & again).sum()
        if ventricle is not None:
            means["wall_px"][frame] = ((ventricle[phase, place] >= BORDER) & ~inside).sum()
        if inside.any():
            ring = ndimage.binary_dilation(inside, iterations=_RING_PX) & ~inside
            image = images[frame]
            means["blood"][frame], means["spread"][frame] = image[inside].mean(), image[inside].std()
            means["around"][frame] = image[ring].mean() if ring.any() else np.nan
    return Signs(phases, **sums, **means)
