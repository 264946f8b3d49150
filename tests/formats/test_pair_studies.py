"""Pairs of pictures become studies again: all labelled frames of a patient, each in its place."""

from pathlib import Path

import numpy as np
import pytest

import labelled
from cinesax.core.errors import DatasetError
from cinesax.core.structures import Structure
from cinesax.formats import pairs
from cinesax.formats.pair_studies import phases_by_numbers, place_of, read_studies


def write(folder: Path, names: list[str], side: int = 8) -> Path:
    for number, name in enumerate(names, start=1):
        label = np.zeros((side, side), dtype=bool)
        label[2 : 2 + number % 4, 2:5] = True
        labelled.write_pair(folder, name, np.full((side, side), number, np.uint8), label)
    return folder


@pytest.mark.parametrize(
    ("name", "phases", "place"),
    [
        ("SC-HF-I-01-IM-0001-0048", 20, (7, 2)),
        ("SC-HF-I-01-IM-0001-0048", None, None),
        ("patient007_frame01_slice12", None, (1, 12)),
        ("patient007_slice12_frame01", None, (1, 12)),
        ("p7-ED-sl3", None, (0, 3)),
        ("p7_es_slice_3", None, (1, 3)),
        ("p7_slice4", None, (0, 4)),
        ("A0S9V9_ed_sl01", None, (0, 1)),
        ("A0S9V9_es_sl01", None, (1, 1)),
        ("A0S9V9-T3-frame07-slice12", None, (7, 12)),
        ("S9_ed_sl01", None, (0, 1)),
        ("S9-T4_sl3_es", None, (1, 3)),
        ("es12_ed_z4", None, (0, 4)),
        ("patient7_frame01slice12", None, (1, 12)),
        ("patient007_12", None, None),
        ("heart", None, None),
    ],
)
def test_a_name_tells_phase_and_slice(name, phases, place):
    assert place_of(name, phases) == place


def test_ed_and_es_of_one_patient_are_one_patient():
    assert {pairs.case_of(name) for name in ("A0S9V9_ed_sl01", "A0S9V9_sl01_es", "A0S9V9_sl2_frame3")} == {"A0S9V9"}
    assert {pairs.case_of(name) for name in ("p7_ed_sl3", "p7_es_sl3", "p7_slice3", "p7-ED-slice-3")} == {"p7"}


def test_the_number_of_phases_follows_from_what_patients_were_labelled_at():
    names = [f"A-IM-0001-{n:04d}" for n in (48, 59, 68, 79, 88)] + [f"B-IM-0001-{n:04d}" for n in (1, 9, 21, 29)]
    assert phases_by_numbers(names, [name[0] for name in names]) == 20
    assert phases_by_numbers(["A-IM-0001-0000", "A-IM-0001-0001", "A-IM-0001-0002"], ["A"] * 3) is None
    assert phases_by_numbers(["A-IM-0001-0048", "A-IM-0001-0060"], ["A"] * 2) is None


def test_frames_of_one_patient_stand_in_their_places_and_gaps_are_not_compared(tmp_path):
    names = [f"A-IM-0001-{n:04d}" for n in (48, 59, 68, 79, 88)]
    (study,) = read_studies(write(tmp_path, names))
    assert study.case == "A" and study.cine.pixels.shape == (2, 3, 8, 8)
    assert study.names == dict(zip([(0, 0), (1, 0), (0, 1), (1, 1), (0, 2)], names, strict=True))
    assert study.cine.pixels[:, :, 0, 0].tolist() == [[1, 3, 5], [2, 4, 5]]
    areas = (study.truth.labels == Structure.CAVITY).sum(axis=(2, 3))
    assert areas.tolist() == [[3, 9, 3], [6, 0, 0]]


def test_names_that_tell_nothing_and_other_matrices_stay_apart(tmp_path):
    alone = list(read_studies(write(tmp_path / "a", ["A_1", "A_2"])))
    assert [list(study.names.values()) for study in alone] == [["A_1"], ["A_2"]]
    write(tmp_path / "b", ["A_slice1", "A_slice2"])
    write(tmp_path / "b", ["A_slice3"], side=12)
    assert [study.cine.pixels.shape for study in read_studies(tmp_path / "b")] == [(1, 2, 8, 8), (1, 1, 12, 12)]


def test_two_pictures_of_the_same_frame_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="are both phase 0, slice 1 of A"):
        list(read_studies(write(tmp_path, ["A_slice1", "A_ed_slice1"])))


@pytest.mark.data
def test_the_real_patients_are_studies_of_two_phases(sunnybrook):
    studies = list(read_studies(sunnybrook / "train"))
    assert len(studies) == 15 and sum(len(study.names) for study in studies) == 260
    assert {study.cine.n_phases for study in studies} == {2}
