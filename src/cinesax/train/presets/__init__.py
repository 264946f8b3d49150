"""Typed training presets: each file states its purpose, command, time and score, and has `config() -> TrainConfig`."""

import importlib
import importlib.util
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
        UsageError: there is no such preset.
        InputError: the file cannot be read, or does not return a TrainConfig.
    """
    from cinesax.train.fit.config import TrainConfig

    if which in NAMES:
        config = importlib.import_module(f"cinesax.train.presets.{which}").config()
    elif which.endswith(".py"):
        config = _own(Path(which))
    else:
        raise UsageError(f"there is no preset {which!r}: use {', '.join(NAMES)}, or the path of a Python file (.py)")
    if not isinstance(config, TrainConfig):
        raise InputError(f"{which}: config() must return a TrainConfig, it returned a {type(config).__name__}")
    return config


def _own(path: Path) -> object:
    if not path.is_file():
        raise InputError(f"{path} does not exist: name a Python file with a function config() -> TrainConfig")
    spec = importlib.util.spec_from_file_location("cinesax_own_preset", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return module.config()
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 - the user's own code: any exception in it is reported in one line
        raise InputError(f"{path}: {type(error).__name__}: {error}") from None
