"""Replace an exam's folder in one step, and keep the files that people put into the earlier folder."""

import os
import shutil
from pathlib import Path

from cinesax.cohort.receipt import RECEIPT_NAME, Receipt, read_receipt
from cinesax.files.folder_swap import put_in_place


def install(stage: Path, target: Path) -> None:
    """Replace the earlier folder of an exam by a new one.

    Entries that cinesax did not write (approved versions, notes) are linked or copied into the new folder before the
    two are swapped, so they exist at every moment.

    Raises:
        OSError: the disk is full, or the target cannot be written. The earlier folder is then unchanged.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        for name in foreign_entries(target, read_receipt(target)):
            _keep(target / name, stage / name)
    put_in_place(stage, target)


def foreign_entries(folder: Path, receipt: Receipt | None) -> list[str]:
    """Names of entries in an exam's folder that its receipt does not list: people put them there."""
    own = {RECEIPT_NAME, *(receipt.entries if receipt is not None else ())}
    return sorted(name for name in os.listdir(folder) if name not in own)


def _keep(source: Path, place: Path) -> None:
    if place.exists() or place.is_symlink():
        return  # cinesax writes an entry of this name too, which the receipt of an earlier version did not list
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, place, symlinks=True, copy_function=_link)
    else:
        _link(str(source), str(place))


def _link(source: str, place: str) -> None:
    try:
        os.link(source, place, follow_symlinks=False)
    except (OSError, NotImplementedError):
        shutil.copy2(source, place, follow_symlinks=False)
