"""Position, spacing and time in a NIfTI header, and whether the header agrees with itself.

A header gives the spacing up to three times: in sform (an affine), in qform (an affine from pixdim and a rotation) and
in pixdim. Programs that resample an image sometimes update only one of them, and nobody can know which one is right.
Source: the NIfTI-1 standard, nifti1.h (https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h).
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from cinesax.core.errors import GeometryError, UsageError
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.grid import Floats
from cinesax.core.selection import NiftiGeometry

_MM = {1: 1000.0, 2: 1.0, 3: 0.001}
_MS = {8: 1000.0, 16: 1.0, 24: 0.001}
_SAME_SPACING = 0.005  # 1.5 % of a volume; headers round spacings to about four digits (0.1 %)
_SAME_AXIS_DEGREES = 2.0
_UNIT = 1e-4
_PLAUSIBLE_MM = (0.2, 50.0)
"""Pixel spacings and slice distances of a cine; a value outside means that the header names a wrong unit."""
_FEWEST_OF_A_BEAT = 5
"""Fewer phases are selected moments (ED and ES), not steps of a beat."""
_BEAT_MS = (300.0, 2500.0)


@dataclass(frozen=True, eq=False)
class HeaderGeometry:
    """The positions of the voxels of a file.

    Attributes:
        affine_ras: (4, 4): array indices (first, second, third axis) to RAS mm.
        oriented: whether it gives the position in the patient; else only its spacing is meaningful.
        measured: whether the spacing is known.
        findings: findings about it.
    """

    affine_ras: Floats
    oriented: bool
    measured: bool
    findings: tuple[Finding, ...] = ()


def geometry(path: Path, header: Any, chosen: NiftiGeometry | None = None) -> HeaderGeometry:
    """The positions of the voxels, by the chosen part of the header, or by all parts if they agree.

    A unit matrix in sform or qform is ignored: some public sets have one, and their spacing in pixdim.

    Args:
        path: for messages.
        header: the header from nibabel.
        chosen: the part to use; None: all parts must agree.

    Raises:
        GeometryError: parts disagree, or values are impossible.
        UsageError: the header does not have the chosen part.
    """
    zooms = np.array(header["pixdim"][1:4], dtype=np.float64)
    if not np.all(np.isfinite(zooms)) or np.any(zooms <= 0):
        raise GeometryError("pixdim is not finite and positive")
    forms = _forms(header)
    if chosen is None:
        _check_agreement(path, forms, zooms)
        affine = next(iter(forms.values()), None)
    elif chosen is NiftiGeometry.PIXDIM:
        affine = None
    elif chosen in forms:
        affine = forms[chosen]
    else:
        raise UsageError(f"{path} has no usable {chosen}: leave out --nifti-geometry {chosen}")
    scale = _MM.get(int(header["xyzt_units"]) & 7, 1.0)
    findings = _of_choice(chosen, forms, zooms)
    if affine is None:
        return _unplaced(path, zooms, scale, findings)
    return HeaderGeometry(_scaled(path, affine, scale), oriented=True, measured=True, findings=findings)


def in_words(header: Any) -> str:
    """The spacing and axes of sform, qform and pixdim in words; only once if they agree."""
    forms, zooms = _forms(header), np.array(header["pixdim"][1:4], dtype=np.float64)
    if _disagreement(forms, zooms):
        return _each_in_words(forms, zooms)
    names = ", ".join([*forms, NiftiGeometry.PIXDIM])
    return f"{_size(zooms)} by {names}" + (f"; axes {_axes(next(iter(forms.values())))}" if forms else "; no position")


def _forms(header: Any) -> dict[NiftiGeometry, Floats]:
    """The affines of the header, without placeholders; sform first, because all programs prefer it."""
    forms: dict[NiftiGeometry, Floats] = {}
    for name, read in ((NiftiGeometry.SFORM, header.get_sform), (NiftiGeometry.QFORM, header.get_qform)):
        try:
            affine, code = read(coded=True)
        except HeaderDataError:  # its quaternion is not a rotation
            continue
        if affine is None or code < 1 or not np.all(np.isfinite(affine)):
            continue
        if not _is_placeholder(affine):
            forms[name] = np.asarray(affine, dtype=np.float64)
    return forms


def _is_placeholder(affine: Floats) -> bool:
    """Programs that know no position write a unit matrix, with any signs."""
    return bool(np.allclose(np.abs(affine[:3, :3]), np.eye(3), atol=_UNIT))


def _unplaced(path: Path, zooms: Floats, scale: float, findings: tuple[Finding, ...]) -> HeaderGeometry:
    """The geometry from pixdim alone: axes in stored order, x to the left as in nibabel."""
    measured = not np.allclose(zooms, 1, atol=_UNIT)
    if not measured:
        message = (
            "neither affine nor pixdim gives a spacing: no volumes, the ejection fraction is computed from summed areas"
        )
        findings = (*findings, Finding(Code.UNKNOWN_SPACING, Severity.WARNING, message))
    affine = np.diag([*zooms, 1.0])
    return HeaderGeometry(_scaled(path, affine, scale) if measured else affine, False, measured, findings)


def _of_choice(chosen: NiftiGeometry | None, forms: dict[NiftiGeometry, Floats], zooms: Floats) -> tuple[Finding, ...]:
    """A finding if the parts disagree, whichever was chosen."""
    if chosen is None or not _disagreement(forms, zooms):
        return ()
    message = f"the NIfTI header contradicts itself ({_each_in_words(forms, zooms)}): {chosen} was chosen"
    return (Finding(Code.GEOMETRY_CHOSEN, Severity.NOTE, message),)


def _check_agreement(path: Path, forms: dict[NiftiGeometry, Floats], zooms: Floats) -> None:
    why = _disagreement(forms, zooms)
    if why:
        raise GeometryError(
            f"{path} contradicts itself in {why}: {_each_in_words(forms, zooms)}; "
            "choose the right one with --nifti-geometry sform, qform or pixdim"
        )


def _disagreement(forms: dict[NiftiGeometry, Floats], zooms: Floats) -> str:
    """What the parts disagree about: "spacing", "axes", or "" (they agree)."""
    if any(not _has_spacing(affine, zooms) for affine in forms.values()):
        return "spacing"
    if len(forms) == 2 and not _same_axes(*forms.values()):
        return "axes"
    return ""


def _each_in_words(forms: dict[NiftiGeometry, Floats], zooms: Floats) -> str:
    parts = []
    for name in (NiftiGeometry.SFORM, NiftiGeometry.QFORM):
        if name in forms:
            parts.append(f"{name} says {_size(_lengths(forms[name]))} along {_axes(forms[name])}")
        else:
            parts.append(f"{name} says nothing")
    return ", ".join([*parts, f"pixdim says {_size(zooms)}"])


def _axes(affine: Floats) -> str:
    """The directions of the axes, a letter each: LAS is to the left, to the front, to the head."""
    codes: Any = nib.aff2axcodes
    return "".join(str(letter) for letter in codes(affine))


def _size(spacing: Floats) -> str:
    return " x ".join(f"{value:.4g}" for value in spacing)


def _lengths(affine: Floats) -> Floats:
    return np.asarray(np.linalg.norm(affine[:3, :3], axis=0), dtype=np.float64)


def _across(affine: Floats) -> Floats:
    """(3,): for each axis, the distance between its planes; in a sheared stack smaller than the step along it."""
    axes = affine[:3, :3]
    distances = []
    for axis in range(3):
        normal = np.cross(axes[:, axis - 2], axes[:, axis - 1])
        length = float(np.linalg.norm(normal))
        distances.append(abs(float(axes[:, axis] @ normal)) / length if length > 0 else 0.0)
    return np.array(distances)


def _has_spacing(affine: Floats, zooms: Floats) -> bool:
    """Whether an affine has the spacing of pixdim (for a sheared stack: the step, or the distance of its planes)."""
    along = np.abs(_lengths(affine) - zooms) <= _SAME_SPACING * zooms
    across = np.abs(_across(affine) - zooms) <= _SAME_SPACING * zooms
    return bool(np.all(along | across))


def _same_axes(first: Floats, second: Floats) -> bool:
    """Whether the axes of two affines point the same way; one axis may lean, because qform cannot hold a shear."""
    units = first[:3, :3] / _lengths(first), second[:3, :3] / _lengths(second)
    cosines = np.einsum("ij,ij->j", *units)
    turned = np.flatnonzero(cosines < math.cos(math.radians(_SAME_AXIS_DEGREES)))
    if len(turned) != 1:
        return len(turned) == 0
    axis = int(turned[0])
    normals = [np.cross(unit[:, axis - 2], unit[:, axis - 1]) for unit in units]
    planes = float(normals[0] @ normals[1]) / float(np.prod([np.linalg.norm(normal) for normal in normals]))
    return planes > math.cos(math.radians(_SAME_AXIS_DEGREES)) and bool(cosines[axis] > 0)


def _scaled(path: Path, affine: Floats, scale: float) -> Floats:
    lengths = _lengths(affine)
    if np.any(lengths == 0):
        raise GeometryError("the affine is not finite and positive")
    scaled = np.array(affine, dtype=np.float64)
    scaled[:3] *= scale
    low, high = _PLAUSIBLE_MM
    if np.any(lengths * scale < low) or np.any(lengths * scale > high):
        raise GeometryError(
            f"{path} has voxels of {_size(lengths * scale)} mm, by its own unit of length, which no cine has; "
            "correct xyzt_units or the spacing in its header"
        )
    return scaled


def phase_step_ms(header: Any, phases: int) -> float | None:
    """pixdim[4] as the time from phase to phase, if it gives a plausible heart beat; else None.

    An unknown unit is taken as seconds below 1 and as milliseconds above: no cine has phases of less than 1 ms.
    """
    if phases < _FEWEST_OF_A_BEAT:
        return None
    step = float(header["pixdim"][4])
    units = int(header["xyzt_units"])
    code = units - (units & 7)
    if code not in _MS and code in (32, 40, 48):  # Hz, ppm and radians are not times
        return None
    step *= _MS.get(code, 1000.0 if step < 1 else 1.0)
    return step if math.isfinite(step) and _BEAT_MS[0] <= step * phases <= _BEAT_MS[1] else None
