"""Training: examples, records, pipeline, networks, export. Needs the extra `train`."""

import importlib.util

from cinesax.errors import MissingExtraError


def require() -> None:
    """Raise MissingExtraError, which says what to install, where the extra `train` is not installed."""
    missing = [name for name in ("tensorflow", "keras", "tensorboard") if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(f"this needs {', '.join(missing)}; install them with: pip install 'cinesax[train]'")
