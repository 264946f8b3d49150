"""JSON files as types."""

import msgspec
import pytest

from cinesax.files.typed_json import Json, JsonObject, parse, plain, text_of


class Inner(msgspec.Struct, frozen=True, omit_defaults=True):
    names: tuple[str, ...] = ()
    other: JsonObject | None = None


class Outer(msgspec.Struct, frozen=True):
    channels: dict[int, str]
    inner: Inner
    free: Json = None


def test_there_and_back():
    text = '{"channels": {"1": "A"}, "inner": {"names": ["x"], "other": {"deep": [1, null, {"b": 2.5}]}}, "free": [1]}'
    read = parse(text, Outer)
    assert read == Outer({1: "A"}, Inner(("x",), {"deep": [1, None, {"b": 2.5}]}), [1])
    assert parse(text_of(read), Outer) == read
    assert plain(Inner(("x",))) == {"names": ["x"]}
    assert plain(Outer({}, Inner())) == {"channels": {}, "inner": {}, "free": None}


def test_keys_of_other_versions_are_left_out():
    assert parse('{"channels": {}, "inner": {"later": 1}, "later": 2}', Outer) == Outer({}, Inner())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Expecting"),
        ("[]", "Expected `object`, got `array`"),
        ('{"channels": {}}', "missing required field `inner`"),
        ('{"channels": {"x": "A"}, "inner": {}}', "Expected `int`, got `str`"),
        ('{"channels": {}, "inner": {"names": [1]}}', r"Expected `str`, got `int` - at `\$.inner.names\[0\]`"),
    ],
)
def test_what_does_not_fit_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text, Outer)
