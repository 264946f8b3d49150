"""Worker processes: their results, their errors, and how they end."""

import os
import signal
import time

import pytest

from cinesax.core.errors import DatasetError, OutputError
from cinesax.train.data.workers import in_parallel


def _nothing() -> None:
    """Begin without TensorFlow."""


def _double(task: int) -> int:
    return 2 * task


def _fail(task: int) -> int:
    if task == 1:
        raise DatasetError("one is bad")
    return task


def _killed(task: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return task


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_is_done_once(workers):
    done = dict(in_parallel(_double, [5, 6, 7], workers=workers, before=_nothing))
    assert done == {0: 10, 1: 12, 2: 14}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_is_told_as_it_was(workers):
    with pytest.raises(DatasetError, match="one is bad"):
        list(in_parallel(_fail, [0, 1, 2], workers=workers, before=_nothing))


def _sleep(seconds: int) -> int:
    time.sleep(seconds)
    return seconds


def test_closing_ends_unfinished_work_at_once():
    begun = time.monotonic()
    results = in_parallel(_sleep, [0, 300], workers=2, before=_nothing)
    assert next(results) == (0, 0)
    results.close()
    assert time.monotonic() - begun < 120


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on Windows")
def test_a_process_that_is_killed_is_named_as_the_cause():
    with pytest.raises(OutputError, match="was killed .* --jobs 1"):
        list(in_parallel(_killed, [0, 1], workers=2, before=_nothing))
