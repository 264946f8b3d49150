"""The exam that results were made from: where it was, and fingerprints that show whether it has changed."""

import hashlib
from typing import Any

import numpy as np

from cinesax.core.analysis import case_key
from cinesax.core.cine import Cine
from cinesax.core.errors import InputError

_DECIMALS = 6
"""Decimals of geometry and times in the fingerprint: computers differ in the last bits of a float."""


def exam_of(cine: Cine) -> dict[str, Any]:
    """The entry `exam` of analysis.json. A Cine without its patient does not know where it was."""
    return {
        "paths": [str(path) for path in cine.source.paths],
        "pixels_sha256": cine.pixels_sha256,
        "geometry_sha256": _geometry_sha256(cine),
    }


def refuse_another_exam(cine: Cine, content: dict[str, Any], whose: str) -> None:
    """Check that this is the exam that the results were made from.

    Args:
        cine: the exam.
        content: the content of analysis.json.
        whose: what the message calls the results.

    Raises:
        InputError: another exam, or the same exam after a change.
    """
    now = exam_of(cine)
    differs = [
        what
        for what, same in (
            ("StudyInstanceUID", content["case"] == case_key(cine)),
            ("pixels", content["exam"]["pixels_sha256"] == now["pixels_sha256"]),
            ("positions, spacing or times", content["exam"]["geometry_sha256"] == now["geometry_sha256"]),
        )
        if not same
    ]
    if differs:
        raise InputError(
            f"this is another exam than that of {whose}, or it has changed since: different "
            f"{', different '.join(differs)}; give the original exam, and the same choice of series if you made one"
        )


def _geometry_sha256(cine: Cine) -> str:
    """SHA-256 of everything, apart from pixels, on which measurements depend."""
    grid = cine.grid
    placed = () if grid is None else (grid.origins_mm, grid.along_row, grid.along_column, np.array(grid.spacing_mm))
    digest = hashlib.sha256(f"{cine.gating} {cine.base_first}".encode())
    for values in (*placed, cine.trigger_times_ms, cine.rr_intervals_ms):
        # Adding 0 turns -0 into 0.
        rounded = None if values is None else np.round(values, _DECIMALS) + 0.0
        digest.update(b"none" if rounded is None else str(rounded.shape).encode() + rounded.astype("<f8").tobytes())
    return digest.hexdigest()
