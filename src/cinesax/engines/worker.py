"""The program of a worker process: it receives a setup and then tasks, and answers each.

Started as `python -m cinesax.engines.worker` by `cinesax.engines.local`, with pipes as standard input and output.
Each message is a pickle after its length. `multiprocessing` is not used, because it would run the caller's main script
again in each worker.
"""

import ctypes
import faulthandler
import os
import pickle
import signal
import struct
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from cinesax.core.errors import CinesaxError

_LENGTH = struct.Struct("!Q")
_PR_SET_PDEATHSIG = 1
_ORPHANED = 75


@dataclass(frozen=True, slots=True)
class Start:
    """The first message to a worker; the setup follows.

    Attributes:
        memory_bytes: the limit of memory.
        paths: sys.path of the parent.
    """

    memory_bytes: int
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ready:
    """The setup is done."""


@dataclass(frozen=True, slots=True)
class NotReady:
    """The setup failed: no task can be done."""

    error: CinesaxError | None
    detail: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a task.

    Attributes:
        result: the result of the task.
        failed: whether the task raised an exception.
        memory: whether it raised for lack of memory.
        detail: the exception, as text.
        resident_bytes: present memory of the process.
    """

    result: object = None
    failed: bool = False
    memory: bool = False
    detail: str = ""
    resident_bytes: int = 0


def send(stream: IO[bytes], message: object) -> None:
    """Write one message.

    Raises:
        OSError: the other side is gone.
    """
    packed = pickle.dumps(message, protocol=5)
    stream.write(_LENGTH.pack(len(packed)) + packed)
    stream.flush()


def receive(stream: IO[bytes]) -> object:
    """Wait for one message.

    Raises:
        EOFError: the other side is gone, perhaps in the middle of a message.
    """
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (size,) = _LENGTH.unpack(head)
    packed = stream.read(size)
    if len(packed) < size:
        raise EOFError
    return pickle.loads(packed)  # from our own parent or child, through a pipe that nobody else has


def main() -> None:
    """Serve the parent until it closes the pipe."""
    faulthandler.enable()
    # Output that libraries print must not get between messages.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    orders = os.fdopen(os.dup(0), "rb")
    _end_with_parent()
    with suppress(EOFError, BrokenPipeError):
        _serve(orders, answers)


def _serve(orders: IO[bytes], answers: IO[bytes]) -> None:
    start = receive(orders)
    if not isinstance(start, Start):
        raise TypeError(f"expected a Start, seen {type(start).__name__}")
    sys.path[:] = start.paths  # the setup may be in a module that only the parent's path has
    try:
        setup = receive(orders)
        limit_memory(start.memory_bytes)
        work = setup()  # type: ignore[operator]
    except CinesaxError as error:
        send(answers, NotReady(error, str(error)))
        return
    except Exception as error:  # noqa: BLE001 - the parent must learn of any error
        send(answers, NotReady(None, described(error)))
        return
    send(answers, Ready())
    while True:
        task = receive(orders)
        try:
            answer = Answer(work(task), resident_bytes=resident_bytes())
        except MemoryError as error:
            answer = Answer(failed=True, memory=True, detail=described(error))
        except Exception as error:  # noqa: BLE001 - one task must not end those after it
            answer = Answer(failed=True, detail=described(error))
        send(answers, answer)


def described(error: BaseException) -> str:
    """An exception as one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def limit_memory(limit_bytes: int) -> None:
    """Limit the private memory of this process; only on Linux."""
    if sys.platform != "linux":
        return
    import resource

    # Not RLIMIT_AS: libraries map address space that they never use; one thread pool maps several GB.
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = limit_bytes if hard == resource.RLIM_INFINITY else min(limit_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    # A core file for each crash would fill the disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def resident_bytes() -> int:
    """Present memory of this process, in bytes; 0 if the system does not report it."""
    try:
        with open("/proc/self/statm", encoding="ascii") as stream:
            return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _end_with_parent() -> None:
    """Make this process end with its parent, even in an endless loop after the parent was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(_ORPHANED)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    # Import by name: the classes of pickled messages must be those that the parent knows.
    from cinesax.engines import worker

    worker.main()
