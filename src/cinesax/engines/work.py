"""The interface of an engine: it works on tasks within limits, and gives an outcome for every task."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")
Setup = Callable[[], Callable[[Task], Result]]
"""Called once in each worker process (to load the network, for example); it returns the function that does the tasks.

A setup must be picklable by name: a function of a module, or an instance of a class in a module.
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one task.

    Attributes:
        memory_bytes: private memory of the worker process; enforced on Linux only.
        seconds: wall time for one task.
        start_seconds: wall time for starting a worker.
        grown_bytes: a worker whose memory has grown beyond this size is replaced before the next task.
        tasks: a worker is replaced after this number of tasks.
        attempts: how often a task runs if its worker is killed from outside (by the system for lack of memory, or by a
            person), which need not be the task's fault.
    """

    memory_bytes: int = 4 * 1024**3
    seconds: float = 600.0
    start_seconds: float = 180.0
    grown_bytes: int = 2 * 1024**3
    tasks: int = 500
    attempts: int = 3


class Loss(StrEnum):
    """Why a task has no result."""

    MEMORY = "memory"
    """The task needed more memory than the limit."""
    TIME = "time"
    """The task took longer than the limit."""
    CRASH = "crash"
    """The worker process crashed, for example in native code."""
    KILLED = "killed"
    """The worker process was killed from outside, in each attempt."""
    BUG = "bug"
    """The task raised an unexpected exception."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Task, Result]):
    """The outcome of a task.

    Attributes:
        task: the task.
        result: the result; None if it was lost.
        loss: why there is no result; None if there is one.
        detail: details as text: the last line that the worker wrote, or the exception.
    """

    task: Task
    result: Result | None = None
    loss: Loss | None = None
    detail: str = ""


class Engine(Protocol):
    """The interface that the rest of the package uses."""

    def run(
        self, setup: Setup[Task, Result], tasks: Iterable[Task | None], limits: Limits
    ) -> Iterator[Outcome[Task, Result]]:
        """Do every task; outcomes come as soon as they are ready. Closing the iterator stops all work.

        Tasks are taken from their iterable only when a worker is free, so there may be a million of them. None says
        that there is no task at present: the engine goes on with what it has, and asks again a second later.

        Raises:
            CinesaxError: `setup` raised it in a worker, so no task can be done.
        """
        ...
