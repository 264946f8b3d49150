"""One exam with results, and one server, for all tests that take back what they change; others make their own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reader import browsing
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


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return browsing.make(tmp_path_factory.mktemp("browser"), n_phases=12, slice_distance_mm=12.0, matrix=(128, 128))


@pytest.fixture(scope="session")
def address(phantom: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    store = tmp_path_factory.mktemp("store")
    with serving(phantom.out, "--exam", phantom.exam, "--store", store, "--threads", "1") as server:
        yield f"{server.client.base_url}/?token={server.token}"


@pytest.fixture(scope="session")
def chromium_running() -> Iterator[Any]:
    with browsing.browser() as running:
        yield running


@pytest.fixture(scope="session")
def one_window(chromium_running: Any, address: str) -> Iterator[tuple[Any, list[str]]]:
    """A window on the worklist, 1280 wide, in German; and what the browser complained of."""
    context = chromium_running.new_context(viewport={"width": 1280, "height": 800}, locale="de-DE")
    complaints: list[str] = []
    page = browsing.window(context, complaints)
    page.goto(address)
    yield page, complaints
    context.close()


@pytest.fixture
def page(one_window: tuple[Any, list[str]]) -> Iterator[Any]:
    """The worklist; no test may leave a complaint of the browser."""
    page, complaints = one_window
    page.evaluate("document.querySelector('dialog[open]')?.close(); location.hash = '#/'")
    page.wait_for_selector("table.worklist tbody tr")
    yield page
    page.unroute_all()
    page.set_viewport_size({"width": 1280, "height": 800})
    said = [*complaints]
    complaints.clear()
    assert not said


@pytest.fixture
def exam(one_window: tuple[Any, list[str]]) -> Iterator[browsing.Exam]:
    """The exam as it looks when it is opened; afterwards all edits of the test are undone.

    It stays open for the next test: to open it takes longer than most tests.
    """
    page, complaints = one_window
    opened = browsing.at_exam(page)
    yield opened
    page.unroute_all()
    page.set_viewport_size({"width": 1280, "height": 800})
    page.evaluate("""async () => {
      if (!window.cinesaxExam) return;
      const { edits, state } = cinesaxExam;
      await edits.settled();
      for (let n = 0; n < 60 && state.history.undo; n++) await edits.undo();
    }""")
    said = [*complaints]
    complaints.clear()
    assert not said
