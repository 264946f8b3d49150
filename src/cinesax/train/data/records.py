"""Records: a training set as TFRecord shards. Only this module knows their fields, for writing and reading.

A set is a folder: `dataset.json` (what is in it), `examples.csv` (one line per example), `unused.csv` (source files
without examples, and the reason) and `SPLIT-NNNNN.tfrecord` shards. It is made under a temporary name and renamed when
it is complete, so a set that exists is whole. Sets of schema cinesax/dataset/1 (LV cavity only, no examples.csv) are
read too.

Partial labels: the bit field `known` of a record says which classes of the set were labelled in its frame: bit i is
class i. A background pixel can be any class that was not labelled, and a pixel of value 255 any class at all: see
`possible_classes`.
"""

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

from cinesax.core.errors import DatasetError, GeometryError, OutputError
from cinesax.core.structures import Part, Structure
from cinesax.files.folder_swap import new_folder
from cinesax.files.stored_files import replacing
from cinesax.files.typed_json import text_of, typed
from cinesax.network.bundle import file_sha256
from cinesax.network.framing import Framing
from cinesax.train.data.disk import system_errors
from cinesax.train.data.examples import UNKNOWN, Example, Kind
from cinesax.train.data.manifest import (
    CAVITY_ONLY,
    EXAMPLES,
    MANIFEST,
    READABLE,
    SCHEMA,
    UNUSED,
    Classes,
    Manifest,
    Row,
    Shard,
    TableFacts,
    Unused,
    by_reason,
    describe,
    parse_classes,
    read_rows,
    row_of,
    write_rows,
    write_unused,
)

CLASSES = ("background", "lv_cavity")
_SHARD_EXAMPLES = 256
# Higher levels do not shrink 12-bit images, and take up to three times as long.
_COMPRESSION = 1
_ALL_KNOWN = -1

FEATURES = {
    "name": tf.io.FixedLenFeature([], tf.string),
    "case": tf.io.FixedLenFeature([], tf.string),
    "kind": tf.io.FixedLenFeature([], tf.string),
    "image_png": tf.io.FixedLenFeature([], tf.string),  # 16 bit grey, lossless
    "label_png": tf.io.FixedLenFeature([], tf.string),  # 8 bit, values are indices of the set's classes, or 255
    "known": tf.io.FixedLenFeature([], tf.int64, _ALL_KNOWN),  # bit i: class i was labelled
    "slice": tf.io.FixedLenFeature([], tf.int64),
    "phase": tf.io.FixedLenFeature([], tf.int64),
    "spacing_mm": tf.io.FixedLenFeature([2], tf.float32),  # NaN if not known
}


def _png(array: NDArray[Any]) -> bytes:
    with io.BytesIO() as stream:
        Image.fromarray(array).save(stream, format="PNG", compress_level=_COMPRESSION)
        return stream.getvalue()


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _integer(value: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def by_index(label: NDArray[np.uint8], classes: Classes) -> NDArray[np.uint8]:
    """A label of Structures as indices of the set's classes, from 1; structures without a class become background."""
    table = np.zeros(256, np.uint8)
    table[[int(structure) for structure in classes]] = np.arange(1, len(classes) + 1, dtype=np.uint8)
    for structure in Structure:
        if structure not in classes and structure.facts.part is Part.MUSCLE and structure.enclosing in classes:
            table[structure] = table[structure.enclosing]  # networks learn muscles in the blood as blood
    table[UNKNOWN] = UNKNOWN
    return np.asarray(table[label])


def serialise(example: Example, classes: Classes = CAVITY_ONLY) -> bytes:
    """One Example as the bytes of a TFRecord of a set with these classes."""
    spacing = example.spacing_mm or (float("nan"), float("nan"))
    feature = {
        "name": _bytes(example.name.encode()),
        "case": _bytes(example.case.encode()),
        "kind": _bytes(example.kind.encode()),
        "image_png": _bytes(_png(example.image)),
        "label_png": _bytes(_png(by_index(example.label, classes))),
        "known": _integer(1 + sum(1 << bit for bit, structure in enumerate(classes, 1) if structure in example.known)),
        "slice": _integer(example.slice),
        "phase": _integer(example.phase),
        "spacing_mm": tf.train.Feature(float_list=tf.train.FloatList(value=spacing)),
    }
    return bytes(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString(deterministic=True))


def parse(record: tf.Tensor) -> dict[str, tf.Tensor]:
    """The fields of a serialised record; runs inside tf.data.

    Returns:
        The fields of FEATURES, with "image" (size, size, 1) float32 from 0 to 1 and "label" (size, size) uint8 in place
        of the PNG bytes. "label" holds indices of the set's classes, 255 for an unknown pixel; "known", int64, has bit
        i set if class i was labelled in this frame (all bits in sets of schema 1).
    """
    fields = tf.io.parse_single_example(record, FEATURES)
    image = tf.io.decode_png(fields.pop("image_png"), channels=1, dtype=tf.uint16)
    label = tf.io.decode_png(fields.pop("label_png"), channels=1)
    fields["image"] = tf.cast(image, tf.float32) / 65535.0
    fields["label"] = label[..., 0]
    return dict(fields)


def possible_classes(label: tf.Tensor, known: tf.Tensor, count: int) -> tf.Tensor:
    """The possible classes of every pixel; if all classes were labelled, this is the one-hot label.

    A loss that takes the sum of the probabilities of the possible classes (`-log(sum(p * possible))`) learns only what
    was labelled. If the cavity is labelled and the wall is not, background and wall are both possible outside of the
    cavity, so only "not cavity" is learned there. A pixel with all classes possible teaches nothing.

    Args:
        label: (row, column), uint8: as `parse` gives it.
        known: (), int64: as `parse` gives it.
        count: the number of the set's classes.

    Returns:
        (row, column, count), float32, of 0 and 1.
    """
    labelled = tf.bitwise.bitwise_and(tf.bitwise.right_shift(known, tf.range(count, dtype=tf.int64)), 1) > 0
    open_to = tf.cast(tf.logical_not(labelled), tf.float32)
    possible = tf.one_hot(label, count)
    possible = tf.maximum(possible, tf.cast(label == 0, tf.float32)[..., None] * open_to)
    return tf.maximum(possible, tf.cast(label == UNKNOWN, tf.float32)[..., None])


@dataclass(frozen=True)
class Dataset:
    """A prepared set, as described by its `dataset.json`.

    Attributes:
        folder: its folder.
        manifest: the parsed dataset.json.
    """

    folder: Path
    manifest: Manifest

    @property
    def framing(self) -> Framing:
        """How its images were framed."""
        return self.manifest.framing

    @property
    def classes(self) -> Classes:
        """Its classes; label values are indices of them, from 1."""
        return parse_classes(self.manifest.classes)

    @property
    def digest(self) -> str:
        """SHA-256 of the checksums of its shards: equal data have equal digests."""
        return self.manifest.digest

    def cases(self, split: str, *, fold: int | None = None, held_out: bool = False) -> list[str]:
        """Cases of a split; with `fold`, those outside of the fold, or (`held_out`) those in it."""
        members = self.manifest.splits.get(split)
        if members is None:
            raise DatasetError(
                f"{self.folder} has no split {split!r}; it has {', '.join(sorted(self.manifest.splits))}"
            )
        if fold is None:
            return list(members)
        if not 0 <= fold < self.manifest.folds:
            last = self.manifest.folds - 1
            there = f"folds 0 to {last}" if last else "only fold 0"
            raise DatasetError(f"there is no fold {fold}: {self.folder} has {there}")
        facts = self.manifest.cases
        return [case for case in members if (facts[case].fold == fold) == held_out]

    def shards(self, split: str) -> list[Path]:
        """The shard files of a split."""
        return [self.folder / shard.file for shard in self.manifest.shards if shard.split == split]


def open_dataset(folder: Path) -> Dataset:
    """Open a prepared set; shards are checked for presence and size here, for content by `verify`.

    Raises:
        DatasetError: not a set, another schema version, or missing or truncated shards.
    """
    path = folder / MANIFEST
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DatasetError(
            f"{folder} is not a prepared set: it has no {MANIFEST}; make one with `cinesax prepare`"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise DatasetError(f"{path} cannot be read ({error}); prepare the set again") from None
    if not isinstance(values, dict) or values.get("schema") not in READABLE:
        raise DatasetError(f"{path} does not have the schema {SCHEMA}; prepare the set again with this version")
    try:
        manifest = typed(values, Manifest)
    except (ValueError, GeometryError) as error:
        raise DatasetError(f"{path} cannot be used ({error}); prepare the set again") from None
    for shard in manifest.shards:
        file = folder / shard.file
        if not file.is_file() or file.stat().st_size != shard.bytes:
            raise DatasetError(f"{file} is missing or was cut short; prepare the set again")
    return Dataset(folder, manifest)


def verify(dataset: Dataset) -> None:
    """Compare every file with its checksum; DatasetError if they differ."""
    shards = [(shard.file, shard.sha256) for shard in dataset.manifest.shards]
    tables = [(table.file, table.sha256) for table in dataset.manifest.tables]
    for name, sha256 in (*shards, *tables):
        path = dataset.folder / name
        if not path.is_file() or file_sha256(path) != sha256:
            raise DatasetError(f"{path} is missing or has a wrong checksum; prepare the set again")


def rows(dataset: Dataset) -> list[Row]:
    """The row of each example, in the order of the shards.

    Raises:
        DatasetError: examples.csv is missing or damaged.
    """
    path = dataset.folder / EXAMPLES
    if dataset.manifest.schema != SCHEMA:
        return [row for split in dataset.manifest.splits for row in _rows_of_records(dataset, split)]
    try:
        return read_rows(path.read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read ({error}); prepare the set again") from None


def _rows_of_records(dataset: Dataset, split: str) -> Iterator[Row]:
    classes = dataset.classes
    for example in read_examples(dataset, split):
        yield row_of(example, by_index(example.label, classes), classes, split=split, shard="")


@contextmanager
def new_set(folder: Path) -> Iterator[Path]:
    """A folder to write a set into; at the end of the block it becomes `folder`, or is removed if the block fails.

    Raises:
        OutputError: the folder exists or cannot be written.
    """
    if folder.exists():
        raise OutputError(f"{folder} exists already; name a new folder or remove it first")
    try:
        with new_folder(folder, replace=False) as work:
            yield work
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from None


def write_dataset(
    splits: Mapping[str, Iterable[Example]],
    folder: Path,
    *,
    framing: Framing,
    classes: Classes = CAVITY_ONLY,
    folds: int = 3,
    seed: int = 0,
) -> Dataset:
    """Write a set of given examples, atomically; `cinesax.train.data.prepare` makes a set from sources, in parallel.

    Args:
        splits: the examples of each split; a case may be in one split only.
        folder: the set's folder; it must not exist yet.
        framing: how the examples were framed.
        classes: the classes of its labels.
        folds: number of folds that the cases of each split are dealt into (phantoms have no fold: they always train).
        seed: seed of the dealing.

    Raises:
        OutputError: the folder exists or cannot be written.
        DatasetError: there are no examples, a name occurs twice, or a case is in two splits.
    """
    with new_set(folder) as work:
        shards = [
            write_shard(chunk, work / f"{split}-{number:05d}.tfrecord", split=split, classes=classes)
            for split, examples in splits.items()
            for number, chunk in enumerate(_chunks(examples))
        ]
        manifest = describe(shards, framing=framing, classes=classes, folds=folds, seed=seed)
        manifest = write_tables(work, manifest, shards)
    return Dataset(folder, manifest)


def write_tables(work: Path, manifest: Manifest, shards: Iterable[Shard], *, unused: Iterable[Unused] = ()) -> Manifest:
    """Write examples.csv, unused.csv and dataset.json into the folder of a new set; returns what dataset.json says."""
    listed = list(unused)
    write_rows((row for shard in shards for row in shard.rows), work / EXAMPLES)
    write_unused(listed, work / UNUSED)
    tables = tuple(TableFacts(name, file_sha256(work / name)) for name in (EXAMPLES, UNUSED))
    manifest = msgspec.structs.replace(manifest, unused=by_reason(listed), tables=tables)
    (work / MANIFEST).write_text(text_of(manifest), encoding="utf-8")
    return manifest


def _chunks(examples: Iterable[Example]) -> Iterator[list[Example]]:
    chunk: list[Example] = []
    for example in examples:
        chunk.append(example)
        if len(chunk) == _SHARD_EXAMPLES:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def write_shard(examples: Iterable[Example], path: Path, *, split: str, classes: Classes) -> Shard:
    """Write one shard, under a temporary name until it is complete.

    Raises:
        OSError: it cannot be written.
    """
    listed: list[Row] = []
    with replacing(path) as temporary:
        with system_errors(), tf.io.TFRecordWriter(str(temporary)) as writer:
            for example in examples:
                writer.write(serialise(example, classes))
                label = by_index(example.label, classes)
                listed.append(row_of(example, label, classes, split=split, shard=path.name))
        size, digest = temporary.stat().st_size, file_sha256(temporary)
    return Shard(path.name, split, size, digest, tuple(listed))


def read_examples(dataset: Dataset, split: str, cases: Iterable[str] | None = None) -> Iterator[Example]:
    """The examples of a split as they were written, in order; with `cases`, only theirs.

    Raises:
        DatasetError: a shard holds something other than records of this set.
    """
    wanted = None if cases is None else set(cases)
    classes = dataset.classes
    table = np.full(256, UNKNOWN, np.uint8)
    table[: len(classes) + 1] = [0, *classes]
    try:
        for record in tf.data.TFRecordDataset([str(path) for path in dataset.shards(split)]):
            fields = {name: value.numpy() for name, value in parse(record).items()}
            if wanted is None or fields["case"].decode() in wanted:
                yield _example(fields, table, classes)
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        raise DatasetError(f"{dataset.folder}: a record of {split} is damaged ({str(error)[:80]})") from None


def _example(fields: dict[str, Any], table: NDArray[np.uint8], classes: Classes) -> Example:
    spacing = fields["spacing_mm"]
    return Example(
        name=fields["name"].decode(),
        case=fields["case"].decode(),
        kind=Kind(fields["kind"].decode()),
        image=np.round(fields["image"][..., 0] * 65535).astype(np.uint16),
        label=table[fields["label"]],
        slice=int(fields["slice"]),
        phase=int(fields["phase"]),
        spacing_mm=None if np.isnan(spacing).any() else (float(spacing[0]), float(spacing[1])),
        known=frozenset(structure for bit, structure in enumerate(classes, 1) if int(fields["known"]) >> bit & 1),
    )
