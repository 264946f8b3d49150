"""What all routes share: the objects that they work on, and their answers."""

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from fastapi import Depends, Request, Response
from msgspec import Struct

from cinesax.core.errors import printable
from cinesax.reader import answers, worklist
from cinesax.reader.exams import Desk, OpenExam
from cinesax.reader.messages import BadBodyError
from cinesax.reader.store.database import ExamRow, Store, UnknownError
from cinesax.reader.uploads import Uploads
from cinesax.reader.web.security import Access
from cinesax.reader.worker import Queue

_HERE_S = 15.0
_LONGEST_NUMBER = 8


@dataclass(frozen=True, slots=True)
class Settings:
    """How the page was started.

    Attributes:
        show_patient: whether it shows who the patient is.
        organization: where the readers work, for signatures in DICOM.
        root: the path from the command line.
        exam: the exam of these results, if they do not name it.
        only_below: the folder from which exams may be added by path; None: from anywhere.
    """

    show_patient: bool = False
    organization: str = "not stated"
    root: Path | None = None
    exam: Path | None = None
    only_below: Path | None = None


class Windows:
    """The browser windows that show each exam."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, str], float] = {}

    def others(self, exam: str, window: str) -> int:
        """Note that a window shows an exam; return how many other windows show it."""
        now = time.monotonic()
        with self._lock:
            self._seen = {key: at for key, at in self._seen.items() if now - at < _HERE_S}
            if len(self._seen) < 1000:
                self._seen[exam, window] = now
            return sum(key[0] == exam and key[1] != window for key in self._seen)


@dataclass(frozen=True, slots=True)
class Reader:
    """The objects that all routes share."""

    store: Store
    desk: Desk
    queue: Queue
    uploads: Uploads
    windows: Windows
    settings: Settings
    access: Access

    def now(self) -> worklist.Now:
        """What the worklist shows in addition to the store."""
        queue = self.queue
        return worklist.Now(self.settings.show_patient, dict(queue.progress), queue.model_sha256)


class Problem(Struct, frozen=True):
    """An error."""

    code: str
    message: str


class Trouble(Struct, frozen=True, omit_defaults=True):
    """The answer to a failed request: the error and the present state."""

    error: Problem
    state: answers.State | None = None
    exam: worklist.Listed | None = None


def _reader(request: Request) -> Reader:
    reader: Reader = request.app.state.reader
    return reader


async def _body(request: Request) -> bytes:
    return await request.body()


Context = Annotated[Reader, Depends(_reader)]
Body = Annotated[bytes, Depends(_body)]


def answer(value: object, status: int = 200) -> Response:
    """An answer in JSON."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def trouble(status: int, code: str, message: str) -> Response:
    """An answer with an error."""
    return answer(Trouble(Problem(code, printable(message))), status)


def whole(text: str | None) -> int:
    """Parse a number from an address.

    Raises:
        BadBodyError: the text is not a number.
    """
    if text is None or not (text.isascii() and text.isdigit() and len(text) < _LONGEST_NUMBER):
        raise BadBodyError(f"expected a whole number of 0 or more, seen {text!r}")
    return int(text)


def line_of(reader: Reader, row: ExamRow) -> worklist.Listed:
    """The line of an exam in the worklist."""
    return worklist.line(row, next(reversed(reader.store.signatures(row.id)), None), reader.now())


def state_of(reader: Reader, exam: str) -> answers.State:
    """The state of an exam; the exam is opened if necessary."""
    open_exam = opened(reader, exam)
    with open_exam.lock:
        open_exam.refresh()
        listed = line_of(reader, row_of(reader, exam))
        return answers.state(
            open_exam, listed, reader.store.signatures(exam), show_patient=reader.settings.show_patient
        )


def row_of(reader: Reader, exam: str) -> ExamRow:
    """An exam in the store.

    Raises:
        UnknownError: there is no such exam.
    """
    row = reader.store.exam(exam)
    if row is None:
        raise UnknownError
    return row


def opened(reader: Reader, exam: str) -> OpenExam:
    """An open exam.

    Raises:
        UnknownError, BusyError, CinesaxError: see `Desk.open`.
    """
    return reader.desk.open(exam)
