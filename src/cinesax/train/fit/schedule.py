"""The learning rate over a training and its later extensions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

# The part of the highest rate that a stage ends with.
FINAL_PART = 1e-3


@dataclass(frozen=True, slots=True)
class Stage:
    """Epochs that were requested together.

    Attributes:
        epochs: number of epochs.
        learning_rate: the highest rate; None: constant at the rate with which the previous stage ended.
    """

    epochs: int
    learning_rate: float | None


@keras.saving.register_keras_serializable(package="cinesax")
class Rate(keras.optimizers.schedules.LearningRateSchedule):
    """In each stage: a linear rise to the highest rate, then a cosine decay to a thousandth of it.

    A stage without its own rate keeps the current one. So a finished training that gets more epochs continues at its
    last rate; the rate jumps only if the user gives one.

    Source: Loshchilov and Hutter, SGDR, ICLR 2017 (cosine).

    Args:
        stages: (steps, highest rate or None) of each stage.
        warmup_steps: steps of the rise; at most a quarter of the stage.
    """

    def __init__(self, stages: Sequence[Sequence[Any]], warmup_steps: int) -> None:
        self.stages = [(int(steps), None if peak is None else float(peak)) for steps, peak in stages]
        self.warmup_steps = int(warmup_steps)

    def __call__(self, step: Any) -> Any:
        """The rate at this step, counted from 0 over all stages."""
        step = ops.cast(step, "float32")
        first, start, rate = 0, 0.0, ops.zeros_like(step)
        for steps, peak in self.stages:
            staged = self._stage(step - first, steps, start, peak)
            rate = ops.where(step >= first, staged, rate)
            first, start = first + steps, start if peak is None else peak * FINAL_PART
        return rate

    def _stage(self, step: Any, steps: int, start: float, peak: float | None) -> Any:
        if peak is None:
            return ops.zeros_like(step) + start
        rise = min(self.warmup_steps, steps // 4)
        part = ops.clip((step - rise) / max(1, steps - rise), 0.0, 1.0)
        fall = peak * (FINAL_PART + (1 - FINAL_PART) * 0.5 * (1 + ops.cos(math.pi * part)))
        return ops.where(step < rise, start + (peak - start) * step / max(1, rise), fall)

    def get_config(self) -> dict[str, Any]:
        """For saving."""
        return {"stages": [list(stage) for stage in self.stages], "warmup_steps": self.warmup_steps}
