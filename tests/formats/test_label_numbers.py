"""What the numbers of other programs mean, and labels of one phase."""

import json

import nibabel as nib
import numpy as np
import pytest

import exams
import hearts
from cinesax.cli.main import main
from cinesax.core.errors import GeometryError, InputError, UsageError
from cinesax.core.segmentation import Segmentation
from cinesax.core.selection import LabelReading
from cinesax.core.structures import Structure
from cinesax.formats.contours import write_contours
from cinesax.formats.label_numbers import parse_labels
from cinesax.formats.nifti import write_segmentation
from cinesax.inputs import read_segmentation
from cinesax.measure.volumes import measure
from formats_nifti import RAS, image_of, saved

CINE = hearts.cine(phases=2)
LV, MYO, RV = Structure.CAVITY, Structure.MYOCARDIUM, Structure.RV_CAVITY


def heart(*, phases=2):
    """A wall around the LV, and an RV next to it."""
    labels = np.zeros((phases, *CINE.pixels.shape[1:]), np.uint8)
    for phase, size in enumerate((20, 12)[:phases]):
        labels[phase, 1:5, 6 : 14 + size, 6 : 14 + size] = MYO
        labels[phase, 1:5, 10 : 10 + size, 10 : 10 + size] = LV
        labels[phase, 1:5, 8:26, 36:44] = RV
    return labels


def in_numbers(path, numbers, labels=None, *, affine=None):
    """The heart as another program numbers it."""
    labels = heart() if labels is None else labels
    stored = np.zeros(labels.shape, np.int16)
    for structure, number in numbers.items():
        stored[labels == structure] = number
    data = np.ascontiguousarray(stored.transpose(3, 2, 1, 0))
    image = nib.Nifti1Image(data[..., 0] if len(labels) == 1 else data, RAS @ CINE.grid.affine_lps())
    return saved(image, path)


class TestMaps:
    @pytest.mark.parametrize(
        ("name", "numbers"),
        [
            ("acdc", {RV: 1, MYO: 2, LV: 3}),
            ("ACDC", {RV: 1, MYO: 2, LV: 3}),
            ("mnms", {LV: 1, MYO: 2, RV: 3}),
            ("totalsegmentator", {MYO: 1, LV: 3, RV: 5}),
            ("totalsegmentator-v1", {MYO: 44, LV: 46, RV: 48}),
            ("lv=7, myo=300,rv=2", {LV: 7, MYO: 300, RV: 2}),
            ("lv_cavity=3,myocardium=2,rv=1", {RV: 1, MYO: 2, LV: 3}),
        ],
    )
    def test_numbers_of_others(self, tmp_path, name, numbers):
        path = in_numbers(tmp_path / "s.nii.gz", numbers)
        seen, kind = read_segmentation(path, CINE, LabelReading(labels=name))
        np.testing.assert_array_equal(seen.labels, heart())
        assert (kind, seen.findings) == ("nifti", ())
        assert set(seen.known_phases) == {LV, MYO, RV}

    def test_numbers_that_are_not_named_are_nothing(self, tmp_path):
        path = in_numbers(tmp_path / "s.nii.gz", {LV: 3, MYO: 2, RV: 1})
        seen, _ = read_segmentation(path, CINE, LabelReading(labels="lv=3"))
        np.testing.assert_array_equal(seen.labels, np.where(heart() == LV, 1, 0))

    @pytest.mark.parametrize(
        "text", ["", "acd", "lv", "lv=", "lv=x", "lv=-1", "lv=0", "lv=1,myo=1", "la=3", "lv=3.5", "lv=99999", "lv=1,,"]
    )
    def test_maps_that_cannot_be_meant(self, text):
        with pytest.raises(UsageError, match="--labels names"):
            parse_labels(text)

    def test_a_file_without_any_of_the_numbers(self, tmp_path):
        path = in_numbers(tmp_path / "s.nii.gz", {LV: 3, MYO: 2, RV: 1})
        with pytest.raises(InputError, match=r"none of the labels 44, 46, 48: it holds 1, 2, 3"):
            read_segmentation(path, CINE, LabelReading(labels="totalsegmentator-v1"))

    def test_counted_from_the_right_and_not_said(self, tmp_path):
        """An EDV of the RV would be given out for the LV's."""
        path = in_numbers(tmp_path / "s.nii.gz", {LV: 3, MYO: 2, RV: 1})
        with pytest.raises(InputError, match="give --labels acdc"):
            read_segmentation(path, CINE)
        seen, _ = read_segmentation(path, CINE, LabelReading(labels="mnms"))
        assert [finding.code for finding in seen.findings] == ["labels-doubted"]

    def test_from_the_command_line(self, tmp_path, capsys):
        exam = saved(image_of(CINE), tmp_path / "c.nii.gz")
        path = in_numbers(tmp_path / "s.nii.gz", {LV: 3, MYO: 2, RV: 1})
        assert main(["analyze", str(exam), "--segmentation", str(path), "--labels", "acdc", "--format", "json"]) == 0
        measured = json.loads(capsys.readouterr().out)["measurements"]
        assert (measured["edv_ml"], measured["esv_ml"]) == pytest.approx((16, 5.76))
        assert main(["analyze", str(exam), "--labels", "acdc"]) == 2
        assert main(["analyze", str(exam), "--segmentation", str(path), "--labels", "adcd"]) == 2

    def test_evaluate(self, tmp_path, capsys):
        for folder in ("exams", "truths", "masks"):
            (tmp_path / folder).mkdir()
        saved(image_of(CINE), tmp_path / "exams" / "a.nii.gz")
        in_numbers(tmp_path / "truths" / "a.nii.gz", {LV: 3, MYO: 2, RV: 1})
        in_numbers(tmp_path / "masks" / "a.nii.gz", {MYO: 1, LV: 3, RV: 5})
        command = ["evaluate", "--data", str(tmp_path / "exams"), "--contours", str(tmp_path / "truths")]
        command += ["--masks", str(tmp_path / "masks"), "--labels", "acdc"]
        for more in (["--mask-labels", "totalsegmentator"], ["--mask-value", "3"]):
            assert main([*command, *more]) == 0
            assert "Dice mean 1.0000" in capsys.readouterr().out
        assert main([*command, "--mask-labels", "acdc", "--mask-value", "3"]) == 2

    def test_names_and_no_numbers(self, tmp_path):
        write_contours(hearts.labels((20, 12)), CINE, tmp_path / "contours")
        with pytest.raises(UsageError, match="leave --labels out"):
            read_segmentation(tmp_path / "contours", CINE, LabelReading(labels="acdc"))


class TestOnePhase:
    def test_a_label_file_of_one_phase(self, tmp_path):
        path = in_numbers(tmp_path / "s.nii.gz", {LV: 1, MYO: 2, RV: 3}, heart(phases=1))
        with pytest.raises(GeometryError, match="say which with --segmentation-phase"):
            read_segmentation(path, CINE)
        seen, _ = read_segmentation(path, CINE, LabelReading(phase=1))
        np.testing.assert_array_equal(seen.labels[1], heart()[0])
        assert seen.known_phases[LV].tolist() == [False, True]
        assert measure(CINE, seen).edv_ml == pytest.approx(16)

    def test_a_file_for_each_phase(self, tmp_path):
        numbers = {LV: 3, MYO: 2, RV: 1}
        files = [
            in_numbers(tmp_path / f"p_{name}_gt.nii.gz", numbers, heart()[[phase]])
            for phase, name in ((1, "es"), (0, "ed"))
        ]
        seen, _ = read_segmentation(files, CINE, LabelReading(labels="acdc"))
        np.testing.assert_array_equal(seen.labels, heart())

    def test_ed_and_es_with_their_labels_from_the_command_line(self, tmp_path, capsys):
        """As ACDC has them: four files."""
        files, labels = [], []
        for phase, name in ((0, "frame01"), (1, "frame12")):
            files.append(str(saved(image_of(CINE).slicer[..., phase], tmp_path / f"p_{name}.nii.gz")))
            numbers = {LV: 3, MYO: 2, RV: 1}
            labels.append(str(in_numbers(tmp_path / f"p_{name}_gt.nii.gz", numbers, heart()[[phase]])))
        more = ["--segmentation", *labels, "--labels", "acdc", "--format", "json"]
        assert main(["analyze", *files, *more]) == 0
        measured = json.loads(capsys.readouterr().out)["measurements"]
        assert (measured["edv_ml"], measured["ef_percent"]) == pytest.approx((16, 64))

    @pytest.mark.parametrize("phase", [-1, 2])
    def test_a_phase_that_is_not_there(self, tmp_path, phase):
        path = in_numbers(tmp_path / "s.nii.gz", {LV: 1, MYO: 2, RV: 3}, heart(phases=1))
        with pytest.raises(UsageError, match="must be from 0 to 1"):
            read_segmentation(path, CINE, LabelReading(phase=phase))

    def test_a_phase_of_a_file_that_has_all(self, tmp_path):
        path = in_numbers(tmp_path / "s.nii.gz", {LV: 1, MYO: 2, RV: 3})
        with pytest.raises(UsageError, match="leave --segmentation-phase out"):
            read_segmentation(path, CINE, LabelReading(phase=1))

    def test_contours_that_count_slices(self, tmp_path):
        """1 to 6 are slices of the one phase, and not the first frames of the study."""
        still = hearts.cine(phases=1)
        write_contours(hearts.labels((20,)), still, tmp_path / "contours")
        beating = hearts.cine(phases=10)
        seen, _ = read_segmentation(tmp_path / "contours", beating, LabelReading(phase=4))
        assert seen.known_phases[LV].tolist() == [phase == 4 for phase in range(10)]
        assert (
            measure(beating, seen).edv_ml == measure(still, read_segmentation(tmp_path / "contours", still)[0]).edv_ml
        )

    def test_contours_of_other_phases(self, tmp_path):
        beating = hearts.cine(phases=10)
        write_contours(hearts.labels(), beating, tmp_path / "contours")
        with pytest.raises(UsageError, match="neither frames of phase 4 nor its 6 slices"):
            read_segmentation(tmp_path / "contours", beating, LabelReading(phase=4))

    def test_labels_of_another_number_of_phases(self, tmp_path):
        cine = exams.small_cine()
        known = {LV: np.ones(6, bool)}
        write_segmentation(Segmentation(np.ones(cine.pixels.shape, np.uint8), known), cine, tmp_path / "s.nii")
        with pytest.raises(GeometryError, match="labels of 6 phases, but the cine has 4"):
            read_segmentation(tmp_path / "s.nii", exams.small_cine(phases=4))
