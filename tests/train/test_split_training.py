"""Training on one side of a split by name: exactly those slices, and the run says so."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from cinesax.cli.main import main  # noqa: E402
from cinesax.core.errors import DatasetError, UsageError  # noqa: E402
from cinesax.train.data.augment import Augmentation  # noqa: E402
from cinesax.train.data.pipeline import PipelineConfig, training_batches, validation_batches  # noqa: E402
from cinesax.train.data.records import read_examples  # noqa: E402
from cinesax.train.data.splits import ExampleSplit, cases_of, split_examples  # noqa: E402
from cinesax.train.fit.train import train  # noqa: E402

from .conftest import EAGER, QUICK  # noqa: E402

OPTIONS = ["--preset", "fcn", "--set", "model.channels=4", "--set", "model.bottom=4", "--set", "pipeline.crop=32"]
OPTIONS += ["--set", "xla=false", "--steps", "2", "--batch", "4", "--threads", "1", "--eager"]


def test_batches_hold_the_named_examples_and_no_others(discs):
    cases = ["A", "C"]
    images = {one.name: one.image for one in read_examples(discs, "train", cases)}
    only = ["A-1", "C-0", "C-2"]
    config = PipelineConfig(batch=24, augmentation=None)
    seen, _ = next(iter(training_batches(discs, cases, config, seed=3, only=only)))
    drawn = {tuple(np.round(one[100, 90:170, 0] * 65535).astype(int)) for one in np.asarray(seen)}
    assert drawn == {tuple(images[name][100, 90:170].astype(int)) for name in only}
    held = validation_batches(discs, "train", cases, only=only, batch=2)
    assert int(held.cardinality()) == 2
    shown = np.concatenate([np.asarray(image) for image, _ in held])[..., 0]
    expected = [image for name, image in images.items() if name in only]
    np.testing.assert_array_equal(np.round(shown * 65535), np.array(expected))


def test_a_crop_at_the_heart_does_not_know_where_held_out_slices_have_it(discs):
    config = PipelineConfig(batch=12, crop=96, jitter_px=0.0, augmentation=Augmentation())
    of_all = np.mean([np.argwhere(one.label).mean(axis=0) for one in read_examples(discs, "train", ["A"])], axis=0)
    (chosen,) = (one for one in read_examples(discs, "train", ["A"]) if one.name == "A-1")
    assert np.abs(np.argwhere(chosen.label).mean(axis=0) - of_all).max() > 12
    _, alone = next(iter(training_batches(discs, ["A"], config, seed=3, only=["A-1"])))
    centres = [np.argwhere(np.asarray(label)[..., 1] > 0).mean(axis=0) for label in alone]
    assert np.abs(np.mean(centres, axis=0) - 47.5).max() < 6  # the only slice is in its own middle


def test_a_run_by_slices_says_what_it_held_out_and_goes_on_with_the_same(discs, tmp_path):
    split = split_examples(discs, "slices-5", seed=2)
    begun = train(discs, tmp_path / "run", replace(QUICK, epochs=1), split=split, execution=EAGER)
    config = json.loads((begun.folder / "config.json").read_text())
    assert config["fold"] is None
    assert config["split"] == {
        "name": "slices-5",
        "seed": 2,
        "shared_cases": list(split.shared_cases),
        "train": list(split.train),
        "held_out": list(split.held_out),
    }
    held, trained = cases_of(discs, split)
    assert (config["held_out_cases"], config["train_cases"]) == (held, trained) and set(held) & set(trained)
    assert split.shared_cases == tuple(sorted(set(held) & set(trained)))
    assert "val_dice" in (begun.folder / "history.csv").read_text().splitlines()[0]

    # What it holds out of a patient it has not learned from, and other patients neither.
    asked = {name: begun.has_learned_from(name.split("-")[0], name) for name in (*split.train, *split.held_out, "V-0")}
    assert {name for name, seen in asked.items() if seen} == set(split.train)

    for wrong, words in (
        (None, "another split: it was slices-5 with seed 2, and is none now"),
        (split_examples(discs, "slices-5"), "is slices-5 with seed 0 now"),
        (replace(split, train=split.train[1:]), "another split: other slices were drawn"),
    ):
        with pytest.raises(UsageError, match=words):
            train(discs, begun.folder, replace(QUICK, epochs=2), split=wrong, resume=True)
    with pytest.raises(
        UsageError, match="another fold: it was none, and is 0 now; resume with the same data and options"
    ):
        train(discs, begun.folder, replace(QUICK, epochs=2), fold=0, resume=True)
    extended = train(discs, begun.folder, replace(QUICK, epochs=2), split=split, resume=True, execution=EAGER)
    assert extended.state.epochs == 2 and extended.held_out_names == list(split.held_out)


def test_splits_that_do_not_fit_are_refused(discs, tmp_path):
    split = split_examples(discs, "patients-4")
    with pytest.raises(UsageError, match="fold 0 and split patients-4"):
        train(discs, tmp_path / "run", QUICK, fold=0, split=split)
    for wrong, words in (
        (ExampleSplit("mine", ("A-0", "V-0"), ("B-1",), ()), "has no example V-0"),
        (ExampleSplit("mine", ("A-0", "B-1"), ("B-1",), ()), "has B-1 on both sides"),
        (ExampleSplit("mine", ("A-0",), (), ()), "leaves nothing"),
    ):
        with pytest.raises(DatasetError, match=words):
            train(discs, tmp_path / "run", QUICK, split=wrong)
    assert not (tmp_path / "run").exists()


def test_on_the_command_line(discs, tmp_path, capsys):
    run = tmp_path / "run"
    command = ["train", str(discs.folder), "-o", str(run), *OPTIONS, "--split", "slices-4", "--split-seed", "7"]
    assert main([*command, "--epochs", "1"]) == 0
    assert json.loads((run / "config.json").read_text())["split"]["seed"] == 7
    assert main([*command[:-1], "8", "--epochs", "1", "--resume"]) == 2
    assert "is slices-4 with seed 8 now" in capsys.readouterr().err.replace("\n", " ")
    for more, code, words in (
        (["--split", "slices-4", "--fold", "0"], 2, "leave out --fold and --folds"),
        (["--split-seed", "3"], 2, "needs --split"),
        (["--split", "halves"], 3, "no split 'halves'"),
    ):
        assert main(["train", str(discs.folder), "-o", str(tmp_path / "other"), *OPTIONS, *more]) == code, more
        assert words in capsys.readouterr().err.replace("\n", " ")
