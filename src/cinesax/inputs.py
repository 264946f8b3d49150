"""Read what a path holds: a short-axis cine, or a segmentation of one, in any supported format."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from cinesax.core.cine import Cine, StoredFile
from cinesax.core.errors import InputError, UsageError
from cinesax.core.segmentation import Segmentation
from cinesax.core.selection import (
    AS_IT_SAYS,
    LabelReading,
    Selection,
    SelectionFields,
    refuse_others,
    selection_of,
)

_KINDS = (
    "a NIfTI file of labels (.nii, .nii.gz), a DICOM segmentation or structure set, a cvi42 workspace (.cvi42wsx) or a "
    "folder of contour files"
)


def open_cine(
    path: str | Path | Sequence[str | Path],
    *,
    selection: Selection | None = None,
    **choices: Unpack[SelectionFields],
) -> Cine:
    """Read the short-axis cine of a folder, file or zip of DICOM, or of one or several NIfTI files.

    Args:
        path: what to read; several NIfTI files (ED and ES, one file per phase or slice), or a folder of them, are read
            together.
        selection: which series, study or patient to read, if there are several.
        **choices: fields of the selection by name, such as `series_uid`.

    Raises:
        InputError: and its subclasses, see `open_exam`, `pick_short_axis` and `read_cine`.
        UsageError: a series, study or patient that does not exist, or one for a NIfTI file; several files that are not
            NIfTI.
        MissingExtraError: compressed pixels that need the extra `decoders`, which is not installed.
    """
    refuse_others("open_cine", choices, Selection)
    selection = selection_of(selection, choices)
    paths = [Path(path)] if isinstance(path, str | Path) else [Path(file) for file in path]
    files = nifti_files_of(paths)
    if files:
        if selection.names_dicom:
            raise UsageError(
                f"{paths[0]} is NIfTI, which has no series, study or patient: leave out --series, --study and --patient"
            )
        from cinesax.formats.nifti import files as nifti_together

        read = nifti_together.read_files(files, geometry=selection.nifti_geometry, of_folder=files != paths)
        return _from(paths, read)
    # Load the DICOM code only if there is DICOM to read.
    from cinesax.dicom.read.exam import open_exam
    from cinesax.dicom.read.pick import pick_short_axis, read_cine

    (root,) = paths
    return _from(paths, read_cine(pick_short_axis(open_exam(root), selection)))


def open_stored(root: Path, files: Sequence[StoredFile]) -> Cine:
    """Read the short-axis cine of DICOM files that are known to belong together: in folders or zips below `root`.

    Raises:
        InputError: as `open_cine`.
    """
    from cinesax.dicom.read.exam import open_exam
    from cinesax.dicom.read.pick import read_cine

    return _from([root], read_cine(open_exam(root, files=files)))


def _from(paths: Sequence[Path], cine: Cine) -> Cine:
    return replace(cine, source=replace(cine.source, paths=tuple(path.absolute() for path in paths)))


def nifti_files_of(paths: Sequence[Path]) -> list[Path]:
    """The NIfTI files among the given paths, or in the given folder; empty for DICOM.

    Raises:
        UsageError: several paths that are not all NIfTI files.
    """
    from cinesax.formats import nifti
    from cinesax.formats.nifti.names import nifti_files

    if len(paths) == 1:
        if nifti.is_nifti(paths[0]):
            return [paths[0]]
        return list(nifti_files(paths[0])) if paths[0].is_dir() else []
    other = next((path for path in paths if not nifti.is_nifti(path)), None)
    if other is not None or not paths:
        raise UsageError(
            f"several files can be read together only if all are NIfTI, seen {other or 'none'}: "
            "give the folder of the exam"
        )
    return list(paths)


def read_segmentation(
    path: Path | Sequence[Path], cine: Cine, reading: LabelReading = AS_IT_SAYS
) -> tuple[Segmentation, str]:
    """A segmentation of `cine` from a file, and the kind of the file.

    The kinds are "contours", "nifti", "dicom-seg", "rtstruct" and "cvi42".

    Args:
        path: a folder of contour files (Sunnybrook's text format), a NIfTI label file, a DICOM segmentation, an RT
            Structure Set or a cvi42 workspace; or a NIfTI label file for each phase.
        cine: the exam that was segmented.
        reading: what the file itself does not say.

    Raises:
        InputError: nothing there, another kind of file, or one that does not fit the cine.
        UsageError: `reading` gives something that the file itself says, or that has no meaning for this kind of file.
    """
    from cinesax.formats import cvi42, nifti

    _check_reading(cine, reading)
    paths = [path] if isinstance(path, Path) else list(path)
    for absent in (file for file in paths if not _is_there(file)):
        raise InputError(f"there is no segmentation at {absent}: give {_KINDS}")
    if all(nifti.is_nifti(file) for file in paths) and not any(_is_folder(file) for file in paths):
        from cinesax.formats.label_numbers import parse_labels
        from cinesax.formats.nifti.labels import read_labels

        labels = None if reading.labels is None else parse_labels(reading.labels)
        geometry = reading.nifti_geometry
        return read_labels(paths, cine, geometry=geometry, labels=labels, phase=reading.phase), "nifti"
    if len(paths) > 1:
        raise UsageError(f"several segmentations are read together only if all are NIfTI, seen {paths[1]}")
    (root,) = paths
    if not _is_folder(root) and cvi42.is_workspace(root):
        _refuse(reading, root, labels=True, phase=True)
        return _without_crossings(root, cvi42.read_workspace(root, cine), cine), "cvi42"
    if _is_folder(root):
        from cinesax.formats.contours import read_contours

        _refuse(reading, root, labels=True)
        return read_contours(root, cine, phase=reading.phase), "contours"
    return _read_dicom(root, cine, reading)


def _read_dicom(path: Path, cine: Cine, reading: LabelReading) -> tuple[Segmentation, str]:
    from cinesax.dicom.objects.rtstruct import is_rtstruct, read_rtstruct
    from cinesax.dicom.objects.seg import is_dicom, read_seg
    from cinesax.formats.label_numbers import parse_labels

    if not is_dicom(path):
        raise InputError(f"{path.name} is not a segmentation: expected {_KINDS}")
    if is_rtstruct(path):
        _refuse(reading, path, labels=True)
        return _without_crossings(path, read_rtstruct(path, cine, phase=reading.phase), cine), "rtstruct"
    segments = None if reading.labels is None else parse_labels(reading.labels)
    return read_seg(path, cine, segments=segments, phase=reading.phase), "dicom-seg"


def _without_crossings(path: Path, segmentation: Segmentation, cine: Cine) -> Segmentation:
    """The segmentation; an InputError that names the frame where a contour of it crosses itself."""
    from cinesax.formats.contours import frame_numbers
    from cinesax.formats.crossings import crossing

    for (structure, phase, place), polygons in sorted((segmentation.contours or {}).items()):
        where = next((seen for seen in map(crossing, polygons) if seen is not None), None)
        if where is None:
            continue
        number = next(number for number, frame in frame_numbers(cine).items() if frame == (phase, place))
        raise InputError(
            f"{path}: the {structure.facts.border} of frame {number} (phase {phase}, slice {place}) crosses itself "
            f"near x {where[0]:.1f}, y {where[1]:.1f}: its area means nothing. Are its points in order "
            "around the outline?"
        )
    return segmentation


def _check_reading(cine: Cine, reading: LabelReading) -> None:
    phase = reading.phase
    if phase is not None and not 0 <= phase < cine.n_phases:
        raise UsageError(f"--segmentation-phase must be from 0 to {cine.n_phases - 1} (counted from 0), seen {phase}")


def _refuse(reading: LabelReading, path: Path, *, labels: bool = False, phase: bool = False) -> None:
    if labels and reading.labels is not None:
        raise UsageError(f"{path.name} names its structures and has no label numbers: leave --labels out")
    if phase and reading.phase is not None:
        raise UsageError(f"{path.name} names the frame of each contour: leave --segmentation-phase out")


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
