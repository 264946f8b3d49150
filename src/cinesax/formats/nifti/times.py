"""When the phases of a NIfTI file lie in the heart beat: from the JSON file beside it, else from pixdim[4].

NIfTI has one number for time, and converters often put the repetition time (TR) there: dcm2niix writes 34 ms for phases
33.2 ms apart, and 3.3 ms for phases 40 ms apart. A heart rate from that number is a guess, and is said to be one.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.grid import Floats
from cinesax.formats.nifti.header import phase_step_ms

# Keys that converters and the Brain Imaging Data Structure (BIDS) use, and the ms in one of their unit. Those named
# after a DICOM attribute keep its unit.
_TIMES_OF_PHASES = {
    "TriggerTime": 1.0,
    "TriggerDelayTime": 1.0,
    "NominalCardiacTriggerDelayTime": 1.0,
    "FrameTimesStart": 1000.0,
    "VolumeTiming": 1000.0,
}
_LENGTHS_OF_BEAT = {"NominalInterval": 1.0, "RRIntervalTimeNominal": 1.0, "RRInterval": 1.0}
_REPETITION_TIME = "RepetitionTime"  # BIDS: in seconds
_BEAT_MS = (200.0, 3000.0)
_AGREE = 0.03
_MAX_BYTES = 16 * 1024**2


@dataclass(frozen=True, eq=False)
class PhaseTimes:
    """The times of a file.

    Attributes:
        triggers_ms: (phase,), ms after the R wave, or None.
        beat_ms: length of the heart beat, or None.
        findings: how much they are to be believed.
    """

    triggers_ms: Floats | None = None
    beat_ms: float | None = None
    findings: tuple[Finding, ...] = ()


def phase_times(path: Path, header: Any, phases: int) -> PhaseTimes:
    """The times of the phases of a file.

    Args:
        path: of the NIfTI file: its JSON file has the same name.
        header: of nibabel.
        phases: how many it has.
    """
    if phases < 2:
        return PhaseTimes()
    beside, findings = _beside(path)
    beat, listed = _beat_ms(beside), _listed_ms(beside, phases)
    if listed is not None:
        step = float(listed[-1] - listed[0]) / (phases - 1)
        return PhaseTimes(listed, beat or _plausible(step * phases), findings)
    found = phase_step_ms(header, phases)
    if beat is not None:
        if found is not None and abs(found * phases - beat) <= _AGREE * beat:
            return PhaseTimes(_evenly(found, phases), beat, findings)
        message = "the JSON file gives the length of the beat but not the times of the phases: rates are not known"
        return PhaseTimes(None, beat, (*findings, Finding(Code.MISSING_TRIGGER_TIMES, Severity.NOTE, message)))
    if found is None:
        message = "the file does not give the time between phases: heart rate and rates are not known"
        return PhaseTimes(None, None, (*findings, Finding(Code.MISSING_TRIGGER_TIMES, Severity.WARNING, message)))
    return PhaseTimes(_evenly(found, phases), found * phases, (*findings, _doubt(found, phases, beside)))


def _evenly(step_ms: float, phases: int) -> Floats:
    return np.arange(phases, dtype=np.float64) * np.float64(step_ms)


def _doubt(step: float, phases: int, beside: Mapping[str, Any]) -> Finding:
    repetition = _number(beside.get(_REPETITION_TIME), 1000.0)
    called = "which converters often fill with the repetition time"
    if repetition is not None and abs(repetition - step) <= 0.01 * step:
        called = "which the JSON file calls the repetition time, so phases may lie closer or farther"
    message = (
        "heart rate ({heart_rate_bpm:.0f}/min), cardiac output and rates rest on pixdim[4] = {step_ms:.5g} ms from "
        f"phase to phase, {called}: compare them with the exam"
    )
    numbers = {"step_ms": step, "heart_rate_bpm": 60_000 / (step * phases)}
    return Finding(Code.TIMES_UNCERTAIN, Severity.WARNING, message, numbers=numbers)


def _beside(path: Path) -> tuple[Mapping[str, Any], tuple[Finding, ...]]:
    """What the JSON file beside says; nothing where there is none, or one that cannot be read."""
    stem = path.name[: -len(".nii.gz")] if path.name.lower().endswith(".nii.gz") else path.stem
    side = path.with_name(f"{stem}.json")
    try:
        if not side.is_file():
            return {}, ()
        if side.stat().st_size > _MAX_BYTES:
            raise ValueError("too large")
        held = json.loads(side.read_text(encoding="utf-8-sig"))
        if not isinstance(held, dict):
            raise ValueError("no object")
    except (OSError, ValueError, RecursionError):
        message = "the JSON file beside the image cannot be read: its times are not used"
        return {}, (Finding(Code.UNREADABLE_FILE, Severity.NOTE, message),)
    return held, ()


def _beat_ms(beside: Mapping[str, Any]) -> float | None:
    for key, unit in _LENGTHS_OF_BEAT.items():
        beat = _plausible(_number(beside.get(key), unit))
        if beat is not None:
            return beat
    rate = _number(beside.get("HeartRate"), 1.0)
    return None if rate is None or rate <= 0 else _plausible(60_000 / rate)


def _listed_ms(beside: Mapping[str, Any], phases: int) -> Floats | None:
    for key, unit in _TIMES_OF_PHASES.items():
        listed = beside.get(key)
        if not isinstance(listed, list) or len(listed) != phases:
            continue
        times = [_number(value, unit) for value in listed]
        if None in times:
            continue
        found = np.array(times, dtype=np.float64)
        if np.all(np.diff(found) > 0) and 0 <= found[0] and found[-1] <= _BEAT_MS[1]:
            return found
    return None


def _number(value: object, unit: float) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value) * unit
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _plausible(beat_ms: float | None) -> float | None:
    return beat_ms if beat_ms is not None and _BEAT_MS[0] <= beat_ms <= _BEAT_MS[1] else None
