"""An exam's folder comes into its place whole, and what people put into the earlier one stays."""

import os
import shutil
from pathlib import Path

from cinesax.cohort.receipt import RECEIPT_NAME, Receipt, read_receipt
from cinesax.files.folder_swap import put_in_place


def install(stage: Path, target: Path) -> None:
    """Put a folder in the place of the exam's earlier one.

    Entries of the earlier folder that are not its own (approved versions, notes) are linked or copied into the new one
    before the two change places, so that no moment exists in which they are not there.

    Raises:
        OSError: the disk is full, or the place cannot be written. What was there is unchanged then.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        for name in foreign_entries(target, read_receipt(target)):
            _keep(target / name, stage / name)
    put_in_place(stage, target)


def foreign_entries(folder: Path, receipt: Receipt | None) -> list[str]:
    """Names in an exam's folder that its receipt does not name: somebody's work."""
    own = {RECEIPT_NAME, *(receipt.entries if receipt is not None else ())}
    return sorted(name for name in os.listdir(folder) if name not in own)


def _keep(source: Path, place: Path) -> None:
    if place.exists() or place.is_symlink():
        return  # of this name there is one of ours: a receipt of another version listed fewer
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, place, symlinks=True, copy_function=_link)
    else:
        _link(str(source), str(place))


def _link(source: str, place: str) -> None:
    try:
        os.link(source, place, follow_symlinks=False)
    except (OSError, NotImplementedError):
        shutil.copy2(source, place, follow_symlinks=False)
