"""Small exams that were stored as DICOM, and what is written of them."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom

import exams
import hearts
from cinesax.analyze import analyze
from cinesax.core.analysis import Analysis
from cinesax.core.cine import Cine, Patient, Source
from cinesax.core.grid import stacked_grid
from cinesax.core.segmentation import ContourKey, Polygons, Segmentation, from_contours
from cinesax.core.structures import Structure
from cinesax.dicom.write.options import DicomOptions
from cinesax.inputs import open_cine
from cinesax.results.write import write_results

CAVITY_SIDES = hearts.BEAT
WALL_PX = 4


def square(side: float, centre: float = 23.5) -> np.ndarray:
    """(4, 2), x and y in pixels."""
    low, high = centre - side / 2, centre + side / 2
    return np.array([(low, low), (high, low), (high, high), (low, high)])


def squares(*, myocardium: bool = True, sides: Iterable[float] = CAVITY_SIDES, slices: int = 6) -> Segmentation:
    """Cavities of a square cross-section in all slices but the first and the last, and at ED a wall round them."""
    contours: dict[ContourKey, Polygons] = {}
    for phase, side in enumerate(sides):
        for place in range(1, slices - 1):
            contours[Structure.CAVITY, phase, place] = (square(side),)
            if myocardium and phase == 0:
                contours[Structure.MYOCARDIUM, phase, place] = (square(side + 2 * WALL_PX),)
    return from_contours(contours, (len(tuple(sides)), slices, 48, 48), author="a network 1")


def stored(folder: Path, cine: Cine | None = None) -> Cine:
    """A cine that went through DICOM files."""
    exams.write_exam(folder, cine or short_axis())
    return open_cine(folder)


def short_axis() -> Cine:
    """The straight cine of `hearts`, laid across the heart as a scanner would."""
    cine = hearts.cine(source=Source("phantom", study_uid="1.2.3.4", description="SAX cine"))
    axes = {"along_row": exams.ALONG_ROW, "along_column": exams.ALONG_COLUMN}
    grid = stacked_grid(
        (-40.0, -60.0, 60.0), spacing_mm=(1.0, 1.0), slice_distance_mm=10.0, shape=cine.pixels.shape[1:], **axes
    )
    return replace(cine, grid=grid, patient=Patient(name="DOE^JANE", patient_id="ID-77", sex="F"))


def analysis(folder: Path, *, myocardium: bool = True) -> Analysis:
    """The squares, measured on a cine from DICOM files in `folder`: EDV 16 ml, ESV 4 ml, 60 beats a minute."""
    return analyze(stored(folder), segmentation=squares(myocardium=myocardium))


def written(of: Analysis, out: Path) -> dict[str, pydicom.Dataset]:
    """All DICOM objects of an analysis, as they lie in `out`, by name."""
    write_results(of, out, dicom=DicomOptions(rtstruct=True))
    return {path.name: pydicom.dcmread(path) for path in sorted(out.glob("*.dcm"))}
