"""Results on disk: the folder that `cinesax analyze EXAM -o OUT` writes, complete or not at all.

    OUT/
      analysis.json         all numbers, with a JSON Schema
      measurements.csv      one row
      measurements.xlsx     on request: the same as a workbook, with volumes, areas and findings
      segmentation.nii.gz   labels of every frame, 4D
      contours/             sub-pixel outlines in the text format of the Sunnybrook data, and their convention
      presence.json         what a network decided at base and apex, for reading the results back
      report.html           for people
      *.dcm                 on request: the same as DICOM objects, for archives and viewers
      images/, uid_map.csv  on request, if UIDs of the exam are not valid: its images with valid UIDs

Everything is written into a hidden folder beside OUT, read again to check the positions, and renamed when complete, so
that nobody ever sees half a result.
"""

import logging
import os
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from cinesax.core.analysis import Analysis
from cinesax.core.errors import InputError, NoObjectsError, OutputError, UsageError, printable
from cinesax.core.origins import Origin
from cinesax.dicom.write.options import (
    CAPTURE_ED_NAME,
    CAPTURE_ES_NAME,
    DICOM_NAMES,
    IMAGES_NAME,
    PDF_NAME,
    RTSTRUCT_NAME,
    SEG_CINE_NAME,
    SEG_ED_NAME,
    SEG_ES_NAME,
    SR_NAME,
    UID_MAP_NAME,
    DicomOptions,
    is_copied_image,
)
from cinesax.files.folder_swap import put_in_place
from cinesax.files.remote import is_remote
from cinesax.results import tables
from cinesax.results.presence import PRESENCE_NAME, write_presence
from cinesax.results.privacy import pseudonymise
from cinesax.results.workbook import check_tables_extra, sheets_of, write_workbook

if TYPE_CHECKING:
    from cinesax.dicom.write.objects import Shown

_LOG = logging.getLogger(__name__)

JSON_NAME = "analysis.json"
CSV_NAME = "measurements.csv"
XLSX_NAME = "measurements.xlsx"
LABELS_NAME = "segmentation.nii.gz"
CONTOURS_NAME = "contours"
REPORT_NAME = "report.html"
NAMES = (JSON_NAME, CSV_NAME, LABELS_NAME, CONTOURS_NAME, REPORT_NAME)
OPTIONAL_NAMES = (CSV_NAME, LABELS_NAME, CONTOURS_NAME, REPORT_NAME)
"""What may be left out; analysis.json is the seal of a result."""
ALL_NAMES = (*NAMES, XLSX_NAME, PRESENCE_NAME, *DICOM_NAMES, IMAGES_NAME, UID_MAP_NAME)


def write_results(
    analysis: Analysis,
    out: str | os.PathLike[str],
    *,
    show_patient: bool = False,
    force: bool = False,
    dicom: DicomOptions | None = None,
    xlsx: bool = False,
    only: Collection[str] = OPTIONAL_NAMES,
) -> Path:
    """Write all results of an analysis into the folder `out`.

    Args:
        analysis: what to write.
        out: the folder; made, with its parents, if absent. An earlier result of the same exam in it is replaced.
        show_patient: whether to write the patient's name, ID and birth date, UIDs and the study date.
        force: write into a folder that holds other files too (also in contours/), which stay; and replace the results
            of another exam.
        dicom: write DICOM objects as well. They carry the patient and study of the source, whatever `show_patient`
            says: an archive files them by these.
        xlsx: write measurements.xlsx as well; needs the extra `tables`.
        only: which of `OPTIONAL_NAMES` to write.

    Returns:
        The folder, as an absolute path.

    Raises:
        NoObjectsError: DICOM objects cannot refer to the frames of the exam. All other results are written.
        OutputError: `out` cannot be written; it holds files that are not an earlier result, or the results of another
            exam, and `force` is not set; or the written files, read again, have wrong positions. Nothing is kept then.
        InputError: `dicom` for an exam that was not read from DICOM.
        MissingExtraError: `xlsx` without the extra `tables`.
        UsageError: `out` is a URL.
    """
    target = check_output(out, force=force)
    if not force:
        _refuse_other_exam(target, analysis.case)
    if xlsx:
        check_tables_extra()
    problem = None if dicom is None or dicom.repair_uids else _objects_problem(analysis)
    if problem is not None:
        dicom = None
    try:
        with _staging(target) as stage:
            shown = analysis if show_patient else pseudonymise(analysis)
            _fill(stage, shown, only)
            if xlsx:
                write_workbook(sheets_of(shown), stage / XLSX_NAME)
            filed = analysis if dicom is None else _write_dicom(stage, analysis, dicom)
            _prove(stage, filed)
            with _uninterrupted():
                _install(stage, target)
    except OSError as error:
        raise OutputError(f"the results cannot be written to {target}: {error.strerror or error}") from error
    if problem is not None:
        raise NoObjectsError(f"{problem} (with --repair-uids they refer to copies); all other results are in {target}")
    return target


def _objects_problem(analysis: Analysis) -> str | None:
    from cinesax.dicom.write.filing import reference_problem

    return reference_problem(analysis.cine) if analysis.cine.source.copied else None


def check_output(out: str | os.PathLike[str], *, force: bool = False) -> Path:
    """Check, before any work is done, that results can be written to `out`; nothing is left behind.

    Returns:
        The absolute path, with links followed.

    Raises:
        OutputError: see `write_results`.
        UsageError: `out` is a URL.
    """
    if is_remote(Path(out)):
        raise UsageError("results must be on this machine or on a shared file system, not in a store such as S3")
    target = _absolute(out)
    if target.exists() and not target.is_dir():
        raise OutputError(f"{target} is a file: give a folder for the results")
    foreign = _foreign_entries(target)
    if foreign and not force:
        listed = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
        raise OutputError(
            f"{target} holds other files ({listed}): give an empty or new folder, or --force to write beside them"
        )
    for folder in {_nearest_folder(target), _stage_parent(target)}:
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise OutputError(f"the results cannot be written to {target}: {folder}: {error.strerror}") from error
    return target


def refuse_human_work(out: str | os.PathLike[str]) -> None:
    """Refuse to replace results that a person has corrected or approved, whatever is forced.

    Raises:
        OutputError: such results are in the folder.
    """
    earlier = _earlier_result(_absolute(out))
    if earlier is None:
        return
    signed, segmentation = earlier.get("approval"), earlier.get("segmentation")
    origins = segmentation.get("origins") if isinstance(segmentation, dict) else None
    edited = isinstance(origins, list) and any(
        isinstance(entry, dict) and entry.get("origin") in (Origin.EDITED, Origin.INTERPOLATED) for entry in origins
    )
    if signed or edited:
        what = "approved" if signed else "corrected"
        raise OutputError(f"{out} holds results that a person has {what}: give another folder")


def _refuse_other_exam(target: Path, case: str) -> None:
    earlier = _earlier_result(target)
    other = None if earlier is None else earlier.get("case")
    if isinstance(other, str) and other != case:
        raise OutputError(
            f"{target} holds the results of another exam ({printable(other)}): give another folder, or --force to "
            "replace them"
        )


def _absolute(out: str | os.PathLike[str]) -> Path:
    try:
        target = Path(out).expanduser().resolve()
        target.exists()  # raises if the name is too long
    # RuntimeError: links that form a circle, or the home of a user who does not exist.
    except (OSError, RuntimeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise OutputError(f"{out} cannot be the folder for the results: {reason}") from error
    return target


def _foreign_entries(target: Path) -> list[str]:
    """Names in the folder that are not part of an earlier result, recognised by its analysis.json."""
    names, earlier = _listed(target), _earlier_result(target)
    if earlier is None:
        return names
    ours = _own_contours(target, earlier)
    among_contours = [name for name in _listed(target / CONTOURS_NAME) if name not in ours]
    among_images = [name for name in _listed(target / IMAGES_NAME) if not is_copied_image(name)]
    return [
        *(name for name in names if name not in ALL_NAMES),
        *(f"{CONTOURS_NAME}/{name}" for name in among_contours),
        *(f"{IMAGES_NAME}/{name}" for name in among_images),
    ]


def _listed(folder: Path) -> list[str]:
    if not folder.is_dir() or (folder.name in (CONTOURS_NAME, IMAGES_NAME) and folder.is_symlink()):
        return []
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise OutputError(f"{folder} cannot be listed: {error.strerror}") from error


def _earlier_result(target: Path) -> dict[str, Any] | None:
    try:
        return tables.read_json(target / JSON_NAME)
    except InputError:
        return None


def _own_contours(target: Path, earlier: dict[str, Any]) -> set[str]:
    """Names in contours/ that the earlier result may have written: beside a network's, "manual" ones are a person's."""
    from cinesax.formats.contour_convention import FIELD, MARKER_NAME
    from cinesax.formats.contours import is_written_name

    segmentation = earlier.get("segmentation")
    content = segmentation if isinstance(segmentation, dict) else {}
    ours = {name for name in _listed(target / CONTOURS_NAME) if is_written_name(name, content.get("author"))}
    # Results from before conventions were named did not write the marker.
    return ours if FIELD in content else ours - {MARKER_NAME}


def _nearest_folder(path: Path) -> Path:
    """The path itself if it is a folder, else its nearest parent that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _stage_parent(target: Path) -> Path:
    """Where the hidden folder goes: beside the target, from where one rename suffices.

    It goes inside the target if the target cannot be renamed (a mount point, a read-only parent) or should not be (the
    current folder of this process).
    """
    if not target.is_dir():
        return _nearest_folder(target.parent)
    stays = os.path.ismount(target) or target == Path.cwd() or not os.access(target.parent, os.W_OK)
    return target if stays else target.parent


@contextmanager
def _staging(target: Path) -> Iterator[Path]:
    """A new hidden folder. It is always removed at the end, with parents that turn out not to be needed."""
    made = [folder for folder in target.parents if not folder.exists()]
    parent = target.parent if made else _stage_parent(target)
    stage = parent / f".{target.name[:40]}.{secrets.token_hex(4)}.tmp"
    try:
        stage.mkdir(parents=True)
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        for folder in made:
            with suppress(OSError):
                folder.rmdir()


def _fill(stage: Path, analysis: Analysis, only: Collection[str]) -> None:
    from cinesax.formats.contours import write_contours
    from cinesax.formats.nifti import write_segmentation

    with ThreadPoolExecutor(1) as pool:  # compression releases Python's lock
        labels = None
        if LABELS_NAME in only:
            labels = pool.submit(write_segmentation, analysis.segmentation, analysis.cine, stage / LABELS_NAME)
        if CONTOURS_NAME in only:
            write_contours(analysis.segmentation, analysis.cine, stage / CONTOURS_NAME)
        if REPORT_NAME in only:
            from cinesax.results.html import render

            (stage / REPORT_NAME).write_text(render(analysis), encoding="utf-8")
        if labels is not None:
            labels.result()
    if analysis.segmentation.presence is not None:
        write_presence(analysis.segmentation.presence, stage / PRESENCE_NAME)
    if CSV_NAME in only:
        (stage / CSV_NAME).write_text(tables.to_csv([analysis]), encoding="utf-8")
    (stage / JSON_NAME).write_text(tables.to_json(analysis), encoding="utf-8")


def _write_dicom(stage: Path, analysis: Analysis, dicom: DicomOptions) -> Analysis:
    """Write the DICOM objects; returns the analysis with the UIDs to which they refer."""
    from cinesax.dicom.write.objects import write_objects

    if dicom.repair_uids and analysis.cine.source.copied:
        from cinesax.dicom.write.repair import repair_uids

        analysis = replace(analysis, cine=repair_uids(analysis.cine, stage))
    write_objects(analysis, stage, dicom, _shown(analysis, dicom))
    return analysis


def _shown(analysis: Analysis, dicom: DicomOptions) -> "Shown":
    """The report as PDF, if the extra for it is there, and the pictures that were asked for."""
    from cinesax.dicom.write.objects import Shown
    from cinesax.results.pdf import TITLE, pdf_problem, report_pdf
    from cinesax.results.pictures import contact_sheet

    m = analysis.measurements
    moments = (("End diastole", m.ed_phase, CAPTURE_ED_NAME), ("End systole", m.es_phase, CAPTURE_ES_NAME))
    sheets = {file: (phase, contact_sheet(analysis, phase, name)) for name, phase, file in moments if phase is not None}
    problem = pdf_problem()
    if problem is not None:
        _LOG.warning("%s was not written: %s", PDF_NAME, problem)
    pdf = None if problem is not None else report_pdf(analysis, [sheet for _, sheet in sheets.values()])
    return Shown(pdf, TITLE, sheets if dicom.captures else {})


def _prove(stage: Path, analysis: Analysis) -> None:
    """Read the files with a position in the patient again; an OutputError if that position is wrong."""
    from cinesax.dicom import verify as proof

    cine, segmentation, m = analysis.cine, analysis.segmentation, analysis.measurements
    if (stage / LABELS_NAME).exists():
        proof.prove_nifti(stage / LABELS_NAME, segmentation, cine)
    phases = {SEG_ED_NAME: (m.ed_phase,), SEG_ES_NAME: (m.es_phase,), SEG_CINE_NAME: range(cine.n_phases)}
    for name, held in phases.items():
        if (stage / name).exists():
            proof.prove_seg(stage / name, segmentation, cine, phases=(phase for phase in held if phase is not None))
    if (stage / SR_NAME).exists():
        from cinesax.dicom.write.sr import prove_sr

        prove_sr(stage / SR_NAME, analysis)
    if (stage / RTSTRUCT_NAME).exists():
        from cinesax.dicom.write.rtstruct import prove_rtstruct

        prove_rtstruct(stage / RTSTRUCT_NAME, analysis)


def _install(stage: Path, target: Path) -> None:
    if stage.parent == target or _foreign_entries(target):
        _move_in(stage, target)
        return
    put_in_place(stage, target)


def _move_in(stage: Path, target: Path) -> None:
    """Replace the entries one by one, because the folder itself has to stay; analysis.json, their seal, comes last."""
    earlier = _earlier_result(target)
    _keep_conventions(stage, target, set() if earlier is None else _own_contours(target, earlier))
    if earlier is not None:
        # An entry that only the earlier result has does not belong to this exam.
        for name in set(ALL_NAMES) - {IMAGES_NAME} - {entry.name for entry in stage.iterdir()}:
            (target / name).unlink(missing_ok=True)
        for name in filter(is_copied_image, _listed(target / IMAGES_NAME)):
            (target / IMAGES_NAME / name).unlink()
        for name in _own_contours(target, earlier):
            (target / CONTOURS_NAME / name).unlink()
    for entry in sorted(stage.iterdir(), key=lambda path: path.name == JSON_NAME):
        _replace(entry, target / entry.name)


def _keep_conventions(stage: Path, target: Path, ours: set[str]) -> None:
    """Contours that people keep beside an earlier result keep the convention they had there."""
    from cinesax.formats.contour_convention import add_exceptions, exceptions_among
    from cinesax.formats.contours import contour_files

    kept = target / CONTOURS_NAME
    if kept.is_symlink() or not kept.is_dir():
        return
    new = {path.name for path in (stage / CONTOURS_NAME).iterdir()}
    theirs = [path for path in contour_files(kept) if path.parent != kept or path.name not in ours | new]
    try:
        add_exceptions(stage / CONTOURS_NAME, exceptions_among(kept, theirs))
    except InputError as error:
        raise OutputError(f"the results cannot be written to {target}: {error}") from error


def _replace(entry: Path, place: Path) -> None:
    """Move a file to its place, or a folder's files into the existing folder, beside the files people keep in it."""
    if entry.is_dir() and place.is_dir() and not place.is_symlink():
        for inner in entry.iterdir():
            inner.replace(place / inner.name)
        return
    if place.is_symlink():
        place.unlink()
    elif place.is_dir():
        shutil.rmtree(place)
    entry.replace(place)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold back Ctrl-C and termination for the moment of renaming, and deliver them after it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        waiting.append(number)

    handlers = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if waiting:
            signal.raise_signal(waiting[0])
