"""The command `cinesax`: find the subcommand, run it, and turn errors into one line and an exit code."""

import argparse
import difflib
import importlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import NoReturn

from cinesax._version import __version__
from cinesax.core.errors import CinesaxError, UsageError, printable

INTERRUPTED = 130
OUTPUT_CLOSED = 141

# Each command is a module of this package with configure(parser) and run(args). A module is imported only when its
# command runs: `cinesax --help` and `cinesax inspect` must not wait for what only `cinesax train` needs.
COMMANDS = {
    "analyze": "measure the left ventricle of an exam and write the results",
    "cohort": "measure every exam below a folder, into one table",
    "view": "view exams in the browser, correct contours and sign",
    "compare": "compare the values of two cohorts, or of a cohort and another program",
    "inspect": "list the series of an exam, and which one is the short-axis cine",
    "phantom": "make a synthetic exam with known volumes",
    "prepare": "make a training set from labelled images, studies with contours, and phantoms",
    "train": "train a network on a prepared set",
    "export": "export the network of a finished run: as a bundle, SavedModel or LiteRT files",
    "evaluate": "compare a network, or another program's masks, with expert labels",
    "calibrate": "put into a bundle which errors to expect of its network on an exam",
    "send": "send DICOM objects to an archive (C-STORE, STOW-RS)",
    "dataset": "verify, list or show a prepared set",
    "completion": "print the completion script of a shell (bash, zsh, fish)",
}


class _Parser(argparse.ArgumentParser):
    """Suggests options and commands for misspelt ones, and reports what cannot be understood in one line."""

    def error(self, message: str) -> NoReturn:
        """End with the code of a UsageError: one line without the usage, which `--help` prints."""
        self.exit(UsageError.exit_code, f"cinesax: error: {printable(message)} (see {self.prog} --help)\n")

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """Like argparse, but an unknown option is an error here, where similar ones are known."""
        parsed, unparsed = super().parse_known_args(args, namespace)
        unknown = [word for word in unparsed if word.startswith("--")]
        if unknown:
            option = unknown[0].partition("=")[0]
            known = [name for action in self._actions for name in action.option_strings if name.startswith("--")]
            self.error(f"there is no option {option}{_did_you_mean(option, known)}")
        return parsed, unparsed


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def build_parser(only: str | None = None, *, complete: bool = False) -> argparse.ArgumentParser:
    """The argument parser.

    Args:
        only: the one command whose options to add; None: names of commands only.
        complete: add the options of all commands, which imports all of them.
    """
    parser = _Parser(
        prog="cinesax",
        description="Short-axis cine cardiac MRI: from DICOM to LV contours, volumes and ejection fraction. "
        "For research; not a medical device.",
    )
    parser.add_argument("--version", action="version", version=f"cinesax {__version__}")
    parser.add_argument("--verbose", action="store_true", help="log each step and what libraries log")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        if only is None or name == only:
            _add(commands.add_parser(name, help=summary), name if only or complete else None)
    return parser


def _add(command: argparse.ArgumentParser, name: str | None) -> None:
    if name is None:
        return
    module = _load(name)
    command.description = module.__doc__
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    module.configure(command)
    command.set_defaults(run=module.run, option_names=_option_names(command))


def _option_names(parser: argparse.ArgumentParser) -> dict[str, str]:
    """Attribute of the parsed arguments -> the option that sets it; of commands of the command too."""
    names: dict[str, str] = {}
    for action in parser._actions:
        if action.option_strings:
            names[action.dest] = action.option_strings[0]
        elif isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                names |= _option_names(inner)
    return names


def _load(name: str) -> ModuleType:
    return importlib.import_module(f"cinesax.cli.{name}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments after the program's name; by default those of the process.

    Returns:
        The exit code: 0, or the `exit_code` of the error (see `cinesax.core.errors`), 130 after Ctrl-C, 141 if nobody
        reads the output any more.
    """
    try:
        with _terminable():
            return _run(list(sys.argv[1:] if argv is None else argv))
    except CinesaxError as error:
        # One line without control characters, whatever names and values a damaged exam holds.
        sys.stderr.write(f"cinesax: error: {printable(str(error))}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("cinesax: interrupted\n")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of standard output has left (`| head`): there is nothing to report, or to flush at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OUTPUT_CLOSED


def _run(arguments: list[str]) -> int:
    if "_ARGCOMPLETE" in os.environ:
        _complete()
    first = next((word for word in arguments if not word.startswith("-")), None)
    parser = build_parser(first if first in COMMANDS else None)
    if first is not None and first not in COMMANDS:
        parser.error(f"there is no command {first!r}{_did_you_mean(first, list(COMMANDS))}")
    args, left = parser.parse_known_args(arguments)
    if left:
        _Parser(prog=f"cinesax {first}").error(f"unrecognized arguments: {' '.join(left)}")
    if any("://" in word for word in arguments):
        _refuse_urls(args)
    _log(verbose=args.verbose)
    args.run(args)
    sys.stdout.flush()
    return 0


def _refuse_urls(args: argparse.Namespace) -> None:
    """Refuse URLs in the place of files and folders.

    argparse has made paths of them, which have lost a slash: a command would make a folder named "s3:".
    """
    from cinesax.files.remote import is_remote, refuse_url

    for name, value in vars(args).items():
        for path in value if isinstance(value, list) else [value]:
            if not isinstance(path, Path) or not is_remote(path):
                continue
            if name not in args.option_names:
                refuse_url(path)
            raise UsageError(
                f"{args.option_names[name]} must be on this machine or on a shared file system; only exams of "
                "`cinesax cohort` can be in a store such as S3"
            )


def _complete() -> None:
    """Answer the shell, which runs the command with the words typed so far in the environment, and exit."""
    import argcomplete

    argcomplete.autocomplete(build_parser(complete=True))


def _log(*, verbose: bool) -> None:
    """Log cinesax's messages to standard error; with `verbose` also those of libraries.

    pydicom sets its logger's level itself, and logs whole tracebacks when decoders fail on damaged pixels; the error's
    one line reports these already.
    """
    handler = logging.StreamHandler()
    if not verbose:
        handler.addFilter(logging.Filter("cinesax"))
    level = logging.INFO if verbose else logging.ERROR
    logging.basicConfig(level=level, format="%(name)s: %(message)s", handlers=[handler])


@contextmanager
def _terminable() -> Iterator[None]:
    """Make a termination (`kill`, a job's time limit) clean up like Ctrl-C: as an exception that ends the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except _Terminated:
        sys.stderr.write("cinesax: terminated\n")
        raise
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


class _Terminated(SystemExit):
    """The process was asked to end."""


def _terminate(number: int, frame: FrameType | None) -> None:
    # Nothing is written here: the signal may have come in the middle of another write, which would be an error.
    raise _Terminated(128 + number)


if __name__ == "__main__":
    sys.exit(main())
