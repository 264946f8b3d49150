"""Parity: compare an exported network with Keras on real slices of a prepared set.

Tolerances: graphs in single precision may differ from Keras by 0.001 in probability, those with weights in half
precision by 0.02 (2^-11 relative in each weight, through some twenty layers). With int8, single pixels at borders may
differ a lot, so masks are compared instead: the mean Dice between both networks must reach 0.9 in every class.
"""

import os
import platform
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cinesax.core.errors import DatasetError, InputError
from cinesax.core.structures import Structure
from cinesax.files.typed_json import parse
from cinesax.network.bundle import PARITY
from cinesax.network.framing import crop_corner
from cinesax.train.data.examples import UNKNOWN, Example, Kind
from cinesax.train.data.pipeline import CAVITY, PipelineConfig, validation_batches
from cinesax.train.data.records import Dataset, read_examples
from cinesax.train.export.formats import Images, Precision, Runner, keras_runner

SCHEMA = "cinesax/parity/1"
CALIBRATION_IMAGES = 100
SLICES = 64
LARGEST_DIFFERENCE = {Precision.FLOAT32: 1e-3, Precision.FLOAT16: 2e-2}
LEAST_DICE = 0.9
_BATCH = 8
_PATIENTS = 24
_TIMED = 12
_SOFTWARE = ("keras", "numpy", "onnxruntime", "ai-edge-litert")


@dataclass(frozen=True)
class Slices:
    """Real slices, as a network sees them.

    Attributes:
        names: names of the examples.
        images: (n, row, column, channel), float32, 0 to 1.
        cavity: (n, row, column), bool: the LV cavity drawn by experts.
        known: (n, row, column), bool: pixels that the experts labelled.
    """

    names: tuple[str, ...]
    images: Images
    cavity: NDArray[np.bool_]
    known: NDArray[np.bool_]


@dataclass(frozen=True)
class Parity:
    """How an exported network differs from Keras.

    Attributes:
        slices: number of compared slices.
        largest_difference: largest difference in probability, over all pixels and classes.
        changed_pixels: pixels whose label differs.
        pixels: number of all pixels.
        dice: Dice of the LV cavity between both, mean over slices; 1 if both are empty.
        lowest_dice: the same for the worst slice.
        dice_with_experts_keras: Dice of Keras with the experts, mean over slices.
        dice_with_experts: the same for the exported network.
        class_dice: Dice between both of each class, by channel, without the background, mean over slices.
    """

    slices: int
    largest_difference: float
    changed_pixels: int
    pixels: int
    dice: float
    lowest_dice: float
    dice_with_experts_keras: float
    dice_with_experts: float
    class_dice: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Milliseconds for one frame, alone in its batch: the median of several frames, computed in turns.

    Attributes:
        keras_ms: Keras, as a compiled function.
        exported_ms: the runtime of the format.
    """

    keras_ms: float
    exported_ms: float


@dataclass(frozen=True)
class ExportedFile:
    """A file (or folder) of an export.

    Attributes:
        file: its name.
        precision: precision of its weights.
        bytes: its size.
    """

    file: str
    precision: Precision
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Compared(Speed, Parity, ExportedFile):
    """A file of an export, compared with Keras. The fields of the last base come first in parity.json."""


@dataclass(frozen=True)
class ComparedData:
    """The slices of a comparison: digest of the prepared set, and its split."""

    digest: str
    split: str


@dataclass(frozen=True)
class Machine:
    """The machine of a comparison: its processor, operating system, and the threads that each runtime may use."""

    processor: str
    system: str
    threads: int


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """The content of parity.json.

    Attributes:
        schema: version of the format.
        data: the slices.
        machine: the machine.
        software: versions by name of the package.
        networks: the files of the export.
    """

    schema: str = SCHEMA
    data: ComparedData
    machine: Machine
    software: dict[str, str]
    networks: tuple[Compared, ...]


def real_slices(dataset: Dataset, split: str, *, count: int, crop: int | None = None, inputs: int = 1) -> Slices:
    """Slices of patients, spread evenly over a split; phantoms only if the split has nothing else.

    Args:
        dataset: the prepared set.
        split: a split of the set.
        count: largest number of slices.
        crop: rows and columns of a crop around the LV, for a network that sees only this crop; None: whole frames.
        inputs: channels of the image: 1, or 3: the slice between its neighbours.

    Raises:
        DatasetError: the split does not exist or is empty, or the crop is larger than the frames.
    """
    cases, facts = dataset.cases(split), dataset.manifest.cases
    patients = [case for case in cases if facts[case].kind is not Kind.PHANTOM] or cases
    total = sum(facts[case].n for case in patients)
    if total and count > 0 and crop is not None and inputs > 1:
        return _with_neighbours(dataset, split, patients, count=count, crop=crop)
    if not total or count < 1:
        raise DatasetError(f"{dataset.folder} has no slices in {split}, or none were asked for")
    if crop is not None and crop > dataset.framing.size:
        raise DatasetError(f"a crop of {crop} pixels cannot be cut out of frames of {dataset.framing.size}")
    wanted = set(np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist())
    chosen = [example for k, example in enumerate(read_examples(dataset, split, patients)) if k in wanted]
    windows = [_window(example, crop) for example in chosen]
    return Slices(
        tuple(example.name for example in chosen),
        np.stack([np.float32(example.image[w] / 65535) for example, w in zip(chosen, windows, strict=True)])[..., None],
        np.stack([example.label[w] == Structure.CAVITY for example, w in zip(chosen, windows, strict=True)]),
        np.stack([_known(example)[w] for example, w in zip(chosen, windows, strict=True)]),
    )


def _with_neighbours(dataset: Dataset, split: str, patients: Sequence[str], *, count: int, crop: int) -> Slices:
    some = [patients[k] for k in sorted({round(p) for p in np.linspace(0, len(patients) - 1, _PATIENTS)})]
    config = PipelineConfig(crop=crop, jitter_px=0.0, context=True)
    batches = list(validation_batches(dataset, split, some, batch=1, config=config))
    chosen = [batches[k] for k in sorted({round(p) for p in np.linspace(0, len(batches) - 1, count)})]
    labels = np.concatenate([np.asarray(label) for _, label in chosen])
    channel = list(dataset.manifest.classes).index(CAVITY)
    certain = labels.sum(axis=-1) == 1
    return Slices(
        tuple(f"slice {k}" for k in range(len(chosen))),
        np.concatenate([np.asarray(image) for image, _ in chosen]),
        (labels[..., channel] > 0) & certain,
        certain | (labels[..., channel] == 0),
    )


def _known(example: Example) -> NDArray[np.bool_]:
    return np.asarray((example.label != UNKNOWN) & (Structure.CAVITY in example.known))


def _window(example: Example, crop: int | None) -> tuple[slice, slice]:
    size = example.image.shape[0]
    if crop is None:
        return slice(None), slice(None)
    places = np.argwhere(example.label == Structure.CAVITY)
    middle = places.mean(axis=0) if len(places) else (size / 2, size / 2)
    row, column = crop_corner(middle, crop, size)
    return slice(row, row + crop), slice(column, column + crop)


def compare(reference: Runner, exported: Runner, slices: Slices, *, channel: int = 1) -> Parity:
    """Run both networks on the same slices.

    Args:
        reference: the network in Keras.
        exported: the same in another runtime.
        slices: their input.
        channel: channel of the LV cavity.
    """
    difference, changed, ours, theirs = 0.0, 0, [], []
    both: dict[int, list[float]] = defaultdict(list)
    for first in range(0, len(slices.names), _BATCH):
        part = slice(first, first + _BATCH)
        expected, labels = reference(slices.images[part])
        seen, seen_labels = exported(slices.images[part])
        difference = max(difference, float(np.abs(seen - expected).max()))
        changed += int((labels != seen_labels).sum())
        for number in range(1, expected.shape[-1]):
            both[number] += _dice(labels == number, seen_labels == number)
        in_keras, in_export, known = labels == channel, seen_labels == channel, slices.known[part]
        ours += _dice(in_keras & known, slices.cavity[part] & known)
        theirs += _dice(in_export & known, slices.cavity[part] & known)
    pixels = int(slices.cavity.size)
    means = {number: float(np.mean(values)) for number, values in both.items()}
    return Parity(
        slices=len(slices.names),
        largest_difference=difference,
        changed_pixels=changed,
        pixels=pixels,
        dice=means[channel],
        lowest_dice=min(both[channel]),
        dice_with_experts_keras=float(np.mean(ours)),
        dice_with_experts=float(np.mean(theirs)),
        class_dice=tuple(means.values()),
    )


def _dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> list[float]:
    shared, total = (first & second).sum(axis=(1, 2)), first.sum(axis=(1, 2)) + second.sum(axis=(1, 2))
    return [2 * float(s) / float(t) if t else 1.0 for s, t in zip(shared, total, strict=True)]


def check(parity: Parity, precision: Precision, name: str) -> None:
    """Raise InputError if the exported network differs by more than the tolerances above."""
    if precision is Precision.INT8:
        lowest = min((parity.dice, *parity.class_dice))
        if not lowest >= LEAST_DICE:
            instead = "leave out --int8" if name.endswith(".onnx") else "give --precision float32,float16"
            raise InputError(
                f"{name} differs from the network in Keras: the mean Dice between both is {lowest:.3f}, expected "
                f"{LEAST_DICE} or more; int8 is too coarse for this network: {instead}"
            )
    elif not parity.largest_difference <= LARGEST_DIFFERENCE[precision]:
        raise InputError(
            f"{name} differs from the network in Keras: probabilities differ by {parity.largest_difference:.4f}, "
            f"expected {LARGEST_DIFFERENCE[precision]} or less"
        )


def speed(
    reference: Runner, exported: Runner, images: Images, *, clock: Callable[[], float] = time.perf_counter
) -> Speed:
    """Time both, frame by frame, in turns, so that other work on the machine slows both alike.

    Args:
        reference: the network in Keras.
        exported: the same in another runtime.
        images: (n, row, column, 1).
        clock: returns the time in seconds.
    """
    seconds: tuple[list[float], list[float]] = ([], [])
    for runner in (reference, exported):
        runner(images[:1])  # the first call plans
    for turn in range(_TIMED):
        frame = images[turn % len(images)][None]
        for runner, taken in zip((reference, exported), seconds, strict=True):
            began = clock()
            runner(frame)
            taken.append(clock() - began)
    keras_ms, exported_ms = (float(np.median(taken)) * 1e3 for taken in seconds)
    return Speed(keras_ms=keras_ms, exported_ms=exported_ms)


@dataclass(frozen=True)
class Exported:
    """A file (or folder) of an export, and its source.

    Attributes:
        path: path of the file or folder.
        runner: a function that runs it.
        model: the network in Keras.
        precision: precision of its weights.
        crop: rows and columns of its crop around the LV; None: whole frames.
    """

    path: Path
    runner: Runner
    model: keras.Model
    precision: Precision
    crop: int | None = None


def check_on_noise(exported: Exported) -> None:
    """Compare on noise if there are no slices; InputError if the networks differ."""
    images = np.random.default_rng(0).random((2, *exported.model.input_shape[1:]), dtype=np.float32)
    nothing = np.zeros(images.shape[:3], bool)
    slices = Slices(("noise 1", "noise 2"), images, nothing, nothing)
    check(compare(keras_runner(exported.model), exported.runner, slices), exported.precision, exported.path.name)


def report(exports: Sequence[Exported], dataset: Dataset, *, count: int, threads: int) -> ParityReport:
    """Compare every file of an export with Keras on slices of the split "validation", or else "train".

    Args:
        exports: the files.
        dataset: the prepared set.
        count: largest number of slices.
        threads: processor threads for each runtime.

    Raises:
        InputError: a file differs from Keras.
        DatasetError: the set has no slices.
    """
    split = "validation" if dataset.manifest.splits.get("validation") else "train"
    networks = []

    @cache  # several files may be of one network
    def expected(model: keras.Model, crop: int | None) -> tuple[Slices, Runner]:
        inputs = int(model.input_shape[-1])
        return real_slices(dataset, split, count=count, crop=crop, inputs=inputs), keras_runner(model)

    for export in exports:
        slices, reference = expected(export.model, export.crop)
        parity = compare(reference, export.runner, slices)
        check(parity, export.precision, export.path.name)
        timed = speed(reference, export.runner, slices.images)
        file = ExportedFile(export.path.name, export.precision, bytes_of(export.path))
        networks.append(Compared(**asdict(file), **asdict(parity), **asdict(timed)))
    return ParityReport(
        data=ComparedData(dataset.digest, split),
        machine=Machine(processor(), platform.system(), threads),
        software={"tensorflow": tf.__version__} | {name: version(name) for name in _SOFTWARE if _installed(name)},
        networks=tuple(networks),
    )


def _installed(name: str) -> bool:
    return find_spec(name.replace("-", "_")) is not None


def processor() -> str:
    """The processor's name, as far as the system reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def read_report(folder: Path) -> ParityReport | None:
    """The report in an export's folder; None if there is none.

    Raises:
        InputError: the file cannot be read, or its content is not such a report.
    """
    path = folder / PARITY
    if not path.is_file():
        return None
    try:
        return parse(path.read_text(encoding="utf-8"), ParityReport)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def bytes_of(path: Path) -> int:
    """Size of a file, or of all files in a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(os.path.getsize(file) for file in path.rglob("*") if file.is_file())
