"""Export: a finished run -> a bundle."""

import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from cinesax._version import __version__
from cinesax.bundle import Bundle, write_bundle
from cinesax.errors import InputError
from cinesax.framing import Framing
from cinesax.learn.losses import CrossEntropyDice  # noqa: F401 - registers the class for loading
from cinesax.learn.metrics import SliceDice  # noqa: F401 - likewise
from cinesax.learn.models import build, from_dict
from cinesax.learn.train import NETWORK, Run, load_network, open_run
from cinesax.segmentation import Structure

_TOLERANCE = 1e-3


def fixed_size(run: Run) -> keras.Model:
    """The finished network of a run, for the framed size only: ONNX Runtime plans its memory once.

    Raises:
        InputError: the run has no finished network.
    """
    path = run.folder / NETWORK
    if not path.is_file():
        raise InputError(f"{run.folder} has no {NETWORK}: the training has not finished; go on with --resume")
    trained = load_network(path)
    size = Framing.from_dict(run.config["dataset"]["framing"]).size
    model = build(from_dict(run.config["config"]["model"]), size=size)
    model.set_weights(trained.get_weights())
    return model


def to_onnx(model: keras.Model, path: Path) -> None:
    """Write the network as ONNX and compare it with Keras on noise; a difference above 0.001 is an InputError."""
    import onnxruntime

    image = np.random.default_rng(0).random((2, *model.input_shape[1:]), dtype=np.float32)
    expected = np.asarray(model(image))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tf2onnx probes NumPy names that are gone
        model.export(path, format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    seen = session.run(None, {session.get_inputs()[0].name: image})[0]
    worst = float(np.abs(seen - expected).max())
    if worst > _TOLERANCE:
        raise InputError(f"the exported graph differs from the network by {worst:.4f} in probability")


def export(
    run_folder: Path, out: Path, *, name: str = "sax-lv", version: str = "1", scores: Mapping[str, Any] | None = None
) -> Bundle:
    """A run's network as a bundle.

    Args:
        run_folder: a finished run.
        out: the bundle's folder.
        name: of the network.
        version: of the network.
        scores: what was measured of it, e.g. {"validation": {...}}; goes into bundle.json and the card.

    Raises:
        InputError: the run is not finished.
        OutputError: the bundle cannot be written.
    """
    run = open_run(run_folder)
    model = fixed_size(run)
    facts = run.config
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "graph.onnx"
        to_onnx(model, graph)
        bundle = Bundle(
            folder=out,
            name=name,
            version=version,
            framing=Framing.from_dict(facts["dataset"]["framing"]),
            classes={1: Structure.CAVITY},
            input_name="",
            output_name="",
            graph_sha256="",
            training={
                "dataset": facts["dataset"]["digest"],
                "cases": [case for case in run.cases_seen if not case.startswith("PHANTOM")],
                "phantoms": sum(case.startswith("PHANTOM") for case in run.cases_seen),
                "config": facts["config"],
                **({"started_from": facts["started_from"]["config"]} if "started_from" in facts else {}),
                "software": facts["software"] | {"exported_with": f"cinesax {__version__}"},
            },
            scores=dict(scores or {}),
        )
        names = _names(graph)
        bundle = replace(bundle, input_name=names[0], output_name=names[1])
        return write_bundle(bundle, graph, card(bundle, model.count_params()))


def _names(graph: Path) -> tuple[str, str]:
    import onnxruntime

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return str(session.get_inputs()[0].name), str(session.get_outputs()[0].name)


def card(bundle: Bundle, parameters: int) -> str:
    """The model card, Markdown."""
    training = bundle.training
    cases = ", ".join(training["cases"]) or "none"
    scores = "\n".join(_lines(bundle.scores)) or "Not measured yet."
    return f"""# {bundle.name} {bundle.version}

Left ventricular cavity (papillary muscles included) in short-axis cine cardiac MR images.

**For research. Not a medical device.**

## What it is
A U-Net with transposed convolutions, {parameters:,} parameters. It sees one frame at a time,
{bundle.framing.size} x {bundle.framing.size} pixels, and gives a probability of LV cavity for each. Frames with
pixels outside of {bundle.framing.native_range_mm[0]} to {bundle.framing.native_range_mm[1]} mm are resampled to
{bundle.framing.spacing_mm} mm.

## What it learned from
{len(training["cases"])} patients: {cases}.
Synthetic hearts: {training["phantoms"]}.
Patients named SC-* are of the Sunnybrook Cardiac Data (CC0 1.0; Radau et al., The MIDAS Journal, 2009): one scanner
(GE Signa 1.5 T), expert contours at end-diastole and end-systole.

## Scores
{scores}

## Intended use and limits
Research on short-axis balanced-SSFP cine. It has learned from one vendor's images: look at the contours on others.
Not for long-axis views, late enhancement, or children. It draws no myocardium and no right ventricle.
"""


def _lines(scores: Mapping[str, Any], indent: str = "") -> list[str]:
    lines = []
    for name, value in scores.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}- {name}:", *_lines(value, indent + "  ")]
        else:
            lines.append(f"{indent}- {name}: {value}")
    return lines
