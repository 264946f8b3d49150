"""How much time and memory one input may take, and how much it took."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

MOST_SECONDS = 60
"""Of processor time: what an input takes on a machine that does nothing else."""
MOST_WAITING_SECONDS = 300
"""Of wall time: for what waits and does not work, with room for a machine that others use too."""
MOST_BYTES = 2 * 1024**3
_UNTOUCHED_BYTES = 5 * 1024**3
_RESET_PEAK = "5"  # Linux, proc(5): /proc/[pid]/clear_refs


class TooLong(BaseException):
    """The time is over. Not an Exception: nothing that is tested may take it for one of its own."""


def limit_memory() -> None:
    """Let this process have no more than an input may take, and room for what is asked for and never touched.

    Python asks for as many bytes as an element declares to have, up to 4 GB, before it reads the few that there are:
    that takes addresses and no memory. What memory was taken is measured. Beyond the limit there is a MemoryError in
    this process, and the machine goes on.
    """
    with suppress(ValueError, OSError):
        most = _status("VmSize") + MOST_BYTES + _UNTOUCHED_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def peak_bytes() -> int:
    """The most memory that this process has held since the last `forget_peak`."""
    return _status("VmHWM")


def held_bytes() -> int:
    """The memory that this process holds."""
    return _status("VmRSS")


def forget_peak() -> None:
    """Start to count the peak anew."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text(_RESET_PEAK)


def _status(name: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


@contextmanager
def limited_time(seconds: float = MOST_SECONDS, waiting: float = MOST_WAITING_SECONDS) -> Iterator[None]:
    """A context that ends with TooLong after so many seconds of processor time, or of wall time."""

    def stop(number: int, frame: FrameType | None) -> None:
        clock = f"{waiting} s by the clock" if number == signal.SIGALRM else f"{seconds} s of work"
        raise TooLong(f"past {clock}")

    timers = {signal.SIGPROF: (signal.ITIMER_PROF, seconds), signal.SIGALRM: (signal.ITIMER_REAL, waiting)}
    before = {number: signal.signal(number, stop) for number in timers}
    for timer, most in timers.values():
        signal.setitimer(timer, most)
    try:
        yield
    finally:
        for number, (timer, _) in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])
