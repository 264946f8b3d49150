"""What a network costs: parameters, operations, memory."""

from dataclasses import dataclass

import keras
import tensorflow as tf

# These only pass on existing values.
_FREE = {"Const", "Identity", "NoOp", "Placeholder", "ReadVariableOp", "Reshape", "ExpandDims", "Squeeze", "Shape"}


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one frame.

    Attributes:
        parameters: weights and statistics.
        multiply_adds: multiply-add operations of convolutions and matrix products.
        activation_bytes: bytes of all layers' outputs together, which training keeps for the backward pass.
    """

    parameters: int
    multiply_adds: int
    activation_bytes: int


def cost(model: keras.Model, size: int) -> Cost:
    """The cost of a frame of size x size pixels, counted in TensorFlow's own graph of the network."""
    frame = tf.TensorSpec([1, size, size, model.input_shape[-1]], tf.float32)
    graph = tf.function(lambda image: model(image, training=False)).get_concrete_function(frame).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    counted = tf.compat.v1.profiler.ProfileOptionBuilder(options).with_empty_output()
    kinds = counted.with_node_names(start_name_regexes=[".*"]).build()
    logger, level = tf.get_logger(), tf.get_logger().level
    logger.setLevel("ERROR")  # the profiler warns that it is deprecated
    try:
        total = tf.compat.v1.profiler.profile(graph, options=kinds)
    finally:
        logger.setLevel(level)
    held = sum(
        output.shape.num_elements() * output.dtype.size
        for operation in graph.get_operations()
        if operation.type not in _FREE
        for output in operation.outputs
        if output.dtype.is_floating and output.shape.num_elements()
    )
    return Cost(model.count_params(), int(total.total_float_ops) // 2, int(held))
