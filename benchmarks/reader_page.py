"""How quick the reader's page is in a real Chromium, on an exam of 240 frames.

    python benchmarks/reader_page.py [--exam EXAM --results OUT]

A phantom of 12 slices of 20 phases (256 x 256), or a given exam with its results, is opened by a real `cinesax view`;
Debian's Chromium (without a graphics card) shows it, and the page's own clock measures:

- first image: from opening the address of the exam until its first frame is drawn;
- frame step: what one step to the next phase takes the page, with everything that is drawn again for it;
- new EF: from a movement of the pointer with the nudge circle until another EF stands on the page.
"""

import argparse
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

# In place of this folder, whose reader.py would hide tests/reader.
sys.path[0] = str(Path(__file__).resolve().parents[1] / "tests")

from reader.browsing import Exam, browser, make, ready, until  # noqa: E402
from reader.served import serving  # noqa: E402

LIMITS_MS = {"first image": 1000.0, "frame step": 16.0, "new EF": 100.0}

STEPS = """async (count) => {
  const { state, stage, canvas } = cinesaxExam, times = [];
  const frame = () => new Promise((drawn) => requestAnimationFrame(drawn));
  for (let n = 0; n < count; n++) {
    await frame();
    // What a step asks for is drawn with the next frame of the screen; the wait for it is not the page's. So it is done
    // here and now, and read back, which waits until it is on the canvas.
    const began = performance.now();
    state.go({ phase: state.phase + 1 });
    stage.paint();
    cinesaxExam.grid.mark();
    cinesaxExam.curve.moved();
    canvas.getContext("2d").getImageData(0, 0, 1, 1);
    times.push(performance.now() - began);
  }
  return times;
}"""

FIRST_IMAGE = "performance.getEntriesByName('first-image')[0]?.startTime"

WATCH = """() => {
  window.times = [];
  let moved = null;
  cinesaxExam.canvas.addEventListener("pointermove", () => { moved ??= performance.now(); }, true);
  // The table of numbers listens too, and before: when this is called, the new EF stands there.
  cinesaxExam.state.on("numbers", () => {
    if (moved !== null) window.times.push(performance.now() - moved);
    moved = null;
  });
}"""


def first_images(context: Any, address: str, exam: str, count: int) -> list[float]:
    """Milliseconds until the first frame, each in a new window."""
    times = []
    for _ in range(count):
        page = context.new_page()
        page.goto(f"{address}#/exam/{exam}", wait_until="commit")
        times.append(until(partial(page.evaluate, FIRST_IMAGE), seconds=90, what="the first image"))
        page.close()
    return times


def new_efs(exam: Exam, count: int) -> list[float]:
    """Milliseconds from a movement until another EF is shown."""
    page = exam.page
    exam.go(exam.state("numbers.ed_phase"), exam.state("slice"))
    exam.keys("n")
    left, right, top, bottom = exam.box()
    x, y = (left + right) / 2, (top + bottom) / 2
    page.mouse.move(*exam.on_screen(x, y))
    page.mouse.down()
    page.evaluate(WATCH)
    for step in range(count):
        # To and fro through the line: every movement changes it.
        reach = (right - left) / 2 - page.evaluate("cinesaxExam.tools.nudge.radius") + (1 if step % 2 else 3)
        page.mouse.move(*exam.on_screen(x + reach, y + 0.3 * step))
        until(lambda: page.evaluate("window.times.length") > step, what="a new EF")  # noqa: B023
    page.mouse.up()
    exam.settle()
    return [float(value) for value in page.evaluate("window.times")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exam", type=Path, help="an exam")
    parser.add_argument("--results", type=Path, help="its results")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.exam is None:
            made = make(Path(folder), n_phases=20, n_slices=12, matrix=(256, 256))
            args.exam, args.results = made.exam, made.out
        with (
            serving(args.results, "--exam", args.exam, "--store", Path(folder) / "store") as server,
            browser() as chromium,
        ):
            context = chromium.new_context(viewport={"width": 1280, "height": 800})
            address = f"{server.client.base_url}/?token={server.token}"
            page = context.new_page()
            page.goto(address)
            page.wait_for_selector("td.name a")
            exam = server.only()
            measured = {"first image": first_images(context, address, exam, 5)}
            page.click("td.name a")
            shown = ready(page)
            measured["frame step"] = [float(value) for value in page.evaluate(STEPS, 200)]
            measured["new EF"] = new_efs(shown, 60)
    for name, times in measured.items():
        late = statistics.quantiles(times, n=20)[-1] if len(times) > 19 else max(times)
        verdict = "ok" if late <= LIMITS_MS[name] else "TOO SLOW"
        print(
            f"{name:12} median {statistics.median(times):7.1f} ms, 95 % {late:7.1f} ms, "
            f"limit {LIMITS_MS[name]:6.0f} ms  {verdict}  ({len(times)})"
        )


if __name__ == "__main__":
    main()
