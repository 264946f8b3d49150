"""NIfTI in rarer forms: in two parts, with time on another axis, across an axis that no short axis has."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import exams
from cinesax.core.cine import Cine
from cinesax.core.errors import GeometryError, InputError
from cinesax.core.grid import stacked_grid
from cinesax.core.orientation import USUAL_LONG_AXIS
from cinesax.inputs import open_cine
from cinesax.phantom import draw_settings, make_phantom
from formats_nifti import RAS, image_of, saved


@pytest.fixture(scope="module")
def heart() -> Cine:
    """A phantom: its phases are alike, its slices are not."""
    return make_phantom(draw_settings(9, n_phases=12, n_slices=9)).cine


class TestTwoParts:
    @pytest.mark.parametrize("suffix", [".hdr", ".img"])
    def test_either_part_stands_for_both(self, tmp_path: Path, suffix: str) -> None:
        cine = exams.small_cine()
        image = image_of(cine)
        pair = nib.Nifti1Pair(np.asarray(image.dataobj), image.affine, image.header)
        nib.save(pair, tmp_path / "cine.img")
        read = open_cine(tmp_path / f"cine{suffix}")
        np.testing.assert_array_equal(read.pixels, cine.pixels)
        assert read.grid.same_as(cine.grid, 1e-3)

    def test_a_folder_of_them_counts_each_once(self, tmp_path: Path) -> None:
        cine = exams.small_cine()
        for phase, name in ((0, "ED"), (3, "ES")):
            image = image_of(
                replace(cine, pixels=cine.pixels[[phase]], trigger_times_ms=cine.trigger_times_ms[[phase]])
            )
            nib.save(nib.Nifti1Pair(np.asarray(image.dataobj)[..., 0], image.affine), tmp_path / f"{name}.img")
        np.testing.assert_array_equal(open_cine(tmp_path).pixels, cine.pixels[[0, 3]])

    def test_analyze_is_said_to_be_that(self, tmp_path: Path) -> None:
        nib.save(nib.AnalyzeImage(np.zeros((8, 8, 4), np.int16), np.eye(4)), tmp_path / "old.img")
        with pytest.raises(InputError, match="it has the format .*Analyze; convert it to .nii.gz"):
            open_cine(tmp_path / "old.hdr")


@pytest.mark.parametrize("order", [(3, 0, 1, 2), (0, 1, 3, 2), (0, 3, 1, 2)])
def test_time_on_another_axis_is_never_read_as_slices(tmp_path: Path, heart: Cine, order: tuple[int, ...]) -> None:
    data = heart.pixels.transpose(3, 2, 1, 0)
    image = nib.Nifti1Image(np.ascontiguousarray(data.transpose(order)), RAS @ heart.grid.affine_lps())
    with pytest.raises(GeometryError, match="is time not the fourth axis"):
        open_cine(saved(image, tmp_path / "cine.nii"))


@pytest.mark.parametrize("phases", [[0, 5], range(12)])
def test_a_heart_is_no_such_case(tmp_path: Path, heart: Cine, phases) -> None:
    image = image_of(heart)
    some = nib.Nifti1Image(np.asarray(image.dataobj)[..., list(phases)], image.affine)
    assert open_cine(saved(some, tmp_path / "cine.nii")).n_slices == 9


@pytest.mark.parametrize("degrees", [20, 45, 70])
def test_a_stack_far_off_the_axis_names_the_angle(tmp_path: Path, degrees: float) -> None:
    off = np.deg2rad(degrees)
    aside = np.cross(USUAL_LONG_AXIS, (0.0, 0.0, 1.0))
    normal = np.cos(off) * USUAL_LONG_AXIS + np.sin(off) * aside / np.linalg.norm(aside)
    row = np.cross(normal, (1.0, 0.0, 0.0))
    row /= np.linalg.norm(row)
    cine = exams.small_cine()
    grid = stacked_grid(
        (0, 0, 0),
        spacing_mm=(1.4, 1.2),
        slice_distance_mm=9.0,
        shape=cine.grid.shape,
        along_row=row,
        along_column=np.cross(normal, row),
    )
    read = open_cine(saved(image_of(replace(cine, grid=grid)), tmp_path / "cine.nii"))
    said = [finding for finding in read.findings if finding.code.value == "off-axis-stack"]
    assert len(said) == (degrees > 35)
    assert all(f"{degrees}.0 degrees off" in finding.message for finding in said)


class TestFolders:
    @pytest.mark.parametrize("names", [("image", "labelsTr"), ("case_0000", "case"), ("sa", "annotation")])
    def test_labels_are_known_by_their_values_too(self, tmp_path: Path, names: tuple[str, str]) -> None:
        cine = exams.small_cine()
        image = image_of(cine)
        labels = np.zeros(image.shape, np.float32)
        labels[4:8, 4:8] = 3
        saved(image, tmp_path / f"{names[0]}.nii.gz")
        saved(nib.Nifti1Image(labels, image.affine), tmp_path / f"{names[1]}.nii.gz")
        read = open_cine(tmp_path)
        np.testing.assert_array_equal(read.pixels, cine.pixels)
        assert [why for _, why in read.source.not_picked] == ["labels: its values are whole numbers from 0 to 3"]

    def test_copies_are_left_out(self, tmp_path: Path) -> None:
        cine = exams.small_cine()
        image = image_of(cine)
        for place in range(cine.n_slices):
            saved(image.slicer[:, :, place : place + 1], tmp_path / f"slice{place}.nii.gz")
        saved(image.slicer[:, :, 2:3], tmp_path / "slice2 (1).nii.gz")
        read = open_cine(tmp_path)
        np.testing.assert_array_equal(read.pixels, cine.pixels)
        assert [why for _, why in read.source.not_picked] == ["a copy of another file"]


@pytest.mark.parametrize(
    ("key", "unit_ms", "codes"),
    [
        ("TriggerTimes", 1.0, []),
        ("FrameReferenceTime", 1.0, []),
        ("TriggerTime", 1000.0, ["time-units"]),
        ("TriggerTime", 0.001, ["time-units"]),
        ("FrameTimesStart", 1.0, ["time-units"]),
    ],
)
def test_times_in_the_json_file_in_any_unit(tmp_path: Path, key: str, unit_ms: float, codes: list[str]) -> None:
    times = [float(140 * phase) for phase in range(6)]
    path = saved(image_of(exams.small_cine()), tmp_path / "cine.nii.gz")
    (tmp_path / "cine.json").write_text(json.dumps({key: [time / unit_ms for time in times]}))
    cine = open_cine(path)
    np.testing.assert_allclose(cine.trigger_times_ms[:, 0], times)
    assert cine.heart_rate_bpm == pytest.approx(60_000 / 840)
    assert exams.codes(cine) == codes
