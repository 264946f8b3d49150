"""What a cohort on a cluster needs on its nodes, tried without a cluster."""

import json
import pickle
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import crowd
from cinesax.cli.main import main
from cinesax.cohort.planning.plan import Kind, Planned
from cinesax.cohort.receipt import read_receipt
from cinesax.cohort.work import CarriedNetwork, ExamWork, Options, network_of, recipe_of
from cinesax.core.cine import Cine, StoredFile
from cinesax.core.errors import InputError
from cinesax.core.segmentation import Segmentation


def test_a_network_is_the_same_where_its_bundle_does_not_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cinesax.network.bundle import open_bundle

    (tmp_path / "node").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "node"))
    folder = shutil.copytree(open_bundle(None).folder, tmp_path / "bundle")
    carried = pickle.dumps(CarriedNetwork.of(Options(folder)))
    shutil.rmtree(folder)
    segmenter = pickle.loads(carried)(Options(folder))
    assert (segmenter.name, segmenter.checksum) == network_of(Options())[:2]
    # Calibrations are read from the folder later.
    kept = {path.name: path.read_bytes() for path in segmenter.bundle.folder.iterdir()}
    assert kept == pickle.loads(carried).files
    assert pickle.loads(carried)._unpacked() == segmenter.bundle.folder
    (segmenter.bundle.folder / "bundle.json").write_text("of somebody else")
    other = pickle.loads(carried)(Options(folder)).bundle.folder
    assert {path.name: path.read_bytes() for path in other.iterdir()} == kept


def test_the_recipe_names_the_calibration_of_the_network(tmp_path: Path) -> None:
    from cinesax.network.bundle import TRUST, add_trust, open_bundle

    folder = shutil.copytree(open_bundle(None).folder, tmp_path / "bundle")
    before = network_of(Options(folder))
    add_trust(open_bundle(folder), (folder / TRUST).read_text() + "\n")
    name, checksum, calibration = network_of(Options(folder))
    assert (name, checksum) == before[:2] and calibration != before[2]
    assert recipe_of(Options(), (name, checksum, calibration)) != recipe_of(Options(), before)
    (folder / TRUST).unlink()
    bundle = json.loads((folder / "bundle.json").read_text())
    del bundle["checksums"][TRUST]
    (folder / "bundle.json").write_text(json.dumps(bundle))
    assert network_of(Options(folder)) == (name, checksum, "")


@dataclass(frozen=True)
class GivenAway(crowd.Stub):
    """The cluster took this node for lost, so another one began the exam, and removed what this one had begun."""

    results: Path = Path()

    def segment(self, cine: Cine, progress: object = None) -> Segmentation:
        shutil.rmtree(self.results / ".cohort" / "stage")
        raise InputError("something that the other node does not see")


def test_a_node_that_was_taken_for_lost_reports_no_failure(tmp_path: Path) -> None:
    results = tmp_path / "out"
    files = crowd.exam(tmp_path / "exam", 1)
    work = ExamWork(
        results, recipe_of(Options(), crowd.NETWORK), Options(outputs=()), lambda _: GivenAway(results=results)
    )
    planned = Planned("case-1", Kind.DICOM, tmp_path / "exam", tuple(StoredFile(file) for file in files), top=tmp_path)
    work()(planned)
    assert read_receipt(results / "exams" / "case-1") is None
    replace(work, load=crowd.stub)()(planned)
    receipt = read_receipt(results / "exams" / "case-1")
    assert receipt is not None and receipt.status == "done"


@pytest.mark.parametrize(
    ("options", "code", "line"),
    [
        (
            ["--engine", "ray"],
            8,
            "--engine ray needs Ray: install the extra, in the checkout of cinesax: pip install '.[ray]'",
        ),
        (["--address", "10.0.0.1:6379"], 2, "--address needs --engine ray"),
    ],
)
def test_a_missing_extra_is_one_clear_line(
    options: list[str],
    code: int,
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["cohort", str(tmp_path), "-o", str(tmp_path / "out"), *options]) == code
    assert capsys.readouterr().err.strip().endswith(line)
    assert not (tmp_path / "out").exists()
