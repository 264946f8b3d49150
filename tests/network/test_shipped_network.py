"""The network that ships: what it promises, on the real data, the whole way."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import cinesax
from cinesax.cli.evaluate import of_pairs
from cinesax.core.measurements import Measurements
from cinesax.core.structures import Structure
from cinesax.evaluate import Evaluation, evaluate
from cinesax.network.bundle import open_bundle, shipped
from cinesax.network.segmenter import load_segmenter
from cinesax.phantom import draw_settings, make_phantom

EXPERT = {"SC-HF-I-01": (191.32, 26.16), "SC-HF-I-02": (241.92, 25.46), "SC-HF-I-04": (229.70, 21.82)}


def test_the_bundle_is_small_and_says_what_it_learned_from():
    bundle = open_bundle()
    assert sum(path.stat().st_size for path in bundle.folder.iterdir()) <= 10e6
    assert len(bundle.training.cases) == 98 and not any(case.startswith("patient") for case in bundle.training.cases)
    assert bundle.scores
    card = (bundle.folder / "CARD.md").read_text()
    assert "Not a medical device" in card and "Not measured" not in card


def test_the_network_without_chla_has_seen_no_child_and_draws_a_cavity():
    assert shipped() == ("default", "sunnybrook", "without-chla")
    bundle = open_bundle("without-chla")
    assert len(bundle.training.cases) == 34 and not any(case.startswith("sbj_") for case in bundle.training.cases)
    assert any("CHLA" in name for name in bundle.scores) and bundle.unvalidated == (Structure.MYOCARDIUM, Structure.RV)
    phantom = make_phantom(draw_settings(900_001, n_phases=6, slice_distance_mm=12.0))
    segmentation = load_segmenter("without-chla").segment(phantom.cine)
    assert set(segmentation.known_phases) == {Structure.CAVITY}
    both = np.count_nonzero(segmentation.mask(Structure.CAVITY) & phantom.truth.mask(Structure.CAVITY))
    assert both > 0.85 * np.count_nonzero(phantom.truth.mask(Structure.CAVITY))


def test_the_network_that_draws_as_sunnybrook_says_what_it_is_for():
    bundle = open_bundle("sunnybrook")
    assert set(bundle.training.cases or ()) == set(open_bundle().training.cases or ())
    assert bundle.training.finder == "sax-heart 7" and bundle.unvalidated == (Structure.RV,)
    assert (bundle.folder / "graph.onnx").read_bytes() == (open_bundle().folder / "graph.onnx").read_bytes()
    card = (bundle.folder / "CARD.md").read_text()
    assert "hypertrophic" in card and "not been trained on the patient" in card


@pytest.mark.data
def test_in_a_strongly_contracted_heart_the_sunnybrook_network_draws_more_than_the_shipped_one(sunnybrook: Path):
    # SC-HYP-08: at ES, the experts' contour is ten times as large as the bright blood in one slice.
    study = next(one for one in of_pairs(sunnybrook / "validation") if one.case == "SC-HYP-08")
    areas = {}
    for model in ("default", "sunnybrook"):
        drawn = load_segmenter(model).segment(study.cine).mask(Structure.CAVITY)
        areas[model] = [np.count_nonzero(drawn[phase]) for phase in range(study.cine.n_phases)]
    truth = [np.count_nonzero(study.truth.mask(Structure.CAVITY)[phase]) for phase in range(study.cine.n_phases)]
    es = int(np.argmin(truth))
    assert areas["default"][es] < areas["sunnybrook"][es]
    assert abs(areas["sunnybrook"][es] - truth[es]) < abs(areas["default"][es] - truth[es])


@pytest.fixture(scope="module")
def validation(sunnybrook: Path) -> Evaluation:
    return evaluate(of_pairs(sunnybrook / "validation"), load_segmenter().segment)


@pytest.mark.data
def test_dice_on_patients_that_it_has_learned_from(validation):
    # In-sample: what it does on a scanner that it has not seen, benchmarks/abroad.py says.
    assert set(validation.by_case()) <= set(open_bundle().training.cases or ())
    assert len(validation.slices) == 213
    assert validation.dice.mean() >= 0.88
    by_patient = {case: np.mean([s.dice for s in scores]) for case, scores in validation.by_case().items()}
    assert min(by_patient.values()) >= 0.75, by_patient


@pytest.mark.data
def test_ejection_fraction_by_summed_areas_follows_the_experts(validation):
    assert len(validation.functions) == 12
    ef = validation.agreement()["ef_percent"]
    assert ef.mean_absolute <= 5
    assert 0.85 <= ef.slope <= 1.15


@pytest.fixture(scope="module")
def whole_exams(sunnybrook: Path) -> dict[str, Measurements]:
    """What the network measures of each exam, from its DICOM files."""
    return {case: cinesax.analyze(sunnybrook / "dicom" / case).measurements for case in EXPERT}


@pytest.mark.data
@pytest.mark.parametrize("case", EXPERT)
def test_ef_of_whole_exams_agrees_with_expert_contours(whole_exams, case):
    assert whole_exams[case].ef_percent == pytest.approx(EXPERT[case][1], abs=5)


@pytest.mark.data
@pytest.mark.parametrize("case", EXPERT)
def test_volumes_of_whole_exams_agree_with_expert_contours(sunnybrook, whole_exams, case):
    edv_ml, ef_percent = EXPERT[case]
    contours = cinesax.analyze(sunnybrook / "dicom" / case, segmentation=sunnybrook / "contours" / case).measurements
    assert contours.edv_ml == pytest.approx(edv_ml, abs=0.01)
    assert contours.ef_percent == pytest.approx(ef_percent, abs=0.01)
    assert whole_exams[case].edv_ml == pytest.approx(edv_ml, rel=0.10)


def test_a_heart_in_a_corner_of_the_frame_is_drawn_as_in_the_middle(sunnybrook):
    segment = load_segmenter().segment
    for study in list(of_pairs(sunnybrook / "validation"))[:2]:
        cavity = study.truth.labels == Structure.CAVITY
        rows, columns = (np.flatnonzero(cavity.any(axis=axes)) for axes in ((0, 1, 3), (0, 1, 2)))
        bottom, right = rows[-1] + 15, columns[-1] + 15
        part = (..., slice(bottom - 140, bottom), slice(right - 140, right))
        whole = segment(study.cine).labels[part] == Structure.CAVITY
        alone = segment(dataclasses.replace(study.cine, pixels=study.cine.pixels[part])).labels == Structure.CAVITY
        assert 2 * np.sum(whole & alone) / (whole.sum() + alone.sum()) > 0.97
        assert alone.sum() == pytest.approx(whole.sum(), rel=0.03)


def test_a_phantom_is_segmented_and_measured(tmp_path):

    phantom = make_phantom(draw_settings(900_001, n_phases=6, slice_distance_mm=12.0))
    seen = cinesax.analyze(phantom.cine).measurements
    truth = cinesax.analyze(phantom.cine, segmentation=phantom.truth).measurements
    assert seen.ef_percent == pytest.approx(truth.ef_percent, abs=5)
    assert seen.edv_ml == pytest.approx(truth.edv_ml, rel=0.1)
