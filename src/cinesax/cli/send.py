"""Send the DICOM objects in OUT to an archive (PACS), and report which of them it accepted.

OUT is a folder that cinesax analyze --dicom wrote, any other folder of DICOM files, or one file; files that are not
DICOM objects are skipped. --to AET@HOST:PORT sends by C-STORE, --to https://HOST/dicom-web by STOW-RS. After a
temporary failure (busy archive, broken connection) an object is tried again. The exit code is 9 unless the archive
accepted every object. For DICOMweb, name and password come from ~/.netrc, a bearer token from --token-file.
Needs the extra `send`: pip install '.[send]' in the checkout.
"""

import argparse
import json
import logging
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cinesax.cli import drawn_progress
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
    """Find the objects, send them, report."""
    from cinesax.archive import find_objects, parse_destination, send

    _check(args)
    destination = parse_destination(args.to, token=None if args.token_file is None else _token(args.token_file))
    objects = find_objects(args.out)
    with _quiet(), drawn_progress("objects") as progress:
        deliveries = send(
            objects,
            destination,
            calling_aet=args.calling_aet,
            attempts=args.attempts,
            timeout_s=args.timeout,
            progress=progress,
        )
    (_tell_json if args.format == "json" else _tell)(deliveries, destination, args.out)
    arrived = sum(delivery.arrived for delivery in deliveries)
    if arrived < len(deliveries):
        why = next(delivery.reason for delivery in deliveries if not delivery.arrived)
        raise DeliveryError(f"{destination} took {arrived} of {len(deliveries)} objects; first failure: {why}")


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
    """Silence pynetdicom's log of each failed attempt (unless --verbose is given): the table shows it."""
    logger = logging.getLogger("pynetdicom")
    before = logger.level
    if not logging.getLogger().isEnabledFor(logging.INFO):
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _name(delivery: "Delivery", out: Path) -> str:
    return delivery.sent.path.name if out.is_file() else delivery.sent.path.relative_to(out).as_posix()


def _tell(deliveries: "tuple[Delivery, ...]", destination: "Destination", out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(title=f"To {destination}", title_justify="left")
    for name in ("object", "kind", "result", "attempts"):
        table.add_column(name, justify="right" if name == "attempts" else "left", overflow="fold")
    # A reason shared by many objects (the association was refused, say) is printed once, below.
    counts = Counter((delivery.fate, delivery.reason) for delivery in deliveries if delivery.reason)
    for delivery in deliveries:
        alone = counts[delivery.fate, delivery.reason] == 1
        result = delivery.fate.value + (f": {delivery.reason}" if alone else "")
        table.add_row(_name(delivery, out), delivery.sent.kind, result, str(delivery.attempts))
    console.print(table, markup=False)
    for (fate, reason), count in counts.items():
        if count > 1:
            console.print(f"{fate.value}, {count} objects: {reason}", markup=False, soft_wrap=True)
    console.print(f"taken: {sum(delivery.arrived for delivery in deliveries)} of {len(deliveries)}")


def _tell_json(deliveries: "tuple[Delivery, ...]", destination: "Destination", out: Path) -> None:
    document = {
        "schema": SCHEMA,
        "destination": str(destination),
        "objects": [
            {
                "file": _name(delivery, out),
                "kind": delivery.sent.kind,
                "sop_class_uid": delivery.sent.sop_class_uid,
                "fate": delivery.fate.value,
                "reason": delivery.reason,
                "attempts": delivery.attempts,
            }
            for delivery in deliveries
        ],
    }
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
