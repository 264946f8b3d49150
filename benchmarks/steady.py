"""How steady volumes and EF are when a real exam is stored in other ways: turned, mirrored, moved, in 8 bits, dimmer.

    python benchmarks/steady.py [--model BUNDLE] EXAM ...

The eight ways to store a frame keep every pixel, so the heart is the same. A frame moved by a pixel, stored with
256 grey values or with another gain shows the same heart to a reader, so EF may change by 1 point at most.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

import cinesax
from cinesax.core.cine import Cine
from cinesax.core.grid import Grid
from cinesax.core.orientation import TURNS, Turn
from cinesax.network.segmenter import load_segmenter


def turned(cine: Cine, turn: Turn) -> Cine:
    """The same heart with turned or mirrored frames."""
    if cine.grid is None:
        raise SystemExit("the exam has no geometry")
    # Where the first pixel, its right and its lower neighbour lay before the turn.
    first, right, below = (
        turn.apply(np.indices(cine.pixels.shape[2:]))[(slice(None), *at)] for at in ((0, 0), (0, 1), (1, 0))
    )
    origins, rights, belows = (
        np.array([cine.grid.to_patient((place, *at)) for place in range(cine.n_slices)]) for at in (first, right, below)
    )
    along_row, along_column = (rights - origins)[0], (belows - origins)[0]
    spacing = float(np.linalg.norm(along_column)), float(np.linalg.norm(along_row))
    pixels = turn.apply(cine.pixels)
    if turn.mirrors:  # the normal points the other way, and slices follow it
        pixels, origins = pixels[:, ::-1], origins[::-1]
    grid = Grid(origins, along_row / spacing[1], along_column / spacing[0], spacing, pixels.shape[1:])
    return replace(cine, pixels=np.ascontiguousarray(pixels), grid=grid)


def forms(cine: Cine) -> Iterator[tuple[str, Cine]]:
    """Name and exam; the first is as stored. "rows" and "columns" are in reverse order."""
    for turn in TURNS:
        parts = {"transposed": turn.transposed, "rows": turn.rows_reversed, "columns": turn.columns_reversed}
        yield " ".join(name for name, is_on in parts.items() if is_on) or "as stored", turned(cine, turn)
    pixels = cine.pixels.astype(np.float64)
    for name, (down, right) in {
        "moved down": (1, 0),
        "moved up": (-1, 0),
        "moved right": (0, 1),
        "moved left": (0, -1),
    }.items():
        yield name, replace(cine, pixels=_moved(cine.pixels, down, right))
    low, high = pixels.min(), pixels.max()
    yield "8 bits", replace(cine, pixels=np.round(255 * (pixels - low) / (high - low)).astype(np.uint8))
    for gain in (0.5, 2.0):
        yield f"gain {gain}", replace(cine, pixels=np.round(pixels * gain).astype(np.uint16))


def _moved(pixels: np.ndarray, down: int, right: int) -> np.ndarray:
    """Moved by pixels; the border is repeated."""
    padded = np.pad(pixels, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    height, width = pixels.shape[2:]
    return padded[:, :, 1 - down : 1 - down + height, 1 - right : 1 - right + width]


def main() -> None:
    """Print a row for each form of each exam."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exams", nargs="+", type=Path)
    parser.add_argument("--model")
    args = parser.parse_args()
    segmenter = load_segmenter(args.model)
    print(f"{segmenter.name}\n\n{'exam':<14} {'form':<26} {'EDV ml':>8} {'ESV ml':>8} {'EF %':>7} {'change':>7}")
    for exam in args.exams:
        cine, first = cinesax.open_cine(exam), None
        for name, form in forms(cine):
            measured = cinesax.analyze(form, segmenter=segmenter).measurements
            ef = measured.ef_percent if measured.ef_percent is not None else float("nan")
            first = ef if first is None else first
            volumes = f"{measured.edv_ml:8.2f} {measured.esv_ml:8.2f}"
            print(f"{exam.name:<14} {name:<26} {volumes} {ef:7.2f} {ef - first:+7.2f}", flush=True)


if __name__ == "__main__":
    main()
