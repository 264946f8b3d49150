"""A place on a node of a Ray cluster, kept by Ray as an actor: it does one task at a time in a worker process."""

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cinesax._version import __version__
from cinesax.core.errors import CinesaxError
from cinesax.engines.local import LocalEngine
from cinesax.engines.work import Limits, Loss

Ended = tuple[object, Loss | None, str]
"""Result, loss and detail of an outcome, without the task."""


@dataclass(frozen=True, slots=True)
class _Packed:
    """A setup as bytes, which only the worker process unpacks."""

    content: bytes

    def __call__(self) -> Any:
        return pickle.loads(self.content)()  # from our own command


class Slot:
    """The actor. Its worker process ends with it, however it ends."""

    def __init__(self, setup: bytes, limits: Limits) -> None:
        self._waiting: list[object] = []
        self._outcomes = LocalEngine(1).run(_Packed(setup), self._tasks(), limits)

    def _tasks(self) -> Iterator[object]:
        while True:
            yield self._waiting.pop()

    def version(self) -> str:
        """The version of cinesax on this node."""
        return __version__

    def do(self, task: bytes) -> Ended | CinesaxError:
        """Do one task; a CinesaxError says why no task can be done."""
        self._waiting.append(pickle.loads(task))  # from our own command
        try:
            outcome = next(iter(self._outcomes))
        except CinesaxError as error:
            return error
        return outcome.result, outcome.loss, outcome.detail
