"""Open exams in memory: the cine, the present reading, and the edits that led to it.

The store is the truth: an open exam can always be made again from its results folder and its edits.
"""

import shutil
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cinesax.analyze import remeasure
from cinesax.core.analysis import Analysis
from cinesax.core.cine import Cine
from cinesax.core.errors import InputError, OutputError, UsageError
from cinesax.core.measurements import Measurements
from cinesax.core.selection import Overrides, SelectionFields
from cinesax.dicom.write.options import SR_NAME
from cinesax.files.folder_swap import new_folder
from cinesax.measure.volumes import measure
from cinesax.reader import messages
from cinesax.reader.editing.change import Change, Frame, Reading, apply, opposite
from cinesax.reader.editing.plans import plan
from cinesax.reader.listed import listed
from cinesax.reader.long_axis import LongAxis, read_long_axis
from cinesax.reader.shown import Pixels
from cinesax.reader.store.changes import packed, unpacked
from cinesax.reader.store.database import READABLE, ExamRow, StaleError, Store, StoredEdit, UnknownError, now
from cinesax.reader.watch import fingerprint, settle
from cinesax.results.presence import PRESENCE_NAME
from cinesax.results.privacy import pseudonymise
from cinesax.results.read import read_results
from cinesax.results.write import JSON_NAME, NAMES

KEPT_OPEN = 3
"""An exam of 240 frames takes about 80 MB."""

_LOW, _HIGH = 1.0, 99.5


class BusyError(Exception):
    """An exam that cannot be opened now: its analysis waits, runs or has failed."""


@dataclass(frozen=True, slots=True)
class Changed:
    """The result of a change.

    Attributes:
        version: the version of the exam after the change.
        frames: the frames whose contours changed.
    """

    version: int
    frames: tuple[Frame, ...]


class OpenExam:
    """One exam in memory. Use it inside `with exam.lock`."""

    def __init__(self, row: ExamRow, store: Store, cine: Cine, given: Analysis) -> None:
        self.lock = threading.RLock()
        self.id = row.id
        self.cine = cine
        self.first = given
        self.pixels = _pixels(cine)
        self._store = store
        self._path = row.path
        self._results = Path(row.results or "")
        self._content = _content(self._results)
        self.replaced = False
        self._long_axis: list[LongAxis] | None = None
        self._follow(row)

    def _follow(self, row: ExamRow) -> None:
        """Make the reading from the edits in the store."""
        line = self._store.edits(row.id)
        self.reading = self._after([unpacked(edit.change) for edit in line[: row.applied]])
        self.analysis = _measured(self.first, self.reading)
        self.version, self.applied = row.version, row.applied
        self._line = line

    def _after(self, changes: list[Change]) -> Reading:
        """The first reading after changes."""
        reading = Reading(self.first.segmentation, given_overrides(self.first))
        return apply(reading, _merged(changes), self.first.segmentation)

    def refresh(self) -> None:
        """Follow the store if another request has changed the exam."""
        row = self._store.exam(self.id)
        if row is None:
            raise BusyError("the exam is no longer in the worklist")
        if row.version != self.version:
            self._follow(row)

    @property
    def undo_what(self) -> str | None:
        """The edit that undo would take back."""
        return self._line[self.applied - 1].what if self.applied else None

    @property
    def redo_what(self) -> str | None:
        """The edit that redo would do again."""
        return self._line[self.applied].what if self.applied < len(self._line) else None

    @property
    def long_axis_count(self) -> int | None:
        """The number of long-axis images; None until they are first read."""
        return None if self._long_axis is None else len(self._long_axis)

    def long_axis(self) -> list[LongAxis]:
        """The long-axis images of the exam, read at the first call."""
        if self._long_axis is None:
            self._long_axis = read_long_axis(self.cine, self._path)
        return self._long_axis

    def edit(self, version: int, edit: messages.Edit, by: str) -> Changed:
        """Do an edit: measure, write to the store, then apply it here.

        Raises:
            StaleError: the exam has another version.
            CinesaxError: the edit makes no sense for this exam.
        """
        if version != self.version:
            raise StaleError
        change, what = plan(self.analysis, self.reading, edit, by)
        reading = apply(self.reading, change, self.first.segmentation)
        settled = _settled(self.analysis, reading)
        if settled is not reading:
            # Stored with the edit: a later measurement must use the same phases.
            change, reading = replace(change, overrides=settled.overrides), settled
        analysis = _measured(self.first, reading)
        back = opposite(self.reading, change)
        self._keep_first()
        stored = StoredEdit(self.applied + 1, by, now(), what, packed(change), packed(back))
        self.version = self._store.add_edit(self.id, version, stored, listed(analysis))
        self._line = [*self._line[: self.applied], stored]
        self.applied += 1
        self.reading, self.analysis = reading, analysis
        return Changed(self.version, tuple(change.frames))

    def _keep_first(self) -> None:
        """Copy results from outside into the store: edits have no meaning without the results that they began with.

        Raises:
            UsageError: the results were replaced after the exam was opened.
            OutputError: the store cannot be written.
        """
        if self._results.is_relative_to(self._store.folder):
            return
        if _content(self._results) != self._content:
            self.replaced = True
            raise UsageError("these results were replaced while the exam was open: open it again, then correct it")
        target = self._store.results_folder(self.id, "first")
        try:
            with new_folder(target) as stage:
                for name in (*NAMES, PRESENCE_NAME, SR_NAME):
                    source = self._results / name
                    if source.is_dir():
                        shutil.copytree(source, stage / name)
                    elif source.is_file():
                        shutil.copyfile(source, stage / name)
        except OSError as error:
            raise OutputError(f"the store cannot be written: {error.strerror or error}") from error
        self._store.set_fields(self.id, results=str(target))
        self._results = target

    def undo(self, version: int, by: str) -> Changed:
        """Undo the last edit.

        Raises:
            StaleError: the exam has another version.
            UsageError: there is no such edit.
        """
        if version != self.version:
            raise StaleError
        if not self.applied:
            raise UsageError("there is nothing to undo")
        return self._move(version, self.applied - 1, unpacked(self._line[self.applied - 1].opposite), by)

    def redo(self, version: int, by: str) -> Changed:
        """Redo the edit that was undone last.

        Raises:
            StaleError: the exam has another version.
            UsageError: there is no such edit.
        """
        if version != self.version:
            raise StaleError
        if self.applied >= len(self._line):
            raise UsageError("there is nothing to redo")
        return self._move(version, self.applied + 1, unpacked(self._line[self.applied].change), by)

    def _move(self, version: int, applied: int, change: Change, by: str) -> Changed:
        line = self._line[:applied]
        if any(unpacked(edit.change).frames for edit in line):
            reading = apply(self.reading, change, self.first.segmentation)
        else:
            # No contour is edited any more: take the first ones, not equal copies, so that their trust counts again.
            reading = self._after([unpacked(edit.change) for edit in line])
        analysis = _measured(self.first, reading)
        self.version = self._store.move(self.id, version, applied, by=by, shown=listed(analysis))
        self.applied, self.reading, self.analysis = applied, reading, analysis
        return Changed(self.version, tuple(change.frames))

    def preview(self, asked: messages.PreviewBody) -> Measurements:
        """The numbers with another contour. Nothing is stored.

        Raises:
            CinesaxError: the contour is not valid.
        """
        edit = messages.SetContour(asked.structure, asked.phase, asked.slice, asked.polygons)
        change, _ = plan(self.analysis, self.reading, edit, "preview")
        reading = apply(self.reading, change, self.first.segmentation, paint=False)
        cine, given = self.analysis.cine, reading.overrides
        try:
            return measure(cine, reading.segmentation, given, thickness=False)
        except UsageError:
            settled = _settled(self.analysis, reading).overrides
            return measure(cine, reading.segmentation, settled, thickness=False)

    def frames(self, place: int, phase: int | None) -> NDArray[np.uint16]:
        """(phase, row, column) of a slice, or (row, column) of one frame, as the page expects them.

        Raises:
            UsageError: there is no such slice or phase.
        """
        cine = self.cine
        if not 0 <= place < cine.n_slices or (phase is not None and not 0 <= phase < cine.n_phases):
            raise UsageError(f"there is no such frame: {cine.n_phases} phases, {cine.n_slices} slices")
        stored = cine.pixels[:, place] if phase is None else cine.pixels[phase, place]
        return as_sent(stored, self.pixels)


def given_overrides(analysis: Analysis) -> Overrides:
    """The phases and body sizes that were given when an analysis was made."""
    m, patient = analysis.measurements, analysis.cine.patient
    return Overrides(
        ed_phase=None if m.ed_phase == m.curve_ed_phase else m.ed_phase,
        es_phase=None if m.es_phase == m.curve_es_phase else m.es_phase,
        height_cm=None if m.height_cm == patient.height_cm else m.height_cm,
        weight_kg=None if m.weight_kg == patient.weight_kg else m.weight_kg,
    )


def _settled(analysis: Analysis, reading: Reading) -> Reading:
    """The reading with ED and ES both given, if one is given and the curve would choose the same phase for the other.

    A stroke may move the curve's ES to the phase that a person gave as ED. The stroke must not be refused for that.
    """
    given = reading.overrides
    if (given.ed_phase is None) == (given.es_phase is None):
        return reading
    try:
        measure(analysis.cine, reading.segmentation, given)
    except UsageError:
        m = analysis.measurements
        both = replace(given, ed_phase=m.ed_phase, es_phase=m.es_phase)
        if both.ed_phase is None or both.es_phase is None or both.ed_phase == both.es_phase:
            raise
        return replace(reading, overrides=both)
    return reading


def _measured(first: Analysis, reading: Reading) -> Analysis:
    """The analysis of a reading. It follows from the reading alone, not from the order of edits that led to it."""
    same = reading.segmentation is first.segmentation and reading.overrides == given_overrides(first)
    # Without a change, keep the analysis that was read: its findings are complete and in their order.
    return first if same else remeasure(first, reading.segmentation, reading.overrides)


def _merged(changes: list[Change]) -> Change:
    """Several changes as one: for each frame the last change wins."""
    merged = Change()
    for change in changes:
        merged = Change(
            {**merged.frames, **change.frames},
            {**merged.origins, **change.origins},
            change.known or merged.known,
            change.overrides or merged.overrides,
            merged.papillary_muscles_included
            if change.papillary_muscles_included is None
            else change.papillary_muscles_included,
        )
    return merged


def _pixels(cine: Cine) -> Pixels:
    """The scale for sending pixels as uint16, and a window between two percentiles of every fourth pixel."""
    low, high = float(cine.pixels.min()), float(cine.pixels.max())
    whole = cine.pixels.dtype.kind in "iu" and high - min(low, 0.0) <= np.iinfo(np.uint16).max
    offset = min(low, 0.0) if whole else low
    scale = 1.0 if whole or high <= low else (high - low) / np.iinfo(np.uint16).max
    sample = cine.pixels[::2, :, ::4, ::4]
    dark, bright = ((float(np.percentile(sample, part)) - offset) / scale for part in (_LOW, _HIGH))
    return Pixels(dark, max(bright, dark + 1), offset, scale)


def as_sent(stored: NDArray[np.generic], pixels: Pixels) -> NDArray[np.uint16]:
    """Stored pixels of any shape as uint16, little endian."""
    if pixels.offset == 0 and pixels.scale == 1:
        return np.ascontiguousarray(stored, dtype="<u2")
    moved = (stored.astype(np.float64) - pixels.offset) / pixels.scale
    return np.ascontiguousarray(np.rint(moved), dtype="<u2")


class Desk:
    """The open exams; if there are too many, the one used longest ago is closed."""

    def __init__(self, store: Store, *, show_patient: bool) -> None:
        self._store = store
        self._show_patient = show_patient
        self._lock = threading.Lock()
        self._opening: dict[str, threading.Lock] = {}
        self._open: OrderedDict[str, OpenExam] = OrderedDict()

    def open(self, exam: str) -> OpenExam:
        """An open exam; it is read first if it is not open yet.

        Raises:
            UnknownError: there is no such exam.
            BusyError: it has no results yet.
            CinesaxError: exam or results cannot be read.
        """
        row = self._store.exam(exam)
        if row is None:
            raise UnknownError
        if row.results is None or (row.state not in READABLE and row.before_exclusion not in READABLE):
            raise BusyError(row.error or f"the exam is {row.state}")
        with self._lock:
            opening = self._opening.setdefault(exam, threading.Lock())
        with opening:  # each exam is read once; other exams can be read at the same time
            with self._lock:
                opened = self._open.get(exam)
                if opened is not None and opened.replaced:
                    del self._open[exam]
                    opened = None
                if opened is not None:
                    self._open.move_to_end(exam)
            if opened is None:
                opened = self._read(row)
                with self._lock:
                    self._open[exam] = opened
                    while len(self._open) > KEPT_OPEN:
                        self._open.popitem(last=False)
        return opened

    def forget(self, exam: str) -> None:
        """Close the exam: the next request reads it again."""
        with self._lock:
            self._open.pop(exam, None)

    def _read(self, row: ExamRow) -> OpenExam:
        seen = fingerprint(row.path) if row.path else None
        try:
            given = read_stored(row, row.results or "")
        except InputError as error:
            if row.state in READABLE:
                settle(self._store, row, seen, str(error))
            raise
        settle(self._store, row, seen, None)
        shown = given if self._show_patient else pseudonymise(given)
        return OpenExam(row, self._store, given.cine, shown)


def _content(results: Path) -> bytes:
    """The content of analysis.json; b"" if it does not exist."""
    try:
        return (results / JSON_NAME).read_bytes()
    except OSError:
        return b""


def read_stored(row: ExamRow, folder: str, cine: Cine | None = None) -> Analysis:
    """The results of an exam in a folder.

    Raises:
        CinesaxError: exam or results cannot be read.
    """
    if cine is not None:
        return read_results(folder, cine)
    choices: SelectionFields = {}
    if row.series_uid:
        choices["series_uid"] = row.series_uid
    elif row.study_uid:
        choices["study_uid"] = row.study_uid
    if not row.path:
        try:
            return read_results(folder)
        except InputError as error:
            # What was wrong with the exam that a person gave says more.
            raise InputError(row.changed or f"{error} (cinesax view --exam EXAM)") from error
    return read_results(folder, row.path, **choices)
