"""What a cohort costs: two jobs against one, memory and table of many exams. `cohort_overhead.py` measures overhead.

    python benchmarks/cohort.py                  all of it (an hour for 100,000 exams on a slow disk)
    python benchmarks/cohort.py --exams 24 --simulated          only two jobs against one
    python benchmarks/cohort.py --exams 0 --simulated 100000    only the simulation

1. Two jobs against one, with one thread each: whole runs, and without the start of the workers. Beside it stands what
   the machine allows: two processes that only analyze and write, and two that only count, against one of each.
2. Simulation: so many exams of one small file each, planned and run with a work that only writes a receipt; the largest
   memory of the process, and the time for plan, work, and table.
"""

import argparse
import os
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from cinesax.cohort.page import Page
from cinesax.cohort.place import install
from cinesax.cohort.planning.plan import Planned
from cinesax.cohort.receipt import RECEIPT_NAME, Doubt, Receipt, Recipe, Status
from cinesax.cohort.run import Cohort, opened_plan, run_cohort
from cinesax.cohort.table import write_tables
from cinesax.cohort.work import ExamWork, Options, network_of, recipe_of
from cinesax.engines.local import LocalEngine
from cinesax.engines.work import Limits, Outcome
from cinesax.phantom.dicom import SeriesIdentity, write_series
from cinesax.phantom.make import make_phantom
from cinesax.phantom.settings import draw_settings
from cinesax.results import tables


def clocks() -> tuple[float, float]:
    """Wall time, and CPU time of this process and of those that it has waited for, in seconds."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return time.perf_counter(), sum(one.ru_utime + one.ru_stime for one in used)


def since(start: tuple[float, float]) -> tuple[float, float]:
    """Wall and CPU time since then."""
    now = clocks()
    return now[0] - start[0], now[1] - start[1]


def write_phantoms(root: Path, count: int) -> None:
    """So many small exams: what is measured is what comes on top of the analysis."""
    for seed in range(count):
        settings = replace(draw_settings(seed), n_phases=10, slice_distance_mm=12.0, matrix=(96, 96))
        write_series(make_phantom(settings).cine, root / f"p{seed:03d}", SeriesIdentity())


_COUNTS = """
import sys, time
input("ready\\n")
start, total = time.perf_counter(), 0
for number in range(30_000_000):
    total += number
print(time.perf_counter() - start, time.process_time())
"""
_ANALYZES = """
import sys, time
from pathlib import Path
from cinesax.analyze import analyze
from cinesax.cohort.work import Options, shipped_or
from cinesax.results.write import write_results
segmenter, folders = shipped_or(Options(threads=1)), sorted(Path(sys.argv[1]).iterdir())
write_results(analyze(folders[0], segmenter=segmenter), Path(sys.argv[2]) / "first")
used = time.process_time()
input("ready\\n")
for folder in folders:
    write_results(analyze(folder, segmenter=segmenter), Path(sys.argv[2]) / folder.name)
print(time.process_time() - used)
"""


def together(program: str, count: int, root: Path, out: Path) -> tuple[float, float]:
    """Wall time of so many processes at once, each with all of the work, and CPU time of each."""
    places = [out / f"{count} processes, {number}" for number in range(count)]
    for place in places:
        place.mkdir(parents=True)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    children = [subprocess.Popen([sys.executable, "-c", program, str(root), str(one)], **pipes) for one in places]
    for child in children:
        child.stdout.readline()  # it is ready
    start = time.perf_counter()
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    used = [float(child.stdout.readline().split()[-1]) for child in children]
    wall = time.perf_counter() - start
    for child in children:
        child.communicate()
    return wall, sum(used) / count


def print_ceiling(root: Path, out: Path) -> None:
    """What two processes without a cohort do, against one."""
    for name, program in (("count", _COUNTS), ("analyze and write", _ANALYZES)):
        one, two = (together(program, count, root, out / name) for count in (1, 2))
        print(
            f"the machine: two processes that only {name}: {2 * one[0] / two[0]:.2f} times as fast as one "
            f"(CPU of each {two[1]:.2f} s, alone {one[1]:.2f} s)"
        )


def cohort(root: Path, results: Path, jobs: int, *, first: int | None = None) -> tuple[float, float]:
    """Wall and CPU time of a whole run."""
    options = Options(threads=1)
    work = ExamWork(results, recipe_of(options, network_of(options)), options)
    if first is not None:
        few = results.parent / f"few {first}"
        few.mkdir(exist_ok=True)
        for folder in sorted(root.iterdir())[:first]:
            shutil.copytree(folder, few / folder.name, dirs_exist_ok=True)
        root = few
    start = clocks()
    run_cohort(Cohort(results, root), work, LocalEngine(jobs))
    return since(start)


def measure_jobs(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        write_phantoms(base / "exams", count)
        one = cohort(base / "exams", base / "one", 1, first=1)
        many = cohort(base / "exams", base / "many", 1)
        few = cohort(base / "exams", base / "two few", 2, first=2)
        two = cohort(base / "exams", base / "two", 2)
        rates = (count - 1) / (many[0] - one[0]), (count - 2) / (two[0] - few[0])
        print(f"{count} exams: one job {many[0]:.1f} s, two jobs {two[0]:.1f} s: {many[0] / two[0]:.2f} times as fast")
        print_ceiling(base / "exams", base / "ceiling")
        print(f"without the start: {rates[0]:.2f} and {rates[1]:.2f} exams a second, {rates[1] / rates[0]:.2f} times")


_ELEMENT = struct.Struct("<HH2sH")


def element(group: int, number: int, kind: bytes, value: bytes) -> bytes:
    padded = value + (b"\0" if kind == b"UI" else b" ") * (len(value) % 2)
    return _ELEMENT.pack(group, number, kind, len(padded)) + padded


def write_simulated(root: Path, count: int) -> None:
    """So many folders with one file each, in which stands whose it is, and nothing else."""
    meta = element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1")
    for number in range(count):
        folder = root / f"{number // 1000:04d}" / f"{number % 1000:03d}"
        folder.mkdir(parents=True)
        uid = f"1.2.826.0.1.{number}".encode()
        content = bytes(128) + b"DICM" + meta + element(8, 0x18, b"UI", uid + b".1")
        content += element(0x10, 0x20, b"LO", f"P{number}".encode()) + element(0x20, 0xD, b"UI", uid)
        (folder / "a.dcm").write_bytes(content)


VALUES = {name: 1.5 for name in tables.CSV_COLUMNS[3:20]} | {"case": "case", "ef_percent": 55.0, "edv_ml": 150.0}
FINDINGS = tuple(Doubt("base-matters", "warning", "EF depends on which slices count at the base") for _ in range(3))


@dataclass(frozen=True)
class Simulated:
    """A work that writes receipts; nothing waits for the disk."""

    results: Path
    recipe: Recipe

    def __call__(self) -> Callable[[Planned], Receipt]:
        return self.do

    def do(self, planned: Planned) -> Receipt:
        receipt = Receipt(
            key=planned.key,
            status=Status.DONE,
            inputs=planned.fingerprint,
            recipe=self.recipe,
            values=VALUES | {"ef_percent": 20 + 60 * (hash(planned.key) % 1000) / 1000},
            findings=FINDINGS,
        )
        stage = self.results / ".cohort" / f"stage-{planned.key}"
        stage.mkdir()
        (stage / RECEIPT_NAME).write_bytes(msgspec.json.encode(receipt))
        install(stage, self.results / "exams" / planned.key)
        return receipt


class InThisProcess:
    """An engine without processes."""

    def run(
        self, setup: Simulated, tasks: Iterable[Planned | None], limits: Limits
    ) -> Iterator[Outcome[Planned, Receipt]]:
        work = setup()
        for task in tasks:
            if task is not None:
                yield Outcome(task, work(task))


def simulate(count: int, folder: Path) -> None:
    """One simulated run, alone in its process so that its memory is its own."""
    root, results = folder / "root", folder / "results"
    write_simulated(root, count)
    work = Simulated(results, Recipe("options", "cinesax", "simulated 1", "0"))
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, clocks()
    run_cohort(Cohort(results, root), work, InThisProcess())  # type: ignore[arg-type]
    ran, after = since(start), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = clocks()
    run_cohort(Cohort(results, root), work, InThisProcess())  # type: ignore[arg-type]
    again = since(start)
    start = clocks()
    page = Page()
    with opened_plan(results) as plan:
        written = write_tables(results, plan, work.recipe, take=page.take)
    table = since(start)
    page.write(results / "index.html")
    paged = since(start)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{count:>7,} exams: plan and work {ran[0]:.1f} s (CPU {ran[1]:.1f} s), again {again[0]:.1f} s "
        f"(CPU {again[1]:.1f} s), table of {written.n_rows:,} rows {table[0]:.1f} s (CPU {table[1]:.1f} s), page "
        f"{paged[0] - table[0]:.1f} s; memory {before / 1024:.0f} MB before, {after / 1024:.0f} MB after the run, "
        f"{most / 1024:.0f} MB with table and page",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exams", type=int, default=9, help="phantoms for two jobs; 0: none (default 9)")
    parser.add_argument("--simulated", type=int, nargs="*", default=[1_000, 10_000, 100_000], metavar="N")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is not None:
        with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
            simulate(args.one, Path(folder))
        return
    if args.exams:
        measure_jobs(args.exams)
    for count in args.simulated:
        subprocess.run([sys.executable, __file__, "--one", str(count)], check=True)


if __name__ == "__main__":
    main()
