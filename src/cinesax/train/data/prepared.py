"""Images with truth for `cinesax evaluate` from prepared sets: examples are grouped into their studies."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cinesax.core.cine import Cine
from cinesax.core.errors import UsageError
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import Structure
from cinesax.evaluate import LabelledStudy
from cinesax.formats.pair_studies import Place, lay_out, phases_by_numbers, place_of

if TYPE_CHECKING:
    from cinesax.train.data.examples import Example
    from cinesax.train.data.manifest import Row
    from cinesax.train.data.records import Dataset

# Patient, kind of source, and, for a frame that is a study of its own, its name.
_Group = tuple[str, ...]


def of_dataset(
    dataset: "Dataset", split: str | None = None, *, fold: int | None = None, seed: int = 0, phases: int | None = None
) -> Iterator[LabelledStudy]:
    """The framed examples of a prepared set; those of one patient become one study without geometry.

    This is as for a pairs folder. Slice and phase come from the record, for pairs from their names. Each phantom frame,
    drawn at random from stack and beat, is a separate study, and so is a frame whose place is unknown or taken. Frames
    whose cavity was not labelled are segmented but not compared.

    Args:
        dataset: the set.
        split: a split of the set, or the held-out examples of a named split (see `cinesax.train.data.splits`); None:
            with a fold train, else validation, or train if the set has no validation.
        fold: only the patients of this fold.
        seed: seed of the draw of a named split.
        phases: phases per slice, for pair names that count the frames of a study; None: derived from the names.

    Raises:
        DatasetError: the split or fold does not exist.
        UsageError: both a named split and a fold are given.
    """
    from cinesax.train.data import records

    listed = records.rows(dataset)
    part, chosen = _chosen(dataset, listed, split=split, fold=fold, seed=seed)
    groups = _groups([row for row in listed if row.split == part], phases)
    missing = Counter(groups[name][0] for name in chosen)
    frames: dict[_Group, dict[Place, Example]] = defaultdict(dict)
    for example in records.read_examples(dataset, part):
        if example.name in chosen:
            group, place = groups[example.name]
            frames[group][place] = example
            if len(frames[group]) == missing[group]:
                yield _together(frames.pop(group))


def _chosen(
    dataset: "Dataset", listed: Sequence["Row"], *, split: str | None, fold: int | None, seed: int
) -> tuple[str, frozenset[str]]:
    """The set's split, and the names of its examples to compare."""
    from cinesax.train.data.splits import is_name, split_examples

    splits = dataset.manifest.splits
    if split is not None and split not in splits and is_name(split):
        if fold is not None:
            raise UsageError(f"the split {split} already says what is held out: leave out the fold")
        return "train", frozenset(split_examples(dataset, split, seed=seed).held_out)
    # A training holds out a fold of "train".
    split = split or ("validation" if "validation" in splits and fold is None else "train")
    cases = set(dataset.cases(split, fold=fold, held_out=fold is not None))
    return split, frozenset(row.name for row in listed if row.split == split and row.case in cases)


def _groups(listed: Sequence["Row"], phases: int | None) -> Mapping[str, tuple[_Group, Place]]:
    """Name of an example -> its study, and its phase and slice there."""
    pairs = [row for row in listed if row.slice < 0 or row.phase < 0]
    count = phases or phases_by_numbers([row.name for row in pairs], [row.case for row in pairs])
    groups: dict[str, tuple[_Group, Place]] = {}
    taken: set[tuple[_Group, Place]] = set()
    for row in listed:
        alone: tuple[_Group, Place] = (row.case, str(row.kind), row.name), (0, 0)
        place = _place(row, count)
        in_study = alone if place is None else ((row.case, str(row.kind)), place)
        groups[row.name] = alone if in_study in taken else in_study
        taken.add(in_study)
    return groups


def _place(row: "Row", phases: int | None) -> Place | None:
    from cinesax.train.data.examples import Kind

    if row.kind is Kind.PHANTOM:
        return None
    return (row.phase, row.slice) if min(row.phase, row.slice) >= 0 else place_of(row.name, phases)


def _together(frames: Mapping[Place, "Example"]) -> LabelledStudy:
    layout = lay_out(frames)
    pixels = np.stack([frames[place].image for _, place in sorted(layout.shown.items())])
    whole = (*layout.shape, *pixels.shape[1:])
    labels = np.zeros(whole, np.uint8)
    own = {index: frames[place] for index, place in layout.own.items()}
    known = {structure: _known(structure, own, whole[0]) for structure in Structure}
    known = {structure: phases for structure, phases in known.items() if phases.any()}
    known[Structure.CAVITY] = np.ones(whole[0], dtype=bool)
    for (phase, index), example in own.items():
        labelled = [structure for structure in known if known[structure][phase]]
        labels[phase, index] = np.where(np.isin(example.label, labelled), example.label, 0)
    names = {index: example.name for index, example in own.items() if _cavity_known(example)}
    truth = Segmentation(labels, known, author="manual")
    return LabelledStudy(next(iter(frames.values())).case, names, Cine(pixels.reshape(whole), None), truth)


def _cavity_known(example: "Example") -> bool:
    return Structure.CAVITY in example.known


def _known(structure: Structure, own: Mapping[Place, "Example"], phases: int) -> NDArray[np.bool_]:
    """(phase,): phases at which the structure was labelled in all frames."""
    at = [[structure in frame.known for (p, _), frame in own.items() if p == phase] for phase in range(phases)]
    return np.array([bool(every) and all(every) for every in at])
