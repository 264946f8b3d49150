"""What the numbers mean with which archives answer: DIMSE statuses and the failure reasons of STOW-RS alike."""

from cinesax.archive.deliver import Answer, Fate

# PS3.4 annex B.2.3 (Storage), PS3.7 annex C, PS3.18 table 10.5.3-2 (store response).
_MEANINGS = (
    (0x0110, 0x0110, "processing failure"),
    (0x0117, 0x0117, "invalid SOP instance"),
    (0x0122, 0x0122, "the archive does not take this SOP class"),
    (0x0124, 0x0124, "not authorised"),
    (0xA700, 0xA7FF, "the archive is out of resources"),
    (0xA900, 0xA9FF, "the object does not match its SOP class"),
    (0xB000, 0xB000, "elements were changed"),
    (0xB006, 0xB006, "elements were discarded"),
    (0xB007, 0xB007, "the object does not match its SOP class"),
    (0xC122, 0xC122, "the archive does not take this transfer syntax"),
    (0xC000, 0xCFFF, "the archive cannot understand the object"),
)
_TAKEN = 0x0000
_WARNINGS = (0x0001, 0x0107, 0x0116)


def answer_of(status: int, comment: str = "") -> Answer:
    """What a status says of the object that was sent.

    Args:
        status: 0 to 0xFFFF.
        comment: what the archive says besides.
    """
    if status == _TAKEN:
        return Answer(Fate.TAKEN)
    meaning = next((text for low, high, text in _MEANINGS if low <= status <= high), "failed")
    reason = f"0x{status:04X}, {meaning}" + (f" ({comment})" if comment else "")
    if status in _WARNINGS or status >> 12 == 0xB:
        return Answer(Fate.TAKEN_CHANGED, reason)
    return Answer(Fate.REFUSED, reason, again=status == 0x0110 or status >> 8 == 0xA7)
