"""People in DICOM objects: who drew a structure, and who signed.

A contour counts as drawn by a person if its origin is "edited", or "interpolated" between such contours.
"""

import unicodedata
from enum import StrEnum

from cinesax.core.analysis import Analysis
from cinesax.core.errors import UsageError, printable
from cinesax.core.origins import Origin
from cinesax.core.structures import Structure

_LONGEST_NAME = 64
_TITLES = frozenset(("dr", "prof", "pd", "med"))
_DEGREES = frozenset(("md", "phd", "msc", "bsc", "do", "mbbs", "frcr", "frcp", "facc", "fesc", "fscmr", "jr", "sr"))
_PARTICLES = frozenset(
    "von van der den de del della di da dos das do du la le ten ter zu zum zur vom af av bin ibn al el".split()
)
_LETTERS = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "ø": "o", "Ø": "O"}
)


class Drawing(StrEnum):
    """How a structure was drawn: SegmentAlgorithmType and ROIGenerationAlgorithm have the same words."""

    AUTOMATIC = "AUTOMATIC"
    SEMIAUTOMATIC = "SEMIAUTOMATIC"
    MANUAL = "MANUAL"


def drawing_of(analysis: Analysis, structure: Structure) -> Drawing:
    """How a structure was drawn: by a network, by a person, or by a network and corrected by a person."""
    segmentation = analysis.segmentation
    if analysis.provenance.model is None and segmentation.author == "manual":
        return Drawing.MANUAL
    corrected = {
        key[1:]
        for key, drawn in segmentation.origins.items()
        if key[0] is structure
        and drawn.origin in (Origin.EDITED, Origin.INTERPOLATED)
        and drawn.by != segmentation.author
    }
    if not corrected:
        return Drawing.AUTOMATIC
    phases, slices = segmentation.labels.shape[:2]
    drawn = {
        (phase, place)
        for phase in range(phases)
        for place in range(slices)
        if segmentation.outline(structure, phase, place)
    }
    return Drawing.MANUAL if drawn <= corrected else Drawing.SEMIAUTOMATIC


def creator(analysis: Analysis) -> str | None:
    """ContentCreatorName: the person who signed, else the author of the last edit (by structure and frame)."""
    if analysis.approval is not None:
        return person_name(analysis.approval.by)
    people = [drawn.by for _, drawn in sorted(analysis.segmentation.origins.items()) if drawn.origin is Origin.EDITED]
    return person_name(people[-1]) if people else None


def person_name(typed: str) -> str:
    """A typed name as a DICOM name in ASCII, because objects have the character set of their source.

    "Dr. Änne Müller" becomes "Mueller^Aenne^^Dr.", and so does "Müller, Dr. Änne". The family name is what comes
    before a comma, else the last word with the particles before it ("von der Leyen"). Carets separate, as in DICOM.

    Raises:
        UsageError: a control character.
    """
    if any(unicodedata.category(letter) == "Cc" for letter in typed):
        raise UsageError(f"the name {printable(typed)} holds a control character: delete it")
    text = ascii_text(typed.replace("=", " "))
    if "^" in text:
        parts = [" ".join(part.replace(",", " ").split()) for part in text.split("^")]
        return _joined([*parts[:4], " ".join(parts[4:])])
    groups = [group.split() for group in text.split(",")]
    words = [word for group in groups for word in group]
    after = [word for group in groups[1:] for word in group]
    degrees = after if after and all(_plain(word) in _DEGREES for word in after) else []
    titles = [word for word in words if _plain(word) in _TITLES]
    family = [word for word in groups[0] if word not in titles]
    given = [word for word in after if word not in titles]
    if not family and not given:
        family, titles = words, []
    elif not family or not given or degrees:
        family, given = _split([*family, *([] if degrees else given)])
    return _joined([" ".join(part) for part in (family, given, [], titles, degrees)])


def _split(names: list[str]) -> tuple[list[str], list[str]]:
    """Family name and given names of a name without a comma."""
    first = len(names) - 1
    while first > 0 and names[first - 1] in _PARTICLES:
        first -= 1
    return names[first:], names[:first]


def _plain(word: str) -> str:
    return word.replace(".", "").lower()


def _joined(parts: list[str]) -> str:
    return "^".join(parts)[:_LONGEST_NAME].rstrip("^ ") or "Reader"


def ascii_text(text: str) -> str:
    """A text in ASCII, for a short string of an object: letters without accents, umlauts written out."""
    letters = unicodedata.normalize("NFKD", unicodedata.normalize("NFC", text).translate(_LETTERS))
    plain = letters.encode("ascii", "ignore").decode().replace("\\", " ")
    return "".join(letter for letter in plain if letter.isprintable()).strip()[:_LONGEST_NAME]
