"""Walls that a network draws where experts drew only the cavity, and frames in systole that are shown more often."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from cinesax.core.errors import DatasetError  # noqa: E402
from cinesax.core.structures import Structure  # noqa: E402
from cinesax.network.bundle import open_bundle  # noqa: E402
from cinesax.network.framing import Framing  # noqa: E402
from cinesax.train.data.examples import UNKNOWN, Example, Kind  # noqa: E402
from cinesax.train.data.pipeline import PipelineConfig, _polar, training_batches  # noqa: E402
from cinesax.train.data.records import by_index, read_examples, verify, write_dataset  # noqa: E402
from cinesax.train.fit.self_training import label_walls  # noqa: E402
from tests.train.conftest import disc_example  # noqa: E402

CLASSES = (Structure.CAVITY, Structure.MYOCARDIUM)
ROWS, COLUMNS = np.indices((256, 256))
SHOWN_WALL = 0.4


def ring(case: str, place: int, phase: int, radii: tuple[float, float]) -> Example:
    """A cavity in a wall, of which the experts drew the wall at phase 0 only."""
    far = np.hypot(ROWS - 120, COLUMNS - 130)
    cavity, wall = far < radii[0], (far >= radii[0]) & (far < radii[1])
    image = 0.1 + 0.7 * cavity + (SHOWN_WALL - 0.1) * wall
    known = frozenset(CLASSES if phase == 0 else CLASSES[:1])
    label = cavity + np.uint8(Structure.MYOCARDIUM) * (wall & (phase == 0))
    pixels = (image * 65535).astype(np.uint16)
    facts = {"case": case, "kind": Kind.PAIRS, "known": known, "slice": place, "phase": phase}
    return Example(name=f"{case}-{place}-{phase}", image=pixels, label=label.astype(np.uint8), **facts)


class Drawer:
    """Takes all that is not dark for LV, and counts the images that it was shown."""

    def run(self, images: np.ndarray) -> np.ndarray:
        assert images.shape[1:] == (128, 128, 3)
        left = (images[..., 1] > SHOWN_WALL / 2).astype(np.float32)
        return np.stack([1 - left, 0 * left, left, 0 * left], axis=-1)


def rim_of_rays(dataset) -> float:
    """The mean thickness of wall that augmentation assumes in the frames with a rim."""
    rims = [one for one in read_examples(dataset, "train") if np.any(one.label == UNKNOWN)]
    known = [1 | 1 << 1 | 1 << 2] * len(rims)
    inner, outer = np.split(_polar(dataset, [by_index(one.label, CLASSES) for one in rims], known)[:, 2:], 4, axis=1)[
        :2
    ]
    return float((outer - inner).mean())


@dataclass
class Network:
    bundle = open_bundle()
    refiner = Drawer()


@pytest.fixture(scope="module")
def walls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    same = [ring("A", place, phase, ((30, 40), (20, 33.2))[phase]) for place in range(3) for phase in (0, 1)]
    thin = [ring("B", place, phase, ((30, 40), (20, 24))[phase]) for place in range(3) for phase in (0, 1)]
    dataset = write_dataset({"train": same + thin}, folder / "set", framing=Framing(), classes=CLASSES, folds=2)
    return dataset, *label_walls(dataset, folder / "walls", Network())


def test_the_wall_is_drawn_outside_of_the_experts_cavity(walls):
    before, new, report = walls
    verify(new)
    drawn, old = ({one.name: one for one in read_examples(some, "train")} for some in (new, before))
    assert report.labelled == 3 and list(drawn) == list(old)
    for place in range(3):
        one = drawn[f"A-{place}-1"]
        assert one.known == frozenset(CLASSES)
        np.testing.assert_array_equal(one.label == Structure.CAVITY, old[one.name].label == Structure.CAVITY)
        assert np.count_nonzero(one.label == Structure.MYOCARDIUM) == pytest.approx(np.pi * (33.2**2 - 20**2), rel=0.02)
    assert new.manifest.walls_drawn_by == f"{Network.bundle.name} {Network.bundle.version}"
    assert new.manifest.splits == before.manifest.splits and new.manifest.cases["A"].fold is not None


def test_a_wall_of_another_volume_than_at_ed_is_not_taken(walls):
    _, new, report = walls
    assert list(report.refused) == ["B"] and report.refused["B"] == pytest.approx(0.25, abs=0.02)
    systole = [one for one in read_examples(new, "train", ["B"]) if one.phase == 1]
    assert sum(one.known == frozenset(CLASSES[:1]) for one in systole) == 2  # and one of three gets a rim, see below


def test_a_refused_patient_gets_a_rim_of_wall_below_the_base(tmp_path):
    radii = (34, 31, 28, 24, 19)
    stack = [
        ring("B", place, phase, (radii[place] - 9 * phase, radii[place] - 5)) for place in range(5) for phase in (0, 1)
    ]
    dataset = write_dataset({"train": stack}, tmp_path / "set", framing=Framing(), classes=CLASSES, folds=2)
    new, report = label_walls(dataset, tmp_path / "walls", Network())
    assert list(report.refused) == ["B"] and (report.labelled, report.rims) == (0, 3)
    old = {one.name: one for one in read_examples(dataset, "train")}
    for one in read_examples(new, "train"):
        before = old[one.name]
        if one.phase == 0 or one.slice < 2:
            assert one.known == before.known
            np.testing.assert_array_equal(one.label, before.label)
            continue
        assert one.known == frozenset(CLASSES)
        away = np.hypot(ROWS - 120, COLUMNS - 130) - (radii[one.slice] - 9)
        assert np.all(one.label[away < -0.8] == Structure.CAVITY)
        assert np.all(one.label[(away > 0.2) & (away < 1)] == Structure.MYOCARDIUM)
        assert np.all(one.label[(away > 3) & (away < 8)] == UNKNOWN) and np.all(one.label[away > 10] == 0)
    verify(new)
    # A rim is not the wall: hearts are reshaped as if none were drawn.
    assert rim_of_rays(new) == pytest.approx(8.0)


def test_what_an_expert_drew_stays(walls):
    before, new, _ = walls
    for one, other in zip(read_examples(new, "train"), read_examples(before, "train"), strict=True):
        if other.phase == 0:
            np.testing.assert_array_equal(one.label, other.label)


def test_a_set_without_the_wall_is_refused(tmp_path):
    dataset = write_dataset({"train": [disc_example("A", 0)]}, tmp_path / "set", framing=Framing())
    with pytest.raises(DatasetError, match="needs lv_cavity and myocardium"):
        label_walls(dataset, tmp_path / "walls", Network())
    assert not (tmp_path / "walls").exists()


def test_a_set_in_which_no_wall_is_missing_is_refused(tmp_path):
    whole = [ring("A", place, 0, (20, 28)) for place in range(2)]
    dataset = write_dataset({"train": whole}, tmp_path / "set", framing=Framing(), classes=CLASSES, folds=2)
    with pytest.raises(DatasetError, match="has a cavity without a wall: there is no wall to draw"):
        label_walls(dataset, tmp_path / "walls", Network())
    assert not (tmp_path / "walls").exists()


def test_frames_in_systole_are_drawn_more_often(walls):
    dataset = walls[0]
    config = PipelineConfig(batch=200, augmentation=None)

    def share(weight: float) -> float:
        batches = training_batches(dataset, dataset.cases("train"), replace(config, systole_weight=weight), seed=1)
        labels = next(iter(batches))[1].numpy()
        return float(np.mean(labels[..., 1].sum(axis=(1, 2)) < np.pi * 25**2))

    assert share(1) == pytest.approx(0.5, abs=0.1)
    assert share(3) == pytest.approx(0.75, abs=0.08)
