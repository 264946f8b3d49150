"""A synthetic beating heart whose volumes and ejection fraction are known in closed form.

`draw_settings(seed)` draws every value of a phantom, `make_phantom(settings)` renders it as a Cine with its
true Segmentation, `scan` takes it apart into the frames that a scanner stores, with what goes amiss with them.
`heart` holds the geometry of the left ventricle and its volumes, `anatomy` all else that is in the picture,
`physics` the contrast, `render` the way from both to stored pixels, `settings` the distributions, `scanning` the
frames. Everything here is NumPy and SciPy; what is written to disk is the business of `formats`.
"""

from cinesax.phantom.make import DecoyKind, Phantom, label_right, make_decoys, make_phantom, make_truth, render_frames
from cinesax.phantom.scanning import Oddity, Scan, ScannedFrame, scan, take_apart
from cinesax.phantom.settings import FieldOfView, PhantomSettings, draw_settings

__all__ = [
    "DecoyKind",
    "FieldOfView",
    "Oddity",
    "Phantom",
    "PhantomSettings",
    "Scan",
    "ScannedFrame",
    "draw_settings",
    "label_right",
    "make_decoys",
    "make_phantom",
    "make_truth",
    "render_frames",
    "scan",
    "take_apart",
]
