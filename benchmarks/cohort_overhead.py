"""What a cohort costs an exam on top of `analyze`: the same exams, one worker, one thread.

    python benchmarks/cohort_overhead.py                      with the network, and with a stub in its place
    python benchmarks/cohort_overhead.py --network none --exams 24 --rounds 8

Overhead is all that the command and its worker do for an exam, without what `analyze` and `write_results` do: planning,
choosing and claiming the exam, the message to the worker, fingerprints, picture, receipt, the answer, and its row in
table and page. Shares of plan, table and page are what they take for all exams, without what they take for one. What a
run takes only once (starting the worker, loading the network) stands beside it.

1. Directly: clocks in the worker measure reading, `analyze`, removing names and `write_results`. The overhead is all
   other time of the same exam, so what the machine does meanwhile hardly matters.
2. In pairs: a second process, with the network loaded, analyzes the same exam and writes its results just before or
   just after, by turns. The overhead is the difference; it would also show work that is slower in a worker. A core
   whose speed varies by a third, as those of virtual machines do, makes it uncertain by some 25 ms.

CPU time is that of the command and its worker. Intervals are of 95 % (bootstrap over exams and rounds). The stub draws
squares. Linux only.
"""

import argparse
import importlib
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

import crowd  # noqa: E402
from cinesax.cohort.page import Page  # noqa: E402
from cinesax.cohort.planning.plan import Planned  # noqa: E402
from cinesax.cohort.receipt import Receipt, Recipe, Status  # noqa: E402
from cinesax.cohort.run import Cohort, check_results, make_plan, opened_plan, run_cohort  # noqa: E402
from cinesax.cohort.table import write_tables  # noqa: E402
from cinesax.cohort.work import ExamWork, Options, network_of, recipe_of, shipped_or  # noqa: E402
from cinesax.engines.local import LocalEngine  # noqa: E402
from cinesax.engines.work import Limits, Outcome, Setup  # noqa: E402
from cohort import write_phantoms  # noqa: E402

OPTIONS = Options(threads=1)


@dataclass(frozen=True)
class Cost:
    """Wall time, and CPU time of the command and of its worker, in ms."""

    wall: float
    parent: float
    worker: float = 0.0

    def __sub__(self, other: Self) -> Self:
        return type(self)(self.wall - other.wall, self.parent - other.parent, self.worker - other.worker)

    def __truediv__(self, count: int) -> Self:
        return type(self)(self.wall / count, self.parent / count, self.worker / count)

    @property
    def cpu(self) -> float:
        return self.parent + self.worker


def now(without: int | None = None) -> Cost:
    """The clocks of this process and of its children, except one of them."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    living = [int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()]
    # See clock_getcpuclockid(3): the CPU clock of another process.
    others = sum(time.clock_gettime(~pid << 3 | 2) for pid in living if pid != without)
    return Cost(
        1000 * time.perf_counter(), 1000 * time.process_time(), 1000 * (others + ended.ru_utime + ended.ru_stime)
    )


class Alone:
    """A process with the network loaded that analyzes an exam and writes its results."""

    def __init__(self, network: str, out: Path) -> None:
        self._out, self._count = out, 0
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--alone", "--network", network],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    def analyze(self, exam: Path) -> Cost:
        """Analyze an exam; the cost is measured in the process itself."""
        self._count += 1
        self._process.stdin.write(f"{exam}\t{self._out / str(self._count)}\n")
        self._process.stdin.flush()
        return Cost(*map(float, self._process.stdout.readline().split()))

    def stop(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def serve(network: str) -> None:
    """The program of `Alone`."""
    from cinesax.analyze import analyze
    from cinesax.results.write import write_results

    segmenter = LOADS[network](OPTIONS)
    for line in sys.stdin:
        exam, out = line.rstrip("\n").split("\t")
        wall, cpu = time.perf_counter(), time.process_time()
        write_results(analyze(exam, segmenter=segmenter), out)
        print(1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu), flush=True)


@dataclass(frozen=True)
class Timed:
    """The setup of a worker that also notes the clocks of what `analyze` and `write_results` do.

    Attributes:
        work: the setup.
        notes: a file to which each exam appends wall and CPU time, in ms.
    """

    work: ExamWork
    notes: Path

    def __call__(self) -> Callable[[Planned], Receipt]:
        spent = [0.0, 0.0]
        for module, name in (
            ("cinesax.cohort.work", "_cine"),
            ("cinesax.analyze", "analyze"),
            ("cinesax.results.privacy", "pseudonymise"),
            ("cinesax.results.write", "write_results"),
        ):
            place = importlib.import_module(module)
            setattr(place, name, _clocked(getattr(place, name), spent))
        do = self.work()

        def timed(planned: Planned) -> Receipt:
            spent[:] = 0.0, 0.0
            receipt = do(planned)
            with self.notes.open("a") as stream:
                stream.write(f"{spent[0]} {spent[1]}\n")
            return receipt

        return timed


def _clocked(function: Callable[..., object], spent: list[float]) -> Callable[..., object]:
    def call(*args: object, **options: object) -> object:
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            return function(*args, **options)
        finally:
            spent[0] += 1000 * (time.perf_counter() - wall)
            spent[1] += 1000 * (time.process_time() - cpu)

    return call


@dataclass
class Pairs:
    """An engine with one worker. Before or after each exam, by turns, the exam is also analyzed alone."""

    alone: Alone
    turn: int
    notes: Path
    keys: list[str] = field(default_factory=list)
    in_cohort: list[Cost] = field(default_factory=list)
    by_itself: list[Cost] = field(default_factory=list)

    def run(
        self, setup: Setup[Planned, Receipt], tasks: Iterable[Planned | None], limits: Limits
    ) -> Iterator[Outcome[Planned, Receipt]]:
        # A worker cannot find the classes of a main program.
        timed = sys.modules["cohort_overhead"].Timed(setup, self.notes)
        for outcome in LocalEngine(1).run(timed, self._between(iter(tasks)), limits):
            if outcome.result is None or outcome.result.status is not Status.DONE:
                raise RuntimeError(f"an exam failed: {outcome}")
            yield outcome

    def _between(self, tasks: Iterator[Planned]) -> Iterator[Planned]:
        """The tasks; while one is fetched and while it is done, the clock of the cohort runs."""
        start = now(self.alone.pid)
        task = next(tasks, None)
        chosen = now(self.alone.pid) - start
        while task is not None:
            first = (len(self.keys) + self.turn) % 2 == 0
            if first:
                self.by_itself.append(self.alone.analyze(task.root))
            start = now(self.alone.pid)
            yield task
            done = now(self.alone.pid) - start
            self.in_cohort.append(Cost(done.wall + chosen.wall, done.parent + chosen.parent, done.worker))
            self.keys.append(task.key)
            if not first:
                self.by_itself.append(self.alone.analyze(task.root))
            start = now(self.alone.pid)
            task = next(tasks, None)
            chosen = now(self.alone.pid) - start

    def differences(self) -> list[Cost]:
        """By pairs, of all exams but the first, during which the worker starts."""
        pairs = list(zip(self.in_cohort, self.by_itself, strict=True))[1:]
        return [Cost(one.wall - two.wall, one.parent, one.worker - two.parent) for one, two in pairs]

    def rest(self) -> list[Cost]:
        """Directly, of the same exams."""
        inner = [tuple(map(float, line.split())) for line in self.notes.read_text().splitlines()]
        pairs = list(zip(self.in_cohort, inner, strict=True))[1:]
        return [Cost(one.wall - wall, one.parent, one.worker - cpu) for one, (wall, cpu) in pairs]


def timed(work: Callable[[], object]) -> Cost:
    start = now()
    work()
    return now() - start


def plan(results: Path, root: Path) -> None:
    check_results(results)
    make_plan(Cohort(results, root), lambda count: None)


def tabulate(results: Path, recipe: Recipe) -> None:
    page = Page()
    with opened_plan(results) as opened:
        write_tables(results, opened, recipe, take=page.take)
    page.write(results / "index.html")


def interval(values: Sequence[float], of: Callable[..., np.ndarray]) -> str:
    """The value, and its interval of 95 % by bootstrap."""
    drawn = np.random.default_rng(0).choice(np.asarray(values), (2000, len(values)))
    low, high = np.percentile(of(drawn, axis=1), (2.5, 97.5))
    return f"{of(values):6.1f} ms ({low:.1f} to {high:.1f})"


@dataclass
class Figures:
    """What was measured, by exam or by round.

    Attributes:
        direct, paired: the cost of an exam without that of its analysis.
        whole: the cost of an exam.
        plans, tables: the shares of an exam.
        starts: until the worker is ready.
    """

    direct: list[Cost] = field(default_factory=list)
    paired: list[Cost] = field(default_factory=list)
    whole: list[Cost] = field(default_factory=list)
    plans: list[Cost] = field(default_factory=list)
    tables: list[Cost] = field(default_factory=list)
    starts: list[Cost] = field(default_factory=list)


def measure(network: str, count: int, rounds: int, base: Path) -> Figures:
    roots = base / "few", base / "exams"
    write_phantoms(roots[1], count)
    shutil.copytree(roots[1] / "p000", roots[0] / "p000")
    recipe = recipe_of(OPTIONS, crowd.NETWORK if network == "none" else network_of(OPTIONS))
    alone, figures = Alone(network, base / "alone"), Figures()
    try:
        for turn in range(rounds + 1):
            results = [base / f"{root.name} {turn}" for root in roots]
            first, pairs = (Pairs(alone, turn, base / f"{root.name} {turn}.txt") for root in roots)
            run_cohort(Cohort(results[0], roots[0]), ExamWork(results[0], recipe, OPTIONS, LOADS[network]), first)
            if turn == 0:  # the first time loads modules
                tabulate(results[0], recipe)
                continue
            run_cohort(Cohort(results[1], roots[1]), ExamWork(results[1], recipe, OPTIONS, LOADS[network]), pairs)
            figures.direct += pairs.rest()
            figures.paired += pairs.differences()
            figures.whole += pairs.in_cohort[1:]
            figures.starts.append(first.in_cohort[0] - median(pairs.in_cohort[1:]))
            few, many = (timed(partial(plan, base / f"plan {turn} {root.name}", root)) for root in roots)
            figures.plans.append((many - few) / (count - 1))
            few, many = (timed(partial(tabulate, folder, recipe)) for folder in results)
            figures.tables.append((many - few) / (count - 1))
    finally:
        alone.stop()
    return figures


def median(costs: Sequence[Cost]) -> Cost:
    return Cost(*(statistics.median(getattr(one, name) for one in costs) for name in ("wall", "parent", "worker")))


def print_figures(network: str, figures: Figures) -> None:
    whole, plans, tables, starts = map(median, (figures.whole, figures.plans, figures.tables, figures.starts))
    name = "the shipped network" if network == "shipped" else "a stub"
    print(f"{name}: {len(figures.whole)} exams of {whole.wall:.0f} ms in the cohort (CPU {whole.cpu:.0f} ms)")
    for way, costs in (("directly", figures.direct), ("in pairs", figures.paired)):
        wall = [one.wall + plans.wall + tables.wall for one in costs]
        cpu = [one.cpu + plans.cpu + tables.cpu for one in costs]
        print(f"  overhead {way}: wall time, median {interval(wall, np.median)}, mean {interval(wall, np.mean)}")
        print(f"                     CPU time,  median {interval(cpu, np.median)}, mean {interval(cpu, np.mean)}")
    direct = median(figures.direct)
    print(
        f"  of the CPU time directly: plan {plans.cpu:.1f} ms, command {direct.parent:.1f}, worker "
        f"{direct.worker:.1f}, table and page {tables.cpu:.1f} ms"
    )
    print(f"  once a run: {starts.wall:.0f} ms until the worker is ready (CPU {starts.cpu:.0f} ms)", flush=True)


LOADS = {"shipped": shipped_or, "none": crowd.stub}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=tuple(LOADS), help="shipped, or none: a stub (default: both)")
    parser.add_argument("--exams", type=int, default=12, help="phantoms (default 12)")
    parser.add_argument("--rounds", type=int, default=4, help="how often each is analyzed in both ways (default 4)")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.alone:
        serve(args.network)
        return
    for network in LOADS if args.network is None else (args.network,):
        with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
            print_figures(network, measure(network, args.exams, args.rounds, Path(folder)))


if __name__ == "__main__":
    import cohort_overhead

    cohort_overhead.main()
