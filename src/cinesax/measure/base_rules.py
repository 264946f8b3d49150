"""Volumes and ejection fraction of the left ventricle by each rule for the slices at its base."""

import numpy as np

from cinesax.core.grid import Floats
from cinesax.core.measurements import BaseVolumes, Beat, volume_curve
from cinesax.core.presence import BaseRule
from cinesax.core.segmentation import Segmentation, area_px
from cinesax.core.structures import Structure


def areas_by_rule(segmentation: Segmentation, areas_px: Floats) -> dict[BaseRule, Floats]:
    """The areas of the cavity that count by each rule.

    Args:
        segmentation: its `presence` holds the contours that were set aside for the other rules.
        areas_px: (phase, slice): the areas that count by the rule used; nan where not segmented.

    Returns:
        (phase, slice), px², for each rule; empty if the segmentation has no `presence`.
    """
    presence = segmentation.presence
    if presence is None:
        return {}
    every = areas_px.copy()
    for (structure, phase, place), polygons in presence.set_aside.items():
        if structure is Structure.CAVITY:
            every[phase, place] = area_px(polygons)
    # A person has the last word: a contour that was drawn or removed by hand counts (or not) by every rule. Without
    # this, an edited basal slice would return to the network's contour in the numbers of the other rules.
    edited = np.zeros(areas_px.shape, dtype=bool)
    for _, phase, place in segmentation.origins:
        edited[phase, place] = True
    counted = {
        rule: np.where(edited, areas_px, np.where(inside | np.isnan(every), every, 0.0))
        for rule, inside in presence.inside.items()
    }
    return counted | {presence.rule: areas_px}


def volumes_by_rule(
    areas: dict[BaseRule, Floats], *, ml_a_px: Floats | None, given: tuple[int | None, int | None], beat: Beat
) -> tuple[BaseVolumes, ...]:
    """EDV, ESV and EF by each rule, at the ED and ES of its own curve.

    Args:
        areas: from `areas_by_rule`.
        ml_a_px: (slice,), the ml that one square pixel of a slice stands for; None if there are no volumes.
        given: ED and ES as given, or None each.
        beat: the measured beat.
    """
    results = []
    for rule in (rule for rule in BaseRule if rule in areas):
        volumes = None if ml_a_px is None else areas[rule] @ ml_a_px
        curve = volume_curve(areas[rule], volumes)
        if not np.any(curve[beat.inside] > 0):
            results.append(BaseVolumes(rule, None, None, edv_ml=None, esv_ml=None, ef_percent=None))
            continue
        ed = beat.phases[0] + int(np.nanargmax(curve[beat.inside])) if given[0] is None else given[0]
        es = beat.phases[0] + int(np.nanargmin(curve[beat.inside])) if given[1] is None else given[1]
        beats = ed != es and curve[ed] > 0
        results.append(
            BaseVolumes(
                rule,
                ed,
                es if beats else None,
                edv_ml=None if volumes is None else float(volumes[ed]),
                esv_ml=float(volumes[es]) if volumes is not None and beats else None,
                ef_percent=float(100 * (curve[ed] - curve[es]) / curve[ed]) if beats else None,
            )
        )
    return tuple(results)
