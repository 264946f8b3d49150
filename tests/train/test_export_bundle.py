"""Bundles of one network and of two: what goes in, what is refused, what comes back."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow")
import keras  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402

from cinesax.cli.main import main  # noqa: E402
from cinesax.core.cine import Cine  # noqa: E402
from cinesax.core.errors import BundleError, InputError  # noqa: E402
from cinesax.core.structures import Structure
from cinesax.network.bundle import open_bundle  # noqa: E402
from cinesax.network.segmenter import load_segmenter  # noqa: E402
from cinesax.train.export.bundle import export, to_onnx  # noqa: E402
from cinesax.train.fit.start import open_start, take_over  # noqa: E402
from cinesax.train.nets import FCNConfig, build  # noqa: E402

from .conftest import QUICK, disc_example, untrained  # noqa: E402

CROP = 64
HEART_NETWORK = FCNConfig(channels=(6,), bottom=(6,), kernel=3, dropout=0.0)


@pytest.fixture(scope="module")
def heart_run(quick_run, tmp_path_factory) -> Path:
    """A finished run on crops round the LV."""
    pipeline = replace(QUICK.pipeline, crop=CROP, jitter_px=3.0)
    config = replace(QUICK, model=HEART_NETWORK, pipeline=pipeline, epochs=1)
    return untrained(quick_run, tmp_path_factory.mktemp("runs") / "heart", config)


@pytest.fixture(scope="module")
def two_passes(quick_run, heart_run, discs, tmp_path_factory) -> Path:
    """A bundle of both, stored in half precision, compared on slices."""
    out = tmp_path_factory.mktemp("bundles") / "two"
    words = ["--finder", quick_run, "--data", discs.folder, "--slices", "3", "--half", "--name", "two"]
    assert main(["export", str(heart_run), "-o", str(out), *map(str, words)]) == 0
    return out


def run_graph(path: Path, images: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})


def noise(size: int, *, count: int = 2) -> np.ndarray:
    return np.random.default_rng(5).random((count, size, size, 1)).astype(np.float32)


def kept(run: Path) -> keras.Model:
    return keras.models.load_model(run / "network.keras", compile=False)


def test_two_runs_become_one_bundle_that_says_of_both(two_passes, quick_run, heart_run, discs):
    bundle = open_bundle(two_passes)
    assert bundle.heart.crop == CROP
    assert sorted(path.name for path in two_passes.iterdir()) == [
        "CARD.md", "bundle.json", "graph.onnx", "heart.onnx", "parity.json"
    ]  # fmt: skip
    training = bundle.training
    assert training.config["model"]["channels"] == [4] and training.heart.config["model"]["channels"] == [6]
    trained = json.loads((heart_run / "config.json").read_text())["train_cases"]
    assert training.cases == tuple(sorted(case for case in trained if not case.startswith("PHANTOM")))
    assert len(training.images) == len(set(training.images)) > 0
    both = sum(int(kept(run).count_params()) for run in (quick_run, heart_run))
    card = (two_passes / "CARD.md").read_text()
    assert f"{both:,} parameters" in card and f"{CROP} x {CROP} pixels" in card


@pytest.mark.parametrize("name", ["graph.onnx", "heart.onnx"])
def test_halved_weights_give_what_keras_gives(name, two_passes, quick_run, heart_run):
    run, size = (quick_run, 256) if name == "graph.onnx" else (heart_run, CROP)
    stored = onnx.load(two_passes / name).graph.initializer
    large = [item for item in stored if np.prod(item.dims) >= 64 and item.data_type != onnx.TensorProto.INT64]
    assert large and {item.data_type for item in large} == {onnx.TensorProto.FLOAT16}
    images = noise(size)
    probabilities, labels = run_graph(two_passes / name, images)
    np.testing.assert_allclose(probabilities, np.asarray(kept(run)(images)), atol=2e-2)
    np.testing.assert_array_equal(labels, probabilities.argmax(axis=-1))


def test_half_precision_is_about_half_the_size(tmp_path):
    model = build(FCNConfig(channels=(16,), bottom=(32,)), size=32)
    for half in (False, True):
        to_onnx(model, tmp_path / f"{half}.onnx", half=half)
    whole, halved = ((tmp_path / f"{half}.onnx").stat().st_size for half in (False, True))
    assert halved < 0.6 * whole


def test_the_bundle_holds_how_its_graphs_compare_with_keras(two_passes):
    report = json.loads((two_passes / "parity.json").read_text())
    assert [(one["file"], one["precision"]) for one in report["networks"]] == [
        ("graph.onnx", "float16"),
        ("heart.onnx", "float16"),
    ]
    assert [one["pixels"] for one in report["networks"]] == [3 * 256**2, 3 * CROP**2]
    for one in report["networks"]:
        assert one["bytes"] == (two_passes / one["file"]).stat().st_size
        assert 0 < one["largest_difference"] < 2e-2
    assert "parity.json" in json.loads((two_passes / "bundle.json").read_text())["checksums"]


@pytest.mark.parametrize(("network", "run"), [(QUICK.model, "quick_run"), (HEART_NETWORK, "heart_run")])
def test_either_network_of_a_halved_bundle_can_be_trained_further(network, run, two_passes, request):
    start = open_start(two_passes, network)
    assert start.config.channels == network.channels and start.cases_seen
    model = build(network)
    images = noise(64)
    assert take_over(start, model, images, classes=start.classes) == []
    np.testing.assert_allclose(
        np.asarray(model(images)), np.asarray(kept(request.getfixturevalue(run))(images)), atol=2e-2
    )


def test_what_was_not_validated_is_named_at_export(quick_run, tmp_path, capsys):
    words = ["export", str(quick_run), "-o", str(tmp_path / "out"), "--unvalidated"]
    assert main([*words, "wall"]) == 2
    assert "there is no class 'wall'" in capsys.readouterr().err
    assert main([*words, "myocardium"]) == 3
    assert "this network draws LV cavity" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_runs_that_do_not_fit_are_refused(quick_run, heart_run, tmp_path):
    out = tmp_path / "bundle"
    with pytest.raises(InputError, match="trained on crops around the heart: give --finder RUN"):
        export(heart_run, out)
    with pytest.raises(InputError, match="was trained on whole frames: it needs no finder"):
        export(quick_run, out, finder=quick_run)
    with pytest.raises(InputError, match="a finder must be trained on whole frames"):
        export(heart_run, out, finder=heart_run)
    with pytest.raises(InputError, match="is not a run folder"):
        export(heart_run, out, finder=tmp_path)
    other = tmp_path / "other"
    shutil.copytree(quick_run, other)
    config = json.loads((other / "config.json").read_text())
    config["dataset"]["framing"]["spacing_mm"] = 1.0
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="differently framed"):
        export(heart_run, out, finder=other)
    (other / "network.keras").unlink()
    with pytest.raises(InputError, match="has not finished"):
        export(other, out)
    assert not out.exists()


def test_a_graph_that_differs_from_keras_is_not_written(quick_run, tmp_path, monkeypatch):
    from cinesax.train.export import bundle as room

    monkeypatch.setattr(room, "halve_weights", spoil)
    with pytest.raises(InputError, match="differs from the network by"):
        export(quick_run, tmp_path / "bundle", half=True)
    assert not (tmp_path / "bundle").exists()


def spoil(path: Path) -> None:
    model = onnx.load(path)
    for item in model.graph.initializer:
        values = onnx.numpy_helper.to_array(item)
        if values.dtype == np.float32 and values.ndim == 4:
            item.CopyFrom(onnx.numpy_helper.from_array(-3 * values, item.name))
    onnx.save(model, path)


def test_the_checksum_covers_both_graphs(two_passes):
    bundle = open_bundle(two_passes)
    assert len({bundle.graph_sha256, bundle.heart_sha256, ""}) == 3
    changed = {
        replace(bundle, graph_sha256="0").checksum,
        replace(bundle, heart_sha256="0").checksum,
        bundle.checksum,
    }
    assert len(changed) == 3
    assert load_segmenter(two_passes, threads=1).checksum == bundle.checksum


@pytest.fixture
def copy(two_passes, tmp_path) -> Path:
    shutil.copytree(two_passes, tmp_path / "copy")
    return tmp_path / "copy"


def test_a_second_graph_that_is_missing_or_changed_is_an_error(copy):
    graph = copy / "heart.onnx"
    content = graph.read_bytes()
    graph.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BundleError, match="wrong checksum"):
        load_segmenter(copy)
    graph.unlink()
    with pytest.raises(BundleError, match=r"heart\.onnx is missing"):
        load_segmenter(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda manifest: manifest["heart"].update(crop=257), "no valid 'heart'"),
        (lambda manifest: manifest["heart"].update(crop="64"), r"Expected `int`, got `str` - at `\$.heart.crop`"),
        (lambda manifest: manifest["heart"].pop("input_name"), "missing required field `input_name`"),
        (lambda manifest: manifest["checksums"].pop("heart.onnx"), "has no checksum for heart.onnx"),
        (lambda manifest: manifest["heart"].update(crop=CROP // 2), "does not fit bundle.json"),
        (lambda manifest: manifest["heart"].update(output_name="nothing"), "not those of bundle.json"),
    ],
)
def test_a_manifest_that_does_not_fit_the_second_graph_is_an_error(change, message, copy):
    manifest = json.loads((copy / "bundle.json").read_text())
    change(manifest)
    (copy / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=message):
        load_segmenter(copy)


def test_both_graphs_of_a_bundle_are_run(two_passes):
    frames = np.stack([disc_example("E", number).image for number in range(9)])[None]
    cine, steps = Cine(frames, None), []
    segmenter = load_segmenter(two_passes, threads=1)
    # This network has hardly learned: a finder that is made sure of points to what the refiner is shown.
    assert segmenter.finder is not None
    sure = replace(segmenter, finder=replace(segmenter.finder, session=Sure(segmenter.finder.session)))
    predicted = sure.segment(cine, lambda done, total: steps.append((done, total)))
    assert predicted.labels.shape == cine.pixels.shape and steps[-1] == (9, 9)
    scores = sure.scores(cine, sure.placement(cine))
    crop = sure.bundle.heart.crop
    assert scores.crop.size == crop and scores.regions[Structure.CAVITY].shape[-2:] == (crop, crop)
    assert set(np.unique(scores.regions[Structure.CAVITY][0, 0])) - {0.0, 1.0}  # drawn by the refiner


class Sure:
    """A finder that finds the bright disc."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self.session = session

    def run(self, names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        assert self.session.run(names, feeds)[0].shape[-1] == 2
        disc = (next(iter(feeds.values())) > 0.65).astype(np.float32)
        return [np.concatenate([1 - disc, disc], axis=-1)]
