"""names.csv of a cohort, which says whose exam is whose, and what its earlier version says of exams.

The results remember which label was chosen: a later run without `--label` must neither lose the labels nor put the
column that identifies patients into the table.
"""

import csv
import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cinesax.cohort.planning.plan import Plan, Planned
from cinesax.cohort.rows import Row
from cinesax.files.remote import shown
from cinesax.files.stored_files import replacing

_CHOICE = "label.txt"
_HEAD = ("exam", "label", "path")
_BATCH = 500


@dataclass(frozen=True)
class Earlier:
    """What the tables of the last run say of exams. They are read when they are needed; damaged lines are left out.

    Attributes:
        names: names.csv.
        table: cohort.csv.
        plan: the plan of this run.
    """

    names: Path
    table: Path
    plan: Plan

    @cached_property
    def labels(self) -> Mapping[str, str]:
        """Key of an exam -> its label, if it has one."""
        return {line[0]: line[1] for line in _lines(self.names, _HEAD) if line[1]}

    @cached_property
    def missing(self) -> Mapping[str, tuple[str, str]]:
        """Key -> label and path, of the exams that this run did not find."""
        return {key: (label, path) for key, label, path in self._without_plan(_lines(self.names, _HEAD))}

    def cells(self, columns: tuple[str, ...]) -> Mapping[str, tuple[str, ...]]:
        """Key -> cells of some columns, of the exams that this run did not find."""
        return {key: tuple(cells) for key, *cells in self._without_plan(_lines(self.table, ("exam", *columns)))}

    def _without_plan(self, lines: Iterator[list[str]]) -> Iterator[list[str]]:
        while batch := list(itertools.islice(lines, _BATCH)):
            missing = self.plan.without([line[0] for line in batch])
            yield from (line for line in batch if line[0] in missing)


def _lines(path: Path, columns: tuple[str, ...]) -> Iterator[list[str]]:
    """The cells of some columns in each line of a table; "" where there is none. It ends where the table is damaged."""
    with suppress(OSError, csv.Error), path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        reader = csv.reader(stream)
        head = {name: place for place, name in enumerate(next(reader, []))}
        if columns[0] not in head:
            return
        places = [head.get(name, -1) for name in columns]
        for line in reader:
            yield [line[place] if 0 <= place < len(line) else "" for place in places]


def choose_label(results: Path, label: str | None, plan: Plan, earlier: Earlier) -> str | None:
    """The label that counts: the given one, which the results remember, else that of an earlier run.

    Args:
        results: the folder of results.
        label: "patient-id", "folder" or a column of the list; None if none is given.
        plan: the exams.
        earlier: the earlier tables, for results that remember no label because an earlier version wrote them.

    Raises:
        OSError: the choice cannot be written.
    """
    path = results / ".cohort" / _CHOICE
    try:
        remembered = path.read_text(encoding="utf-8") or None
    except (OSError, ValueError):
        remembered = None
    chosen = label or remembered or _label_of(plan, earlier.labels)
    if chosen is not None and chosen != remembered:
        with replacing(path) as temporary:
            temporary.write_text(chosen, encoding="utf-8")
    return chosen


def _label_of(plan: Plan, labels: Mapping[str, str]) -> str | None:
    """The label that earlier names were made with: the one that gives the same names; None if there is none."""
    if not labels:
        return None
    left, n_compared = ["patient-id", "folder", *plan.list_columns()], 0
    for planned in plan.exams(with_files=False):
        if planned.key in labels:
            n_compared += 1
            left = [label for label in left if _named(planned, label) == labels[planned.key]]
    return left[0] if left and n_compared else None


def _named(planned: Planned, label: str | None) -> str | None:
    """The name of an exam; None if the plan does not have it."""
    if label == "patient-id":
        return planned.patient_id
    return planned.place if label == "folder" else planned.columns.get(label or "")


@contextmanager
def names_writer(path: Path, label: str | None, earlier: Earlier) -> Iterator[Callable[[Row], None]]:
    """Write names.csv, which only its owner can read: a function that takes each row of the table.

    Exams that the run did not find keep their lines, and exams keep labels that their new list does not have.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", errors="replace", newline="") as stream:
        if os.name == "posix":
            os.fchmod(stream.fileno(), 0o600)
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_HEAD)

        def take(row: Row) -> None:
            if row.planned is None:
                if row.key in earlier.missing:
                    writer.writerow([row.key, *earlier.missing[row.key]])
                return
            named = _named(row.planned, label)
            if named is None:
                named = earlier.labels.get(row.key, "")
            writer.writerow([row.key, named, shown(row.planned.root)])

        yield take
        stream.flush()
        os.fsync(stream.fileno())
