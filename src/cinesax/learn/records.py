"""Records: a training set as TFRecord shards. The one place that knows their fields, writing and reading.

A set is a folder: `dataset.json` (what is in it) and `SPLIT-NNNNN.tfrecord` shards. It is made under a temporary
name and renamed when it is complete, so a set that exists is whole.
"""

import hashlib
import io
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from cinesax.errors import DatasetError, OutputError
from cinesax.framing import Framing
from cinesax.learn.examples import Example, Kind

SCHEMA = "cinesax/dataset/1"
MANIFEST = "dataset.json"
CLASSES = ("background", "lv_cavity")
_SHARD_EXAMPLES = 256

FEATURES = {
    "name": tf.io.FixedLenFeature([], tf.string),
    "case": tf.io.FixedLenFeature([], tf.string),
    "kind": tf.io.FixedLenFeature([], tf.string),
    "image_png": tf.io.FixedLenFeature([], tf.string),  # 16 bit grey, lossless
    "label_png": tf.io.FixedLenFeature([], tf.string),  # 8 bit, values are sparse classes
    "slice": tf.io.FixedLenFeature([], tf.int64),
    "phase": tf.io.FixedLenFeature([], tf.int64),
    "spacing_mm": tf.io.FixedLenFeature([2], tf.float32),  # NaN where it is not known
}


def _png(array: np.ndarray[Any, Any]) -> bytes:
    with io.BytesIO() as stream:
        Image.fromarray(array).save(stream, format="PNG")
        return stream.getvalue()


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def serialise(example: Example) -> bytes:
    """One Example as the bytes of a TFRecord."""
    spacing = example.spacing_mm or (float("nan"), float("nan"))
    feature = {
        "name": _bytes(example.name.encode()),
        "case": _bytes(example.case.encode()),
        "kind": _bytes(example.kind.encode()),
        "image_png": _bytes(_png(example.image)),
        "label_png": _bytes(_png(example.label)),
        "slice": tf.train.Feature(int64_list=tf.train.Int64List(value=[example.slice])),
        "phase": tf.train.Feature(int64_list=tf.train.Int64List(value=[example.phase])),
        "spacing_mm": tf.train.Feature(float_list=tf.train.FloatList(value=spacing)),
    }
    return bytes(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString(deterministic=True))


def parse(record: tf.Tensor) -> dict[str, tf.Tensor]:
    """The fields of a serialised record; runs inside tf.data.

    Returns:
        The fields of FEATURES, with "image" (size, size, 1) float32 from 0 to 1 and "label" (size, size) uint8
        in place of the PNG bytes.
    """
    fields = tf.io.parse_single_example(record, FEATURES)
    image = tf.io.decode_png(fields.pop("image_png"), channels=1, dtype=tf.uint16)
    label = tf.io.decode_png(fields.pop("label_png"), channels=1)
    fields["image"] = tf.cast(image, tf.float32) / 65535.0
    fields["label"] = label[..., 0]
    return dict(fields)


@dataclass(frozen=True)
class Dataset:
    """A prepared set, as its `dataset.json` tells.

    Attributes:
        folder: where it lies.
        manifest: the parsed dataset.json.
    """

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def framing(self) -> Framing:
        """How its images were framed."""
        return Framing.from_dict(self.manifest["framing"])

    @property
    def digest(self) -> str:
        """SHA-256 over the checksums of its shards: the same data have the same digest."""
        return str(self.manifest["digest"])

    def cases(self, split: str, *, fold: int | None = None, held_out: bool = False) -> list[str]:
        """Cases of a split; with `fold`, those outside of the fold, or (`held_out`) those in it."""
        members = self.manifest["splits"].get(split)
        if members is None:
            raise DatasetError(f"{self.folder} has no split {split!r}; it has {sorted(self.manifest['splits'])}")
        if fold is None:
            return list(members)
        if not 0 <= fold < int(self.manifest["folds"]):
            raise DatasetError(f"there is no fold {fold}: {self.folder} has folds 0 to {self.manifest['folds'] - 1}")
        facts = self.manifest["cases"]
        return [case for case in members if (facts[case]["fold"] == fold) == held_out]

    def shards(self, split: str) -> list[Path]:
        """The shard files of a split."""
        return [self.folder / shard["file"] for shard in self.manifest["shards"] if shard["split"] == split]


def open_dataset(folder: Path) -> Dataset:
    """Open a prepared set; shards are checked for presence and size here, for content by `verify`.

    Raises:
        DatasetError: no set, another schema version, missing or cut shards.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DatasetError(
            f"{folder} is no prepared set: it has no {MANIFEST}; make one with `cinesax prepare`"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise DatasetError(f"{path} cannot be read ({error}); prepare the set again") from None
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise DatasetError(f"{path} is not of schema {SCHEMA}; prepare the set again with this version")
    for shard in manifest["shards"]:
        file = folder / shard["file"]
        if not file.is_file() or file.stat().st_size != shard["bytes"]:
            raise DatasetError(f"{file} is missing or was cut short; prepare the set again")
    return Dataset(folder, manifest)


def verify(dataset: Dataset) -> None:
    """Compare every shard with its checksum; a difference is a DatasetError."""
    for shard in dataset.manifest["shards"]:
        seen = hashlib.sha256((dataset.folder / shard["file"]).read_bytes()).hexdigest()
        if seen != shard["sha256"]:
            raise DatasetError(f"{dataset.folder / shard['file']} has a wrong checksum; prepare the set again")


def write_dataset(
    splits: Mapping[str, Iterable[Example]], folder: Path, *, framing: Framing, folds: int = 3, seed: int = 0
) -> Dataset:
    """Write a set, atomically.

    Args:
        splits: the examples of each split; a case may be in one split only.
        folder: the set's folder; it must not exist yet.
        framing: how the examples were framed.
        folds: how many folds the cases of each split are dealt into (phantoms: none, they always train).
        seed: of the dealing.

    Raises:
        OutputError: the folder exists or cannot be written.
        DatasetError: no examples, or a case in two splits.
    """
    if folder.exists():
        raise OutputError(f"{folder} exists already; name a new folder or remove it first")
    work = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        work.mkdir(parents=True)
        manifest = _write(splits, work, framing=framing, folds=folds, seed=seed)
        (work / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        work.rename(folder)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Dataset(folder, manifest)


def _write(
    splits: Mapping[str, Iterable[Example]], work: Path, *, framing: Framing, folds: int, seed: int
) -> dict[str, Any]:
    shards: list[dict[str, Any]] = []
    facts: dict[str, dict[str, Any]] = {}
    members: dict[str, list[str]] = {}
    pixels: Counter[int] = Counter()
    for split, examples in splits.items():
        counts: Counter[str] = Counter()
        for shard, chunk in enumerate(_chunks(examples)):
            shards.append(_write_shard(chunk, work / f"{split}-{shard:05d}.tfrecord", split))
            for example in chunk:
                counts[example.case] += 1
                _note(facts, example, split)
                pixels.update(dict(enumerate(np.bincount(example.label.ravel(), minlength=len(CLASSES)).tolist())))
        members[split] = sorted(counts)
    if not shards:
        raise DatasetError("there is not one example in the sources")
    for split in members:
        _deal(facts, members[split], folds, seed)
    digest = hashlib.sha256("".join(shard["sha256"] for shard in shards).encode()).hexdigest()
    return {
        "schema": SCHEMA,
        "digest": digest,
        "classes": list(CLASSES),
        "framing": framing.to_dict(),
        "framing_digest": framing.digest,
        "folds": folds,
        "counts": {split: sum(facts[case]["n"] for case in cases) for split, cases in members.items()},
        "class_pixels": {name: pixels[value] for value, name in enumerate(CLASSES)},
        "splits": members,
        "cases": facts,
        "shards": shards,
    }


def _note(facts: dict[str, dict[str, Any]], example: Example, split: str) -> None:
    fact = facts.setdefault(
        example.case, {"split": split, "kind": str(example.kind), "n": 0, "n_empty": 0, "fold": None}
    )
    if fact["split"] != split:
        raise DatasetError(f"case {example.case} is in split {fact['split']} and in {split}: split by patient")
    fact["n"] += 1
    fact["n_empty"] += int(not example.label.any())
    if example.kind is Kind.STUDY:
        fact["kind"] = str(Kind.STUDY)


def _chunks(examples: Iterable[Example]) -> Iterator[list[Example]]:
    chunk: list[Example] = []
    for example in examples:
        chunk.append(example)
        if len(chunk) == _SHARD_EXAMPLES:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _write_shard(examples: list[Example], path: Path, split: str) -> dict[str, Any]:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for example in examples:
            writer.write(serialise(example))
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return {"file": path.name, "split": split, "n": len(examples), "bytes": len(content), "sha256": digest}


def _deal(facts: dict[str, dict[str, Any]], cases: list[str], folds: int, seed: int) -> None:
    # Kind by kind, so that every fold holds its share of whole studies (with their empty slices).
    rng = np.random.default_rng(seed)
    turn = 0
    for kind in (Kind.STUDY, Kind.PAIRS):
        group = sorted(case for case in cases if facts[case]["kind"] == kind)
        for case in rng.permutation(group):
            facts[str(case)]["fold"] = turn % folds
            turn += 1


def read_examples(dataset: Dataset, split: str, cases: Iterable[str] | None = None) -> Iterator[Example]:
    """The examples of a split as they were written, in order; with `cases`, only theirs."""
    wanted = None if cases is None else set(cases)
    for record in tf.data.TFRecordDataset([str(path) for path in dataset.shards(split)]):
        fields = {name: value.numpy() for name, value in parse(record).items()}
        case = fields["case"].decode()
        if wanted is not None and case not in wanted:
            continue
        spacing = fields["spacing_mm"]
        yield Example(
            name=fields["name"].decode(),
            case=case,
            kind=Kind(fields["kind"].decode()),
            image=np.round(fields["image"][..., 0] * 65535).astype(np.uint16),
            label=fields["label"],
            slice=int(fields["slice"]),
            phase=int(fields["phase"]),
            spacing_mm=None if np.isnan(spacing).any() else (float(spacing[0]), float(spacing[1])),
        )
