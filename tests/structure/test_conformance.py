"""The conformance page tells what the code does: hospitals decide by it."""

import re
from dataclasses import fields
from pathlib import Path

import pydicom
from pydicom.datadict import keyword_for_tag
from pydicom.sr._concepts_dict import concepts
from pydicom.sr.coding import Code
from pydicom.uid import UID

from cinesax.archive.answers import Fate, answer_of
from cinesax.core.structures import Chamber, Concept, Structure, chambers
from cinesax.dicom.read import header as dicom_header
from cinesax.dicom.write import options as dicom_options
from cinesax.dicom.write import seg as dicom_seg
from cinesax.dicom.write import sr as dicom_sr
from cinesax.dicom.write.filing import ObjectKind

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "conformance.md").read_text()

# Of DICOM 2024d; pydicom 3.0 does not know it yet.
NEWER = {"1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation Storage"}

# A code table row: | name | value | scheme | meaning | ... |
ROWS = {
    (value, scheme): meaning
    for value, scheme, meaning in re.findall(r"\| ([\d-]+) \| (LN|SCT|DCM|FMA) \| ([^|]+?) \|", PAGE)
}


def written_codes() -> dict[tuple[str, str], str]:
    codes = [one for module in (dicom_sr, dicom_seg) for one in vars(module).values() if isinstance(one, Code)]
    table = [one.facts.code for one in Structure]
    table += [value for one in chambers() for value in astuple_of(one) if isinstance(value, Concept)]
    written = {(one.value, one.scheme_designator): one.meaning for one in codes if one.scheme_designator != "UCUM"}
    return written | {(one.value, one.scheme): one.meaning for one in table}


def astuple_of(chamber: Chamber) -> list[object]:
    return [getattr(chamber, field.name) for field in fields(chamber)]


def test_every_code_that_is_written_is_named_with_its_meaning() -> None:
    written = written_codes()
    assert {key: written[key] for key in ROWS} == ROWS
    for value, scheme in set(written) - set(ROWS):
        assert re.search(rf"{scheme} {value}|TID 1004", PAGE), (value, scheme)
    for unit in ("ml", "%", "l/min", "g", "{H.B.}/min"):
        assert f"| {unit} |" in PAGE


def test_the_codes_mean_in_the_standard_what_they_are_written_for() -> None:
    for (value, scheme), meaning in written_codes().items():
        if scheme == "FMA":
            continue  # of the Foundational Model of Anatomy: no table of PS3.16 has the muscle
        # The tables of PS3.16, as pydicom has them: keyword -> {value: (meaning, context groups)}.
        named = {known[value][0] for known in concepts[scheme].values() if value in known}
        assert meaning in named, (value, scheme, meaning, named)


def test_every_attribute_that_is_read_is_named() -> None:
    named = set(re.findall(r"\b[A-Z][A-Za-z]+\b", PAGE))
    assert {keyword_for_tag(tag) for tag in dicom_header._TAGS} - {""} <= named
    private = {f"({tag >> 16:04X},{tag & 0xFFFF:04X})" for tag in dicom_header._TAGS if not keyword_for_tag(tag)}
    assert private <= set(re.findall(r"\([0-9A-F]{4},[0-9A-F]{4}\)", PAGE))


def test_names_of_objects_and_classes_are_those_of_the_standard() -> None:
    for name, uid in re.findall(r"\| ([A-Za-z ]+ Storage) \| ([\d.]+) \|", PAGE):
        assert NEWER.get(uid, UID(uid).name) == name
    assert set(dicom_options.DICOM_NAMES) <= set(re.findall(r"`(\w+\.dcm)`", PAGE))
    for kind in ObjectKind:
        assert f"{kind.series_number} ({kind.modality})" in PAGE


def test_transfer_syntaxes_are_those_of_the_standard() -> None:
    table = PAGE[PAGE.index("| transfer syntax | UID") : PAGE.index("### Image attributes used")]
    uids = [uid for row in re.findall(r"\| (1\.2\.840[\d.]+(?:, \.\d+)*) \|", table) for uid in expanded(row)]
    assert len(uids) == len(set(uids)) >= 16
    assert all(UID(uid).is_transfer_syntax for uid in uids)
    assert {str(one) for one in pydicom.uid.RLETransferSyntaxes + pydicom.uid.JPEGLSTransferSyntaxes} <= set(uids)


def expanded(row: str) -> list[str]:
    first, *more = row.split(", ")
    return [first, *(first.rpartition(".")[0] + one for one in more)]


def test_statuses_are_treated_as_told() -> None:
    def treated(status: int) -> tuple[Fate, bool]:
        answer = answer_of(status)
        return answer.fate, answer.again

    assert treated(0) == (Fate.TAKEN, False)
    assert {treated(status) for status in (1, 0x107, 0x116, *range(0xB000, 0xC000))} == {(Fate.TAKEN_CHANGED, False)}
    assert {treated(status) for status in (0x110, *range(0xA700, 0xA800))} == {(Fate.REFUSED, True)}
    others = set(range(1, 0x10000)) - {1, 0x107, 0x116, 0x110} - set(range(0xA700, 0xA800)) - set(range(0xB000, 0xC000))
    assert {treated(status) for status in others} == {(Fate.REFUSED, False)}
