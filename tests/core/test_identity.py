"""Patients are not named in texts that people type."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cinesax.core.cine import Patient
from cinesax.core.identity import identifying_texts, remove_texts


def without(text: str, **patient: str) -> str:
    return remove_texts(text, identifying_texts(Patient(**patient)))


@given(st.text(max_size=80), st.sampled_from(["Li^Na", "Doe^Jane", "O'Neil^A", "(x", "王^小东"]))
def test_removing_texts_never_fails_and_leaves_none(text: str, name: str) -> None:
    texts = identifying_texts(Patient(name=name))
    assert name not in remove_texts(f"{text} {name} {text}", texts).replace(text, "")


def test_words_that_only_look_like_short_names_stay() -> None:
    assert without("slices in a stack of In NA", name="In^Na") == "slices in a stack of [removed] [removed]"


@pytest.mark.parametrize(
    ("name", "text", "left"),
    [
        ("DOE^JANE^ANN", "SAX doe_jane", "SAX [removed]_[removed]"),
        ("DOE^JANE^ANN", "DoeJane SAX JANEDOE", "[removed] SAX [removed]"),
        ("DOE^JANE", "does janet", "does janet"),
        ("Müller^Jörg", "SAX MÜLLER Jorg muller", "SAX [removed] [removed] [removed]"),
        ("王^小东", "心脏王小东SAX", "心脏[removed]SAX"),
        ("王^小东", "小东 王 SAX", "[removed] [removed] SAX"),
        ("Yamada^Tarou=山田^太郎", "山田太郎 / TarouYamada", "[removed] / [removed]"),
        (
            "Müller-Groß^Hans-Peter",
            "MUELLER SAX Gross Peter Müller-Groß",
            "[removed] SAX [removed] [removed] [removed]",
        ),
        ("O'Neil^Ann^^Dr.", "Neil SAX ONeil", "[removed] SAX [removed]"),
    ],
)
def test_names_as_they_are_typed(name: str, text: str, left: str) -> None:
    assert without(text, name=name) == left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("PAT12345 SAX", "PAT[removed] SAX"),
        ("SAX_12345A", "SAX_[removed]A"),
        ("SAX 123456", "SAX 123456"),
        ("b19610203", "b[removed]"),
    ],
)
def test_numbers_of_patients_inside_of_words(text: str, left: str) -> None:
    assert without(text, patient_id="12345", birth_date="19610203") == left


@pytest.mark.parametrize(
    "typed", ["24.12.1951", "12/24/1951", "24-12-51", "1951.12.24", "24121951", "511224", "_1951_12_24"]
)
def test_birth_dates_as_they_are_typed(typed: str) -> None:
    left = "_[removed]" if typed.startswith("_") else "[removed]"
    assert without(f"SAX {typed} 2.5", birth_date="19511224") == f"SAX {left} 2.5"


def test_birth_dates_without_leading_zeros() -> None:
    assert without("geb. 3.2.1961, 13.2.1961", birth_date="19610203") == "geb. [removed], 13.2.1961"


@pytest.mark.parametrize("typed", ["PID777123", "PID 777123", "pid_777123", "777123"])
def test_patient_ids_as_they_are_typed(typed: str) -> None:
    assert "777123" not in without(f"cine {typed} SAX", patient_id="PID-777123")


def test_a_birth_date_that_is_unknown_removes_no_numbers() -> None:
    assert without("0000, 00.00.0000, 1.1.2024", birth_date="00000000") == "0000, 00.00.0000, 1.1.2024"


@pytest.mark.parametrize("uid", ["1.2.840.113619.2.176.4711", "2.25.329800735698586629295641978511506172918"])
def test_uids_of_both_kinds(uid: str) -> None:
    assert without(f"series {uid} of 1.25.3 mm") == "series [UID removed] of 1.25.3 mm"
