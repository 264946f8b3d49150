"""How long the server of the reader's page takes, on an exam of 240 frames, and how much memory.

    python benchmarks/reader.py

The exam of benchmarks/edit.py (12 slices of 20 phases, 256 x 256 pixels, contours of cavity, myocardium and RV) is
written as DICOM with its results, and opened by a real `cinesax view` over HTTP, three times over: as three exams.
Printed are medians and the 95th percentile over the clock, and the mean CPU time of the server's process: that on the
clock where nothing else runs. Limits are for that time. What the browser adds is not in them.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx
import numpy as np

import edit
from cinesax.analyze import analyze
from cinesax.core.cine import Source
from cinesax.core.grid import stacked_grid
from cinesax.phantom.dicom import SeriesIdentity, write_series
from cinesax.reader.store.database import Store
from cinesax.results.write import write_results

EXAMS, LISTED = 3, 100
LIMITS = {
    "first image": 1000.0,
    "state of an exam": 1000.0,
    "preview": 100.0,
    "edit": 100.0,
    f"worklist of {LISTED}": 300.0,
}
MEMORY_LIMIT_MB = 800.0


# A short-axis plane as scanners have it.
_ACROSS = np.array([0.712221, 0.701112, -0.0343949]) / np.linalg.norm([0.712221, 0.701112, -0.0343949])
_DOWN = np.array([-0.307716, 0.267798, -0.913015])
_DOWN = (_DOWN - (_DOWN @ _ACROSS) * _ACROSS) / np.linalg.norm(_DOWN - (_DOWN @ _ACROSS) * _ACROSS)


def written(folder: Path) -> list[tuple[Path, Path]]:
    """Exams and their results."""
    cine, segmentation = edit.exam()
    pixels = np.random.default_rng(3).integers(0, 1500, cine.pixels.shape).astype(np.uint16)
    grid = stacked_grid(
        (-90.0, -250.0, 90.0),
        spacing_mm=(1.4, 1.4),
        slice_distance_mm=8.0,
        shape=cine.pixels.shape[1:],
        along_row=_ACROSS,
        along_column=_DOWN,
    )
    made = []
    for number in range(EXAMS):
        source = Source("phantom", study_uid=f"1.2.3.{number + 1}", description="SAX")
        exam, out = folder / f"exam-{number}", folder / f"out-{number}"
        write_series(replace(cine, pixels=pixels, grid=grid, source=source), exam, SeriesIdentity())
        write_results(analyze(exam, segmentation=segmentation), out, show_patient=True)
        made.append((exam, out))
    return made


def with_many_listed(store: Path) -> None:
    """A store with many more exams, as results that are done."""
    opened = Store(store)
    for number in range(LISTED - EXAMS):
        opened.add(
            f"listed-{number}", "/gone", study_uid=None, results="/gone", case_key=f"case-{number:010}", name=None
        )
    opened.close()


class Clock:
    """Times of requests, by name: over the clock, and of the server's CPU (Linux)."""

    def __init__(self, process: int) -> None:
        self._process = process
        self.times: dict[str, list[float]] = {}
        self.cpu: dict[str, float] = {}

    def time(self, what: str, work: Callable[[], object], count: int) -> None:
        """Add the milliseconds of some calls."""
        before, times = self._cpu_ms(), self.times.setdefault(what, [])
        for _ in range(count):
            start = time.perf_counter()
            work()
            times.append(1000 * (time.perf_counter() - start))
        self.cpu[what] = self.cpu.get(what, 0.0) + self._cpu_ms() - before

    def _cpu_ms(self) -> float:
        words = Path(f"/proc/{self._process}/stat").read_text().rpartition(")")[2].split()
        return 1000 * (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(process: int) -> float:
    """Resident memory of a process (Linux)."""
    text = Path(f"/proc/{process}/status").read_text()
    match = re.search(r"VmRSS:\s+(\d+) kB", text)
    return float(match[1]) / 1024 if match else float("nan")


def flat(radius: float) -> list[list[float]]:
    """A circle as the page sends it."""
    return [edit.circle(radius).ravel().tolist()]


def measure(client: httpx.Client, clock: Clock, changes: int) -> None:
    """Ask for everything, and note the times."""
    while len(exams := [e["id"] for e in client.get("/api/worklist").json()["exams"] if e["edv_ml"]]) < EXAMS:
        time.sleep(0.1)
    for exam in exams:
        clock.time("first image", partial(client.get, f"/api/exams/{exam}/frames", params={"slice": 6, "phase": 0}), 1)
        clock.time("state of an exam", partial(client.get, f"/api/exams/{exam}"), 1)
    exam = exams[0]
    clock.time("frames of a slice", partial(client.get, f"/api/exams/{exam}/frames", params={"slice": 5}), 10)
    place = {"structure": "cavity", "phase": 0, "slice": 6}
    radii = iter(np.linspace(15, 22, 2 * changes + 1))

    def preview() -> None:
        client.post(f"/api/exams/{exam}/preview", json={**place, "polygons": flat(next(radii))}).raise_for_status()

    def stroke() -> None:
        nonlocal version
        change = {"op": "set", **place, "polygons": flat(next(radii))}
        answer = client.post(f"/api/exams/{exam}/edits", json={"version": version, "by": "bench", "edit": change})
        version = answer.json()["version"]

    clock.time("preview", preview, changes)
    version = client.get(f"/api/exams/{exam}").json()["version"]
    clock.time("first edit", stroke, 1)  # copies results that lie elsewhere into the store
    clock.time("edit", stroke, changes)
    clock.time(f"worklist of {LISTED}", partial(client.get, "/api/worklist"), 10)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=40, metavar="N", help="how many contours to change (40)")
    changes = parser.parse_args().changes
    with tempfile.TemporaryDirectory() as name:
        store, folder = Path(name) / "store", Path(name) / "exams"
        written(folder)
        with_many_listed(store)
        command = [
            sys.executable,
            "-m",
            "cinesax",
            "view",
            str(folder),
            "--store",
            str(store),
            "--no-browser",
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
        try:
            line = process.stdout.readline() if process.stdout else ""
            match = re.search(r"(http://[^/]+)/\?token=(\S+)", line)
            if match is None:
                raise SystemExit(f"no address in {line!r}")
            headers = {"Authorization": f"Bearer {match[2]}"}
            clock = Clock(process.pid)
            with httpx.Client(base_url=match[1], headers=headers, timeout=120) as client:
                measure(client, clock, changes)
            memory = memory_mb(process.pid)
        finally:
            process.terminate()
            process.wait(timeout=20)
    late = []
    for what, values in clock.times.items():
        cpu = clock.cpu[what] / len(values)
        limit = f", at most {LIMITS[what]:.0f}" if what in LIMITS else ""
        percentile = float(np.percentile(values, 95))
        middle = statistics.median(values)
        print(f"{what:18} median {middle:7.1f} ms, 95 % {percentile:7.1f} ms; CPU {cpu:6.1f} ms{limit}")
        late += [what] if cpu > LIMITS.get(what, cpu) else []
    print(f"memory of the server with {EXAMS} exams open: {memory:.0f} MB, at most {MEMORY_LIMIT_MB:.0f}")
    return int(bool(late) or memory > MEMORY_LIMIT_MB)


if __name__ == "__main__":
    raise SystemExit(main())
