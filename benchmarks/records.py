"""From DICOM to training records: frames a second on one core, step by step, beside a bare script.

    python benchmarks/records.py [EXAM]

EXAM is a folder with a short-axis cine; by default the Sunnybrook study SC-HF-I-01 (240 frames of 256 x 256) where it
is there, else a phantom. Every frame of the cine becomes a record. The bare script is what one would write with pydicom
and TensorFlow: dcmread, scaling by minimum and maximum, an 8-bit PNG, a TFRecord; it neither finds the cine among the
series nor puts it in order nor frames it.
"""

import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from cinesax.train import require

require()

import pydicom  # noqa: E402
import tensorflow as tf  # noqa: E402

from cinesax.cli.main import main as cinesax  # noqa: E402
from cinesax.core.segmentation import Segmentation  # noqa: E402
from cinesax.core.structures import Structure  # noqa: E402
from cinesax.dicom.read.exam import open_exam  # noqa: E402
from cinesax.dicom.read.pick import pick_short_axis, read_cine  # noqa: E402
from cinesax.network.framing import Framing  # noqa: E402
from cinesax.train.data.examples import from_study  # noqa: E402
from cinesax.train.data.manifest import CAVITY_ONLY  # noqa: E402
from cinesax.train.data.records import serialise, write_shard  # noqa: E402

REPEATS = 3
STUDY = Path(__file__).resolve().parents[2] / "shared/data/sunnybrook/dicom/SC-HF-I-01"


def bare(folder: Path, out: Path) -> int:
    """The bare script; returns the number of records."""
    count = 0
    with tf.io.TFRecordWriter(str(out)) as writer, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in sorted(folder.rglob("*.dcm")):
            pixels = pydicom.dcmread(path).pixel_array.astype(np.float32)
            grey = (255 * (pixels - pixels.min()) / max(float(np.ptp(pixels)), 1)).astype(np.uint8)
            png = tf.io.encode_png(grey[..., None]).numpy()
            feature = {"image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[png]))}
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
            count += 1
    return count


def steps(folder: Path, out: Path) -> tuple[int, dict[str, float], int]:
    """Frames, seconds of each step and bytes, for every frame of the cine."""
    clock = [time.perf_counter()]

    def lap() -> float:
        clock.append(time.perf_counter())
        return clock[-1] - clock[-2]

    seconds = {}
    pick = pick_short_axis(open_exam(folder))
    seconds["headers: find and order the cine"] = lap()
    cine = read_cine(pick)
    seconds["pixels"] = lap()
    labels = np.zeros(cine.pixels.shape, np.uint8)
    labels[:, :, 100:130, 100:130] = Structure.CAVITY
    truth = Segmentation(labels, {Structure.CAVITY: np.ones(cine.n_phases, bool)}, author="manual")
    lap()
    examples = list(from_study("case", cine, truth, Framing()))
    seconds["framing"] = lap()
    for example in examples:
        serialise(example)
    seconds["compression and record"] = lap()
    shard = write_shard(examples, out, split="train", classes=CAVITY_ONLY)
    # Writing does the compression again: what it adds is the file, its checksum and the rows of examples.csv.
    seconds["file, checksums, table"] = max(0.0, lap() - seconds["compression and record"])
    return len(examples), seconds, shard.size_bytes


def main() -> None:
    """Print one table."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        exam = Path(sys.argv[1]) if len(sys.argv) > 1 else STUDY
        if not exam.is_dir():
            exam = work / "exam"
            cinesax(["phantom", str(exam), "--seed", "7"])
        runs = [steps(exam, work / "records") for _ in range(REPEATS)]
        frames, _, size = runs[0]
        best = {step: min(run[1][step] for run in runs) for step in runs[0][1]}
        print(f"{exam.name}: {frames} frames, {size / frames / 1000:.0f} kB a record; best of {REPEATS}, one core\n")
        print(f"{'step':<36}{'ms a frame':>12}{'frames a second':>18}")
        for step, taken in [*best.items(), ("all", sum(best.values()))]:
            print(f"{step:<36}{1000 * taken / frames:>12.2f}{frames / taken:>18.0f}")
        start, taken = time.perf_counter(), []
        for _ in range(REPEATS):
            start = time.perf_counter()
            count = bare(exam, work / "bare")
            taken.append((time.perf_counter() - start) / count)
        print(f"{'a bare script (see above)':<36}{1000 * min(taken):>12.2f}{1 / min(taken):>18.0f}")


if __name__ == "__main__":
    main()
