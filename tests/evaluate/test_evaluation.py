"""What an evaluation says of slices, of parts of the heart, and of patients."""

import csv
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from cinesax.core.errors import GeometryError
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.measurements import EfBasis
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import Structure
from cinesax.evaluate import LabelledStudy, Level, Moment, evaluate, score
from cinesax.evaluate.document import COLUMNS, table
from cinesax.network.fingerprint import Overlap, fingerprint, learned
from hearts import BEAT, cine, labels

EVERYWHERE = {(p, s): f"{p}-{s}" for p in range(len(BEAT)) for s in range(6)}


def study(case: str = "A", **changes) -> LabelledStudy:
    names = {place: f"{case}-{name}" for place, name in EVERYWHERE.items()}
    return LabelledStudy(case, names, cine(**changes), labels())


def wider(by: int = 2) -> Segmentation:
    return labels([side + by for side in BEAT])


def test_what_was_said_of_some_patients_names_them_and_what_was_said_of_all_does_not():
    of_all, of_some = (Finding(Code.REMOVED_REGION, Severity.NOTE, text) for text in ("of all", "of some"))
    predicted = {
        case: replace(wider(), findings=(of_all, of_some) if case in "BCDE" else (of_all,)) for case in "ABCDE"
    }
    findings = score([(study(case), one) for case, one in predicted.items()]).findings
    assert [one.message for one in findings] == ["of all", "B, C, D and 1 more: of some"]
    findings = score([(study("A"), replace(wider(), findings=(of_some,))), (study("B"), wider())]).findings
    assert [str(one) for one in findings] == ["note: A: of some"]


def test_distances_are_in_mm_where_there_is_spacing_and_in_pixels_where_not():
    one = score([(study(), wider(4))]).slices
    assert {s.unit for s in one} == {"mm"}
    inside = next(s for s in one if s.slice == 2 and s.phase == 0)
    assert inside.hd95 == pytest.approx(math.sqrt(8), abs=0.9) and inside.mean_distance == pytest.approx(2, abs=0.1)
    assert {s.unit for s in score([(study(grid=None), wider(4))]).slices} == {"px"}


def test_each_frame_lies_in_a_third_of_the_heart_and_at_a_moment_of_the_beat():
    slices = score([(study(), labels())]).slices
    assert {s.slice: s.level for s in slices} == {
        0: None, 1: Level.BASE, 2: Level.BASE, 3: Level.MIDDLE, 4: Level.APEX, 5: None
    }  # fmt: skip
    assert {s.phase: s.moment for s in slices if s.moment} == {0: Moment.ED, 3: Moment.ES}
    turned = score([(study(base_first=False), labels())]).slices
    assert {s.slice for s in turned if s.level is Level.APEX} == {1}


def test_where_the_base_is_not_known_the_end_with_the_smaller_slices_is_the_apex():
    array = labels().labels.copy()
    array[:, 1] = 0
    array[:, 1, 20:24, 20:24] = Structure.CAVITY
    truth = Segmentation(array, {Structure.CAVITY: np.ones(10, dtype=bool)})
    slices = score([(LabelledStudy("A", EVERYWHERE, cine(base_first=None), truth), truth)]).slices
    assert {s.slice for s in slices if s.level is Level.APEX} == {1}


def test_volumes_are_compared_at_the_ends_of_each_curve():
    (one,) = score([(study(), wider(2))]).functions
    assert one.basis is EfBasis.VOLUMES
    # 4 slices of 10 mm, squares of 20 and 10 mm by the truth, 22 and 12 as found
    assert (one.truth.ed, one.truth.es) == pytest.approx((16, 4))
    assert (one.predicted.ed, one.predicted.es) == pytest.approx((4 * 4.84, 4 * 1.44), rel=0.01)
    assert one.ef_error_points == pytest.approx(100 * ((484 - 144) / 484 - 0.75), abs=0.3)
    assert one.phases_apart(Moment.ED) == 0


def test_phases_are_counted_around_the_beat():
    late = labels([18, 14, 9, 10, 12, 15, 18, 19, 19, 20])
    (one,) = score([(study(), late)]).functions
    assert one.phases_apart(Moment.ED) == 1 and one.phases_apart(Moment.ES) == 1


def test_without_geometry_areas_of_the_labelled_slices_are_summed():
    names = {(p, s): f"{p}-{s}" for p in (0, 4) for s in (1, 2, 3)}
    (one,) = score([(LabelledStudy("A", names, cine(grid=None), labels()), wider())]).functions
    assert one.basis is EfBasis.AREAS
    assert (one.truth.ed, one.truth.es, one.predicted.ed, one.predicted.es) == (1200, 300, 3 * 484, 3 * 144)


def test_a_patient_without_any_prediction_stays_in_with_no_volume():
    nothing = Segmentation(np.zeros_like(labels().labels), {Structure.CAVITY: np.ones(10, dtype=bool)})
    result = score([(study(), nothing)])
    assert result.functions[0].predicted.ed == 0 and result.functions[0].ef_error_points == pytest.approx(-75)
    assert result.misses == 40 and result.false_positives == 0
    figures = dict(result.groups())
    assert figures["with LV"].hd95_median == math.inf and figures["without LV"].dice_mean == 1
    written = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert written["groups"]["with LV"]["hd95_median"] == "infinite"
    assert written["slices"][8]["hd95"] == "infinite" and written["slices"][8]["missed"] is True


def test_intervals_and_agreement_are_over_patients():
    compared = [(study(case), wider(by)) for case, by in (("A", 0), ("B", 2), ("C", 4), ("D", 2))]
    result = score(compared)
    interval = result.intervals()["dice_mean"]
    assert interval.low < result.dice.mean() < interval.high
    assert set(result.agreement()) == {"ef_percent", "edv_ml", "esv_ml"}
    assert result.agreement()["edv_ml"].bias > 0
    assert set(score(compared[:2]).intervals()) == set(score(compared[:2]).agreement()) == set()


def test_what_the_network_learned_from_is_marked():
    known = learned({"B"}, [fingerprint(study().cine.pixels[0, 0])])
    result = evaluate([study("B"), study("D")], lambda _: labels(), learned=known)
    assert result.in_sample == {"B": Overlap.IMAGE, "D": Overlap.IMAGE}
    assert [s.overlap for s in result.slices].count(Overlap.IMAGE) == 2
    result = evaluate([study("B"), study("C")], lambda _: labels(), learned=learned({"B"}))
    assert result.in_sample == {"B": Overlap.PATIENT}
    assert {s["in_sample"] for s in result.to_dict()["slices"]} == {"patient", None}
    assert evaluate([study("B")], lambda _: labels()).in_sample == {}


def test_the_table_has_a_line_a_slice():
    result = score([(study(), wider())])
    rows = list(csv.DictReader(io.StringIO(table(result.slices))))
    assert tuple(rows[0]) == COLUMNS and len(rows) == 60
    assert [float(row["dice"]) for row in rows] == pytest.approx(result.dice.tolist(), rel=1e-5)
    assert {row["moment"] for row in rows} == {"ED", "ES", ""}


def test_the_worst_frames_of_all_patients_are_kept_as_pictures():
    result = score([(study("A"), wider(4)), (study("B"), wider(8))], pictures=5)
    assert [p.score.case for p in result.pictures] == ["B"] * 5
    assert result.pictures[0].score == result.worst(1)[0]
    assert result.pictures[0].truth and result.pictures[0].predicted and result.pictures[0].pixels.shape == (48, 48)


def test_masks_of_other_frames_are_refused():
    with pytest.raises(GeometryError, match="give masks of the same frames"):
        score([(study(), labels(BEAT[:4]))])


class TestOtherStructures:
    RIGHT = Structure.RV_CAVITY
    SIDES = (20, 19, 16, 10, 11, 12, 14, 16, 18, 20)

    def both(self, *, wider_by: int = 0, known: range = range(10)) -> Segmentation:
        """The LV of `labels`, and next to it, in two slices, an RV of 4 x side pixels."""
        left = labels()
        array = left.labels.copy()
        for phase, side in enumerate(self.SIDES):
            array[phase, 2:4, 2:6, 2 : 2 + side + wider_by] = self.RIGHT
        if wider_by:
            array[0, 4, 2:4, 2:4] = self.RIGHT
        return Segmentation(array, {**left.known_phases, self.RIGHT: np.isin(np.arange(10), known)})

    def test_they_are_compared_where_the_truth_knows_them(self):
        truth = replace(study(), truth=self.both(known=range(4)))
        made = score([(truth, self.both(wider_by=2))])
        (right,) = made.others
        assert right.structure is self.RIGHT and len(right.slices) == 4 * 6
        inside = next(one for one in right.slices if (one.phase, one.slice) == (3, 2))
        assert inside.dice == pytest.approx(2 * 10 / 22) and inside.moment is Moment.ES
        assert sum(one.false_positive for one in right.slices) == 1
        at_ed = 2 * 2 * 80 / (2 * 80 + 2 * 88 + 4)
        assert right.volume_dice() == pytest.approx({Moment.ED: at_ed, Moment.ES: 20 / 22})
        (function,) = right.functions
        assert function.basis is EfBasis.VOLUMES and (function.truth.ed, function.truth.es) == pytest.approx((1.6, 0.8))
        assert function.predicted.ed == pytest.approx(1.8)

    def test_the_figures_of_the_lv_are_those_without_them(self):
        document = score([(replace(study(), truth=self.both()), self.both(wider_by=2))]).to_dict()
        alone = score([(study(), labels())]).to_dict()
        assert set(document.pop("structures")) == {"rv_cavity"} and alone.pop("structures") == {}
        assert document == alone

    def test_what_a_segmentation_says_nothing_of_is_no_miss(self):
        assert score([(replace(study(), truth=self.both()), labels())]).others == ()

    def test_without_a_prediction_the_volumes_are_0(self):
        nothing = Segmentation(labels().labels, {one: np.ones(10, bool) for one in (Structure.CAVITY, self.RIGHT)})
        (right,) = score([(replace(study(), truth=self.both()), nothing)]).others
        assert right.functions[0].predicted.ed == 0 and right.volume_dice() == {Moment.ED: 0.0, Moment.ES: 0.0}

    def test_the_report_and_the_json_have_them(self):
        from cinesax.evaluate.report import render

        made = score([(replace(study(), truth=self.both()), self.both(wider_by=2))])
        right = json.loads(json.dumps(made.to_dict()))["structures"]["rv_cavity"]
        assert right["n"] == 60 and right["functions"]["A"]["truth"]["edv_ml"] == pytest.approx(1.6)
        assert "Other structures" in render(made, of="x", on="y") and "RV cavity" in render(made, of="x", on="y")
