"""Measure the left ventricle of every exam below ROOT, into one table.

An exam is a DICOM study, whose files may lie in several folders and zips, or a NIfTI cine. Each exam is analyzed in a
process of its own with limits on memory and time, so that a bad exam does not affect others. Its folder appears in
RESULTS/exams when it is complete. After an interruption (Ctrl-C, a power cut), the same command continues: exams that
are finished (each has a receipt) are not analyzed again, and results that a reader approved or edited are never
replaced. For research use; not a medical device.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cinesax.core.errors import UsageError, install_hint, printable
from cinesax.core.presence import BaseRule

if TYPE_CHECKING:
    from cinesax.cohort.run import Progress
    from cinesax.cohort.table import Tables
    from cinesax.cohort.work import ExamWork
    from cinesax.engines.work import Engine, Limits

_MOST_JOBS = 8
_LINE_SECONDS = 30.0
_GB = 1024**3


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "root",
        nargs="?",
        metavar="ROOT",
        help="the folder (or zip) that holds the exams; also one in a store, such as s3://bucket/folder (extra remote)",
    )
    parser.add_argument(
        "--list",
        type=Path,
        metavar="FILE",
        help="instead of ROOT: a .csv or .parquet table whose column `path` names the exams (paths or URLs); its other "
        "columns are copied into the result",
    )
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="RESULTS", help="the folder for the results")
    parser.add_argument(
        "--label",
        metavar="NAME",
        help="what names an exam in names.csv: patient-id, folder, or a column of --list; the table has only keys "
        "(default: as in the run before)",
    )
    parser.add_argument(
        "--outputs",
        metavar="A,B",
        help="what to write of each exam: report, csv, segmentation, contours, picture (these five by default), dicom; "
        "or none",
    )
    parser.add_argument(
        "--reader",
        type=Path,
        action="append",
        metavar="STORE",
        help="a store of cinesax view with readers' work (default: each folder cinesax-reader in or beside RESULTS)",
    )
    analysis = parser.add_argument_group("the analysis")
    analysis.add_argument(
        "--model",
        type=Path,
        metavar="BUNDLE",
        help="a bundle folder, without-chla or sunnybrook (default: the shipped network)",
    )
    analysis.add_argument(
        "--base",
        choices=tuple(BaseRule),
        default=BaseRule.HALF,
        help="which basal slices count: half (wall around at least half of the blood, default), any, or whole",
    )
    analysis.add_argument(
        "--unvalidated", action="store_true", help="draw and measure also what the network was not validated for"
    )
    again = parser.add_argument_group("exams that are finished")
    again.add_argument("--retry-failed", action="store_true", help="analyze failed exams again")
    again.add_argument(
        "--only-changed",
        action="store_true",
        help="analyze only exams whose files changed; keep results made by another version, network or option",
    )
    engine = parser.add_argument_group("the machines")
    engine.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="where exams are analyzed: on this machine (default), or on a Ray cluster (extra ray)",
    )
    engine.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="the head of the Ray cluster (default: RAY_ADDRESS, else a cluster on this machine, else a new one)",
    )
    limits = parser.add_argument_group("limits")
    limits.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="exams analyzed at a time (default: one per core, at most 8; of a Ray cluster, one per core)",
    )
    limits.add_argument(
        "--memory-gb", type=float, default=4.0, metavar="GB", help="memory of one exam (Linux; default: 4)"
    )
    limits.add_argument("--minutes", type=float, default=10.0, metavar="MIN", help="time for one exam (default: 10)")


def run(args: argparse.Namespace) -> None:
    """Plan, analyze, write the table and the page."""
    if (args.root is None) == (args.list is None):
        raise UsageError("give either the folder of the exams or --list FILE")
    from cinesax.cohort.planning.listed import check_label, read_list
    from cinesax.cohort.run import Again, Cohort, forget_leftovers, run_cohort
    from cinesax.cohort.stores import stores_beside
    from cinesax.cohort.work import CarriedNetwork, ExamWork, Options, network_of, recipe_of, shipped_or
    from cinesax.files.remote import is_remote
    from cinesax.network.bundle import shipped

    if args.address is not None and args.engine != "ray":
        raise UsageError("--address needs --engine ray")
    limits = _limits(args)
    engine, threads = _engine(args)
    outputs = _outputs(args.outputs)
    listed = () if args.list is None else read_list(args.list)
    if args.label is not None:
        check_label(args.label, listed)
    results = args.out.expanduser().resolve()
    root = None if args.root is None else _root(args.root)
    if root is not None and not is_remote(root) and results == root.resolve():
        raise UsageError(f"{args.out} is the folder of the exams: give another folder for the results")
    model = args.model if args.model is None or str(args.model) in shipped() else args.model.expanduser().resolve()
    options = Options(model, BaseRule(args.base), args.unvalidated, outputs, threads=threads)
    recipe = recipe_of(options, network_of(options))
    work = ExamWork(results, recipe, options, CarriedNetwork.of(options) if args.engine == "ray" else shipped_or)
    stores = tuple(args.reader or stores_beside(results))
    with _progress() as show:
        try:
            run_cohort(
                Cohort(results, root, listed, stores),
                work,
                engine,
                limits=limits,
                again=Again(args.retry_failed, args.only_changed),
                report=show,
            )
        except BaseException as ended:
            _tabulate_finished(work, args.label, stores)
            if isinstance(ended, KeyboardInterrupt):
                sys.stderr.write("cinesax: the exams that are finished are kept; the same command does the others\n")
            raise
    forget_leftovers(results)
    _conclude(results, _tabulate(work, args.label, stores))


def _root(text: str) -> Path:
    from cinesax.files.remote import is_url, place_of

    return place_of(text) if is_url(text) else Path(text).expanduser().absolute()


def _engine(args: argparse.Namespace) -> "tuple[Engine, int]":
    """The engine, and the threads of each exam."""
    from cinesax.engines.cluster import RayEngine, check_ray
    from cinesax.engines.local import LocalEngine

    if args.engine == "ray":
        check_ray()
        return RayEngine(args.address, args.jobs), 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    jobs = args.jobs if args.jobs is not None else min(cores, _MOST_JOBS)
    return LocalEngine(jobs), max(1, cores // jobs)


def _limits(args: argparse.Namespace) -> "Limits":
    from cinesax.engines.work import Limits

    if args.jobs is not None and args.jobs < 1:
        raise UsageError(f"--jobs must be at least 1, seen {args.jobs}")
    if not 0.25 <= args.memory_gb <= 1024 or not 0 < args.minutes <= 1440:
        raise UsageError("--memory-gb must be from 0.25 to 1024, --minutes above 0 and at most 1440")
    memory = int(args.memory_gb * _GB)
    return Limits(memory_bytes=memory, seconds=60 * args.minutes, grown_bytes=memory // 2)


def _outputs(text: str | None) -> tuple[str, ...]:
    from cinesax.cohort.work import DEFAULT_OUTPUTS, OUTPUTS

    if text is None:
        return DEFAULT_OUTPUTS
    names = tuple(name.strip() for name in text.split(",") if name.strip() not in ("", "none"))
    unknown = [name for name in names if name not in OUTPUTS]
    if unknown:
        raise UsageError(f"--outputs must be of {', '.join(OUTPUTS)} or none, seen {unknown[0]}")
    return names


def _tabulate(work: "ExamWork", label: str | None, stores: Iterable[Path]) -> "Tables":
    from cinesax.cohort.page import PAGE_NAME, Page
    from cinesax.cohort.run import opened_plan
    from cinesax.cohort.stores import read_stores
    from cinesax.cohort.table import write_tables

    page = Page()
    with opened_plan(work.results) as plan:
        tables = write_tables(work.results, plan, work.recipe, label=label, stores=read_stores(stores), take=page.take)
    page.write(work.results / PAGE_NAME)
    return tables


def _tabulate_finished(work: "ExamWork", label: str | None, stores: Iterable[Path]) -> None:
    """Write the table of an interrupted run. Its own errors are only printed: the caller raises what ended the run."""
    import sqlite3

    from cinesax.core.errors import CinesaxError

    if not (work.results / ".cohort" / "plan.sqlite").exists():
        return
    try:
        _tabulate(work, label, stores)
    except (CinesaxError, OSError, sqlite3.Error) as error:
        sys.stderr.write(f"cinesax: the table could not be written: {printable(str(error))}\n")


@contextmanager
def _progress() -> "Iterator[Callable[[str, Progress], None]]":
    """A function that shows progress: in a terminal one line that is rewritten, otherwise a line every 30 s."""
    terminal = sys.stderr.isatty()
    last = 0.0 if terminal else time.monotonic()

    def show(step: str, progress: "Progress") -> None:
        nonlocal last
        now = time.monotonic()
        finished = step == "analyze" and progress.left == 0
        if now - last < (0.2 if terminal else _LINE_SECONDS) and not finished:
            return
        last = now
        line = words(step, progress)
        sys.stderr.write(f"\r\x1b[K{line}" if terminal else f"{line}\n")
        sys.stderr.flush()

    try:
        yield show
    finally:
        if terminal and last:
            sys.stderr.write("\n")


def words(step: str, progress: "Progress") -> str:
    """The progress of a run, in one line."""
    if step == "find":
        return f"looking for exams: {progress.planned:,} files"
    finished = progress.planned - progress.left
    parts = [f"{finished:,} of {progress.planned:,} {'exam' if progress.planned == 1 else 'exams'}"]
    if progress.done + progress.failed:
        parts.append(f"{60 * progress.per_second:.1f} a minute")
        if progress.left:
            parts.append(f"{_duration(progress.left / progress.per_second)} left")
    if progress.failed:
        parts.append(f"{progress.failed:,} failed (last: {_shortened(printable(progress.last_failure))})")
    if progress.elsewhere:
        parts.append(f"{progress.elsewhere:,} in another run")
    return ", ".join(parts)


def _shortened(text: str, most: int = 120) -> str:
    """The beginning of a text: whole words, and no half of a parenthesis."""
    if len(text) <= most:
        return text
    start = text[:most].rsplit(" ", 1)[0]
    if start.count("(") > start.count(")"):
        start = start[: start.rindex("(")]
    return f"{start.rstrip(' ,;:')} ..."


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _conclude(results: Path, tables: "Tables") -> None:
    from rich.console import Console

    from cinesax.cohort.table import EXCEL_ROWS

    console = Console(highlight=False)
    console.print(
        f"written: {results / 'index.html'}, cohort.csv ({tables.n_rows:,} {'row' if tables.n_rows == 1 else 'rows'})",
        soft_wrap=True,
        markup=False,
    )
    if tables.missing_extra:
        console.print(f"for cohort.parquet and cohort.xlsx {install_hint('tables')}", soft_wrap=True, markup=False)
    elif tables.without_excel:
        console.print(f"no cohort.xlsx above {EXCEL_ROWS:,} rows: open cohort.csv or cohort.parquet", soft_wrap=True)
