"""Routes for the worklist: show it, add exams, exclude them, analyze them again."""

from pathlib import Path

from fastapi import APIRouter, Request, Response
from msgspec import Struct
from starlette.concurrency import run_in_threadpool

from cinesax.core.errors import InputError, UsageError
from cinesax.reader import messages, worklist
from cinesax.reader.exams import BusyError
from cinesax.reader.long_axis import series_of
from cinesax.reader.messages import BadBodyError, parsed
from cinesax.reader.store.database import ExamRow, StaleError, State
from cinesax.reader.web.context import Body, Context, Reader, answer, row_of
from cinesax.results.tables import RESEARCH_USE

router = APIRouter()


class _WorklistAnswer(Struct, frozen=True):
    version: int
    show_patient: bool
    research_use: str
    root: str | None
    can_add_paths: bool
    exams: list[worklist.Listed] | None


@router.get("/api/worklist")
def _get_worklist(reader: Context, since: int = -1) -> Response:
    version = reader.store.list_version()
    running = bool(reader.queue.progress)
    exams, show = None, reader.settings.show_patient
    if since != version or running:
        exams = worklist.lines(reader.store, reader.now())
    root = str(reader.settings.root) if reader.settings.root is not None and show else None
    return answer(_WorklistAnswer(version, show, RESEARCH_USE, root, True, exams))


@router.post("/api/exams")
def _add_path(reader: Context, body: Body) -> Response:
    path = Path(parsed(body, messages.PathBody).path)
    below = reader.settings.only_below
    if below is not None and not path.expanduser().resolve().is_relative_to(below):
        raise UsageError("only exams below the folder that was opened can be added on this address")
    return _added(reader, path)


def _added(reader: Reader, path: Path) -> Response:
    entries = worklist.find(path)
    if not entries:
        raise InputError("there is no exam: give a folder of DICOM files, a zip, NIfTI files or results")
    ids = worklist.add(reader.store, entries)
    reader.queue.wake()
    return answer({"added": ids})


@router.post("/api/uploads")
def _start_upload(reader: Context, body: Body) -> Response:
    parsed(body, messages.Empty)
    return answer({"upload": reader.uploads.start()})


@router.put("/api/uploads/{upload}/files/{number}")
async def _put_file(reader: Context, upload: str, number: int, request: Request) -> Response:
    if number < 0:
        raise BadBodyError("the number of a file must be 0 or more")
    await reader.uploads.put(upload, number, request.stream())
    return answer({"taken": number})


@router.post("/api/uploads/{upload}/finish")
def _finish_upload(reader: Context, upload: str, body: Body) -> Response:
    return _added(reader, reader.uploads.finish(upload))


@router.post("/api/uploads/zip")
async def _put_zip(reader: Context, request: Request) -> Response:
    path = await reader.uploads.zipped(request.stream())
    return await run_in_threadpool(_added, reader, path)


@router.post("/api/exams/{exam}/exclude")
def _exclude(reader: Context, exam: str, body: Body) -> Response:
    asked, row = parsed(body, messages.ExcludeBody), row_of(reader, exam)
    if row.state in (State.EXCLUDED, State.RUNNING):
        raise BusyError(f"the exam is {row.state}")
    version = reader.store.next_version(
        exam,
        asked.version,
        asked.by or "reader",
        f"Exclude: {asked.reason}",
        state=State.EXCLUDED,
        before_exclusion=row.state,
        reason=asked.reason,
    )
    return answer({"version": version, "state": State.EXCLUDED})


@router.post("/api/exams/{exam}/include")
def _include(reader: Context, exam: str, body: Body) -> Response:
    asked, row = parsed(body, messages.VersionBody), row_of(reader, exam)
    if row.state is not State.EXCLUDED:
        raise UsageError("the exam is not excluded")
    state = row.before_exclusion or State.WAITING
    version = reader.store.next_version(
        exam, asked.version, asked.by or "reader", "Include", state=state, before_exclusion=None, reason=None
    )
    reader.queue.wake()
    return answer({"version": version, "state": state})


@router.post("/api/exams/{exam}/analyze")
def _analyze_again(reader: Context, exam: str, body: Body) -> Response:
    parsed(body, messages.Empty)
    return _again(reader, row_of(reader, exam), {})


@router.post("/api/exams/{exam}/series")
def _choose_series(reader: Context, exam: str, body: Body) -> Response:
    asked, row = parsed(body, messages.SeriesBody), row_of(reader, exam)
    if asked.version != row.version:
        raise StaleError
    listed = series_of(row)
    if asked.series >= len(listed):
        raise UsageError(f"there are {len(listed)} series")
    return _again(reader, row, {"series_uid": listed[asked.series].uid})


def _again(reader: Reader, row: ExamRow, values: dict[str, object]) -> Response:
    if row.state in (State.WAITING, State.RUNNING, State.EXCLUDED):
        raise BusyError(f"the exam is {row.state}")
    if reader.store.line(row.id) or reader.store.signatures(row.id):
        raise UsageError("a person has corrected or approved this exam: it is never analyzed again")
    if not row.path:
        raise UsageError("the results do not name their exam: add the exam itself")
    version = reader.store.next_version(row.id, row.version, "reader", "Analyze again", state=State.WAITING, **values)
    reader.desk.forget(row.id)
    reader.queue.wake()
    return answer({"version": version, "state": State.WAITING})
