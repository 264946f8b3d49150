"""TensorBoard: curves, the network's graph, the settings, and pictures of a fixed set of slices."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorboard.plugins.image.metadata import create_summary_metadata as image_metadata

from cinesax.files.typed_json import JsonObject
from cinesax.train.data.pipeline import PipelineConfig, count_examples, validation_batches
from cinesax.train.data.records import Dataset
from cinesax.train.fit.pictures import UNKNOWN, panel

_PICTURES = 8


class Pictures:
    """A fixed set of slices with the network's prediction for each, drawn as the training proceeds.

    The slices are spread evenly over the held-out cases. If no case is held out, they come from training cases; the tag
    then says "trained_on", because such pictures flatter the network.
    """

    def __init__(
        self,
        dataset: Dataset,
        cases: Sequence[str],
        folder: Path,
        *,
        held_out: bool,
        config: PipelineConfig,
        only: Sequence[str] | None = None,
    ) -> None:
        if only is None:
            cases = [cases[place] for place in sorted({round(p) for p in np.linspace(0, len(cases) - 1, _PICTURES)})]
        count = count_examples(dataset, cases, only)
        chosen = {round(place) for place in np.linspace(0, count - 1, min(_PICTURES, count))}
        examples = validation_batches(dataset, "train", cases, only=only, batch=1, config=config)
        taken = [pair for number, pair in enumerate(examples) if number in chosen]
        self.images = tf.concat([image for image, _ in taken], axis=0)
        labels = np.concatenate([np.asarray(label) for _, label in taken])
        self.truth = np.where(labels.sum(axis=-1) == 1, labels.argmax(axis=-1), UNKNOWN)
        self.tag = "held_out" if held_out else "trained_on"
        self.writer = tf.summary.create_file_writer(str(folder / "pictures"))

    def draw(self, model: keras.Model, epoch: int) -> None:
        """Write input, truth, prediction and difference of every slice."""
        predicted = np.argmax(np.asarray(model(self.images, training=False)), axis=-1)
        with self.writer.as_default(step=epoch):
            for number, (image, truth, guess) in enumerate(zip(self.images, self.truth, predicted, strict=True)):
                drawn = panel(np.asarray(image)[..., image.shape[-1] // 2], truth, guess)
                _write_picture(f"{self.tag}/{number}", drawn)
        self.writer.flush()


def _write_picture(tag: str, picture: NDArray[np.uint8]) -> None:
    """As tf.summary.image, which takes five times as long because it compresses the PNG further.

    Args:
        tag: the name of the picture.
        picture: (row, column, 3).
    """
    png = tf.io.encode_png(picture, compression=1)
    height, width = picture.shape[:2]
    metadata = image_metadata(
        display_name=None, description="input, truth, prediction, difference (orange: too much, blue: missed)"
    )
    tf.summary.write(tag, tf.stack([str(width), str(height), png]), metadata=metadata)


class Board(keras.callbacks.Callback):
    """Writes the graph and the settings at the start, and the logs after every epoch.

    Validation values (val_*) go to a separate run under the same names, so that one chart shows both curves.
    """

    def __init__(self, folder: Path, settings: JsonObject, *, size: int, done: int) -> None:
        super().__init__()
        self.folder, self.settings, self.size, self.done = folder, settings, size, done
        self.train = tf.summary.create_file_writer(str(folder / "train"))
        self.validation: Any = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Write graph and settings, once."""
        if self.done:
            return
        from tensorboard.plugins.hparams import api

        image = tf.TensorSpec([None, self.size, self.size, self.model.input_shape[-1]], tf.float32, name="image")
        graph = tf.function(lambda images: self.model(images, training=False)).get_concrete_function(image).graph
        with self.train.as_default(step=0):
            tf.summary.graph(graph)
            tf.summary.text("settings", f"```\n{json.dumps(self.settings, indent=1)}\n```")
            api.hparams(flat(self.settings))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the logs."""
        for name, value in (logs or {}).items():
            held_out = name.startswith("val_")
            if held_out and self.validation is None:
                self.validation = tf.summary.create_file_writer(str(self.folder / "validation"))
            with (self.validation if held_out else self.train).as_default(step=epoch):
                tf.summary.scalar(name.removeprefix("val_"), value)
        for writer in (self.train, self.validation):
            if writer is not None:
                writer.flush()


def flat(settings: JsonObject, prefix: str = "") -> dict[str, bool | int | float | str]:
    """Flatten nested settings into dotted names, with values that the hyper-parameter page can show."""
    table: dict[str, bool | int | float | str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            table |= flat(value, f"{prefix}{name}.")
        elif isinstance(value, (bool, int, float, str)):
            table[prefix + name] = value
        else:
            table[prefix + name] = "none" if value is None else ",".join(map(str, value))
    return table
