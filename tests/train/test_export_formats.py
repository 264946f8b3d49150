"""SavedModel and LiteRT: what is inside, that it is still the network, and that it runs without this package."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow")
import keras  # noqa: E402

from cinesax.cli.main import main  # noqa: E402
from cinesax.core.errors import DatasetError, InputError, MissingExtraError  # noqa: E402
from cinesax.files.typed_json import text_of  # noqa: E402
from cinesax.network.bundle import open_bundle  # noqa: E402
from cinesax.train.data.records import read_examples  # noqa: E402
from cinesax.train.export.files import export_files  # noqa: E402
from cinesax.train.export.formats import Format, Precision, keras_runner, litert_runner, to_litert  # noqa: E402
from cinesax.train.export.parity import (  # noqa: E402
    Exported,
    Parity,
    Slices,
    check,
    check_on_noise,
    compare,
    read_report,
    real_slices,
    speed,
)
from cinesax.train.nets import FCNConfig, UNetConfig, build  # noqa: E402
from shared import made_once  # noqa: E402

pytest.importorskip("ai_edge_litert", reason="needs the train extra")


@pytest.fixture(scope="module")
def litert(run_folder, discs, tmp_path_factory) -> Path:
    """A network that has learned, as LiteRT files of all precisions, by the command."""

    def by_command(out: Path) -> None:
        words = ["--to", "litert", "--data", discs.folder, "--slices", "6", "--name", "discs", "-o", out]
        assert main(["export", str(run_folder), *map(str, words)]) == 0

    return made_once(tmp_path_factory, "litert", by_command)


@pytest.fixture(scope="module")
def savedmodel(run_folder, discs, tmp_path_factory) -> Path:
    """The same as a SavedModel."""
    out = tmp_path_factory.mktemp("exports") / "savedmodel"
    return export_files(run_folder, out, Format.SAVEDMODEL, data=discs, slices=6)


@pytest.fixture(scope="module")
def expected(run_folder, discs) -> tuple[np.ndarray, np.ndarray]:
    """Two slices, and the probabilities that Keras gives of them."""
    images = real_slices(discs, "validation", count=2).images
    network = keras.models.load_model(run_folder / "network.keras", compile=False)
    return images, np.asarray(network(images))


def content(folder: Path, name: str) -> dict:
    return json.loads((folder / name).read_text())


def test_litert_files_of_all_precisions_are_the_network(litert, capsys):
    report = content(litert, "parity.json")
    assert report["schema"] == "cinesax/parity/1" and report["data"]["split"] == "validation"
    by_precision = {one["precision"]: one for one in report["networks"]}
    assert list(by_precision) == ["float32", "float16", "int8"]
    for precision, one in by_precision.items():
        assert one["file"] == f"graph-{precision}.tflite" and one["slices"] == 4  # all there are
        assert one["bytes"] == (litert / one["file"]).stat().st_size
        assert one["pixels"] == 4 * 256 * 256 and one["exported_ms"] > 0 and one["keras_ms"] > 0
        assert one["dice"] > 0.97 and one["lowest_dice"] <= one["dice"]
        assert one["dice_with_experts"] == pytest.approx(one["dice_with_experts_keras"], abs=0.02)
        assert one["dice_with_experts_keras"] > 0.7  # it has learned: the comparison is one of masks, not of nothing
    assert by_precision["float32"]["largest_difference"] < 1e-4
    assert 1e-6 < by_precision["float16"]["largest_difference"] < 2e-2
    assert by_precision["float16"]["largest_difference"] < by_precision["int8"]["largest_difference"]
    assert by_precision["float32"]["changed_pixels"] <= 2


def test_lower_precision_is_smaller(litert):
    sizes = [(litert / f"graph-{one}.tflite").stat().st_size for one in Precision]
    assert sizes[0] > 1.4 * sizes[1] and sizes[1] > 1.2 * sizes[2]


def test_int8_computes_in_whole_numbers(litert):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(litert / "graph-int8.tflite"))
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    assert [one["dtype"] for one in inputs] == [np.float32] and {one["dtype"] for one in outputs} == {
        np.float32,
        np.int32,
    }
    ends = {one["index"] for one in inputs + outputs}
    inner = [one["dtype"] for one in interpreter.get_tensor_details() if one["index"] not in ends]
    assert inner and np.float32 not in inner


def test_the_manifest_tells_how_to_run_the_files(litert, discs):
    manifest = content(litert, "network.json")
    assert (manifest["schema"], manifest["format"], manifest["name"]) == ("cinesax/network/1", "litert", "discs")
    assert manifest["framing"] == discs.framing.to_dict() and manifest["classes"] == {"1": "CAVITY"}
    assert [one["size"] for one in manifest["networks"]] == [256] * 3
    files = {path.name for path in litert.iterdir()} - {"network.json"}
    assert (
        set(manifest["checksums"]) == files == {"CARD.md", "parity.json"} | {f"graph-{one}.tflite" for one in Precision}
    )
    for name, checksum in manifest["checksums"].items():
        assert hashlib.sha256((litert / name).read_bytes()).hexdigest() == checksum
    assert manifest["training"]["images"] and "not a medical device" in (litert / "CARD.md").read_text().lower()


def test_a_savedmodel_is_the_network(savedmodel):
    (one,) = content(savedmodel, "parity.json")["networks"]
    assert one["file"] == "graph" and one["precision"] == "float32" and one["changed_pixels"] <= 2
    assert one["largest_difference"] < 1e-4 and one["dice"] > 0.999
    assert one["bytes"] == sum(path.stat().st_size for path in (savedmodel / "graph").rglob("*") if path.is_file())
    assert "graph/saved_model.pb" in content(savedmodel, "network.json")["checksums"]


LITERT = """
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(FILE)
serve = interpreter.get_signature_runner("serving_default")
answers = [serve(image=image[None]) for image in images]
probabilities, labels = (np.concatenate([one[name] for one in answers]) for name in ("probabilities", "labels"))
"""
SAVEDMODEL = """
import tensorflow as tf
loaded = tf.saved_model.load(FILE)
answer = loaded.signatures["serving_default"](image=tf.constant(images))
probabilities, labels = answer["probabilities"].numpy(), answer["labels"].numpy()
"""


@pytest.mark.parametrize(
    ("program", "file", "tolerance"),
    [
        (LITERT, "graph-float32.tflite", 1e-4),
        (LITERT, "graph-float16.tflite", 2e-2),
        (LITERT, "graph-int8.tflite", 0.5),
        (SAVEDMODEL, "graph", 1e-4),
    ],
)
def test_another_process_runs_it_without_this_package(program, file, tolerance, expected, tmp_path, request):
    folder = request.getfixturevalue("litert" if program is LITERT else "savedmodel")
    np.save(tmp_path / "images.npy", expected[0])
    begin = f"import sys\nimport numpy as np\nFILE = {str(folder / file)!r}\nimages = np.load('images.npy')\n"
    end = "np.savez('answer.npz', probabilities=probabilities, labels=labels)\nprint('cinesax' in sys.modules)\n"
    done = subprocess.run(
        [sys.executable, "-c", begin + program + end], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False"
    answer = np.load(tmp_path / "answer.npz")
    assert answer["probabilities"].dtype == np.float32 and answer["labels"].dtype == np.int32
    np.testing.assert_allclose(answer["probabilities"], expected[1], atol=tolerance)
    changed = (answer["labels"] != expected[1].argmax(axis=-1)).mean()
    assert changed < 5e-3 and answer["labels"].max() == 1


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--to", "litert", "--half"], 2, "--half is for onnx"),
        (["--to", "savedmodel", "--precision", "int8"], 2, "--precision is for litert"),
        (["--to", "litert", "--precision", "int4"], 2, "give some of float32, float16, int8"),
        (["--to", "litert", "--precision", "float16,int8"], 2, "give --data SET"),
        (["--slices", "0"], 2, "give 1 or more"),
        (["--slices", "9"], 2, "--slices is for the comparison with Keras, which needs the prepared set: give --data"),
        (["--name", " "], 2, "--name is empty: give a text, or leave it out"),
        (["--to", "litert", "--data", "absent"], 3, "not a prepared set"),
        (["--to", "savedmodel", "--finder", "absent"], 3, "absent does not exist: name the folder of"),
    ],
)
def test_what_cannot_be_meant_is_one_line_and_leaves_nothing(
    options, code, message, run_folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(run_folder), "-o", "OUT", *options]) == code
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and error.startswith("cinesax: error: ")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_stays(run_folder, tmp_path, capsys):
    (tmp_path / "mine").write_text("mine")
    assert main(["export", str(run_folder), "-o", str(tmp_path), "--to", "savedmodel"]) == 7
    assert "exists already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_files_without_a_set_are_compared_on_noise_and_have_no_report(quick_run, tmp_path):
    out = export_files(quick_run, tmp_path / "out", Format.LITERT, precisions=[Precision.FLOAT16])
    assert sorted(path.name for path in out.iterdir()) == ["CARD.md", "graph-float16.tflite", "network.json"]


def test_a_file_of_another_network_is_found_out(tmp_path):
    config = FCNConfig(channels=(4,), bottom=(4,), kernel=3)
    one, other = build(config, size=32), build(config, size=32)
    path = tmp_path / "graph.tflite"
    to_litert(one, {Precision.FLOAT32: path})
    runner = litert_runner(path, threads=1)
    check_on_noise(Exported(path, runner, one, Precision.FLOAT32))
    with pytest.raises(InputError, match=r"graph\.tflite differs from the network in Keras: probabilities differ by"):
        check_on_noise(Exported(path, runner, other, Precision.FLOAT32))


def test_any_network_becomes_litert(tmp_path):
    model = build(UNetConfig(channels=(4, 6), stem=None, classes=4), size=32)
    images = np.random.default_rng(2).random((3, 32, 32, 1), dtype=np.float32)
    paths = {precision: tmp_path / f"{precision}.tflite" for precision in Precision}
    to_litert(model, paths, calibration=images)
    expected = keras_runner(model)(images)[0]
    for path in paths.values():
        probabilities, labels = litert_runner(path, threads=1)(images)
        assert probabilities.shape == (3, 32, 32, 4) and labels.shape == (3, 32, 32)
        np.testing.assert_allclose(probabilities, expected, atol=0.05)


def fixed(cavity: np.ndarray):
    def run(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        part = cavity[images[:, 0, 0, 0].astype(int)]
        return np.stack([1 - part, part], axis=-1).astype(np.float32), part.astype(np.int32)

    return run


def test_the_figures_are_what_they_say():
    # Four slices of 4 x 4: equal, one pixel of two lost, both empty, found only by the second.
    first, second = np.zeros((4, 4, 4)), np.zeros((4, 4, 4))
    first[0, 0, :2] = second[0, 0, :2] = first[1, 0, :2] = second[1, 0, 0] = second[3, 0, 0] = 1
    truth, known = first > 0.5, np.ones((4, 4, 4), bool)
    known[3] = False  # nobody has said what the fourth shows
    images = np.zeros((4, 4, 4, 1), np.float32)
    images[:, 0, 0, 0] = np.arange(4)
    compared = compare(fixed(first), fixed(second), Slices(("a", "b", "c", "d"), images, truth, known))
    assert (compared.slices, compared.pixels, compared.changed_pixels, compared.largest_difference) == (4, 64, 2, 1.0)
    assert compared.dice == pytest.approx((1 + 2 / 3 + 1 + 0) / 4) and compared.lowest_dice == 0
    assert compared.dice_with_experts_keras == 1 and compared.dice_with_experts == pytest.approx((3 + 2 / 3) / 4)


def test_what_differs_too_much_is_refused():
    fine = Parity(1, 5e-4, 0, 1, 0.95, 0.95, 1.0, 1.0)
    for precision in Precision:
        check(fine, precision, "graph")
    coarse = Parity(1, 1.5e-2, 0, 1, 0.89, 0.8, 1.0, 1.0)
    check(coarse, Precision.FLOAT16, "graph")
    for precision, message in (
        (Precision.FLOAT32, "0.001 or less"),
        (Precision.INT8, "int8 is too coarse for this network: give --precision float32,float16"),
    ):
        with pytest.raises(InputError, match=message):
            check(coarse, precision, "graph")


def test_speed_is_the_median_of_frames_computed_in_turns():
    seconds, calls = iter(range(1000)), []
    images = np.zeros((2, 4, 4, 1), np.float32)

    def runner(name):
        return lambda frames: calls.append((name, len(frames)))

    timed = speed(runner("keras"), runner("other"), images, clock=lambda: next(seconds) ** 2 / 1e3)
    assert calls[:4] == [("keras", 1), ("other", 1)] * 2
    assert timed.keras_ms < timed.exported_ms  # its turn comes later, and this clock runs ever faster


def test_slices_are_spread_over_patients_and_cut_round_the_ventricle(discs):
    whole = real_slices(discs, "train", count=4)
    assert [name[0] for name in whole.names] == ["A", "B", "C", "D"]  # no phantoms among them
    assert whole.images.shape == (4, 256, 256, 1) and whole.images.dtype == np.float32 and whole.known.all()
    truth = {one.name: one for one in read_examples(discs, "train")}
    np.testing.assert_allclose(whole.images[1, ..., 0], truth[whole.names[1]].image / 65535, atol=1e-6)
    cut = real_slices(discs, "train", count=4, crop=80)
    assert cut.images.shape == (4, 80, 80, 1) and cut.names == whole.names
    for small, large in zip(cut.cavity, whole.cavity, strict=True):
        assert small.sum() == large.sum() > 0
        assert np.abs(np.argwhere(small).mean(axis=0) - 40).max() < 1
    with pytest.raises(DatasetError, match="cannot be cut out"):
        real_slices(discs, "train", count=4, crop=300)


def test_without_the_interpreter_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[train\]'"):
        litert_runner(tmp_path / "graph.tflite", threads=1)


def test_a_parity_report_is_read_and_written_unchanged(tmp_path):
    text = (open_bundle().folder / "parity.json").read_text()
    (tmp_path / "parity.json").write_text(text)
    report = read_report(tmp_path)
    assert report.networks[0].file == "graph.onnx" and text_of(report) == text
    (tmp_path / "parity.json").write_text(text.replace('"bytes": ', '"bytes": "many", "size": ', 1))
    with pytest.raises(InputError, match=r"parity.json cannot be read: Expected `int`, got `str` .*networks"):
        read_report(tmp_path)
