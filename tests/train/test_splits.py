"""Splits by name: the course's own, by slice, by patient, by fold; and what the leak check says of them."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from cinesax.core.errors import DatasetError  # noqa: E402
from cinesax.network.framing import Framing  # noqa: E402
from cinesax.train.data.examples import Example, Kind, from_pairs  # noqa: E402
from cinesax.train.data.leaks import LIMIT, Seen, find_leaks, fine_structure, likeness, patient_key  # noqa: E402
from cinesax.train.data.records import Dataset, write_dataset  # noqa: E402
from cinesax.train.data.splits import equal_numbers, split_examples  # noqa: E402


def _examples(sizes: dict[str, int], *, phantoms: int = 0, empty: int = 0) -> Iterator[Example]:
    image, label = np.zeros((32, 32), np.uint16), np.zeros((32, 32), np.uint8)
    full = label.copy()
    full[8:20, 8:20] = 1
    for case, size in sizes.items():
        for number in range(size):
            yield Example(f"{case}-{number}", case, Kind.PAIRS, image, full)
    for number in range(phantoms):
        yield Example(f"PHANTOM-{number}", f"PHANTOM-{number}", Kind.PHANTOM, image, full)
    for number in range(empty):
        yield Example(f"empty-{number}", next(iter(sizes)), Kind.STUDY, image, label)


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Dataset:
    """As many slices of each patient as the course's data have, phantoms, and frames without LV."""
    counts = (18, 18, 20, 18, 20, 20, 20, 18, 12, 13, 18, 18, 17, 17, 13)
    examples = _examples({f"P{n:02d}": count for n, count in enumerate(counts)}, phantoms=9, empty=14)
    return write_dataset({"train": examples}, tmp_path_factory.mktemp("sets") / "course", framing=Framing())


def test_the_split_of_the_course(course):
    split = split_examples(course, "course-234-26")
    assert (len(split.train), len(split.held_out)) == (234, 26)
    assert not set(split.train) & set(split.held_out)
    assert not any(name.startswith(("PHANTOM", "empty")) for name in (*split.train, *split.held_out))
    assert len(split.shared_cases) >= 10  # nearly every patient is on both sides
    assert split == split_examples(course, "course-234-26")
    assert split.held_out != split_examples(course, "course-234-26", seed=1).held_out


def test_as_many_slices_by_patient(course):
    for seed in range(5):
        split = split_examples(course, "patients-26", seed=seed)
        assert (len(split.train), len(split.held_out)) == (234, 26) and split.shared_cases == ()
    held = {split_examples(course, "patients-50", seed=seed).held_out for seed in range(5)}
    assert len(held) > 1 and {len(one) for one in held} == {50}


def test_numbers_that_no_patients_make_are_thinned_to_be_equal(tmp_path):
    sizes = {"A": 7, "B": 7, "C": 7, "D": 7}
    dataset = write_dataset({"train": _examples(sizes)}, tmp_path / "set", framing=Framing())
    by_patient, by_slice = (split_examples(dataset, name) for name in ("patients-10", "slices-10"))
    assert (len(by_patient.train), len(by_patient.held_out), by_patient.shared_cases) == (14, 10, ())
    assert (len(by_slice.train), len(by_slice.held_out)) == (18, 10)
    equal = equal_numbers(dataset, by_patient, by_slice, seed=3)
    assert [(len(one.train), len(one.held_out)) for one in equal] == [(14, 10)] * 2
    assert set(equal[1].train) < set(by_slice.train)


def test_a_fold_by_name_is_the_fold(course):
    split = split_examples(course, "fold-1")
    assert len(split.train) + len(split.held_out) == course.manifest.counts["train"]
    assert {name.rpartition("-")[0] for name in split.held_out} - {"empty"} <= set(
        course.cases("train", fold=1, held_out=True)
    )
    assert sum(name.startswith("PHANTOM") for name in split.train) == 9 and split.shared_cases == ()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("random", "no split 'random': expected one of course-234-26, slices-N"),
        ("fold-9", "no fold 9"),
        ("fold-3", "no fold 3: .* has folds 0 to 2"),
        (
            "slices-260",
            "cannot be drawn from 260 labelled slices .*phantoms do not count.: give slices-1 to slices-259",
        ),
        ("patients-0", "cannot be drawn"),
        (
            "patients-255",
            "leaves no patient to train on: there are 15 patients with 260 labelled slices; give a smaller",
        ),
    ],
)
def test_splits_that_cannot_be(course, name, words):
    with pytest.raises(DatasetError, match=words):
        split_examples(course, name)


def test_the_split_of_the_course_needs_the_slices_of_the_course(discs):
    with pytest.raises(DatasetError, match="needs the 260 labelled slices .* use slices-26"):
        split_examples(discs, "course-234-26")


def test_spellings_of_one_patient():
    keys = {patient_key(name) for name in ("SC-HF-I-1", "SC-HF-I-01", "sc_hf_i_001", "SCHFI1")}
    assert len(keys) == 2 and patient_key("SC-HF-I-10") not in keys


@pytest.mark.parametrize("size", [256, 200])
def test_likeness_is_blind_to_what_leaves_an_image_the_same(size):
    rng = np.random.default_rng(0)
    image = np.clip(np.kron(rng.normal(30_000, 6_000, (size // 8, size // 8)), np.ones((8, 8))), 0, 65_535)
    other = np.clip(np.kron(rng.normal(30_000, 6_000, (size // 8, size // 8)), np.ones((8, 8))), 0, 65_535)

    def alike(changed: np.ndarray) -> float:
        return likeness(fine_structure(image.astype(np.uint16)), fine_structure(changed.astype(np.uint16)))

    assert alike(image) == pytest.approx(1, abs=1e-4)
    for changed in (image // 256 * 256, image.T, image[::-1], image * 0.5 + 9_000, np.roll(image, 8, axis=1)):
        assert alike(changed) > 0.8
    assert alike(other) < LIMIT / 2
    assert alike(np.zeros_like(image)) == 0


@pytest.fixture(scope="module")
def real(sunnybrook) -> tuple[list[Seen], np.ndarray]:
    seen, fine = [], []
    for split in ("train", "validation"):
        for example in from_pairs(sunnybrook / split, Framing()):
            seen.append(Seen(example.name, example.case, example.kind, split))
            fine.append(fine_structure(example.image))
    return seen, np.array(fine)


@pytest.mark.data
def test_real_patients_are_told_apart_and_real_copies_found(real):
    seen, fine = real[0][::2], real[1][::2]
    assert find_leaks(seen, fine) == []
    # Ten images of the validation patients come back in training under another name, disturbed.
    rng = np.random.default_rng(1)
    chosen = rng.choice([i for i, one in enumerate(seen) if one.side == "validation"], 10, replace=False)
    noise = rng.normal(0, 0.004, (10, 64, 64)).astype(np.float32)
    copies = np.roll(fine[chosen][:, :, ::-1], (3, -2), (1, 2)) + noise
    twins = [Seen(f"copy of {seen[i].name}", f"copy {n}", Kind.PAIRS, "train") for n, i in enumerate(chosen)]
    leaks = find_leaks([*seen, *twins], np.concatenate([fine, copies]))
    assert {leak.cases[0] for leak in leaks} == {one.case for one in twins}
    for leak in leaks:
        assert leak.likeness >= LIMIT and leak.pairs >= 1
    exact = [leak for leak in leaks if leak.names[0] == f"copy of {leak.names[1]}"]
    assert len(exact) >= 8  # of the others, a neighbour in time is the most alike


@pytest.mark.data
def test_what_the_split_of_the_course_hides(real, tmp_path):
    seen, fine = real
    # A split looks at names and patients only: blank pictures under the real names serve.
    blank = next(_examples({"blank": 1}))
    examples = [replace(blank, name=one.name, case=one.case) for one in seen if one.side == "train"]
    dataset = write_dataset({"train": examples}, tmp_path / "set", framing=Framing())
    index = {one.name: i for i, one in enumerate(seen)}
    copies = {}
    for name in ("course-234-26", "patients-26"):
        split = split_examples(dataset, name)
        sides = {**dict.fromkeys(split.train, "training"), **dict.fromkeys(split.held_out, "held out")}
        members = [Seen(one, seen[index[one]].case, Kind.PAIRS, side) for one, side in sides.items()]
        copies[name] = find_leaks(members, fine[[index[one] for one in sides]])
    assert copies["patients-26"] == []
    with_images = [leak for leak in copies["course-234-26"] if leak.pairs]
    assert len(with_images) >= 10 and all(leak.cases[0] == leak.cases[1] for leak in with_images)
