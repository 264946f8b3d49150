"""Start the page: the store, the queue, the server; and stop them in order."""

import logging
import socket
import sqlite3
import threading
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from cinesax.core.errors import CinesaxError, UsageError
from cinesax.reader import worklist
from cinesax.reader.exams import BusyError, Desk
from cinesax.reader.listed import complete
from cinesax.reader.store.database import Store, UnknownError
from cinesax.reader.uploads import Uploads
from cinesax.reader.web.app import make_app
from cinesax.reader.web.context import Reader, Settings, Windows, opened
from cinesax.reader.web.security import Access, Guard, is_loopback
from cinesax.reader.worker import Queue

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Where:
    """The address that the server listens on.

    Attributes:
        host: the address.
        port: the port; 0: any free port.
        password: the page asks for it; required if the address is not loopback.
        browser: whether to open a browser.
    """

    host: str = "127.0.0.1"
    port: int = 0
    password: str | None = None
    browser: bool = True


@dataclass(frozen=True, slots=True)
class Analyses:
    """How exams are analyzed.

    Attributes:
        model: the bundle folder of the network; None: the shipped network.
        threads: CPU threads for the network; None: all cores.
    """

    model: Path | None = None
    threads: int | None = None


def serve(
    store: Store, settings: Settings, where: Where, *, analyses: Analyses, on_ready: Callable[[str], None]
) -> None:
    """Serve the page until the process is interrupted.

    Args:
        store: the store of the exams.
        settings: the settings of the page.
        where: the address to listen on.
        analyses: how exams are analyzed.
        on_ready: called with the address of the page as soon as it can be opened.

    Raises:
        UsageError: the server cannot listen on the address, or it is not loopback and there is no password.
    """
    if where.password is None and not is_loopback(where.host):
        raise UsageError(f"{where.host} can be reached from other machines: give a password too (--password-file)")
    listener = _listen(where)
    port = int(listener.getsockname()[1])
    access = Access(port, _hosts(where.host), password=where.password)
    queue = Queue(store, model=analyses.model, threads=analyses.threads, show_patient=settings.show_patient)
    desk = Desk(store, show_patient=settings.show_patient)
    reader = Reader(store, desk, queue, Uploads(store.folder / "uploads"), Windows(), settings, access)
    store.restart()
    reader.uploads.clean(row.path for row in store.exams())
    queue.start()
    server = uvicorn.Server(
        uvicorn.Config(
            Guard(make_app(reader), access),
            log_level="error",
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=3,
            ws="none",
            lifespan="off",
        )
    )
    shown = "127.0.0.1" if where.host in ("0.0.0.0", "::") else f"[{where.host}]" if ":" in where.host else where.host
    address = f"http://{shown}:{port}/?token={access.token}"
    on_ready(address)
    threading.Thread(target=_fill_list, args=(reader,), daemon=True).start()
    if where.browser:
        threading.Timer(0.3, webbrowser.open, (address,)).start()
    try:
        server.run(sockets=[listener])
    finally:
        queue.stop()
        store.close()


def _fill_list(reader: Reader) -> None:
    settings = reader.settings
    if settings.root is not None:
        _add_root(reader, settings.root, settings.exam)
    try:
        complete(reader.store)
    except sqlite3.Error as error:
        _LOG.info("the worklist is completed at the next start: %s", error)


def _add_root(reader: Reader, root: Path, exam: Path | None) -> None:
    try:
        entries = worklist.find(root)
        if exam is not None:
            entries = worklist.with_exam(entries, exam)
        worklist.add(reader.store, entries)
        given = [entry.id for entry in entries if entry.given]
        for one in given:
            reader.desk.forget(one)
        # Where there is only one exam, it will be opened next.
        _open(reader, [entry.id for entry in entries if entry.results] if len(entries) == 1 else given)
    except CinesaxError as error:
        _LOG.error("%s", error)
    reader.queue.wake()


def _open(reader: Reader, exams: list[str]) -> None:
    """Open exams: the worklist says at once what does not fit, and the page need not wait for them."""
    for exam in exams:
        try:
            opened(reader, exam)
        except (CinesaxError, BusyError, UnknownError) as error:
            _LOG.info("%s", error)


def _listen(where: Where) -> socket.socket:
    family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((where.host, where.port))
        # A browser may connect before the server is up: its connection waits.
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        raise UsageError(f"{where.host} port {where.port} cannot be used: {error}; give another --port") from error
    return listener


def _hosts(host: str) -> tuple[str, ...]:
    """The host names that requests may use."""
    own = ("127.0.0.1", "localhost", "[::1]")
    if is_loopback(host):
        return own
    if host in ("0.0.0.0", "::"):
        name = socket.gethostname().lower()
        return (*own, name, *_addresses(name))
    return (*own, f"[{host}]" if ":" in host else host.lower())


def _addresses(name: str) -> list[str]:
    try:
        addresses = {str(info[4][0]) for info in socket.getaddrinfo(name, None)}
    except OSError:
        return []
    return [f"[{address}]" if ":" in address else address for address in sorted(addresses)]
