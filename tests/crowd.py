"""A cohort of small exams on disk, good ones and ten kinds of bad ones, with a stub in the place of the network.

Run as a program (`python -m crowd ROOT RESULTS`), it is one run over the cohort, to be killed at any moment.
"""

import os
import signal
import sys
import time
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom

import exams
import objects
from cinesax.cohort.page import PAGE_NAME, Page
from cinesax.cohort.planning.listed import Listed
from cinesax.cohort.run import Again, Cohort, Progress, opened_plan, run_cohort
from cinesax.cohort.stores import read_stores, stores_beside
from cinesax.cohort.table import write_tables
from cinesax.cohort.work import ExamWork, Options, recipe_of
from cinesax.core.cine import Cine, Source
from cinesax.core.segmentation import Segmentation
from cinesax.engines.local import LocalEngine
from cinesax.engines.work import Engine, Limits, Outcome, Result, Setup, Task

# Exams that never end need the limit of time; runs without them may give slow machines more.
LIMITS = Limits(memory_bytes=1536 * 1024**2, seconds=float(os.environ.get("CROWD_SECONDS", "4")), attempts=3)
GOOD = 36
NETWORK = ("stub 1", "0" * 64, "1" * 64)


@dataclass(frozen=True)
class Stub:
    """Draws a square; and does as bad exams make networks do, by their series description."""

    name: str = NETWORK[0]
    checksum: str = NETWORK[1]

    def segment(self, cine: Cine, progress: object = None) -> Segmentation:
        description = cine.source.description or ""
        if description == "LOOP":
            while True:
                pass
        if description == "SLOW" and "CROWD_SLOW" in os.environ:
            time.sleep(60)
        if description == "BLOCK":
            _wait_for_go(cine.source.paths[0])
        if description == "MEMORY":
            np.ones(3 * 1024**3 // 8)
        if description == "CRASH":
            os.abort()
        if description == "BUG":
            raise ZeroDivisionError("a bug with the name DOE in it")
        if description == "CHANGE":
            victim = sorted(cine.source.paths[0].glob("*"))[0]
            with victim.open("ab") as stream:
                stream.write(b"\0\0")
        return replace(objects.ring(cine), author=self.name)


def _wait_for_go(folder: Path) -> None:
    """Say that an exam is being worked on, and go on when the test says so."""
    (folder.parent / f".working on {folder.name}").touch()
    while not (folder.parent / ".go").exists():
        time.sleep(0.05)


def stub(options: Options) -> Stub:
    return Stub()


def exam(
    folder: Path, number: int, *, description: str = "SAX", phases: int = 3, seed: int | None = None
) -> list[Path]:
    """A small exam of its own study and patient."""
    cine = exams.small_cine(phases=phases, slices=3)
    pixels = np.random.default_rng(number if seed is None else seed).integers(0, 3000, cine.pixels.shape)
    source = Source(
        "phantom",
        study_uid=f"1.2.826.0.1.{number}",
        series_uids=(f"1.2.826.0.1.{number}.1",),
        frame_of_reference_uid=f"1.2.826.0.1.{number}.2",
        description=description,
        slice_thickness_mm=8.0,
    )
    patient = replace(cine.patient, patient_id=f"PATIENT-{number:04d}", name=f"DOE^JANE{number}")
    return exams.write_exam(folder, replace(cine, pixels=pixels.astype(np.uint16), source=source, patient=patient))


def fill(root: Path, *, good: int = GOOD) -> dict[str, str]:
    """Write the cohort; place of each exam below the root -> what has to become of it: "done", or the reason."""
    wanted = {}
    template = exam(root / "good" / "p000", 2000)
    for number in range(good):
        _alike(template, root / "good" / f"p{number:03d}", 2000 + number)
        wanted[f"good/p{number:03d}"] = "done"
    bad = root / "bad"
    for number, (description, reason) in enumerate(_STUBBORN.items(), start=1000):
        exam(bad / description.lower(), number, description=description)
        wanted[f"bad/{description.lower()}"] = reason
    wanted |= _damaged(bad) | _named_alike(bad) | _packed(bad) | _linked(root)
    return wanted


def fill_simply(root: Path, *, good: int) -> None:
    """Write good exams, and one without a cine."""
    template = exam(root / "p000", 2000)
    for number in range(good):
        _alike(template, root / f"p{number:03d}", 2000 + number)
    exam(root / "still", 3000, phases=1)


def _alike(template: list[Path], folder: Path, number: int) -> None:
    """The same exam of another study and patient, which is quicker than to write one."""
    folder.mkdir(exist_ok=True)
    for path in template:
        content = path.read_bytes()
        for text in (b"1.2.826.0.1.%d", b"PATIENT-%d", b"DOE^JANE%d"):
            content = content.replace(text % 2000, text % number)
        (folder / path.name).write_bytes(content)


_STUBBORN = {"LOOP": "time", "MEMORY": "memory", "CRASH": "crash", "BUG": "bug", "CHANGE": "changed"}


def _damaged(bad: Path) -> dict[str, str]:
    for path in exam(bad / "cut in headers", 1100):
        path.write_bytes(path.read_bytes()[:300])
    for path in exam(bad / "cut in pixels", 1101):
        path.write_bytes(path.read_bytes()[:-400])
    exam(bad / "no cine", 1102, phases=1)
    (bad / "empty files").mkdir()
    for number in range(1500):
        (bad / "empty files" / f"IM{number:05d}").touch()
    exams.edit(exam(bad / "no geometry", 1103), ImageOrientationPatient=None)
    (bad / "notes").mkdir()
    (bad / "notes" / "README").write_text("no exam, and no row\n")
    return {
        "bad/cut in headers": "cannot-be-read",
        "bad/cut in pixels": "cannot-be-read",
        "bad/no cine": "no-short-axis",
        "bad/empty files": "cannot-be-read",
        "bad/no geometry": "geometry",
    }


def _named_alike(bad: Path) -> dict[str, str]:
    """The same UIDs for two patients, as some anonymisers write them; and one exam that lies there twice."""
    ids = {}
    for name, number, seed in (("alike 1", 1200, 1), ("alike 2", 1200, 2), ("original", 1201, 3), ("z copy", 1201, 3)):
        files = exam(bad / name, number, seed=seed)
        ids[name] = [pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in files]
    for one, other in (("alike 1", "alike 2"), ("original", "z copy")):
        for path, uid in zip(sorted((bad / other).glob("*")), ids[one], strict=True):
            exams.edit(path, SOPInstanceUID=uid)
        if one == "original":  # really the same bytes
            for path in sorted((bad / one).glob("*")):
                (bad / other / path.name).write_bytes(path.read_bytes())
    return {"bad/alike 1": "done", "bad/alike 2": "done", "bad/original": "done"}


def _packed(bad: Path) -> dict[str, str]:
    source = bad / "packed"
    with zipfile.ZipFile(bad / "one.zip", "w") as archive:
        for path in exam(source / "one", 1300):
            archive.write(path, f"deep/er/{path.name}")
    with zipfile.ZipFile(bad / "two.zip", "w") as archive:
        for number in (1301, 1302):
            for path in exam(source / str(number), number):
                archive.write(path, f"{number}/{path.name}")
    for path in sorted(source.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    source.rmdir()
    with zipfile.ZipFile(bad / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.dcm", bytes(100 * 1024**2))
    (bad / "broken.zip").write_bytes((bad / "one.zip").read_bytes()[:-30])
    return {
        "bad/one.zip": "done",
        "bad/two.zip": "done",
        "bad/bomb.zip": "cannot-be-read",
        "bad/broken.zip": "cannot-be-read",
    }


def _linked(root: Path) -> dict[str, str]:
    """Links to an exam that is there, in a circle, to nothing, and to an exam elsewhere, which counts."""
    links = root / "links"
    links.mkdir()
    exam(root.parent / "elsewhere", 1400)
    (links / "circle").symlink_to(root)
    (links / "again").symlink_to(root / "good" / "p000")
    (links / "nothing.dcm").symlink_to(root / "not there.dcm")
    (links / "outside").symlink_to(root.parent / "elsewhere")
    (links / "outside again").symlink_to(root.parent / "elsewhere")
    return {"links/outside": "done", "links/nothing.dcm": "gone"}


class InThisProcess:
    """An engine without processes and without limits, for exams that need none."""

    def run(
        self, setup: Setup[Task, Result], tasks: Iterable[Task | None], limits: Limits
    ) -> Iterator[Outcome[Task, Result]]:
        work = setup()
        for task in tasks:
            if task is None:
                time.sleep(0.2)
                continue
            yield Outcome(task, work(task))


def go(
    root: Path | None,
    results: Path,
    *,
    jobs: int = 0,
    engine: Engine | None = None,
    again: Again | None = None,
    outputs: tuple[str, ...] = (),
    version: str = "1",
    calibration: str = NETWORK[2],
    limits: Limits = LIMITS,
    listed: tuple[Listed, ...] = (),
    label: str = "folder",
) -> Progress:
    """One run, with tables and page.

    Args:
        root: of the exams.
        results: the folder of results.
        jobs: worker processes; 0: all in this process, which is quicker.
        engine: instead of these.
        again: what runs again.
        outputs: of each exam.
        version: of the network.
        calibration: the checksum of its calibration.
        limits: of each exam.
        listed: the exams of a list.
        label: the names of exams in names.csv.
    """
    options = Options(outputs=outputs)
    network = (f"stub {version}", NETWORK[1], calibration)
    work = ExamWork(results, recipe_of(options, network), options, stub)
    progress = run_cohort(
        Cohort(results, root, listed, stores=tuple(stores_beside(results))),
        work,
        engine or (LocalEngine(jobs) if jobs else InThisProcess()),
        limits=limits,
        again=again,
    )
    tabulate(results, work, label)
    return progress


def tabulate(results: Path, work: ExamWork, label: str = "folder") -> None:
    page = Page()
    with opened_plan(results) as plan:
        write_tables(
            results, plan, work.recipe, label=label, stores=read_stores(stores_beside(results)), take=page.take
        )
    page.write(results / PAGE_NAME)


if __name__ == "__main__":
    # Under its own name: what workers are sent has to be found by them.
    import crowd

    # A shell that starts the tests in the background has Ctrl-C ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    crowd.go(Path(sys.argv[1]), Path(sys.argv[2]), jobs=2)
