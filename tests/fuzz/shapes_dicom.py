"""Shapes of DICOM: parts of the signal, times, beats, UIDs and stacks as scanners and anonymisers leave them."""

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom

import exams
from cinesax.core.cine import Cine
from cinesax.core.findings import Code
from cinesax.core.grid import stacked_grid
from cinesax.core.orientation import USUAL_LONG_AXIS
from cinesax.phantom.dicom import SeriesIdentity, Vendor, write_scan
from cinesax.phantom.scanning import take_apart
from fuzz.shapes import Come, Made, Shape, heart

# By which a scanner tells magnitude, phase, real and imaginary images apart.
_IMAGE_TYPES = (
    ("M", "P", "R", "I"),
    ("M_FFE", "PHASE MAP", "R_FFE", "I_FFE"),
    ("M_SE", "P_SE", "R_IR", "I_IR"),
    ("MAGNITUDE", "PHASE", "REAL", "IMAGINARY"),
    ("OTHER", "P", "R", "I"),
)
_WORDS = ("MAGNITUDE", "PHASE", "REAL", "IMAGINARY")


def _write(cine: Cine, folder: Path) -> list[Path]:
    return exams.write_exam(folder, cine)


def _mark(dataset: pydicom.Dataset, part: int, how: int) -> None:
    if how < len(_IMAGE_TYPES):
        dataset.ImageType = ["ORIGINAL", "PRIMARY", _IMAGE_TYPES[how][part], "NONE"]
    elif how == len(_IMAGE_TYPES):
        dataset.add_new("ComplexImageComponent", "CS", _WORDS[part])
    else:
        dataset.Manufacturer = "GE MEDICAL SYSTEMS"
        dataset.private_block(0x43, "GEMS_PARM_01", create=True).add_new(0x2F, "SS", part)


def parts_of_the_signal(folder: Path, rng: random.Random) -> Made:
    """Two to four parts in one series, counted frame by frame or part by part: the magnitude is what is measured."""
    exam = heart(rng, phases=8, slices=4)
    how, by_frame = rng.randrange(len(_IMAGE_TYPES) + 2), rng.random() < 0.5
    parts = [0, *rng.sample([1, 2, 3], rng.randint(1, 3))]
    for number, part in enumerate(parts):
        pixels = exam.pixels if part == 0 else np.ascontiguousarray(exam.pixels[::-1, :, ::-1])
        files = _write(replace(exam, pixels=pixels), folder / str(part))
        for index, path in enumerate(files):
            dataset = pydicom.dcmread(path)
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.7.{part}.{index + 1}"
            dataset.InstanceNumber = index * len(parts) + number + 1 if by_frame else number * len(files) + index + 1
            _mark(dataset, part, how)
            dataset.save_as(path)
    options = {"series_uid": "1.2.3.4.5"} if rng.random() < 0.3 else None
    return Made([folder], exam, options=options)


def other_units(folder: Path, rng: random.Random) -> Made:
    """TriggerTime in seconds or microseconds, with the beat stated or not."""
    exam = heart(rng, phases=8, slices=4)
    files, factor = _write(exam, folder), rng.choice([0.001, 1000.0])
    stated = rng.random() < 0.6
    # Without a stated beat a long one in microseconds may as well be many beats in ms: seconds alone are told.
    factor = factor if stated else 0.001
    beat = {} if stated else {"NominalInterval": None, "HeartRate": None}
    exams.edit(files, TriggerTime=lambda one: f"{float(one.TriggerTime) * factor:.8g}", **beat)
    return Made([folder], exam, Code.TIME_UNITS)


def _repeated(exam: Cine, frames: int, start: int = 0) -> Cine:
    """So many frames, through the beat as often as it takes."""
    order = (np.arange(frames) + start) % exam.n_phases
    step = exam.rr_interval_ms / exam.n_phases
    times = np.repeat(step * np.arange(frames)[:, None], exam.n_slices, axis=1)
    return replace(exam, pixels=exam.pixels[order], trigger_times_ms=times)


def several_beats(folder: Path, rng: random.Random) -> Made:
    """Real time: more frames than the stated beat holds."""
    exam = heart(rng, phases=10, slices=4)
    _write(_repeated(exam, rng.randint(16, 34), rng.randrange(10)), folder)
    return Made([folder], exam, Code.SEVERAL_BEATS)


def several_beats_unstated(folder: Path, rng: random.Random) -> Made:
    """The same, and nobody says how long a beat is."""
    exam = heart(rng, phases=10, slices=4)
    files = _write(_repeated(exam, rng.randint(17, 34), rng.randrange(10)), folder)
    exams.edit(files, NominalInterval=None, HeartRate=None, CardiacNumberOfImages=None)
    return Made([folder], exam, Code.SEVERAL_BEATS, numbers=False)


def ungated(folder: Path, rng: random.Random) -> Made:
    """Each slice starts somewhere in the beat, and only AcquisitionTime tells the frames apart."""
    exam = heart(rng, phases=12, slices=5)
    first = rng.randrange(12)
    starts = [(first + place * 5 + rng.randint(-1, 1)) % 12 for place in range(5)]
    pixels = np.stack([np.roll(exam.pixels[:, place], start, axis=0) for place, start in enumerate(starts)], axis=1)
    files = _write(replace(exam, pixels=np.ascontiguousarray(pixels)), folder)
    for index, path in enumerate(files):
        exams.edit(
            path,
            **{name: None for name in ("TriggerTime", "NominalInterval", "HeartRate", "CardiacNumberOfImages")},
            AcquisitionTime=f"12{index // 60:02d}{index % 60:02d}",
        )
    return Made([folder], exam, Code.SLICES_OUT_OF_STEP, heart_rate=False, numbers=False)


def no_times(folder: Path, rng: random.Random) -> Made:
    """In step, and only AcquisitionTime tells the frames apart: the volumes are right."""
    exam = heart(rng, phases=12, slices=5)
    files = _write(exam, folder)
    for index, path in enumerate(files):
        exams.edit(
            path,
            **{name: None for name in ("TriggerTime", "NominalInterval", "HeartRate", "CardiacNumberOfImages")},
            AcquisitionTime=f"12{index // 60:02d}{index % 60:02d}",
        )
    return Made([folder], exam, heart_rate=False)


def shared_uids(folder: Path, rng: random.Random) -> Made:
    """An anonymiser gave several frames, or all of them, one SOPInstanceUID."""
    exam = heart(rng, phases=6, slices=4)
    files = _write(exam, folder)
    chosen = rng.choice([files, files[: rng.randint(2, 20)]])
    exams.edit(chosen, SOPInstanceUID="1.2.3.4.77")
    return Made([folder], exam, Code.SHARED_UID)


def off_axis(folder: Path, rng: random.Random) -> Made:
    """A stack as far off the usual axis as any, body planes among them: told from 35 degrees, refused from 50."""
    exam = heart(rng, phases=6, slices=4)
    off = rng.choice([5.0, 25.0, 37.0, 44.0, 49.0, 52.0, 60.0, 75.0, 90.0])
    aside = np.cross(USUAL_LONG_AXIS, np.array([0.0, 0.0, 1.0]))
    aside /= np.linalg.norm(aside)
    normal = -(np.cos(np.deg2rad(off)) * USUAL_LONG_AXIS + np.sin(np.deg2rad(off)) * aside)
    row = np.cross(normal, (1.0, 0.0, 0.0))
    row /= np.linalg.norm(row)
    grid = stacked_grid(
        (-40.0, -150.0, 60.0),
        spacing_mm=exam.grid.spacing_mm,
        slice_distance_mm=exam.grid.slice_distance_mm,
        shape=exam.grid.shape,
        along_row=row,
        along_column=np.cross(normal, row),
    )
    exam = replace(exam, grid=grid)
    _write(exam, folder)
    by_name = off > 50 and rng.random() < 0.5
    expected: Come | Code = Code.OFF_AXIS_STACK if off > 35 else Come.RIGHT
    if off > 50 and not by_name:
        expected = Come.REFUSED
    return Made([folder], exam, expected, options={"series_uid": "1.2.3.4.5"} if by_name else None)


def incomplete(folder: Path, rng: random.Random) -> Made:
    """Of some slices only the first frames are there: an error that says which."""
    exam = heart(rng, phases=12, slices=4)
    files = _write(exam, folder)
    for place in rng.sample(range(4), rng.randint(1, 3)):
        for path in files[place * 12 + rng.randint(1, 3) : place * 12 + 12]:
            path.unlink()
    return Made([folder], exam, Come.REFUSED)


def vendors(folder: Path, rng: random.Random) -> Made:
    """The way of each make of scanner, without anything odd: the numbers are right, and no warning."""
    exam = heart(rng, phases=8, slices=4)
    # Canon's and Philips' classic images have the heart rate in whole beats a minute.
    vendor = rng.choice([one for one in Vendor if one not in (Vendor.CANON, Vendor.PHILIPS)])
    write_scan(take_apart(exam), folder, SeriesIdentity(number=10), vendor=vendor)
    return Made([folder], exam)


def a_beat_twice_as_long(folder: Path, rng: random.Random) -> Made:
    """The stated RR interval is twice that which the phases cover: heart rate and output would be half."""
    exam = heart(rng, phases=12, slices=4)
    exams.edit(_write(exam, folder), NominalInterval=round(2 * exam.rr_interval_ms), HeartRate=None)
    return Made([folder], exam, Code.DOUBTFUL_RR, numbers=False)


def partly_out_of_step(folder: Path, rng: random.Random) -> Made:
    """Slices up to 60 degrees off, every other one late: EF is too small, and what it would be is said."""
    exam = heart(rng, phases=12, slices=6)
    late = rng.choice([2, 3])
    pixels = np.stack([np.roll(exam.pixels[:, place], late * (place % 2), axis=0) for place in range(6)], axis=1)
    _write(replace(exam, pixels=np.ascontiguousarray(pixels)), folder)
    return Made([folder], exam, Code.SLICES_OUT_OF_STEP, numbers=False)


_MADE: tuple[Callable[[Path, random.Random], Made], ...] = (
    parts_of_the_signal,
    other_units,
    several_beats,
    several_beats_unstated,
    ungated,
    no_times,
    shared_uids,
    off_axis,
    incomplete,
    vendors,
    a_beat_twice_as_long,
    partly_out_of_step,
)
SHAPES: Mapping[str, Shape] = {f"dicom-{made.__name__.replace('_', '-')}": made for made in _MADE}
