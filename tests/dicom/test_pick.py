"""Opening an exam and picking its short-axis cine, on real studies and on small ones spoiled on purpose."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

import exams
import objects
from cinesax.analyze import analyze
from cinesax.core.cine import Cine
from cinesax.core.errors import GeometryError, InputError, NoShortAxisError, UsageError
from cinesax.core.grid import stacked_grid
from cinesax.core.orientation import USUAL_LONG_AXIS
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import Structure
from cinesax.dicom.read.exam import Ignored, open_exam
from cinesax.dicom.read.header import Reason
from cinesax.dicom.read.pick import pick_short_axis, read_cine
from cinesax.dicom.read.series import SeriesKind
from cinesax.dicom.write.options import DicomOptions
from cinesax.inputs import open_cine
from cinesax.results.write import write_results

STUDIES = {"SC-HF-I-01": (12, 10.0), "SC-HF-I-02": (13, 10.0), "SC-HF-I-04": (10, 8.0)}


def _off_axis_cine(degrees: float) -> Cine:
    """The small cine across an axis that lies so far off the usual one."""
    off = np.deg2rad(degrees)
    aside = np.cross(USUAL_LONG_AXIS, (0.0, 0.0, 1.0))
    aside /= np.linalg.norm(aside)
    normal = np.cos(off) * USUAL_LONG_AXIS + np.sin(off) * aside
    row = np.cross(normal, (1.0, 0.0, 0.0))
    row /= np.linalg.norm(row)
    cine = exams.small_cine()
    grid = stacked_grid(
        (-40.0, -150.0, 60.0),
        spacing_mm=(1.4, 1.2),
        slice_distance_mm=exams.DISTANCE_MM,
        shape=cine.grid.shape,
        along_row=row,
        along_column=np.cross(normal, row),
    )
    return replace(cine, grid=grid)


@pytest.fixture(scope="module", params=STUDIES)
def study(request, sunnybrook):
    """One real study: its name, its folder, its cine as read."""
    folder = sunnybrook / "dicom" / request.param
    return request.param, folder, open_cine(folder)


def _plain_headers(folder: Path) -> list[pydicom.Dataset]:
    instances = [pydicom.dcmread(path) for path in (folder / "cine_sax").iterdir()]
    return sorted(instances, key=lambda one: int(one.InstanceNumber))


@pytest.mark.data
class TestRealStudies:
    def test_size_and_true_distances(self, study):
        name, _, cine = study
        slices, distance = STUDIES[name]
        assert (cine.n_phases, cine.n_slices) == (20, slices)
        np.testing.assert_allclose(cine.grid.slice_distances_mm, distance, atol=0.01)
        assert cine.grid.is_straight()
        assert 1.285 < cine.grid.spacing_mm[0] < 1.375

    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_every_frame_is_where_its_header_says(self, study):
        _, folder, cine = study
        place = {
            number: (phase, i) for phase, row in enumerate(cine.source.instance_numbers) for i, number in enumerate(row)
        }
        plain = _plain_headers(folder)
        assert len(plain) == cine.n_phases * cine.n_slices == len(place)
        for one in plain:
            phase, i = place[int(one.InstanceNumber)]
            np.testing.assert_array_equal(cine.pixels[phase, i], one.pixel_array)
            np.testing.assert_allclose(cine.grid.origins_mm[i], [float(x) for x in one.ImagePositionPatient], atol=1e-3)
            assert cine.trigger_times_ms[phase, i] == float(one.TriggerTime)
            assert cine.rr_intervals_ms[i] == float(one.NominalInterval)
            assert cine.source.instance_uids[phase][i] == one.SOPInstanceUID

    def test_each_oddity_is_told_once(self, study):
        _, _, cine = study
        codes = exams.codes(cine)
        assert len(codes) == len(set(codes))
        assert {"invalid-uid", "invalid-date", "frame-of-reference-per-file", "slice-location-misleading"} == set(codes)

    def test_every_slice_has_its_own_beat(self, sunnybrook):
        cine = open_cine(sunnybrook / "dicom" / "SC-HF-I-01")
        assert len(set(cine.rr_intervals_ms)) > 3
        assert 75 < cine.heart_rate_bpm < 82
        assert np.all(np.diff(cine.trigger_times_ms, axis=0) > 0)

    def test_the_apex_comes_first_along_the_normal(self, study):
        # Seen in the images and in the expert contours: see test_contours for the areas.
        assert study[2].base_first is False

    def test_the_scout_is_rejected_as_localizer(self, sunnybrook):
        pick = pick_short_axis(open_exam(sunnybrook / "dicom" / "SC-HF-I-01"))
        assert [one.n_instances for one in pick.series] == [240]
        assert [(one.kind, reason) for one, reason in pick.rejections] == [
            (SeriesKind.LOCALIZER, "one phase in 3 orientations")
        ]

    def test_the_scout_alone_is_no_cine(self, sunnybrook):
        with pytest.raises(NoShortAxisError, match="SCOUT.*localizer"):
            open_cine(sunnybrook / "dicom" / "SC-HF-I-01" / "scout")

    def test_names_and_places_of_files_mean_nothing(self, sunnybrook, tmp_path):
        source = sunnybrook / "dicom" / "SC-HF-I-04" / "cine_sax"
        expected = open_cine(source)
        rng = np.random.default_rng(1)
        for i, path in zip(rng.permutation(10_000), sorted(source.iterdir()), strict=False):
            target = tmp_path / f"d{i % 3}" / f"e{i % 2}" / f"file{i}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        read = open_cine(tmp_path)
        np.testing.assert_array_equal(read.pixels, expected.pixels)
        assert read.grid.same_as(expected.grid)
        assert read.source == expected.source


class TestRoundTrip:
    def test_what_was_written_is_read(self, tmp_path):
        cine = exams.small_cine()
        exams.write_exam(tmp_path, cine)
        read = open_cine(tmp_path)
        np.testing.assert_array_equal(read.pixels, cine.pixels)
        assert read.pixels.dtype == np.uint16
        assert read.grid.same_as(cine.grid, tolerance_mm=1e-4)
        np.testing.assert_allclose(read.trigger_times_ms, cine.trigger_times_ms, atol=1e-6)
        np.testing.assert_allclose(read.rr_intervals_ms, cine.rr_intervals_ms)
        assert read.patient == cine.patient
        assert read.base_first is cine.base_first
        assert read.findings == ()

    def test_one_file_of_a_cine_is_no_cine(self, tmp_path):
        files = exams.write_exam(tmp_path)
        with pytest.raises(NoShortAxisError, match="one phase"):
            open_cine(files[0])

    def test_patient_facts_that_were_not_entered_or_are_not_valid(self, tmp_path):
        exams.edit(exams.write_exam(tmp_path), PatientSize="0", PatientWeight="0", PatientAge="045Y", PatientSex="X")
        patient = open_cine(tmp_path).patient
        assert (patient.height_cm, patient.weight_kg, patient.age_years, patient.sex) == (None, None, 45, None)

    @pytest.mark.parametrize(("stored", "height"), [("3.5", "350 cm"), ("170", "17000 cm"), ("-1.8", "-180 cm")])
    def test_a_body_size_that_cannot_be_is_reported_and_not_used(self, tmp_path, stored, height):
        exams.edit(exams.write_exam(tmp_path), PatientSize=stored, PatientWeight="80")
        cine = open_cine(tmp_path)
        known = {Structure.CAVITY: np.ones(cine.n_phases, bool)}
        labels = np.zeros(cine.pixels.shape, np.uint8)
        labels[:, 1:3, 4:9, 4:9] = Structure.CAVITY
        analysis = analyze(cine, segmentation=Segmentation(labels, known))
        assert (analysis.measurements.height_cm, analysis.measurements.weight_kg) == (None, 80)
        assert any(f"height of {height} lies outside" in finding.message for finding in analysis.findings)

    def test_names_in_other_alphabets(self, tmp_path):
        files = exams.write_exam(tmp_path)
        exams.edit(files, PatientName="Ünal^Jürgen=山田^太郎")
        assert open_cine(tmp_path).patient.name == "Ünal^Jürgen=山田^太郎"
        exams.edit(files, SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName="Yamada^Tarou=山田^太郎")
        assert open_cine(tmp_path).patient.name == "Yamada^Tarou=山田^太郎"

    def test_images_of_two_patients_under_one_uid_are_not_one_heart(self, tmp_path):
        files = exams.write_exam(tmp_path)
        exams.edit(files[: exams.PHASES], PatientID="other")
        with pytest.raises(InputError, match="images of 2 patients"):
            open_cine(tmp_path)

    def test_another_patient_of_the_folder_is_not_named_either(self, tmp_path):
        exams.write_exam(tmp_path / "a")
        other = replace(
            exams.small_cine(), source=replace(exams.small_cine().source, study_uid="1.2.9", series_uids=("1.2.9.1",))
        )
        files = exams.write_exam(tmp_path / "b", other, number=2, description="SAX Smith 998877")
        exams.edit(files, PatientName="SMITH^JOHN", PatientID="998877")
        ((name, _),) = open_cine(tmp_path, series_uid="1.2.3.4.5").source.not_picked
        assert name == "2 'SAX [removed] [removed]'"


class TestPicking:
    def test_one_series_a_slice_is_one_stack(self, tmp_path):
        files = exams.write_exam(tmp_path)
        for i in range(exams.SLICES):
            part = files[i * exams.PHASES : (i + 1) * exams.PHASES]
            exams.edit(part, SeriesInstanceUID=f"1.2.9.{i}", SeriesNumber=30 + i)
        pick = pick_short_axis(open_exam(tmp_path))
        assert len(pick.series) == exams.SLICES
        assert "5 series" in pick.reason
        np.testing.assert_array_equal(read_cine(pick).pixels, exams.small_cine().pixels)

    @pytest.mark.parametrize(
        ("changes", "joined"),
        [
            ({}, True),
            ({"EchoTime": "1.1"}, False),
            ({"SequenceName": "*tfi2d1_rt"}, False),
            ({"InversionTime": "300"}, False),
            ({"SeriesDescription": "TI scout SAX"}, False),
            ({"PixelSpacing": ["1.8", "1.8"]}, False),
        ],
    )
    def test_a_slice_of_the_stack_acquired_again_as_a_series_of_its_own(self, tmp_path, changes, joined):
        """Only the same way of imaging is the same slice again: a real-time or inversion-recovery cine is not."""
        exams.write_exam(tmp_path / "all")
        again = exams.write_exam(tmp_path / "again", number=40, series_uid="1.2.9.40")
        for path in again[exams.PHASES :]:
            path.unlink()
        kept = again[: exams.PHASES]
        exams.edit(kept, PixelData=lambda one: bytes(len(one.PixelData)), AcquisitionTime="130000", **changes)
        pick = pick_short_axis(open_exam(tmp_path))
        cine = read_cine(pick)
        assert bool(cine.pixels[:, 0].any()) is not joined
        np.testing.assert_array_equal(cine.pixels[:, 1:], exams.small_cine().pixels[:, 1:])
        assert exams.codes(cine) == (["duplicate-frame"] if joined else [])
        assert ("acquired again" in pick.reason) is joined
        assert cine.source.series_uids == (("1.2.9.40", "1.2.3.4.5") if joined else ("1.2.3.4.5",))

    @pytest.mark.parametrize(("degrees", "read"), [(10, True), (38, True), (49, True), (51, False), (80, False)])
    def test_a_stack_far_off_the_usual_axis_is_told_or_refused(self, tmp_path, degrees, read):
        exams.write_exam(tmp_path, _off_axis_cine(degrees))
        if read:
            cine = open_cine(tmp_path)
            assert exams.codes(cine) == (["off-axis-stack"] if degrees > 35 else [])
        else:
            with pytest.raises(NoShortAxisError, match=rf"{degrees}.0 degrees off .* read it with --series 1.2.3.4.5"):
                open_cine(tmp_path)
            cine = open_cine(tmp_path, series_uid="1.2.3.4.5")
            assert exams.codes(cine)[0] == "off-axis-stack"
        if degrees > 35:
            assert f"{degrees}.0 degrees off" in cine.findings[0].message

    def test_a_sagittal_stack_is_not_read_silently(self, tmp_path):
        grid = stacked_grid(
            (0, 0, 0),
            spacing_mm=(1.4, 1.2),
            slice_distance_mm=9.0,
            shape=exams.small_cine().grid.shape,
            along_row=(0.0, 1.0, 0.0),
            along_column=(0.0, 0.0, -1.0),
        )
        exams.write_exam(tmp_path, exams.small_cine(grid=grid))
        finding = open_cine(tmp_path).findings[0]
        assert "49.6 degrees off" in finding.message
        assert "they are sagittal, and a short axis is not" in finding.message

    def test_one_series_a_slice_far_off_the_axis_is_read_whole_by_one_of_them(self, tmp_path):
        files = exams.write_exam(tmp_path, _off_axis_cine(70))
        for i in range(exams.SLICES):
            part = files[i * exams.PHASES : (i + 1) * exams.PHASES]
            exams.edit(part, SeriesInstanceUID=f"1.2.9.{i}", SeriesNumber=30 + i)
        with pytest.raises(NoShortAxisError, match=r"5 series together, .* 70.0 degrees off .*--series 1.2.9"):
            open_cine(tmp_path)
        cine = open_cine(tmp_path, series_uid="1.2.9.2")
        assert cine.n_slices == exams.SLICES
        np.testing.assert_array_equal(cine.pixels, open_cine(tmp_path, series_uid="1.2.9.0").pixels)
        assert exams.codes(cine) == ["off-axis-stack"]
        assert "with the 4 other series of its stack" in cine.source.picked_because

    def test_an_aborted_repetition_does_not_count(self, tmp_path):
        files = exams.write_exam(tmp_path / "all")
        again = exams.write_exam(tmp_path / "again", number=40, series_uid="1.2.9.40")
        for path in again[exams.PHASES - 2 :]:
            path.unlink()
        kept = again[: exams.PHASES - 2]
        exams.edit(kept, PixelData=lambda one: bytes(len(one.PixelData)), AcquisitionTime="130000")
        exams.edit(kept, TriggerTime=lambda one: f"{float(one.TriggerTime) + 3:.2f}")
        for i in range(exams.SLICES):
            part = files[i * exams.PHASES : (i + 1) * exams.PHASES]
            exams.edit(part, SeriesInstanceUID=f"1.2.9.{i}", SeriesNumber=30 + i)
        cine = open_cine(tmp_path)
        assert exams.codes(cine) == ["duplicate-frame"]
        np.testing.assert_array_equal(cine.pixels, exams.small_cine().pixels)

    def test_a_slice_acquired_again_in_its_own_series(self, tmp_path):
        files = exams.write_exam(tmp_path / "all")
        again = exams.write_exam(tmp_path / "again", number=40, series_uid="1.2.9.40")
        for i in range(exams.SLICES):
            part = files[i * exams.PHASES : (i + 1) * exams.PHASES]
            exams.edit(part, SeriesInstanceUID=f"1.2.9.{i}", SeriesNumber=30 + i)
        for path in again[exams.PHASES :]:
            path.unlink()
        kept = again[: exams.PHASES]
        exams.edit(kept, PixelData=lambda one: bytes(len(one.PixelData)), AcquisitionTime="130000")
        cine = open_cine(tmp_path)
        assert "duplicate-frame" in exams.codes(cine)
        assert not cine.pixels[:, 0].any()
        np.testing.assert_array_equal(cine.pixels[:, 1:], exams.small_cine().pixels[:, 1:])

    @pytest.mark.parametrize("description", ["SAX tagging mid", "sax_SPAMM", "Tag SA"])
    def test_tagged_slices_do_not_get_into_the_stack(self, tmp_path, description):
        for index, path in enumerate(exams.write_exam(tmp_path / "cine")):
            place = index // exams.PHASES
            exams.edit(path, SeriesInstanceUID=f"1.2.3.4.5.{place}", SeriesNumber=10 + place)
        tagged = exams.write_exam(tmp_path / "tagged", exams.small_cine(slices=1), description=description)
        exams.edit(
            tagged,
            SOPInstanceUID=lambda one: f"1.2.99.{one.InstanceNumber}",
            SeriesInstanceUID="1.2.3.4.99",
            SeriesNumber=30,
            AcquisitionTime="130000",
            PixelData=lambda one: bytes(len(one.PixelData)),
        )
        cine = open_cine(tmp_path)
        np.testing.assert_array_equal(cine.pixels, exams.small_cine().pixels)
        assert cine.findings == ()

    def test_more_slices_win_and_the_other_is_told(self, tmp_path):
        exams.write_exam(tmp_path / "a", exams.small_cine(slices=4), number=3, series_uid="1.2.9.3")
        exams.write_exam(tmp_path / "b", exams.small_cine(slices=6), number=2, series_uid="1.2.9.2")
        cine = open_cine(tmp_path)
        assert cine.n_slices == 6
        assert exams.codes(cine).count("other-candidates") == 1
        assert open_cine(tmp_path, series_uid="1.2.9.3").n_slices == 4

    def test_a_coronal_cine_of_more_slices_does_not_win(self, tmp_path):
        grid = stacked_grid(
            (-40.0, -60.0, 60.0),
            spacing_mm=(1.4, 1.2),
            slice_distance_mm=8.0,
            shape=(9, exams.ROWS, exams.COLUMNS),
            along_row=(1, 0, 0),
            along_column=(0, 0, -1),
        )
        exams.write_exam(tmp_path / "a", exams.small_cine(slices=9, grid=grid), number=9, series_uid="1.2.9.9")
        assert open_cine(tmp_path).n_slices == 9
        exams.write_exam(tmp_path / "b")
        cine = open_cine(tmp_path)
        assert cine.n_slices == exams.SLICES
        assert "other-candidates" in exams.codes(cine)

    def test_an_unknown_series_lists_those_there_are(self, tmp_path):
        exams.write_exam(tmp_path)
        with pytest.raises(UsageError, match=r"1\.2\.3\.4\.5"):
            open_cine(tmp_path, series_uid="1.9")

    @pytest.mark.parametrize(
        ("changes", "kind"),
        [
            ({"Modality": "CT"}, SeriesKind.NOT_MR_IMAGE),
            ({"ImageType": ["ORIGINAL", "PRIMARY", "OTHER", "LOCALIZER"]}, SeriesKind.LOCALIZER),
            ({"ImageType": ["DERIVED", "PRIMARY", "PHASE MAP"]}, SeriesKind.PHASE_CONTRAST),
            ({"SeriesDescription": "SAX perfusion rest"}, SeriesKind.PERFUSION),
            ({"SeriesDescription": "MOLLI_T1MAP"}, SeriesKind.MAPPING),
            ({"InversionTime": lambda one: str(100 + int(one.InstanceNumber))}, SeriesKind.MAPPING),
            ({"NumberOfFrames": "20"}, SeriesKind.MULTI_FRAME),
            ({"ImageOrientationPatient": [0, 1, 0, 0, 1, 0]}, SeriesKind.NO_GEOMETRY),
        ],
    )
    def test_what_is_no_short_axis_cine_is_told(self, tmp_path, changes, kind):
        files = exams.write_exam(tmp_path)
        exams.edit(files, **changes)
        (series,) = open_exam(tmp_path).series
        assert series.kind is kind
        with pytest.raises(GeometryError if kind is SeriesKind.NO_GEOMETRY else NoShortAxisError, match=str(kind)):
            open_cine(tmp_path)

    def test_late_enhancement_is_told_from_a_still_stack(self, tmp_path):
        still = exams.small_cine(phases=1)
        exams.write_exam(tmp_path / "still", still, number=1, series_uid="1.2.9.1", description="SAX bSSFP")
        exams.write_exam(tmp_path / "late", still, number=2, series_uid="1.2.9.2", inversion_time_ms=280.0)
        exams.write_exam(tmp_path / "told", still, number=3, series_uid="1.2.9.3", description="PSIR_SAX")
        kinds = [one.kind for one in open_exam(tmp_path).series]
        assert kinds == [SeriesKind.ONE_PHASE, SeriesKind.LATE_ENHANCEMENT, SeriesKind.LATE_ENHANCEMENT]
        with pytest.raises(NoShortAxisError, match="one phase only.*late enhancement"):
            open_cine(tmp_path)

    def test_a_stack_along_the_heart_is_long_axis(self, tmp_path):
        turned = np.concatenate([exams.ALONG_ROW, np.cross(exams.ALONG_ROW, exams.ALONG_COLUMN)])
        normal = np.cross(turned[:3], turned[3:])
        files = exams.write_exam(tmp_path)
        exams.edit(
            files,
            ImageOrientationPatient=[f"{value:.6f}" for value in turned],
            ImagePositionPatient=lambda one: [f"{9 * (int(one.InstanceNumber) // 6) * x:.4f}" for x in normal],
            SliceLocation=None,
        )
        (series,) = open_exam(tmp_path).series
        assert series.kind in (SeriesKind.LONG_AXIS, SeriesKind.CINE_SLICE)
        with pytest.raises(NoShortAxisError, match="long-axis"):
            open_cine(tmp_path)

    def test_two_studies_in_one_folder_are_listed(self, tmp_path):
        exams.write_exam(tmp_path / "a")
        files = exams.write_exam(tmp_path / "b", series_uid="1.2.9.2")
        exams.edit(files, StudyInstanceUID="1.2.8", PatientID="ID-99")
        with pytest.raises(NoShortAxisError, match=r"2 studies of 2 patient.*1\.2\.3\.4.*1\.2\.8.*--series") as caught:
            open_cine(tmp_path)
        assert "ID-99" not in str(caught.value)
        assert open_cine(tmp_path, series_uid="1.2.9.2").patient.patient_id == "ID-99"

    def test_one_of_two_studies_is_picked_by_its_uid(self, tmp_path):
        exams.write_exam(tmp_path / "a")
        files = exams.write_exam(tmp_path / "b", series_uid="1.2.9.2")
        exams.edit(files, StudyInstanceUID="1.2.8", PatientID="ID-99")
        read = open_cine(tmp_path, study_uid="1.2.8")
        assert (read.patient.patient_id, read.source.study_uid) == ("ID-99", "1.2.8")
        assert read.source.not_picked == ()
        assert open_cine(tmp_path, patient_id="ID-77").source.study_uid == "1.2.3.4"
        with pytest.raises(UsageError, match=r"no image of study 1\.9 .*study 1\.2\.3\.4.*study 1\.2\.8"):
            open_cine(tmp_path, study_uid="1.9")
        with pytest.raises(UsageError, match="no image of study 1.2.8 and this PatientID"):
            open_cine(tmp_path, study_uid="1.2.8", patient_id="ID-77")

    def test_one_of_two_patients_under_the_same_uids(self, tmp_path):
        """Anonymisers that gave everybody the same UIDs."""
        files = exams.write_exam(tmp_path)
        again = [path.with_name(f"other-{path.name}") for path in files]
        for path, copy in zip(files, again, strict=True):
            shutil.copyfile(path, copy)
        exams.edit(again, PatientID="other", SOPInstanceUID=lambda one: f"1.2.77.{one.InstanceNumber}")
        with pytest.raises(NoShortAxisError, match="images of 2 patients as one study.*--patient ID") as caught:
            open_cine(tmp_path)
        assert "other" not in str(caught.value)
        assert open_cine(tmp_path, patient_id="other").source.instance_uids[0][0].startswith("1.2.77.")

    def test_long_axis_frames_in_the_same_series_are_left_out(self, tmp_path):
        files = exams.write_exam(tmp_path)
        normal = np.cross(exams.ALONG_ROW, exams.ALONG_COLUMN)
        exams.edit(files[-exams.PHASES :], ImageOrientationPatient=[f"{x:.6f}" for x in (*exams.ALONG_ROW, *normal)])
        cine = open_cine(tmp_path)
        assert cine.n_slices == exams.SLICES - 1
        assert "other-candidates" in exams.codes(cine)


class TestBadInput:
    def test_no_such_path(self, tmp_path):
        with pytest.raises(InputError, match="does not exist: .* or NIfTI files"):
            open_cine(tmp_path / "absent")

    def test_empty_folder(self, tmp_path):
        with pytest.raises(InputError, match="is empty: .* or NIfTI files"):
            open_cine(tmp_path)

    def test_folder_of_pictures(self, tmp_path):
        for i in range(3):
            (tmp_path / f"{i}.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(300))
        (tmp_path / "empty").write_bytes(b"")
        with pytest.raises(InputError, match=r"no DICOM image: it has 4 files \(3 \.jpg"):
            open_cine(tmp_path)

    def test_not_allowed(self, tmp_path, monkeypatch):
        exams.write_exam(tmp_path)

        def refuse(*_args, **_kwargs):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "scandir", refuse)
        with pytest.raises(InputError, match="Permission denied"):
            open_cine(tmp_path)

    def test_files_that_may_not_be_read_are_told(self, tmp_path, monkeypatch):
        files = exams.write_exam(tmp_path)
        true_open = Path.open

        def refuse(path, *args, **kwargs):
            if path == files[-1]:
                raise PermissionError(13, "Permission denied")
            return true_open(path, *args, **kwargs)

        monkeypatch.setattr(Path, "open", refuse)
        exam = open_exam(tmp_path)
        assert exam.ignored == (Ignored(files[-1].name, Reason.CANNOT_BE_READ, "Permission denied"),)
        with pytest.raises(GeometryError, match="slice 4 has 5, the others 6"):
            read_cine(exam)

    def test_truncated_pixels_are_an_error_and_never_fewer_frames(self, tmp_path):
        files = exams.write_exam(tmp_path)
        whole = files[7].read_bytes()
        files[7].write_bytes(whole[:-100])
        with pytest.raises(InputError, match=f"{files[7].name} is truncated: 860 bytes of pixels where 960"):
            open_cine(tmp_path)

    def test_truncated_header(self, tmp_path):
        files = exams.write_exam(tmp_path)
        files[7].write_bytes(files[7].read_bytes()[:400])
        with pytest.raises(InputError):
            open_cine(tmp_path)

    def test_without_pixels(self, tmp_path):
        exams.edit(exams.write_exam(tmp_path), PixelData=None)
        with pytest.raises(InputError, match="30 files hold no pixel data") as caught:
            open_cine(tmp_path)
        assert caught.value.exit_code == 3

    def test_one_frame_without_pixels(self, tmp_path):
        files = exams.write_exam(tmp_path)
        exams.edit(files[3], PixelData=None)
        with pytest.raises(InputError, match=f"{files[3].name} has no pixel data"):
            open_cine(tmp_path)

    @pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
    def test_without_geometry(self, tmp_path, keyword):
        exams.edit(exams.write_exam(tmp_path), **{keyword: None})
        with pytest.raises(GeometryError, match=f"no valid {keyword}") as caught:
            open_cine(tmp_path)
        assert caught.value.exit_code == 5

    def test_one_frame_without_geometry(self, tmp_path):
        files = exams.write_exam(tmp_path)
        exams.edit(files[3], ImagePositionPatient=None)
        with pytest.raises(GeometryError, match="1 of 30 files.*no valid ImagePositionPatient"):
            open_cine(tmp_path)

    def test_one_phase_only(self, tmp_path):
        exams.write_exam(tmp_path, exams.small_cine(phases=1))
        with pytest.raises(NoShortAxisError, match="one phase only") as caught:
            open_cine(tmp_path)
        assert caught.value.exit_code == 4

    def test_random_bytes_with_a_dicom_preamble(self, tmp_path):
        for i in range(20):
            noise = np.random.default_rng(i).integers(0, 256, 2000).astype(np.uint8).tobytes()
            (tmp_path / f"{i}").write_bytes(bytes(128) + b"DICM" + noise)
        with pytest.raises(InputError):
            open_cine(tmp_path)

    def test_symbolic_link_loops_are_not_followed(self, tmp_path):
        exams.write_exam(tmp_path / "exam")
        (tmp_path / "exam" / "loop").symlink_to(tmp_path / "exam", target_is_directory=True)
        (tmp_path / "exam" / "self").symlink_to(tmp_path / "exam" / "self")
        assert open_cine(tmp_path).n_slices == exams.SLICES

    def test_a_pipe_does_not_block(self, tmp_path):
        exams.write_exam(tmp_path)
        os.mkfifo(tmp_path / "pipe")
        assert Ignored("pipe", Reason.CANNOT_BE_READ, "not a plain file") in open_exam(tmp_path).ignored

    def test_copies_are_left_out(self, tmp_path):
        files = exams.write_exam(tmp_path / "a")
        shutil.copytree(tmp_path / "a", tmp_path / "b")
        exam = open_exam(tmp_path)
        assert len(exam.ignored) == len(files)
        assert exam.series[0].n_instances == len(files)
        assert open_cine(tmp_path).findings == ()

    def test_a_whole_copy_is_taken_where_the_other_is_cut(self, tmp_path):
        files = exams.write_exam(tmp_path / "a")
        shutil.copytree(tmp_path / "a", tmp_path / "b")
        files[4].write_bytes(files[4].read_bytes()[:-50])
        np.testing.assert_array_equal(open_cine(tmp_path).pixels, exams.small_cine().pixels)


def test_a_copy_of_an_image_under_another_patient_is_no_copy(tmp_path):
    files = exams.write_exam(tmp_path / "one")
    (tmp_path / "other").mkdir()
    for path in files:
        (tmp_path / "other" / path.name).write_bytes(path.read_bytes())
    exams.edit((tmp_path / "other").iterdir(), PatientID="SOMEBODY ELSE")
    with pytest.raises(NoShortAxisError, match="2 patients"):
        open_cine(tmp_path)


@pytest.mark.parametrize(
    ("changes", "files"),
    [
        ({"ImagePositionPatient": None}, slice(None)),
        ({"EchoTime": "2.5"}, slice(1)),  # a map, so it seems
        ({"Modality": "OT"}, slice(None)),
        ({"ImageType": ["DERIVED", "PRIMARY", "LOCALIZER"]}, slice(1)),
        ({"SliceLocation": "77"}, slice(1)),
    ],
)
@pytest.mark.parametrize("lost", [0, exams.SLICES - 1])
def test_a_slice_of_its_own_series_that_cannot_be_read_is_told(tmp_path, changes, files, lost):
    exam = exams.write_exam(tmp_path)
    for index in range(exams.SLICES):
        part = exam[index * exams.PHASES : (index + 1) * exams.PHASES]
        exams.edit(part, SeriesInstanceUID=f"1.2.3.4.5.{index + 1}", SeriesNumber=index + 1)
    assert open_cine(tmp_path).findings == ()
    exams.edit(exam[lost * exams.PHASES : (lost + 1) * exams.PHASES][files], **changes)
    cine = open_cine(tmp_path)
    assert cine.n_slices == exams.SLICES - 1
    assert ["may be missing" in finding.message for finding in cine.findings] == [True]


def test_a_series_of_the_same_name_that_lies_elsewhere_is_no_lost_slice(tmp_path):
    """Another series of one phase a user calls SAX, at places of its own: between the slices, and far from them."""
    exams.write_exam(tmp_path)
    first = exams.small_cine().grid.origins_mm[0]
    normal = exams.small_cine().grid.normal
    for number, away in enumerate((exams.DISTANCE_MM / 2, -4 * exams.DISTANCE_MM)):
        still = exams.write_exam(tmp_path / str(number), exams.small_cine(phases=1, slices=1))
        place = [f"{value:.6f}" for value in first + away * normal]
        exams.edit(still, SeriesInstanceUID=f"1.2.3.{number}", SeriesNumber=70 + number, ImagePositionPatient=place)
        exams.edit(still, SOPInstanceUID=f"1.2.3.4.{number}", SliceLocation=None)
    assert open_cine(tmp_path).findings == ()


class TestResultsBesideTheExam:
    """The folder above an exam and what `cinesax analyze --dicom` wrote of it, given by mistake or on purpose."""

    def _written(self, parent: Path, **changes: object) -> np.ndarray:
        """An exam and its results in one folder; the pixels of the exam by itself."""
        files = exams.write_exam(parent / "exam")
        exams.edit(files, **changes)
        cine = open_cine(parent / "exam")
        analysis = analyze(cine, segmentation=objects.ring(cine))
        write_results(analysis, parent / "OUT", dicom=DicomOptions(rtstruct=True, captures=True))
        assert len(list((parent / "OUT").glob("*.dcm"))) == 8
        return cine.pixels

    @pytest.mark.parametrize(
        "changes",
        [{}, {"PatientID": None}, {"StudyInstanceUID": None}, {"StudyInstanceUID": None, "PatientID": None}],
        ids=["plain", "no patient", "no study", "neither"],
    )
    def test_of_the_same_study(self, tmp_path, changes):
        pixels = self._written(tmp_path, **changes)
        alone = exams.codes(open_cine(tmp_path / "exam"))
        cine = open_cine(tmp_path)
        np.testing.assert_array_equal(cine.pixels, pixels)
        assert exams.codes(cine) == alone
        assert {reason for _, reason in cine.source.not_picked} == {
            f"modality {modality}, not MR" for modality in ("SEG", "SR", "RTSTRUCT", "DOC", "OT")
        }

    def test_of_another_patient(self, tmp_path):
        self._written(tmp_path / "one")
        shutil.rmtree(tmp_path / "one" / "exam")
        exams.edit(exams.write_exam(tmp_path / "two"), PatientID="SOMEBODY ELSE", StudyInstanceUID="1.2.9")
        with pytest.raises(NoShortAxisError, match=r"2 studies of 2 patients"):
            open_cine(tmp_path)
        assert open_cine(tmp_path, study_uid="1.2.9").n_slices == exams.SLICES

    def test_of_results_alone_it_is_said_what_they_are(self, tmp_path):
        self._written(tmp_path)
        with pytest.raises(NoShortAxisError, match="'cinesax left ventricle, segmentation': no MR images"):
            open_cine(tmp_path / "OUT")
