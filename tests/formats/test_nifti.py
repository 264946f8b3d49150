"""NIfTI against a second reader, SimpleITK, and against what public sets are known to hold."""

import gzip
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

import exams
import hearts
from cinesax.core.errors import GeometryError, InputError, OutputError, UsageError
from cinesax.core.grid import Grid
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import Structure
from cinesax.formats.nifti import read_cine, write_segmentation
from cinesax.formats.nifti.labels import read_labels
from cinesax.inputs import open_cine
from cinesax.measure.volumes import measure


def _labels(cine):
    """Asymmetric labels: no flip or exchange of axes leaves them as they are."""
    labels = np.zeros(cine.pixels.shape, np.uint8)
    labels[0, 1, 3:9, 5:8] = Structure.CAVITY
    labels[0, 1, 3:5, 5:16] = Structure.MYOCARDIUM
    labels[2, -1, -4:, :2] = Structure.CAVITY
    known = np.zeros(cine.n_phases, bool)
    known[[0, 2]] = True
    myocardium = np.zeros(cine.n_phases, bool)
    myocardium[0] = True
    return Segmentation(labels, {Structure.CAVITY: known, Structure.MYOCARDIUM: myocardium})


def _save(path, data, *, affine=None, zooms=None, units=("mm", "unknown")):
    image = nib.Nifti1Image(data, affine)
    if zooms is not None:
        image.header.set_zooms(zooms)
    image.header.set_xyzt_units(*units)
    nib.save(image, path)
    return path


def _sitk_volume(path, phase):
    image = SimpleITK.ReadImage(str(path))
    size = list(image.GetSize())
    return SimpleITK.Extract(image, [*size[:3], 0], [0, 0, 0, phase])


class TestSegmentation:
    def test_every_voxel_lies_where_the_second_reader_says(self, tmp_path):
        cine = exams.small_cine()
        segmentation = _labels(cine)
        write_segmentation(segmentation, cine, tmp_path / "s.nii.gz")
        for phase in range(cine.n_phases):
            volume = _sitk_volume(tmp_path / "s.nii.gz", phase)
            np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(volume), segmentation.labels[phase])
            for index in [(0, 0, 0), (4, 0, 0), (2, 19, 23), (1, 7, 3)]:
                point = volume.TransformIndexToPhysicalPoint([index[2], index[1], index[0]])
                np.testing.assert_allclose(point, cine.grid.to_patient(index), atol=1e-3)

    @pytest.mark.data
    @pytest.mark.parametrize("study", ["SC-HF-I-01", "SC-HF-I-02", "SC-HF-I-04"])
    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_real_geometry_by_two_readers_that_are_not_this_one(self, sunnybrook, tmp_path, study):
        """SimpleITK reads DICOM file and NIfTI: one voxel, one place in the patient."""
        cine = open_cine(sunnybrook / "dicom" / study / "cine_sax")
        known = {Structure.CAVITY: np.ones(cine.n_phases, bool)}
        labels = (cine.pixels > np.percentile(cine.pixels, 90)).astype(np.uint8)
        write_segmentation(Segmentation(labels, known), cine, tmp_path / "s.nii.gz")
        volume = _sitk_volume(tmp_path / "s.nii.gz", 0)
        for index, number in enumerate(cine.source.instance_numbers[0]):
            frame = SimpleITK.ReadImage(str(sunnybrook / "dicom" / study / "cine_sax" / f"{number}.dcm"))
            for column, row in [(0, 0), (255, 0), (0, 255), (130, 90)]:
                np.testing.assert_allclose(
                    volume.TransformIndexToPhysicalPoint([column, row, index]),
                    frame.TransformIndexToPhysicalPoint([column, row, 0]),
                    atol=0.01,
                )
            np.testing.assert_array_equal(
                SimpleITK.GetArrayFromImage(volume)[index] > 0,
                SimpleITK.GetArrayFromImage(frame)[0] > np.percentile(cine.pixels, 90),
            )

    def test_header(self, tmp_path):
        cine = exams.small_cine()
        write_segmentation(_labels(cine), cine, tmp_path / "s.nii.gz")
        header = nib.load(tmp_path / "s.nii.gz").header
        assert header.get_xyzt_units() == ("mm", "sec")
        np.testing.assert_allclose(header.get_zooms(), (1.2, 1.4, 9.0, 0.8 / 6 + 0.02 / 6), rtol=1e-4)
        assert (int(header["qform_code"]), int(header["sform_code"])) == (1, 1)
        assert header.get_data_dtype() == np.uint8

    def test_round_trip(self, tmp_path):
        cine = exams.small_cine()
        segmentation = _labels(cine)
        write_segmentation(segmentation, cine, tmp_path / "s.nii")
        read = read_labels(tmp_path / "s.nii", cine)
        np.testing.assert_array_equal(read.labels, segmentation.labels)
        assert set(read.known_phases) == set(segmentation.known_phases)
        for structure in read.known_phases:
            np.testing.assert_array_equal(read.known_phases[structure], segmentation.known_phases[structure])

    def test_the_right_ventricle_round_trip(self, tmp_path):
        cine = exams.small_cine()
        labels = _labels(cine).labels.copy()
        labels[:2, :, 0:3, 0:3] = Structure.RV_CAVITY
        both = Segmentation(labels, {one: np.ones(len(labels), bool) for one in list(Structure)[:3]})
        write_segmentation(both, cine, tmp_path / "s.nii")
        read = read_labels(tmp_path / "s.nii", cine)
        np.testing.assert_array_equal(read.labels, labels)
        assert np.flatnonzero(read.known_phases[Structure.RV_CAVITY]).tolist() == [0, 1]

    def test_labels_numbered_as_acdc_does_are_refused_for_left_and_right_would_change_places(self, tmp_path):
        cine = hearts.cine()
        labels = np.zeros(cine.pixels.shape, np.uint8)
        labels[:, 1:5, 10:30, 10:30], labels[:, 1:5, 14:26, 14:26], labels[:, 1:5, 12:28, 30:40] = 2, 3, 1
        numbered = Segmentation(labels, {one: np.ones(len(labels), bool) for one in list(Structure)[:3]})
        write_segmentation(numbered, cine, tmp_path / "acdc.nii")
        with pytest.raises(InputError, match=r"as ACDC does \(1 RV, 3 LV\)"):
            read_labels(tmp_path / "acdc.nii", cine)
        ours = replace(numbered, labels=np.array([0, 3, 2, 1], np.uint8)[labels])
        write_segmentation(ours, cine, tmp_path / "ours.nii")
        np.testing.assert_array_equal(read_labels(tmp_path / "ours.nii", cine).labels, ours.labels)

    def test_same_labels_give_the_same_bytes_and_no_other_file(self, tmp_path):
        cine = exams.small_cine()
        for name in ("a.nii.gz", "b.nii.gz"):
            write_segmentation(_labels(cine), cine, tmp_path / name)
        assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nii.gz", "b.nii.gz"]

    def test_slices_that_are_not_on_one_line_are_noted_in_the_header(self, tmp_path):
        cine = exams.small_cine()
        origins = cine.grid.origins_mm + np.array([0, 0, 0, 0, 3.0])[:, None] * cine.grid.normal
        grid = Grid(origins, cine.grid.along_row, cine.grid.along_column, cine.grid.spacing_mm, cine.grid.shape)
        write_segmentation(_labels(cine), exams.small_cine(grid=grid), tmp_path / "s.nii")
        assert b"mean step" in nib.load(tmp_path / "s.nii").header["descrip"].item()

    @pytest.mark.parametrize("moved", [[0, 0, 0, 9.0, 9.0], [0, 4.0, 0, 4.0, 0]])
    def test_labels_of_uneven_slices_are_read_back_on_the_same_exam(self, tmp_path, moved):
        cine = exams.small_cine()
        along = cine.grid.normal if moved[1] == 0 else cine.grid.along_row
        uneven = replace(cine.grid, origins_mm=cine.grid.origins_mm + np.array(moved)[:, None] * along)
        cine = exams.small_cine(grid=uneven)
        write_segmentation(_labels(cine), cine, tmp_path / "s.nii")
        np.testing.assert_array_equal(read_labels(tmp_path / "s.nii", cine).labels, _labels(cine).labels)

    def test_a_missing_folder_and_another_suffix(self, tmp_path):
        cine = exams.small_cine()
        with pytest.raises(OutputError, match="cannot be written"):
            write_segmentation(_labels(cine), cine, tmp_path / "absent" / "s.nii")
        with pytest.raises(OutputError, match=r"must end in \.nii"):
            write_segmentation(_labels(cine), cine, tmp_path / "s.txt")

    def test_labels_of_another_grid_are_refused(self, tmp_path):
        cine = exams.small_cine()
        write_segmentation(_labels(cine), cine, tmp_path / "s.nii")
        moved = Grid(
            cine.grid.origins_mm + 5,
            cine.grid.along_row,
            cine.grid.along_column,
            cine.grid.spacing_mm,
            cine.grid.shape,
        )
        with pytest.raises(GeometryError, match="another grid"):
            read_labels(tmp_path / "s.nii", exams.small_cine(grid=moved))
        with pytest.raises(GeometryError, match="has shape"):
            read_labels(tmp_path / "s.nii", exams.small_cine(slices=4))

    @pytest.mark.parametrize("value", [9, 0.5, -1, 257])
    def test_values_that_are_no_labels(self, tmp_path, value):
        cine = exams.small_cine()
        _save(tmp_path / "s.nii", np.full((24, 20, 5, 6), value, np.float32), affine=np.eye(4))
        with pytest.raises(InputError, match="values other than the labels"):
            read_labels(tmp_path / "s.nii", cine)


class TestCine:
    def test_a_cine_as_a_converter_writes_it(self, tmp_path):
        """Rows upside down, as dcm2niix writes them: left-handed axes; every voxel keeps its place."""
        cine = exams.small_cine()
        data = cine.pixels.transpose(3, 2, 1, 0)[:, ::-1]
        affine = cine.grid.affine_lps()
        affine[:3, 3] += affine[:3, 1] * (exams.ROWS - 1)
        affine[:3, 1] *= -1
        zooms = (1.2, 1.4, 9.0, 0.04 * 1000 / 1000)
        path = _save(tmp_path / "c.nii.gz", data, affine=np.diag([-1, -1, 1, 1]) @ affine, units=("mm", "sec"))
        image = nib.load(path)
        image.header.set_zooms((*zooms[:3], 0.14))
        nib.save(image, tmp_path / "c2.nii.gz")
        read = open_cine(tmp_path / "c2.nii.gz")
        for phase, i, row, column in [(0, 0, 0, 0), (3, 4, 7, 9), (5, 2, 19, 23)]:
            point = cine.grid.to_patient((i, row, column))
            j = int(np.argmin(np.abs(read.grid.positions_mm - read.grid.normal @ point)))
            r, c = read.grid.to_pixel(point, j)
            np.testing.assert_allclose([r, c], np.rint([r, c]), atol=1e-3)
            assert read.pixels[phase, j, round(r), round(c)] == cine.pixels[phase, i, row, column]
        assert read.rr_interval_ms == pytest.approx(840)
        np.testing.assert_allclose(read.trigger_times_ms[:, 0], 140 * np.arange(6), rtol=1e-5)
        assert read.base_first is cine.base_first is False
        assert read.grid.same_as(cine.grid)

    @pytest.mark.parametrize("signs", [(1, 1), (-1, -1)])
    def test_spacing_from_pixdim_where_the_affine_is_a_unit_matrix(self, tmp_path, signs):
        data = np.zeros((24, 20, 5, 6), np.int16)
        image = nib.Nifti1Image(data, np.diag([*signs, 1, 1]))
        image.header["pixdim"][1:5] = (1.25, 1.5, 10, 0.03)
        nib.save(image, tmp_path / "c.nii")
        raw = bytearray((tmp_path / "c.nii").read_bytes())
        assert np.frombuffer(raw[80:92], "<f4").tolist() == [1.25, 1.5, 10]
        cine = read_cine(tmp_path / "c.nii")
        assert cine.grid.spacing_mm == pytest.approx((1.5, 1.25))
        assert cine.grid.slice_distance_mm == pytest.approx(10)

    def test_three_dimensions_are_one_phase(self, tmp_path):
        path = _save(tmp_path / "c.nii", np.zeros((8, 9, 5), np.int16), affine=np.diag([1.5, 1.5, 8, 1]))
        cine = read_cine(path)
        assert cine.pixels.shape == (1, 5, 9, 8)
        assert cine.trigger_times_ms is None

    def test_no_spacing_anywhere_is_reported_and_gives_no_volumes(self, tmp_path):
        path = _save(tmp_path / "c.nii", np.zeros((24, 20, 5, 6), np.int16), affine=np.eye(4))
        cine = read_cine(path)
        assert "unknown-spacing" in exams.codes(cine)
        measured = measure(cine, _labels(cine))
        assert (measured.edv_ml, measured.ef_basis) == (None, "areas")

    def test_one_millimetre_on_turned_axes_is_a_spacing(self, tmp_path):
        affine = np.eye(4)[[0, 2, 1, 3]] * [[1], [1], [-1], [1]]
        path = _save(tmp_path / "c.nii", np.zeros((24, 20, 5, 6), np.int16), affine=affine)
        cine = read_cine(path)
        assert "unknown-spacing" not in exams.codes(cine)
        assert (cine.grid.spacing_mm, cine.grid.slice_distance_mm) == ((1.0, 1.0), 1.0)

    @pytest.mark.parametrize(
        ("step", "unit", "expected_ms"),
        [(0.04, "sec", 40), (40, "msec", 40), (40_000, "usec", 40), (40, "unknown", 40), (0.04, "unknown", 40)],
    )
    def test_units_of_time(self, tmp_path, step, unit, expected_ms):
        data = np.zeros((8, 9, 5, 20), np.int16)
        path = _save(tmp_path / "c.nii", data, affine=np.diag([2, 2, 8, 1]), zooms=(2, 2, 8, step), units=("mm", unit))
        assert read_cine(path).trigger_times_ms[1, 0] == pytest.approx(expected_ms, rel=1e-5)

    @pytest.mark.parametrize("step", [0, 1])
    def test_a_step_that_is_no_heart_beat_is_no_time(self, tmp_path, step):
        data = np.zeros((8, 9, 5, 20), np.int16)
        path = _save(tmp_path / "c.nii", data, affine=np.diag([2, 2, 8, 1]), zooms=(2, 2, 8, step), units=("mm", "sec"))
        cine = read_cine(path)
        assert cine.heart_rate_bpm is None
        assert "missing-trigger-times" in exams.codes(cine)

    def test_metres(self, tmp_path):
        data = np.zeros((8, 9, 5), np.int16)
        path = _save(tmp_path / "c.nii", data, affine=np.diag([0.002, 0.002, 0.008, 1]), units=("meter", "sec"))
        assert read_cine(path).grid.spacing_mm == pytest.approx((2, 2))

    def test_series_is_meaningless(self, tmp_path):
        path = _save(tmp_path / "c.nii", np.zeros((8, 9, 5), np.int16), affine=np.eye(4))
        with pytest.raises(UsageError, match="has no series"):
            open_cine(path, series_uid="1.2")


class TestBadInput:
    def test_not_there(self, tmp_path):
        with pytest.raises(InputError, match="does not exist"):
            open_cine(tmp_path / "c.nii.gz")

    @pytest.mark.parametrize("content", [b"", b"no nifti", b"\x1f\x8b broken", bytes(348)])
    @pytest.mark.parametrize("name", ["c.nii", "c.nii.gz"])
    def test_not_nifti(self, tmp_path, name, content):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError):
            open_cine(tmp_path / name)

    @pytest.mark.parametrize("name", ["c.nii", "c.nii.gz"])
    @pytest.mark.parametrize("part", [0.1, 0.5, 0.98])
    def test_truncated(self, tmp_path, name, part):
        data = np.random.default_rng(0).integers(0, 1000, (24, 20, 5, 6)).astype(np.int16)
        path = _save(tmp_path / name, data, affine=np.diag([2, 2, 8, 1]))
        whole = path.read_bytes()
        path.write_bytes(whole[: int(part * len(whole))])
        with pytest.raises(InputError, match="not a readable NIfTI"):
            open_cine(path)

    def test_impossible_size(self, tmp_path):
        path = _save(tmp_path / "c.nii", np.zeros((8, 9, 5), np.int16), affine=np.diag([2, 2, 8, 1]))
        data = bytearray(path.read_bytes())
        data[40:56] = np.array([4, 32000, 32000, 32000, 32000, 1, 1, 1], "<i2").tobytes()
        path.write_bytes(gzip.compress(bytes(data)))
        target = path.rename(tmp_path / "c.nii.gz")
        with pytest.raises(InputError):
            open_cine(target)

    @pytest.mark.parametrize("shape", [(8, 9), (8, 9, 5, 4, 3)])
    def test_other_dimensions(self, tmp_path, shape):
        path = _save(tmp_path / "c.nii", np.zeros(shape, np.int16), affine=np.eye(4))
        with pytest.raises(InputError, match="expected"):
            open_cine(path)

    def test_values_that_are_not_finite(self, tmp_path):
        path = _save(tmp_path / "c.nii", np.full((8, 9, 5), np.nan, np.float32), affine=np.eye(4))
        with pytest.raises(InputError, match="not finite"):
            open_cine(path)

    def test_complex_values(self, tmp_path):
        path = _save(tmp_path / "c.nii", np.zeros((8, 9, 5), np.complex64), affine=np.eye(4))
        with pytest.raises(InputError, match="expected grey images"):
            open_cine(path)

    def test_axes_that_are_not_at_right_angles(self, tmp_path):
        affine = np.diag([2.0, 2, 8, 1])
        affine[0, 1] = 1
        path = _save(tmp_path / "c.nii", np.zeros((8, 9, 5), np.int16), affine=affine)
        with pytest.raises(GeometryError, match="right angles"):
            open_cine(path)
