"""Writers of results that are killed at any moment: the old complete set is there, or the new one."""

import hashlib
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import exams
import objects
from cinesax.analyze import analyze
from cinesax.core.analysis import Analysis
from cinesax.dicom.write.options import DicomOptions
from cinesax.inputs import open_cine
from cinesax.results.write import write_results


class End(StrEnum):
    """What a killed writer left behind."""

    OLD = "the old results, complete"
    NEW = "the new results, complete"
    NEITHER = "neither"


NEITHER = End.NEITHER


def run_all(count: int, *, seed: int = 0) -> list[End]:
    """Kill so many writers, each at a random time of its work."""
    if count < 1:
        return []
    with tempfile.TemporaryDirectory() as folder:
        old, new = _analyses(Path(folder) / "exam")
        out = Path(folder) / "out"
        rng = random.Random(f"kill {seed}")
        # The same analysis gives the same bytes: a set is known by its fingerprint.
        complete = {_whole(new, out): End.NEW, _whole(old, out): End.OLD}
        start = time.perf_counter()
        # A writer without a killer: how long it takes, and that it ends as it should.
        if _killed(lambda: _write(new, out), None) != 0 or complete.get(_fingerprint(out)) is not End.NEW:
            raise RuntimeError("a writer that nobody kills does not write what it should")
        seconds = time.perf_counter() - start
        ends = []
        for number in range(count):
            if complete.get(_fingerprint(out)) is not End.OLD:
                _write(old, out)
            # Every other one about the time when it ends, when the old set and the new one change places.
            share = rng.uniform(0.8, 1.2) if number % 2 else rng.uniform(0, 1)
            _killed(lambda: _write(new, out), share * seconds)
            ends.append(complete.get(_fingerprint(out), End.NEITHER))
        return ends


def _analyses(folder: Path) -> tuple[Analysis, Analysis]:
    exams.write_exam(folder, exams.small_cine(phases=3, slices=3))
    cine = open_cine(folder)
    drawn = objects.ring(cine)
    return analyze(cine, segmentation=drawn), analyze(cine, segmentation=drawn, ed_phase=1, es_phase=0)


def _write(analysis: Analysis, out: Path) -> None:
    write_results(analysis, out, dicom=DicomOptions())


def _whole(analysis: Analysis, out: Path) -> str:
    _write(analysis, out)
    return _fingerprint(out)


def _fingerprint(out: Path) -> str:
    """Of all that is in a folder: names and content; "" where it is not there."""
    if not out.is_dir():
        return ""
    hashed = hashlib.sha256()
    for path in sorted(out.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        hashed.update(f"{path.relative_to(out)} {len(content)} ".encode() + content)
    return hashed.hexdigest()


def _killed(work: Callable[[], None], seconds: float | None) -> int:
    """Do work in a process that is killed after so many seconds; its exit code."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
