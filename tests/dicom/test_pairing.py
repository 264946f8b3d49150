"""Slices with unequal numbers of phases: which frames make one volume, and what is no such case."""

from pathlib import Path

import numpy as np
import pydicom
import pytest

import exams
from cinesax.analyze import analyze
from cinesax.core.errors import GeometryError
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import Structure
from cinesax.inputs import open_cine


def _of_slice(files, index, phases=exams.PHASES):
    return files[index * phases : (index + 1) * phases]


def _numbered_anew(files):
    """As a scanner counts what it made: no gaps, and CardiacNumberOfImages as it is."""
    left = [path for path in files if path.exists()]
    numbers = {path: number for number, path in enumerate(left, 1)}
    for path in left:
        exams.edit(path, InstanceNumber=numbers[path])


def _spread(files, index, count, *, beat=1.0):
    """A slice of which only `count` frames are left, spread evenly over its beat."""
    part = _of_slice(files, index)
    for path in part[count:]:
        path.unlink()
    interval = 800 + 10 * index
    for phase, path in enumerate(part[:count]):
        exams.edit(path, TriggerTime=f"{10 + phase / count * interval * beat:.3f}", CardiacNumberOfImages=count)


def _which(cine, index):
    """Of each phase, which phase of the small cine its frame in a slice is."""
    whole = exams.small_cine().pixels[:, index]
    return [int(np.flatnonzero((whole == frame).all(axis=(1, 2)))[0]) for frame in cine.pixels[:, index]]


def test_frames_serve_twice_where_a_slice_has_fewer(tmp_path):
    files = exams.write_exam(tmp_path)
    _spread(files, 2, 4)
    _numbered_anew(files)
    cine = open_cine(tmp_path)
    # Fractions of the beat: phases at 0, 1/6, ... 5/6; frames at 0, 1/4, 1/2, 3/4. Of two as near, the earlier.
    assert _which(cine, 2) == [0, 1, 1, 2, 3, 3]
    assert _which(cine, 1) == list(range(6))
    np.testing.assert_allclose(cine.trigger_times_ms[:, 2], 10 + 820 / 4 * np.array([0, 1, 1, 2, 3, 3]), atol=0.01)
    assert exams.codes(cine) == ["unequal-phases"]
    message = cine.findings[0].message
    assert "slice 2 has 4, the others 6" in message
    assert "fraction of the RR interval, up to 8 % of the beat apart" in message


def test_source_frames_stay_right(tmp_path):
    files = exams.write_exam(tmp_path)
    _spread(files, 2, 4)
    _numbered_anew(files)
    cine = open_cine(tmp_path)
    stored = {str(one.SOPInstanceUID): one for one in map(pydicom.dcmread, filter(lambda path: path.exists(), files))}
    for phase, row in enumerate(cine.source.instance_uids):
        for place, uid in enumerate(row):
            np.testing.assert_array_equal(stored[uid].pixel_array, cine.pixels[phase, place])
            assert cine.source.files[phase][place].path == Path(stored[uid].filename)
    # A number that two places share would make a contour's file ambiguous.
    assert cine.source.instance_numbers == ()


def test_frames_are_left_out_where_a_slice_has_more(tmp_path):
    files = exams.write_exam(tmp_path)
    for index in (0, 1, 3, 4):
        _spread(files, index, 4)
    _numbered_anew(files)
    cine = open_cine(tmp_path)
    assert cine.n_phases == 4
    assert _which(cine, 2) == [0, 1, 3, 4]
    assert "slice 2 has 6, the others 4" in cine.findings[0].message


def test_a_hole_of_arrhythmia_rejection_is_filled_by_a_neighbour(tmp_path):
    files = exams.write_exam(tmp_path)
    exams.frame_file(files, phase=4, slice_index=1).unlink()
    exams.frame_file(files, phase=2, slice_index=3).unlink()
    _numbered_anew(files)
    cine = open_cine(tmp_path)
    assert exams.codes(cine) == ["unequal-phases"]
    assert _which(cine, 1) == [0, 1, 2, 3, 3, 5]
    assert _which(cine, 3) == [0, 1, 1, 3, 4, 5]


def test_holes_in_most_slices_do_not_shorten_the_beat(tmp_path):
    files = exams.write_exam(tmp_path)
    for index, phase in ((0, 4), (1, 4), (3, 3)):
        exams.frame_file(files, phase=phase, slice_index=index).unlink()
    _numbered_anew(files)
    assert open_cine(tmp_path).n_phases == exams.PHASES


def test_prospective_gating_pairs_by_time(tmp_path):
    """60 ms apart in every slice; a slower heart leaves time for more of them."""
    files = exams.write_exam(tmp_path)
    exams.edit(
        files,
        TriggerTime=lambda one: f"{20 + 60 * ((one.InstanceNumber - 1) % 6)}",
        NominalInterval=430,
        HeartRate=140,
        CardiacNumberOfImages=6,
    )
    for path in _of_slice(files, 3)[4:]:
        path.unlink()
    exams.edit(_of_slice(files, 3)[:4], NominalInterval=310, HeartRate=194, CardiacNumberOfImages=4)
    _numbered_anew(files)
    cine = open_cine(tmp_path)
    assert cine.gating == "prospective"
    assert _which(cine, 3) == [0, 1, 2, 3, 3, 3]
    (finding,) = [one for one in cine.findings if one.code == "unequal-phases"]
    assert "nearest time after the R wave, up to 120 ms apart" in finding.message
    assert "rr-intervals-differ" in exams.codes(cine)


@pytest.mark.parametrize(("beat_ms", "gating"), [(800, "retrospective"), (1000, "prospective"), (None, None)])
def test_gating_is_told_by_how_much_of_the_beat_is_covered(tmp_path, beat_ms, gating):
    exams.edit(
        exams.write_exam(tmp_path),
        TriggerTime=lambda one: f"{800 / 6 * ((one.InstanceNumber - 1) % 6):.3f}",
        NominalInterval=beat_ms,
        HeartRate=None,
    )
    assert open_cine(tmp_path).gating == gating


def test_what_the_scanner_says_of_gating_counts_more(tmp_path):
    exams.edit(exams.write_exam(tmp_path), CardiacSynchronizationTechnique="PROSPECTIVE")
    assert open_cine(tmp_path).gating == "prospective"


def test_no_filling_rate_under_prospective_gating(tmp_path):
    cine = exams.small_cine(phases=12)
    labels = np.zeros(cine.pixels.shape, dtype=np.uint8)
    for phase in range(12):
        side = int(10 + 4 * np.cos(2 * np.pi * phase / 12))
        labels[phase, :, 2 : 2 + side, 2 : 2 + side] = Structure.CAVITY
    truth = Segmentation(labels, {Structure.CAVITY: np.ones(12, dtype=bool)}, author="truth")
    files = exams.write_exam(tmp_path, cine)
    measured = analyze(tmp_path, segmentation=truth).measurements
    assert measured.peak_filling_rate_ml_per_s > 0
    exams.edit(files, CardiacSynchronizationTechnique="PROSPECTIVE")
    measured = analyze(tmp_path, segmentation=truth).measurements
    assert measured.peak_filling_rate_ml_per_s is None
    assert measured.peak_ejection_rate_ml_per_s > 0


def test_without_any_times_phases_are_fractions_of_their_number(tmp_path):
    files = exams.write_exam(tmp_path)
    _spread(files, 2, 3)
    _numbered_anew(files)
    exams.edit([path for path in files if path.exists()], TriggerTime=None)
    cine = open_cine(tmp_path)
    assert _which(cine, 2) == [0, 0, 1, 1, 2, 2]
    assert set(exams.codes(cine)) == {"unequal-phases", "missing-trigger-times"}


def test_a_missing_file_is_an_error_that_names_its_number(tmp_path):
    files = exams.write_exam(tmp_path)
    exams.frame_file(files, phase=2, slice_index=3).unlink()
    with pytest.raises(GeometryError, match=r"slice 3 has 5, the others 6 \(InstanceNumber leaves out 21\)"):
        open_cine(tmp_path)


def test_a_slice_that_was_never_finished_is_an_error(tmp_path):
    files = exams.write_exam(tmp_path)
    for path in _of_slice(files, 1)[3:]:
        path.unlink()
    _numbered_anew(files)
    with pytest.raises(GeometryError, match="do not cover the beat: slice 1 has 3"):
        open_cine(tmp_path)


def test_of_20_2_and_2_phases_it_is_the_two_that_are_incomplete(tmp_path):
    files = exams.write_exam(tmp_path, exams.small_cine(phases=20, slices=3))
    for path in [*files[22:40], *files[42:]]:
        path.unlink()
    with pytest.raises(GeometryError, match="slices 1, 2 have 2, slice 0 has 20; slices 1, 2 cannot show a beat"):
        open_cine(tmp_path)


def test_each_number_of_phases_is_told(tmp_path):
    files = exams.write_exam(tmp_path)
    for path in (files[13], files[14], files[15], files[20]):
        path.unlink()
    with pytest.raises(GeometryError, match="slice 3 has 5, slice 2 has 3, the others 6"):
        open_cine(tmp_path)
