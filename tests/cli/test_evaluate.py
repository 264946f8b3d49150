"""`cinesax evaluate` with networks, exams and masks of other programs, and the report that it writes."""

import csv
import json
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import labelled
from cinesax.cli.main import main
from cinesax.core.errors import InputError
from cinesax.core.structures import Structure
from cinesax.evaluate.trained_on import read_trained_on
from cinesax.formats import nifti, pairs
from cinesax.formats.contours import write_contours
from cinesax.formats.nifti.labels import read_labels
from cinesax.network.bundle import open_bundle
from cinesax.network.fingerprint import Overlap, fingerprint
from cinesax.phantom import draw_settings, make_phantom


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(draw_settings(5, n_phases=8, matrix=(96, 96), spacing_mm=(2.2, 2.2), edv_ml=150.0))


@pytest.fixture(scope="module")
def pair_folder(phantom, tmp_path_factory) -> Path:
    """Two phases of every slice of one phantom, as three patients' pairs."""
    folder = tmp_path_factory.mktemp("pairs")
    for case in ("A", "B", "C"):
        for phase, name in ((0, "ed"), (3, "es")):
            for index in range(phantom.cine.n_slices):
                frame, truth = phantom.cine.pixels[phase, index], phantom.truth.labels[phase, index]
                grey = np.clip(frame * (255.0 / frame.max()), 0, 255).astype(np.uint8)
                labelled.write_pair(folder, f"{case}_{name}_slice{index}", grey, truth == Structure.CAVITY)
    return folder


def copy_masks(source: Path, target: Path, *, value: int = 255, shift: int = 0) -> Path:
    target.mkdir()
    for pair in pairs.read_pairs(source):
        mask = np.roll(pairs.load_label(pair.label), shift, axis=1)
        pairs.Image.fromarray(mask.astype(np.uint8) * np.uint8(value)).save(target / f"{pair.name}.png")
    return target


def evaluated(tmp_path: Path, *arguments: str) -> dict:
    scores = tmp_path / "scores.json"
    assert main(["evaluate", *arguments, "--json", str(scores)]) == 0
    written = json.loads(scores.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    check_schema(written)
    return written


def check_schema(written: dict) -> None:
    """What readers of cinesax/evaluation/1 rely on, whatever was evaluated."""
    assert written["schema"] == "cinesax/evaluation/1"
    dice = np.array([one["dice"] for one in written["slices"]])
    assert written["n"] == len(dice) == len({one["name"] for one in written["slices"]}) > 0
    expected = {"mean": dice.mean(), "median": np.median(dice), "std": dice.std(), "min": dice.min()}
    assert written["dice"] == pytest.approx(expected)
    assert set(written["cases"]) == {one["case"] for one in written["slices"]}
    for case, figures in written["cases"].items():
        own = [one["dice"] for one in written["slices"] if one["case"] == case]
        assert (figures["n"], figures["dice_mean"]) == (len(own), pytest.approx(np.mean(own)))


def test_masks_of_another_program_are_compared_with_pairs(pair_folder, tmp_path, capsys):
    masks = copy_masks(pair_folder, tmp_path / "masks", shift=1)
    written = evaluated(tmp_path, "--data", str(pair_folder), "--masks", str(masks))
    assert written["n"] == len(pairs.read_pairs(pair_folder)) and set(written["cases"]) == {"A", "B", "C"}
    assert 0.8 < written["dice"]["mean"] < 1 and written["groups"]["with LV"]["hd95_median"] == 1
    assert written["agreement"]["ef_percent"]["bias"] == pytest.approx(0)
    assert written["in_sample"] == {} and "IN-SAMPLE" not in capsys.readouterr().out


def test_masks_whose_origin_is_not_told_are_not_called_out_of_sample(pair_folder, tmp_path, capsys):
    few, report = tmp_path / "few", tmp_path / "report.html"
    for pair in pairs.read_pairs(pair_folder):
        if pair.name.endswith("_ed_slice4"):
            labelled.write_pair(few, pair.name, *pairs.load(pair))
    data = ["--data", str(few), "--masks", str(copy_masks(few, tmp_path / "masks")), "--html", str(report)]
    written = evaluated(tmp_path, *data)
    assert written["training_known"] is False
    assert "overlap with training: NOT KNOWN" in capsys.readouterr().out.replace("\n", " ")
    assert "Its training data are not known" in report.read_text()

    listed = tmp_path / "trained.txt"
    listed.write_text("# what the other program learned from\nB  # by mistake\nX\n")
    written = evaluated(tmp_path, *data, "--trained-on", str(listed))
    assert (written["training_known"], written["in_sample"]) == (True, {"B": "patient"})
    assert "learned from 1 of these 3 patients" in capsys.readouterr().out.replace("\n", " ")
    assert "Its training data are not known" not in report.read_text() and "IN-SAMPLE" in report.read_text()

    listed.write_text("X\n")
    assert evaluated(tmp_path, *data, "--trained-on", str(listed))["in_sample"] == {}
    assert "overlap with training: none among" in capsys.readouterr().out


def test_what_was_learned_from_is_read_as_people_have_it(pair_folder, tmp_path):
    one = next(pair for pair in pairs.read_pairs(pair_folder) if pair.name == "C_ed_slice3")
    image = fingerprint(pairs.load_image(one.image))
    for number, (text, cases, images) in enumerate(
        [
            (f"C\n{image}\n", {"C"}, (image,)),
            (json.dumps(["A", image]), {"A"}, (image,)),
            (json.dumps({"cases": ["A"], "images": [image]}), {"A"}, (image,)),
            (json.dumps({"schema": "cinesax/bundle/1", "training": {"cases": ["A", "B"]}}), {"A", "B"}, ()),
        ]
    ):
        path = tmp_path / f"list-{number}"
        path.write_text(text)
        known = read_trained_on(path)
        assert (known.cases, known.images) == (cases, images)
    assert read_trained_on(tmp_path / "list-0").overlap("Z", pairs.load_image(one.image)) is Overlap.IMAGE
    for text, words in (
        ("", "lists no patient"),
        ("{", "is not valid JSON"),
        ('{"cases": [1]}', "expected a list of texts"),
    ):
        (tmp_path / "bad").write_text(text)
        with pytest.raises(InputError, match=words):
            read_trained_on(tmp_path / "bad")
    with pytest.raises(InputError, match="cannot be read"):
        read_trained_on(tmp_path)


def test_a_mask_that_is_not_there_is_nothing_found(pair_folder, tmp_path, capsys):
    masks = copy_masks(pair_folder, tmp_path / "masks", value=3)
    for path in masks.glob("A_*"):
        path.unlink()
    written = evaluated(tmp_path, "--data", str(pair_folder), "--masks", str(masks), "--mask-value", "3")
    with_lv = written["groups"]["with LV"]
    assert with_lv["misses"] == with_lv["n"] / 3 and written["cases"]["B"]["dice_mean"] == 1
    assert "have no mask" in capsys.readouterr().out


@pytest.fixture(scope="module")
def exams(phantom, tmp_path_factory) -> Path:
    """The phantom as one NIfTI exam, its truth as contour files and as labels."""
    folder = tmp_path_factory.mktemp("exams")
    (folder / "cine").mkdir()
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ phantom.cine.grid.affine_lps()
    image = nib.Nifti1Image(phantom.cine.pixels.transpose(3, 2, 1, 0).astype(np.int16), affine)
    image.header.set_zooms((*image.header.get_zooms()[:3], 0.1))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, folder / "cine" / "P1.nii.gz")
    (folder / "truth").mkdir()
    nifti.write_segmentation(phantom.truth, phantom.cine, folder / "truth" / "P1.nii.gz")
    from cinesax.inputs import open_cine

    cine = open_cine(folder / "cine" / "P1.nii.gz")
    write_contours(read_labels(folder / "truth" / "P1.nii.gz", cine), cine, folder / "found" / "P1")
    return folder


def test_exams_are_compared_in_mm_and_ml_and_by_the_challenge(exams, phantom, tmp_path, capsys):
    data = ["--data", str(exams / "cine"), "--contours", str(exams / "truth")]
    written = evaluated(tmp_path, *data, "--masks", str(exams / "found"))
    assert written["n"] == phantom.cine.n_phases * phantom.cine.n_slices
    assert {s["unit"] for s in written["slices"]} == {"mm"} and written["dice"]["min"] > 0.9
    function = written["functions"]["P1"]
    assert function["basis"] == "volumes" and function["ed_error_percent"] == pytest.approx(0, abs=2)
    case = written["miccai2009"]["P1"]
    assert case["good_percent"] == 100 and case["dice"] > 0.95
    # The challenge leaves slices out of EDV that have no contour at ES.
    assert 0.6 < case["manual"]["edv_ml"] / function["truth"]["edv_ml"] < 0.95
    assert case["manual"]["esv_ml"] == pytest.approx(function["truth"]["esv_ml"], rel=0.01)
    assert "MICCAI 2009, P1" in capsys.readouterr().out


def test_the_report_stands_alone_and_shows_the_worst_slices(pair_folder, tmp_path, capsys):
    masks = copy_masks(pair_folder, tmp_path / "masks", shift=3)
    report, lines = tmp_path / "report.html", tmp_path / "slices.csv"
    arguments = ["--data", str(pair_folder), "--masks", str(masks), "--html", str(report), "--csv", str(lines)]
    assert main(["evaluate", *arguments, "--worst", "0"]) == 0
    page = report.read_text()
    assert not re.findall(r"(?:src|href)=\"(?!data:)[^\"]*", page) and "://" not in page
    assert page.count("<figure>") >= 24 and page.count("data:image/webp") == 24
    slices = list(csv.DictReader(lines.read_text().splitlines()))
    worst = min(slices, key=lambda row: float(row["dice"]))
    assert (
        worst["name"] in page
        and "Bland and Altman" in page
        and not re.search(r"\bnan\b", page.lower().split("data:image")[0])
    )
    assert page.count("<circle") >= 2 * sum(int(row["truth_px"]) > 0 for row in slices)
    assert "Worst slices" not in capsys.readouterr().out


def test_the_shipped_network_is_marked_where_it_has_learned_from_a_patient(pair_folder, tmp_path, capsys):
    renamed = tmp_path / "pairs"
    for pair in pairs.read_pairs(pair_folder)[:6]:
        image, label = pairs.load(pair)
        labelled.write_pair(renamed, pair.name.replace("A_", "SC-HF-I-01_"), image, label)
    written = evaluated(tmp_path, "--data", str(renamed), "--threads", "1")
    assert written["in_sample"] == {"SC-HF-I-01": "patient"} and written["training_known"] is True
    assert "IN-SAMPLE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("training", "known"),
    [({"cases": [], "images": [], "phantoms": 400}, True), ({"dataset": "a set"}, False), ({}, False)],
)
def test_a_network_of_phantoms_alone_has_said_so(training, known, pair_folder, tmp_path, capsys):
    bundle, few = shutil.copytree(open_bundle().folder, tmp_path / "bundle"), tmp_path / "few"
    manifest = json.loads((bundle / "bundle.json").read_text())
    (bundle / "bundle.json").write_text(json.dumps(manifest | {"training": training}))
    pair = pairs.read_pairs(pair_folder)[0]
    labelled.write_pair(few, pair.name, *pairs.load(pair))
    written = evaluated(tmp_path, "--data", str(few), "--model", str(bundle), "--threads", "1")
    assert written["training_known"] is known
    assert ("NOT KNOWN" in capsys.readouterr().out) is not known


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--masks", "absent"], 3, "absent is not a folder"),
        (["--masks", ".", "--model", "default"], 2, "runs no network"),
        (["--mask-value", "3"], 2, "needs --masks"),
        (["--contours", "absent"], 3, "absent is not a folder"),
        (["--contours", "."], 3, "no exam of"),
        (["--phases", "0"], 2, "at least 1"),
        (["--trained-on", "absent"], 3, "absent cannot be read"),
        (["--split", "slices-3"], 2, "for prepared sets"),
        (["--split-seed", "3"], 2, "needs a named --split"),
        (["--json", "scores.csv"], 2, "--json writes JSON, and scores.csv ends with .csv: end it with .json"),
        (["--csv", "scores.XLSX"], 2, "--csv writes CSV, and scores.XLSX ends with .xlsx: end it with .csv"),
        (["--html", "report.pdf"], 2, "--html writes HTML, and report.pdf ends with .pdf: end it with .html"),
        (["--html", "absent/report.htm"], 7, "there is no folder absent; make it first"),
        (["--json", "."], 7, ". cannot be written: it is a folder; --json names a file"),
        (["--json", "scores", "--csv", "scores"], 2, "--json and --csv both name scores: give each a file of its own"),
        (["--json", "scores", "--csv", "made/../scores"], 2, "--json and --csv both name made/../scores: give each"),
    ],
)
def test_what_cannot_be_meant_is_one_line(arguments, code, words, pair_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "made").mkdir()
    assert main(["evaluate", "--data", str(pair_folder), *arguments]) == code
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and words in error and "Traceback" not in error


def test_a_mask_of_another_size_or_without_meaning_is_refused(pair_folder, tmp_path, capsys):
    masks = copy_masks(pair_folder, tmp_path / "masks")
    name = pairs.read_pairs(pair_folder)[0].name
    for mask, words in (
        (np.zeros((5, 5), np.uint8), "has shape"),
        (np.full((96, 96), 7, np.uint8), "holds the values"),
    ):
        pairs.Image.fromarray(mask).save(masks / f"{name}.png")
        assert main(["evaluate", "--data", str(pair_folder), "--masks", str(masks)]) == 3
        assert words in capsys.readouterr().err
