"""A network that sees the neighbouring slices: batches, training, bundle, and the bundle in 8 bits."""

from dataclasses import replace

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
onnx = pytest.importorskip("onnx")

from cinesax.core.errors import InputError, UsageError  # noqa: E402
from cinesax.network.framing import Framing  # noqa: E402
from cinesax.train.data.examples import from_phantoms  # noqa: E402
from cinesax.train.data.pipeline import PipelineConfig, training_batches, validation_batches  # noqa: E402
from cinesax.train.data.records import write_dataset  # noqa: E402
from cinesax.train.export.bundle import export  # noqa: E402
from cinesax.train.export.formats import onnx_runner  # noqa: E402
from cinesax.train.export.parity import real_slices  # noqa: E402
from cinesax.train.export.quantise import to_int8  # noqa: E402
from cinesax.train.fit.config import Precision, TrainConfig  # noqa: E402
from cinesax.train.fit.train import train  # noqa: E402
from cinesax.train.nets import SlimConfig, slim  # noqa: E402
from cinesax.train.presets import NAMES, load  # noqa: E402
from tests.train.conftest import EAGER, disc_example, untrained  # noqa: E402

CONTEXT = PipelineConfig(batch=4, crop=64, jitter_px=3.0, context=True, lose_neighbour=0.0, swap_neighbours=0.0)


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    examples = [disc_example(case, number) for case in "AB" for number in range(4)]
    return write_dataset({"train": examples}, tmp_path_factory.mktemp("sets") / "stack", framing=Framing(), folds=2)


def test_the_middle_channel_is_the_slice_and_the_others_its_neighbours(stack):
    config = replace(CONTEXT, crop=None, jitter_px=None)
    shown = np.concatenate([image for image, _ in validation_batches(stack, "train", ["A"], config=config)])
    assert shown.shape == (4, 256, 256, 3)
    first, second = sorted(
        (abs(float((shown[1, ..., c] - shown[n, ..., 1]).sum())), n, c) for c in (0, 2) for n in (0, 2)
    )[:2]
    assert first[0] == second[0] == 0 and {first[1], second[1]} == {0, 2} and {first[2], second[2]} == {0, 2}
    alone = [c for c in (0, 2) if not shown[0, ..., c].any()]
    assert len(alone) == 1  # the end of the stack has one neighbour


def test_neighbours_can_be_lost_in_training(stack):
    lost = replace(CONTEXT, lose_neighbour=1.0, augmentation=None)
    images, _ = next(iter(training_batches(stack, ["A", "B"], replace(lost, crop=None, jitter_px=None), seed=1)))
    assert images.shape[-1] == 3 and not images.numpy()[..., [0, 2]].any() and images.numpy()[..., 1].any()


def test_the_shares_of_kinds_are_kept(tmp_path):
    examples = [disc_example("A", number) for number in range(6)] + list(from_phantoms([3], Framing(), frames_each=2))
    dataset = write_dataset({"train": examples}, tmp_path / "set", framing=Framing())
    config = PipelineConfig(batch=50, phantom_share=0.0, kind_shares=(("pairs", 1.0),), augmentation=None)
    images, _ = next(iter(training_batches(dataset, dataset.cases("train"), config, seed=1)))
    assert len(images) == 50


def test_a_network_does_not_see_the_scale_of_the_intensities():
    model = slim(SlimConfig(channels=(4, 8), stem=4, classes=3), size=32)
    image = np.random.default_rng(0).random((1, 32, 32, 3), dtype=np.float32)
    np.testing.assert_allclose(model(image), model(image * 700 + 30), atol=2e-3)


def test_train_export_and_8_bits(stack, quick_run, tmp_path):
    config = TrainConfig(
        model=SlimConfig(channels=(4, 8), stem=4, classes=2),
        pipeline=CONTEXT, epochs=2, steps=3, warmup_steps=1, average=0.5, xla=False,
    )  # fmt: skip
    close = train(stack, tmp_path / "close", config, execution=EAGER)
    model = SlimConfig(channels=(4, 8), stem=4, inputs=1, shrink=2, classes=2)
    whole = replace(config, model=model, pipeline=PipelineConfig(batch=2, crop=128), epochs=1, steps=4)
    finder = untrained(quick_run, tmp_path / "whole", whole)
    bundle = export(close.folder, tmp_path / "single", finder=finder)
    assert bundle.heart is not None and (bundle.heart.crop, bundle.heart.context) == (64, 3)
    images = real_slices(stack, "train", count=8, crop=64, inputs=3).images
    assert images.shape == (8, 64, 64, 3) and images[..., 0].any()
    to_int8(bundle.heart_path, tmp_path / "int8.onnx", images)
    kinds = {node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    whole_numbers, single = (onnx_runner(path, threads=1) for path in (tmp_path / "int8.onnx", bundle.heart_path))
    assert np.abs(whole_numbers(images)[0] - single(images)[0]).mean() < 0.05
    with pytest.raises(InputError, match="calibrated"):
        export(close.folder, tmp_path / "without", finder=finder, int8=True)


def test_presets_fit_their_networks():
    for name in NAMES:
        config = load(name)
        assert config.pipeline.crop % config.model.factor == 0
    assert load("refiner").model.inputs == 3 and load("refiner").pipeline.context
    with pytest.raises(UsageError, match="xla"):
        TrainConfig(precision=Precision.ONEDNN_BFLOAT16, xla=True)
