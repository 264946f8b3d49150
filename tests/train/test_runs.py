"""A run folder tells all; a training can be interrupted, extended, stopped, and goes on as if nothing had been."""

import copy
import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

pytest.importorskip("tensorflow")
import keras  # noqa: E402
from PIL import Image  # noqa: E402

from cinesax.core.errors import InputError, OutputError, UsageError  # noqa: E402
from cinesax.files.typed_json import typed  # noqa: E402
from cinesax.network.framing import Framing  # noqa: E402
from cinesax.train.export.bundle import export  # noqa: E402
from cinesax.train.fit.config import Precision, TrainConfig  # noqa: E402
from cinesax.train.fit.runs import Best, RunRecord, State, load_network, open_run, write_state  # noqa: E402
from cinesax.train.fit.schedule import Rate, Stage  # noqa: E402
from cinesax.train.fit.train import Execution, train  # noqa: E402
from cinesax.train.nets import NetworkConfig, UNetConfig, from_dict  # noqa: E402

from .conftest import EAGER, QUICK, TINY  # noqa: E402


def history(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "history.csv").read_text().splitlines()))


def test_a_run_folder_holds_what_is_needed(run_folder, discs):
    names = {path.name for path in run_folder.iterdir()}
    assert names == {
        "best-0004.keras",
        "commands.txt",
        "config.json",
        "curves.png",
        "history.csv",
        "last-0004.keras",
        "network.keras",
        "state.json",
        "tensorboard",
    }
    config = json.loads((run_folder / "config.json").read_text())
    assert config["fold"] == 0 and set(config["held_out_cases"]) & set("ABCD")
    assert config["dataset"]["digest"] == discs.digest and config["config"]["seed"] == TINY.seed
    assert {"cinesax", "tensorflow", "keras", "numpy", "python"} <= set(config["software"])
    assert (run_folder / "commands.txt").read_text().endswith("Z from Python\n")
    rows = history(run_folder)
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert {"accuracy", "dice_lv_cavity", "iou_lv_cavity", "learning_rate", "images_per_second"} <= set(rows[0])
    with Image.open(run_folder / "curves.png") as picture:
        assert picture.format == "PNG" and np.asarray(picture.convert("L")).std() > 5


class _Interrupted(keras.callbacks.Callback):
    """Ctrl-C in the middle of the last callback's work, after the history was written."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            raise KeyboardInterrupt


@pytest.fixture
def interrupted(monkeypatch):
    """A training is interrupted after this many epochs: its history is written, and its checkpoint is not."""
    original = keras.Model.fit

    def at(epoch: int) -> None:
        def fit(self, *args, callbacks, **options):
            place = next(i for i, c in enumerate(callbacks) if type(c).__name__ == "Checkpoint")
            return original(
                self, *args, callbacks=[*callbacks[:place], _Interrupted(epoch), *callbacks[place:]], **options
            )

        monkeypatch.setattr(keras.Model, "fit", fit)

    yield at
    monkeypatch.undo()


def test_an_interrupted_run_goes_on_and_ends_like_an_uninterrupted_one(
    discs, quick_run, tmp_path, interrupted, monkeypatch
):
    folder, stream = tmp_path / "run", io.StringIO()
    interrupted(1)
    with pytest.raises(KeyboardInterrupt):
        console = Console(file=stream, force_terminal=True)
        train(discs, folder, QUICK, fold=0, execution=EAGER, console=console)
    hide, show = "\x1b[?25l", "\x1b[?25h"  # the terminal gets its cursor back
    assert hide in stream.getvalue() and stream.getvalue().rfind(show) > stream.getvalue().rfind(hide)
    monkeypatch.undo()
    assert open_run(folder).state.epochs == 1
    with pytest.raises(InputError, match="has not finished"):
        export(folder, tmp_path / "bundle")
    with pytest.raises(OutputError, match="--resume"):
        train(discs, folder, QUICK, fold=0)
    with pytest.raises(UsageError, match="another learning_rate"):
        train(discs, folder, replace(QUICK, learning_rate=1.0), fold=0, resume=True)
    with pytest.raises(UsageError, match="another config: steps was 2, and is 3 now"):
        train(discs, folder, replace(QUICK, steps=3), fold=0, resume=True)
    train(discs, folder, QUICK, fold=0, resume=True, execution=EAGER)
    rows, whole = history(folder), history(quick_run)
    assert [row["epoch"] for row in rows] == ["0", "1", "2"] and list(rows[0]) == list(whole[0])
    assert [row["val_loss"] == "NA" for row in rows] == [True, False, False]  # a look at epochs 2 and 3
    for row, other in zip(rows, whole, strict=True):
        assert float(row["loss"]) == pytest.approx(float(other["loss"]), rel=1e-3)
    assert len((folder / "commands.txt").read_text().splitlines()) == 2


def test_a_finished_run_is_extended_without_a_jump_of_the_learning_rate(discs, quick_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(quick_run, folder)
    with pytest.raises(UsageError, match="is planned for 3 epochs"):
        train(discs, folder, replace(QUICK, epochs=2), fold=0, resume=True)
    longer = replace(QUICK, epochs=5)
    train(discs, folder, longer, fold=0, resume=True, execution=EAGER)
    before = {name: (folder / name).read_bytes() for name in ("last-0005.keras", "network.keras", "history.csv")}
    train(discs, folder, longer, fold=0, resume=True)  # and once more changes nothing of it
    assert (folder / "last-0005.keras").read_bytes() == before["last-0005.keras"]
    assert (folder / "history.csv").read_bytes() == before["history.csv"]
    rates = [float(row["learning_rate"]) for row in history(folder)]
    final = QUICK.learning_rate * 1e-3
    assert rates[2:] == pytest.approx([final] * 3, rel=1e-4)
    # With a rate that the user names, it goes up to it and down again.
    longest = replace(QUICK, epochs=7, learning_rate=2e-4)
    train(discs, folder, longest, fold=0, resume=True, extension_rate=2e-4, execution=EAGER)
    rates = [float(row["learning_rate"]) for row in history(folder)]
    assert len(rates) == 7 and rates[5] > 10 * final and rates[6] == pytest.approx(2e-4 * 1e-3, rel=1e-4)
    stages = json.loads((folder / "config.json").read_text())["stages"]
    assert [(stage["epochs"], stage["learning_rate"]) for stage in stages] == [(3, 1e-3), (2, None), (2, 2e-4)]


def test_the_rate_is_what_keras_makes_of_warm_up_and_cosine():
    peer = keras.optimizers.schedules.CosineDecay(0.0, 90, warmup_target=0.01, warmup_steps=10, alpha=1e-3)
    rate = Rate([(100, 0.01), (10, None), (40, 0.004)], 10)
    steps = [0, 1, 5, 9, 10, 40, 99, 100]
    assert [float(rate(s)) for s in steps] == pytest.approx([float(peer(s)) for s in steps], rel=1e-4, abs=1e-9)
    assert [float(rate(s)) for s in (100, 105, 109, 110)] == pytest.approx([1e-5] * 4, rel=1e-4)
    assert float(rate(120)) == pytest.approx(0.004, rel=1e-4) and float(rate(150)) == pytest.approx(4e-6, rel=1e-3)
    assert float(Rate.from_config(rate.get_config())(40)) == float(rate(40))


def test_patience_stops_a_training_that_gets_no_better_and_keeps_the_best(discs, tmp_path):
    # At this rate nothing is learned: the first look is the best.
    config = replace(QUICK, learning_rate=1e-12, epochs=6, validate_every=1, patience=2)
    folder = tmp_path / "run"
    run = train(discs, folder, config, fold=0)
    assert run.state.stopped and run.state.epochs == 3 and run.state.best.epoch == 0
    assert sorted(path.name for path in folder.glob("*.keras")) == [
        "best-0001.keras",
        "last-0003.keras",
        "network.keras",
    ]
    best, kept = load_network(folder / "best-0001.keras"), load_network(folder / "network.keras")
    for one, other in zip(best.get_weights(), kept.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert train(discs, folder, config, fold=0, resume=True).state.epochs == 3
    with pytest.raises(UsageError, match="patience needs held-out cases"):
        train(discs, tmp_path / "other", config)


def test_a_loss_that_is_no_number_ends_the_training_and_the_batch_is_saved(discs, tmp_path):
    folder = tmp_path / "wild"
    with pytest.raises(UsageError, match=r"loss is not a number in epoch 1; .* nan-batch\.npz"):
        train(discs, folder, replace(QUICK, learning_rate=1e30, warmup_steps=1, epochs=2, steps=8))
    assert open_run(folder).state.epochs == 0
    assert not (folder / "network.keras").exists() and not list(folder.glob("last*"))
    with np.load(folder / "nan-batch.npz") as saved:
        assert saved["images"].shape == (4, 32, 32, 1) and saved["labels"].shape == (4, 32, 32, 2)
        assert 0 < saved["step"] < 8 and np.isfinite(saved["images"]).all()


def test_mixed_precision_trains_step_by_step_too_and_the_network_is_float32(discs, tmp_path):
    config = replace(QUICK, epochs=1, precision=Precision.MIXED_BFLOAT16)
    run = train(discs, tmp_path / "run", config, execution=EAGER)
    assert np.isfinite(float(history(run.folder)[0]["loss"]))
    assert load_network(run.folder / "network.keras").get_layer("down0").compute_dtype == "bfloat16"
    bundle = export(run.folder, tmp_path / "bundle")  # in float32; compared with Keras as it is written
    assert bundle.training.config["precision"] == "mixed_bfloat16"


def test_a_kill_between_two_files_leaves_a_state_that_has_its_files(tmp_path):
    for name in ("last-0001.keras", "best-0001.keras", "last-0002.keras"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "config.json").write_text(json.dumps(EARLY))
    # Killed after the second epoch's network, before its state: the first is what counts, and it is there.
    write_state(tmp_path, State(1, "last-0001.keras", Best(0, 0.5, "best-0001.keras")))
    run = open_run(tmp_path)
    assert run.state.epochs == 1 and (run.folder / run.state.last).is_file()
    assert run.state.best == Best(0, 0.5, "best-0001.keras")
    (tmp_path / "last-0002.keras").write_bytes(b"x")
    write_state(tmp_path, replace(run.state, epochs=2, last="last-0002.keras"))
    assert sorted(path.name for path in tmp_path.glob("*.keras")) == ["best-0001.keras", "last-0002.keras"]


# What the first version wrote of a run, in short.
EARLY = {
    "schema": "cinesax/run/1",
    "config": {"epochs": 3, "learning_rate": 0.5, "model": {"channels": [4], "classes": 2}},
    "dataset": {"digest": "d", "framing": Framing().to_dict()},
    "train_cases": ["A", "B"],
}


def test_early_runs_are_read(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(EARLY))
    run = open_run(tmp_path)
    assert run.stages == (Stage(3, 0.5),) and run.epochs == 3 and run.state == State()
    assert run.classes == ("background", "lv_cavity") and run.cases_seen == ["A", "B"] and run.train_names is None
    assert run.record.config == TrainConfig(epochs=3, learning_rate=0.5, model=UNetConfig((4,), classes=2))


def test_config_json_says_what_it_said_before_and_newer_keys_do_no_harm(quick_run):
    written = json.loads((quick_run / "config.json").read_text())
    record = open_run(quick_run).record
    assert record.to_dict() == written
    assert {
        "schema", "config", "stages", "dataset", "train_cases", "held_out_cases", "cases_seen", "deterministic",
        "command", "device", "software", "fold", "split",
    } == set(written)  # fmt: skip
    later = written | {"colour": "red", "config": written["config"] | {"colour": "red"}}
    assert typed(later, RunRecord, {NetworkConfig: from_dict}) == record


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record["config"].update(epochs="many"), r"Expected `int`, got `str` - at `\$.config.epochs`"),
        (
            lambda record: record["config"].update(epochs=0),
            "epochs must be at least 1, seen 0",
        ),
        (lambda record: record["config"]["model"].update(network="vnet"), "no network 'vnet'"),
        (lambda record: record["config"]["model"].update(channels=4), "settings of the network 'unet' are damaged"),
        (lambda record: record.pop("train_cases"), "missing required field `train_cases`"),
    ],
)
def test_what_config_json_cannot_say_is_one_line(tmp_path, change, message):
    record = copy.deepcopy(EARLY)
    change(record)
    (tmp_path / "config.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=message) as caught:
        open_run(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_run_of_before_these_settings_goes_on(discs, quick_run, tmp_path):
    folder = shutil.copytree(quick_run, tmp_path / "run")
    config = json.loads((folder / "config.json").read_text())
    for name in ("keep_start", "false_positives"):
        del config["config"][name]
    del config["split"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="another config: false_positives was"):
        train(discs, folder, replace(QUICK, false_positives=(0.8, 0.4)), fold=0, resume=True)
    assert train(discs, folder, QUICK, fold=0, resume=True).state.epochs == QUICK.epochs


def test_a_state_without_its_network_is_not_resumed_from_nothing(discs, quick_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(quick_run, folder)
    (folder / "last-0003.keras").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        train(discs, folder, QUICK, fold=0, resume=True)


def test_settings_that_cannot_work_are_refused(discs, tmp_path):
    with pytest.raises(UsageError, match="multiple of 8"):
        replace(TINY, pipeline=replace(TINY.pipeline, crop=100))
    for wrong, message in (
        ({"epochs": 0}, "at least 1"),
        ({"seed": -1}, "seed must be"),
        ({"average": 1.0}, "average must be from 0 to below 1, seen 1"),
        ({"patience": 0}, "patience"),
        ({"learning_rate": 0.0}, "above 0"),
    ):
        with pytest.raises(UsageError, match=message):
            TrainConfig(**wrong)
    with pytest.raises(UsageError, match=r"has 2 classes .* give --set model\.classes=2"):
        train(discs, tmp_path / "run", replace(QUICK, model=replace(QUICK.model, classes=4)))
    with pytest.raises(UsageError, match="crop is 512, and the framed images of .* have 256 rows and columns"):
        train(discs, tmp_path / "run", replace(QUICK, pipeline=replace(QUICK.pipeline, crop=512)))
    with pytest.raises(UsageError, match="multiple of 1024, and those of .* have 256: set fewer model.channels"):
        model = replace(QUICK.model, channels=(1, 1, 1, 1, 1))
        train(discs, tmp_path / "run", replace(QUICK, model=model, pipeline=replace(QUICK.pipeline, crop=None)))
    with pytest.raises(UsageError, match="shared evenly by 3 devices"):
        train(discs, tmp_path / "run", QUICK, execution=Execution(devices=("CPU:0", "CPU:1", "CPU:2")))
    assert not (tmp_path / "run").exists()
