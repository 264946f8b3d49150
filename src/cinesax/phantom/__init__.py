"""A synthetic beating heart whose volumes and ejection fraction are known in closed form.

`draw_settings(seed)` draws every value of a phantom, `make_phantom(settings)` renders it as a Cine with its
true Segmentation. `heart` holds the geometry of the left ventricle and its volumes, `anatomy` all else that is
in the picture, `physics` the contrast, `render` the way from both to stored pixels, `settings` the
distributions. Everything here is NumPy and SciPy; what is written to disk is the business of `formats`.
"""

from cinesax.phantom.make import (
    DecoyKind,
    Phantom,
    make_decoys,
    make_phantom,
    make_truth,
    render_frames,
)
from cinesax.phantom.settings import FieldOfView, PhantomSettings, draw_settings

__all__ = [
    "DecoyKind",
    "FieldOfView",
    "Phantom",
    "PhantomSettings",
    "draw_settings",
    "make_decoys",
    "make_phantom",
    "make_truth",
    "render_frames",
]
