"""Write and run a network in other runtimes: TensorFlow's SavedModel, and LiteRT for phones.

Every format takes frames (batch, row, column, 1), float32, 0 to 1, as "image" and gives "probabilities" (batch, row,
column, classes), float32, and "labels" (batch, row, column), int32: normalisation, softmax and arg-max are inside. A
LiteRT file takes one frame at a time (batch is 1): a phone plans its memory once.
"""

import os
import tempfile
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cinesax.core.errors import MissingExtraError, UsageError, install_hint
from cinesax.train import quiet_libraries

INPUT, PROBABILITIES, LABELS = "image", "probabilities", "labels"

Images = NDArray[np.float32]
Answer = tuple[NDArray[np.float32], NDArray[np.int32]]
Runner = Callable[[Images], Answer]
"""Images (n, row, column, 1) -> probabilities (n, row, column, classes) and labels (n, row, column)."""


class Format(StrEnum):
    """The format of an export."""

    ONNX = "onnx"
    SAVEDMODEL = "savedmodel"
    LITERT = "litert"


class Precision(StrEnum):
    """The number type of the weights in a LiteRT file; int8 also computes in integers."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    INT8 = "int8"


def processors() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def to_savedmodel(model: keras.Model, path: Path, *, batch: int | None = None) -> None:
    """Write a network as a SavedModel; its signature is "serving_default".

    Args:
        model: the network, for one input size.
        path: path of the folder.
        batch: frames per call; None: any number.
    """

    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = model(image, training=False)
        labels = tf.argmax(probabilities, axis=-1, output_type=tf.int32)
        return {PROBABILITIES: probabilities, LABELS: labels}

    archive = keras.export.ExportArchive()
    archive.track(model)
    shape = tf.TensorSpec((batch, *model.input_shape[1:]), tf.float32, name=INPUT)
    archive.add_endpoint("serve", serve, input_signature=[shape])
    archive.write_out(path, verbose=False)


def to_litert(model: keras.Model, paths: Mapping[Precision, Path], *, calibration: Images | None = None) -> None:
    """Write a network as LiteRT (.tflite) files.

    Args:
        model: the network, for one input size.
        paths: path of the file of each precision of weights. With int8, everything between the frame and the
            probabilities is computed in integers; frames and probabilities stay float32.
        calibration: framed training images (n, row, column, 1), from which int8 learns its ranges.

    Raises:
        UsageError: int8 without images.
    """
    frames = () if calibration is None else calibration
    if Precision.INT8 in paths and not len(frames):
        raise UsageError("int8 is calibrated on training images: give --data SET, the prepared set")
    with tempfile.TemporaryDirectory() as folder, quiet_libraries():
        to_savedmodel(model, Path(folder), batch=1)
        for precision, path in paths.items():
            converter = tf.lite.TFLiteConverter.from_saved_model(folder)
            if precision is not Precision.FLOAT32:
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if precision is Precision.FLOAT16:
                converter.target_spec.supported_types = [tf.float16]
            if precision is Precision.INT8:
                converter.representative_dataset = lambda: ([frame[None]] for frame in frames)
                # Without this, operations without an int8 kernel would silently stay in float.
                converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            path.write_bytes(converter.convert())


def keras_runner(model: keras.Model) -> Runner:
    """Runs the Keras network, and takes the arg-max."""
    compute = tf.function(lambda image: model(image, training=False))

    def run(images: Images) -> Answer:
        probabilities = np.asarray(compute(tf.constant(images)))
        return probabilities, probabilities.argmax(axis=-1).astype(np.int32)

    return run


def onnx_runner(path: Path, *, threads: int) -> Runner:
    """Runs an ONNX graph of `to_onnx` with ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [session.get_inputs()[0].name, *(output.name for output in session.get_outputs())]

    def run(images: Images) -> Answer:
        probabilities, labels = session.run(names[1:], {names[0]: images})
        return probabilities, labels

    return run


def savedmodel_runner(path: Path) -> Runner:
    """Runs a SavedModel with TensorFlow alone."""
    loaded = tf.saved_model.load(str(path))  # its functions live as long as it does
    serve = loaded.signatures["serving_default"]

    def run(images: Images) -> Answer:
        answer = serve(**{INPUT: tf.constant(images)})
        return answer[PROBABILITIES].numpy(), answer[LABELS].numpy()

    run.loaded = loaded  # type: ignore[attr-defined]
    return run


def litert_runner(path: Path, *, threads: int) -> Runner:
    """Runs a LiteRT file with the LiteRT interpreter, one frame at a time, as on a phone.

    Raises:
        MissingExtraError: the interpreter is not installed.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise MissingExtraError(f"this needs ai_edge_litert; {install_hint('train')}") from None
    with quiet_libraries():
        interpreter = Interpreter(str(path), num_threads=threads)
        interpreter.allocate_tensors()
    serve = interpreter.get_signature_runner("serving_default")

    def run(images: Images) -> Answer:
        answers = [serve(**{INPUT: image[None]}) for image in images]
        probabilities, labels = ([answer[name] for answer in answers] for name in (PROBABILITIES, LABELS))
        return np.concatenate(probabilities), np.concatenate(labels)

    return run
