"""Sending in rounds until the archive has answered for every object, with either protocol."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from cinesax.archive.answers import Answer, Connect, Fate, Unreachable
from cinesax.archive.destinations import Destination, DicomNode
from cinesax.archive.objects import DicomObject

FIRST_PAUSE_S = 1.0
"""Before the second round; each further pause is twice as long."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """An object, its answer, and the number of attempts."""

    sent: DicomObject
    fate: Fate
    reason: str
    attempts: int

    @property
    def arrived(self) -> bool:
        """Whether the archive has the object now."""
        return self.fate in (Fate.TAKEN, Fate.TAKEN_CHANGED)


def send(
    objects: Sequence[DicomObject],
    destination: Destination,
    *,
    calling_aet: str = "CINESAX",
    attempts: int = 4,
    timeout_s: float = 60.0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Delivery, ...]:
    """Send objects to an archive; temporary failures are retried after a pause.

    Storing the same object twice does no harm: both protocols identify objects by SOPInstanceUID.

    Args:
        objects: what to send, in this order.
        destination: the archive.
        calling_aet: the AE title of this program for DICOM nodes.
        attempts: how often an object is sent at most, with pauses of 1, 2, 4 ... seconds.
        timeout_s: how long the archive may stay silent.
        progress: called with the number of objects that have a final answer, and the number of all objects.

    Returns:
        One Delivery for each object, in the given order. It also reports objects that were refused: they raise nothing.

    Raises:
        MissingExtraError: the packages of the extra `send` are not installed.
    """
    connect = _connector(destination, calling_aet, timeout_s)
    answers: dict[DicomObject, Answer] = {}
    tried = dict.fromkeys(objects, 0)
    for attempt in range(attempts):
        waiting = [item for item in objects if item not in answers or answers[item].again]
        if not waiting:
            break
        if attempt:
            time.sleep(FIRST_PAUSE_S * 2 ** (attempt - 1))
        for item, answer in _round(connect, waiting):
            answers[item] = answer
            tried[item] += 1
            if progress is not None:
                progress(sum(not answer.again for answer in answers.values()), len(objects))
    return tuple(Delivery(item, answers[item].fate, answers[item].reason, tried[item]) for item in objects)


def _connector(destination: Destination, calling_aet: str, timeout_s: float) -> Connect:
    if isinstance(destination, DicomNode):
        from cinesax.archive.dimse import connector

        return connector(destination, calling_aet=calling_aet, timeout_s=timeout_s)
    from cinesax.archive.stow import connector as web_connector

    return web_connector(destination, timeout_s=timeout_s)


def _round(connect: Connect, waiting: Sequence[DicomObject]) -> Iterator[tuple[DicomObject, Answer]]:
    """Send all waiting objects over one connection; if it breaks, the remaining objects get that answer."""
    left = list(waiting)
    try:
        with connect(waiting) as store:
            while left:
                answer = store(left[0])
                yield left.pop(0), answer
    except Unreachable as error:
        for item in left:
            yield item, error.answer
