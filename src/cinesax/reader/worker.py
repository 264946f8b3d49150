"""Analyses, one after the other, in a separate process that loads the network once.

A damaged exam may end that process (too little memory, a crash in a library). The page and the queue go on: the exam is
marked as failed, with a one-line reason, and the next exam gets a new process.
"""

import logging
import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, overload

import msgspec

from cinesax.core.errors import CinesaxError, printable
from cinesax.core.selection import Selection
from cinesax.reader.exams import read_stored
from cinesax.reader.listed import first_fields, listed
from cinesax.reader.store.database import ExamRow, Shown, State, Store
from cinesax.reader.watch import GONE, fingerprint, settle, suspects

if TYPE_CHECKING:
    from cinesax.core.analysis import Analysis
    from cinesax.network.segmenter import Segmenter

_LOG = logging.getLogger(__name__)
_TICK_S = 0.2
_IDLE_S = 5.0
_FIRST_LOOK_S, _LOOK_S = 10.0, 60.0
"""When to look for exams that changed: not while the page opens, and then now and then."""


@dataclass(frozen=True, slots=True)
class Job:
    """One exam to analyze."""

    exam: str
    path: str
    study_uid: str | None
    series_uid: str | None
    out: str
    show_patient: bool


@dataclass(frozen=True, slots=True)
class Check:
    """One exam to compare with its results."""

    row: ExamRow


@dataclass(frozen=True, slots=True)
class Progress:
    """Number of frames done, and of all frames."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Done:
    """What the worklist needs to know of a written analysis."""

    shown: Shown
    author: str
    case: str
    pixels_sha256: str
    model_sha256: str | None
    patient: dict[str, str | None]


@dataclass(frozen=True, slots=True)
class Checked:
    """Whether an exam is that of its results: None, or why not."""

    problem: str | None


@dataclass(frozen=True, slots=True)
class Failed:
    """An analysis failed; the reason in one line."""

    message: str


def work(connection: Connection, model: str | None, threads: int | None) -> None:
    """Run the worker process: do jobs until the connection closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the server, and the server ends this process
    segmenter: Segmenter | None = None
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            job: Job | Check = connection.recv()
            try:
                if isinstance(job, Check):
                    connection.send(_checked(job.row))
                    continue
                if segmenter is None:
                    from cinesax.network.segmenter import load_segmenter

                    segmenter = load_segmenter(model, threads=threads)
                connection.send(_analyzed(job, segmenter, lambda *counts: connection.send(Progress(*counts))))
            except CinesaxError as error:
                connection.send(Failed(printable(str(error))))
            except (MemoryError, OSError, ArithmeticError, LookupError, ValueError, TypeError, AttributeError) as error:
                _LOG.exception("the analysis failed")
                connection.send(Failed(printable(f"the analysis failed: {type(error).__name__}: {error}")))


def _checked(row: ExamRow) -> Checked:
    try:
        read_stored(row, row.results or "")
    except CinesaxError as error:
        return Checked(printable(str(error)))
    return Checked(None)


def _analyzed(job: Job, segmenter: "Segmenter", progress: Callable[[int, int], None]) -> Done:
    from cinesax.analyze import analyze
    from cinesax.results.privacy import pseudonymise
    from cinesax.results.write import write_results

    selection = Selection(series_uid=job.series_uid, study_uid=None if job.series_uid else job.study_uid)
    analysis = analyze(job.path, segmenter=segmenter, selection=selection, progress=progress)
    write_results(analysis, job.out, show_patient=job.show_patient)
    shown = analysis if job.show_patient else pseudonymise(analysis)
    return Done(
        listed(shown),
        analysis.segmentation.author,
        analysis.case,
        analysis.cine.pixels_sha256,
        analysis.provenance.model_checksum,
        patient_of(shown),
    )


def patient_of(analysis: "Analysis") -> dict[str, str | None]:
    """The patient's name, ID, birth date and study date, as far as an analysis has them."""
    patient, source = analysis.cine.patient, analysis.cine.source
    named = {"name": patient.name, "patient_id": patient.patient_id, "birth_date": patient.birth_date}
    return {**named, "study_date": source.study_date}


class Queue:
    """Analyzes the waiting exams of the store, one after the other."""

    def __init__(self, store: Store, *, model: Path | None, threads: int | None, show_patient: bool) -> None:
        self._store = store
        self._model, self._threads = None if model is None else str(model), threads
        self._show_patient = show_patient
        self._next_look = time.monotonic() + _FIRST_LOOK_S
        self._suspects: list[tuple[ExamRow, str]] = []
        self._wake, self._end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="queue", daemon=True)
        self._worker: tuple[BaseProcess, Connection] | None = None
        self.progress: dict[str, tuple[int, int]] = {}
        self.model_sha256: str | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Check the store again for waiting exams."""
        self._wake.set()

    def stop(self) -> None:
        """Stop; a running analysis is given up, and the exam waits again at the next start."""
        self._end.set()
        self._wake.set()
        self._stop_worker()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        self.model_sha256 = _checksum(self._model)
        while not self._end.is_set():
            try:
                worked = self._work()
            except (sqlite3.Error, OSError, CinesaxError):
                # A full disk, for example. No error may end the queue.
                _LOG.exception("the queue could not go on")
                worked = False
            if not worked:
                self._wake.wait(timeout=_IDLE_S)
                self._wake.clear()

    def _work(self) -> bool:
        """Analyze the exam that has waited longest, or check one that may have changed; False if there is none."""
        row = self._store.claim_next()
        if row is None:
            return self._check()
        outcome, out = self._analyze(row)
        if not self._end.is_set():
            self._write(row, outcome, out)
        return True

    def _check(self) -> bool:
        """Compare an exam whose files look changed with its results; False if there is none."""
        if not self._suspects and time.monotonic() >= self._next_look:
            try:
                self._suspects = suspects(self._store)
            finally:
                # From its end: on a slow drive, a look may take longer than the time between two.
                self._next_look = time.monotonic() + _LOOK_S
        if not self._suspects:
            return False
        row, seen = self._suspects.pop()
        answer = self._answer(Check(row), lambda _: None)
        if self._end.is_set():
            return True
        # A check that could not be made says no more than that the exam is there; it is not tried again before its
        # files change.
        there = None if row.changed == GONE else row.changed
        problem = answer.problem if isinstance(answer, Checked) else there
        settle(self._store, row, seen, problem)
        return True

    def _write(self, row: ExamRow, outcome: Done | Failed, out: Path) -> None:
        self.progress.pop(row.id, None)
        if isinstance(outcome, Failed):
            self._store.set_fields(row.id, state=State.FAILED, error=outcome.message)
            return
        patient = msgspec.json.encode(outcome.patient).decode() if self._show_patient else None
        self._store.set_fields(
            row.id,
            **first_fields(outcome.shown, outcome.author),
            state=State.DONE,
            results=str(out),
            case_key=outcome.case,
            patient=patient,
            pixels_sha256=outcome.pixels_sha256,
            model_sha256=outcome.model_sha256,
            error=None,
            version=row.version + 1,
        )

    def _analyze(self, row: ExamRow) -> tuple[Done | Failed, Path]:
        out = _free(self._store.results_folder(row.id, "network"))
        job = Job(row.id, row.path, row.study_uid, row.series_uid, str(out), self._show_patient)
        seen = fingerprint(row.path)

        def count(progress: Progress) -> None:
            self.progress[row.id] = progress.done, progress.total

        answer = self._answer(job, count)
        if isinstance(answer, Done) and seen is not None:
            self._store.set_fingerprint(row.id, seen)
        return answer, out

    @overload
    def _answer(self, job: Job, progress: Callable[[Progress], None]) -> Done | Failed: ...
    @overload
    def _answer(self, job: Check, progress: Callable[[Progress], None]) -> Checked | Failed: ...
    def _answer(self, job: Job | Check, progress: Callable[[Progress], None]) -> Done | Checked | Failed:
        """Let the worker do a job, and return what it says at the end."""
        process, connection = self._worker or self._start_worker()
        try:
            connection.send(job)
            while not self._end.is_set():
                if connection.poll(_TICK_S):
                    answer: Progress | Done | Checked | Failed = connection.recv()
                    if not isinstance(answer, Progress):
                        return answer
                    progress(answer)
        except (EOFError, OSError):
            process.join(timeout=5)
            self._stop_worker()
            code = process.exitcode
            return Failed(f"the analysis ended without a result (exit code {code}): too little memory, or a crash")
        return Failed("the program ended")

    def _start_worker(self) -> tuple[BaseProcess, Connection]:
        # A new interpreter: a fork would inherit the threads and the open store of the server.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=work, args=(theirs, self._model, self._threads), name=f"cinesax-worker-{os.getpid()}", daemon=True
        )
        process.start()
        theirs.close()
        self._worker = process, ours
        return self._worker

    def _stop_worker(self) -> None:
        if self._worker is None:
            return
        process, connection = self._worker
        self._worker = None
        connection.close()
        process.terminate()
        process.join(timeout=5)


def _checksum(model: str | None) -> str | None:
    """The checksum of the network that would run; None if it cannot be opened (the first analysis gives the reason)."""
    from cinesax.network.bundle import open_bundle

    try:
        return open_bundle(model).checksum
    except (CinesaxError, OSError):
        return None


def _free(path: Path) -> Path:
    """The path with the first unused number: results are never replaced."""
    number = 1
    while (numbered := path.with_name(f"{path.name}-{number}")).exists():
        number += 1
    return numbered
