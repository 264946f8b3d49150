"""The command as a whole: help, version, exit codes, and how it ends when it is made to."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cinesax
import exams
from cinesax.cli import main as cli
from cinesax.core import errors


def command(*arguments: str, **options: object) -> "subprocess.CompletedProcess[str]":
    """Run the command in a process of its own."""
    run = [sys.executable, "-m", "cinesax", *arguments]
    return subprocess.run(run, capture_output=True, text=True, timeout=120, **options)  # type: ignore[call-overload]


def test_version() -> None:
    done = command("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"cinesax {cinesax.__version__}\n", "")


def test_help_tells_every_command_and_that_it_is_for_research() -> None:
    done = command("--help")
    assert done.returncode == 0 and done.stderr == ""
    for name in cli.COMMANDS:
        assert re.search(rf"^ +{name}\b", done.stdout, flags=re.MULTILINE)
    assert "not a medical device" in done.stdout


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_of_each_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([name, "--help"])
    assert end.value.code == 0 and f"cinesax {name}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["frobnicate"], ["analyze"], ["analyze", "x", "--no-such-option"]])
def test_what_cannot_be_understood_ends_with_2(arguments: list[str]) -> None:
    done = command(*arguments)
    assert done.returncode == errors.UsageError.exit_code == 2
    prog = "cinesax analyze" if arguments[:1] == ["analyze"] else "cinesax"
    assert re.fullmatch(rf"cinesax: error: .+ \(see {prog} --help\)\n", done.stderr)


@pytest.mark.parametrize("kind", [*errors.CinesaxError.__subclasses__(), errors.GeometryError, errors.NoShortAxisError])
def test_an_error_is_one_line_and_its_exit_code(
    kind: type[errors.CinesaxError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> None:
        raise kind("seen this, expected that")

    monkeypatch.setattr("cinesax.cli.analyze.run", fail)
    assert cli.main(["analyze", "x"]) == kind.exit_code
    assert capsys.readouterr().err == "cinesax: error: seen this, expected that\n"


def test_an_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cinesax.cli.analyze.run", interrupt)
    assert cli.main(["analyze", "x"]) == 130
    assert capsys.readouterr().err == "cinesax: interrupted\n"


def test_a_reader_that_leaves_early_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    code = "import sys, cinesax.cli.analyze as a; a.run = lambda args: sys.stdout.write('x' * 100_000);"
    code += "from cinesax.cli.main import main; sys.exit(main(['analyze', 'x']))"
    done = subprocess.run([sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("anlyze x", "analyze"),
        ("inspct x", "inspect"),
        ("analyze x --hieght-cm 3", "--height-cm"),
        ("train x -o r --sett a", "--set"),
    ],
)
def test_a_misspelt_word_gets_the_one_that_was_meant(
    typed: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(typed.split())
    message = capsys.readouterr().err
    assert end.value.code == 2 and f"did you mean {meant}" in message


def test_the_help_page_waits_for_no_library() -> None:
    code = "import sys; from cinesax.cli.main import build_parser; build_parser().format_help();"
    code += "print(*({'scipy', 'pydicom', 'tensorflow', 'onnxruntime', 'jinja2'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("\n", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_command(shell: str) -> None:
    done = command("completion", shell)
    assert done.returncode == 0 and "cinesax" in done.stdout and "argcomplete" in done.stdout.lower()


@pytest.mark.parametrize(
    ("line", "wanted"),
    [("cinesax ana", "analyze"), ("cinesax analyze --hei", "--height-cm"), ("cinesax completion f", "fish")],
)
def test_the_shell_is_told_what_can_follow(line: str, wanted: str, tmp_path: Path) -> None:
    answer = tmp_path / "answer"
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9"}
    asked |= {"_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_SUPPRESS_SPACE": "1", "_ARGCOMPLETE_STDOUT_FILENAME": str(answer)}
    command(env={**os.environ, **asked})
    assert wanted in answer.read_text().split("\n")


def test_what_is_logged_of_a_damaged_exam_is_for_those_who_ask(tmp_path: Path) -> None:
    files = exams.write_exam(tmp_path)
    files[2].write_bytes(files[2].read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2/1\0"))
    arguments = ("inspect", str(tmp_path))
    assert command(*arguments).stderr == ""
    assert "cinesax.dicom.read.exam: " in command("--verbose", *arguments).stderr
