"""The answer of an archive for one object, and the meaning of its status codes.

DIMSE statuses and the failure reasons of STOW-RS are the same numbers. A protocol (`dimse`, `stow`) gives `deliver` a
`Connect`: a context that stores objects one by one.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum

from cinesax.archive.objects import DicomObject


class Fate(StrEnum):
    """What became of an object."""

    TAKEN = "taken"
    TAKEN_CHANGED = "taken, changed"
    """Accepted with a warning: the archive reports that it changed or dropped elements."""
    REFUSED = "refused"
    NOT_SENT = "not sent"


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of the archive for one object.

    Attributes:
        fate: what became of it.
        reason: why, as text; "" if there is nothing to say.
        again: whether a retry may succeed (the archive is busy, the network failed).
    """

    fate: Fate
    reason: str = ""
    again: bool = False


class Unreachable(Exception):
    """There is no connection, or it broke; never leaves this package."""

    def __init__(self, reason: str, *, again: bool = True) -> None:
        super().__init__(reason)
        self.answer = Answer(Fate.NOT_SENT, reason, again)


Store = Callable[[DicomObject], Answer]
Connect = Callable[[Sequence[DicomObject]], AbstractContextManager[Store]]


# PS3.4 annex B.2.3 (Storage), PS3.7 annex C, PS3.18 table 10.5.3-2 (store response).
_MEANINGS = (
    (0x0110, 0x0110, "processing failure"),
    (0x0117, 0x0117, "invalid SOP instance"),
    (0x0122, 0x0122, "the archive does not take this SOP class"),
    (0x0124, 0x0124, "not authorised"),
    (0xA700, 0xA7FF, "the archive is out of resources"),
    (0xA900, 0xA9FF, "the object does not match its SOP class"),
    (0xB000, 0xB000, "elements were changed"),
    (0xB006, 0xB006, "elements were discarded"),
    (0xB007, 0xB007, "the object does not match its SOP class"),
    (0xC122, 0xC122, "the archive does not take this transfer syntax"),
    (0xC000, 0xCFFF, "the archive cannot understand the object"),
)
_TAKEN = 0x0000
_WARNINGS = (0x0001, 0x0107, 0x0116)


def answer_of(status: int, comment: str = "") -> Answer:
    """The answer that a status stands for.

    Args:
        status: 0 to 0xFFFF.
        comment: additional text from the archive.
    """
    if status == _TAKEN:
        return Answer(Fate.TAKEN)
    meaning = next((text for low, high, text in _MEANINGS if low <= status <= high), "failed")
    reason = f"0x{status:04X}, {meaning}" + (f" ({comment})" if comment else "")
    if status in _WARNINGS or status >> 12 == 0xB:
        return Answer(Fate.TAKEN_CHANGED, reason)
    return Answer(Fate.REFUSED, reason, again=status == 0x0110 or status >> 8 == 0xA7)
