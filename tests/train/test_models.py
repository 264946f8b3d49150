"""Networks take what they say they take; losses and metrics look at what is known, and at nothing else."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("tensorflow")
import keras  # noqa: E402
import tensorflow as tf  # noqa: E402

from cinesax.core.errors import InputError  # noqa: E402
from cinesax.train.nets import NETWORKS, FCNConfig, UNetConfig, build, from_dict, to_dict  # noqa: E402
from cinesax.train.nets.losses import CrossEntropyDice, DiceOver, decided  # noqa: E402
from cinesax.train.nets.metrics import MeanDice, PixelAccuracy, SliceDice, SliceIoU, metrics  # noqa: E402

SMALL = {
    "unet": UNetConfig(channels=(4, 6, 8), stem=4),
    "fcn": FCNConfig(channels=(4, 6), bottom=(8,), kernel=3),
}
KERAS_LAYERS = {name for name in dir(keras.layers)}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("classes", [2, 4])
def test_a_network_takes_any_size_that_its_depth_allows_and_any_number_of_classes(name, classes):
    config = replace(SMALL[name], classes=classes)
    model = build(config)
    rows, columns = 2 * config.factor, 3 * config.factor
    out = np.asarray(model(np.zeros((1, rows, columns, 1), np.float32)))
    assert out.shape == (1, rows, columns, classes)
    np.testing.assert_allclose(out.sum(axis=-1), 1, atol=1e-5)
    assert build(config, size=rows).input_shape == (None, rows, rows, 1)


@pytest.mark.parametrize("name", SMALL)
def test_a_network_is_of_keras_layers_only_with_normalisation_and_softmax_inside(name):
    model = build(SMALL[name])
    kinds = [type(layer).__name__ for layer in model.layers]
    assert set(kinds) <= KERAS_LAYERS
    assert kinds[-1] == "Softmax" and "Rescaling" in kinds[:2] and "Conv2DTranspose" in kinds
    joins = sum(kind == "Concatenate" for kind in kinds)
    assert joins == (0 if name == "fcn" else 2)  # the FCN has no skips


@pytest.mark.parametrize("name", NETWORKS)
def test_a_config_survives_json_and_a_kind_that_is_unknown_is_told(name):
    config = NETWORKS[name].config()
    values = to_dict(config)
    values = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
    assert from_dict(values) == config
    with pytest.raises(InputError, match="has no network 'resnet'"):
        from_dict(values | {"network": "resnet"})
    with pytest.raises(InputError, match="no setting 'width'"):
        from_dict(values | {"width": 3})


def test_a_config_without_a_kind_is_that_of_a_unet():
    assert from_dict({"channels": [4, 8], "stem": 4, "classes": 2, "dropout": 0.0}) == UNetConfig((4, 8), 4, 2, 0.0)


def _labels(*classes: int | None, of: int = 3) -> np.ndarray:
    # (1, 1, pixels, classes); None: unknown
    return np.array([[[[float(k == c) for k in range(of)] for c in classes]]], np.float32)


def _softmax(seed: int, pixels: int, classes: int = 3) -> np.ndarray:
    scores = np.exp(np.random.default_rng(seed).normal(size=(1, 1, pixels, classes)))
    return (scores / scores.sum(axis=-1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("over", DiceOver)
def test_an_unknown_pixel_changes_no_loss_and_gets_no_gradient(over):
    loss, labels = CrossEntropyDice(over), _labels(0, 1, 2, None)
    guess = tf.Variable(_softmax(1, 4))
    with tf.GradientTape() as tape:
        value = loss(labels, guess)
    gradient = tape.gradient(value, guess).numpy()
    assert np.all(gradient[0, 0, 3] == 0) and np.abs(gradient[0, 0, :3]).min() >= 0 and np.any(gradient[0, 0, :3])
    assert float(loss(labels[:, :, :3], guess[:, :, :3])) == pytest.approx(float(value), abs=1e-6)


def test_of_a_pixel_that_may_be_of_two_classes_only_the_third_is_learned():
    labels = _labels(1, 0)
    labels[0, 0, 1] = (1, 0, 1)  # not the cavity: background or myocardium
    np.testing.assert_array_equal(decided(labels)[0, 0], [[1, 1, 1], [0, 1, 0]])
    loss = CrossEntropyDice()
    scores = tf.Variable(np.random.default_rng(2).normal(size=(1, 1, 2, 3)).astype(np.float32))

    def value(shift):
        return float(loss(labels, tf.nn.softmax(scores + shift)))

    def moved(*amounts):
        return np.array([[[[0, 0, 0], amounts]]], np.float32)

    # Probability moved between background and myocardium changes nothing; moved to the cavity it costs.
    p = np.exp(scores.numpy()[0, 0, 1])
    up = np.log((p[0] + p[2]) / 2)
    assert value(moved(up - np.log(p[0]), 0, up - np.log(p[2]))) == pytest.approx(value(0), abs=1e-5)
    assert value(moved(0, 1, 0)) > value(0) > value(moved(0, -1, 0))
    # And the cross-entropy is that of the sum: compare with the formula.
    q = tf.nn.softmax(scores).numpy()[0, 0]
    entropy = -(np.log(q[0, 1]) + np.log(q[1, 0] + q[1, 2])) / 2
    cavity = (2 * q[0, 1] + 1) / (1 + q[0, 1] + q[1, 1] + 1)
    wall = 1 / (q[0, 2] + 1)  # of the first pixel alone: the second may be wall
    assert value(0) == pytest.approx(entropy + 1 - (cavity + wall) / 2, abs=1e-5)


def test_metrics_count_what_is_known():
    labels, guess = _labels(0, 1, 1, 2, None), np.eye(3, dtype=np.float32)[None, None, [0, 1, 2, 2, 1]]
    seen = {}
    for metric in metrics(["background", "cavity", "wall"]):
        metric.update_state(labels, guess)
        seen[metric.name] = float(metric.result())
    assert seen == pytest.approx(
        {
            "accuracy": 3 / 4,
            "dice": 2 / 3,  # the mean of the structures
            "dice_cavity": 2 / 3,
            "iou_cavity": 1 / 2,
            "dice_wall": 2 / 3,
            "iou_wall": 1 / 2,
        }
    )


def test_a_slice_of_which_nothing_is_known_does_not_count():
    labels = np.concatenate([_labels(1, 0), _labels(None, None)])
    guess = np.repeat(_labels(1, 1), 2, axis=0)
    for metric, expected in ((SliceDice(1), 2 / 3), (SliceIoU(1), 1 / 2), (PixelAccuracy(), 1 / 2)):
        metric.update_state(labels, guess)
        assert float(metric.result()) == pytest.approx(expected)
        again = type(metric).from_config(metric.get_config())
        assert again.name == metric.name and float(again.result()) == 0


def test_a_structure_that_may_be_there_undrawn_does_not_count():
    """A slice in which only the cavity was drawn, outside of which all is "background or wall", and one drawn whole."""
    part = np.tile(np.float32([1, 0, 1]), (1, 8, 8, 1))
    part[0, 2, 2] = (0, 1, 0)
    whole = np.tile(np.eye(3, dtype=np.float32)[0], (1, 8, 8, 1))
    whole[0, 2, 2:4] = np.eye(3)[1:]
    missed = np.eye(3, dtype=np.float32)[np.where(whole[..., 1] > 0, 1, 0)]
    expected = {"cavity": {"dice": 1, "wall": 0}, "both": {"dice": 0.5, "wall": 0}}
    for name, labels in (("cavity", part), ("both", np.concatenate([part, whole]))):
        seen = {}
        for metric in metrics(["background", "cavity", "wall"]):
            metric.update_state(labels, np.repeat(missed, len(labels), axis=0))
            seen[metric.name] = float(metric.result())
        assert (seen["dice_cavity"], seen["dice"], seen["dice_wall"]) == (
            1,
            expected[name]["dice"],
            expected[name]["wall"],
        )
    anything = MeanDice(2)
    anything.update_state(part, np.tile(np.eye(3, dtype=np.float32)[2], (1, 8, 8, 1)))
    assert float(anything.result()) == 0
    assert MeanDice.from_config(anything.get_config()).structures == 2


def test_loss_and_metric_know_right_from_wrong():
    truth = np.zeros((2, 8, 8, 2), np.float32)
    truth[..., 0] = 1
    truth[0, 2:5, 2:5] = (0, 1)
    loss, metric = CrossEntropyDice(), SliceDice()
    assert float(loss(truth, truth)) < 0.01
    assert float(loss(truth, truth[..., ::-1])) > 1
    metric.update_state(truth, truth)
    assert float(metric.result()) == 1  # an empty slice found empty counts 1
    metric.reset_state()
    wrong = truth.copy()
    wrong[1, 0, 0] = (0, 1)
    metric.update_state(truth, wrong)
    assert float(metric.result()) == 0.5  # and found not empty it counts 0


def test_dice_over_slices_counts_small_slices_as_much_as_large_ones():
    truth = np.zeros((2, 64, 64, 2), np.float32)
    truth[..., 0] = 1
    truth[0, 10:50, 10:50] = (0, 1)
    truth[1, 10:16, 10:16] = (0, 1)
    missed = truth.copy()
    missed[1] = (1, 0)
    over = {which: float(CrossEntropyDice(which)(truth, missed)) for which in DiceOver}
    assert over[DiceOver.SLICE] > over[DiceOver.BATCH] + 0.3
    assert CrossEntropyDice.from_config(CrossEntropyDice(DiceOver.SLICE).get_config()).over is DiceOver.SLICE


def test_the_share_of_false_positives_decides_whether_too_wide_costs_more_than_too_tight():
    truth, wide, tight = (np.zeros((1, 64, 64, 2), np.float32) for _ in range(3))
    for labels, margin in ((truth, 0), (wide, 2), (tight, -2)):
        labels[..., 0] = 1
        labels[0, 22 - margin : 42 + margin, 22 - margin : 42 + margin] = (0, 1)

    def index(guess, *shares, over=DiceOver.SLICE):
        return float(1 - CrossEntropyDice(over, false_positives=shares)._dice(truth, guess))

    both, too_much, too_little = 400 - 144, 0, 144
    assert index(tight, 0.5, 0.5) == pytest.approx(
        1 - (both + 5) / (both + 0.5 * (too_much + too_little) + 5), rel=1e-4
    )
    assert index(wide, 0.75, 0.75) > index(wide, 0.5, 0.5) > index(wide, 0.25, 0.25)
    assert index(tight, 0.75, 0.75) < index(tight, 0.5, 0.5) < index(tight, 0.25, 0.25)
    at_400 = 0.8 + (0.4 - 0.8) * 400 / 1800
    assert index(wide, 0.8, 0.4) == pytest.approx(index(wide, at_400, at_400), rel=1e-5)
    assert index(wide, 0.8, 0.4, over=DiceOver.BATCH) == pytest.approx(index(wide, 0.8, 0.4), rel=0.01)
    second = [
        np.concatenate([labels[..., :1], np.zeros_like(labels[..., :1]), labels[..., 1:]], -1)
        for labels in (truth, wide)
    ]
    dice, weighed = (
        float(CrossEntropyDice(DiceOver.SLICE, false_positives=pair)(*second)) for pair in ((0.5, 0.5), (0.8, 0.4))
    )
    assert weighed == pytest.approx(dice, rel=1e-6)  # only the first structure, the LV cavity, is weighed
    loss = CrossEntropyDice(false_positives=(0.8, 0.4))
    assert CrossEntropyDice.from_config(loss.get_config()).false_positives == (0.8, 0.4)
