"""`cinesax send`: options that cannot be meant, what is told, and how it ends."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import exams
from cinesax.cli.main import main

NOBODY = "ARCHIVE@127.0.0.1:1"
Send = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    exams.write_exam(folder / "deep", exams.small_cine(phases=1, slices=2))
    return folder


@pytest.fixture
def send(capsys: pytest.CaptureFixture[str]) -> Send:
    """`cinesax send` in this process."""

    def sent(*arguments: object) -> "subprocess.CompletedProcess[str]":
        words = ["send", *map(str, arguments)]
        return subprocess.CompletedProcess(words, main(words), *capsys.readouterr())

    return sent


def test_nothing_taken_ends_with_9_one_line_and_a_table_of_what_became_of_each(folder: Path, send: Send) -> None:
    done = send(folder, "--to", NOBODY, "--attempts", 1)
    assert done.returncode == 9
    assert done.stderr.splitlines() == [
        f"cinesax: error: {NOBODY} took 0 of 2 objects; first failure: nobody answers at 127.0.0.1, port 1"
    ]
    assert done.stdout.count("nobody answers") == 1 and "not sent, 2 objects: nobody answers" in done.stdout
    assert done.stdout.count("not sent") == 3 and "MR Image" in done.stdout and "taken: 0 of 2" in done.stdout


def test_the_table_as_json_names_files_and_no_patient(folder: Path, send: Send) -> None:
    done = send(folder, "--to", "http://127.0.0.1:1/dicom-web", "--attempts", 1, "--format", "json")
    assert done.returncode == 9
    report = json.loads(done.stdout)
    assert (report["schema"], report["destination"]) == ("cinesax/delivery/1", "http://127.0.0.1:1/dicom-web")
    assert {one["file"].split("/")[0] for one in report["objects"]} == {"deep"}
    assert {(one["fate"], one["attempts"], one["kind"]) for one in report["objects"]} == {("not sent", 1, "MR Image")}
    assert not any(name in done.stdout for name in ("DOE", "ID-77", "1.2.3.4."))


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--to", "pacs"), 2, "is not a destination"),
        (("--to", NOBODY, "--attempts", "0"), 2, "--attempts must be at least 1"),
        (("--to", NOBODY, "--timeout", "nan"), 2, "--timeout must be above 0"),
        (("--to", NOBODY, "--timeout", "-1"), 2, "--timeout must be above 0"),
        (("--to", NOBODY, "--from", "A" * 17), 2, "--from must be an AE title"),
        (("--to", NOBODY, "--token-file", "TOKEN"), 2, "a token is for DICOMweb only"),
        (("--to", "https://127.0.0.1:1/x", "--token-file", "MISSING"), 3, "cannot be read as a token"),
        (("--to", "https://127.0.0.1:1/x", "--token-file", "EMPTY"), 3, "holds no token"),
    ],
)
def test_options_that_cannot_be_meant_end_in_one_line(
    folder: Path, tmp_path: Path, send: Send, arguments: tuple[str, ...], code: int, said: str
) -> None:
    (tmp_path / "TOKEN").write_text("secret\n")
    (tmp_path / "EMPTY").write_text("\n")
    places = [tmp_path / one if one in ("TOKEN", "EMPTY", "MISSING") else one for one in arguments]
    done = send(folder, *places)
    assert (done.returncode, done.stdout) == (code, "")
    assert len(done.stderr.splitlines()) == 1 and said in done.stderr and "secret" not in done.stderr


def test_a_folder_without_objects_says_how_to_make_some(tmp_path: Path, send: Send) -> None:
    done = send(tmp_path, "--to", NOBODY)
    assert done.returncode == 3 and "cinesax analyze EXAM -o OUT --dicom" in done.stderr


@pytest.mark.parametrize(("to", "module"), [(NOBODY, "pynetdicom"), ("https://127.0.0.1:1/x", "dicomweb_client")])
def test_without_the_packages_it_names_the_extra(folder: Path, to: str, module: str) -> None:
    code = (
        f"import sys; sys.modules[{module!r}] = None; from cinesax.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "send", str(folder), "--to", to]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 8 and "pip install '.[send]'" in done.stderr
