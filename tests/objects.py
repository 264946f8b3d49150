"""Exams and segmentations for the tests of DICOM objects: small, asymmetric, and with a patient to file them under."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

import exams
from cinesax.analyze import analyze
from cinesax.core.analysis import Analysis
from cinesax.core.cine import Cine
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import Structure
from cinesax.dicom.copied import encoded
from cinesax.inputs import open_cine


def ring(cine: Cine, *, sides: tuple[int, ...] = (12, 10, 6, 7, 9, 11)) -> Segmentation:
    """A square cavity in a square wall, in all slices but the first; of another size in each phase, and off centre."""
    labels = np.zeros(cine.pixels.shape, dtype=np.uint8)
    for phase in range(cine.n_phases):
        side = sides[phase % len(sides)]
        labels[phase, 1:, 2 : side + 6, 3 : side + 7] = Structure.MYOCARDIUM
        labels[phase, 1:, 4 : side + 4, 5 : side + 5] = Structure.CAVITY
    known = {structure: np.ones(cine.n_phases, dtype=bool) for structure in (Structure.CAVITY, Structure.MYOCARDIUM)}
    return Segmentation(labels, known, author="manual")


def exam_on_disk(folder: Path, **changes: object) -> Cine:
    """The small cine written as DICOM, its headers changed, and read again."""
    files = exams.write_exam(folder)
    if changes:
        exams.edit(files, **changes)
    return open_cine(folder)


def analysis_of(cine: Cine, segmentation: Segmentation | None = None) -> Analysis:
    """What is known of a cine once it is segmented, without any network."""
    return analyze(cine, segmentation=segmentation or ring(cine))


def filed(cine: Cine) -> Cine:
    """A cine that was never on disk, with a patient and a study to file objects under."""
    copied = Dataset()
    copied.PatientName, copied.PatientID, copied.StudyDate = "SOLID", "SOLID-1", "20240101"
    copied.StudyInstanceUID = cine.source.study_uid
    return replace(cine, source=replace(cine.source, copied=encoded(copied)))
