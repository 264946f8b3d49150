"""Typed training presets: each file states its purpose, command, time and score, and has `config() -> TrainConfig`."""

import importlib
import importlib.util
import inspect
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cinesax.core.errors import InputError, UsageError

if TYPE_CHECKING:
    from cinesax.train.fit.config import TrainConfig

NAMES = ("finder", "refiner", "unet", "heart", "fcn", "unet_finish", "heart_finish", "refiner_finish")


def load(which: str) -> "TrainConfig":
    """The settings of a preset.

    Args:
        which: one of `NAMES`, or the path of a Python file of your own with a function `config() -> TrainConfig`.

    Raises:
        UsageError: there is no such preset, or a setting is out of its range.
        InputError: the file cannot be read, raises an exception, or does not return a TrainConfig.
    """
    if which in NAMES:
        config: TrainConfig = importlib.import_module(f"cinesax.train.presets.{which}").config()
    elif which.endswith(".py"):
        config = _own(Path(which))
    else:
        raise UsageError(f"there is no preset {which!r}: use {', '.join(NAMES)}, or the path of a Python file (.py)")
    return config


def _own(path: Path) -> "TrainConfig":
    if not path.is_file():
        raise InputError(f"{path} does not exist: name a Python file with a function config() -> TrainConfig")
    spec = importlib.util.spec_from_file_location("cinesax_own_preset", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    with _placed_errors(path):
        spec.loader.exec_module(module)
    made = getattr(module, "config", None)
    if not inspect.isroutine(made):
        raise InputError(f"{path} has no function config() -> TrainConfig")
    with _placed_errors(path):
        config = made()
    return _checked(path, config)


@contextmanager
def _placed_errors(path: Path) -> Iterator[None]:
    """Report what the user's own code raises in one line, with its place."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{_place(path, error)}: {error}") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's own code: any exception is one line
        message = error.msg if isinstance(error, SyntaxError) else str(error)
        raise InputError(f"{_place(path, error)}: {type(error).__name__}: {message}") from None


def _checked(path: Path, config: object) -> "TrainConfig":
    """The settings, with values of the types of their fields: a list becomes a tuple, a word a member of its enum."""
    from cinesax.train.fit.config import TrainConfig

    if not isinstance(config, TrainConfig):
        raise InputError(f"{path}: config() must return a TrainConfig, seen {type(config).__name__}")
    try:
        return TrainConfig.from_dict(config.to_dict())
    except (InputError, UsageError) as error:
        raise type(error)(f"{path}: {error}") from None


def _place(path: Path, error: BaseException) -> str:
    """The file and, if known, the line of it in which an exception was raised."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = error.lineno if isinstance(error, SyntaxError) else (lines or [None])[-1]
    return str(path) if line is None else f"{path}, line {line}"
