"""One run over a cohort: plan, work, table. After any interruption the same command continues.

find and group -> plan.sqlite        which exams there are
engine, one exam at a time           exams/CASE/ with its receipt, complete or not at all
receipts -> table, page              the same rows, after however many runs
"""

import errno
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
from cinesax.core.errors import CinesaxError, InputError, OutputError, UsageError
from cinesax.engines.work import Engine, Limits, Loss, Outcome
from cinesax.files.remote import RemoteError, is_remote, look, shown
from cinesax.files.temporary import remove_lost

_LOSSES = {
    Loss.MEMORY: Reason.MEMORY,
    Loss.TIME: Reason.TIME,
    Loss.CRASH: Reason.CRASH,
    Loss.KILLED: Reason.KILLED,
    Loss.BUG: Reason.BUG,
}


@dataclass(frozen=True, slots=True)
class Again:
    """The exams with a receipt that are analyzed again.

    Attributes:
        failed: whether to analyze failed exams again, for any reason.
        only_changed: whether to skip exams of which only the recipe (options, version, network, calibration) changed.
    """

    failed: bool = False
    only_changed: bool = False


@dataclass(slots=True)
class Progress:
    """The progress of a run.

    Attributes:
        planned: number of exams in the cohort.
        up_to_date: number of exams that did not need work.
        done, failed: number of exams that this run finished, and that failed in it.
        elsewhere: number of exams that another run is working on.
        started: time.monotonic() when work began.
        last_failure: the last failure, in words.
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
        """Exams that this run finishes per second."""
        return (self.done + self.failed) / max(time.monotonic() - self.started, 1e-9)

    @property
    def left(self) -> int:
        """Number of exams still to do."""
        return max(0, self.planned - self.up_to_date - self.done - self.failed)


Report = Callable[[str, Progress], None]
"""Called with the step ("find", "analyze") and its progress."""


@dataclass(frozen=True, slots=True)
class Cohort:
    """The input of a run.

    Attributes:
        results: the folder of results.
        root: the folder that holds the exams, or its place in a store; None with a list.
        listed: the exams of a list.
        stores: the stores of `cinesax view` with the work of readers.
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
    """Find the exams, analyze those that need it, and write a receipt for each.

    Raises:
        UsageError, InputError: there is no exam.
        OutputError: the folder of results cannot be written.
        BundleError: the network cannot be used.
    """
    report = report or _silent
    progress = Progress()
    made = check_results(cohort.results)
    try:
        make_plan(cohort, lambda count: report("find", Progress(planned=count)))
    except CinesaxError:
        for folder in made:
            with suppress(OSError):  # another run may have put something there
                folder.rmdir()
        raise
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
            with suppress(OSError):
                remove_lost()
    return progress


def _silent(step: str, progress: Progress) -> None:
    """Report nothing."""


def check_results(results: Path) -> list[Path]:
    """Make the folder of results, or raise OutputError; a folder of something else is refused.

    Returns:
        The folders that were not there before, the innermost first.
    """
    inner = (results / "exams", results / ".cohort", results, *results.parents)
    made = [folder for folder in inner if not folder.exists()]
    try:
        if results.is_dir() and any(results.iterdir()) and not (results / ".cohort").is_dir():
            raise OutputError(f"{results} holds other files: give a new folder, or the results of an earlier cohort")
        (results / ".cohort").mkdir(parents=True, exist_ok=True)
        (results / "exams").mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{results} cannot be used as the folder of results: {error.strerror or error}") from error
    return made


def make_plan(cohort: Cohort, report: Callable[[int], None]) -> None:
    """Find all exams, and replace the last plan."""
    folder = cohort.results / ".cohort"
    if cohort.root is not None:
        _check_root(cohort.root)
    draft = folder / f"plan-{secrets.token_hex(4)}.sqlite"
    try:
        plan = Plan(draft)
        plan.know(folder / "plan.sqlite")
        for scope, (root, name, columns) in enumerate(_roots(cohort)):
            plan.add_scope(scope, root, name, columns)
            for count in find(root, plan, scope=scope, leave_out=cohort.results):
                report(count)
        group(plan)
        nothing = _no_exam(cohort, plan)
        plan.close()
        if nothing:
            raise InputError(nothing)
        os.replace(draft, folder / "plan.sqlite")
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from error
    except sqlite3.Error as error:  # a full disk, among others
        raise OutputError(f"the plan in {folder} cannot be written: {error}") from error
    finally:
        draft.unlink(missing_ok=True)


def _check_root(root: Path) -> None:
    try:
        if is_remote(root):
            look(root)
            return
    except RemoteError as error:
        if error.errno != errno.ENOENT:
            raise InputError(f"{shown(root)} cannot be read: {error.strerror}") from error
    if not root.exists():
        raise InputError(f"{shown(root)} does not exist: give the folder that holds the exams")


def _no_exam(cohort: Cohort, plan: Plan) -> str:
    """What to say where nothing below the root is an exam; "" where something is, or where a list names paths."""
    if plan.count() and (cohort.root is None or plan.holds_images()):
        return ""
    message = f"there is no exam below {'the paths of the list' if cohort.root is None else shown(cohort.root)}"
    unreadable = next(plan.exams(), None)
    if unreadable is None:
        return message
    name = (unreadable.files[0].member or unreadable.files[0].path.name) if unreadable.files else unreadable.root.name
    return f"{message}: no file there can be read as an image, such as {name}"


def _roots(cohort: Cohort) -> Iterator[tuple[Path, str, dict[str, str]]]:
    if cohort.root is not None:
        yield cohort.root, "", {}
    for entry in cohort.listed:
        yield entry.path, entry.name, dict(entry.columns)
    if cohort.root is None and not cohort.listed:
        raise UsageError("give a folder of exams, or a list of them")


@contextmanager
def opened_plan(results: Path) -> Iterator[Plan]:
    """The last plan, opened from a copy that other runs do not replace."""
    folder = results / ".cohort"
    copy = folder / f"reading-{secrets.token_hex(4)}.sqlite"
    try:
        # A link is enough: the next plan is a new file.
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
        """Whether the receipt is missing, outdated or a failure to repeat; never if a person has worked on the exam."""
        folder = self.results / "exams" / planned.key
        receipt = read_receipt(folder)
        if receipt is None:
            return True
        if planned.absent and receipt.status is Status.DONE:
            return False  # its values stay until its files are back
        changed = receipt.inputs != planned.fingerprint
        other = receipt.recipe != self.recipe and not self.again.only_changed
        failed = receipt.status is Status.FAILED and (self.again.failed or receipt.reason in PASSING)
        return (changed or other or failed) and human_version(folder, receipt, self.stores) is None


def _tasks(plan: Plan, claims: Claims, chooser: _Chooser, progress: Progress) -> Iterator[Planned | None]:
    """The exams that need work. Exams that another run has claimed come last, when that run releases them.

    None says that only such exams are left. To wait here instead would stop this run from noting what it has finished,
    and the other run may be waiting for just that.
    """
    elsewhere: list[str] = []
    for planned in plan.exams():
        if not chooser.needs_work(planned):
            progress.up_to_date += 1
        elif not claims.take(planned.key):
            elsewhere.append(planned.key)
            progress.elsewhere = len(elsewhere)
        elif chooser.needs_work(planned):  # another run may just have done it
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
            # An exam that just failed in the other run is not tried again; an exam whose run was killed is.
            if once.needs_work(planned):
                yield planned
            else:
                progress.up_to_date += 1
                claims.give_back(planned.key)
        if elsewhere:
            yield None


def _note(outcome: "Outcome[Planned, Receipt]", work: ExamWork, progress: Progress) -> None:
    """Count an outcome. If the exam was lost with its worker, write its receipt."""
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

    text = {
        Reason.MEMORY: "the exam needs more memory than the limit (--memory-gb)",
        Reason.TIME: "the exam took longer than the limit (--minutes)",
        Reason.CRASH: "the process of the exam crashed",
        Reason.KILLED: "the process of the exam was killed each of the three times: the machine may be short of memory",
        Reason.BUG: "a bug in cinesax: please report it",
    }[reason]
    if reason in (Reason.CRASH, Reason.BUG) and detail:
        text += f" ({cleaned(detail, planned)})"
    return text


def forget_leftovers(results: Path, *, older_than_seconds: float = 86_400) -> None:
    """Remove what killed runs left in the hidden folder: plans and stages that have not changed for a day."""
    folder = results / ".cohort"
    limit = time.time() - older_than_seconds
    for path in _leftovers(folder):
        with suppress(OSError):
            if path.stat().st_mtime < limit:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _leftovers(folder: Path) -> Iterable[Path]:
    return (*folder.glob("plan-*.sqlite"), *folder.glob("reading-*.sqlite"), *folder.glob("stage/*"))
