"""Export: a finished run -> a bundle. Other formats: `export_files`."""

import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from cinesax.core.errors import InputError
from cinesax.core.structures import Structure
from cinesax.files.typed_json import JsonObject, text_of
from cinesax.network.bundle import Bundle, HeartPass, write_bundle
from cinesax.train.data.records import Dataset
from cinesax.train.export.card import card
from cinesax.train.export.formats import INPUT, LABELS, PROBABILITIES, Precision, onnx_runner, processors
from cinesax.train.export.parity import CALIBRATION_IMAGES, SLICES, Exported, real_slices, report
from cinesax.train.export.passes import Pass, open_passes, training_of
from cinesax.train.export.quantise import to_int8

_TOLERANCE = 1e-3
_HALF_TOLERANCE = 2e-2
_FEWEST_WEIGHTS = 64


def to_onnx(model: keras.Model, path: Path, *, half: bool = False) -> None:
    """Write the network as ONNX, and compare it with Keras on noise; InputError if they differ.

    Its outputs are the probabilities and "labels" (batch, row, column), int32: their arg-max.

    Args:
        model: the network.
        path: path of the file.
        half: store the weights in half precision. This halves the file; the network still computes in single precision.
            Probabilities may then differ by 0.02, otherwise by 0.001.
    """
    import onnxruntime

    image = np.random.default_rng(0).random((2, *model.input_shape[1:]), dtype=np.float32)
    expected = np.asarray(model(image))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tf2onnx probes NumPy names that are gone
        model.export(path, format="onnx", verbose=False)
    _add_labels(path)
    if half:
        halve_weights(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    seen = session.run(None, {session.get_inputs()[0].name: image})[0]
    worst = float(np.abs(seen - expected).max())
    if not worst <= (_HALF_TOLERANCE if half else _TOLERANCE):
        raise InputError(f"the exported graph differs from the network by {worst:.4f} in probability")


def _add_labels(path: Path) -> None:
    """Give an ONNX file a second output, "labels" (batch, row, column), int32: the arg-max over the classes.

    The node is our own, because Keras writes its arg-max with operations that ONNX lacks.
    """
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(path)
    probabilities = model.graph.output[0]
    shape = [side.dim_param or side.dim_value for side in probabilities.type.tensor_type.shape.dim][:-1]
    wide = f"{LABELS}/int64"
    model.graph.node.append(helper.make_node("ArgMax", [probabilities.name], [wide], axis=-1, keepdims=0))
    model.graph.node.append(helper.make_node("Cast", [wide], [LABELS], to=TensorProto.INT32))
    model.graph.output.append(helper.make_tensor_value_info(LABELS, TensorProto.INT32, shape))
    onnx.checker.check_model(model)
    onnx.save(model, path)


def halve_weights(path: Path) -> None:
    """Store the weights of an ONNX file in half precision, cast back to single when the graph is loaded."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(path)
    casts = []
    for item in model.graph.initializer:
        values = numpy_helper.to_array(item)
        if values.dtype != np.float32 or values.size < _FEWEST_WEIGHTS:
            continue
        name = item.name
        item.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}/half"))
        casts.append(helper.make_node("Cast", [f"{name}/half"], [name], to=TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])
    onnx.checker.check_model(model)
    onnx.save(model, path)


def describe(
    passes: Sequence[Pass], out: Path, *, name: str, version: str, scores: JsonObject, images: Sequence[str]
) -> Bundle:
    """The content of the bundle's manifest and card for these networks, still without checksums."""
    first, crop = passes[0].facts, passes[-1].crop
    return Bundle(
        out,
        name,
        version,
        framing=first.framing,
        classes=first.classes,
        input_name=INPUT,
        output_name=PROBABILITIES,
        graph_sha256="",
        heart=None if crop is None else HeartPass(crop, INPUT, PROBABILITIES, int(passes[-1].model.input_shape[-1])),
        training=training_of(passes, images),
        scores=dict(scores),
    )


def export(
    run_folder: Path,
    out: Path,
    *,
    name: str = "network",
    version: str = "1",
    scores: JsonObject | None = None,
    finder: Path | None = None,
    images: Sequence[str] = (),
    half: bool = False,
    int8: bool = False,
    unvalidated: Sequence[Structure] = (),
    data: Dataset | None = None,
    slices: int = SLICES,
) -> Bundle:
    """Export a run's network as a bundle.

    Args:
        run_folder: a finished run.
        out: folder of the bundle.
        name: name of the network.
        version: version of the network.
        scores: measured scores, e.g. {"validation": {...}}; they go into bundle.json and the card.
        finder: what finds the heart for a network that learned on crops around it: a finished run on whole frames, or a
            bundle (also the name of a shipped one), whose graph for whole frames is taken over unchanged.
        images: fingerprints of the images that the runs learned from (see `cinesax.network.fingerprint`); those of a
            finder's bundle are added.
        half: store the weights in half precision; like int8, not of a graph that is taken over.
        int8: compute convolutions in 8 bits, calibrated on training images of `data`.
        unvalidated: classes that it draws but that were not validated: `analyze` leaves them out unless asked.
        data: a prepared set; the graphs of runs are compared with Keras on its slices, and the result goes into the
            bundle as parity.json.
        slices: largest number of slices to compare.

    Raises:
        InputError: a run is not finished, the two do not fit, a finder is missing, or a graph differs from Keras.
        BundleError: a finder's bundle is damaged, or does not say how it was trained.
        OutputError: the bundle cannot be written.
    """
    passes = open_passes(run_folder, finder)
    bundle = describe(passes, out, name=name, version=version, scores=scores or {}, images=images)
    undrawn = [one for one in unvalidated if one not in bundle.classes.values() or one is Structure.CAVITY]
    if undrawn:
        raise InputError(
            f"{undrawn[0].facts.words} cannot be left out as not validated: this network draws "
            f"{', '.join(one.facts.words for one in bundle.classes.values())}, and the LV cavity is always drawn"
        )
    bundle = replace(bundle, unvalidated=tuple(unvalidated))
    with tempfile.TemporaryDirectory() as folder:
        precision = Precision.INT8 if int8 else Precision.FLOAT16 if half else Precision.FLOAT32
        graphs = [_graph(network, Path(folder), precision, data) for network in passes]
        names = [_names(network, graph) for network, graph in zip(passes, graphs, strict=True)]
        bundle = replace(bundle, input_name=names[0][0], output_name=names[0][1])
        if bundle.heart is not None:
            heart = replace(bundle.heart, input_name=names[1][0], output_name=names[1][1])
            bundle = replace(bundle, heart=heart)
        text = None if data is None else _parity(passes, graphs, data, precision=precision, slices=slices)
        close = graphs[1] if len(graphs) > 1 else None
        return write_bundle(bundle, graphs[0], card(bundle, parameters(passes)), heart=close, parity=text)


def parameters(passes: Sequence[Pass]) -> int:
    """The number of parameters of all networks together."""
    return sum(network.parameters for network in passes)


def _graph(network: Pass, folder: Path, precision: Precision, data: Dataset | None) -> Path:
    """The ONNX file of a network: that of its bundle, or else a new one in this folder."""
    if isinstance(network.source, Bundle):
        return network.source.graph_path
    graph = folder / f"{network.stem}.onnx"
    to_onnx(network.model, graph, half=precision is Precision.FLOAT16)
    if precision is Precision.INT8:
        _quantise(network, graph, data)
    return graph


def _quantise(network: Pass, graph: Path, data: Dataset | None) -> None:
    if data is None:
        raise InputError("int8 is calibrated on training images: give --data SET, the prepared set")
    inputs = int(network.model.input_shape[-1])
    images = real_slices(data, "train", count=CALIBRATION_IMAGES, crop=network.crop, inputs=inputs).images
    single = graph.with_suffix(".float32.onnx")
    graph.rename(single)
    to_int8(single, graph, images)


def _parity(passes: Sequence[Pass], graphs: Sequence[Path], data: Dataset, *, precision: Precision, slices: int) -> str:
    threads = processors()
    exports = [
        Exported(graph, onnx_runner(graph, threads=threads), network.model, precision, network.crop)
        for network, graph in zip(passes, graphs, strict=True)
        if not isinstance(network.source, Bundle)  # whose graph is what it was
    ]
    return text_of(report(exports, data, count=slices, threads=threads))


def _names(network: Pass, graph: Path) -> tuple[str, str]:
    """Names of input and output of a network's graph."""
    if isinstance(network.source, Bundle):
        return network.source.input_name, network.source.output_name
    import onnxruntime

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return str(session.get_inputs()[0].name), str(session.get_outputs()[0].name)
