"""Approved and edited versions of an exam, which no run replaces."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from cinesax.cohort.place import foreign_entries
from cinesax.cohort.receipt import Receipt, Written
from cinesax.cohort.stores import NO_STORES, Signed, Stores
from cinesax.core.errors import InputError
from cinesax.core.origins import Origin
from cinesax.results import tables

_RESULT = "analysis.json"


class Work(StrEnum):
    """The kinds of a person's work on an exam."""

    EDITED = "edited"
    APPROVED = "approved"
    EXCLUDED = "excluded"
    """A reader excluded the exam."""


@dataclass(frozen=True, slots=True)
class Human:
    """A version by a person.

    Attributes:
        work: edited, approved or excluded.
        by: the person.
        measurements: the measurements of its analysis.json.
        folder: the folder of the version; None if it is only in a store.
    """

    work: Work
    by: str
    measurements: dict[str, str | int | float | None]
    folder: Path | None


def human_version(folder: Path, receipt: Receipt, stores: Stores = NO_STORES) -> Human | None:
    """The version by a person that counts: an exclusion, else the last approved version, else the last edited one.

    Versions are in stores of the reader or in the exam's folder: its analysis.json, if it differs from the one in the
    receipt, and folders of results.
    """
    versions = [] if _is_own(f"{folder}/{_RESULT}", receipt.written) else [folder]
    try:
        entries = foreign_entries(folder, receipt)
    except OSError:
        entries = []
    if not versions and not entries and not stores:
        return None
    versions += [path.parent for entry in entries for path in _results_below(folder / entry)]
    humans = [human for human in map(_human, versions) if human is not None]
    # max takes the first of equals, so the newest comes first.
    humans.sort(key=lambda human: _time(human.folder), reverse=True)
    humans = [*_from_stores(receipt, stores), *humans]
    return max(humans, key=lambda human: list(Work).index(human.work), default=None)


def _from_stores(receipt: Receipt, stores: Stores) -> Iterator[Human]:
    for signed in stores.get(str(receipt.values.get("case")), ()):
        if signed.pixels_sha256 not in (None, receipt.pixels_sha256):
            continue  # another exam with the same UID
        if signed.state == Work.EXCLUDED:
            yield Human(Work.EXCLUDED, signed.by, dict.fromkeys(tables.MEASURED), None)
        elif signed.approved is not None:
            version = _human(signed.approved)
            if version is not None:
                yield replace(version, work=Work.APPROVED, by=signed.by)
        else:
            yield Human(Work.EDITED, signed.by, _few(signed), None)


def _few(signed: Signed) -> dict[str, str | int | float | None]:
    """The stored values of a version that is not approved yet; all others are empty, not the network's."""
    edv, esv = signed.edv_ml, signed.esv_ml
    few = {"ef_percent": signed.ef_percent, "edv_ml": edv, "esv_ml": esv}
    few["sv_ml"] = None if edv is None or esv is None else edv - esv
    return {**dict.fromkeys(tables.MEASURED), **{name: tables.rounded(value) for name, value in few.items()}}


def _time(folder: Path | None) -> int:
    try:
        return 0 if folder is None else (folder / _RESULT).stat().st_mtime_ns
    except OSError:
        return 0


def _results_below(entry: Path) -> Iterator[Path]:
    if entry.is_dir() and not entry.name.startswith("."):
        yield from sorted(entry.glob(_RESULT))
        yield from sorted(entry.glob(f"*/{_RESULT}"))


def _is_own(path: str, own: Written | None) -> bool:
    if own is None:
        return not os.path.exists(path)
    try:
        info = os.stat(path)
        if (info.st_size, info.st_mtime_ns) == (own.size, own.mtime_ns):
            return True
        import hashlib

        # Copied folders have different times.
        return hashlib.sha256(Path(path).read_bytes()).hexdigest() == own.sha256
    except OSError:
        return True


def _human(folder: Path) -> Human | None:
    try:
        content = tables.read_json(folder / _RESULT)
        drawn = content["segmentation"]["origins"]
        base = content["segmentation"]["origin"]
        measured = tables.measured(content["measurements"])
    except (InputError, KeyError, TypeError):
        return None
    approved = [mark for mark in drawn if mark["approved"]]
    edited = [mark for mark in drawn if mark["origin"] == Origin.EDITED.value]
    if not approved and not edited and base == Origin.NETWORK.value:
        return None
    names = sorted({str(mark["by"]) for mark in approved or edited})
    return Human(Work.APPROVED if approved else Work.EDITED, ", ".join(names), measured, folder)
