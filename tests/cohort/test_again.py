"""Runs after the first: nothing is done twice, nothing is lost, and what people made stays."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

import crowd
from cinesax.cohort.planning.listed import Listed
from cinesax.cohort.receipt import Doubt, read_receipt, write_receipt
from cinesax.cohort.run import Again, opened_plan
from cinesax.engines.work import Limits, Outcome, Result, Setup, Task
from cinesax.reader.store.database import Signature, State, Store, now
from cinesax.results.tables import TRUST_COLUMNS

GOOD = 6


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with six good exams and one without a cine in `root`, and their results in `out`."""
    base = tmp_path_factory.mktemp("again")
    crowd.fill_simply(base / "root", good=GOOD)
    crowd.go(base / "root", base / "out")
    return base


@pytest.fixture
def root(once: Path, tmp_path: Path) -> Path:
    return shutil.copytree(once / "root", tmp_path / "root")


@pytest.fixture
def results(once: Path, root: Path) -> Path:
    return shutil.copytree(once / "out", root.parent / "out")


def table(results: Path) -> dict[str, dict[str, str]]:
    """Folder -> its row."""
    with (results / "names.csv").open(newline="") as stream:
        names = {row["exam"]: row["label"] for row in csv.DictReader(stream)}
    with (results / "cohort.csv").open(newline="") as stream:
        return {names.get(row["exam"], row["exam"]): row for row in csv.DictReader(stream)}


def stamps(results: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in results.glob("exams/*/receipt.json")}


def touch(folder: Path) -> None:
    path = min(folder.iterdir())
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1_000_000))


def test_what_has_a_receipt_is_not_done_again(root: Path, results: Path) -> None:
    before, text = stamps(results), (results / "cohort.csv").read_bytes()
    progress = crowd.go(root, results)
    assert (progress.up_to_date, progress.done, progress.failed) == (GOOD + 1, 0, 0)
    assert stamps(results) == before
    assert (results / "cohort.csv").read_bytes() == text


def test_changed_exams_run_again_and_failed_ones_on_request(root: Path, results: Path) -> None:
    for name in ("p000", "p001", "p002"):
        touch(root / name)
    progress = crowd.go(root, results)
    assert (progress.done, progress.failed) == (3, 0)
    progress = crowd.go(root, results, again=Again(failed=True))
    assert (progress.done, progress.failed) == (0, 1)
    # The same rows as a quiet run over what is there now.
    crowd.go(root, root.parent / "fresh")
    assert (results / "cohort.csv").read_bytes() == (root.parent / "fresh" / "cohort.csv").read_bytes()


def test_another_network_or_option_runs_again_unless_only_changed(root: Path, results: Path) -> None:
    progress = crowd.go(root, results, version="2", again=Again(only_changed=True))
    assert progress.up_to_date == GOOD + 1
    assert {row["outdated"] for row in table(results).values()} == {"1"}
    assert {row["network_version"] for row in table(results).values()} == {"stub 1"}
    progress = crowd.go(root, results, version="2")
    assert (progress.done, progress.failed) == (GOOD, 1)
    assert {row["outdated"] for row in table(results).values()} == {"0"}
    assert {row["network_version"] for row in table(results).values()} == {"stub 2"}


def test_a_new_calibration_counts_as_a_new_network_also_for_receipts_from_before_it_was_noted(
    root: Path, results: Path
) -> None:
    for path in results.glob("exams/*/receipt.json"):
        content = json.loads(path.read_text())
        del content["recipe"]["calibration_sha256"]
        path.write_text(json.dumps(content))
        receipt = read_receipt(path.parent)
        assert receipt is not None and receipt.recipe.calibration_sha256 == ""
    progress = crowd.go(root, results, again=Again(only_changed=True))
    assert progress.up_to_date == GOOD + 1
    assert {row["outdated"] for row in table(results).values()} == {"1"}
    crowd.go(root, results, calibration="")
    assert {row["outdated"] for row in table(results).values()} == {"0"}


def test_an_exam_that_is_gone_keeps_its_row_and_a_new_one_comes_in(root: Path, results: Path) -> None:
    shutil.move(root / "p000", root.parent / "gone")
    crowd.exam(root / "new", 4000)
    crowd.go(root, results)
    rows = table(results)
    assert len(rows) == GOOD + 2
    (missing,) = [row for row in rows.values() if row["input_missing"] == "1"]
    assert missing["status"] == "done" and missing["ef_percent"]
    assert rows["new"]["status"] == "done"


def approve(folder: Path, *, ef_percent: float | None, place: str, approved: bool = True) -> None:
    """What a reader's program leaves behind: a folder of results with contours that a person edited, and approved."""
    document = json.loads((folder / "analysis.json").read_text())
    document["measurements"]["ef_percent"] = ef_percent
    document["measurements"]["chambers"] = {"rv": {"edv_ml": 140.5}}
    document["segmentation"]["origins"] = [
        {"structure": "cavity", "phase": 0, "slice": 1, "origin": "edited", "by": "Dr. Roe", "approved": approved}
    ]
    target = folder / place
    target.mkdir(parents=True, exist_ok=True)
    (target / "analysis.json").write_text(json.dumps(document))


@pytest.mark.parametrize("place", [".", "versions/1"])
def test_no_rerun_and_no_new_network_replaces_what_a_person_approved(root: Path, results: Path, place: str) -> None:
    key = table(results)["p003"]["exam"]
    first = table(results)["p003"]["ef_percent"]
    approve(results / "exams" / key, ef_percent=61.5, place=place)
    before = (results / "exams" / key / place / "analysis.json").read_bytes()
    touch(root / "p003")
    progress = crowd.go(root, results, version="2", again=Again(failed=True))
    assert progress.done == GOOD - 1
    assert (results / "exams" / key / place / "analysis.json").read_bytes() == before
    row = table(results)["p003"]
    assert (row["status"], row["reader"], row["outdated"]) == ("approved", "Dr. Roe", "1")
    assert (row["ef_percent"], row["ef_reader_percent"], row["ef_network_percent"]) == ("61.5", "61.5", first)
    assert row["rv_edv_ml"] == "140.5"


@pytest.mark.parametrize("ef_percent", [None, 55.0])
def test_an_edit_ends_what_was_predicted_of_the_network(root: Path, results: Path, ef_percent: float | None) -> None:
    folder = results / "exams" / table(results)["p003"]["exam"]
    receipt = read_receipt(folder)
    assert receipt is not None
    trust = {"predicted_dice": 0.6, "ef_error_points": 12.0, "trust_reasons": "mirror-image-differs"}
    doubts = (Doubt("low-trust", "warning", "larger errors"), Doubt("mass-differs", "warning", "mass differs"))
    values = {**receipt.values, **trust, "ef_percent": ef_percent}
    write_receipt(msgspec.structs.replace(receipt, values=values, findings=doubts), folder)
    crowd.go(root, results)
    row = table(results)["p003"]
    assert (row["predicted_dice"], row["doubt"], row["doubts"]) == ("0.6", "12.0", "low-trust mass-differs")
    approve(folder, ef_percent=ef_percent, place="versions/1", approved=False)
    crowd.go(root, results)
    row = table(results)["p003"]
    assert (row["status"], row["doubt"], row["doubts"]) == ("edited", "3.0", "mass-differs")
    assert not any(row[name] for name in TRUST_COLUMNS)


def test_what_readers_did_in_the_page_counts(root: Path, results: Path) -> None:
    """A real store, as the reader's page writes it: one exam approved, one edited, one excluded."""
    first = table(results)
    store = Store(results / "exams" / "cinesax-reader")
    for name in ("p001", "p002", "p003"):
        folder = results / "exams" / first[name]["exam"]
        store.add(name, "", study_uid=None, results=str(folder), case_key=first[name]["case"], name=None)
        document = json.loads((folder / "analysis.json").read_text())
        store.set_fields(
            name, pixels_sha256=document["exam"]["pixels_sha256"], ef_percent=44.0, edv_ml=100.0, esv_ml=56.0
        )
    version = store.results_folder("p001", "approved-1")
    shutil.copytree(results / "exams" / first["p001"]["exam"], version)
    approve(version, ef_percent=61.5, place=".")
    store.sign("p001", 0, Signature(1, "Dr. Roe", now(), "", str(version), "", None))
    store.set_fields("p002", state=State.EDITED, by="Dr. Poe")
    store.set_fields("p003", state=State.EXCLUDED, by="Dr. Poe")
    store.close()
    progress = crowd.go(root, results, version="2")
    assert progress.done == GOOD - 3  # nobody's work is done again
    rows = table(results)
    statuses = [rows[name]["status"] for name in ("p000", "p001", "p002", "p003")]
    assert statuses == ["done", "approved", "edited", "excluded"]
    approved, edited = rows["p001"], rows["p002"]
    assert (approved["ef_percent"], approved["reader"], approved["network_version"]) == ("61.5", "Dr. Roe", "stub 1")
    assert edited["ef_percent"] == "44.0" and edited["lv_mass_g"] == ""
    assert edited["ef_network_percent"] == first["p002"]["ef_percent"]
    assert rows["p003"]["ef_percent"] == ""


def test_what_people_put_beside_results_stays_when_these_are_replaced(root: Path, results: Path) -> None:
    key = table(results)["p004"]["exam"]
    folder = results / "exams" / key
    (folder / "notes").mkdir()
    (folder / "notes" / "note.txt").write_text("look again")
    before = (folder / "receipt.json").stat().st_mtime_ns
    touch(root / "p004")
    crowd.go(root, results)
    assert (folder / "receipt.json").stat().st_mtime_ns != before
    assert (folder / "notes" / "note.txt").read_text() == "look again"


def test_two_runs_at_once_share_the_work(root: Path) -> None:
    out = root.parent / "both"
    paths = os.pathsep.join(path for path in sys.path if path)
    other = subprocess.Popen(
        [sys.executable, "-m", "crowd", str(root), str(out)],
        env={**os.environ, "PYTHONPATH": paths, "CROWD_SECONDS": "60"},
    )
    progress = crowd.go(root, out, jobs=2, limits=replace(crowd.LIMITS, seconds=60.0))
    assert other.wait(timeout=120) == 0
    assert progress.planned == GOOD + 1
    crowd.go(root, root.parent / "quiet")
    assert (out / "cohort.csv").read_bytes() == (root.parent / "quiet" / "cohort.csv").read_bytes()


def test_a_run_plans_while_another_one_reads_the_last_plan(root: Path, results: Path) -> None:
    with opened_plan(results) as plan:
        reading = plan.exams()
        next(reading)
        assert crowd.go(root, results).up_to_date == GOOD + 1
        reading.close()  # type: ignore[attr-defined]


def test_ctrl_c_stops_in_order_and_the_same_command_goes_on(root: Path) -> None:
    crowd.exam(root / "slow", 5000, description="SLOW")
    out = root.parent / "interrupted"
    paths = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen(
        [sys.executable, "-m", "crowd", str(root), str(out)],
        env={**os.environ, "PYTHONPATH": paths, "CROWD_SLOW": "1"},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while len(list(out.glob("exams/*/receipt.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) != 0
    left = len(list(out.glob("exams/*/receipt.json")))
    assert left >= 2
    progress = crowd.go(root, out)
    assert progress.up_to_date == left
    assert len(table(out)) == GOOD + 2


class Meanwhile(crowd.InThisProcess):
    """An engine during whose first task something happens."""

    def __init__(self, what: Callable[[], object]) -> None:
        self._what = what

    def run(
        self, setup: Setup[Task, Result], tasks: Iterable[Task | None], limits: Limits
    ) -> Iterator[Outcome[Task, Result]]:
        for number, outcome in enumerate(super().run(setup, tasks, limits)):
            if number == 0:
                self._what()
            yield outcome


def test_a_share_that_vanishes_is_reported_and_comes_back(root: Path) -> None:
    out, gone = root.parent / "share", root.parent / "gone"
    crowd.go(root, out, engine=Meanwhile(lambda: root.rename(gone)))
    rows = [row for row in table(out).values()]
    assert sum(row["reason"] == "gone" for row in rows) == GOOD
    assert not any(str(root.parent) in row["message"] for row in rows)
    gone.rename(root)
    crowd.go(root, out)
    assert sum(row["status"] == "done" for row in table(out).values()) == GOOD


def test_results_that_cannot_be_written_are_reported_and_done_later(root: Path) -> None:
    out = root.parent / "full"

    def fill_up() -> None:
        shutil.rmtree(out / ".cohort" / "stage")
        (out / ".cohort" / "stage").write_text("in the way")

    progress = crowd.go(root, out, engine=Meanwhile(fill_up))
    assert (progress.done + progress.failed, "cannot-be-written" in progress.last_failure) == (GOOD + 1, True)
    assert sum(row["status"] == "waiting" for row in table(out).values()) == GOOD
    (out / ".cohort" / "stage").unlink()
    crowd.go(root, out)
    assert sum(row["status"] == "done" for row in table(out).values()) == GOOD


@pytest.mark.parametrize("way", ["listed", "linked"])
def test_while_a_share_is_away_its_exams_keep_their_keys_and_values(root: Path, way: str) -> None:
    share, away, out = root.parent / "share", root.parent / "away", root.parent / "later"
    root.rename(share)
    root.mkdir()
    names = sorted(folder.name for folder in share.iterdir())[:3]
    for name in names:
        (root / name).symlink_to(share / name)
    listed = tuple(Listed(share / name, name, {"code": name.upper()}) for name in names)
    source = {"listed": listed, "label": "code"} if way == "listed" else {}

    def go(**how: object) -> dict[str, dict[str, str]]:
        crowd.go(None if way == "listed" else root, out, **source, **how)
        return table(out)

    first = go()
    share.rename(away)
    during = go(again=Again(failed=True), version="9.9")
    assert during.keys() == first.keys() and len(first) == len(names)
    for name, row in during.items():
        assert (row["exam"], row["ef_percent"]) == (first[name]["exam"], first[name]["ef_percent"])
        assert (row["status"], row["input_missing"], row["outdated"]) == ("done", "1", "1")
    away.rename(share)
    after = go()
    assert after == first


def test_a_listed_path_that_never_was_there_is_gone_and_tried_again(root: Path) -> None:
    listed = (Listed(root / "p000", "p000", {}), Listed(root / "nowhere", "nowhere", {}))
    out = root.parent / "later"
    crowd.go(None, out, listed=listed)
    rows = table(out)
    assert sorted(row["reason"] for row in rows.values()) == ["", "gone"]
    (root / "p001").rename(root / "nowhere")
    crowd.go(None, out, listed=listed)
    assert {row["status"] for row in table(out).values()} == {"done"}
