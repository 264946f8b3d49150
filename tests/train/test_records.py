"""What is written is what is read; a set is whole or absent; patients are never divided."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from cinesax.core.errors import DatasetError, OutputError  # noqa: E402
from cinesax.core.structures import Structure  # noqa: E402
from cinesax.files import typed_json  # noqa: E402
from cinesax.network.framing import Framing  # noqa: E402
from cinesax.train.data.examples import Example, Kind  # noqa: E402
from cinesax.train.data.manifest import CAVITY_ONLY, Manifest, parse_classes  # noqa: E402
from cinesax.train.data.records import (  # noqa: E402
    FEATURES,
    Dataset,
    open_dataset,
    parse,
    possible_classes,
    read_examples,
    rows,
    serialise,
    verify,
    write_dataset,
)

from .conftest import disc_example, disc_examples  # noqa: E402


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of file sizes there")
def test_a_disk_that_takes_no_more_leaves_nothing_and_says_so(tmp_path):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(OutputError, match=r"set cannot be written: [A-Z][a-z ]+$"):
            write_dataset({"train": disc_examples()}, tmp_path / "set", framing=Framing())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_examples_come_back_as_they_were(discs):
    written = disc_examples()
    read = [e for e in read_examples(discs, "train") if not e.case.startswith("PHANTOM")]
    assert [e.name for e in read] == [e.name for e in written]
    for before, after in zip(written, read, strict=True):
        np.testing.assert_array_equal(after.image, before.image)
        np.testing.assert_array_equal(after.label, before.label)
        assert (after.case, after.kind, after.slice, after.phase) == (
            before.case,
            before.kind,
            before.slice,
            before.phase,
        )
        assert after.spacing_mm == (None if before.spacing_mm is None else pytest.approx(before.spacing_mm))


def test_the_manifest_counts_what_is_there(discs):
    manifest = json.loads((discs.folder / "dataset.json").read_text())
    assert manifest["counts"] == {"train": 20, "validation": 4}
    assert manifest["cases"]["A"]["n"] == 4 and manifest["cases"]["A"]["kind"] == "study"
    cavity = sum(int((e.label == 1).sum()) for split in ("train", "validation") for e in read_examples(discs, split))
    assert manifest["class_pixels"]["lv_cavity"] == cavity
    assert manifest["framing_digest"] == Framing().digest
    verify(open_dataset(discs.folder))


def test_folds_divide_patients_and_spread_studies(discs):
    for fold in (0, 1):
        held = discs.cases("train", fold=fold, held_out=True)
        train = discs.cases("train", fold=fold)
        assert not set(held) & set(train)
        assert sum(case in held for case in "AB") == 1  # the studies
        assert not any(case.startswith("PHANTOM") for case in held)
        assert any(case.startswith("PHANTOM") for case in train)
    assert {c for f in (0, 1) for c in discs.cases("train", fold=f, held_out=True)} == set("ABCD")
    with pytest.raises(DatasetError, match="no fold 2"):
        discs.cases("train", fold=2)
    with pytest.raises(DatasetError, match="no split 'test'"):
        discs.cases("test")


def test_a_patient_in_two_splits_is_an_error_and_leaves_nothing(tmp_path):
    splits = {"train": [disc_example("A", 0)], "validation": [disc_example("A", 1)]}
    with pytest.raises(DatasetError, match="split by patient"):
        write_dataset(splits, tmp_path / "set", framing=Framing())
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_preparation_leaves_nothing(tmp_path):
    def examples():
        yield disc_example("A", 0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset({"train": examples()}, tmp_path / "set", framing=Framing())
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_not_touched(tmp_path):
    (tmp_path / "set").mkdir()
    with pytest.raises(OutputError, match="exists already"):
        write_dataset({"train": [disc_example("A", 0)]}, tmp_path / "set", framing=Framing())


def damaged(folder: Path) -> Dataset:
    """A set of one record, a bit of which is another one."""
    dataset = write_dataset({"train": [disc_example("A", 0)]}, folder, framing=Framing())
    shard = dataset.shards("train")[0]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    return dataset


def test_damage_is_found(tmp_path):
    folder = tmp_path / "set"
    shard = damaged(folder).shards("train")[0]
    with pytest.raises(DatasetError, match="wrong checksum"):
        verify(open_dataset(folder))
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(DatasetError, match="cut short"):
        open_dataset(folder)
    (folder / "dataset.json").write_text("{}")
    with pytest.raises(DatasetError, match="does not have the schema"):
        open_dataset(folder)
    with pytest.raises(DatasetError, match="not a prepared set"):
        open_dataset(tmp_path)


def test_the_same_examples_have_the_same_digest_in_every_process():
    script = (
        "import hashlib, numpy as np\n"
        "from cinesax.train.data.examples import Example, Kind\n"
        "from cinesax.train.data.records import serialise\n"
        "pixels = np.zeros((16, 16))\n"
        "example = Example('a', 'b', Kind.PAIRS, pixels.astype(np.uint16), pixels.astype(np.uint8))\n"
        "print(hashlib.sha256(serialise(example)).hexdigest())\n"
    )
    elsewhere = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    pixels = np.zeros((16, 16))
    here = serialise(Example("a", "b", Kind.PAIRS, pixels.astype(np.uint16), pixels.astype(np.uint8)))
    assert elsewhere.strip() == hashlib.sha256(here).hexdigest()


def test_one_name_twice_is_an_error(tmp_path):
    twice = [disc_example("A", 0), disc_example("A", 0)]
    with pytest.raises(DatasetError, match="A-0 appears twice as pairs"):
        write_dataset({"train": twice}, tmp_path / "set", framing=Framing())
    assert list(tmp_path.iterdir()) == []


CAVITY, WALL, RV = Structure.CAVITY, Structure.MYOCARDIUM, Structure.RV_CAVITY


def _labelled(name: str, known: set[Structure], label: np.ndarray) -> Example:
    image = np.random.default_rng(len(name)).integers(0, 65535, label.shape).astype(np.uint16)
    return Example(name, name, Kind.PAIRS, image, label.astype(np.uint8), known=frozenset(known))


def _rings() -> np.ndarray:
    label = np.zeros((64, 64), np.uint8)
    label[10:40, 10:40], label[15:35, 15:35], label[10:40, 45:60] = WALL, CAVITY, RV
    label[:3] = 255
    return label


def test_classes_and_what_is_known_come_back(tmp_path):
    full = _rings()
    part = np.where(full == CAVITY, CAVITY, 0)
    written = [_labelled("full", {CAVITY, WALL, RV}, full), _labelled("in part", {CAVITY}, part)]
    for classes in ("lv_cavity myocardium rv", "lv_cavity rv", "myocardium", "lv_cavity"):
        chosen = parse_classes(classes.split())
        folder = tmp_path / classes
        dataset = write_dataset({"train": written}, folder, framing=Framing(), classes=chosen)
        assert open_dataset(folder).classes == chosen
        read = list(read_examples(dataset, "train"))
        for before, after in zip(written, read, strict=True):
            kept = np.isin(before.label, [*chosen, 255])
            np.testing.assert_array_equal(after.label, np.where(kept, before.label, 0))
            assert after.known == before.known & set(chosen)
        assert [row.known for row in rows(dataset)] == [one.known for one in read]
        assert sum(dataset.manifest.class_pixels.values()) + dataset.manifest.unknown_pixels == 2 * 64 * 64
        partial = {case: fact.n_partial for case, fact in dataset.manifest.cases.items()}
        assert partial == {"full": 1, "in part": int(classes != "lv_cavity")}  # unknown rows count too


def test_a_frame_with_the_rv_alone_is_one_without_lv(tmp_path):
    alone = np.where(_rings() == RV, RV, 0)
    apex = np.where(_rings() == WALL, WALL, 0)
    written = [_labelled("rv", {CAVITY, WALL, RV}, alone), _labelled("apex", {CAVITY, WALL, RV}, apex)]
    chosen = parse_classes(["lv_cavity", "myocardium", "rv"])
    dataset = write_dataset({"train": written}, tmp_path / "set", framing=Framing(), classes=chosen)
    assert {case: fact.n_empty for case, fact in dataset.manifest.cases.items()} == {"rv": 1, "apex": 0}


def test_a_class_that_was_not_looked_for_stays_possible():
    import tensorflow as tf

    chosen = parse_classes(["lv_cavity", "myocardium", "rv"])
    label = np.where(np.isin(_rings(), (CAVITY, 255)), _rings(), 0)
    record = serialise(_labelled("in part", {CAVITY, RV}, label), chosen)

    def targets(content: tf.Tensor) -> tf.Tensor:
        fields = parse(content)
        return possible_classes(fields["label"], fields["known"], len(chosen) + 1)

    (possible,) = tf.data.Dataset.from_tensors(record).map(targets).as_numpy_iterator()
    assert possible.shape == (64, 64, 4) and possible.dtype == np.float32
    np.testing.assert_array_equal(possible[20, 20], [0, 1, 0, 0])  # labelled
    np.testing.assert_array_equal(possible[50, 50], [1, 0, 1, 0])  # the wall may be there; cavity and RV are not
    np.testing.assert_array_equal(possible[1, 1], [1, 1, 1, 1])  # anything
    full = serialise(_labelled("full", {CAVITY, WALL, RV}, np.where(_rings() == 255, 0, _rings())), chosen)
    (one_hot,) = tf.data.Dataset.from_tensors(full).map(targets).as_numpy_iterator()
    np.testing.assert_array_equal(one_hot.sum(axis=-1), 1)
    np.testing.assert_array_equal(one_hot.argmax(axis=-1), np.where(_rings() == 255, 0, _rings()))


def test_an_example_that_contradicts_itself_cannot_be_made():
    with pytest.raises(DatasetError, match="holds \\[2\\], which is not among its labelled classes"):
        _labelled("a", {CAVITY}, np.where(_rings() == WALL, WALL, 0))
    with pytest.raises(DatasetError, match="of one shape"):
        Example("a", "a", Kind.PAIRS, np.zeros((4, 4), np.uint16), np.zeros((4, 5), np.uint8))
    with pytest.raises(DatasetError, match="no class atrium: expected some of lv_cavity, myocardium, rv"):
        parse_classes(["atrium"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda manifest: manifest["cases"]["A"].update(n="four"),
            r"Expected `int`, got `str` - at `\$.cases\[...\].n`",
        ),
        (lambda manifest: manifest["cases"]["A"].update(kind="wish"), "Invalid enum value 'wish'"),
        (lambda manifest: manifest.pop("splits"), "missing required field `splits`"),
        (lambda manifest: manifest["framing"].update(size=3), "framing settings are not valid"),
    ],
)
def test_what_dataset_json_cannot_say_is_one_line(discs, tmp_path, change, message):
    manifest = json.loads((discs.folder / "dataset.json").read_text())
    change(manifest)
    (tmp_path / "dataset.json").write_text(json.dumps(manifest))
    with pytest.raises(DatasetError, match=message) as caught:
        open_dataset(tmp_path)
    assert "\n" not in str(caught.value) and "prepare the set again" in str(caught.value)


def test_dataset_json_says_what_it_said_before_and_newer_keys_do_no_harm(discs, tmp_path):
    text = (discs.folder / "dataset.json").read_text()
    read = typed_json.parse(text, Manifest)
    assert read == discs.manifest and json.loads(typed_json.text_of(read)) == json.loads(text)
    assert list(json.loads(text)) == [
        "schema", "digest", "classes", "framing", "framing_digest", "folds", "seed", "counts", "class_pixels",
        "unknown_pixels", "splits", "cases", "shards", "unused", "tables",
        "walls_drawn_by",
    ]  # fmt: skip
    assert typed_json.parse(json.dumps(json.loads(text) | {"colour": "red"}), Manifest) == read


def test_sets_of_the_first_schema_are_read(discs, tmp_path, monkeypatch):
    """As the first version wrote them: no `known`, no tables, no class count."""
    import tensorflow as tf

    folder = tmp_path / "old"
    folder.mkdir()
    manifest = json.loads((discs.folder / "dataset.json").read_text())
    for shard in manifest["shards"]:
        with tf.io.TFRecordWriter(str(folder / shard["file"])) as writer:
            for record in tf.data.TFRecordDataset(str(discs.folder / shard["file"])).as_numpy_iterator():
                old = tf.train.Example.FromString(record)
                del old.features.feature["known"]
                writer.write(old.SerializeToString())
        shard["bytes"] = (folder / shard["file"]).stat().st_size
    for key in ("tables", "unused", "unknown_pixels", "seed"):
        manifest.pop(key)
    manifest["schema"] = "cinesax/dataset/1"
    (folder / "dataset.json").write_text(json.dumps(manifest))
    old = open_dataset(folder)
    assert old.classes == CAVITY_ONLY
    for before, after in zip(read_examples(discs, "train"), read_examples(old, "train"), strict=True):
        np.testing.assert_array_equal(after.label, before.label)
        assert after.known == {CAVITY} and after.name == before.name
    assert [(row.name, row.pixels, row.known) for row in rows(old)] == [
        (row.name, row.pixels, row.known) for row in rows(discs)
    ]
    assert FEATURES["known"].default_value == -1


def test_the_list_of_examples_is_checked_too(tmp_path):
    folder = tmp_path / "set"
    dataset = write_dataset({"train": [disc_example("A", 0)]}, folder, framing=Framing())
    table = folder / "examples.csv"
    content = table.read_text()
    table.write_text(content.replace("A-0", "B-0"))
    with pytest.raises(DatasetError, match="examples.csv is missing or has a wrong checksum"):
        verify(dataset)
    for spoilt in (content.replace("pairs", "pears"), content.replace("known", "unknown"), content[:-90] + '"x'):
        table.write_text(spoilt)
        with pytest.raises(DatasetError, match="damaged"):
            rows(dataset)
    table.unlink()
    with pytest.raises(DatasetError, match="cannot be read"):
        rows(dataset)


def test_a_damaged_record_is_named(tmp_path):
    with pytest.raises(DatasetError, match="a record of train is damaged"):
        list(read_examples(damaged(tmp_path / "set"), "train"))
