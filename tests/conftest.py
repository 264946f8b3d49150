"""What all tests share: where the real data are."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# A test has no time limit of its own: machines are busy, and speed is measured in benchmarks/.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# The width of the terminal from which the tests are run is nothing that a test should see.
os.environ.pop("COLUMNS", None)

_ROOT = Path(__file__).resolve().parents[1]


def _data_folder() -> Path | None:
    candidates = [Path(os.environ["CINESAX_DATA"])] if "CINESAX_DATA" in os.environ else []
    candidates.append(_ROOT.parent / "shared" / "data" / "sunnybrook")
    return next((path for path in candidates if (path / "train" / "images").is_dir()), None)


@pytest.fixture(scope="session")
def sunnybrook() -> Path:
    """The folder of the real data; the test is skipped where it is absent."""
    folder = _data_folder()
    if folder is None:
        pytest.skip("the Sunnybrook data are absent: put them in ../shared/data/sunnybrook or set CINESAX_DATA")
    return folder


@pytest.fixture(scope="session")
def siemens(sunnybrook: Path) -> Path:
    """A whole exam as a Siemens scanner stored it: one series a slice, and long-axis cines."""
    folder = sunnybrook.parent / "siemens" / "dicom"
    if not folder.is_dir():
        pytest.skip("the Siemens exam is absent: put it in ../shared/data/siemens")
    return folder


# The longest first, so that no process is left alone with one at the end, where the shortest are.
_LONGEST = ("reader", "train", "engines", "cohort", "archive", "cli", "network", "dicom", "fuzz", "phantom", "trust")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests in the order in which they are run."""
    rooms = {room: place for place, room in enumerate(_LONGEST)}
    items.sort(key=lambda item: rooms.get(item.path.parent.name, len(rooms)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """One process runs a whole file, so that what its tests share is made once; and the reader's pages share a browser.

    What several files of tests/train share is made once for all processes (shared.py). The marks `xdist_group` are no
    way to say this: pytest 9.2 keeps the names of tests elsewhere, and pytest-xdist 3.8 then sees no mark.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            if file.startswith("tests/reader/"):
                return "reader page" if file.startswith("tests/reader/test_page") else "reader"
            return file

    return ByFile(config, log)
