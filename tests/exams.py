"""Small exams on disk for the tests of reading: a hand-made cine, written as DICOM and then spoiled on purpose."""

import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from cinesax.core.cine import Cine, Patient, Source
from cinesax.core.grid import stacked_grid
from cinesax.phantom.dicom import SeriesIdentity, write_series

PHASES, SLICES, ROWS, COLUMNS = 6, 5, 20, 24
DISTANCE_MM = 9.0

# A short-axis plane as scanners have it: its normal runs from apex to base.
ALONG_ROW = np.array([0.712221, 0.701112, -0.0343949]) / np.linalg.norm([0.712221, 0.701112, -0.0343949])
_DOWN = np.array([-0.307716, 0.267798, -0.913015])
ALONG_COLUMN = (_DOWN - (_DOWN @ ALONG_ROW) * ALONG_ROW) / np.linalg.norm(_DOWN - (_DOWN @ ALONG_ROW) * ALONG_ROW)


def small_cine(*, phases: int = PHASES, slices: int = SLICES, **changes: Any) -> Cine:
    """A cine of distinct pixels (no two frames alike), oblique, with its own heart beat in each slice."""
    pixels = np.random.default_rng(7).integers(0, 3000, (phases, slices, ROWS, COLUMNS)).astype(np.uint16)
    intervals = 800.0 + 10 * np.arange(slices)
    cine = Cine(
        pixels,
        stacked_grid(
            (-40.0, -150.0, 60.0),
            spacing_mm=(1.4, 1.2),
            slice_distance_mm=DISTANCE_MM,
            shape=(slices, ROWS, COLUMNS),
            along_row=ALONG_ROW,
            along_column=ALONG_COLUMN,
        ),
        trigger_times_ms=10 + np.arange(phases)[:, None] / phases * intervals,
        rr_intervals_ms=intervals,
        source=Source(
            "phantom",
            study_uid="1.2.3.4",
            series_uids=("1.2.3.4.5",),
            frame_of_reference_uid="1.2.3.4.6",
            description="SAX",
            slice_thickness_mm=8.0,
        ),
        patient=Patient(name="DOE^JANE", patient_id="ID-77", sex="F", age_years=45, height_cm=170.0, weight_kg=65.0),
        base_first=False,
    )
    return replace(cine, **changes)


def write_exam(folder: Path, cine: Cine | None = None, **identity: Any) -> list[Path]:
    """Write the small cine (or another) as DICOM; files in the order of InstanceNumber, slice by slice."""
    return write_series(cine or small_cine(), folder, SeriesIdentity(**identity))


def frame_file(files: list[Path], *, phase: int, slice_index: int, phases: int = PHASES) -> Path:
    """The file of one frame of what `write_exam` wrote."""
    return files[slice_index * phases + phase]


def edit(paths: Path | Iterable[Path], **changes: Any) -> None:
    """Set header elements by keyword; None removes one; a function gets the data set and makes the value."""
    for path in [paths] if isinstance(paths, Path) else paths:
        dataset = pydicom.dcmread(path)
        for keyword, value in changes.items():
            made = value(dataset) if callable(value) else value
            if made is None:
                if keyword in dataset:
                    delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, made)
        dataset.save_as(path)


def codes(cine: Cine) -> list[str]:
    """The codes of a cine's findings."""
    return [str(finding.code) for finding in cine.findings]


def checked_by_dciodvfy(files: Iterable[Path], *, kind: str = "MRImage") -> list[str]:
    """What the DICOM validator says of the files, without the line that names the IOD."""
    if shutil.which("dciodvfy") is None:
        if os.environ.get("CINESAX_REQUIRE_CHECKERS") == "1":
            pytest.fail("dciodvfy is absent: install the Debian package dicom3tools")
        pytest.skip("dciodvfy is absent: install the Debian package dicom3tools")
    said = [subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False) for path in files]
    assert all(kind in one.stderr for one in said)
    return [line for one in said for line in one.stderr.splitlines() if line.startswith(("Error", "Warning"))]
