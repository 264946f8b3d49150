"""Run tasks on a Ray cluster, with the extra `ray`.

this process            keeps the tasks, and gives a task again if it was lost
  `ray_client`          a process that is connected to Ray: when the head of a cluster is lost, Ray ends such a process
    `ray_slot`          places on the nodes, kept by Ray: each has a local engine with one worker process

So a task has the same limits and outcomes on a cluster as on one machine.
"""

import importlib.util
import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Generic

from cinesax.core.errors import CinesaxError, MissingExtraError, OutputError, install_hint
from cinesax.engines.ray_client import Alive, Connect, Connected, Done, Order, Wants
from cinesax.engines.work import Limits, Loss, Outcome, Result, Setup, Task
from cinesax.engines.worker import NotReady, receive, send

_PATIENCE_SECONDS = 600.0
_PAUSE_SECONDS = 1.0
_SILENCE_SECONDS = 180.0
_END_SECONDS = 15.0
# Nothing leaves the cluster.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}


def check_ray() -> None:
    """Raise MissingExtraError if Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise MissingExtraError(f"--engine ray needs Ray: {install_hint('ray')}")


@dataclass(frozen=True, slots=True)
class RayEngine:
    """Runs tasks on the nodes of a Ray cluster.

    Attributes:
        address: of the cluster; None: what RAY_ADDRESS says, else the cluster of this machine, else a new one on it.
        jobs: tasks at a time; None: one for each `threads` cores of the cluster, whose nodes may come and go.
        threads: cores of a task.
        patience_seconds: how long to wait for a cluster whose head was lost.
    """

    address: str | None = None
    jobs: int | None = None
    threads: int = 1
    patience_seconds: float = _PATIENCE_SECONDS

    def run(
        self, setup: Setup[Task, Result], tasks: Iterable[Task | None], limits: Limits
    ) -> Iterator[Outcome[Task, Result]]:
        """Do every task: see `Engine`.

        Raises:
            MissingExtraError: Ray is not installed.
            CinesaxError: there is no cluster, or its head was lost for too long.
        """
        check_ray()
        dispatch: _Dispatch[Task, Result] = _Dispatch(self, pickle.dumps(setup, protocol=5), limits, iter(tasks))
        try:
            yield from dispatch.work()
        finally:
            dispatch.stop()


@dataclass(eq=False, slots=True)
class _Client:
    """The process that is connected to Ray."""

    process: "subprocess.Popen[bytes]"
    orders: IO[bytes]
    complaints: IO[bytes]
    heard: "queue.SimpleQueue[object]" = field(default_factory=queue.SimpleQueue)
    connected: bool = False


@dataclass(eq=False)
class _Dispatch(Generic[Task, Result]):
    """The tasks of one run, and who has them."""

    engine: RayEngine
    setup: bytes
    limits: Limits
    tasks: Iterator[Task | None]
    client: _Client | None = None
    given: dict[int, tuple[Task, int]] = field(default_factory=dict)
    again: list[tuple[Task, int]] = field(default_factory=list)
    wanted: int = 0
    number: int = 0
    more: bool = True
    asked: float = 0.0
    ever_connected: bool = False
    connected_last: float = 0.0

    def work(self) -> Iterator[Outcome[Task, Result]]:
        while True:
            self._give()
            if not self.given and not self.again and not self.more:
                return
            yield from self._hear()

    def _give(self) -> None:
        """Give tasks as long as slots are free; there must be a client to ask for them."""
        if self.client is None:
            self.client = self._connect()
        while self.wanted and (self.again or (self.more and time.monotonic() >= self.asked)):
            task, attempts = self.again.pop() if self.again else (self._next(), 0)
            if task is None:
                return
            self.number += 1
            self.wanted -= 1
            self.given[self.number] = (task, attempts + 1)
            # If the client has ended, its listening thread reports it.
            with suppress(OSError):
                send(self.client.orders, Order(self.number, pickle.dumps(task, protocol=5)))

    def _next(self) -> Task | None:
        try:
            task = next(self.tasks)
        except StopIteration:
            self.more = False
            return None
        if task is None:
            self.asked = time.monotonic() + _PAUSE_SECONDS
        return task

    def _hear(self) -> Iterator[Outcome[Task, Result]]:
        """Handle one message of the client."""
        client = self.client
        if client is None:
            return
        waits = self.wanted > 0 and self.more and not self.again
        try:
            message = client.heard.get(timeout=0.2 if waits else _PAUSE_SECONDS)
        except queue.Empty:
            return
        if isinstance(message, Connected):
            client.connected, self.ever_connected = True, True
        elif isinstance(message, Wants):
            self.wanted += message.count
        elif isinstance(message, Done):
            yield from self._done(message)
        elif isinstance(message, NotReady):
            self._refused(message)
        elif message is None:
            yield from self._lost()
        if isinstance(message, Alive | Connected):
            self.connected_last = time.monotonic()

    def _done(self, message: Done) -> Iterator[Outcome[Task, Result]]:
        task, attempts = self.given.pop(message.number)
        if message.outcome is not None:
            result, loss, detail = message.outcome
            yield Outcome(task, result, loss, detail)  # type: ignore[arg-type]
        elif attempts < self.limits.attempts:
            self.again.append((task, attempts))
        else:
            yield Outcome(task, loss=Loss.KILLED, detail=message.lost)

    def _refused(self, message: NotReady) -> None:
        """No cluster, or no work on it: the end, except if the cluster was there before."""
        if message.error is None and self.ever_connected and self.client is not None and not self.client.connected:
            return  # the client ends now, and the next one tries again
        raise message.error or CinesaxError(f"the Ray cluster cannot be used: {message.detail}")

    def _lost(self) -> Iterator[Outcome[Task, Result]]:
        """The client has ended: the head of the cluster was lost, or somebody killed the client."""
        words, was_connected = self._end_client(), self.ever_connected
        lost, self.given, self.wanted = self.given, {}, 0
        for task, attempts in lost.values():
            if attempts < self.limits.attempts:
                self.again.append((task, attempts))
            else:
                yield Outcome(task, loss=Loss.KILLED, detail="the connection to the Ray cluster was lost")
        if not was_connected:
            raise CinesaxError(f"the Ray cluster cannot be used: {words}")
        if time.monotonic() - self.connected_last > self.engine.patience_seconds:
            raise CinesaxError(
                f"the Ray cluster has been lost for {self.engine.patience_seconds:.0f} s: start it, then repeat the "
                "same command, which goes on with the exams that are left"
            )
        time.sleep(_PAUSE_SECONDS)

    def _connect(self) -> _Client:
        complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the client
        process = subprocess.Popen(
            [sys.executable, "-m", "cinesax.engines.ray_client"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env={**os.environ, **_QUIET},
            # Ctrl-C in the terminal must reach only this process.
            start_new_session=True,
        )
        if process.stdin is None or process.stdout is None:
            raise OutputError("the process that talks to Ray has no pipes")
        client = _Client(process, process.stdin, complaints)
        threading.Thread(target=_listen, args=(client, process.stdout), daemon=True).start()
        engine = self.engine
        start = Connect(engine.address, engine.jobs, engine.threads, self.setup, self.limits, tuple(sys.path))
        with suppress(OSError):
            send(client.orders, start)
        return client

    def _end_client(self) -> str:
        """End the client, and return its last words."""
        client, self.client = self.client, None
        if client is None:
            return ""
        with suppress(OSError):
            client.orders.close()  # it then frees its places on the nodes
        try:
            client.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            client.process.kill()
            client.process.wait()
        with client.complaints as stream:
            stream.seek(0)
            lines = [line for line in stream.read().decode("utf-8", "replace").splitlines() if line.strip()]
        return lines[-1].strip() if lines else f"exit code {client.process.returncode}"

    def stop(self) -> None:
        """Free all places on the nodes."""
        self._end_client()


def _listen(client: _Client, answers: IO[bytes]) -> None:
    # ValueError: the pipe was closed during the wait.
    with suppress(EOFError, OSError, ValueError), answers:
        while True:
            client.heard.put(receive(answers))
    client.heard.put(None)
