"""Train a network on a prepared set.

The run folder gets config.json, commands.txt, history.csv, curves.png, tensorboard/, last-EPOCH.keras (the complete
state after that epoch: --resume continues an interrupted run), best-EPOCH.keras (with held-out patients) and
network.keras (the finished network: EMA of the weights).
"""

import argparse
import os
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from cinesax.core.errors import UsageError

if TYPE_CHECKING:
    from cinesax.train.data.pipeline import PipelineConfig
    from cinesax.train.data.records import Dataset

# Frequently used settings have their own option.
SHORT = {
    "epochs": "epochs",
    "steps": "steps",
    "batch": "pipeline.batch",
    "phantom_share": "pipeline.phantom_share",
    "seed": "seed",
}
RATE = "learning_rate"
KIND_SHARES = "pipeline.kind_shares"
CLASSES = "model.classes"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    from cinesax.train.presets import NAMES

    parser.add_argument("data", type=Path, metavar="DATA", help="a prepared set (see cinesax prepare)")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the run folder")
    parser.add_argument(
        "--preset", default="unet", help=f"the settings to start from: {', '.join(NAMES)}, or a Python file (.py)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="KEY=VALUE",
        help="override a setting, e.g. learning_rate=0.001, model.channels=16,32, pipeline.augmentation=none",
    )
    parser.add_argument(
        "--from",
        type=Path,
        dest="start",
        metavar="RUN|BUNDLE",
        help="start from the weights of a finished run or a bundle; the word default names the shipped one",
    )
    parser.add_argument("--fold", type=int, help="hold out the patients of this fold, and validate on them")
    parser.add_argument(
        "--split",
        metavar="NAME",
        help="train on one side of a named split, and validate on the other: course-234-26, slices-N, patients-N, "
        "fold-K",
    )
    parser.add_argument("--split-seed", type=int, metavar="N", help="seed of the split (default 0)")
    parser.add_argument("--folds", type=int, help="cross-validate: one training for each fold of the set")
    parser.add_argument(
        "--epochs", type=int, help="number of epochs (overrides the preset); with --resume: extend a finished run to it"
    )
    parser.add_argument("--steps", type=int, help="batches per epoch (overrides the preset)")
    parser.add_argument("--batch", type=int, help="images in a batch (overrides the preset)")
    parser.add_argument("--phantom-share", type=float, help="share of phantoms among the images (overrides the preset)")
    parser.add_argument("--seed", type=int, help="seed of the training (overrides the preset)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="CPU threads")
    parser.add_argument("--devices", help="train on these devices, e.g. GPU:0,GPU:1 (default: all GPUs)")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run, or extend a finished one")
    parser.add_argument(
        "--deterministic", action="store_true", help="the same seed gives the same weights, to the last bit"
    )
    parser.add_argument("--eager", action="store_true", help="run step by step, for debugging; slow")


def run(args: argparse.Namespace) -> None:
    """Train."""
    _check(args)
    from cinesax.train import require

    require("matplotlib")
    from cinesax.train.data.records import open_dataset
    from cinesax.train.data.splits import split_examples
    from cinesax.train.fit.folds import cross_validate, table
    from cinesax.train.fit.settings import override
    from cinesax.train.fit.train import train
    from cinesax.train.presets import load

    dataset = open_dataset(args.data)
    config = override(load(args.preset), _settings(args, classes=len(dataset.manifest.classes)))
    if not args.resume:
        _check_shares(args, dataset, config.pipeline)
    _set_threads(args.threads)
    console = Console(stderr=True)
    logs = args.out if args.folds is not None else args.out / "tensorboard"
    console.print(f"curves: tensorboard --logdir {shlex.quote(str(logs))}", highlight=False, soft_wrap=True)
    common: dict[str, Any] = {
        "start_from": args.start,
        "resume": args.resume,
        "extension_rate": config.learning_rate if args.resume and _asks_for_rate(args) else None,
        "execution": _execution(args),
        "console": console,
    }
    if args.folds is not None:
        summary = cross_validate(dataset, args.out, config, folds=args.folds, **common)
        sys.stdout.write(table(summary))
        return
    split = None if args.split is None else split_examples(dataset, args.split, seed=args.split_seed or 0)
    done = train(dataset, args.out, config, fold=args.fold, split=split, **common)
    finder = " --finder RUN_OR_BUNDLE" if config.pipeline.at_the_heart else ""
    console.print(
        f"finished: {done.folder}; next: cinesax export {shlex.quote(str(done.folder))} -o BUNDLE{finder}",
        highlight=False,
        soft_wrap=True,
    )


def _check(args: argparse.Namespace) -> None:
    if args.threads < 1:
        raise UsageError("--threads must be at least 1")
    if args.fold is not None and args.folds is not None:
        raise UsageError("--fold K trains without one fold, --folds N trains once for each: give only one of them")
    if args.split is not None and (args.fold is not None or args.folds is not None):
        raise UsageError(f"--split {args.split} already says what to hold out: leave out --fold and --folds")
    if args.split_seed is not None and (args.split is None or args.split_seed < 0):
        raise UsageError("--split-seed needs --split, and must be at least 0")
    share = args.phantom_share
    if share is not None and not 0 <= share <= 1:
        raise UsageError("--phantom-share must be from 0 to 1")


def _settings(args: argparse.Namespace, *, classes: int) -> list[str]:
    """All settings that override the preset; the number of classes comes from the set unless the user gives it."""
    short = [f"{key}={getattr(args, name)}" for name, key in SHORT.items() if getattr(args, name) is not None]
    named = {setting.partition("=")[0].strip() for setting in args.settings}
    twice = [setting for setting in short if setting.partition("=")[0] in named]
    if twice:
        raise UsageError(f"{twice[0].partition('=')[0]} is set twice: by its own option and by --set")
    return [*([] if CLASSES in named else [f"{CLASSES}={classes}"]), *args.settings, *short]


def _check_shares(args: argparse.Namespace, dataset: "Dataset", pipeline: "PipelineConfig") -> None:
    """A share of images that the set does not have would do nothing; the shares of a preset are for any set."""
    from cinesax.train.data.examples import Kind
    from cinesax.train.data.records import rows

    named = {setting.partition("=")[0].strip() for setting in args.settings}
    shares = dict(pipeline.kind_shares) if KIND_SHARES in named else {}
    if args.phantom_share is not None or SHORT["phantom_share"] in named:
        shares[Kind.PHANTOM] = pipeline.phantom_share
    there = {row.kind for row in rows(dataset) if row.split == "train"} if shares else set()
    absent = [str(kind) for kind, share in shares.items() if share and kind not in there]
    if absent:
        raise UsageError(
            f"a share of {absent[0]} images is asked for, and {args.data} has none; it has {', '.join(sorted(there))}"
        )


def _asks_for_rate(args: argparse.Namespace) -> bool:
    return any(setting.partition("=")[0].strip() == RATE for setting in args.settings)


def _set_threads(threads: int) -> None:
    import tensorflow as tf

    # If the process has already used TensorFlow (Python code, tests), its threads can no longer be changed.
    with suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(2)


def _execution(args: argparse.Namespace) -> Any:
    from cinesax.train.fit.train import Execution

    return Execution(
        threads=args.threads,
        deterministic=args.deterministic,
        eager=args.eager,
        devices=None if args.devices is None else tuple(name.strip() for name in args.devices.split(",")),
        command=shlex.join(["cinesax", *sys.argv[1:]]),
    )
