"""A cohort of good and bad exams: every exam a row with the right reason, whatever kills the run."""

import csv
import os
import random
import time
from pathlib import Path

import pytest

import crowd
from fuzz import cohorts


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cohort") / "root"


@pytest.fixture(scope="module")
def wanted(root: Path) -> dict[str, str]:
    return crowd.fill(root)


@pytest.fixture(scope="module")
def quiet(root: Path, wanted: dict[str, str]) -> tuple[Path, float]:
    """The results of one run that nobody disturbed, and its seconds."""
    results, start = root.parent / "quiet", time.perf_counter()
    crowd.go(root, results, jobs=2)
    return results, time.perf_counter() - start


def table(results: Path) -> list[dict[str, str]]:
    with (results / "cohort.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def names(results: Path) -> dict[str, str]:
    with (results / "names.csv").open(newline="") as stream:
        return {row["exam"]: row["label"] for row in csv.DictReader(stream)}


def test_every_exam_is_a_row_with_its_reason(quiet: tuple[Path, float], wanted: dict[str, str]) -> None:
    results, _ = quiet
    labels = names(results)
    got: dict[str, list[str]] = {}
    for row in table(results):
        got.setdefault(labels[row["exam"]], []).append(row["reason"] or row["status"])
    expected = {place: [reason] for place, reason in wanted.items()}
    expected["bad/two.zip"] = ["done", "done"]
    assert got == expected


def test_the_table_names_no_patient_and_no_place(quiet: tuple[Path, float], root: Path) -> None:
    results, _ = quiet
    shared = [path for path in results.rglob("*") if path.is_file() and ".cohort" not in path.parts]
    shared = [path for path in shared if path.name != "names.csv" and path.suffix not in (".parquet", ".xlsx", ".webp")]
    assert len(shared) > 60
    for path in shared:
        text = path.read_text()
        for secret in ("DOE", "JANE", "PATIENT-", "p001", "alike", str(root.parent), "1.2.826.0.1."):
            assert secret not in text, (path, secret)
    if os.name == "posix":
        assert (results / "names.csv").stat().st_mode & 0o077 == 0


def test_exit_codes_are_those_of_analyze_and_of_limits(quiet: tuple[Path, float]) -> None:
    codes = {row["reason"]: row["exit_code"] for row in table(quiet[0]) if row["reason"]}
    assert codes == {
        "cannot-be-read": "3",
        "no-short-axis": "4",
        "geometry": "5",
        "changed": "3",
        "gone": "3",
        "time": "124",
        "memory": "137",
        "crash": "139",
        "bug": "1",
    }


def test_a_copy_counts_once_and_another_exam_of_the_same_name_counts_itself(quiet: tuple[Path, float]) -> None:
    results, _ = quiet
    labels = names(results)
    places = {labels[row["exam"]]: row for row in table(results)}
    assert places["bad/original"]["copies_left_out"] == "9"
    one, other = (places[f"bad/alike {number}"]["exam"] for number in (1, 2))
    assert one.split("-")[1] == other.split("-")[1]  # one study by its UID
    assert one != other


def test_kills_at_random_times_and_a_rerun_give_the_same_table(
    root: Path, quiet: tuple[Path, float], tmp_path: Path
) -> None:
    results, seconds = quiet
    cohorts.kill_often(root, tmp_path / "out", times=3, within=seconds / 2, rng=random.Random(13))
    progress = crowd.go(root, tmp_path / "out", jobs=2)
    assert progress.up_to_date > 0, "the killed runs left nothing: they were killed before they did anything"
    assert (tmp_path / "out" / "cohort.csv").read_bytes() == (results / "cohort.csv").read_bytes()
    assert not list((tmp_path / "out" / ".cohort" / "stage").iterdir())
