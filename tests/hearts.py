"""Small hand-made exams whose numbers can be checked in the head."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cinesax.core.cine import Cine, Patient, Source
from cinesax.core.grid import stacked_grid
from cinesax.core.segmentation import ContourKey, Polygons, Segmentation, from_contours
from cinesax.core.structures import Structure

# Cavity of a square cross-section, side in pixels: with 1 mm pixels and 10 mm between slices an area of 100 px is 1 ml.
BEAT = (20, 18, 14, 10, 10, 12, 15, 18, 19, 20)


def cine(phases: int = 10, slices: int = 6, side: int = 48, **changes: Any) -> Cine:
    """Noise on a straight grid: 1 mm pixels, slices 10 mm apart, RR 1000 ms, base first."""
    pixels = np.random.default_rng(7).integers(0, 400, (phases, slices, side, side)).astype(np.int16)
    values: dict[str, Any] = {
        "grid": stacked_grid((0, 0, 0), spacing_mm=(1.0, 1.0), slice_distance_mm=10.0, shape=(slices, side, side)),
        "trigger_times_ms": np.tile(np.arange(phases)[:, None] * 1000.0 / phases, (1, slices)),
        "rr_intervals_ms": np.full(slices, 1000.0),
        "source": Source("dicom", study_uid="1.2.3", description="SAX cine", manufacturer="ACME", scanner="One"),
        "patient": Patient(name="Doe^Jane", patient_id="PID-4711", birth_date="19610203", sex="F", age_years=50.0),
        "base_first": True,
    }
    return Cine(pixels, **{**values, **changes})


def labels(
    sides: Sequence[int] = BEAT, *, slices: int = 6, inside: range = range(1, 5), side: int = 48
) -> Segmentation:
    """A square cavity of `sides[phase]` pixels in the slices `inside`; all phases known."""
    array = np.zeros((len(sides), slices, side, side), dtype=np.uint8)
    for phase, length in enumerate(sides):
        start = (side - length) // 2
        array[phase, inside.start : inside.stop, start : start + length, start : start + length] = Structure.CAVITY
    return Segmentation(array, {Structure.CAVITY: np.ones(len(sides), dtype=bool)}, author="truth")


def expert_contours(folder: Path, exam: Cine) -> Segmentation:
    """The Sunnybrook contours of a patient, by frame number, whatever the order of the slices was made of."""
    contours: dict[ContourKey, Polygons] = {}
    for path in sorted(folder.glob("*.txt")):
        name = re.fullmatch(r"IM-0001-(\d+)-([io])contour-manual\.txt", path.name)
        if name is not None:
            place, phase = divmod(int(name[1]) - 1, exam.n_phases)
            index = place if exam.base_first else exam.n_slices - 1 - place
            # The first pixel's centre is (0.5, 0.5) in the files.
            contours[Structure(name[2]), phase, index] = (np.loadtxt(path) - 0.5,)
    return from_contours(contours, exam.pixels.shape)
