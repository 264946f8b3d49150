"""--set key=value: typed overrides of a config, at any depth."""

import difflib
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from cinesax.core.errors import UsageError

Config = TypeVar("Config")

_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_ONE = {int: "a whole number", float: "a number", str: "a name"}
_SEVERAL = {int: "whole numbers", float: "numbers", str: "names"}


def override(config: Config, settings: Sequence[str]) -> Config:
    """A config with some values replaced.

    Args:
        config: a frozen dataclass, possibly nested.
        settings: "key=value"; keys of nested fields have dots: "pipeline.batch=4", "model.channels=16,32". The
            field's type says how its value is read: numbers, true or false, names of enums, lists with commas, none.

    Returns:
        A new config. Its own checks run after all values are replaced.

    Raises:
        UsageError: no such key, or a value of another type; the message lists valid keys or values.
    """
    tree: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set {setting}: expected key=value, such as learning_rate=0.001")
        _plant(tree, key.strip().split("."), text.strip())
    return _apply(config, tree, config, "")


def keys(config: Any, prefix: str = "") -> Iterator[str]:
    """All keys that `override` knows for this config, in order."""
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            yield from keys(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name


def _plant(tree: dict[str, Any], path: Sequence[str], text: str) -> None:
    *parents, leaf = path
    for name in parents:
        below = tree.setdefault(name, {})
        if not isinstance(below, dict):
            raise UsageError(f"--set {'.'.join(path)}: {name} is already set as a whole")
        tree = below
    if isinstance(tree.get(leaf), dict):
        raise UsageError(f"--set {'.'.join(path)}: parts of it are already set")
    if leaf in tree:
        raise UsageError(f"--set {'.'.join(path)} is given twice, as {tree[leaf]} and as {text}: give it once")
    tree[leaf] = text


def _apply(config: Any, tree: Mapping[str, Any], whole: Any, prefix: str) -> Any:
    hints = get_type_hints(type(config))
    names = [field.name for field in fields(config)]
    values: dict[str, Any] = {}
    for name, wanted in tree.items():
        key = prefix + name
        if name not in names:
            raise UsageError(_unknown(key, whole))
        now = getattr(config, name)
        if not isinstance(wanted, dict):
            values[name] = _parse(key, wanted, hints[name], now)
        elif is_dataclass(now):
            values[name] = _apply(now, wanted, whole, key + ".")
        else:
            raise UsageError(f"--set {key}.{next(iter(wanted))}: {key} is {_shown(now)} and has no parts")
    return replace(config, **values)


def _unknown(key: str, whole: Any) -> str:
    known = list(keys(whole))
    near = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
    for cutoff in (0.9, 0.5):
        near = near or difflib.get_close_matches(key, known, n=3, cutoff=cutoff)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
    return f"--set {key}: there is no such setting; {hint}"


def _parse(key: str, text: str, hint: Any, now: Any) -> Any:
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if types.NoneType in kinds and text.lower() == "none":
        return None
    kind = next(kind for kind in kinds if kind is not types.NoneType)
    if is_dataclass(kind) or is_dataclass(now):
        whole = " or none" if types.NoneType in kinds else ""
        raise UsageError(f"--set {key}={text}: set its parts{whole}, such as {key}.{fields(now or kind)[0].name}=...")
    try:
        return _value(text, kind)
    except ValueError:
        none = " or none" if types.NoneType in kinds else ""
        raise UsageError(f"--set {key}={text}: expected {_expected(kind)}{none}; it is {_shown(now)} now") from None


def _value(text: str, kind: Any) -> Any:
    if get_origin(kind) is tuple:
        return _values(text, get_args(kind))
    if kind is bool:
        if text.lower() not in _TRUTH:
            raise ValueError(text)
        return _TRUTH[text.lower()]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(text)
    number = kind(text)
    if kind is float and not abs(number) < float("inf"):
        raise ValueError(text)
    return number


def _values(text: str, kinds: tuple[Any, ...], separator: str = ",") -> tuple[Any, ...]:
    parts = [part.strip() for part in text.strip("()[]").split(separator) if part.strip()]
    if kinds[-1] is Ellipsis:
        if get_origin(kinds[0]) is tuple and text.strip("()[]").lower() in ("", "none"):
            return ()
        if not parts:
            raise ValueError(text)
        if get_origin(kinds[0]) is tuple:
            return tuple(_values(part, get_args(kinds[0]), ":") for part in parts)
        return tuple(_value(part, kinds[0]) for part in parts)
    if len(parts) != len(kinds):
        raise ValueError(text)
    return tuple(_value(part, kind) for part, kind in zip(parts, kinds, strict=True))


def _expected(kind: Any) -> str:
    if get_origin(kind) is tuple:
        part, *others = get_args(kind)
        if get_origin(part) is tuple:
            group = ":".join(_ONE[one].split()[-1] for one in get_args(part))
            return f"{group},{group},... or none"
        count = "" if others == [Ellipsis] else f"{1 + len(others)} "
        return f"{count}{_SEVERAL[part]}, separated by commas"
    if kind is bool:
        return "true or false"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " or ".join(str(member.value) for member in kind)
    return _ONE.get(kind, str(getattr(kind, "__name__", kind)))


def _shown(value: Any) -> str:
    if value == ():
        return "none"
    if isinstance(value, tuple) and isinstance(value[0], tuple):
        return ",".join(":".join(map(_shown, group)) for group in value)
    if isinstance(value, tuple):
        return ",".join(map(_shown, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
