"""The base of all values with arrays: `==` gives one bool, and copies stay frozen."""

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


def same(first: object, second: object) -> bool:
    """Whether two values are equal: arrays by shape and numbers; mappings, tuples and dataclasses item by item.

    nan equals nan. Fields that a dataclass excludes from comparison are ignored.
    """
    if first is second:
        return True
    if isinstance(first, np.ndarray) or isinstance(second, np.ndarray):
        return isinstance(first, np.ndarray) and isinstance(second, np.ndarray) and _same_arrays(first, second)
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(same(value, second[key]) for key, value in first.items())
    if isinstance(first, tuple) and isinstance(second, tuple):
        return len(first) == len(second) and all(map(same, first, second))
    if is_dataclass(first) and type(first) is type(second):
        compared = [field.name for field in fields(first) if field.compare]
        return all(same(getattr(first, name), getattr(second, name)) for name in compared)
    if isinstance(first, float) and isinstance(second, float) and np.isnan(first):
        return bool(np.isnan(second))
    return bool(first == second)


def _same_arrays(first: NDArray[Any], second: NDArray[Any]) -> bool:
    # equal_nan fails for text, which has no nan.
    return np.array_equal(first, second, equal_nan=first.dtype.kind == "f" and second.dtype.kind == "f")


def frozen(array: NDArray[_Number]) -> NDArray[_Number]:
    """A read-only view of the array; the caller's own array stays writable."""
    view = array.view()
    view.setflags(write=False)
    return view
