"""bundle.json: parsed once into a type, written from it again, read as earlier versions wrote it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from cinesax.core.errors import BundleError, OutputError
from cinesax.network.bundle import Training, open_bundle, write_bundle


@pytest.fixture
def copy(tmp_path):
    """A copy of the bundle that ships, and a function that changes what its bundle.json says."""
    folder = shutil.copytree(open_bundle().folder, tmp_path / "bundle")

    def change(**values):
        manifest = json.loads((folder / "bundle.json").read_text())
        manifest |= values
        (folder / "bundle.json").write_text(
            json.dumps({key: value for key, value in manifest.items() if value != "gone"})
        )
        return folder

    return change


def test_what_is_written_is_what_was_read(tmp_path):
    shipped = open_bundle()
    again = write_bundle(
        open_bundle().__class__(**{**vars(shipped), "folder": tmp_path / "again"}),
        shipped.graph_path,
        (shipped.folder / "CARD.md").read_text(),
        heart=shipped.heart_path,
        parity=(shipped.folder / "parity.json").read_text(),
    )
    before, after = (json.loads((one.folder / "bundle.json").read_text()) for one in (shipped, again))
    del before["checksums"]["trust.json"]  # a bundle that is written again has to be calibrated again
    assert list(after) == list(before)
    assert {**after, "heart": before["heart"]} == before
    assert {key: after["heart"][key] for key in before["heart"]} == before["heart"]


def test_no_bundle_takes_the_name_of_one_that_ships(tmp_path, monkeypatch):
    """It would be written, and the one that ships would be opened by its name."""
    monkeypatch.chdir(tmp_path)
    shipped = open_bundle()
    with pytest.raises(OutputError, match="^default is the name of a network that is in the package; name another"):
        write_bundle(replace(shipped, folder=Path("default")), shipped.graph_path, "", heart=shipped.heart_path)
    assert not list(tmp_path.iterdir())


def test_the_training_of_the_bundle_that_ships_is_typed():
    training = open_bundle().training
    assert isinstance(training, Training)
    assert len(training.cases) > 15 and training.phantoms > 0 and set(training.images[0]) <= set("0123456789abcdef")
    assert training.config["model"]["network"] == "slim" and training.software["cinesax"]


def test_other_versions_are_read(copy):
    assert open_bundle(copy(training="gone", scores="gone")).training == Training()
    read = open_bundle(copy(training={"cases": ["A"], "weather": "fine"}, colour="red"))
    assert read.training == Training(cases=("A",))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": 3}, r"bundle.json cannot be used: Expected `str`, got `int` - at `\$.name`"),
        ({"name": "gone"}, "missing required field `name`"),
        ({"training": {"cases": "SC-1"}}, r"Expected `array \| null`, got `str` - at `\$.training.cases`"),
        ({"checksums": []}, "Expected `object`, got `array`"),
        ({"framing": 7}, "Expected `object`"),
        ({"heart": {"crop": 96, "input_name": "a", "output_name": "b", "context": 2}}, "no valid 'heart'"),
        ({"schema": "cinesax/bundle/9"}, "has the schema 'cinesax/bundle/9', expected 'cinesax/bundle/1'"),
    ],
)
def test_invalid_contents_give_an_error_of_one_line(copy, values, message):
    with pytest.raises(BundleError, match=message) as caught:
        open_bundle(copy(**values))
    assert "\n" not in str(caught.value)
