"""tf.data: from the records of a prepared set to batches for training and for validation."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import tensorflow as tf

from cinesax.errors import DatasetError
from cinesax.learn.augment import Augmentation, augment
from cinesax.learn.examples import Kind
from cinesax.learn.records import Dataset, parse

CLASSES = 2


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """How batches are made.

    Attributes:
        batch: images in a batch.
        crop: rows and columns of the training images, cut at a random place; None: the whole framed image.
        phantom_share: the part of the training images that are phantoms, where the set has any.
        augmentation: how widely training images vary; None: not at all.
    """

    batch: int = 8
    crop: int | None = None
    phantom_share: float = 0.2
    augmentation: Augmentation | None = field(default_factory=Augmentation)


def _one_hot(fields: dict[str, tf.Tensor], size: int) -> tuple[tf.Tensor, tf.Tensor]:
    image = tf.ensure_shape(fields["image"], [size, size, 1])
    return image, tf.ensure_shape(tf.one_hot(fields["label"], CLASSES), [size, size, CLASSES])


def _examples(dataset: Dataset, split: str, cases: Sequence[str]) -> tf.data.Dataset:
    files = [str(path) for path in dataset.shards(split)]
    keys = tf.constant(list(cases))
    known = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, tf.ones(len(cases), tf.int64)), 0)
    records = tf.data.TFRecordDataset(files).map(parse, num_parallel_calls=1)
    return records.filter(lambda fields: known.lookup(fields["case"]) > 0)


def validation_batches(dataset: Dataset, split: str, cases: Sequence[str], *, batch: int = 8) -> tf.data.Dataset:
    """Every example of the cases once, in order, not augmented.

    Returns:
        Batches of images (batch, 256, 256, 1), float32, and one-hot labels (batch, 256, 256, 2), float32.
    """
    size = dataset.framing.size
    examples = _examples(dataset, split, cases).map(lambda fields: _one_hot(fields, size))
    count = sum(int(dataset.manifest["cases"][case]["n"]) for case in cases)
    return examples.batch(batch).apply(tf.data.experimental.assert_cardinality(-(-count // batch))).prefetch(2)


def training_batches(
    dataset: Dataset, cases: Sequence[str], config: PipelineConfig, *, seed: int, start: int = 0, threads: int = 1
) -> tf.data.Dataset:
    """Endless batches of augmented training images.

    Args:
        dataset: the prepared set; its split "train" is used.
        cases: the patients to learn from (phantoms of the set are mixed in by their share).
        config: how.
        seed: of order and augmentation.
        start: the number of batches to skip: where a resumed training goes on. Skipping costs no decoding.
        threads: parallel calls of the augmentation.

    Returns:
        Batches of images (batch, crop, crop, 1), float32, and one-hot labels (batch, crop, crop, 2), float32;
        crop is 256 where it is not configured.
    """
    facts = dataset.manifest["cases"]
    phantoms = [case for case in cases if facts[case]["kind"] == Kind.PHANTOM]
    patients = [case for case in cases if facts[case]["kind"] != Kind.PHANTOM]
    if not patients and not phantoms:
        raise DatasetError("there are no cases to train on")
    share = config.phantom_share if patients and phantoms else float(bool(phantoms))
    parts = [(part, weight) for part, weight in ((patients, 1 - share), (phantoms, share)) if weight > 0]
    size = dataset.framing.size
    images, labels, sources = _in_memory(dataset, [part for part, _ in parts], size)
    draw = _Draw(sources, [weight for _, weight in parts], seed)

    def make(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        key = tf.stack([tf.cast(seed, tf.int64), step])
        index = draw(key)
        image, label = tf.cast(images[index], tf.float32) / 65535.0, tf.one_hot(labels[index], CLASSES)
        image, label = tf.reshape(image, [size, size, 1]), tf.reshape(label, [size, size, CLASSES])
        if config.augmentation is None:
            return image, label
        return augment(image, label, tf.cast(key, tf.int32), config.augmentation, crop=config.crop or size)

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


def _in_memory(
    dataset: Dataset, parts: Sequence[Sequence[str]], size: int
) -> tuple[tf.Tensor, tf.Tensor, list[tuple[int, int]]]:
    # 192 KiB an example: 20,000 of them in 4 GiB, more than any expert has drawn.
    images: list[tf.Tensor] = []
    labels: list[tf.Tensor] = []
    sources: list[tuple[int, int]] = []
    for part in parts:
        first = len(images)
        for fields in _examples(dataset, "train", part):
            images.append(tf.cast(tf.round(fields["image"][..., 0] * 65535.0), tf.uint16))
            labels.append(fields["label"])
        if len(images) == first:
            raise DatasetError(f"{dataset.folder} holds no examples of {', '.join(part[:3])}")
        sources.append((first, len(images) - first))
    return tf.ensure_shape(tf.stack(images), [None, size, size]), tf.stack(labels), sources
