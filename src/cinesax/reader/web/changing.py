"""Routes for edits: each edit is stored before the request is answered."""

from collections.abc import Callable

from fastapi import APIRouter, Response

from cinesax.reader import answers, messages, shown
from cinesax.reader.exams import BusyError, Changed, OpenExam
from cinesax.reader.messages import parsed
from cinesax.reader.store.database import State
from cinesax.reader.web.context import Body, Context, Reader, answer, opened, row_of

router = APIRouter()


def _done(reader: Reader, exam: str, change: Callable[[OpenExam], Changed]) -> Response:
    row = row_of(reader, exam)
    if row.state is State.EXCLUDED:
        raise BusyError("the exam is excluded: include it first")
    open_exam = opened(reader, exam)
    with open_exam.lock:
        open_exam.refresh()
        changed = change(open_exam)
        return answer(answers.change(open_exam, changed, row_of(reader, exam)))


@router.post("/api/exams/{exam}/edits")
def _edit(reader: Context, exam: str, body: Body) -> Response:
    asked = parsed(body, messages.EditBody)
    return _done(
        reader, exam, lambda open_exam: open_exam.edit(asked.version, asked.edit, asked.by.strip() or "reader")
    )


@router.post("/api/exams/{exam}/undo")
def _undo(reader: Context, exam: str, body: Body) -> Response:
    asked = parsed(body, messages.VersionBody)
    return _done(reader, exam, lambda open_exam: open_exam.undo(asked.version, asked.by.strip() or "reader"))


@router.post("/api/exams/{exam}/redo")
def _redo(reader: Context, exam: str, body: Body) -> Response:
    asked = parsed(body, messages.VersionBody)
    return _done(reader, exam, lambda open_exam: open_exam.redo(asked.version, asked.by.strip() or "reader"))


@router.post("/api/exams/{exam}/preview")
def _preview(reader: Context, exam: str, body: Body) -> Response:
    asked = parsed(body, messages.PreviewBody)
    open_exam = opened(reader, exam)
    with open_exam.lock:
        return answer({"numbers": shown.numbers_of(open_exam.preview(asked))})
