"""Several processes that run inputs, and what becomes of one that dies or hangs."""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from fuzz.limits import MOST_WAITING_SECONDS
from fuzz.trial import Outcome

_AT_A_TIME = 250
_TESTS = Path(__file__).resolve().parents[1]
# Beyond the time that an input has, for code that no signal reaches, and for the making of 200,000 files before.
_PATIENCE_SECONDS = 2 * MOST_WAITING_SECONDS + 300


def run_all(inputs: Sequence[str], *, jobs: int = 1, results: Path | None = None) -> list[Outcome]:
    """Run inputs in processes of their own.

    Args:
        inputs: seeds, or names of heavy cases.
        jobs: number of processes.
        results: a file of outcomes, one line each: those that are in it are not run again, new ones are added.

    Returns:
        The outcomes, in the order of the inputs.
    """
    known = _kept(results)
    todo: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
    left = [name for name in inputs if name not in known]
    for start in range(0, len(left), _AT_A_TIME):
        todo.put(left[start : start + _AT_A_TIME])
    lock = threading.Lock()

    def drain() -> None:
        while True:
            try:
                batch = todo.get_nowait()
            except queue.Empty:
                return
            for outcome in _run_batch(batch):
                with lock:
                    known[str(outcome.seed)] = outcome
                    _keep(results, outcome)

    threads = [threading.Thread(target=drain) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [known[name] for name in inputs]


def _run_batch(batch: list[str]) -> Iterator[Outcome]:
    while batch:
        done = 0
        for outcome in _run_process(batch):
            done += 1
            yield outcome
        batch = batch[done:]


def _run_process(batch: list[str]) -> Iterator[Outcome]:
    """The outcomes of one process, the last of which may be that the process itself came to an end."""
    environment = {**os.environ, "PYTHONPATH": str(_TESTS), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "fuzz.worker"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, text=True) as process:
        yield from _outcomes(process, batch)


def _outcomes(process: "subprocess.Popen[str]", batch: list[str]) -> Iterator[Outcome]:
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("a process without pipes")
    process.stdin.write(" ".join(batch))
    process.stdin.close()
    begun = None
    timer = threading.Timer(_PATIENCE_SECONDS, process.kill)
    timer.start()
    for line in process.stdout:
        timer.cancel()
        timer = threading.Timer(_PATIENCE_SECONDS, process.kill)
        timer.start()
        said = json.loads(line)
        if "begin" in said:
            begun = said["begin"]
            continue
        begun = None
        yield Outcome(**{**said, "violations": tuple(said["violations"])})
    timer.cancel()
    code = process.wait()
    if code != 0:
        if begun is None:
            raise RuntimeError(f"the process that runs inputs ended with {code}")
        # Every input is looked at, also the one that takes its process with it.
        yield Outcome(begun, "?", "?", "?", "violation", "", (f"crash: the process ended with {code}",), 0.0, 0.0)


def _kept(results: Path | None) -> dict[str, Outcome]:
    if results is None or not results.exists():
        return {}
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    return {str(one["seed"]): Outcome(**{**one, "violations": tuple(one["violations"])}) for one in lines}


def _keep(results: Path | None, outcome: Outcome) -> None:
    if results is not None:
        results.parent.mkdir(parents=True, exist_ok=True)
        with results.open("a") as stream:
            stream.write(json.dumps(asdict(outcome)) + "\n")
