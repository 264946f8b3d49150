"""Named splits of a prepared set, example by example: training and held-out examples.

A fair estimate needs splits by patient. Splits by slice, as in the original course, put neighbouring slices of one
heart on both sides. Both kinds are lists of example names, because a split by slice divides patients: a pipeline
selects records by "name" (`ExampleSplit.train` or `.held_out`), not by "case".
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cinesax.core.errors import DatasetError, counted
from cinesax.train.data.examples import Kind
from cinesax.train.data.manifest import Row
from cinesax.train.data.records import Dataset, rows

COURSE = "course-234-26"
COURSE_SLICES, COURSE_HELD_OUT = 260, 26
NAMES = (COURSE, "slices-N", "patients-N", "fold-K")
_NAME = re.compile(r"(slices|patients|fold)-(\d+)")


@dataclass(frozen=True, slots=True)
class ExampleSplit:
    """The training and the held-out examples of a set's split "train".

    Attributes:
        name: name of the split.
        train: names of the training examples, sorted.
        held_out: names of the held-out examples, sorted.
        shared_cases: patients with examples on both sides; empty for a split by patient.
        seed: seed of the draw.
    """

    name: str
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    shared_cases: tuple[str, ...]
    seed: int = 0


def is_name(name: str) -> bool:
    """Whether this is the name of a split (a set may still have too few examples for it)."""
    return name == COURSE or _NAME.fullmatch(name) is not None


def split_examples(dataset: Dataset, name: str, *, seed: int = 0) -> ExampleSplit:
    """The named split of the examples of "train".

    | name | held out | trains |
    | --- | --- | --- |
    | `course-234-26` | 26 of the 260 labelled slices of Sunnybrook's `train`, drawn without regard to patients, as the original course did | the other 234 |
    | `slices-N` | N labelled slices, drawn likewise, of any set | the others |
    | `patients-N` | N labelled slices, of as few whole patients as it takes | slices of the other patients |
    | `fold-K` | every example of the patients of fold K | every other example, phantoms too |

    The first three leave out phantoms and frames without LV, so that slices are counted as in the course. `patients-N`
    takes patients whose slices add up to exactly N if possible. Otherwise some slices of the last patient are left out
    of both sides, and there are fewer training slices than in `slices-N`; `equal_numbers` makes both trainings equally
    large. The course's own draw is not public: `seed` makes a similar one.

    Args:
        dataset: a prepared set.
        name: one of these.
        seed: seed of the draw; folds do not depend on it.

    Raises:
        DatasetError: the name or the fold does not exist, the set does not have the 260 labelled slices of the course's
            split, or N is larger than the number of slices.
    """  # noqa: E501 - a table
    listed = [row for row in rows(dataset) if row.split == "train"]
    labelled = [row for row in listed if row.kind is not Kind.PHANTOM and row.has_lv]
    if name == COURSE:
        if len(labelled) != COURSE_SLICES:
            raise DatasetError(
                f"{name} needs the {COURSE_SLICES} labelled slices of the course, {dataset.folder} has "
                f"{len(labelled)}: use slices-{COURSE_HELD_OUT}"
            )
        return replace(_by_slice(name, labelled, COURSE_HELD_OUT, seed), seed=seed)
    match = _NAME.fullmatch(name)
    if match is None:
        raise DatasetError(f"there is no split {name!r}: expected one of {', '.join(NAMES)}")
    kind, number = match[1], int(match[2])
    if kind == "fold":
        held = set(dataset.cases("train", fold=number, held_out=True))
        return _split(name, listed, {row.name for row in listed if row.case in held})
    if not 0 < number < len(labelled):
        there = f"{len(labelled)} labelled slices of patients in {dataset.folder}"
        what = f"give {kind}-1 to {kind}-{len(labelled) - 1}" if len(labelled) > 1 else "they must be 2 or more"
        raise DatasetError(f"{name} cannot be drawn from {there} (phantoms do not count): {what}")
    split = (_by_slice if kind == "slices" else _by_patient)(name, labelled, number, seed)
    return replace(split, seed=seed)


def cases_of(dataset: Dataset, split: ExampleSplit) -> tuple[list[str], list[str]]:
    """The patients of the held-out and of the training examples; in a split by slice some are in both.

    Raises:
        DatasetError: the split has examples that are not in the set's "train", has an empty side, or has an example on
            both sides.
    """
    cases = {row.name: row.case for row in rows(dataset) if row.split == "train"}
    strange = [name for name in (*split.train, *split.held_out) if name not in cases]
    if strange:
        raise DatasetError(f"{split.name} belongs to another set: {dataset.folder} has no example {strange[0]}")
    twice = sorted(set(split.train) & set(split.held_out))
    if twice or not (split.train and split.held_out):
        what = f"has {twice[0]} on both sides" if twice else "leaves nothing to train or to validate on"
        raise DatasetError(f"the split {split.name} {what}")
    held, train = (sorted({cases[name] for name in side}) for side in (split.held_out, split.train))
    return held, train


def equal_numbers(
    dataset: Dataset, first: ExampleSplit, second: ExampleSplit, *, seed: int = 0
) -> tuple[ExampleSplit, ExampleSplit]:
    """Both splits of a set, randomly thinned to the training and held-out numbers of the smaller one."""
    cases = {row.name: row.case for row in rows(dataset)}
    rng = np.random.default_rng(seed)
    sizes = min(len(first.train), len(second.train)), min(len(first.held_out), len(second.held_out))

    def thin(names: Sequence[str], size: int) -> tuple[str, ...]:
        return tuple(sorted(rng.permutation(np.array(names))[:size].tolist()))

    def thinned(split: ExampleSplit) -> ExampleSplit:
        parts = thin(split.train, sizes[0]), thin(split.held_out, sizes[1])
        return replace(split, train=parts[0], held_out=parts[1], shared_cases=_shared(cases, *parts))

    return thinned(first), thinned(second)


def _split(name: str, listed: Sequence[Row], held_out: set[str]) -> ExampleSplit:
    train = [row for row in listed if row.name not in held_out]
    held = [row for row in listed if row.name in held_out]
    names = [tuple(sorted(row.name for row in part)) for part in (train, held)]
    return ExampleSplit(name, names[0], names[1], _shared({row.name: row.case for row in listed}, *names))


def _shared(cases: Mapping[str, str], train: Iterable[str], held_out: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({cases[name] for name in train} & {cases[name] for name in held_out}))


def _by_slice(name: str, labelled: Sequence[Row], count: int, seed: int) -> ExampleSplit:
    names = np.array(sorted(row.name for row in labelled))
    drawn = np.random.default_rng(seed).permutation(names)[:count]
    return _split(name, labelled, set(drawn.tolist()))


def _by_patient(name: str, labelled: Sequence[Row], count: int, seed: int) -> ExampleSplit:
    slices: dict[str, list[str]] = defaultdict(list)
    for row in labelled:
        slices[row.case].append(row.name)
    rng = np.random.default_rng(seed)
    order = [str(case) for case in rng.permutation(np.array(sorted(slices)))]
    cases = _adding_up({case: len(slices[case]) for case in order}, count)
    held = [name for case in cases for name in sorted(slices[case])]
    if not len(held) < len(labelled):
        raise DatasetError(
            f"{name} leaves no patient to train on: there are {counted(len(slices), 'patient')} with "
            f"{counted(len(labelled), 'labelled slice')}; give a smaller number, or hold out slices with slices-{count}"
        )
    dropped = set(rng.permutation(np.array(held))[count:].tolist())
    return _split(name, [row for row in labelled if row.name not in dropped], set(held) - dropped)


def _adding_up(sizes: Mapping[str, int], count: int) -> list[str]:
    """Cases whose sizes add up to `count`, or to as little above it as possible; earlier cases are preferred."""
    reached: dict[int, list[str]] = {0: []}
    for case, size in sizes.items():
        for total, cases in sorted(reached.items()):
            if total < count and total + size not in reached:
                reached[total + size] = [*cases, case]
    return reached[min(total for total in reached if total >= count)]
