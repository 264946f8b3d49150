"""The main path, with real files and with a segmenter that needs no network."""

from collections.abc import Callable
from pathlib import Path

import pytest

import cinesax
import hearts
from cinesax.core.errors import GeometryError, InputError, UsageError
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.segmentation import Segmentation


class FixedSegmenter:
    """Finds the same square in every exam."""

    name = "fixed 1.0"
    checksum = "0" * 64

    def segment(self, cine: cinesax.Cine, progress: Callable[[int, int], None] | None = None) -> Segmentation:
        if progress is not None:
            progress(cine.n_phases, cine.n_phases)
        return hearts.labels()


def test_a_segmenter_is_run_on_the_exam_and_named_in_the_provenance() -> None:
    seen: list[tuple[int, int]] = []
    made = cinesax.analyze(
        hearts.cine(), segmenter=FixedSegmenter(), progress=lambda done, total: seen.append((done, total))
    )
    assert made.measurements.ef_percent == pytest.approx(75.0)
    assert made.provenance.model == "fixed 1.0" and made.provenance.model_checksum == "0" * 64
    assert made.provenance.segmentation_source == "network"
    assert seen == [(10, 10)]
    assert [name for name, _ in made.provenance.seconds] == ["read", "load network", "segment", "measure"]
    assert made.provenance.software == f"cinesax {cinesax.__version__}"


def test_a_given_segmentation_needs_no_segmenter() -> None:
    made = cinesax.analyze(hearts.cine(), segmentation=hearts.labels())
    assert made.provenance.model is None and made.provenance.segmentation_source == "given"
    with pytest.raises(UsageError, match="only one of"):
        cinesax.analyze(hearts.cine(), segmentation=hearts.labels(), segmenter=FixedSegmenter())


def test_options_that_cannot_be_meant_are_refused_before_any_network_runs() -> None:
    class Untouched(FixedSegmenter):
        def segment(self, cine: cinesax.Cine, progress: Callable[[int, int], None] | None = None) -> Segmentation:
            raise AssertionError("segmented in vain")

    with pytest.raises(UsageError, match="0 to 9"):
        cinesax.analyze(hearts.cine(), segmenter=Untouched(), ed_phase=10)


def test_findings_of_all_makers_are_kept_the_gravest_first() -> None:
    noted = Finding(Code.INVALID_DATE, Severity.NOTE, "an invalid date")
    made = cinesax.analyze(hearts.cine(findings=(noted,)), segmentation=hearts.labels())
    assert [finding.code for finding in made.findings] == [Code.IMPLAUSIBLE_VALUE, Code.INVALID_DATE]


@pytest.mark.data
def test_a_real_exam_with_its_contour_files(sunnybrook: Path) -> None:
    made = cinesax.analyze(
        sunnybrook / "dicom" / "SC-HF-I-02",
        segmentation=sunnybrook / "contours" / "SC-HF-I-02",
    )
    assert made.measurements.ef_percent == pytest.approx(25.46, abs=0.01)
    assert (made.measurements.ed_phase, made.measurements.es_phase) == (19, 6)
    assert made.provenance.segmentation_source == "contours"


@pytest.mark.data
def test_a_result_measured_again_gives_its_own_numbers(sunnybrook: Path, tmp_path: Path) -> None:
    exam = sunnybrook / "dicom" / "SC-HF-I-04"
    first = cinesax.analyze(exam, segmentation=sunnybrook / "contours" / "SC-HF-I-04")
    out = cinesax.write_results(first, tmp_path / "out")
    by_contours = cinesax.analyze(exam, segmentation=out / "contours").measurements
    assert by_contours.edv_ml == pytest.approx(first.measurements.edv_ml, rel=1e-4)
    assert by_contours.lv_mass_g == pytest.approx(first.measurements.lv_mass_g, rel=1e-4)
    by_pixels = cinesax.analyze(exam, segmentation=out / "segmentation.nii.gz")
    assert by_pixels.provenance.segmentation_source == "nifti"
    # Pixels that lie inside by exactly half count, and where points are whole numbers there are many: 1.04 % more here.
    assert by_pixels.measurements.edv_ml == pytest.approx(first.measurements.edv_ml, rel=0.012)


def test_segmentations_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no segmentation at"):
        cinesax.analyze(hearts.cine(), segmentation=tmp_path / "absent.nii.gz")
    with pytest.raises(InputError, match="cannot be read"):
        cinesax.analyze(hearts.cine(), segmentation=tmp_path / ("x" * 300))
    (tmp_path / "mask.png").write_bytes(b"x")
    with pytest.raises(InputError, match="expected a NIfTI file"):
        cinesax.analyze(hearts.cine(), segmentation=tmp_path / "mask.png")
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "IM-0001-0001-icontour-manual.txt").write_text("ten twenty\n")
    with pytest.raises(InputError):
        cinesax.analyze(hearts.cine(), segmentation=tmp_path / "words")


def test_a_segmentation_of_another_exam(tmp_path: Path) -> None:
    with pytest.raises(GeometryError):
        cinesax.analyze(hearts.cine(slices=5), segmentation=hearts.labels())


def test_the_rule_of_the_base_is_for_a_network_that_can_follow_it() -> None:
    cine = hearts.cine(phases=2, slices=2)
    with pytest.raises(UsageError, match="`base` is for a network"):
        cinesax.analyze(cine, segmentation=hearts.labels((4, 3), slices=2, inside=range(2)), base="any")
    with pytest.raises(UsageError, match="half, any or whole, seen most"):
        cinesax.analyze(cine, base="most")
    made = cinesax.analyze(cine, base="any", threads=1)
    assert made.segmentation.presence is not None and made.segmentation.presence.rule == "any"
    assert made.measurements.base_rule == "any"
