"""Shapes of input as people have them: whole files, each in another form, and the number that must come out.

    python -m fuzz --shapes 500                 from the folder tests/; a part of `make fuzz`
    python -m fuzz --shape nifti-canonical:7    one of them again

A shape makes an exam whose cavity shows in its pixels: what is brighter than `BRIGHT` is blood. In the place of the
network stands a segmenter that takes just these pixels, so that volumes follow from pixels, places and times alone and
are known beforehand. A shape says what must come of it: the right numbers without a warning (`RIGHT`), an error of one
line (`REFUSED`), or numbers with a certain finding (a `Code`). Anything else is a violation: above all a wrong number
without a word, and a warning about a right one.
"""

import random
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np

from cinesax.analyze import analyze
from cinesax.core.analysis import Analysis
from cinesax.core.cine import Cine, Gating, Source
from cinesax.core.errors import CinesaxError
from cinesax.core.findings import Code, Severity
from cinesax.core.grid import Grid
from cinesax.core.segmentation import Segmentation, Structure

BRIGHT = 2000
_SAME = 0.002
# Findings about the numbers of a phantom of a few slices, which no form of its files changes.
_OF_THE_PHANTOM = {Code.LV_AT_STACK_END, Code.VOLUME_JUMP, Code.IMPLAUSIBLE_VALUE, Code.PARTIAL_SEGMENTATION}


class Come(StrEnum):
    """What must come of a shape, beside numbers with a finding."""

    RIGHT = "right"
    REFUSED = "refused"


@dataclass(frozen=True)
class Made:
    """An exam in some form.

    Attributes:
        paths: what is given to `analyze`.
        exam: the cine that it was made from: its volumes are the right ones.
        expected: what must come of it.
        heart_rate: whether the form holds the length of the beat.
        numbers: whether all numbers must be right although a finding is expected.
        options: more arguments of `analyze`; None takes one away.
    """

    paths: Sequence[Path]
    exam: Cine
    expected: Come | Code = Come.RIGHT
    heart_rate: bool = True
    numbers: bool = True
    options: Mapping[str, object] | None = None


Shape = Callable[[Path, random.Random], Made]


@dataclass(frozen=True)
class End:
    """What came of one shape."""

    name: str
    seed: int
    came: str
    violation: str = ""


class BrightPixels:
    """In the place of the network: blood is what is bright."""

    name, checksum = "bright pixels", "0" * 64

    def segment(self, cine: Cine, progress: object = None) -> Segmentation:
        labels = (cine.pixels >= BRIGHT).astype(np.uint8) * np.uint8(Structure.CAVITY)
        return Segmentation(labels, {Structure.CAVITY: np.ones(cine.n_phases, bool)}, author="bright pixels")


def heart(rng: random.Random, *, phases: int = 12, slices: int = 6) -> Cine:
    """A beating ellipsoid that looks like nothing but itself, across a usual heart, in an odd matrix."""
    rows, columns = rng.choice([(40, 48), (52, 36), (44, 44)])
    row = np.array([0.712221, 0.701112, -0.0343949])
    row /= np.linalg.norm(row)
    down = np.array([-0.307716, 0.267798, -0.913015])
    down -= (down @ row) * row
    down /= np.linalg.norm(down)
    distance = rng.choice([7.0, 8.0, 10.0])
    spacing = rng.choice([(1.4, 1.4), (1.3, 1.5), (1.8, 1.8)])
    origins = np.array([-40.0, -150.0, 60.0]) + np.arange(slices)[:, None] * distance * np.cross(row, down)
    grid = Grid(origins, row, down, spacing, (slices, rows, columns))
    phase, place, y, x = np.indices((phases, slices, rows, columns), dtype=np.float64)
    size = 1 - 0.35 * np.sin(np.pi * phase / phases) ** 2
    reach = np.sqrt(np.clip(1 - ((place - slices * 0.45) / (slices * 0.75)) ** 2, 0.05, 1)) * size
    inside = ((y - rows * 0.45) / (rows * 0.28)) ** 2 + ((x - columns * 0.55) / (columns * 0.22)) ** 2 < reach**2
    # Dimmer outside than any blood, and no two corners alike.
    pixels = 200 + 3 * x + 7 * y + 40 * place + 2 * phase + np.where(inside, BRIGHT, 0)
    beat = rng.choice([750.0, 900.0, 1050.0])
    return Cine(
        pixels.astype(np.int16),
        grid,
        trigger_times_ms=np.repeat(np.arange(phases)[:, None] * beat / phases, slices, axis=1),
        rr_intervals_ms=np.full(slices, beat),
        gating=Gating.RETROSPECTIVE,
        source=Source("phantom", study_uid="1.2.3.4", series_uids=("1.2.3.4.5",), description="SAX"),
        base_first=False,
    )


def run(name: str, seed: int) -> End:
    """Make one shape, read it, and compare."""
    shape = every()[name]
    with tempfile.TemporaryDirectory() as folder:
        made = shape(Path(folder), random.Random(f"{name} {seed}"))
        paths = list(made.paths)
        try:
            options = {"segmenter": BrightPixels(), **(made.options or {})}
            options = {name: value for name, value in options.items() if value is not None}
            given = analyze(paths if len(paths) > 1 else paths[0], **options)
        except CinesaxError as error:
            refused = made.expected is Come.REFUSED and "\n" not in str(error)
            return End(name, seed, "refused", "" if refused else f"{type(error).__name__}: {error}")
        except Exception as error:  # noqa: BLE001 - what may not come is what is looked for
            return End(name, seed, "traceback", f"{type(error).__name__}: {error}")
    return _compared(name, seed, made, given)


def _compared(name: str, seed: int, made: Made, given: Analysis) -> End:
    right = analyze(replace(made.exam), segmenter=BrightPixels()).measurements
    seen = given.measurements
    codes = {finding.code for finding in given.findings if finding.severity is not Severity.NOTE} - _OF_THE_PHANTOM
    wrong = [
        f"{value} {getattr(seen, value)} for {getattr(right, value)}"
        for value in ("edv_ml", "esv_ml", "ef_percent")
        if not _same(getattr(seen, value), getattr(right, value))
    ]
    rate = seen.heart_rate_bpm
    if rate is not None and not _same(rate, right.heart_rate_bpm):
        wrong.append(f"heart rate {rate} for {right.heart_rate_bpm}")
    if made.expected is Come.REFUSED:
        return End(name, seed, "read", f"was read, with {sorted(codes)}; {'; '.join(wrong) or 'all numbers right'}")
    if made.expected is Come.RIGHT:
        if made.heart_rate and rate is None:
            wrong.append("no heart rate")
        unasked = sorted(codes - (set() if made.heart_rate else {Code.MISSING_TRIGGER_TIMES, Code.UNKNOWN_HEART_RATE}))
        return End(name, seed, "right", "; ".join([*wrong, *(f"warning {code}" for code in unasked)]))
    if made.expected not in {finding.code for finding in given.findings}:
        wrong.append(f"no {made.expected}")
    elif not made.numbers:
        wrong.clear()
    return End(name, seed, f"with {made.expected}", "; ".join(wrong))


def _same(value: float | None, right: float | None) -> bool:
    if value is None or right is None:
        return value is right
    return abs(value - right) <= _SAME * abs(right)


def every() -> Mapping[str, Shape]:
    """All shapes by name: each module of them has its SHAPES."""
    from fuzz import shapes_dicom, shapes_nifti

    return {**shapes_nifti.SHAPES, **shapes_dicom.SHAPES}


def run_all(count: int) -> list[End]:
    """Run so many, the shapes in turn."""
    names = list(every())
    return [run(names[number % len(names)], number // len(names)) for number in range(count)]


def table(ends: Sequence[End]) -> str:
    """What came of each shape, and what must not have."""
    counts = Counter((end.name, end.came) for end in ends)
    lines = [f"{len(ends)} shapes of input", *(f"{count:8d}  {name}: {came}" for (name, came), count in counts.items())]
    violations = [end for end in ends if end.violation]
    lines += [f"{len(violations)} violations"]
    lines += [f"  {end.name}:{end.seed}  {end.violation}" for end in violations[:20]]
    return "\n".join([*lines, ""])
