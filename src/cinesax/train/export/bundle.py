"""Export: a finished run -> a bundle. Other formats: `export_files`."""

import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from cinesax._version import __version__
from cinesax.core.errors import InputError
from cinesax.core.structures import Structure
from cinesax.files.typed_json import JsonObject, text_of
from cinesax.network.bundle import GRAPH, HEART, Bundle, HeartPass, HeartTraining, Training, write_bundle
from cinesax.train.data.manifest import parse_classes
from cinesax.train.data.records import Dataset
from cinesax.train.export.card import card
from cinesax.train.export.formats import INPUT, LABELS, PROBABILITIES, Precision, onnx_runner, processors
from cinesax.train.export.parity import CALIBRATION_IMAGES, SLICES, Exported, real_slices, report
from cinesax.train.export.quantise import to_int8
from cinesax.train.fit.train import NETWORK, Run, load_network, open_run
from cinesax.train.nets import build
from cinesax.train.nets.losses import CrossEntropyDice  # noqa: F401 - registers the class for loading
from cinesax.train.nets.metrics import SliceDice  # noqa: F401 - likewise

_TOLERANCE = 1e-3
_HALF_TOLERANCE = 2e-2
_FEWEST_WEIGHTS = 64


def fixed_size(run: Run) -> keras.Model:
    """The finished network of a run, for one size only, so that ONNX Runtime plans its memory once.

    The size is that of the framed images, or of the crop if the network learned on crops around the heart.

    Raises:
        InputError: the run has no finished network.
    """
    path = run.folder / NETWORK
    if not path.is_file():
        raise InputError(f"{run.folder} has no {NETWORK}: the training has not finished; continue it with --resume")
    trained = load_network(path)
    size = heart_crop(run) or run.record.dataset.framing.size
    model = build(run.record.config.model, size=size)
    model.set_weights(trained.get_weights())
    return model


def heart_crop(run: Run) -> int | None:
    """Rows and columns of the crop around the heart on which a run's network learned; None: whole frames."""
    settings = run.record.config.pipeline
    return None if settings.jitter_px is None else settings.crop


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


@dataclass(frozen=True)
class Pass:
    """One network of an export.

    Attributes:
        stem: stem of its file: "graph" sees whole frames, "heart" a crop around the heart.
        run: the run that trained the network.
        model: the network, for one input size.
        crop: rows and columns of its crop; None: whole frames.
    """

    stem: str
    run: Run
    model: keras.Model
    crop: int | None = None


def open_passes(run_folder: Path, finder: Path | None = None) -> list[Pass]:
    """The network of a run; if it learned on crops, its finder's network and its own.

    Args:
        run_folder: a finished run.
        finder: a finished run on whole frames, which finds the heart for a network that learned on crops around it.

    Raises:
        InputError: a run is not finished, the two do not fit, or a finder is missing.
    """
    close = open_run(run_folder)
    whole = close if finder is None else open_run(finder)
    _check_passes(whole, close if finder is not None else None)
    first = Pass(Path(GRAPH).stem, whole, fixed_size(whole))
    if finder is None:
        return [first]
    return [first, Pass(Path(HEART).stem, close, fixed_size(close), heart_crop(close))]


def classes_of(run: Run) -> dict[int, Structure]:
    """Channel -> class of a run's network, as in its set, without the background (channel 0).

    Raises:
        InputError: the LV cavity is not among the classes.
    """
    classes = {channel: parse_classes([name])[-1] for channel, name in enumerate(run.classes) if channel}
    if Structure.CAVITY not in classes.values():
        raise InputError(
            f"{run.folder} was trained on {', '.join(run.classes)}, but not on the LV cavity, without which "
            "nothing is measured; train on a set with lv_cavity among its --classes"
        )
    return classes


def describe(
    passes: Sequence[Pass], out: Path, *, name: str, version: str, scores: JsonObject, images: Sequence[str]
) -> Bundle:
    """The content of the bundle's manifest and card for these networks, still without checksums."""
    crop, classes = passes[-1].crop, classes_of(passes[0].run)
    return Bundle(
        out,
        name,
        version,
        framing=passes[0].run.record.dataset.framing,
        classes=classes,
        input_name=INPUT,
        output_name=PROBABILITIES,
        graph_sha256="",
        heart=None if crop is None else HeartPass(crop, INPUT, PROBABILITIES, int(passes[-1].model.input_shape[-1])),
        training=_training([network.run for network in passes], images),
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
        finder: a finished run on whole frames, which finds the heart for a network that learned on crops around it.
        images: fingerprints of the images that it learned from (see `cinesax.network.fingerprint`).
        half: store the weights in half precision.
        int8: compute convolutions in 8 bits, calibrated on training images of `data`.
        unvalidated: classes that it draws but that were not validated: `analyze` leaves them out unless asked.
        data: a prepared set; the graphs are compared with Keras on its slices, and the result goes into the bundle as
            parity.json.
        slices: largest number of slices to compare.

    Raises:
        InputError: a run is not finished, the two do not fit, a finder is missing, or a graph differs from Keras.
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
        graphs = [Path(folder) / f"{network.stem}.onnx" for network in passes]
        for network, graph in zip(passes, graphs, strict=True):
            to_onnx(network.model, graph, half=half and not int8)
            if int8:
                _quantise(network, graph, data)
        names = [_names(graph) for graph in graphs]
        bundle = replace(bundle, input_name=names[0][0], output_name=names[0][1])
        if bundle.heart is not None:
            heart = replace(bundle.heart, input_name=names[1][0], output_name=names[1][1])
            bundle = replace(bundle, heart=heart)
        precision = Precision.INT8 if int8 else Precision.FLOAT16 if half else Precision.FLOAT32
        text = None if data is None else _parity(passes, graphs, data, precision=precision, slices=slices)
        close = graphs[1] if len(graphs) > 1 else None
        return write_bundle(bundle, graphs[0], card(bundle, parameters(passes)), heart=close, parity=text)


def parameters(passes: Sequence[Pass]) -> int:
    """The number of parameters of all networks together."""
    return sum(int(network.model.count_params()) for network in passes)


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
    ]
    return text_of(report(exports, data, count=slices, threads=threads))


def _check_passes(whole: Run, close: Run | None) -> None:
    classes = classes_of(whole)
    if close is None:
        if heart_crop(whole) is not None:
            raise InputError(
                f"{whole.folder} was trained on crops around the heart: "
                "give --finder RUN, a run trained on whole frames"
            )
        return
    if heart_crop(close) is None:
        raise InputError(f"{close.folder} was trained on whole frames: it needs no finder")
    if heart_crop(whole) is not None:
        raise InputError(
            f"{whole.folder} was trained on crops around the heart: a finder must be trained on whole frames"
        )
    if whole.record.dataset.framing != close.record.dataset.framing:
        raise InputError(
            f"{whole.folder} and {close.folder} were trained on differently framed images; train both on one set"
        )
    if classes_of(close) != classes:
        names = [", ".join(part.facts.class_name for part in seen.values()) for seen in (classes, classes_of(close))]
        raise InputError(
            f"{whole.folder} draws {names[0]}, but {close.folder} draws {names[1]}: the finder has to find "
            "what the refiner draws; train both on one set"
        )


def _training(runs: Sequence[Run], images: Sequence[str]) -> Training:
    seen = sorted({case for run in runs for case in run.cases_seen})
    whole, last = runs[0].record, runs[-1].record
    first_settings = (whole.started_from or {}).get("config")
    return Training(
        dataset=whole.dataset.digest,
        cases=tuple(case for case in seen if not case.startswith("PHANTOM")),
        images=tuple(sorted(set(images))),
        phantoms=sum(case.startswith("PHANTOM") for case in seen),
        config=whole.config.to_dict(),
        started_from=first_settings if isinstance(first_settings, dict) else None,
        heart=HeartTraining(last.dataset.digest, last.config.to_dict()) if len(runs) > 1 else None,
        software={**last.software, "exported_with": f"cinesax {__version__}"},
    )


def _names(graph: Path) -> tuple[str, str]:
    import onnxruntime

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return str(session.get_inputs()[0].name), str(session.get_outputs()[0].name)
