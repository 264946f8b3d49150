"""Routes for viewing one exam."""

import numpy as np
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray

from cinesax.reader import answers, messages, shown
from cinesax.reader.long_axis import series_of
from cinesax.reader.messages import parsed
from cinesax.reader.store.database import ExamRow
from cinesax.reader.web.context import Body, Context, Reader, answer, line_of, opened, row_of, state_of, whole

router = APIRouter()


def _binary(pixels: NDArray[np.uint16]) -> Response:
    shape = ",".join(str(length) for length in pixels.shape)
    return Response(pixels.tobytes(), media_type="application/octet-stream", headers={"X-Shape": shape})


@router.get("/api/exams/{exam}")
def _get_state(reader: Context, exam: str) -> Response:
    return answer(state_of(reader, exam))


@router.get("/api/exams/{exam}/frames")
def _get_frames(reader: Context, exam: str, request: Request) -> Response:
    query = request.query_params
    place, phase = whole(query.get("slice")), query.get("phase")
    open_exam = opened(reader, exam)
    return _binary(open_exam.frames(place, None if phase is None else whole(phase)))


@router.get("/api/exams/{exam}/first")
def _get_first(reader: Context, exam: str) -> Response:
    return answer({"contours": shown.contours_of(opened(reader, exam).first.segmentation)[0]})


@router.get("/api/exams/{exam}/long_axis")
def _get_long_axis(reader: Context, exam: str) -> Response:
    open_exam = opened(reader, exam)
    with open_exam.lock:
        return answer({"series": answers.long_axis(open_exam.long_axis())})


@router.get("/api/exams/{exam}/long_axis/{index}/frames")
def _get_long_axis_frames(reader: Context, exam: str, index: str) -> Response:
    open_exam = opened(reader, exam)
    with open_exam.lock:
        return _binary(answers.long_axis_of(open_exam.long_axis(), whole(index)).pixels)


@router.get("/api/exams/{exam}/history")
def _get_history(reader: Context, exam: str) -> Response:
    row = row_of(reader, exam)
    line = [
        {"number": number, "by": by, "at": at, "what": what, "undone": number > row.applied}
        for number, by, at, what in reader.store.line(exam)
    ]
    return answer({"edits": line})


@router.get("/api/exams/{exam}/series")
def _get_series(reader: Context, exam: str) -> Response:
    row = row_of(reader, exam)
    listed = [
        {"index": index, "series": s.name, "kind": s.kind, "reason": s.explanation, "picked": s.uid in picked}
        for picked in [_picked(reader, row)]
        for index, s in enumerate(series_of(row))
    ]
    return answer({"series": listed})


def _picked(reader: Reader, row: ExamRow) -> tuple[str, ...]:
    """The UIDs of the series from which the results were made."""
    if row.results is None:
        return ()
    return opened(reader, row.id).cine.source.series_uids


@router.post("/api/exams/{exam}/here")
def _here(reader: Context, exam: str, body: Body) -> Response:
    asked, row = parsed(body, messages.HereBody), row_of(reader, exam)
    others = reader.windows.others(exam, asked.window)
    return answer({"others": others, "version": row.version, "changed": line_of(reader, row).changed})
