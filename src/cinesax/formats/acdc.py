"""ACDC-style folders: one folder per patient, with the labelled frames of its cine as NIfTI.

    patientNNN/Info.cfg                      ED: 1, ES: 12, Group: DCM, Height: 184.0, NbFrame: 30, Weight: 95.0
    patientNNN/patientNNN_frameFF.nii.gz     one frame: (column, row, slice); FF counts from 1
    patientNNN/patientNNN_frameFF_gt.nii.gz  its labels: 0 background, 1 RV, 2 myocardium, 3 LV cavity
    patientNNN/patientNNN_4d.nii.gz          the whole cine; only ED and ES are labelled

The affine is a unit matrix; the spacing in mm is in pixdim. Source: O. Bernard et al., "Deep Learning Techniques for
Automatic MRI Cardiac Multi-Structures Segmentation and Diagnosis: Is the Problem Solved?", IEEE TMI 37 (2018).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cinesax.core.cine import Cine
from cinesax.core.errors import GeometryError, InputError
from cinesax.formats.nifti import read_cine

INFO = "Info.cfg"
_FRAME = re.compile(r"(?P<case>.+)_frame(?P<frame>\d+)(?P<truth>_gt)?\.nii(?:\.gz)?", re.IGNORECASE)
# ACDC numbers from the RV, cinesax from the LV cavity. Index: value in the file; entry: class in cinesax.
_FROM_ACDC = np.array([0, 3, 2, 1], dtype=np.uint8)
_MAX_INFO_BYTES = 65_536


@dataclass(frozen=True, eq=False)
class Frame:
    """One labelled frame.

    Attributes:
        phase: index of the phase, counted from 0.
        cine: the frame as a cine of this one phase: (1, slice, row, column).
        labels: (slice, row, column), uint8: 0 background, 1 LV cavity, 2 myocardium, 3 RV.
        files: image and labels.
    """

    phase: int
    cine: Cine
    labels: NDArray[np.uint8]
    files: tuple[Path, Path]


@dataclass(frozen=True, eq=False)
class AcdcPatient:
    """The contents of a patient's folder.

    Attributes:
        case: the patient, from the names of its files.
        frames: the labelled frames, by phase.
        info: keys and values of Info.cfg, unchanged.
        info_file: the Info.cfg.
        unused: (file, reason) for every other file of the folder.
    """

    case: str
    frames: tuple[Frame, ...]
    info: Mapping[str, str]
    info_file: Path
    unused: tuple[tuple[Path, str], ...]


def is_truth(path: Path) -> bool:
    """Whether a file has the name of a frame's labels."""
    match = _FRAME.fullmatch(path.name)
    return match is not None and match["truth"] is not None


def read_patient(folder: Path) -> AcdcPatient:
    """Read the labelled frames of one patient.

    Raises:
        InputError: there is no labelled frame, Info.cfg is missing or damaged or names missing frames as ED or ES, the
            frames belong to several patients, labels have no image, or labels are not 0 to 3.
        GeometryError: labels have another shape or spacing than their image.
    """
    images, truths, others = _sorted_files(folder)
    if not truths:
        raise InputError(f"{folder} holds no labelled frames: expected files like patient001_frame01_gt.nii.gz")
    cases = {case for case, _ in (*images, *truths)}
    if len(cases) > 1:
        raise InputError(f"{folder} holds frames of {', '.join(sorted(cases))}: expected one folder for each patient")
    case = cases.pop()
    info = read_info(folder / INFO)
    alone = sorted(frame for frame in truths if frame not in images)
    if alone:
        raise InputError(f"{truths[alone[0]]} has no image: expected {case}_frame{alone[0][1]:02d}.nii.gz next to it")
    _check_info(info, {number for _, number in truths}, folder)
    unused = [(path, "a frame without labels") for key, path in sorted(images.items()) if key not in truths]
    unused += [(path, _why_not(path)) for path in others]
    frames = tuple(_frame(images[key], truths[key], key[1] - 1) for key in sorted(truths))
    return AcdcPatient(case, frames, info, folder / INFO, tuple(unused))


Files = dict[tuple[str, int], Path]


def _sorted_files(folder: Path) -> tuple[Files, Files, list[Path]]:
    images: Files = {}
    truths: Files = {}
    others: list[Path] = []
    try:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror or error}") from error
    for path in files:
        match = _FRAME.fullmatch(path.name)
        if match is None or path.parent != folder:
            others += [] if path == folder / INFO else [path]
            continue
        kind, key = (truths if match["truth"] else images), (match["case"], int(match["frame"]))
        if key in kind:
            raise InputError(f"{path} and {kind[key]} are the same frame: keep only one")
        kind[key] = path
    return images, truths, others


def _why_not(path: Path) -> str:
    if re.fullmatch(r".+_4d\.nii(\.gz)?", path.name, re.IGNORECASE):
        return "the whole cine: only its labelled frames are used"
    return "not a file of an ACDC patient"


def read_info(path: Path) -> dict[str, str]:
    """The keys and values of an Info.cfg.

    Raises:
        InputError: the file is missing or is not text, or a line is not `key: value`.
    """
    try:
        if path.stat().st_size > _MAX_INFO_BYTES:
            raise InputError(f"{path} is too long for an Info.cfg: {path.stat().st_size} bytes")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise InputError(f"{path.parent} has no {INFO}, which says which frames are ED and ES") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    info: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        key, colon, value = line.partition(":")
        if line.strip() and not (colon and key.strip()):
            raise InputError(f"{path}, line {number}: expected 'key: value', seen {line.strip()[:40]!r}")
        if line.strip():
            info[key.strip()] = value.strip()
    return info


def _check_info(info: Mapping[str, str], labelled: set[int], folder: Path) -> None:
    for name in ("ED", "ES"):
        value = info.get(name, "")
        if not value.isdigit():
            raise InputError(f"{folder / INFO} gives no frame number for {name}: expected a line like '{name}: 1'")
        if int(value) not in labelled:
            raise InputError(
                f"{folder / INFO} says that {name} is frame {value}, but the labelled frames are "
                f"{', '.join(map(str, sorted(labelled)))}"
            )


def _frame(image: Path, truth: Path, phase: int) -> Frame:
    cine, drawn = read_cine(image), read_cine(truth)
    if cine.n_phases != 1 or drawn.pixels.shape != cine.pixels.shape:
        raise GeometryError(
            f"{truth} has shape {drawn.pixels.shape} (phase, slice, row, column), but its image has "
            f"{cine.pixels.shape}: expected one phase and equal shapes"
        )
    if cine.grid is not None and drawn.grid is not None and not cine.grid.same_as(drawn.grid, tolerance_mm=0.1):
        raise GeometryError(f"{truth} has another spacing or position than its image {image.name}")
    values = drawn.pixels[0]
    if np.any(np.rint(values) != values) or values.min() < 0 or values.max() >= len(_FROM_ACDC):
        raise InputError(f"{truth} holds values other than the labels 0, 1 (RV), 2 (myocardium) and 3 (LV cavity)")
    return Frame(phase, cine, _FROM_ACDC[values.astype(np.uint8)], (image, truth))
