"""One cine in several NIfTI files: what belongs together, in which order, and what does not."""

import json
import shutil
import subprocess

import nibabel as nib
import numpy as np
import pytest

import exams
import hearts
from cinesax.cli.main import main
from cinesax.core.errors import GeometryError, InputError, UsageError
from cinesax.formats.nifti import names, write_segmentation
from cinesax.inputs import open_cine
from formats_nifti import image_of, saved

CINE = exams.small_cine()


def part_of(*, phases=slice(None), slices=slice(None), place=True):
    """Some phases and slices of the small cine, with the affine that a converter gives them."""
    image = image_of(CINE)
    first = slices.start or 0
    data = np.ascontiguousarray(np.asarray(image.dataobj)[:, :, slices, phases])
    affine = image.affine.copy()
    affine[:3, 3] += first * affine[:3, 2]
    if not place:
        affine = np.diag([1.2, 1.4, 9, 1])
    part = nib.Nifti1Image(data[..., 0] if data.shape[3] == 1 else data, affine if place else None)
    if not place:
        part.header.set_zooms((1.2, 1.4, 9, 1)[: data[..., 0].ndim if data.shape[3] == 1 else 4])
    return part


def phase(number, **more):
    return part_of(phases=slice(number, number + 1), **more)


def one_slice(number, **more):
    return part_of(slices=slice(number, number + 1), **more)


def write(folder, parts):
    return [saved(part, folder / f"{name}.nii.gz") for name, part in parts.items()]


class TestPhases:
    @pytest.mark.parametrize("names", [("ES", "ED"), ("p1_es", "p1_ed"), ("a_end-systole", "a_end-diastole")])
    def test_ed_and_es_named_in_any_order(self, tmp_path, names):
        files = write(tmp_path, {names[0]: phase(3), names[1]: phase(0)})
        for given in (files, files[::-1], tmp_path):
            cine = open_cine(given)
            np.testing.assert_array_equal(cine.pixels, CINE.pixels[[0, 3]])
            assert cine.grid.same_as(CINE.grid, 1e-3)
            assert (cine.heart_rate_bpm, exams.codes(cine)) == (None, ["missing-trigger-times"])

    def test_the_whole_way_from_the_command_line(self, tmp_path, capsys):
        """EDV, ESV and EF of the pair are those of the whole cine, and the EF says of what it is."""
        whole, labels = hearts.cine(phases=2), hearts.labels((20, 10))
        files = []
        for number, name in enumerate(("ED", "ES")):
            one = image_of(whole)
            data = np.ascontiguousarray(np.asarray(one.dataobj)[..., number])
            files.append(str(saved(nib.Nifti1Image(data, one.affine), tmp_path / f"{name}.nii.gz")))
        write_segmentation(labels, whole, tmp_path / "labels.nii.gz")
        arguments = ["--segmentation", str(tmp_path / "labels.nii.gz"), "--format", "json"]
        assert main(["analyze", *files, *arguments]) == 0
        listed = json.loads(capsys.readouterr().out)
        measured = listed["measurements"]
        assert (measured["edv_ml"], measured["esv_ml"], measured["ef_percent"]) == pytest.approx((16, 4, 75))
        assert measured["heart_rate_bpm"] is None
        assert "two-phases" in [finding["code"] for finding in listed["findings"]]
        assert "ED" not in json.dumps(listed["series"])

    @pytest.mark.parametrize("form", ["frame{}", "t{}", "patient003_frame{}", "x_{}_a7", "{}"])
    def test_numbers_are_counted_not_spelled(self, tmp_path, form):
        """Frame 10 comes after frame 9, in whatever order a shell lists the files."""
        numbers = [1, 2, 9, 10, 11, 100]
        files = write(tmp_path, {form.format(number): phase(index) for index, number in enumerate(numbers)})
        for given in (sorted(files), tmp_path):
            np.testing.assert_array_equal(open_cine(given).pixels, CINE.pixels)

    def test_names_that_say_nothing(self, tmp_path):
        files = write(tmp_path, {"b": phase(0), "a": phase(3)})
        np.testing.assert_array_equal(open_cine(files).pixels, CINE.pixels[[0, 3]])
        with pytest.raises(InputError, match="give the files in their order"):
            open_cine(tmp_path)

    def test_labels_of_a_folder_are_no_phases(self, tmp_path):
        write(tmp_path, {"p_frame01": phase(0), "p_frame12": phase(3), "p_frame01_gt": phase(0), "seg": phase(0)})
        (tmp_path / "Info.cfg").write_text("ED: 1\n")
        assert open_cine(tmp_path).n_phases == 2

    def test_a_whole_cine_next_to_its_ed_and_es(self, tmp_path):
        """As ACDC has it: the 4D file is the exam, and what was left out is known."""
        saved(image_of(CINE), tmp_path / "p_4d.nii.gz")
        write(tmp_path, {"p_frame01": phase(0), "p_frame04": phase(3)})
        cine = open_cine(tmp_path)
        np.testing.assert_array_equal(cine.pixels, CINE.pixels)
        assert len(cine.source.not_picked) == 2

    def test_ed_and_es_on_other_grids(self, tmp_path):
        moved = phase(3)
        affine = moved.affine.copy()
        affine[:3, 3] += 5
        files = write(tmp_path, {"ED": phase(0), "ES": nib.Nifti1Image(np.asarray(moved.dataobj), affine)})
        with pytest.raises(GeometryError, match=r"called ED and ES and do not lie on one grid \(8.7 mm apart"):
            open_cine(files)

    def test_two_whole_cines(self, tmp_path):
        files = write(tmp_path, {"a1": part_of(), "a2": part_of()})
        with pytest.raises(InputError, match="6 phases in one: give only the one to read"):
            open_cine(files)


class TestSlices:
    @pytest.mark.parametrize("order", [1, -1])
    def test_a_file_a_slice(self, tmp_path, order):
        """In the order of their places, whatever their names are."""
        names = {f"n{9 - index}": one_slice(index) for index in range(exams.SLICES)[::order]}
        files = write(tmp_path, names)
        for given in (files, tmp_path):
            cine = open_cine(given)
            np.testing.assert_array_equal(cine.pixels, CINE.pixels)
            assert cine.grid.same_as(CINE.grid, 1e-3)
            assert cine.base_first is CINE.base_first

    def test_times_of_each_slice(self, tmp_path):
        for index in range(exams.SLICES):
            saved(one_slice(index), tmp_path / f"s{index}.nii.gz")
            times = (10 + np.arange(6) * (130 + index)).tolist()
            sidecar = {"TriggerTime": times, "NominalInterval": 800 + 10 * index}
            (tmp_path / f"s{index}.json").write_text(json.dumps(sidecar))
        cine = open_cine(tmp_path)
        assert cine.findings == ()
        np.testing.assert_allclose(cine.rr_intervals_ms, 800 + 10 * np.arange(5))
        np.testing.assert_allclose(cine.trigger_times_ms[1], 140 + np.arange(5))

    def test_a_file_a_frame(self, tmp_path):
        parts = {
            f"z{place}_t{number}": part_of(slices=slice(place, place + 1), phases=slice(number, number + 1))
            for place in range(5)
            for number in range(6)
        }
        write(tmp_path, parts)
        np.testing.assert_array_equal(open_cine(tmp_path).pixels, CINE.pixels)

    def test_a_slice_that_is_missing_is_noticed(self, tmp_path):
        files = write(tmp_path, {f"s{index}": one_slice(index) for index in (0, 1, 3, 4)})
        cine = open_cine(files)
        np.testing.assert_allclose(cine.grid.slice_distances_mm, [9, 18, 9], rtol=1e-4)
        assert "uneven-slice-distance" in exams.codes(cine)

    def test_slices_of_unequal_phases(self, tmp_path):
        parts = {"s0": one_slice(0), "s1": part_of(slices=slice(1, 2), phases=slice(0, 5))}
        with pytest.raises(InputError, match="has 6 phases and s1.nii.gz 5"):
            open_cine(write(tmp_path, parts))

    def test_a_slice_of_another_view(self, tmp_path):
        across = one_slice(1)
        turned = nib.Nifti1Image(np.asarray(across.dataobj), across.affine[[1, 2, 0, 3]])
        with pytest.raises(GeometryError, match="not slices of one stack"):
            open_cine(write(tmp_path, {"s0": one_slice(0), "s1": turned}))

    def test_other_views_of_a_folder_are_left_out(self, tmp_path):
        for index in range(4):
            saved(one_slice(index), tmp_path / f"s{index}.nii.gz")
        across = one_slice(1)
        saved(nib.Nifti1Image(np.asarray(across.dataobj), across.affine[[1, 2, 0, 3]]), tmp_path / "lax.nii.gz")
        cine = open_cine(tmp_path)
        np.testing.assert_array_equal(cine.pixels, CINE.pixels[:, :4])
        assert len(cine.source.not_picked) == 1

    def test_stacks_that_lie_elsewhere(self, tmp_path):
        files = write(tmp_path, {"a": part_of(slices=slice(0, 2)), "b": part_of(slices=slice(2, 4))})
        with pytest.raises(GeometryError, match="do not lie on one grid"):
            open_cine(files)


class TestWithoutPlace:
    def test_phases(self, tmp_path):
        files = write(tmp_path, {f"f{index}": phase(index, place=False) for index in (3, 0)})
        cine = open_cine(files)
        np.testing.assert_array_equal(cine.pixels, CINE.pixels[[0, 3]])

    def test_slices_by_their_names(self, tmp_path):
        for index in range(5):
            saved(one_slice(index, place=False), tmp_path / f"slice_{index + 7}.nii.gz")
        cine = open_cine(tmp_path)
        np.testing.assert_array_equal(cine.pixels, CINE.pixels)
        assert cine.grid.slice_distance_mm == pytest.approx(9)
        assert "uneven-slice-distance" in exams.codes(cine)

    def test_slices_without_names(self, tmp_path):
        files = write(tmp_path, {f"x{index}": one_slice(index, place=False) for index in range(3)})
        with pytest.raises(InputError, match="expected names like"):
            open_cine(files)

    def test_next_to_a_file_with_a_position(self, tmp_path):
        files = write(tmp_path, {"ED": phase(0, place=False), "ES": phase(3)})
        with pytest.raises(InputError, match="has no position in the patient"):
            open_cine(files)


class TestUse:
    def test_several_that_are_not_nifti(self, tmp_path, capsys):
        (tmp_path / "a.dcm").touch()
        with pytest.raises(UsageError, match="only if all are NIfTI"):
            open_cine([tmp_path / "a.dcm", tmp_path / "b.nii"])
        assert main(["analyze", str(tmp_path / "a.dcm"), str(tmp_path)]) == 2
        assert "give the folder of the exam" in capsys.readouterr().err

    def test_dicom_objects_cannot_be_made_of_a_folder_of_nifti(self, tmp_path, capsys):
        exam = tmp_path / "exam"
        exam.mkdir()
        write(exam, {"ED": phase(0), "ES": phase(3)})
        assert main(["analyze", str(exam), "-o", str(tmp_path / "out"), "--dicom"]) == 2
        assert "needs a DICOM exam" in capsys.readouterr().err

    def test_a_dicom_exam_with_a_nifti_file_in_it_is_dicom(self, tmp_path):
        exams.write_exam(tmp_path)
        saved(image_of(CINE), tmp_path / "converted.nii.gz")
        assert open_cine(tmp_path).source.kind == "dicom"

    @pytest.mark.parametrize(
        ("name", "labels"),
        [
            ("p_gt", True),
            ("seg_sa_ED", True),
            ("sa_ED", False),
            ("mask1", True),
            ("segments", False),
            ("Length", False),
        ],
    )
    def test_names_of_labels(self, name, labels):
        assert names.is_labels(f"{name}.nii.gz") is labels


@pytest.mark.data
@pytest.mark.skipif(shutil.which("dcm2niix") is None, reason="dcm2niix is absent: install the Debian package dcm2niix")
def test_a_real_exam_through_a_converter(siemens, tmp_path):
    """One series a slice, and five long-axis cines among them: pixel by pixel what DICOM gives."""
    done = subprocess.run(
        ["dcm2niix", "-z", "n", "-b", "y", "-o", str(tmp_path), "-f", "%s_%d", str(siemens)],
        capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    from_dicom, from_nifti = open_cine(siemens), open_cine(tmp_path)
    np.testing.assert_array_equal(from_nifti.pixels, from_dicom.pixels)
    assert from_nifti.grid.same_as(from_dicom.grid, 0.01)
    assert from_nifti.base_first is from_dicom.base_first
    assert exams.codes(from_nifti) == ["times-uncertain"]
    assert len(from_nifti.source.not_picked) == 5
