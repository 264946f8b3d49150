"""`cinesax phantom` as a user sees it: a valid exam, its truth beside it, and no harm to what was there."""

import json
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless

import cinesax
import cinesax.cli.phantom
import exams
from cinesax.cli.main import main
from cinesax.core.structures import Structure
from cinesax.dicom.read.exam import open_exam
from cinesax.dicom.read.pick import pick_short_axis
from cinesax.dicom.read.series import SeriesKind
from cinesax.formats.nifti.labels import read_labels
from cinesax.inputs import open_cine
from cinesax.phantom import draw_settings, make_phantom

# Small in time, whole in space: the truth does not depend on it.
OPTIONS = ["--seed", "5", "--phases", "6", "--slice-distance", "12"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One exam with decoys."""
    out = tmp_path_factory.mktemp("phantom") / "exam"
    assert main(["phantom", str(out), *OPTIONS, "--decoys"]) == 0
    return out


def test_the_validator_finds_nothing_in_any_series(made):
    files = sorted(made.rglob("*.dcm"))
    assert exams.checked_by_dciodvfy([*files[::17], files[-1]]) == []
    assert exams.checked_by_dciodvfy(sorted((made / "dicom").glob("l*/*01.dcm"))) == []


def test_the_short_axis_is_picked_among_decoys(made):
    pick = pick_short_axis(open_exam(made))
    assert [one.description for one in pick.series] == ["SAX cine bSSFP"]
    assert {one.kind for one, _ in pick.rejections} == {
        SeriesKind.LOCALIZER,
        SeriesKind.LONG_AXIS,
        SeriesKind.LATE_ENHANCEMENT,
    }
    assert pick.findings == ()


def test_what_is_read_is_what_was_made(made, phantom):
    cine = open_cine(made)
    np.testing.assert_array_equal(cine.pixels, phantom.cine.pixels)
    assert cine.grid.same_as(phantom.cine.grid, tolerance_mm=1e-3)
    np.testing.assert_allclose(cine.trigger_times_ms, phantom.cine.trigger_times_ms, atol=1e-3)
    np.testing.assert_allclose(cine.rr_intervals_ms, phantom.cine.rr_intervals_ms, atol=0.5)
    assert cine.base_first == phantom.cine.base_first
    assert (cine.patient.height_cm, cine.patient.weight_kg) == pytest.approx(
        (phantom.cine.patient.height_cm, phantom.cine.patient.weight_kg)
    )


def test_the_truth_is_on_the_grid_that_is_read(made):
    truth = json.loads((made / "truth" / "truth.json").read_text())
    cine = open_cine(made)
    labels = read_labels(made / "truth" / "segmentation.nii.gz", cine)
    counts = labels.mask(Structure.CAVITY).sum(axis=(1, 2, 3))
    volumes = counts * cine.grid.pixel_area_mm2 * cine.grid.slice_distance_mm / 1000
    assert counts.argmin() == truth["es_phase"]
    # Summing thick slices is not exact; it must be near.
    np.testing.assert_allclose(volumes, truth["volumes_ml"], rtol=0.15)
    assert truth["ef_percent"] == pytest.approx(100 * (1 - truth["esv_ml"] / truth["edv_ml"]))


def test_same_seed_same_bytes(made, tmp_path):
    assert main(["phantom", str(tmp_path / "again"), *OPTIONS, "--decoys"]) == 0
    files = sorted(path.relative_to(made) for path in made.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path / "again") for path in tmp_path.rglob("*") if path.is_file())
    assert all((made / path).read_bytes() == (tmp_path / "again" / path).read_bytes() for path in files)


def test_a_variant_comes_with_its_truth_as_it_is_read(quick, tmp_path):
    out = tmp_path / "exam"
    odd = ["slice-twice", "tilted-slices", "no-suffix"]
    options = [part for oddity in odd for part in ("--oddity", oddity)]
    stored = ["--vendor", "siemens", *options, "--transfer-syntax", "rle"]
    assert main(["phantom", str(out), *OPTIONS, "--decoys", *stored]) == 0
    truth = json.loads((out / "truth" / "truth.json").read_text())
    assert (truth["vendor"], truth["oddities"], truth["transfer_syntax"]) == ("siemens", odd, "rle")
    assert sorted(path.name for path in (out / "truth").iterdir()) == ["segmentation.nii.gz", "truth.json"]
    files = [path for path in (out / "dicom" / "short-axis").rglob("*") if path.is_file()]
    assert not any(path.suffix for path in files)
    one = pydicom.dcmread(files[0])
    assert (one.Manufacturer, one.file_meta.TransferSyntaxUID) == ("SIEMENS", RLELossless)
    # On the grid and in the phases of the exam as it is read, else this were an error.
    measured = cinesax.analyze(out, segmentation=out / "truth" / "segmentation.nii.gz").measurements
    # Summing thick slices is not exact; it must be near.
    assert measured.edv_ml == pytest.approx(truth["edv_ml"], rel=0.1)
    assert measured.ef_percent == pytest.approx(truth["ef_percent"], abs=4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--oddity", "prospective", "--oddity", "unequal-phases"], "choose one"),
        (["--vendor", "siemens-enhanced", "--oddity", "no-trigger-times"], "choose another vendor"),
    ],
)
@pytest.mark.usefixtures("quick")
def test_what_does_not_go_together(tmp_path, capsys, options, message):
    assert main(["phantom", str(tmp_path / "exam"), *options]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--vendor", "--oddity", "--transfer-syntax"])
def test_a_name_that_is_not_there(tmp_path, capsys, option):
    with pytest.raises(SystemExit) as stopped:
        main(["phantom", str(tmp_path / "exam"), option, "acme"])
    assert stopped.value.code == 2
    assert "invalid choice: 'acme' (choose from '" in capsys.readouterr().err


@pytest.fixture(scope="module")
def phantom():
    """What `made` holds."""
    return make_phantom(draw_settings(5, n_phases=6, slice_distance_mm=12.0))


@pytest.fixture
def quick(monkeypatch, phantom):
    """Rendering is not what these tests are about: one small phantom for all."""
    monkeypatch.setattr(cinesax.cli.phantom, "make_phantom", lambda _settings: phantom)


@pytest.mark.usefixtures("quick")
class TestWhatWasThere:
    def test_a_folder_with_anything_in_it_is_left_alone(self, tmp_path, capsys):
        (tmp_path / "thesis.txt").write_text("years of work")
        for options in ([], ["--force"]):
            assert main(["phantom", str(tmp_path), *options]) == 7
            assert capsys.readouterr().err.count("\n") == 1
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]

    @pytest.mark.skipif(sys.platform == "win32", reason="no limit of file sizes there")
    def test_a_disk_that_takes_no_more_is_told_in_one_line(self, tmp_path, capsys):
        import resource

        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
        try:
            assert main(["phantom", str(tmp_path / "p")]) == 7
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert capsys.readouterr().err.endswith("cannot be written: File too large\n")
        assert not list(tmp_path.iterdir())

    def test_an_earlier_phantom_is_replaced_when_asked(self, tmp_path):
        out = tmp_path / "exam"
        assert main(["phantom", str(out)]) == 0
        (out / "dicom" / "old.dcm").write_text("")
        assert main(["phantom", str(out)]) == 7
        assert main(["phantom", str(out), "--force"]) == 0
        assert not (out / "dicom" / "old.dcm").exists()
        assert [path.name for path in tmp_path.iterdir()] == ["exam"]

    def test_results_inside_of_an_earlier_phantom_are_not_lost(self, tmp_path, capsys):
        out = tmp_path / "exam"
        assert main(["phantom", str(out)]) == 0
        (out / "results").mkdir()
        assert main(["phantom", str(out), "--force"]) == 7
        assert "results" in capsys.readouterr().err
        assert (out / "results").is_dir()

    def test_an_empty_folder_is_filled(self, tmp_path):
        (tmp_path / "exam").mkdir()
        assert main(["phantom", str(tmp_path / "exam")]) == 0

    def test_a_file_in_the_way(self, tmp_path, capsys):
        (tmp_path / "exam").write_text("")
        assert main(["phantom", str(tmp_path / "exam")]) == 7
        assert main(["phantom", str(tmp_path / "exam" / "below")]) == 7
        assert capsys.readouterr().err.count("\n") == 2

    @pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt, 130), (OSError(28, "No space left"), 7)])
    def test_an_interrupt_leaves_nothing_behind(self, tmp_path, monkeypatch, error, code):
        def fail(*_args):
            raise error

        monkeypatch.setattr(cinesax.cli.phantom, "write_segmentation", fail)
        assert main(["phantom", str(tmp_path / "exam")]) == code
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("setting", [("--ef", "300"), ("--edv", "nan"), ("--phases", "2"), ("--slice-distance", "99")])
def test_settings_out_of_range(tmp_path, capsys, setting):
    assert main(["phantom", str(tmp_path / "exam"), *setting]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not Path(tmp_path / "exam").exists()
