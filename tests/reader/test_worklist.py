"""The worklist: what is found below a folder, what is dropped on the page, the queue, and failures."""

import asyncio
import io
import shutil
import sqlite3
import time
import zipfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import crowd
from cinesax.cli.main import main
from cinesax.core.analysis import Reason, Trust, case_key_of
from cinesax.core.cine import Cine
from cinesax.core.errors import InputError, UsageError
from cinesax.reader import messages, uploads, watch, worker, worklist
from cinesax.reader.exams import Desk
from cinesax.reader.listed import Expected, complete
from cinesax.reader.store.database import ExamRow, Shown, StaleError, State, Store, StoredEdit
from cinesax.reader.watch import GONE, settle, suspects
from cinesax.reader.worklist import find
from exams import write_exam
from reader.served import PHASES, Made, beating, circle, flat, make, make_trusted, serving


def of_study(uid: str) -> Cine:
    cine = beating()
    return replace(cine, source=replace(cine.source, study_uid=uid))


def test_exams_and_results_below_a_folder(made: Made, tmp_path: Path) -> None:
    root = tmp_path / "many"
    shutil.copytree(made.out, root / "a" / "results")
    write_exam(root / "b" / "series-1", of_study("1.2.3.1"))
    write_exam(root / "c", of_study("1.2.3.2"))
    (root / "c" / "notes.txt").write_text("none of these")
    assert [(Path(one.path).name, one.results and Path(one.results).name) for one in find(root)] == [
        (made.exam.name, "results"),
        ("series-1", None),
        ("c", None),
    ]
    assert [one.path for one in find(root / "b")] == [str(root / "b")]
    # Two studies in one folder: each is an exam, named by its UID.
    write_exam(root / "d" / "x", of_study("1.2.3.3"))
    for file in (root / "c").glob("*.dcm"):
        shutil.copy(file, root / "d" / "x" / f"c-{file.name}")
    both = find(root / "d" / "x")
    assert {one.study_uid for one in both} == {"1.2.3.2", "1.2.3.3"}
    assert len({one.id for one in both}) == 2
    with pytest.raises(InputError, match="does not exist"):
        find(root / "nothing")


def test_results_find_the_exam_beside_them(tmp_path: Path) -> None:
    """Results without the patient do not say where their exam lies; the case key tells."""
    made = make(tmp_path, show_patient=False)
    (alone,) = find(made.out)
    assert alone.path == ""
    (one,) = find(tmp_path)
    assert (one.path, one.results) == (str(made.exam), str(made.out))


def test_the_exam_of_known_results_may_be_said_later(store: Path, tmp_path: Path) -> None:
    """No exam, a wrong one, the right one: the row says what to do, and the last word counts."""
    made = make(tmp_path, show_patient=False)
    write_exam(tmp_path / "other", of_study("1.2.3.9"))

    def row(said: Callable[[str], bool], *exam: str | Path) -> None:
        with serving(made.out, *exam, "--store", store) as server:
            (one,) = server.wait(lambda exams: len(exams) == 1 and said(exams[0]["changed"] or ""))
            opened = server.client.get(f"/api/exams/{one['id']}")
            assert opened.status_code == (422 if one["changed"] else 200), opened.text

    row(lambda text: "start it again with --exam EXAM" in text)
    row(lambda text: "this is another exam than that of the results" in text, "--exam", tmp_path / "other")
    row(lambda text: not text, "--exam", made.exam)
    kept = Store(store)
    worklist.add(kept, find(made.out))
    now = worklist.Now(show_patient=True, progress={}, model_sha256=None)
    (one,) = worklist.lines(kept, now)
    assert (one.folder, one.changed) == (str(made.exam), None)
    made.exam.rename(tmp_path / "moved")
    worklist.add(kept, find(made.out))
    assert "no longer where it was" in (worklist.lines(kept, now)[0].changed or "")
    worklist.add(kept, find(tmp_path))
    (one,) = [one for one in worklist.lines(kept, now) if one.state == "done"]
    assert (one.folder, one.changed) == (str(tmp_path / "moved"), None)
    kept.close()


def test_the_exam_of_results_among_several_studies(store: Path, tmp_path: Path) -> None:
    made = make(tmp_path / "one", show_patient=False)
    exams = tmp_path / "exams"
    for number in (1, 2):
        write_exam(exams / f"DOE_{number}", of_study(f"1.2.3.{number}"))
    (wrong,) = worklist.with_exam(find(made.out), exams)
    keys = ", ".join(case_key_of(f"1.2.3.{number}") for number in (1, 2))
    assert f"2 studies ({keys})" in (wrong.problem or "") and "--exam FOLDER" in (wrong.problem or "")
    assert "1.2.3." not in (wrong.problem or ""), "a StudyInstanceUID is shown only with --show-patient"
    kept = Store(store)
    (exam,) = worklist.add(kept, [wrong])
    (line,) = worklist.lines(kept, worklist.Now(show_patient=False, progress={}, model_sha256=None))
    assert line.changed == wrong.problem and "DOE" not in wrong.problem
    with pytest.raises(InputError, match="2 studies"):
        Desk(kept, show_patient=False).open(exam)
    # Where its study is among them, also in one folder with others, it is taken.
    for file in made.exam.rglob("*"):
        if file.is_file():
            shutil.copy(file, exams / "DOE_1" / f"right-{file.name}")
    worklist.add(kept, worklist.with_exam(find(made.out), exams))
    assert Desk(kept, show_patient=False).open(exam).cine.n_phases == PHASES
    kept.close()


def test_the_worklist_shows_that_an_exam_has_changed(store: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """Noticed by names, sizes and times; settled by the content, in the worker; and taken back where it fits again."""
    monkeypatch.setattr(worker, "_FIRST_LOOK_S", 0.0)
    monkeypatch.setattr(worker, "_LOOK_S", 0.1)
    monkeypatch.setattr(worker, "_IDLE_S", 0.1)
    made = make(tmp_path)
    kept = Store(store)
    (exam,) = worklist.add(kept, find(made.out))
    queue = worker.Queue(kept, model=None, threads=1, show_patient=False)
    queue.start()

    def changed(wanted: Callable[[str], bool]) -> None:
        end = time.monotonic() + 120
        while not wanted((row := kept.exam(exam)) and row.changed or ""):
            assert time.monotonic() < end, row
            time.sleep(0.05)

    try:
        until_known(kept)
        file = next(path for path in made.exam.rglob("*") if path.is_file())
        content = file.read_bytes()
        file.write_bytes(content[:-2] + bytes([content[-2] ^ 1, content[-1]]))
        changed(lambda text: "changed" in text)
        file.write_bytes(content)
        changed(lambda text: not text)
        made.exam.rename(tmp_path / "gone")
        changed(lambda text: text == GONE)
        (tmp_path / "gone").rename(made.exam)
        changed(lambda text: not text)
    finally:
        queue.stop()
        kept.close()


def test_an_exam_that_is_back_is_compared_again(store: Path, tmp_path: Path) -> None:
    kept, place = Store(store), tmp_path / "exam"
    place.mkdir()
    (place / "a.dcm").write_bytes(b"a")
    kept.add("one", str(place), study_uid=None, results="results", case_key=None, name=None)
    assert suspects(kept) == [], "the first look only stores how the files are"
    place.rename(tmp_path / "away")
    assert suspects(kept) == [] and marked(kept) == GONE
    for seen in (None, "before it went"):  # opened or compared meanwhile: it cannot be read because it is gone
        settle(kept, row_of(kept), seen, "exam does not exist")
        assert suspects(kept) == [] and marked(kept) == GONE
    (tmp_path / "away").rename(place)
    ((row, seen),) = suspects(kept)
    settle(kept, row, seen, None)
    assert suspects(kept) == [] and marked(kept) is None
    kept.close()


def row_of(store: Store) -> ExamRow:
    (row,) = store.exams()
    return row


def marked(store: Store) -> str | None:
    return row_of(store).changed


def test_a_folder_of_several_exams_is_listed_once(store: Path, tmp_path: Path, monkeypatch: Any) -> None:
    kept, listed, file = Store(store), list[str](), tmp_path / "shared" / "a.dcm"
    file.parent.mkdir()
    file.write_bytes(b"a")
    for number in range(4):
        kept.add(f"{number}", str(file.parent), study_uid=f"1.{number}", results="results", case_key=None, name=None)
    real = watch.fingerprint
    monkeypatch.setattr(watch, "fingerprint", lambda path: (listed.append(path), real(path))[1])
    # Never compared, as after an upgrade: not every exam is read, but the next change is noticed.
    assert suspects(kept) == [] and set(kept.fingerprints()) == {"0", "1", "2", "3"}
    assert listed == [str(file.parent)]
    file.write_bytes(b"ab")
    assert [(row.id, seen) for row, seen in suspects(kept)] == [(f"{n}", real(str(file.parent))) for n in range(4)]
    assert len(listed) == 2
    kept.close()


def until_known(store: Store) -> None:
    end = time.monotonic() + 120
    while not store.fingerprints():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_queue_that_fails_goes_on(made: Made, store: Path, tmp_path: Path) -> None:
    """The real network on a small exam, a zip and a folder dropped, and two that cannot be read."""
    root = tmp_path / "many"
    (root / "DOE_JANE").mkdir(parents=True)
    (root / "DOE_JANE" / "bad.zip").write_bytes(b"PK\x03\x04 no zip")
    shutil.copytree(made.exam, root / "good")
    with serving(root, "--store", store) as server:
        exams = server.wait(lambda exams: len(exams) == 2 and all(one["state"] in ("done", "failed") for one in exams))
        failed, good = sorted(exams, key=lambda one: str(one["state"]), reverse=True)
        assert (failed["state"], good["state"]) == ("failed", "done")
        assert failed["error"] and "\n" not in failed["error"] and "DOE_JANE" not in failed["error"]
        assert good["name"].startswith("case-")
        state = server.state(good["id"])
        assert state["numbers"]["edv_ml"] == good["edv_ml"]
        refused = server.client.get(f"/api/exams/{failed['id']}")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "busy")
        assert refused.json()["exam"]["state"] == "failed"

        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for file in made.exam.iterdir():
                archive.write(file, f"deep/er/{file.name}")
        added = server.client.post("/api/uploads/zip", content=packed.getvalue()).json()["added"]
        upload = server.client.post("/api/uploads", json={}).json()["upload"]
        for number, file in enumerate(sorted(made.exam.iterdir())):
            put = server.client.put(f"/api/uploads/{upload}/files/{number}", content=file.read_bytes())
            assert put.status_code == 200
        added += server.client.post(f"/api/uploads/{upload}/finish", json={}).json()["added"]
        assert len(set(added)) == 2
        exams = server.wait(lambda exams: all(one["state"] in ("done", "failed") for one in exams))
        dropped = [one for one in exams if one["id"] in added]
        assert [one["ef_percent"] for one in dropped] == [good["ef_percent"]] * 2

        bad = server.client.post("/api/uploads/zip", content=b"no zip")
        assert (bad.status_code, bad.json()["error"]["code"]) == (422, "refused")
        bad = server.client.post("/api/uploads/zip", content=b"PK\x03\x04 cut off")
        said = "the dropped file is not a readable zip: it is damaged or incomplete; make it again"
        assert bad.json()["error"]["message"] == said
        assert server.client.post("/api/uploads/none/finish", json={}).status_code == 404

        out = {"version": good["version"], "by": "Ann", "reason": "another heart"}
        version = server.client.post(f"/api/exams/{good['id']}/exclude", json=out).json()["version"]
        assert server.edit(good["id"], version, {"op": "phases", "es_phase": 3}).status_code == 409
        back = server.client.post(f"/api/exams/{good['id']}/include", json={"version": version}).json()
        assert back["state"] == "done"
    assert not [path for path in store.rglob("*") if "deep" in path.name or "IM" in path.name and path.suffix == ".zip"]


def escaping(name: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, b"x")
    return packed.getvalue()


def bomb() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", b"\0" * (80 * 1024**2))
    return packed.getvalue()


async def drop(folder: Path, data: bytes) -> Path:
    async def chunks() -> AsyncIterator[bytes]:
        yield data

    return await uploads.Uploads(folder).zipped(chunks())


@pytest.mark.parametrize("kind", ["up", "absolute", "bomb"])
def test_zips_that_are_not_safe_are_refused_and_leave_nothing(kind: str, tmp_path: Path) -> None:
    data = {"up": escaping("../../evil.dcm"), "absolute": escaping("/etc/evil"), "bomb": bomb()}[kind]
    with pytest.raises(InputError, match="not safe|expands"):
        # In a thread of its own: a browser that is driven from this one leaves an event loop running in it.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(lambda: asyncio.run(drop(tmp_path / "uploads", data))).result()
    assert not list((tmp_path / "uploads").iterdir())


def test_uploads_that_became_no_exam_are_removed_at_the_next_start(tmp_path: Path) -> None:
    folder = tmp_path / "uploads"
    for name in ("used", "left"):
        (folder / name).mkdir(parents=True)
        (folder / name / "000000.dcm").write_bytes(b"x")
    uploads.Uploads(folder).clean([str(folder / "used")])
    assert [path.name for path in folder.iterdir()] == ["used"]


def test_without_the_extra_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("cinesax.cli.view.find_spec", lambda name: None)
    assert main(["view", str(tmp_path)]) == 8
    assert "pip install '.[view]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nothing-there"], 3, "does not exist"),
        ([], 2, "give an exam"),
        ([".", "--port", "70000"], 2, "--port"),
        ([".", "--host", "0.0.0.0"], 2, "password"),
    ],
)
def test_what_cannot_be_meant_is_said_at_the_start(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["view", *words, "--no-browser"]) == code
    assert said in capsys.readouterr().err


def test_a_hundred_exams_are_listed_at_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number in range(100):
        store.add(f"e{number}", f"/exams/{number}", study_uid=None, results=None, case_key=f"case-{number}", name=None)
    start = time.process_time()
    listed = worklist.lines(store, worklist.Now(show_patient=False, progress={}, model_sha256=None))
    assert (len(listed), listed[7].name) == (100, "case-7")
    assert time.process_time() - start < 0.3
    store.close()


def test_a_store_is_of_one_process_and_edits_after_undo_drop_the_rest(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(UsageError, match="another cinesax view"):
        Store(tmp_path)
    store.add("e", "/e", study_uid=None, results="/r", case_key=None, name=None)
    shown = Shown(50.0, 100.0, 50.0, 0, 0, 0, "[]")
    for number in range(3):
        store.add_edit("e", number, StoredEdit(0, "Ann", "now", f"edit {number}", b"c", b"o"), shown)
    with pytest.raises(StaleError):
        store.add_edit("e", 1, StoredEdit(0, "Bob", "now", "late", b"c", b"o"), shown)
    store.move("e", 3, 1, by="Ann", shown=shown)
    store.add_edit("e", 4, StoredEdit(0, "Ann", "now", "other", b"c", b"o"), shown)
    assert [what for _, _, _, what in store.line("e")] == ["edit 0", "other"]
    row = store.exam("e")
    assert row is not None and (row.applied, row.state, row.version) == (2, State.EDITED, 5)
    store.close()
    Store(tmp_path).close()


NOW = worklist.Now(show_patient=False, progress={}, model_sha256=None)
USUAL = Trust(0.93, 2.5, 50.2, 60.8, 0.9, 1.0, (Reason.BORDER, Reason.SMALL), 89)
LOW = Trust(0.71, 14.0, 22.0, 78.0, 0.9, 1.6, (Reason.UNLIKE, Reason.MIRROR), 89)


def expected(store: Store, exam: str) -> Expected | None:
    return next(one.trust for one in worklist.lines(store, NOW) if one.id == exam)


def test_the_worklist_shows_what_is_expected_of_the_network(store: Path, tmp_path: Path) -> None:
    """Dice, interval and reasons, until a person changes something."""
    folders = [
        make_trusted(tmp_path / name, number, trust, low=trust is LOW).out
        for number, (name, trust) in enumerate((("usual", USUAL), ("low", LOW), ("none", None)))
    ]
    kept = Store(store)
    usual, low, none = (worklist.add(kept, find(folder))[0] for folder in folders)
    assert expected(kept, none) is None
    assert expected(kept, usual) == Expected(
        dice=0.93,
        ef_low_percent=50.2,
        ef_high_percent=60.8,
        level=0.9,
        reasons=["the border of the cavity is not sharp", "the cavity is small"],
        low=False,
    )
    doubted = next(one for one in worklist.lines(kept, NOW) if one.id == low)
    assert doubted.trust is not None and (doubted.trust.dice, doubted.trust.low) == (0.71, True)
    # The finding counts, but its sentence is not repeated beside the numbers and the reason.
    assert doubted.findings["warning"] == 2 and not any("larger errors" in text for text in doubted.doubts)
    exam = Desk(kept, show_patient=True).open(usual)
    exam.edit(exam.version, messages.SetContour("cavity", 0, 2, flat(circle(9))), "Ann")
    assert expected(kept, usual) is None
    exam.undo(exam.version, "Ann")
    assert expected(kept, usual) is not None
    kept.close()


def test_an_analysis_that_failed_shows_no_numbers_of_an_earlier_one(store: Path, tmp_path: Path) -> None:
    kept = Store(store)
    (exam,) = worklist.add(kept, find(make_trusted(tmp_path, 1, USUAL).out))
    kept.set_fields(exam, state=State.FAILED, error="another series, which cannot be read")
    (one,) = worklist.lines(kept, NOW)
    assert (one.ef_percent, one.edv_ml, one.esv_ml, one.doubts, one.trust) == (None, None, None, [], None)
    kept.close()


def test_a_store_of_an_earlier_version_takes_it_from_the_results(store: Path, tmp_path: Path) -> None:
    kept = Store(store)
    names = ("looked-at", "edited", "gone", "low")
    made = [make_trusted(tmp_path / name, n, LOW if name == "low" else USUAL) for n, name in enumerate(names)]
    looked_at, edited, gone, low = (worklist.add(kept, find(one.out))[0] for one in made)
    waiting = "waiting"
    kept.add(waiting, "/exam", study_uid=None, results=None, case_key=None, name=None)
    exam = Desk(kept, show_patient=True).open(edited)
    exam.edit(exam.version, messages.SetContour("cavity", 0, 2, flat(circle(9))), "Ann")
    kept.close()
    shutil.rmtree(made[2].out)
    with sqlite3.connect(store / "reader.sqlite", isolation_level=None) as base:
        base.execute("ALTER TABLE exams DROP COLUMN trust")
        base.execute("ALTER TABLE exams DROP COLUMN ef_error_points")
    base.close()
    kept = Store(store)
    assert [one.trust for one in worklist.lines(kept, NOW)] == [None] * 5
    version = kept.list_version()
    complete(kept)
    shown = {one.id: one for one in worklist.lines(kept, NOW)}
    assert {name: one.trust and one.trust.dice for name, one in shown.items()} == {
        looked_at: 0.93,
        edited: None,
        gone: None,
        low: 0.71,
        waiting: None,
    }
    assert shown[low].doubt > shown[looked_at].doubt == 2.5
    assert kept.list_version() > version, "pages that are open show it"
    version = kept.list_version()
    complete(kept)
    assert kept.list_version() == version, "once is enough"
    kept.close()


def test_the_exams_of_a_cohort_are_found_by_its_plan(tmp_path: Path) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    crowd.exam(root / "p1", 1)
    crowd.exam(root / "p2", 2)
    with zipfile.ZipFile(root / "p2.zip", "w") as archive:
        for file in (root / "p2").iterdir():
            archive.write(file, f"inside/{file.name}")
    shutil.rmtree(root / "p2")
    crowd.go(root, out, outputs=("contours", "segmentation"))
    entries = find(out)
    assert sorted(Path(entry.path).name for entry in entries) == ["p1", "p2.zip"]
    store = Store(tmp_path / "store")
    desk = Desk(store, show_patient=False)
    for exam in worklist.add(store, entries):
        assert desk.open(exam).cine.n_phases == 3
    store.close()
    # Without the plan they ask for their exam, as other results without one do.
    (out / ".cohort" / "plan.sqlite").write_bytes(b"damaged")
    assert [entry.path for entry in find(out)] == ["", ""]
