"""Training learns, can be interrupted, and ends in a bundle that runs without TensorFlow."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow")

import labelled
from cinesax.core.errors import BundleError, DatasetError, InputError, OutputError  # noqa: E402
from cinesax.core.structures import Structure  # noqa: E402
from cinesax.evaluate import LabelledStudy, evaluate  # noqa: E402
from cinesax.formats import pairs  # noqa: E402
from cinesax.network.bundle import open_bundle  # noqa: E402
from cinesax.network.framing import Framing  # noqa: E402
from cinesax.network.segmenter import load_segmenter  # noqa: E402
from cinesax.train.data.examples import from_pairs  # noqa: E402
from cinesax.train.data.records import open_dataset, read_examples, write_dataset  # noqa: E402
from cinesax.train.export.bundle import export  # noqa: E402
from cinesax.train.export.passes import fixed_size  # noqa: E402
from cinesax.train.fit.train import open_run, train  # noqa: E402

from .conftest import EAGER, QUICK, disc_example  # noqa: E402


def test_a_bundle_gives_what_keras_gives_and_finds_the_discs(run_folder, tiny_bundle, discs):
    bundle = open_bundle(tiny_bundle)
    assert bundle.training.cases and "PHANTOM" not in str(bundle.training.cases)
    assert "not a medical device" in (bundle.folder / "CARD.md").read_text().lower()
    segmenter = load_segmenter(bundle.folder, threads=1)
    example = next(read_examples(discs, "validation"))
    cine, _ = labelled.as_cine(example)
    seen = segmenter.scores(cine, bundle.framing.place((256, 256), None)).regions[Structure.CAVITY][0, 0]
    framed = bundle.framing.apply(example.image, bundle.framing.place((256, 256), None))
    expected = np.asarray(fixed_size(open_run(run_folder))(framed[None, ..., None]))[0, ..., 1]
    np.testing.assert_allclose(seen, expected, atol=1e-4)
    studies = []
    for example in read_examples(discs, "validation"):
        cine, truth = labelled.as_cine(example)
        studies.append(LabelledStudy(example.case, {(0, 0): example.name}, cine, truth))
    assert evaluate(studies, segmenter.segment).dice.mean() > 0.6


def test_a_bundle_runs_where_tensorflow_is_not(tiny_bundle):
    script = (
        "import sys; sys.modules['tensorflow'] = None; sys.modules['keras'] = None\n"
        "import numpy as np\n"
        "from cinesax.core.cine import Cine\n"
        "from cinesax.network.segmenter import load_segmenter\n"
        f"s = load_segmenter({str(tiny_bundle)!r})\n"
        "print(s.segment(Cine(np.zeros((2, 1, 64, 64)), None)).labels.shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(2, 1, 64, 64)"


def test_a_damaged_bundle_is_refused(tiny_bundle, tmp_path):
    for name, damage, message in (
        ("graph.onnx", lambda b: b[:-1] + bytes([b[-1] ^ 1]), "wrong checksum"),
        ("bundle.json", lambda b: b[:-20], "not valid JSON"),
        ("bundle.json", lambda b: b.replace(b"bundle/1", b"bundle/9"), "has the schema"),
        ("bundle.json", lambda b: b.replace(b'"size"', b'"sise"'), "cannot be used"),
    ):
        bad = tmp_path / "bad"
        shutil.rmtree(bad, ignore_errors=True)
        shutil.copytree(tiny_bundle, bad)
        (bad / name).write_bytes(damage((bad / name).read_bytes()))
        with pytest.raises(BundleError, match=message):
            open_bundle(bad)
    (bad / "graph.onnx").unlink()
    shutil.copy(tiny_bundle / "bundle.json", bad)
    with pytest.raises(BundleError, match="incomplete"):
        open_bundle(bad)
    with pytest.raises(BundleError, match="not a bundle"):
        open_bundle(tmp_path)


def test_a_damaged_set_is_not_trained_on(discs, tmp_path):
    folder = tmp_path / "set"
    shutil.copytree(discs.folder, folder)
    shard = next(folder.glob("train-*"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DatasetError, match="wrong checksum"):
        train(open_dataset(folder), tmp_path / "run", QUICK)
    assert not (tmp_path / "run").exists()


def test_a_fold_that_leaves_nobody_is_an_error_and_leaves_nothing(tmp_path):
    examples = [disc_example("A", number) for number in range(2)]
    one = write_dataset({"train": examples}, tmp_path / "set", framing=Framing(), folds=2)
    for fold, word in ((0, "train on"), (1, "validate on")):
        with pytest.raises(DatasetError, match=word):
            train(one, tmp_path / "run", QUICK, fold=fold)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of file sizes there")
def test_a_disk_that_takes_no_more_ends_in_one_line_and_the_training_goes_on_later(discs, tmp_path):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for size, resume in ((2_000, False), (20_000, True)):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            with pytest.raises(OutputError, match="run cannot be written: .*File too large.*continue with --resume$"):
                train(discs, tmp_path / "run", QUICK, fold=0, resume=resume, execution=EAGER)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert not list((tmp_path / "run").glob(".*"))
    ended = train(discs, tmp_path / "run", QUICK, fold=0, resume=True, execution=EAGER)
    assert ended.state.epochs == QUICK.epochs


def test_run_folders_that_are_none_or_damaged_are_told(discs, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(OutputError, match="is a file"):
        train(discs, file, QUICK)
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text("{}")
    with pytest.raises(InputError, match="schema"):
        train(discs, other, QUICK, resume=True)
    (other / "config.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not a run folder"):
        open_run(other)


def test_a_damaged_network_is_told(run_folder, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    (folder / "network.keras").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read"):
        export(folder, tmp_path / "bundle")
    (folder / "state.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        open_run(folder)


def _edited(good: Path, folder: Path, **values) -> Path:
    shutil.copytree(good, folder)
    manifest = json.loads((folder / "bundle.json").read_text()) | values
    (folder / "bundle.json").write_text(json.dumps(manifest))
    return folder


def test_a_bundle_that_does_not_fit_its_graph_is_refused(tiny_bundle, tmp_path):
    smaller = Framing(size=128)
    cases = {
        "framing_digest": {"framing": smaller.to_dict()},
        "squares of 128": {"framing": smaller.to_dict(), "framing_digest": smaller.digest},
        "classes": {"classes": {"5": "CAVITY"}},
        "cannot be used": {"framing": Framing().to_dict() | {"native_range_mm": []}},
    }
    for number, (message, values) in enumerate(cases.items()):
        with pytest.raises(BundleError, match=message):
            load_segmenter(_edited(tiny_bundle, tmp_path / str(number), **values))


def test_a_bundle_is_never_lost_or_written_over_something_else(run_folder, tiny_bundle, tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(OutputError, match="is a file"):
        export(run_folder, file)
    assert file.read_text() == "mine"
    folder = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, folder)
    rename = Path.rename

    def fails(self, target):
        if Path(target) == folder and not self.name.endswith(".old"):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr("cinesax.files.folder_swap.swap", lambda *_: False)  # as on Windows: by two renames
    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OutputError, match="No space"):
        export(run_folder, folder, version="2")
    monkeypatch.undo()
    assert open_bundle(folder).version == "1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "file"]


def test_a_prepared_set_gives_the_network_what_the_pairs_give_it(tiny_bundle, tmp_path):
    rng = np.random.default_rng(0)
    image = rng.gamma(2, 20, (90, 110)).clip(0, 255).astype(np.uint8)
    pair = labelled.write_pair(tmp_path / "pairs", "A-IM-0001-0001", image, image > 200)
    segmenter = load_segmenter(tiny_bundle)
    fed: list[np.ndarray] = []

    class Spy:
        def run(self, names, feed):
            fed.append(next(iter(feed.values())))
            return segmenter.refiner.session.run(names, feed)

    spied = replace(segmenter, refiner=replace(segmenter.refiner, session=Spy()))
    spied.segment(pairs.read_cine(pair))
    cine, _ = labelled.as_cine(next(from_pairs(tmp_path / "pairs", segmenter.bundle.framing)))
    spied.on_framed(segmenter.bundle.framing).segment(cine)
    np.testing.assert_allclose(fed[1], fed[0], atol=1e-4)
    with pytest.raises(DatasetError, match="framed differently"):
        spied.on_framed(Framing(size=128))
