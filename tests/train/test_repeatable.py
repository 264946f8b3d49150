"""Killed at any moment and resumed, a deterministic training ends bit for bit as if nothing had been."""

import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from cinesax.train.data.records import Dataset  # noqa: E402
from cinesax.train.fit.config import TrainConfig  # noqa: E402
from cinesax.train.fit.curves import read_history  # noqa: E402
from cinesax.train.fit.folds import cross_validate  # noqa: E402
from cinesax.train.fit.runs import load_network, open_run  # noqa: E402
from cinesax.train.fit.train import train  # noqa: E402
from cinesax.train.nets import UNetConfig  # noqa: E402

from .conftest import EAGER, QUICK  # noqa: E402

# Batch normalisation and dropout have a state of their own.
CONFIG = replace(QUICK, epochs=4, steps=3, model=UNetConfig(channels=(4,), stem=4, dropout=0.3))

# In processes of their own: one is killed, and both have the same number of threads.
COMMON = """
import os, pickle, signal, sys
from pathlib import Path
from cinesax import train as training
training.require()
import keras
import tensorflow as tf
from cinesax.train.data.records import open_dataset
from cinesax.train.fit.train import Execution, train

class Kill(keras.callbacks.Callback):
    # In the middle of the third epoch: no handler, no flush.
    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == 2 and batch == 1:
            os.kill(os.getpid(), signal.SIGKILL)

dataset, folder = open_dataset(Path(sys.argv[1])), Path(sys.argv[2])
config = pickle.loads((folder / "config.pickle").read_bytes())
exact = Execution(deterministic=True)
"""
BEGIN = """
train(dataset, folder / "whole", config, fold=0, execution=exact)
fit = keras.Model.fit
keras.Model.fit = lambda self, *args, callbacks, **more: fit(self, *args, callbacks=[*callbacks, Kill()], **more)
train(dataset, folder / "killed", config, fold=0, execution=exact)
"""
RESUME = 'train(dataset, folder / "killed", config, fold=0, resume=True, execution=exact)'


def fresh(code: str, dataset: Dataset, folder: Path, config: TrainConfig = CONFIG) -> subprocess.CompletedProcess[str]:
    (folder / "config.pickle").write_bytes(pickle.dumps(config))
    command = [sys.executable, "-c", COMMON + code, str(dataset.folder), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500)


def test_killed_and_resumed_it_ends_with_the_same_weights_to_the_last_bit(discs, tmp_path):
    done = fresh(BEGIN, discs, tmp_path)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert open_run(tmp_path / "whole").state.epochs == 4
    killed = open_run(tmp_path / "killed")
    assert killed.state.epochs == 2 and not (killed.folder / "network.keras").exists()
    done = fresh(RESUME, discs, tmp_path)
    assert done.returncode == 0, done.stderr
    # Two runs of one seed, one of them killed: network, optimizer and moving average are equal.
    for name in ("last-0004.keras", "network.keras"):
        whole, resumed = (load_network(tmp_path / folder / name) for folder in ("whole", "killed"))
        assert len(whole.get_weights()) > 10
        for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
        if name.startswith("last"):
            for one, other in zip(whole.optimizer.variables, resumed.optimizer.variables, strict=True):
                np.testing.assert_array_equal(one.numpy(), other.numpy())
    histories = [(tmp_path / folder / "history.csv").read_text().splitlines() for folder in ("whole", "killed")]
    assert _without_speed(histories[0]) == _without_speed(histories[1])


def _without_speed(lines: list[str]) -> list[list[str]]:
    column = lines[0].split(",").index("images_per_second")
    return [[value for place, value in enumerate(line.split(",")) if place != column] for line in lines]


MIRRORED = """
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
train(dataset, folder / "two", config, fold=0, execution=Execution(devices=("CPU:0", "CPU:1")))
"""


def test_two_devices_share_each_batch_and_learn_what_one_learns(discs, tmp_path):
    config = replace(CONFIG, epochs=2, model=replace(QUICK.model, dropout=0.0))
    done = fresh(MIRRORED, discs, tmp_path, config)
    assert done.returncode == 0, done.stderr
    train(discs, tmp_path / "one", config, fold=0)
    one, two = (load_network(tmp_path / folder / "network.keras") for folder in ("one", "two"))
    started = sum(float(np.abs(w).sum()) for w in one.get_weights())
    apart = sum(float(np.abs(a - b).sum()) for a, b in zip(one.get_weights(), two.get_weights(), strict=True))
    # Not equal: each device normalises by its half of the batch, and takes the Dice over it.
    assert 0 < apart < 0.02 * started
    losses = [float(read_history(tmp_path / folder / "history.csv")["loss"][0]) for folder in ("one", "two")]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)  # the mean over devices, not the sum
    assert open_run(tmp_path / "two").state.epochs == 2
    assert int(two.count_params()) == int(one.count_params())


def test_cross_validation_goes_on_fold_by_fold_and_ends_in_one_table(discs, tmp_path, monkeypatch):
    config = replace(QUICK, epochs=2)
    begun = []
    original = train

    def once(dataset, folder, *args, **options):
        begun.append(folder.name)
        if begun == ["fold-0", "fold-1"]:
            raise KeyboardInterrupt
        return original(dataset, folder, *args, **options)

    monkeypatch.setattr("cinesax.train.fit.folds.train", once)
    with pytest.raises(KeyboardInterrupt):
        cross_validate(discs, tmp_path / "cv", config, folds=2, execution=EAGER)
    first = (tmp_path / "cv" / "fold-0" / "last-0002.keras").read_bytes()
    summary = cross_validate(discs, tmp_path / "cv", config, folds=2, resume=True, execution=EAGER)
    assert (tmp_path / "cv" / "fold-0" / "last-0002.keras").read_bytes() == first
    held = [fold.held_out_cases for fold in summary.folds]
    assert sorted(held[0] + held[1]) == ["A", "B", "C", "D"]
    values = [fold.measures["dice"] for fold in summary.folds]
    assert summary.mean["dice"] == pytest.approx(np.mean(values))
    assert summary.standard_deviation["dice"] == pytest.approx(np.std(values, ddof=1))
    table = (tmp_path / "cv" / "summary.md").read_text().splitlines()
    assert len(table) == 6 and f"{summary.mean['dice']:.4f}" in table[4]
    # The network of a fold is what the summary speaks of.
    row = (tmp_path / "cv" / "fold-1" / "history.csv").read_text().splitlines()[-1]
    assert str(values[1]) in row
    more = replace(config, epochs=3, learning_rate=0.02)
    cross_validate(discs, tmp_path / "cv", more, folds=2, resume=True, extension_rate=0.02, execution=EAGER)
    assert [open_run(tmp_path / "cv" / f"fold-{k}").stages[-1].learning_rate for k in (0, 1)] == [0.02, 0.02]
