"""The program of the process that is connected to Ray: it keeps slots on the nodes, and sends tasks to free ones.

Started as `python -m cinesax.engines.ray_client` by `cinesax.engines.cluster`, with pipes as standard input and output.
It is a process of its own because Ray ends a connected process 60 s after the head of the cluster was lost.
"""

import logging
import os
import queue
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any

from cinesax._version import __version__
from cinesax.core.errors import CinesaxError, UsageError
from cinesax.engines.ray_slot import Ended, Slot
from cinesax.engines.work import Limits, Loss
from cinesax.engines.worker import NotReady, described, receive, send

_LOOK_SECONDS = 2.0
_WAIT_SECONDS = 0.5
_ORDER_SECONDS = 0.05
_FAILED_STARTS = 5
_ANSWER_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Connect:
    """The first message to this program.

    Attributes:
        address, jobs, threads: as in `RayEngine`.
        setup: the pickled setup.
        limits: the limits of each task.
        paths: sys.path of the parent.
    """

    address: str | None
    jobs: int | None
    threads: int
    setup: bytes
    limits: Limits
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Order:
    """A pickled task and its number."""

    number: int
    task: bytes


@dataclass(frozen=True, slots=True)
class Connected:
    """There is a cluster."""


@dataclass(frozen=True, slots=True)
class Alive:
    """The cluster still answers."""


@dataclass(frozen=True, slots=True)
class Wants:
    """There is room for so many more tasks."""

    count: int


@dataclass(frozen=True, slots=True)
class Done:
    """A task has ended, or was lost with its slot.

    Attributes:
        number: of the task.
        outcome: the outcome; None: lost.
        lost: how it was lost.
    """

    number: int
    outcome: Ended | None = None
    lost: str = ""


@dataclass(eq=False, slots=True)
class _Slot:
    """A slot, as seen from here.

    Attributes:
        actor: its actor.
        ref: what Ray answers next: the version, then the outcomes of tasks.
        ready: whether it has given its version.
        number: of the present task.
    """

    actor: Any
    ref: Any
    ready: bool = False
    number: int | None = None


class _Refused(Exception):
    """No task can be done."""


@dataclass(eq=False)
class _Slots:
    """The slots of a cluster."""

    ray: Any
    start: Connect
    answers: IO[bytes]
    orders: "queue.SimpleQueue[Order | None]"
    setup: Any
    slots: list[_Slot] = field(default_factory=list)
    waiting: list[Order] = field(default_factory=list)
    asked: int = 0
    most: int = 0
    looked: float = 0.0
    failed: int = 0

    def serve(self) -> None:
        """Work until the parent closes the pipe."""
        while self._take():
            self._look()
            self._assign()
            self._ask()
            self._collect()

    def _take(self) -> bool:
        """Take the orders that have come; False: the parent wants no more."""
        free = any(slot.ready and slot.number is None for slot in self.slots)
        block = bool(self.asked) and (free or not self.slots)
        with suppress(queue.Empty):
            while True:
                order = self.orders.get(timeout=_ORDER_SECONDS) if block else self.orders.get_nowait()
                if order is None:
                    return False
                self.waiting.append(order)
                self.asked -= 1
                block = False
        return True

    def _look(self) -> None:
        """See how many slots the nodes that are alive have room for."""
        now = time.monotonic()
        if now - self.looked < _LOOK_SECONDS:
            return
        self.looked = now
        cores = int(self.ray.cluster_resources().get("CPU", 0)) // self.start.threads
        self.most = cores if self.start.jobs is None else min(cores, self.start.jobs)
        send(self.answers, Alive())
        for slot in [slot for slot in self.slots if not slot.ready][: max(0, len(self.slots) - self.most)]:
            self._drop(slot)

    def _assign(self) -> None:
        free = [slot for slot in self.slots if slot.ready and slot.number is None]
        while self.waiting and free:
            slot, order = free.pop(), self.waiting.pop(0)
            slot.number, slot.ref = order.number, slot.actor.do.remote(order.task)
        starting = sum(not slot.ready for slot in self.slots)
        for _ in range(min(len(self.waiting) - starting, self.most - len(self.slots))):
            actor = self.ray.remote(Slot).options(
                num_cpus=self.start.threads, max_restarts=0, scheduling_strategy="SPREAD"
            )
            made = actor.remote(self.setup, self.start.limits)
            self.slots.append(_Slot(made, made.version.remote()))

    def _ask(self) -> None:
        busy = sum(slot.number is not None for slot in self.slots)
        room = self.most - busy - len(self.waiting) - self.asked
        if room > 0:
            self.asked += room
            send(self.answers, Wants(room))

    def _collect(self) -> None:
        waited = {slot.ref: slot for slot in self.slots if slot.ref is not None}
        if not waited:
            if not self.asked:
                time.sleep(_WAIT_SECONDS)
            return
        idle = bool(self.asked) and any(slot.ready and slot.number is None for slot in self.slots)
        done, _ = self.ray.wait(list(waited), num_returns=1, timeout=0 if idle else _WAIT_SECONDS)
        for ref in done:
            self._answered(waited[ref])

    def _answered(self, slot: _Slot) -> None:
        ref, slot.ref = slot.ref, None
        try:
            answer = self.ray.get(ref)
        except self.ray.exceptions.RayActorError as error:
            self._died(slot, error)
            return
        except self.ray.exceptions.RayError as error:
            answer = (None, Loss.BUG, described(error))
        if isinstance(answer, CinesaxError):
            raise answer
        if not slot.ready:
            if answer != __version__:
                raise UsageError(
                    f"a node of the Ray cluster has cinesax {answer}, but this command is cinesax {__version__}: "
                    "install the same version on every node"
                )
            slot.ready, self.failed = True, 0
            return
        number, slot.number = slot.number, None
        send(self.answers, Done(number or 0, answer))

    def _died(self, slot: _Slot, error: Exception) -> None:
        """A slot was lost with its node, or its process was killed."""
        number = slot.number
        self._drop(slot)
        words = _last_line(error)
        if number is not None:
            send(self.answers, Done(number, lost=words))
            return
        self.failed += 1
        if self.failed >= _FAILED_STARTS:
            raise _Refused(f"no node can start it ({words})")

    def _drop(self, slot: _Slot) -> None:
        self.slots.remove(slot)
        with suppress(self.ray.exceptions.RayError):
            self.ray.kill(slot.actor, no_restart=True)

    def stop(self) -> None:
        """Free all slots."""
        for slot in list(self.slots):
            self._drop(slot)


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def main() -> None:
    """Serve the parent until it closes the pipe."""
    # What Ray prints must not get between messages.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    stream = os.fdopen(os.dup(0), "rb")
    with suppress(EOFError, BrokenPipeError):
        start = receive(stream)
        if not isinstance(start, Connect):
            raise TypeError(f"expected a Connect, seen {type(start).__name__}")
        sys.path[:] = start.paths
        try:
            _serve(start, stream, answers)
        except CinesaxError as error:
            send(answers, NotReady(error, str(error)))
        except BrokenPipeError:
            raise
        except Exception as error:  # noqa: BLE001 - the parent must learn of any error
            send(answers, NotReady(None, str(error) if isinstance(error, _Refused) else described(error)))


def _serve(start: Connect, stream: IO[bytes], answers: IO[bytes]) -> None:
    import ray

    _check_address(start.address)
    orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(stream, orders), daemon=True).start()
    try:
        ray.init(start.address, log_to_driver=False, logging_level=logging.CRITICAL, include_dashboard=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _Refused(f"Ray says: {_last_line(error)}") from error
    send(answers, Connected())
    # Ray brings it once to each node, however many slots this has.
    slots = _Slots(ray, start, answers, orders, ray.put(start.setup))
    try:
        slots.serve()
    finally:
        slots.stop()
        ray.shutdown()


def _check_address(address: str | None) -> None:
    """Find out at once whether anybody answers there: Ray itself tries for a minute, and then ends the process."""
    host, colon, port = (address or "").rpartition(":")
    if not colon or not port.isdigit():
        return
    if "//" in host:
        raise UsageError(
            f"{address} is not the address of a head, such as 10.0.0.1:6379: run this on a node of the cluster"
        )
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS).close()
    except OSError as error:
        raise _Refused(f"nothing answers at {address} ({error.strerror or error})") from error


def _listen(stream: IO[bytes], orders: "queue.SimpleQueue[Order | None]") -> None:
    try:
        with suppress(EOFError, OSError):
            while True:
                order = receive(stream)
                if isinstance(order, Order):
                    orders.put(order)
    finally:
        orders.put(None)


if __name__ == "__main__":
    # Import by name: the classes of pickled messages must be those that the parent knows.
    from cinesax.engines import ray_client

    ray_client.main()
