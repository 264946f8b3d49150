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
    parser.add_argument("--name", default="sax-lv", help="of the network")
    parser.add_argument("--model-version", default="1", help="of the network")
    parser.add_argument("--scores", type=Path, help="a JSON file of measured scores for bundle.json and the card")


def run(args: argparse.Namespace) -> None:
    """Export."""
    from cinesax import learn

    learn.require("onnx", "tf2onnx")
    from cinesax.learn.export import export

    bundle = export(args.run_folder, args.out, name=args.name, version=args.model_version, scores=_scores(args.scores))
    size = sum(path.stat().st_size for path in bundle.folder.iterdir()) / 1e6
    Console().print(f"{bundle.name} {bundle.version}: {bundle.folder} ({size:.1f} MB)", highlight=False, soft_wrap=True)


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
