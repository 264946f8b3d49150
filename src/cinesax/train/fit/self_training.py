"""Self-training: a network draws the wall where experts drew only the cavity, for a new training set.

Experts draw the wall at ED. A network trained on this alone forgets the wall at ES. So a trained network draws the wall
there. The expert's cavity always wins, and a drawn wall is kept only if it passes a check: muscle can hardly be
compressed, so a heart has the same volume of wall at ED and at ES.

Where a patient's walls do not pass, the network still learns that there is one: a rim of wall around the expert's
cavity, too thin to be wrong, and an unknown band outside of it. Without the rim, a network learned to draw no wall at
all in collections whose experts drew none. The rule for the base then lost these patients' ventricles.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cinesax.core.errors import DatasetError
from cinesax.core.structures import Structure
from cinesax.network.bundle import HeartPass
from cinesax.network.framing import crop_corner
from cinesax.network.passes import share
from cinesax.network.presence import enclosed
from cinesax.network.segmenter import NetworkSegmenter
from cinesax.train.data.anatomy import Place, neighbours
from cinesax.train.data.examples import UNKNOWN, Example, Kind
from cinesax.train.data.manifest import Row, describe
from cinesax.train.data.records import Dataset, new_set, read_examples, rows, write_shard, write_tables

Flags = NDArray[np.bool_]

LEVELS = (0.5, 0.4, 0.6, 0.3, 0.7)
"""Scores of cavity and wall together at which the outer border may be drawn, in order of preference."""

MOST_DIFFERENCE = 0.25
"""The largest relative difference between the volumes of wall at ED and ES. Experts themselves differ by 10 %."""

_RIM_PX = 2.0
"""The thickness of a rim, in framed pixels (3 mm): thinner than the wall of any ventricle but a scarred one."""

_BAND_PX = 9.0
"""How far the wall may reach outside the cavity, in framed pixels (13 mm), where only a rim is labelled."""

_BASAL_SLICES = 2
"""The number of slices at the base without a rim: there, up to half of the cavity's border has no wall."""

_LEAST_ENCLOSED = 0.75
"""The part of the cavity's border that must have wall outside: at the base a network often omits the wall."""

_BATCH = 16


@dataclass
class Walls:
    """The result for stacks without a drawn wall.

    Attributes:
        labelled: number of frames that got a wall.
        rims: number of frames that got only a rim of wall.
        refused: case -> ratio of the volumes of wall at ES and ED, for cases in which they differ too much.
    """

    labelled: int = 0
    rims: int = 0
    refused: dict[str, float] = field(default_factory=dict)


def label_walls(dataset: Dataset, folder: Path, network: NetworkSegmenter) -> tuple[Dataset, Walls]:
    """Write a copy of a set in which frames with a cavity but no wall have one, drawn by a network.

    Args:
        dataset: the set.
        folder: the folder of the new set; it must not exist yet.
        network: a network that draws cavity and wall on crops, with the framing of the set. A training
            on the new set must not hold out patients of this network's training: the new labels carry its knowledge.

    Raises:
        DatasetError: the set has no myocardium, no frame without a wall, or another framing than the network.
        OutputError: the folder exists or cannot be written.
    """
    bundle = network.bundle
    if Structure.MYOCARDIUM not in dataset.classes or Structure.CAVITY not in dataset.classes:
        raise DatasetError(f"{dataset.folder} has the classes {', '.join(dataset.manifest.classes)}; the wall of the "
                           "LV needs lv_cavity and myocardium: prepare the set with both")  # fmt: skip
    if bundle.framing != dataset.framing:
        raise DatasetError(f"{dataset.folder} was framed differently from what {bundle.name} needs: prepare it again")
    if Structure.MYOCARDIUM not in bundle.classes.values():
        raise DatasetError(f"{bundle.name} does not draw the wall")
    if not any(_row_lacks_wall(row) for row in rows(dataset)):
        raise DatasetError(f"no frame of {dataset.folder} has a cavity without a wall: there is no wall to draw")
    report = Walls()
    files = [(shard.split, shard.file) for shard in dataset.manifest.shards]
    place_of = {(row.split, row.name): row.shard for row in rows(dataset)}
    with new_set(folder) as work:
        written = []
        for split in dataset.manifest.splits:
            drawn = _drawn(dataset, split, network, report)
            by_shard: dict[str, list[Example]] = defaultdict(list)
            for example in read_examples(dataset, split):
                by_shard[place_of[split, example.name]].append(drawn.get(example.name, example))
            shards = [file for part, file in files if part == split]
            written += [write_shard(by_shard[f], work / f, split=split, classes=dataset.classes) for f in shards]
        before = dataset.manifest
        manifest = describe(
            written, framing=dataset.framing, classes=dataset.classes, folds=before.folds, seed=before.seed
        )
        author = f"{bundle.name} {bundle.version}"
        manifest = msgspec.structs.replace(manifest, walls_drawn_by=author, cases=before.cases)
        manifest = write_tables(work, manifest, written)
    return Dataset(folder, manifest), report


def _drawn(dataset: Dataset, split: str, network: NetworkSegmenter, report: Walls) -> dict[str, Example]:
    """Name -> example with its wall, for the frames that got a wall."""
    heart = network.bundle.heart
    if heart is None:
        raise DatasetError(f"{network.bundle.name} has no refiner that draws the wall")
    labelled: dict[str, Example] = {}
    for stack in _stacks(dataset, split):
        lacking = [example for example in stack if _lacks_wall(example)]
        if not lacking:
            continue
        scores = _scores(stack, lacking, network, heart)
        level, ratio = _level(stack, scores)
        if level is None:
            report.refused[stack[0].case] = ratio
            rims = _rims(stack, lacking)
            report.rims += len(rims)
            labelled |= rims
            continue
        for example in lacking:
            wall = _wall(example, scores[example.name], level)
            if wall is not None:
                label = np.where(wall, np.uint8(Structure.MYOCARDIUM), example.label)
                known = example.known | {Structure.MYOCARDIUM}
                labelled[example.name] = replace(example, label=label, known=known)
        report.labelled += sum(example.name in labelled for example in lacking)
    return labelled


def _rims(stack: Sequence[Example], lacking: Sequence[Example]) -> dict[str, Example]:
    """Name -> example with a rim of wall, for the frames below the basal slices; none without a place in a stack."""
    cavities = {example.name: example.label == Structure.CAVITY for example in stack}
    places: list[Place] = [(example.case, example.phase, example.slice) for example in stack]
    beside = neighbours(places, [float(np.count_nonzero(cavities[example.name])) for example in stack])
    rims: dict[str, Example] = {}
    for number, example in enumerate(stack):
        above = number
        for _ in range(_BASAL_SLICES):
            above = int(beside[above][0]) if above >= 0 else -1
        # Counted among the slices with cavity: a stack may begin far above the heart.
        if example in lacking and above >= 0 and cavities[stack[above].name].any():
            rims[example.name] = _with_rim(example, cavities[example.name])
    return rims


def _with_rim(example: Example, cavity: Flags) -> Example:
    """The example with a rim of wall around its cavity; whatever else was drawn stays, and the band is unknown."""
    away = ndimage.distance_transform_edt(~cavity)
    free = example.label == 0
    label = np.where(free & (away <= _BAND_PX), np.uint8(UNKNOWN), example.label)
    label = np.where(free & (away <= _RIM_PX), np.uint8(Structure.MYOCARDIUM), label)
    return replace(example, label=label, known=example.known | {Structure.MYOCARDIUM})


def _stacks(dataset: Dataset, split: str) -> Iterator[list[Example]]:
    """The examples of each patient and kind of source, as soon as all of them are read."""
    missing = Counter((row.case, row.kind) for row in rows(dataset) if row.split == split)
    waiting: dict[tuple[str, Kind], list[Example]] = defaultdict(list)
    for example in read_examples(dataset, split):
        key = example.case, example.kind
        waiting[key].append(example)
        if len(waiting[key]) == missing[key]:
            yield waiting.pop(key)


def _row_lacks_wall(row: Row) -> bool:
    """`_lacks_wall`, by what examples.csv says."""
    has_cavity = row.pixels.get(Structure.CAVITY.facts.class_name, 0) > 0
    return has_cavity and Structure.CAVITY in row.known and Structure.MYOCARDIUM not in row.known


def _lacks_wall(example: Example) -> bool:
    """Whether the cavity is drawn, but not its wall."""
    has_cavity = bool(np.any(example.label == Structure.CAVITY))
    return has_cavity and Structure.CAVITY in example.known and Structure.MYOCARDIUM not in example.known


def _scores(
    stack: Sequence[Example], lacking: Sequence[Example], network: NetworkSegmenter, heart: HeartPass
) -> dict[str, NDArray[np.float32]]:
    """Name -> scores of cavity and wall together, (size, size), 0 outside the crop around the heart."""
    cavities = [example.label == Structure.CAVITY for example in stack]
    middle = np.argwhere(np.sum(cavities, axis=0, dtype=int)).mean(axis=0)
    size = network.bundle.framing.size
    row, column = crop_corner(middle, heart.crop, size)
    window = slice(row, row + heart.crop), slice(column, column + heart.crop)
    places: list[Place] = [(example.case, example.phase, example.slice) for example in stack]
    beside = neighbours(places, [float(np.count_nonzero(cavity)) for cavity in cavities])
    images = {example.name: (example.image[window] / np.float32(65535)).astype(np.float32) for example in stack}
    empty = np.zeros((heart.crop, heart.crop), np.float32)

    def shown(number: int) -> NDArray[np.float32]:
        own = images[stack[number].name]
        if heart.context == 1:
            return own[..., None]
        towards = [images[stack[other].name] if other >= 0 else empty for other in beside[number]]
        return np.stack([towards[0], own, towards[1]], axis=-1)

    channels = [c for c, part in network.bundle.classes.items() if part in (Structure.CAVITY, Structure.MYOCARDIUM)]
    wanted = [number for number, example in enumerate(stack) if example in lacking]
    results: dict[str, NDArray[np.float32]] = {}
    for start in range(0, len(wanted), _BATCH):
        part = wanted[start : start + _BATCH]
        seen = share(network.refiner.run(np.stack([shown(number) for number in part])), channels)
        for number, scores in zip(part, seen, strict=True):
            whole = np.zeros((size, size), np.float32)
            whole[window] = scores
            results[stack[number].name] = whole
    return results


def _level(stack: Sequence[Example], scores: Mapping[str, NDArray[np.float32]]) -> tuple[float | None, float]:
    """The level of the outer border at which ED and ES have the most similar volume of wall, and ES / ED there.

    Slices of a stack are equally thick, so areas are summed. ED and ES are the phases with the largest and the smallest
    cavity.

    Returns:
        The level, None if the volumes differ by more than MOST_DIFFERENCE or there are not two phases; and the ratio.
    """
    cavity: Counter[int] = Counter()
    for example in stack:
        cavity[example.phase] += int(np.count_nonzero(example.label == Structure.CAVITY))
    phases = [phase for phase in cavity if phase >= 0 and cavity[phase]]
    if len(phases) < 2:
        return None, float("nan")
    ed, es = max(phases, key=lambda phase: cavity[phase]), min(phases, key=lambda phase: cavity[phase])
    ratios = {}
    for level in LEVELS:
        areas = Counter({ed: 0, es: 0})
        for example in stack:
            if example.phase in (ed, es):
                drawn = (
                    _wall(example, scores[example.name], level)
                    if example.name in scores
                    else example.label == Structure.MYOCARDIUM
                )
                areas[example.phase] += 0 if drawn is None else int(np.count_nonzero(drawn))
        ratios[level] = areas[es] / max(1, areas[ed])
    best = min(LEVELS, key=lambda level: abs(np.log(max(ratios[level], 1e-3))))
    fits = 1 - MOST_DIFFERENCE <= ratios[best] <= 1 / (1 - MOST_DIFFERENCE)
    return (best if fits else None), ratios[best]


def _wall(example: Example, scores: NDArray[np.float32], level: float) -> Flags | None:
    """The wall outside the expert's cavity, (size, size); None if it surrounds too little of the cavity."""
    cavity = example.label == Structure.CAVITY
    regions, _ = ndimage.label((scores >= level) | cavity)
    mine = np.unique(regions[cavity])
    ventricle = ndimage.binary_fill_holes(np.isin(regions, mine[mine > 0]))
    wall = ventricle & (example.label == 0)
    return wall if enclosed(cavity, wall) >= _LEAST_ENCLOSED else None
