"""The instrument for redcap_import.csv: REDCap imports a data dictionary first, then data."""

import csv
from collections.abc import Sequence
from pathlib import Path

from cinesax.cohort.columns import Column, Type
from cinesax.files.stored_files import replacing

_MOST_LETTERS = 100
_HEAD = (
    "Variable / Field Name",
    "Form Name",
    "Section Header",
    "Field Type",
    "Field Label",
    "Choices, Calculations, OR Slider Labels",
    "Field Note",
    "Text Validation Type OR Show Slider Number",
    "Text Validation Min",
    "Text Validation Max",
    "Identifier?",
    "Branching Logic (Show field only if...)",
    "Required Field?",
    "Custom Alignment",
    "Question Number (surveys only)",
    "Matrix Group Name",
    "Matrix Ranking?",
    "Field Annotation",
)
_TYPES = {Type.TEXT: "", Type.WHOLE: "integer", Type.NUMBER: "number"}


def redcap_names(columns: Sequence[Column]) -> list[str]:
    """Names of the columns that REDCap accepts, each once; the first one, the exam, is record_id.

    Columns of lists, such as `id#1` and `id_1`, may become one name: later ones get _2, _3 and so on.
    """
    names = {"record_id": None}
    for column in columns[1:]:
        plain = _plain(column.name)
        name, number = plain, 1
        while name in names:
            number += 1
            ending = f"_{number}"
            name = plain[: _MOST_LETTERS - len(ending)].rstrip("_") + ending
        names[name] = None
    return list(names)


def _plain(name: str) -> str:
    """A name that REDCap accepts: lower case, digits and underscores, a letter first, at most 100 characters."""
    plain = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name.lower()).strip("_")
    plain = plain or "column"
    return (plain if plain[0].isalpha() else f"c_{plain}")[:_MOST_LETTERS].rstrip("_")


def write_redcap_dictionary(path: Path, columns: Sequence[Column]) -> None:
    """Write the data dictionary.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_HEAD)
        for name, column in zip(redcap_names(columns), columns, strict=True):
            label = column.meaning + (f" ({column.unit})" if column.unit else "")
            line = [name, "cinesax", "", "text", label, "", column.name, _TYPES[column.type]]
            writer.writerow([*line, *[""] * (len(_HEAD) - len(line))])
