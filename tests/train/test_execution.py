"""What a training sets for the whole process is gone when it ends: the next one in the same notebook is a fresh one."""

import io
from dataclasses import replace

import keras
import pytest

pytest.importorskip("tensorflow")

import tensorflow as tf  # noqa: E402
from rich.console import Console  # noqa: E402
from tensorflow.python.framework import config as process  # noqa: E402

from cinesax.train.fit.config import Precision  # noqa: E402
from cinesax.train.fit.execution import Execution  # noqa: E402
from cinesax.train.fit.preflight import Preflight  # noqa: E402
from cinesax.train.fit.train import train  # noqa: E402

from .conftest import QUICK  # noqa: E402

XLA = replace(QUICK, xla=True)
BFLOAT16 = replace(QUICK, precision=Precision.ONEDNN_BFLOAT16)


class _EnoughError(Exception):
    """Ends a training before its first step."""


@pytest.fixture
def begun(discs, tmp_path, monkeypatch):
    """Begin a training, and see what it set: deterministic, XLA, bfloat16, and what it printed."""
    seen = []

    def fit(model, *_args, **_options):
        bfloat16 = tf.config.optimizer.get_experimental_options().get("auto_mixed_precision_onednn_bfloat16", False)
        seen.append((process.is_op_determinism_enabled(), model.jit_compile, bfloat16))
        raise _EnoughError

    monkeypatch.setattr(keras.Model, "fit", fit)
    monkeypatch.setattr("cinesax.train.fit.train.preflight", lambda *_, **__: Preflight(0, None, "CPU"))

    def begin(config, **execution):
        console = Console(file=io.StringIO(), width=200)
        with pytest.raises(_EnoughError):
            train(discs, tmp_path / f"run {len(seen)}", config, execution=Execution(**execution), console=console)
        return *seen[-1], console.file.getvalue()

    return begin


def test_a_deterministic_training_leaves_the_next_one_as_it_found_it(begun):
    assert begun(XLA, deterministic=True)[:3] == (True, False, False)
    assert begun(BFLOAT16)[:3] == (False, False, True)
    *switches, printed = begun(XLA)
    assert switches == [False, True, False] and "XLA" not in printed


def test_in_a_notebook_that_is_deterministic_itself_a_training_does_without_xla_and_says_so(begun):
    tf.config.experimental.enable_op_determinism()
    try:
        *switches, printed = begun(XLA)
        assert switches == [True, False, False]
        assert "trains without XLA: TensorFlow's deterministic operations are switched on in this process" in printed
        assert process.is_op_determinism_enabled()  # as the notebook wants it
    finally:
        process.disable_op_determinism()
