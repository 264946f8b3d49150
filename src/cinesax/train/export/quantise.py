"""An ONNX graph whose convolutions compute in 8 bits: several times as fast on a CPU, a quarter of the size.

This is static quantisation: weights have one scale per channel; activations have one per tensor, learned from training
images. The graph has nodes that quantise and dequantise, and ONNX Runtime fuses them with the convolutions. The first
and last layers stay in single precision: the image has a wide range, and the last layer decides the borders.
"""

import logging
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from cinesax.core.errors import InputError
from cinesax.train.export.formats import Images

_IN_8_BITS = ("Conv", "MaxPool", "Resize", "Concat", "Relu")
_STAYS = re.compile(r"(^|/)(stem|logits)", re.IGNORECASE)
_AT_ONCE = 8


def to_int8(graph: Path, out: Path, images: Images) -> None:
    """Write the graph with convolutions in 8 bits.

    Args:
        graph: the ONNX file in single precision.
        out: the file to write.
        images: real images of the graph's shape, (n, row, column, channel), float32; 100 are enough.

    Raises:
        InputError: no images.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    if not len(images):
        raise InputError("int8 is calibrated on training images: give --data SET, the prepared set")
    with tempfile.TemporaryDirectory() as folder, _quiet():
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(graph, prepared, skip_symbolic_shape=True)
        model = onnx.load(prepared)
        quantize_static(
            prepared,
            out,
            _reader(model.graph.input[0].name, images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_IN_8_BITS),
            nodes_to_exclude=[node.name for node in model.graph.node if _STAYS.search(node.name)],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


def _reader(name: str, images: Images) -> object:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        """Gives the images in batches."""

        def __init__(self) -> None:
            self.parts: Iterator[Images] = iter(np.array_split(images, max(1, len(images) // _AT_ONCE)))

        def get_next(self) -> dict[str, Images] | None:
            """The next batch; None after the last."""
            part = next(self.parts, None)
            return None if part is None else {name: np.ascontiguousarray(part)}

    return Reader()


@contextmanager
def _quiet() -> Iterator[None]:
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)
