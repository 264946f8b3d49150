"""Findings: facts as fields, and the sentence that is made of them."""

import copy
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

import cinesax
from cinesax.core.findings import Code, Facts, Finding, Severity

SOURCE = Path(cinesax.__file__).parent


def unreadable() -> Finding:
    return Finding(
        Code.UNREADABLE_FILE,
        Severity.WARNING,
        "{unreadable} file(s) of {series} were left out, {part:.1f} %",
        slice=3,
        numbers={"unreadable": np.int64(2), "part": np.float32(12.25)},
        files=("a/one.dcm", "two.dcm"),
        texts={"series": "7 'SAX'"},
    )


def test_the_sentence_is_made_from_the_facts_and_names_no_file() -> None:
    assert unreadable().message == "2 file(s) of 7 'SAX' were left out, 12.2 %"
    assert str(unreadable()) == (
        "warning: 2 file(s) of 7 'SAX' were left out, 12.2 %, the first is a/one.dcm (slice 3)"
    )


def test_numbers_are_plain_and_stay_as_they_are() -> None:
    numbers = {"count": np.int64(2)}
    finding = Finding(Code.VOLUME_JUMP, Severity.NOTE, "{count}", numbers=numbers)
    numbers["count"] = 3
    assert dict(finding.numbers) == {"count": 2} and type(finding.numbers["count"]) is int
    assert {type(one) for one in unreadable().numbers.values()} == {int, float}
    with pytest.raises(TypeError):
        finding.numbers["count"] = 3  # type: ignore[index]


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_findings_travel(copied) -> None:
    finding = unreadable()
    assert copied(finding) == finding and hash(copied(finding)) == hash(finding)
    assert copied(finding).texts == finding.texts
    assert isinstance(copied(finding).numbers, Facts)


def test_those_that_say_the_same_of_the_same_are_equal() -> None:
    said = Finding(Code.RULES_OFF, Severity.NOTE, "{count} frames", numbers={"count": 2})
    assert said == Finding(Code.RULES_OFF, Severity.NOTE, "2 frames", numbers={"count": 2})
    assert said != Finding(Code.RULES_OFF, Severity.NOTE, "{count} frames", numbers={"count": 3})
    assert said != Finding(Code.RULES_OFF, Severity.NOTE, "2 frames")


def test_a_name_stands_for_one_fact() -> None:
    with pytest.raises(ValueError, match="have the same name: series"):
        Finding(Code.RULES_OFF, Severity.NOTE, "{series}", numbers={"series": 1}, texts={"series": "7"})


def test_braces_around_anything_else_stay() -> None:
    assert Finding(Code.RULES_OFF, Severity.NOTE, "in {curly} {} braces {").message == "in {curly} {} braces {"
    texts = {"series": "{count} {series} {0}"}
    assert Finding(Code.RULES_OFF, Severity.NOTE, "{series}", texts=texts).message == "{count} {series} {0}"


def test_no_message_is_asked_what_it_is_about() -> None:
    """Nothing in the package compares, searches or cuts a finding's message."""
    decided = re.compile(r"(\bin \w+\.message\b|\.message\s*(==|!=)|\.message\.\w+\(|\bre\.\w+\([^)\n]*\.message\b)")
    places = [
        f"{path.name}: {line.strip()}"
        for path in SOURCE.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if decided.search(line)
    ]
    assert places == []
