"""Two readings of an exam, slice by slice; and first against present values over the worklist."""

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
    """One slice by two readings; Dice of the cavity."""

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
    one, other = shown.numbers_of(a.measurements), shown.numbers_of(b.measurements)
    slices = [
        ComparedSlice(
            place,
            _ml(one, one.ed_phase, place),
            _ml(other, other.ed_phase, place),
            _ml(one, one.es_phase, place),
            _ml(other, other.es_phase, place),
            _dice(a, b, (one.ed_phase, other.ed_phase), place),
            _dice(a, b, (one.es_phase, other.es_phase), place),
        )
        for place in range(a.cine.n_slices)
    ]
    return Compared(Side(names[0], one), Side(names[1], other), slices)


def _ml(numbers: shown.Numbers, phase: int | None, place: int) -> float | None:
    return None if phase is None or numbers.slice_ml is None else numbers.slice_ml[phase][place]


def _dice(a: Analysis, b: Analysis, phases: tuple[int | None, int | None], place: int) -> float | None:
    """Dice of the cavity in one slice; None where neither has any."""
    first, second = phases
    if first is None or second is None:
        return None
    one = _cavity(a.segmentation, first, place)
    other = _cavity(b.segmentation, second, place)
    total = int(one.sum()) + int(other.sum())
    return None if total == 0 else float(2 * (one & other).sum() / total)


def _cavity(segmentation: Segmentation, phase: int, place: int) -> NDArray[np.bool_]:
    return np.isin(segmentation.labels[phase, place], segmentation.counted_as(Structure.CAVITY))


class Values(Struct, frozen=True):
    """The main numbers of one reading."""

    by: str
    ef_percent: float | None
    edv_ml: float | None
    esv_ml: float | None


class Pair(Struct, frozen=True):
    """An exam, by two readings."""

    id: str
    name: str
    a: Values
    b: Values


FIRST, CURRENT = "first", "current"
"""Names that stand for the values before any edit, and for the present ones; any other is a reader's."""


def readers(signed: list[SignedValues]) -> list[str]:
    """Who has approved anything."""
    return sorted({one.by for one in signed})


def pairs(rows: list[ExamRow], signed: list[SignedValues], names: tuple[str, str]) -> list[Pair]:
    """Every exam that two readers have values of, for a Bland-Altman plot.

    Args:
        rows: the exams.
        signed: what was approved; of one reader and exam the last counts.
        names: the two readers; see FIRST and CURRENT.
    """
    approved = {(one.exam, one.by): Values(one.by, one.ef_percent, one.edv_ml, one.esv_ml) for one in signed}
    found = []
    for row in rows:
        a, b = (_values(row, approved, name) for name in names)
        if a is not None and b is not None:
            found.append(Pair(row.id, name_of(row), a, b))
    return found


def _values(row: ExamRow, approved: Mapping[tuple[str, str], Values], name: str) -> Values | None:
    touched = row.state in (State.EDITED, State.APPROVED)
    if name == FIRST:
        return Values(row.author or FIRST, row.first_ef_percent, row.first_edv_ml, row.first_esv_ml)
    if name == CURRENT:
        return Values(row.by or "reader", row.ef_percent, row.edv_ml, row.esv_ml) if touched else None
    return approved.get((row.id, name))
