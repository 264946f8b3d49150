"""View an exam, correct its contours and sign them, on a page in the browser; no data leaves this computer.

PATH is an exam, a folder of results (cinesax analyze -o), or a folder with many of either; without PATH the page shows
the exams in its store. Exams without results are analyzed one after the other. Every correction is stored at once, in a
folder beside PATH (--store). For research use; not a medical device.
Needs the extra `view`: pip install '.[view]' in the checkout.
"""

import argparse
import getpass
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from cinesax.core.errors import InputError, MissingExtraError, UsageError, install_hint


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("path", type=Path, nargs="?", metavar="PATH", help="an exam, results, or a folder of them")
    parser.add_argument(
        "--store", type=Path, metavar="DIR", help="where corrections go (default: cinesax-reader beside PATH)"
    )
    parser.add_argument(
        "--exam", type=Path, metavar="EXAM", help="the exam that the results in PATH are of, if they do not name it"
    )
    parser.add_argument("--port", type=int, default=0, metavar="N", help="port of the page (default: any free port)")
    parser.add_argument("--no-browser", action="store_true", help="print the address, but do not open a browser")
    parser.add_argument("--show-patient", action="store_true", help="show name, ID, birth date and study date")
    parser.add_argument(
        "--model",
        type=Path,
        metavar="BUNDLE",
        help="a bundle folder, without-chla or sunnybrook (default: the shipped network)",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads for the network (default: all cores)")
    parser.add_argument(
        "--organization", default="not stated", metavar="NAME", help="where the readers work, for signatures in DICOM"
    )
    other = parser.add_argument_group("access from other machines (not encrypted: only in a network that you trust)")
    other.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDR",
        help="the address to listen on (default: %(default)s, only this computer)",
    )
    other.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help="with --host: a file with a password (default: cinesax asks for it)",
    )


def run(args: argparse.Namespace) -> None:
    """Open the store and serve the page."""
    for name in ("fastapi", "uvicorn"):
        if find_spec(name) is None:
            raise MissingExtraError(f"cinesax view needs {name}: {install_hint('view')}")
    if not 0 <= args.port <= 65535:
        raise UsageError(f"--port must be from 0 to 65535, seen {args.port}")
    if args.threads is not None and args.threads < 1:
        raise UsageError(f"--threads must be at least 1, seen {args.threads}")
    from cinesax.reader.serve import Analyses, Where, serve
    from cinesax.reader.store.database import Store, refuse_inside
    from cinesax.reader.web.context import Settings
    from cinesax.reader.web.security import is_loopback
    from cinesax.reader.worklist import default_store

    if args.path is None and args.store is None:
        raise UsageError("give an exam, results, a folder of them, or a --store with exams")
    root = None if args.path is None else _existing(args.path)
    loopback = is_loopback(args.host)
    password = None if loopback else _password(args.password_file)
    folder = args.store.expanduser().resolve() if args.store is not None else default_store(root or Path())
    for source in (root, args.exam):
        if source is not None:
            refuse_inside(folder, source)
    settings = Settings(
        show_patient=args.show_patient,
        organization=args.organization,
        root=root,
        exam=None if args.exam is None else _existing(args.exam),
        only_below=None if loopback else (root or folder),
    )
    where = Where(args.host, args.port, password, browser=not args.no_browser)
    analyses = Analyses(args.model, args.threads)
    serve(Store(folder), settings, where, analyses=analyses, on_ready=_printer(folder))


def _existing(path: Path) -> Path:
    from cinesax.files.remote import refuse_url

    try:
        absolute = path.expanduser().resolve()
        if not absolute.exists():
            refuse_url(path)
            raise InputError(f"{path} does not exist: give an exam, results, or a folder of them")
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    return absolute


def _password(file: Path | None) -> str:
    if file is None:
        if not sys.stdin.isatty():
            raise UsageError("--host needs a password: give --password-file FILE")
        password = getpass.getpass("Password for the page: ")
    else:
        try:
            password = file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise InputError(f"{file} cannot be read as a password: {error}") from error
    if len(password) < 8:
        raise UsageError("the password must have at least 8 characters")
    return password


def _printer(folder: Path) -> Callable[[str], None]:
    def print_address(address: str) -> None:
        sys.stdout.write(
            f"cinesax view: {address}\n"
            f"corrections are stored in {folder}; Ctrl-C ends. For research use; not a medical device.\n"
        )
        sys.stdout.flush()

    return print_address
