"""The application: answers for errors, and the routes of the other modules."""

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from cinesax.core.errors import CinesaxError, printable
from cinesax.reader import worklist
from cinesax.reader.exams import BusyError
from cinesax.reader.messages import BadBodyError
from cinesax.reader.store.database import StaleError, UnknownError
from cinesax.reader.web import changing, files, listing, looking, signing
from cinesax.reader.web.context import Problem, Reader, Trouble, answer, line_of, state_of, trouble

_CODES = {401: "not-allowed", 403: "not-allowed", 404: "not-found", 405: "not-found", 413: "too-large"}


def make_app(reader: Reader) -> FastAPI:
    """The application; `security.Guard` is wrapped around it."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.state.reader = reader
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _http)
    app.add_exception_handler(ClientDisconnect, _http)
    for error in (BadBodyError, UnknownError, CinesaxError, BusyError, StaleError):
        app.add_exception_handler(error, _refused)
    for module in (files, listing, looking, changing, signing):
        app.include_router(module.router)
    return app


def _http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 400
    detail = (
        error.detail
        if isinstance(error, HTTPException)
        else "a number in the address is not valid, or the body is incomplete"
    )
    return trouble(status, _CODES.get(status, "bad-request"), str(detail))


def _refused(request: Request, error: Exception) -> Response:
    reader: Reader = request.app.state.reader
    match error:
        case BadBodyError():
            return trouble(400, "bad-request", str(error))
        case UnknownError():
            return trouble(404, "not-found", "there is no such exam, version or upload")
        case BusyError():
            row = reader.store.exam(request.path_params.get("exam", ""))
            problem = Problem("busy", _hidden(reader, printable(str(error))))
            return answer(Trouble(problem, exam=None if row is None else line_of(reader, row)), 409)
        case StaleError():
            return _stale(reader, request.path_params["exam"])
        case _:
            return trouble(422, "refused", _hidden(reader, str(error)))


def _stale(reader: Reader, exam: str) -> Response:
    problem = Problem(
        "stale", "the exam was changed elsewhere: the page now shows the new state, and your last change was not made"
    )
    try:
        state = state_of(reader, exam)
    except (BusyError, CinesaxError, UnknownError):
        state = None
    return answer(Trouble(problem, state), 409)


def _hidden(reader: Reader, message: str) -> str:
    """A message without paths: folders are often named after patients."""
    if reader.settings.show_patient or not ("/" in message or "\\" in message):
        return message
    for row in reader.store.exams():
        message = worklist.without_paths(row, message) or ""
    return message
