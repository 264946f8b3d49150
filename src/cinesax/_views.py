"""How an Analysis is shown, handed down from the front door: values know nothing of the rooms that write and draw.

`cinesax/__init__.py` lies above all rooms and is imported before any of them: it calls `show_by`. Nothing here loads
NumPy, for the front door must not wait for it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Views:
    """How an Analysis is shown.

    Attributes:
        to_dict: called with the analysis and `show_patient`; gives what analysis.json holds.
        to_html: called with the analysis; gives HTML for a notebook.
    """

    to_dict: Callable[..., dict[str, Any]]
    to_html: Callable[[Any], str]


_used: list[Views] = []


def show_by(views: Views) -> None:
    """Let analyses be shown by these functions."""
    _used[:] = [views]


def views() -> Views:
    """The functions by which analyses are shown."""
    return _used[0]
