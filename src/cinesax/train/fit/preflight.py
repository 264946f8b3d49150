"""Estimate, before a training starts, the memory and time that it needs."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from cinesax.train.fit.display import duration
from cinesax.train.nets.cost import cost

# The backward pass costs about twice the forward pass; it keeps each layer's output and its gradient.
_BACK_AND_FORTH = 3
_KEPT = 2
# Weights, gradients, two moments of AdamW and EMA: five times 4 bytes per parameter.
_BYTES_A_PARAMETER = 20
# TensorFlow itself while it works; measured: 0.6 to 0.7 GB.
_LIBRARIES_BYTES = 650_000_000


@dataclass(frozen=True, slots=True)
class Preflight:
    """What a training is expected to need.

    Attributes:
        memory_bytes: estimated peak memory.
        seconds: estimated time; None if nothing is left to do.
        device: the device that it runs on.
    """

    memory_bytes: int
    seconds: float | None
    device: str

    def line(self) -> str:
        """The estimate in words."""
        free = free_bytes()
        short = free is not None and self.memory_bytes > free
        there = "" if free is None else f" ({free / 1e9:.1f} GB free{': too little' if short else ''})"
        lasts = "nothing left to do" if self.seconds is None else f"at least {duration(self.seconds)}"
        return f"preflight: about {self.memory_bytes / 1e9:.1f} GB of memory{there}, {lasts}, on {self.device}"


def free_bytes(system: Path = Path("/")) -> int | None:
    """Memory that a new program can get, or None if the system does not report it (Windows, macOS).

    Files that Linux keeps in memory only to read them faster count as free. In a container, its limit counts as well.

    Args:
        system: the folder of proc and sys.
    """
    try:
        facts = (system / "proc/meminfo").read_text()
        free = next(int(line.split()[1]) * 1024 for line in facts.splitlines() if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    group = system / "sys/fs/cgroup"
    try:
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        cached = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())["inactive_file"]
    except (OSError, ValueError, KeyError):  # no container, or one without a limit, which is "max"
        return free
    return min(free, max(0, limit - used + int(cached)))


def device_name(threads: int) -> str:
    """The devices that TensorFlow sees."""
    cards = tf.config.list_physical_devices("GPU")
    if not cards:
        return f"CPU, {threads} thread{'s' if threads > 1 else ''}"
    return ", ".join(
        str(tf.config.experimental.get_device_details(card).get("device_name", card.name)) for card in cards
    )


def preflight(
    model: keras.Model,
    batches: Any,
    *,
    steps: int,
    images_bytes: int,
    threads: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Preflight:
    """Measure the forward pass of one batch, and extrapolate.

    Args:
        model: the network.
        batches: batches of the training.
        steps: batches still to train.
        images_bytes: memory that the training images take.
        threads: processor threads.
        clock: returns the time in seconds.

    Returns:
        The estimate. The time per step is three forward passes plus making the batch. It is a lower bound: other work
        on the machine, validation and the first compilation come on top. After each epoch, `Display` prints the time
        left at the measured speed.
    """
    source = iter(batches)
    images, _ = next(source)
    size, batch = int(images.shape[1]), int(images.shape[0])
    costs = cost(model, size)
    memory = (
        _LIBRARIES_BYTES + images_bytes + costs.parameters * _BYTES_A_PARAMETER + costs.activation_bytes * batch * _KEPT
    )
    if steps < 1:
        return Preflight(memory, None, device_name(threads))
    began = clock()
    for _ in range(2):
        next(source)
    made = (clock() - began) / 2
    forward = tf.function(lambda x: model(x, training=False))
    forward(images)  # the first one plans
    began = clock()
    forward(images)
    seconds = steps * ((clock() - began) * _BACK_AND_FORTH + made)
    return Preflight(memory, seconds, device_name(threads))
