"""Fine-tuning begins where a run or a bundle ended, and never holds out whom that has seen."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
import pytest

pytest.importorskip("tensorflow")
import keras  # noqa: E402

from cinesax.cli.main import main  # noqa: E402
from cinesax.core.errors import BundleError, InputError, UsageError  # noqa: E402
from cinesax.network.bundle import HeartPass, HeartTraining, open_bundle, write_bundle  # noqa: E402
from cinesax.network.framing import Framing  # noqa: E402
from cinesax.train.data.examples import Kind  # noqa: E402
from cinesax.train.data.records import Dataset, write_dataset  # noqa: E402
from cinesax.train.export.bundle import to_onnx  # noqa: E402
from cinesax.train.fit.config import TrainConfig  # noqa: E402
from cinesax.train.fit.runs import open_run  # noqa: E402
from cinesax.train.fit.start import check_start, keep_part, open_start, take_over  # noqa: E402
from cinesax.train.fit.train import train  # noqa: E402
from cinesax.train.nets import FCNConfig, UNetConfig, build, from_dict, to_dict  # noqa: E402
from cinesax.train.nets.onnx_weights import read_weights  # noqa: E402

from .conftest import EAGER, QUICK, TINY, disc_example  # noqa: E402


def noise(size: int, *, count: int = 2) -> np.ndarray:
    return np.random.default_rng(3).random((count, size, size, 1)).astype(np.float32)


OWN = """
from dataclasses import replace
from cinesax.train.data.augment import Augmentation
from cinesax.train.fit.config import TrainConfig
from cinesax.train.nets import FCNConfig
from cinesax.train.data.pipeline import PipelineConfig

def config():
    model = FCNConfig(channels=(4,), bottom=(4,), kernel=3)
    return TrainConfig(model=model, pipeline=PipelineConfig(batch=4, crop=32), steps=2, xla=False, warmup_steps=1)
"""


def test_a_second_stage_begins_with_the_weights_of_the_first(quick_run, discs, tmp_path, capsys):
    preset, folder = tmp_path / "own.py", tmp_path / "second stage"
    preset.write_text(OWN)
    words = ["--preset", preset, "--from", quick_run, "--fold", "0", "--epochs", "1", "--batch", "3", "--eager"]
    settings = ["--set", "learning_rate=1e-6", "--set", "dice_over=slice", "--set", "pipeline.augmentation=none"]
    assert main(["train", *map(str, [discs.folder, "-o", folder, *words, *settings])]) == 0
    said = capsys.readouterr().err
    assert f"curves: tensorboard --logdir '{folder}/tensorboard'" in said and "preflight: about" in said
    run = open_run(folder)
    asked = run.record.config
    assert (asked.epochs, asked.learning_rate, asked.dice_over) == (1, 1e-6, "slice")
    assert asked.pipeline.batch == 3 and asked.pipeline.augmentation is None
    assert run.record.started_from["config"]["epochs"] == QUICK.epochs
    before = keras.models.load_model(quick_run / "network.keras", compile=False).trainable_weights
    after = keras.models.load_model(run.folder / "network.keras", compile=False).trainable_weights
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(np.asarray(other), np.asarray(one), atol=1e-4)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--set", "model.chanels=4"], 2, "did you mean model.channels?"),
        (["--set", "steps=many"], 2, "expected a whole number"),
        (["--set", "steps=3", "--steps", "4"], 2, "steps is set twice"),
        (["--set", "model.classes=3"], 2, "give --set model.classes=2"),
        (["--set", "pipeline.crop=100"], 2, "multiple of 32"),
        (["--preset", "vnet"], 2, "use finder, refiner, unet, "),
        (["--preset", "absent.py"], 3, "does not exist"),
        (["--fold", "0", "--folds", "2"], 2, "give only one of them"),
        (["--set", "pipeline.kind_shares=chla:0.2"], 2, "a share of chla images is asked for, and "),
        (["--folds", "1"], 2, "cross-validation needs at least 2 folds, seen 1"),
        (["--folds", "0"], 2, "cross-validation needs at least 2 folds, seen 0"),
        (["--fold", "-1"], 3, "there is no fold -1: "),
        (["--folds", "5"], 2, "is divided into 2 folds: give --folds 2, or prepare it with --folds 5"),
        (
            ["--from", "absent"],
            3,
            "absent does not exist: name the folder of a finished run or of a bundle, or one of default",
        ),
        (["--devices", "GPU:9"], 2, "TensorFlow sees no device GPU:9; it sees CPU:0"),
        (["--devices", ""], 2, "TensorFlow sees no device ''; it sees CPU:0"),
        (["--devices", "CPU:0, CPU:0"], 2, "the device CPU:0 is named twice"),
        (["--set", "patience=2"], 2, "needs held-out cases"),
    ],
)
def test_what_cannot_be_meant_ends_in_one_line(options, code, message, discs, tmp_path, capsys):
    assert main(["train", str(discs.folder), "-o", str(tmp_path / "run"), *options]) == code
    said = capsys.readouterr().err.splitlines()
    assert message in said[-1] and said[-1].startswith("cinesax: error: ")
    assert not (tmp_path / "run").exists()


def test_a_fold_without_patients_is_found_before_the_first_training(tmp_path, capsys):
    two = write_dataset({"train": [disc_example("A", 0), disc_example("B", 0)]}, tmp_path / "two", framing=Framing())
    phantoms = [disc_example("P", 0, Kind.PHANTOM)]
    none = write_dataset({"train": phantoms}, tmp_path / "none", framing=Framing(), folds=2)
    for dataset, options, message in (
        (two, ["--folds", "3"], "has 2 patients for 3 folds, and nobody in fold 2: prepare it again with fewer folds"),
        (two, ["--fold", "2"], "leaves no patients to validate on: name another fold, or train without one"),
        (two, ["--phantom-share", "0.3"], "has none; it has pairs"),
        (none, ["--folds", "2"], "has 0 patients for 2 folds, and nobody in fold 0"),
        (none, ["--split", "slices-3"], "cannot be drawn from 0 labelled slices of patients in"),
    ):
        code = 2 if "--phantom-share" in options else 3
        assert main(["train", str(dataset.folder), "-o", str(tmp_path / "run"), *options]) == code
        assert message in capsys.readouterr().err.splitlines()[-1]
        assert not (tmp_path / "run").exists()


def test_a_second_stage_never_holds_out_whom_the_first_has_seen(quick_run, discs, tmp_path):
    with pytest.raises(UsageError, match="which this training holds out"):
        train(discs, tmp_path / "leak", QUICK, fold=1, start_from=quick_run)
    other = replace(QUICK, model=FCNConfig(channels=(4,), bottom=(8,), kernel=3))
    with pytest.raises(UsageError, match=r"another network: its bottom is \[4\], but \[8\] is requested"):
        train(discs, tmp_path / "other", other, fold=0, start_from=quick_run)
    with pytest.raises(UsageError, match="its network is fcn, but unet"):
        train(discs, tmp_path / "other", TINY, fold=0, start_from=quick_run)
    with pytest.raises(InputError, match="not a run folder"):
        train(discs, tmp_path / "none", QUICK, fold=0, start_from=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_bundle_gives_its_network_back_in_use_and_in_training(run_folder, tiny_bundle):
    start = open_start(tiny_bundle)
    assert start.config == TINY.model and start.cases_seen and start.record["bundle"] == "network"
    original = keras.models.load_model(run_folder / "network.keras", compile=False)
    model = build(TINY.model)
    images = noise(64, count=16)
    assert take_over(start, model, images, classes=start.classes) == []
    expected, seen = np.asarray(original(images)), np.asarray(model(images))
    np.testing.assert_allclose(seen, expected, atol=2e-4)
    # In training a normalisation divides by what it sees in the batch: without measuring the folded ones anew, the
    # network would be another one there.
    trained = np.asarray(model(images, training=True))
    folded = np.asarray(build_folded(start)(images, training=True))
    assert np.abs(trained - seen).mean() < 0.02 < np.abs(folded - seen).mean()


def build_folded(start):
    model = build(TINY.model)
    model.set_weights(start.model.get_weights())
    return model


def test_a_bundle_teaches_other_classes(tiny_bundle, discs):
    start, config = open_start(tiny_bundle), replace(TINY, model=replace(TINY.model, classes=4, dropout=0.5))
    classes = ["background", "lv_cavity", "myocardium", "rv"]
    check_start(start, config, discs.framing, [], classes=classes)
    model = build(config.model)
    assert take_over(start, model, noise(64), classes=classes) == ["logits"]
    inner = keras.Model(model.input, model.get_layer("merge0_relu2").output)
    before = keras.Model(start.model.input, start.model.get_layer("merge0_relu2").output)
    images = noise(256)
    np.testing.assert_allclose(np.asarray(inner(images)), np.asarray(before(images)), atol=1e-3)
    assert model(images).shape[-1] == 4


def test_as_many_classes_of_other_names_are_other_classes(tiny_bundle, discs):
    start, images = open_start(tiny_bundle), noise(64)
    assert start.classes == ("background", "lv_cavity")
    assert take_over(start, build(TINY.model), images, classes=["background", "lv_cavity"]) == []
    model = build(TINY.model)
    assert take_over(start, model, images, classes=["background", "rv"]) == ["logits"]
    logits = [one.get_layer("logits").get_weights()[0] for one in (model, start.model)]
    assert not np.allclose(*logits)
    inner = [one.get_layer("merge0_conv1").get_weights()[0] for one in (model, start.model)]
    np.testing.assert_array_equal(*inner)


def test_other_classes_are_told_of_and_not_mixed(quick_run, discs, tmp_path, capsys):
    manifest = msgspec.structs.replace(discs.manifest, classes=("background", "rv"))
    other = Dataset(discs.folder, manifest)
    with pytest.raises(UsageError, match="keep_start=0.5 mixes .*background, lv_cavity.* background, rv"):
        train(other, tmp_path / "mixed", replace(QUICK, keep_start=0.5), fold=0, start_from=quick_run)
    train(other, tmp_path / "run", replace(QUICK, epochs=1), fold=0, start_from=quick_run, execution=EAGER)
    assert "starts from scratch: logits" in capsys.readouterr().err


def test_a_bundle_that_has_seen_the_held_out_is_refused(tiny_bundle, discs, tmp_path):
    with pytest.raises(UsageError, match="which this training holds out"):
        train(discs, tmp_path / "leak", TINY, fold=1, start_from=tiny_bundle)


def test_the_network_that_ships_can_be_trained_further():
    bundle, start = open_bundle("default"), open_start(Path("default"))
    assert len(start.cases_seen) == len(bundle.training.cases)
    model = build(start.config)
    images = noise(bundle.framing.size)
    assert take_over(start, model, images, classes=start.classes) == []
    session = onnxruntime.InferenceSession(bundle.graph_path, providers=["CPUExecutionProvider"])
    expected = session.run(None, {bundle.input_name: images})[0]
    # The graph computes in 8 bits, the network to train does not.
    assert np.abs(np.asarray(model(images, training=False)) - expected).mean() < 5e-3
    assert TrainConfig(model=start.config).model == from_dict(bundle.training.config["model"])


@pytest.mark.parametrize("config", [FCNConfig(channels=(4,), bottom=(6,), kernel=3, classes=3), UNetConfig((4, 6), 4)])
def test_any_network_comes_back_from_onnx(config, tmp_path):
    size = 4 * config.factor
    model = build(config, size=size)
    model.set_weights([w + 0.1 * np.random.default_rng(1).random(w.shape) for w in model.get_weights()])
    to_onnx(model, tmp_path / "graph.onnx")
    other = build(config, size=size)
    read_weights(tmp_path / "graph.onnx", other)
    images = noise(size)
    np.testing.assert_allclose(np.asarray(other(images)), np.asarray(model(images)), atol=1e-4)
    wrong = build(
        replace(config, **({"channels": (6,)} if isinstance(config, FCNConfig) else {"stem": 2})),
        size=size,
    )
    with pytest.raises(BundleError, match="have another size"):
        read_weights(tmp_path / "graph.onnx", wrong)


def test_of_a_bundle_with_two_passes_the_one_that_is_asked_for_is_taken(tiny_bundle, tmp_path):
    config, size = UNetConfig((4, 6), stem=None), 32
    close = build(config, size=size)
    to_onnx(close, tmp_path / "heart.onnx")
    bundle = open_bundle(tiny_bundle)
    training = msgspec.structs.replace(bundle.training, heart=HeartTraining(config={"model": to_dict(config)}))
    two = replace(bundle, folder=tmp_path / "two", heart=HeartPass(size, "image", "Identity:0"), training=training)
    write_bundle(two, bundle.graph_path, "", heart=tmp_path / "heart.onnx")
    start = open_start(two.folder, replace(config, classes=3))
    assert start.config == config
    images = noise(size)
    np.testing.assert_allclose(np.asarray(start.model(images)), np.asarray(close(images)), atol=1e-4)
    assert open_start(two.folder, TINY.model).config == open_start(two.folder).config == TINY.model


def test_a_part_of_the_first_weights_stays_where_it_is_asked_for(quick_run, discs, tmp_path, monkeypatch, capsys):
    learned = []

    def keep(start, network, share):
        learned.append(network.get_weights())
        keep_part(start, network, share)

    monkeypatch.setattr("cinesax.train.fit.train.keep_part", keep)
    preset = tmp_path / "own.py"
    preset.write_text(OWN)
    words = ["train", str(discs.folder), "--fold", "0", "--epochs", "1", "--deterministic", "--from", str(quick_run)]
    words += ["--preset", str(preset), "--set", "learning_rate=0.01", "--set", "keep_start=0.25"]
    assert main([*words, "-o", str(tmp_path / "part")]) == 0
    assert open_run(tmp_path / "part").record.deterministic
    first, part = (
        keras.models.load_model(folder / "network.keras", compile=False).get_weights()
        for folder in (quick_run, tmp_path / "part")
    )
    [whole] = learned
    moved = [np.abs(now - old).max() for old, now in zip(first, whole, strict=True)]
    assert max(moved) > 1e-3
    for old, now, mixed in zip(first, whole, part, strict=True):
        np.testing.assert_allclose(mixed, 0.25 * old + 0.75 * now, atol=1e-5)
    capsys.readouterr()
    alone = ["train", str(discs.folder), "-o", str(tmp_path / "none"), "--preset", str(preset)]
    assert main([*alone, "--set", "keep_start=0.5"]) == 2
    assert "name one with --from" in capsys.readouterr().err
