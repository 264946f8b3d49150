"""ARCHITECTURE.md names the room of every file, and no room is a drawer."""

import re
from collections import Counter
from pathlib import Path

from cinesax.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "cinesax"
MOST_FILES = 15


def files() -> list[Path]:
    return [file.relative_to(SOURCE) for file in SOURCE.rglob("*.py") if file.name != "__init__.py"]


def rows() -> dict[str, set[str]]:
    """Folder -> the names in backquotes in its row; rows without a folder stand for the top."""
    named: dict[str, set[str]] = {}
    for line in (ROOT / "ARCHITECTURE.md").read_text().splitlines():
        cells = line.strip("|").split("|")
        if not line.startswith("| ") or len(cells) != 2:
            continue
        folder = re.match(r" `([a-z/]+)/`", cells[0])
        named.setdefault(folder[1] if folder else ".", set()).update(re.findall(r"`([a-z0-9_]+)`", cells[1]))
    return named


def test_every_file_has_a_room() -> None:
    named = rows() | {".": rows()["."] | {"_version", "_views", "__main__"}}
    missing = [str(file) for file in files() if file.stem not in named.get(file.parent.as_posix(), set())]
    assert not missing, f"ARCHITECTURE.md does not name {missing}"


def test_no_room_is_told_of_files_that_it_does_not_have() -> None:
    there = {(file.parent.as_posix(), file.stem) for file in files()}
    gone = [(folder, name) for folder, names in rows().items() for name in names if (folder, name) not in there]
    assert not gone, f"ARCHITECTURE.md names files that are not there: {gone}"


def test_no_folder_is_a_drawer() -> None:
    count = Counter(file.parent.as_posix() for file in files())
    assert max(count.values()) <= MOST_FILES, count.most_common(3)


def test_the_room_of_commands_holds_commands() -> None:
    there = {file.stem for file in files() if file.parent.as_posix() == "cli"}
    assert there == {*COMMANDS, "main"}
