"""Worker processes: start them, and ensure that none outlives its parent."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.synchronize import Event
from typing import TypeVar

from cinesax.core.errors import OutputError
from cinesax.train import require

Task = TypeVar("Task")
Result = TypeVar("Result")

_STOPPED = 75


def _start(stop: Event, before: Callable[[], object]) -> None:
    """Set up a worker: it ignores Ctrl-C, which the parent handles, and it ends with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    watches: list[Callable[[], object]] = [stop.wait]
    if parent is not None:
        watches.append(parent.join)
    for watch in watches:
        threading.Thread(target=_end_after, args=(watch,), daemon=True).start()
    before()


def _end_after(watch: Callable[[], object]) -> None:
    watch()
    os._exit(_STOPPED)


def in_parallel(
    work: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    workers: int,
    before: Callable[[], object] = require,
) -> Iterator[tuple[int, Result]]:
    """Do the work for every task: in this process and in order if there is one worker, otherwise in separate processes.

    Args:
        work: a module-level function.
        tasks: values that can be pickled.
        workers: number of processes.
        before: what each process does first; by default it loads TensorFlow quietly.

    Yields:
        (index of the task, its result), as tasks finish.

    Raises:
        OutputError: a process was killed, usually by the system for lack of memory.
    """
    if min(workers, len(tasks)) <= 1:
        for index, task in enumerate(tasks):
            yield index, work(task)
        return
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    pool = ProcessPoolExecutor(min(workers, len(tasks)), context, _start, (stop, before))
    try:
        waiting = {pool.submit(work, task): index for index, task in enumerate(tasks)}
        for done in as_completed(waiting):
            yield waiting[done], done.result()
    except BrokenProcessPool:
        raise OutputError("a worker process was killed (out of memory?): try again with --jobs 1") from None
    except BaseException:
        # After an interruption or a failure, the remaining work is useless.
        stop.set()
        raise
    finally:
        with suppress(BrokenProcessPool):
            pool.shutdown(cancel_futures=True)
