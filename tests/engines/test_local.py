"""Work in processes: every task has an outcome, whatever it does to its process."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from cinesax.core.errors import BundleError
from cinesax.engines.local import LocalEngine
from cinesax.engines.work import Limits, Loss, Outcome

LIMITS = Limits(memory_bytes=1024**3, seconds=3.0)


def setup() -> Callable[[str], str]:
    return work


def work(task: str) -> str:
    if task == "sleep":
        time.sleep(60)
    if task == "memory":
        np.ones(3 * 1024**3 // 8)
    if task == "crash":
        os.abort()
    if task == "bug":
        raise ZeroDivisionError("no such number")
    if task == "print":
        os.write(1, b"a library that talks on standard output\n")
    return task[:20].upper()


def refuse() -> Callable[[str], str]:
    raise BundleError("no network here")


@dataclass(frozen=True)
class KilledOnce:
    """A task whose process is killed from outside the first times."""

    notes: Path
    times: int

    def __call__(self) -> Callable[[str], str]:
        return self.work

    def work(self, task: str) -> str:
        with self.notes.open("a") as stream:
            stream.write("x")
        if len(self.notes.read_text()) <= self.times:
            os.kill(os.getpid(), signal.SIGKILL)
        return "survived"


def test_every_task_has_an_outcome() -> None:
    tasks = ["a", "sleep", "b", "memory", "crash", "bug", "print", "x" * 500_000]
    outcomes = {one.task[:20]: one for one in LocalEngine(2).run(setup, tasks, LIMITS)}
    assert len(outcomes) == len(tasks)
    assert {name: one.result for name, one in outcomes.items() if one.loss is None} == {
        "a": "A",
        "b": "B",
        "print": "PRINT",
        "x" * 20: "X" * 20,
    }
    assert {name: one.loss for name, one in outcomes.items() if one.loss} == {
        "sleep": Loss.TIME,
        "memory": Loss.MEMORY,
        "crash": Loss.CRASH,
        "bug": Loss.BUG,
    }
    assert "Aborted" in outcomes["crash"].detail
    assert outcomes["bug"].detail == "ZeroDivisionError: no such number"


@pytest.mark.parametrize(("times", "loss"), [(2, None), (9, Loss.KILLED)])
def test_a_task_is_tried_again_where_somebody_killed_its_process(tmp_path: Path, times: int, loss: Loss | None) -> None:
    (outcome,) = LocalEngine(1).run(KilledOnce(tmp_path / "notes", times), ["a"], LIMITS)
    assert outcome.loss is loss
    assert len((tmp_path / "notes").read_text()) == 3


def test_what_the_setup_says_reaches_the_caller() -> None:
    with pytest.raises(BundleError, match="no network here"):
        list(LocalEngine(1).run(refuse, ["a"], LIMITS))


def test_tasks_are_taken_when_they_are_needed_and_processes_end_with_the_run() -> None:
    taken: list[int] = []

    def endless() -> Iterator[str]:
        for number in count():
            taken.append(number)
            yield str(number)

    others = children()  # servers and browsers of other tests
    outcomes = LocalEngine(2).run(setup, endless(), LIMITS)
    first: Outcome[str, str] = next(outcomes)
    assert first.result is not None
    assert len(taken) <= 4
    before = children() - others
    assert before
    outcomes.close()  # type: ignore[attr-defined]
    assert not children() & before


def test_what_is_finished_is_handed_over_while_there_is_no_further_task_yet() -> None:
    """Two runs that share exams wait for one another: each must hand over what it has finished."""
    seen: list[str] = []

    def tasks() -> Iterator[str | None]:
        yield "a"
        for _ in range(20):
            if seen:
                yield "b"
                return
            yield None
        raise AssertionError("the outcome of a was never handed over")

    for outcome in LocalEngine(2).run(setup, tasks(), LIMITS):
        seen.append(outcome.task)
    assert seen == ["a", "b"]


def children() -> set[int]:
    """Worker processes of this process that still run."""
    pids = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(") ", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and fields[0] != "Z":
            pids.add(int(path.parent.name))
    return pids
