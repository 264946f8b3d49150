"""The command line: main.py and one file a command; here, what commands share."""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cinesax.core.errors import OutputError, UsageError
from cinesax.core.selection import NiftiGeometry, Selection

_FORMATS = frozenset(
    (".json", ".csv", ".tsv", ".parquet", ".xlsx", ".xls", ".ods", ".html", ".htm", ".pdf", ".png", ".jpg", ".jpeg")
)


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose among several series, studies or patients."""
    chosen = parser.add_argument_group("what to read from the folder")
    chosen.add_argument("--series", metavar="UID", help="the series to read (default: chosen automatically)")
    chosen.add_argument("--study", metavar="UID", help="the study to read, if there are several")
    chosen.add_argument("--patient", metavar="ID", help="the PatientID to read, if there are several")
    chosen.add_argument(
        "--ignore-frame-of-reference",
        action="store_true",
        help="read slices as one stack even if the patient may have moved between them",
    )
    chosen.add_argument(
        "--nifti-geometry",
        choices=tuple(str(name) for name in NiftiGeometry),
        help="the part of a NIfTI header to trust if its parts contradict each other",
    )


def selection_from(args: argparse.Namespace) -> Selection:
    """The selection that these options make."""
    return Selection(
        series_uid=args.series,
        study_uid=args.study,
        patient_id=args.patient,
        ignore_frame_of_reference=args.ignore_frame_of_reference,
        nifti_geometry=args.nifti_geometry,
    )


def check_file_to_write(option: str, path: Path, own: tuple[str, ...]) -> None:
    """Refuse a file, before any work is done, that could not be written, or whose suffix is that of another format.

    Other suffixes are allowed: a program that reads the file will not be misled by them.

    Args:
        option: the option that names the file.
        path: the file.
        own: the suffixes of its format, the usual one first.

    Raises:
        UsageError: the suffix is that of another format.
        OutputError: there is a folder of this name, or no folder to write the file into.
    """
    suffix = path.suffix.lower()
    if suffix in _FORMATS and suffix not in own:
        raise UsageError(f"{option} writes {own[0][1:].upper()}, and {path} ends with {suffix}: end it with {own[0]}")
    if path.is_dir():
        raise OutputError(f"{path} cannot be written: it is a folder; {option} names a file")
    if not path.absolute().parent.is_dir():
        raise OutputError(f"{path} cannot be written: there is no folder {path.parent}; make it first")


@contextmanager
def drawn_progress(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A function that draws progress on standard error, or None if that is not a terminal.

    Args:
        what: what is counted, such as "frames".
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
