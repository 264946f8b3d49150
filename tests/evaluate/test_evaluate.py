"""Scores that leave nothing out."""

import json

import numpy as np
import pytest

from cinesax.core.cine import Cine
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import Structure
from cinesax.evaluate import LabelledStudy, dice, evaluate


def study(case: str, truths: list[np.ndarray]) -> LabelledStudy:
    labels = np.stack(truths)[None].astype(np.uint8)
    cine = Cine(labels.astype(np.uint16) * 100, None)
    truth = Segmentation(labels, {Structure.CAVITY: np.ones(1, dtype=bool)})
    return LabelledStudy(case, {(0, i): f"{case}-{i}" for i in range(len(truths))}, cine, truth)


def segmenter_that_returns(masks: dict[str, list[np.ndarray]], order: list[str]):
    queue = iter(order)

    def segment(cine: Cine) -> Segmentation:
        labels = np.stack(masks[next(queue)])[None].astype(np.uint8)
        return Segmentation(labels, {Structure.CAVITY: np.ones(1, dtype=bool)})

    return segment


def box(rows: slice) -> np.ndarray:
    mask = np.zeros((10, 10), dtype=bool)
    mask[rows, 2:6] = True
    return mask


EMPTY = np.zeros((10, 10), dtype=bool)


def test_dice_of_empty_masks_is_agreement_and_of_one_empty_mask_is_none():
    assert dice(EMPTY, EMPTY) == 1
    assert dice(box(slice(0, 3)), EMPTY) == 0
    assert dice(EMPTY, box(slice(0, 3))) == 0
    assert dice(box(slice(0, 4)), box(slice(2, 6))) == pytest.approx(0.5)


def test_misses_and_false_positives_count_in_the_mean():
    truths = {"A": [box(slice(0, 4)), EMPTY], "B": [box(slice(0, 4)), EMPTY]}
    masks = {"A": [box(slice(0, 4)), EMPTY], "B": [EMPTY, box(slice(5, 6))]}
    result = evaluate([study(c, t) for c, t in truths.items()], segmenter_that_returns(masks, ["A", "B"]))
    assert result.dice.tolist() == [1, 1, 0, 0]
    assert (result.misses, result.false_positives) == (1, 1)
    written = json.loads(json.dumps(result.to_dict()))
    assert written["schema"] == "cinesax/evaluation/1"
    assert written["n"] == 4
    assert written["dice"] == {"mean": 0.5, "median": 0.5, "std": 0.5, "min": 0.0}
    assert written["cases"] == {"A": {"n": 2, "dice_mean": 1.0}, "B": {"n": 2, "dice_mean": 0.0}}
    assert [s["name"] for s in written["slices"]] == ["A-0", "A-1", "B-0", "B-1"]
    assert [s.name for s in result.worst(2)] == ["B-0", "B-1"]


def test_a_perfect_segmenter_has_dice_one_on_a_phantom():
    from cinesax.phantom import draw_settings, make_truth

    settings = draw_settings(3, n_phases=12)
    _, truth, _ = make_truth(settings)
    cine = Cine(np.zeros(truth.labels.shape, np.uint8), None)
    names = {(p, s): f"{p}-{s}" for p in range(12) for s in range(truth.labels.shape[1])}
    result = evaluate([LabelledStudy("P", names, cine, truth)], lambda _: truth)
    assert result.dice.min() == 1
