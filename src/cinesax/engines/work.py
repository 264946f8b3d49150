"""What an engine does: work on tasks, each within limits, with an outcome for every task."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")
Setup = Callable[[], Callable[[Task], Result]]
"""Called once in each worker process (it loads the network, say); what it returns does one task after the other.

Both have to be picklable by name: a function of a module, or an instance of a class of one.
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one task may use.

    Attributes:
        memory_bytes: private memory of the worker process. Enforced by the system on Linux; elsewhere not.
        seconds: wall time of one task.
        start_seconds: wall time of starting a worker.
        grown_bytes: a worker whose memory has grown to this size is renewed before the next task.
        tasks: a worker is renewed after so many tasks.
        attempts: how often a task runs whose worker was killed from outside (by the system for lack of memory, or by a
            person): that need not be the task's fault.
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
    """It needed more memory than the limit."""
    TIME = "time"
    """It took longer than the limit."""
    CRASH = "crash"
    """The worker process ended by itself: a fault in native code, say."""
    KILLED = "killed"
    """The worker process was killed from outside, in each attempt."""
    BUG = "bug"
    """An exception that the work does not expect."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Task, Result]):
    """What became of a task.

    Attributes:
        task: the task.
        result: what the work returned; None where it was lost.
        loss: why there is no result; None where there is one.
        detail: more, as text: the last line that the worker wrote, the exception.
    """

    task: Task
    result: Result | None = None
    loss: Loss | None = None
    detail: str = ""


class Engine(Protocol):
    """What the rest of the package asks of an engine."""

    def run(self, setup: Setup[Task, Result], tasks: Iterable[Task], limits: Limits) -> Iterator[Outcome[Task, Result]]:
        """Do every task; outcomes come as they are ready. Closing the iterator stops all work.

        Tasks are taken from their iterable only when a worker is free, so there may be a million of them.

        Raises:
            CinesaxError: what `setup` raised in a worker: no task can be done.
        """
        ...
