"""Whether a result rests on pixels that were there.

Each frame of a cine must be what the sample held there before the damage, or what another reader (pydicom) takes from
the damaged file; of a file whose end was cut off only the former counts. Frames that are gone need a word.
"""

import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.uid import JPEGLSTransferSyntaxes

from cinesax.core.cine import Cine
from cinesax.core.segmentation import Segmentation
from fuzz.samples import located_frames

if TYPE_CHECKING:
    from fuzz.trial import Input


def complaints(made: "Input", cine: Cine, *, all_of_it: bool = True) -> Iterator[str]:
    """What is wrong with a cine that was read of an input."""
    if made.mixed and all_of_it:
        yield "patients: a result of several patients or studies"
    root = made.path if made.path.is_dir() else made.path.parent
    read: dict[Path, NDArray | None] = {}
    for path, number, pixels in located_frames(cine):
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
        meant = made.sample.frames.get((name, number))
        if meant is not None and np.array_equal(meant, pixels):
            continue
        if name in made.cut:
            yield "pixels: other values from a file whose end is gone"
            return
        if made.path.suffix == ".zip":
            if not any(np.array_equal(pixels, one) for one in made.sample.frames.values()) and "zipped" == made.done[0]:
                yield "pixels: other values from a zip"
            continue
        if path not in read:
            read[path] = _by_another_reader(path)
        stored = read[path]
        if stored is None or number > len(stored) or not _agree(stored[number - 1], pixels):
            yield f"pixels: {'no other reader gets any' if stored is None else 'another reader gets other values'}"
            return
    before = made.sample.cine
    if all_of_it and before is not None and cine.pixels.shape[:2] != before.pixels.shape[:2] and not cine.findings:
        yield f"frames: {cine.pixels.shape[:2]} of {before.pixels.shape[:2]} (phases, slices), and no word of it"


def _by_another_reader(path: Path) -> NDArray | None:
    """(frame, row, column) as stored; None where pydicom gives up."""
    with warnings.catch_warnings(action="ignore"):
        try:
            dataset = pydicom.dcmread(io.BytesIO(path.read_bytes()), force=True)
            if "PhotometricInterpretation" not in dataset:
                dataset.PhotometricInterpretation = "MONOCHROME2"  # docs/reading.md: so it is taken
            # Left to itself pydicom has GDCM decode JPEG-LS, which ends this process on some damage.
            plugin = "pyjpegls" if dataset.file_meta.get("TransferSyntaxUID") in JPEGLSTransferSyntaxes else ""
            stored = pydicom.pixels.pixel_array(dataset, raw=True, decoding_plugin=plugin)
            return stored if stored.ndim == 3 else stored[None]
        except Exception:  # noqa: BLE001 - it is damaged
            return None


def _agree(stored: NDArray, pixels: NDArray) -> bool:
    """Whether pixels are stored values, but for a slope, an intercept, and bits that are not used."""
    if stored.shape != pixels.shape:
        return False
    x, y = stored.astype(np.float64).ravel(), pixels.astype(np.float64).ravel()
    if np.array_equal(x, y) or np.ptp(x) == 0:
        return True
    bits = range(1, 8 * stored.dtype.itemsize) if stored.dtype.kind in "iu" else ()
    signed = stored.dtype.kind == "i"
    candidates = [x]
    for unused in bits:
        used = (
            np.right_shift(np.left_shift(stored, unused), unused)
            if signed
            else stored & ((1 << (8 * stored.dtype.itemsize - unused)) - 1)
        )
        candidates.append(used.astype(np.float64).ravel())
    return any(_on_a_line(candidate, y) for candidate in candidates)


def _on_a_line(x: NDArray, y: NDArray) -> bool:
    low, high = int(np.argmin(x)), int(np.argmax(x))
    if x[low] == x[high]:
        return bool(np.ptp(y) == 0)
    slope = (y[high] - y[low]) / (x[high] - x[low])
    error = np.abs(y[low] + slope * (x - x[low]) - y).max()
    return bool(error <= 1e-3 * max(1.0, float(np.ptp(y))))


def complaints_of_labels(made: "Input", segmentation: Segmentation) -> Iterator[str]:
    """What is wrong with a segmentation that was read of a damaged file."""
    if made.done == ["cut"] and made.segmentation is not None:
        lost = len(made.sample.segmentation or b"") - made.segmentation.stat().st_size
        if lost > 0 and not np.array_equal(segmentation.labels, _whole(made)):
            yield "pixels: other labels from a file whose end is gone"


def _whole(made: "Input") -> NDArray:
    import tempfile

    from cinesax.inputs import read_segmentation

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"whole{made.sample.suffix}"
        path.write_bytes(made.sample.segmentation or b"")
        cine = made.sample.cine
        if cine is None:
            raise ValueError("a segmentation of no exam")
        return read_segmentation(path, cine)[0].labels
