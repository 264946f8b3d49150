"""What all tests share: where the real data are."""

import os
from pathlib import Path

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share what is slow to make (a network, a server, a browser): one process makes it, once.

    What several files of tests/train share is made once for all processes (shared.py), so these go to both.
    """
    # The longest groups first, so that no process is left alone with one at the end.
    items.sort(key=lambda item: item.path.parent.name not in ("train", "reader"))
    for item in items:
        room, file = item.path.parent.name, item.path.stem
        if room == "train":
            item.add_marker(pytest.mark.xdist_group(f"train {file}"))
        elif room == "reader":
            item.add_marker(pytest.mark.xdist_group("reader page" if file.startswith("test_page") else room))
