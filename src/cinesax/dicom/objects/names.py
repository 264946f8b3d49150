"""Which structure a segment or region of interest is, by its code and its name."""

import re

from cinesax.core.structures import Structure

# Type of a segment or region -> structure, in SNOMED CT and in SNOMED RT before it.
_CODES = {code: entry for entry in Structure for code in (entry.facts.code.value, *entry.facts.older_codes)}
_WORDS = {entry.facts.words.lower(): entry for entry in Structure}
_OTHER = re.compile(r"atri(um|al)|septum|scar|fat\b", re.IGNORECASE)
_RIGHT = re.compile(r"\bright\b|\brv", re.IGNORECASE)
# On the right side only the cavity is read: not its wall, insertion points or tracts.
_RV_CAVITY = re.compile(r"ventric|\brv(\b|c|endo)|cavity|pool|endo", re.IGNORECASE)
_PART_OF_RV = re.compile(r"insert|point|outflow|inflow|tract|papillar|\bpap\b", re.IGNORECASE)
_PAPILLARY = re.compile(r"papillar|\bpap\b", re.IGNORECASE)
_CAVITY_TOLD = re.compile(r"cavity|pool|endo|incl|excl|with|w/o|\bno\b|minus", re.IGNORECASE)
_MYOCARDIUM = re.compile(r"myoc|\bmyo\b|lvm\b|\bwall\b|epicardi|\bepi\b", re.IGNORECASE)
_CAVITY = re.compile(r"cavity|blood.?pool|\blv|left.?ventric|ventric\w*.left|endocardi|\bendo\b", re.IGNORECASE)


def structure_of(name: str, code: str = "") -> Structure | None:
    """The structure for a name and a code value; None if it is not one that cinesax measures.

    A name that is more specific than the code wins: many a myocardium has the code of the left ventricle.

    Args:
        name: SegmentLabel or ROIName; underscores separate words.
        code: code value of the type, or "".
    """
    label = name.replace("_", " ")
    if label.strip().lower() in _WORDS:
        return _WORDS[label.strip().lower()]
    if _OTHER.search(label):
        return None
    if _RIGHT.search(label):
        whole = _RV_CAVITY.search(label) and not _MYOCARDIUM.search(label) and not _PART_OF_RV.search(label)
        return Structure.RV_CAVITY if whole else None
    if is_papillary_muscle(label):
        return Structure.PAPILLARY_MUSCLES
    if _MYOCARDIUM.search(label):
        return Structure.MYOCARDIUM
    return _CODES.get(code) or (Structure.CAVITY if _CAVITY.search(label) else None)


def names_papillary_muscles(label: str) -> bool:
    """Whether a name mentions the papillary muscles."""
    return _PAPILLARY.search(label) is not None


def is_papillary_muscle(label: str) -> bool:
    """Whether a segment is the papillary muscles themselves, not a cavity with or without them."""
    return names_papillary_muscles(label) and _CAVITY_TOLD.search(label) is None
