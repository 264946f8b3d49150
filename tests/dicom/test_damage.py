"""Damaged headers, by the hundred: an error of one line, or the whole cine; never a traceback, never silently less."""

import random

import pytest

import exams
from cinesax.core.errors import CinesaxError
from cinesax.inputs import open_cine

PHASES, SLICES = 3, 3
MUTANTS = 40


def _flip(data, header, rng):
    for _ in range(rng.choice([1, 3, 20])):
        data[rng.randrange(128, header)] ^= 1 << rng.randrange(8)


def _cut(data, header, rng):
    del data[rng.randrange(len(data)) :]


def _swap(data, header, rng):
    a, b = (rng.randrange(132, header - 8) for _ in range(2))
    data[a : a + 8], data[b : b + 8] = data[b : b + 8], data[a : a + 8]


def _huge(data, header, rng):
    place = rng.randrange(132, header - 4)
    data[place : place + 4] = rng.choice([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4)])


def _insert(data, header, rng):
    place = rng.randrange(132, header)
    data[place:place] = rng.randbytes(rng.choice([1, 8]))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a small exam, and its cine."""
    cine = exams.small_cine(phases=PHASES, slices=SLICES)
    files = exams.write_exam(tmp_path_factory.mktemp("whole"), cine)
    return [path.read_bytes() for path in files], cine


@pytest.mark.parametrize("damage", [_flip, _cut, _swap, _huge, _insert])
@pytest.mark.parametrize("broken", [1, 2, PHASES * SLICES])
def test_damage(whole, tmp_path, damage, broken):
    files, cine = whole
    pixels = exams.ROWS * exams.COLUMNS * 2
    outcomes = set()
    for seed in range(MUTANTS):
        rng = random.Random(f"{damage.__name__} {broken} {seed}")
        chosen = set(rng.sample(range(len(files)), broken))
        for i, content in enumerate(files):
            data = bytearray(content)
            if i in chosen:
                damage(data, len(data) - pixels, rng)
            (tmp_path / f"{i}").write_bytes(data)
        try:
            read = open_cine(tmp_path)
        except CinesaxError as error:
            assert "\n" not in str(error)
            assert str(error).isprintable()
            outcomes.add("error")
            continue
        outcomes.add("read")
        # Fewer frames than there were are never passed over in silence.
        assert read.pixels.shape == cine.pixels.shape or read.findings
    assert "error" in outcomes
