"""Images a second of a training: `cinesax train`, a bare Keras script, and PyTorch, with the same network.

    python benchmarks/training.py [--set SET] [--epochs 4] [--steps 25] [--rounds 2] [--torch PYTHON]

cinesax train: records, augmentation, crops, loss, moving average, metrics, checkpoints, history and TensorBoard, as
the preset has them. Bare: `model.fit` on arrays in memory that have the size of those crops, AdamW, cross-entropy and
accuracy, and nothing else. PyTorch: the same U-Net, batch, loss and optimizer in a plain loop; PYTHON is the
interpreter of an environment with torch in it (it needs nothing of cinesax):

    python -m venv runs/torch && runs/torch/bin/pip install torch

Each runs in a process of its own, one after the other, `--rounds` times in turn. The first epoch, which builds and
compiles, does not count; of the others the median does. SET: a prepared set; without it, one of 12 phantoms is made.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve()


def cinesax_train(data: Path, epochs: int, steps: int, threads: int) -> list[float]:
    """Images a second of each epoch, as history.csv tells them; with all else that an epoch does."""
    from cinesax.cli.main import main
    from cinesax.train.fit.curves import read_history

    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        options = ["--epochs", str(epochs), "--steps", str(steps), "--threads", str(threads)]
        if main(["train", str(data), "-o", str(run), *options]):
            raise SystemExit("cinesax train failed")
        return read_history(run / "history.csv")["images_per_second"]


def bare_fit(data: Path, epochs: int, steps: int, threads: int, *, xla: bool = True) -> list[float]:
    """The bare script, on the same number of images."""
    import numpy as np

    from cinesax.train import require

    require()
    import keras
    import tensorflow as tf

    from cinesax.train.data.records import open_dataset, read_examples
    from cinesax.train.fit.callbacks import Pulse
    from cinesax.train.nets import build
    from cinesax.train.presets import load

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(2)
    config = load("unet")
    batch, crop = config.pipeline.batch, config.pipeline.crop or 256
    examples = [(example.image, example.label) for example in read_examples(open_dataset(data), "train")]
    count, middle = steps * batch, slice(128 - crop // 2, 128 - crop // 2 + crop)
    chosen = [examples[number % len(examples)] for number in range(count)]
    images = np.stack([image[middle, middle, None] for image, _ in chosen]).astype(np.float32) / 65535
    labels = keras.utils.to_categorical(np.stack([label[middle, middle] == 1 for _, label in chosen]), 2)
    model = build(config.model)
    speeds: list[float] = []

    class Read(keras.callbacks.Callback):
        """Keeps what Pulse has measured."""

        def on_epoch_end(self, epoch, logs=None):
            """Keep it."""
            speeds.append(logs["images_per_second"])

    jit = "auto" if xla else False
    optimizer = keras.optimizers.AdamW(1e-3)
    model.compile(optimizer, loss="categorical_crossentropy", metrics=["accuracy"], jit_compile=jit)
    model.fit(images, labels, batch_size=batch, epochs=epochs, verbose=0, callbacks=[Pulse(count), Read()])
    return speeds


def bare_without_xla(data: Path, epochs: int, steps: int, threads: int) -> list[float]:
    """The bare script, without the compiler that Keras uses by itself."""
    return bare_fit(data, epochs, steps, threads, xla=False)


CONTENDERS = {"cinesax train": cinesax_train, "bare model.fit": bare_fit, "bare, no XLA": bare_without_xla}


def measure(name: str, args: argparse.Namespace, data: Path) -> list[float]:
    """Run one contender in a process of its own."""
    numbers = [str(args.epochs), str(args.steps), str(args.threads)]
    if name == "PyTorch":
        command = [args.torch, str(HERE.with_name("training_torch.py")), *numbers]
    else:
        command = [sys.executable, str(HERE), "--contender", name, "--set", str(data), *_options(numbers)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    return [float(value) for value in json.loads(done.stdout.splitlines()[-1])]


def _options(numbers: Sequence[str]) -> list[str]:
    return [word for pair in zip(("--epochs", "--steps", "--threads"), numbers, strict=True) for word in pair]


def make_set(folder: Path) -> Path:
    """A small set of phantoms: what is in the images does not change the speed."""
    from cinesax.cli.main import main

    if main(["prepare", "-o", str(folder / "set"), "--phantoms", "12", "--seed", "1"]):
        raise SystemExit("cinesax prepare failed")
    return folder / "set"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", type=Path, dest="data")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--torch", metavar="PYTHON")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.contender:
        print(json.dumps(CONTENDERS[args.contender](args.data, args.epochs, args.steps, args.threads)))
        return
    with tempfile.TemporaryDirectory() as folder:
        data = args.data or make_set(Path(folder))
        names = [*CONTENDERS, *(["PyTorch"] if args.torch else [])]
        speeds: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(args.rounds):
            for name in names:
                speeds[name] += measure(name, args, data)[1:]
    mark = statistics.median(speeds["bare model.fit"])
    print(f"{'':16} {'images/s':>9} {'lowest':>8} {'highest':>8} {'of bare':>8}")
    for name, values in speeds.items():
        middle = statistics.median(values)
        print(f"{name:16} {middle:9.1f} {min(values):8.1f} {max(values):8.1f} {middle / mark:8.2f}")


if __name__ == "__main__":
    main()
