"""Run tasks in processes on this machine, with the standard library alone."""

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Generic

from cinesax.core.errors import EngineError, OutputError
from cinesax.engines.work import Limits, Loss, Outcome, Result, Setup, Task
from cinesax.engines.worker import Answer, NotReady, Ready, Start, receive, send

_FROM_OUTSIDE = (signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM, signal.SIGTERM)
_TAIL_BYTES = 4096
# A child process of the worker may hold the pipe open.
_PATIENCE_SECONDS = 2.0
_PAUSE_SECONDS = 1.0


@dataclass(eq=False, slots=True)
class _Worker(Generic[Task]):
    """A worker process and its task."""

    process: "subprocess.Popen[bytes]"
    orders: IO[bytes]
    complaints: IO[bytes]
    deadline: float
    ready: bool = False
    task: Task | None = None
    busy: bool = False
    done: int = 0
    listener: threading.Thread | None = None


@dataclass(frozen=True, slots=True)
class _Heard(Generic[Task]):
    """A message from a worker; None: the worker has ended."""

    worker: _Worker[Task]
    message: object


@dataclass(frozen=True, slots=True)
class LocalEngine:
    """Runs tasks in several processes at once.

    Attributes:
        jobs: the number of processes.
    """

    jobs: int = 1

    def run(
        self, setup: Setup[Task, Result], tasks: Iterable[Task | None], limits: Limits
    ) -> Generator[Outcome[Task, Result], None, None]:
        """Do every task: see `Engine`."""
        crew: _Crew[Task, Result] = _Crew(setup, limits)
        try:
            yield from crew.work(iter(tasks), self.jobs)
        finally:
            crew.stop()


@dataclass(eq=False)
class _Crew(Generic[Task, Result]):
    """The workers of one run."""

    setup: Setup[Task, Result]
    limits: Limits
    workers: list[_Worker[Task]] = field(default_factory=list)
    heard: "queue.SimpleQueue[_Heard[Task]]" = field(default_factory=queue.SimpleQueue)
    again: list[tuple[Task, int]] = field(default_factory=list)
    attempts: dict[int, int] = field(default_factory=dict)
    ask_again: float = 0.0

    def work(self, tasks: Iterator[Task | None], jobs: int) -> Iterator[Outcome[Task, Result]]:
        more = True
        while True:
            more = self._assign(tasks, jobs) if more or self.again else False
            if not any(worker.busy for worker in self.workers) and not more and not self.again:
                return
            outcome = self._next()
            if outcome is not None:
                yield outcome

    def _assign(self, tasks: Iterator[Task | None], jobs: int) -> bool:
        """Give every free worker a task; return whether there may be more tasks."""
        while sum(worker.busy for worker in self.workers) < jobs:
            if self.again:
                self._give(*self.again.pop())
                continue
            if time.monotonic() < self.ask_again:
                break
            try:
                task = next(tasks)
            except StopIteration:
                return False
            if task is None:
                self.ask_again = time.monotonic() + _PAUSE_SECONDS
                break
            self._give(task, 0)
        return True

    def _give(self, task: Task, attempts: int) -> None:
        worker = next((free for free in self.workers if not free.busy), None) or self._hire()
        worker.task, worker.busy = task, True
        self.attempts[id(worker)] = attempts + 1
        # A large task fills the pipe, so it is sent only when the worker is listening.
        if worker.ready:
            self._order(worker)

    def _order(self, worker: _Worker[Task]) -> None:
        worker.deadline = time.monotonic() + self.limits.seconds
        # If the worker has ended, its listening thread reports it.
        with suppress(OSError):
            send(worker.orders, worker.task)

    def _hire(self) -> _Worker[Task]:
        complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        process = subprocess.Popen(
            [sys.executable, "-m", "cinesax.engines.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            # Ctrl-C in the terminal must reach only the parent, which then stops its workers.
            start_new_session=True,
        )
        if process.stdin is None or process.stdout is None:
            raise OutputError("a worker process has no pipes")
        start = time.monotonic() + self.limits.start_seconds
        worker: _Worker[Task] = _Worker(process, process.stdin, complaints, start)
        self.workers.append(worker)
        worker.listener = threading.Thread(target=self._listen, args=(worker, process.stdout), daemon=True)
        worker.listener.start()
        with suppress(OSError):
            send(worker.orders, Start(self.limits.memory_bytes, tuple(sys.path)))
            send(worker.orders, self.setup)
        return worker

    def _listen(self, worker: _Worker[Task], answers: IO[bytes]) -> None:
        try:
            # ValueError: the pipe was closed during the wait.
            with suppress(EOFError, OSError, ValueError), answers:
                while True:
                    self.heard.put(_Heard(worker, receive(answers)))
        finally:
            self.heard.put(_Heard(worker, None))

    def _next(self) -> Outcome[Task, Result] | None:
        """Wait for a message, or until a task's time is over."""
        now = time.monotonic()
        deadlines = [worker.deadline for worker in self.workers if worker.busy]
        wait = min([*deadlines, *([self.ask_again] if self.ask_again > now else [])], default=now) - now
        try:
            # Short waits: on some systems an endless wait delays Ctrl-C.
            heard = self.heard.get(timeout=min(max(wait, 0.0), 1.0))
        except queue.Empty:
            return self._overdue()
        worker, message = heard.worker, heard.message
        if worker not in self.workers:
            return None  # a late message from a worker that was dismissed
        if isinstance(message, Ready):
            worker.ready = True
            self._order(worker)
            return None
        if isinstance(message, NotReady):
            raise message.error or EngineError(f"the work cannot start: {message.detail}")
        if isinstance(message, Answer):
            return self._answered(worker, message)
        return self._ended(worker)

    def _overdue(self) -> Outcome[Task, Result] | None:
        now = time.monotonic()
        worker = next((late for late in self.workers if late.busy and late.deadline <= now), None)
        if worker is None:
            return None
        if not worker.ready:
            raise EngineError(f"a worker process was not ready after {self.limits.start_seconds:.0f} s")
        task = self._dismiss(worker)
        return Outcome(task, loss=Loss.TIME, detail=f"took longer than {self.limits.seconds:g} s")

    def _answered(self, worker: _Worker[Task], answer: Answer) -> Outcome[Task, Result]:
        task = _task_of(worker)
        worker.task, worker.busy = None, False
        worker.done += 1
        grown = answer.resident_bytes > self.limits.grown_bytes or worker.done >= self.limits.tasks
        if answer.failed or grown:
            self._dismiss(worker)
        if not answer.failed:
            return Outcome(task, answer.result)  # type: ignore[arg-type]
        return Outcome(task, loss=Loss.MEMORY if answer.memory else Loss.BUG, detail=answer.detail)

    def _ended(self, worker: _Worker[Task]) -> Outcome[Task, Result] | None:
        """Handle a worker that has ended or was killed."""
        code, attempts, busy = worker.process.wait(), self.attempts[id(worker)], worker.busy
        words, ready = _last_line(worker.complaints), worker.ready
        if not busy:
            self._dismiss(worker)
            return None
        task = self._dismiss(worker)
        outside = -code in _FROM_OUTSIDE
        if not ready and not outside:
            raise EngineError(f"a worker process ended before it was ready ({_how(code)}): {words}")
        if outside and attempts < self.limits.attempts:
            self.again.append((task, attempts))
            return None
        return Outcome(task, loss=Loss.KILLED if outside else Loss.CRASH, detail=f"{_how(code)}; {words}".strip("; "))

    def _dismiss(self, worker: _Worker[Task]) -> Task:
        """End a process, and return its task."""
        self.workers.remove(worker)
        self.attempts.pop(id(worker), None)
        worker.process.kill()
        worker.process.wait()
        with suppress(OSError):
            worker.orders.close()
        worker.complaints.close()
        # Not alive: it has ended, or an interruption came before its start.
        if worker.listener is not None and worker.listener.is_alive():
            worker.listener.join(_PATIENCE_SECONDS)
        return worker.task  # type: ignore[return-value]

    def stop(self) -> None:
        """End all processes at once."""
        for worker in list(self.workers):
            self._dismiss(worker)


def _task_of(worker: _Worker[Task]) -> Task:
    return worker.task  # type: ignore[return-value]


def _last_line(complaints: IO[bytes]) -> str:
    size = os.fstat(complaints.fileno()).st_size
    complaints.seek(max(0, size - _TAIL_BYTES))
    lines = complaints.read().decode("utf-8", "replace").splitlines()
    # The first line that faulthandler writes names the error.
    fatal = [line for line in lines if line.startswith("Fatal Python error")]
    return (fatal or [line for line in lines if line.strip()] or [""])[-1].strip()


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
