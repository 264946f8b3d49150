"""Metrics, in keras.ops: they work on any backend of Keras.

Labels are those of `losses`: unknown pixels never count.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from cinesax.train.nets.losses import decided


def overlap(
    y_true: keras.KerasTensor, y_pred: keras.KerasTensor, structure: int | None
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Intersection and sum of both areas of hard labels, for each slice.

    Args:
        y_true: labels (batch, row, column, classes).
        y_pred: probabilities, likewise.
        structure: the class; None: all classes except the background, together.

    Returns:
        Two arrays (batch,), float32, in pixels. A pixel counts only if the label decides whether it belongs to the
        structure.
    """
    chosen = ops.argmax(y_pred, axis=-1)
    known = decided(y_true)
    if structure is None:
        truth, guess, known = 1 - y_true[..., 0], ops.cast(chosen > 0, "float32"), known[..., 0]
    else:
        truth, guess = y_true[..., structure], ops.cast(chosen == structure, "float32")
        known = known[..., structure]
    truth, guess = truth * known, guess * known
    return ops.sum(truth * guess, axis=(1, 2)), ops.sum(truth, axis=(1, 2)) + ops.sum(guess, axis=(1, 2))


def _is_known(y_true: keras.KerasTensor, structure: int | None) -> keras.KerasTensor:
    """(batch,), float32: 1 if the slice shows the structure or is known to lack it; 0 if it may be there undrawn."""
    known = decided(y_true)[..., structure or 0]
    shown = 1 - y_true[..., 0] if structure is None else y_true[..., structure]
    drawn = ops.max(shown * known, axis=(1, 2)) > 0
    whole = ops.min(known, axis=(1, 2)) > 0
    return ops.cast(ops.logical_or(drawn, whole), "float32")


class _SliceMean(keras.metrics.Metric):
    """The mean over slices of an overlap measure, without slices in which the structure is unknown."""

    def __init__(self, structure: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.structure = structure
        self.total = self.add_weight(name="total", initializer="zeros")
        self.count = self.add_weight(name="count", initializer="zeros")

    def measure(self, both: keras.KerasTensor, total: keras.KerasTensor) -> keras.KerasTensor:
        """The measure of each slice, from the intersection and the sum of both areas."""
        raise NotImplementedError

    def update_state(
        self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor, sample_weight: keras.KerasTensor | None = None
    ) -> None:
        """Add a batch: labels and probabilities, both (batch, row, column, classes)."""
        y_true = ops.cast(y_true, "float32")
        both, total = overlap(y_true, y_pred, self.structure)
        value = ops.where(total > 0, self.measure(both, ops.maximum(total, 1.0)), 1.0)
        known = _is_known(y_true, self.structure)
        self.total.assign_add(ops.sum(value * known))
        self.count.assign_add(ops.sum(known))

    def result(self) -> keras.KerasTensor:
        """The mean so far, a scalar."""
        return self.total / ops.maximum(self.count, 1.0)

    def get_config(self) -> dict[str, Any]:
        """For saving."""
        return {**super().get_config(), "structure": self.structure}


@keras.saving.register_keras_serializable(package="cinesax")
class SliceDice(_SliceMean):
    """Mean over slices of the Dice of one structure, or of all together, on hard labels.

    A slice with an empty truth counts 1 if the prediction is empty, otherwise 0.
    """

    def __init__(self, structure: int | None = None, *, name: str = "dice", **options: Any) -> None:
        super().__init__(structure, name=name, **options)

    def measure(self, both: keras.KerasTensor, total: keras.KerasTensor) -> keras.KerasTensor:
        """Twice the intersection over the sum of both areas."""
        return 2 * both / total


@keras.saving.register_keras_serializable(package="cinesax")
class MeanDice(keras.metrics.Metric):
    """The mean over structures of their `SliceDice`, without structures that no slice knows.

    The Dice of all structures together would not do: where only some were drawn, the rest of the slice may be anything,
    and a network that draws anything there would have a Dice of nearly 1.
    """

    def __init__(self, structures: int, *, name: str = "dice", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.structures = structures
        self.each = [SliceDice(number) for number in range(1, structures + 1)]

    def update_state(
        self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor, sample_weight: keras.KerasTensor | None = None
    ) -> None:
        """Add a batch: labels and probabilities, both (batch, row, column, classes)."""
        for dice in self.each:
            dice.update_state(y_true, y_pred)

    def result(self) -> keras.KerasTensor:
        """The mean so far, a scalar."""
        seen = [ops.cast(dice.count > 0, "float32") for dice in self.each]
        return sum(dice.result() for dice in self.each) / ops.maximum(sum(seen), 1.0)

    def get_config(self) -> dict[str, Any]:
        """For saving."""
        return {**super().get_config(), "structures": self.structures}


@keras.saving.register_keras_serializable(package="cinesax")
class SliceIoU(_SliceMean):
    """Mean over slices of the intersection over union, counted like `SliceDice`."""

    def __init__(self, structure: int | None = None, *, name: str = "iou", **options: Any) -> None:
        super().__init__(structure, name=name, **options)

    def measure(self, both: keras.KerasTensor, total: keras.KerasTensor) -> keras.KerasTensor:
        """Intersection over union."""
        return both / ops.maximum(total - both, 1.0)


@keras.saving.register_keras_serializable(package="cinesax")
class PixelAccuracy(keras.metrics.Mean):
    """The share of known pixels whose most probable class is right; high even for a network that predicts nothing."""

    def __init__(self, name: str = "accuracy", **options: Any) -> None:
        super().__init__(name=name, **options)

    def update_state(
        self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor, sample_weight: keras.KerasTensor | None = None
    ) -> None:
        """Add a batch: labels and probabilities, both (batch, row, column, classes)."""
        y_true = ops.cast(y_true, "float32")
        known = ops.cast(ops.abs(ops.sum(y_true, axis=-1) - 1) < 0.5, "float32")
        right = ops.cast(ops.argmax(y_true, axis=-1) == ops.argmax(y_pred, axis=-1), "float32")
        super().update_state(right, sample_weight=known)


def metrics(classes: Sequence[str]) -> list[keras.metrics.Metric]:
    """The metrics of a training.

    Args:
        classes: the names of the channels, background first.

    Returns:
        accuracy, dice (the mean of the structures), and dice_NAME and iou_NAME of each structure.
    """
    each = [
        metric
        for number, name in enumerate(classes[1:], start=1)
        for metric in (SliceDice(number, name=f"dice_{name}"), SliceIoU(number, name=f"iou_{name}"))
    ]
    return [PixelAccuracy(), MeanDice(len(classes) - 1), *each]
