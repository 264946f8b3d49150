"""What the benchmarks share: whole studies with truth, and how a segmentation of one is compared with it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cinesax.core.cine import Cine
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import Structure
from cinesax.evaluate import dice
from cinesax.formats.contours import read_contours
from cinesax.inputs import open_cine
from cinesax.measure.volumes import measure
from cinesax.phantom import draw_settings, make_phantom

CASES = ("SC-HF-I-01", "SC-HF-I-02", "SC-HF-I-04")


def sunnybrook() -> Path:
    """The folder of the real data; SystemExit says where it was looked for."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data" / "sunnybrook"
    folder = Path(os.environ.get("CINESAX_DATA", default))
    if not (folder / "dicom").is_dir():
        raise SystemExit("the Sunnybrook data are absent: put them in ../shared/data/sunnybrook or set CINESAX_DATA")
    return folder


def expert_study(case: str) -> tuple[Cine, Segmentation]:
    """A DICOM study of the real data and its expert contours."""
    cine = open_cine(sunnybrook() / "dicom" / case / "cine_sax")
    return cine, read_contours(sunnybrook() / "contours" / case, cine)


def phantom_studies(seeds: range) -> Iterator[tuple[str, Cine, Segmentation]]:
    """Phantoms of 20 phases and their truth."""
    for seed in seeds:
        phantom = make_phantom(draw_settings(seed, n_phases=20))
        yield f"phantom {seed}", phantom.cine, phantom.truth


@dataclass(frozen=True)
class Comparison:
    """A segmentation of a whole study beside its truth, at the phases where the truth is known."""

    edv_error_percent: float
    esv_error_percent: float
    ef_error_points: float
    dice_mean: float
    empty: int
    empty_found: int
    seen: int
    lost: int
    flicker_percent: float
    ed_shift: int
    es_shift: int


def compare(cine: Cine, truth: Segmentation, predicted: Segmentation) -> Comparison:
    """Errors of volumes (found at its own ED and ES), Dice, contours where there is no LV and the other way round."""
    expected, seen = measure(cine, truth), measure(cine, predicted)
    known = np.flatnonzero(truth.known_phases[Structure.CAVITY])
    if len(known) > 2:
        known = np.array([expected.ed_phase, expected.es_phase])
    a = truth.labels[known] == Structure.CAVITY
    b = predicted.labels[known] == Structure.CAVITY
    has, got = a.any(axis=(2, 3)), b.any(axis=(2, 3))
    volumes = seen.volumes_ml
    second = np.roll(volumes, -1) - 2 * volumes + np.roll(volumes, 1)

    def apart(one: int, other: int) -> int:
        step = abs(one - other)
        return min(step, cine.n_phases - step)

    return Comparison(
        100 * (seen.edv_ml / expected.edv_ml - 1),
        100 * (seen.esv_ml / expected.esv_ml - 1),
        seen.ef_percent - expected.ef_percent,
        float(np.mean([dice(x, y) for x, y in zip(a[has], b[has], strict=True)])),
        int((~has).sum()),
        int((~has & got).sum()),
        int(has.sum()),
        int((has & ~got).sum()),
        float(100 * np.sqrt(np.mean(second**2)) / seen.edv_ml),
        apart(seen.ed_phase, expected.ed_phase),
        apart(seen.es_phase, expected.es_phase),
    )
