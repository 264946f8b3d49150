"""Runs over a cohort that are killed at any moment, and a last one that nobody kills: the table of one quiet run."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import crowd


def run_all(count: int, *, seed: int = 0) -> str:
    """Kill so many runs over one folder of results; "" or what is not as it must be."""
    if count < 1:
        return ""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        crowd.fill(base / "root")
        start = time.perf_counter()
        crowd.go(base / "root", base / "quiet", jobs=2)
        seconds = time.perf_counter() - start
        rng = random.Random(f"cohort {seed}")
        kill_often(base / "root", base / "out", times=count, within=max(2.0, seconds / 3), rng=rng)
        crowd.go(base / "root", base / "out", jobs=2)
        tables = [(base / name / "cohort.csv").read_bytes() for name in ("quiet", "out")]
        return "" if tables[0] == tables[1] else f"after {count} kills the table is another"


def start_run(root: Path, results: Path) -> "subprocess.Popen[bytes]":
    """A run of its own process, with workers."""
    paths = os.pathsep.join(path for path in sys.path if path)
    return subprocess.Popen(
        [sys.executable, "-m", "crowd", str(root), str(results)],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def kill_often(root: Path, results: Path, *, times: int, within: float, rng: random.Random) -> None:
    """Start runs and kill each after a random time; every other one loses a worker before that."""
    for number in range(times):
        before = _receipts(results)
        process = start_run(root, results)
        # A run that is killed while it starts shows little: all but the first have done something.
        deadline = time.monotonic() + 60
        while number and _receipts(results) == before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(rng.uniform(0.3, within) / (1 + number % 2))
        if number % 2:
            for worker in _workers_of(process.pid)[:1]:
                os.kill(worker, signal.SIGKILL)
            time.sleep(rng.uniform(0, 1))
        process.kill()
        process.wait()


def _receipts(results: Path) -> int:
    return len(list(results.glob("exams/*/receipt.json")))


def _workers_of(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
