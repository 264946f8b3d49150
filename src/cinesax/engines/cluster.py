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

from cinesax.core.errors import EngineError, MissingExtraError, OutputError, install_hint
from cinesax.engines.ray_client import Alive, Connect, Connected, Done, Order, Wants
from cinesax.engines.work import Limits, Loss, Outcome, Result, Setup, Task
from cinesax.engines.worker import NotReady, receive, send

_PATIENCE_SECONDS = 600.0
_PAUSE_SECONDS = 1.0
_ASK_SECONDS = 0.2
_SILENCE_SECONDS = 180.0
"""A connected client speaks every few seconds; after such a silence it is ended, and another one tries."""
_END_SECONDS = 15.0
_CLIENT = (sys.executable, "-m", "cinesax.engines.ray_client")
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
            EngineError: there is no cluster, or its head was lost for too long.
        """
        check_ray()
        dispatch: _Dispatch[Task, Result] = _Dispatch(self, pickle.dumps(setup, protocol=5), limits, iter(tasks))
        try:
            yield from dispatch.work()
        finally:
            dispatch.stop()


@dataclass(eq=False, slots=True)
class _Client:
    """The process that is connected to Ray.

    Attributes:
        process: the process.
        orders: its standard input.
        complaints: what it writes to standard error.
        heard: its messages; None: it has ended.
        connected: whether it has found the cluster.
        silent_seconds: how long this process has waited for a message since the last one.
    """

    process: "subprocess.Popen[bytes]"
    orders: IO[bytes]
    complaints: IO[bytes]
    heard: "queue.SimpleQueue[object]" = field(default_factory=queue.SimpleQueue)
    connected: bool = False
    silent_seconds: float = 0.0


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
            # Without a task there is no need for a cluster.
            if not self.again and not self._fetch():
                return
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

    def _fetch(self) -> bool:
        """Fetch a task before anybody asks for one; False: there is none, or none at present."""
        task = self._next()
        if task is not None:
            self.again.append((task, 0))
        return task is not None

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
            time.sleep(max(0.0, self.asked - time.monotonic()))
            return
        wait = _ASK_SECONDS if self.wanted > 0 and self.more and not self.again else _PAUSE_SECONDS
        try:
            message = client.heard.get(timeout=wait)
        except queue.Empty:
            # Only waits count: whoever takes the outcomes may be slow, and this process may have been stopped.
            client.silent_seconds += wait
            if client.connected and client.silent_seconds > _SILENCE_SECONDS:
                client.process.kill()  # its listening thread reports the end
            return
        client.silent_seconds = 0.0
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
        raise message.error or EngineError(f"the Ray cluster cannot be used: {message.detail}")

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
            raise EngineError(f"the Ray cluster cannot be used: {words}")
        if time.monotonic() - self.connected_last > self.engine.patience_seconds:
            raise EngineError(
                f"the Ray cluster has been lost for {self.engine.patience_seconds:.0f} s: start it, then repeat the "
                "same command, which goes on with the exams that are left"
            )
        time.sleep(_PAUSE_SECONDS)

    def _connect(self) -> _Client:
        complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the client
        process = subprocess.Popen(
            _CLIENT,
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
    try:
        # ValueError: the pipe was closed during the wait.
        with suppress(EOFError, OSError, ValueError), answers:
            while True:
                client.heard.put(receive(answers))
    finally:
        client.heard.put(None)
