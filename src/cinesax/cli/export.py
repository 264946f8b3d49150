"""Export the network of a finished run for other programs.

--to onnx (the default) makes a bundle (ONNX graph, bundle.json and model card), which `cinesax analyze --model` runs.
--to savedmodel and --to litert make a folder for TensorFlow or for phones, with network.json and model card.
With --data, each file is compared with Keras on real slices; the table is printed and kept as parity.json.
"""

import argparse
import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Column, Table

from cinesax.core.errors import InputError, UsageError

if TYPE_CHECKING:
    from cinesax.core.structures import Structure
    from cinesax.train.data.records import Dataset
    from cinesax.train.export.formats import Precision

_NEEDS = {"onnx": ("onnx", "tf2onnx"), "savedmodel": (), "litert": ("ai_edge_litert",)}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="the run folder of cinesax train")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the folder to make")
    parser.add_argument("--to", choices=list(_NEEDS), default="onnx", help="the format (default: onnx, a bundle)")
    parser.add_argument(
        "--finder",
        type=Path,
        metavar="RUN|BUNDLE",
        help="what finds the heart for a run trained on crops: a run trained on whole frames, or a bundle (the word "
        "default names the shipped one), whose finder is taken over",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="SET",
        help="the prepared set: compare with Keras on its slices, calibrate int8 on its training images, and list "
        "their fingerprints",
    )
    parser.add_argument("--slices", type=int, metavar="N", help="compare on at most N slices of --data (default 64)")
    parser.add_argument("--half", action="store_true", help="onnx: store the weights in half precision: half the size")
    parser.add_argument(
        "--int8",
        action="store_true",
        help="onnx: compute convolutions in 8 bits: faster on a CPU; calibrated on training images of --data",
    )
    parser.add_argument(
        "--precision",
        metavar="LIST",
        help="litert: float32, float16, int8, joined by commas (default: all; int8 with --data only)",
    )
    parser.add_argument(
        "--name", help="name of the network (default: the name in the replaced bundle, else the name of OUT)"
    )
    parser.add_argument(
        "--model-version", help="version of the network (default: the version in the replaced bundle, else 1)"
    )
    parser.add_argument(
        "--unvalidated",
        action="append",
        default=[],
        metavar="CLASS",
        help="onnx: a class that the network draws but was not validated for: analyze draws it only on request; "
        "may be repeated",
    )
    parser.add_argument("--scores", type=Path, help="a JSON file of measured scores for the manifest and the card")


def run(args: argparse.Namespace) -> None:
    """Export, and print the comparison."""
    _check(args)
    from cinesax.train import require

    require(*_NEEDS[args.to])
    from cinesax.train.data.records import open_dataset
    from cinesax.train.export.bundle import export
    from cinesax.train.export.files import export_files
    from cinesax.train.export.formats import Format
    from cinesax.train.export.parity import bytes_of

    data = open_dataset(args.data) if args.data is not None else None
    name, version = _called(args)
    facts: dict[str, Any] = {
        "name": name,
        "version": version,
        "scores": _scores(args.scores),
        "finder": args.finder,
        "images": [] if data is None else _fingerprints(data, [args.run_folder, args.finder]),
        "data": data,
        "slices": 64 if args.slices is None else args.slices,
    }
    if args.to == Format.ONNX:
        unvalidated = _structures(args.unvalidated)
        export(args.run_folder, args.out, half=args.half, int8=args.int8, unvalidated=unvalidated, **facts)
    else:
        export_files(args.run_folder, args.out, Format(args.to), precisions=_precisions(args.precision), **facts)
    console = Console()
    size = bytes_of(args.out) / 1e6
    line = f"{name} {version}: {args.out} ({size:.1f} MB)"
    console.print(line, highlight=False, soft_wrap=True)
    if data is not None and not facts["images"]:
        note = f"{args.data} has no image that this network learned from: no fingerprints of its images are listed"
        console.print(note, highlight=False, soft_wrap=True)
    _print(args.out, console)


def _called(args: argparse.Namespace) -> tuple[str, str]:
    """The given name and version, else those of the replaced bundle: a second export keeps them."""
    from cinesax.core.errors import BundleError
    from cinesax.network.bundle import open_bundle

    name, version = args.out.resolve().name, "1"
    with suppress(BundleError):
        earlier = open_bundle(args.out)
        name, version = earlier.name, earlier.version
    return args.name or name, args.model_version or version


def _check(args: argparse.Namespace) -> None:
    if args.half and args.to != "onnx":
        raise UsageError(f"--half is for onnx, not for {args.to}; litert has --precision float16")
    if args.int8 and (args.to != "onnx" or args.half or args.data is None):
        raise UsageError("--int8 is for onnx, needs --data, and does not go with --half; litert has --precision int8")
    if args.precision is not None and args.to != "litert":
        raise UsageError(f"--precision is for litert, not for {args.to}")
    if args.unvalidated and args.to != "onnx":
        raise UsageError(f"--unvalidated is for onnx, which analyze runs, not for {args.to}")
    _structures(args.unvalidated)
    if args.slices is not None and args.slices < 1:
        raise UsageError(f"--slices is {args.slices}; give 1 or more")
    if args.slices is not None and args.data is None:
        raise UsageError("--slices is for the comparison with Keras, which needs the prepared set: give --data SET too")
    for option, text in (("--name", args.name), ("--model-version", args.model_version)):
        if text is not None and not text.strip():
            raise UsageError(f"{option} is empty: give a text, or leave it out")


def _structures(names: Iterable[str]) -> "tuple[Structure, ...]":
    from cinesax.core.structures import Structure

    by_name = {structure.facts.class_name: structure for structure in Structure}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise UsageError(f"--unvalidated: there is no class {unknown[0]!r}; there are {', '.join(by_name)}")
    return tuple(sorted({by_name[name] for name in names}))


def _precisions(text: str | None) -> "list[Precision]":
    from cinesax.train.export.formats import Precision

    try:
        return [Precision(word.strip()) for word in text.split(",")] if text is not None else []
    except ValueError as error:
        raise UsageError(f"--precision: {error}; give some of {', '.join(Precision)}") from None


def _fingerprints(dataset: "Dataset", folders: Iterable[Path | None]) -> list[str]:
    """Fingerprints of the set's images from which a run learned, without held-out images; a bundle lists its own."""
    from cinesax.network.fingerprint import fingerprint
    from cinesax.train.data.examples import Kind
    from cinesax.train.data.records import read_examples
    from cinesax.train.fit.runs import Run
    from cinesax.train.fit.start import open_trained

    opened = [open_trained(folder) for folder in folders if folder is not None]
    runs = [one for one in opened if isinstance(one, Run)]
    return [
        fingerprint(example.image)
        for example in read_examples(dataset, "train")
        if example.kind != Kind.PHANTOM and any(run.has_learned_from(example.case, example.name) for run in runs)
    ]


def _print(folder: Path, console: Console) -> None:
    from cinesax.train.export.parity import read_report

    compared = read_report(folder)
    if compared is None:
        return
    columns = ("MB", "max diff", "changed", "Dice", "experts", "(Keras)", "ms", "(Keras)")
    table = Table("file", *(Column(text, justify="right") for text in columns), box=None, padding=(0, 1, 0, 0))
    for row in compared.networks:
        table.add_row(
            row.file.removesuffix(".tflite"),
            f"{row.bytes / 1e6:.2f}",
            f"{row.largest_difference:.1e}",
            f"{row.changed_pixels}",
            f"{row.dice:.4f}",
            f"{row.dice_with_experts:.4f}",
            f"{row.dice_with_experts_keras:.4f}",
            f"{row.exported_ms:.1f}",
            f"{row.keras_ms:.1f}",
        )
    console.print(table)
    slices = ", ".join(sorted({f"{row.slices} slices of {compared.data.split}" for row in compared.networks}))
    console.print(
        f"Compared with Keras on {slices}: largest difference in probability, pixels with another label, mean Dice "
        f"between both, Dice with the experts, and time for a single frame ({compared.machine.processor}, threads: "
        f"{compared.machine.threads}).",
        highlight=False,
    )


def _scores(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        scores = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(scores, dict):
        raise InputError(f"{path} must hold a JSON object of scores")
    return scores
