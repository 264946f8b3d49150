"""Does a network hold when the images change? Dice by shift: real labelled slices, and phantoms of every kind.

    python benchmarks/shifts.py [--model BUNDLE] [--split train|validation|none] [--phantoms N] [--patients N]

Each row changes the real slices (and their labels with them) in one way, controlled and known, as other scanners and
other technicians do: spacing, contrast, noise, bias field, resolution, rotation, crop, position. The labels are those
of the experts, resampled with the images. The slices of one patient stay one study, but where the row says otherwise.
"told" means that the images carry a spacing (a geometry), as DICOM does; else it is not known, as with PNG.

Phantoms: each row draws hearts (seeds that no training has seen) with one thing fixed to an extreme.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cinesax.core.cine import Cine
from cinesax.core.grid import stacked_grid
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import Structure
from cinesax.evaluate import Evaluation, LabelledStudy, score
from cinesax.evaluate.evaluation import summarise
from cinesax.evaluate.labelled import labelled, of_pairs
from cinesax.network.segmenter import load_segmenter
from cinesax.phantom import FieldOfView, draw_settings, make_phantom
from studies import compare, sunnybrook

SPACING_MM = 1.33  # of the pairs: those of the three DICOM patients among them are 1.29 to 1.37
Pixels = NDArray[np.float32]
Change = Callable[[Pixels, NDArray[np.uint8], np.random.Generator], tuple[Pixels, NDArray[np.uint8]]]


@dataclass(frozen=True)
class Shift:
    """One row: its name, what it does to (phase, slice, row, column), and the spacing that is told afterwards."""

    name: str
    change: Change
    spacing_mm: float | None = None
    alone: bool = False


def on_pixels(function: Callable[[Pixels, np.random.Generator], Pixels]) -> Change:
    """A change that leaves the labels where they are."""
    return lambda pixels, labels, rng: (function(pixels, rng), labels)


def gamma(power: float) -> Change:
    """Contrast: intensities (0 to 1) to a power."""
    return on_pixels(lambda pixels, rng: pixels**power)


def steep(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """An S-curve about the middle."""
    return np.asarray(1 / (1 + np.exp(-8 * (pixels - 0.4))), dtype=np.float32)


def dark_blood(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """What is brighter than two thirds is pressed down: little contrast between blood and fat."""
    return np.where(pixels > 0.66, 0.66 + 0.25 * (pixels - 0.66), pixels).astype(np.float32)


def rician(sigma: float) -> Change:
    """Noise of a magnitude image; sigma in parts of what is bright (1 / sigma is about the SNR of blood)."""

    def noisy(pixels: Pixels, rng: np.random.Generator) -> Pixels:
        real, imaginary = rng.normal(0, sigma, (2, *pixels.shape))
        return np.hypot(pixels + real, imaginary).astype(np.float32)

    return on_pixels(noisy)


def bias_field(strength: float) -> Change:
    """A smooth gain over the frame that differs by a factor of exp(2 * strength) from one side to the other."""

    def shaded(pixels: Pixels, rng: np.random.Generator) -> Pixels:
        angle = rng.uniform(0, 2 * np.pi)
        y, x = (np.linspace(-1, 1, n) for n in pixels.shape[2:])
        gain = np.exp(strength * (np.cos(angle) * y[:, None] + np.sin(angle) * x[None, :]))
        return np.asarray(pixels * gain, dtype=np.float32)

    return on_pixels(shaded)


def blurred(sigma: float) -> Change:
    """Less resolution at the same matrix."""
    return on_pixels(lambda pixels, rng: ndimage.gaussian_filter(pixels, (0, 0, sigma, sigma)))


def resampled(factor: tuple[float, float]) -> Change:
    """Another pixel size: `factor` new pixels for one old, along rows and columns of the frame."""

    def change(pixels: Pixels, labels: NDArray[np.uint8], rng: np.random.Generator) -> tuple[Pixels, NDArray[np.uint8]]:
        sigma = [max(0.0, (1 / f - 1) / 2) for f in factor]
        smooth = ndimage.gaussian_filter(pixels, (0, 0, *sigma))
        return _zoom(smooth, factor), (_zoom(labels.astype(np.float32), factor) >= 0.5).astype(np.uint8)

    return change


def _zoom(values: Pixels, factor: tuple[float, float]) -> Pixels:
    frames = [
        ndimage.zoom(f, factor, order=1, grid_mode=True, mode="nearest") for f in values.reshape(-1, *values.shape[2:])
    ]
    return np.stack(frames).reshape(*values.shape[:2], *frames[0].shape)


def moved(degrees: float = 0.0, right_px: float = 0.0, down_px: float = 0.0) -> Change:
    """Turned about the middle of the frame, then moved; what comes in from outside is black."""
    turn = np.deg2rad(degrees)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])

    def frame(values: Pixels) -> Pixels:
        middle = (np.array(values.shape) - 1) / 2
        offset = middle - matrix @ (middle + (down_px, right_px))
        return np.asarray(ndimage.affine_transform(values, matrix, offset, order=1), dtype=np.float32)

    def change(pixels: Pixels, labels: NDArray[np.uint8], rng: np.random.Generator) -> tuple[Pixels, NDArray[np.uint8]]:
        made = [
            np.stack([frame(f) for f in values.reshape(-1, *values.shape[2:])]).reshape(values.shape)
            for values in (pixels, labels.astype(np.float32))
        ]
        return made[0], (made[1] >= 0.5).astype(np.uint8)

    return change


def cropped(rows: int, columns: int, off: tuple[float, float] = (0.0, 0.0)) -> Change:
    """A part of the frame round the heart; `off` says how far the heart lies from its middle (1: at the edge)."""

    def change(pixels: Pixels, labels: NDArray[np.uint8], rng: np.random.Generator) -> tuple[Pixels, NDArray[np.uint8]]:
        inside = labels.any(axis=(0, 1))
        parts = []
        for axis, (length, way) in enumerate(zip((rows, columns), off, strict=True)):
            there = np.flatnonzero(inside.any(axis=1 - axis))
            middle, half = (there[0] + there[-1]) / 2, (there[-1] - there[0]) / 2
            start = int(round(middle - length / 2 - way * max(0.0, length / 2 - half - 4)))
            start = min(max(0, start), labels.shape[2 + axis] - length)
            parts.append(slice(start, start + length))
        return pixels[:, :, parts[0], parts[1]], labels[:, :, parts[0], parts[1]]

    return change


SAME: Change = on_pixels(lambda pixels, rng: pixels)
MIRRORED: Change = lambda pixels, labels, rng: (pixels[..., ::-1], labels[..., ::-1])  # noqa: E731 - a table of changes

SHIFTS = (
    Shift("as they are", SAME),
    Shift("each frame by itself", SAME, alone=True),
    *(
        Shift(f"spacing {SPACING_MM / f:.2f} mm, told", resampled((f, f)), SPACING_MM / f)
        for f in (1.9, 1.4, 0.83, 0.66)
    ),
    *(Shift(f"spacing {SPACING_MM / f:.2f} mm, not told", resampled((f, f))) for f in (1.9, 1.4, 0.83, 0.66)),
    Shift("gamma 0.5 (flat)", gamma(0.5)),
    Shift("gamma 2 (hard)", gamma(2.0)),
    Shift("S-curve", on_pixels(steep)),
    Shift("bright parts pressed", on_pixels(dark_blood)),
    *(Shift(f"Rician noise {s:.2f}", rician(s)) for s in (0.03, 0.06, 0.12)),
    *(Shift(f"bias field x{np.exp(2 * s):.1f}", bias_field(s)) for s in (0.5, 1.0)),
    *(Shift(f"blurred, sigma {s:g} px", blurred(s)) for s in (1.0, 2.0)),
    *(Shift(f"turned by {d} degrees", moved(d)) for d in (20, 45, 90, 180)),
    Shift("mirrored, not told", MIRRORED),
    Shift("crop 160 x 160", cropped(160, 160)),
    Shift("crop 128 x 224", cropped(128, 224)),
    Shift("crop 160 x 160, heart at a corner", cropped(160, 160, (0.9, 0.9))),
    Shift("moved by 40 px", moved(right_px=40, down_px=-25)),
    Shift("moved by 70 px", moved(right_px=-70, down_px=20)),
)


def shifted(study: LabelledStudy, shift: Shift, rng: np.random.Generator) -> Iterator[LabelledStudy]:
    """The study after a change (of intensities whose 99th percentile is 1); or each of its frames as a study."""
    pixels = study.cine.pixels.astype(np.float32)
    low, high = (np.percentile(pixels, q, axis=(2, 3), keepdims=True) for q in (0, 99))
    pixels = ((pixels - low) / np.maximum(high - low, 1)).astype(np.float32)
    pixels, labels = shift.change(pixels, np.array(study.truth.labels), rng)
    stored = np.round(1000 * np.maximum(pixels, 0)).astype(np.uint16)
    grid = None
    if shift.spacing_mm is not None:
        side = (shift.spacing_mm, shift.spacing_mm)
        # Directions as scanners have them, so that frames are not taken for mirrored ones.
        grid = stacked_grid((0, 0, 0), spacing_mm=side, slice_distance_mm=8.0, shape=stored.shape[1:], **_USUAL)
    known = {Structure.CAVITY: np.ones(len(labels), dtype=bool)}
    whole = LabelledStudy(study.case, study.names, Cine(stored, grid), Segmentation(labels.astype(np.uint8), known))
    if not shift.alone:
        yield whole
        return
    one = {Structure.CAVITY: np.ones(1, dtype=bool)}
    for (phase, index), name in study.names.items():
        cine = Cine(stored[phase : phase + 1, index : index + 1], None)
        truth = Segmentation(labels[phase : phase + 1, index : index + 1].copy(), one)
        yield LabelledStudy(study.case, {(0, 0): name}, cine, truth)


_ALONG_ROW = np.array([0.71, 0.70, -0.03]) / np.linalg.norm([0.71, 0.70, -0.03])
_DOWN = np.array([-0.31, 0.27, -0.91]) - (np.array([-0.31, 0.27, -0.91]) @ _ALONG_ROW) * _ALONG_ROW
_USUAL: dict[str, Any] = {"along_row": _ALONG_ROW, "along_column": _DOWN / np.linalg.norm(_DOWN)}


def line(name: str, result: Evaluation, first: float | None) -> str:
    """One row of the table of real slices."""
    s = summarise(result.slices)
    change = "" if first is None else f"{s.dice_mean - first:+8.4f}"
    lowest = min(np.mean([one.dice for one in scores]) for scores in result.by_case().values())
    return f"{name:36} {s.dice_mean:.4f} {change:8} {s.dice_median:7.4f} {lowest:7.3f} {s.below_half:7.1%} {s.misses:6}"


def real(segment: Callable[[Cine], Segmentation], split: str, patients: int | None) -> None:
    """The table of real slices."""
    studies = list(of_pairs(sunnybrook() / split))[:patients]
    print(f"\n{split}: {sum(len(study.names) for study in studies)} slices of {len(studies)} patients")
    print(f"{'shift':36} {'Dice':6} {'change':8} {'median':7} {'lowest':>7} {'below .5':>7} {'missed':>6}")
    first = None
    for shift in SHIFTS:
        rng = np.random.default_rng(20)
        made = (one for study in studies for one in shifted(study, shift, rng))
        result = score((study, segment(study.cine)) for study in made)
        print(line(shift.name, result, first), flush=True)
        first = summarise(result.slices).dice_mean if first is None else first


KINDS: dict[str, dict[str, Any]] = {
    "as drawn": {},
    "small heart": {"edv_ml": 65.0},
    "large heart, weak": {"edv_ml": 340.0, "ef_percent": 15.0},
    "thick wall, strong": {"edv_ml": 110.0, "wall_mm": 20.0, "ef_percent": 75.0},
    "spacing 0.7 mm, 384 x 384": {"spacing_mm": (0.75, 0.75), "matrix": (448, 448)},
    "spacing 2 mm, 160 x 160": {"spacing_mm": (2.0, 2.0), "matrix": (168, 168)},
    "rectangular, 156 x 192": {"spacing_mm": (1.8, 1.8), "matrix": (156, 192)},
    "pixels not square": {"spacing_mm": (1.6, 1.25)},
    "off centre": {"image_centre_mm": (45.0, -45.0), "spacing_mm": (1.4, 1.4), "matrix": (256, 256)},
    "turned by 90 degrees": {"in_plane_degrees": 90.0},
    "turned by 200 degrees": {"in_plane_degrees": 200.0},
    "seen from the base": {"base_first": True},
    "low signal (SNR 12)": {"snr": 12.0},
    "small coils": {"coil_reach_mm": 32.0},
    "flip angle 25 (flat contrast)": {"flip_degrees": 25.0},
    "much texture": {"texture": 0.16},
    "little k-space": {"acquired": (0.45, 0.6)},
    "circular field of view": {"field_of_view": FieldOfView.CIRCLE},
    "warped field of view": {"field_of_view": FieldOfView.WARPED},
    "thick slices": {"slice_thickness_mm": 10.0},
    "breath-holds apart": {"breath_shifts_mm": None},
}


def phantoms(segment: Callable[[Cine], Segmentation], count: int, first_seed: int) -> None:
    """The table of phantoms."""
    print(f"\nphantoms, {count} of each kind")
    print(
        f"{'kind':36} {'Dice':6} {'median':>7} {'below .5':>8} {'missed':>6} {'false':>6}   "
        f"{'EDV %':>6} {'ESV %':>6} {'EF points':>9}"
    )
    for name, fixed in KINDS.items():
        compared, errors = [], []
        for seed in range(first_seed, first_seed + count):
            made = _phantom(seed, dict(fixed))
            predicted = segment(made.cine)
            compared.append((labelled(f"phantom {seed}", made.cine, made.truth), predicted))
            c = compare(made.cine, made.truth, predicted)
            errors.append((c.edv_error_percent, c.esv_error_percent, c.ef_error_points))
        s, (edv, esv, ef) = summarise(score(compared).slices), np.mean(errors, axis=0)
        print(
            f"{name:36} {s.dice_mean:.4f} {s.dice_median:7.4f} {s.below_half:8.1%} {s.misses:6} "
            f"{s.false_positives:6}   {edv:+6.1f} {esv:+6.1f} {ef:+9.2f}",
            flush=True,
        )


def _phantom(seed: int, fixed: dict[str, Any]) -> Any:
    if "breath_shifts_mm" in fixed:
        slices = draw_settings(seed, n_phases=8).n_slices
        rng = np.random.default_rng(seed)
        fixed["breath_shifts_mm"] = tuple((float(a), float(b)) for a, b in rng.normal(0, 5, (slices, 2)).clip(-10, 10))
    return make_phantom(draw_settings(seed, n_phases=8, **fixed))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default", metavar="BUNDLE")
    parser.add_argument("--split", default="validation", choices=("train", "validation", "none"))
    parser.add_argument("--patients", type=int, help="only the first N patients")
    parser.add_argument("--phantoms", type=int, default=3, help="of each kind")
    parser.add_argument("--first-seed", type=int, default=900_000, help="phantoms that no training has seen")
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    segmenter = load_segmenter(args.model, threads=args.threads)
    known = set(segmenter.bundle.training.cases or ())
    print(f"{segmenter.name}, which has learned from {len(known)} patients")
    if args.split != "none":
        if known & {study.case for study in of_pairs(sunnybrook() / args.split)}:
            print("IN-SAMPLE: it has learned from patients of this split; what counts here is the change")
        real(segmenter.segment, args.split, args.patients)
    if args.phantoms:
        phantoms(segmenter.segment, args.phantoms, args.first_seed)


if __name__ == "__main__":
    main()
