"""A refiner that was trained further, with the finder of a bundle: taken over as it is, and said where it is from."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
onnx = pytest.importorskip("onnx")

from cinesax.cli.main import main  # noqa: E402
from cinesax.core.errors import BundleError, InputError  # noqa: E402
from cinesax.core.structures import Structure  # noqa: E402
from cinesax.network.bundle import Bundle, Training, open_bundle, write_bundle  # noqa: E402
from cinesax.network.framing import Framing  # noqa: E402
from cinesax.train.data.examples import Example, Kind, from_phantoms  # noqa: E402
from cinesax.train.data.manifest import parse_classes  # noqa: E402
from cinesax.train.data.records import Dataset, write_dataset  # noqa: E402
from cinesax.train.export.bundle import export  # noqa: E402
from cinesax.train.export.files import export_files  # noqa: E402
from cinesax.train.export.formats import Format, onnx_runner, savedmodel_runner  # noqa: E402
from cinesax.train.fit.runs import open_run  # noqa: E402
from cinesax.train.nets import FCNConfig  # noqa: E402

from .conftest import QUICK, untrained  # noqa: E402

CROP = 64
ALL = parse_classes(["lv_cavity", "myocardium", "rv"])


def seen_of(case: str, seed: int, *, kind: Kind = Kind.STUDY) -> list[Example]:
    """Frames of a synthetic heart, as if they were of a patient."""
    frames = from_phantoms([seed], Framing(), frames_each=6)
    return [replace(one, case=case, name=f"{case}-{k}", kind=kind) for k, one in enumerate(frames)]


@pytest.fixture(scope="module")
def patients(tmp_path_factory) -> Dataset:
    """Two patients and a phantom, with three classes."""
    examples = [*seen_of("NEW-1", 4), *seen_of("NEW-2", 7), *from_phantoms([11], Framing(), frames_each=2)]
    out = tmp_path_factory.mktemp("sets") / "patients"
    return write_dataset({"train": examples}, out, framing=Framing(), classes=ALL, folds=2)


@pytest.fixture(scope="module")
def tuned(patients, tmp_path_factory) -> Path:
    """The shipped refiner, one short epoch further."""
    out = tmp_path_factory.mktemp("runs") / "tuned"
    words = ["--preset", "refiner_finish", "--from", "default", "--epochs", "1", "--steps", "2", "--batch", "2"]
    words += ["--set", "learning_rate=1e-6", "--set", "precision=float32", "--eager"]
    assert main(["train", str(patients.folder), "-o", str(out), *words]) == 0
    return out


@pytest.fixture(scope="module")
def tuned_bundle(tuned, patients, tmp_path_factory) -> Path:
    """It, in 8 bits, with the finder of the shipped network."""
    out = tmp_path_factory.mktemp("bundles") / "tuned"
    words = ["--finder", "default", "--int8", "--data", str(patients.folder), "--slices", "4"]
    assert main(["export", str(tuned), "-o", str(out), *words, "--unvalidated", "rv"]) == 0
    return out


def test_the_graph_of_the_finder_is_the_same_file_and_only_the_other_is_new(tuned_bundle):
    given, made = open_bundle("default"), open_bundle(tuned_bundle)
    assert made.graph_path.read_bytes() == given.graph_path.read_bytes()
    assert made.heart_sha256 != given.heart_sha256 and made.heart == replace(
        given.heart, output_name=made.heart.output_name
    )
    assert (made.input_name, made.output_name, made.unvalidated) == ("image", given.output_name, (Structure.RV_CAVITY,))
    kinds = {node.op_type for node in onnx.load(made.heart_path).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    compared = json.loads((tuned_bundle / "parity.json").read_text())["networks"]
    assert [(one["file"], one["precision"]) for one in compared] == [("heart.onnx", "int8")]


def test_the_manifest_says_what_both_have_learned_from(tuned_bundle, tuned, patients):
    given, made = open_bundle("default").training, open_bundle(tuned_bundle).training
    assert made.cases == tuple(sorted({*given.cases, "NEW-1", "NEW-2"}))
    assert len(set(made.images) - set(given.images)) == 12 and set(given.images) < set(made.images)
    assert made.phantoms == given.phantoms + 1
    assert (made.dataset, made.config, made.started_from) == (given.dataset, given.config, given.started_from)
    assert made.heart.dataset == patients.digest
    assert made.heart.config == json.loads((tuned / "config.json").read_text())["config"]
    assert made.finder == "sax-heart 7"
    card = " ".join((tuned_bundle / "CARD.md").read_text().split())
    assert "The finder is that of sax-heart 7." in card and "NEW-1, NEW-2" in card


def test_an_exam_is_analyzed_with_both(tuned_bundle, tmp_path):
    exam, out = tmp_path / "exam", tmp_path / "out"
    assert main(["phantom", str(exam), "--seed", "3", "--phases", "6", "--slice-distance", "16"]) == 0
    assert main(["analyze", str(exam / "dicom"), "--model", str(tuned_bundle), "-o", str(out), "--threads", "1"]) == 0
    measured = json.loads((out / "analysis.json").read_text())["measurements"]
    truth = json.loads((exam / "truth" / "truth.json").read_text())
    assert measured["ef_percent"] == pytest.approx(truth["ef_percent"], abs=10)


def test_patients_of_both_are_marked(tuned_bundle, tmp_path, capsys):
    old = open_bundle("default").training.cases[0]
    examples = [*seen_of("NEW-1", 4), *seen_of(old, 21), *seen_of("OTHER", 22)]
    split = write_dataset({"validation": examples}, tmp_path / "set", framing=Framing(), classes=ALL)
    scores = tmp_path / "scores.json"
    words = ["--data", str(split.folder), "--model", str(tuned_bundle), "--threads", "1", "--json", str(scores)]
    assert main(["evaluate", *words]) == 0
    assert json.loads(scores.read_text())["in_sample"] == {"NEW-1": "image", old: "patient"}
    assert "IN-SAMPLE" in capsys.readouterr().out


def test_other_runtimes_get_the_finder_with_the_weights_of_its_graph(tuned, tmp_path):
    out = export_files(tuned, tmp_path / "out", Format.SAVEDMODEL, finder=Path("default"))
    manifest = json.loads((out / "network.json").read_text())
    assert [one["file"] for one in manifest["networks"]] == ["graph", "heart"]
    assert manifest["training"]["finder"] == "sax-heart 7"
    image = next(iter(from_phantoms([5], Framing(), frames_each=1))).image
    images = np.float32(image / 65535)[None, ..., None]
    ours, theirs = savedmodel_runner(out / "graph"), onnx_runner(open_bundle().graph_path, threads=1)
    assert np.abs(ours(images)[0] - theirs(images)[0]).mean() < 5e-3  # the graph computes in 8 bits


def test_the_error_names_the_bundle_that_the_run_was_started_from(tuned, tmp_path):
    with pytest.raises(InputError, match="--finder default for that of sax-heart, from which it was started$"):
        export(tuned, tmp_path / "out")
    first = json.loads((tuned / "config.json").read_text())
    second = shutil.copytree(tuned, tmp_path / "second")
    (second / "config.json").write_text(json.dumps(first | {"started_from": first}))
    with pytest.raises(InputError, match="--finder default for that of sax-heart, from"):
        export(second, tmp_path / "out")
    own = first | {"started_from": {"bundle": "my-lv", "version": "2"}}
    (second / "config.json").write_text(json.dumps(own))
    with pytest.raises(InputError, match="--finder BUNDLE, the folder of my-lv, from which it was started$"):
        export(second, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def heart_run(quick_run, tmp_path_factory) -> Path:
    """A finished run on crops round the LV, of the LV cavity alone."""
    pipeline = replace(QUICK.pipeline, crop=CROP, jitter_px=3.0)
    config = replace(QUICK, model=FCNConfig(channels=(6,), bottom=(6,), kernel=3, dropout=0.0), pipeline=pipeline)
    return untrained(quick_run, tmp_path_factory.mktemp("runs") / "heart", config)


@pytest.fixture(scope="module")
def halved(quick_run, tmp_path_factory) -> Bundle:
    """A bundle of one network for whole frames, stored in half precision, which lists its images."""
    out = tmp_path_factory.mktemp("bundles") / "halved"
    return export(quick_run, out, name="whole", half=True, images=["ab" * 32])


def test_the_only_network_of_a_bundle_can_be_the_finder(halved, heart_run, quick_run, tmp_path):
    made = export(heart_run, tmp_path / "two", finder=halved.folder, images=["cd" * 32])
    assert made.graph_path.read_bytes() == halved.graph_path.read_bytes()
    assert (made.heart.crop, made.training.finder) == (CROP, "whole 1")
    assert made.training.images == ("ab" * 32, "cd" * 32)
    assert made.training.cases == halved.training.cases
    both = sum(run_parameters(run) for run in (quick_run, heart_run))
    assert f"{both:,} parameters" in (made.folder / "CARD.md").read_text()
    # Also in place of the bundle that it is of.
    place = shutil.copytree(halved.folder, tmp_path / "place")
    assert export(heart_run, place, finder=place).graph_sha256 == halved.graph_sha256


def run_parameters(run: Path) -> int:
    return int(tf.keras.models.load_model(run / "network.keras", compile=False).count_params())


def test_a_finder_of_a_run_is_not_named_as_taken_over(quick_run, heart_run, tmp_path):
    made = export(heart_run, tmp_path / "two", finder=quick_run)
    assert made.training.finder is None and "finder is that of" not in (made.folder / "CARD.md").read_text()
    assert made.training.phantoms == len([one for one in open_run(quick_run).cases_seen if one.startswith("PHANTOM")])


def test_bundles_that_do_not_fit_are_one_line(halved, quick_run, heart_run, tmp_path, capsys):
    def changed(name: str, **values: object) -> Path:
        return write_bundle(replace(halved, folder=tmp_path / name, **values), halved.graph_path, "").folder

    damaged = shutil.copytree(halved.folder, tmp_path / "damaged")
    (damaged / "graph.onnx").write_bytes(b"not a graph")
    silent = msgspec.structs.replace(halved.training, cases=None)
    for run, finder, code, message in (
        (heart_run, "default", 3, "draws lv_cavity, myocardium, rv, but"),
        (heart_run, changed("framed", framing=Framing(spacing_mm=1.0)), 3, "differently framed"),
        (heart_run, changed("silent", training=silent), 6, "does not say what its network is and whom it has learned"),
        (heart_run, changed("mute", training=Training()), 6, "does not say what its network is"),
        (heart_run, damaged, 6, "graph.onnx has a wrong checksum"),
        (heart_run, tmp_path, 3, "is not a run folder"),
        (heart_run, "absent", 3, "absent does not exist: name the folder of a finished run or of a bundle, or one of"),
        (heart_run, damaged / "bundle.json", 3, "bundle.json is a file: name the folder of a finished run or of a"),
        (heart_run, heart_run, 3, "a finder must be trained on whole frames"),
        (quick_run, halved.folder, 3, "was trained on whole frames: it needs no finder"),
    ):
        assert main(["export", str(run), "-o", str(tmp_path / "out"), "--finder", str(finder)]) == code, message
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
        assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="or --finder default for that of the shipped network$"):
        export(heart_run, tmp_path / "out")
    with pytest.raises(BundleError, match="give another finder"):
        export_files(heart_run, tmp_path / "out", Format.SAVEDMODEL, finder=tmp_path / "silent")
