"""Folders of pictures and label pictures."""

import numpy as np
import pytest
from PIL import Image

import labelled
from cinesax.core.errors import DatasetError
from cinesax.formats.pairs import case_of, load, load_image, load_label, read_cine, read_pairs


def _write(folder, name="P1-IM-0001-0007"):
    image = np.arange(30, dtype=np.uint8).reshape(5, 6)
    return labelled.write_pair(folder, name, image, image > 20)


@pytest.mark.data
@pytest.mark.parametrize(("split", "slices", "patients"), [("train", 260, 15), ("validation", 213, 12)])
def test_the_real_sets(sunnybrook, split, slices, patients):
    pairs = read_pairs(sunnybrook / split)
    assert len(pairs) == slices
    assert len({pair.case for pair in pairs}) == patients
    image, label = load(pairs[0])
    assert (image.dtype, label.dtype) == (np.uint8, np.bool_)
    assert 0 < label.mean() < 0.2


def test_round_trip(tmp_path):
    written = _write(tmp_path)
    (pair,) = read_pairs(tmp_path)
    assert pair == written
    image, label = load(pair)
    np.testing.assert_array_equal(image, np.arange(30).reshape(5, 6))
    np.testing.assert_array_equal(label, image > 20)
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == [written.image.name] * 2


def test_sixteen_bits_round_trip(tmp_path):
    image = np.array([[0, 40_000], [3, 500]], np.uint16)
    np.testing.assert_array_equal(load_image(labelled.write_pair(tmp_path, "a", image, image > 3).image), image)


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("SC-HF-I-01-IM-0001-0048", "SC-HF-I-01"),
        ("patient007_12", "patient007"),
        ("case-3-4", "case-3"),
        ("patient1_slice3", "patient1"),
        ("patient1_frame01_slice_3", "patient1"),
        ("P-7-ED-3", "P-7"),
        ("subject_s01_12", "subject_s01"),
        ("SC-HF-I-01", "SC-HF-I"),
        ("single", "single"),
    ],
)
def test_names_of_cases(name, case):
    assert case_of(name) == case


def test_a_pair_as_a_cine_has_no_geometry(tmp_path):
    cine = read_cine(_write(tmp_path))
    assert cine.pixels.shape == (1, 1, 5, 6)
    assert cine.grid is None
    assert cine.source.kind == "pairs"


def test_grey_in_colour_files_and_palettes(tmp_path):
    pair = _write(tmp_path)
    grey = np.asarray(Image.open(pair.image))
    Image.fromarray(np.stack([grey] * 3, axis=-1)).save(pair.image)
    np.testing.assert_array_equal(load_image(pair.image), grey)
    label = np.asarray(Image.open(pair.label))
    Image.fromarray(label).convert("P").save(pair.label)
    np.testing.assert_array_equal(load_label(pair.label), label > 0)


def test_labels_of_zero_and_one(tmp_path):
    pair = _write(tmp_path)
    Image.fromarray(np.eye(5, 6, dtype=np.uint8)).save(pair.label)
    np.testing.assert_array_equal(load_label(pair.label), np.eye(5, 6) > 0)


class TestBadInput:
    def test_colour(self, tmp_path):
        pair = _write(tmp_path)
        Image.fromarray(np.arange(90, dtype=np.uint8).reshape(5, 6, 3)).save(pair.image)
        with pytest.raises(DatasetError, match="in colour"):
            load(pair)

    def test_labels_of_other_values(self, tmp_path):
        pair = _write(tmp_path)
        Image.fromarray(np.full((5, 6), 128, np.uint8)).save(pair.label)
        with pytest.raises(DatasetError, match="values \\[128\\]"):
            load(pair)

    def test_sizes_that_differ(self, tmp_path):
        pair = _write(tmp_path)
        Image.fromarray(np.zeros((6, 6), np.uint8)).save(pair.label)
        with pytest.raises(DatasetError, match="expected the same"):
            load(pair)

    def test_alone(self, tmp_path):
        _write(tmp_path)
        _write(tmp_path, "P2-1").label.unlink()
        with pytest.raises(DatasetError, match="without a partner; the first is P2-1, missing in labels/"):
            read_pairs(tmp_path)

    def test_two_of_one_name(self, tmp_path):
        pair = _write(tmp_path)
        pair.image.with_suffix(".bmp").write_bytes(b"")
        with pytest.raises(DatasetError, match="keep only one"):
            read_pairs(tmp_path)

    def test_nothing_there(self, tmp_path):
        with pytest.raises(DatasetError, match="cannot be read"):
            read_pairs(tmp_path)
        (tmp_path / "images").mkdir()
        (tmp_path / "labels").mkdir()
        with pytest.raises(DatasetError, match="has no images"):
            read_pairs(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(40)])
    def test_no_picture(self, tmp_path, content):
        pair = _write(tmp_path)
        pair.image.write_bytes(content)
        with pytest.raises(DatasetError, match="not a readable image"):
            load(pair)

    def test_truncated(self, tmp_path):
        image = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
        pair = labelled.write_pair(tmp_path, "a", image, image > 3)
        pair.image.write_bytes(pair.image.read_bytes()[:2000])
        with pytest.raises(DatasetError, match="not a readable image"):
            load(pair)
