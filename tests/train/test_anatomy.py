"""The deformation that knows the anatomy moves image and label by the same map; neighbours are found by place."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from cinesax.train.data.anatomy import ANGLES, LENGTH, neighbours, rays  # noqa: E402
from cinesax.train.data.augment import Augmentation, augment, reshaped, sample, squeezed  # noqa: E402

SIZE, MIDDLE = 96, (45.0, 50.0)


GRID = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij"), axis=-1).astype(np.float32)


def _right() -> np.ndarray:
    """A crescent to the left of the heart: 12 pixels wide, from the outer border of the wall."""
    away = GRID - MIDDLE
    far, side = np.hypot(*away.transpose(2, 0, 1)), np.abs(np.arctan2(away[..., 0], -away[..., 1]))
    return (far > 26) & (far < 26 + 12 * np.cos(side * 1.8)) & (side < np.pi / 3.6)


def _heart(inner: float = 16.0, outer: float = 26.0):
    rows, columns = np.indices((SIZE, SIZE))
    far = np.hypot(rows - MIDDLE[0], columns - MIDDLE[1])
    return far < inner, far < outer


def test_rays_of_a_round_heart():
    polar = rays(*_heart())
    np.testing.assert_allclose(polar[:2], MIDDLE, atol=0.01)
    np.testing.assert_allclose(polar[2 : 2 + ANGLES], 16, atol=0.8)
    np.testing.assert_allclose(polar[2 + ANGLES : 2 + 2 * ANGLES], 26, atol=0.8)
    assert polar.shape == (LENGTH,) and not polar[2 + 2 * ANGLES :].any()
    assert not rays(np.zeros((9, 9), bool), None).any()
    unknown = rays(_heart()[0], None)
    assert np.all(unknown[2 + ANGLES : 2 + 2 * ANGLES] > unknown[2 : 2 + ANGLES] + 5)


@pytest.mark.parametrize("factor", [0.4, 0.7, 1.15])
def test_the_cavity_changes_the_outer_border_stays_and_the_label_moves_with_the_image(factor):
    cavity, ventricle = _heart()
    anatomy = tf.constant(rays(cavity, ventricle))
    places = reshaped(tf.constant(GRID), anatomy, tf.constant(factor))
    masks = np.stack([cavity, ventricle], axis=-1).astype(np.float32)
    moved = sample(tf.constant(masks), places).numpy() >= 0.5
    assert moved[..., 0].sum() / cavity.sum() == pytest.approx(factor**2, rel=0.1)
    assert moved[..., 1].sum() == pytest.approx(ventricle.sum(), rel=0.01)
    outside = ~ventricle & (np.hypot(*(GRID - MIDDLE).transpose(2, 0, 1)) > 28)
    np.testing.assert_allclose(places.numpy()[outside], GRID[outside], atol=1e-3)


@pytest.mark.parametrize("factor", [0.4, 0.7, 1.1])
def test_the_rv_is_squeezed_against_the_septum_and_the_lv_stays(factor):
    cavity, ventricle = _heart()
    right = _right()
    anatomy = tf.constant(rays(cavity, ventricle, right))
    places = squeezed(tf.constant(GRID), anatomy, tf.constant(factor))
    masks = np.stack([ventricle, right], axis=-1).astype(np.float32)
    moved = sample(tf.constant(masks), places).numpy() >= 0.5
    assert moved[..., 0].sum() == pytest.approx(ventricle.sum(), rel=0.01)
    # Nearer to the LV, the same width has a smaller area.
    assert moved[..., 1].sum() / right.sum() == pytest.approx(factor, rel=0.15)
    if factor < 1:
        assert np.count_nonzero(moved[..., 1] & ~right) < 0.02 * right.sum()
    steps = np.linalg.norm(np.diff(places.numpy(), axis=1), axis=-1)
    assert np.all(np.isfinite(places.numpy())) and steps.max() < 5
    far = np.hypot(*(GRID - MIDDLE).transpose(2, 0, 1)) > 26 + 12 + 16
    np.testing.assert_allclose(places.numpy()[far], GRID[far], atol=1e-2)


def test_without_an_rv_nothing_is_squeezed():
    places = squeezed(tf.constant(GRID), tf.constant(rays(*_heart())), tf.constant(0.4))
    np.testing.assert_allclose(places, GRID, atol=1e-3)


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
    none = tf.zeros([LENGTH])
    np.testing.assert_allclose(reshaped(places, none, tf.constant(0.5)), places, atol=1e-4)


def test_neighbours_lie_towards_base_and_apex_whichever_way_the_stack_runs():
    down = [("a", 0, k) for k in range(4)]
    assert neighbours(down, [90, 70, 50, 20]).tolist() == [[-1, 1], [0, 2], [1, 3], [2, -1]]
    up = [("b", 0, k) for k in range(4)]
    assert neighbours(up, [20, 50, 70, 90]).tolist() == [[1, -1], [2, 0], [3, 1], [-1, 2]]
    apart = [("a", 0, 0), ("a", 1, 1), ("b", 0, 1), ("c", -1, -1), ("c", -1, -1)]
    assert np.all(neighbours(apart, [9, 9, 9, 9, 9]) == -1)
