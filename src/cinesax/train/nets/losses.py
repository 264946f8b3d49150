"""Losses, in keras.ops: they train on any backend of Keras.

Labels are vectors over the classes. One 1 is a known class. All zeros, or all ones, are an unknown pixel, which never
counts. Otherwise the ones are the classes that the pixel may have: if only the cavity of a slice was drawn, every pixel
outside it is "background or myocardium", and the network learns only that it is not cavity.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import keras
from keras import ops


class DiceOver(StrEnum):
    """What the soft Dice is computed over."""

    BATCH = "batch"
    SLICE = "slice"
    BOTH = "both"


Shares = Sequence[float]
DICE: Shares = (0.5, 0.5)

# In square pixels of the framed image: 35 square centimetres, a large cavity.
_LARGE_PX = 1800.0
# In square pixels: keeps the loss of a slice finite and smooth if the truth has few pixels.
_SMOOTH_PX = {DiceOver.BATCH: 1.0, DiceOver.SLICE: 10.0}


def decided(labels: keras.KerasTensor) -> keras.KerasTensor:
    """1 if the label decides whether a pixel belongs to a class, otherwise 0.

    Args:
        labels: (..., classes), float32, 0 or 1.

    Returns:
        (..., classes), float32: all 1 for a known class, all 0 for an unknown pixel; if several classes are possible, 1
        for the impossible classes.
    """
    possible = ops.sum(labels, axis=-1, keepdims=True)
    open_question = ops.cast(possible > 1.5, labels.dtype) * labels
    return ops.cast(possible > 0.5, labels.dtype) - open_question


@keras.saving.register_keras_serializable(package="cinesax")
class CrossEntropyDice(keras.losses.Loss):
    """Cross-entropy plus soft Dice of the structures, over the known labels.

    The Dice is computed over the whole batch, or over each slice and then averaged. Over the batch, training starts
    more calmly: a slice near the apex has few pixels of cavity or none, so its own Dice says little and has a wild
    gradient. Over slices, the loss matches the evaluation: small slices count as much as large ones. BOTH is the mean
    of the two. Keras's own Dice has no smoothing, which a slice without LV needs.

    Dice weighs false positive and false negative pixels alike. `false_positives` holds two Tversky weights of false
    positives of the first structure (the LV cavity), 0 to 1: for slices with a small and with a large structure; in
    between, the weight changes with the true area (0.5 is Dice). If labels contradict each other, a network draws small
    structures too large and large ones too small. A weight above 0.5 for small and below 0.5 for large structures
    corrects this. The other structures always have 0.5: with the weights of the LV, a network drew too little RV.

    Sources: Milletari et al., V-Net, 3DV 2016 (soft Dice); Salehi et al., Tversky loss, MLMI 2017; Isensee et al.,
    nnU-Net, Nature Methods 2021 (batch Dice with cross-entropy); Shi et al., Marginal loss and exclusion loss, Medical
    Image Analysis 2021 (several possible classes: their probabilities are summed).

    Inputs: labels (see the top of this file) and probabilities, both (batch, row, column, classes).
    """

    def __init__(self, over: DiceOver = DiceOver.BATCH, *, false_positives: Shares = DICE, **options: Any) -> None:
        super().__init__(**options)
        self.over = DiceOver(over)
        self.false_positives = (float(false_positives[0]), float(false_positives[1]))

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        """The loss, (batch,): each value is the loss of the whole batch, so that Keras itself reduces it.

        With a scalar, several devices would add their gradients instead of averaging them.
        """
        loss = _cross_entropy(y_true, y_pred) + 1 - self._dice(y_true, y_pred)
        return ops.broadcast_to(loss, (ops.shape(y_pred)[0],))

    def _dice(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        known = decided(y_true)[..., 1:]
        truth, guess = y_true[..., 1:] * known, y_pred[..., 1:] * known
        kinds = (DiceOver.BATCH, DiceOver.SLICE) if self.over is DiceOver.BOTH else (self.over,)
        return sum(self._index(truth, guess, over) for over in kinds) / len(kinds)

    def _index(self, truth: keras.KerasTensor, guess: keras.KerasTensor, over: DiceOver) -> keras.KerasTensor:
        # Each (batch, classes), or (classes,) once summed over the batch.
        both, area = ops.sum(truth * guess, axis=(1, 2)), ops.sum(truth, axis=(1, 2))
        small, large = self.false_positives
        share = small + (large - small) * ops.minimum(area / _LARGE_PX, 1.0)
        share = ops.concatenate([share[:, :1], ops.full_like(share[:, 1:], 0.5)], axis=1)
        wrong = share * (ops.sum(guess, axis=(1, 2)) - both) + (1 - share) * (area - both)
        if over is DiceOver.BATCH:
            both, wrong = ops.sum(both, axis=0), ops.sum(wrong, axis=0)
        smooth = _SMOOTH_PX[over] / 2
        return ops.mean((both + smooth) / (both + wrong + smooth))

    def get_config(self) -> dict[str, Any]:
        """The settings, for saving."""
        return {**super().get_config(), "over": str(self.over), "false_positives": list(self.false_positives)}


def _cross_entropy(y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
    # The mean over known pixels of -log(sum of the probabilities of the possible classes). Keras's function goes back
    # to the logits, so it stays exact if a probability rounds to 0 or 1. It needs one target distribution per pixel:
    # for several possible classes, the network's current distribution over them. Then its gradient equals that of the
    # logarithm of their sum, and so does its value after subtracting the entropy of the target.
    possible = ops.sum(y_true, axis=-1, keepdims=True)
    among = ops.stop_gradient(y_true * ops.maximum(y_pred, 1e-7))
    several = possible > 1.5
    target = ops.where(several, among / ops.maximum(ops.sum(among, axis=-1, keepdims=True), 1e-7), y_true)
    own = ops.sum(ops.where(several, target * ops.log(ops.maximum(target, 1e-7)), 0.0), axis=-1)
    entropy = keras.losses.categorical_crossentropy(target, y_pred) + own
    says_something = ops.logical_and(possible > 0.5, possible < y_true.shape[-1] - 0.5)
    known = ops.cast(says_something[..., 0], y_pred.dtype)
    return ops.sum(entropy * known) / ops.maximum(ops.sum(known), 1.0)
