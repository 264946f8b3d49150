"""Batches have the shapes that networks expect, and a resumed pipeline goes on where it was."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from cinesax.errors import DatasetError  # noqa: E402
from cinesax.learn.pipeline import PipelineConfig, training_batches, validation_batches  # noqa: E402
from cinesax.learn.records import read_examples  # noqa: E402


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
