"""Cine: a stack of slices over the heart beat, as the scanner stored it."""

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinesax.core.errors import GeometryError, printable
from cinesax.core.findings import Finding
from cinesax.core.grid import Floats, Grid
from cinesax.core.values import ArrayValue, frozen


@dataclass(frozen=True, slots=True)
class Patient:
    """What the source says about the patient; None for what is missing or not valid.

    `name`, `patient_id` and `birth_date` are identifying and stay out of every pseudonymous output. Height and weight
    are as stored: `cinesax.measure.volumes` decides whether they are plausible.
    """

    name: str | None = None
    patient_id: str | None = None
    birth_date: str | None = None
    sex: str | None = None
    age_years: float | None = None
    height_cm: float | None = None
    weight_kg: float | None = None


class Gating(StrEnum):
    """How the scan was synchronised with the heart beat (CardiacSynchronizationTechnique)."""

    RETROSPECTIVE = "retrospective"
    """Sorted into phases after the scan: each slice covers its whole beat, and phases are fractions of it."""
    PROSPECTIVE = "prospective"
    """Started by each R wave: phases are times in ms, and the end of the beat is not recorded."""


@dataclass(frozen=True, slots=True, order=True)
class StoredFile:
    """One file of an exam.

    Attributes:
        path: the file, or the zip that holds it.
        member: its name in the zip, or None.
    """

    path: Path
    member: str | None = None

    def __str__(self) -> str:
        return printable(str(self.path) if self.member is None else f"{self.path}:{self.member}")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a Cine came from, in the terms of its format; None for what the format does not say.

    Attributes:
        kind: "dicom", "nifti", "pairs" or "phantom".
        study_uid: StudyInstanceUID, unchanged, valid or not.
        series_uids: SeriesInstanceUIDs: one, or several if each slice is a series.
        instance_uids: (phase, slice) strings: SOPInstanceUID of each frame; () if there are none. If slices have
            different numbers of phases, a frame may be used in several phases, or in none.
        frame_numbers: (phase, slice): 1-based number of the frame in its instance (Enhanced MR); () where
            every instance is a single frame.
        sop_class_uid: SOPClassUID of the instances.
        instance_numbers: (phase, slice): InstanceNumber of each frame, which names of contour files refer to; () unless
            every frame has a number of its own.
        frame_series_uids: (phase, slice) strings: SeriesInstanceUID of each frame; () if there is only one series.
        frame_of_reference_uid: FrameOfReferenceUID when all frames share one, else None.
        description: SeriesDescription or file name.
        study_date: YYYYMMDD when it is a valid date, else None.
        manufacturer: Manufacturer.
        scanner: ManufacturerModelName.
        field_strength_t: MagneticFieldStrength in tesla.
        slice_thickness_mm: SliceThickness.
        protocol: sequence or protocol name.
        picked_because: why these series were chosen as the short-axis cine, as text.
        not_picked: (series, reason) for every other series, as text.
        copied: patient, study and dates of one instance, as stored, for DICOM objects made from this Cine (see
            `cinesax.dicom.copied`); b"" if the source is not DICOM.
        stored_axes: for NIfTI, whose axes may come in any order: the axis of the file that became column, row and
            slice, counted from 1; negative if it runs backwards.
        paths: the folder or files given to `open_cine`; () if the Cine was made in another way.
    """

    kind: str
    study_uid: str | None = None
    series_uids: tuple[str, ...] = ()
    instance_uids: tuple[tuple[str, ...], ...] = ()
    frame_numbers: tuple[tuple[int, ...], ...] = ()
    sop_class_uid: str | None = None
    files: tuple[tuple[StoredFile, ...], ...] = field(default=(), compare=False, repr=False)
    instance_numbers: tuple[tuple[int, ...], ...] = ()
    frame_series_uids: tuple[tuple[str, ...], ...] = ()
    paddings_px: tuple[tuple[int, int], ...] = ()
    stored_matrices: tuple[tuple[int, int], ...] = ()
    frame_of_reference_uid: str | None = None
    description: str | None = None
    study_date: str | None = None
    manufacturer: str | None = None
    scanner: str | None = None
    field_strength_t: float | None = None
    slice_thickness_mm: float | None = None
    protocol: str | None = None
    picked_because: str | None = None
    not_picked: tuple[tuple[str, str], ...] = ()
    copied: bytes = field(default=b"", repr=False)
    stored_axes: tuple[int, int, int] | None = None
    paths: tuple[Path, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, eq=False, repr=False)
class Cine(ArrayValue):
    """A short-axis stack over the heart beat.

    Attributes:
        pixels: (phase, slice, row, column): the stored integers, or float32 if a rescale slope or intercept applies.
            Brighter is more signal (MONOCHROME1 is inverted when read). A read-only view of the given array.
        grid: where the pixels lie in the patient; None only if the source has no geometry at all (PNG pairs): then
            nothing is measured in mm or ml.
        trigger_times_ms: (phase, slice), ms after the R wave: each slice has its own heart beat. None if the source
            does not say. If slices have different numbers of phases, the time of the frame used: it repeats if a frame
            is used twice.
        rr_intervals_ms: (slice,), the nominal length of the beat of each slice in ms, or None.
        gating: how the scan was synchronised with the heart beat; None if not known.
        source: where it came from.
        patient: what the source says about the patient.
        base_first: True if slice 0 is the basal end, False if it is the apical end, None if not known. Readers ask
            `cinesax.core.orientation.base_first`.
        findings: what the reader of the source noticed.

    Raises:
        GeometryError: shapes do not match, or values are not finite.
    """

    pixels: NDArray[Any]
    grid: Grid | None
    trigger_times_ms: Floats | None = None
    rr_intervals_ms: Floats | None = None
    gating: Gating | None = None
    source: Source = field(default_factory=lambda: Source("unknown"))
    patient: Patient = field(default_factory=Patient)
    base_first: bool | None = None
    findings: tuple[Finding, ...] = ()

    def __post_init__(self) -> None:
        pixels = self.pixels
        if pixels.ndim != 4 or min(pixels.shape) < 1:
            raise GeometryError(f"pixels must have shape (phase, slice, row, column), seen {pixels.shape}")
        if pixels.dtype.kind not in "iuf":
            raise GeometryError(f"pixels must be whole or real numbers, seen {pixels.dtype}")
        if pixels.dtype.kind == "f" and not np.all(np.isfinite(pixels)):
            raise GeometryError("pixels hold values that are not finite (NaN or infinity)")
        if self.grid is not None and self.grid.shape != pixels.shape[1:]:
            raise GeometryError(f"the grid's shape {self.grid.shape} does not fit pixels of shape {pixels.shape}")
        object.__setattr__(self, "pixels", frozen(pixels))
        for name, shape in (("trigger_times_ms", pixels.shape[:2]), ("rr_intervals_ms", pixels.shape[1:2])):
            value = getattr(self, name)
            if value is None:
                continue
            array = np.asarray(value, dtype=np.float64)
            if array.shape != shape or not np.all(np.isfinite(array)):
                raise GeometryError(f"{name} must be finite and of shape {shape}, seen shape {array.shape}")
            object.__setattr__(self, name, frozen(array))

    def __repr__(self) -> str:
        phases, slices, rows, columns = self.pixels.shape
        place = "" if self.grid is None else f", {self.grid.spacing_mm[0]:.3g} x {self.grid.spacing_mm[1]:.3g} mm"
        return (
            f"Cine({self.source.kind}: {phases} phases, {slices} slices of {rows} x {columns} "
            f"{self.pixels.dtype}{place})"
        )

    @property
    def n_phases(self) -> int:
        """Number of phases of the heart beat."""
        return int(self.pixels.shape[0])

    @property
    def n_slices(self) -> int:
        """Number of slices."""
        return int(self.pixels.shape[1])

    @cached_property
    def pixels_sha256(self) -> str:
        """SHA-256 of type, shape and values of the pixels: the same on every machine."""
        kind = self.pixels.dtype.newbyteorder("<")
        digest = hashlib.sha256(f"{kind.str} {self.pixels.shape}".encode())
        for phase in self.pixels:
            digest.update(np.ascontiguousarray(phase, dtype=kind).data)
        return digest.hexdigest()

    @property
    def rr_interval_ms(self) -> float | None:
        """The median length of the heart beat over the slices in ms; None if the source does not say."""
        return None if self.rr_intervals_ms is None else float(np.median(self.rr_intervals_ms))

    @property
    def heart_rate_bpm(self) -> float | None:
        """Heart beats per minute, from the median RR interval; None if the source does not say."""
        return None if self.rr_interval_ms is None else 60_000.0 / self.rr_interval_ms
