"""What people made of an exam: approved and edited versions beside or in its folder, which no run replaces."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cinesax.cohort.place import foreign_entries
from cinesax.cohort.receipt import Receipt, Written
from cinesax.core.errors import InputError
from cinesax.core.origins import Origin
from cinesax.results import tables

_RESULT = "analysis.json"


class Work(StrEnum):
    """How far people got."""

    EDITED = "edited"
    APPROVED = "approved"


@dataclass(frozen=True, slots=True)
class Human:
    """A version by a person.

    Attributes:
        work: edited or approved.
        by: who.
        measurements: those of its analysis.json.
        folder: where it lies.
    """

    work: Work
    by: str
    measurements: dict[str, str | int | float | None]
    folder: Path


def human_version(folder: Path, receipt: Receipt) -> Human | None:
    """The version by a person that counts, in an exam's folder: the last that was approved, else edited.

    The folder's own analysis.json is one if it is another than the receipt says; so are result folders in it.
    """
    versions = [] if _is_own(folder / _RESULT, receipt.written) else [folder]
    try:
        entries = foreign_entries(folder, receipt)
    except OSError:
        entries = []
    versions += [path.parent for entry in entries for path in _results_below(folder / entry)]
    found = [human for human in map(_human, versions) if human is not None]
    # max: the last of equals loses, so the newest comes first.
    ordered = sorted(found, key=lambda human: _time(human.folder), reverse=True)
    return max(ordered, key=lambda human: human.work is Work.APPROVED, default=None)


def _time(folder: Path) -> int:
    try:
        return (folder / _RESULT).stat().st_mtime_ns
    except OSError:
        return 0


def _results_below(entry: Path) -> Iterator[Path]:
    if entry.is_dir() and not entry.name.startswith("."):
        yield from sorted(entry.glob(_RESULT))
        yield from sorted(entry.glob(f"*/{_RESULT}"))


def _is_own(path: Path, own: Written | None) -> bool:
    if own is None:
        return not path.exists()
    try:
        info = path.stat()
        if (info.st_size, info.st_mtime_ns) == (own.size, own.mtime_ns):
            return True
        import hashlib

        # Copied folders have other times.
        return hashlib.sha256(path.read_bytes()).hexdigest() == own.sha256
    except OSError:
        return True


def _human(folder: Path) -> Human | None:
    try:
        told = tables.read_json(folder / _RESULT)
        drawn = told["segmentation"]["origins"]
        base = told["segmentation"]["origin"]
        measured = {name: told["measurements"][name] for name in tables.SCALARS}
    except (InputError, KeyError, TypeError):
        return None
    approved = [one for one in drawn if one["approved"]]
    edited = [one for one in drawn if one["origin"] == Origin.EDITED.value]
    if not approved and not edited and base == Origin.NETWORK.value:
        return None
    names = sorted({str(one["by"]) for one in approved or edited})
    return Human(Work.APPROVED if approved else Work.EDITED, ", ".join(names), measured, folder)
