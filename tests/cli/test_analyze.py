"""`cinesax analyze`: real processes on real files."""

import gzip
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

import hearts
from cinesax.cli.main import main
from cinesax.core.segmentation import polygon_area
from cinesax.formats.nifti import write_segmentation

# A command whose network takes its time: says "ready" when it is in the middle of a frame.
SLOW = """
import sys, time
import cinesax.network.segmenter
from cinesax.cli.main import main
sys.path.insert(0, {tests!r})
import hearts

class Slow:
    name, checksum = "slow 1.0", "0" * 64
    def segment(self, cine, progress=None):
        for frame in range(60):
            if progress is not None:
                progress(frame, 60)
            print("ready", file=sys.stderr, flush=True)
            time.sleep({seconds})
        return hearts.labels()

cinesax.network.segmenter.load_segmenter = lambda *_, **__: Slow()
sys.exit(main(sys.argv[1:]))
"""

# A command that takes its time over the report, when the other results lie in their hidden folder.
SLOW_WRITING = """
import sys, time
import cinesax.results.html
from cinesax.cli.main import main

def render(*_, **__):
    print("ready", file=sys.stderr, flush=True)
    time.sleep(60)

cinesax.results.html.render = render
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def exam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with exam.nii.gz, a cine, and labels.nii.gz, its segmentation."""
    folder = tmp_path_factory.mktemp("exam")
    cine = hearts.cine()
    image = nibabel.Nifti1Image(np.ascontiguousarray(cine.pixels.T), np.diag([-1.0, -1.0, 10.0, 1.0]))
    image.header.set_zooms((1.0, 1.0, 10.0, 100.0))
    image.header.set_xyzt_units("mm", "msec")
    nibabel.save(image, folder / "exam.nii.gz")
    write_segmentation(hearts.labels(), cine, folder / "labels.nii.gz")
    return folder


def analyze(*arguments: object, code: str | None = None) -> "subprocess.CompletedProcess[str]":
    start = ["-m", "cinesax"] if code is None else ["-c", code]
    command = [sys.executable, *start, "analyze", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def run(*arguments: object) -> int:
    """The exit code of the same within this process."""
    try:
        return main(["analyze", *map(str, arguments)])
    except SystemExit as ended:  # of the parser
        return int(ended.code or 0)


def given(exam: Path) -> tuple[object, ...]:
    return exam / "exam.nii.gz", "--segmentation", exam / "labels.nii.gz"


def test_it_writes_the_results_and_prints_the_table(exam: Path, tmp_path: Path) -> None:
    done = analyze(*given(exam), "-o", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Ejection fraction" in done.stdout and "75.0" in done.stdout and "not a medical device" in done.stdout
    assert str(tmp_path / "out" / "report.html") in done.stdout
    assert json.loads((tmp_path / "out" / "analysis.json").read_text())["measurements"]["edv_ml"] == 16.0


def test_json_on_standard_output_is_what_is_written(exam: Path, tmp_path: Path) -> None:
    done = analyze(*given(exam), "-o", tmp_path / "out", "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (tmp_path / "out" / "analysis.json").read_text()


def test_without_a_folder_nothing_is_written(
    exam: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*given(exam), "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["measurements"]["esv_ml"] == 4.0
    assert list(tmp_path.iterdir()) == []


def test_values_can_be_given(exam: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--ed-phase", 1, "--es-phase", 2, "--height-cm", 180, "--weight-kg", 80, "--format", "json")
    assert run(*given(exam), *options) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["measurements"]["ed_phase"], document["measurements"]["es_phase"]) == (1, 2)
    assert document["measurements"]["bsa_m2"] == 2.0
    assert [f["code"] for f in document["findings"]].count("overridden-phase") == 2


def test_phases_given_the_wrong_way_round_are_the_first_finding(exam: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*given(exam), "--ed-phase", 2, "--es-phase", 1, "--format", "json") == 0
    document = json.loads(capsys.readouterr().out)
    first = document["findings"][0]
    assert document["measurements"]["ef_percent"] < 0
    assert (first["code"], first["severity"]) == ("phases-reversed", "error")


@pytest.mark.parametrize(
    ("options", "exit_code"),
    [
        (("--ed-phase", "10"), 2),
        (("--height-cm", "1.8"), 2),
        (("--threads", "0"), 2),
        (("--model", "x"), 2),
        (("--series", "1.2.3"), 2),
        (("--format", "xml"), 2),
    ],
)
def test_options_that_cannot_be_meant(
    exam: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], exit_code: int
) -> None:
    assert run(*given(exam), *options) == exit_code
    said = capsys.readouterr()
    assert said.out == "" and "error: " in said.err and "Traceback" not in said.err


def test_one_phase_for_both_ed_and_es_is_one_clear_error(exam: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*given(exam), "--ed-phase", 2, "--es-phase", 2) == 2
    assert capsys.readouterr().err == ("cinesax: error: the ED phase and the ES phase must differ, seen 2 for both\n")
    assert run(*given(exam), "--ed-phase", 3) == 2
    assert capsys.readouterr().err == (
        "cinesax: error: the ED phase given, 3, is the phase of the smallest volume, which is used as ES: "
        "give the ES phase too\n"
    )


def test_papillary_muscles_are_told_of_what_is_given(exam: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*given(exam), "--papillary-muscles", "excluded", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["segmentation"]["papillary_muscles_included"] is False
    assert run(*given(exam), "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["segmentation"]["papillary_muscles_included"] is True
    assert run(exam / "exam.nii.gz", "--papillary-muscles", "excluded") == 2
    assert capsys.readouterr().err.startswith(
        "cinesax: error: --papillary-muscles describes a --segmentation: give one too"
    )


@pytest.mark.parametrize("arguments", [("",), ("EXAM", "-o", ""), ("EXAM", "--segmentation", ""), ("EXAM", "--model=")])
def test_an_empty_path_is_not_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["analyze", *arguments])
    assert ended.value.code == 2 and "expected a path, seen an empty text" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["contours", "segmentation.nii.gz"])
def test_a_segmentation_inside_of_the_results_is_replaced_by_force_only(
    exam: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    out, link = tmp_path / "out", tmp_path / Path(name).name
    assert run(*given(exam), "-o", out) == 0
    link.symlink_to(out / name)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for segmentation in (out / name, link):
        capsys.readouterr()
        again = (exam / "exam.nii.gz", "--segmentation", segmentation, "-o", out)
        assert run(*again) == 2
        messages = capsys.readouterr().err
        assert messages.startswith("cinesax: error: ") and "--force" in messages and messages.count("\n") == 1
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert run(*again, "--force") == 0
    assert (out / "analysis.json").stat().st_mtime_ns != before[out / "analysis.json"]


def test_contours_of_results_inside_of_the_folder_that_is_measured(exam: Path, tmp_path: Path) -> None:
    again = (exam / "exam.nii.gz", "--segmentation", tmp_path, "-o", tmp_path / "out")
    assert run(*given(exam), "-o", tmp_path / "out") == 0
    assert run(*again) == 2
    (tmp_path / "out" / "contours").rename(tmp_path / "drawn")
    assert run(*again) == 0


def test_bad_input_is_one_line_and_leaves_nothing(
    exam: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "jpegs").mkdir()
    (tmp_path / "jpegs" / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(1000))
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "IM-0001-0001-icontour-manual.txt").write_text("ten twenty\n")
    before = sorted(tmp_path.rglob("*"))
    out = tmp_path / "out"
    cases = [
        ((tmp_path / "absent", "-o", out), 3),
        ((tmp_path / "empty", "-o", out, "--segmentation", exam / "labels.nii.gz"), 3),
        ((tmp_path / "jpegs", "-o", out, "--segmentation", exam / "labels.nii.gz"), 3),
        ((exam / "exam.nii.gz", "-o", out, "--segmentation", tmp_path / "words"), 3),
        ((exam / "exam.nii.gz", "-o", out, "--segmentation", tmp_path / "absent"), 3),
        ((exam / "exam.nii.gz", "-o", out, "--model", tmp_path / "empty"), 6),
    ]
    for arguments, exit_code in cases:
        assert run(*arguments) == exit_code, arguments
        error = capsys.readouterr().err
        assert error.startswith("cinesax: error: ") and error.count("\n") == 1, error
    assert sorted(tmp_path.rglob("*")) == before


def test_an_output_that_cannot_be_written_is_told_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    for out in ("/proc/nowhere/out", tmp_path / "file", tmp_path / "file" / "out", tmp_path):
        assert run(tmp_path / "absent", "-o", out) == 7
        error = capsys.readouterr().err
        assert error.startswith("cinesax: error: ") and error.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"


def slow(seconds: float = 0.05) -> str:
    return SLOW.format(tests=str(Path(hearts.__file__).parent), seconds=seconds)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("where", ["network", "writing", "writing over an earlier result"])
def test_ending_it_in_the_middle_leaves_nothing_behind(
    exam: Path, tmp_path: Path, number: signal.Signals, where: str
) -> None:
    out = tmp_path / "deep" / "out"
    earlier = where.endswith("result")
    if earlier:
        assert run(*given(exam), "-o", out) == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} if earlier else {}
    arguments = (exam / "exam.nii.gz",) if where == "network" else given(exam)
    code = slow() if where == "network" else SLOW_WRITING
    command = [sys.executable, "-c", code, "analyze", *map(str, arguments), "-o", str(out)]
    # A shell starts its background jobs with interrupts ignored, and what they start inherits that.
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stderr is not None and process.stdout is not None
        assert process.stderr.readline() == "ready\n"
        process.send_signal(number)
        messages = process.stderr.read().replace("ready\n", "")
        assert process.stdout.read() == ""
    word = "interrupted" if number is signal.SIGINT else "terminated"
    assert (process.returncode, messages) == (128 + number, f"cinesax: {word}\n")
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert set(after) == set(before)
    assert {path: after[path] for path in after if path.is_file()} == {p: t for p, t in before.items() if p.is_file()}


def test_progress_is_drawn_on_a_terminal_only(exam: Path) -> None:
    arguments = [sys.executable, "-c", slow(0.002), "analyze", str(exam / "exam.nii.gz"), "--format", "json"]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=theirs, env={**os.environ, "TERM": "xterm"}
    ) as process:
        os.close(theirs)
        drawn = b""
        while True:
            try:
                chunk = os.read(ours, 4096)
            except OSError:
                break
            if not chunk:
                break
            drawn += chunk
        assert process.stdout is not None
        document = json.loads(process.stdout.read())
    os.close(ours)
    assert process.returncode == 0 and document["model"]["name"] == "slow 1.0"
    assert b"frames" in drawn and b"%" in drawn
    quiet = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert quiet.returncode == 0 and quiet.stderr.replace("ready\n", "") == ""


@pytest.mark.data
def test_expert_contours_of_a_real_exam_without_any_network(sunnybrook: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from cinesax.cli.main import main; code = main(sys.argv[1:]);"
        "sys.exit(code or 90 * ('onnxruntime' in sys.modules or 'tensorflow' in sys.modules))"
    )
    patient, out = "SC-HF-I-01", tmp_path / "out"
    contours = sunnybrook / "contours" / patient
    done = analyze(sunnybrook / "dicom" / patient, "--segmentation", contours, "-o", out, code=code)
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads((out / "analysis.json").read_text())
    assert document["measurements"]["ef_percent"] == pytest.approx(26.16, abs=0.01)
    assert document["model"] is None
    everything = "".join(
        path.read_text() for path in out.rglob("*") if path.suffix in (".json", ".csv", ".html", ".txt")
    )
    everything += gzip.decompress((out / "segmentation.nii.gz").read_bytes()).decode("latin-1")
    assert "SCD0000101" not in everything and str(sunnybrook) not in everything
    # the contours that come out are those that went in, number by number
    for path in contours.glob("*.txt"):
        went_in, came_out = (np.loadtxt(folder / path.name) for folder in (contours, out / "contours"))
        # a closing point that repeats the first may come or go
        assert came_out[: len(went_in)] == pytest.approx(went_in[: len(came_out)], abs=0.01)
        assert polygon_area(came_out) == pytest.approx(polygon_area(went_in), rel=1e-4)
