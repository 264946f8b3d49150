"""Training: examples, records, pipeline, networks, export. Needs the extra `train`."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from cinesax.core.errors import MissingExtraError, install_hint


def require(*more: str) -> None:
    """Import TensorFlow quietly; call this before importing the subpackages.

    Args:
        more: other packages of the extra that are needed.

    Raises:
        MissingExtraError: the extra `train` is not installed; the message says what to install.
    """
    missing = [name for name in ("tensorflow", "keras", "tensorboard", *more) if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(f"this needs {', '.join(missing)}; {install_hint('train')}")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with quiet_libraries():
        importlib.import_module("tensorflow")


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence libraries that write to file descriptor 2 directly."""
    # TensorFlow's libraries write to file descriptor 2 while they load, whatever their log level.
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
