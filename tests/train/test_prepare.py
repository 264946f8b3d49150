"""Sets made of sources: the same files whoever writes them, whole or not at all, and no leak unseen."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow")

import labelled
from cinesax.cli.main import main  # noqa: E402
from cinesax.network.framing import Framing  # noqa: E402
from cinesax.train.data.prepare import prepare  # noqa: E402
from cinesax.train.data.records import verify  # noqa: E402
from cinesax.train.data.sources import PairsSource, find_sources, phantom_sources  # noqa: E402


def _picture(seed: int) -> np.ndarray:
    """Structure of all sizes, as an image has; no two seeds alike."""
    rng = np.random.default_rng(seed)
    coarse = np.kron(rng.normal(0, 1, (16, 16)), np.ones((8, 8))) + np.kron(rng.normal(0, 1, (32, 32)), np.ones((4, 4)))
    return np.clip(128 + 40 * coarse, 0, 255).astype(np.uint8)


def _pairs(folder: Path, cases: dict[str, int], *, each: int = 2) -> Path:
    for case, seed in cases.items():
        for number in range(each):
            image = _picture(100 * seed + number)
            label = np.zeros(image.shape, bool)
            label[40:60, 40 : 60 + number] = True
            labelled.write_pair(folder, f"{case}-IM-0001-{number:04d}", image, label)
    return folder


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_any_number_of_processes_gives_the_same_files(tmp_path, monkeypatch):
    monkeypatch.setattr("cinesax.train.data.prepare._WORTH_A_PROCESS_SECONDS", 0.001)
    by_folder = find_sources([_pairs(tmp_path / "pairs", {"A": 1, "B": 2, "C": 3})]).sources
    (whole,) = by_folder
    assert isinstance(whole, PairsSource)
    sources = [PairsSource((pair,), whole.labelled) for pair in whole.pairs]
    progress: list[tuple[int, int]] = []
    for workers in (1, 2):
        prepare(
            {"train": sources},
            tmp_path / f"by{workers}",
            framing=Framing(),
            workers=workers,
            progress=lambda done, total: progress.append((done, total)),
        )
    assert _files(tmp_path / "by1") == _files(tmp_path / "by2")
    assert progress == [(done, 6) for done in range(1, 7)] * 2
    assert len(list((tmp_path / "by1").glob("*.tfrecord"))) == 6


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM"])
def test_ended_in_the_middle_it_leaves_no_set_and_no_process(how, tmp_path):
    command = [sys.executable, "-m", "cinesax", "prepare", "--phantoms", "4000", "--jobs", "2"]
    begun = subprocess.Popen([*command, "-o", str(tmp_path / "set")], stderr=subprocess.DEVNULL)
    children = Path(f"/proc/{begun.pid}/task/{begun.pid}/children")
    if not children.exists():
        begun.kill()
        pytest.skip("needs the list of child processes that Linux gives")
    workers = _until(lambda: [int(one) for one in children.read_text().split() if _works(int(one))], at_least=2)
    begun.send_signal(signal.Signals[how])
    begun.wait(60)
    _until(lambda: [1] if not any(_works(one) for one in workers) else [], at_least=1)
    assert not (tmp_path / "set").exists()
    if how == "SIGTERM":
        assert begun.returncode == 143 and list(tmp_path.iterdir()) == []


def _works(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" and "cinesax.engines.worker" in Path(f"/proc/{process}/cmdline").read_text()
    except OSError:
        return False


def _until(look, *, at_least: int, seconds: float = 120) -> list[int]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if len(matches := look()) >= at_least:
            return matches
        time.sleep(0.1)
    pytest.fail("nothing happened")


def test_a_copy_of_an_image_in_the_other_split_stops_the_set(tmp_path, capsys):
    train, validation = _pairs(tmp_path / "train", {"A": 1, "B": 2}), _pairs(tmp_path / "validation", {"V": 7})
    # The same picture under another patient's name: darker, shifted by 6 rows, mirrored, a label of its own.
    copy = np.roll(_picture(101)[:, ::-1] // 2 + 20, 6, axis=0)
    labelled.write_pair(validation, "W-IM-0001-0000", copy, copy > 300)
    command = ["prepare", str(train), "--validation", str(validation), "-o", str(tmp_path / "set"), "--jobs", "1"]
    assert main(command) == 3
    error = capsys.readouterr().err
    assert "A-IM-0001-0001 and W-IM-0001-0000" in error and error.count("\n") == 1
    assert not (tmp_path / "set").exists()
    assert main([*command, "--allow-leaks"]) == 0
    assert "warning: leak: A (train" in capsys.readouterr().out
    assert main(["dataset", "verify", str(tmp_path / "set")]) == 3
    said = capsys.readouterr()
    assert "A-IM-0001-0001 and W-IM-0001-0000" in said.out and "1 leak:" in said.err


def test_a_sound_set_is_verified(tmp_path, capsys):
    train, validation = _pairs(tmp_path / "train", {"A": 1, "B": 2}), _pairs(tmp_path / "validation", {"V": 7})
    assert main(["prepare", str(train), "--validation", str(validation), "-o", str(tmp_path / "set")]) == 0
    assert main(["dataset", "verify", str(tmp_path / "set")]) == 0
    assert "6 examples of 3 cases in 2 shards: checksums match" in capsys.readouterr().out


def test_one_patient_by_two_spellings_stops_the_set(tmp_path, capsys):
    train, validation = _pairs(tmp_path / "t", {"SC-HF-I-1": 1}), _pairs(tmp_path / "v", {"SC-HF-I-01": 2})
    assert main(["prepare", str(train), "--validation", str(validation), "-o", str(tmp_path / "set")]) == 3
    assert "SC-HF-I-1 (train, fold 0) and SC-HF-I-01 (validation, fold 0) are the same" in capsys.readouterr().err


def test_the_manifest_says_what_was_not_used(tmp_path):
    source = _pairs(tmp_path / "pairs", {"A": 1, "B": 2})
    (source / "README").write_text("")
    done = prepare({"train": find_sources([source]).sources}, tmp_path / "set", framing=Framing())
    assert done.unused == ()  # what readers left; the command adds what belongs to no source
    assert main(["prepare", str(source), "-o", str(tmp_path / "by-command")]) == 0
    manifest = json.loads((tmp_path / "by-command" / "dataset.json").read_text())
    assert manifest["unused"] == {"not a picture of a pair": 1}
    verify(done.dataset)


def test_phantoms_know_their_wall_and_their_rv(tmp_path):
    command = ["prepare", "--phantoms", "1", "--frames-each", "2", "--classes", "lv_cavity,myocardium,rv"]
    assert main([*command, "-o", str(tmp_path / "set"), "--jobs", "1"]) == 0
    lines = (tmp_path / "set" / "examples.csv").read_text().splitlines()[1:]
    assert len(lines) == 2 and all(",lv_cavity myocardium rv," in line for line in lines)
    assert [source.seeds for source in phantom_sources(range(6), 2)] == [(0, 1, 2, 3), (4, 5)]


def test_a_patient_left_out_is_listed_and_an_unknown_one_is_an_error(tmp_path, capsys):
    source = str(_pairs(tmp_path / "pairs", {"A": 1, "B": 2, "C": 3}))
    assert main(["prepare", source, "-o", str(tmp_path / "set"), "--without", "B"]) == 0
    manifest = json.loads((tmp_path / "set" / "dataset.json").read_text())
    assert set(manifest["cases"]) == {"A", "C"}
    listed = (tmp_path / "set" / "unused.csv").read_text()
    assert listed.count("left out") == 2 and "B-IM-0001-0000" in listed
    assert main(["prepare", source, "-o", str(tmp_path / "none"), "--without", "B", "Z"]) != 0
    assert "no source has a case 'Z'" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--classes", ""], 2, "--classes names no class, seen ''; give some of lv_cavity"),
        (["--classes", "lv"], 2, "--classes: no class lv: expected some of lv_cavity"),
        (["--labels", "lv=3"], 2, "--labels is for label files of DICOM studies, and no SOURCE is a folder of studies"),
        (["--exams", "."], 2, "--exams is for results that a person approved, and no SOURCE has such results"),
        (["--exams", "nowhere"], 3, "nowhere does not exist"),
        (["--contours", "."], 2, "--contours is for the labels of DICOM studies, and no SOURCE is a folder of studies"),
        (["--contours", "nowhere"], 3, "nowhere does not exist"),
        (["--frames-each", "9"], 2, "--frames-each is for phantoms: add --phantoms N"),
        (["--folds", "1"], 2, "--folds must be at least 2, seen 1"),
        (["--folds", "0"], 2, "--folds must be at least 2, seen 0"),
        (["--folds", "-2"], 2, "--folds must be at least 2, seen -2"),
        (
            ["--folds", "9"],
            2,
            "9 folds need 9 patients to train on, and there is 1 (phantoms belong to no fold): leave",
        ),
        (["--phantoms", "-1"], 2, "--phantoms must be at least 0, seen -1"),
        (["--validation", __file__], 3, "test_prepare.py is a file: name its folder"),
    ],
)
def test_an_option_that_would_do_nothing_is_an_error(tmp_path, capsys, options, code, message):
    source = _pairs(tmp_path / "pairs", {"A": 1}, each=1)
    assert main(["prepare", str(source), "-o", str(tmp_path / "set"), *options]) == code
    assert message in capsys.readouterr().err and not (tmp_path / "set").exists()


def test_a_class_without_labels_is_a_warning(tmp_path, capsys):
    source = _pairs(tmp_path / "pairs", {"A": 1}, each=1)
    out = tmp_path / "set"
    assert main(["prepare", str(source), "-o", str(out), "--classes", "lv_cavity,rv"]) == 0
    seen = capsys.readouterr().out
    assert "warning: no image has labels of rv, so a network cannot learn it" in seen and "of lv_cavity" not in seen
    assert "of 1 patient;" in seen
    assert main(["dataset", "list", str(out), "--split", "test"]) == 3
    assert "has no split 'test'; it has train" in capsys.readouterr().err


def test_more_folds_than_patients_are_refused_before_anything_is_read(tmp_path, capsys, monkeypatch):
    source = _pairs(tmp_path / "pairs", {"A": 1, "B": 2, "C": 3}, each=1)
    validation = ["--validation", str(_pairs(tmp_path / "validation", {"V": 7, "W": 8}, each=1))]
    monkeypatch.setattr("cinesax.train.data.prepare.new_set", None)  # nothing may be begun
    for arguments, there in (
        (
            [str(source), *validation, "--phantoms", "9", "--folds", "4"],
            "there are 3 (phantoms belong to no fold): give",
        ),
        (
            [str(source), "--without", "C", "--folds", "3"],
            "there are 2 (phantoms belong to no fold): give --folds 2 or",
        ),
        ([*validation, "--phantoms", "9", "--folds", "2"], "there are 0 (phantoms belong to no fold): leave out"),
    ):
        assert main(["prepare", *arguments, "-o", str(tmp_path / "set")]) == 2
        assert there in capsys.readouterr().err


def test_patients_who_cannot_be_read_are_in_no_fold(tmp_path, capsys):
    source = _pairs(tmp_path / "pairs", {"A": 1, "B": 2}, each=1)
    damaged = tmp_path / "acdc" / "patient001"
    damaged.mkdir(parents=True)
    (damaged / "patient001_frame01_gt.nii.gz").write_bytes(b"not NIfTI")
    command = ["prepare", str(source), str(damaged.parent), "-o", str(tmp_path / "set")]
    assert main([*command, "--folds", "3"]) == 2
    assert "3 folds need 3 patients to train on, and there are 2" in capsys.readouterr().err
    assert not (tmp_path / "set").exists()
    assert main(command) == 0
    assert "2 folds instead of 3: there are only 2 patients to train on" in capsys.readouterr().out
    manifest = json.loads((tmp_path / "set" / "dataset.json").read_text())
    assert manifest["folds"] == 2 and {case["fold"] for case in manifest["cases"].values()} == {0, 1}


def test_a_split_without_examples_is_an_error(tmp_path, capsys):
    source, damaged = _pairs(tmp_path / "pairs", {"A": 1}, each=1), tmp_path / "acdc" / "patient001"
    damaged.mkdir(parents=True)
    (damaged / "patient001_frame01_gt.nii.gz").write_bytes(b"not NIfTI")
    for train, validation, named in ((source, damaged, "validation"), (damaged, source, "train")):
        assert main(["prepare", str(train), "--validation", str(validation), "-o", str(tmp_path / "set")]) == 3
        error = capsys.readouterr().err
        assert (
            f"there are no examples in the sources of {named}: 1 file was checked;" in error and error.count("\n") == 1
        )
        assert not (tmp_path / "set").exists()


def test_a_source_that_holds_nothing_is_named_before_anything_is_read(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _pairs(tmp_path / "pairs", {"A": 1}, each=1)
    for name in ("set/dataset.json", "contours/P1/IM-0001-0001-icontour-manual.txt", "notes/readme.txt"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("1 1")
    for source, message in (
        ("set", "set is a prepared set: name the sources that it was made from"),
        ("pairs/images", "pairs/images is a part of a folder of pairs: name pairs"),
        (
            "contours",
            "contours has contours and no images: name the folder of the DICOM studies, and give it with --co",
        ),
        ("notes", "notes holds nothing to learn from: 1 file, such as readme.txt (not DICOM)"),
    ):
        for named in (["pairs", source], ["pairs", "--validation", source]):
            assert main(["prepare", *named, "-o", "new"]) == 3
            assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_source_named_twice_and_a_set_inside_a_source_are_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _pairs(tmp_path / "pairs", {"A": 1}, each=1)
    for named, message in (
        (["pairs", "./pairs", "-o", "set"], "pairs is named twice: name each SOURCE once, for training or for"),
        (["pairs", "--validation", str(tmp_path / "pairs"), "-o", "set"], "pairs is named twice"),
        (["pairs", "-o", "pairs/set"], "pairs/set is inside pairs: name a folder outside of the sources with -o"),
        (["pairs", "--contours", ".", "-o", "set"], "set is inside .: name a folder outside"),
    ):
        assert main(["prepare", *named]) == 2
        assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["pairs"]


def test_where_nothing_can_be_used_the_most_frequent_reason_is_named(tmp_path, capsys):
    damaged = tmp_path / "acdc" / "patient001"
    damaged.mkdir(parents=True)
    for name in ("patient001_frame01_gt.nii.gz", "patient001_frame01.nii.gz"):
        (damaged / name).write_bytes(b"not NIfTI")
    (tmp_path / "acdc" / "LICENSE").write_text("")
    assert main(["prepare", str(tmp_path / "acdc"), "-o", str(tmp_path / "set")]) == 3
    assert (
        "3 files were checked; acdc/patient001/patient001_frame01.nii.gz: patient left out" in capsys.readouterr().err
    )
