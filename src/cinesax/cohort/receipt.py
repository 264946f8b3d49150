"""The receipt of an exam: what was done, with which options and network, and the exam's row of the table.

A receipt is in the exam's folder and appears together with it. The table is made from receipts alone, so an interrupted
run can neither lose a row nor count one twice.
"""

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import msgspec

SCHEMA = "cinesax/receipt/1"
RECEIPT_NAME = "receipt.json"
Cell = str | int | float | None


class Reason(StrEnum):
    """Why an exam has no values; stable names that scripts may test for."""

    UNREADABLE = "cannot-be-read"
    NO_SHORT_AXIS = "no-short-axis"
    GEOMETRY = "geometry"
    USAGE = "usage"
    NETWORK = "network"
    NOT_WRITTEN = "cannot-be-written"
    MISSING_EXTRA = "missing-extra"
    MEMORY = "memory"
    TIME = "time"
    CRASH = "crash"
    KILLED = "killed"
    CHANGED = "changed"
    """A file was changed while the exam was read."""
    GONE = "gone"
    """A planned file no longer exists: on a disconnected share, for example."""
    UNREACHABLE = "unreachable"
    """The store of the exam cannot be reached, or denies access."""
    BUG = "bug"


EXIT_CODES = {
    Reason.UNREADABLE: 3,
    Reason.NO_SHORT_AXIS: 4,
    Reason.GEOMETRY: 5,
    Reason.USAGE: 2,
    Reason.NETWORK: 6,
    Reason.NOT_WRITTEN: 7,
    Reason.MISSING_EXTRA: 8,
    Reason.MEMORY: 137,
    Reason.TIME: 124,
    Reason.CRASH: 139,
    Reason.KILLED: 137,
    Reason.CHANGED: 3,
    Reason.GONE: 3,
    Reason.UNREACHABLE: 3,
    Reason.BUG: 1,
}
"""Exit codes of `cinesax analyze`; for limits and crashes those of shells: 124 time limit, 137 killed, 139 crashed."""

PASSING = frozenset(
    (Reason.NOT_WRITTEN, Reason.KILLED, Reason.CHANGED, Reason.GONE, Reason.UNREACHABLE, Reason.MISSING_EXTRA)
)
"""Reasons that do not lie in the exam: the next run analyzes it again without being asked."""


class Status(StrEnum):
    """The status of an exam in its receipt."""

    DONE = "done"
    FAILED = "failed"


class Doubt(msgspec.Struct, frozen=True):
    """A finding, without the patient."""

    code: str
    severity: str
    message: str
    phase: int | None = None
    slice: int | None = None


class Written(msgspec.Struct, frozen=True):
    """The analysis.json that belongs to a receipt: if the file differs, a person has changed it."""

    size: int
    mtime_ns: int
    sha256: str


class Recipe(msgspec.Struct, frozen=True):
    """What a result depends on besides the exam.

    Attributes:
        options: a hash of the options of the analysis and the chosen outputs.
        software: name and version of this program.
        network: name and version of the network.
        network_sha256: checksum of the parts of the network that its results depend on.
        calibration_sha256: checksum of the network's calibration (trust.json); empty if it has none, and in receipts of
            earlier versions.
    """

    options: str
    software: str
    network: str = ""
    network_sha256: str = ""
    calibration_sha256: str = ""


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """The receipt of one exam.

    Attributes:
        key: the name of the exam in the cohort.
        status: whether there are values.
        inputs: the fingerprint of its files when they were read.
        recipe: what the result depends on besides the files.
        reason, message, exit_code: why the exam failed; the message names no patient and no file.
        values: its cells of the table, by column.
        findings: what to doubt.
        pixels_sha256: checksum of the exam's pixels, to recognise versions of the exam.
        written: the analysis.json beside the receipt.
        entries: names of the entries that cinesax wrote into the folder; all others belong to people.
        seconds: wall time; not in the table, so that the table is the same for every run.
    """

    schema: str = SCHEMA
    key: str
    status: Status
    inputs: str
    recipe: Recipe
    reason: Reason | None = None
    message: str = ""
    exit_code: int = 0
    values: Mapping[str, Cell] = {}
    findings: tuple[Doubt, ...] = ()
    pixels_sha256: str = ""
    written: Written | None = None
    entries: tuple[str, ...] = ()
    seconds: float = 0.0


_DECODER = msgspec.json.Decoder(Receipt)
_ENCODER = msgspec.json.Encoder()


def read_receipt(folder: Path) -> Receipt | None:
    """The receipt in an exam's folder; None if there is none that this version can read."""
    try:
        # A table may need a million of these: a Path for each, and buffers, would take minutes.
        with open(f"{folder}/{RECEIPT_NAME}", "rb", buffering=0) as stream:
            receipt = _DECODER.decode(stream.read())
    except (OSError, msgspec.MsgspecError):
        return None
    return receipt if receipt.schema == SCHEMA else None


def write_receipt(receipt: Receipt, folder: Path) -> None:
    """Write a receipt into a folder that is not in its place yet."""
    text = msgspec.json.format(_ENCODER.encode(receipt), indent=1)
    with (folder / RECEIPT_NAME).open("wb") as stream:
        stream.write(text + b"\n")
        stream.flush()
        # After a power cut, a receipt must not exist without its text.
        os.fsync(stream.fileno())
