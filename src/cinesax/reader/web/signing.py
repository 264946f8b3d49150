"""Routes for signatures, reports and comparisons."""

from pathlib import Path

from fastapi import APIRouter, Request, Response

from cinesax.core.analysis import Analysis
from cinesax.core.errors import UsageError
from cinesax.reader import messages
from cinesax.reader.approve import approve
from cinesax.reader.compare import CURRENT, FIRST, compared, pairs, readers
from cinesax.reader.exams import BusyError, OpenExam
from cinesax.reader.messages import parsed
from cinesax.reader.store.database import Signature, State, UnknownError
from cinesax.reader.web.context import Body, Context, Reader, answer, opened, row_of, whole
from cinesax.results.html import render
from cinesax.results.read import read_results
from cinesax.results.write import REPORT_NAME

router = APIRouter()

# The report contains a script, which plays the cine: it runs in its own origin and has no access to the page.
_REPORT_POLICY = "; ".join(
    (
        *("sandbox allow-scripts", "default-src 'none'", "script-src 'unsafe-inline'", "style-src 'unsafe-inline'"),
        *("img-src data:", "frame-ancestors 'self'"),
    )
)


@router.post("/api/exams/{exam}/approve")
def _sign(reader: Context, exam: str, body: Body) -> Response:
    asked = parsed(body, messages.ApproveBody)
    if not asked.by.strip():
        raise UsageError("give your name: results are approved by a person")
    if row_of(reader, exam).state is State.EXCLUDED:
        raise BusyError("the exam is excluded: include it first")
    open_exam = opened(reader, exam)
    with open_exam.lock:
        open_exam.refresh()
        signed = approve(
            reader.store,
            open_exam,
            asked,
            show_patient=reader.settings.show_patient,
            organization=reader.settings.organization,
        )
    folder = signed.folder if reader.settings.show_patient else f"approved-{signed.number}"
    report = f"/api/exams/{exam}/report?number={signed.number}"
    content = {"version": signed.version, "state": State.APPROVED, "number": signed.number, "folder": folder}
    return answer({**content, "report": report, "warning": signed.warning})


@router.post("/api/exams/{exam}/send_back")
def _send_back(reader: Context, exam: str, body: Body) -> Response:
    asked, row = parsed(body, messages.SendBackBody), row_of(reader, exam)
    if row.state not in (State.DONE, State.EDITED, State.APPROVED):
        raise BusyError(f"the exam is {row.state}")
    state = State.EDITED if row.state is State.APPROVED else row.state
    version = reader.store.next_version(
        exam,
        asked.version,
        asked.by,
        f"Send back: {asked.comment}",
        state=state,
        by=asked.by,
        comment=asked.comment,
        sent_back=1,
    )
    return answer({"version": version, "state": state})


@router.get("/api/exams/{exam}/report")
def _report(reader: Context, exam: str, request: Request) -> Response:
    number = request.query_params.get("number")
    if number is not None:
        folder = _signature(reader, exam, whole(number)).folder
        text = (Path(folder) / REPORT_NAME).read_text(encoding="utf-8")
    else:
        open_exam = opened(reader, exam)
        with open_exam.lock:
            open_exam.refresh()
            text = render(open_exam.analysis)
    headers = {"Content-Security-Policy": _REPORT_POLICY}
    return Response(text, media_type="text/html; charset=utf-8", headers=headers)


@router.get("/api/exams/{exam}/compare")
def _compare(reader: Context, exam: str, a: str = "first", b: str = "current") -> Response:
    open_exam = opened(reader, exam)
    with open_exam.lock:
        open_exam.refresh()
        (first, first_name), (second, second_name) = (_reading(reader, open_exam, which) for which in (a, b))
        return answer(compared(first, second, (first_name, second_name)))


@router.get("/api/compare")
def _compare_all(reader: Context, a: str = FIRST, b: str = CURRENT) -> Response:
    signed = reader.store.signed_values()
    return answer({"readers": readers(signed), "exams": pairs(reader.store.exams(), signed, (a, b))})


def _signature(reader: Reader, exam: str, number: int) -> Signature:
    signature = next((s for s in reader.store.signatures(exam) if s.number == number), None)
    if signature is None:
        raise UnknownError
    return signature


def _reading(reader: Reader, exam: OpenExam, which: str) -> tuple[Analysis, str]:
    """One of the readings of an exam, and its author."""
    if which == "first":
        return exam.first, exam.first.segmentation.author
    if which == "current":
        return exam.analysis, row_of(reader, exam.id).by or exam.first.segmentation.author
    signature = _signature(reader, exam.id, whole(which))
    return read_results(signature.folder, exam.cine), signature.by
