"""Hand the DICOM objects in OUT over to an archive (PACS), and say which of them it took.

OUT is a folder that cinesax analyze --dicom wrote, any other folder of DICOM files, or one file; what is no DICOM
object is passed over. --to AET@HOST:PORT sends by C-STORE, --to https://HOST/dicom-web by STOW-RS. What fails for a
reason that may pass (busy archive, broken connection) is tried again after a pause. Ends with 9 unless the archive took
all. DICOMweb: name and password come from ~/.netrc, a bearer token from --token-file.
Needs the extra `send`: pip install '.[send]' in the checkout.
"""

import argparse
import json
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cinesax.core.errors import DeliveryError, InputError, UsageError

if TYPE_CHECKING:
    from cinesax.archive import Delivery, Destination

SCHEMA = "cinesax/delivery/1"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("out", type=Path, metavar="OUT", help="a folder of results, or any DICOM files")
    parser.add_argument("--to", required=True, metavar="WHERE", help="AET@HOST:PORT or https://HOST/dicom-web")
    parser.add_argument(
        "--from", dest="calling_aet", default="CINESAX", metavar="AET", help="our AE title (default: CINESAX)"
    )
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="a file with a bearer token for DICOMweb")
    parser.add_argument(
        "--attempts", type=int, default=4, metavar="N", help="how many times to try each object (default: 4)"
    )
    parser.add_argument(
        "--timeout", type=float, default=60.0, metavar="S", help="how long the archive may be silent (default: 60 s)"
    )
    parser.add_argument("--format", choices=("table", "json"), default="table", help="what to print on standard output")


def run(args: argparse.Namespace) -> None:
    """Find, send, tell."""
    from cinesax.archive import find_objects, parse_destination, send

    _check(args)
    destination = parse_destination(args.to, token=None if args.token_file is None else _token(args.token_file))
    objects = find_objects(args.out)
    with _quiet(), _progress() as progress:
        deliveries = send(
            objects,
            destination,
            calling_aet=args.calling_aet,
            attempts=args.attempts,
            timeout_s=args.timeout,
            progress=progress,
        )
    (_tell_json if args.format == "json" else _tell)(deliveries, destination, args.out)
    arrived = sum(one.arrived for one in deliveries)
    if arrived < len(deliveries):
        why = next(one.reason for one in deliveries if not one.arrived)
        raise DeliveryError(f"{destination} took {arrived} of {len(deliveries)} objects; the first it did not: {why}")


def _check(args: argparse.Namespace) -> None:
    if args.attempts < 1:
        raise UsageError(f"--attempts must be at least 1, seen {args.attempts}")
    if not 0 < args.timeout <= 86400:
        raise UsageError(f"--timeout must be above 0 s and below one day, seen {args.timeout:g}")
    aet = args.calling_aet.strip()
    if not 1 <= len(aet) <= 16 or not (aet.isascii() and aet.isprintable()) or "\\" in aet:
        raise UsageError(f"--from must be an AE title of 1 to 16 ASCII characters, seen {args.calling_aet!r}")


def _token(path: Path) -> str:
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a token: {error}") from error
    if not token or not token.isprintable() or " " in token:
        raise InputError(f"{path} holds no token: expected one line without spaces")
    return token


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what pynetdicom logs of each failed attempt (unless --verbose asks for it): the table says it."""
    logger = logging.getLogger("pynetdicom")
    before = logger.level
    if not logging.getLogger().isEnabledFor(logging.INFO):
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None] | None]:
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("objects", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _name(one: "Delivery", out: Path) -> str:
    return one.sent.path.name if out.is_file() else one.sent.path.relative_to(out).as_posix()


def _tell(deliveries: "tuple[Delivery, ...]", destination: "Destination", out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(title=f"To {destination}", title_justify="left")
    for name in ("object", "kind", "result", "attempts"):
        table.add_column(name, justify="right" if name == "attempts" else "left", overflow="fold")
    # What holds for many objects (the association was refused, say) is told once, below.
    counts = Counter((one.fate, one.reason) for one in deliveries if one.reason)
    for one in deliveries:
        alone = counts[one.fate, one.reason] == 1
        result = one.fate.value + (f": {one.reason}" if alone else "")
        table.add_row(_name(one, out), one.sent.kind, result, str(one.attempts))
    console.print(table, markup=False)
    for (fate, reason), count in counts.items():
        if count > 1:
            console.print(f"{fate.value}, {count} objects: {reason}", markup=False, soft_wrap=True)
    console.print(f"taken: {sum(one.arrived for one in deliveries)} of {len(deliveries)}")


def _tell_json(deliveries: "tuple[Delivery, ...]", destination: "Destination", out: Path) -> None:
    told = {
        "schema": SCHEMA,
        "destination": str(destination),
        "objects": [
            {
                "file": _name(one, out),
                "kind": one.sent.kind,
                "sop_class_uid": one.sent.sop_class_uid,
                "fate": one.fate.value,
                "reason": one.reason,
                "attempts": one.attempts,
            }
            for one in deliveries
        ],
    }
    sys.stdout.write(json.dumps(told, indent=2) + "\n")
