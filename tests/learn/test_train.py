"""Training learns, can be interrupted, and ends in a bundle that runs without TensorFlow."""

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow")
import keras  # noqa: E402

from cinesax.bundle import open_bundle  # noqa: E402
from cinesax.errors import BundleError, InputError, OutputError, UsageError  # noqa: E402
from cinesax.evaluate import LabelledStudy, evaluate  # noqa: E402
from cinesax.learn.examples import as_cine  # noqa: E402
from cinesax.learn.export import export, fixed_size  # noqa: E402
from cinesax.learn.losses import CrossEntropyDice  # noqa: E402
from cinesax.learn.metrics import SliceDice  # noqa: E402
from cinesax.learn.models import UNetConfig, unet  # noqa: E402
from cinesax.learn.records import read_examples  # noqa: E402
from cinesax.learn.train import TrainConfig, open_run, train  # noqa: E402
from cinesax.segmenter import load_segmenter  # noqa: E402

from .conftest import TINY  # noqa: E402


def history(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "history.csv").read_text().splitlines()))


def test_a_run_folder_holds_what_is_needed(run_folder):
    names = {path.name for path in run_folder.iterdir()}
    assert names == {"config.json", "history.csv", "last.keras", "network.keras", "state.json", "tensorboard"}
    config = json.loads((run_folder / "config.json").read_text())
    assert config["fold"] == 0 and set(config["held_out_cases"]) & set("ABCD")
    rows = history(run_folder)
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert list((run_folder / "tensorboard").rglob("events.out.tfevents*"))


def test_a_bundle_gives_what_keras_gives_and_finds_the_discs(run_folder, discs, tmp_path):
    bundle = export(run_folder, tmp_path / "bundle", name="tiny", scores={"held out": {"dice": 0.5}})
    assert bundle.training["cases"] and "PHANTOM" not in str(bundle.training["cases"])
    assert "not a medical device" in (bundle.folder / "CARD.md").read_text().lower()
    segmenter = load_segmenter(bundle.folder, threads=1)
    example = next(read_examples(discs, "validation"))
    cine, _ = as_cine(example)
    seen = segmenter.probabilities(cine, bundle.framing.place((256, 256), None))[0, 0]
    framed = bundle.framing.apply(example.image, bundle.framing.place((256, 256), None))
    expected = np.asarray(fixed_size(open_run(run_folder))(framed[None, ..., None]))[0, ..., 1]
    np.testing.assert_allclose(seen, expected, atol=1e-4)
    studies = []
    for example in read_examples(discs, "validation"):
        cine, truth = as_cine(example)
        studies.append(LabelledStudy(example.case, {(0, 0): example.name}, cine, truth))
    assert evaluate(studies, segmenter.segment).dice.mean() > 0.6


def test_a_bundle_runs_where_tensorflow_is_not(run_folder, tmp_path):
    bundle = export(run_folder, tmp_path / "bundle")
    script = (
        "import sys; sys.modules['tensorflow'] = None; sys.modules['keras'] = None\n"
        "import numpy as np\n"
        "from cinesax.cine import Cine\n"
        "from cinesax.segmenter import load_segmenter\n"
        f"s = load_segmenter({str(bundle.folder)!r})\n"
        "print(s.segment(Cine(np.zeros((2, 1, 64, 64)), None)).labels.shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(2, 1, 64, 64)"


def test_an_interrupted_run_goes_on_and_ends_like_an_uninterrupted_one(discs, run_folder, tmp_path):
    folder = tmp_path / "broken"

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    original = keras.Model.fit

    def fit(self, *args, callbacks, **options):
        return original(self, *args, callbacks=[*callbacks, Stop()], **options)

    keras.Model.fit = fit
    try:
        with pytest.raises(KeyboardInterrupt):
            train(discs, folder, TINY, fold=0)
    finally:
        keras.Model.fit = original
    assert open_run(folder).finished_epochs == 2
    assert not (folder / "network.keras").exists()
    with pytest.raises(InputError, match="has not finished"):
        export(folder, tmp_path / "bundle")
    with pytest.raises(OutputError, match="--resume"):
        train(discs, folder, TINY, fold=0)
    with pytest.raises(UsageError, match="another config"):
        train(discs, folder, replace(TINY, learning_rate=1.0), fold=0, resume=True)
    train(discs, folder, TINY, fold=0, resume=True)
    whole = [float(row["loss"]) for row in history(run_folder)]
    resumed = [float(row["loss"]) for row in history(folder)]
    assert resumed == pytest.approx(whole, rel=0.05)


def test_a_damaged_bundle_is_refused(run_folder, tmp_path):
    good = export(run_folder, tmp_path / "good").folder
    for name, damage, message in (
        ("graph.onnx", lambda b: b[:-1] + bytes([b[-1] ^ 1]), "wrong checksum"),
        ("bundle.json", lambda b: b[:-20], "not valid JSON"),
        ("bundle.json", lambda b: b.replace(b"bundle/1", b"bundle/9"), "is of schema"),
        ("bundle.json", lambda b: b.replace(b'"size"', b'"sise"'), "cannot be used"),
    ):
        bad = tmp_path / "bad"
        shutil.rmtree(bad, ignore_errors=True)
        shutil.copytree(good, bad)
        (bad / name).write_bytes(damage((bad / name).read_bytes()))
        with pytest.raises(BundleError, match=message):
            open_bundle(bad)
    (bad / "graph.onnx").unlink()
    shutil.copy(good / "bundle.json", bad)
    with pytest.raises(BundleError, match="incomplete"):
        open_bundle(bad)
    with pytest.raises(BundleError, match="no bundle"):
        open_bundle(tmp_path)


def test_the_network_takes_any_size_that_its_depth_allows():
    model = unet(UNetConfig(channels=(4, 6, 8), stem=4, classes=3))
    out = model(np.zeros((1, 64, 96, 1), np.float32))
    assert out.shape == (1, 64, 96, 3)
    np.testing.assert_allclose(np.asarray(out).sum(axis=-1), 1, atol=1e-5)
    assert any(isinstance(layer, keras.layers.Conv2DTranspose) for layer in model.layers)


def test_loss_and_metric_know_right_from_wrong():
    truth = np.zeros((2, 8, 8, 2), np.float32)
    truth[..., 0] = 1
    truth[0, 2:5, 2:5] = (0, 1)
    loss, metric = CrossEntropyDice(), SliceDice()
    assert float(loss(truth, truth)) < 0.01
    assert float(loss(truth, truth[..., ::-1])) > 1
    metric.update_state(truth, truth)
    assert float(metric.result()) == 1  # an empty slice found empty counts 1
    metric.reset_state()
    wrong = truth.copy()
    wrong[1, 0, 0] = (0, 1)
    metric.update_state(truth, wrong)
    assert float(metric.result()) == 0.5  # and found not empty it counts 0


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(UsageError, match="multiple of 8"):
        replace(TINY, pipeline=replace(TINY.pipeline, crop=100))
    with pytest.raises(UsageError, match="at least 1"):
        TrainConfig(epochs=0)
