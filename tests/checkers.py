"""Programs of others that judge what cinesax writes; a test skips where one is absent, and says so."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

# Debian puts servers where only root's PATH looks.
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def absent(reason: str) -> None:
    """Skip the test, or fail it where CINESAX_REQUIRE_CHECKERS=1 (continuous integration installs them all)."""
    if os.environ.get("CINESAX_REQUIRE_CHECKERS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def checker(name: str, package: str) -> str:
    """The path of a program."""
    path = shutil.which(name, path=PATH)
    if path is None:
        absent(f"{name} is absent: install the Debian package {package}")
    return str(path)


def dciodvfy(path: Path, *, kind: str) -> list[str]:
    """The errors and warnings of the DICOM validator, which has to take the file for an object of this kind."""
    command = [checker("dciodvfy", "dicom3tools"), str(path)]
    said = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False).stderr.splitlines()
    assert kind in said, said[-3:]
    return [line for line in said if line.startswith(("Error", "Warning"))]


def dsr2html(path: Path) -> tuple[int, str, list[str]]:
    """How DCMTK shows a structured report: exit code, HTML, and what it complains of."""
    command = [checker("dsr2html", "dcmtk"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    # dcmtk 3.6.7 knows no checker for UTF-8 texts, and says so of every one of them.
    said = [line for line in done.stderr.splitlines() if "VR checker does not support" not in line]
    return done.returncode, done.stdout, said
