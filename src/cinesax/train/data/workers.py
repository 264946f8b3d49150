"""Work in several processes: results as they are ready, errors as they were raised."""

import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Generic, TypeVar

from cinesax.core.errors import OutputError
from cinesax.engines.local import LocalEngine
from cinesax.engines.work import Limits, Loss
from cinesax.train import require

Item = TypeVar("Item")
Result = TypeVar("Result")

# One shard may hold a large study or many phantoms, and the system may be slow: only work without an end is stopped.
_LIMITS = Limits(memory_bytes=64 * 1024**3, seconds=24 * 3600.0, grown_bytes=4 * 1024**3, attempts=1)


@dataclass(frozen=True, slots=True)
class _Numbered(Generic[Item]):
    """A task with its index."""

    index: int
    item: Item


@dataclass(frozen=True, slots=True)
class _Raised:
    """What a task raised instead of giving a result."""

    error: Exception
    trace: str


@dataclass(frozen=True, slots=True)
class _Setup(Generic[Item, Result]):
    """What a worker process needs to know before its first task."""

    work: Callable[[Item], Result]
    before: Callable[[], object]

    def __call__(self) -> Callable[[_Numbered[Item]], Result | _Raised]:
        self.before()
        return self._try

    def _try(self, task: _Numbered[Item]) -> Result | _Raised:
        try:
            return self.work(task.item)
        except MemoryError:
            raise  # the engine names it
        except Exception as error:  # noqa: BLE001 - the caller gets it as it is
            return _Raised(error, traceback.format_exc())


def in_parallel(
    work: Callable[[Item], Result],
    tasks: Sequence[Item],
    *,
    workers: int,
    before: Callable[[], object] = require,
) -> Generator[tuple[int, Result], None, None]:
    """Do the work for every task: in this process and in order if there is one worker, otherwise in separate processes.

    Closing the iterator, or an exception that leaves it, ends all processes at once. None outlives its parent.

    Args:
        work: a module-level function.
        tasks: values that can be pickled.
        workers: number of processes.
        before: what each process does first; by default it loads TensorFlow quietly.

    Yields:
        (index of the task, its result), as tasks finish.

    Raises:
        OutputError: a process crashed or was killed, usually by the system for lack of memory.
    """
    if min(workers, len(tasks)) <= 1:
        for index, item in enumerate(tasks):
            yield index, work(item)
        return
    numbered = [_Numbered(index, item) for index, item in enumerate(tasks)]
    engine = LocalEngine(min(workers, len(tasks)))
    with closing(engine.run(_Setup(work, before), numbered, _LIMITS)) as outcomes:
        for outcome in outcomes:
            if outcome.loss in (Loss.KILLED, Loss.MEMORY):
                raise OutputError("a worker process was killed (out of memory?): try again with --jobs 1")
            if outcome.loss is not None:
                raise OutputError(f"a worker process failed ({outcome.detail}): try again with --jobs 1")
            if isinstance(outcome.result, _Raised):
                raise outcome.result.error from RuntimeError(f"in a worker process:\n{outcome.result.trace}")
            yield outcome.task.index, outcome.result  # type: ignore[misc]
