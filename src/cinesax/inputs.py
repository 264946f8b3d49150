"""What a path holds: a short-axis cine, or a segmentation of one, in any format that is read."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from cinesax.core.cine import Cine
from cinesax.core.errors import InputError, UsageError
from cinesax.core.segmentation import Segmentation
from cinesax.core.selection import NiftiGeometry, Selection, SelectionFields, refuse_others, selection_of

_KINDS = "a NIfTI file of labels (.nii, .nii.gz), a DICOM segmentation or a folder of contour files"


def open_cine(
    path: str | Path | Sequence[str | Path],
    *,
    selection: Selection | None = None,
    **choices: Unpack[SelectionFields],
) -> Cine:
    """Read the short-axis cine of a folder, file or zip of DICOM, or of one or several NIfTI files.

    Args:
        path: what to read; several NIfTI files (ED and ES, a file a phase or a slice), or a folder of them, are read
            together.
        selection: which series, study or patient of it, where there are several.
        **choices: fields of the selection by their own names, such as `series_uid`.

    Raises:
        InputError: and its subclasses, as `open_exam`, `pick_short_axis` and `read_cine` tell.
        UsageError: a series, study or patient that is not there, or one for a NIfTI file; several files of another
            kind.
        MissingExtraError: compressed pixels that the extra `decoders` reads, which is not installed.
    """
    refuse_others("open_cine", choices, Selection)
    selection = selection_of(selection, choices)
    paths = [Path(path)] if isinstance(path, str | Path) else [Path(one) for one in path]
    files = nifti_files_of(paths)
    if files:
        if selection.names_dicom:
            raise UsageError(
                f"{paths[0]} is NIfTI, which has no series, study or patient: leave out --series, --study and --patient"
            )
        from cinesax.formats import nifti_files

        read = nifti_files.read_files(files, geometry=selection.nifti_geometry, found=files != paths)
        return _from(paths, read)
    # DICOM is loaded only where there is DICOM to read.
    from cinesax.dicom.read.exam import open_exam
    from cinesax.dicom.read.pick import pick_short_axis, read_cine

    (root,) = paths
    return _from(paths, read_cine(pick_short_axis(open_exam(root), selection)))


def _from(paths: Sequence[Path], cine: Cine) -> Cine:
    return replace(cine, source=replace(cine.source, paths=tuple(path.absolute() for path in paths)))


def nifti_files_of(paths: Sequence[Path]) -> list[Path]:
    """The NIfTI files among what was given, or in the folder that was given; none where that is DICOM.

    Raises:
        UsageError: several paths that are not all NIfTI files.
    """
    from cinesax.formats import nifti, nifti_files

    if len(paths) == 1:
        if nifti.is_nifti(paths[0]):
            return [paths[0]]
        return list(nifti_files.nifti_files(paths[0])) if paths[0].is_dir() else []
    other = next((path for path in paths if not nifti.is_nifti(path)), None)
    if other is not None or not paths:
        raise UsageError(
            f"several files can be read together only if all are NIfTI, seen {other or 'none'}: "
            "give the folder of the exam"
        )
    return list(paths)


def read_segmentation(
    path: Path, cine: Cine, *, nifti_geometry: NiftiGeometry | None = None
) -> tuple[Segmentation, str]:
    """A segmentation of `cine` from a file, and what kind of file it was: "contours", "nifti" or "dicom-seg".

    Args:
        path: a folder of contour files (Sunnybrook's text format), a NIfTI label file or a DICOM segmentation.
        cine: the exam that was segmented.
        nifti_geometry: the part of a NIfTI header to trust if its parts contradict one another.

    Raises:
        InputError: nothing there, another kind of file, or one that does not fit the cine.
    """
    try:
        folder, there = path.is_dir(), path.exists()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    if folder:
        from cinesax.formats.contours import read_contours

        return read_contours(path, cine), "contours"
    if not there:
        raise InputError(f"there is no segmentation at {path}: give {_KINDS}")
    if path.name.lower().endswith((".nii", ".nii.gz")):
        from cinesax.formats.nifti import read_labels

        return read_labels(path, cine, geometry=nifti_geometry), "nifti"
    from cinesax.dicom.objects.seg import is_dicom, read_seg

    if not is_dicom(path):
        raise InputError(f"{path.name} is not a segmentation: expected {_KINDS}")
    return read_seg(path, cine), "dicom-seg"
