"""What a training prints, and how an exported network is called."""

import argparse
import io
from pathlib import Path

import pytest

pytest.importorskip("keras", reason="needs the train extra: pip install '.[train]'")

from rich.console import Console  # noqa: E402

from cinesax.cli.export import _called  # noqa: E402
from cinesax.core.errors import UsageError  # noqa: E402
from cinesax.network.bundle import open_bundle, write_bundle  # noqa: E402
from cinesax.train.fit.display import Display, duration  # noqa: E402
from cinesax.train.fit.execution import Execution, device_scope  # noqa: E402

pytestmark = pytest.mark.train


@pytest.mark.parametrize("terminal", [True, False])
def test_every_epoch_leaves_a_line_with_its_validation_scores_and_the_time_left(terminal: bool) -> None:
    stream, clock = io.StringIO(), iter([0.0, 0.0, 30.0, 60.0])
    console = Console(file=stream, force_terminal=terminal, width=60)
    display = Display(console, steps=1, epochs=4, clock=lambda: next(clock))
    display.on_train_begin()
    for epoch in range(2):
        display.on_epoch_end(epoch, {f"score_{n}": 0.5 for n in range(20)} | {"val_dice": 0.91})
    display.on_train_end()
    text = stream.getvalue()
    assert "epoch 1/4: val_dice 0.91, score_0 0.5" in text and "epoch 2/4: val_dice 0.91" in text
    assert "(90 s left)" in text and "(60 s left)" in text


def test_durations_are_in_words() -> None:
    assert [duration(seconds) for seconds in (0, 99, 200, 12_600)] == ["1 s", "99 s", "3 min", "3.5 h"]


def test_a_device_that_is_not_there_is_an_error_and_says_what_is() -> None:
    with pytest.raises(UsageError, match=r"sees no device GPU:7; it sees CPU:0.*training\.md"):
        device_scope(Execution(devices=("GPU:7",)))
    with device_scope(Execution(devices=("CPU:0",))):
        pass


def test_a_second_export_keeps_the_name_of_the_bundle_that_it_replaces(tmp_path: Path) -> None:
    def names(**given: str | None) -> tuple[str, str]:
        return _called(argparse.Namespace(out=tmp_path / "mine", **{"name": None, "model_version": None} | given))

    assert names() == ("mine", "1") and names(name="lv") == ("lv", "1")
    shipped = open_bundle()
    renamed = type(shipped)(**vars(shipped) | {"folder": tmp_path / "mine", "name": "my-lv", "version": "3"})
    write_bundle(renamed, shipped.graph_path, "card", heart=shipped.heart_path)
    assert names() == ("my-lv", "3") and names(model_version="4") == ("my-lv", "4")
