"""tf.data: from the records of a prepared set to batches for training and for validation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cinesax.core.errors import DatasetError
from cinesax.network.framing import crop_corner
from cinesax.train.data.augment import Augmentation, augment
from cinesax.train.data.examples import Kind
from cinesax.train.data.records import Dataset, parse, possible_classes

CAVITY = "lv_cavity"
_UNKNOWN = 255


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """How batches are made.

    Attributes:
        batch: images in a batch.
        crop: rows and columns of the training images; None: the whole framed image.
        jitter_px: standard deviation of the place of the crop about the patient's LV, as a network is trained that
            is told where the heart is; None: the crop lies anywhere.
        phantom_share: the part of the training images that are phantoms, where the set has any.
        augmentation: how widely training images vary; None: not at all.
    """

    batch: int = 8
    crop: int | None = None
    jitter_px: float | None = None
    phantom_share: float = 0.2
    augmentation: Augmentation | None = field(default_factory=Augmentation)

    @property
    def at_the_heart(self) -> bool:
        """Whether the images are cut round the LV."""
        return self.crop is not None and self.jitter_px is not None


def _examples(dataset: Dataset, split: str, cases: Sequence[str], only: Sequence[str] | None = None) -> tf.data.Dataset:
    files = [str(path) for path in dataset.shards(split)]
    records = tf.data.TFRecordDataset(files).map(parse, num_parallel_calls=1)
    records = records.filter(_among("case", cases))
    return records if only is None else records.filter(_among("name", only))


def _among(key: str, wanted: Sequence[str]) -> Callable[[dict[str, tf.Tensor]], tf.Tensor]:
    keys = tf.lookup.KeyValueTensorInitializer(tf.constant(list(wanted), tf.string), tf.ones(len(wanted), tf.int64))
    table = tf.lookup.StaticHashTable(keys, 0)
    return lambda fields: table.lookup(fields[key]) > 0


def validation_batches(
    dataset: Dataset,
    split: str,
    cases: Sequence[str],
    *,
    only: Sequence[str] | None = None,
    batch: int = 8,
    config: PipelineConfig | None = None,
) -> tf.data.Dataset:
    """Every example of the cases once, in order, not augmented.

    Args:
        dataset: the prepared set.
        split: of it.
        cases: the patients.
        only: names of examples, all of these patients: no others; None: all of theirs.
        batch: images in a batch.
        config: of the training: where its images are cut round the LV, these are too.

    Returns:
        Batches of images (batch, 256, 256, 1), float32, and labels (batch, 256, 256, classes), float32: one-hot, or
        1 for every class that a pixel may have. Rows and columns are the crop's where images are cut round the LV.
    """
    size, classes = dataset.framing.size, len(dataset.manifest["classes"])
    crop = config.crop if config is not None and config.at_the_heart else None
    places = _places(dataset, split, cases, only) if crop else {}
    corners = tf.constant([crop_corner(places.get(case, (0.0, 0.0)), crop or size, size) for case in cases])
    keys = tf.lookup.KeyValueTensorInitializer(tf.constant(list(cases)), tf.range(len(cases), dtype=tf.int64))
    number = tf.lookup.StaticHashTable(keys, -1)

    def make(fields: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.ensure_shape(fields["image"], [size, size, 1])
        label = possible_classes(tf.ensure_shape(fields["label"], [size, size]), fields["known"], classes)
        if not crop:
            return image, label
        corner = corners[number.lookup(fields["case"])]
        return tuple(tf.slice(x, [*tf.unstack(corner), 0], [crop, crop, x.shape[-1]]) for x in (image, label))

    count = count_examples(dataset, cases, only)
    examples = _examples(dataset, split, cases, only).map(make)
    return examples.batch(batch).apply(tf.data.experimental.assert_cardinality(-(-count // batch))).prefetch(2)


def count_examples(dataset: Dataset, cases: Sequence[str], only: Sequence[str] | None = None) -> int:
    """How many examples these patients have; with `only`, how many those are."""
    return len(only) if only is not None else sum(int(dataset.manifest["cases"][case]["n"]) for case in cases)


def _places(
    dataset: Dataset, split: str, cases: Sequence[str], only: Sequence[str] | None
) -> dict[str, tuple[float, float]]:
    """Where the LV of each patient lies: the centre of all its labels together, (row, column)."""
    cavity = dataset.manifest["classes"].index(CAVITY)
    found: dict[str, NDArray[np.float64]] = {}
    for fields in _examples(dataset, split, cases, only):
        rows, columns = np.nonzero(fields["label"].numpy() == cavity)
        sums = np.array([len(rows), rows.sum(), columns.sum()], float)
        case = fields["case"].numpy().decode()
        found[case] = found.get(case, np.zeros(3)) + sums
    middle = (dataset.framing.size - 1) / 2
    return {case: (s[1] / s[0], s[2] / s[0]) if s[0] else (middle, middle) for case, s in found.items()}


def training_batches(
    dataset: Dataset,
    cases: Sequence[str],
    config: PipelineConfig,
    *,
    seed: int,
    only: Sequence[str] | None = None,
    start: int = 0,
    threads: int = 1,
) -> tf.data.Dataset:
    """Endless batches of augmented training images.

    Args:
        dataset: the prepared set; its split "train" is used.
        cases: the patients to learn from (phantoms of the set are mixed in by their share).
        config: how.
        seed: of order and augmentation.
        only: names of examples, all of these patients: no others; None: all of theirs.
        start: the number of batches to skip: where a resumed training goes on. Skipping costs no decoding.
        threads: parallel calls of the augmentation.

    Returns:
        Batches of images (batch, crop, crop, 1), float32, and labels (batch, crop, crop, classes), float32: one-hot,
        or 1 for every class that a pixel may have; crop is 256 where it is not configured.
    """
    facts = dataset.manifest["cases"]
    phantoms = [case for case in cases if facts[case]["kind"] == Kind.PHANTOM]
    patients = [case for case in cases if facts[case]["kind"] != Kind.PHANTOM]
    if not patients and not phantoms:
        raise DatasetError("there are no cases to train on")
    share = config.phantom_share if patients and phantoms else float(bool(phantoms))
    parts = [(part, weight) for part, weight in ((patients, 1 - share), (phantoms, share)) if weight > 0]
    size, classes = dataset.framing.size, len(dataset.manifest["classes"])
    memory = _in_memory(dataset, [part for part, _ in parts], only)
    draw = _Draw(memory.sources, [weight for _, weight in parts], seed)
    place = _place_of(dataset, memory.cases, only) if config.at_the_heart else None

    def make(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        key = tf.stack([tf.cast(seed, tf.int64), step])
        index = draw(key)
        image, label = tf.cast(memory.images[index], tf.float32) / 65535.0, memory.labels[index]
        image = tf.reshape(image, [size, size, 1])
        if config.augmentation is not None:
            about = None if place is None else (place[index], float(config.jitter_px or 0))
            # Unknown pixels move with the rest: a class of their own, behind the set's.
            parts = tf.one_hot(tf.where(label == _UNKNOWN, tf.cast(classes, tf.uint8), label), classes + 1)
            small = tf.cast(key, tf.int32)
            crop = config.crop or size
            image, moved = augment(image, parts, small, config.augmentation, crop=crop, about=about)
            label = tf.cast(tf.argmax(moved, axis=-1), tf.uint8)
            label = tf.where(label == classes, tf.cast(_UNKNOWN, tf.uint8), label)
        return image, possible_classes(label, memory.known[index], classes)

    steps = tf.data.Dataset.range(start * config.batch, 2**40)
    batches = steps.map(make, num_parallel_calls=threads).batch(config.batch, drop_remainder=True)
    return batches.prefetch(4)


@dataclass(frozen=True)
class _Draw:
    """Which example is the k-th: a source by its weight, an example of it by chance."""

    sources: list[tuple[int, int]]  # (first, count) of each source
    weights: list[float]
    seed: int

    def __call__(self, key: tf.Tensor) -> tf.Tensor:
        keys = tf.unstack(tf.random.split(tf.cast(key, tf.int32) + 7919, 2))
        chosen = tf.random.stateless_categorical(tf.math.log([self.weights]), 1, keys[0])[0, 0]
        first = tf.gather([first for first, _ in self.sources], chosen)
        count = tf.gather([count for _, count in self.sources], chosen)
        return first + tf.random.stateless_uniform([], keys[1], 0, count, dtype=tf.int32)


@dataclass(frozen=True)
class _Memory:
    """All examples, decoded: (example, size, size) images, uint16, and labels, uint8; and facts of each."""

    images: tf.Tensor
    labels: tf.Tensor
    known: tf.Tensor
    cases: list[str]
    sources: list[tuple[int, int]]


def _in_memory(dataset: Dataset, parts: Sequence[Sequence[str]], only: Sequence[str] | None) -> _Memory:
    # 192 KiB an example: 20,000 of them in 4 GiB, more than any expert has drawn.
    images: list[tf.Tensor] = []
    labels: list[tf.Tensor] = []
    known: list[tf.Tensor] = []
    cases: list[str] = []
    sources: list[tuple[int, int]] = []
    for part in parts:
        first = len(images)
        for fields in _examples(dataset, "train", part, only):
            images.append(tf.cast(tf.round(fields["image"][..., 0] * 65535.0), tf.uint16))
            labels.append(fields["label"])
            known.append(fields["known"])
            cases.append(fields["case"].numpy().decode())
        if len(images) == first:
            raise DatasetError(f"{dataset.folder} holds no examples of {', '.join(part[:3])}")
        sources.append((first, len(images) - first))
    shape = [None, dataset.framing.size, dataset.framing.size]
    together = tf.ensure_shape(tf.stack(images), shape), tf.ensure_shape(tf.stack(labels), shape)
    return _Memory(*together, tf.stack(known), cases, sources)


def _place_of(dataset: Dataset, cases: Sequence[str], only: Sequence[str] | None) -> tf.Tensor:
    places = _places(dataset, "train", sorted(set(cases)), only)
    return tf.constant([places[case] for case in cases], tf.float32)
