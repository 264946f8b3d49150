"""For the tests of the reader's page: a phantom exam with results, and a real Chromium."""

import io
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from checkers import absent
from cinesax.analyze import analyze
from cinesax.core.cine import Cine
from cinesax.core.origins import Origin
from cinesax.core.segmentation import ContourKey, Polygons, Segmentation, from_contours, trace
from cinesax.core.structures import Structure
from cinesax.inputs import open_cine
from cinesax.phantom import DecoyKind, Phantom, draw_settings, make_decoys, make_phantom
from cinesax.phantom.dicom import SeriesIdentity, write_series
from cinesax.results.write import write_results
from reader.served import Made

Result = TypeVar("Result")

PATIENCE_S = 120.0
"""Nothing here takes longer than a second, except on a machine that does much else."""

ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


def chromium() -> str:
    """The path of Debian's browser."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        absent("chromium is absent: install the Debian package chromium")
    return str(program)


def write_exam(folder: Path, *, seed: int = 7, **settings: Any) -> Phantom:
    """A phantom's short axis with a long axis beside it, as DICOM."""
    drawn = draw_settings(seed, **settings)
    phantom = make_phantom(drawn)
    write_series(phantom.cine, folder / "short", SeriesIdentity(number=1))
    long_axis = next(cine for kind, cine in make_decoys(drawn) if kind is DecoyKind.LONG_AXIS)
    write_series(long_axis, folder / "long", SeriesIdentity(number=2))
    return phantom


def smooth_truth(cine: Cine, phantom: Phantom) -> Segmentation:
    """The truth of a phantom as a network would draw it: smooth lines, for the exam as it was read."""
    truth, pixels = phantom.truth.labels, phantom.cine.pixels
    if not np.array_equal(cine.pixels, pixels):
        assert np.array_equal(cine.pixels, pixels[:, ::-1]), "the exam was read in another order"
        truth = truth[:, ::-1]
    contours: dict[ContourKey, Polygons] = {}
    for phase, place in np.ndindex(*truth.shape[:2]):
        for structure in (Structure.CAVITY, Structure.MYOCARDIUM):
            inside = np.isin(truth[phase, place], structure.region)
            if inside.any():
                contours[structure, phase, place] = trace(gaussian_filter(inside.astype(float), 1.0))[:1]
    return replace(from_contours(contours, truth.shape), author="network", origin=Origin.NETWORK)


def make(folder: Path, *, seed: int = 7, **settings: Any) -> Made:
    """An exam and its results, as `cinesax analyze` writes them."""
    phantom = write_exam(folder / "exam", seed=seed, **settings)
    cine = open_cine(folder / "exam")
    analysis = analyze(cine, segmentation=smooth_truth(cine, phantom))
    return Made(folder / "exam", write_results(analysis, folder / "out"))


# Playwright runs once in a process: the session's browser of the reader's tests may be open in those of other rooms.
_running: list[Any] = []


@contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium, driven by playwright; the one that is open already, if there is one."""
    if _running:
        yield _running[0]
        return
    program = chromium()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        absent("playwright is absent: install the dependency group dev")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        _running.append(running)
        try:
            yield running
        finally:
            _running.clear()
            running.close()


def until(ask: Callable[[], Result], *, seconds: float = PATIENCE_S, what: str = "it") -> Result:
    """Ask until the answer is true. The page's policy forbids playwright's own way of waiting for an expression."""
    end = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
        time.sleep(0.03)


def pictures() -> Path | None:
    """Where pictures for the documentation go, docs/pictures: only if CINESAX_PICTURES names the folder."""
    named = os.environ.get("CINESAX_PICTURES")
    return Path(named) if named else None


BOX = """() => {
  const points = cinesaxExam.state.polygons(cinesaxExam.state.structure)[0];
  const xs = points.map((point) => point[0]), ys = points.map((point) => point[1]);
  return [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
}"""
AREA = """(name) => {
  const cross = ([x, y], [u, v]) => x * v - u * y;
  const area = (p) => Math.abs(p.reduce((all, point, i) => all + cross(point, p[(i + 1) % p.length]), 0)) / 2;
  return cinesaxExam.state.polygons(name).reduce((all, p) => all + area(p), 0);
}"""
ON_SCREEN = """([x, y]) => {
  const { stage } = cinesaxExam, [left, top] = stage.viewport.toScreen([x, y]);
  const box = stage.canvas.getBoundingClientRect();
  return [left + box.left, top + box.top];
}"""


class Exam:
    """An exam in a window, and the hands of a person."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def state(self, expression: str) -> Any:
        return self.page.evaluate(f"cinesaxExam.state.{expression}")

    def go(self, phase: int, place: int) -> None:
        self.page.evaluate(f"cinesaxExam.state.go({{phase: {phase}, slice: {place}}})")

    def keys(self, *names: str) -> None:
        for name in names:
            self.page.keyboard.press(name)
        self.settle()

    def settle(self) -> None:
        self.page.evaluate("cinesaxExam.edits.settled()")

    def press(self, selector: str) -> None:
        self.page.click(selector)
        self.settle()

    def area(self, structure: str = "cavity") -> float:
        return float(self.page.evaluate(AREA, structure))

    def box(self) -> tuple[float, float, float, float]:
        left, right, top, bottom = self.page.evaluate(BOX)
        return left, right, top, bottom

    def on_screen(self, x: float, y: float) -> tuple[float, float]:
        left, top = self.page.evaluate(ON_SCREEN, [x, y])
        return left, top

    def drag(self, *points: tuple[float, float], release: bool = True) -> None:
        """The pointer pressed over image points."""
        mouse = self.page.mouse
        mouse.move(*self.on_screen(*points[0]))
        mouse.down()
        for point in points[1:]:
            mouse.move(*self.on_screen(*point), steps=3)
        if release:
            mouse.up()
            self.settle()

    def ef(self) -> str:
        return str(self.page.inner_text('[data-value="EF"]'))

    def number(self, key: str) -> float:
        return float(self.state(f"numbers.{key}"))


def ready(page: Any) -> Exam:
    page.wait_for_selector("#view[data-ready]", timeout=1000 * PATIENCE_S)
    return Exam(page)


AS_OPENED = """() => {
  const { state, actions, player } = cinesaxExam;
  player.stop();
  document.querySelector("dialog[open]")?.close();
  document.getElementById("messages").replaceChildren();
  document.activeElement?.blur();
  actions.use("look");
  actions.chooseStructure("cavity");
  state.set("view", { hidden: false });
  state.set("contours", { showing: "now" });
  actions.resetWindow();
  state.go({ phase: state.numbers.ed_phase, slice: state.fullestSlice() });
  actions.zoomToHeart();
}"""


def at_exam(page: Any) -> Exam:
    """The only exam of the worklist with results, as it looks when it is opened."""
    if page.evaluate("Boolean(window.cinesaxExam && document.querySelector('#view[data-ready]'))"):
        page.evaluate(AS_OPENED)
        return Exam(page)
    page.evaluate("location.hash = '#/'")
    page.click("table.worklist td.name a")
    return ready(page)


def window(context: Any, complaints: list[str]) -> Any:
    """A window; what the browser complains of (scripts, the policy, requests to elsewhere) is collected."""
    page = context.new_page()
    page.set_default_timeout(PATIENCE_S * 1000)

    def said(message: Any) -> None:
        # The server's refusals are logged too; the tests look at what the page makes of them. Only tests read canvases.
        if message.type in ("error", "warning") and not re.search(
            r"status of 4(09|22)|willReadFrequently", message.text
        ):
            complaints.append(message.text)

    def asked(request: Any) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "blob:", "data:")):
            complaints.append(request.url)

    page.on("console", said)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", asked)
    return page


def picture(page: Any, name: str, *, hand: bool = False) -> None:
    """A picture for the documentation, if one is asked for; with 256 colours, enough for a grey image."""
    folder = pictures()
    if folder is None:
        return
    if not hand:
        page.mouse.move(0, 0)
    page.wait_for_timeout(200)
    with Image.open(io.BytesIO(page.screenshot())) as taken:
        taken.convert("RGB").quantize(256, kmeans=3, dither=Image.Dither.NONE).save(
            folder / f"{name}.png", optimize=True
        )
