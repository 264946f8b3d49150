"""From sources to a bundle by the commands alone, as a user would."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs the train extra")

import labelled
from cinesax.cli.main import main  # noqa: E402
from cinesax.core.structures import Structure  # noqa: E402
from cinesax.inputs import open_cine  # noqa: E402


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pairs folder of three patients, made of phantom frames."""
    from cinesax.phantom import draw_settings, render_frames

    folder = tmp_path_factory.mktemp("sources")
    for seed, case in enumerate(("P-1", "P-2", "P-3")):
        settings = draw_settings(seed, n_phases=12)
        middle = settings.n_slices // 2
        images, labels = render_frames(settings, [(0, middle), (4, middle), (0, middle + 1)])
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            grey = np.round(255.0 * image / image.max()).astype(np.uint8)
            labelled.write_pair(folder, f"{case}-IM-0001-{number:04d}", grey, label == Structure.CAVITY)
    return folder


def test_prepare_train_export_evaluate_analyze(sources, tmp_path, capsys):
    data, run, bundle = tmp_path / "set", tmp_path / "run", tmp_path / "bundle"
    assert (
        main(["prepare", str(sources), "-o", str(data), "--phantoms", "2", "--frames-each", "3", "--folds", "3"]) == 0
    )
    assert "15 images" in capsys.readouterr().out
    small = ["--preset", "fcn", "--set", "model.channels=4", "--set", "model.bottom=4", "--set", "pipeline.crop=64"]
    quick = [*small, "--epochs", "1", "--steps", "2", "--batch", "2", "--threads", "1"]
    assert main(["train", str(data), "-o", str(run), *quick]) == 0
    assert "tensorboard --logdir" in capsys.readouterr().err
    assert main(["export", str(run), "-o", str(bundle), "--name", "quick"]) == 0
    for source, count in ((sources, 9), (data, 15)):
        scores = tmp_path / "scores.json"
        assert main(["evaluate", "--data", str(source), "--model", str(bundle), "--json", str(scores)]) == 0
        written = json.loads(scores.read_text())
        assert written["schema"] == "cinesax/evaluation/1"
        assert written["n"] == count == len(written["slices"]) == sum(case["n"] for case in written["cases"].values())
        assert written["dice"]["mean"] == pytest.approx(np.mean([s["dice"] for s in written["slices"]]))
        assert "rules are off" in capsys.readouterr().out
    few = ["--phases", "5", "--slice-distance", "12"]
    assert main(["phantom", str(tmp_path / "exam"), "--seed", "3", *few]) == 0
    out = ["-o", str(tmp_path / "out"), "--model", str(bundle)]
    assert main(["analyze", str(tmp_path / "exam"), *out]) == 0
    assert json.loads((tmp_path / "out" / "analysis.json").read_text())["model"]["name"].startswith("quick")
    assert open_cine(tmp_path / "exam").n_phases == 5


def one_line(capsys) -> str:
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("cinesax: error: ") and "Traceback" not in error
    return error


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["prepare", "-o", "OUT"], 2, "nothing to prepare"),
        (["prepare", "absent", "-o", "OUT"], 3, "absent does not exist"),
        (["train", "absent", "-o", "OUT"], 3, "not a prepared set"),
        (["export", "absent", "-o", "OUT"], 3, "not a run folder"),
        (["evaluate", "--data", "absent"], 3, "not a folder"),
        (["evaluate", "--data", "."], 3, "neither a pairs folder"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(arguments, code, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == code
    assert words in one_line(capsys)
    assert list(tmp_path.iterdir()) == []


def test_dicom_without_contours_says_what_is_missing(tmp_path, capsys):
    (tmp_path / "studies").mkdir()
    assert main(["prepare", str(tmp_path / "studies"), "-o", str(tmp_path / "set")]) == 2
    assert "--contours" in one_line(capsys)


@pytest.mark.data
def test_the_real_data_become_a_set_split_by_patient(sunnybrook, tmp_path, capsys):
    sources = [str(sunnybrook / "train"), str(sunnybrook / "dicom"), "--contours", str(sunnybrook / "contours")]
    out = tmp_path / "set"
    validation = ["--validation", str(sunnybrook / "validation")]
    assert main(["prepare", *sources, *validation, "-o", str(out), "--jobs", "1"]) == 0
    manifest = json.loads((out / "dataset.json").read_text())
    # 260 labelled slices, the 14 frames at ED and ES that the experts left empty, and 35 frames at other phases of the
    # slices that are empty at both
    assert manifest["counts"] == {"train": 309, "validation": 213}
    assert {split: len(cases) for split, cases in manifest["splits"].items()} == {"train": 15, "validation": 12}
    assert sum(fact["n_empty"] for fact in manifest["cases"].values()) == 49
    studies = [fact["fold"] for fact in manifest["cases"].values() if fact["kind"] == "study"]
    assert sorted(studies) == [0, 1, 2]


def test_options_that_cannot_be_meant_are_refused(sources, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for arguments in (
        ["evaluate", "--data", str(sources), "--fold", "1"],
        ["evaluate", "--data", str(sources), "--split", "train"],
        ["evaluate", "--data", str(sources), "--worst", "-1"],
        ["evaluate", "--data", str(sources), "--threads", "0"],
        ["prepare", str(sources), "-o", "set", "--seed", "-1"],
    ):
        assert main(arguments) == 2
        one_line(capsys)
    assert list(tmp_path.iterdir()) == []


def test_scores_that_cannot_be_written_are_one_line(tmp_path, capsys):
    from cinesax.cli.evaluate import _write_json
    from cinesax.core.errors import OutputError
    from cinesax.evaluate import Evaluation, SliceScore

    (tmp_path / "file").write_text("mine")
    result = Evaluation((SliceScore("a", "a", 1.0, 1, 1),))
    for path in (tmp_path / "file" / "scores.json", tmp_path / "absent" / "scores.json", tmp_path, Path(".")):
        with pytest.raises(OutputError, match="cannot be written"):
            _write_json(result, path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (["prepare", "x", "-o", "OUT"], "tensorflow"),
        (["train", "x", "-o", "OUT"], "keras"),
        (["export", "x", "-o", "OUT"], "tf2onnx"),
    ],
)
def test_a_missing_part_of_the_extra_is_named(arguments, absent, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, absent, None)
    assert main(arguments) == 8
    assert f"needs {absent}; install the extra" in one_line(capsys)
    assert list(tmp_path.iterdir()) == []
