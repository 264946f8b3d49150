"""One input: what it is, how it is read, and what came of it."""

import io
import logging
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from unittest import mock

import numpy as np

from cinesax.analyze import analyze
from cinesax.cli.main import main
from cinesax.core.cine import Cine
from cinesax.core.errors import CinesaxError
from cinesax.core.segmentation import Segmentation
from cinesax.core.selection import Selection
from cinesax.core.structures import Structure
from cinesax.dicom.read.exam import open_exam
from cinesax.dicom.read.pick import pick_short_axis, read_cine
from cinesax.results import tables
from fuzz import damage_bytes, damage_elements, damage_folders, heavy, judge, limits
from fuzz.samples import RECIPES, Sample, sample

# What Python writes there is of our making.
_PYTHON_WORDS = ("Traceback", "pydicom", "Warning", "cinesax", "Exception")


class Way(StrEnum):
    """How an input is read."""

    ANALYZE = "analyze"
    WRITE = "analyze -o"
    WRITE_DICOM = "analyze -o --dicom"
    INSPECT = "inspect"
    EACH_SERIES = "each series"
    SEGMENTATION = "segmentation"


@dataclass
class Input:
    """What there is to read.

    Attributes:
        sample: what it was before.
        way: how it is read.
        path: folder or zip.
        segmentation: the damaged segmentation, or None.
        done: the names of what was done to it.
        cut: names of files that lost their end, and had nothing else done to them.
        whole: whether nothing but the content of files was changed, one file at the most of several.
    """

    sample: Sample
    way: Way
    path: Path
    segmentation: Path | None = None
    done: list[str] = field(default_factory=list)
    cut: frozenset[str] = frozenset()
    mixed: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of an input.

    Attributes:
        seed: the input; the name of a heavy one.
        sample: what was damaged.
        damage: how.
        way: how it was read.
        result: "read", or the class of the error.
        message: of the error.
        violations: what must not be.
        seconds: wall time.
        busy_seconds: processor time.
        mib: memory that it took beyond what the process had.
        said: what C libraries wrote to standard error, which no logger and no warning filter reaches.
    """

    seed: int | str
    sample: str
    damage: str
    way: str
    result: str
    message: str
    violations: tuple[str, ...]
    seconds: float
    mib: float
    said: str = ""
    busy_seconds: float = 0.0


class Stub:
    """In the place of the network: finds a square left ventricle in the middle, and remembers what it was shown."""

    name, checksum = "stub 1", "0" * 64

    def __init__(self) -> None:
        self.cine: Cine | None = None

    def segment(self, cine: Cine, progress: object = None) -> Segmentation:
        self.cine = cine
        labels = np.zeros(cine.pixels.shape, dtype=np.uint8)
        rows, columns = cine.pixels.shape[2:]
        for phase in range(cine.n_phases):
            half = 1 + (phase + 2) % 4
            wall = np.s_[
                phase,
                :,
                max(0, rows // 2 - half - 2) : rows // 2 + half + 2,
                max(0, columns // 2 - half - 2) : columns // 2 + half + 2,
            ]
            inner = np.s_[
                phase, :, max(0, rows // 2 - half) : rows // 2 + half, max(0, columns // 2 - half) : columns // 2 + half
            ]
            labels[wall], labels[inner] = Structure.MYOCARDIUM, Structure.CAVITY
        known = {
            structure: np.ones(cine.n_phases, dtype=bool) for structure in (Structure.CAVITY, Structure.MYOCARDIUM)
        }
        return Segmentation(labels, known, author="stub")


def prepare(seed: int, place: Path) -> Input:
    """Make the input of a seed in a folder."""
    rng = random.Random(f"cinesax {seed}")
    chosen = None
    while chosen is None:
        chosen = sample(rng.randrange(len(RECIPES)))
    made = Input(chosen, _way(chosen, rng), place / "exam")
    files = dict(chosen.files)
    if chosen.segmentation is not None:
        made.segmentation = place / f"segmentation{chosen.suffix}"
        made.segmentation.write_bytes(_damage_file(made, chosen.segmentation, rng))
    elif rng.random() < 0.9:
        _damage_files(made, files, rng)
    for name, content in files.items():
        path = made.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    if made.segmentation is None:
        _damage_folder(made, rng)
    return made


def _way(chosen: Sample, rng: random.Random) -> Way:
    if chosen.segmentation is not None:
        return Way.SEGMENTATION
    if chosen.cine is None:
        return rng.choice([Way.EACH_SERIES, Way.EACH_SERIES, Way.EACH_SERIES, Way.INSPECT])
    drawn = rng.random()
    if drawn < 0.7:
        return Way.ANALYZE
    if drawn < 0.85:
        return rng.choice([Way.INSPECT, Way.EACH_SERIES])
    return Way.WRITE if drawn < 0.95 else Way.WRITE_DICOM


def _damage_files(made: Input, files: dict[str, bytes], rng: random.Random) -> None:
    """Damage one file, a few, or all of them in the same way."""
    names = list(files)
    if rng.random() < 0.25:
        state = rng.getstate()
        for name in names:
            # The same damage: what a whole exam has that was written by a program with a fault.
            rng.setstate(state)
            made.done.clear()
            files[name] = _damage_file(made, files[name], rng)
        made.done.append("in all files")
        return
    cut = set()
    for name in rng.sample(names, min(len(names), rng.choice([1, 1, 1, 2, 5]))):
        done = len(made.done)
        files[name] = _damage_file(made, files[name], rng)
        if made.done[done:] == ["cut"]:
            cut.add(name)
    made.cut = frozenset(cut)


def _damage_file(made: Input, content: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if rng.random() < 0.5 and made.sample.suffix == ".dcm":
            chosen = rng.choice(damage_elements.DAMAGE)
            content = damage_elements.damaged(content, chosen, rng)
            made.done.append(chosen.__name__)
            continue
        damage, data = rng.choice(damage_bytes.DAMAGE), bytearray(content)
        if made.sample.deflated and rng.random() < 0.6:
            with suppress(Exception):
                damage_bytes.inside_deflated(damage, data, rng)
            made.done.append(f"{damage.__name__} inside")
        else:
            damage(data, rng)
            made.done.append(damage.__name__)
        content = bytes(data)
    return content


def _damage_folder(made: Input, rng: random.Random) -> None:
    if rng.random() < (0.12 if made.done else 1):
        damage = rng.choice(damage_folders.FOLDER_DAMAGE)
        made.mixed = damage is damage_folders.mixed_patients and not made.done
        damage(made.path, rng)
        made.done.append(damage.__name__.strip("_"))
        made.cut = frozenset()
    drawn = rng.random()
    if drawn < 0.1:
        made.path, made.mixed = damage_folders.zipped(made.path, rng), False
        made.done.append("zipped")
        made.cut = frozenset()
    elif drawn < 0.13 and (made.path / "DICOMDIR").is_file():
        # What it does not name is not read.
        made.path, made.mixed = made.path / "DICOMDIR", False


def run(seed: int) -> Outcome:
    """Make the input of a seed, read it, and judge what came of it."""
    place = Path(tempfile.mkdtemp(prefix="fuzz"))
    try:
        made = prepare(seed, place)
        return read(seed, made, place)
    finally:
        shutil.rmtree(os.fsencode(place), ignore_errors=True)


def run_heavy(name: str) -> Outcome:
    """Make and read one of the inputs that are large on purpose."""
    place = Path(tempfile.mkdtemp(prefix="fuzz"))
    try:
        (place / "exam").mkdir()
        heavy.CASES[name](place / "exam")
        zipped = place / "exam.zip"
        nothing = Sample("heavy", {}, None)
        return read(
            name, Input(nothing, Way.ANALYZE, zipped if zipped.exists() else place / "exam", done=[name]), place
        )
    finally:
        shutil.rmtree(os.fsencode(place), ignore_errors=True)


def read(seed: int | str, made: Input, place: Path) -> Outcome:
    """Read an input, and judge what came of it."""
    limits.forget_peak()
    held, start, busy = limits.held_bytes(), time.perf_counter(), time.process_time()
    violations: list[str] = []
    result = message = ""
    stub, said = Stub(), [""]
    with _listening(violations, said):
        try:
            with limits.limited_time():
                result, message = _read(made, place, stub, violations)
        except limits.TooLong as error:
            result, message = "violation", str(error)
            violations.append(f"time: {error} in {_where(error)}")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever gets here is what is looked for
            result, message = "violation", f"{type(error).__name__}: {error}"
            violations.append(f"traceback: {type(error).__name__} in {_where(error)}")
    seconds, took = time.perf_counter() - start, max(0, limits.peak_bytes() - held)
    busy = time.process_time() - busy
    if took > limits.MOST_BYTES or "MemoryError" in message or "Unable to allocate" in message:
        violations.append(f"memory: more than 2 GB ({message[:60]})")
    if made.way in (Way.ANALYZE, Way.WRITE, Way.WRITE_DICOM) and result == "read":
        violations += _judged(made, stub, place)
    damage = " + ".join(made.done)
    return Outcome(
        seed,
        made.sample.name,
        damage,
        made.way,
        result,
        message[:300],
        tuple(violations),
        seconds,
        took / 2**20,
        said[0],
        busy,
    )


def _judged(made: Input, stub: Stub, place: Path) -> Iterator[str]:
    if stub.cine is None:
        yield "pixels: a result without a cine"
        return
    yield from judge.complaints(made, stub.cine)
    out = place / "out"
    if made.way is not Way.ANALYZE:
        tables.read_json(out / "analysis.json")


def _where(error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/fuzz/" not in frame.filename]
    ours = [frame for frame in frames if "cinesax" in frame.filename] or frames
    return f"{Path(ours[-1].filename).name}:{ours[-1].name}" if ours else "?"


@contextmanager
def _listening(violations: list[str], said: list[str]) -> Iterator[None]:
    """Hear what libraries warn of and what they write to standard error behind Python's back."""
    for handler in list(logging.getLogger().handlers):
        logging.getLogger().removeHandler(handler)
    sys.stderr.flush()
    with tempfile.TemporaryFile() as heard, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        before = os.dup(2)
        os.dup2(heard.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(before, 2)
            os.close(before)
        heard.seek(0)
        noise = heard.read(300).decode("utf-8", "replace")
        said[0] = " ".join(noise.split())[:150]
        if any(word in noise for word in _PYTHON_WORDS):
            violations.append(f"noise: {said[0]}")
        violations += {
            f"warning: {one.category.__name__}: {str(one.message)[:80]} in {Path(one.filename).name}:{one.lineno}"
            for one in warned
        }


def _read(made: Input, place: Path, stub: Stub, violations: list[str]) -> tuple[str, str]:
    """(result, message); what is wrong with the message or with what is left behind is a violation."""
    if made.way in (Way.EACH_SERIES, Way.SEGMENTATION):
        return _read_by_functions(made, violations)
    out = place / "out"
    arguments = {
        Way.ANALYZE: ["analyze", str(made.path)],
        Way.WRITE: ["analyze", str(made.path), "-o", str(out)],
        Way.WRITE_DICOM: ["analyze", str(made.path), "-o", str(out), "--dicom", "--rtstruct"],
        Way.INSPECT: ["inspect", str(made.path), "--show-patient"],
    }[made.way]
    said, complained = io.StringIO(), io.StringIO()
    with (
        mock.patch("cinesax.network.segmenter.load_segmenter", lambda *_, **__: stub),
        redirect_stdout(said),
        redirect_stderr(complained),
    ):
        code = main(arguments)
    message = complained.getvalue()
    if code == 0:
        if message:
            violations.append(f"noise: {message[:150]}")
        return "read", ""
    if not message.startswith("cinesax: error: ") or message.count("\n") != 1 or not message[:-1].isprintable():
        violations.append(f"message: {message[:150]!r}")
    if {path.name for path in place.iterdir()} - {"exam", "exam.zip"}:
        violations.append("files are left behind after an error")
    return f"error {code}", message.strip()


def _read_by_functions(made: Input, violations: list[str]) -> tuple[str, str]:
    try:
        if made.way is Way.SEGMENTATION:
            cine = made.sample.cine
            analysis = analyze(cine, segmentation=made.segmentation)
            violations += judge.complaints_of_labels(made, analysis.segmentation)
        else:
            _read_each_series(made, violations)
    except CinesaxError as error:
        if not str(error).isprintable():
            violations.append(f"message: {str(error)[:150]!r}")
        return f"error {error.exit_code}", str(error)
    return "read", ""


def _read_each_series(made: Input, violations: list[str]) -> None:
    exam = open_exam(made.path)
    failed = None
    for uid in dict.fromkeys(one.uid for one in exam.series):
        try:
            cine = read_cine(pick_short_axis(exam, Selection(series_uid=uid, ignore_frame_of_reference=True)))
            violations += judge.complaints(made, cine, all_of_it=False)
        except CinesaxError as error:
            failed = error
            if not str(error).isprintable():
                violations.append(f"message: {str(error)[:150]!r}")
    if failed is not None:
        raise failed
