"""The deformation that knows the anatomy moves image and label by the same map; neighbours are found by place."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from cinesax.train.data.anatomy import ANGLES, neighbours, rays  # noqa: E402
from cinesax.train.data.augment import Augmentation, augment, reshaped, sample  # noqa: E402

SIZE, MIDDLE = 96, (45.0, 50.0)


def _heart(inner: float = 16.0, outer: float = 26.0):
    rows, columns = np.indices((SIZE, SIZE))
    far = np.hypot(rows - MIDDLE[0], columns - MIDDLE[1])
    return far < inner, far < outer


def test_rays_of_a_round_heart():
    polar = rays(*_heart())
    np.testing.assert_allclose(polar[:2], MIDDLE, atol=0.01)
    np.testing.assert_allclose(polar[2 : 2 + ANGLES], 16, atol=0.8)
    np.testing.assert_allclose(polar[2 + ANGLES :], 26, atol=0.8)
    assert not rays(np.zeros((9, 9), bool), None).any()
    unknown = rays(_heart()[0], None)
    assert np.all(unknown[2 + ANGLES :] > unknown[2 : 2 + ANGLES] + 5)


@pytest.mark.parametrize("factor", [0.4, 0.7, 1.15])
def test_the_cavity_changes_the_outer_border_stays_and_the_label_moves_with_the_image(factor):
    cavity, ventricle = _heart()
    anatomy = tf.constant(rays(cavity, ventricle))
    grid = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij"), axis=-1).astype(np.float32)
    places = reshaped(tf.constant(grid), anatomy, tf.constant(factor))
    masks = np.stack([cavity, ventricle], axis=-1).astype(np.float32)
    moved = sample(tf.constant(masks), places).numpy() >= 0.5
    assert moved[..., 0].sum() / cavity.sum() == pytest.approx(factor**2, rel=0.1)
    assert moved[..., 1].sum() == pytest.approx(ventricle.sum(), rel=0.01)
    outside = ~ventricle & (np.hypot(*(grid - MIDDLE).transpose(2, 0, 1)) > 28)
    np.testing.assert_allclose(places.numpy()[outside], grid[outside], atol=1e-3)


def test_augmented_image_and_label_agree_after_the_deformation():
    cavity, ventricle = _heart()
    image = tf.constant((cavity * 0.6 + ventricle * 0.2)[..., None].astype(np.float32))
    label = tf.one_hot(np.where(cavity, 1, np.where(ventricle, 2, 0)), 3)
    still = Augmentation(
        rotation_degrees=0, log_scale=0, shear=0, warp_px=0, gamma=0, gain=0, bias_field=0, noise=0, blur_chance=0,
        reshape_chance=1.0, turn_chance=1.0,
    )  # fmt: skip
    areas = set()
    for seed in range(5):
        key = tf.constant([seed, 7])
        moved, new = augment(image, label, key, still, crop=SIZE, anatomy=tf.constant(rays(cavity, ventricle)))
        assert np.mean((moved.numpy()[..., 0] > 0.5) == (new.numpy()[..., 1] > 0)) > 0.995
        areas.add(int(new.numpy()[..., 1].sum()))
    assert len(areas) > 3


def test_nothing_moves_where_there_is_no_cavity():
    places = tf.random.stateless_uniform([5, 2], [1, 2]) * 50
    none = tf.zeros([2 + 2 * ANGLES])
    np.testing.assert_allclose(reshaped(places, none, tf.constant(0.5)), places, atol=1e-4)


def test_neighbours_lie_towards_base_and_apex_whichever_way_the_stack_runs():
    down = [("a", 0, k) for k in range(4)]
    assert neighbours(down, [90, 70, 50, 20]).tolist() == [[-1, 1], [0, 2], [1, 3], [2, -1]]
    up = [("b", 0, k) for k in range(4)]
    assert neighbours(up, [20, 50, 70, 90]).tolist() == [[1, -1], [2, 0], [3, 1], [-1, 2]]
    apart = [("a", 0, 0), ("a", 1, 1), ("b", 0, 1), ("c", -1, -1), ("c", -1, -1)]
    assert np.all(neighbours(apart, [9, 9, 9, 9, 9]) == -1)
