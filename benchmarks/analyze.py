"""Where the time of `cinesax analyze` goes, from a cold start to the written report, and how much memory it takes.

    python benchmarks/analyze.py [--exam EXAM] [--model BUNDLE] [--runs N] [--against COMMIT]

Without EXAM a phantom of 240 frames (12 slices, 20 phases) is made. Every run is a fresh process; the table gives
the median. Beside each part that has one stands a peer, run in the same minutes in a fresh process of its own: for
reading, a plain loop of pydicom over the files of the series; for the network, ONNX Runtime alone on as many frames
of zeros, eight at a time. A ratio of 1 is the peer's own time.

The whole command also runs as it was at an earlier commit, in turn with this version and in the same minutes: a
worktree of it is made from this checkout's own history. It runs with the network that shipped then.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEMORY_MB = 600

# What the command does, with a clock between the parts. Imports are counted where they happen, as for a user.
PARTS = """
import json, sys, time
from pathlib import Path
began = time.perf_counter()
import cinesax.cli.main, cinesax.cli.analyze
seconds = {"import": time.perf_counter() - began}
from cinesax.analyze import analyze
exam, model, out = sys.argv[1], sys.argv[2] or None, Path(sys.argv[3])
analysis = analyze(exam, model=model)
seconds |= dict(analysis.provenance.seconds)

def clocked(name, call):
    began = time.perf_counter()
    call()
    seconds[name] = time.perf_counter() - began

def labels():
    from cinesax.formats.nifti import write_segmentation
    write_segmentation(analysis.segmentation, analysis.cine, out / "segmentation.nii.gz")

def contours():
    from cinesax.formats.contours import write_contours
    write_contours(analysis.segmentation, analysis.cine, out / "contours")

def report():
    from cinesax.results.html import render
    (out / "report.html").write_text(render(analysis), encoding="utf-8")

def tables():
    from cinesax.results import tables
    (out / "analysis.json").write_text(tables.to_json(analysis), encoding="utf-8")
    (out / "measurements.csv").write_text(tables.to_csv([analysis]), encoding="utf-8")

out.mkdir(parents=True)
for part in (labels, contours, report, tables):
    clocked("write " + part.__name__, part)
phases, slices = analysis.cine.pixels.shape[:2]
print(json.dumps({"seconds": seconds, "frames": phases * slices, "series": analysis.cine.source.series_uids}))
"""

PYDICOM = """
import json, sys, time, warnings
from pathlib import Path
warnings.simplefilter("ignore")
began = time.perf_counter()
import pydicom
wanted, frames = set(sys.argv[2].split(",")), 0
for path in sorted(Path(sys.argv[1]).rglob("*")):
    if path.is_file():
        try:
            instance = pydicom.dcmread(path)
        except pydicom.errors.InvalidDicomError:
            continue
        if instance.SeriesInstanceUID in wanted:
            frames += instance.pixel_array.size > 0
print(json.dumps({"seconds": time.perf_counter() - began, "frames": frames}))
"""

ONNX = """
import json, sys, time
import numpy as np, onnxruntime
from cinesax.network.bundle import open_bundle
bundle, frames = open_bundle(sys.argv[1] or None), int(sys.argv[2])
options = onnxruntime.SessionOptions()
options.log_severity_level = 3
session = onnxruntime.InferenceSession(bundle.graph_path, options, providers=["CPUExecutionProvider"])
size = bundle.framing.size
began = time.perf_counter()
for first in range(0, frames, 8):
    batch = np.zeros((min(8, frames - first), size, size, 1), np.float32)
    session.run([bundle.output_name], {bundle.input_name: batch})
print(json.dumps({"seconds": time.perf_counter() - began}))
"""


def child(code: str, *arguments: object) -> dict[str, object]:
    """What a fresh process prints as JSON."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def whole(exam: Path, model: str, out: Path, source: Path | None = None) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak memory in MB of the command itself, from its start to its end.

    Args:
        exam: what is analyzed.
        model: a bundle folder; empty: the network that ships.
        out: where results go.
        source: a `src` folder to run instead of this one.
    """
    options = ["--model", model] if model else []
    environment = os.environ | ({} if source is None else {"PYTHONPATH": str(source)})
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "cinesax", "analyze", str(exam), "-o", str(out), *options],
        stdout=subprocess.DEVNULL,
        env=environment,
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if status != 0:
        raise SystemExit(f"the command failed: {os.waitstatus_to_exitcode(status)}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


@contextmanager
def earlier(commit: str, work: Path) -> Iterator[Path | None]:
    """The `src` folder of an earlier commit, as a worktree for as long as it is needed; None where it cannot be had."""
    git = ["git", "-C", str(Path(__file__).resolve().parent)]
    place = work / "earlier"
    made = subprocess.run([*git, "worktree", "add", "--detach", str(place), commit], capture_output=True, text=True)
    if made.returncode:
        print(f"not compared with {commit}: {(made.stderr.strip().splitlines() or ['no git'])[-1]}\n")
        yield None
        return
    try:
        yield place / "src"
    finally:
        subprocess.run([*git, "worktree", "remove", "--force", str(place)], check=False, capture_output=True)


def phantom(folder: Path) -> Path:
    """A phantom exam of 240 frames as DICOM."""
    from cinesax.phantom import draw_settings, make_phantom
    from cinesax.phantom.dicom import SeriesIdentity, write_series

    write_series(make_phantom(draw_settings(1, n_phases=20, n_slices=12)).cine, folder / "dicom", SeriesIdentity())
    return folder / "dicom"


def main() -> None:
    """Run all and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exam", type=Path, help="a folder of DICOM (default: a phantom of 240 frames)")
    parser.add_argument("--model", default="", help="a bundle folder (default: the shipped network)")
    parser.add_argument("--runs", type=int, default=3, help="fresh processes of each kind (default 3)")
    parser.add_argument("--against", metavar="COMMIT", default="8befc91", help="an earlier version to run in turn")
    parser.add_argument("--whole", action="store_true", help="only the whole command, this version and the earlier one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        exam = args.exam or phantom(work)
        with earlier(args.against, work) as source:
            commands, before = in_turn(exam, args.model, runs=args.runs, work=work, source=source)
        if not args.whole:
            report(exam, args.model, args.runs, work)
    walls, cpu, memory = (statistics.median(column) for column in zip(*commands, strict=True))
    print(f"{'whole command':<18}{walls:>8.2f}")
    print(f"{'its CPU time':<18}{cpu:>8.2f}  (on a busy machine the steadier figure)")
    print(f"{'peak memory':<18}{memory:>8.0f}  MB (limit {MEMORY_MB})")
    if before:
        walls_then, cpu_then, memory_then = (statistics.median(column) for column in zip(*before, strict=True))
        print(f"\nat {args.against}: {walls_then:.2f} s, {cpu_then:.2f} s of CPU time, {memory_then:.0f} MB")
        print(f"times as fast: {walls_then / walls:.2f} by the clock, {cpu_then / cpu:.2f} by CPU time (aim 2.6)")


Run = tuple[float, float, float]


def in_turn(exam: Path, model: str, *, runs: int, work: Path, source: Path | None) -> tuple[list[Run], list[Run]]:
    """The whole command of this version and of an earlier one, one after the other."""
    now, before = [], []
    for run in range(runs):
        now.append(whole(exam, model, work / f"whole-{run}"))
        if source is not None:
            before.append(whole(exam, "", work / f"before-{run}", source))
    return now, before


def report(exam: Path, model: str, runs: int, work: Path) -> None:
    """Measure the parts and print them."""
    parts, loops, networks = [], [], []
    for run in range(runs):
        # One of each in turn, so that a busy minute of the machine meets all of them.
        parts.append(child(PARTS, exam, model, work / f"parts-{run}"))
        loops.append(child(PYDICOM, exam, ",".join(parts[-1]["series"])))
        networks.append(child(ONNX, model, parts[-1]["frames"]))
    peers = {
        "read": ("pydicom loop", statistics.median(run["seconds"] for run in loops)),
        "segment": ("ONNX Runtime alone", statistics.median(run["seconds"] for run in networks)),
    }
    print(f"{parts[0]['frames']} frames, {os.cpu_count()} cores, median of {runs} runs in fresh processes\n")
    print(f"{'part':<18}{'seconds':>8}  {'peer':<20}{'seconds':>8}{'ratio':>7}")
    for name in parts[0]["seconds"]:
        seconds = statistics.median(run["seconds"][name] for run in parts)
        peer, of_peer = peers.get(name, ("", 0.0))
        beside = f"  {peer:<20}{of_peer:>8.2f}{seconds / of_peer:>7.2f}" if peer else ""
        print(f"{name:<18}{seconds:>8.2f}{beside}")


if __name__ == "__main__":
    main()
