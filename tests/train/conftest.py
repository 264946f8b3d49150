"""A small prepared set and a short training on it, made once."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs the train extra: pip install '.[train]'")

import keras  # noqa: E402

from cinesax.network.framing import Framing  # noqa: E402
from cinesax.train.data.augment import Augmentation  # noqa: E402
from cinesax.train.data.examples import Example, Kind, from_phantoms  # noqa: E402
from cinesax.train.data.pipeline import PipelineConfig  # noqa: E402
from cinesax.train.data.records import Dataset, open_dataset, write_dataset  # noqa: E402
from cinesax.train.export.bundle import export  # noqa: E402
from cinesax.train.fit.runs import NETWORK, save_network  # noqa: E402
from cinesax.train.fit.train import Execution, TrainConfig, train  # noqa: E402
from cinesax.train.nets import FCNConfig, UNetConfig, build  # noqa: E402
from shared import made_once  # noqa: E402


def disc_example(case: str, number: int, kind: Kind = Kind.PAIRS) -> Example:
    """A bright disc with a darker ring on noise; the disc is the cavity."""
    rng = np.random.default_rng((ord(case), number))
    rows, columns = np.indices((256, 256))
    centre, radius = rng.uniform(90, 166, 2), rng.uniform(12, 30)
    far = np.hypot(rows - centre[0], columns - centre[1])
    image = 0.3 + 0.5 * (far < radius) - 0.2 * ((far >= radius) & (far < radius + 8)) + rng.normal(0, 0.02, far.shape)
    return Example(
        name=f"{case}-{number}",
        case=case,
        kind=kind,
        image=(np.clip(image, 0, 1) * 65535).astype(np.uint16),
        label=(far < radius).astype(np.uint8),
        slice=number,
        phase=3,
        spacing_mm=(1.4, 1.4) if kind is Kind.STUDY else None,
    )


def disc_examples() -> list[Example]:
    kinds = {"A": Kind.STUDY, "B": Kind.STUDY, "C": Kind.PAIRS, "D": Kind.PAIRS}
    return [disc_example(case, number, kind) for case, kind in kinds.items() for number in range(4)]


@pytest.fixture(scope="session")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """16 images of 4 patients and 4 of a phantom for training, 4 for validation."""
    return open_dataset(made_once(tmp_path_factory, "discs", write_discs))


def write_discs(folder: Path) -> None:
    framing = Framing()
    phantoms = list(from_phantoms([5], framing, frames_each=4))
    validation = [disc_example("V", number) for number in range(4)]
    splits = {"train": disc_examples() + phantoms, "validation": validation}
    write_dataset(splits, folder, framing=framing, folds=2, seed=0)


TINY = TrainConfig(
    model=UNetConfig(channels=(8, 16, 24), stem=8, dropout=0.0),
    pipeline=PipelineConfig(
        batch=8, crop=96, phantom_share=0.1, augmentation=Augmentation(noise=0.02, bias_field=0.05)
    ),
    epochs=4,
    steps=25,
    learning_rate=1e-2,
    warmup_steps=5,
    average=0.8,
    validate_every=2,
    xla=False,
)


@pytest.fixture(scope="session")
def run_folder(discs: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training of a tiny network."""
    return made_once(tmp_path_factory, "tiny", lambda folder: train(discs, folder, TINY, fold=0))


@pytest.fixture(scope="session")
def tiny_bundle(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a bundle. Do not write into it."""
    scores = {"held out": {"dice": 0.5}}
    return made_once(tmp_path_factory, "tiny bundle", lambda folder: export(run_folder, folder, scores=scores))


# For everything that is not about what is learned: a training of 6 steps, most of whose time is building its graph.
QUICK = replace(
    TINY,
    model=FCNConfig(channels=(4,), bottom=(4,), kernel=3, dropout=0.1),
    pipeline=replace(TINY.pipeline, crop=32, batch=4),
    epochs=3,
    steps=2,
    learning_rate=1e-3,
)

# Step by step: building a graph takes longer than the few steps of most tests.
EAGER = Execution(eager=True)


@pytest.fixture(scope="session")
def quick_run(discs: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training of the quickest network."""
    return made_once(tmp_path_factory, "quick", lambda folder: train(discs, folder, QUICK, fold=0))


def untrained(run: Path, folder: Path, config: TrainConfig) -> Path:
    """A copy of a finished run, as if of another config, with a network of random weights.

    For tests of what becomes of a network, whatever it has learned: it takes a tenth of the time of a training.
    """
    shutil.copytree(run, folder)
    record = json.loads((folder / "config.json").read_text())
    record["config"] = config.to_dict()
    (folder / "config.json").write_text(json.dumps(record))
    keras.utils.set_random_seed(1)
    save_network(build(config.model), folder / NETWORK)
    return folder
