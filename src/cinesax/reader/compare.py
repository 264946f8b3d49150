"""Two readings of an exam, slice by slice; and first against present values for the whole worklist."""

from collections.abc import Mapping

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from cinesax.core.analysis import Analysis
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import Structure
from cinesax.reader import shown
from cinesax.reader.store.database import ExamRow, SignedValues, State
from cinesax.reader.worklist import name_of


class ComparedSlice(Struct, frozen=True):
    """One slice in two readings, with the Dice coefficient of the cavity."""

    slice: int
    a_ml_ed: float | None
    b_ml_ed: float | None
    a_ml_es: float | None
    b_ml_es: float | None
    dice_ed: float | None
    dice_es: float | None


class Side(Struct, frozen=True):
    """One of the two readings."""

    by: str
    numbers: shown.Numbers


class Compared(Struct, frozen=True):
    """Two readings of an exam."""

    a: Side
    b: Side
    slices: list[ComparedSlice]


def compared(a: Analysis, b: Analysis, names: tuple[str, str]) -> Compared:
    """The differences of two readings, slice by slice, each at its own ED and ES."""
    first, second = shown.numbers_of(a.measurements), shown.numbers_of(b.measurements)
    slices = [
        ComparedSlice(
            place,
            _ml(first, first.ed_phase, place),
            _ml(second, second.ed_phase, place),
            _ml(first, first.es_phase, place),
            _ml(second, second.es_phase, place),
            _dice(a, b, (first.ed_phase, second.ed_phase), place),
            _dice(a, b, (first.es_phase, second.es_phase), place),
        )
        for place in range(a.cine.n_slices)
    ]
    return Compared(Side(names[0], first), Side(names[1], second), slices)


def _ml(numbers: shown.Numbers, phase: int | None, place: int) -> float | None:
    return None if phase is None or numbers.slice_ml is None else numbers.slice_ml[phase][place]


def _dice(a: Analysis, b: Analysis, phases: tuple[int | None, int | None], place: int) -> float | None:
    """The Dice coefficient of the cavity in one slice; None if neither reading has a cavity there."""
    first, second = phases
    if first is None or second is None:
        return None
    cavity_a = _cavity(a.segmentation, first, place)
    cavity_b = _cavity(b.segmentation, second, place)
    total = int(cavity_a.sum()) + int(cavity_b.sum())
    return None if total == 0 else float(2 * (cavity_a & cavity_b).sum() / total)


def _cavity(segmentation: Segmentation, phase: int, place: int) -> NDArray[np.bool_]:
    return np.isin(segmentation.labels[phase, place], segmentation.counted_as(Structure.CAVITY))


class Values(Struct, frozen=True):
    """The main numbers of one reading."""

    by: str
    ef_percent: float | None
    edv_ml: float | None
    esv_ml: float | None


class Pair(Struct, frozen=True):
    """An exam with the values of two readings."""

    id: str
    name: str
    a: Values
    b: Values


FIRST, CURRENT = "first", "current"
"""The names of the values before any edit and of the present values; any other name is that of a reader."""


def readers(signed: list[SignedValues]) -> list[str]:
    """The names of all who have approved an exam."""
    return sorted({values.by for values in signed})


def pairs(rows: list[ExamRow], signed: list[SignedValues], names: tuple[str, str]) -> list[Pair]:
    """The exams for which both readers have values, for a Bland-Altman plot.

    Args:
        rows: the exams.
        signed: the approved values; for the same reader and exam, the last ones count.
        names: the two readers; see FIRST and CURRENT.
    """
    approved = {(s.exam, s.by): Values(s.by, s.ef_percent, s.edv_ml, s.esv_ml) for s in signed}
    both = []
    for row in rows:
        a, b = (_values(row, approved, name) for name in names)
        if a is not None and b is not None:
            both.append(Pair(row.id, name_of(row), a, b))
    return both


def _values(row: ExamRow, approved: Mapping[tuple[str, str], Values], name: str) -> Values | None:
    touched = row.state in (State.EDITED, State.APPROVED)
    if name == FIRST:
        return Values(row.author or FIRST, row.first_ef_percent, row.first_edv_ml, row.first_esv_ml)
    if name == CURRENT:
        return Values(row.by or "reader", row.ef_percent, row.edv_ml, row.esv_ml) if touched else None
    return approved.get((row.id, name))
