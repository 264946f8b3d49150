"""The solid that tests of geometry stand on: asymmetric in every way that could hide a mistake."""

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from scipy import ndimage

from cinesax.core.structures import Structure
from cinesax.dicom.read.exam import open_exam
from cinesax.inputs import open_cine
from cinesax.phantom import take_apart
from cinesax.phantom.dicom import HeaderOddity, SeriesIdentity, write_scan
from orientations import EVERY_POSE, ORIENTATIONS, PHASES, Pose, labels_at, pixel_centres, stack


def test_every_orientation_once_and_what_the_poses_cover():
    assert len(set(ORIENTATIONS)) == 24
    assert len(set(map(str, EVERY_POSE))) == len(EVERY_POSE) == 48
    for trait in ("oblique", "shift_mm", "base_first"):
        assert len({getattr(pose, trait) for pose in EVERY_POSE}) == 2
    assert all(pose.spacing_mm[0] != pose.spacing_mm[1] for pose in EVERY_POSE)
    assert all(pose.slice_thickness_mm <= pose.slice_distance_mm for pose in EVERY_POSE)


@pytest.mark.parametrize("pose", EVERY_POSE, ids=str)
def test_the_whole_solid_lies_inside_each_stack_off_its_middle(pose):
    cine, truth = stack(pose)
    assert cine.pixels.shape == truth.labels.shape
    assert not truth.labels[:, [0, -1]].any()
    assert not truth.labels[:, :, [0, -1]].any() and not truth.labels[:, :, :, [0, -1]].any()
    # The same volume in every pose, by adding up frusta, as near as thick slices have it.
    voxel_ml = cine.grid.pixel_area_mm2 * cine.grid.slice_distance_mm / 1000
    volumes = truth.mask(Structure.CAVITY).sum(axis=(1, 2, 3)) * voxel_ml
    assert volumes == pytest.approx([41.6, 40.4, 39.0], rel=0.15)
    # A file's rounding decides nothing: no pixel centre lies on a face of the solid. No face contains this direction.
    points, step = pixel_centres(cine), 2e-6 * np.array([1.0, 1.3, 0.7])
    for shift, phase in product((step, -step), range(PHASES)):
        np.testing.assert_array_equal(labels_at(points + shift, phase=phase), truth.labels[phase])
    # One contour a frame: what every contour format can hold.
    for phase, place in product(range(PHASES), range(cine.n_slices)):
        for inside in (truth.labels[phase, place] == Structure.CAVITY, truth.labels[phase, place] > 0):
            assert ndimage.label(inside)[1] <= 1
        assert len(truth.outline(Structure.CAVITY, phase, place)) <= 1


@pytest.mark.parametrize("pose", [Pose(), Pose(orientation=10, oblique=True, shift_mm=1.5)], ids=str)
def test_no_turn_mirror_or_shift_of_the_stack_goes_unnoticed(pose):
    cine, truth = stack(pose)
    points, labels = pixel_centres(cine), truth.labels[0]
    np.testing.assert_array_equal(labels_at(points, phase=0), labels)
    for axes in permutations(range(3)):
        for flips in product((1, -1), repeat=3):
            turned = (points - points.mean(axis=(0, 1, 2)))[..., list(axes)] * flips + points.mean(axis=(0, 1, 2))
            differs = np.count_nonzero(labels_at(turned, phase=0) != labels)
            assert (differs == 0) == (axes == (0, 1, 2) and flips == (1, 1, 1)) and (differs == 0 or differs > 1000)
    for shift in np.eye(3) * 1.7:
        assert np.count_nonzero(labels_at(points + shift, phase=0) != labels) > 200
    for one in range(1, PHASES):
        assert np.any(truth.labels[one] != truth.labels[0])


@pytest.mark.parametrize("pose", EVERY_POSE, ids=str)
def test_what_is_stored_and_read_lies_on_the_same_millimetres(pose, tmp_path):
    """Slices are counted from either end, and found where they lie."""
    cine, truth = stack(pose)
    two = replace(cine, pixels=cine.pixels[:2], trigger_times_ms=cine.trigger_times_ms[:2])
    headers = () if pose.base_first else (HeaderOddity.COUNTED_BACKWARDS,)
    write_scan(take_apart(two), tmp_path, SeriesIdentity(), headers=headers)
    read = open_cine(tmp_path, series_uid=open_exam(tmp_path).series[0].uid)
    assert read.grid.same_as(cine.grid, tolerance_mm=0.001)
    np.testing.assert_array_equal(read.pixels, cine.pixels[:2])
    np.testing.assert_array_equal(labels_at(pixel_centres(read), phase=0), truth.labels[0])
