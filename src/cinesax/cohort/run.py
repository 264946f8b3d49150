"""One run over a cohort: plan, work, table. Whatever ends it, the same command goes on.

find and group -> plan.sqlite        which exams there are
engine, one exam at a time           exams/CASE/ with its receipt, whole or not at all
receipts -> table, page              the same rows, however many runs it took
"""

import os
import secrets
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from cinesax.cohort.claims import Claims
from cinesax.cohort.planning.find import find
from cinesax.cohort.planning.group import group
from cinesax.cohort.planning.listed import Listed
from cinesax.cohort.planning.plan import Plan, Planned
from cinesax.cohort.receipt import PASSING, Reason, Receipt, Recipe, Status, read_receipt
from cinesax.cohort.review import human_version
from cinesax.cohort.stores import Stores, read_stores
from cinesax.cohort.work import ExamWork, failure, keep_failure
from cinesax.core.errors import InputError, OutputError, UsageError
from cinesax.engines.work import Engine, Limits, Loss, Outcome

_WAIT_SECONDS = 1.0
_LOSSES = {
    Loss.MEMORY: Reason.MEMORY,
    Loss.TIME: Reason.TIME,
    Loss.CRASH: Reason.CRASH,
    Loss.KILLED: Reason.KILLED,
    Loss.BUG: Reason.BUG,
}


@dataclass(frozen=True, slots=True)
class Again:
    """Which exams run again although they have a receipt.

    Attributes:
        failed: those that failed, for whatever reason.
        only_changed: of those with another recipe (options, version, network) none: only exams whose files changed.
    """

    failed: bool = False
    only_changed: bool = False


@dataclass(slots=True)
class Progress:
    """How far a run got.

    Attributes:
        planned: exams of the cohort.
        up_to_date: those that had nothing to do.
        done, failed: those of this run.
        elsewhere: those that another run is working on.
        started: time.monotonic() when work began.
        last_failure: the last one, in words.
    """

    planned: int = 0
    up_to_date: int = 0
    done: int = 0
    failed: int = 0
    elsewhere: int = 0
    started: float = field(default_factory=time.monotonic)
    last_failure: str = ""

    @property
    def per_second(self) -> float:
        """Exams that this run finishes in a second."""
        return (self.done + self.failed) / max(time.monotonic() - self.started, 1e-9)

    @property
    def left(self) -> int:
        """Exams that are still to do."""
        return max(0, self.planned - self.up_to_date - self.done - self.failed)


Report = Callable[[str, Progress], None]
"""Told of the step ("find", "analyze") and how far it is."""


@dataclass(frozen=True, slots=True)
class Cohort:
    """What a run works on.

    Attributes:
        results: the folder of results.
        root: below which exams are looked for; or
        listed: the exams of a list.
        stores: folders in which `cinesax view` keeps what readers do.
    """

    results: Path
    root: Path | None = None
    listed: tuple[Listed, ...] = ()
    stores: tuple[Path, ...] = ()


def run_cohort(
    cohort: Cohort,
    work: ExamWork,
    engine: Engine,
    *,
    limits: Limits | None = None,
    again: Again | None = None,
    report: Report | None = None,
) -> Progress:
    """Find the exams, analyze those that need it, and leave a receipt for each.

    Raises:
        UsageError, InputError: there is nothing to look for.
        OutputError: the folder of results cannot be written.
        BundleError: the network cannot be used.
    """
    report = report or _silent
    progress = Progress()
    check_results(cohort.results)
    make_plan(cohort, lambda count: report("find", Progress(planned=count)))
    with opened_plan(cohort.results) as plan, Claims(cohort.results) as claims:
        progress.planned, progress.started = plan.count(), time.monotonic()
        chooser = _Chooser(cohort.results, work.recipe, again or Again(), read_stores(cohort.stores))
        tasks = _tasks(plan, claims, chooser, progress)
        outcomes = engine.run(work, tasks, limits or Limits())
        try:
            for outcome in outcomes:
                _note(outcome, work, progress)
                claims.give_back(outcome.task.key)
                report("analyze", progress)
        finally:
            close = getattr(outcomes, "close", None)
            if close is not None:
                close()
    return progress


def _silent(step: str, progress: Progress) -> None:
    """Nobody wants to know."""


def check_results(results: Path) -> None:
    """Make the folder of results, or raise OutputError; a folder of something else is refused."""
    try:
        if results.is_dir() and any(results.iterdir()) and not (results / ".cohort").is_dir():
            raise OutputError(f"{results} holds other files: give a new folder, or that of an earlier cohort")
        (results / ".cohort").mkdir(parents=True, exist_ok=True)
        (results / "exams").mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{results} cannot be the folder of results: {error.strerror or error}") from error


def make_plan(cohort: Cohort, tell: Callable[[int], None]) -> None:
    """Find all exams, and put the plan in the place of the last one."""
    folder = cohort.results / ".cohort"
    if cohort.root is not None and not cohort.root.exists():
        raise InputError(f"{cohort.root} does not exist: give the folder that holds the exams")
    draft = folder / f"plan-{secrets.token_hex(4)}.sqlite"
    try:
        plan = Plan(draft)
        plan.know(folder / "plan.sqlite")
        for scope, (root, name, columns) in enumerate(_roots(cohort)):
            plan.add_scope(scope, root, name, columns)
            for count in find(root, plan, scope=scope, leave_out=cohort.results):
                tell(count)
        group(plan)
        if not plan.count():
            plan.close()
            raise InputError(f"there is no exam below {cohort.root or 'the paths of the list'}")
        plan.close()
        os.replace(draft, folder / "plan.sqlite")
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from error
    except sqlite3.Error as error:  # a full disk, among others
        raise OutputError(f"the plan in {folder} cannot be written: {error}") from error
    finally:
        draft.unlink(missing_ok=True)


def _roots(cohort: Cohort) -> Iterator[tuple[Path, str, dict[str, str]]]:
    if cohort.root is not None:
        yield cohort.root, "", {}
    for one in cohort.listed:
        yield one.path, one.name, dict(one.columns)
    if cohort.root is None and not cohort.listed:
        raise UsageError("give a folder of exams, or a list of them")


@contextmanager
def opened_plan(results: Path) -> Iterator[Plan]:
    """The last plan, of a copy that no other run replaces while it is read."""
    folder = results / ".cohort"
    copy = folder / f"reading-{secrets.token_hex(4)}.sqlite"
    try:
        # A link is enough: the next plan gets a file of its own.
        try:
            os.link(folder / "plan.sqlite", copy)
        except OSError:
            shutil.copyfile(folder / "plan.sqlite", copy)
        plan = Plan(copy)
        yield plan
        plan.close()
    finally:
        copy.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Chooser:
    """Decides which exams need work."""

    results: Path
    recipe: Recipe
    again: Again
    stores: Stores

    def needs_work(self, planned: Planned) -> bool:
        """Whether there is no receipt, or one of something else; never where a person has worked."""
        folder = self.results / "exams" / planned.key
        receipt = read_receipt(folder)
        if receipt is None:
            return True
        changed = receipt.inputs != planned.fingerprint
        other = receipt.recipe != self.recipe and not self.again.only_changed
        failed = receipt.status is Status.FAILED and (self.again.failed or receipt.reason in PASSING)
        return (changed or other or failed) and human_version(folder, receipt, self.stores) is None


def _tasks(plan: Plan, claims: Claims, chooser: _Chooser, progress: Progress) -> Iterator[Planned]:
    """The exams that need work and that no other run has; those of other runs are waited for."""
    elsewhere: list[str] = []
    for planned in plan.exams():
        if not chooser.needs_work(planned):
            progress.up_to_date += 1
        elif not claims.take(planned.key):
            elsewhere.append(planned.key)
            progress.elsewhere = len(elsewhere)
        elif chooser.needs_work(planned):  # the other run may just have done it
            yield planned
        else:
            progress.up_to_date += 1
            claims.give_back(planned.key)
    once = replace(chooser, again=Again(only_changed=chooser.again.only_changed))
    while elsewhere:
        for planned in plan.some(elsewhere):
            if not claims.take(planned.key):
                continue
            elsewhere.remove(planned.key)
            progress.elsewhere = len(elsewhere)
            # What failed there just now is not tried again here; what was killed there is.
            if once.needs_work(planned):
                yield planned
            else:
                progress.up_to_date += 1
                claims.give_back(planned.key)
        time.sleep(_WAIT_SECONDS)


def _note(outcome: "Outcome[Planned, Receipt]", work: ExamWork, progress: Progress) -> None:
    """Count an outcome; the receipt of a lost one is written here."""
    receipt = outcome.result
    if receipt is None:
        reason = _LOSSES[outcome.loss or Loss.BUG]
        receipt = failure(outcome.task, work.recipe, reason, _words(reason, outcome.detail, outcome.task))
        keep_failure(receipt, work.results)
    if receipt.status is Status.DONE:
        progress.done += 1
        return
    progress.failed += 1
    progress.last_failure = f"{receipt.key}: {receipt.reason}: {receipt.message}"


def _words(reason: Reason, detail: str, planned: Planned) -> str:
    from cinesax.cohort.work import cleaned

    told = {
        Reason.MEMORY: "needs more memory than the limit (--memory-gb)",
        Reason.TIME: "took longer than the limit (--minutes)",
        Reason.CRASH: "the process that read it crashed",
        Reason.KILLED: "the process that read it was killed, each time: the machine may be short of memory",
        Reason.BUG: "a bug in cinesax: please report it",
    }[reason]
    if reason in (Reason.CRASH, Reason.BUG) and detail:
        told += f" ({cleaned(detail, planned)})"
    return told


def forget_leftovers(results: Path, *, older_than_seconds: float = 86_400) -> None:
    """Remove what killed runs left in the hidden folder: plans and stages that nobody has touched for a day."""
    folder = results / ".cohort"
    limit = time.time() - older_than_seconds
    for path in _leftovers(folder):
        with suppress(OSError):
            if path.stat().st_mtime < limit:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _leftovers(folder: Path) -> Iterable[Path]:
    return (*folder.glob("plan-*.sqlite"), *folder.glob("reading-*.sqlite"), *folder.glob("stage/*"))
