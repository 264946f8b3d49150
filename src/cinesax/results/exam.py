"""Which exam results were made from: where it lay, and fingerprints that show whether it is still the same."""

import hashlib
from typing import Any

import numpy as np

from cinesax.core.analysis import case_key
from cinesax.core.cine import Cine
from cinesax.core.errors import InputError

_DECIMALS = 6
"""Of the numbers of geometry and time in their fingerprint: machines differ in the last bits of a float."""


def exam_of(cine: Cine) -> dict[str, Any]:
    """What analysis.json says of the exam; without the patient a Cine does not know where it lay."""
    return {
        "paths": [str(path) for path in cine.source.paths],
        "pixels_sha256": cine.pixels_sha256,
        "geometry_sha256": _geometry_sha256(cine),
    }


def refuse_another_exam(cine: Cine, told: dict[str, Any], whose: str) -> None:
    """Compare an exam with what analysis.json says of the one that the results were made from.

    Args:
        cine: the exam.
        told: the content of analysis.json.
        whose: what the results are called in the message.

    Raises:
        InputError: it is another exam, or one that was changed.
    """
    now = exam_of(cine)
    differs = [
        what
        for what, same in (
            ("StudyInstanceUID", told["case"] == case_key(cine)),
            ("pixels", told["exam"]["pixels_sha256"] == now["pixels_sha256"]),
            ("positions, spacing or times", told["exam"]["geometry_sha256"] == now["geometry_sha256"]),
        )
        if not same
    ]
    if differs:
        raise InputError(
            f"the exam is not the one that {whose} was made from, or it was changed since: other "
            f"{', other '.join(differs)}; give the exam as it was, and the choice of series if there was one"
        )


def _geometry_sha256(cine: Cine) -> str:
    """SHA-256 of everything but the pixels that measurements depend on."""
    grid = cine.grid
    placed = () if grid is None else (grid.origins_mm, grid.along_row, grid.along_column, np.array(grid.spacing_mm))
    digest = hashlib.sha256(f"{cine.gating} {cine.base_first}".encode())
    for values in (*placed, cine.trigger_times_ms, cine.rr_intervals_ms):
        # Adding 0 makes 0 of -0.
        rounded = None if values is None else np.round(values, _DECIMALS) + 0.0
        digest.update(b"none" if rounded is None else str(rounded.shape).encode() + rounded.astype("<f8").tobytes())
    return digest.hexdigest()
