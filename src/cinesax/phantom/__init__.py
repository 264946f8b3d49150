"""A synthetic beating heart whose volumes and ejection fraction are known in closed form.

`draw_settings(seed)` draws every value of a phantom, `make_phantom(settings)` renders it as a Cine with its true
Segmentation, `scan` takes it apart into the frames that a scanner stores, with possible defects. `heart` holds the
geometry of the left ventricle and its volumes, `anatomy` everything else in the image, `physics` the contrast, `render`
the step from both to stored pixels, `settings` the distributions, `scanning` the frames. All of this is NumPy and
SciPy; `phantom.dicom` and `formats` write to disk.
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
