"""Images in High-Throughput JPEG 2000 (ISO/IEC 15444-15), which nothing that the tests install writes.

Made with OpenJPH 0.26.3 (`imagecodecs.htj2k_encode`) from `image()`: one without loss and with its tile part lengths,
one with a quantization step of 0.00002.
"""

import base64

import numpy as np
from numpy.typing import NDArray


def image() -> NDArray[np.uint16]:
    """(20, 24): a ramp with a disc on it."""
    row, column = np.mgrid[:20, :24]
    return np.asarray(40 * row + 25 * column + 200 * ((row - 9) ** 2 + (column - 12) ** 2 < 36), dtype=np.uint16)


LOSSLESS = base64.b64decode(
    "/0//UQApQAAAAAAYAAAAFAAAAAAAAAAAAAAAGAAAABQAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAMEBEAB/1wADSCIkJCQkJCQiI"
    "iI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv9VAAoAYAAAAAABXv+QAAoAAAAAAV4AAf+TwAAtkOn/Cf6d/l/6ZX40vl2/ID90KEvNCAD5uADA"
    "ABaMAAFVAABWACg6XEBcRkqsPAEC3BCAfZgAlCdDYvEQQb+VACp1Oj7Q6AAAgb6WAMAAF0EAAF0cAAFsgM6Qs3PbGVw32JuVWQn23G56PAz3AF"
    "ktHIwThGXkulwAVj2iGSE9kaEiUBSEEWgUwgKFrKyvvK/sALVj4pFEMCKaWwDcVr/rO7c5LoKKoDpujeYq0ugShG/keloAwAAu0gABdzAAC6F3"
    "ECY85UK5JDyERqPRGEJ+8kK5UPhJCO8g/MeBTnJH/U7uPmXJ34k7E3/yB00TgBcp33oBF9/j9xLx5cTJRHy5fI8v3+JL0uk4jtPpdDqdjvPPoA"
    "R7VllBgHlhAuIQEsmEDg8v2CI8HQAAp1wB47gyjisr43E8rvzPyYAGP4QgRvxgcYLCECMsYjOR33YB/9k="
)
LOSSY = base64.b64decode(
    "/0//UQApQAAAAAAYAAAAFAAAAAAAAAAAAAAAGAAAABQAAAAAAAAAAAABDwEB/1AACAACAAAAKf9SAAwAAgABAAMEBEAA/1wAFyKZ95oHmgeaFp"
    "KBkoGS14peil6KFP9kABcAAU9wZW5KUEggVmVyIDAuMjYuMy7/kAAKAAAAAAHEAAH/k8AAC3TdZX5r+bbLb0reTfkRZCWTk4OcvvE0S81rAPm4"
    "AMAAC0oAAFZAAArARt6ZRE1UOkNJ9QEC3CCAfZgAjqKAuYiuAACAvZYABm8iZJj0AACBvpYAwAAXSwAAXTQAAXQAGMvMoRd6i4fCxSSmw03Ck1"
    "DQ7+7NSZBIJccCfs6FAkQy8gubAIjJkSLbgJCSwQYvwaqWr/FrecDL3KuDVQfcBe17mjloQjhCQLwAwdjbF31h74DBYEGETugWNCTABAAT8QFr"
    "OEHQBlILmgDAAC9YgABeowAAu0AWF3Cp8q4JJoYlywd4ALKMMYKpcrcNBpWqqqpKpTIYqtxtBgEbK5EBD8CjRMbGGIQqd5tGAIBGoMr9UDEpsN"
    "ay5wBR6LxyJg4lvhyuTgs+v8qX/sPp234BTFKSieqGCqluMixkIqdFJoAJgBbJEYEgcoE2mdxCE7d0ZkGSEznJJAcyiIwhg8gGsoQsySQOgDsA"
    "Ahzdr+b5Lcp3kfW1Fm5EfzKgAAEmrjwBMNMYM6FQCRCNMdGoACgohUqEOI1hTJwVA4X+nwKr7BB7kx+wh2VD4xQ9kmo7Qfkmw9PZAf/Z"
)
