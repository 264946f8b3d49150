"""One DICOM study with its labels -> examples, and the reason for every unused file."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from cinesax.core.analysis import case_key_of
from cinesax.core.cine import Cine, StoredFile
from cinesax.core.errors import CinesaxError, DatasetError, InputError
from cinesax.core.segmentation import Segmentation
from cinesax.core.selection import AS_IT_SAYS, LabelReading, Selection
from cinesax.core.structures import Structure
from cinesax.dicom.read.exam import Exam, open_exam
from cinesax.dicom.read.frames import read_headers
from cinesax.dicom.read.header import NotDicomError
from cinesax.dicom.read.pick import Pick, pick_short_axis, read_cine
from cinesax.dicom.read.series import SeriesKind
from cinesax.dicom.read.stack import order
from cinesax.files.stored_files import list_files
from cinesax.formats import contours
from cinesax.formats.contour_convention import MARKER_NAME
from cinesax.inputs import read_segmentation
from cinesax.network.framing import Framing
from cinesax.results.read import read_results
from cinesax.results.tables import read_json
from cinesax.results.write import JSON_NAME
from cinesax.train.data.examples import Example, from_approved, from_study, labelled_frames

Leftover = tuple[Path, str]
SEGMENTATION_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")

# The share of pixels 2 to 5 pixels outside the cavity that are darker than the blood. Measured: 0.97 to 1.00 in three
# Sunnybrook studies with their own contours, 0.52 to 0.75 with those of another of the three.
FIT = 0.85
_RING_PX = (2.0, 5.0)


def read_study(
    case: str,
    folder: Path,
    files: Sequence[Path],
    labels: Path | None,
    *,
    framing: Framing,
    reading: LabelReading = AS_IT_SAYS,
) -> tuple[list[Example], list[Leftover]]:
    """The examples of one patient, and (file, reason) for every file without examples.

    The short-axis cine is the one that `cinesax analyze` would pick or, if the labels do not fit it, another cine that
    they fit.

    Args:
        case: the patient.
        folder: the folder of the files.
        files: all DICOM files.
        labels: a folder of contour files or a label file; None: a DICOM SEG among `files`.
        framing: how the network sees the frames.
        reading: how to read labels that do not describe themselves.
    """
    try:
        exam = open_exam(folder)
        chosen = labels or _segmentation_object(exam)
        pick, cine, truth = _fitting(exam, chosen, reading)
    except InputError as error:
        everything = [*files, *_files_under(labels)]
        return [], [(file, f"patient left out: {error}") for file in everything]
    examples = list(from_study(case, cine, truth, framing))
    return examples, [*_unused_images(pick, truth, files, chosen), *_unused_labels(labels)]


def read_approved(folder: Path, exams: Path | None, *, framing: Framing) -> tuple[list[Example], list[Leftover]]:
    """The examples of a folder of results that a person approved, and (file, reason) for results without examples.

    Args:
        folder: the results.
        exams: a folder in which the exam lies, at any depth; None: the results say where it lies (they do if they were
            written with the patient).
        framing: how the network sees the frames.
    """
    given = folder / JSON_NAME
    try:
        exam = None if exams is None else _exam_of(folder, exams)
        analysis = read_results(folder, exam)
    except CinesaxError as error:
        return [], [(given, f"patient left out: {error}")]
    if analysis.approval is None:
        return [], [(given, "patient left out: nobody has approved these results")]
    return list(from_approved(analysis.case, analysis.cine, analysis.segmentation, framing)), []


def _exam_of(folder: Path, exams: Path) -> Path:
    """The folder of the study that results are of, by their case key.

    Raises:
        DatasetError: it is not there.
    """
    case = read_json(folder / JSON_NAME).get("case")
    for parent in sorted({file.path.parent for file in list_files(exams)}):
        first = next((path for path in sorted(parent.iterdir()) if path.is_file()), None)
        if first is not None and case_of(first) == case:
            return parent
    raise DatasetError(f"its exam ({case}) is not below {exams}")


def case_of(file: Path) -> str | None:
    """The case key of the study that a DICOM file belongs to; None for any other file."""
    try:
        with file.open("rb") as stream:
            uid = read_headers(StoredFile(file), stream)[0].study_uid
    except (NotDicomError, OSError):
        return None
    return case_key_of(uid) if uid else None


def _segmentation_object(exam: Exam) -> Path:
    objects = [
        header.file.path
        for series in exam.series
        for header in series.headers
        if header.sop_class_uid in SEGMENTATION_CLASSES
    ]
    if not objects:
        raise DatasetError("it has no contours, label file or DICOM SEG")
    if len(objects) > 1:
        raise DatasetError(f"it has {len(objects)} DICOM SEG files: keep one")
    return objects[0]


def _fitting(exam: Exam, labels: Path, reading: LabelReading) -> tuple[Pick, Cine, Segmentation]:
    """The cine that the labels lie on.

    Raises:
        InputError: the labels fit no cine of the exam.
    """
    first: InputError | None = None
    for pick in _picks(exam):
        try:
            cine = read_cine(pick)
            truth = read_segmentation(labels, cine, reading)[0]
            check_fit(cine, truth)
            return pick, cine, truth
        except InputError as error:
            first = first or error
    raise first or DatasetError("no short-axis cine in it")


def _picks(exam: Exam) -> Iterator[Pick]:
    best = pick_short_axis(exam)
    yield best
    for series in exam.series:
        if series.kind is SeriesKind.SHORT_AXIS and series not in best.series:
            yield pick_short_axis(exam, Selection(series_uid=series.uid))


def check_fit(cine: Cine, truth: Segmentation) -> None:
    """Check that the cavity lies on blood brighter than its surroundings, as in bSSFP cines.

    Raises:
        DatasetError: the labels lie elsewhere: they belong to another patient, series or slice order.
    """
    parts = []
    for phase, index in np.argwhere(np.any(truth.labels == Structure.CAVITY, axis=(2, 3))):
        inside = truth.labels[phase, index] == Structure.CAVITY
        away = ndimage.distance_transform_edt(~inside)
        ring = cine.pixels[phase, index][(away >= _RING_PX[0]) & (away <= _RING_PX[1])]
        parts.append(np.mean(ring < np.median(cine.pixels[phase, index][inside])) if len(ring) else 1.0)
    if not parts:
        raise DatasetError("its labels have no LV cavity")
    if np.mean(parts) < FIT:
        raise DatasetError(
            f"its labels do not lie on LV blood: {100 * np.mean(parts):.0f} % of their surroundings are darker, "
            f"expected at least {100 * FIT:.0f} %; do they belong to this series?"
        )


def _unused_images(pick: Pick, truth: Segmentation, files: Sequence[Path], labels: Path) -> list[Leftover]:
    reasons: dict[Path, str] = {}
    skipped = labelled_frames(truth)[1]
    used: set[Path] = {labels}
    for phase, headers in enumerate(order(pick.stack).frames):
        for index, header in enumerate(headers):
            if (phase, index) in skipped:
                reasons[header.file.path] = f"a frame of the cine with {skipped[phase, index]}"
            else:
                used.add(header.file.path)
    for series, _ in pick.rejections:
        for header in series.headers:
            reasons[header.file.path] = f"from another series: {series.kind}"
    ignored = {pick.exam.path / file.file: file.explanation for file in pick.exam.ignored}
    return [
        (file, reasons.get(file) or ignored.get(file) or "with another orientation than the cine")
        for file in files
        if file not in used
    ]


def _files_under(place: Path | None) -> list[Path]:
    if place is None:
        return []
    return sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]


def _unused_labels(place: Path | None) -> list[Leftover]:
    if place is None or not place.is_dir():
        return []
    chosen = set(contours.chosen_files(place).values())
    listed = [file for file in _files_under(place) if file.name != MARKER_NAME]
    return [(file, _why_not(file)) for file in listed if file not in chosen]


def _why_not(file: Path) -> str:
    if contours.is_contour_file(file):
        return "an automatic contour next to a manual one"
    if "contour" in file.name.lower():
        return "not a contour of endocardium or epicardium: papillary muscles belong to the cavity"
    return "not a contour file"
