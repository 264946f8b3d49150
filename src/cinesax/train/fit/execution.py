"""How a training runs, whatever it learns: devices, XLA, and the same result to the last bit."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
from rich.console import Console

# TensorFlow has no public name for switching its deterministic operations off again; Keras asks this module too.
from tensorflow.python.framework import config as process

from cinesax.core.errors import UsageError
from cinesax.train.fit.config import Precision, TrainConfig


@dataclass(frozen=True, slots=True)
class Execution:
    """How a training runs, whatever it learns.

    Attributes:
        threads: processor threads for the augmentation.
        deterministic: the same seed gives the same weights to the last bit, also after an interruption; somewhat
            slower. Another training in the same process afterwards is as fast as ever.
        eager: run step by step, for debugging; slow.
        devices: devices to train on with data parallelism, such as ("GPU:0", "GPU:1"); None: all GPUs if there are
            several.
        command: the user's command line, for the run folder.
    """

    threads: int = 2
    deterministic: bool = False
    eager: bool = False
    devices: tuple[str, ...] | None = None
    command: str = "from Python"


@contextmanager
def tensorflow_options(config: TrainConfig, execution: Execution) -> Iterator[None]:
    """Set what TensorFlow knows only for the whole process, and afterwards leave it as it was.

    Otherwise a deterministic training would make every later one in the same notebook slow, and XLA impossible.
    """
    deterministic_before = process.is_op_determinism_enabled()
    bfloat16 = "auto_mixed_precision_onednn_bfloat16"
    bfloat16_before = tf.config.optimizer.get_experimental_options().get(bfloat16, False)
    if execution.deterministic:
        tf.config.experimental.enable_op_determinism()
    tf.config.optimizer.set_experimental_options({bfloat16: config.precision is Precision.ONEDNN_BFLOAT16})
    try:
        yield
    finally:
        if not deterministic_before:
            process.disable_op_determinism()
        tf.config.optimizer.set_experimental_options({bfloat16: bfloat16_before})


def set_execution(model: keras.Model, config: TrainConfig, execution: Execution, console: Console) -> None:
    """Choose between step by step, a graph and XLA; say so where XLA was wanted and is impossible."""
    wanted = config.xla and not execution.eager and not execution.deterministic
    model.run_eagerly = execution.eager
    with warnings.catch_warnings():
        # Keras knows when XLA is impossible, and leaves it off with a warning.
        warnings.filterwarnings("ignore", message="Model doesn't support `jit_compile=True`")
        model.jit_compile = wanted
    if wanted and not model.jit_compile:
        deterministic = process.is_op_determinism_enabled()
        reason = (
            "TensorFlow's deterministic operations are switched on in this process"
            if deterministic
            else "Keras cannot use it here"
        )
        console.print(f"trains without XLA: {reason}", highlight=False, soft_wrap=True)


# `cinesax[train]` installs TensorFlow for the CPU on Linux.
_NO_GPU = ". For a GPU, install the package tensorflow[and-cuda] instead of tensorflow-cpu (docs/training.md)"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(name or "''" for name in names)


def check_devices(execution: Execution, *, batch: int | None = None) -> tuple[str, ...]:
    """The devices to train on; none: the processor.

    Args:
        execution: may name them.
        batch: number of images that they are to share.

    Raises:
        UsageError: they cannot share a batch evenly, TensorFlow sees no such device, or one is named twice.
    """
    named = execution.devices
    devices = tuple(f"GPU:{n}" for n in range(len(tf.config.list_logical_devices("GPU")))) if named is None else named
    if batch is not None and devices and batch % len(devices):
        raise UsageError(f"a batch of {batch} cannot be shared evenly by {len(devices)} devices")
    known = [device.name.removeprefix("/device:") for device in tf.config.list_logical_devices()]
    unknown = [name for name in devices if name not in known]
    if unknown:
        raise UsageError(f"TensorFlow sees no device {_listed(unknown)}; it sees {_listed(known)}{_NO_GPU}")
    twice = [name for name in devices if devices.count(name) > 1]
    if twice:
        raise UsageError(f"the device {twice[0]} is named twice; name each once")
    return devices


def device_scope(execution: Execution) -> Any:
    """The context in which a network is made and trained on the chosen devices; see `check_devices`."""
    devices = check_devices(execution)
    if not devices:
        return nullcontext()
    if len(devices) == 1:
        return tf.device(devices[0])
    return tf.distribute.MirroredStrategy(list(devices)).scope()
