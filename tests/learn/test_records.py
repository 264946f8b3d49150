"""What is written is what is read; a set is whole or absent; patients are never divided."""

import json
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from cinesax.errors import DatasetError, OutputError  # noqa: E402
from cinesax.framing import Framing  # noqa: E402
from cinesax.learn.examples import Kind, without_twins  # noqa: E402
from cinesax.learn.records import open_dataset, read_examples, verify, write_dataset  # noqa: E402

from .conftest import disc_example, disc_examples  # noqa: E402


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


def test_damage_is_found(tmp_path):
    folder = tmp_path / "set"
    dataset = write_dataset({"train": [disc_example("A", 0)]}, folder, framing=Framing())
    shard = dataset.shards("train")[0]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DatasetError, match="wrong checksum"):
        verify(open_dataset(folder))
    shard.write_bytes(content[:-10])
    with pytest.raises(DatasetError, match="cut short"):
        open_dataset(folder)
    (folder / "dataset.json").write_text("{}")
    with pytest.raises(DatasetError, match="not of schema"):
        open_dataset(folder)
    with pytest.raises(DatasetError, match="no prepared set"):
        open_dataset(tmp_path)


def test_the_same_examples_have_the_same_digest_in_every_process():
    script = (
        "import hashlib, numpy as np\n"
        "from cinesax.learn.examples import Example, Kind\n"
        "from cinesax.learn.records import serialise\n"
        "pixels = np.zeros((16, 16))\n"
        "example = Example('a', 'b', Kind.PAIRS, pixels.astype(np.uint16), pixels.astype(np.uint8))\n"
        "print(hashlib.sha256(serialise(example)).hexdigest())\n"
    )
    seen = {
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
        for _ in range(3)
    }
    assert len(seen) == 1


def test_of_twins_the_dicom_is_kept_and_two_of_a_kind_are_an_error():
    study, pair = disc_example("A", 0, Kind.STUDY), disc_example("A", 0)
    assert list(without_twins([study, pair])) == [study]
    with pytest.raises(DatasetError, match="A-0 comes twice"):
        list(without_twins([pair, pair]))
    with pytest.raises(DatasetError, match="A-0 comes twice"):
        list(without_twins([study, study]))
