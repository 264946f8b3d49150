"""`cinesax dataset`: verify, list and show, as a user runs them."""

import csv
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow")

from cinesax.cli.main import main  # noqa: E402
from cinesax.core.structures import Structure  # noqa: E402
from cinesax.train.data.examples import Example, Kind  # noqa: E402
from cinesax.train.data.sheet import draw_sheet  # noqa: E402


def _error(capsys) -> str:
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("cinesax: error: ")
    return error


def test_records_that_are_not_those_listed_are_found(discs, tmp_path, capsys):
    folder = tmp_path / "set"
    shutil.copytree(discs.folder, folder)
    table, manifest = folder / "examples.csv", json.loads((folder / "dataset.json").read_text())
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join([lines[0], lines[2], lines[1], *lines[3:]]))
    manifest["tables"][0]["sha256"] = hashlib.sha256(table.read_bytes()).hexdigest()
    (folder / "dataset.json").write_text(json.dumps(manifest))
    assert main(["dataset", "verify", str(folder)]) == 3
    assert "differ from examples.csv" in _error(capsys)
    (folder / manifest["shards"][0]["file"]).unlink()
    assert main(["dataset", "verify", str(folder)]) == 3
    assert "missing or was cut short" in _error(capsys)


def test_list_names_patients_and_examples(discs, capsys):
    assert main(["dataset", "list", str(discs.folder)]) == 0
    table = capsys.readouterr().out
    for words in ("A ", "study", "1.40 x 1.40", "PHANTOM-000005", "24 examples (20 in train, 4 in validation)"):
        assert words in table
    assert main(["dataset", "list", str(discs.folder), "--examples", "--case", "A", "--case", "V"]) == 0
    lines = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [line["name"] for line in lines] == [f"{case}-{n}" for case in "AV" for n in range(4)]
    assert all(int(line["lv_cavity_px"]) + int(line["background_px"]) == 256 * 256 for line in lines)


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_show_writes_a_picture_of_what_was_asked_for(discs, tmp_path, capsys):
    out = tmp_path / "sheet.png"
    assert main(["dataset", "show", str(discs.folder), "-o", str(out), "--count", "6", "--columns", "3"]) == 0
    assert "6 of 24 examples" in capsys.readouterr().out
    assert _size(out) == (3 * 260 + 4, 2 * 290 + 4)
    assert main(["dataset", "show", str(discs.folder), "-o", str(out), "--case", "B", "--zoom", "--smallest"]) == 0
    assert _size(out) == (4 * 260 + 4, 294)
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
    for name, written in (("sheet.JPG", "JPEG"), ("sheet", "PNG")):
        assert main(["dataset", "show", str(discs.folder), "-o", str(tmp_path / name), "--count", "1"]) == 0
        with Image.open(tmp_path / name) as picture:
            assert picture.format == written


def test_the_borders_lie_where_the_labels_lie():
    image, label = np.full((256, 256), 20_000, np.uint16), np.zeros((256, 256), np.uint8)
    label[60:120, 100:180], label[80:100, 120:160] = Structure.MYOCARDIUM, Structure.CAVITY
    example = Example("a", "a", Kind.PAIRS, image, label, known=frozenset(Structure))
    sheet = np.asarray(draw_sheet([example])).astype(int)[4:260, 4:260]
    coloured = np.argwhere(np.ptp(sheet, axis=2) > 60)
    assert coloured.min(axis=0) == pytest.approx([60, 100], abs=1)
    assert coloured.max(axis=0) == pytest.approx([119, 179], abs=1)
    assert np.abs(sheet[80, 140] - Structure.CAVITY.facts.line_rgb).max() < 40
    assert np.ptp(sheet[90, 140]) == 0 and np.ptp(sheet[30, 30]) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["verify", "absent"], 3, "not a prepared set"),
        (["list", "SET", "--split", "test"], 3, "has no split 'test'"),
        (["list", "SET", "--case", "Z"], 2, "has no case Z"),
        (["show", "SET", "-o", "x.png", "--count", "0"], 2, "at least 1"),
        (["show", "SET", "-o", "x.png", "--case", "A", "--empty"], 2, "matches these options"),
        (["show", "absent", "-o", "x.xyz"], 2, "x.xyz is not the name of a picture: end it with .png, .jpg, .jpeg"),
        (["show", "SET", "-o", "absent/x.png"], 7, "cannot be written"),
    ],
)
def test_bad_input_is_one_line(arguments, code, words, discs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    asked = [str(discs.folder) if word == "SET" else word for word in arguments]
    assert main(["dataset", *asked]) == code
    assert words in _error(capsys)
    assert list(tmp_path.iterdir()) == []
