"""A small exam with results, and the real server on it, for the tests of the reader."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from cinesax.analyze import analyze
from cinesax.core.analysis import Trust
from cinesax.core.cine import Cine
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.grid import stacked_grid
from cinesax.core.segmentation import Segmentation, from_contours
from cinesax.core.structures import Structure
from cinesax.results.write import write_results
from exams import ALONG_COLUMN, ALONG_ROW, small_cine, write_exam

PHASES, SLICES, SIDE = 8, 6, 48
RADII = (12.0, 11.0, 9.5, 8.5, 8.0, 9.0, 10.5, 11.5)
MIDDLE = 24.0


def circle(radius: float, x: float = MIDDLE, y: float = MIDDLE, points: int = 32) -> np.ndarray:
    """(point, 2), x and y in pixels."""
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.column_stack([x + radius * np.cos(angles), y + radius * np.sin(angles)])


def flat(polygon: np.ndarray) -> list[list[float]]:
    """As the page sends it."""
    return [[float(value) for value in polygon.ravel()]]


def beating() -> Cine:
    """A bright disc that beats, on noise; slice 0 is the apex, as the grid of the small exams says."""
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    apart = np.hypot(rows - MIDDLE, columns - MIDDLE)
    frames = np.stack([np.where(apart < radius, 900.0, 200.0) for radius in RADII])
    pixels = (np.repeat(frames[:, None], SLICES, axis=1) + rng.normal(0, 20, (PHASES, SLICES, SIDE, SIDE))).clip(0)
    grid = stacked_grid(
        (-40.0, -150.0, 60.0),
        spacing_mm=(1.5, 1.5),
        slice_distance_mm=9.0,
        shape=(SLICES, SIDE, SIDE),
        along_row=ALONG_ROW,
        along_column=ALONG_COLUMN,
    )
    return small_cine(phases=PHASES, slices=SLICES, pixels=pixels.astype(np.uint16), grid=grid)


def drawn(slices: range = range(1, 5)) -> Segmentation:
    """Round cavity and wall in the slices in the middle."""
    contours = {}
    for phase, radius in enumerate(RADII):
        for place in slices:
            contours[Structure.CAVITY, phase, place] = (circle(radius),)
            contours[Structure.MYOCARDIUM, phase, place] = (circle(radius + 5),)
    return from_contours(contours, (PHASES, SLICES, SIDE, SIDE), author="a network")


@dataclass(frozen=True)
class Made:
    """An exam and its results on disk."""

    exam: Path
    out: Path


def make(folder: Path, *, show_patient: bool = True) -> Made:
    """Write both."""
    write_exam(folder / "exam", beating())
    analysis = analyze(folder / "exam", segmentation=drawn())
    write_results(analysis, folder / "out", show_patient=show_patient)
    return Made(folder / "exam", folder / "out")


def make_trusted(folder: Path, number: int, trust: Trust | None, *, low: bool = False) -> Made:
    """An exam of a study of its own, and results with this trust; with its finding, if it is low."""
    cine = beating()
    write_exam(folder / "exam", replace(cine, source=replace(cine.source, study_uid=f"1.2.3.{number}")))
    given = analyze(folder / "exam", segmentation=drawn())
    finding = Finding(Code.LOW_TRUST, Severity.WARNING, "larger errors than usual are expected")
    made = replace(given, trust=trust, findings=(*([finding] if low else []), *given.findings))
    write_results(made, folder / "out", show_patient=True)
    return Made(folder / "exam", folder / "out")


@dataclass
class Server:
    """A real `cinesax view`, and a client with its token."""

    process: subprocess.Popen[str]
    client: httpx.Client
    token: str

    def worklist(self) -> list[dict[str, Any]]:
        """The exams."""
        exams: list[dict[str, Any]] = self.client.get("/api/worklist").json()["exams"]
        return exams

    def only(self) -> str:
        """The id of the only exam, once it is there."""
        return str(self.wait(lambda exams: len(exams) == 1)[0]["id"])

    def wait(self, wanted: Any, seconds: float = 60.0) -> list[dict[str, Any]]:
        """The worklist, once it is as wanted."""
        end = time.monotonic() + seconds
        while not wanted(exams := self.worklist()):
            assert time.monotonic() < end, exams
            time.sleep(0.05)
        return exams

    def state(self, exam: str) -> dict[str, Any]:
        """The state of an exam."""
        answer = self.client.get(f"/api/exams/{exam}")
        assert answer.status_code == 200, answer.text
        state: dict[str, Any] = answer.json()
        return state

    def edit(self, exam: str, version: int, edit: dict[str, Any], by: str = "Ann") -> httpx.Response:
        """Post an edit."""
        return self.client.post(f"/api/exams/{exam}/edits", json={"version": version, "by": by, "edit": edit})

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()


@contextmanager
def serving(*arguments: str | Path) -> Iterator[Server]:
    """`cinesax view` in a process of its own, with these arguments."""
    command = [sys.executable, "-m", "cinesax", "view", *map(str, arguments), "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    match = re.search(r"(http://[^/]+)/\?token=(\S+)", line)
    if match is None:
        process.kill()
        raise AssertionError(f"no address in {line!r}: {process.communicate()[1]}")
    headers = {"Authorization": f"Bearer {match[2]}"}
    with httpx.Client(base_url=match[1], headers=headers, timeout=60) as client:
        try:
            yield Server(process, client, match[2])
        finally:
            process.terminate()
            said = process.communicate(timeout=20)[1]
            assert "Traceback" not in said, said
