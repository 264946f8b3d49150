"""One real exam in the forms in which people have it: the volumes that come out, and what is said of them.

    python benchmarks/shapes.py EXAM        a folder of DICOM; needs the Debian package dcm2niix

DICOM, what dcm2niix makes of it, that in other orders of axes, resampled, as two files, as one file a slice. Turns,
mirrors and divisions change no number but for the rounding of headers; resampling makes other pixels.
"""

import argparse
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from cinesax.analyze import analyze
from cinesax.core.analysis import Analysis
from cinesax.network.segmenter import load_segmenter

_FINER = 0.75


def converted(exam: Path, folder: Path) -> Path:
    """The largest file that dcm2niix makes of the exam: beside the cine there may be a localizer."""
    command = ["dcm2niix", "-z", "n", "-b", "y", "-o", str(folder), "-f", "cine", str(exam)]
    subprocess.run(command, check=True, capture_output=True)
    return max(folder.glob("*.nii"), key=lambda path: path.stat().st_size)


def saved(image: nib.Nifti1Image, path: Path) -> Path:
    """Write an image."""
    nib.save(image, path)
    return path


def resampled(image: nib.Nifti1Image) -> nib.Nifti1Image:
    """Finer pixels in the plane, by linear interpolation, with a header that says so everywhere."""
    zoom = (1 / _FINER, 1 / _FINER, 1, 1)
    data = ndimage.zoom(np.asarray(image.dataobj, dtype=np.float32), zoom, order=1, grid_mode=True, mode="nearest")
    scale = np.array(image.shape[:2]) / np.array(data.shape[:2])
    affine = image.affine.copy()
    # The corner of the image stays where it is, so the first pixel's centre moves.
    affine[:3, 3] += affine[:3, :2] @ ((scale - 1) / 2)
    affine[:3, 0] *= scale[0]
    affine[:3, 1] *= scale[1]
    made = nib.Nifti1Image(data, affine)
    made.header.set_xyzt_units("mm", "sec")
    return made


def forms(exam: Path, folder: Path, ed: int, es: int) -> Sequence[tuple[str, Callable[[], Sequence[Path]]]]:
    """(name, maker of the files) of each form."""
    plain = converted(exam, folder)
    image = nib.load(plain)

    def in_order(*order: Sequence[int]) -> nib.Nifti1Image:
        return image.as_reoriented(np.array(order))

    def one_a_slice() -> Sequence[Path]:
        inner = folder / "slices"
        inner.mkdir()
        for place in range(image.shape[2]):
            saved(image.slicer[:, :, place : place + 1], inner / f"part{place}.nii")
        return [inner]

    def pair() -> Sequence[Path]:
        return [saved(image.slicer[..., at], folder / f"{name}.nii") for name, at in (("ED", ed), ("ES", es))]

    return (
        ("DICOM", lambda: [exam]),
        ("dcm2niix", lambda: [plain]),
        ("rows the other way", lambda: [saved(in_order((0, 1), (1, -1), (2, 1)), folder / "rows.nii")]),
        ("rows and columns exchanged", lambda: [saved(in_order((1, 1), (0, 1), (2, 1)), folder / "exchanged.nii")]),
        ("turned, slices first", lambda: [saved(in_order((1, 1), (2, -1), (0, -1)), folder / "turned.nii")]),
        ("closest canonical (RAS)", lambda: [saved(nib.as_closest_canonical(image), folder / "canonical.nii")]),
        ("one file a slice", one_a_slice),
        (f"resampled to {_FINER:g} of the pixel", lambda: [saved(resampled(image), folder / "finer.nii")]),
        ("ED and ES as two files", pair),
    )


def row(name: str, analysis: Analysis) -> str:
    """A line of the table."""
    m = analysis.measurements
    rate = "-" if m.heart_rate_bpm is None else f"{m.heart_rate_bpm:.0f}"
    codes = ", ".join(sorted({str(finding.code) for finding in analysis.findings})) or "none"
    return f"| {name} | {m.edv_ml:.2f} | {m.esv_ml:.2f} | {m.ef_percent:.2f} | {rate} | {codes} |"


def main() -> None:
    """Analyze each form and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exam", type=Path, help="a folder of DICOM with one short-axis cine")
    exam = parser.parse_args().exam
    if shutil.which("dcm2niix") is None:
        raise SystemExit("dcm2niix is absent: install the Debian package dcm2niix")
    segmenter = load_segmenter(None)
    first = analyze(exam, segmenter=segmenter)
    ed, es = first.measurements.ed_phase or 0, first.measurements.es_phase or 0
    print("| form | EDV (ml) | ESV (ml) | EF (%) | heart rate | findings |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for name, make in forms(exam, Path(folder), ed, es):
            files = make()
            analysis = (
                first if name == "DICOM" else analyze(files[0] if len(files) == 1 else files, segmenter=segmenter)
            )
            print(row(name, analysis), flush=True)


if __name__ == "__main__":
    main()
