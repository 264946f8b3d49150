"""Make a bundle (ONNX graph, bundle.json, model card) of a finished run, which `cinesax analyze --model` runs."""

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from cinesax.errors import InputError

HELP = "make a bundle of a finished run"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="the run folder of cinesax train")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the bundle's folder")
    parser.add_argument(
        "--finder", type=Path, metavar="RUN", help="a run on whole frames: finds the heart for a run on crops round it"
    )
    parser.add_argument(
        "--data", type=Path, help="the prepared set: fingerprints of its training images go into the bundle"
    )
    parser.add_argument("--half", action="store_true", help="store the weights in half precision: half the size")
    parser.add_argument("--name", default="sax-lv", help="of the network")
    parser.add_argument("--model-version", default="1", help="of the network")
    parser.add_argument("--scores", type=Path, help="a JSON file of measured scores for bundle.json and the card")


def run(args: argparse.Namespace) -> None:
    """Export."""
    from cinesax import learn

    learn.require("onnx", "tf2onnx")
    from cinesax.learn.export import export

    bundle = export(
        args.run_folder,
        args.out,
        name=args.name,
        version=args.model_version,
        scores=_scores(args.scores),
        finder=args.finder,
        images=_fingerprints(args.data) if args.data is not None else [],
        half=args.half,
    )
    size = sum(path.stat().st_size for path in bundle.folder.iterdir()) / 1e6
    Console().print(f"{bundle.name} {bundle.version}: {bundle.folder} ({size:.1f} MB)", highlight=False, soft_wrap=True)


def _fingerprints(data: Path) -> list[str]:
    from cinesax.fingerprint import fingerprint
    from cinesax.learn.examples import Kind
    from cinesax.learn.records import open_dataset, read_examples

    dataset = open_dataset(data)
    return [fingerprint(one.image) for one in read_examples(dataset, "train") if one.kind != Kind.PHANTOM]


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
