"""Read the weights of an ONNX graph back into the Keras network that it was exported from.

A bundle holds a graph for use, not for training. All weights of convolutions and matrices can be recovered from it,
because their names still contain the layers' names. A batch normalisation after a convolution is folded into it when
the graph is made: its scale is in the kernel, its shift in the bias.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from cinesax.core.errors import BundleError

_TOLERANCE = 1e-3
# Between a graph that computes in 8 bits and the network of its weights: on noise, probabilities differ by 0.001 on
# average and by 0.12 at most (the finder of sax-heart 5).
_MEAN_TOLERANCE_OF_8_BITS = 0.01
_KERNELS = (layers.Conv2D, layers.Conv2DTranspose, layers.DepthwiseConv2D, layers.Dense)


def layers_with_weights(model: keras.Model) -> list[keras.Layer]:
    """All innermost layers with weights, in order; nested networks are included."""
    return [layer for layer in model._flatten_layers() if not list(_inner(layer)) and layer.weights]


def _inner(layer: keras.Layer) -> Iterator[keras.Layer]:
    return iter(layer._flatten_layers(recursive=False, include_self=False))


def read_weights(graph: Path, model: keras.Model) -> None:
    """Load the weights of an exported graph into a network of the same kind.

    Weights of 8 bits come back rounded, as the graph uses them.

    Args:
        graph: the ONNX file.
        model: a network of the same config and of the graph's size.

    Raises:
        BundleError: the graph belongs to another network: a layer's weights are missing, or the output differs.
    """
    nodes = _Nodes(graph)
    last: NDArray[Any] | None = None
    for layer in layers_with_weights(model):
        if isinstance(layer, layers.BatchNormalization):
            _normalise(layer, nodes, last)
            last = None
        elif isinstance(layer, _KERNELS):
            last = _kernel(layer, nodes)
        else:
            raise BundleError(f"{graph}: weights of a {type(layer).__name__} ({layer.name}) cannot be read back")
    _compare(nodes, model)


class _Nodes:
    """The nodes of a graph by the names of their weights."""

    def __init__(self, graph: Path) -> None:
        import onnx

        model = onnx.load(graph)
        self.path = graph
        self.whole_numbers = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
        self.values = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
        for node in model.graph.node:  # weights that are stored in half precision
            if node.op_type == "Cast" and node.input[0] in self.values:
                self.values[node.output[0]] = self.values[node.input[0]].astype(np.float32)
            elif node.op_type == "DequantizeLinear" and node.input[0] in self.values:  # weights of 8 bits
                self.values[node.output[0]] = _dequantised(node, *(self.values[name] for name in node.input))
        self.nodes = [node for node in model.graph.node if any(name in self.values for name in node.input)]

    def find(self, layer: keras.Layer, kinds: set[str]) -> list[NDArray[Any]] | None:
        """The weights of a layer's node; the exporter may append _1 to its name."""
        for name in (re.escape(layer.name), rf"{re.escape(layer.name)}_\d+"):
            for node in self.nodes:
                weights = [text for text in node.input if text in self.values]
                if node.op_type in kinds and re.search(rf"(^|/){name}(/|$)", weights[0]):
                    return [self.values[text] for text in weights]
        return None


def _dequantised(
    node: Any, whole: NDArray[Any], scale: NDArray[Any], zero: NDArray[Any] | None = None
) -> NDArray[np.float32]:
    """The weights that whole numbers stand for: ONNX operator DequantizeLinear, one scale in all or one a channel."""
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
    shape = [1] * whole.ndim
    if scale.size > 1:
        shape[axis] = scale.size
    shifted = whole.astype(np.float32) - (0 if zero is None else zero.astype(np.float32).reshape(shape))
    return np.asarray(shifted * scale.reshape(shape), dtype=np.float32)


def _kernel(layer: keras.Layer, nodes: _Nodes) -> NDArray[Any] | None:
    """Set kernel and bias. Returns the graph's bias if the layer has none: it is the shift of a normalisation."""
    kinds = {"ConvTranspose"} if isinstance(layer, layers.Conv2DTranspose) else {"Conv", "MatMul", "Gemm"}
    weights = nodes.find(layer, kinds)
    if weights is None:
        raise BundleError(f"{nodes.path} holds no weights of the layer {layer.name}: it belongs to another network")
    shape = tuple(layer.weights[0].shape)
    if isinstance(layer, layers.DepthwiseConv2D):
        kernel = weights[0].transpose(2, 3, 0, 1).reshape(shape) if weights[0].size == np.prod(shape) else None
    else:
        kernel = weights[0].transpose(2, 3, 1, 0) if weights[0].ndim == 4 else weights[0]
    if kernel is None or kernel.shape != shape:
        raise BundleError(f"{nodes.path}: the weights of {layer.name} have another size than the network's")
    bias = weights[1] if len(weights) > 1 else None
    if not layer.use_bias:
        layer.set_weights([kernel])
        return bias
    zero = np.zeros(layer.weights[1].shape, np.float32)
    layer.set_weights([kernel, zero if bias is None else bias])
    return None


def _normalise(layer: keras.Layer, nodes: _Nodes, shift: NDArray[Any] | None) -> None:
    """Set a normalisation to its own weights or, if it was folded, to the shift alone."""
    own = nodes.find(layer, {"BatchNormalization"})
    if own is not None:
        layer.set_weights(own)
        return
    ones = np.ones(layer.weights[0].shape, np.float32)
    # Keras adds epsilon to the variance, so this normalisation does nothing but add the shift.
    layer.set_weights([ones, 0 * ones if shift is None else shift, 0 * ones, ones - layer.epsilon])


def _compare(nodes: _Nodes, model: keras.Model) -> None:
    import onnxruntime

    image = np.random.default_rng(0).random((1, *model.input_shape[1:]), dtype=np.float32)
    session = onnxruntime.InferenceSession(nodes.path, providers=["CPUExecutionProvider"])
    expected = session.run(None, {session.get_inputs()[0].name: image})[0]
    differences = np.abs(np.asarray(model(image, training=False)) - expected)
    worst = float(differences.max())
    same = float(differences.mean()) <= _MEAN_TOLERANCE_OF_8_BITS if nodes.whole_numbers else worst <= _TOLERANCE
    if not same:
        raise BundleError(
            f"{nodes.path} does not hold the network that its manifest describes: probabilities differ by {worst:.3f}"
        )
