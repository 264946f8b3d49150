"""tf.data: from the records of a prepared set to batches for training and for validation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cinesax.core.errors import DatasetError, UsageError
from cinesax.network.framing import crop_corner
from cinesax.train.data.anatomy import Place, neighbours, rays
from cinesax.train.data.augment import Augmentation, augment
from cinesax.train.data.examples import Kind
from cinesax.train.data.records import Dataset, parse, possible_classes
from cinesax.train.limits import SHARE, Limit, check_limits

CAVITY, WALL, RIGHT = "lv_cavity", "myocardium", "rv"

# No function here branches on a tensor. Without this, TensorFlow rewrites each one for such branches: seconds at the
# start of every training.
_as_written = tf.autograph.experimental.do_not_convert
_UNKNOWN = 255
_LIMITS = {
    "batch": Limit(1),
    "crop": Limit(1),
    "jitter_px": Limit(0, 128),
    "phantom_share": SHARE,
    "systole_weight": Limit(0, above=True),
    "lose_neighbour": SHARE,
    "swap_neighbours": SHARE,
}


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """How batches are made.

    Attributes:
        batch: images in a batch.
        crop: rows and columns of the training images; None: the whole framed image.
        jitter_px: standard deviation of the crop's centre around the patient's LV, for training a refiner; None: the
            crop lies anywhere.
        phantom_share: share of phantoms among the training images, if the set has any.
        kind_shares: (kind, share) of other kinds of source with a fixed share of the training images; the remaining
            kinds divide the rest in proportion to their examples.
        systole_weight: how many times as often as others a patient's frame is drawn if the cavity in its slice has lost
            at least a tenth of its largest area (where only the RV was drawn: the RV of its phase); phantoms are
            excluded. 1: all equally often.
        context: whether images have three channels instead of one: the next slice towards the base at the same phase,
            the slice itself, and the next slice towards the apex; a missing slice is 0.
        lose_neighbour: share of the neighbours that are left out in training, because a network must cope without.
        swap_neighbours: share of the images whose neighbours swap places, because the base of a stack may be unknown.
        augmentation: how training images vary; None: no augmentation.
    """

    batch: int = 8
    crop: int | None = None
    jitter_px: float | None = None
    phantom_share: float = 0.2
    kind_shares: tuple[tuple[str, float], ...] = ()
    systole_weight: float = 1.0
    context: bool = False
    lose_neighbour: float = 0.25
    swap_neighbours: float = 0.15
    augmentation: Augmentation | None = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        check_limits(self, _LIMITS)
        if self.jitter_px is not None and self.crop is None:
            raise UsageError(
                f"jitter_px={self.jitter_px:g} moves a crop, and crop is none: set a crop, or jitter_px=none"
            )
        if isinstance(self.kind_shares, Mapping) or any(len(pair) != 2 for pair in self.kind_shares):
            raise UsageError(f"kind_shares must hold pairs such as ('chla', 0.2), seen {self.kind_shares}")
        own = [str(kind) for kind in Kind if kind is not Kind.PHANTOM]
        kinds = [kind for kind, _ in self.kind_shares]
        for kind, share in self.kind_shares:
            if kind == Kind.PHANTOM:
                raise UsageError("kind_shares cannot hold phantom: phantom_share sets the share of phantoms")
            if kind not in own:
                raise UsageError(f"kind_shares: there is no kind {kind!r} of source; there are {', '.join(own)}")
            if kinds.count(kind) > 1:
                raise UsageError(f"kind_shares names {kind} twice; give one share for each kind")
            if not SHARE.holds(share):
                raise UsageError(f"kind_shares: the share of {kind} must be {SHARE}, seen {share:g}")

    @property
    def at_the_heart(self) -> bool:
        """Whether the images are crops around the LV."""
        return self.crop is not None and self.jitter_px is not None


def _examples(dataset: Dataset, split: str, cases: Sequence[str], only: Sequence[str] | None = None) -> tf.data.Dataset:
    files = [str(path) for path in dataset.shards(split)]
    records = tf.data.TFRecordDataset(files).map(_as_written(parse), num_parallel_calls=1)
    records = records.filter(_among("case", cases))
    return records if only is None else records.filter(_among("name", only))


def _among(key: str, wanted: Sequence[str]) -> Callable[[dict[str, tf.Tensor]], tf.Tensor]:
    keys = tf.lookup.KeyValueTensorInitializer(tf.constant(list(wanted), tf.string), tf.ones(len(wanted), tf.int64))
    table = tf.lookup.StaticHashTable(keys, 0)
    return _as_written(lambda fields: table.lookup(fields[key]) > 0)


def validation_batches(
    dataset: Dataset,
    split: str,
    cases: Sequence[str],
    *,
    only: Sequence[str] | None = None,
    batch: int = 8,
    config: PipelineConfig | None = None,
) -> tf.data.Dataset:
    """Every example of the cases once, in order, without augmentation.

    Args:
        dataset: the prepared set.
        split: a split of the set.
        cases: the patients.
        only: names of the examples to use, all from these patients; None: all of their examples.
        batch: images in a batch.
        config: config of the training: if its images are crops around the LV, so are these.

    Returns:
        Batches of images (batch, 256, 256, 1), float32 (with `config.context`, 3 channels), and labels (batch, 256,
        256, classes), float32: one-hot, or 1 for every class that a pixel may have. If images are crops around the LV,
        rows and columns are those of the crop.
    """
    if config is not None and config.context:
        return _validation_with_context(dataset, split, cases, only=only, batch=batch, config=config)
    size, classes = dataset.framing.size, len(dataset.manifest.classes)
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
    examples = _examples(dataset, split, cases, only).map(_as_written(make))
    return examples.batch(batch).apply(tf.data.experimental.assert_cardinality(-(-count // batch))).prefetch(2)


def _validation_with_context(
    dataset: Dataset,
    split: str,
    cases: Sequence[str],
    *,
    only: Sequence[str] | None,
    batch: int,
    config: PipelineConfig,
) -> tf.data.Dataset:
    memory = _in_memory(dataset, [cases], only, split=split)
    size, classes = dataset.framing.size, len(dataset.manifest.classes)
    places = _places(dataset, split, cases, only) if config.at_the_heart else {}
    crop = config.crop if config.at_the_heart and config.crop else size
    corners = tf.constant([crop_corner(places.get(case, (0.0, 0.0)), crop, size) for case in memory.cases])

    def make(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        label = possible_classes(memory.labels[index], memory.known[index], classes)
        corner = tf.unstack(corners[index])
        image = memory.image(index, memory.neighbours[index])
        return tuple(tf.slice(x, [*corner, 0], [crop, crop, x.shape[-1]]) for x in (image, label))

    batches = tf.data.Dataset.range(len(memory.cases)).map(_as_written(make)).batch(batch)
    return batches.prefetch(2)


def count_examples(dataset: Dataset, cases: Sequence[str], only: Sequence[str] | None = None) -> int:
    """The number of examples of these patients; with `only`, of those examples."""
    return len(only) if only is not None else sum(dataset.manifest.cases[case].n for case in cases)


def _places(
    dataset: Dataset, split: str, cases: Sequence[str], only: Sequence[str] | None
) -> dict[str, tuple[float, float]]:
    """The position of each patient's LV: the centre of all its labels together, (row, column)."""
    cavity = dataset.manifest.classes.index(CAVITY)
    totals: dict[str, NDArray[np.float64]] = {}
    for fields in _examples(dataset, split, cases, only):
        rows, columns = np.nonzero(fields["label"].numpy() == cavity)
        sums = np.array([len(rows), rows.sum(), columns.sum()], float)
        case = fields["case"].numpy().decode()
        totals[case] = totals.get(case, np.zeros(3)) + sums
    middle = (dataset.framing.size - 1) / 2
    return {case: (s[1] / s[0], s[2] / s[0]) if s[0] else (middle, middle) for case, s in totals.items()}


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
        cases: the patients to learn from (phantoms of the set are added by their share).
        config: how batches are made.
        seed: seed of order and augmentation.
        only: names of the examples to use, all from these patients; None: all of their examples.
        start: number of batches to skip when a training resumes. Skipped batches are not decoded.
        threads: parallel calls of the augmentation.

    Returns:
        Batches of images (batch, crop, crop, 1), float32 (with `config.context`, 3 channels), and labels (batch, crop,
        crop, classes), float32: one-hot, or 1 for every class that a pixel may have; crop is 256 if it is not
        configured.
    """
    parts = _parts(dataset, cases, config)
    size, classes = dataset.framing.size, len(dataset.manifest.classes)
    memory = _in_memory(dataset, [part for part, _ in parts], only)
    draw = _Draw(memory.sources, [weight for _, weight in parts], seed, _cumulated(memory, config.systole_weight))
    place = _place_of(dataset, memory.cases, only) if config.at_the_heart else None

    def make(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        key = tf.stack([tf.cast(seed, tf.int64), step])
        index = draw(key)
        small = tf.cast(key, tf.int32)
        label = memory.labels[index]
        if config.context:
            image = memory.image(index, _chosen_neighbours(memory.neighbours[index], small, config))
        else:
            image = memory.image(index, None)
        about = None if place is None else (place[index], float(config.jitter_px or 0))
        if config.augmentation is None and config.crop is not None:
            image, label = _cut(image, label, small, crop=config.crop, about=about)
        if config.augmentation is not None:
            # Unknown pixels are transformed with the rest, as an extra class after those of the set.
            parts = tf.one_hot(tf.where(label == _UNKNOWN, tf.cast(classes, tf.uint8), label), classes + 1)
            crop = config.crop or size
            anatomy = memory.anatomy[index]
            image, moved = augment(image, parts, small, config.augmentation, crop=crop, about=about, anatomy=anatomy)
            label = tf.cast(tf.argmax(moved, axis=-1), tf.uint8)
            label = tf.where(label == classes, tf.cast(_UNKNOWN, tf.uint8), label)
        return image, possible_classes(label, memory.known[index], classes)

    steps = tf.data.Dataset.range(start * config.batch, 2**40)
    batches = steps.map(_as_written(make), num_parallel_calls=threads).batch(config.batch, drop_remainder=True)
    return batches.prefetch(4)


def _cut(
    image: tf.Tensor, label: tf.Tensor, seed: tf.Tensor, *, crop: int, about: tuple[tf.Tensor, float] | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """A crop of unchanged pixels; `about` is that of `draw_geometry`, but the crop stays inside the framed square."""
    last = image.shape[0] - crop
    if about is None:
        corner = tf.random.stateless_uniform([2], seed, 0, last + 1, dtype=tf.int32)
    else:
        middle = about[0] + tf.random.stateless_normal([2], seed) * about[1]
        corner = tf.clip_by_value(tf.cast(tf.round(middle), tf.int32) - crop // 2, 0, last)
    row, column = tf.unstack(corner)
    return tf.slice(image, [row, column, 0], [crop, crop, image.shape[-1]]), tf.slice(
        label, [row, column], [crop, crop]
    )


def _parts(dataset: Dataset, cases: Sequence[str], config: PipelineConfig) -> list[tuple[list[str], float]]:
    """Groups of patients to draw from, with each group's share of the images."""
    shares = dict(config.kind_shares) | {str(Kind.PHANTOM): config.phantom_share}
    facts = dataset.manifest.cases
    groups: dict[str, list[str]] = {}
    for case in cases:
        kind = str(facts[case].kind)
        groups.setdefault(kind if kind in shares else "", []).append(case)
    if not groups:
        raise DatasetError("there are no cases to train on")
    fixed = {kind: shares[kind] for kind in groups if kind}
    if "" in groups and sum(fixed.values()) > 1 + 1e-6:
        listed = ", ".join(f"{kind} {share:g}" for kind, share in fixed.items())
        raise UsageError(
            f"the shares of kinds of source add up to more than 1 ({listed}), which leaves no image of the others: set "
            "smaller ones in pipeline.kind_shares and pipeline.phantom_share"
        )
    weights = {"": max(0.0, 1 - sum(fixed.values()))} | fixed
    together = sum(weights[kind] for kind in groups)
    if together <= 0:
        raise DatasetError(f"the shares of {', '.join(sorted(groups))} leave nothing to learn from")
    return [(groups[kind], weights[kind] / together) for kind in sorted(groups) if weights[kind] > 0]


def _chosen_neighbours(both: tf.Tensor, seed: tf.Tensor, config: PipelineConfig) -> tf.Tensor:
    """(2,): indices of the neighbours shown with this image; -1: none."""
    keys = tf.unstack(tf.random.split(seed + 104729, 2))
    lost = tf.random.stateless_uniform([2], keys[0]) < config.lose_neighbour
    swapped = tf.random.stateless_uniform([], keys[1]) < config.swap_neighbours
    return tf.where(lost, -1, tf.where(swapped, both[::-1], both))


@dataclass(frozen=True)
class _Draw:
    """Draws the k-th example: a source by its weight, then a random example of it."""

    sources: list[tuple[int, int]]  # (first, count) of each source
    weights: list[float]
    seed: int
    cumulated: list[NDArray[np.float32]] | None = None  # of each source; None: equally often

    def __call__(self, key: tf.Tensor) -> tf.Tensor:
        keys = tf.unstack(tf.random.split(tf.cast(key, tf.int32) + 7919, 2))
        chosen = tf.random.stateless_categorical(tf.math.log([self.weights]), 1, keys[0])[0, 0]
        first = tf.gather([first for first, _ in self.sources], chosen)
        count = tf.gather([count for _, count in self.sources], chosen)
        if self.cumulated is None:
            return first + tf.random.stateless_uniform([], keys[1], 0, count, dtype=tf.int32)
        shares = tf.ragged.constant([list(shares) for shares in self.cumulated], dtype=tf.float32)[chosen]
        place = tf.searchsorted(shares, tf.random.stateless_uniform([1], keys[1]), side="right")[0]
        return first + tf.minimum(place, count - 1)


@dataclass(frozen=True)
class _Memory:
    """All decoded examples: images (example, size, size), uint16, labels, uint8, and facts about each.

    `neighbours` and `anatomy` are those of `cinesax.train.data.anatomy`; `systole` is from `_in_systole`.
    """

    images: tf.Tensor
    labels: tf.Tensor
    known: tf.Tensor
    cases: list[str]
    sources: list[tuple[int, int]]
    neighbours: tf.Tensor
    anatomy: tf.Tensor
    systole: NDArray[np.bool_]

    def image(self, index: tf.Tensor, around: tf.Tensor | None) -> tf.Tensor:
        """(size, size, 1), float32, 0 to 1; with neighbours, indices towards base and apex, (size, size, 3)."""
        if around is None:
            return tf.cast(self.images[index], tf.float32)[..., None] / 65535.0
        three = tf.stack([around[0], tf.cast(index, around.dtype), around[1]])
        images = tf.cast(tf.gather(self.images, tf.maximum(three, 0)), tf.float32) / 65535.0
        present = tf.cast(three >= 0, tf.float32)
        return tf.transpose(images * present[:, None, None], [1, 2, 0])


def _in_memory(
    dataset: Dataset, parts: Sequence[Sequence[str]], only: Sequence[str] | None, *, split: str = "train"
) -> _Memory:
    # 192 KiB per example: 4 GiB hold 20,000 examples, more than any expert has drawn.
    images: list[NDArray[np.uint16]] = []
    labels: list[NDArray[np.uint8]] = []
    known: list[int] = []
    cases: list[str] = []
    sources: list[tuple[int, int]] = []
    places: list[Place] = []
    for part in parts:
        first = len(images)
        for fields in _examples(dataset, split, part, only):
            images.append(np.round(fields["image"].numpy()[..., 0] * 65535.0).astype(np.uint16))
            labels.append(fields["label"].numpy())
            known.append(int(fields["known"].numpy()))
            cases.append(fields["case"].numpy().decode())
            stack = f"{fields['kind'].numpy().decode()}/{cases[-1]}"
            places.append((stack, int(fields["phase"].numpy()), int(fields["slice"].numpy())))
        if len(images) == first:
            raise DatasetError(f"{dataset.folder} holds no examples of {', '.join(part[:3])}")
        sources.append((first, len(images) - first))
    polar = _polar(dataset, labels, known)
    areas = [float(np.count_nonzero(label == _cavity_of(dataset))) for label in labels]
    shape = [None, dataset.framing.size, dataset.framing.size]
    together = (
        tf.ensure_shape(tf.constant(np.stack(images)), shape),
        tf.ensure_shape(tf.constant(np.stack(labels)), shape),
    )
    around = tf.constant(neighbours(places, areas))
    drawn = [_cavity_of(dataset) >= 0 and bool(labelled >> _cavity_of(dataset) & 1) for labelled in known]
    systole = _in_systole(places, areas, drawn) | _rv_in_systole(dataset, places, labels, known)
    return _Memory(*together, tf.constant(known, tf.int64), cases, sources, around, tf.constant(polar), systole)


def _cumulated(memory: _Memory, systole_weight: float) -> list[NDArray[np.float32]] | None:
    """For each source, the cumulated shares of its examples; None if all are drawn equally often."""
    if systole_weight == 1:
        return None
    weights = np.where(memory.systole, systole_weight, 1.0)
    parts = [np.cumsum(weights[first : first + count]) for first, count in memory.sources]
    return [(part / part[-1]).astype(np.float32) for part in parts]


def _in_systole(places: Sequence[Place], areas: Sequence[float], known: Sequence[bool]) -> NDArray[np.bool_]:
    """(example,): whether the cavity of the slice is a tenth smaller than at the phase where it is largest.

    This includes slices that the base has left. Phantoms are excluded: their frames are from all phases.
    """
    largest: dict[tuple[str, int], float] = {}
    for (stack, _, place), area in zip(places, areas, strict=True):
        largest[stack, place] = max(area, largest.get((stack, place), 0.0))
    small = [
        labelled and place >= 0 and not stack.startswith(f"{Kind.PHANTOM}/") and area < 0.9 * largest[stack, place]
        for (stack, _, place), area, labelled in zip(places, areas, known, strict=True)
    ]
    return np.array(small, dtype=bool)


def _rv_in_systole(
    dataset: Dataset, places: Sequence[Place], labels: Sequence[NDArray[np.uint8]], known: Sequence[int]
) -> NDArray[np.bool_]:
    """(example,): whether only the RV was drawn, at a phase at which the patient's RV is a tenth smaller.

    Compared are the means of a phase, because the slices of these images need not be known.
    """
    classes = list(dataset.manifest.classes)
    if RIGHT not in classes:
        return np.zeros(len(places), dtype=bool)
    right, cavity = 1 << classes.index(RIGHT), 1 << max(_cavity_of(dataset), 0)
    areas: dict[str, dict[int, list[int]]] = {}
    for (stack, phase, _), label, labelled in zip(places, labels, known, strict=True):
        if labelled & right and not stack.startswith(f"{Kind.PHANTOM}/"):
            areas.setdefault(stack, {}).setdefault(phase, []).append(
                int(np.count_nonzero(label == classes.index(RIGHT)))
            )
    small = set()
    for stack, phases in areas.items():
        means = {phase: np.mean(listed) for phase, listed in phases.items()}
        small |= {(stack, phase) for phase, mean in means.items() if mean < 0.9 * max(means.values())}
    alone = [labelled & right and not labelled & cavity for labelled in known]
    return np.array([bool(one) and place[:2] in small for one, place in zip(alone, places, strict=True)], dtype=bool)


def _cavity_of(dataset: Dataset) -> int:
    """The label of the LV cavity in a set; -1, which no pixel has, in a set without it."""
    classes = list(dataset.manifest.classes)
    return classes.index(CAVITY) if CAVITY in classes else -1


def _polar(dataset: Dataset, labels: Sequence[NDArray[np.uint8]], known: Sequence[int]) -> NDArray[np.float32]:
    classes = list(dataset.manifest.classes)
    cavity = _cavity_of(dataset)
    wall, right = (classes.index(name) if name in classes else None for name in (WALL, RIGHT))
    polar = []
    for label, labelled in zip(labels, known, strict=True):
        inside = label == cavity
        # A wall beside unknown pixels is only a rim: its outer border is not that of the wall.
        drawn = wall is not None and labelled >> wall & 1 and not np.any(label == _UNKNOWN)
        whole = inside | (label == wall) if drawn else None
        seen = right is not None and labelled >> right & 1
        polar.append(rays(inside, whole, label == right if seen else None))
    return np.stack(polar)


def _place_of(dataset: Dataset, cases: Sequence[str], only: Sequence[str] | None) -> tf.Tensor:
    places = _places(dataset, "train", sorted(set(cases)), only)
    return tf.constant([places[case] for case in cases], tf.float32)
