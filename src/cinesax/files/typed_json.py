"""JSON files as types: parsed and checked once, and written from the same type.

A type is a frozen msgspec.Struct or dataclass whose fields are the keys of the file. Unknown keys are ignored, so that
files of other versions can be read; a value of the wrong type, or a missing value without default, is an error that
names its place. Values without a type (settings of another room, a user's scores) are Json.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import msgspec

if TYPE_CHECKING:
    Json: TypeAlias = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]
else:
    # msgspec cannot parse a recursive type; as Any it accepts all JSON values.
    Json = Any

JsonObject: TypeAlias = Mapping[str, Json]
T = TypeVar("T")


def parse(text: str, kind: type[T]) -> T:
    """The content of a file, as a type.

    Raises:
        ValueError: the file is not JSON or does not match the type, with a readable message.
    """
    return typed(json.loads(text), kind)


def typed(value: object, kind: type[T], others: Mapping[type, Callable[[JsonObject], object]] = {}) -> T:
    """Plain JSON values, as a type.

    Args:
        value: what `json.loads` gives.
        kind: the type.
        others: parsers of field types that msgspec does not know, such as one of several configs by name.

    Raises:
        ValueError: the values do not match the type, with a readable message.
    """
    try:
        return msgspec.convert(value, kind, str_keys=True, dec_hook=lambda of, held: others[of](held))
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None


def plain(record: object) -> dict[str, Json]:
    """The plain values of a record as JSON returns them (lists, not tuples), in the order of its fields."""
    values = json.loads(text_of(record))
    if not isinstance(values, dict):
        raise TypeError(f"a record has fields, seen {type(record).__name__}")
    return values


def text_of(record: object) -> str:
    """A record as the text of a JSON file."""
    return json.dumps(msgspec.to_builtins(record, str_keys=True), indent=1) + "\n"
