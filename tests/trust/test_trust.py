"""Predicted Dice and interval for EF: fitted on held-out patients, kept in a bundle, applied to an exam."""

import json
import pickle
import shutil
import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import cinesax
import hearts
from cinesax.analyze import remeasure
from cinesax.cli.main import main
from cinesax.core.analysis import Analysis, Reason, Trust
from cinesax.core.cine import Cine
from cinesax.core.errors import BundleError, InputError
from cinesax.core.findings import Code
from cinesax.core.origins import Origin
from cinesax.core.presence import BaseRule, Presence, Signs
from cinesax.core.segmentation import Segmentation
from cinesax.core.selection import Overrides
from cinesax.core.structures import Structure
from cinesax.files.typed_json import text_of
from cinesax.network.bundle import TRUST, add_trust, open_bundle, shipped
from cinesax.network.segmenter import load_segmenter
from cinesax.phantom import draw_settings, make_phantom
from cinesax.results import summary, tables
from cinesax.results.html import render
from cinesax.trust.assess import assess, check_trust
from cinesax.trust.calibration import EF_FLOOR, Calibration, predict, read_calibration
from cinesax.trust.features import features_of
from cinesax.trust.fit import FEATURES, LEVEL, HeldOut, conformal, fit

PHASES, SLICES = 10, 6


def signs(**changes: object) -> Signs:
    area = np.tile([0.0, 400.0, 420.0, 380.0, 300.0, 0.0], (2, 1)) * [[1.0], [0.6]]
    drawn = area > 0
    values: dict[str, object] = {
        "phases": (0, 3),
        "area_px": area,
        "sure_px": 0.98 * area,
        "beyond_px": 0.02 * area,
        "mirrored_px": area,
        "shared_px": 0.97 * area,
        "wall_px": np.where(drawn, 350.0, np.nan),
        "blood": np.where(drawn, 0.7, np.nan),
        "around": np.where(drawn, 0.2, np.nan),
        "spread": np.where(drawn, 0.1, np.nan),
    }
    return Signs(**{**values, **changes})  # type: ignore[arg-type]


def scaled(by: object) -> dict[str, object]:
    """Other areas, drawn alike in the mirror image."""
    usual = signs()
    names = ("area_px", "sure_px", "beyond_px", "mirrored_px", "shared_px")
    return {name: getattr(usual, name) * by for name in names}


def presence(**changes: object) -> Presence:
    inside = np.zeros((PHASES, SLICES), dtype=bool)
    inside[:, 1:5] = True
    odds = np.where(inside, 4.0, -4.0)
    enclosure = np.where(inside, 1.0, np.nan)
    return Presence(BaseRule.HALF, {BaseRule.HALF: inside}, odds, enclosure, {}, signs(**changes))


def network(**changes: object) -> Segmentation:
    """What a network drew of `hearts.cine()`."""
    return replace(hearts.labels(), origin=Origin.NETWORK, author="a network 1", presence=presence(**changes))


def patients(count: int = 60, *, related: float = 1.0) -> list[HeldOut]:
    """Held-out patients whose errors follow from their features (by `related`) and from chance."""
    rng = np.random.default_rng(5)
    usual = features_of(presence())
    assert usual is not None
    made = []
    for number in range(count):
        z = rng.normal(size=len(FEATURES))
        risk = np.log(0.1) + 0.6 * related * z[0] + 0.2 * rng.normal()
        error = float(60 * np.exp(risk) * rng.uniform(0.5, 1.0) * rng.choice([-1, 1]))
        features = dict(zip(FEATURES, (usual[name] + v for name, v in zip(FEATURES, z, strict=True)), strict=True))
        made.append(HeldOut(f"P{number}", features, float(1 - min(np.exp(risk), 0.9)), 55.0, error))
    return made


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return fit(patients(), ["held-out.json"])


def test_features_grow_with_what_goes_with_errors() -> None:
    usual = features_of(presence())
    assert usual is not None and set(FEATURES) <= set(usual)
    area = signs().area_px
    worse = {
        "mirror": {"shared_px": 0.8 * area},
        "border": {"sure_px": 0.9 * area},
        "steps": scaled(np.array([1, 1, 0.6, 1, 1, 1])),
        "small": scaled(0.5),
        "contrast": {"around": 0.9 * signs().blood},
        "mass": {"wall_px": signs().wall_px * [[1.0], [0.7]]},
    }
    for name, changes in worse.items():
        seen = features_of(presence(**changes))
        assert seen is not None and seen[name] > usual[name] + 0.05, name
    unsure = replace(presence(), certainty=np.zeros((PHASES, SLICES)))
    seen = features_of(unsure)
    assert seen is not None and seen["ends"] > usual["ends"] + 0.5


@pytest.mark.filterwarnings("error")
def test_a_stack_of_two_slices_has_features_without_a_warning() -> None:
    part = np.s_[:, 1:3]
    few = {
        field.name: value[part] if isinstance(value := getattr(signs(), field.name), np.ndarray) else value
        for field in fields(signs())
    }
    whole = presence()
    inside = {BaseRule.HALF: whole.inside[BaseRule.HALF][part]}
    two = Presence(BaseRule.HALF, inside, whole.certainty[part], whole.enclosure[part], {}, Signs(**few))
    seen = features_of(two)
    assert seen is not None and all(np.isfinite(value) for value in seen.values())


def test_only_the_frames_that_are_compared_count_and_all_of_a_whole_exam() -> None:
    frames = np.ones((PHASES, SLICES), dtype=bool)
    assert features_of(presence(), frames) == features_of(presence())
    frames[:, 4:] = False
    part = features_of(presence(), frames)
    assert part is not None and part != features_of(presence())
    frames[3] = False
    assert features_of(presence(), frames) is None, "no cavity counts at ES"
    assert features_of(replace(presence(), signs=None)) is None


def test_held_out_patients_are_predicted_better_than_by_a_constant(calibration: Calibration) -> None:
    figures = calibration.figures
    assert figures["dice_error"] < 0.75 * figures["dice_error_of_constant"]
    assert figures["dice_rank_correlation"] > 0.6
    assert figures["ef_coverage_low"] <= LEVEL <= figures["ef_coverage_high"]
    assert figures["ef_width"] < 0.9 * figures["ef_width_of_constant"]
    assert calibration.patients == 60 and calibration.sources == ("held-out.json",)
    weights = {one.name: one.weight for one in calibration.features}
    assert min(weights.values()) >= 0 and max(weights, key=weights.__getitem__) == FEATURES[0]


def test_where_features_say_nothing_the_dice_is_a_constant_and_the_interval_still_covers() -> None:
    made = fit(patients(related=0.0))
    assert made.constant_dice is not None
    assert made.figures["ef_coverage_low"] <= LEVEL <= made.figures["ef_coverage_high"]
    other = patients(related=0.0)[3].features
    assert other is not None and predict(made, other).dice == made.constant_dice


def test_the_conformal_quantile_is_that_of_one_patient_more() -> None:
    assert conformal(np.arange(1.0, 20.0)) == 18.0  # the 18th of 19: (19 + 1) x 0.9
    assert conformal(np.arange(1.0, 6.0)) == 5.0  # too few for 90 %: the largest


def test_an_exam_unlike_the_calibration_gets_a_wider_interval(calibration: Calibration) -> None:
    mean = {one.name: one.centre for one in calibration.features}
    near = predict(calibration, mean)
    assert near.widened == 1.0
    worse, better = (predict(calibration, {name: v + by for name, v in mean.items()}) for by in (4, -4))
    assert worse.widened > better.widened >= 1, "less error than usual makes an exam less unlike"
    # Less error than usual by every feature, but nothing like the images of the calibration.
    far = predict(calibration, {name: value - 12 for name, value in mean.items()})
    assert far.widened > 1.5 and far.ef_error_points <= near.ef_error_points
    half = [one.half_points / (one.ef_error_points + EF_FLOOR) for one in (near, far)]
    assert half[1] == pytest.approx(half[0] * far.widened)


def test_the_typical_error_is_that_of_patients_who_all_have_about_the_same_one() -> None:
    alike = [replace(one, ef_error_points=error) for one, error in zip(patients(), [-4.99, 5.01] * 30, strict=True)]
    made = fit(alike)
    features = alike[0].features
    assert features is not None
    seen = predict(made, features)
    assert seen.ef_error_points == pytest.approx(5.0, abs=0.02)
    assert seen.half_points == pytest.approx(5.0 * seen.widened, abs=0.05), "nobody is further off"


def test_too_few_patients_are_refused() -> None:
    with pytest.raises(InputError, match="needs 20 held-out patients"):
        fit(patients(12))


def test_the_trust_of_an_exam_and_its_finding(calibration: Calibration) -> None:
    usual = assess(network(), 60.0, calibration)
    assert usual is not None and usual.ef_low_percent is not None and usual.ef_high_percent is not None
    assert 0.8 < usual.dice < 1 and usual.ef_low_percent < 60 < usual.ef_high_percent and usual.reasons == ()
    assert check_trust(usual, calibration) == ()
    area = signs().area_px
    worse = assess(network(shared_px=0.5 * area), 60.0, calibration)
    assert worse is not None and worse.dice < usual.dice and worse.ef_error_points > usual.ef_error_points
    assert worse.reasons == (Reason.MIRROR,)
    (finding,) = check_trust(worse, calibration)
    assert finding.code is Code.LOW_TRUST and f"{worse.dice:.2f}" in finding.message
    assert "mirror image" in finding.message and finding.numbers["ef_low_percent"] == worse.ef_low_percent
    nothing = assess(network(area_px=area * [[1.0], [0.0]]), 100.0, calibration)
    assert nothing is not None and nothing.dice == 0 and nothing.reasons == (Reason.NO_CAVITY,)
    assert check_trust(nothing, calibration)


def test_there_is_none_without_calibration_for_given_and_for_edited_contours(calibration: Calibration) -> None:
    square = np.array([(10.0, 10.0), (20.0, 10.0), (20.0, 20.0)])
    assert assess(network(), 60.0, None) is None
    assert assess(hearts.labels(), 60.0, calibration) is None
    assert assess(network().with_contour(0, 2, Structure.CAVITY, square, by="Ann"), 60.0, calibration) is None


class Drawn:
    """A network that always draws the same."""

    name, checksum = "a network 1", "0" * 64

    def segment(self, cine: Cine, progress: object = None) -> Segmentation:
        return network(shared_px=0.5 * signs().area_px)


def test_there_is_none_for_phases_that_a_person_chose(
    calibration: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["cinesax.analyze"], "calibration_of", lambda segmenter: calibration)
    usual = cinesax.analyze(hearts.cine(), segmenter=Drawn())
    m = usual.measurements
    assert usual.trust is not None and m.ed_phase is not None and m.es_phase is not None
    assert Code.LOW_TRUST in {one.code for one in usual.findings}
    same = cinesax.analyze(hearts.cine(), segmenter=Drawn(), ed_phase=m.ed_phase, es_phase=m.es_phase)
    assert same.trust == usual.trust
    for overrides in (Overrides(es_phase=m.es_phase + 1), Overrides(ed_phase=m.ed_phase + 1)):
        chosen = cinesax.analyze(hearts.cine(), segmenter=Drawn(), overrides=overrides)
        assert chosen.trust is None and Code.LOW_TRUST not in {one.code for one in chosen.findings}


@pytest.fixture(scope="module")
def analyzed(calibration: Calibration) -> Analysis:
    made = cinesax.analyze(hearts.cine(), segmentation=network(shared_px=0.5 * signs().area_px))
    trust = assess(made.segmentation, made.measurements.ef_percent, calibration)
    return replace(made, trust=trust, findings=(*made.findings, *check_trust(trust, calibration)))


def test_it_travels_with_the_analysis_into_files_and_back(analyzed: Analysis, tmp_path: Path) -> None:
    assert pickle.loads(pickle.dumps(analyzed)) == analyzed
    cinesax.write_results(analyzed, tmp_path / "out")
    back = cinesax.read_results(tmp_path / "out", analyzed.cine)
    assert replace(back, provenance=analyzed.provenance) == analyzed
    document = json.loads((tmp_path / "out" / "analysis.json").read_text())
    jsonschema.validate(document, tables.json_schema())
    trust = analyzed.trust
    assert trust is not None and document["trust"]["dice"] == trust.dice
    assert document["trust"]["reasons"] == [str(reason) for reason in trust.reasons]
    row = tables.row(analyzed)
    assert row["predicted_dice"] == trust.dice and row["trust_reasons"] == " ".join(trust.reasons)
    assert list(row)[-5:] == list(tables.TRUST_COLUMNS)
    assert summary.trust_line(trust) in render(analyzed)


def test_an_analysis_without_it_says_nothing_of_it(analyzed: Analysis) -> None:
    bare = replace(analyzed, trust=None)
    assert "trust" not in bare.to_dict() and summary.trust_line(None) == "" and 'class="trust"' not in render(bare)
    assert tables.row(bare)["predicted_dice"] is None


def test_an_edit_ends_it_and_approval_does_not(analyzed: Analysis) -> None:
    square = np.array([(14.0, 14.0), (30.0, 14.0), (30.0, 30.0), (14.0, 30.0)])
    edited = analyzed.segmentation.with_contour(0, 2, Structure.CAVITY, square, by="Ann")
    after = remeasure(analyzed, edited)
    assert after.trust is None and Code.LOW_TRUST not in {one.code for one in after.findings}
    approved = remeasure(analyzed, analyzed.segmentation.with_approval(0, 2))
    assert approved.trust == analyzed.trust and Code.LOW_TRUST in {one.code for one in approved.findings}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    shutil.copytree(open_bundle().folder, tmp_path / "bundle")
    return tmp_path / "bundle"


def evaluation(path: Path, *, in_sample: Mapping[str, str] = {}, known: bool = True) -> Path:
    held = {
        one.case: {
            "features": one.features,
            "dice": one.dice,
            "ef_percent": one.ef_percent,
            "ef_error_points": one.ef_error_points,
        }
        for one in patients(40)
    }
    facts = {"schema": "cinesax/evaluation/1", "training_known": known, "in_sample": dict(in_sample), "signs": held}
    path.write_text(json.dumps(facts))
    return path


def test_the_command_calibrates_a_bundle_and_analyze_uses_it(bundle: Path, tmp_path: Path, capsys) -> None:
    on = evaluation(tmp_path / "held.json", in_sample={"P3": "patient"})
    before = open_bundle(bundle).checksum
    (bundle / "notes.txt").write_text("a person's own file")
    assert main(["calibrate", str(bundle), "--on", str(on)]) == 0
    said = capsys.readouterr().out
    assert "39 held-out patients" in said and "in-sample patients left out: 1" in said
    assert (bundle / "notes.txt").is_file()
    assert open_bundle(bundle).checksum == before, "results do not change, only what is said of them"
    phantom = make_phantom(draw_settings(900_007, n_phases=4, n_slices=6, edv_ml=120.0))
    made = cinesax.analyze(phantom.cine, model=bundle, threads=1)
    assert isinstance(made.trust, Trust) and made.trust.patients == 39
    assert made.segmentation.presence is not None and made.segmentation.presence.signs is not None
    other = cinesax.analyze(phantom.cine, model=bundle, threads=1, base="any")
    assert other.trust is None, "it is calibrated for the usual rule of the base"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", "is not the JSON of an evaluation"),
        ('{"schema": "cinesax/evaluation/1", "training_known": true, "in_sample": {}}', "has no signs"),
    ],
)
def test_an_evaluation_that_does_not_fit_is_one_line(
    bundle: Path, tmp_path: Path, capsys, text: str, says: str
) -> None:
    (tmp_path / "on.json").write_text(text)
    assert main(["calibrate", str(bundle), "--on", str(tmp_path / "on.json")]) != 0
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("name", shipped())
def test_the_installed_networks_are_not_changed(tmp_path: Path, capsys, name: str) -> None:
    on = evaluation(tmp_path / "on.json")
    assert main(["calibrate", name, "--on", str(on)]) == 2
    assert "copy its folder" in capsys.readouterr().err


def test_an_evaluation_of_unknown_training_is_refused(bundle: Path, tmp_path: Path, capsys) -> None:
    on = evaluation(tmp_path / "on.json", known=False)
    assert main(["calibrate", str(bundle), "--on", str(on)]) != 0
    assert "not known from whom the network learned" in capsys.readouterr().err


def test_a_damaged_calibration_is_an_error(bundle: Path, calibration: Calibration) -> None:
    add_trust(open_bundle(bundle), text_of(calibration))
    assert read_calibration(bundle) == calibration
    (bundle / TRUST).write_text(text_of(calibration).replace("cinesax/trust/1", "cinesax/trust/9"))
    with pytest.raises(BundleError, match="wrong checksum"):
        open_bundle(bundle)
    with pytest.raises(BundleError, match="cinesax/trust/9"):
        read_calibration(bundle)
    (bundle / TRUST).unlink()
    assert read_calibration(bundle) is None


def test_features_of_a_cine_are_those_of_its_ed_and_es_alone() -> None:
    segmenter = load_segmenter(threads=1)
    phantom = make_phantom(draw_settings(900_007, n_phases=12, n_slices=7, edv_ml=120.0))
    whole = segmenter.segment(phantom.cine).presence
    assert whole is not None and whole.signs is not None
    pixels = phantom.cine.pixels[list(whole.signs.phases)].copy()
    two = segmenter.segment(Cine(pixels, phantom.cine.grid)).presence
    assert two is not None
    long, short = features_of(whole), features_of(two)
    assert long is not None and short is not None
    for name in FEATURES:
        assert long[name] == pytest.approx(short[name], abs=0.25), name
