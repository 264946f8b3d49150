"""Servers of the reader that are killed at any moment, while somebody draws: every edit that was answered is there."""

import random
import tempfile
import threading
import time
from pathlib import Path

import httpx

from reader.served import Server, circle, flat, make, serving


def run_all(count: int, *, seed: int = 0) -> list[str]:
    """Kill so many servers; what was wrong afterwards, in words, one for each."""
    if count < 1:
        return []
    rng, wrong = random.Random(f"reader {seed}"), []
    with tempfile.TemporaryDirectory() as name:
        made, store = make(Path(name)), Path(name) / "store"
        answered: list[float] = []
        for number in range(count):
            with serving(made.out, "--store", store) as server:
                exam = server.only()
                state = server.state(exam)
                problem = _compare(state["history"]["edits"], state["numbers"]["edv_ml"], answered)
                wrong += [f"kill {number}: {problem}"] if problem else []
                # What was in flight when the server died was done, or was not.
                del answered[state["history"]["edits"] :]
                if len(answered) < state["history"]["edits"]:
                    answered.append(state["numbers"]["edv_ml"])
                ends = threading.Thread(target=_draw, args=(server, exam, state["version"], answered))
                ends.start()
                time.sleep(rng.uniform(0.05, 1.5))
                server.kill()
                ends.join()
    return wrong


def _draw(server: Server, exam: str, version: int, answered: list[float]) -> None:
    """Draw until nobody answers."""
    rng = random.Random(version)
    try:
        while True:
            polygon = flat(circle(rng.uniform(6, 12)))
            edit = {"op": "set", "structure": "cavity", "phase": 0, "slice": 2, "polygons": polygon}
            done = server.edit(exam, version, edit).json()
            version = done["version"]
            answered.append(done["numbers"]["edv_ml"])
    except httpx.HTTPError:
        return


def _compare(edits: int, edv_ml: float, answered: list[float]) -> str:
    if edits not in (len(answered), len(answered) + 1):
        return f"{len(answered)} edits were answered, {edits} are there"
    if answered and edits == len(answered) and edv_ml != answered[-1]:
        return f"EDV {answered[-1]} was answered, {edv_ml} is there"
    return ""
