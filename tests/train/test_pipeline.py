"""Batches have the shapes that networks expect, and a resumed pipeline goes on where it was."""

from dataclasses import replace

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from cinesax.core.errors import DatasetError, UsageError  # noqa: E402
from cinesax.network.framing import Framing  # noqa: E402
from cinesax.train.data.augment import Augmentation  # noqa: E402
from cinesax.train.data.examples import Kind  # noqa: E402
from cinesax.train.data.pipeline import PipelineConfig, training_batches, validation_batches  # noqa: E402
from cinesax.train.data.records import read_examples, write_dataset  # noqa: E402
from tests.train.conftest import disc_example  # noqa: E402


def test_tensors_are_256_square_and_labels_one_hot(discs):
    images, labels = next(iter(training_batches(discs, discs.cases("train"), PipelineConfig(batch=3), seed=1)))
    assert images.shape == (3, 256, 256, 1) and images.dtype == tf.float32
    assert labels.shape == (3, 256, 256, 2) and labels.dtype == tf.float32
    np.testing.assert_array_equal(labels.numpy().sum(axis=-1), 1)


def test_validation_is_every_example_once_as_it_is(discs):
    batches = list(validation_batches(discs, "validation", discs.cases("validation"), batch=3))
    images = np.concatenate([image for image, _ in batches])
    labels = np.concatenate([label for _, label in batches])
    written = list(read_examples(discs, "validation"))
    assert images.shape == (4, 256, 256, 1)
    for image, label, example in zip(images, labels, written, strict=True):
        np.testing.assert_allclose(image[..., 0], example.image / 65535, atol=1e-6)
        np.testing.assert_array_equal(label.argmax(axis=-1), example.label)


def test_going_on_at_a_step_gives_the_batches_of_an_uninterrupted_run(discs):
    config = PipelineConfig(batch=2, crop=64)
    cases = discs.cases("train")
    whole = list(training_batches(discs, cases, config, seed=7).take(5))
    late = list(training_batches(discs, cases, config, seed=7, start=3).take(2))
    for before, after in zip(whole[3:], late, strict=True):
        np.testing.assert_array_equal(before[0], after[0])
        np.testing.assert_array_equal(before[1], after[1])


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0.0), (1.0, 1.0), (0.25, 0.25)])
def test_phantoms_have_their_share(discs, share, expected):
    config = PipelineConfig(batch=50, augmentation=None, phantom_share=share)
    phantoms = [e.image for e in read_examples(discs, "train") if e.kind == "phantom"]
    images, _ = next(iter(training_batches(discs, discs.cases("train"), config, seed=2)))
    seen = [any(np.array_equal(np.round(i[..., 0] * 65535), p) for p in phantoms) for i in images.numpy()]
    assert np.mean(seen) == pytest.approx(expected, abs=0.15 if 0 < share < 1 else 0)


def test_no_cases_is_an_error(discs):
    with pytest.raises(DatasetError, match="no cases"):
        training_batches(discs, [], PipelineConfig(), seed=1)


def middle_of(mask):
    rows, columns = np.nonzero(mask)
    return np.array([rows.mean(), columns.mean()])


def one_patient(tmp_path, examples, **options):
    return write_dataset({"train": examples, "validation": []}, tmp_path / "set", framing=Framing(), folds=2, **options)


def test_crops_round_the_heart_lie_where_the_patient_has_it(tmp_path):
    example = disc_example("A", 1, Kind.STUDY)
    empty = replace(example, name="A-empty", label=np.zeros_like(example.label))
    data = one_patient(tmp_path, [example, empty], seed=0)
    still = Augmentation(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    config = PipelineConfig(batch=40, crop=96, jitter_px=0.0, augmentation=still)
    _, labels = next(iter(training_batches(data, ["A"], config, seed=3)))
    middles = np.array([middle_of(label[..., 1]) for label in labels.numpy() if label[..., 1].any()])
    np.testing.assert_allclose(middles, 47.5, atol=1)
    assert len(middles) < 40  # the frame without LV is cut at the same place, and is there too
    config = replace(config, jitter_px=4.0)
    _, labels = next(iter(training_batches(data, ["A"], config, seed=3)))
    middles = np.array([middle_of(label[..., 1]) for label in labels.numpy() if label[..., 1].any()])
    assert 2.5 < middles.std() < 5.5


@pytest.mark.parametrize("about", [None, 0.0])
def test_images_without_augmentation_are_cropped_too(discs, about):
    config = PipelineConfig(batch=8, crop=96, jitter_px=about, augmentation=None, phantom_share=0)
    images, labels = next(iter(training_batches(discs, ["A"], config, seed=3)))
    assert images.shape == (8, 96, 96, 1) and labels.shape == (8, 96, 96, 2)
    written = [e for e in read_examples(discs, "train") if e.case == "A"]
    corners = []
    for image, label in zip(np.round(images[..., 0].numpy() * 65535), labels.numpy(), strict=True):
        for example in written:
            for row, column in np.argwhere(example.image[:161, :161] == image[0, 0]):
                part = np.s_[row : row + 96, column : column + 96]
                if np.array_equal(example.image[part], image):
                    np.testing.assert_array_equal(example.label[part], label[..., 1])
                    corners.append((int(row), int(column)))
    assert len(corners) == 8
    assert len(set(corners)) == (1 if about is not None else 8)


def test_shares_that_leave_nothing_for_other_kinds_are_refused(discs):
    config = PipelineConfig(kind_shares=(("study", 0.9),), phantom_share=0.2)
    with pytest.raises(UsageError, match="add up to more than 1 .*study 0.9"):
        training_batches(discs, discs.cases("train"), config, seed=1)
    # The set has no images of other kinds: both shares are relative to each other.
    training_batches(discs, [case for case in discs.cases("train") if case not in "CD"], config, seed=1)


def test_validation_of_a_network_for_crops_is_cut_at_the_heart(discs):
    config = PipelineConfig(crop=96, jitter_px=5.0)
    cases = discs.cases("validation")
    images, labels = next(iter(validation_batches(discs, "validation", cases, config=config)))
    assert images.shape == (4, 96, 96, 1) and labels.shape == (4, 96, 96, 2)
    whole, _ = next(iter(validation_batches(discs, "validation", cases)))
    rows, columns = np.nonzero(np.sum([e.label == 1 for e in read_examples(discs, "validation")], axis=0))
    weights = np.sum([e.label == 1 for e in read_examples(discs, "validation")], axis=0)[rows, columns]
    corner = [round(np.average(place, weights=weights)) - 48 for place in (rows, columns)]
    expected = whole[:, corner[0] : corner[0] + 96, corner[1] : corner[1] + 96]
    np.testing.assert_array_equal(images, expected)


def test_pixels_of_unknown_class_stay_unknown_when_they_move(tmp_path):
    example = disc_example("A", 1, Kind.STUDY)
    label = example.label.copy()
    label[:, :100] = 255
    data = one_patient(tmp_path, [replace(example, label=label)], seed=0)
    _, labels = next(iter(training_batches(data, ["A"], PipelineConfig(batch=8), seed=3)))
    possible = labels.numpy().sum(axis=-1)
    assert set(np.unique(possible)) == {1.0, 2.0}  # one class, or any of the two
    assert 0.2 < (possible == 2).mean() < 0.6
