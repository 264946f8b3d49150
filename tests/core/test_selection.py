"""Selection and Overrides: one value from the command line down, and keyword arguments that make it."""

import pickle
import sys
from dataclasses import FrozenInstanceError, fields, replace

import pytest

import cinesax
import exams
import hearts
from cinesax import Overrides, Selection
from cinesax.cli.main import build_parser
from cinesax.core.errors import UsageError
from cinesax.core.selection import ChoiceFields, NiftiGeometry, SelectionFields
from cinesax.measure import volumes


@pytest.mark.parametrize("value", [Selection("1.2", patient_id="X"), Overrides(ed_phase=3, height_cm=170.0)])
def test_they_are_values(value):
    assert pickle.loads(pickle.dumps(value)) == value and hash(value) == hash(replace(value))
    with pytest.raises(FrozenInstanceError):
        setattr(value, fields(value)[0].name, None)


def test_the_part_of_a_nifti_header_is_one_of_three():
    assert Selection(nifti_geometry="qform").nifti_geometry is NiftiGeometry.QFORM
    with pytest.raises(UsageError, match="sform, qform or pixdim, seen both"):
        Selection(nifti_geometry="both")


def test_every_field_can_be_given_by_name_and_no_other():
    names = {field.name for field in fields(Selection)}
    assert set(SelectionFields.__annotations__) == names
    assert set(ChoiceFields.__annotations__) == names | {field.name for field in fields(Overrides)}
    with pytest.raises(TypeError, match="unexpected keyword argument 'ed_phases'"):
        cinesax.analyze(hearts.cine(), segmentation=hearts.labels(), ed_phases=3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'ed_phase'"):
        cinesax.open_cine("anything", ed_phase=3)


def test_values_and_names_mean_the_same_and_a_name_wins(tmp_path):
    one = cinesax.analyze(hearts.cine(), segmentation=hearts.labels(), ed_phase=9, height_cm=170, weight_kg=70)
    given = Overrides(ed_phase=1, height_cm=170, weight_kg=70)
    other = cinesax.analyze(hearts.cine(), segmentation=hearts.labels(), overrides=given, ed_phase=9)
    assert one.measurements.ed_phase == other.measurements.ed_phase == 9
    assert one.measurements.bsa_m2 == other.measurements.bsa_m2
    exams.write_exam(tmp_path / "a", exams.small_cine(slices=4), number=3, series_uid="1.2.9.3")
    exams.write_exam(tmp_path / "b", exams.small_cine(slices=6), number=2, series_uid="1.2.9.2")
    assert cinesax.open_cine(tmp_path, selection=Selection("1.2.9.3")).n_slices == 4
    assert cinesax.open_cine(tmp_path, selection=Selection("1.2.9.2"), series_uid="1.2.9.3").n_slices == 4


def test_overrides_are_checked_once_and_before_the_network(monkeypatch):
    calls = []
    check = volumes.check_overrides
    for module in (volumes, sys.modules["cinesax.analyze"]):
        monkeypatch.setattr(module, "check_overrides", lambda *given: (calls.append(given), check(*given)))
    cinesax.analyze(hearts.cine(), segmentation=hearts.labels(), ed_phase=8)
    assert len(calls) == 1


def test_the_convention_of_papillary_muscles_needs_something_that_was_drawn():
    with pytest.raises(UsageError, match="`papillary_muscles_included` needs a `segmentation`"):
        cinesax.analyze(hearts.cine(), overrides=Overrides(papillary_muscles_included=True))


@pytest.mark.parametrize("command", ["analyze", "inspect"])
def test_the_command_line_makes_one(command):
    from cinesax.cli import selection_from

    options = "--series 1.2 --study 1.3 --patient X --ignore-frame-of-reference --nifti-geometry qform"
    args = build_parser(command).parse_args([command, "EXAM", *options.split()])
    assert selection_from(args) == Selection("1.2", "1.3", "X", True, NiftiGeometry.QFORM)
