"""The manifest of a prepared set: `dataset.json`, and `examples.csv` with one line per example; no TensorFlow."""

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from cinesax.core.errors import DatasetError
from cinesax.core.structures import LV, Structure, of_class_name
from cinesax.network.framing import Framing
from cinesax.train.data.examples import UNKNOWN, Example, Kind

SCHEMA = "cinesax/dataset/2"
READABLE = ("cinesax/dataset/1", SCHEMA)
MANIFEST, EXAMPLES, UNUSED = "dataset.json", "examples.csv", "unused.csv"
Classes = tuple[Structure, ...]
"""The classes of a set's labels, in the order of the table of structures, without the background, which comes first."""
CAVITY_ONLY: Classes = (Structure.CAVITY,)
_BACKGROUND = "background"
_UNKNOWN_NAME = "unknown"
_FIELDS = (
    "name",
    "case",
    "kind",
    "split",
    "shard",
    "slice",
    "phase",
    "row_spacing_mm",
    "column_spacing_mm",
    "known",
    "pixels",
    "image_sha256",
)


def names_of(classes: Classes) -> tuple[str, ...]:
    """Class names as used in dataset.json, in records and for a network's channels; the background comes first."""
    return (_BACKGROUND, *(structure.facts.class_name for structure in classes))


def parse_classes(names: Iterable[str]) -> Classes:
    """Classes by their names, in the order of the table; "background" may be among the names.

    Raises:
        DatasetError: a name is not a class.
    """
    known = {structure.facts.class_name: structure for structure in Structure}
    wanted = set(names) - {_BACKGROUND}
    unknown = sorted(wanted - set(known))
    if unknown:
        raise DatasetError(f"no class {', '.join(unknown)}: expected some of {', '.join(known)}")
    return tuple(structure for name, structure in known.items() if name in wanted)


@dataclass(frozen=True, slots=True)
class Row:
    """One example in `examples.csv`.

    Attributes:
        name: name of the example, unique in its set.
        case: the patient.
        kind: kind of source.
        split: of the set.
        shard: the file that holds its record.
        slice: index of the slice, or -1.
        phase: index of the phase, or -1.
        spacing_mm: (row, column) spacing of the framed pixels, or None.
        known: the labelled classes of the set, without the background.
        pixels: name of a class of the set, or "unknown" -> its number of pixels.
        image_sha256: SHA-256 of the framed image: its uint16 pixels, little endian, row by row.
    """

    name: str
    case: str
    kind: Kind
    split: str
    shard: str
    slice: int
    phase: int
    spacing_mm: tuple[float, float] | None
    known: frozenset[Structure]
    pixels: Mapping[str, int]
    image_sha256: str

    @property
    def has_lv(self) -> bool:
        """Whether any pixel is labelled as LV; in sets without LV classes, as any class."""
        of_lv = [structure.facts.class_name for structure in Structure if structure.facts.chamber == LV]
        counted = [name for name in of_lv if name in self.pixels] or list(self.pixels)[1:-1]
        return sum(self.pixels[name] for name in counted) > 0

    @property
    def is_partial(self) -> bool:
        """Whether a class of the set was not labelled, or a pixel is unknown."""
        return len(self.known) < len(self.pixels) - 2 or self.pixels[_UNKNOWN_NAME] > 0


def row_of(example: Example, indexed: np.ndarray[Any, Any], classes: Classes, *, split: str, shard: str) -> Row:
    """The row of an example; `indexed` is its label as indices of the set's classes."""
    counts = np.bincount(indexed.ravel(), minlength=UNKNOWN + 1)
    return Row(
        example.name,
        example.case,
        example.kind,
        split,
        shard,
        example.slice,
        example.phase,
        example.spacing_mm,
        example.known & frozenset(classes),
        {**{name: int(counts[i]) for i, name in enumerate(names_of(classes))}, _UNKNOWN_NAME: int(counts[UNKNOWN])},
        hashlib.sha256(example.image.astype("<u2").tobytes()).hexdigest(),
    )


@dataclass(frozen=True, slots=True)
class Shard:
    """One written shard.

    Attributes:
        file: its name in the set's folder.
        split: of the set.
        size_bytes: size of the file.
        sha256: SHA-256 of the file.
        rows: its examples, in order.
    """

    file: str
    split: str
    size_bytes: int
    sha256: str
    rows: tuple[Row, ...]


class CaseFacts(msgspec.Struct, frozen=True):
    """One patient (or phantom) in dataset.json.

    Attributes:
        split: of the set.
        kind: kind of source of its examples.
        n: number of examples.
        n_empty: number of examples without LV.
        n_partial: number of examples with a class that was not labelled, or an unknown pixel.
        fold: the fold that holds it out; None: it is never held out (phantoms).
    """

    split: str
    kind: Kind
    n: int
    n_empty: int = 0
    n_partial: int = 0
    fold: int | None = None


class ShardFacts(msgspec.Struct, frozen=True):
    """One shard in dataset.json: its name, split, number of examples, size and checksum."""

    file: str
    split: str
    n: int
    bytes: int
    sha256: str


class TableFacts(msgspec.Struct, frozen=True):
    """One table in dataset.json: its name and checksum."""

    file: str
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The content of dataset.json. Fields with a default are missing in sets of the first schema.

    Attributes:
        schema: schema of the set.
        digest: SHA-256 of the checksums of the shards.
        classes: names, the background first; a label value is an index of them.
        framing: how the images were framed.
        framing_digest: digest of the framing.
        folds: number of folds into which the patients of each split were divided.
        seed: seed of the dealing.
        counts: split -> number of examples.
        class_pixels: class -> number of its pixels.
        unknown_pixels: number of unlabelled pixels.
        splits: split -> patients, sorted.
        cases: patient -> facts.
        shards: the files.
        unused: reason -> number of source files without examples.
        tables: examples.csv and unused.csv.
        walls_drawn_by: the network that drew the wall where experts drew only the cavity (see
            `cinesax.train.fit.self_training`); None: every wall is an expert's.
    """

    schema: str
    digest: str
    classes: tuple[str, ...]
    framing: Framing
    framing_digest: str
    folds: int
    seed: int = 0
    counts: Mapping[str, int] = {}
    class_pixels: Mapping[str, int] = {}
    unknown_pixels: int = 0
    splits: Mapping[str, tuple[str, ...]]
    cases: Mapping[str, CaseFacts]
    shards: tuple[ShardFacts, ...]
    unused: Mapping[str, int] = {}
    tables: tuple[TableFacts, ...] = ()
    walls_drawn_by: str | None = None


def describe(shards: Sequence[Shard], *, framing: Framing, classes: Classes, folds: int, seed: int) -> Manifest:
    """The manifest for these shards; the tables are added when they are written.

    Raises:
        DatasetError: there is no example, a name occurs twice, or a case is in two splits.
    """
    if not any(shard.rows for shard in shards):
        raise DatasetError("there are no examples in the sources")
    facts = _facts(row for shard in shards for row in shard.rows)
    members = {split: sorted(case for case in facts if facts[case].split == split) for split in _splits(shards)}
    for cases in members.values():
        facts |= _dealt({case: facts[case] for case in cases}, folds, seed)
    pixels: Counter[str] = Counter()
    for row in (row for shard in shards for row in shard.rows):
        pixels.update(row.pixels)
    return Manifest(
        schema=SCHEMA,
        digest=hashlib.sha256("".join(shard.sha256 for shard in shards).encode()).hexdigest(),
        classes=names_of(classes),
        framing=framing,
        framing_digest=framing.digest,
        folds=folds,
        seed=seed,
        counts={split: sum(facts[case].n for case in cases) for split, cases in members.items()},
        class_pixels={name: pixels[name] for name in names_of(classes)},
        unknown_pixels=pixels[_UNKNOWN_NAME],
        splits={split: tuple(cases) for split, cases in members.items()},
        cases=facts,
        shards=tuple(
            ShardFacts(shard.file, shard.split, len(shard.rows), shard.size_bytes, shard.sha256) for shard in shards
        ),
    )


def _splits(shards: Sequence[Shard]) -> list[str]:
    return list(dict.fromkeys(shard.split for shard in shards))


def _facts(rows: Iterable[Row]) -> dict[str, CaseFacts]:
    facts: dict[str, CaseFacts] = {}
    names: set[str] = set()
    for row in rows:
        if row.name in names:
            raise DatasetError(f"{row.name} appears twice as {row.kind}: name each source once")
        names.add(row.name)
        before = facts.get(row.case, CaseFacts(row.split, row.kind, 0))
        if before.split != row.split:
            raise DatasetError(f"case {row.case} is in split {before.split} and in {row.split}: split by patient")
        facts[row.case] = CaseFacts(
            row.split,
            # For a patient with pairs and a study, the study counts: it also has slices without LV.
            Kind.STUDY if row.kind is Kind.STUDY else before.kind,
            before.n + 1,
            before.n_empty + int(not row.has_lv),
            before.n_partial + int(row.is_partial),
        )
    return facts


def _dealt(facts: Mapping[str, CaseFacts], folds: int, seed: int) -> dict[str, CaseFacts]:
    """The patients of one split with their folds."""
    # Dealt kind by kind, so that every fold gets its share of whole studies (with their empty slices).
    rng = np.random.default_rng(seed)
    dealt: dict[str, CaseFacts] = {}
    for kind in (Kind.STUDY, Kind.PAIRS, Kind.ACDC, Kind.CHLA, Kind.LABEL_MAP):
        group = sorted(case for case in facts if facts[case].kind is kind)
        for case in rng.permutation(group):
            dealt[str(case)] = msgspec.structs.replace(facts[str(case)], fold=len(dealt) % folds)
    return dealt


def write_rows(rows: Iterable[Row], path: Path) -> None:
    """Write examples.csv; `pixels` is written as `background:65000 lv_cavity:536 unknown:0`."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_FIELDS)
        for row in rows:
            spacing = row.spacing_mm or ("", "")
            known = " ".join(structure.facts.class_name for structure in sorted(row.known))
            pixels = " ".join(f"{name}:{count}" for name, count in row.pixels.items())
            place = (row.name, row.case, row.kind, row.split, row.shard, row.slice, row.phase)
            writer.writerow([*place, *spacing, known, pixels, row.image_sha256])


def read_rows(content: str, path: Path) -> list[Row]:
    """The rows of an examples.csv.

    Raises:
        DatasetError: the file is not such a table.
    """
    rows = []
    try:
        for line in csv.DictReader(io.StringIO(content), strict=True):
            steps = line["row_spacing_mm"], line["column_spacing_mm"]
            rows.append(
                Row(
                    line["name"],
                    line["case"],
                    Kind(line["kind"]),
                    line["split"],
                    line["shard"],
                    int(line["slice"]),
                    int(line["phase"]),
                    (float(steps[0]), float(steps[1])) if steps[0] else None,
                    frozenset(of_class_name(name) for name in line["known"].split()),
                    {name: int(count) for name, count in (part.split(":") for part in line["pixels"].split())},
                    line["image_sha256"],
                )
            )
    except (KeyError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise DatasetError(f"{path} is damaged ({error}); prepare the set again") from None
    return rows


@dataclass(frozen=True, slots=True, order=True)
class Unused:
    """A source file without examples.

    Attributes:
        file: its path, starting with the name of the source folder: "dicom/SC-HF-I-01/1.dcm".
        reason: the reason, for a person; always the same words for the same reason.
    """

    file: str
    reason: str


def write_unused(unused: Iterable[Unused], path: Path) -> None:
    """Write unused.csv: file, reason."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("file", "reason"))
        writer.writerows((leftover.file, leftover.reason) for leftover in unused)


def by_reason(unused: Iterable[Unused]) -> Mapping[str, int]:
    """The number of files for each reason, the most frequent first."""
    return dict(Counter(leftover.reason for leftover in unused).most_common())
