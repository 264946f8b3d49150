"""Two folders change places in one step, or not at all."""

import os
import re
import sys
import warnings
from pathlib import Path

import pytest

import cinesax
import hearts
from cinesax.files import folder_swap
from cinesax.files.folder_swap import new_folder, put_in_place, swap
from cinesax.results import write as results


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="this system has no exchange of folders")
def test_what_was_in_one_is_in_the_other(tmp_path: Path) -> None:
    one, other = tmp_path / "one é", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    (one / "a").write_text("a")
    (other / "b").write_text("b")
    assert swap(one, other)
    assert [path.name for path in one.iterdir()] == ["b"] and [path.name for path in other.iterdir()] == ["a"]


def test_where_one_is_missing_nothing_happens(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    assert not swap(tmp_path / "one", tmp_path / "missing")
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def folder(path: Path, name: str) -> Path:
    path.mkdir()
    (path / name).write_text(name)
    return path


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


@pytest.mark.parametrize("known", [True, False])
def test_a_folder_takes_the_place_of_another_or_of_none(tmp_path, monkeypatch, known):
    if not known:
        monkeypatch.setattr(folder_swap, "swap", lambda one, other: False)
    for _ in range(2):
        with new_folder(tmp_path / "deep" / "out") as work:
            (work / "new").write_text("new")
        assert names(tmp_path / "deep" / "out") == ["new"] and names(tmp_path / "deep") == ["out"]
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "deep" / "out") as work:
        (work / "half").write_text("half")
        raise KeyboardInterrupt
    assert names(tmp_path / "deep" / "out") == ["new"] and names(tmp_path / "deep") == ["out"]


@pytest.mark.parametrize("known", [True, False])
def test_behind_a_link_the_folder_is_replaced_and_not_the_link(tmp_path, monkeypatch, known):
    if not known:
        monkeypatch.setattr(folder_swap, "swap", lambda one, other: False)
    real = folder(tmp_path / "real", "old")
    try:
        (tmp_path / "link").symlink_to(real, target_is_directory=True)
    except OSError:
        pytest.skip("this system gives no links to this user")
    with new_folder(tmp_path / "link") as work:
        (work / "new").write_text("new")
    assert (tmp_path / "link").is_symlink() and names(real) == ["new"] and names(tmp_path) == ["link", "real"]


def test_what_appeared_meanwhile_is_replaced_only_where_that_is_asked_for(tmp_path):
    with pytest.raises(OSError), new_folder(tmp_path / "out", replace=False) as work:
        (work / "new").write_text("new")
        folder(tmp_path / "out", "theirs")
    assert names(tmp_path / "out") == ["theirs"] and names(tmp_path) == ["out"]


def test_where_the_second_rename_fails_the_old_folder_is_back(tmp_path, monkeypatch):
    stage, target = folder(tmp_path / "stage", "new"), folder(tmp_path / "out", "old")
    monkeypatch.setattr(folder_swap, "swap", lambda one, other: False)
    rename, calls = Path.rename, []

    def second_fails(self, other):
        calls.append(other)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        return rename(self, other)

    monkeypatch.setattr(Path, "rename", second_fails)
    with pytest.raises(OSError):
        put_in_place(stage, target)
    assert names(target) == ["old"] and names(tmp_path) == ["out", "stage"]


@pytest.mark.parametrize("known", [True, False])
def test_an_earlier_result_is_replaced_with_and_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    analysis = cinesax.analyze(hearts.cine(), segmentation=hearts.labels())
    if not known:
        monkeypatch.setattr(folder_swap, "swap", lambda one, other: False)
    out = cinesax.write_results(analysis, tmp_path / "out")
    # A contour of a frame that the new result does not have: an earlier, longer exam's.
    stale = out / "contours" / re.sub(r"\d{4}(?=-[io]contour)", "0999", next((out / "contours").iterdir()).name)
    stale.write_text("of another exam")
    before = os.stat(out).st_ino
    cinesax.write_results(analysis, out)
    assert os.stat(out).st_ino != before and not stale.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no processes to fork")
def test_a_kill_at_any_moment_leaves_the_old_or_the_new_result(tmp_path: Path) -> None:
    """Each system call of a rewrite is a moment: the writer dies at the first, then at the second, and so on."""
    exam = hearts.cine(phases=2, slices=3, side=16)
    drawn = hearts.labels((8, 4), slices=3, inside=range(1, 2), side=16)
    first = cinesax.analyze(exam, segmentation=drawn)
    second = cinesax.analyze(exam, segmentation=drawn, ed_phase=1, es_phase=0)
    out = cinesax.write_results(first, tmp_path / "out")
    contents: dict[int, int | None] = {0: None, 1: None}
    moment, done = 0, False
    while not done:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # threads of the test runner
            child = os.fork()
        if child == 0:
            die_at(moment)
            cinesax.write_results(second, out)
            os._exit(0)
        done = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        document = results.tables.read_json(out / "analysis.json")
        assert {path.name for path in out.iterdir()} == set(results.NAMES)
        contents[document["measurements"]["ed_phase"]] = moment
        if document["measurements"]["ed_phase"] == 1:
            cinesax.write_results(first, out)
        moment += 1
    assert moment > 5 and None not in contents.values()


def die_at(moment: int) -> None:
    """Let this process be killed at one of the calls that change the file system."""
    left = [moment]

    def hook(event: str, _: tuple[object, ...]) -> None:
        if event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree", "ctypes.dlopen"):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), 9)

    sys.addaudithook(hook)
