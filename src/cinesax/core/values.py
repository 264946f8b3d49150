"""What all values with arrays share: an equality that gives a bool, and copies that stay frozen."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

_Number = TypeVar("_Number", bound=np.generic)


class ArrayValue:
    """Base of frozen dataclasses that hold arrays; they are declared with eq=False.

    `==` compares contents: arrays by shape and numbers, nan equal to nan. Like an array, such a value has no hash.
    Pickle and copy call the constructor with the fields, so that the copy is checked and frozen too: a plain pickle
    would give writable arrays.
    """

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return same(self, other) if type(other) is type(self) else NotImplemented

    def __reduce__(self) -> tuple[Any, ...]:
        held = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        # A mapping proxy (a read-only mapping) cannot be pickled.
        plain = {name: dict(value) if isinstance(value, MappingProxyType) else value for name, value in held.items()}
        return _construct, (type(self), plain)


def _construct(kind: type, held: dict[str, Any]) -> object:
    return kind(**held)


def same(one: object, other: object) -> bool:
    """Whether two values are equal: arrays by shape and numbers; mappings, tuples and dataclasses item by item.

    nan equals nan. Fields that a dataclass excludes from comparison are ignored.
    """
    if one is other:
        return True
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and _same_arrays(one, other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if is_dataclass(one) and type(one) is type(other):
        compared = [field.name for field in fields(one) if field.compare]
        return all(same(getattr(one, name), getattr(other, name)) for name in compared)
    if isinstance(one, float) and isinstance(other, float) and np.isnan(one):
        return bool(np.isnan(other))
    return bool(one == other)


def _same_arrays(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f" and other.dtype.kind == "f")


def frozen(array: NDArray[_Number]) -> NDArray[_Number]:
    """A read-only view of the array; the caller's own array stays writable."""
    view = array.view()
    view.setflags(write=False)
    return view
