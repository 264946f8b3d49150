"""What TensorBoard gets, read back with TensorBoard's own reader."""

import numpy as np
import pytest

pytest.importorskip("tensorflow")
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: E402
from tensorboard.plugins.hparams import plugin_data_pb2  # noqa: E402

from cinesax.train.fit.board import flat  # noqa: E402
from cinesax.train.fit.pictures import panel  # noqa: E402
from cinesax.train.fit.preflight import Preflight, free_bytes  # noqa: E402


def read(folder) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    return events.Reload()


def test_curves_graph_settings_and_pictures_are_there(run_folder):
    train, held = read(run_folder / "tensorboard" / "train"), read(run_folder / "tensorboard" / "validation")
    curves = {"loss", "accuracy", "dice", "dice_lv_cavity", "iou_lv_cavity", "learning_rate", "images_per_second"}
    assert curves <= set(train.Tags()["tensors"])
    assert {"loss", "dice", "dice_lv_cavity", "iou_lv_cavity"} <= set(held.Tags()["tensors"])
    assert [event.step for event in train.Tensors("loss")] == [0, 1, 2, 3]
    assert [event.step for event in held.Tensors("dice")] == [1, 3]
    assert {node.op for node in train.Graph().node} >= {"Conv2D", "Softmax"}
    content = train.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    settings = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert settings["learning_rate"].number_value == pytest.approx(1e-2)
    assert settings["model.channels"].string_value == "8,16,24"
    pictures = read(run_folder / "tensorboard" / "pictures")
    tags = [tag for tag in pictures.Tags()["tensors"] if tag.startswith("held_out/")]
    assert len(tags) == 8
    assert [event.step for event in pictures.Tensors(tags[0])] == [1, 3]
    width, height, png = pictures.Tensors(tags[0])[0].tensor_proto.string_val
    assert (int(width), int(height)) == (4 * 256, 256) and png.startswith(b"\x89PNG")


def test_a_panel_shows_where_prediction_and_truth_differ():
    image, truth, prediction = np.full((4, 4), 0.5), np.zeros((4, 4), int), np.zeros((4, 4), int)
    truth[0, :3], prediction[0, 1:] = (1, 1, 2), (1, 1, 1)
    truth[3, 3], prediction[3, 3] = -1, 1  # unknown: no difference
    drawn = panel(image, truth, prediction)
    assert drawn.shape == (4, 16, 3) and drawn.dtype == np.uint8
    source, labelled, predicted, difference = np.split(drawn.astype(int), 4, axis=1)
    assert np.ptp(source) == 0
    assert np.array_equal((labelled != source).any(axis=-1), truth > 0)
    assert np.array_equal((predicted != source).any(axis=-1), prediction > 0)
    marked = (difference != difference[1, 1]).any(axis=-1)
    assert np.array_equal(marked, (truth != prediction) & (truth >= 0))
    missed, other, too_much = difference[0, 0], difference[0, 2], difference[0, 3]
    assert missed[2] > missed[0] and too_much[0] > too_much[2] and other[1] > 200


def test_settings_become_one_table_and_a_preflight_one_line():
    assert flat({"a": {"b": (1, 2), "c": None}, "d": True}) == {"a.b": "1,2", "a.c": "none", "d": True}
    line = Preflight(2_340_000_000, 4000.0, "CPU, 2 threads").line()
    assert "about 2.3 GB" in line and "at least 67 min" in line and line.endswith("on CPU, 2 threads")
    assert "too little" in Preflight(10**15, None, "CPU").line()


def test_memory_in_which_files_are_cached_is_free_and_a_container_has_its_limit(tmp_path):
    assert free_bytes(tmp_path) is None
    (tmp_path / "proc").mkdir()
    facts = "MemTotal: 24000000 kB\nMemFree: 3000000 kB\nMemAvailable: 20000000 kB\n"
    (tmp_path / "proc" / "meminfo").write_text(facts)
    assert free_bytes(tmp_path) == 20_000_000 * 1024
    group = tmp_path / "sys" / "fs" / "cgroup"
    group.mkdir(parents=True)
    (group / "memory.current").write_text("5000000000\n")
    (group / "memory.stat").write_text("anon 1000000000\ninactive_file 3500000000\nslab 5\n")
    for limit, free in (("max", 20_000_000 * 1024), ("8000000000", 6_500_000_000), ("1000000000", 0)):
        (group / "memory.max").write_text(f"{limit}\n")
        assert free_bytes(tmp_path) == free
