"""What to do if 8 bits are too coarse, in the words of the format that is exported."""

import pytest

pytest.importorskip("tensorflow")

from cinesax.core.errors import InputError  # noqa: E402
from cinesax.train.export.formats import Precision  # noqa: E402
from cinesax.train.export.parity import Parity, check  # noqa: E402


@pytest.mark.parametrize(
    ("file", "words"),
    [("graph.onnx", "leave out --int8"), ("heart-int8.tflite", "give --precision float32,float16")],
)
def test_too_coarse_in_8_bits_names_the_option_of_the_format(file, words):
    parity = Parity(2, 0.6, 900, 8192, 0.7, 0.6, 0.8, 0.8, (0.7,))
    with pytest.raises(
        InputError, match=f"the mean Dice between both is 0.700, .* too coarse for this network: {words}$"
    ):
        check(parity, Precision.INT8, file)
