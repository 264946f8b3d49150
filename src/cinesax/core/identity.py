"""What identifies a patient, and how it is removed from free text."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from cinesax.core.cine import Patient

_UID = re.compile(r"\b(?:\d+(?:\.\d+){5,}|2\.25\.\d{6,})\b")
# A shorter number may just as well be a count of slices.
_DISTINCT_NUMBER = 4
_WRITTEN_OUT = {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "æ": "ae", "ø": "oe", "å": "aa"}
_WRITTEN_OUT |= {letter.upper(): text.capitalize() for letter, text in _WRITTEN_OUT.items() if letter != "ß"}


@dataclass(frozen=True, slots=True)
class Identifiers:
    """Everything in an exam that identifies the patient, except name, ID and birth date; texts as stored.

    Attributes:
        names: of the patient and of other people, with "^" between their parts.
        ids: of the patient, the study, the visit.
        dates: YYYYMMDD.
    """

    names: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()


def identifying_texts(patient: Patient, others: Identifiers | None = None) -> tuple[str, ...]:
    """Texts that must not appear inside any other text: name, its parts, patient ID, birth date; longest first.

    This includes the parts of a name joined ("DoeJane", "JaneDoe"), without accents, and with umlauts written out
    ("Mueller"); the ID without punctuation, and its long numbers; the birth date in all usual formats.
    """
    others = others or Identifiers()
    texts = _spelled_ids(patient.patient_id or "")
    # An accession number of "3" identifies nobody, and 3 may be a number of slices.
    texts |= {text for number in others.ids if len(number) >= _DISTINCT_NUMBER for text in _spelled_ids(number)}
    for date in (patient.birth_date or "", *others.dates):
        texts |= _spelled_dates(date)
    for name in (patient.name or "", *others.names):
        texts |= {name, *(text for group in name.split("=") for text in _spelled_names(group))}
    texts |= {spell(text) for text in texts if text for spell in (_without_accents, _written_out)}
    return tuple(sorted((text for text in texts if text and _is_distinct(text)), key=lambda text: (-len(text), text)))


def _spelled_names(group: str) -> set[str]:
    parts = [part for part in re.split(r"[\^\s,]+", group) if part]
    joined = {"".join(parts), "".join(reversed(parts)), "".join(parts[:2]), "".join(parts[1::-1])}
    halves = {half for part in parts for half in (*re.split(r"[\W_]+", part), re.sub(r"[\W_]+", "", part))}
    return {*parts, *joined, *halves}


def _spelled_ids(patient_id: str) -> set[str]:
    pieces = [piece for piece in re.split(r"[\W_]+", patient_id) if piece]
    numbers = {number for number in re.findall(r"\d+", patient_id) if len(number) > _DISTINCT_NUMBER}
    return {patient_id, *(sign.join(pieces) for sign in ("", " ", "-", "_", ".", "/")), *numbers}


def _spelled_dates(date: str) -> set[str]:
    if not re.fullmatch(r"[1-9]\d{3}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])", date):
        return {date}
    texts = set()
    for year in (date[:4], date[2:4]):
        for month, day in ((date[4:6], date[6:]), (date[4:6].lstrip("0"), date[6:].lstrip("0"))):
            orders = ((year, month, day), (day, month, year), (month, day, year))
            signs = ("-", ".", "/", "_", " ") if len(month + day) < 4 else ("", "-", ".", "/", "_", " ")
            texts |= {sign.join(order) for order in orders for sign in signs}
    return texts


def _written_out(text: str) -> str:
    return _without_accents("".join(_WRITTEN_OUT.get(letter, letter) for letter in unicodedata.normalize("NFC", text)))


def _without_accents(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text)
    return unicodedata.normalize("NFC", "".join(letter for letter in letters if not unicodedata.combining(letter)))


def _is_distinct(text: str) -> bool:
    # A single letter (an initial) would remove words such as "a".
    return len(text) >= 2 or _is_wide(text)


def _is_wide(text: str) -> bool:
    """Whether the text is Chinese, Japanese or Korean: one character can be a name, and words are not separated."""
    return any(unicodedata.east_asian_width(letter) in "WF" for letter in text)


def remove_texts(text: str, identifying: Iterable[str]) -> str:
    """The text with every UID and every identifying text replaced."""
    return remove_names(_UID.sub("[UID removed]", text), identifying)


def remove_names(text: str, identifying: Iterable[str]) -> str:
    """The text with every identifying text replaced: whole words, in upper or lower case.

    Two-letter names are replaced only if capitalised: "In" is a name, "in" is not. A number (a patient ID, a birth
    date) is also replaced directly next to letters.
    """
    for word in identifying:
        spelled = re.escape(word) if len(word) != 2 else f"{re.escape(word.upper())}|{re.escape(word.capitalize())}"
        flags = re.IGNORECASE if len(word) != 2 else re.NOFLAG
        before, after = _borders(word)
        text = re.sub(rf"{before}(?:{spelled}){after}", "[removed]", text, flags=flags)
    return text


def _borders(word: str) -> tuple[str, str]:
    """Patterns of what may not come directly before and after the text."""
    if _is_wide(word):
        return "", ""
    if re.fullmatch(r"[\d./_ -]+", word) and len(word) >= _DISTINCT_NUMBER:
        return r"(?<!\d)", r"(?!\d)"
    return r"(?<![^\W_])", r"(?![^\W_])"
