"""Networks of several classes, by the commands alone: prepare, train, export, analyze."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

pytest.importorskip("tensorflow")
pytest.importorskip("ai_edge_litert", reason="needs the train extra")

import labelled
from cinesax.cli.main import main  # noqa: E402
from cinesax.core.cine import Cine  # noqa: E402
from cinesax.core.errors import InputError  # noqa: E402
from cinesax.core.grid import stacked_grid  # noqa: E402
from cinesax.core.structures import Structure  # noqa: E402
from cinesax.network.bundle import open_bundle  # noqa: E402
from cinesax.phantom.dicom import SeriesIdentity, write_series  # noqa: E402
from cinesax.train.export.bundle import export  # noqa: E402
from cinesax.train.export.files import export_files  # noqa: E402
from cinesax.train.export.formats import Format, Precision  # noqa: E402
from cinesax.train.export.parity import Slices, check, compare  # noqa: E402

SIDE, CROP, MM, DISTANCE_MM = 256, 96, 1.25, 8.0
GREYS = np.array([0.35, 0.9, 0.1, 0.6])
"""Of background, LV cavity, myocardium and RV: a network that sees nothing but brightness can tell them apart."""


def painted(rng: np.random.Generator, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """A frame of 8 bits and its label: a disc, a ring round it, and a disc beside it."""
    rows, columns = np.indices((SIDE, SIDE))
    row, column = rng.uniform(110, 146, 2)
    far = np.hypot(rows - row, columns - column)
    label = np.zeros((SIDE, SIDE), np.uint8)
    label[np.hypot(rows - row, columns - column + 64) < 20] = 3
    label[far < radius + 8] = 2
    label[far < radius] = 1
    grey = GREYS[label] + rng.normal(0, 0.02, label.shape)
    return np.round(np.clip(grey, 0, 1) * 250).astype(np.uint8), label


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A set of four classes, as one of ACDC is, by the command."""
    source, out = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("sets") / "set"
    for number in range(6):
        image, label = painted(np.random.default_rng(number), 26.0 + 1.5 * number)
        labelled.write_pair(source, f"P-{number % 3}-IM-0001-{number:04d}", image, label)
    words = ["--classes", "lv_cavity,myocardium,rv", "--jobs", "1", "--allow-leaks"]
    assert main(["prepare", str(source), "-o", str(out), *words]) == 0
    return out


@pytest.fixture(scope="module")
def whole_run(prepared: Path, tmp_path_factory) -> Path:
    """A network of two convolutions, taught for some seconds."""
    settings = {
        "model.channels": 8,
        "model.stem": "none",
        "model.dropout": 0,
        "pipeline.crop": CROP,
        "pipeline.jitter_px": "none",
        "pipeline.augmentation.blur_chance": 0,
        "pipeline.augmentation.gamma": 0,
        "pipeline.augmentation.gain": 0,
        "pipeline.augmentation.bias_field": 0,
        "learning_rate": 0.03,
        "warmup_steps": 5,
        "average": 0.9,
        "xla": "false",
    }
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    size = ["--epochs", "1", "--steps", "120", "--batch", "4", "--threads", "1"]
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert main(["train", str(prepared), "-o", str(out), *size, *words]) == 0
    return out


@pytest.fixture(scope="module")
def bundle(prepared, whole_run, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "bundle"
    words = ["--data", str(prepared), "--slices", "3", "--name", "four"]
    assert main(["export", str(whole_run), "-o", str(out), *words]) == 0
    return out


@pytest.fixture(scope="module")
def heart_run(whole_run, tmp_path_factory) -> Path:
    """The same network as if it had learned on crops round the heart: it goes by brightness, wherever it looks."""
    out = shutil.copytree(whole_run, tmp_path_factory.mktemp("runs") / "heart")
    config = json.loads((out / "config.json").read_text())
    config["config"]["pipeline"]["jitter_px"] = 4.0
    (out / "config.json").write_text(json.dumps(config))
    return out


@pytest.fixture(scope="module")
def two_passes(whole_run, heart_run, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "two"
    assert main(["export", str(heart_run), "--finder", str(whole_run), "-o", str(out), "--name", "two"]) == 0
    return out


@pytest.fixture(scope="module")
def exam(tmp_path_factory) -> Path:
    """Three slices of four phases as DICOM, the radius of the cavity 32, 28, 26 and 30 pixels."""
    out = tmp_path_factory.mktemp("exams") / "exam"
    frames = [[painted(np.random.default_rng(9), radius)[0] for _ in range(3)] for radius in (32, 28, 26, 30)]
    grid = stacked_grid(
        (0, 0, 0),
        spacing_mm=(MM, MM),
        slice_distance_mm=DISTANCE_MM,
        shape=(3, SIDE, SIDE),
        along_row=(0.8, 0.6, 0),  # across the usual long axis of the heart
        along_column=(-0.36, 0.48, -0.8),
    )
    times = np.tile(np.arange(4)[:, None] * 200.0, (1, 3))
    cine = Cine(np.array(frames, np.uint16), grid, trigger_times_ms=times, rr_intervals_ms=np.full(3, 800.0))
    write_series(cine, out, SeriesIdentity(number=100))
    return out


def analyzed(exam: Path, bundle: Path, out: Path) -> dict:
    assert main(["analyze", str(exam), "--model", str(bundle), "-o", str(out), "--dicom", "--threads", "1"]) == 0
    return json.loads((out / "analysis.json").read_text())["measurements"]


@pytest.mark.parametrize("which", ["bundle", "two_passes"])
def test_the_command_line_leads_from_labels_of_four_classes_to_the_mass(which, exam, tmp_path, request):
    measured = analyzed(exam, request.getfixturevalue(which), tmp_path / "out")
    wall, cavity = np.pi * (40**2 - 32**2), np.pi * 32**2
    to_ml = 3 * MM**2 * DISTANCE_MM / 1000
    assert measured["lv_mass_g"] == pytest.approx(1.05 * wall * to_ml, rel=0.1)
    assert measured["edv_ml"] == pytest.approx(cavity * to_ml, rel=0.05)
    assert measured["ef_percent"] == pytest.approx(100 * (1 - (26 / 32) ** 2), abs=3)
    labels = np.asarray(nib.load(tmp_path / "out" / "segmentation.nii.gz").dataobj)
    assert {0, 1, 2} <= set(np.unique(labels))
    outlines = sorted(path.name for path in (tmp_path / "out" / "contours").iterdir())
    assert [sum(f"-{letter}contour-" in name for name in outlines) for letter in "io"] == [12, 12]
    segments = [one.SegmentLabel for one in pydicom.dcmread(tmp_path / "out" / "seg_ed.dcm").SegmentSequence]
    assert segments == ["LV cavity, papillary muscles included", "LV myocardium", "RV cavity"]
    if which == "bundle":  # the crop of the other one is smaller than both ventricles
        assert measured["chambers"]["rv"]["edv_ml"] == pytest.approx(np.pi * 20**2 * to_ml, rel=0.1)
        assert set(np.unique(labels)) == {0, 1, 2, 3} and sum("-rcontour-" in name for name in outlines) == 12


def test_it_is_evaluated_like_any_other(bundle, prepared, tmp_path):
    scores = tmp_path / "scores.json"
    assert main(["evaluate", "--data", str(prepared), "--model", str(bundle), "--json", str(scores)]) == 0
    assert json.loads(scores.read_text())["dice"]["mean"] > 0.9


ACDC = {"1": "CAVITY", "2": "MYOCARDIUM", "3": "RV"}


def test_manifests_and_cards_name_the_classes(bundle, two_passes, whole_run, tmp_path):
    for folder in (bundle, two_passes):
        opened = open_bundle(folder)
        assert opened.classes == {1: Structure.CAVITY, 2: Structure.MYOCARDIUM, 3: Structure.RV_CAVITY}
        assert json.loads((folder / "bundle.json").read_text())["classes"] == ACDC
    folders = [bundle, two_passes]
    for kind, precisions in ((Format.SAVEDMODEL, ()), (Format.LITERT, (Precision.FLOAT16,))):
        folders.append(export_files(whole_run, tmp_path / kind, kind, precisions=precisions))
        assert json.loads((folders[-1] / "network.json").read_text())["classes"] == ACDC
    for folder in folders:
        card = " ".join((folder / "CARD.md").read_text().split())
        assert "cavity (papillary muscles included), LV myocardium and RV cavity in short-axis" in card
        assert "(0 background, 1 LV cavity, 2 LV myocardium, 3 RV cavity); the highest one counts" in card
        assert "draws no" not in card and "Sunnybrook" not in card


def with_classes(run: Path, out: Path, *names: str) -> Path:
    shutil.copytree(run, out)
    config = json.loads((out / "config.json").read_text())
    config["dataset"]["classes"] = ["background", *names]
    (out / "config.json").write_text(json.dumps(config))
    return out


def test_runs_of_other_classes_are_refused(whole_run, heart_run, tmp_path):
    blind = with_classes(whole_run, tmp_path / "blind", "myocardium", "rv")
    with pytest.raises(InputError, match="background, myocardium, rv, but not on the LV cavity"):
        export(blind, tmp_path / "bundle")
    finder = with_classes(whole_run, tmp_path / "finder", "lv_cavity")
    with pytest.raises(InputError, match="draws lv_cavity, but .* lv_cavity, myocardium, rv"):
        export(heart_run, tmp_path / "bundle", finder=finder)
    assert not (tmp_path / "bundle").exists()


def test_a_class_that_is_lost_counts_as_another_network():
    """Cavity and background as they were, and no myocardium any more."""
    label = np.zeros((2, 8, 8), int)
    label[:, 1:7, 1:7], label[:, 3:5, 3:5] = 2, 1

    def runner(shown: np.ndarray):
        return lambda images: (np.eye(3, dtype=np.float32)[shown], shown.astype(np.int32))

    nothing = np.zeros(label.shape, bool)
    slices = Slices(("a", "b"), np.zeros((2, 8, 8, 1), np.float32), nothing, nothing)
    compared = compare(runner(label), runner(np.where(label == 2, 0, label)), slices)
    assert compared.dice == 1 and compared.class_dice == (1, 0)
    with pytest.raises(InputError, match="mean Dice between both is 0.000"):
        check(compared, Precision.INT8, "graph")
    check(compare(runner(label), runner(label), slices), Precision.INT8, "graph")
