"""What tells who a patient is, and how it is kept out of texts that people type."""

import re
import unicodedata
from collections.abc import Iterable

from cinesax.cine import Patient

_UID = re.compile(r"\b(?:\d+(?:\.\d+){5,}|2\.25\.\d{6,})\b")
# Shorter numbers are as likely a count of slices as a part of a longer word.
_DISTINCT_NUMBER = 4


def identifying_texts(patient: Patient) -> tuple[str, ...]:
    """What must not appear inside any other text: the name, its parts, patient ID and birth date; longest first.

    The parts of a name also count joined ("DoeJane", "JaneDoe"), and without their accents.
    """
    texts = {patient.name, patient.patient_id}
    for group in (patient.name or "").split("="):
        parts = [part for part in re.split(r"[\^\s,]+", group) if part]
        texts |= {*parts, "".join(parts), "".join(reversed(parts)), "".join(parts[:2]), "".join(parts[1::-1])}
    date = patient.birth_date or ""
    texts |= {date, f"{date[:4]}-{date[4:6]}-{date[6:]}"} if len(date) == 8 else {date}
    texts |= {_without_accents(text) for text in texts if text}
    return tuple(sorted((text for text in texts if text and _tells(text)), key=lambda text: (-len(text), text)))


def _without_accents(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text)
    return unicodedata.normalize("NFC", "".join(one for one in letters if not unicodedata.combining(one)))


def _tells(text: str) -> bool:
    return len(text) >= 2 or _is_wide(text)


def _is_wide(text: str) -> bool:
    """Whether it is Chinese, Japanese or Korean: one sign can be a name, and nothing stands between words."""
    return any(unicodedata.east_asian_width(letter) in "WF" for letter in text)


def remove_texts(text: str, identifying: Iterable[str]) -> str:
    """The text with every UID and every identifying text in it replaced."""
    return remove_names(_UID.sub("[UID removed]", text), identifying)


def remove_names(text: str, identifying: Iterable[str]) -> str:
    """The text with every identifying text in it replaced: whole words, in any case.

    Those of two letters are replaced where capitals mark them as names: "In" is a name, "in" is not. A number (of a
    patient, of a birth date) is replaced behind and before letters too.
    """
    for word in identifying:
        spelled = re.escape(word) if len(word) != 2 else f"{re.escape(word.upper())}|{re.escape(word.capitalize())}"
        flags = re.IGNORECASE if len(word) != 2 else re.NOFLAG
        before, after = _borders(word)
        text = re.sub(rf"{before}(?:{spelled}){after}", "[removed]", text, flags=flags)
    return text


def _borders(word: str) -> tuple[str, str]:
    """Patterns of what may not stand before and after it."""
    if _is_wide(word):
        return "", ""
    if word.isdecimal() and len(word) >= _DISTINCT_NUMBER:
        return r"(?<!\d)", r"(?!\d)"
    return r"(?<![^\W_])", r"(?![^\W_])"
