"""Image and label move together; the same seed gives the same result, eager and inside tf.data."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from cinesax.train.data.augment import Augmentation, augment, draw_geometry, sample, vary_contrast  # noqa: E402

STILL = Augmentation(
    rotation_degrees=0, log_scale=0, shear=0, warp_px=0, gamma=0, gain=0, bias_field=0, noise=0, blur_chance=0
)
PLAIN = Augmentation(gamma=0, gain=0, bias_field=0, noise=0, blur_chance=0)


def disc(size: int = 128) -> tuple[tf.Tensor, tf.Tensor]:
    rows, columns = np.indices((size, size))
    inside = np.hypot(rows - 60, columns - 70) < 20
    image = tf.constant(inside[..., None], tf.float32)
    return image, tf.one_hot(inside.astype(np.int32), 2)


@pytest.mark.parametrize("seed", range(6))
def test_image_and_label_move_together(seed):
    image, label = disc()
    moved, moved_label = augment(image, label, tf.constant([seed, 3]), PLAIN, crop=128)
    agree = (moved.numpy()[..., 0] >= 0.5) == (moved_label.numpy()[..., 1] > 0)
    assert agree.mean() > 0.999
    assert set(np.unique(moved_label)) <= {0.0, 1.0}
    np.testing.assert_array_equal(moved_label.numpy().sum(axis=-1), 1)


def test_without_settings_only_the_place_of_the_crop_is_random():
    image = tf.random.stateless_uniform([64, 64, 1], [1, 2])
    label = tf.one_hot(tf.zeros([64, 64], tf.int32), 2)
    same, _ = augment(image, label, tf.constant([0, 0]), STILL, crop=64)
    np.testing.assert_allclose(same, image, atol=2e-3)
    small, _ = augment(image, label, tf.constant([0, 1]), STILL, crop=32)
    assert small.shape == (32, 32, 1)


def test_the_same_seed_gives_the_same_image_eager_and_in_a_pipeline():
    image, label = disc()

    def once(seed):
        return augment(image, label, seed, Augmentation(), crop=96)

    eager = once(tf.constant([4, 5]))
    piped = next(iter(tf.data.Dataset.from_tensors(tf.constant([4, 5])).map(once)))
    np.testing.assert_allclose(piped[0], eager[0], atol=1e-4)
    np.testing.assert_array_equal(piped[1], eager[1])
    other = once(tf.constant([4, 6]))
    assert np.abs(other[0] - eager[0]).max() > 0.1


def test_sampling_at_whole_pixels_is_exact_and_zero_outside():
    image = tf.random.stateless_uniform([8, 9, 2], [1, 2])
    places = tf.constant([[0.0, 0.0], [7.0, 8.0], [3.0, 4.0], [-3.0, 2.0], [2.0, 40.0]])
    values = sample(image, places).numpy()
    np.testing.assert_allclose(values[:3], image.numpy()[[0, 7, 3], [0, 8, 4]], atol=2e-2)
    np.testing.assert_allclose(values[3:], 0, atol=2e-3)  # the clip leaves a thousandth of the border


def test_scale_is_as_wide_as_its_setting():
    settings = Augmentation(rotation_degrees=0, shear=0, warp_px=0, log_scale=0.3)
    steps = []
    for k in range(200):
        places = draw_geometry(tf.constant([k, 1]), settings, size=64, crop=64).numpy()
        steps.append(places[33, 32, 0] - places[32, 32, 0])
    assert np.log(min(steps)) == pytest.approx(-0.3, abs=0.03)
    assert np.log(max(steps)) == pytest.approx(0.3, abs=0.03)


def test_noise_and_bias_field_change_the_contrast_only_as_far_as_set():
    image, _ = disc()
    noisy = vary_contrast(image, tf.constant([1, 1]), Augmentation(gamma=0, gain=0, bias_field=0, blur_chance=0))
    assert 0 < np.std(noisy - image) <= 0.05 + 1e-3
