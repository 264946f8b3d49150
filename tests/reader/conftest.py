"""One exam with results, and one server, for all tests that take back what they change; others make their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from reader.served import Made, Server, make, serving


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """An exam and its results."""
    return make(tmp_path_factory.mktemp("reader"))


@pytest.fixture(scope="session")
def server(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on the results."""
    with serving(made.out, "--store", tmp_path_factory.mktemp("store")) as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A folder for a store."""
    return tmp_path / "store"
