"""What is expensive to make and only read afterwards: made once for all processes that run the tests."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

_PATIENCE_S = 600


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder `name`, which the first process to ask fills by `make(folder)`; the others wait for it.

    `make` may create the folder itself, or fill one that is not there yet. If it fails in one process, each of the
    others tries for itself, so that the failure is seen wherever it matters.
    """
    base = factory.getbasetemp()
    root = base.parent / "shared" if "PYTEST_XDIST_WORKER" in os.environ else base / "shared"
    place, folder, done, failed = root / name, root / name / name, root / name / "done", root / name / "failed"
    root.mkdir(exist_ok=True)
    try:
        place.mkdir()
    except FileExistsError:
        waited = time.monotonic()
        while not done.exists():
            if failed.exists() or time.monotonic() - waited > _PATIENCE_S:
                folder = factory.mktemp(name) / name
                make(folder)
                return folder
            time.sleep(0.2)
        return folder
    try:
        make(folder)
    except BaseException:
        failed.touch()
        raise
    done.touch()
    return folder
