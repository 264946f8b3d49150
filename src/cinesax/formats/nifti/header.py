"""What a NIfTI header says of place, spacing and time, and whether it agrees with itself.

A header says the spacing up to three times: in sform (an affine), in qform (an affine from pixdim and a rotation) and
in pixdim. Programs that resample an image sometimes renew only one of them, and then nobody can know which is right.
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
_SAME_SPACING = 0.005  # 1.5 % of a volume; headers round spacings to some four digits, 0.1 %
_SAME_AXIS_DEGREES = 2.0
_UNIT = 1e-4
_PLAUSIBLE_MM = (0.2, 50.0)
"""Pixels and slice distances of a cine: what lies outside is a unit that the header names wrongly."""
_FEWEST_OF_A_BEAT = 5
"""Fewer phases are a choice of moments (ED and ES), and no step leads from one to the next."""
_BEAT_MS = (300.0, 2500.0)


@dataclass(frozen=True, eq=False)
class HeaderGeometry:
    """Where the voxels of a file lie.

    Attributes:
        affine_ras: (4, 4): array indices (first, second, third axis) to RAS mm.
        oriented: whether it places the file in the patient; else only its spacing means something.
        measured: whether the spacing is known.
        findings: what to know of it.
    """

    affine_ras: Floats
    oriented: bool
    measured: bool
    findings: tuple[Finding, ...] = ()


def geometry(path: Path, header: Any, chosen: NiftiGeometry | None = None) -> HeaderGeometry:
    """Where the voxels lie, by the part of the header that was chosen, or by all of them where they agree.

    A unit matrix in sform or qform says nothing where pixdim says another spacing: some public sets are so.

    Args:
        path: for messages.
        header: of nibabel.
        chosen: the part to believe; None: they have to agree.

    Raises:
        GeometryError: parts that disagree, or values that cannot be.
        UsageError: a part was chosen that the header does not have.
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


def said(header: Any) -> str:
    """What sform, qform and pixdim of a header say, for a person; once, where they agree."""
    forms, zooms = _forms(header), np.array(header["pixdim"][1:4], dtype=np.float64)
    if _disagreement(forms, zooms):
        return _said(forms, zooms)
    names = ", ".join([*forms, NiftiGeometry.PIXDIM])
    return f"{_size(zooms)} by {names}" + (f"; axes {_axes(next(iter(forms.values())))}" if forms else "; no place")


def _forms(header: Any) -> dict[NiftiGeometry, Floats]:
    """The affines that the header has, without those that say nothing; sform first, as all programs take it."""
    found: dict[NiftiGeometry, Floats] = {}
    for name, read in ((NiftiGeometry.SFORM, header.get_sform), (NiftiGeometry.QFORM, header.get_qform)):
        try:
            affine, code = read(coded=True)
        except HeaderDataError:  # quaternions of no rotation
            continue
        if affine is None or code < 1 or not np.all(np.isfinite(affine)):
            continue
        if not _is_placeholder(affine):
            found[name] = np.asarray(affine, dtype=np.float64)
    return found


def _is_placeholder(affine: Floats) -> bool:
    """A unit matrix but for signs is what programs write that know of no place."""
    return bool(np.allclose(np.abs(affine[:3, :3]), np.eye(3), atol=_UNIT))


def _unplaced(path: Path, zooms: Floats, scale: float, findings: tuple[Finding, ...]) -> HeaderGeometry:
    """By pixdim alone: the axes as they come, x to the left as nibabel has it."""
    measured = not np.allclose(zooms, 1, atol=_UNIT)
    if not measured:
        message = (
            "neither affine nor pixdim gives a spacing: no volumes, the ejection fraction is computed from summed areas"
        )
        findings = (*findings, Finding(Code.UNKNOWN_SPACING, Severity.WARNING, message))
    affine = np.diag([*zooms, 1.0])
    return HeaderGeometry(_scaled(path, affine, scale) if measured else affine, False, measured, findings)


def _of_choice(chosen: NiftiGeometry | None, forms: dict[NiftiGeometry, Floats], zooms: Floats) -> tuple[Finding, ...]:
    """That the parts disagree stays to be known, whichever was chosen."""
    if chosen is None or not _disagreement(forms, zooms):
        return ()
    message = f"the NIfTI header contradicts itself ({_said(forms, zooms)}): {chosen} was chosen"
    return (Finding(Code.GEOMETRY_CHOSEN, Severity.NOTE, message),)


def _check_agreement(path: Path, forms: dict[NiftiGeometry, Floats], zooms: Floats) -> None:
    why = _disagreement(forms, zooms)
    if why:
        raise GeometryError(
            f"{path} contradicts itself in {why}: {_said(forms, zooms)}; "
            "choose the right one with --nifti-geometry sform, qform or pixdim"
        )


def _disagreement(forms: dict[NiftiGeometry, Floats], zooms: Floats) -> str:
    """What the parts disagree in: "spacing", "axes", or nothing."""
    if any(not _has_spacing(affine, zooms) for affine in forms.values()):
        return "spacing"
    if len(forms) == 2 and not _same_axes(*forms.values()):
        return "axes"
    return ""


def _said(forms: dict[NiftiGeometry, Floats], zooms: Floats) -> str:
    parts = []
    for name in (NiftiGeometry.SFORM, NiftiGeometry.QFORM):
        if name in forms:
            parts.append(f"{name} says {_size(_lengths(forms[name]))} along {_axes(forms[name])}")
        else:
            parts.append(f"{name} says nothing")
    return ", ".join([*parts, f"pixdim says {_size(zooms)}"])


def _axes(affine: Floats) -> str:
    """Where the axes lead, a letter each: LAS is to the left, to the front, to the head."""
    codes: Any = nib.aff2axcodes
    return "".join(str(letter) for letter in codes(affine))


def _size(spacing: Floats) -> str:
    return " x ".join(f"{value:.4g}" for value in spacing)


def _lengths(affine: Floats) -> Floats:
    return np.asarray(np.linalg.norm(affine[:3, :3], axis=0), dtype=np.float64)


def _across(affine: Floats) -> Floats:
    """(3,): the distance between neighbouring planes of each axis, and not along the axis: less in a sheared stack."""
    axes = affine[:3, :3]
    distances = []
    for axis in range(3):
        normal = np.cross(axes[:, axis - 2], axes[:, axis - 1])
        length = float(np.linalg.norm(normal))
        distances.append(abs(float(axes[:, axis] @ normal)) / length if length > 0 else 0.0)
    return np.array(distances)


def _has_spacing(affine: Floats, zooms: Floats) -> bool:
    """Of sheared stacks some programs store the step in pixdim, others the distance between the planes."""
    along = np.abs(_lengths(affine) - zooms) <= _SAME_SPACING * zooms
    across = np.abs(_across(affine) - zooms) <= _SAME_SPACING * zooms
    return bool(np.all(along | across))


def _same_axes(one: Floats, other: Floats) -> bool:
    """Whether the axes point the same way; one may lean, since qform cannot hold the shear that sform can."""
    unit_one, unit_other = one[:3, :3] / _lengths(one), other[:3, :3] / _lengths(other)
    cosines = np.einsum("ij,ij->j", unit_one, unit_other)
    turned = np.flatnonzero(cosines < math.cos(math.radians(_SAME_AXIS_DEGREES)))
    if len(turned) != 1:
        return len(turned) == 0
    axis = int(turned[0])
    normals = [np.cross(unit[:, axis - 2], unit[:, axis - 1]) for unit in (unit_one, unit_other)]
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
            f"{path} has voxels of {_size(lengths * scale)} mm, by its own unit of length: no cine has; "
            "correct xyzt_units or the spacing in its header"
        )
    return scaled


def phase_step_ms(header: Any, phases: int) -> float | None:
    """pixdim[4] as the time from phase to phase, where it makes a heart beat; else None.

    An unknown unit is seconds below 1 and milliseconds above: no cine has phases of less than 1 ms.
    """
    if phases < _FEWEST_OF_A_BEAT:
        return None
    step = float(header["pixdim"][4])
    units = int(header["xyzt_units"])
    code = units - (units & 7)
    if code not in _MS and code in (32, 40, 48):  # Hz, ppm and radians are no times
        return None
    step *= _MS.get(code, 1000.0 if step < 1 else 1.0)
    return step if math.isfinite(step) and _BEAT_MS[0] <= step * phases <= _BEAT_MS[1] else None
