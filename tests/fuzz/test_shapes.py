"""Each form of input gives the right numbers, an error, or the finding that names the doubt: `make fuzz` has more."""

import pytest

from fuzz import shapes


@pytest.mark.parametrize("name", list(shapes.every()))
def test_no_wrong_number_without_a_word_and_no_warning_about_a_right_one(name: str) -> None:
    ends = [shapes.run(name, seed) for seed in range(2)]
    assert [end.violation for end in ends] == ["", ""]


def test_a_wrong_number_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge itself: where half of the pixels' width is lost, no shape passes as right."""
    whole = shapes._compared

    def halved(name, seed, made, given):
        measured = given.measurements
        object.__setattr__(measured, "volumes_ml", measured.volumes_ml / 2)
        return whole(name, seed, made, given)

    monkeypatch.setattr(shapes, "_compared", halved)
    assert "edv_ml" in shapes.run("nifti-canonical", 0).violation
