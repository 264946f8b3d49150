"""The CHLA set: which cavity is known in which image, and where images of one stack lie in the other."""

import numpy as np
import pytest

from cinesax.core.errors import InputError
from cinesax.formats import chla


def _arrays(partner: list[int], n_right: int, **changed):
    rng = np.random.default_rng(0)
    arrays = {"spacing_mm": np.array([1.9, 2.1, 8.0])}
    for phase in chla.PHASES:
        left = rng.integers(0, 255, (len(partner), 16, 16)).astype(np.uint8)
        right = rng.integers(0, 255, (n_right, 16, 16)).astype(np.uint8)
        for place, twin in enumerate(partner):
            if twin >= 0:
                right[twin] = left[place]
        arrays[f"LV_{phase}_image"], arrays[f"RV_{phase}_image"] = left, right
        arrays[f"LV_{phase}_mask"], arrays[f"RV_{phase}_mask"] = np.zeros_like(left), np.zeros_like(right)
        arrays[f"LV_{phase}_mask"][:, 4:8, 4:8] = 1
        arrays[f"RV_{phase}_mask"][:, 6:12, 6:12] = 1
        arrays[f"rv_index_of_lv_{phase}"] = np.array(partner)
    return arrays | changed


def _written(tmp_path, **arrays):
    np.savez(tmp_path / "sbj_07.npz", **arrays)
    return tmp_path / "sbj_07.npz"


def test_both_cavities_are_known_only_where_the_image_is_in_both_stacks(tmp_path):
    path = _written(tmp_path, **_arrays([-1, 0, 1], 4))
    assert chla.is_chla(path)
    patient = chla.read_patient(path)
    assert (patient.case, patient.spacing_mm) == ("sbj_07", (2.1, 1.9))
    frames = [frame for frame in patient.frames if frame.phase == 0]
    assert [frame.known for frame in frames] == [{1}, {1, 3}, {1, 3}, {3}, {3}]
    assert [frame.slice for frame in frames] == [0, 1, 2, 3, 4]
    both = frames[1].label
    assert set(np.unique(both)) == {0, 1, 3} and both[7, 7] == 1  # the LV cavity is on top
    assert set(np.unique(frames[0].label)) == {0, 1} and set(np.unique(frames[3].label)) == {0, 3}


def test_a_stack_that_runs_the_other_way_and_one_without_a_shared_image(tmp_path):
    turned = chla.read_patient(_written(tmp_path, **_arrays([2, 1, 0], 4)))
    assert [one.slice for one in turned.frames if one.known == {3}] == [-1, -1]
    apart = chla.read_patient(_written(tmp_path, **_arrays([-1, -1], 2)))
    assert [one.slice for one in apart.frames if one.known == {3}] == [None] * 4


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"spacing_mm": np.array([1.9, 0.0, 8.0])}, "spacing_mm"),
        ({"LV_ED_mask": np.zeros((2, 16, 16), np.uint8)}, "equal shapes"),
        ({"rv_index_of_lv_ES": np.array([0, 1, 9])}, "does not fit"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, changed, words):
    with pytest.raises(InputError, match=words):
        chla.read_patient(_written(tmp_path, **_arrays([-1, 0, 1], 2, **changed)))


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"nothing")
    np.savez(tmp_path / "b.npz", image=np.zeros(3))
    assert not chla.is_chla(tmp_path / "a.npz") and not chla.is_chla(tmp_path / "b.npz")
    with pytest.raises(InputError):
        chla.read_patient(tmp_path / "b.npz")
