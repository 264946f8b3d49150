"""Losses, in keras.ops: they train on any backend of Keras."""

from enum import StrEnum
from typing import Any

import keras
from keras import ops


class DiceOver(StrEnum):
    """What the soft Dice is taken over."""

    BATCH = "batch"
    SLICE = "slice"


@keras.saving.register_keras_serializable(package="cinesax")
class CrossEntropyDice(keras.losses.Loss):
    """Cross-entropy plus soft Dice of the structures.

    The Dice is taken over the whole batch, or over each slice and then averaged. Over the batch a training begins
    more calmly: a slice near the apex has a few pixels of cavity or none, its own Dice says little and its gradient
    is wild. Over slices it is what a network is judged by: small slices count as much as large ones.

    Sources: Milletari et al., V-Net, 3DV 2016 (soft Dice); Isensee et al., nnU-Net, Nature Methods 2021 (batch Dice
    beside cross-entropy).

    Inputs: one-hot labels and probabilities, both (batch, row, column, classes).
    """

    def __init__(self, over: DiceOver = DiceOver.BATCH, **options: Any) -> None:
        super().__init__(**options)
        self.over = DiceOver(over)
        # In square pixels: with few pixels in truth, the loss of a slice stays finite and smooth.
        self.smooth = 1.0 if self.over is DiceOver.BATCH else 10.0

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        """The loss, a scalar."""
        entropy = ops.mean(keras.losses.categorical_crossentropy(y_true, y_pred))
        truth, guess = y_true[..., 1:], y_pred[..., 1:]
        axes = (0, 1, 2) if self.over is DiceOver.BATCH else (1, 2)
        both = ops.sum(truth * guess, axis=axes)
        total = ops.sum(truth, axis=axes) + ops.sum(guess, axis=axes)
        dice = (2 * both + self.smooth) / (total + self.smooth)
        return entropy + 1 - ops.mean(dice)

    def get_config(self) -> dict[str, Any]:
        """For saving."""
        return {**super().get_config(), "over": str(self.over)}
