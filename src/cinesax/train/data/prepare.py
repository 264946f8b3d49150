"""From sources to a set: several processes write shards, leaks are checked, and the complete set appears at once.

The content of a shard depends on the sources only, not on which process writes it or when: any number of processes
gives the same files, byte for byte.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cinesax.core.errors import DatasetError, UsageError, counted
from cinesax.network.framing import Framing
from cinesax.train.data.examples import Example, Kind
from cinesax.train.data.leaks import Leak, Seen, find_leaks, fine_structure
from cinesax.train.data.manifest import CAVITY_ONLY, Classes, Manifest, Row, Shard, Unused, by_reason, describe
from cinesax.train.data.records import Dataset, new_set, write_shard, write_tables
from cinesax.train.data.sources import (
    AcdcSource,
    ApprovedSource,
    ChlaSource,
    LabelMapSource,
    PairsSource,
    PhantomSource,
    Source,
    StudySource,
    produce,
)
from cinesax.train.data.studies import Leftover
from cinesax.train.data.workers import in_parallel

Progress = Callable[[int, int], None]

FOLDS = 3

# Starting a process loads TensorFlow and takes seconds of a core, so it must save more than that.
_WORTH_A_PROCESS_SECONDS = 10.0


def _seconds(source: Source) -> float:
    """Rough time for a source on one core of a desktop computer."""
    match source:
        case PhantomSource():
            return 0.05 * len(source.seeds) * source.frames_each
        case PairsSource():
            return 0.01 * len(source.pairs)
        case StudySource():
            return 0.004 * len(source.files) + 0.5
        case AcdcSource() | ApprovedSource() | ChlaSource() | LabelMapSource():
            return 0.5


@dataclass(frozen=True, slots=True)
class _Job:
    source: Source
    path: Path
    split: str
    framing: Framing
    classes: Classes
    without: frozenset[str]


@dataclass(frozen=True, eq=False, slots=True)
class _Done:
    """A shard (None if its source gave no example), and the fine structure of its images for the leak check."""

    shard: Shard | None
    unused: list[Leftover]
    fine: NDArray[np.float16]
    left_out: frozenset[str]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A new set, with its unused files and leaks.

    Attributes:
        dataset: the set.
        unused: every source file without examples, with the reason.
        leaks: patients or images on both sides of two splits or folds, if leaks were allowed.
    """

    dataset: Dataset
    unused: tuple[Unused, ...]
    leaks: tuple[Leak, ...]


def prepare(
    splits: Mapping[str, Sequence[Source]],
    folder: Path,
    *,
    framing: Framing,
    classes: Classes = CAVITY_ONLY,
    folds: int | None = None,
    seed: int = 0,
    workers: int = 1,
    unused: Callable[[Iterable[Leftover]], Iterable[Unused]] | None = None,
    without: Iterable[str] = (),
    allow_leaks: bool = False,
    progress: Progress | None = None,
) -> Prepared:
    """Make a set from sources, atomically.

    If a frame exists as DICOM and, under the same name, as a picture, the DICOM is used.

    Args:
        splits: the sources of each split; a case may be in one split only.
        folder: the set's folder; it must not exist yet.
        framing: how the network sees the frames.
        classes: the classes of the set.
        folds: number of folds that the cases of each split are dealt into (phantoms have no fold: they always train);
            None: 3, or as many as there are training patients, if there are fewer.
        seed: seed of the dealing.
        workers: largest number of processes; small work uses fewer.
        unused: maps the files without examples to all files that the set should list.
        without: cases to leave out (for example because of wrong labels); their examples are listed as unused.
        allow_leaks: make the set even if patients or near-identical images lie on both sides.
        progress: called with the number of finished shards and their total.

    Raises:
        OutputError: the folder exists or cannot be written.
        DatasetError: a split has no examples, a name occurs twice, a case is in two splits, there is a leak (the
            message names the pair), or no source has a case to leave out.
        UsageError: there are fewer training patients than folds. If names alone show it, nothing is read first.
        InputError: pictures cannot be read.
    """
    _number_of_folds(folds, _most_patients(splits.get("train", ()), frozenset(without)))
    with new_set(folder) as work:
        run = _Run(work, framing, classes, frozenset(without), workers, progress, sum(map(len, splits.values())))
        # Studies come first: their frames are known only after reading, and they win over pictures of the same name.
        studies = {
            split: [source for source in sources if isinstance(source, StudySource)]
            for split, sources in splits.items()
        }
        done = run.through(studies, first=0)
        taken = {row.name for result in done for row in (result.shard.rows if result.shard else ())}
        twins: list[Leftover] = []
        others = {split: list(_others(sources, taken, twins)) for split, sources in splits.items()}
        done += run.through(others, first=max(map(len, studies.values()), default=0))
        shards = _in_order([result.shard for result in done if result.shard], list(splits))
        strangers = run.without - {case for result in done for case in result.left_out}
        if strangers:
            raise DatasetError(f"no source has a case {min(strangers)!r} to leave out")
        left = [*(pair for result in done for pair in result.unused), *twins]
        listed = sorted(set(unused(left) if unused else (Unused(str(file), why) for file, why in left)))
        for split in splits:
            if not any(shard.split == split for shard in shards):
                raise DatasetError(_nothing(split if shards else None, listed))
        patients = {row.case for shard in shards for row in shard.rows if shard.split == "train" and _is_patient(row)}
        dealt = _number_of_folds(folds, len(patients))
        manifest = describe(shards, framing=framing, classes=classes, folds=dealt, seed=seed)
        leaks = _leaks(done, manifest)
        if leaks and not allow_leaks:
            raise DatasetError(
                f"{counted(len(leaks), 'leak')} between splits or folds, the first: {leaks[0]}; leave out one "
                "of the two, or add --allow-leaks, which lists them all"
            )
        manifest = write_tables(work, manifest, shards, unused=listed)
    return Prepared(Dataset(folder, manifest), tuple(listed), tuple(leaks))


def _is_patient(row: Row) -> bool:
    return row.kind is not Kind.PHANTOM


def _number_of_folds(wanted: int | None, patients: int) -> int:
    """The folds to make for so many training patients, so that no fold is empty.

    Raises:
        UsageError: there are fewer patients than wanted folds.
    """
    if wanted is None:
        return max(1, min(FOLDS, patients))
    if wanted > patients:
        there = "is 1" if patients == 1 else f"are {patients}"
        what = f"give --folds {patients} or less" if patients > 1 else "leave out --folds"
        raise UsageError(
            f"{wanted} folds need {wanted} patients to train on, and there {there} (phantoms belong to no fold): {what}"
        )
    return wanted


def _most_patients(sources: Iterable[Source], without: frozenset[str]) -> int:
    """The largest number of patients that the sources may have, by their names alone; phantoms are not counted."""
    named: set[str] = set()
    others = 0
    for source in sources:
        match source:
            case PairsSource():
                named |= {pair.case for pair in source.pairs}
            case StudySource():
                named.add(source.case)
            case AcdcSource() | ApprovedSource() | ChlaSource() | LabelMapSource():
                others += 1
    return len(named - without) + others


@dataclass
class _Run:
    work: Path
    framing: Framing
    classes: Classes
    without: frozenset[str]
    workers: int
    progress: Progress | None
    total: int
    finished: int = field(default=0)

    def through(self, splits: Mapping[str, Sequence[Source]], *, first: int) -> list[_Done]:
        """Write a shard for every source; the results are in the order of the sources."""
        jobs = [
            _Job(
                source,
                self.work / f"{split}-{first + number:05d}.tfrecord",
                split,
                self.framing,
                self.classes,
                self.without,
            )
            for split, sources in splits.items()
            for number, source in enumerate(sources)
        ]
        seconds = sum(_seconds(job.source) for job in jobs)
        workers = min(self.workers, max(1, round(seconds / _WORTH_A_PROCESS_SECONDS)))
        done: dict[int, _Done] = {}
        # Closed at once: an exception in `progress` must not leave workers behind.
        with closing(in_parallel(_work, jobs, workers=workers)) as results:
            for index, result in results:
                done[index] = result
                self.finished += 1
                if self.progress:
                    self.progress(self.finished, self.total)
        return [done[index] for index in range(len(jobs))]


def _work(job: _Job) -> _Done:
    produced, unused = produce(job.source, job.framing)
    examples = [example for example in produced if example.case not in job.without]
    left_out = [example for example in produced if example.case in job.without]
    unused += [(Path(example.name), "its patient was left out by --without") for example in left_out]
    named = frozenset(example.case for example in left_out)
    if not examples:
        return _Done(None, unused, np.zeros((0, 0, 0), np.float16), named)
    shard = write_shard(examples, job.path, split=job.split, classes=job.classes)
    fine = [] if isinstance(job.source, PhantomSource) else [fine_structure(example.image) for example in examples]
    return _Done(shard, unused, np.array(fine, np.float16), named)


def _others(sources: Iterable[Source], taken: set[str], twins: list[Leftover]) -> Iterator[Source]:
    for source in sources:
        if isinstance(source, PairsSource):
            doubled = [pair for pair in source.pairs if pair.name in taken]
            why = "the same frame is there as DICOM"
            twins += [(file, why) for pair in doubled for file in (pair.image, pair.label)]
            kept = tuple(pair for pair in source.pairs if pair.name not in taken)
            yield PairsSource(kept, source.labelled, source.phases)
        elif not isinstance(source, StudySource):
            yield source


def _in_order(shards: Iterable[Shard], splits: Sequence[str]) -> list[Shard]:
    return sorted(shards, key=lambda shard: (splits.index(shard.split), shard.file))


def _nothing(split: str | None, unused: Sequence[Unused]) -> str:
    message = f"there are no examples in the sources{f' of {split}' if split else ''}"
    if unused:
        # The first file of all may be a licence; what most files lack is what the user has to mend.
        reason = next(iter(by_reason(unused)))
        file = next(leftover.file for leftover in unused if leftover.reason == reason)
        message += f": {counted(len(unused), 'file was', 'files were')} checked; {file}: {reason}"
    return f"{message}; for DICOM studies, give the folder of their contours with --contours"


def _leaks(done: Iterable[_Done], manifest: Manifest) -> list[Leak]:
    real = [result for result in done if result.shard and len(result.fine)]
    if not real:
        return []
    rows = [row for result in real if result.shard for row in result.shard.rows]
    seen = [_seen(row.name, row.case, row.kind, manifest) for row in rows]
    return find_leaks(seen, np.concatenate([result.fine.astype(np.float32) for result in real]))


def _seen(name: str, case: str, kind: Kind, manifest: Manifest) -> Seen:
    facts = manifest.cases[case]
    side = facts.split if facts.fold is None else f"{facts.split}, fold {facts.fold}"
    return Seen(name, case, kind, side)


def leaks_of(dataset: Dataset, examples: Iterable[Example]) -> list[Leak]:
    """Find patients and near-identical images shared by two splits, or by two folds of one split."""
    seen: list[Seen] = []
    fine: list[NDArray[np.float32]] = []
    for example in examples:
        if example.kind is not Kind.PHANTOM:
            seen.append(_seen(example.name, example.case, example.kind, dataset.manifest))
            fine.append(fine_structure(example.image))
    return find_leaks(seen, np.array(fine))


def default_workers() -> int:
    """The number of cores available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
