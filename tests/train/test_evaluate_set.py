"""Evaluation on a prepared set: examples become the studies that they are of, and go the way that pairs go."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow")

import labelled
from cinesax.cli.main import main  # noqa: E402
from cinesax.core.errors import UsageError  # noqa: E402
from cinesax.core.structures import Structure  # noqa: E402
from cinesax.network.bundle import open_bundle  # noqa: E402
from cinesax.network.framing import Framing  # noqa: E402
from cinesax.phantom import draw_settings, render_frames  # noqa: E402
from cinesax.train.data.examples import Example, Kind, from_pairs  # noqa: E402
from cinesax.train.data.manifest import parse_classes  # noqa: E402
from cinesax.train.data.prepared import of_dataset  # noqa: E402
from cinesax.train.data.records import Dataset, write_dataset  # noqa: E402
from cinesax.train.data.splits import split_examples  # noqa: E402

CAVITY, WALL = Structure.CAVITY, Structure.MYOCARDIUM


def _example(case: str, phase: int, index: int, *, kind: Kind = Kind.STUDY, name: str | None = None) -> Example:
    image, label = np.full((32, 32), 100 * phase + index, np.uint16), np.zeros((32, 32), np.uint8)
    label[8:12, 8 : 10 + index] = CAVITY
    name = name or f"{case}-{phase}-{index}"
    return Example(name, case, kind, image, label, slice=index, phase=phase)


def _written(folder: Path, examples: list[Example], **options) -> Dataset:
    return write_dataset({"train": examples}, folder / "set", framing=Framing(), **options)


def test_frames_of_a_patient_are_one_study(tmp_path):
    places = [(0, 2), (0, 3), (0, 5), (9, 3), (9, 5)]
    examples = [_example("A", *place) for place in places] + [_example("B", 0, 1)]
    examples += [_example("P", phase, 4, kind=Kind.PHANTOM) for phase in (1, 2)]
    studies = list(of_dataset(_written(tmp_path, examples)))
    assert [(study.case, study.cine.pixels.shape) for study in studies] == [
        ("A", (2, 3, 32, 32)),
        ("B", (1, 1, 32, 32)),
        ("P", (1, 1, 32, 32)),
        ("P", (1, 1, 32, 32)),
    ]
    first = studies[0]
    expected = {(0, 0): "A-0-2", (0, 1): "A-0-3", (0, 2): "A-0-5", (1, 1): "A-9-3", (1, 2): "A-9-5"}
    assert first.names == expected
    for (phase, index), name in expected.items():
        _, in_beat, in_stack = name.split("-")
        assert np.all(first.cine.pixels[phase, index] == 100 * int(in_beat) + int(in_stack))
        assert np.count_nonzero(first.truth.labels[phase, index]) == 4 * (2 + int(in_stack))
    assert np.all(first.cine.pixels[1, 0] == 2) and not first.truth.labels[1, 0].any()  # seen there, not compared


def test_what_nobody_looked_for_is_not_compared(tmp_path):
    whole = _example("A", 0, 1)
    label = whole.label.copy()
    label[20:24, 20:24] = WALL
    both = replace(whole, label=label, known=frozenset({CAVITY, WALL}))
    examples = [
        both,
        replace(both, name="A-0-2", slice=2, label=np.where(label == CAVITY, 0, label), known=frozenset({WALL})),
        replace(_example("A", 7, 1), known=frozenset({CAVITY})),
    ]
    (study,) = of_dataset(_written(tmp_path, examples, classes=parse_classes(["lv_cavity", "myocardium"])))
    assert study.names == {(0, 0): "A-0-1", (1, 0): "A-7-1"}
    assert study.truth.known_phases[Structure.MYOCARDIUM].tolist() == [True, False]
    assert set(np.unique(study.truth.labels[0, 0])) == {0, CAVITY, WALL}


def test_two_frames_of_one_place_stay_apart(tmp_path):
    twice = [_example("A", 0, 1), _example("A", 0, 2), _example("A", 0, 1, name="again")]
    studies = list(of_dataset(_written(tmp_path, twice)))
    assert [list(study.names.values()) for study in studies] == [["A-0-1", "A-0-2"], ["again"]]


def test_what_a_split_by_name_holds_out(tmp_path):
    examples = [_example(case, phase, index) for case in "ABC" for phase in (0, 5) for index in range(4)]
    data = _written(tmp_path, examples)
    split = split_examples(data, "slices-6", seed=3)
    studies = list(of_dataset(data, "slices-6", seed=3))
    assert sorted(name for study in studies for name in study.names.values()) == list(split.held_out)
    assert len({study.case for study in studies}) == len(studies)
    folded = {name for study in of_dataset(data, "fold-1") for name in study.names.values()}
    assert folded == {name for study in of_dataset(data, "train", fold=1) for name in study.names.values()}
    with pytest.raises(UsageError, match="leave out the fold"):
        list(of_dataset(data, "slices-6", fold=1))


@pytest.fixture(scope="module")
def pair_folder(tmp_path_factory) -> Path:
    """Frames of phantoms, named as Sunnybrook names them: 20 phases a slice, ED and ES of three slices."""
    folder = tmp_path_factory.mktemp("pairs")
    for seed, case in ((3, "P-01"), (8, "P-02")):
        settings = draw_settings(seed, n_phases=20, matrix=(128, 128), spacing_mm=(1.4, 1.4))
        middle = settings.n_slices // 2
        frames = [(phase, index) for index in range(middle - 1, middle + 2) for phase in (0, 8)]
        images, labels = render_frames(settings, frames)
        for (phase, index), image, label in zip(frames, images, labels, strict=True):
            grey = np.round(255.0 * image / image.max()).astype(np.uint8)
            labelled.write_pair(folder, f"{case}-IM-0001-{20 * index + phase + 1:04d}", grey, label == Structure.CAVITY)
    return folder


def test_a_set_and_the_pairs_that_it_is_made_of_get_the_same_scores(pair_folder, tmp_path, capsys):
    framing = open_bundle().framing
    split = {"validation": from_pairs(pair_folder, framing)}
    data = write_dataset(split, tmp_path / "set", framing=framing)
    dices = {}
    for folder in (pair_folder, data.folder):
        scores = tmp_path / f"{folder.name}.json"
        assert main(["evaluate", "--data", str(folder), "--threads", "1", "--json", str(scores)]) == 0
        assert "rules are off" not in capsys.readouterr().out
        written = json.loads(scores.read_text())
        assert written["schema"] == "cinesax/evaluation/1" and written["n"] == len(written["slices"]) == 12
        assert set(written["dice"]) == {"mean", "median", "std", "min"}
        assert {case: figures["n"] for case, figures in written["cases"].items()} == {"P-01": 6, "P-02": 6}
        assert set(written["functions"]) == {"P-01", "P-02"}
        dices[folder] = {one["name"]: one["dice"] for one in written["slices"]}
    by_pairs, by_set = dices.values()
    assert by_set == pytest.approx(by_pairs, abs=0.02) and np.mean(list(by_set.values())) > 0.5


def test_a_fold_is_that_of_the_training(tmp_path):
    splits = {
        split: [_example(case, 0, 1) for case in cases] for split, cases in (("train", "ABCD"), ("validation", "VW"))
    }
    dataset = write_dataset(splits, tmp_path / "set", framing=Framing(), folds=2)
    for fold in (0, 1):
        held_out = dataset.cases("train", fold=fold, held_out=True)
        assert sorted(study.case for study in of_dataset(dataset, fold=fold)) == held_out and len(held_out) == 2
    assert [study.case for study in of_dataset(dataset)] == ["V", "W"]
    assert len(list(of_dataset(dataset, "validation", fold=0))) == 1


def test_options_that_do_not_fit_are_one_line(tmp_path, capsys):
    data = _written(tmp_path, [_example("A", 0, 1), _example("B", 0, 1)])
    for more, code, words in (
        (["--split-seed", "2"], 2, "--split-seed needs"),
        (["--split", "halves"], 3, "has no split 'halves'"),
        (["--split", "slices-9"], 3, "cannot be drawn from 2"),
    ):
        assert main(["evaluate", "--data", str(data.folder), *more]) == code
        assert words in capsys.readouterr().err
