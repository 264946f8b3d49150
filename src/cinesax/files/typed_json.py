"""JSON files as types: parsed once, checked whole, and written from the type again.

A type is a frozen msgspec.Struct or dataclass whose fields are the keys of the file. Keys that it does not have are
left out, so that files of other versions are read; a value of another type, or one that is absent and has no default,
is an error that names its place. What no type knows (settings of another room, scores that a user wrote) is Json.
"""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import msgspec

if TYPE_CHECKING:
    Json: TypeAlias = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]
else:
    # msgspec cannot parse a type that holds itself; as Any it takes whatever JSON holds.
    Json = Any

JsonObject: TypeAlias = Mapping[str, Json]
T = TypeVar("T")


def parse(text: str, kind: type[T]) -> T:
    """What a file holds.

    Raises:
        ValueError: no JSON, or not what the type says; a text for a person.
    """
    return typed(json.loads(text), kind)


def typed(value: object, kind: type[T]) -> T:
    """Plain values, as JSON holds them, as a type.

    Raises:
        ValueError: they are not what the type says; a text for a person.
    """
    try:
        return msgspec.convert(value, kind, str_keys=True)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None


def plain(record: object) -> dict[str, Json]:
    """The plain values of a record, as JSON gives them back (lists, no tuples), in the order of its fields."""
    values = json.loads(text_of(record))
    if not isinstance(values, dict):
        raise TypeError(f"a record has fields, seen {type(record).__name__}")
    return values


def text_of(record: object) -> str:
    """A record as the text of a JSON file."""
    return json.dumps(msgspec.to_builtins(record, str_keys=True), indent=1) + "\n"
