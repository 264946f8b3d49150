"""Cines as NIfTI images, as converters from DICOM write them, and with their axes in other orders."""

from itertools import permutations, product

import nibabel as nib
import numpy as np

ORDERS = [(order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]
RAS = np.diag([-1.0, -1, 1, 1])


def image_of(cine, *, step_s=0.14):
    """The cine as (column, row, slice, phase), sform and qform of one affine."""
    image = nib.Nifti1Image(np.ascontiguousarray(cine.pixels.transpose(3, 2, 1, 0)), RAS @ cine.grid.affine_lps())
    image.set_qform(image.affine, code=1)
    image.set_sform(image.affine, code=1)
    image.header.set_zooms((*image.header.get_zooms()[:3], step_s))
    image.header.set_xyzt_units("mm", "sec")
    return image


def reordered(image, order, signs):
    """Its spatial axes exchanged and mirrored, each voxel still in its place."""
    return image.as_reoriented(np.stack([order, signs], axis=1))


def saved(image, path):
    nib.save(image, path)
    return path
