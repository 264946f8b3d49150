"""People in DICOM objects: who drew a structure, and who signed.

A contour counts as drawn by a person if its origin is "edited", or "interpolated" between such contours.
"""

import unicodedata
from enum import StrEnum

from cinesax.core.analysis import Analysis
from cinesax.core.origins import Origin
from cinesax.core.structures import Structure

_LONGEST_NAME = 64
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

    "Dr. Änne Müller" becomes "Mueller^Aenne^^Dr.": the last word is the family name, unless there are carets already.
    """
    text = ascii_text(typed.replace("=", " "))
    if "^" in text:
        return text[:_LONGEST_NAME]
    words = text.split()
    titles = [word for word in words if word.rstrip(".").lower() in ("dr", "prof", "pd", "med")]
    names = [word for word in words if word not in titles] or words
    if not names:
        return "Reader"
    parts = [names[-1], " ".join(names[:-1]), "", " ".join(titles) if names != words else ""]
    return "^".join(parts).rstrip("^")[:_LONGEST_NAME]


def ascii_text(text: str) -> str:
    """A text in ASCII, for a short string of an object: letters without accents, umlauts written out."""
    letters = unicodedata.normalize("NFKD", unicodedata.normalize("NFC", text).translate(_LETTERS))
    plain = letters.encode("ascii", "ignore").decode().replace("\\", " ")
    return "".join(letter for letter in plain if letter.isprintable()).strip()[:_LONGEST_NAME]
