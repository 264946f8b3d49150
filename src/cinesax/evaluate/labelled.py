"""Images with truth for `cinesax evaluate`: pairs, and DICOM studies with contours."""

from collections.abc import Iterator
from pathlib import Path

from cinesax.core.cine import Cine
from cinesax.core.errors import DatasetError
from cinesax.core.segmentation import Segmentation
from cinesax.core.selection import AS_IT_SAYS, LabelReading
from cinesax.core.structures import Structure
from cinesax.evaluate import LabelledStudy
from cinesax.inputs import open_cine, read_segmentation

LABEL_SUFFIXES = (".nii.gz", ".nii")
OTHER_SUFFIXES = (".dcm", ".cvi42wsx")


def of_pairs(folder: Path, *, phases: int | None = None) -> Iterator[LabelledStudy]:
    """The labelled slices of a `pairs` folder; those of one patient become one study without geometry.

    Args:
        folder: a folder with `images/` and `labels/`.
        phases: phases per slice, for names that count the frames of a study; None: derived from the names.
    """
    from cinesax.formats import pair_studies

    for study in pair_studies.read_studies(folder, phases=phases):
        yield LabelledStudy(study.case, dict(study.names), study.cine, study.truth)


def of_studies(folder: Path, truths: Path, reading: LabelReading = AS_IT_SAYS) -> Iterator[LabelledStudy]:
    """Exams in `folder`, each with a truth of the same name in `truths`: contour files, labels or other segmentations.

    At every phase with a truth, all slices count, including those without LV.

    Args:
        folder: one subfolder (or NIfTI file) per exam; or a single exam, if `truths` belongs to that exam.
        truths: CASE (a folder of contour files), CASE.nii, CASE.nii.gz, CASE.dcm (SEG, RTSTRUCT) or CASE.cvi42wsx for
            each exam; or the truth of the single exam.
        reading: how to read truths that do not describe themselves.

    Raises:
        DatasetError: no exam has a truth.
        InputError: an exam or a truth cannot be read.
    """
    exams = {_stem(path): path for path in sorted(folder.iterdir())}
    cases = [(case, path, truth) for case, path in exams.items() if (truth := labels_of(case, truths)) is not None]
    if not cases:
        raise DatasetError(
            f"no exam of {folder} has a truth in {truths}: expected {truths.name}/CASE (contour files) or "
            f"{truths.name}/CASE.nii.gz for {folder.name}/CASE"
        )
    for case, path, truth in cases:
        cine = open_cine(path, nifti_geometry=reading.nifti_geometry)
        yield labelled(case, cine, read_segmentation(truth, cine, reading)[0])


def _stem(path: Path) -> str:
    return next((path.name.removesuffix(suffix) for suffix in LABEL_SUFFIXES if path.name.endswith(suffix)), path.name)


def labels_of(case: str, folder: Path) -> Path | None:
    """The labels of a patient in a folder: a readable file CASE, or a folder CASE with files."""
    files = [folder / f"{case}{suffix}" for suffix in (*LABEL_SUFFIXES, *OTHER_SUFFIXES)]
    paths = [path for path in files if path.is_file()]
    paths += [folder / case] if (folder / case).is_dir() and any((folder / case).iterdir()) else []
    return paths[0] if paths else None


def labelled(case: str, cine: Cine, truth: Segmentation) -> LabelledStudy:
    """A whole study: every slice counts at phases with a known truth."""
    from cinesax.formats.contours import frame_numbers

    numbers = {place: number for number, place in frame_numbers(cine).items()}
    known = [phase for phase in range(cine.n_phases) if truth.known_phases[Structure.CAVITY][phase]]
    names = {
        (phase, index): f"{case}-IM-0001-{numbers[phase, index]:04d}"
        for phase in known
        for index in range(cine.n_slices)
    }
    return LabelledStudy(case, names, cine, truth)
