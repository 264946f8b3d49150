"""What the worklist shows of a result: its numbers, what to doubt, and what is expected of the network that drew it.

The page of an exam shows the latter too.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from cinesax.core.analysis import Analysis, Trust
from cinesax.core.cine import Patient
from cinesax.core.errors import InputError
from cinesax.core.findings import Code, Severity
from cinesax.core.identity import identifying_texts, remove_texts
from cinesax.reader.shown import finite
from cinesax.reader.store.database import Shown, State, Store
from cinesax.results import tables
from cinesax.results.write import JSON_NAME

_MOST_DOUBTS = 8
_NOTHING_EXPECTED = "null"
_DAMAGED = (InputError, KeyError, TypeError, ValueError, AttributeError, msgspec.MsgspecError)

Doubt = tuple[str, Severity, str]
"""Code, severity and message of a finding."""


class Expected(Struct, frozen=True):
    """What is expected of the network on an exam: see `cinesax.core.analysis.Trust`.

    Attributes:
        dice: the predicted Dice.
        ef_low_percent: lower end of the interval for EF; None if there is no EF.
        ef_high_percent: upper end.
        level: the share of such exams whose true EF lies in the interval.
        reasons: why more error than usual is expected, in words; [] if nothing stands out.
        low: whether there is a finding about it.
    """

    dice: float
    ef_low_percent: float | None
    ef_high_percent: float | None
    level: float
    reasons: list[str]
    low: bool


def listed(analysis: Analysis) -> Shown:
    """What the worklist shows of an analysis."""
    m = analysis.measurements
    findings = [(finding.code.value, finding.severity, finding.message) for finding in analysis.findings]
    return _listed((m.ef_percent, m.edv_ml, m.esv_ml), findings, analysis.trust)


def expected(analysis: Analysis) -> Expected | None:
    """What is expected of the network on an exam, as worklist and page show it; None if nothing is expected."""
    trust = analysis.trust
    return None if trust is None else _expected(trust, low=any(f.code is Code.LOW_TRUST for f in analysis.findings))


def _listed(
    numbers: tuple[float | None, float | None, float | None], findings: Iterable[Doubt], trust: Trust | None
) -> Shown:
    """The same from numbers (EF, EDV, ESV), findings and trust; errors come first."""
    order = (Severity.ERROR, Severity.WARNING, Severity.NOTE)
    ordered = sorted(findings, key=lambda finding: order.index(finding[1]))
    errors, warnings, notes = (sum(severity is level for _, severity, _ in ordered) for level in order)
    low = any(code == Code.LOW_TRUST for code, _, _ in ordered)
    # The page has a place of its own for what the finding about trust says.
    apart = {Code.LOW_TRUST.value} if trust is not None else set()
    doubts = [said for code, severity, said in ordered if severity is not Severity.NOTE and code not in apart]
    ef, edv, esv = (finite(value) for value in numbers)
    return Shown(
        ef,
        edv,
        esv,
        errors,
        warnings,
        notes,
        msgspec.json.encode(doubts[:_MOST_DOUBTS]).decode(),
        None if trust is None else trust.ef_error_points,
        _NOTHING_EXPECTED if trust is None else msgspec.json.encode(_expected(trust, low=low)).decode(),
    )


def _expected(trust: Trust, *, low: bool) -> Expected:
    reasons = [reason.words for reason in trust.reasons]
    return Expected(trust.dice, trust.ef_low_percent, trust.ef_high_percent, trust.level, reasons, low)


def expected_of(stored: str | None) -> Expected | None:
    """What a store holds in its column `trust`; None if nothing is expected, or if that is not known yet."""
    return None if stored is None else msgspec.json.decode(stored, type=Expected | None)


def take_numbers(store: Store, exam: str, folder: Path) -> None:
    """Fill in what the worklist shows of existing results: from analysis.json, without opening the exam."""
    try:
        content = tables.read_json(folder / JSON_NAME)
        shown, model = _read(content), content["model"] or {}
        author, pixels = str(content["segmentation"]["author"]), str(content["exam"]["pixels_sha256"])
        checksum = model.get("sha256")
    except _DAMAGED as error:
        store.set_fields(exam, state=State.FAILED, error=f"{folder / JSON_NAME} cannot be read back: {error}")
        return
    store.set_fields(exam, **first_fields(shown, author), pixels_sha256=pixels, model_sha256=checksum)


def _read(content: Mapping[str, Any]) -> Shown:
    m, named = content["measurements"], content["patient"]
    patient = Patient(named.get("name"), named.get("patient_id"), named.get("birth_date"))
    texts = identifying_texts(patient)
    findings = [
        (str(f["code"]), Severity(f["severity"]), remove_texts(str(f["message"]), texts)) for f in content["findings"]
    ]
    trust = msgspec.convert(content.get("trust"), type=Trust | None)
    shown = _listed((m["ef_percent"], m["edv_ml"], m["esv_ml"]), findings, trust)
    expected_of(shown.trust)  # a file may hold NaN, which the page could not read
    return shown


def first_fields(shown: Shown, author: str) -> dict[str, object]:
    """The columns of the store for the first measurement."""
    values = asdict(shown)
    return {
        **values,
        **{f"first_{name}": values[name] for name in ("ef_percent", "edv_ml", "esv_ml")},
        "author": author,
    }


def complete(store: Store) -> None:
    """Bring exams of an earlier version's store up to date, which does not have what is expected of the network.

    It is in the results from which each exam began. Nothing is expected of what a person has changed.
    """
    for row in store.exams():
        if row.trust is not None or row.results is None:
            continue
        try:
            shown = None if row.applied else _read(tables.read_json(Path(row.results) / JSON_NAME))
        except _DAMAGED:
            shown = None  # opening the exam says why
        if shown is None:
            store.complete(row.id, trust=_NOTHING_EXPECTED)
        else:
            store.complete(row.id, trust=shown.trust, ef_error_points=shown.ef_error_points, doubts=shown.doubts)
