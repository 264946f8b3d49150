"""Losses, in keras.ops: they train on any backend of Keras."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="cinesax")
class CrossEntropyDice(keras.losses.Loss):
    """Cross-entropy plus soft Dice of the structures, the Dice taken over the whole batch.

    Over the batch, because a slice near the apex has a few pixels of cavity or none: its own Dice says little and
    its gradient is wild. Source: Milletari et al., V-Net, 3DV 2016 (soft Dice); Isensee et al., nnU-Net, Nature
    Methods 2021 (batch Dice beside cross-entropy).

    Inputs: one-hot labels and probabilities, both (batch, row, column, classes).
    """

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        """The loss, a scalar."""
        entropy = ops.mean(keras.losses.categorical_crossentropy(y_true, y_pred))
        truth, guess = y_true[..., 1:], y_pred[..., 1:]
        both = ops.sum(truth * guess, axis=(0, 1, 2))
        total = ops.sum(truth, axis=(0, 1, 2)) + ops.sum(guess, axis=(0, 1, 2))
        dice = (2 * both + 1) / (total + 1)
        return entropy + 1 - ops.mean(dice)
