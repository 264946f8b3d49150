"""Stacks with label maps: the map on the image's grid is used, and crumbs are unknown."""

import nibabel as nib
import numpy as np
import pytest

from cinesax.core.errors import GeometryError, InputError
from cinesax.formats import label_maps


def _write(path, values):
    affine = np.diag([1.25, 1.25, 10.0, 1.0])
    path.parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(values, affine), path)


def _labels():
    labels = np.zeros((40, 40, 3), np.uint8)  # column, row, slice
    labels[8:22, 8:22, 1] = 2
    labels[11:19, 11:19, 1] = 1
    labels[26:36, 10:20, 1] = 4
    labels[30, 30, 0] = 1  # a crumb
    return labels


def test_labels_on_the_grid_are_taken_and_crumbs_left_open(tmp_path):
    folder = tmp_path / "A"
    _write(folder / "sa_ED.nii.gz", np.random.default_rng(0).integers(0, 900, (40, 40, 3)).astype(np.int16))
    _write(folder / "seg_sa_ED.nii.gz", np.zeros((40, 40, 5), np.uint8))
    _write(folder / "seg_on_grid.nii.gz", _labels())
    assert label_maps.is_image(folder / "sa_ED.nii.gz")
    stack = label_maps.read_stack(folder / "sa_ED.nii.gz")
    assert (stack.case, stack.phase, stack.files[1].name) == ("A", 0, "seg_on_grid.nii.gz")
    counts = {value: int((stack.labels == value).sum()) for value in (1, 2, 3, label_maps.UNKNOWN)}
    assert counts == {1: 64, 2: 196 - 64, 3: 100, label_maps.UNKNOWN: 1}


def test_no_labels_on_the_grid_and_invalid_labels(tmp_path):
    folder = tmp_path / "A"
    _write(folder / "sa_ED.nii.gz", np.ones((40, 40, 3), np.int16))
    assert not label_maps.is_image(folder / "sa_ED.nii.gz")
    _write(folder / "seg_sa_ED.nii.gz", np.zeros((40, 40, 5), np.uint8))
    with pytest.raises(GeometryError, match="lies on its grid"):
        label_maps.read_stack(folder / "sa_ED.nii.gz")
    _write(folder / "seg_sa_ED.nii.gz", np.full((40, 40, 3), 9, np.uint8))
    with pytest.raises(InputError, match="other than the labels"):
        label_maps.read_stack(folder / "sa_ED.nii.gz")
