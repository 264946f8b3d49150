"""Losses, in keras.ops: they train on any backend of Keras.

Labels are vectors over the classes. One 1 is a known class. All zeros, or all ones, are an unknown pixel: it counts
nowhere. Else the ones are the classes that the pixel may have: where only the cavity of a slice was drawn, every pixel
outside of it is "background or myocardium": the network learns that it is not cavity, and nothing else.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import keras
from keras import ops


class DiceOver(StrEnum):
    """What the soft Dice is taken over."""

    BATCH = "batch"
    SLICE = "slice"
    BOTH = "both"


Shares = Sequence[float]
DICE: Shares = (0.5, 0.5)

# In square pixels of the framed image: 35 square centimetres, a large cavity.
_LARGE_PX = 1800.0
# In square pixels: with few pixels in truth, the loss of a slice stays finite and smooth.
_SMOOTH_PX = {DiceOver.BATCH: 1.0, DiceOver.SLICE: 10.0}


def decided(labels: keras.KerasTensor) -> keras.KerasTensor:
    """1 where it is known whether a pixel is of a class or not, else 0.

    Args:
        labels: (..., classes), float32, 0 or 1.

    Returns:
        (..., classes), float32: all 1 for a known class, all 0 for an unknown pixel; where several classes are
        possible, 1 for those that are not.
    """
    possible = ops.sum(labels, axis=-1, keepdims=True)
    open_question = ops.cast(possible > 1.5, labels.dtype) * labels
    return ops.cast(possible > 0.5, labels.dtype) - open_question


@keras.saving.register_keras_serializable(package="cinesax")
class CrossEntropyDice(keras.losses.Loss):
    """Cross-entropy plus soft Dice of the structures, over what is known of the labels.

    The Dice is taken over the whole batch, or over each slice and then averaged. Over the batch a training begins
    more calmly: a slice near the apex has a few pixels of cavity or none, its own Dice says little and its gradient
    is wild. Over slices it is what a network is judged by: small slices count as much as large ones. Both: the mean of
    the two. Keras's own
    Dice has no smoothing, which a slice without LV needs.

    Dice counts a pixel too much and a pixel too little alike. `false_positives` is the share of the first, 0 to 1, in
    the index of a slice where the structure is small, and where it is large; between them it changes with the area in
    truth (0.5: Dice; else it is Tversky's index). Where labels contradict one another, a network draws what is small
    too large and what is large too small: a share above 0.5 for the small, below it for the large, takes that back.

    Sources: Milletari et al., V-Net, 3DV 2016 (soft Dice); Salehi et al., Tversky loss, MLMI 2017; Isensee et al.,
    nnU-Net, Nature Methods 2021 (batch Dice beside cross-entropy); Shi et al., Marginal loss and exclusion loss,
    Medical Image Analysis 2021 (several possible classes: the probability of any of them counts).

    Inputs: labels (see the top of this file) and probabilities, both (batch, row, column, classes).
    """

    def __init__(self, over: DiceOver = DiceOver.BATCH, *, false_positives: Shares = DICE, **options: Any) -> None:
        super().__init__(**options)
        self.over = DiceOver(over)
        self.false_positives = (float(false_positives[0]), float(false_positives[1]))

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        """The loss, (batch,): that of the whole batch for each, because Keras shares only what it reduces itself.

        Of a scalar, several devices would add up their gradients instead of taking the mean.
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
        wrong = share * (ops.sum(guess, axis=(1, 2)) - both) + (1 - share) * (area - both)
        if over is DiceOver.BATCH:
            both, wrong = ops.sum(both, axis=0), ops.sum(wrong, axis=0)
        smooth = _SMOOTH_PX[over] / 2
        return ops.mean((both + smooth) / (both + wrong + smooth))

    def get_config(self) -> dict[str, Any]:
        """For saving."""
        return {**super().get_config(), "over": str(self.over), "false_positives": list(self.false_positives)}


def _cross_entropy(y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
    # The mean over known pixels of minus the logarithm of the probability of the possible classes together. Keras's
    # function, which goes back to the logits, stays exact where a probability rounds to 0 or 1. It wants one
    # distribution a pixel: between several possible classes, the one that the network has now. Its gradient is that
    # of the logarithm of their sum, and its value is too once its own entropy is taken off.
    possible = ops.sum(y_true, axis=-1, keepdims=True)
    among = ops.stop_gradient(y_true * ops.maximum(y_pred, 1e-7))
    several = possible > 1.5
    target = ops.where(several, among / ops.maximum(ops.sum(among, axis=-1, keepdims=True), 1e-7), y_true)
    own = ops.sum(ops.where(several, target * ops.log(ops.maximum(target, 1e-7)), 0.0), axis=-1)
    entropy = keras.losses.categorical_crossentropy(target, y_pred) + own
    says_something = ops.logical_and(possible > 0.5, possible < y_true.shape[-1] - 0.5)
    known = ops.cast(says_something[..., 0], y_pred.dtype)
    return ops.sum(entropy * known) / ops.maximum(ops.sum(known), 1.0)
