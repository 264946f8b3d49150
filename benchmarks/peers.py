"""Peers: networks of other programs, run by their own code, on the same slices. None is a dependency of cinesax.

myopari (PyPI, MIT licence) carries `tiramisu_acdc_fp32.onnx`, trained on ACDC: classes 1 RV, 2 myocardium, 3 LV,
256 x 256 pixels. Its own functions scale, crop, resize and clean; they need scikit-image. Into a folder that git
ignores:

    pip download --no-deps --dest runs/peers myopari
    python -m zipfile -e runs/peers/myopari-*.whl runs/peers
    pip install --no-deps --target runs/peers scikit-image lazy-loader networkx imageio tifffile packaging
"""

import importlib.util
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from cinesax.core.cine import Cine
from cinesax.core.segmentation import Segmentation
from cinesax.core.structures import Structure

FOLDER = Path(__file__).resolve().parents[1] / "runs" / "peers"
_LV = 3
_SMALLEST = 800  # pixels of all classes together: what its widget asks for


class Myopari:
    """The ACDC network of myopari, called as its widget calls it: one volume (column, row, slice) a phase.

    (row, column, slice) instead, `transposed=False`, gave no more on two patients of `train` (Dice 0.746, not 0.748).
    """

    def __init__(self, threads: int | None = None, *, transposed: bool = True) -> None:
        import onnxruntime

        graph = FOLDER / "myopari" / "Resources" / "tiramisu_acdc_fp32.onnx"
        if not graph.is_file():
            raise SystemExit(f"myopari is not in {FOLDER}: {__doc__}")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads:
            options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.functions = _load(FOLDER / "myopari" / "processors" / "functions_utils.py")
        self.transposed = transposed
        self.name = "myopari (ACDC)"

    def segment(self, cine: Cine, progress: Any = None) -> Segmentation:
        """The LV of every frame."""
        labels = np.zeros(cine.pixels.shape, np.uint8)
        axes = (2, 1, 0) if self.transposed else (1, 2, 0)
        for phase, stack in enumerate(cine.pixels):
            # Its functions take volumes apart slice by slice, but scale them by one window.
            data = self.functions.preprocess_data_array(stack.transpose(axes).astype(np.float64))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                predicted = self.functions.predict_data_model(
                    data, self.session, num_classes=4, min_size_remove=_SMALLEST, onnx=True
                )
            labels[phase] = (predicted.transpose(np.argsort(axes)) == _LV) * np.uint8(Structure.CAVITY)
        return Segmentation(labels, {Structure.CAVITY: np.ones(cine.n_phases, dtype=bool)}, author=self.name)


def _load(path: Path) -> ModuleType:
    sys.path.append(str(FOLDER))
    spec = importlib.util.spec_from_file_location("myopari_functions", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
