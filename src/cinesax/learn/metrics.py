"""Metrics, in keras.ops: they work on any backend of Keras."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="cinesax")
class SliceDice(keras.metrics.Metric):
    """Mean over slices of the Dice of all structures together, on hard labels, nothing left out.

    A slice that is empty in truth counts 1 when it is empty in the prediction and 0 when it is not.
    """

    def __init__(self, name: str = "dice", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.total = self.add_weight(name="total", initializer="zeros")
        self.count = self.add_weight(name="count", initializer="zeros")

    def update_state(
        self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor, sample_weight: keras.KerasTensor | None = None
    ) -> None:
        """Add a batch: one-hot labels and probabilities, both (batch, row, column, classes)."""
        truth = ops.cast(ops.argmax(y_true, axis=-1) > 0, "float32")
        guess = ops.cast(ops.argmax(y_pred, axis=-1) > 0, "float32")
        both = ops.sum(truth * guess, axis=(1, 2))
        total = ops.sum(truth, axis=(1, 2)) + ops.sum(guess, axis=(1, 2))
        dice = ops.where(total > 0, 2 * both / ops.maximum(total, 1), 1.0)
        self.total.assign_add(ops.sum(dice))
        self.count.assign_add(ops.cast(ops.shape(dice)[0], "float32"))

    def result(self) -> keras.KerasTensor:
        """The mean so far, a scalar."""
        return self.total / ops.maximum(self.count, 1)
