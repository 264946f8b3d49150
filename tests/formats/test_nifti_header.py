"""Headers that contradict themselves, and arrays whose axes come in any order."""

import nibabel as nib
import numpy as np
import pytest

import exams
from cinesax.cli.main import main
from cinesax.core.errors import GeometryError, UsageError
from cinesax.core.grid import stacked_grid
from cinesax.core.segmentation import Segmentation
from cinesax.core.selection import LabelReading, NiftiGeometry
from cinesax.core.structures import Structure
from cinesax.formats.nifti import write_segmentation
from cinesax.formats.nifti.labels import read_labels
from cinesax.inputs import open_cine, read_segmentation
from cinesax.measure.volumes import measure
from formats_nifti import ORDERS, RAS, image_of, reordered, saved


def header_of(path, *, sform=None, qform=None, pixdim=None, codes=(1, 1), units=None):
    """Write parts of a header as they are given: nibabel would bring them into step."""
    raw = bytearray(path.read_bytes())
    if pixdim is not None:
        raw[80 : 80 + 4 * len(pixdim)] = np.array(pixdim, "<f4").tobytes()
    if qform is not None:
        probe = nib.Nifti1Header()
        probe.set_qform(qform, code=1)
        raw[76:80] = np.array([probe["pixdim"][0]], "<f4").tobytes()
        raw[256:280] = b"".join(np.array([probe[name]], "<f4").tobytes() for name in _QUATERNION)
    if sform is not None:
        raw[280:328] = np.array(sform[:3], "<f4").tobytes()
    if units is not None:
        raw[123] = units
    raw[252:256] = np.array(codes, "<i2").tobytes()
    path.write_bytes(bytes(raw))
    return path


_QUATERNION = ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")


def labels_of(cine):
    labels = np.zeros(cine.pixels.shape, np.uint8)
    labels[0, 1, 3:9, 5:8] = Structure.CAVITY
    labels[0, 1, 3:5, 5:16] = Structure.MYOCARDIUM
    labels[2, -1, -4:, :2] = Structure.CAVITY
    labels[3, 0, 2:7, 2:12] = Structure.CAVITY
    known = np.array([True, False, True, True, False, False])
    myocardium = np.array([True, False, False, False, False, False])
    return Segmentation(labels, {Structure.CAVITY: known, Structure.MYOCARDIUM: myocardium})


class TestContradictions:
    @pytest.fixture
    def resampled(self, tmp_path):
        """Brought to half the pixels: pixdim and qform renewed, the old sform left, both codes 1."""
        cine = exams.small_cine()
        affine = RAS @ cine.grid.affine_lps()
        path = saved(image_of(cine), tmp_path / "c.nii")
        finer = affine @ np.diag([0.5, 0.5, 1, 1])
        return header_of(path, qform=finer, pixdim=np.linalg.norm(finer[:3, :3], axis=0))

    def test_all_three_are_shown_and_the_option_is_named(self, resampled, capsys):
        assert main(["analyze", str(resampled)]) == 5
        (line,) = capsys.readouterr().err.strip().splitlines()
        for part in ("sform says 1.2 x 1.4 x 9", "qform says 0.6 x 0.7 x 9", "pixdim says 0.6 x 0.7 x 9"):
            assert part in line
        assert "--nifti-geometry" in line

    @pytest.mark.parametrize(("part", "row_mm"), [("sform", 1.4), ("qform", 0.7), ("pixdim", 0.7)])
    def test_the_part_that_was_chosen_counts_and_the_contradiction_stays_known(self, resampled, part, row_mm):
        cine = open_cine(resampled, nifti_geometry=part)
        assert cine.grid.spacing_mm[0] == pytest.approx(row_mm)
        assert "geometry-chosen" in exams.codes(cine)

    def test_choosing_where_nothing_is_contradicted_changes_nothing(self, tmp_path):
        path = saved(image_of(exams.small_cine()), tmp_path / "c.nii")
        chosen = {part: open_cine(path, nifti_geometry=part) for part in (None, "sform", "qform", "pixdim")}
        for cine in chosen.values():
            assert cine.grid.spacing_mm == pytest.approx((1.4, 1.2), rel=1e-5)
        assert all("geometry-chosen" not in exams.codes(cine) for cine in chosen.values())
        assert chosen["sform"].grid.same_as(chosen["qform"].grid, 1e-3)

    def test_axes_of_another_orientation(self, tmp_path):
        """A file that was turned, and whose old sform was left."""
        image = image_of(exams.small_cine())
        turned = nib.Nifti1Image(np.ascontiguousarray(np.asarray(image.dataobj)[::-1]), None, image.header)
        path = saved(turned, tmp_path / "c.nii")
        mirrored = image.affine @ np.diag([-1, 1, 1, 1])
        header_of(path, sform=image.affine, qform=mirrored)
        with pytest.raises(GeometryError, match="contradicts itself in axes"):
            open_cine(path)

    def test_cubes_of_one_millimetre_with_the_old_sform(self, tmp_path):
        """The pixdim of 1 mm is then not one that was left out."""
        image = image_of(exams.small_cine())
        path = header_of(saved(image, tmp_path / "c.nii"), pixdim=(1, 1, 1), codes=(0, 1))
        with pytest.raises(GeometryError, match="pixdim says 1 x 1 x 1"):
            open_cine(path)

    @pytest.mark.parametrize("stored", ["step", "distance"])
    def test_a_sheared_stack_agrees_with_itself(self, tmp_path, stored):
        """qform has no shear: its slice axis leans; and pixdim holds the step or the distance of the planes."""
        cine = exams.small_cine()
        affine = RAS @ cine.grid.affine_lps()
        straight = affine.copy()
        affine[:3, 2] += 1.5 * affine[:3, 1]
        path = saved(image_of(cine), tmp_path / "c.nii")
        step = float(np.linalg.norm(affine[:3, 2])) if stored == "step" else exams.DISTANCE_MM
        header_of(path, sform=affine, qform=straight, pixdim=(1.2, 1.4, step))
        read = open_cine(path)
        assert read.grid.slice_distance_mm == pytest.approx(9, rel=1e-4)
        assert not {"geometry-chosen", "slice-axis-unclear"} & set(exams.codes(read))

    def test_rounded_spacing_is_no_contradiction(self, tmp_path):
        path = saved(image_of(exams.small_cine()), tmp_path / "c.nii")
        header_of(path, pixdim=(1.204, 1.396, 9.01), codes=(0, 1))
        assert open_cine(path).grid.spacing_mm == pytest.approx((1.4, 1.2))

    def test_a_unit_matrix_says_nothing_where_qform_says_more(self, tmp_path):
        cine = exams.small_cine()
        path = header_of(saved(image_of(cine), tmp_path / "c.nii"), sform=np.eye(4))
        assert open_cine(path).grid.same_as(cine.grid, 1e-3)

    def test_a_part_that_is_not_there(self, tmp_path):
        path = header_of(saved(image_of(exams.small_cine()), tmp_path / "c.nii"), codes=(0, 1))
        with pytest.raises(UsageError, match="has no usable qform"):
            open_cine(path, nifti_geometry="qform")

    def test_labels_that_contradict_themselves(self, resampled, tmp_path):
        cine = exams.small_cine()
        write_segmentation(labels_of(cine), cine, tmp_path / "s.nii")
        raw = bytearray((tmp_path / "s.nii").read_bytes())
        raw[80:92] = np.array([0.6, 0.7, 9], "<f4").tobytes()
        (tmp_path / "s.nii").write_bytes(bytes(raw))
        with pytest.raises(GeometryError, match="contradicts itself"):
            read_segmentation(tmp_path / "s.nii", cine)
        read, _ = read_segmentation(tmp_path / "s.nii", cine, LabelReading(nifti_geometry=NiftiGeometry.SFORM))
        np.testing.assert_array_equal(read.labels, labels_of(cine).labels)


class TestUnits:
    @pytest.mark.parametrize("units", [4, 74, 255, 0])
    def test_unknown_codes_are_unknown(self, tmp_path, units):
        path = header_of(saved(image_of(exams.small_cine()), tmp_path / "c.nii"), units=units)
        cine = open_cine(path)
        assert cine.grid.spacing_mm == pytest.approx((1.4, 1.2))
        assert cine.rr_interval_ms == pytest.approx(840, rel=1e-4)

    @pytest.mark.parametrize("units", [8 + 1, 8 + 3])
    def test_a_unit_that_cannot_be(self, tmp_path, units):
        path = header_of(saved(image_of(exams.small_cine()), tmp_path / "c.nii"), units=units)
        with pytest.raises(GeometryError, match="correct xyzt_units"):
            open_cine(path)

    @pytest.mark.parametrize("units", [32 + 2, 40 + 2, 48 + 2])
    def test_hertz_are_no_time(self, tmp_path, units):
        cine = open_cine(header_of(saved(image_of(exams.small_cine()), tmp_path / "c.nii"), units=units))
        assert cine.heart_rate_bpm is None

    def test_ed_and_es_are_no_beat(self, tmp_path):
        """Of two moments of the beat pixdim[4] tells no heart rate, whatever it holds."""
        cine = exams.small_cine()
        pair = nib.Nifti1Image(np.ascontiguousarray(cine.pixels[:2].transpose(3, 2, 1, 0)), image_of(cine).affine)
        pair.header.set_zooms((*pair.header.get_zooms()[:3], 0.4))
        pair.header.set_xyzt_units("mm", "sec")
        assert open_cine(saved(pair, tmp_path / "c.nii")).heart_rate_bpm is None


class TestAxes:
    @pytest.mark.parametrize(("order", "signs"), ORDERS)
    def test_a_cine_in_any_order_of_axes(self, tmp_path, order, signs):
        cine = exams.small_cine()
        read = open_cine(saved(reordered(image_of(cine), order, signs), tmp_path / "c.nii"))
        assert read.n_slices == exams.SLICES
        assert read.grid.slice_distance_mm == pytest.approx(exams.DISTANCE_MM, rel=1e-5)
        assert "slice-axis-unclear" not in exams.codes(read)
        assert read.grid.same_as(cine.grid, 1e-3)
        np.testing.assert_array_equal(read.pixels, cine.pixels)
        assert read.base_first is cine.base_first

    @pytest.mark.parametrize(("order", "signs"), ORDERS)
    def test_labels_in_any_order_of_axes(self, tmp_path, order, signs):
        cine, labels = exams.small_cine(), labels_of(exams.small_cine())
        write_segmentation(labels, cine, tmp_path / "s.nii")
        path = saved(reordered(nib.load(tmp_path / "s.nii"), order, signs), tmp_path / "t.nii")
        read = read_labels(path, cine)
        np.testing.assert_array_equal(read.labels, labels.labels)
        assert read.findings == ()
        assert measure(cine, read).edv_ml == measure(cine, labels).edv_ml

    def test_canonical_image_and_labels_give_the_same_volume(self, tmp_path):
        cine, labels = exams.small_cine(), labels_of(exams.small_cine())
        write_segmentation(labels, cine, tmp_path / "s.nii")
        canonical = nib.as_closest_canonical(image_of(cine))
        assert canonical.shape != image_of(cine).shape
        read = open_cine(saved(canonical, tmp_path / "c.nii"))
        for path in (
            tmp_path / "s.nii",
            saved(nib.as_closest_canonical(nib.load(tmp_path / "s.nii")), tmp_path / "t.nii"),
        ):
            measured = measure(read, read_labels(path, read))
            assert measured.edv_ml == pytest.approx(measure(cine, labels).edv_ml, rel=1e-5)

    @pytest.mark.parametrize(("order", "signs"), [((2, 0, 1), (1, 1, 1)), ((0, 1, 2), (-1, 1, 1))])
    def test_labels_without_a_place_lie_as_the_image_does(self, tmp_path, order, signs):
        """Both arrays of one order, and only the image has an affine: the slices are not turned round."""
        cine, labels = exams.small_cine(), labels_of(exams.small_cine())
        write_segmentation(labels, cine, tmp_path / "s.nii")
        image = reordered(image_of(cine), order, signs)
        masks = reordered(nib.load(tmp_path / "s.nii"), order, signs)
        read = open_cine(saved(image, tmp_path / "c.nii"))
        bare = saved(nib.Nifti1Image(np.asarray(masks.dataobj), np.eye(4)), tmp_path / "t.nii")
        placed = saved(masks, tmp_path / "u.nii")
        np.testing.assert_array_equal(read_labels(bare, read).labels, read_labels(placed, read).labels)

    def test_labels_without_a_place_on_a_dicom_exam_are_doubted(self, tmp_path):
        cine, labels = exams.small_cine(), labels_of(exams.small_cine())
        data = np.ascontiguousarray(labels.labels.transpose(3, 2, 1, 0))
        read = read_labels(saved(nib.Nifti1Image(data, np.eye(4)), tmp_path / "t.nii"), cine)
        assert [finding.code for finding in read.findings] == ["labels-without-place"]

    def test_cubes_by_the_axis_of_the_heart(self, tmp_path):
        """Resampled to cubes of 2 mm, fewer slices than pixels or not: the affine knows which way the heart lies."""
        grid = stacked_grid(
            (0, 0, 0), spacing_mm=(2, 2), slice_distance_mm=2, shape=(22, 20, 24),
            along_row=exams.ALONG_ROW, along_column=exams.ALONG_COLUMN,
        )  # fmt: skip
        pixels = np.random.default_rng(1).integers(0, 900, (6, 22, 20, 24)).astype(np.int16)
        cine = exams.small_cine(pixels=pixels, grid=grid, trigger_times_ms=None, rr_intervals_ms=None)
        read = open_cine(saved(nib.as_closest_canonical(image_of(cine)), tmp_path / "c.nii"))
        assert read.n_slices == 22
        assert "slice-axis-unclear" not in exams.codes(read)

    def test_where_nothing_tells_it_is_said(self, tmp_path):
        data = np.zeros((20, 22, 24, 6), np.int16)
        read = open_cine(saved(nib.Nifti1Image(data, np.diag([2.0, 2, 2, 1])), tmp_path / "c.nii"))
        assert read.n_slices == 24
        assert "slice-axis-unclear" in exams.codes(read)

    def test_slices_on_the_first_axis_of_a_file_without_a_place(self, tmp_path):
        data = np.zeros((5, 20, 24, 6), np.int16)
        path = header_of(
            saved(nib.Nifti1Image(data, np.eye(4)), tmp_path / "c.nii"), pixdim=(9, 1.4, 1.2), codes=(0, 0)
        )
        read = open_cine(path)
        assert read.pixels.shape == (6, 5, 24, 20)
        assert read.grid.spacing_mm == pytest.approx((1.2, 1.4))
        assert (read.grid.slice_distance_mm, read.base_first) == (pytest.approx(9), None)
