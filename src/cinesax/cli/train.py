"""Train a network on a prepared set.

The run folder gets config.json, history.csv, tensorboard/, last.keras (the state after each epoch: an interrupted
run goes on with --resume) and network.keras (the finished network, moving average of the weights).
"""

import argparse
import os
import shlex
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from cinesax.errors import UsageError

HELP = "train a network on a prepared set"
PRESETS = ("unet",)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("data", type=Path, metavar="DATA", help="a prepared set (see cinesax prepare)")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the run folder")
    parser.add_argument("--preset", choices=PRESETS, default="unet", help="the settings to start from")
    parser.add_argument(
        "--from", type=Path, dest="start", metavar="RUN", help="begin with the weights of a finished run"
    )
    parser.add_argument("--fold", type=int, help="hold this fold's patients out, and validate on them")
    parser.add_argument("--epochs", type=int, help="override the preset")
    parser.add_argument("--steps", type=int, help="batches an epoch; override the preset")
    parser.add_argument("--batch", type=int, help="images a batch; override the preset")
    parser.add_argument("--phantom-share", type=float, help="part of the images that are phantoms; override the preset")
    parser.add_argument("--seed", type=int, help="override the preset")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="CPU threads")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")


def run(args: argparse.Namespace) -> None:
    """Train."""
    from cinesax import learn

    learn.require()
    import tensorflow as tf

    from cinesax.learn.presets import unet
    from cinesax.learn.records import open_dataset
    from cinesax.learn.train import train

    dataset = open_dataset(args.data)
    presets = {"unet": unet.config}
    config = _override(presets[args.preset](), args)
    # In a process that has used TensorFlow before (Python code, tests) its threads are what they are.
    with suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(args.threads)
        tf.config.threading.set_inter_op_parallelism_threads(2)
    console = Console(stderr=True)
    console.print(f"curves: tensorboard --logdir {shlex.quote(str(args.out / 'tensorboard'))}", soft_wrap=True)
    done = train(
        dataset,
        args.out,
        config,
        fold=args.fold,
        start_from=args.start,
        resume=args.resume,
        threads=args.threads,
        console=console,
    )
    console.print(
        f"finished: {done.folder}; next: cinesax export {shlex.quote(str(done.folder))} -o BUNDLE", soft_wrap=True
    )


def _override(config: Any, args: argparse.Namespace) -> Any:
    numbers = {name: getattr(args, name) for name in ("epochs", "steps", "seed") if getattr(args, name) is not None}
    batches = {name: getattr(args, name) for name in ("batch", "phantom_share") if getattr(args, name) is not None}
    if not 0 <= batches.get("phantom_share", 0) <= 1:
        raise UsageError("--phantom-share must be from 0 to 1")
    if args.threads < 1:
        raise UsageError("--threads must be at least 1")
    return replace(config, **numbers, pipeline=replace(config.pipeline, **batches))
