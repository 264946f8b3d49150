"""Exams in a store: a real S3 server on this machine gives the table that the same files give."""

import csv
import json
import logging
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import crowd
import exams
import objects
from cinesax.cli.main import main
from cinesax.cohort.receipt import read_receipt
from cinesax.core.errors import InputError, UsageError
from cinesax.engines.work import Limits, Outcome, Result, Setup, Task
from cinesax.files import remote
from cinesax.files.remote import place_of, shown
from cinesax.files.temporary import own_place, remove_lost, temporary_folder
from cinesax.results.write import write_results

pytest.importorskip("s3fs", reason="needs s3fs (the extra remote)")
moto = pytest.importorskip("moto.server", reason="needs moto with flask, which are S3 on this machine")


@dataclass(frozen=True)
class S3:
    """A server, and a bucket on it."""

    address: str
    files: Any

    def allow_only(self, requests: str) -> None:
        """After so many requests, refuse the credentials of this test."""
        request = urllib.request.Request(f"{self.address}/moto-api/reset-auth", requests.encode())
        request.add_header("Content-Type", "text/plain")
        urllib.request.urlopen(request).close()


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    import s3fs

    server = moto.ThreadedMotoServer("127.0.0.1", 0)
    with pytest.MonkeyPatch.context() as patch:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        server.start()
        address = "http://{}:{}".format(*server.get_host_and_port())
        _visit(patch, address)
        files = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
        files.mkdir("exams")
        yield S3(address, files)
        server.stop()


def _visit(patch: pytest.MonkeyPatch, address: str) -> None:
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    for name, value in {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }.items():
        patch.setenv(name, value)


@pytest.fixture(autouse=True)
def lent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    (tmp_path / "lent").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "lent"))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path / "lent"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exams of all kinds, good and bad; no links, which no store has."""
    folder = tmp_path_factory.mktemp("remote") / "root"
    crowd.exam(folder / "good" / "p000", 1)
    shutil.copytree(folder / "good" / "p000", folder / "good" / "z copy")
    crowd.exam(folder / "bad" / "no cine", 2, phases=1)
    crowd._packed(folder / "bad")
    (folder / "bad" / "empty").mkdir()
    for number in range(3):
        (folder / "bad" / "empty" / f"IM{number}").touch()
    (folder / "nifti").mkdir()
    image = nib.Nifti1Image(np.ones((16, 16, 4, 5), dtype=np.int16), np.diag([1.5, 1.5, 8.0, 1.0]))
    nib.save(image, folder / "nifti" / "p.nii.gz")
    (folder / "nifti" / "p.json").write_text(json.dumps({"RepetitionTime": 0.04}))
    (folder / "nifti" / "damaged.nii").write_text("a text")
    return folder


def rows(results: Path) -> dict[str, dict[str, str]]:
    with (results / "names.csv").open(newline="") as stream:
        names = {row["exam"]: row["label"] for row in csv.DictReader(stream)}
    with (results / "cohort.csv").open(newline="") as stream:
        return {names.get(row["exam"], row["exam"]): row for row in csv.DictReader(stream)}


def test_the_table_is_that_of_the_same_files(s3: S3, root: Path, tmp_path: Path, lent: Path) -> None:
    s3.files.put(str(root), "exams/all", recursive=True)
    s3.files.pipe_file("exams/all/.hidden/x.dcm", b"not looked at")
    results, url = tmp_path / "out", "s3://exams/all"
    crowd.go(place_of(f"{url}/"), results, outputs=("dicom",))
    crowd.go(root, tmp_path / "local", outputs=("dicom",))
    assert (results / "cohort.csv").read_bytes() == (tmp_path / "local" / "cohort.csv").read_bytes()
    assert {row["reason"] for row in rows(results).values()} == {"", "cannot-be-read", "no-short-axis"}
    assert sum(row["copies_left_out"] == "9" for row in rows(results).values()) == 1
    with (results / "names.csv").open(newline="") as stream:
        places = {row["label"]: row["path"] for row in csv.DictReader(stream)}
    assert places["good/p000"] == f"{url}/good/p000" and places["bad/one.zip"] == f"{url}/bad/one.zip"
    # No copy is left, and no result tells where it was.
    assert not list(lent.rglob("lent-*"))
    assert not [path for path in results.rglob("*.json") if str(lent) in path.read_text()]


def test_a_worker_that_is_ended_leaves_no_copy(s3: S3, tmp_path: Path, lent: Path) -> None:
    crowd.exam(tmp_path / "loop", 1, description="LOOP")
    s3.files.put(str(tmp_path / "loop"), "exams/worker/loop", recursive=True)
    crowd.go(place_of("s3://exams/worker"), tmp_path / "out", jobs=1)
    assert rows(tmp_path / "out")["loop"]["reason"] == "time"
    assert not list(lent.rglob("lent-*"))


def test_what_has_not_changed_is_not_read_again(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crowd.fill_simply(tmp_path / "root", good=3)
    shutil.make_archive(str(tmp_path / "root" / "zipped"), "zip", tmp_path / "root" / "p001")
    shutil.rmtree(tmp_path / "root" / "p001")
    (tmp_path / "root" / "cut.zip").write_bytes((tmp_path / "root" / "zipped.zip").read_bytes()[:-30])
    s3.files.put(str(tmp_path / "root"), "exams/again", recursive=True)
    place, results = place_of("s3://exams/again"), tmp_path / "out"
    assert crowd.go(place, results).done == 3
    text = (results / "cohort.csv").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("cinesax.files.remote.fetch", lambda files: pytest.fail("fetched again"))
        patch.setattr("cinesax.cohort.planning.inputs.fetch", lambda files: pytest.fail("fetched again"))
        patch.setattr(
            "cinesax.cohort.planning.find_remote.beginnings", lambda places, count: [pytest.fail("read")] * len(places)
        )
        for _ in range(2):  # the second plan knows only what the first of these knew
            assert crowd.go(place, results).up_to_date == 5
    assert (results / "cohort.csv").read_bytes() == text
    one = min(s3.files.ls("exams/again/p000", refresh=True))
    s3.files.pipe_file(one, s3.files.cat_file(one) + b"\0\0")
    s3.files.rm("exams/again/p002", recursive=True)
    assert crowd.go(place, results).done == 1
    assert rows(results)["zipped.zip"]["status"] == "done" and rows(results)["cut.zip"]["reason"] == "cannot-be-read"
    assert [row["status"] for row in rows(results).values() if row["input_missing"] == "1"] == ["done"]


class Meanwhile(crowd.InThisProcess):
    """Something happens between the plan and the first exam."""

    def __init__(self, happens: Callable[[], None]) -> None:
        self.happens = happens

    def run(
        self, setup: Setup[Task, Result], tasks: Iterable[Task | None], limits: Limits
    ) -> Iterator[Outcome[Task, Result]]:
        self.happens()
        yield from super().run(setup, tasks, limits)


def test_an_exam_that_cannot_be_fetched_is_a_row_and_the_next_one_goes_on(
    s3: S3, tmp_path: Path, lent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd.fill_simply(tmp_path / "root", good=4)
    s3.files.put(str(tmp_path / "root"), "exams/lost", recursive=True)
    place, results = place_of("s3://exams/lost"), tmp_path / "out"
    crowd.go(place, results, engine=Meanwhile(lambda: s3.allow_only("0")))
    s3.allow_only("inf")
    assert {row["reason"] for row in rows(results).values()} == {"unreachable"}
    assert "access is denied" in rows(results)["p000"]["message"]
    real, victims = remote.fetch, iter(["change", "remove", "full"])

    def fetch(files: dict[Path, Path]) -> None:
        what = next(victims, "")
        if what == "full":
            raise OSError(28, "No space left on device")
        if what == "remove":
            s3.files.rm(shown(min(files)))
        real(files)
        if what == "change":
            s3.files.pipe_file(shown(min(files)), b"another file")

    with monkeypatch.context() as patch:
        patch.setattr("cinesax.cohort.planning.inputs.fetch", fetch)
        crowd.go(place, results)
    assert sorted(row["reason"] for row in rows(results).values()) == [
        *("", "cannot-be-written", "changed", "gone", "no-short-axis")
    ]
    monkeypatch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    crowd.go(place, results)
    assert "TMPDIR" in {row["reason"]: row["message"] for row in rows(results).values()}["cannot-be-written"]
    assert not [path for path in lent.rglob("lent-*")]


def test_a_store_that_goes_away_gives_rows_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    server = moto.ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    _visit(monkeypatch, f"http://{host}:{port}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    crowd.fill_simply(tmp_path / "root", good=1)
    files = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
    files.mkdir("away")
    files.put(str(tmp_path / "root"), "away/root", recursive=True)
    place, results = place_of("s3://away/root"), tmp_path / "out"
    crowd.go(place, results, engine=Meanwhile(server.stop))
    found = {row["reason"]: row["message"] for row in rows(results).values()}
    assert list(found) == ["unreachable"] and "the store cannot be reached" in found["unreachable"]
    assert main(["cohort", "s3://away/root", "-o", str(results)]) == 3
    server = moto.ThreadedMotoServer(host, port)
    server.start()
    assert (crowd.go(place, results).done, len(rows(results))) == (1, 2)
    server.stop()
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_list_may_name_objects(s3: S3, tmp_path: Path) -> None:
    from cinesax.cohort.planning.listed import read_list
    from cinesax.cohort.run import Cohort, make_plan, opened_plan

    crowd.fill_simply(tmp_path / "root", good=2)
    s3.files.put(str(tmp_path / "root" / "p000"), "exams/listed/p000", recursive=True)
    (tmp_path / "list.csv").write_text("path,arm\ns3://exams/listed/p000,A\nroot/p001,B\ns3://exams/none,C\n")
    (tmp_path / "out" / ".cohort").mkdir(parents=True)
    make_plan(Cohort(tmp_path / "out", listed=read_list(tmp_path / "list.csv")), lambda count: None)
    with opened_plan(tmp_path / "out") as plan:
        found = {one.place: (shown(one.root), one.n_files, one.columns["arm"]) for one in plan.exams()}
    assert found == {
        "s3://exams/listed/p000": ("s3://exams/listed/p000", 9, "A"),
        "root/p001": (str(tmp_path / "root" / "p001"), 9, "B"),
        "s3://exams/none": ("s3://exams/none", 0, "C"),
    }


def test_names_that_no_file_can_have_are_a_row(s3: S3, tmp_path: Path) -> None:
    crowd.fill_simply(tmp_path / "root", good=1)
    for path in (tmp_path / "root" / "p000").iterdir():
        s3.files.pipe_file(f"exams/odd/p000//{path.name}", path.read_bytes())
        s3.files.pipe_file(f"exams/odd/p001/{path.name}", path.read_bytes())
    crowd.go(place_of("s3://exams/odd"), tmp_path / "out")
    found = rows(tmp_path / "out")
    assert (found["p000"]["reason"], found["p001"]["status"]) == ("cannot-be-read", "done")
    assert "give them other names" in found["p000"]["message"]


def test_one_bad_object_is_a_row_and_the_plan_goes_on(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crowd.exam(tmp_path / "good", 1)
    for number, path in enumerate(sorted((tmp_path / "good").iterdir())):
        # Names that no disk can have, and that some disks take for one.
        name = f"{'a' if number % 2 else 'A'}{number // 2:0300}"
        s3.files.pipe_file(f"exams/one/p001/{name}", path.read_bytes())
    s3.files.pipe_file("exams/one/p002/x.zip", b"PK\x03\x04" + bytes(100))
    s3.files.pipe_file(f"exams/one/p003/{'n' * 300}.nii", bytes(1000))
    s3.files.pipe_file("exams/one/p004/x.dcm", b"fails")
    s3.files.pipe_file("exams/one/p004/a::b.dcm", b"fails")
    s3.files.pipe_file("exams/one/p005/large.zip", b"PK\x03\x04" + bytes(50_000))
    real = remote._system

    class Failing:
        """Every beginning of p004 fails, and the listing of p001 fails once."""

        def __init__(self, system: Any) -> None:
            self.system = system

        def __getattr__(self, name: str) -> Any:
            return getattr(self.system, name)

        def cat_ranges(self, paths: list[str], *others: Any, **more: Any) -> list[Any]:
            found = self.system.cat_ranges(paths, *others, **more)
            return [RuntimeError("odd") if "p004" in path else one for path, one in zip(paths, found, strict=True)]

        def ls(self, path: str, **more: Any) -> Any:
            if path.endswith("p001") and failures:
                raise RuntimeError(failures.pop())
            return self.system.ls(path, **more)

    failures = ["odd"]
    for module in ("find_remote", "inputs"):
        monkeypatch.setattr(f"cinesax.cohort.planning.{module}.MAX_ARCHIVE_BYTES", 40_000)
    monkeypatch.setattr(remote, "_system", lambda place: (Failing(real(place)[0]), real(place)[1]))
    fetched: list[Path] = []
    fetch = remote.fetch
    monkeypatch.setattr("cinesax.cohort.planning.inputs.fetch", lambda files: (fetched.extend(files), fetch(files)))
    crowd.go(place_of("s3://exams/one"), tmp_path / "out")
    found = rows(tmp_path / "out")
    words = {name[:4]: row["message"] for name, row in found.items()}
    assert not failures and sorted(words) == ["p001", "p002", "p003", "p004", "p005"]
    assert found["p001"]["status"] == "done" and {row["reason"] for row in found.values()} == {"", "cannot-be-read"}
    assert "not a readable zip" in words["p002"] and "too long for a disk" in words["p003"]
    assert '"::": give them other names' in words["p004"] and "more than the" in words["p005"]
    assert not [place for place in fetched if place.name == "large.zip"]


def test_folders_of_the_same_uids_that_cannot_be_compared_are_a_row_until_they_can(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    crowd.exam(tmp_path / "root" / "first", 1)
    shutil.copytree(tmp_path / "root" / "first", tmp_path / "root" / "second")
    s3.files.put(str(tmp_path / "root"), "exams/unsure", recursive=True)
    place, results, real = place_of("s3://exams/unsure"), tmp_path / "out", remote.fetch
    crowd.go(place, results)
    text = (results / "cohort.csv").read_bytes()
    failures = [remote.RemoteError(5, "odd")]

    def fails(files: dict[Path, Path], *, forever: bool) -> None:
        if any("second" in path.parts for path in files) and failures:
            raise failures[0] if forever else failures.pop()
        real(files)

    # An object that fails once is tried again.
    monkeypatch.setattr(remote, "fetch", lambda files: fails(files, forever=False))
    assert crowd.go(place, results).up_to_date == 1 and not failures
    assert (results / "cohort.csv").read_bytes() == text
    failures.append(remote.RemoteError(13, "access is denied"))
    monkeypatch.setattr(remote, "fetch", lambda files: fails(files, forever=True))
    assert crowd.go(place, results).failed == 1
    found = rows(results)
    assert {name: row["reason"] for name, row in found.items()} == {"first": "", "second": "unreachable"}
    assert "could not be read to compare them" in found["second"]["message"] and found["first"]["input_missing"] == "0"
    monkeypatch.setattr(remote, "fetch", real)
    assert crowd.go(place, results).up_to_date == 1
    assert (results / "cohort.csv").read_bytes() == text
    # Without the store there is no new plan.
    failures[:] = [remote.RemoteError(112, "the store cannot be reached")]
    monkeypatch.setattr(remote, "fetch", lambda files: fails(files, forever=True))
    monkeypatch.setattr("cinesax.cohort.planning.find_remote.look", lambda place: (_ for _ in ()).throw(failures[0]))
    with pytest.raises(InputError, match="can be repeated later"):
        crowd.go(place, results)


def test_a_full_disk_for_temporary_files_is_named_while_planning(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    s3.files.pipe_file("exams/full/x.zip", b"PK\x03\x04" + bytes(100))
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
        assert main(["cohort", "s3://exams/full", "-o", str(tmp_path / "out")]) == 7
    assert "(TMPDIR), which has 0.0 GB left" in capsys.readouterr().err

    def full(files: dict[Path, Path]) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(remote, "fetch", full)
    assert main(["cohort", "s3://exams/full", "-o", str(tmp_path / "out")]) == 7
    assert "(TMPDIR) cannot be written: No space left" in capsys.readouterr().err


def test_other_stores_are_read_through_fsspec(tmp_path: Path) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    crowd.fill_simply(tmp_path / "root", good=2)
    store = MemoryFileSystem()
    store.put(str(tmp_path / "root"), "/exams/root", recursive=True)
    crowd.go(tmp_path / "root", tmp_path / "local")
    crowd.go(place_of("memory://exams/root"), tmp_path / "out")
    assert (tmp_path / "out" / "cohort.csv").read_bytes() == (tmp_path / "local" / "cohort.csv").read_bytes()
    assert crowd.go(place_of("memory://exams/root"), tmp_path / "out").up_to_date == 3
    assert read_receipt(next((tmp_path / "out" / "exams").iterdir())) is not None
    store.rm("/exams", recursive=True)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["s3://nowhere/x"], 3, "s3://nowhere/x does not exist"),
        (["s3://"], 2, "is not a folder or object"),
        (["ftp://user:secret@host/x"], 2, "leave the password out of the URL (ftp://...)"),
        (["s3://user:pass/secret@host/x"], 2, "leave the password out of the URL (s3://...)"),
        (["s3://user%3Asecret%40host/x"], 2, "leave the password out of the URL (s3://...)"),
        (["s3://user:secret@host::s3://x"], 2, "leave the password out of the URL (s3://...)"),
        (["s3://bucket/x?X-Amz-Signature=secret"], 2, "leave the signature out of the URL (s3://...)"),
        (["https://host/x?a=1&sig=secret"], 2, "leave the signature out of the URL (https://...)"),
        (["gs://bucket/x?access_token=secret"], 2, "leave the signature out of the URL (gs://...)"),
        (["https://host/x"], 2, "web servers cannot be listed: copy the exams to a disk"),
        (["simplecache::s3://bucket/x"], 2, 'a URL with "::" cannot be read'),
        (["nonsense://host/x"], 2, "nonsense:// is not a kind of store"),
        (["file:///data"], 2, "is not a store"),
        (["gs://bucket/x"], 8, "gs:// needs another package: Please install gcsfs"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    s3: S3, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], code: int, words: str
) -> None:
    assert main(["cohort", *options, "-o", str(tmp_path / "out")]) == code
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1 and "secret" not in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", [["analyze"], ["inspect"], ["view"]])
@pytest.mark.parametrize(
    "url", ["s3://user:secret@bucket/x", "s3://bucket/secret.nii.gz", "simplecache::s3://secret/x"]
)
def test_other_commands_say_that_only_cohort_reads_stores(
    capsys: pytest.CaptureFixture[str], command: list[str], url: str
) -> None:
    assert main([*command, url]) == 2
    error = capsys.readouterr().err
    assert "only `cinesax cohort` reads exams in a store" in error and error.count("\n") == 1 and "secret" not in error


def test_a_bad_url_in_a_list_names_its_row(tmp_path: Path) -> None:
    from cinesax.cohort.planning.listed import read_list

    (tmp_path / "list.csv").write_text("path\nroot\ns3://user:secret@bucket/x\n")
    with pytest.raises(UsageError, match=r"list\.csv, row 3: leave the password out") as caught:
        read_list(tmp_path / "list.csv")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        ("cohort exam -o URL", "-o"),
        ("cohort exam -o out --reader URL", "--reader"),
        ("cohort exam -o out --model URL", "--model"),
        ("analyze exam -o URL", "-o"),
        ("analyze exam --out=URL", "-o"),
        ("analyze exam --model URL", "--model"),
        ("view exam --store URL", "--store"),
        ("compare exam exam -o URL", "-o"),
        ("prepare exam -o URL", "-o"),
        ("train exam -o URL", "-o"),
        ("export exam -o URL", "-o"),
        ("evaluate --data exam --json URL", "--json"),
        ("dataset walls exam -o URL", "-o"),
        ("dataset show exam -o URL", "-o"),
        ("phantom URL", ""),
        ("compare exam URL", ""),
    ],
)
def test_results_and_settings_are_not_in_a_store(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: str,
    option: str,
) -> None:
    (tmp_path / "exam").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(arguments.replace("URL", "s3://bucket/secret").split()) == 2
    error = capsys.readouterr().err
    words = f"{option} must be on this machine or on a shared file system" if option else "on this machine"
    assert words in error and error.count("\n") == 1 and "secret" not in error
    assert [path.name for path in tmp_path.iterdir() if path.name != "lent"] == ["exam"]


def test_python_refuses_to_write_results_to_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    analysis = objects.analysis_of(exams.small_cine())
    with pytest.raises(UsageError, match="not in a store"):
        write_results(analysis, "s3://bucket/out")
    assert [path.name for path in tmp_path.iterdir()] == ["lent"]


def test_a_missing_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    assert main(["cohort", "s3://bucket/x", "-o", str(tmp_path / "out")]) == 8
    assert "pip install '.[remote]'" in capsys.readouterr().err


def test_copies_of_killed_processes_are_removed_and_others_stay(lent: Path) -> None:
    if os.name != "posix":
        pytest.skip("locks tell them apart")
    killed = "import os, cinesax.files.temporary as t\nwith t.temporary_folder() as one: os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", killed]).returncode == -9
    (left,) = (path for path in own_place().glob("lent-*") if path.suffix != ".lock")
    for path in own_place().glob("*.lock"):
        os.utime(path, (0, 0))
    with temporary_folder() as mine:
        remove_lost()
        assert mine.is_dir() and not left.exists()
    assert not list(own_place().glob("lent-*"))
    own_place().chmod(0o755)
    assert own_place().stat().st_mode & 0o777 == 0o700
    own_place().rmdir()
    remove_lost()
    assert not list(lent.iterdir())
    usual = own_place()
    usual.rmdir()
    usual.write_text("made by somebody else")
    alone = "import cinesax.files.temporary as t\nassert t.own_place() == t.own_place() and t.own_place().is_dir()"
    assert subprocess.run([sys.executable, "-c", alone]).returncode == 0
    remove_lost()
    assert list(lent.iterdir()) == [usual]
