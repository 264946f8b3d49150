"""The command `cinesax`: finds the subcommand, runs it, and turns errors into one line and an exit code."""

import argparse
import importlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, ModuleType

from cinesax._version import __version__
from cinesax.core.errors import CinesaxError, printable

INTERRUPTED = 130
OUTPUT_CLOSED = 141

# Each is a module of this package with HELP, configure(parser) and run(args): imported only when it is asked for
# by name (or for the help page), so that `cinesax inspect` never waits for what only `cinesax train` needs.
COMMANDS = ("analyze", "inspect", "phantom", "prepare", "train", "export", "evaluate", "send", "dataset")


def _load(name: str) -> ModuleType:
    return importlib.import_module(f"cinesax.cli.{name}")


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """The argument parser, with all commands or (faster to build) only one of them."""
    parser = argparse.ArgumentParser(
        prog="cinesax",
        description="Short-axis cine cardiac MRI: from DICOM to LV contours, volumes and ejection fraction. "
        "For research; not a medical device.",
    )
    parser.add_argument("--version", action="version", version=f"cinesax {__version__}")
    parser.add_argument("--verbose", action="store_true", help="log what is done, to standard error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in (only,) if only else COMMANDS:
        module = _load(name)
        command = commands.add_parser(name, help=module.HELP, description=module.__doc__)
        command.formatter_class = argparse.RawDescriptionHelpFormatter
        module.configure(command)
        command.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments after the program's name; by default those of the process.

    Returns:
        The exit code: 0, or the `exit_code` of the error (see `cinesax.core.errors`), 130 after Ctrl-C, 141 where
        nobody reads its output any more.
    """
    try:
        with _terminable():
            return _run(list(sys.argv[1:] if argv is None else argv))
    except CinesaxError as error:
        # Whatever names and values a damaged exam has: one line, and nothing that a terminal obeys.
        sys.stderr.write(f"cinesax: error: {printable(str(error))}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("cinesax: interrupted\n")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read standard output has left (`| head`): nothing to say, and nothing to flush at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OUTPUT_CLOSED


def _run(arguments: list[str]) -> int:
    first = next((word for word in arguments if not word.startswith("-")), None)
    args = build_parser(first if first in COMMANDS else None).parse_args(arguments)
    _log(verbose=args.verbose)
    args.run(args)
    sys.stdout.flush()
    return 0


def _log(*, verbose: bool) -> None:
    """Log to standard error: what cinesax has to say; with `verbose` what libraries say too.

    pydicom sets the level of its logger itself, and writes whole tracebacks of decoders that failed on damaged pixels,
    of which the one line of the error tells.
    """
    handler = logging.StreamHandler()
    if not verbose:
        handler.addFilter(logging.Filter("cinesax"))
    level = logging.INFO if verbose else logging.ERROR
    logging.basicConfig(level=level, format="%(name)s: %(message)s", handlers=[handler])


@contextmanager
def _terminable() -> Iterator[None]:
    """Let a termination (`kill`, a job's time limit) clean up like Ctrl-C: as an exception that ends the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _terminate(number: int, frame: FrameType | None) -> None:
    sys.stderr.write("cinesax: terminated\n")
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
