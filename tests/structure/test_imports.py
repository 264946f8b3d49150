"""Imports go down the list of rooms only."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    # Without its cache, which takes a module that came since for one that is still missing.
    return subprocess.run([*command, "--no-cache"], cwd=folder, capture_output=True, text=True, timeout=120)


def test_the_contracts_of_the_house_are_kept() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_contracts_are_able_to_fail(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src" / "cinesax", tmp_path / "cinesax", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "cinesax" / "measure" / "volumes.py").open("a") as module:
        module.write("\nimport cinesax.results.html\n")
    code = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command as run; run()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--no-cache"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode != 0 and "cinesax.measure.volumes -> cinesax.results.html" in done.stdout, done.stdout
