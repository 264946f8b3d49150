"""Which frames of different slices form one volume, even if slices have different numbers of phases.

If all slices have the same number, phase k of one slice pairs with phase k of the next: each slice has its own heart
beat. Otherwise the phases are those of the slices with the usual number, and every other slice contributes the frame
nearest in time: in fractions of its RR interval or, with prospective gating, in ms after the R wave. Pixels are never
interpolated: a frame may be used in several phases, or in none.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cinesax.core.cine import Gating
from cinesax.core.errors import GeometryError
from cinesax.core.findings import Code, Finding, Severity
from cinesax.core.grid import Floats
from cinesax.dicom.read.header import Header
from cinesax.dicom.read.timing import stated_phases, usual_count

# Counts that differ by no more than this differ by lost phases, not by the settings of the scanner.
_LOST_PHASES = 1.15
_COMMON_SHARE = 0.2
# A slice with less than this part of the usual number was stopped or is incomplete, whatever its times say.
_TOO_FEW = 1 / 3
# If no frame of a slice lies within this part of the beat of a phase, the slice cannot contribute to its volume.
_MAX_APART = 0.25
_LONG_GAP_STEPS = 1.6
# Times are rounded, and beats start a few ms apart: frames whose times differ by less (of the beat, in ms) are equally
# near.
_AS_NEAR, _AS_NEAR_MS = 0.005, 2.0

Slices = Sequence[Sequence[Header]]


@dataclass(frozen=True, eq=False)
class Pairing:
    """Which frame of each slice is used in each phase.

    Attributes:
        places: (phase, slice): index of the frame in its slice.
        findings: one if slices have different numbers of phases.
    """

    places: NDArray[np.intp]
    findings: tuple[Finding, ...] = ()


def pair(
    slices: Slices, times_ms: Sequence[Floats] | None, intervals_ms: Floats | None, gating: Gating | None
) -> Pairing:
    """Pair the phases of slices.

    Args:
        slices: the frames of each slice, in order of time.
        times_ms: (phase,) of each slice: ms after the R wave; None if not known.
        intervals_ms: (slice,): the length of the beat of each; None if not known.
        gating: how the scan was synchronised with the heart beat.

    Raises:
        GeometryError: files are missing, or a slice has too few phases for a volume.
    """
    counts = [len(part) for part in slices]
    if len(set(counts)) == 1:
        return Pairing(np.tile(np.arange(counts[0])[:, None], (1, len(slices))))
    usual = _usual(slices)
    _refuse_few(counts, usual)
    _refuse_missing(slices, times_ms, usual)
    unit, positions = _positions(slices, times_ms, intervals_ms, gating)
    # The median slice gives the phases their times, so that one slice with another beat does not shift them.
    axis = np.median([times for times in positions if len(times) == usual], axis=0)
    as_near = _AS_NEAR_MS if unit == "ms" else _AS_NEAR
    columns = [np.arange(usual) if len(times) == usual else _nearest(axis, times, as_near) for times in positions]
    apart = np.array([np.abs(times[column] - axis).max() for times, column in zip(positions, columns, strict=True)])
    odd = [index for index, count in enumerate(counts) if count != usual]
    # The limit is a part of the beat. In ms the beat is not known, or prospective gating ends earlier in some slices.
    if unit != "ms":
        _refuse_distant(apart, odd, counts, usual)
    worst = max(odd, key=lambda index: apart[index])
    in_ms = unit == "ms"
    by = "time after the R wave" if in_ms else "fraction of the RR interval"
    off = "{apart_ms:.0f} ms" if in_ms else "{apart_percent:.0f} % of the beat"
    sentence = (
        "slices have unequal numbers of phases: {unequal}; their frames were paired by the nearest "
        f"{by}, up to {off} apart (slice {{worst_slice}}), and none was interpolated"
    )
    numbers = {
        "usual_phases": usual,
        "slices": len(odd),
        "worst_slice": worst,
        "apart_ms" if in_ms else "apart_percent": float(apart[worst]) if in_ms else 100 * float(apart[worst]),
    }
    finding = Finding(
        Code.UNEQUAL_PHASES, Severity.WARNING, sentence, numbers=numbers, texts={"unequal": _listed(counts, usual)}
    )
    return Pairing(np.stack(columns, axis=1), (finding,))


def _usual(slices: Slices) -> int:
    """The number of phases of the volumes: the usual number, or slightly more if slices lost some phases."""
    numbers = Counter(len(part) for part in slices)
    stated = {stated_phases(part) for part in slices}
    agreed = next(iter(stated)) if len(stated) == 1 else None
    if agreed in numbers:
        return int(agreed or 0)
    # Arrhythmia rejection only ever removes phases: a slightly larger number that many slices have is the true one.
    frequent = usual_count(numbers.elements())
    near = [
        count
        for count, times in numbers.items()
        if frequent <= count <= _LOST_PHASES * frequent and times >= _COMMON_SHARE * len(slices)
    ]
    return max([frequent, *near])


def _positions(
    slices: Slices, times_ms: Sequence[Floats] | None, intervals_ms: Floats | None, gating: Gating | None
) -> tuple[str, list[Floats]]:
    """The time of each frame in the beat: in ms, or as a fraction (of the RR interval, or of the phases)."""
    # Systole hardly changes with the heart rate. Prospective gating shows it at the same ms in every slice, whereas
    # retrospective gating stretches each beat over the same number of phases: there the fraction of the beat counts.
    if times_ms is not None and (gating is Gating.PROSPECTIVE or intervals_ms is None):
        return "ms", list(times_ms)
    if times_ms is not None and intervals_ms is not None:
        return "beat", [times / beat for times, beat in zip(times_ms, intervals_ms, strict=True)]
    return "beat", [np.arange(len(part)) / len(part) for part in slices]


def _nearest(axis: Floats, positions: Floats, tolerance: float) -> NDArray[np.intp]:
    """(phase,): for each phase the frame nearest in time; the earliest of equally near ones."""
    apart = np.abs(axis[:, None] - positions[None, :])
    return np.asarray((apart <= apart.min(axis=1, keepdims=True) + tolerance).argmax(axis=1), dtype=np.intp)


def _refuse_distant(apart: Floats, odd: Sequence[int], counts: Sequence[int], usual: int) -> None:
    distant = [index for index in odd if apart[index] > _MAX_APART]
    if distant:
        raise GeometryError(
            f"slices have different numbers of phases, and some do not cover the beat: {_listed(counts, usual)}; "
            f"nothing of {_places(distant)} lies within {100 * _MAX_APART:.0f} % of the beat of some phase: complete "
            "the exam or leave these slices out"
        )


def _refuse_few(counts: Sequence[int], usual: int) -> None:
    few = [index for index, count in enumerate(counts) if count < _TOO_FEW * usual]
    if few:
        raise GeometryError(
            f"slices have different numbers of phases: {_listed(counts, usual)}; {_places(few)} cannot show a beat: "
            "complete the exam or leave these slices out"
        )


def _listed(counts: Sequence[int], usual: int) -> str:
    """Which slices hold how many phases: "slice 3 has 5, slices 8, 9 have 2, the others 20"."""
    parts = []
    for count in sorted(set(counts) - {usual}, reverse=True):
        places = [index for index, own in enumerate(counts) if own == count]
        parts.append(f"{_places(places)} {'has' if len(places) == 1 else 'have'} {count}")
    complete = [index for index, own in enumerate(counts) if own == usual]
    return ", ".join([*parts, f"the others {usual}" if len(complete) > 1 else f"{_places(complete)} has {usual}"])


def _places(slices: Sequence[int]) -> str:
    return ("slice " if len(slices) == 1 else "slices ") + ", ".join(map(str, slices))


def _refuse_missing(slices: Slices, times_ms: Sequence[Floats] | None, usual: int) -> None:
    """Raise if files are missing (not if the scanner never acquired the phases).

    Lost files leave a gap in the InstanceNumbers of their series or, at the end of its last slice, fewer phases than
    CardiacNumberOfImages and no gap in time.
    """
    short = [index for index, part in enumerate(slices) if len(part) < usual]
    # A gap shows that files are lost, but not whose: then every short slice is suspect.
    gaps = _lost_numbers([header for part in slices for header in part])
    ended = [index for index in short if _ends_early(slices, index, None if times_ms is None else times_ms[index])]
    missing = short if gaps else ended
    if not missing:
        return
    lost = f" (InstanceNumber leaves out {', '.join(map(str, gaps[:5]))})" if gaps else ""
    raise GeometryError(
        f"slices have different numbers of phases: {_listed([len(part) for part in slices], usual)}{lost}; "
        f"complete the exam (is a file of {_places(missing)} missing?) or leave these slices out"
    )


def _lost_numbers(headers: Sequence[Header]) -> list[int]:
    lost: list[int] = []
    for series in {header.series_uid for header in headers}:
        numbers = {int(h.instance_number or 0) for h in headers if h.series_uid == series and h.frame_number is None}
        # Many absent numbers were never consecutive (two stacks in one series), and show nothing.
        absent = sorted(set(range(min(numbers), max(numbers))) - numbers) if numbers and min(numbers) > 0 else []
        lost += absent if len(absent) < len(numbers) / 4 else []
    return lost


def _ends_early(slices: Slices, index: int, times: Floats | None) -> bool:
    part = slices[index]
    # Frames of one multi-frame instance cannot be lost one by one.
    if (stated_phases(part) or 0) <= len(part) or part[0].frame_number is not None:
        return False
    series = part[0].series_uid
    numbers = [header.instance_number or 0 for part in slices for header in part if header.series_uid == series]
    # Files lost at the end of a series leave no gap in its numbers, so only its last slice can have lost them.
    last = max(header.instance_number or 0 for header in part) == max(numbers)
    steps = np.array([]) if times is None else np.diff(times)
    return last and (len(steps) < 2 or float(steps.max()) <= _LONG_GAP_STEPS * float(np.median(steps)))
