"""The real server over HTTP: the state of an exam, edits, undo, two windows; and that nothing is lost by a SIGKILL."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cinesax.analyze import analyze, remeasure
from cinesax.core.analysis import Trust
from cinesax.core.structures import Structure
from cinesax.inputs import open_cine
from cinesax.reader import messages, worklist
from cinesax.reader.exams import Desk
from cinesax.reader.store.database import Store
from cinesax.results.read import read_results
from cinesax.results.write import write_results
from reader.served import PHASES, SIDE, SLICES, Made, Server, circle, drawn, flat, serving

SMALLER = {"op": "set", "structure": "cavity", "phase": 0, "slice": 2, "polygons": flat(circle(9))}


def test_the_state_is_that_of_the_results(made: Made, store: Path) -> None:
    analysis = read_results(made.out)
    with serving(made.out, "--store", store) as server:  # untouched by other tests
        state = server.state(server.only())
    assert state["numbers"]["ef_percent"] == pytest.approx(analysis.measurements.ef_percent, abs=1e-9)
    assert state["numbers"] == state["first"]["numbers"]
    assert len(state["contours"]) == len(analysis.segmentation.contours or {})
    assert (state["exam"]["phases"], state["exam"]["slices"]) == (PHASES, SLICES)
    one = next(c for c in state["contours"] if (c["structure"], c["phase"], c["slice"]) == ("cavity", 3, 2))
    polygon = np.array(one["polygons"][0]).reshape(-1, 2)
    (stored,) = analysis.segmentation.outline(Structure.CAVITY, 3, 2)
    assert np.abs(polygon - stored).max() < 0.001
    assert {one["key"] for one in state["structures"]} == {"cavity", "myocardium", "rv_cavity", "papillary_muscles"}


def test_pixels_come_as_they_are_stored(server: Server, made: Made) -> None:
    cine, exam = open_cine(made.exam), server.only()
    answer = server.client.get(f"/api/exams/{exam}/frames", params={"slice": 2})
    frames = np.frombuffer(answer.content, "<u2").reshape(PHASES, SIDE, SIDE)
    assert np.array_equal(frames, cine.pixels[:, 2])
    one = server.client.get(f"/api/exams/{exam}/frames", params={"slice": 2, "phase": 5})
    assert np.array_equal(np.frombuffer(one.content, "<u2").reshape(SIDE, SIDE), cine.pixels[5, 2])
    assert server.client.get(f"/api/exams/{exam}/frames", params={"slice": 60}).status_code == 422
    assert server.client.get(f"/api/exams/{exam}/frames", params={"slice": "x"}).status_code == 400


def test_a_preview_gives_the_numbers_of_the_edit_and_stores_nothing(server: Server, made: Made) -> None:
    exam = server.only()
    before = server.state(exam)
    body = {name: value for name, value in SMALLER.items() if name != "op"}
    preview = server.client.post(f"/api/exams/{exam}/preview", json=body).json()["numbers"]
    assert server.state(exam) == before
    done = server.edit(exam, before["version"], SMALLER).json()
    assert preview == done["numbers"]
    # And they are those of `measure` on the same contour: what the command line and the report say.
    analysis = analyze(made.exam, segmentation=drawn())
    same = analysis.segmentation.with_contour(0, 2, Structure.CAVITY, circle(9), by="Ann")
    assert remeasure(analysis, same).measurements.edv_ml == pytest.approx(done["numbers"]["edv_ml"], rel=1e-6)
    undone = server.client.post(f"/api/exams/{exam}/undo", json={"version": done["version"]}).json()
    assert undone["numbers"] == before["numbers"]
    assert server.state(exam)["contours"] == before["contours"]


def test_every_kind_of_edit_is_answered_with_the_frames_that_changed(server: Server) -> None:
    exam = server.only()
    state = server.state(exam)
    version, edits = state["version"], state["history"]["edits"]
    for edit, frames in (
        (SMALLER, 1),
        ({"op": "set", "structure": "cavity", "phase": 4, "slice": 2, "polygons": flat(circle(6))}, 1),
        ({"op": "interpolate_phases", "structure": "cavity", "slice": 2}, PHASES - 2),
        ({"op": "interpolate_slices", "structure": "cavity", "phase": 0, "from": 1, "to": 4}, 2),
        ({"op": "copy", "phase": 0, "slice": 2, "to": [{"phase": 1, "slice": 2}]}, 1),
        ({"op": "grow", "structure": "cavity", "phase": 0, "slice": 2, "mm": 1.0, "reach": "slice"}, PHASES),
        ({"op": "shift", "phase": 0, "slice": 2, "dx": 1.0, "dy": 0.5}, 1),
        ({"op": "base", "ed_slice": 4, "es_slice": 3}, None),
        ({"op": "delete", "phase": 2, "slice": 1, "reach": "slice"}, PHASES),
        ({"op": "phases", "es_phase": 5}, 0),
    ):
        answer = server.edit(exam, version, edit)
        assert answer.status_code == 200, answer.text
        done = answer.json()
        version = done["version"]
        assert frames is None or len(done["frames"]) >= frames, edit
        edits += 1
        assert done["history"]["edits"] == edits
        assert done["state"] == "edited"
    assert done["overrides"]["es_phase"] == done["numbers"]["es_phase"] == 5
    line = server.client.get(f"/api/exams/{exam}/history").json()["edits"]
    assert [one["by"] for one in line[-3:]] == ["Ann"] * 3
    listed = server.worklist()[0]
    assert (listed["state"], listed["by"]) == ("edited", "Ann")
    assert listed["ef_percent"] == done["numbers"]["ef_percent"]
    for _ in range(edits):
        version = server.client.post(f"/api/exams/{exam}/undo", json={"version": version}).json()["version"]
    assert server.state(exam)["numbers"] == state["first"]["numbers"]
    assert server.client.post(f"/api/exams/{exam}/undo", json={"version": version}).status_code == 422


def test_the_second_of_two_windows_is_told_and_loses_nothing(server: Server) -> None:
    exam = server.only()
    version = server.state(exam)["version"]
    here = f"/api/exams/{exam}/here"
    assert server.client.post(here, json={"window": "one"}).json()["others"] == 0
    assert server.client.post(here, json={"window": "two"}).json() == {
        "others": 1,
        "version": version,
        "changed": None,
    }
    first = server.edit(exam, version, SMALLER, by="Ann")
    late = server.edit(exam, version, {"op": "delete", "phase": 0, "slice": 2}, by="Bob")
    assert (first.status_code, late.status_code) == (200, 409)
    error = late.json()
    assert error["error"]["code"] == "stale"
    assert error["state"]["version"] == first.json()["version"]
    assert error["state"]["numbers"] == first.json()["numbers"]
    server.client.post(f"/api/exams/{exam}/undo", json={"version": first.json()["version"]})


def test_a_stroke_that_moves_es_onto_the_given_ed_is_done_and_stays(made: Made, store: Path) -> None:
    opened = Store(store)
    (exam,) = worklist.add(opened, worklist.find(made.out))
    desk = Desk(opened, show_patient=False)
    reading = desk.open(exam)
    version = reading.edit(0, messages.Phases(ed_phase=3), "Ann").version
    assert (reading.analysis.measurements.ed_phase, reading.analysis.measurements.es_phase) == (3, 4)
    # The smallest volume is now that of the phase given as ED: ES stays where it was, and says so.
    for place in range(1, 5):
        edit = messages.SetContour("cavity", 3, place, flat(circle(4)))
        version = reading.edit(version, edit, "Ann").version
    numbers = reading.analysis.measurements
    assert (numbers.curve_es_phase, numbers.ed_phase, numbers.es_phase) == (3, 3, 4)
    desk.forget(exam)
    again = desk.open(exam)
    assert again.analysis.measurements == numbers
    assert again.undo(version, "Ann").version == version + 1
    opened.close()


def test_three_kills_lose_nothing_that_was_answered(made: Made, store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(made.out, out)
    answered: list[dict[str, Any]] = []
    where: tuple[str | Path, ...] = (out, "--store", store)
    for radius in (9.0, 8.0, 7.0):
        with serving(*where) as server:
            exam = server.only()
            state = server.state(exam)
            if answered:
                assert state["numbers"] == answered[-1]["numbers"]
                assert state["history"]["edits"] == len(answered)
            edit = {"op": "set", "structure": "cavity", "phase": 0, "slice": 2, "polygons": flat(circle(radius))}
            answered.append(server.edit(exam, state["version"], edit).json())
            server.kill()
        if out.exists():
            # Whatever becomes of the results that it began with (`analyze --force`), the work of a person stays.
            shutil.rmtree(out)
            where = ("--store", store)
    with serving(*where) as server:
        exam = server.only()
        state = server.state(exam)
        assert state["numbers"] == answered[-1]["numbers"]
        # Undo reaches back over all of them.
        version = state["version"]
        for _ in answered:
            undone = server.client.post(f"/api/exams/{exam}/undo", json={"version": version}).json()
            version = undone["version"]
        assert undone["numbers"] == state["first"]["numbers"]


def test_trust_is_back_when_the_edit_is_undone(made: Made, store: Path, tmp_path: Path) -> None:
    """On the page and in the worklist, live and when the exam is opened again; whatever else was edited before."""
    given = read_results(made.out, made.exam)
    trust = Trust(0.9, 4.0, 50.0, 61.0, 0.9, 1.0, (), 40)
    write_results(replace(given, trust=trust), tmp_path / "out", show_patient=True)
    kept = Store(store)
    (one,) = worklist.add(kept, worklist.find(tmp_path / "out"))

    def now() -> tuple[Trust | None, float | None]:
        row, again = kept.exam(one), Desk(kept, show_patient=True).open(one)
        assert row is not None and again.analysis.trust == exam.analysis.trust
        return exam.analysis.trust, row.ef_error_points

    exam = Desk(kept, show_patient=True).open(one)
    m = exam.analysis.measurements
    assert now() == (trust, 4.0)
    drawing = messages.SetContour("cavity", 0, 2, flat(circle(9)))
    exam.edit(exam.version, drawing, "Ann")
    assert now() == (None, None)
    exam.undo(exam.version, "Ann")
    assert now() == (trust, 4.0) and exam.analysis is exam.first
    exam.redo(exam.version, "Ann")
    assert now() == (None, None)
    exam.undo(exam.version, "Ann")
    # The same phases, given by hand, do not change EF; then a contour, and back.
    exam.edit(exam.version, messages.Phases(m.ed_phase, m.es_phase), "Ann")
    before = now()
    exam.edit(exam.version, drawing, "Ann")
    assert now() == (None, None)
    exam.undo(exam.version, "Ann")
    assert now() == before
    kept.close()
