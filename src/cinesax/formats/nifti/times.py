"""The times of the phases of a NIfTI file, from the JSON file next to it, else from pixdim[4].

NIfTI has one number for time, and converters often put the repetition time (TR) there: dcm2niix writes 34 ms for phases
33.2 ms apart, and 3.3 ms for phases 40 ms apart. A heart rate from that number is a guess, and a finding says so.
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

# Keys of converters and of the Brain Imaging Data Structure (BIDS), and their unit in ms. Keys named after a DICOM
# attribute have its unit.
_TIMES_OF_PHASES = {
    "TriggerTime": 1.0,
    "TriggerTimes": 1.0,
    "FrameReferenceTime": 1.0,
    "TriggerDelayTime": 1.0,
    "NominalCardiacTriggerDelayTime": 1.0,
    "FrameTimesStart": 1000.0,
    "VolumeTiming": 1000.0,
}
_LENGTHS_OF_BEAT = {"NominalInterval": 1.0, "RRIntervalTimeNominal": 1.0, "RRInterval": 1.0}
_REPETITION_TIME = "RepetitionTime"  # BIDS: in seconds
_BEAT_MS = (200.0, 3000.0)
_UNITS = {"ms": 1.0, "seconds": 1000.0, "microseconds": 0.001}
"""Units in which times may be stored instead of the unit of their key, in ms."""
_SHORTEST_STEP_MS, _LONGEST_STEP_MS, _LONGEST_SERIES_MS = 2.0, 400.0, 30_000.0
_AGREE = 0.03
_MAX_BYTES = 16 * 1024**2


@dataclass(frozen=True, eq=False)
class PhaseTimes:
    """The times of a file.

    Attributes:
        triggers_ms: (phase,), ms after the R wave, or None.
        beat_ms: length of the heart beat, or None.
        findings: doubts about the times.
    """

    triggers_ms: Floats | None = None
    beat_ms: float | None = None
    findings: tuple[Finding, ...] = ()


def phase_times(path: Path, header: Any, phases: int) -> PhaseTimes:
    """The times of the phases of a file.

    Args:
        path: the NIfTI file; its JSON file has the same name.
        header: the header from nibabel.
        phases: the number of its phases.
    """
    if phases < 2:
        return PhaseTimes()
    sidecar, findings = _sidecar(path)
    beat = _beat_ms(sidecar)
    listed, doubts = _listed_ms(sidecar, phases, beat)
    if listed is not None:
        findings = (*findings, *doubts)
        step = float(listed[-1] - listed[0]) / (phases - 1)
        return PhaseTimes(listed, beat or _plausible(step * phases), findings)
    step_ms = phase_step_ms(header, phases)
    if beat is not None:
        if step_ms is not None and abs(step_ms * phases - beat) <= _AGREE * beat:
            return PhaseTimes(_evenly(step_ms, phases), beat, findings)
        message = "the JSON file gives the length of the beat but not the times of the phases: rates are not known"
        return PhaseTimes(None, beat, (*findings, Finding(Code.MISSING_TRIGGER_TIMES, Severity.NOTE, message)))
    if step_ms is None:
        message = "the file does not give the time between phases: heart rate and rates are not known"
        return PhaseTimes(None, None, (*findings, Finding(Code.MISSING_TRIGGER_TIMES, Severity.WARNING, message)))
    return PhaseTimes(_evenly(step_ms, phases), step_ms * phases, (*findings, _doubt(step_ms, phases, sidecar)))


def _evenly(step_ms: float, phases: int) -> Floats:
    return np.arange(phases, dtype=np.float64) * np.float64(step_ms)


def _doubt(step: float, phases: int, sidecar: Mapping[str, Any]) -> Finding:
    repetition = _number(sidecar.get(_REPETITION_TIME), 1000.0)
    meaning = "which converters often fill with the repetition time"
    if repetition is not None and abs(repetition - step) <= 0.01 * step:
        meaning = "which the JSON file calls the repetition time, so the true distance of phases may differ"
    message = (
        "heart rate ({heart_rate_bpm:.0f}/min), cardiac output and rates use pixdim[4] = {step_ms:.5g} ms from phase "
        f"to phase, {meaning}: compare them with the exam"
    )
    numbers = {"step_ms": step, "heart_rate_bpm": 60_000 / (step * phases)}
    return Finding(Code.TIMES_UNCERTAIN, Severity.WARNING, message, numbers=numbers)


def _sidecar(path: Path) -> tuple[Mapping[str, Any], tuple[Finding, ...]]:
    """The JSON file next to a NIfTI file; empty if there is none, or if it cannot be read."""
    stem = Path(path.stem).stem if path.name.lower().endswith(".gz") else path.stem
    json_path = path.with_name(f"{stem}.json")
    try:
        if not json_path.is_file():
            return {}, ()
        if json_path.stat().st_size > _MAX_BYTES:
            raise ValueError("too large")
        held = json.loads(json_path.read_text(encoding="utf-8-sig"))
        if not isinstance(held, dict):
            raise ValueError("not an object")
    except (OSError, ValueError, RecursionError):
        message = "the JSON file next to the image cannot be read: its times are not used"
        return {}, (Finding(Code.UNREADABLE_FILE, Severity.NOTE, message),)
    return held, ()


def _beat_ms(sidecar: Mapping[str, Any]) -> float | None:
    for key, unit in _LENGTHS_OF_BEAT.items():
        beat = _plausible(_number(sidecar.get(key), unit))
        if beat is not None:
            return beat
    rate = _number(sidecar.get("HeartRate"), 1.0)
    return None if rate is None or rate <= 0 else _plausible(60_000 / rate)


def _listed_ms(
    sidecar: Mapping[str, Any], phases: int, beat_ms: float | None
) -> tuple[Floats | None, tuple[Finding, ...]]:
    """The listed times of the phases in ms, from the unit of their key or from one in which they fit a beat."""
    for key, unit in _TIMES_OF_PHASES.items():
        listed = sidecar.get(key)
        if not isinstance(listed, list) or len(listed) != phases:
            continue
        times = [_number(value, unit) for value in listed]
        if None in times:
            continue
        in_order = np.array(times, dtype=np.float64)
        if not np.all(np.diff(in_order) > 0) or in_order[0] < 0:
            continue
        if _may_be_ms(in_order, beat_ms):
            return in_order, ()
        for name, factor in _UNITS.items():
            other = in_order / unit * factor
            if _may_be_ms(other, beat_ms):
                message = f"{key} in the JSON file is assumed to be in {name}: in its own unit it fits no heart beat"
                return other, (Finding(Code.TIME_UNITS, Severity.WARNING, message),)
    return None, ()


def _may_be_ms(times: Floats, beat_ms: float | None) -> bool:
    """Whether times are plausible as ms after the R wave: by their steps, and by their length."""
    step = float(times[-1] - times[0]) / (len(times) - 1)
    low = _SHORTEST_STEP_MS if beat_ms is None else 0.05 * beat_ms / len(times)
    return low <= step <= _LONGEST_STEP_MS and float(times[-1]) <= _LONGEST_SERIES_MS


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
